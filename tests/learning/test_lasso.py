"""Lasso and post-lasso against scikit-learn, optimality conditions and the formulas themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Lasso as SklearnLasso

from mlinstruments import MLIV
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import residuals
from mlinstruments.learning import Lasso
from mlinstruments.learning.base import FoldTask
from mlinstruments.learning.features import Features
from mlinstruments.learning.lasso import SHARES, plugin
from mlinstruments.learning.lasso_path import (
    exact,
    paths,
    plugin_loadings,
    plugin_strength,
    refit,
    strongest,
)
from tests.designs import strong
from tests.tolerances import ROUNDING, SOLVE

N, M = 300, 20
RNG = np.random.default_rng(5)
W = RNG.normal(size=(N, M)) * np.logspace(-3, 3, M)
STANDARD = (W - W.mean(axis=0)) / W.std(axis=0)
X = np.column_stack([np.ones(N), RNG.normal(size=N) + 0.5 * STANDARD[:, 0]])
NOISE = RNG.normal(size=N) * np.exp(0.4 * STANDARD[:, 0])
D = 1.5 * STANDARD[:, 0] - STANDARD[:, 3] + 2 * X[:, 1] + NOISE
TARGETS = np.column_stack([D, RNG.normal(size=N)])
WEIGHTS = RNG.uniform(0.3, 2, N)
TRAIN, OUT = np.arange(200), np.arange(200, N)
TUNE = RNG.integers(0, 2, N)
SEED = np.random.SeedSequence(2)


def fitted(learner, targets=TARGETS, weights=None, clusters=(), w=W, **options):
    engine = learner.prepare_clustered(Features.numeric(w), X, weights, clusters)
    return engine.fit(FoldTask(targets, (TRAIN,), OUT, SEED, tune=TUNE, **options))


def training_rows(weights=None, rows=TRAIN, target=D):
    """Standardised columns and the target less the controls, times the root weights."""
    own = None if weights is None else weights[rows]
    root = np.ones(len(rows)) if own is None else np.sqrt(own)
    left = residuals(STANDARD[rows], X[rows], own) * root[:, None]
    return left, residuals(target[rows], X[rows], own) * root


def sklearn_lasso(left, outcome, penalty):
    model = SklearnLasso(penalty, fit_intercept=False, tol=1e-14, max_iter=100_000)
    return model.fit(left, outcome).coef_


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("penalty", [0.02, 0.2])
def test_a_given_penalty_is_that_of_scikit_learn(penalty, weights):
    found = fitted(Lasso(penalty), weights=weights)
    np.testing.assert_array_equal(found.tuning, penalty)
    for j, target in enumerate(TARGETS.T):
        b = sklearn_lasso(*training_rows(weights, target=target), penalty)
        assert 0 < np.count_nonzero(b) < M or j == 1
        np.testing.assert_allclose(found.predictions[j, 0], STANDARD[OUT] @ b, atol=SOLVE)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_refitting_is_least_squares_on_what_was_selected(weights):
    left, outcome = training_rows(weights)
    chosen = np.flatnonzero(sklearn_lasso(left, outcome, 0.2))
    b = np.linalg.lstsq(left[:, chosen], outcome, rcond=None)[0]
    found = fitted(Lasso(0.2, post=True), weights=weights).predictions[0, 0]
    np.testing.assert_allclose(found, STANDARD[OUT][:, chosen] @ b, atol=SOLVE)


def test_the_nested_penalty_is_that_of_least_error_between_sides():
    found = fitted(Lasso("cv"))
    for j, target in enumerate(TARGETS.T):
        left, outcome = training_rows(target=target)
        penalties = np.abs(left.T @ outcome).max() / len(TRAIN) * SHARES
        errors = np.zeros(len(penalties))
        for side in (0, 1):
            mine, other = (TRAIN[TUNE[TRAIN] == s] for s in (side, 1 - side))
            rows, held_out = (
                training_rows(rows=mine, target=target),
                training_rows(rows=other, target=target),
            )
            for i, penalty in enumerate(penalties):
                b = sklearn_lasso(*rows, penalty)
                errors[i] += ((held_out[1] - held_out[0] @ b) ** 2).sum()
        best = penalties[errors.argmin()]
        assert found.tuning[j, 0] == pytest.approx(best, rel=SOLVE)
        b = sklearn_lasso(left, outcome, best)
        np.testing.assert_allclose(found.predictions[j, 0], STANDARD[OUT] @ b, atol=SOLVE)


def test_targets_choose_for_themselves_unless_tuning_is_shared():
    apart, shared = fitted(Lasso("cv")), fitted(Lasso("cv"), share_tuning=True)
    assert apart.tuning[0, 0] != apart.tuning[1, 0]
    assert shared.tuning[1, 0] == shared.tuning[0, 0] == apart.tuning[0, 0]


# ---- the plug-in penalty -------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("clustered", [False, True])
def test_the_plugin_fit_satisfies_its_own_conditions(clustered, weights):
    clusters = (RNG.integers(0, 40, 200),) if clustered else ()
    left, outcome = training_rows(weights)
    b, per_row = plugin(left, outcome, clusters, Lasso(post=False))
    post, _ = plugin(left, outcome, clusters, Lasso())
    chosen = np.flatnonzero(b)
    assert set(chosen) == set(np.flatnonzero(post)) == {0, 3}
    # Loadings are those of the residuals of least squares on what they select.
    loadings = plugin_loadings(left, outcome - left @ post, clusters)
    quantile = stats.norm.ppf(1 - 0.1 / np.log(200) / (2 * M))
    bound = 1.1 * np.sqrt(200) * quantile * loadings  # half of lambda, for half the squares
    assert per_row == pytest.approx(1.1 * quantile / np.sqrt(200), rel=ROUNDING)
    slopes = left.T @ (outcome - left @ b)
    np.testing.assert_allclose(slopes[chosen], (bound * np.sign(b))[chosen], rtol=SOLVE)
    assert (np.abs(slopes) <= bound * (1 + SOLVE)).all()
    np.testing.assert_allclose(
        post[chosen], np.linalg.lstsq(left[:, chosen], outcome, rcond=None)[0], rtol=SOLVE
    )


def test_loadings_are_larger_where_noise_grows_with_a_column():
    left, _ = training_rows()
    noise = RNG.normal(size=len(left)) * np.abs(left[:, 0])
    loadings = plugin_loadings(left, noise, ())
    flat = np.sqrt((left**2).mean(axis=0) * (noise**2).mean())
    assert loadings[0] > 1.4 * flat[0]  # sqrt(E w^4 / (E w^2)^2) = sqrt(3) in the limit
    assert (loadings[1:] < 1.4 * flat[1:]).all()


def test_loadings_by_cluster():
    left, e = RNG.normal(size=(60, 4)), RNG.normal(size=60)
    a, b = RNG.integers(0, 12, 60), RNG.integers(0, 7, 60)

    def summed(codes):
        return sum(((left * e[:, None])[codes == c].sum(axis=0) ** 2 for c in set(codes)), 0)

    def found(*clusters):
        return plugin_loadings(left, e, clusters) ** 2 * 60

    np.testing.assert_allclose(found(), ((left * e[:, None]) ** 2).sum(axis=0), rtol=ROUNDING)
    np.testing.assert_allclose(found(np.arange(60)), found(), rtol=ROUNDING)
    np.testing.assert_allclose(found(a), summed(a), rtol=ROUNDING)
    both = summed(a) + summed(b) - summed(10 * a + b)
    least = np.maximum(summed(a), summed(b))
    np.testing.assert_allclose(found(a, b), np.maximum(both, least), rtol=ROUNDING)


def test_clusters_of_the_fit_reach_the_loadings():
    cluster = np.arange(N) // 10
    group = np.repeat(RNG.normal(size=N // 10), 10)
    w = np.column_stack([np.repeat(RNG.normal(size=(N // 10, 3)), 10, axis=0)])
    d = 0.35 * w[:, 0] + group + 0.3 * RNG.normal(size=N)
    alone, together = (
        Lasso().prepare_clustered(Features.numeric(w), X[:, :1], None, clusters)
        .fit(FoldTask(d[:, None], (TRAIN,), OUT, SEED)).predictions
        for clusters in ((), (cluster,))
    )  # fmt: skip
    assert np.ptp(alone) > 0  # ten copies of a row look like ten rows
    assert np.ptp(together) == 0
    y = d + RNG.normal(size=N)
    model = MLIV("lasso", n_folds=3)
    assert model.fit(y, np.ones(N), d, w).first_stage.f["endog"] > 0
    assert model.fit(y, np.ones(N), d, w, clusters=cluster).weak


def test_units_and_controls_change_nothing():
    base = fitted(Lasso()).predictions
    for w in (W * np.logspace(4, -4, M), W + X @ np.array([[100.0], [0.0]])):
        np.testing.assert_allclose(fitted(Lasso(), w=w).predictions, base, atol=SOLVE)
    shifted = 1000 * (TARGETS + (X @ [3.0, -5.0])[:, None])
    np.testing.assert_allclose(fitted(Lasso(), shifted).predictions, 1000 * base, rtol=SOLVE)


def test_more_columns_than_rows_still_find_the_relevant_ones():
    w = RNG.normal(size=(N, 500))
    d = 2 * w[:, 7] - 1.5 * w[:, 11] + RNG.normal(size=N)
    found = fitted(Lasso(), d[:, None], w=w).predictions[0, 0]
    assert np.corrcoef(found, 2 * w[OUT, 7] - 1.5 * w[OUT, 11])[0, 1] > 0.99


# ---- nothing selected ----------------------------------------------------------------------------


def test_nothing_selected_is_a_weak_first_stage_that_is_stated():
    y, x, d, w = strong(n=200).data
    noise = np.random.default_rng(0).normal(size=(200, 8))
    res = MLIV("lasso").fit(y, x, d, noise)
    assert res.params.isna().all()
    assert "found nothing in the instruments" in res.weak
    assert res.conf_int(method="ar").is_whole_line
    assert "post-lasso" in str(res)
    found = MLIV("lasso").fit(y, x, d, w)
    assert not found.weak
    assert found.first_stage.f["d1"] > 10


# ---- solutions -----------------------------------------------------------------------------------


def test_paths_are_lasso_solutions_and_exact_ones_to_the_digit():
    left, outcome = training_rows()
    gram, cross, square = left.T @ left, left.T @ outcome, outcome @ outcome
    loadings = RNG.uniform(0.5, 2, M)
    top = strongest(cross, loadings)
    strengths = top * np.array([1.01, 0.5, 0.1, 0.01])
    found = paths(gram, cross, square, loadings, strengths)
    assert (found[:, 0] == 0).all()
    for i, strength in enumerate(strengths):
        b = paths(gram, cross, square, loadings, strengths[[i]])[:, 0]
        b = exact(gram, cross, b, loadings, strength)
        expected = sklearn_lasso(left / loadings, outcome, strength / len(left)) / loadings
        np.testing.assert_allclose(b, expected, atol=SOLVE)
        # A path is stopped at a gap of 1e-7 of the square: coefficients to about its root.
        np.testing.assert_allclose(found[:, i], b, atol=1e-3 * np.abs(b).max())


def test_columns_that_vanish_get_no_coefficient():
    left, outcome = training_rows()
    left = np.column_stack([left, np.zeros(len(left)), 1e-14 * RNG.normal(size=len(left))])
    gram, cross = left.T @ left, left.T @ outcome
    b = paths(gram, cross, outcome @ outcome, np.ones(M + 2), np.array([1.0]))[:, 0]
    assert (b[M:] == 0).all()
    assert (b[:M] != 0).any()
    assert (paths(gram, 0 * cross, 0.0, np.ones(M + 2), np.array([1.0])) == 0).all()
    loadings = plugin_loadings(left, outcome, ())
    assert (paths(gram, cross, outcome @ outcome, loadings, np.array([1.0]))[M:] == 0).all()


def test_refits_on_collinear_columns_are_of_least_norm():
    column = RNG.normal(size=50)
    left = np.column_stack([column, column])
    y = RNG.normal(size=50)
    found = refit(left.T @ left, left.T @ y, np.array([0, 1]))
    np.testing.assert_allclose(found, np.linalg.lstsq(left, y, rcond=None)[0], rtol=SOLVE)


def test_the_plugin_strength():
    assert plugin_strength(100, 50, 1.1, None) == plugin_strength(100, 50, 1.1, 0.1 / np.log(100))
    assert plugin_strength(100, 50, 2.2, 0.1) == 2 * plugin_strength(100, 50, 1.1, 0.1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"penalty": "bic"}, "'plugin', 'cv' or a number above 0; got 'bic'"),
        ({"penalty": 0}, "number above 0; got 0"),
        ({"penalty": float("nan")}, "got nan"),
        ({"c": 0}, "c must be above 0"),
        ({"gamma": 1.0}, "gamma must lie between 0 and 1"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(InputError, match=words):
        Lasso(**settings)
