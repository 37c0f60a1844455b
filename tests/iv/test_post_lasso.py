"""Post-lasso IV against scikit-learn's lasso in a loop of our own, and its sup-score sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS
from scipy import stats
from sklearn.linear_model import Lasso

from mlinstruments import TSLS, PostLassoIV, PostLassoResults, compare
from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments.iv.data import IVData
from mlinstruments.iv.learn import partialled
from mlinstruments.iv.post_lasso import sup_score
from tests.tolerances import ROOT, SOLVE

N, Q = 250, 40


def draw(q=Q, n=N, d=1, strength=1.5, seed=0):
    """Instruments 0 and 3 matter for the first treatment, 5 and 0 for the second."""
    rng = np.random.default_rng(seed)
    W = pd.DataFrame(rng.normal(size=(n, q))).add_prefix("w")
    x = rng.normal(size=n) + 0.3 * W["w0"].to_numpy()
    u, v1, v2 = rng.normal(size=(3, n))
    u = u * np.exp(0.3 * W["w3"].to_numpy())
    D = pd.DataFrame({"d1": strength * (W["w0"] + W["w3"]) + 0.5 * x + 0.6 * u + v1})
    if d == 2:
        D["d2"] = strength * (1.5 * W["w5"] - W["w0"]) + 0.6 * u + v2
    y = pd.Series(D.sum(axis=1) + 0.5 * x + u, name="y")
    X = pd.DataFrame({"const": 1.0, "x": x})
    more = {
        "weights": rng.uniform(0.5, 2, n),
        "firm": np.array([f"firm {g}" for g in rng.integers(0, 100, n)], dtype=object),
        "year": np.array([f"y{g}" for g in rng.integers(0, 90, n)], dtype=object),
    }
    return (y, X, D, W), more


def sums(values, codes):
    return np.stack([values[codes == c].sum(axis=0) for c in np.unique(codes)])


def loadings(Z, e, codes):
    scores = Z * e[:, None]
    ways = [(sums(scores, c) ** 2).sum(axis=0) for c in codes] or [(scores**2).sum(axis=0)]
    if len(ways) == 2:
        both = sums(scores, np.char.add(*(c.astype(str) for c in codes)))
        ways = [np.maximum(sum(ways) - (both**2).sum(axis=0), np.maximum(*ways))]
    return np.sqrt(ways[0] / len(e))


def selection(d, X, W, weights, codes, c=1.1, gamma=None):
    """Which instruments the lasso keeps, by scikit-learn on columns divided by their loadings."""
    root = np.sqrt(weights / weights.mean())[:, None]
    Xr = root * X
    Z, e = (v - Xr @ np.linalg.lstsq(Xr, v, rcond=None)[0] for v in (root * W, root[:, 0] * d))
    n, q = Z.shape
    gamma = 0.1 / np.log(n) if gamma is None else gamma
    penalty = 2 * c * np.sqrt(n) * stats.norm.ppf(1 - gamma / (2 * q))
    target, kept = e, None
    for _ in range(15):
        psi = loadings(Z, e, codes)
        lasso = Lasso(penalty / (2 * n), fit_intercept=False, tol=1e-10, max_iter=100_000)
        now = np.flatnonzero(lasso.fit(Z / psi, target).coef_)
        e = target - Z[:, now] @ np.linalg.lstsq(Z[:, now], target, rcond=None)[0]
        if kept is not None and np.array_equal(kept, now):
            break
        kept = now
    return now


@pytest.mark.parametrize("clusters", ["none", "one", "two"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("q", [Q, 300], ids=["q < n", "q > n"])
def test_one_treatment_is_2sls_with_what_scikit_learn_selects(q, weighted, clusters):
    (y, X, D, W), more = draw(q)
    codes = {"none": [], "one": ["firm"], "two": ["firm", "year"]}[clusters]
    weights = more["weights"] if weighted else np.ones(N)
    labels = [more[name] for name in codes]
    chosen = selection(D["d1"].to_numpy(), X.to_numpy(), W.to_numpy(), weights, labels)
    assert {0, 3} <= set(chosen)  # else the case shows nothing
    assert len(chosen) < 6
    theirs = {"cov_type": "robust"}
    if codes:
        both = np.column_stack([encode_labels(v) for v in labels])
        theirs = {"cov_type": "clustered", "clusters": both}
    for debiased in (False, True):
        expected = IV2SLS(y, X, D, W.iloc[:, chosen], weights=weights).fit(
            debiased=debiased, **theirs
        )
        found = PostLassoIV().fit(
            y, X, D, W,
            weights=weights if weighted else None,
            clusters=pd.DataFrame({name: more[name] for name in codes}) if codes else None,
            debiased=debiased,
        )  # fmt: skip
        np.testing.assert_allclose(found.params, expected.params, rtol=SOLVE)
        np.testing.assert_allclose(found.cov, expected.cov, rtol=SOLVE, atol=1e-10)
    assert found.selected.index[found.selected["d1"]].tolist() == W.columns[chosen].tolist()
    assert found.first_stage.n_instruments == len(chosen)
    first = IV2SLS(D["d1"], X.join(W.iloc[:, chosen]), None, None, weights=weights)
    first = first.fit(debiased=debiased, **theirs)
    b, cov = first.params.iloc[2:], first.cov.iloc[2:, 2:]
    assert found.first_stage.f["d1"] == pytest.approx(
        b @ np.linalg.solve(cov, b) / len(b), rel=SOLVE
    )


def test_two_treatments_have_an_instrument_each():
    (y, X, D, W), _ = draw(d=2)
    found = PostLassoIV().fit(y, X, D, W)
    z = {}
    for name in D:
        chosen = selection(D[name].to_numpy(), X.to_numpy(), W.to_numpy(), np.ones(N), [])
        assert found.selected.index[found.selected[name]].tolist() == W.columns[chosen].tolist()
        regressors = X.join(W.iloc[:, chosen]).to_numpy()
        z[name] = regressors @ np.linalg.lstsq(regressors, D[name], rcond=None)[0]
    expected = IV2SLS(y, X, D, pd.DataFrame(z)).fit(cov_type="robust")
    np.testing.assert_allclose(found.params, expected.params, rtol=SOLVE)
    np.testing.assert_allclose(found.cov, expected.cov, rtol=SOLVE, atol=1e-10)


def test_penalty_settings_are_used():
    (y, X, D, W), _ = draw(strength=0.8)
    for c, gamma in ((1.1, None), (1.5, None), (0.6, 0.3)):
        chosen = selection(D["d1"].to_numpy(), X.to_numpy(), W.to_numpy(), np.ones(N), [], c, gamma)
        found = PostLassoIV(c, gamma).fit(y, X, D, W)
        assert np.flatnonzero(found.selected["d1"]).tolist() == chosen.tolist()


def test_units_and_categories():
    (y, X, D, W), _ = draw()
    court = np.array(list("abc"))[np.arange(N) % 3]
    D = D + 2.0 * (court == "c")[:, None]
    W = W.assign(court=court)
    found = PostLassoIV().fit(y, X, D, W)
    scales = 10.0 ** np.random.default_rng(0).integers(-8, 9, Q)
    moved = PostLassoIV().fit(y, X, D, W.assign(**(W.iloc[:, :Q] * scales)))
    np.testing.assert_allclose(moved.params, found.params, rtol=SOLVE)
    pd.testing.assert_frame_equal(moved.selected, found.selected)
    assert found.selected.loc["court[2]", "d1"]
    assert found.selected.shape == (Q + 2, 1)


def test_what_covariates_explain_is_never_selected():
    (y, X, D, W), _ = draw()
    inside = np.arange(N) % 4 == 1
    court = np.array(list("abab"))[np.arange(N) % 4]
    X = X.assign(b=(court == "b").astype(float), inside=inside)
    found = PostLassoIV().fit(y, X, D, W.assign(court=court))
    plain = PostLassoIV().fit(y, X, D, W)
    assert not found.selected.loc["court[1]", "d1"]
    assert found.selected["d1"].sum() == plain.selected["d1"].sum()
    assert len(found.ar[0].parts) == Q


@pytest.mark.parametrize("cov_type", ["robust", "kernel", "unadjusted"])
def test_irrelevant_instruments_give_no_estimate(cov_type):
    (y, X, D, W), _ = draw(strength=0.0)
    W = W.drop(columns=["w0", "w3", "w5"])
    found = PostLassoIV().fit(y, X, D, W, cov_type=cov_type)
    assert found.params.isna().all()
    assert "selects no instrument for d1" in str(found)
    assert (found.first_stage.f["d1"], found.first_stage.n_instruments) == (0.0, 0)
    assert found.conf_int(method="ar").is_whole_line
    assert "post-lasso, 0 of 37" in str(compare({"it": found}))


def test_one_instrument_cannot_tell_two_treatments_apart():
    (y, X, D, W), _ = draw()
    D = D.assign(d2=D["d1"] * 2 + 0.01 * np.random.default_rng(0).normal(size=N))
    found = PostLassoIV().fit(y, X, D, W[["w3", "w7", "w8"]])
    assert found.params.isna().all()
    assert "tell the endogenous regressors apart" in found.weak


def test_the_set_is_that_of_every_instrument_at_bonferronis_level():
    (y, X, D, W), _ = draw()
    res = PostLassoIV().fit(y, X, D, W)
    found = res.conf_int(level=0.9, method="ar")
    ends = [TSLS().fit(y, X, D, W[[name]]).conf_int(level=1 - 0.1 / Q, method="ar") for name in W]
    joined = ends[0]
    for other in ends[1:]:
        joined = joined.intersect(other)
    np.testing.assert_allclose(found.intervals, joined.intervals, rtol=ROOT)
    assert found.is_bounded
    for end in found.hull:
        assert res.anderson_rubin(end).pvalue == pytest.approx(0.1, rel=1e-5)
    least = min(TSLS().fit(y, X, D, W[[name]]).anderson_rubin(0.3).pvalue for name in W)
    assert res.anderson_rubin(0.3).pvalue == pytest.approx(min(1, Q * least), rel=ROOT)


@pytest.mark.slow
def test_sup_score_keeps_its_size_with_more_instruments_than_rows():
    (y, X, D, W), _ = draw(q=120, n=100)
    data, rejected = IVData.from_arrays(y, X, D, W), 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        left = partialled(rng.standard_t(5, (100, 120)), data)
        now = replace(data, y=rng.normal(size=100) * (1 + (X["x"].to_numpy() > 0)))
        kind = sup_score(left, D.to_numpy(), now, CovarianceSpec("robust"))
        rejected += kind.test(np.zeros(1), ("d1",)).pvalue < 0.05
    assert rejected <= 9  # 99.9% of binomial(60, .05)


def test_two_treatments_have_joint_tests_only():
    (y, X, D, W), _ = draw(d=2)
    res = PostLassoIV().fit(y, X, D, W)
    assert res.anderson_rubin([1.0, 1.0]).pvalue > 0.01
    assert res.anderson_rubin([5.0, -3.0]).pvalue < 0.01
    with pytest.raises(InputError, match=r"use\s+anderson_rubin\(value\)"):
        res.conf_int(method="ar")
    assert "joint test only" in str(res)
    assert "joint test only" in str(compare({"it": res}))


def test_names_and_files(tmp_path):
    (y, X, D, W), more = draw()
    frame = X.join(D).join(W).assign(y=y, firm=more["firm"])
    formula = "y ~ 1 + x + [d1 ~ " + " + ".join(W) + "]"
    res = PostLassoIV().fit_formula(formula, frame, clusters="firm")
    assert isinstance(res, PostLassoResults)
    assert res.params.index.tolist() == ["Intercept", "x", "d1"]
    res.save(tmp_path / "it.zip")
    again = PostLassoResults.load(tmp_path / "it.zip")
    pd.testing.assert_frame_equal(again.selected, res.selected)
    assert str(again) == str(res)


def test_what_it_refuses():
    (y, X, D, W), _ = draw()
    with pytest.raises(InputError, match="c must be above 0"):
        PostLassoIV(c=-1).fit(y, X, D, W)
    with pytest.raises(InputError, match="gamma must lie between 0 and 1"):
        PostLassoIV(gamma=2).fit(y, X, D, W)
    with pytest.raises(InputError, match="tF intervals"):
        PostLassoIV().fit(y, X, D, W[["w3"]]).conf_int(method="tf")
