"""Stacks: convex weights that are exact, chosen inside training parts, and shown."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor

from mlinstruments import MLIV, MLIVResults
from mlinstruments._core.exceptions import InputError
from mlinstruments.learning import OLS, Boosting, Ridge, Series, Stack
from mlinstruments.learning.base import FoldTask
from mlinstruments.learning.features import Features
from mlinstruments.learning.stacking import convex_weights
from tests.designs import DESIGNS
from tests.tolerances import SOLVE

N = 200
RNG = np.random.default_rng(2)
W = RNG.uniform(-1, 1, (N, 2))
X = np.column_stack([np.ones(N), RNG.normal(size=N) + W[:, 0]])
D = (np.sin(4 * W[:, 0]) + X[:, 1] + 0.5 * RNG.normal(size=N))[:, None]
SEED = np.random.SeedSequence(1)


@pytest.mark.parametrize("J", [1, 2, 4])
@pytest.mark.parametrize("seed", range(6))
def test_weights_minimise_squared_error_on_the_simplex(seed, J):
    rng = np.random.default_rng(seed)
    predictions = rng.normal(size=(60, J)) + rng.normal(size=(60, 1))
    target = predictions @ rng.normal(size=J) + rng.normal(size=60)
    found = convex_weights(predictions, target)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()

    def loss(w):
        return float(((target - predictions @ w) ** 2).sum())

    expected = minimize(
        loss,
        np.full(J, 1 / J),
        bounds=[(0, 1)] * J,
        method="SLSQP",
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert loss(found) <= loss(expected.x) * (1 + 1e-9)
    np.testing.assert_allclose(found, expected.x, atol=1e-4)


def test_equal_and_constant_predictions_have_weights():
    same = np.ones((5, 3)) * np.arange(5)[:, None]
    np.testing.assert_array_equal(convex_weights(same, np.arange(5.0)), [1, 0, 0])
    np.testing.assert_array_equal(convex_weights(np.zeros((5, 2)), np.arange(5.0)), [1, 0])


def engine(learner, weights=None):
    return learner.prepare(Features.numeric(W), X, weights)


def test_a_stack_by_hand():
    weights = RNG.uniform(0.5, 2, N)
    tune = np.arange(N) % 2
    rows, out = np.arange(150), np.arange(150, N)
    members = [Series(0.05, interactions=False), OLS()]
    fit = engine(Stack(members), weights).fit(FoldTask(D, (rows,), out, SEED, tune=tune))
    sides = [rows[tune[rows] == side] for side in (0, 1)]
    root = np.sqrt(weights)
    left, target = [], []
    for here, there in (sides, sides[::-1]):
        found = [
            engine(m, weights).fit(FoldTask(D, (here,), there, SEED)).predictions[0, 0]
            for m in members
        ]
        both = root[there, None] * np.column_stack([*found, D[there]])
        controls = root[there, None] * X[there]
        both = both - controls @ np.linalg.lstsq(controls, both, rcond=None)[0]
        left.append(both[:, :2])
        target.append(both[:, 2])
    expected = convex_weights(np.vstack(left), np.concatenate(target))
    np.testing.assert_allclose(fit.weights[0, 0], expected, atol=SOLVE)
    assert 0 < expected[0] <= 1
    whole = [
        engine(m, weights).fit(FoldTask(D, (rows,), out, SEED)).predictions[0, 0] for m in members
    ]
    np.testing.assert_allclose(fit.predictions[0, 0], expected @ whole, atol=SOLVE)


def test_twins_are_one_and_a_constant_takes_a_share_only():
    # A share of a constant is shrinkage: with 75 rows to learn from some is due.
    rows, out = np.arange(150), np.arange(150, N)
    task = FoldTask(D, (rows[::2], rows[1::2]), out, SEED)
    alone = engine(OLS()).fit(task).predictions
    twins = engine(Stack(["ols", "ols"])).fit(task)
    np.testing.assert_allclose(twins.predictions, alone, atol=SOLVE)
    fit = engine(Stack([Series(0.05, interactions=False), DummyRegressor()])).fit(task)
    assert (fit.weights[0, :, 0] > 0.5).all()


def test_shared_tuning_fits_targets_one_by_one():
    targets = np.hstack([D, D**2])
    rows, out = np.arange(150), np.arange(150, N)
    bound = engine(Stack(["ols", "ridge"]))
    together = bound.fit(FoldTask(targets, (rows,), out, SEED, share_tuning=True))
    apart = bound.fit(FoldTask(targets, (rows,), out, SEED))
    np.testing.assert_allclose(together.predictions, apart.predictions, rtol=SOLVE)
    np.testing.assert_allclose(together.weights, apart.weights, atol=SOLVE)


def test_results_show_weights_of_every_fold(tmp_path):
    design = DESIGNS[2]
    learners = ["ols", Boosting(rounds=10), RandomForestRegressor(3)]
    model = MLIV(learners, n_folds=3, n_repeats=2)
    res = model.fit(*design.data, clusters=design.firm)
    table = res.first_stage.learner_weights
    names = ["ols", "boosting(rounds=10)", "RandomForestRegressor"]
    assert list(table) == ["repeat", "fold", "endog", "part", *names]
    assert len(table) == 2 * 3 * 2 * 2
    np.testing.assert_allclose(table[names].sum(axis=1), 1)
    assert (table[names] >= 0).all(axis=None)
    assert "stack of ols, boosting(rounds=10), RandomForestRegressor" in str(res)
    res.save(tmp_path / "stack.zip")
    again = MLIVResults.load(tmp_path / "stack.zip").first_stage.learner_weights
    np.testing.assert_array_equal(again[names], table[names])
    assert MLIV("ols").fit(*design.data).first_stage.learner_weights.empty


def test_options_take_a_stack():
    design = DESIGNS[1]
    for settings in ({"orthogonal": True}, {"control_variate": True}, {"covariates": "recentred"}):
        res = MLIV(["ols", "ridge"], n_folds=3, **settings).fit(
            *design.data, weights=design.weights
        )
        assert abs(res.params["d1"] - 1) < 4 * res.std_errors["d1"]
        assert not res.first_stage.learner_weights.empty


def test_names_are_told_apart():
    assert Stack([Ridge(1.0), Ridge(1.0), "ols"]).names == (
        "ridge(penalty=1.0) 1",
        "ridge(penalty=1.0) 2",
        "ols",
    )


@pytest.mark.parametrize("learners", [[], ["ols"], ["ols"] * 11, "ols"], ids=str)
def test_too_few_or_too_many(learners):
    with pytest.raises(InputError, match="list of 2 to 10 learners"):
        Stack(learners)


def test_a_member_that_is_unknown_is_named():
    with pytest.raises(InputError, match="learner must be one of"):
        MLIV(["ols", "ridges"]).fit(*DESIGNS[1].data)
