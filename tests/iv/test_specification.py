"""Tests of the assumptions against linearmodels, stacked regressions and brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS, IVGMM
from scipy import stats

from mlinstruments import GMM, JIVE, LIML, OLS, TSLS, Fuller
from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments.iv.specification import (
    contrast,
    curvature,
    curved_terms,
    influence,
    over_identification,
)
from tests.designs import strong
from tests.tolerances import IDENTITY, ROUNDING, SOLVE


def many_clusters(d):
    design, rng = strong(n=200, d=d, seed=50 + d), np.random.default_rng(d)
    firm, year = (
        np.array([f"{v}" for v in rng.integers(0, k, 200)], dtype=object) for k in (90, 80)
    )
    return replace(design, firm=firm, year=year)


DESIGNS = {d: many_clusters(d) for d in (1, 2)}
KINDS = ["unadjusted", "robust", "clustered", "kernel"]


def words(kind, design):
    if kind == "clustered":
        return {"clusters": encode_labels(design.firm)}
    return {"kernel": "bartlett", "bandwidth": 3} if kind == "kernel" else {}


def ours(kind, design):
    return {
        "cov_type": kind,
        "clusters": design.clusters["one"] if kind == "clustered" else None,
        "bandwidth": 3 if kind == "kernel" else None,
    }


# ---- over-identification ---------------------------------------------------------------------


def sargan(design, W):
    """n e'P e / e'e of weighted 2SLS."""
    root = np.sqrt(design.weights)[:, None]
    y, X, D, Z = (root * np.asarray(v).reshape(200, -1) for v in (*design.data[:3], W))
    both = np.hstack([X, Z])
    regressors = np.hstack([X, D])
    fitted = both @ np.linalg.lstsq(both, regressors, rcond=None)[0]
    e = y - regressors @ np.linalg.lstsq(fitted, y, rcond=None)[0]
    explained = both @ np.linalg.lstsq(both, e, rcond=None)[0]
    return 200 * float((explained**2).sum() / (e**2).sum())


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("debiased", [False, True], ids=["large", "debiased"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 2])
def test_j_is_that_of_gmm(d, kind, debiased, weighted):
    design = DESIGNS[d]
    y, X, D, W = design.data
    W = W.assign(w4=W["w2"] ** 2)
    weights = design.weights if weighted else None
    theirs = words(kind, design)
    model = IVGMM(y, X, D, W, weights=weights, weight_type=kind, **theirs)
    expected = model.fit(iter_limit=2, cov_type=kind, **theirs).j_stat
    found = TSLS().fit(y, X, D, W, weights=weights, debiased=debiased, **ours(kind, design)).overid
    # Small-sample factors are those of the fit's covariance, with instruments as coefficients.
    factor = 200 / (200 - 6) if debiased else 1.0
    if debiased and kind == "clustered":
        g = len(np.unique(design.firm))
        factor *= g / (g - 1) * 199 / 200
    if kind == "unadjusted" and weighted:
        # linearmodels subtracts a mean from weighted residuals, which have none to subtract.
        assert found.statistic == pytest.approx(sargan(design, W) / factor, rel=SOLVE)
        return
    assert found.statistic == pytest.approx(expected.stat / factor, rel=SOLVE)
    assert found.pvalue == pytest.approx(stats.chi2.sf(expected.stat / factor, 4 - d), rel=1e-6)
    assert found.df == 4 - d
    if kind == "unadjusted":
        other = IV2SLS(y, X, D, W, weights=weights).fit().sargan
        assert found.statistic == pytest.approx(other.stat / factor, rel=SOLVE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_j_of_gmm_is_linearmodels_own(steps, kind):
    design = DESIGNS[1]
    theirs = words(kind, design)
    found = GMM(steps).fit(*design.data, **ours(kind, design)).overid
    model = IVGMM(*design.data, weight_type=kind, **theirs)
    # One step weights no moments; its residuals are those of 2SLS.
    expected = model.fit(iter_limit=max(steps, 2), tol=0, cov_type=kind, **theirs).j_stat
    assert found.statistic == pytest.approx(expected.stat, rel=SOLVE)
    assert (found.df, found.pvalue) == (2, pytest.approx(expected.pval, rel=1e-6))


def test_j_of_others_weights_by_their_residuals():
    design = DESIGNS[1]
    y, X, D, W = design.data
    X = X.to_numpy()
    z, d, outcome = (
        v - X @ np.linalg.lstsq(X, v, rcond=None)[0]
        for v in (W.to_numpy(), D["d1"].to_numpy(), y.to_numpy())
    )
    for model in (LIML(), Fuller(), JIVE()):
        res = model.fit(*design.data)
        e = outcome - res.params["d1"] * d
        S = (z.T * e**2) @ z
        half = np.linalg.inv(np.linalg.cholesky(S))
        rest = np.linalg.lstsq((half @ (z.T @ d))[:, None], half @ (z.T @ outcome), rcond=None)[1]
        assert res.overid.statistic == pytest.approx(float(rest[0]), rel=SOLVE)


def test_two_ways_of_clustering_by_hand():
    design = DESIGNS[1]
    y, X, D, W = design.data
    res = TSLS().fit(y, X, D, W, clusters=design.clusters["two"])
    z, d, outcome = (
        v - X @ np.linalg.lstsq(X, v, rcond=None)[0] for v in (W.to_numpy(), D["d1"], y)
    )
    scores = z * (outcome - res.params["d1"] * d).to_numpy()[:, None]

    def sums(codes):
        total = pd.DataFrame(scores).groupby(codes).sum().to_numpy()
        return total.T @ total

    both = np.char.add(design.firm.astype(str), np.char.add("/", design.year.astype(str)))
    S = sums(design.firm) + sums(design.year) - sums(both)

    def objective(tau):
        g = z.T @ (outcome - tau * d)
        return g @ np.linalg.solve(S, g)

    a, b = z.T @ d, z.T @ outcome
    best = (a @ np.linalg.solve(S, b)) / (a @ np.linalg.solve(S, a))
    assert res.overid.statistic == pytest.approx(objective(best), rel=SOLVE)


def test_there_is_none_without_more_instruments_than_treatments():
    y, X, D, W = DESIGNS[2].data
    assert TSLS().fit(y, X, D, W[["w1", "w2"]]).overid is None
    assert OLS().fit(y, X, D, W).overid is None
    res = TSLS().fit(y, X, D, W)
    assert f"(chi2(1), p = {res.overid.pvalue:.4f})" in str(res)


@pytest.mark.slow
def test_j_finds_an_invalid_instrument_and_keeps_its_size():
    rng = np.random.default_rng(0)
    rejected = {0.0: 0, 0.3: 0}
    for _ in range(200):
        W = rng.normal(size=(200, 3))
        u = rng.normal(size=200) * np.exp(0.3 * W[:, 0])
        d = W.sum(axis=1) + u + rng.normal(size=200)
        for direct in rejected:
            res = TSLS().fit(d + u + direct * W[:, 1], np.ones(200), d, W)
            rejected[direct] += res.overid.pvalue < 0.05
    assert rejected[0.0] <= 21  # 99.9% of binomial(200, .05)
    assert rejected[0.3] > 100


def test_a_covariance_of_few_directions_gives_no_test():
    rng = np.random.default_rng(0)
    z, D = rng.normal(size=(40, 5)), rng.normal(size=(40, 2))
    y = rng.normal(size=40)
    scores = z * y[:, None]
    sums = np.stack([scores[:20].sum(axis=0), scores[20:].sum(axis=0)])  # two clusters
    found = over_identification(z, np.column_stack([y, D]), sums.T @ sums)
    assert np.isnan(found.statistic)


# ---- contrast --------------------------------------------------------------------------------


def stacked(design, z1, z2, weights, cov):
    """Both estimates and their joint covariance, by one regression on the data set twice."""
    y, X, D, _ = (np.asarray(part, dtype=float) for part in design.data)
    n, d = D.shape

    def twice(a, b):
        return np.block([[a, np.zeros((n, b.shape[1]))], [np.zeros((n, a.shape[1])), b]])

    w = np.ones(n) if weights is None else weights
    model = IV2SLS(np.tile(y, 2), twice(X, X), twice(D, D), twice(z1, z2), weights=np.tile(w, 2))
    res = model.fit(cov_type="clustered", clusters=np.tile(cov, 2))
    p = X.shape[1]
    return res.params.to_numpy()[2 * p :], res.cov.to_numpy()[2 * p :, 2 * p :], d


@pytest.mark.parametrize("by", ["row", "firm"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("d", [1, 2])
def test_the_contrast_is_that_of_stacked_regressions(d, weighted, by):
    design = DESIGNS[d]
    y, X, D, W = (np.asarray(part, dtype=float) for part in design.data)
    weights = design.weights / design.weights.mean() if weighted else None
    codes = np.arange(200) if by == "row" else encode_labels(design.firm)
    z1, z2 = np.tanh(3 * W)[:, :d], W[:, :d]
    params, cov, _ = stacked(design, z1, z2, weights, codes)
    gap = params[:d] - params[d:]
    V = cov[:d, :d] + cov[d:, d:] - cov[:d, d:] - cov[d:, :d]
    expected = gap @ np.linalg.solve(V, gap)
    root = np.sqrt(np.ones(200) if weights is None else weights)[:, None]
    Xr = root * X

    def out(v):
        v = root * v
        return v - Xr @ np.linalg.lstsq(Xr, v, rcond=None)[0]

    yr, Dr = out(y[:, None])[:, 0], out(D)
    pairs = [(out(z), yr - Dr @ t) for z, t in ((z1, params[:d]), (z2, params[d:]))]
    spec = CovarianceSpec("robust") if by == "row" else CovarianceSpec("clustered", False, (codes,))
    found = contrast(gap, *pairs, Dr, spec, 2 + d)
    assert found.statistic == pytest.approx(expected, rel=SOLVE)
    assert found.df == d
    assert found.pvalue == pytest.approx(stats.chi2.sf(expected, d), rel=1e-6)


def test_the_classical_contrast_is_hausmans():
    """Against an efficient estimate the variance of the difference is the difference of variances."""
    rng = np.random.default_rng(1)
    n = 300
    z = rng.normal(size=(n, 2))
    d = z @ [1.0, 0.5] + rng.normal(size=n)
    y = d + rng.normal(size=n)
    fitted = z @ np.linalg.lstsq(z, d, rcond=None)[0]
    first, second = (float((v @ y) / (v @ d)) for v in (z[:, 0], fitted))
    e = y - second * d
    found = contrast(
        np.array([first - second]),
        (z[:, :1], y - first * d),
        (fitted[:, None], e),
        d[:, None],
        CovarianceSpec("unadjusted"),
        1,
    )
    s2 = e @ e / n
    gap = s2 * (z[:, 0] @ z[:, 0] / (z[:, 0] @ d) ** 2 - 1 / (fitted @ fitted))
    assert found.statistic == pytest.approx((first - second) ** 2 / gap, rel=SOLVE)


def test_one_estimate_twice_has_no_contrast():
    rng = np.random.default_rng(2)
    z, d, e = rng.normal(size=(3, 50))
    pair = (z[:, None], e)
    for kind in ("robust", "unadjusted"):
        found = contrast(np.zeros(1), pair, pair, d[:, None], CovarianceSpec(kind), 1)
        assert (found.df, np.isnan(found.statistic)) == (0, True)


def test_influences_are_those_of_dropping_a_row():
    """To first order: with one row in a thousand weighted a little less."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(100, 1))
    D = z + rng.normal(size=(100, 1))
    y = D[:, 0] + rng.normal(size=100)
    e = y - D[:, 0] * (z[:, 0] @ y) / (z[:, 0] @ D[:, 0])
    w = np.ones(100)
    w[7] = 1 - 1e-5
    moved = (w * z[:, 0]) @ y / ((w * z[:, 0]) @ D[:, 0])
    before = z[:, 0] @ y / (z[:, 0] @ D[:, 0])
    assert influence(z, D, e)[7, 0] == pytest.approx((before - moved) / 1e-5, rel=1e-4)
    assert influence(z, D, e).sum() == pytest.approx(0, abs=ROUNDING)


# ---- curvature -------------------------------------------------------------------------------


def test_terms_are_squares_and_products():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(60), rng.normal(size=(60, 2)), rng.integers(0, 2, 60)])
    terms = curved_terms(X)
    assert terms.shape == (60, 5)  # two squares, three products; the square of 0 and 1 is linear
    expected = np.column_stack(
        [X[:, 1] ** 2, X[:, 2] ** 2, X[:, 1] * X[:, 2], X[:, 1] * X[:, 3], X[:, 2] * X[:, 3]]
    )
    both = np.hstack([X, terms])
    np.testing.assert_allclose(
        both @ np.linalg.lstsq(both, expected, rcond=None)[0], expected, atol=IDENTITY
    )
    assert curved_terms(X[:, :1]).shape == (60, 0)
    assert curved_terms(X[:, [0, 3]]).shape == (60, 0)
    many = np.column_stack([np.ones(200), rng.normal(size=(200, 12))])
    assert curved_terms(many).shape == (200, 30)


@pytest.mark.parametrize("kind", ["unadjusted", "robust", "clustered"])
@pytest.mark.parametrize("debiased", [False, True], ids=["large", "debiased"])
def test_curvature_is_a_wald_test_of_the_terms(kind, debiased):
    design = DESIGNS[1]
    _, X, _, W = design.data
    terms = pd.DataFrame(curved_terms(X.to_numpy())).add_prefix("t")
    first = IV2SLS(W["w1"], X.join(terms), None, None)
    first = first.fit(cov_type=kind, debiased=debiased, **words(kind, design))
    b, V = first.params[list(terms)], first.cov.loc[list(terms), list(terms)]
    X = X.to_numpy()
    z, T = (
        v - X @ np.linalg.lstsq(X, v, rcond=None)[0]
        for v in (W[["w1"]].to_numpy(), terms.to_numpy())
    )
    codes = (encode_labels(design.firm),) if kind == "clustered" else ()
    found = curvature(z, T, CovarianceSpec(kind, debiased, codes), 2)
    assert found.statistic == pytest.approx(b @ np.linalg.solve(V, b), rel=SOLVE)
    assert found.df == len(b)


def test_curvature_of_two_instruments_is_joint():
    rng = np.random.default_rng(4)
    x = rng.normal(size=400)
    X = np.column_stack([np.ones(400), x])

    def out(v):
        return v - X @ np.linalg.lstsq(X, v, rcond=None)[0]

    terms = out(curved_terms(X))
    bent = out(np.column_stack([x**2 + rng.normal(size=400), rng.normal(size=400)]))
    straight = out(rng.normal(size=(400, 2)))
    assert curvature(bent, terms, CovarianceSpec(), 2).pvalue < 1e-6
    found = curvature(straight, terms, CovarianceSpec(), 2)
    assert (found.df, found.pvalue > 0.01) == (2, True)
    none = curvature(straight, np.empty((400, 0)), CovarianceSpec(), 2)
    assert (none.df, np.isnan(none.pvalue)) == (0, True)
