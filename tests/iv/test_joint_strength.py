"""Joint strength of instruments by other routes: regressions, Kronecker formulas, ivmodels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ivmodels.tests import rank_test
from linearmodels.iv import IV2SLS
from scipy import linalg, stats

from mlinstruments import LIML, MLIV, TSLS, IVResults, MLIVResults
from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.sandwich import CovarianceSpec, moment_meat
from mlinstruments.iv.joint_strength import FirstStages, effective_critical, joint_strength
from tests.designs import FAST, strong
from tests.tolerances import ROUNDING, SOLVE


def many_clusters(d):
    """So many that two-way sums of ten scores are positive definite, as their inverses need."""
    design, rng = strong(n=200, d=d, seed=90 + d), np.random.default_rng(d)
    firm, year = (
        np.array([f"{v}" for v in rng.integers(0, k, 200)], dtype=object) for k in (90, 80)
    )
    return replace(design, firm=firm, year=year)


DESIGNS = {d: many_clusters(d) for d in (1, 2)}
COVARIANCES = ["unadjusted", "robust", "one way", "two ways", "kernel"]


def more_instruments(design):
    W = design.W
    return W.assign(w4=W["w2"] ** 2, w5=W["w1"] * W["w3"])


def covariance(name, design):
    """In linearmodels' words and in ours."""
    firm, year = encode_labels(design.firm), encode_labels(design.year)
    if name == "one way":
        return {"cov_type": "clustered", "clusters": firm}, {"clusters": design.clusters["one"]}
    if name == "two ways":
        both = np.column_stack([firm, year])
        return {"cov_type": "clustered", "clusters": both}, {"clusters": design.clusters["two"]}
    if name == "kernel":
        theirs = {"cov_type": "kernel", "kernel": "bartlett", "bandwidth": 3}
        return theirs, {"cov_type": "kernel", "bandwidth": 3}
    return {"cov_type": name}, {"cov_type": name}


def partialled(design, W, weights):
    root = np.ones(len(design.y)) if weights is None else np.sqrt(weights / weights.mean())
    X = root[:, None] * design.X.to_numpy()
    return [
        v - X @ np.linalg.lstsq(X, v, rcond=None)[0]
        for v in (root[:, None] * W.to_numpy(), root[:, None] * design.D.to_numpy())
    ]


MATRIX = pytest.mark.parametrize(
    ("name", "debiased", "weighted"),
    [(name, b, w) for name in COVARIANCES for b in (False, True) for w in (False, True)],
)


def fitted(design, name, debiased, weighted, model=TSLS):
    theirs, ours = covariance(name, design)
    weights = design.weights if weighted else None
    y, X, D, _ = design.data
    W = more_instruments(design)
    found = model().fit(y, X, D, W, weights=weights, debiased=debiased, **ours)
    return found.first_stage, W, weights, theirs


@MATRIX
def test_one_treatment_has_one_f_and_an_effective_one(name, debiased, weighted):
    design = DESIGNS[1]
    found, W, weights, theirs = fitted(design, name, debiased, weighted)
    first = IV2SLS(design.D["d1"], design.X.join(W), None, None, weights=weights)
    first = first.fit(debiased=debiased, **theirs)
    b, V = first.params[list(W)].to_numpy(), first.cov.loc[list(W), list(W)].to_numpy()
    f = b @ np.linalg.solve(V, b) / 5
    assert found.joint.kleibergen_paap == pytest.approx(f, rel=SOLVE)
    assert found.joint.conditional_f["d1"] == pytest.approx(f, rel=SOLVE)
    assert found.joint.rank_test.statistic == pytest.approx(5 * f, rel=SOLVE)
    assert found.joint.rank_test.df == 5
    assert found.joint.rank_test.pvalue == pytest.approx(stats.chi2.sf(5 * f, 5), rel=1e-6)
    z, _ = partialled(design, W, weights)
    effective = b @ z.T @ z @ b / np.trace(z.T @ z @ V)
    assert found.effective_f["d1"] == pytest.approx(effective, rel=SOLVE)
    # Critical values, by the same variance in the basis that makes instruments orthonormal.
    root = linalg.sqrtm(z.T @ z).real
    expected = effective_critical(root @ V @ root)
    np.testing.assert_allclose(found.joint.effective_critical, expected, rtol=1e-6)
    classical = IV2SLS(design.D["d1"], design.X.join(W), None, None, weights=weights)
    classical = classical.fit(cov_type="unadjusted", debiased=True)
    b, V = classical.params[list(W)], classical.cov.loc[list(W), list(W)]
    assert found.joint.cragg_donald == pytest.approx(b @ np.linalg.solve(V, b) / 5, rel=SOLVE)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_cragg_donald_is_that_of_ivmodels(weighted):
    design = DESIGNS[2]
    found, W, weights, _ = fitted(design, "unadjusted", True, weighted)
    root = np.ones(len(design.y)) if weights is None else np.sqrt(weights / weights.mean())
    parts = (root[:, None] * v.to_numpy() for v in (W, design.D, design.X))
    statistic, pvalue = rank_test(*parts, fit_intercept=False)
    assert 5 * found.joint.cragg_donald == pytest.approx(statistic, rel=SOLVE)
    # With the classical covariance the two are the same number.
    assert found.joint.kleibergen_paap == pytest.approx(found.joint.cragg_donald, rel=SOLVE)
    assert found.joint.rank_test.pvalue == pytest.approx(pvalue, rel=1e-6, abs=1e-12)
    assert found.joint.rank_test.df == 4


def kleibergen_paap(z, D, spec, n_exog):
    """The statistic as written in 2006, with the whole covariance of the coefficients."""
    n, q, d = len(z), z.shape[1], D.shape[1]
    P = np.linalg.solve(z.T @ z, z.T @ D)
    V = D - z @ P
    inverse = np.linalg.inv(z.T @ z)
    W = moment_meat(z, V, spec, n_exog + q) if spec.kind != "unadjusted" else None
    if W is None:
        factor = n / (n - n_exog - q) if spec.debiased else 1.0
        W = factor * np.kron(V.T @ V / n, z.T @ z)
    W = np.kron(np.eye(d), inverse) @ W @ np.kron(np.eye(d), inverse)  # of vec(P)
    G, F = linalg.sqrtm(z.T @ z / n).real, np.linalg.inv(linalg.sqrtm(V.T @ V / n).real)
    theta = G @ P @ F.T
    W = np.kron(F, G) @ W @ np.kron(F, G).T
    U, _, Vt = np.linalg.svd(theta)
    r, B = d - 1, Vt.T
    U12, U22, V12, V22 = U[:r, r:], U[r:, r:], B[:r, r:], B[r:, r:]
    left = np.vstack([U12, U22]) @ np.linalg.inv(U22) @ linalg.sqrtm(U22 @ U22.T).real
    right = linalg.sqrtm(V22 @ V22.T).real @ np.linalg.inv(V22.T) @ np.hstack([V12.T, V22.T])
    middle = np.kron(right, left.T)
    value = middle @ theta.T.ravel()  # vec by columns
    return float(value @ np.linalg.solve(middle @ W @ middle.T, value))


@MATRIX
def test_kleibergen_paap_by_its_kronecker_formula(name, debiased, weighted):
    design = DESIGNS[2]
    found, W, weights, _ = fitted(design, name, debiased, weighted)
    z, D = partialled(design, W, weights)
    kind = {"one way": "clustered", "two ways": "clustered"}.get(name, name)
    codes = {"one way": [design.firm], "two ways": [design.firm, design.year]}.get(name, [])
    spec = CovarianceSpec(
        kind, debiased, tuple(map(encode_labels, codes)), 3 if kind == "kernel" else None
    )
    expected = kleibergen_paap(z, D, spec, 2)
    assert found.joint.rank_test.statistic == pytest.approx(expected, rel=SOLVE)
    assert found.joint.kleibergen_paap == pytest.approx(expected / 5, rel=SOLVE)
    assert found.effective_f.isna().all()
    assert found.joint.effective_critical.isna().all()


@MATRIX
def test_conditional_f_by_regressions(name, debiased, weighted):
    design = DESIGNS[2]
    found, W, weights, theirs = fitted(design, name, debiased, weighted)
    for one, other in (("d1", "d2"), ("d2", "d1")):
        both = design.X.join(W)
        two_stage = IV2SLS(design.D[one], design.X, design.D[other], W, weights=weights).fit()
        first = IV2SLS(design.D[other], both, None, None, weights=weights).fit()
        # What the fitted other treatment leaves of the instruments has four dimensions.
        columns = list(W)[:4]
        controls = design.X.assign(fitted=first.fitted_values["fitted_values"])
        last = IV2SLS(two_stage.resids, controls.join(W[columns]), None, None, weights=weights)
        last = last.fit(debiased=debiased, **theirs)
        b, V = last.params[columns], last.cov.loc[columns, columns]
        expected = b @ np.linalg.solve(V, b) / 4
        assert found.joint.conditional_f[one] == pytest.approx(expected, rel=1e-7)


def test_classical_conditional_f_is_the_published_formula():
    design = DESIGNS[2]
    found, W, _, _ = fitted(design, "unadjusted", True, False)
    z, D = partialled(design, W, None)
    fit = z @ np.linalg.lstsq(z, D, rcond=None)[0]
    e = D[:, 0] - D[:, 1] * (fit[:, 1] @ D[:, 0]) / (fit[:, 1] @ D[:, 1])
    explained = z @ np.linalg.lstsq(z, e, rcond=None)[0]
    rest = e - explained
    expected = (explained @ explained / 4) / (rest @ rest / (200 - 2 - 5))
    assert found.joint.conditional_f["d1"] == pytest.approx(expected, rel=SOLVE)


def test_strength_of_each_that_is_none_together():
    """Each treatment is predicted well, by the same instrument: neither coefficient is known."""
    rng = np.random.default_rng(0)
    W = pd.DataFrame(rng.normal(size=(500, 3))).add_prefix("w")
    v = rng.normal(size=(500, 2))
    D = pd.DataFrame({"a": W["w0"] + v[:, 0], "b": W["w0"] + v[:, 1]})
    y = D.sum(axis=1) + v.sum(axis=1)
    first = TSLS().fit(y, pd.DataFrame({"one": np.ones(500)}), D, W).first_stage
    assert (first.f > 100).all()
    assert (first.joint.conditional_f < 10).all()
    assert first.joint.cragg_donald < 5
    assert first.joint.rank_test.pvalue > 0.01
    assert (first.to_frame()["conditional_f"] == first.joint.conditional_f).all()


@pytest.mark.parametrize("seed", range(4))
def test_effective_critical_values_hold_the_size_of_the_test(seed):
    """The F of a first stage at the boundary exceeds them in a twentieth of draws, or less."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(4, 4)) * [1, 0.5, 2, 0.1]
    W = root @ root.T
    total, (values, vectors) = np.trace(W), np.linalg.eigh(W)
    noise = rng.multivariate_normal(np.zeros(4), W, 40_000)
    for bias, critical in zip((0.05, 0.10, 0.20, 0.30), effective_critical(W), strict=True):
        for direction in vectors.T:
            mean = np.sqrt(total / bias) * direction
            f = ((noise + mean) ** 2).sum(axis=1) / total
            # Patnaik's two moments leave a little, beside .001 of simulation error.
            assert (f > critical).mean() < 0.06
    assert values[0] > 0


def test_instruments_that_do_not_vary_have_no_strength():
    D = np.random.default_rng(0).normal(size=(50, 2))
    spec = CovarianceSpec()
    stage = FirstStages.of_rows(np.zeros((50, 3)), D, spec, 1)
    found, effective = joint_strength(stage, spec, ("a", "b"))
    assert (found.cragg_donald, found.kleibergen_paap) == (0.0, 0.0)
    assert found.rank_test.pvalue == 1.0
    assert (found.conditional_f == 0).all()
    assert np.isnan(effective)
    one = FirstStages.of_rows(np.zeros((50, 3)), D[:, :1], spec, 1)
    assert joint_strength(one, spec, ("a",))[1] == 0.0


@pytest.mark.parametrize("n_repeats", [1, 3])
def test_learned_instruments_have_them_too(n_repeats, tmp_path):
    design = DESIGNS[2]
    res = MLIV(FAST, n_folds=3, n_repeats=n_repeats).fit(*design.data)
    joint = res.first_stage.joint
    assert joint.rank_test.df == 1
    assert joint.rank_test.statistic == pytest.approx(2 * joint.kleibergen_paap, rel=ROUNDING)
    if n_repeats == 1:
        y, X, D, _ = design.data
        again = TSLS().fit(y, X, D, res.instrument).first_stage.joint
        pd.testing.assert_series_equal(joint.conditional_f, again.conditional_f, rtol=SOLVE)
        assert joint.cragg_donald == pytest.approx(again.cragg_donald, rel=SOLVE)
    assert str(res).count("Conditional F") == 2
    res.save(tmp_path / "it.zip")
    assert str(MLIVResults.load(tmp_path / "it.zip")) == str(res)


def test_printed_beside_the_first_stage():
    design = DESIGNS[1]
    y, X, D, W = design.data
    res = LIML().fit(y, X, D, W)
    assert "Effective F:" in str(res)
    assert f"{res.first_stage.joint.effective_critical[0.10]:.2f}" in str(res)
    assert "Effective F:" not in str(TSLS().fit(y, X, D, W[["w1"]]))
    assert isinstance(res, IVResults)
