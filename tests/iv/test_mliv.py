"""The front door: what it returns is what other programs make of its instrument."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS
from sklearn.base import clone

from mlinstruments import MLIV
from mlinstruments._core.exceptions import MissingRowsWarning
from mlinstruments.learning import Boosting, Ridge
from tests.designs import DESIGNS, FAST, strong
from tests.tolerances import SOLVE

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
@pytest.mark.parametrize("d", [1, 2])
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
