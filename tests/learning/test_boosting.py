"""Boosting with the controls profiled out: against brute force, and blind to held-out targets."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.projection import Part
from mlinstruments.learning.base import FoldTask
from mlinstruments.learning.boosting import FEW_ROWS, MANY_ROWS, RESERVED, Boosting
from mlinstruments.learning.boosting_run import subset
from mlinstruments.learning.features import Features
from tests.tolerances import DERIVATIVE, FLOAT32, ROUNDING

N = 240
RNG = np.random.default_rng(3)
W = RNG.normal(size=(N, 3))
X = np.column_stack([np.ones(N), RNG.normal(size=N) + 0.5 * W[:, 0]])
D = np.sin(2 * W[:, 0]) + W[:, 1] * (W[:, 2] > 0) + X @ [1.0, 2.0] + 0.3 * RNG.normal(size=N)
WEIGHTS = RNG.uniform(0.3, 2, N)
TRAIN, OUT = np.arange(160), np.arange(160, N)
HALVES = (np.arange(0, 160, 2), np.arange(1, 160, 2))
SEED = np.random.SeedSequence(1)


def fitted(learner, target=D, parts=(TRAIN,), weights=None, features=None, controls=X, **options):
    features = Features.numeric(W) if features is None else features
    engine = learner.prepare(features, controls, weights)
    targets = target if target.ndim == 2 else target[:, None]
    return engine.fit(FoldTask(targets, parts, OUT, SEED, **options))


def annihilated(values, regressors, weights):
    root = np.sqrt(weights)
    coefficients = np.linalg.lstsq(regressors * root[:, None], values * root, rcond=None)[0]
    return values - regressors @ coefficients


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_gradient_is_that_of_the_profiled_loss(weights):
    engine = Boosting(rounds=1).prepare(Features.numeric(W), X, weights)
    run = engine._run(D, TRAIN, 1)
    mass = np.ones(len(TRAIN)) if weights is None else weights[TRAIN]
    scale = np.std(annihilated(D[TRAIN], X[TRAIN], mass))

    def loss(scores):
        gap = annihilated(D[TRAIN] / scale - scores, X[TRAIN], mass)
        return 0.5 * float(mass @ gap**2)

    scores = RNG.normal(size=len(TRAIN))
    gradient = np.empty(len(TRAIN), np.float32)
    run._write_gradient(scores, gradient)
    np.testing.assert_allclose(run._buffers.hessian, mass, rtol=FLOAT32)
    for i in (0, 17, 159):
        step = np.zeros(len(TRAIN))
        step[i] = 1e-5
        slope = (loss(scores + step) - loss(scores - step)) / 2e-5
        assert gradient[i] == pytest.approx(slope, abs=DERIVATIVE)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("extra_trees", [True, False])
def test_a_constant_needs_no_profiling(monkeypatch, weights, extra_trees):
    # LightGBM's own squared error and the profiled gradient grow the same trees.
    learner = Boosting(rounds=30, extra_trees=extra_trees)
    constant = X[:, :1]
    own = fitted(learner, weights=weights, controls=constant).predictions
    monkeypatch.setattr(Part, "only_a_mean", False)
    profiled = fitted(learner, weights=weights, controls=constant).predictions
    gap = own - profiled  # up to the constant, which the instrument does without
    np.testing.assert_allclose(gap, np.mean(gap), atol=FLOAT32 * np.std(D))
    assert np.std(own) > 0.1


@pytest.mark.parametrize("controls", [X, X[:, :1]], ids=["controls", "constant"])
def test_scores_kept_while_boosting_are_the_predictions_of_the_trees(controls):
    engine = Boosting(rounds=25).prepare(Features.numeric(W), controls, None)
    run = engine._run(D, TRAIN, 1)
    run.watch(subset(engine._binned, OUT))
    run.advance(25)
    expected = run.scale * run.booster.predict(W[OUT])
    np.testing.assert_allclose(run.predictions()[0], expected, atol=ROUNDING * 25)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("extra_trees", [True, False])
def test_rounds_are_those_of_lightgbm_s_own_update(weights, extra_trees):
    engine = Boosting(rounds=1, extra_trees=extra_trees).prepare(Features.numeric(W), X, weights)
    fast, simple = engine._run(D, TRAIN, 1), engine._run(D, TRAIN, 1)
    fast.advance(40)

    def objective(scores, _):
        gradient = np.empty(len(scores), np.float32)
        simple._write_gradient(scores, gradient)
        return gradient, simple._buffers.hessian

    for _ in range(40):
        while simple.booster.update(fobj=objective):  # a random threshold that found no split
            pass
    np.testing.assert_array_equal(fast.booster.predict(W), simple.booster.predict(W))


def test_an_error_of_lightgbm_is_raised():
    run = Boosting(rounds=1).prepare(Features.numeric(W), X, None)._run(D, TRAIN, 1)
    run._watched.append(run.data)  # a set that LightGBM does not know of
    with pytest.raises(Exception, match="data_idx"):
        run.predictions()


def best_stump(inputs, gradient, mass):
    """The split with the greatest gain and its leaf values, by trying every one."""
    best = (-np.inf, None)
    for j in range(inputs.shape[1]):
        for cut in np.unique(inputs[:, j])[:-1]:
            left = inputs[:, j] <= cut
            sums = [gradient[side].sum() for side in (left, ~left)]
            heavy = [mass[side].sum() for side in (left, ~left)]
            gain = sum(s**2 / h for s, h in zip(sums, heavy, strict=True))
            if gain > best[0]:
                best = (gain, (j, cut, [-s / h for s, h in zip(sums, heavy, strict=True)]))
    return best[1]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_two_rounds_of_stumps_by_brute_force(weights):
    cells = np.round(2 * W) / 2  # few distinct values, so that bins are the values themselves
    learner = Boosting(
        rounds=2,
        learning_rate=0.5,
        num_leaves=2,
        min_data_in_leaf=1,
        extra_trees=False,
        max_bin=255,
        params={"min_data_in_bin": 1, "min_sum_hessian_in_leaf": 0.0},
    )
    found = fitted(learner, weights=weights, features=Features.numeric(cells)).predictions[0, 0]
    mass = np.ones(len(TRAIN)) if weights is None else weights[TRAIN]
    scores, predicted = np.zeros(len(TRAIN)), np.zeros(len(OUT))
    for _ in range(2):
        gradient = -mass * annihilated(D[TRAIN] - scores, X[TRAIN], mass)
        j, cut, leaves = best_stump(cells[TRAIN], gradient, mass)
        for values, rows in ((scores, TRAIN), (predicted, OUT)):
            values += 0.5 * np.where(cells[rows, j] <= cut, *leaves)
    np.testing.assert_allclose(found, predicted, atol=FLOAT32 * np.std(D))
    assert np.std(predicted) > 0.1


@pytest.mark.parametrize("learner", [Boosting(), Boosting(rounds=30)], ids=["chosen", "given"])
@pytest.mark.parametrize("parts", [(TRAIN,), HALVES], ids=["whole", "halves"])
def test_held_out_targets_are_never_seen(learner, parts):
    noise = D.copy()
    noise[OUT] = 1e3 * RNG.normal(size=len(OUT))
    first, second = fitted(learner, parts=parts), fitted(learner, noise, parts=parts)
    np.testing.assert_array_equal(first.predictions, second.predictions)
    np.testing.assert_array_equal(first.tuning, second.tuning)
    noise[TRAIN[0]] += 10
    assert (fitted(learner, noise, parts=parts).predictions != first.predictions).any()


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_controls_added_to_the_target_change_nothing(weights):
    # Not to the bit: M_X removes X'c up to rounding, which 32-bit gradients then enlarge.
    first = fitted(Boosting(rounds=40), weights=weights).predictions
    second = fitted(Boosting(rounds=40), D + X @ [3.0, -5.0], weights=weights).predictions
    np.testing.assert_allclose(first, second, atol=FLOAT32 * np.std(D))


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_of_the_target_scale_predictions(factor):
    # Bit-equal for powers of two only; otherwise rounding enters 32-bit gradients.
    first = fitted(Boosting(rounds=40)).predictions
    second = fitted(Boosting(rounds=40), factor * D).predictions
    np.testing.assert_allclose(second / factor, first, atol=FLOAT32 * np.std(D))


def test_learns_f_and_not_the_linear_part():
    step = np.sign(W[:, 1])  # one split is the truth
    found = fitted(Boosting(), step + X @ [0.0, 4.0]).predictions[0, 0]
    assert np.corrcoef(found, step[OUT])[0, 1] > 0.95
    assert np.std(found) < 1.2  # a linear part would show as a standard deviation of 4


def test_given_rounds_are_kept():
    outcome = fitted(Boosting(rounds=7), parts=HALVES)
    np.testing.assert_array_equal(outcome.tuning, [[7.0, 7.0]])
    engine = Boosting(rounds=7).prepare(Features.numeric(W), X, None)
    run = engine._run(D, TRAIN, 1)
    run.advance(7)
    assert run.booster.current_iteration() == 7


@pytest.mark.parametrize("seed", range(3))
def test_an_unlucky_draw_does_not_stop_boosting(seed):
    # Randomised thresholds can all leave a leaf too small in one round and not in the next.
    engine = Boosting(rounds=50).prepare(Features.numeric(W[:, :1]), X, None)
    run = engine._run(D, np.arange(100), seed)
    run.advance(50)
    # A first round without a split leaves a constant tree, which counts as an iteration.
    assert run.booster.current_iteration() in (50, 51)


def test_chosen_rounds_do_best_on_the_other_half():
    outcome = fitted(Boosting(max_rounds=60), parts=HALVES)
    chosen = int(outcome.tuning[0, 0])

    def error(rounds):
        engine = Boosting(rounds=rounds).prepare(Features.numeric(W), X, None)
        total = 0.0
        for mine, other in (HALVES, HALVES[::-1]):
            task = FoldTask(D[:, None], (mine,), other, SEED)
            gap = D[other] - engine.fit(task).predictions[0, 0]
            total += float((annihilated(gap, X[other], np.ones(len(other))) ** 2).sum())
        return total

    errors = {rounds: error(rounds) for rounds in range(5, min(chosen + 30, 60) + 1, 5)}
    assert min(errors, key=errors.get) == chosen


def test_shared_tuning_is_that_of_the_first_target():
    both = np.column_stack([D, RNG.normal(size=N)])
    shared = fitted(Boosting(max_rounds=60), both, share_tuning=True)
    alone = fitted(Boosting(max_rounds=60))
    assert (shared.tuning == alone.tuning[0, 0]).all()
    np.testing.assert_array_equal(shared.predictions[0], alone.predictions[0])
    assert fitted(Boosting(max_rounds=60), both).tuning[1, 0] != shared.tuning[1, 0]


def test_categories_and_missing_values():
    codes = RNG.integers(0, 6, N).astype(float)
    effect = np.array([0.0, 3.0, -1.0, 3.0, -1.0, 0.5])[codes.astype(int)]
    hidden = W[:, 0].copy()
    hidden[RNG.random(N) < 0.3] = np.nan
    lost = np.isnan(hidden)
    features = Features(np.column_stack([codes, hidden]), np.array([True, False]), ("c", "w"))
    params = {"min_data_per_group": 5, "cat_smooth": 1.0}
    target = effect + 2.0 * lost
    found = fitted(Boosting(params=params), target, features=features, controls=X[:, :1])
    assert np.corrcoef(found.predictions[0, 0], target[OUT])[0, 1] > 0.95


def test_constant_inputs_predict_nothing():
    features = Features.numeric(np.ones((N, 1)))
    np.testing.assert_array_equal(fitted(Boosting(), features=features).predictions, 0)


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_parameters_are_refused(name):
    with pytest.raises(InputError, match=f"cannot set '{name}'"):
        Boosting(params={name: 1})


@pytest.mark.parametrize("name", ["rf", "random_forest"])
def test_a_forest_cannot_be_profiled(name):
    with pytest.raises(InputError, match="RandomForestRegressor"):
        Boosting(params={"boosting": name})


def test_preset_goes_by_sample_size_and_gives_way_to_what_is_set():
    few, more, many = (Boosting().settings(n) for n in (FEW_ROWS - 1, FEW_ROWS, MANY_ROWS))
    assert [s["extra_trees"] for s in (few, more, many)] == [True, False, False]
    assert few["learning_rate"] < more["learning_rate"] < many["learning_rate"]
    for n in (10, 1_000_000):
        kept = Boosting(learning_rate=0.07, extra_trees=False).settings(n)
        assert kept["learning_rate"] == 0.07
        assert kept["extra_trees"] is False


@pytest.mark.parametrize("options", [{"rounds": 0}, {"rounds": 2.5}, {"max_rounds": 0}])
def test_counts_are_checked(options):
    with pytest.raises(InputError, match=f"{next(iter(options))} must be a whole number"):
        Boosting(**options)


def test_params_go_to_lightgbm_to_the_letter():
    found = Boosting(params={"lambda_l2": 3.5, "num_leaves": 4}).settings(N)
    assert found["lambda_l2"] == 3.5
    assert found["num_leaves"] == 4
    assert found["num_threads"] == 1
    shrunk = fitted(Boosting(rounds=20, params={"lambda_l2": 1e6})).predictions
    assert np.std(shrunk) < 1e-2 * np.std(fitted(Boosting(rounds=20)).predictions)
