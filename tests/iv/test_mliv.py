"""The front door: what it returns is what other programs make of its instrument."""

from __future__ import annotations

import dataclasses
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS
from scipy import stats
from sklearn.base import clone

from mlinstruments import MLIV, TSLS, MLIVResults, compare
from mlinstruments._core.exceptions import (
    AssumptionWarning,
    InputError,
    MissingRowsWarning,
    WeakInstrumentWarning,
)
from mlinstruments.iv.strength import tf_critical
from mlinstruments.learning import Boosting, Ridge, Series
from mlinstruments.simulation import designs
from tests.designs import strong
from tests.tolerances import IDENTITY, ROUNDING, SOLVE

DESIGNS = {d: strong(n=240, d=d, seed=10 + d) for d in (1, 2, 3)}
FAST = Series(penalty=0.05, interactions=False)
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


# ---- repeats ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_repeats", [3, 4])
def test_the_median_rule_by_hand(n_repeats):
    design = DESIGNS[1]
    res = MLIV(FAST, n_folds=3, n_repeats=n_repeats).fit(*design.data)
    table = res.splits
    assert len(table) == n_repeats
    assert table["estimate"].nunique() == n_repeats
    tau = np.median(table["estimate"])
    variances = table["std_error"] ** 2 + (table["estimate"] - tau) ** 2
    assert res.params["d1"] == pytest.approx(tau, rel=IDENTITY)
    assert res.std_errors["d1"] ** 2 == pytest.approx(np.median(variances), rel=IDENTITY)
    for name in ("f", "partial_r2", "calibration", "reliability"):
        found = getattr(res.first_stage, name)["d1"]
        assert found == pytest.approx(np.median(table[name]), rel=IDENTITY)


def test_the_median_rule_with_two_endogenous_regressors():
    res = MLIV(FAST, n_folds=3, n_repeats=3).fit(*DESIGNS[2].data)
    for name in ("d1", "d2"):
        rows = res.splits[res.splits["endog"] == name]
        assert res.params[name] == pytest.approx(np.median(rows["estimate"]), rel=IDENTITY)
    block = res.cov.loc[["d1", "d2"], ["d1", "d2"]]
    smallest = np.linalg.eigvalsh(block)[0]
    assert smallest > 0


def test_the_instrument_is_the_mean_over_repeats():
    design = DESIGNS[1]
    both = MLIV("ridge", n_repeats=2, random_state=3).fit(*design.data)
    folds = [both.folds[f"repeat {r}"].to_numpy() for r in range(2)]
    assert (folds[0] != folds[1]).any()
    alone = MLIV("ridge", random_state=3).fit(*design.data)
    np.testing.assert_array_equal(both.folds["repeat 0"], alone.folds["repeat 0"])
    first = both.splits.iloc[0]
    assert alone.params["d1"] == pytest.approx(first["estimate"], rel=IDENTITY)
    other = 2 * both.instrument - alone.instrument  # then the second repeat's
    y, D = design.y, design.D["d1"]
    assert (other @ y) / (other @ D) == pytest.approx(both.splits["estimate"][1], rel=SOLVE)


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


# ---- what covariates may do ------------------------------------------------------------------


def spurious(n=600):
    """W irrelevant; D and Y both hold x^2 (section 1 of the notes), tau = 0."""
    rng = np.random.default_rng(0)
    x, w, e, v = rng.normal(size=(4, n))
    d = (x**2 - 1) + 0.6 * e + 0.8 * v
    y = e + (x**2 - 1) / np.sqrt(2)
    return y, np.column_stack([np.ones(n), x]), d, w


def test_non_linear_covariates_do_not_pose_as_instruments():
    data = spurious()
    for covariates in ("linear", "recentred"):
        res = MLIV("series", covariates=covariates).fit(*data)
        assert res.first_stage.f["endog"] < 10
        assert 0.0 in res.conf_int(method="ar")
    with pytest.warns(AssumptionWarning, match=r"'unconstrained'.*exactly linear"):
        res = MLIV("series", covariates="unconstrained").fit(*data)
    assert res.first_stage.f["endog"] > 100  # what the constraint is for
    assert res.params["endog"] > 0.5
    assert 0.0 not in res.conf_int(method="ar")


@pytest.mark.parametrize(
    "learner",
    [Boosting(max_rounds=100), Boosting(rounds=30), Series(penalty=0.2)],
    ids=["boosting", "boosting, few rounds", "series, heavy penalty"],
)
def test_recentring_removes_what_covariates_explain_whoever_learns(learner):
    estimates = []
    for seed in range(2):
        sample = designs.spurious(1000, 0.0).draw(np.random.default_rng(seed))
        data = sample.y, sample.X, sample.D, sample.W
        recentred = MLIV(learner, covariates="recentred", n_folds=2).fit(*data)
        with pytest.warns(AssumptionWarning):
            free = MLIV(learner, covariates="unconstrained", n_folds=2).fit(*data)
        # An F is a squared correlation: of x^2 a twentieth at most is left of the instrument.
        assert recentred.first_stage.f["endog"] < free.first_stage.f["endog"] / 20
        sample = designs.spurious(1000, 0.5).draw(np.random.default_rng(seed))
        data = sample.y, sample.X, sample.D, sample.W
        res = MLIV(learner, covariates="recentred", n_folds=2).fit(*data)
        estimates.append(res.params["endog"])
    # The oracle's standard deviation is sqrt(Var U / (n Var f)) = sqrt(2 / 250) = .09; that of an
    # instrument with correlation .6 is .15. Three of the mean of two; unconstrained is at .64.
    assert abs(np.mean(estimates)) < 3 * 0.15 / np.sqrt(2)


def test_recentring_learns_interactions_that_linear_covariates_cannot():
    rng = np.random.default_rng(1)
    n = 400
    x, w, u = rng.normal(size=(3, n))
    d = 1.5 * x * w + 0.5 * u + rng.normal(size=n)
    data = (d + u, np.column_stack([np.ones(n), x]), d, w)
    linear = MLIV("series").fit(*data).first_stage.partial_r2["endog"]
    recentred = MLIV("series", covariates="recentred").fit(*data)
    assert linear < 0.1 < 0.4 < recentred.first_stage.partial_r2["endog"]
    assert abs(recentred.params["endog"] - 1) < 4 * recentred.std_errors["endog"]


def test_control_variate_trains_on_less_noise():
    rng = np.random.default_rng(2)
    n = 400
    w = rng.uniform(-1, 1, (n, 3))
    u = rng.normal(size=n)
    mu = np.cos(3 * w[:, 0])
    d = mu + 0.95 * u + 0.3 * rng.normal(size=n)
    data = (d + u, np.ones(n), d, w)
    off, on = (MLIV(FAST, control_variate=c).fit(*data) for c in (False, True))
    centred = mu - mu.mean()
    fits = [np.corrcoef(res.instrument, centred)[0, 1] for res in (off, on)]
    assert fits[1] > fits[0]
    assert "control variate" in str(on)
    assert "control variate" not in str(off)
    assert (on.control_variate, off.control_variate) == (True, False)


def test_control_variate_by_hand():
    y, X, D, W = DESIGNS[1].data
    pilot = MLIV(FAST, n_folds=3).fit(y, X, D, W)
    e = (y - X @ pilot.params[["const", "x"]] - D["d1"] * pilot.params["d1"]).to_numpy()
    e = e - X.to_numpy() @ np.linalg.lstsq(X, e)[0]
    target = D["d1"] - e * (e @ D["d1"]) / (e @ e)
    found = MLIV(FAST, n_folds=3, control_variate=True).fit(y, X, D, W)
    trained = MLIV(FAST, n_folds=3).fit(y, X, target, W)
    np.testing.assert_allclose(found.instrument, trained.instrument, rtol=SOLVE, atol=SOLVE)


def test_control_variate_without_a_pilot_says_so():
    rng = np.random.default_rng(3)
    y, d, w = rng.normal(size=(3, 100))
    from sklearn.dummy import DummyRegressor

    with pytest.warns(WeakInstrumentWarning, match="control_variate=True was not used"):
        res = MLIV(DummyRegressor(), control_variate=True).fit(y, np.ones(100), d, w)
    assert res.control_variate is False
    assert res.weak


# ---- every combination runs or refuses -------------------------------------------------------

MATRIX = list(
    itertools.product([False, True], ["none", "one", "two"], [1, 2], [1, 3], [False, True])
)


@pytest.mark.parametrize(("weighted", "ways", "d", "n_repeats", "cv"), MATRIX)
def test_options_combine_or_are_refused(weighted, ways, d, n_repeats, cv):
    design = DESIGNS[d]
    model = MLIV(FAST, n_folds=3, n_repeats=n_repeats, control_variate=cv)
    res = model.fit(
        *design.data,
        weights=design.weights if weighted else None,
        clusters=design.clusters[ways],
    )
    assert np.isfinite(res.params).all()
    assert (res.std_errors > 0).all()
    assert res.first_stage.f.min() > 10
    truth = np.array([1.0, -0.5])[:d]
    ratio = (res.params[list(design.D)] - truth) / res.std_errors[list(design.D)]
    assert (np.abs(ratio) < 4).all()
    assert not res.to_frame().isna().any(axis=None)
    # Joint tests of two coefficients project at .2 s a set, so not under every option.
    kinds = ("corrected", "pooled", "folds", "split", "orthogonal")
    for kind in kinds if d == 1 else ("corrected",) * (not weighted and not cv):
        if next(k for k in res.ar if k.kind == kind).refusal:
            assert kind not in ("corrected", "pooled")
            with pytest.raises(InputError, match=r"'corrected'|orthogonal=True"):
                res.conf_int(method="ar", ar=kind)
            continue
        found = res.conf_int(method="ar", ar=kind)
        for name, one in zip(design.D, [found] if d == 1 else found.values(), strict=True):
            assert not np.isnan(one.intervals).any()
            if kind in ("corrected", "pooled"):
                assert float(res.params[name]) in one
                assert one.is_bounded or d == 2  # twelve years do not bound a joint test of two


@pytest.mark.parametrize("n_repeats", [1, 3])
def test_sparse_two_way_clusters_with_empty_cells(n_repeats):
    design = DESIGNS[1]
    rng = np.random.default_rng(0)
    firm = rng.integers(0, 12, 240)
    clusters = np.column_stack([firm, firm + 12 * (rng.random(240) < 0.1)])  # nearly nested
    res = MLIV("ols", n_folds=4, n_repeats=n_repeats).fit(*design.data, clusters=clusters)
    assert np.isfinite(res.params).all()


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
    e = e - (X.mul(root, axis=0)) @ np.linalg.lstsq(X.mul(root, axis=0), e)[0]
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


# ---- refusals --------------------------------------------------------------------------------

REFUSED = {
    "orthogonal and repeats": (
        {"orthogonal": True, "n_repeats": 2},
        {},
        1,
        ["orthogonal", "n_repeats=1", "'corrected'"],
    ),
    "orthogonal and control variate": (
        {"orthogonal": True, "control_variate": True},
        {},
        1,
        ["orthogonal", "leave control_variate out"],
    ),
    "orthogonal and two regressors": (
        {"orthogonal": True},
        {},
        2,
        ["orthogonal", "single endogenous"],
    ),
    "folds and repeats": (
        {"n_repeats": 2},
        {"folds": np.arange(240) % 3},
        1,
        ["n_repeats must be 1"],
    ),
    "folds of another shape": (
        {},
        {"folds": np.zeros((240, 2))},
        1,
        ["folds", "240 rows", "(240, 2)"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    settings, options, d, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        MLIV("ridge", **settings).fit(*DESIGNS[d].data, **options)
    for word in words:
        assert word in str(caught.value)


def test_sets_that_were_not_prepared_say_how_to_get_them():
    res = MLIV(FAST, n_folds=3).fit(*DESIGNS[1].data)
    with pytest.raises(InputError, match=r"MLIV\(orthogonal=True\)"):
        res.conf_int(method="ar", ar="orthogonal")
    repeated = MLIV(FAST, n_folds=3, n_repeats=2).fit(*DESIGNS[1].data)
    for kind in ("folds", "split"):
        with pytest.raises(InputError, match=r"n_repeats=1; use 'corrected'"):
            repeated.anderson_rubin(0, ar=kind)
    kernel = MLIV(FAST, n_folds=3).fit(*DESIGNS[1].data, cov_type="kernel", bandwidth=2)
    with pytest.raises(InputError, match=r"kernel.*use 'corrected'"):
        kernel.conf_int(method="ar", ar="folds")
    assert kernel.conf_int(method="ar").is_bounded


# ---- inference -------------------------------------------------------------------------------


def test_without_halves_the_corrected_statistic_is_half_the_pooled_one():
    res = MLIV(FAST, n_folds=3, split_half=False).fit(*DESIGNS[1].data)
    for value in (-1.0, 0.0, 2.0):
        one, other = (res.anderson_rubin(value, ar=k).statistic for k in ("pooled", "corrected"))
        assert one == pytest.approx(2 * other, rel=ROUNDING)
    assert np.isnan(res.first_stage.reliability["d1"])


def test_with_halves_the_correction_lies_between_none_and_twice():
    res = MLIV(FAST, n_folds=3).fit(*DESIGNS[1].data)
    for value in (-1.0, 0.0, 2.0):
        pooled, corrected = (
            res.anderson_rubin(value, ar=k).statistic for k in ("pooled", "corrected")
        )
        assert 1 < pooled / corrected < 2
    assert 0.5 < res.first_stage.reliability["d1"] < 1


@pytest.mark.parametrize("weighted", [False, True])
def test_tf_interval_by_hand(weighted):
    design = DESIGNS[1]
    weights = design.weights if weighted else None
    res = MLIV(FAST, n_folds=3).fit(*design.data, weights=weights)
    low, high = res.conf_int(method="tf").loc["d1"]
    critical = tf_critical(res.first_stage.f["d1"])
    assert (low + high) / 2 == pytest.approx(res.params["d1"], rel=IDENTITY)
    assert (high - low) / 2 == pytest.approx(critical * res.std_errors["d1"], rel=IDENTITY)


# Lee, McCrary, Moreira, Porter (2022), as tabulated by sqrt(F) in the notes, to their digits.
TF = {2.0: 18.66, 2.5: 4.92, 3.2: 3.39, 4.0: 2.80, 5.0: 2.46, 8.0: 2.08, 10.3: 1.96}


@pytest.mark.parametrize("root", TF)
def test_tf_critical_values_are_the_published_ones(root):
    # The table interpolates between its own entries: a hundredth, and a fiftieth near the pole.
    assert tf_critical(root**2) == pytest.approx(TF[root], rel=0.01)


def test_first_stage_numbers_are_those_of_the_learned_instrument():
    _, X, D, _ = DESIGNS[1].data
    res = MLIV(FAST, n_folds=3).fit(*DESIGNS[1].data)
    first = IV2SLS(D["d1"], X.assign(z=res.instrument), None, None).fit(cov_type="robust")
    assert res.first_stage.f["d1"] == pytest.approx(first.tstats["z"] ** 2, rel=SOLVE)
    assert res.first_stage.effective_f["d1"] == res.first_stage.f["d1"]
    assert res.first_stage.calibration["d1"] == pytest.approx(first.params["z"], rel=SOLVE)
    linear = IV2SLS(D["d1"], X.join(DESIGNS[1].W), None, None).fit(cov_type="robust")
    b, cov = linear.params[2:], linear.cov.iloc[2:, 2:]
    expected = b @ np.linalg.solve(cov, b) / 3
    assert res.first_stage.linear_f["d1"] == pytest.approx(expected, rel=SOLVE)
    assert res.first_stage.n_instruments == 3
    folds = res.first_stage.by_fold
    assert folds["rows"].sum() == 240
    k = 1
    rows = res.folds["repeat 0"] == k
    rest = [v - X @ np.linalg.lstsq(X, v)[0] for v in (D["d1"],)]
    z, d = (v[rows] - v[rows].mean() for v in (res.instrument, rest[0]))
    own = folds.iloc[k]
    assert own["slope"] == pytest.approx((z @ d) / (z @ z), rel=SOLVE)
    e = d - z * own["slope"]
    assert own["f"] == pytest.approx((z @ d) ** 2 / ((z * e) @ (z * e)), rel=SOLVE)


@pytest.mark.parametrize("kind", ["robust", "unadjusted", "kernel"])
def test_the_linear_first_stage_counts_independent_instruments(kind):
    y, X, D, W = DESIGNS[1].data
    court = np.array(list("abc"))[np.arange(240) % 3]
    doubled = W.assign(sum=W["w1"] + W["w2"] - X["x"], court=court, again=court)
    plain = W.assign(b=court == "b", c=court == "c")
    options = {"cov_type": kind, "bandwidth": 3 if kind == "kernel" else None}
    found, expected = (MLIV(FAST).fit(y, X, D, w, **options).first_stage for w in (doubled, plain))
    assert found.n_instruments == expected.n_instruments == 5
    assert found.linear_f["d1"] == pytest.approx(expected.linear_f["d1"], rel=SOLVE)


def test_a_negative_slope_is_refused_an_estimate():
    rng = np.random.default_rng(4)
    n = 60
    w = np.repeat([0.0, 1.0], n // 2)
    folds = np.tile([0, 1], n // 2)
    d = np.where(folds == 0, w, -w) * 3 + 0.1 * rng.normal(size=n)
    res = MLIV("ols", split_half=False).fit(d + rng.normal(size=n), np.ones(n), d, w, folds=folds)
    assert "slope not positive" in res.weak
    assert res.params.isna().all()
    assert res.first_stage.calibration["endog"] < 0
    assert "No estimate" in str(res)


# ---- numbers that weights and clusters enter --------------------------------------------------------


@pytest.mark.parametrize("ways", ["none", "one"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("value", [-1.0, 0.5, 1.0, 20.0])
def test_orthogonal_statistic_is_that_of_a_first_stage_trained_at_the_null(value, weighted, ways):
    design = DESIGNS[1]
    y, X, D, W = design.data
    options = {"weights": design.weights if weighted else None, "clusters": design.clusters[ways]}
    res = MLIV(FAST, n_folds=3, orthogonal=True).fit(y, X, D, W, **options)
    w = design.weights / design.weights.mean() if weighted else np.ones(240)
    root = np.sqrt(w)[:, None]

    def clean(v):
        return v - X.to_numpy() @ np.linalg.lstsq(X * root, v * root[:, 0])[0]

    d, e = clean(D["d1"].to_numpy()), clean((y - value * D["d1"]).to_numpy())
    target = D["d1"] - e * (w @ (d * e)) / (w @ e**2)
    z = MLIV(FAST, n_folds=3).fit(y, X, target.rename("d1"), W, **options).instrument.to_numpy()
    scores = w * z * e
    codes = pd.factorize(design.firm)[0] if ways == "one" else np.arange(240)
    expected = scores.sum() ** 2 / (np.bincount(codes, scores) ** 2).sum()
    found = res.anderson_rubin(value, ar="orthogonal").statistic
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_slopes_by_fold_are_those_of_regressions_in_the_fold(weighted):
    design = DESIGNS[1]
    weights = design.weights if weighted else None
    y, _, D, W = design.data
    constant = design.X[["const"]]
    res = MLIV(FAST, n_folds=3).fit(y, constant, D, W, weights=weights)
    for k in range(3):
        rows = res.folds["repeat 0"] == k
        z, d = res.instrument[rows], D["d1"][rows]
        w = weights[rows] if weighted else None
        own = IV2SLS(d, pd.DataFrame({"one": 1.0, "z": z}), None, None, weights=w)
        own = own.fit(cov_type="robust")
        row = res.first_stage.by_fold.iloc[k]
        assert row["slope"] == pytest.approx(own.params["z"], rel=SOLVE)
        assert row["f"] == pytest.approx(own.tstats["z"] ** 2, rel=SOLVE)


def test_two_way_clusters_never_give_a_standard_error_of_nothing():
    # Cluster sums that nearly cancel in both ways leave V = A + B - AB indefinite.
    design = DESIGNS[1]
    rng = np.random.default_rng(0)
    for _ in range(20):
        clusters = np.column_stack([rng.integers(0, 3, 240), rng.integers(0, 3, 240)])
        res = MLIV("ols", n_folds=2).fit(*design.data, clusters=clusters)
        assert (res.std_errors > 0).all()
        assert (res.first_stage.f >= 0).all()
