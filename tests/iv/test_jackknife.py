"""JIVE, IJIVE and UJIVE against one refit for every row or cluster left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS

from mlinstruments import IJIVE, JIVE, MLIV, TSLS, UJIVE, compare
from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import orthonormal_basis
from mlinstruments.iv.jackknife import FirstStageFit, ujive
from tests.designs import strong
from tests.tolerances import ROUNDING, SOLVE

DESIGNS = {d: strong(n=120, d=d, seed=20 + d) for d in (1, 2)}
ESTIMATORS = {"JIVE": JIVE, "IJIVE": IJIVE, "UJIVE": UJIVE}


def arrays(design):
    return tuple(np.asarray(part, dtype=float) for part in design.data)


def regression(regressors, targets, w, others):
    """Weighted least squares on some rows; predictions of all."""
    root = np.sqrt(w[others])[:, None]
    coefficients = np.linalg.lstsq(root * regressors[others], root * targets[others], rcond=None)[0]
    return regressors @ coefficients


def refitted(name, X, D, W, w, groups):
    """The instrument by as many refits as there are groups."""
    everyone = np.arange(len(D))
    if name == "IJIVE":
        D, W = (v - regression(X, v, w, everyone) for v in (D, W))
    z = np.empty_like(D)
    for g in np.unique(groups):
        own, others = np.flatnonzero(groups == g), np.flatnonzero(groups != g)
        if name == "IJIVE":
            z[own] = regression(W, D, w, others)[own]
        else:
            z[own] = regression(np.hstack([X, W]), D, w, others)[own]
        if name == "UJIVE":
            z[own] -= regression(X, D, w, others)[own]
    return z


@pytest.mark.parametrize("clusters", ["none", "one", "two"])
@pytest.mark.parametrize("leave_out", ["row", "cluster"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_it_is_iv_with_the_refitted_instrument(name, d, weighted, leave_out, clusters):
    if leave_out == "cluster" and clusters != "one":
        pytest.skip("leaves out one way of clusters")
    design = DESIGNS[d]
    y, X, D, W = design.data
    weights = design.weights if weighted else None
    firm, year = encode_labels(design.firm), encode_labels(design.year)
    groups = firm if leave_out == "cluster" else np.arange(len(y))
    w = np.ones(len(y)) if weights is None else weights
    z = refitted(name, *arrays(design)[1:], w, groups)
    words = {"none": {"cov_type": "robust"}, "one": {"clusters": firm}}
    words["two"] = {"clusters": np.column_stack([firm, year])}
    options = {"cov_type": "clustered"} | words[clusters]
    for debiased in (False, True):
        expected = IV2SLS(y, X, D, z, weights=weights).fit(debiased=debiased, **options)
        found = ESTIMATORS[name](leave_out).fit(
            y, X, D, W, weights=weights, clusters=design.clusters[clusters], debiased=debiased
        )
        np.testing.assert_allclose(found.params, expected.params, rtol=SOLVE)
        np.testing.assert_allclose(found.cov, expected.cov, rtol=SOLVE, atol=1e-10)
        np.testing.assert_allclose(found.resids, expected.resids, rtol=SOLVE, atol=SOLVE)
    assert found.params.index.tolist() == [*X, *D]
    # The instruments' own strength and Anderson-Rubin test do not depend on the estimator.
    tsls = TSLS().fit(
        y, X, D, W, weights=weights, clusters=design.clusters[clusters], debiased=debiased
    )
    pd.testing.assert_frame_equal(
        found.first_stage.to_frame(), tsls.first_stage.to_frame(), rtol=SOLVE
    )
    test, expected = found.anderson_rubin(0.5), tsls.anderson_rubin(0.5)
    assert test.statistic == pytest.approx(expected.statistic, rel=SOLVE)


@pytest.mark.parametrize("cov_type", ["unadjusted", "kernel"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_other_covariances(name, cov_type):
    y, X, D, W = DESIGNS[1].data
    z = refitted(name, *arrays(DESIGNS[1])[1:], np.ones(len(y)), np.arange(len(y)))
    options = {"bandwidth": 3} if cov_type == "kernel" else {}
    expected = IV2SLS(y, X, D, z).fit(cov_type=cov_type, **options)
    found = ESTIMATORS[name]().fit(y, X, D, W, cov_type=cov_type, **options)
    np.testing.assert_allclose(found.cov, expected.cov, rtol=SOLVE, atol=1e-12)


@pytest.mark.parametrize("by", ["row", "cluster"])
def test_own_errors_of_ujive_have_weights_that_sum_to_zero(by):
    _, X, D, W = arrays(DESIGNS[1])
    n = len(D)
    groups = None if by == "row" else encode_labels(DESIGNS[1].firm)
    covariates = orthonormal_basis(X)
    outside = np.eye(n) - covariates @ covariates.T
    first = FirstStageFit(np.eye(n), covariates, orthonormal_basis(outside @ W), groups)
    G = ujive(first)  # z = G D
    own = np.eye(n) if groups is None else groups[:, None] == groups[None, :]
    np.testing.assert_allclose(G * own, 0, atol=ROUNDING)
    assert np.trace(outside @ G) == pytest.approx(0, abs=ROUNDING)


def test_in_cells_ujive_is_the_textbook_ratio():
    """Judges within courts: z'Y / z'D, z the judge's leave-one-out mean less the court's."""
    rng = np.random.default_rng(0)
    n = 240
    judge = rng.integers(0, 12, n)
    court = judge // 4
    u = rng.normal(size=n)
    d = 0.5 * rng.normal(size=12)[judge] + rng.normal(size=3)[court] + u
    y = 50 + d + 3 * court + u

    def mean_of_others(values, cells):
        total, count = np.bincount(cells, values)[cells], np.bincount(cells)[cells]
        return (total - values) / (count - 1)

    z = mean_of_others(d, judge) - mean_of_others(d, court)
    dummies = (court[:, None] == np.arange(3)).astype(float)
    found = UJIVE().fit(y, dummies, d, pd.Series([f"judge {j}" for j in judge], name="judge"))
    assert found.params["endog"] == pytest.approx((z @ y) / (z @ d), rel=SOLVE)
    e = y - found.params["endog"] * d
    e -= (np.bincount(court, e) / np.bincount(court))[court]
    error = np.sqrt((z**2) @ e**2) / (z @ d)
    assert found.std_errors["endog"] == pytest.approx(error, rel=SOLVE)
    assert found.first_stage.n_instruments == 9


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_level_of_the_outcome_changes_nothing(name):
    y, X, D, W = DESIGNS[1].data
    found, moved = (ESTIMATORS[name]().fit(v, X, D, W) for v in (y, y + 1000 + 7 * X["x"]))
    assert moved.params["d1"] == pytest.approx(found.params["d1"], rel=SOLVE)
    assert moved.std_errors["d1"] == pytest.approx(found.std_errors["d1"], rel=SOLVE)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.slow
def test_many_instruments_do_not_pull_towards_least_squares(name):
    """Forty instruments, most irrelevant: 2SLS is off by a third of the bias of least squares."""
    rng = np.random.default_rng(1)
    found = {"it": [], "2SLS": []}
    for _ in range(120):
        W = rng.normal(size=(300, 40))
        u, v = rng.normal(size=(2, 300))
        d = 0.45 * W[:, 0] + 0.8 * u + 0.6 * v
        data = (d + u, np.ones(300), d, W)
        for key, model in (("it", ESTIMATORS[name]()), ("2SLS", TSLS())):
            found[key].append(model.fit(*data).params["endog"] - 1)
    error = np.std(found["it"]) / np.sqrt(120)
    assert abs(np.median(found["it"])) < 4 * error
    assert np.median(found["2SLS"]) > 0.2


@pytest.mark.parametrize("leave_out", ["row", "cluster"])
@pytest.mark.parametrize("name", ["JIVE", "UJIVE"])
def test_a_row_that_nothing_else_predicts_is_refused(name, leave_out):
    y, X, D, W = DESIGNS[1].data
    own = W.assign(only=(np.arange(len(y)) == 5).astype(float))
    clusters = DESIGNS[1].clusters["one"]
    with pytest.raises(InputError, match=rf"1 {leave_out} alone determines"):
        ESTIMATORS[name](leave_out).fit(y, X, D, own, clusters=clusters)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_cannot_be_left_out_is_refused(name):
    design = DESIGNS[1]
    with pytest.raises(InputError, match="leave_out must be one of 'row', 'cluster'"):
        ESTIMATORS[name]("fold").fit(*design.data)
    with pytest.raises(InputError, match="none were given"):
        ESTIMATORS[name]("cluster").fit(*design.data)
    with pytest.raises(InputError, match="two ways"):
        ESTIMATORS[name]("cluster").fit(*design.data, clusters=design.clusters["two"])
    y, X, D, W = design.data
    res = ESTIMATORS[name]().fit(y, X, D, W[["w1"]])
    with pytest.raises(InputError, match="tF intervals are for the t ratio of 2SLS"):
        res.conf_int(method="tf")


def test_they_stand_beside_others_in_a_table():
    fits = {name: model().fit(*DESIGNS[1].data) for name, model in ESTIMATORS.items()}
    text = str(compare(fits | {"2SLS": TSLS().fit(*DESIGNS[1].data)}))
    assert text.count("leave one row out") == 3


def test_formula_names_travel(tmp_path):
    design = DESIGNS[1]
    frame = design.X.join(design.D).join(design.W).assign(y=design.y, firm=design.firm)
    res = UJIVE().fit_formula("y ~ 1 + x + [d1 ~ w1 + w2 + w3]", frame, clusters="firm")
    assert res.params.index.tolist() == ["Intercept", "x", "d1"]
    assert (res.cluster_names, res.dependent) == (("firm",), "y")
    res.save(tmp_path / "it.zip")
    again = type(res).load(tmp_path / "it.zip")
    assert again.learner == res.learner
    assert np.isnan(again.kappa)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_ujive_is_mliv_of_least_squares_without_each_row(weighted):
    design = DESIGNS[1]
    weights = design.weights if weighted else None
    learned = MLIV("ols", n_folds="loo").fit(*design.data, weights=weights)
    found = UJIVE().fit(*design.data, weights=weights)
    np.testing.assert_allclose(found.params, learned.params, rtol=SOLVE)
    np.testing.assert_allclose(found.cov, learned.cov, rtol=SOLVE, atol=1e-12)
