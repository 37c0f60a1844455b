"""Forests: clusters drawn whole, out-of-bag predictions that never saw their row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor

from mlinstruments import MLIV
from mlinstruments._core.exceptions import InputError
from mlinstruments.learning import Forest
from mlinstruments.learning.backfitting import ModelTask
from mlinstruments.learning.base import FoldTask
from mlinstruments.learning.features import Features
from mlinstruments.learning.forest import grow
from tests.designs import DESIGNS
from tests.tolerances import SOLVE

N = 240
RNG = np.random.default_rng(3)
W = RNG.uniform(-1, 1, (N, 2)).astype(np.float32)
X = np.column_stack([np.ones(N), RNG.normal(size=N) + W[:, 0]])
D = np.sin(4 * W[:, 0]) + X[:, 1] + 0.3 * RNG.normal(size=N)
CLUSTER = RNG.integers(0, 40, N)
EVERYONE = np.arange(N)
SEED = np.random.SeedSequence(1)


def fitted(learner, target=D, controls=X, weights=None, clusters=(), rows=EVERYONE, out=EVERYONE):
    engine = learner.prepare_clustered(Features.numeric(W), controls, weights, clusters)
    return engine.fit(FoldTask(target[:, None], (rows,), out, SEED)).predictions[0, 0]


@pytest.mark.parametrize("clustered", [False, True], ids=["rows", "clusters"])
def test_a_tree_out_of_bag_never_saw_the_row_or_its_cluster(clustered):
    """Noise in one unit's targets changes none of its own predictions, but others'."""
    codes = CLUSTER if clustered else EVERYONE
    clusters = (CLUSTER,) if clustered else ()
    constant = X[:, :1]
    first = fitted(Forest(n_trees=40), controls=constant, clusters=clusters)
    for unit in (0, 7):
        mine = codes == unit
        noisy = D + 1e3 * mine
        second = fitted(Forest(n_trees=40), noisy, constant, clusters=clusters)
        np.testing.assert_array_equal(first[mine], second[mine])
        assert (first[~mine] != second[~mine]).mean() > 0.2


def test_out_of_bag_predictions_by_hand():
    learner, target = Forest(n_trees=40, min_samples_leaf=3), D
    found = grow(learner, W, ModelTask(EVERYONE, target, 5), None, None)
    rng = np.random.default_rng(5)
    total, count = np.zeros(N), np.zeros(N)
    for tree, mean in found.trees:
        drawn = rng.integers(0, N, N)
        rng.integers(2**31)
        assert mean == pytest.approx(target[drawn].mean())
        left = np.setdiff1d(EVERYONE, drawn)
        total[left] += tree.predict(W[left]) - mean
        count[left] += 1
    assert (count > 0).all()
    np.testing.assert_allclose(found.outside, total / count, rtol=SOLVE)
    np.testing.assert_array_equal(found.predict(EVERYONE[::-1]), found.outside[::-1])


def test_predictions_of_other_rows_average_all_trees():
    rows, out = np.arange(0, N, 2), np.arange(1, N, 2)
    found = grow(Forest(n_trees=6), W, ModelTask(rows, D[rows], 5), None, None)
    expected = np.mean([tree.predict(W[out]) - mean for tree, mean in found.trees], axis=0)
    np.testing.assert_allclose(found.predict(out), expected)


def test_it_is_as_good_as_scikit_learns():
    rows, out = np.arange(160), np.arange(160, N)
    constant = X[:, :1]
    target = D - X[:, 1]
    ours = fitted(Forest(n_trees=200), target, constant, rows=rows, out=out)
    theirs = RandomForestRegressor(200, min_samples_leaf=5, random_state=0)
    theirs = theirs.fit(W[rows], target[rows]).predict(W[out])
    assert np.corrcoef(ours, theirs)[0, 1] > 0.97
    errors = [np.std(target[out] - f) for f in (ours, theirs)]
    assert errors[0] < 1.05 * errors[1]


def test_weights_are_those_of_rows_repeated():
    """Leaves of one row: a row of weight two counts as two."""
    weights = np.where(EVERYONE % 2, 2.0, 1.0)
    heavy = grow(Forest(n_trees=30), W, ModelTask(EVERYONE, D, 5), weights, None)
    plain = grow(Forest(n_trees=30), W, ModelTask(EVERYONE, D, 5), None, None)
    assert (heavy.outside != plain.outside).any()
    scaled = grow(Forest(n_trees=30), W, ModelTask(EVERYONE, D, 5), 4 * weights, None)
    np.testing.assert_allclose(scaled.outside, heavy.outside, rtol=SOLVE)


def test_a_forest_of_stumps_that_find_nothing_predicts_nothing():
    """Without its bag's mean each tree would lean against the rows it left out."""
    learner = Forest(n_trees=50, min_samples_leaf=N)
    np.testing.assert_allclose(fitted(learner, controls=X[:, :1]), 0, atol=1e-12)


def test_the_linear_part_is_fitted_to_rows_out_of_bag():
    """W and x are related; in-sample predictions would take the slope of x for their own."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(400, 1)).astype(np.float32)
    x = w[:, 0] + 0.5 * rng.normal(size=400)
    d = x + np.cos(3 * w[:, 0]) + 0.3 * rng.normal(size=400)
    controls = np.column_stack([np.ones(400), x])
    engine = Forest(n_trees=60, min_samples_leaf=2, rounds=10).prepare(
        Features.numeric(w), controls, None
    )
    f = engine.fit(FoldTask(d[:, None], (np.arange(400),), np.arange(400), SEED)).predictions[0, 0]
    slope = np.linalg.lstsq(controls, d - f, rcond=None)[0][1]
    assert abs(slope - 1) < 0.25


# ---- in one fit ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ways", ["none", "one"])
@pytest.mark.parametrize("d", [1, 2])
def test_one_forest_makes_an_instrument(d, ways):
    design = DESIGNS[d]
    res = MLIV(Forest(n_trees=100), n_folds="oob").fit(*design.data, clusters=design.clusters[ways])
    assert "out of bag x 1 repeat" in str(res)
    truth = np.array([1.0, -0.5])[:d]
    assert (np.abs(res.params[list(design.D)] - truth) < 4 * res.std_errors[list(design.D)]).all()
    assert (res.folds["repeat 0"] == 0).all()
    assert res.first_stage.f.min() > 10
    pooled, corrected = (
        res.anderson_rubin(0.0, ar=kind).statistic for kind in ("pooled", "corrected")
    )
    assert corrected == pytest.approx(pooled / 2, rel=SOLVE)  # no halves: all of it may be noise
    with pytest.raises(InputError, match="no folds; use 'corrected'"):
        res.conf_int(method="ar", ar="folds")


def test_repeats_are_other_forests():
    res = MLIV(Forest(n_trees=30), n_folds="oob", n_repeats=3).fit(*DESIGNS[1].data)
    assert res.splits["estimate"].nunique() == 3
    assert res.params["d1"] == np.median(res.splits["estimate"])


@pytest.mark.slow
def test_an_irrelevant_instrument_stays_uninformative_out_of_bag():
    """60 draws: the corrected test rejects at most 5%, 8 or more of them have probability 1e-2."""
    rejected, f = 0, []
    for seed in range(60):
        rng = np.random.default_rng([9, seed])
        w, e = rng.normal(size=(150, 2)), rng.normal(size=150)
        d = 0.95 * e + 0.3 * rng.normal(size=150)
        res = MLIV(Forest(n_trees=30), n_folds="oob").fit(d + e, np.ones(150), d, w)
        rejected += 1.0 not in res.conf_int(method="ar")
        f.append(res.first_stage.f["endog"])
    assert rejected < 8
    assert np.median(f) < 2


REFUSED = {
    "another learner": ("ridge", {}, {}, ["'forest'", "ridge has none"]),
    "two ways": (
        "forest",
        {},
        {"clusters": DESIGNS[1].clusters["two"]},
        ["two-way clusters", "Use folds"],
    ),
    "own folds": ("forest", {}, {"folds": EVERYONE % 2}, ["folds= gives"]),
    "blocks": ("forest", {"repeat_blocks": 20}, {}, ["repeat_blocks"]),
    "effects": ("forest", {}, {"absorb": EVERYONE % 9}, ["absorb="]),
    "recentred": ("forest", {"covariates": "recentred"}, {}, ["'recentred'"]),
    "by fold": ("forest", {"interact_controls": True}, {}, ["interact_controls"]),
    "efficient": ("forest", {"efficient": True}, {}, ["n_folds='oob'"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_out_of_bag(case):
    learner, settings, options, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        MLIV(learner, n_folds="oob", **settings).fit(*DESIGNS[1].data, **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_trees": 1},
        {"min_samples_leaf": 0},
        {"rounds": 0},
        {"max_features": 0.0},
        {"max_features": True},
    ],
    ids=str,
)
def test_settings_out_of_range(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        Forest(**settings)


def test_missing_instruments_and_categories_are_taken():
    y, X, D, W = (part.copy() for part in DESIGNS[1].data)
    W.loc[:30, "w1"] = np.nan
    W["court"] = pd.Categorical(np.array(list("abc"))[np.arange(240) % 3])
    res = MLIV(Forest(n_trees=20), n_folds=3).fit(y, X, D, W)
    assert res.nobs == 240
    assert np.isfinite(res.params).all()
