"""Out-of-fold predictions: nothing leaks, nothing depends on workers, X alone yields nothing."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Lasso as SklearnLasso
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mlinstruments._core.parallel import spawn_seeds
from mlinstruments.learning import OLS, Boosting, Forest, Kernel, Lasso, Ridge, Series, Stack
from mlinstruments.learning.adapters import as_learner
from mlinstruments.learning.base import FoldTask
from mlinstruments.learning.crossfit import cross_fit
from mlinstruments.learning.features import Features
from mlinstruments.learning.folds import random_split
from mlinstruments.learning.series import series_dictionary
from tests.tolerances import SOLVE

N = 160
RNG = np.random.default_rng(7)
W = RNG.normal(size=(N, 2))
X = np.column_stack([np.ones(N), RNG.normal(size=N) + 0.4 * W[:, 0]])
D = np.column_stack([np.sin(W[:, 0]) + X[:, 1], W[:, 1]]) + RNG.normal(size=(N, 2))
FIRM, YEAR = RNG.integers(0, 20, N), RNG.integers(0, 16, N)
LEARNERS = {
    "boosting": Boosting(max_rounds=30, min_data_in_leaf=5),
    "boosting, given rounds": Boosting(rounds=20, min_data_in_leaf=5),
    "series": Series(knots=4, interactions=False),
    "ridge": Ridge(),
    "kernel": Kernel(n_features=10),
    "post-lasso": Lasso(),
    "lasso, nested": Lasso("cv"),
    "ols": OLS(),
    "regressor": RandomForestRegressor(2, max_depth=4),
    "forest": Forest(n_trees=4, min_samples_leaf=8),
    "stack": Stack(["ols", RandomForestRegressor(2, max_depth=4)]),
    "search": GridSearchCV(DecisionTreeRegressor(), {"max_depth": [2, 4]}, cv=2),
    "pipeline": make_pipeline(StandardScaler(), SklearnLasso(0.05)),
}
CLUSTERS = {"none": (), "one way": (FIRM,), "two ways": (FIRM, YEAR)}


def predictions(
    learner,
    targets=D,
    clusters=(),
    n_folds=3,
    n_repeats=1,
    n_jobs=None,
    recentre=False,
    on_covariates=False,
):
    seeds = spawn_seeds(0, n_repeats)
    splits = [random_split(N, n_folds, clusters, seed) for seed in seeds]
    learner, constant = as_learner(learner), np.ones((N, 1))
    exog = Features.numeric(X[:, 1:], "x")
    inner = None
    if recentre or on_covariates:
        engine = learner.prepare(Features.numeric(W).joined(exog), constant, None)
        inner = learner.prepare(exog, constant, None) if recentre else None
    else:
        engine = learner.prepare(Features.numeric(W), X, None)
    fitted = cross_fit(engine, targets, splits, seeds, recentre=inner, n_jobs=n_jobs)
    return fitted.predictions, splits


@pytest.mark.parametrize("recentre", [False, True], ids=["linear", "recentred"])
@pytest.mark.parametrize("ways", CLUSTERS)
@pytest.mark.parametrize("name", LEARNERS)
def test_a_fold_is_never_trained_on_its_own_targets(name, ways, recentre):
    options = {"clusters": CLUSTERS[ways], "recentre": recentre}
    first, (split,) = predictions(LEARNERS[name], **options)
    cell = 1
    out = split.held_out(cell)
    barred = np.logical_or.reduce([fold == fold[out[0]] for fold in split.folds])
    noise = D.copy()
    noise[barred] += 1e3 * RNG.normal(size=(barred.sum(), 2))
    second, _ = predictions(LEARNERS[name], noise, **options)
    np.testing.assert_array_equal(first[..., out], second[..., out])
    changed = (first != second)[..., ~barred].any(axis=-1)
    assert changed.all()  # every target and part of the other folds was trained on it


@pytest.mark.parametrize("name", LEARNERS)
def test_workers_change_nothing(name):
    one, _ = predictions(LEARNERS[name], n_repeats=2, n_jobs=1)
    two, _ = predictions(LEARNERS[name], n_repeats=2, n_jobs=2)
    np.testing.assert_array_equal(one, two)
    assert (one[0] != one[1]).any()  # repeats differ


@pytest.mark.parametrize("name", ["boosting", "ridge", "regressor", "forest", "stack"])
def test_every_entry_is_the_fit_of_its_place(name):
    found, splits = predictions(LEARNERS[name], n_repeats=2)
    assert found.shape == (2, 2, 2, N)
    seeds = spawn_seeds(0, 2)
    engine = as_learner(LEARNERS[name]).prepare(Features.numeric(W), X, None)
    r, cell, target = 1, 2, 1
    seed = np.random.SeedSequence(seeds[r].entropy, spawn_key=(*seeds[r].spawn_key, 1)).spawn(3)
    rows = splits[r].held_out(cell)
    task = FoldTask.of_cell(D[:, [target]], splits[r], cell, seed[cell])
    expected = engine.fit(task).predictions[0]
    # Ridge serves all cells and targets at once: the same sums, in another order.
    rtol = SOLVE if name == "ridge" else 0.0
    np.testing.assert_allclose(found[r, target][:, rows], expected, rtol=rtol)


def test_targets_are_learned_apart():
    alone, _ = predictions(Boosting(max_rounds=30), D[:, :1])
    together, _ = predictions(Boosting(max_rounds=30), D)
    np.testing.assert_array_equal(together[:, 0], alone[:, 0])


def test_recentring_leaves_nothing_of_a_function_of_covariates():
    target = (X[:, 1] ** 3 - X[:, 1])[:, None]  # in the span of the splines, to the digit
    exact = Series(penalty=0.0, knots=3, interactions=False)
    found, _ = predictions(exact, target, recentre=True)
    np.testing.assert_allclose(found, 0, atol=SOLVE * np.abs(target).max())


def test_recentring_subtracts_the_regression_on_covariates():
    square = W[:, :1] ** 2  # learned without error, then regressed on splines of x
    exact = Series(penalty=0.0, knots=3, interactions=False)
    found, (split,) = predictions(exact, square, recentre=True)
    splines = series_dictionary(Features.numeric(X[:, 1:]), 3, 0)
    both = np.column_stack([np.ones(N), splines])
    for cell in range(3):
        out = split.held_out(cell)
        for i, rows in enumerate(split.training(cell)):
            expected = (square - both @ np.linalg.lstsq(both[rows], square[rows], rcond=None)[0])[
                out, 0
            ]
            gap = found[0, 0, i, out] - expected
            np.testing.assert_allclose(gap, gap.mean(), atol=SOLVE * np.abs(square).max())


SHRINKING = {
    "boosting": LEARNERS["boosting"],
    "boosting, few rounds": Boosting(rounds=10, min_data_in_leaf=5),
    "regressor": LEARNERS["regressor"],
    "series, heavy penalty": Series(penalty=1.0, interactions=False),
}


@pytest.mark.parametrize("name", SHRINKING)
def test_recentring_leaves_little_of_a_function_of_covariates_to_learners_that_shrink(name):
    target = np.sign(X[:, 1])[:, None]  # one split is the truth
    learned, _ = predictions(SHRINKING[name], target, on_covariates=True)
    found, _ = predictions(SHRINKING[name], target, recentre=True)
    assert np.std(learned) > 0.2 * np.std(target)
    assert np.std(found) < 0.2 * np.std(learned)


def test_linear_first_stages_never_see_the_covariates():
    # Rows that share W share their prediction, whatever their x.
    features = Features.numeric(np.round(W))
    targets = 5 * np.sign(X[:, [1]]) + np.sign(W[:, [1]])
    seeds = spawn_seeds(0, 1)
    splits = [random_split(N, 2, (), seeds[0])]
    engine = Boosting(max_rounds=30, min_data_in_leaf=5).prepare(features, X, None)
    found = cross_fit(engine, targets, splits, seeds).predictions[0, 0]
    assert np.std(found) > 0
    for cell in range(2):
        rows = splits[0].held_out(cell)
        _, group = np.unique(features.values[rows], axis=0, return_inverse=True)
        for g in range(group.max() + 1):
            same = found[:, rows[group.ravel() == g]]
            np.testing.assert_array_equal(same, same[:, [0]] + 0 * same)


def test_tuning_values_are_reported_by_place():
    seeds = spawn_seeds(0, 1)
    splits = [random_split(N, 3, (), seeds[0])]
    for learner, expected in ((Boosting(rounds=9), 9.0), (Ridge(0.5), 0.5), (OLS(), 0.0)):
        engine = learner.prepare(Features.numeric(W), X, None)
        tuning = cross_fit(engine, D, splits, seeds).tuning
        assert tuning.shape == (1, 3, 2, 2)
        np.testing.assert_array_equal(tuning, expected)
    forest = as_learner(RandomForestRegressor(2)).prepare(Features.numeric(W), X, None)
    assert np.isnan(cross_fit(forest, D, splits, seeds).tuning).all()


@pytest.mark.parametrize("name", ["boosting", "ridge"])
def test_processes_change_nothing(name):
    here, _ = predictions(LEARNERS[name])
    with joblib.parallel_config(backend="loky", n_jobs=2):
        there, _ = predictions(LEARNERS[name])
    np.testing.assert_array_equal(here, there)
