"""k-class estimation against linearmodels: coefficients and every covariance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ivmodels import KClass
from linearmodels.iv import IV2SLS, IVLIML

from mlinstruments import LIML, OLS, TSLS, Fuller
from mlinstruments._core import factor
from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import residuals
from mlinstruments._core.sandwich import CovarianceSpec, covariance_spec
from mlinstruments.iv import anderson_rubin as ar
from mlinstruments.iv import strength
from mlinstruments.iv.data import IVData
from mlinstruments.iv.estimate import Variables, kclass, second_stage
from tests.designs import strong
from tests.tolerances import ROOT, ROUNDING, SOLVE

DESIGNS = {1: strong(n=180, d=1, seed=1), 2: strong(n=180, d=2, seed=2)}
MODELS = {
    "OLS": (OLS, 0.0, lambda y, X, D, Z, w: IV2SLS(y, X.join(D), None, None, weights=w)),
    "2SLS": (TSLS, 1.0, lambda y, X, D, Z, w: IV2SLS(y, X, D, Z, weights=w)),
    "LIML": (LIML, None, lambda y, X, D, Z, w: IVLIML(y, X, D, Z, weights=w)),
    "Fuller": (Fuller, None, lambda y, X, D, Z, w: IVLIML(y, X, D, Z, weights=w, fuller=1)),
}
COVARIANCES = ["unadjusted", "robust", "one way", "two ways", "kernel, given", "kernel, automatic"]


def options(name, design):
    """A covariance in linearmodels' words and in ours (clusters, cov_type, bandwidth)."""
    firm, year = encode_labels(design.firm), encode_labels(design.year)
    if name == "one way":
        return {"cov_type": "clustered", "clusters": firm}, (design.clusters["one"], None, None)
    if name == "two ways":
        both = np.column_stack([firm, year])
        return {"cov_type": "clustered", "clusters": both}, (design.clusters["two"], None, None)
    if name.startswith("kernel"):
        bandwidth = 4 if name == "kernel, given" else None
        theirs = {"cov_type": "kernel", "kernel": "bartlett", "bandwidth": bandwidth}
        return theirs, (None, "kernel", bandwidth)
    return {"cov_type": name}, (None, name, None)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("debiased", [False, True], ids=["large", "debiased"])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("just", [False, True], ids=["over-identified", "just-identified"])
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("model", MODELS)
def test_like_linearmodels(model, d, just, covariance, debiased, weighted):
    design, (ours, _, theirs) = DESIGNS[d], MODELS[model]
    y, X, D, W = design.data
    W = W.iloc[:, :d] if just else W
    weights = design.weights if weighted else None
    words, (clusters, cov_type, bandwidth) = options(covariance, design)
    expected = theirs(y, X, D, W, weights).fit(debiased=debiased, **words)
    found = ours().fit(
        y, X, D, W,
        weights=weights, clusters=clusters, cov_type=cov_type, debiased=debiased, bandwidth=bandwidth,
    )  # fmt: skip
    order = list(found.params.index)
    np.testing.assert_allclose(found.params, expected.params[order], rtol=SOLVE)
    np.testing.assert_allclose(found.cov, expected.cov.loc[order, order], rtol=SOLVE, atol=1e-12)
    np.testing.assert_allclose(found.std_errors, expected.std_errors[order], rtol=SOLVE)
    np.testing.assert_allclose(found.tstats, expected.tstats[order], rtol=SOLVE)
    # The p-value of a large ratio loses as many digits as the ratio squared has.
    np.testing.assert_allclose(found.pvalues, expected.pvalues[order], rtol=1e-5, atol=1e-12)
    interval = expected.conf_int().loc[order]
    np.testing.assert_allclose(found.conf_int(), interval, rtol=SOLVE, atol=SOLVE)
    np.testing.assert_allclose(found.resids, expected.resids, rtol=SOLVE, atol=SOLVE)


def arrays(d, q):
    y, X, D, W = (np.asarray(part, dtype=float) for part in DESIGNS[d].data)
    return y, X, D, W[:, :q]


@pytest.mark.parametrize("weights", [None, DESIGNS[1].weights], ids=["plain", "weighted"])
@pytest.mark.parametrize("kappa", [0.0, 0.5, 0.9, 1.0, 1.02, None])
def test_kclass_by_its_textbook_formula(kappa, weights):
    y, X, D, Z = arrays(1, 3)
    root = np.ones(len(y)) if weights is None else np.sqrt(weights)
    fit = kclass(y, X, D, Z, CovarianceSpec("unadjusted"), weights, kappa)
    regressors, instruments = (np.hstack(pair) * root[:, None] for pair in ((X, D), (X, Z)))
    outcome = y * root
    outside = np.eye(len(y)) - instruments @ np.linalg.pinv(instruments)
    middle = np.eye(len(y)) - fit.kappa * outside
    bread = np.linalg.inv(regressors.T @ middle @ regressors)
    params = bread @ regressors.T @ middle @ outcome
    np.testing.assert_allclose(fit.params, params, rtol=SOLVE)
    rest = outcome - regressors @ params
    np.testing.assert_allclose(fit.cov, bread * (rest @ rest) / len(y), rtol=SOLVE, atol=1e-12)
    if kappa is None:
        assert fit.kappa > 1
    else:
        assert fit.kappa == kappa


def test_liml_minimises_the_variance_ratio():
    y, X, D, Z = arrays(1, 3)
    fit = kclass(y, X, D, Z, CovarianceSpec(), kappa=None)

    def ratio(tau):
        e = y - tau * D[:, 0]
        before, after = (
            float(np.linalg.lstsq(r, e, rcond=None)[1][0]) for r in (X, np.hstack([X, Z]))
        )
        return before / after

    tau = fit.params[-1]
    assert ratio(tau) == pytest.approx(fit.kappa, rel=SOLVE)
    assert all(ratio(tau + step) > ratio(tau) for step in (-1, -0.1, -1e-3, 1e-3, 0.1, 1))


@pytest.mark.parametrize("d", [1, 2])
def test_just_identified_tsls_is_liml(d):
    y, X, D, Z = arrays(d, d)
    for spec in (CovarianceSpec("unadjusted"), CovarianceSpec("robust", debiased=True)):
        tsls, liml = (kclass(y, X, D, Z, spec, kappa=kappa) for kappa in (1.0, None))
        assert liml.kappa == pytest.approx(1, rel=SOLVE)
        np.testing.assert_allclose(liml.params, tsls.params, rtol=SOLVE)
        np.testing.assert_allclose(liml.cov, tsls.cov, rtol=SOLVE, atol=1e-12)


@pytest.mark.parametrize("alpha", [1, 4.0, 0.25])
@pytest.mark.parametrize("d", [1, 2])
def test_fuller_is_that_of_ivmodels(d, alpha):
    y, X, D, Z = arrays(d, 3)
    theirs = KClass(kappa=f"fuller({alpha})", fit_intercept=False).fit(X=D, y=y, Z=Z, C=X)
    found = Fuller(alpha).fit(y, X, D, Z)
    np.testing.assert_allclose(found.params.iloc[X.shape[1] :], theirs.coef_[:d], rtol=SOLVE)
    assert found.kappa == pytest.approx(theirs.kappa_, rel=SOLVE)
    assert str(found).startswith(f"Fuller({alpha:g})")


@pytest.mark.parametrize("alpha", [0, -1.0, np.nan, np.inf, "one", True, None])
def test_fuller_needs_a_positive_number(alpha):
    with pytest.raises(InputError, match="alpha must be a positive number"):
        Fuller(alpha).fit(*DESIGNS[1].data)


@pytest.mark.parametrize("block", [7, 64])
def test_blocks_of_rows_change_nothing(monkeypatch, block):
    data = arrays(2, 3)
    whole = kclass(*data, CovarianceSpec(), DESIGNS[2].weights)
    monkeypatch.setattr(factor, "BLOCK", block)
    monkeypatch.setattr(factor, "LEAST_ROWS", block)
    monkeypatch.setattr(factor, "CELLS", 0)
    parts = kclass(*data, CovarianceSpec(), DESIGNS[2].weights)
    np.testing.assert_allclose(parts.params, whole.params, rtol=SOLVE)
    np.testing.assert_allclose(parts.cov, whole.cov, rtol=SOLVE)


def test_weights_are_those_of_repeated_rows():
    y, X, D, Z = arrays(1, 3)
    counts = np.random.default_rng(0).integers(1, 4, len(y))
    repeated = [np.repeat(part, counts, axis=0) for part in (y, X, D, Z)]
    for kappa in (0.0, 1.0, None):
        once = kclass(y, X, D, Z, CovarianceSpec(), counts / counts.mean(), kappa)
        many = kclass(*repeated, CovarianceSpec(), None, kappa)
        np.testing.assert_allclose(once.params, many.params, rtol=SOLVE)


def test_the_scale_of_weights_does_not_matter():
    design = DESIGNS[1]
    first = TSLS().fit(*design.data, weights=design.weights)
    second = TSLS().fit(*design.data, weights=1e6 * design.weights)
    np.testing.assert_allclose(first.cov, second.cov, rtol=ROUNDING)


UNITS = {  # of the outcome, the control, the endogenous regressors, the instruments
    "instruments": (1, 1, [1, 1], [1e8, 1, 1e-8]),
    "treatments": (1, 1, [1e8, 1e-8], [1, 1, 1]),
    "outcome, control": (1e8, 1e-8, [1, 1], [1, 1, 1]),
    "all": (1e-6, 1e8, [1e4, 1e-5], [1e-5, 1e3, 1e9]),
}


@pytest.mark.parametrize("covariance", ["unadjusted", "robust", "two ways"])
@pytest.mark.parametrize("case", UNITS)
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("model", MODELS)
def test_units_change_units_only(model, d, case, covariance):
    design, model = DESIGNS[d], MODELS[model][0]()
    y, X, D, W = design.data
    of_y, of_x, of_d, of_w = UNITS[case]
    of_d = np.array(of_d[:d])
    _, (clusters, cov_type, bandwidth) = options(covariance, design)
    settings = {"clusters": clusters, "cov_type": cov_type, "bandwidth": bandwidth}
    expected = model.fit(y, X, D, W, **settings)
    found = model.fit(of_y * y, X * [1, of_x], of_d * D, W * of_w, **settings)
    back = np.concatenate([[1, of_x], of_d]) / of_y
    np.testing.assert_allclose(found.params * back, expected.params, rtol=SOLVE)
    np.testing.assert_allclose(found.std_errors * back, expected.std_errors, rtol=SOLVE)
    if found.first_stage is not None:
        np.testing.assert_allclose(found.first_stage.f, expected.first_stage.f, rtol=SOLVE)
        for value in (0.0, 0.7):
            one = found.anderson_rubin(value / of_d * of_y)
            assert one.statistic == pytest.approx(
                expected.anderson_rubin(value).statistic, rel=ROOT
            )


@pytest.mark.parametrize("model", [TSLS, LIML, Fuller])
def test_redundant_instruments_are_dropped(model):
    y, X, D, W = DESIGNS[1].data
    court = np.array(list("abc"))[np.arange(len(y)) % 3]
    doubled = W.assign(sum=W["w1"] + W["w2"], court=court)
    plain = W.assign(b=court == "b", c=court == "c")
    found, expected = (model().fit(y, X, D, instruments) for instruments in (doubled, plain))
    np.testing.assert_allclose(found.cov, expected.cov, rtol=SOLVE)
    assert found.first_stage.n_instruments == expected.first_stage.n_instruments == 5


@pytest.mark.parametrize("model", [TSLS, LIML, Fuller])
def test_too_few_independent_instruments_are_refused(model):
    y, X, D, W = DESIGNS[2].data
    with pytest.raises(InputError) as caught:
        model().fit(y, X, D, W[["w1"]].assign(double=2 * W["w1"]))
    for word in ("2 endogenous", "1 independent", "w1", "double"):
        assert word in str(caught.value)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("debiased", [False, True], ids=["large", "debiased"])
@pytest.mark.parametrize("covariance", COVARIANCES[:-1])
def test_first_stage_f_is_the_wald_test_of_the_instruments(covariance, debiased, weighted):
    design = DESIGNS[2]
    y, X, D, W = design.data
    weights = design.weights if weighted else None
    words, (clusters, cov_type, bandwidth) = options(covariance, design)
    found = TSLS().fit(
        y, X, D, W,
        weights=weights, clusters=clusters, cov_type=cov_type, debiased=debiased, bandwidth=bandwidth,
    ).first_stage  # fmt: skip
    for name in D:
        first = IV2SLS(D[name], X.join(W), None, None, weights=weights)
        first = first.fit(debiased=debiased, **words)
        b, cov = first.params[list(W)], first.cov.loc[list(W), list(W)]
        expected = b @ np.linalg.solve(cov, b) / 3
        assert found.f[name] == pytest.approx(expected, rel=SOLVE)
        alone = IV2SLS(D[name], X, None, None, weights=weights).fit()
        r2 = 1 - first.resid_ss / alone.resid_ss
        assert found.partial_r2[name] == pytest.approx(r2, rel=SOLVE)


# ---- many rows: factors from cross-products, scores in blocks -------------------------------------


LARGE = strong(n=factor.GRAM_ROWS + 500, seed=5)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("covariance", ["unadjusted", "robust", "one way", "two ways"])
@pytest.mark.parametrize("model", MODELS)
def test_many_rows_like_linearmodels(model, covariance, weighted):
    ours, _, theirs = MODELS[model]
    weights = LARGE.weights if weighted else None
    words, (clusters, cov_type, _) = options(covariance, LARGE)
    expected = theirs(*LARGE.data, weights).fit(debiased=True, **words)
    found = ours().fit(
        *LARGE.data, weights=weights, clusters=clusters, cov_type=cov_type, debiased=True
    )
    order = list(found.params.index)
    np.testing.assert_allclose(found.params, expected.params[order], rtol=SOLVE)
    np.testing.assert_allclose(found.cov, expected.cov.loc[order, order], rtol=SOLVE, atol=1e-12)
    np.testing.assert_allclose(found.resids, expected.resids, rtol=SOLVE, atol=SOLVE)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "covariance", ["unadjusted", "robust", "one way", "two ways", "kernel, given"]
)
@pytest.mark.parametrize(("d", "q"), [(1, 1), (1, 3), (2, 3)])
def test_sums_by_block_are_those_of_residualised_rows(monkeypatch, d, q, covariance, weighted):
    monkeypatch.setattr(factor, "LEAST_ROWS", 31)
    monkeypatch.setattr(factor, "CELLS", 0)
    design = DESIGNS[d]
    y, X, D, Z = arrays(d, q)
    weights = design.weights / design.weights.mean() if weighted else None
    root = np.ones(len(y)) if weights is None else np.sqrt(weights)
    _, (clusters, cov_type, bandwidth) = options(covariance, design)
    codes = (
        ()
        if clusters is None
        else tuple(map(encode_labels, np.asarray(clusters).reshape(len(y), -1).T))
    )
    spec = covariance_spec(cov_type, True, bandwidth, codes)
    noise = residuals(np.random.default_rng(0).normal(size=Z.shape), X, weights)

    def left(values):
        return root[:, None] * residuals(values, X, weights)

    z, v = left(Z), left(np.column_stack([y, D]))
    found = second_stage(Variables(y, [X], D, Z, weights), spec, noise=[noise])
    rooted = root[:, None] * noise
    expected = ar.moments(z, v[:, 0], v[:, 1:], spec, X.shape[1], noise=rooted, factor=1.5)
    (meat,) = found.noise_meats([rooted.T @ rooted])
    moments = found.moments(meat, factor=1.5)
    for name in ("m_y", "m_d", "meat", "df_resid"):
        np.testing.assert_allclose(
            getattr(moments, name), getattr(expected, name), rtol=SOLVE, atol=1e-9
        )
    f = [strength.robust_f(z, one, spec, X.shape[1]) for one in v.T[1:]]
    np.testing.assert_allclose(found.first_stage_f(), f, rtol=SOLVE)


@pytest.mark.parametrize("form", ["arrays", "frames"])
def test_a_fit_without_missing_rows_copies_no_columns(form):
    given = [np.asarray(part, dtype=float) for part in LARGE.data]
    if form == "frames":
        given = [pd.Series(given[0]), *map(pd.DataFrame, given[1:])]
    data = IVData.from_arrays(*given)
    for held, part in zip((data.y, data.X, data.D, data.W.values), given, strict=True):
        assert np.shares_memory(held, np.asarray(part))


def test_units_and_levels_do_not_matter_with_many_rows():
    y, X, D, Z = (np.asarray(part, dtype=float) for part in LARGE.data)
    plain = TSLS().fit(y, X, D, Z)
    changed = TSLS().fit(1e6 * y, X * [1, 1e-6], 1e4 * (D + 1e3), 1e-5 * (Z - 1e4))
    assert changed.params["endog"] == pytest.approx(100 * plain.params["endog"], rel=SOLVE)
    assert changed.std_errors["endog"] == pytest.approx(100 * plain.std_errors["endog"], rel=SOLVE)
    ends = zip(
        changed.conf_int(method="ar").intervals, plain.conf_int(method="ar").intervals, strict=True
    )
    for one, other in ends:
        np.testing.assert_allclose(one, np.multiply(100, other), rtol=ROOT)


def test_dependent_instruments_are_dropped_with_many_rows():
    y, X, D, Z = (np.asarray(part, dtype=float) for part in LARGE.data)
    wide = np.column_stack([Z, Z[:, 0] - 2 * Z[:, 1]])
    found, expected = TSLS().fit(y, X, D, wide), TSLS().fit(y, X, D, Z)
    assert found.first_stage.n_instruments == 3
    np.testing.assert_allclose(found.params, expected.params, rtol=SOLVE)
    np.testing.assert_allclose(found.cov, expected.cov, rtol=SOLVE)
