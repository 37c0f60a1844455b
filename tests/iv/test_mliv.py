"""The front door: what it returns is what other programs make of its instrument."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS
from scipy import stats
from sklearn.base import clone

from mlinstruments import MLIV, TSLS, MLIVResults, compare
from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments.learning import Boosting, Ridge
from tests.designs import DESIGNS, FAST, strong
from tests.tolerances import ROUNDING, SOLVE

COVARIANCES = {
    "unadjusted": ("none", {"cov_type": "unadjusted"}),
    "robust": ("none", {"cov_type": "robust"}),
    "one way": ("one", {}),
    "two ways": ("two", {}),
    "kernel": ("none", {"cov_type": "kernel", "bandwidth": 5}),
}


def by_linearmodels(
    res, design, rows=slice(None), weights=None, clusters=None, debiased=False, **options
):
    """The learned instrument in the hands of another program."""
    y, X, D, _ = (part.iloc[rows] for part in design.data)
    if clusters is not None:
        frame = pd.DataFrame(clusters).iloc[rows]
        codes = np.column_stack([pd.factorize(frame[name])[0] for name in frame])
        options = {"cov_type": "clustered", "clusters": codes}
    elif options.get("cov_type") == "kernel":
        options["kernel"] = "bartlett"
    weights = None if weights is None else weights[rows]
    z = pd.DataFrame(res.instrument).iloc[rows]
    return IV2SLS(y, X, D, z, weights=weights).fit(debiased=debiased, **options)


def assert_reproduced(res, expected):
    order = list(res.params.index)
    np.testing.assert_allclose(res.params, expected.params[order], rtol=SOLVE)
    np.testing.assert_allclose(res.std_errors, expected.std_errors[order], rtol=SOLVE)
    np.testing.assert_allclose(res.cov, expected.cov.loc[order, order], rtol=SOLVE, atol=1e-11)
    # A p-value loses as many digits as the squared ratio has.
    np.testing.assert_allclose(res.pvalues, expected.pvalues[order], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("debiased", [False, True], ids=["large", "debiased"])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_instrument_reproduces_the_fit(d, covariance, debiased, weighted):
    design = DESIGNS[d]
    ways, options = COVARIANCES[covariance]
    options = {**options, "clusters": design.clusters[ways], "debiased": debiased}
    options["weights"] = design.weights if weighted else None
    res = MLIV(FAST, n_folds=3).fit(*design.data, **options)
    assert_reproduced(res, by_linearmodels(res, design, **options))


@pytest.mark.parametrize(
    "model",
    [
        MLIV("boosting", n_folds=2),
        MLIV("ridge", interact_controls=True),
        MLIV("ridge", split_half=False),
        MLIV(FAST, control_variate=True),
        MLIV(FAST, covariates="recentred"),
        MLIV(FAST, orthogonal=True),
    ],
    ids=str,
)
def test_every_option_leaves_a_usable_instrument(model):
    design = DESIGNS[1]
    res = model.fit(*design.data)
    assert_reproduced(res, by_linearmodels(res, design, cov_type="robust"))
    np.testing.assert_allclose(design.X.T @ res.instrument, 0, atol=SOLVE)
    assert abs(res.params["d1"] - 1) < 4 * res.std_errors["d1"]  # seeded; 1 is the truth


def test_missing_rows_are_dropped_everywhere():
    design = DESIGNS[1]
    y, X, D, W = (part.copy() for part in design.data)
    y[3] = X.loc[50, "x"] = D.loc[77, "d1"] = W.loc[120, "w2"] = np.nan
    weights = design.weights.copy()
    weights[200] = np.nan
    firm = pd.Series(design.firm, name="firm").copy()
    firm[201] = None
    rows = np.setdiff1d(np.arange(240), [3, 50, 77, 120, 200, 201])
    with pytest.warns(MissingRowsWarning, match="Dropped 6 of 240"):
        res = MLIV(FAST, n_folds=3).fit(y, X, D, W, weights=weights, clusters=firm)
    assert res.nobs == 234
    for kept in (res.instrument, res.resids, res.folds["repeat 0"]):
        assert kept.index.equals(y.index)
        np.testing.assert_array_equal(kept.notna(), np.isin(np.arange(240), rows))
    expected = by_linearmodels(res, design, rows, weights=weights, clusters=firm)
    assert_reproduced(res, expected)
    np.testing.assert_allclose(res.resids[rows], expected.resids, rtol=SOLVE, atol=SOLVE)
    small = design.taken(rows)
    again = MLIV(FAST, n_folds=3).fit(
        *small.data, weights=weights[rows], clusters=firm[rows].reset_index(drop=True)
    )
    np.testing.assert_array_equal(again.params, res.params)


def test_boosting_keeps_rows_with_missing_instruments():
    y, X, D, W = (part.copy() for part in DESIGNS[1].data)
    W.loc[:40, "w1"] = np.nan
    res = MLIV(Boosting(rounds=20), n_folds=3).fit(y, X, D, W)
    assert res.nobs == 240
    assert np.isnan(res.first_stage.linear_f["d1"])
    assert np.isfinite(res.params).all()


# ---- a configuration, and results that cannot change -----------------------------------------


def test_configuration_is_stored_untouched_and_refits_alike():
    learner = Ridge(0.1)
    model = MLIV(learner, n_folds=4, covariates="linear", random_state=7)
    assert model.get_params()["learner"] is learner
    copy = clone(model)
    before = model.get_params()
    first, second, third = (m.fit(*DESIGNS[1].data) for m in (model, model, copy))
    assert model.get_params() == before
    for other in (second, third):
        np.testing.assert_array_equal(other.params, first.params)
        np.testing.assert_array_equal(other.instrument, first.instrument)
    assert model.set_params(n_folds=2).fit(*DESIGNS[1].data).n_folds == 2


def test_a_seed_sequence_is_not_used_up():
    model = MLIV("ridge", random_state=np.random.SeedSequence(5))
    first, second = (model.fit(*DESIGNS[1].data) for _ in range(2))
    np.testing.assert_array_equal(first.instrument, second.instrument)


def test_results_are_frozen_and_hold_no_copy_of_the_data():
    res = MLIV("ridge").fit(*DESIGNS[1].data)
    with pytest.raises(dataclasses.FrozenInstanceError):
        res.nobs = 3
    sizes = [
        np.size(getattr(res, field.name))
        for field in dataclasses.fields(res)
        if isinstance(getattr(res, field.name), np.ndarray | pd.Series | pd.DataFrame)
    ]
    assert sum(size >= res.nobs for size in sizes) == 3  # residuals, instrument, folds


def test_the_input_is_left_alone():
    design = strong(n=100, seed=5)
    before = [part.copy() for part in design.data]
    weights = design.weights.copy()
    MLIV("ridge").fit(*design.data, weights=design.weights)
    for part, copy in zip(design.data, before, strict=True):
        assert part.equals(copy)
    np.testing.assert_array_equal(design.weights, weights)


def test_formulas_are_arrays():
    design = DESIGNS[1]
    frame = pd.concat([design.y, *design.data[1:]], axis=1).assign(
        firm=design.firm, w=design.weights
    )
    model = MLIV(FAST, n_folds=3)
    found = model.fit_formula(
        "y ~ 1 + x + [d1 ~ w1 + w2 + w3]", frame, clusters="firm", weights="w"
    )
    expected = model.fit(*design.data, clusters=design.firm, weights=design.weights)
    np.testing.assert_array_equal(found.params, expected.params)
    assert list(found.params.index) == ["Intercept", "x", "d1"]


# ---- three endogenous regressors -------------------------------------------------------------


@pytest.fixture(scope="module")
def three():
    """By formula, with weights and two ways of clusters named by strings."""
    design = DESIGNS[3]
    frame = pd.concat(design.data, axis=1).drop(columns="const")
    frame = frame.assign(firm=design.firm, year=design.year, w=design.weights)
    formula = "y ~ 1 + x + [d1 + d2 + d3 ~ w1 + w2 + w3]"
    model = MLIV(FAST, n_folds=2)
    return model.fit_formula(formula, frame, weights="w", clusters=["firm", "year"])


def test_three_instruments_reproduce_the_fit(three):
    design = DESIGNS[3]
    expected = by_linearmodels(three, design, slice(None), design.weights, design.clusters["two"])
    params = expected.params.rename({"const": "Intercept"})
    cov = expected.cov.rename({"const": "Intercept"}).rename(columns={"const": "Intercept"})
    order = list(three.params.index)
    assert order == ["Intercept", "x", "d1", "d2", "d3"]
    np.testing.assert_allclose(three.params, params[order], rtol=SOLVE)
    np.testing.assert_allclose(three.cov, cov.loc[order, order], rtol=SOLVE, atol=1e-11)
    gap = (three.params[2:] - [1, -0.5, 0.25]) / three.std_errors[2:]
    assert (np.abs(gap) < 4).all()  # seeded


@pytest.mark.parametrize("ways", ["one", "two"])
@pytest.mark.parametrize("value", [[1, -0.5, 0.25], [0, 0, 0], [1, -0.5, 3]], ids=str)
def test_joint_statistic_of_three_is_the_sum_of_squares_of_moments(three, value, ways):
    design = DESIGNS[3]
    y, X, D, W = design.data
    res = three
    if ways == "one":
        options = {"weights": design.weights, "clusters": design.firm}
        res = MLIV(FAST, n_folds=2, split_half=False).fit(y, X, D, W, **options)
    root = np.sqrt(design.weights / design.weights.mean())
    e = (y - D @ value) * root
    e = e - (X.mul(root, axis=0)) @ np.linalg.lstsq(X.mul(root, axis=0), e, rcond=None)[0]
    scores = res.instrument.mul(root * e, axis=0)
    total = scores.sum().to_numpy()
    labels = [design.firm, design.year, [design.firm, design.year]]
    sums = [scores.groupby(label).sum().to_numpy() for label in labels]
    a, b, both = (s.T @ s for s in sums)
    variance = a if ways == "one" else a + b - both
    assert np.linalg.eigvalsh(variance)[0] > 0
    expected = total @ np.linalg.solve(variance, total)
    pooled = res.anderson_rubin(value, ar="pooled")
    if ways == "one":
        assert pooled.statistic == pytest.approx(expected, rel=SOLVE)
    else:  # mended for every value at once, so larger where it needed no mending
        assert 0 < pooled.statistic <= expected
    assert pooled.df == 3
    # Without halves to measure noise by the default doubles the variance.
    found = res.anderson_rubin(value)
    assert found.statistic == pytest.approx(pooled.statistic / 2, rel=SOLVE)
    assert found.pvalue == pytest.approx(stats.chi2.sf(found.statistic, 3), rel=SOLVE)
    assert f"d3 = {value[2]:g}" in str(found)


def test_joint_test_of_three_accepts_the_estimate_and_rejects_far_values():
    y, X, D, W = DESIGNS[3].data
    res = MLIV(FAST, n_folds=3).fit(y, X, D, W, weights=DESIGNS[3].weights)
    estimate = res.params[["d1", "d2", "d3"]].to_numpy()
    at = res.anderson_rubin(estimate)
    assert at.statistic == pytest.approx(0, abs=ROUNDING)
    assert res.anderson_rubin([1, -0.5, 0.25]).pvalue > 0.001  # seeded
    for j in range(3):
        away = [res.anderson_rubin(estimate + t * np.eye(3)[j]).pvalue for t in (0.01, 0.1, 1)]
        assert 1 > away[0] > away[1] > away[2]
        assert away[2] < 1e-4


def test_what_three_endogenous_regressors_lack_is_said(three):
    with pytest.raises(InputError, match=r"two endogenous.*there are 3: use anderson_rubin"):
        three.conf_int(method="ar")
    with pytest.raises(InputError, match="exactly one endogenous"):
        three.conf_int(method="tf")
    with pytest.raises(InputError, match="each of d1, d2, d3"):
        three.anderson_rubin([1.0, 2.0])
    with pytest.raises(InputError, match="single endogenous"):
        MLIV(FAST, orthogonal=True).fit(*DESIGNS[3].data)


def test_three_endogenous_regressors_are_shown(three, tmp_path):
    linear = TSLS().fit(*DESIGNS[3].data)
    for text in (str(three), str(three.summary), str(linear), str(compare({"MLIV": three}))):
        assert "joint test only" in text
        assert max(map(len, text.splitlines())) <= 100
        for name in ("d1", "d2", "d3"):
            assert re.search(rf"^{name}\s+-?\d", text, re.M)
            assert re.search(rf"First-stage F \(?{name}\)?:?\s+\d", text)
    three.save(tmp_path / "three.zip")
    again = MLIVResults.load(tmp_path / "three.zip")
    assert str(again) == str(three)
    assert again.anderson_rubin([1, 0, 0]) == three.anderson_rubin([1, 0, 0])
