"""Ridge and least squares against explicit solutions with the controls as columns."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.learning.base import FoldTask
from mlinstruments.learning.features import Features
from mlinstruments.learning.gram import OLS, PENALTIES, NormalEquations, Ridge, Series
from tests.tolerances import SOLVE

N = 150
RNG = np.random.default_rng(4)
W = RNG.normal([0, 50, 0], [1, 20, 1e-3], (N, 3))  # units far apart: columns are standardised
X = np.column_stack([np.ones(N), RNG.normal(size=N) + 0.5 * W[:, 0]])
TARGETS = np.column_stack([W[:, 0] + 0.1 * W[:, 1] + X[:, 1], RNG.normal(size=N)])
TARGETS[:, 0] += RNG.normal(size=N)
WEIGHTS = RNG.uniform(0.3, 2, N)
TRAIN, OUT = np.arange(100), np.arange(100, N)
HALVES = (np.arange(0, 100, 2), np.arange(1, 100, 2))
SEED = np.random.SeedSequence(2)
STANDARD = (W - W.mean(axis=0)) / W.std(axis=0)


def fitted(learner, targets=TARGETS, parts=(TRAIN,), weights=None, controls=X, **options):
    engine = learner.prepare(Features.numeric(W), controls, weights)
    return engine.fit(FoldTask(targets, parts, OUT, SEED, **options))


def explicit(rows, penalty, weights, target):
    """Penalised least squares of the target on (Phi, X), X unpenalised, by added rows."""
    root = np.ones(len(rows)) if weights is None else np.sqrt(weights[rows])
    both = np.hstack([STANDARD[rows], X[rows]]) * root[:, None]
    extra = np.hstack([np.sqrt(len(rows) * penalty) * np.eye(3), np.zeros((3, 2))])
    outcome = np.concatenate([target[rows] * root, np.zeros(3)])
    return np.linalg.lstsq(np.vstack([both, extra]), outcome, rcond=None)[0][:3]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("parts", [(TRAIN,), HALVES], ids=["whole", "halves"])
def test_ridge_is_penalised_least_squares(weights, penalty, parts):
    found = fitted(Ridge(penalty), parts=parts, weights=weights)
    np.testing.assert_array_equal(found.tuning, penalty)
    for j, target in enumerate(TARGETS.T):
        for i, rows in enumerate(parts):
            expected = STANDARD[OUT] @ explicit(rows, penalty, weights, target)
            np.testing.assert_allclose(found.predictions[j, i], expected, atol=SOLVE)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("learner", [OLS(), Ridge(0.0)], ids=["ols", "ridge(0)"])
def test_ols_is_least_squares_on_instruments_and_controls(weights, learner):
    found = fitted(learner, weights=weights)
    root = np.ones(100) if weights is None else np.sqrt(weights[TRAIN])
    both = np.hstack([W[TRAIN], X[TRAIN]]) * root[:, None]
    for j, target in enumerate(TARGETS.T):
        b = np.linalg.lstsq(both, target[TRAIN] * root, rcond=None)[0]
        expected = (W[OUT] - W.mean(axis=0)) @ b[:3]
        np.testing.assert_allclose(found.predictions[j, 0], expected, atol=SOLVE)


@pytest.mark.parametrize("rows", [20, 150], ids=["fewer rows than columns", "more"])
def test_the_smaller_side_decomposed_gives_the_explicit_solution_and_errors(rows):
    rng = np.random.default_rng(8)
    dictionary, outcome = rng.normal(size=(rows, 40)), rng.normal(size=(rows, 2))
    other = NormalEquations(rng.normal(size=(60, 40)), rng.normal(size=(60, 2)))
    equations = NormalEquations(dictionary, outcome)
    errors = equations.path_errors(other)
    for i, penalty in enumerate(PENALTIES):
        shifted = dictionary.T @ dictionary + rows * penalty * np.eye(40)
        expected = np.linalg.solve(shifted, dictionary.T @ outcome)
        found = equations.solve(np.full(2, penalty))
        np.testing.assert_allclose(found, expected, atol=SOLVE)
        left = ((other._outcome - other._dictionary @ expected) ** 2).sum(axis=0)
        np.testing.assert_allclose(errors[i], left, rtol=SOLVE)


def test_controls_added_to_the_target_change_nothing():
    shifted = TARGETS + (X @ [3.0, -5.0])[:, None]
    for learner in (OLS(), Ridge(0.1), Ridge()):
        np.testing.assert_allclose(
            fitted(learner, shifted).predictions, fitted(learner).predictions, atol=SOLVE
        )


def test_units_of_instruments_do_not_matter():
    engine = Ridge(0.1).prepare(Features.numeric(W * [1e3, 1e-4, 7] + 5), X, None)
    found = engine.fit(FoldTask(TARGETS, (TRAIN,), OUT, SEED)).predictions
    np.testing.assert_allclose(found, fitted(Ridge(0.1)).predictions, atol=SOLVE)


@pytest.mark.parametrize("learner", [OLS(), Ridge(), Series(knots=3)], ids=lambda one: one.label)
@pytest.mark.parametrize("parts", [(TRAIN,), HALVES], ids=["whole", "halves"])
def test_held_out_targets_choose_nothing(learner, parts):
    noise = TARGETS.copy()
    noise[OUT] = 1e3 * RNG.normal(size=(len(OUT), 2))
    first, second = fitted(learner, parts=parts), fitted(learner, noise, parts)
    np.testing.assert_array_equal(first.predictions, second.predictions)
    np.testing.assert_array_equal(first.tuning, second.tuning)
    noise[TRAIN[0]] += 10
    assert (fitted(learner, noise, parts).predictions != first.predictions).any()


def test_each_half_chooses_its_penalty_on_its_own_rows():
    together = fitted(Ridge(), parts=HALVES)
    for i, rows in enumerate(HALVES):
        alone = fitted(Ridge(), parts=(rows,))
        np.testing.assert_array_equal(together.tuning[:, [i]], alone.tuning)
        np.testing.assert_array_equal(together.predictions[:, [i]], alone.predictions)


def test_the_penalty_is_that_of_least_error_between_halves():
    found = fitted(Ridge())
    from mlinstruments.learning.base import seed_int

    order = np.random.default_rng(seed_int(SEED)).permutation(TRAIN)
    halves = np.array_split(order, 2)
    for j, target in enumerate(TARGETS.T):
        errors = []
        for penalty in PENALTIES:
            total = 0.0
            for mine, other in (halves, halves[::-1]):
                gap = target[other] - STANDARD[other] @ explicit(mine, penalty, None, target)
                rest = gap - X[other] @ np.linalg.lstsq(X[other], gap, rcond=None)[0]
                total += float(rest @ rest)
            errors.append(total)
        assert found.tuning[j, 0] == PENALTIES[np.argmin(errors)]
    # The first target is signal, the second noise.
    assert found.tuning[0, 0] < 0.1 < found.tuning[1, 0]


def test_path_errors_are_squared_errors():
    first, second = (
        NormalEquations(RNG.normal(size=(40, 5)), RNG.normal(size=(40, 2))) for _ in range(2)
    )
    found = first.path_errors(second)
    for penalty, errors in zip(PENALTIES, found, strict=True):
        b = first.solve(np.full(2, penalty))
        gap = second._outcome - second._dictionary @ b
        np.testing.assert_allclose(errors, (gap**2).sum(axis=0), rtol=SOLVE)


def test_predictions_are_linear_in_the_target_once_tuning_is_shared():
    mixed = np.column_stack([TARGETS, 2 * TARGETS[:, 0] - 3 * TARGETS[:, 1]])
    found = fitted(Ridge(), mixed, share_tuning=True)
    assert len(np.unique(found.tuning)) == 1
    a, b, c = found.predictions[:, 0]
    np.testing.assert_allclose(c, 2 * a - 3 * b, atol=SOLVE)


@pytest.mark.parametrize("seed", range(8))  # whether rounding hides collinearity is luck
def test_collinear_instruments_predict_as_independent_ones(seed):
    rng = np.random.default_rng(seed)
    surplus = W @ rng.normal(size=(3, 2)) + X @ rng.normal(size=(2, 2))
    court = rng.integers(0, 4, N)[:, None] == np.arange(4)
    for plain, doubled in ((W, [W, surplus]), (court[:, 1:], [court])):
        found, expected = (
            OLS().prepare(Features.numeric(np.hstack(columns).astype(float)), X, None)
            .fit(FoldTask(TARGETS, (TRAIN,), OUT, SEED)).predictions
            for columns in (doubled, [plain])
        )  # fmt: skip
        # A part linear in the controls is not determined, and is partialled out in the end.
        gap = (found - expected)[:, 0].T
        gap = gap - X[OUT] @ np.linalg.lstsq(X[OUT], gap, rcond=None)[0]
        np.testing.assert_allclose(gap, 0, atol=SOLVE)


@pytest.mark.parametrize("learner", [OLS(), Ridge(0.1), Ridge()], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_instruments_that_the_controls_explain_in_training_predict_nothing(learner, seed):
    rng = np.random.default_rng(seed)
    rare = np.zeros(N)
    rare[rng.choice(OUT, 5)] = 1  # constant in the training part
    hidden = X @ rng.normal(size=2) + np.where(np.arange(N) < 100, 0, rng.normal(size=N))
    for column in (rare, hidden):
        engine = learner.prepare(Features.numeric(column[:, None]), X, None)
        found = engine.fit(FoldTask(TARGETS, (TRAIN,), OUT, SEED)).predictions
        np.testing.assert_allclose(found, 0, atol=SOLVE)


def test_categories_are_cell_means():
    codes = RNG.integers(0, 4, N).astype(float)
    features = Features(codes[:, None], np.array([True]), ("court",))
    engine = OLS().prepare(features, np.ones((N, 1)), None)
    found = engine.fit(FoldTask(TARGETS, (TRAIN,), OUT, SEED)).predictions[0, 0]
    means = np.array([TARGETS[TRAIN][codes[TRAIN] == c, 0].mean() for c in range(4)])
    expected = means[codes[OUT].astype(int)]
    np.testing.assert_allclose(found - found[0], expected - expected[0], atol=SOLVE)


@pytest.mark.parametrize("penalty", [-1, float("nan")])
@pytest.mark.parametrize("learner", [Ridge, Series])
def test_penalties_are_checked(learner, penalty):
    with pytest.raises(InputError, match="penalty must be 0 or more"):
        learner(penalty=penalty)
