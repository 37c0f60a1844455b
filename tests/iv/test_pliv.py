"""Partially linear IV against its formula, written out with scikit-learn's own fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.tree import DecisionTreeRegressor

from mlinstruments import PLIV, TSLS, compare
from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.parallel import spawn_seeds
from mlinstruments.learning.folds import random_split
from tests.designs import strong
from tests.tolerances import ROUNDING, SOLVE

DESIGNS = {d: strong(n=200, d=d, seed=60 + d) for d in (1, 2)}
TREE = DecisionTreeRegressor(max_depth=3, random_state=0)
ALL_TREES = dict.fromkeys(("dependent", "endog", "instruments"), TREE)


def by_hand(design, clusters, weights, learners, n_folds=3, n_repeats=1):
    """Residuals of outcome, treatments and instruments, by a fit for each fold and column."""
    y, X, D, W = (np.asarray(part, dtype=float) for part in design.data)
    w = np.ones(len(y)) if weights is None else weights
    targets = {"dependent": y[:, None], "endog": D, "instruments": W}
    codes = {"none": (), "one": (design.firm,), "two": (design.firm, design.year)}[clusters]
    total = {role: np.zeros(values.shape) for role, values in targets.items()}
    for seed in spawn_seeds(7, n_repeats):
        split = random_split(len(y), n_folds, tuple(map(encode_labels, codes)), seed, halves=False)
        for k in range(split.n_cells):
            out, (train,) = split.held_out(k), split.training(k)
            for role, values in targets.items():
                for j, v in enumerate(values.T):
                    model = learners[role].fit(X[train, 1:], v[train], sample_weight=w[train])
                    rest = v[out] - model.predict(X[out, 1:])
                    total[role][out, j] += rest - np.average(rest, weights=w[out])
    return [values / n_repeats for values in total.values()]


@pytest.mark.parametrize("clusters", ["none", "one", "two"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("just", [False, True], ids=["over-identified", "just-identified"])
@pytest.mark.parametrize("d", [1, 2])
def test_it_is_2sls_on_residuals_out_of_fold(d, just, weighted, clusters):
    design = DESIGNS[d]
    design = replace(design, W=design.W.iloc[:, :d] if just else design.W)
    weights = design.weights if weighted else None
    learners = {
        "dependent": LinearRegression(),
        "endog": TREE,
        "instruments": DecisionTreeRegressor(max_depth=2, random_state=1),
    }
    y, D, Z = by_hand(design, clusters, weights, learners)
    codes = {"one": encode_labels(design.firm)}
    codes["two"] = np.column_stack([encode_labels(design.firm), encode_labels(design.year)])
    words = {"cov_type": "clustered", "clusters": codes[clusters]} if clusters != "none" else {}
    for debiased in (False, True):
        expected = IV2SLS(y, None, D, Z, weights=weights).fit(debiased=debiased, **words)
        found = PLIV(learners, n_folds=3, random_state=7).fit(
            *design.data,
            weights=weights,
            clusters=design.clusters[clusters],
            debiased=debiased,
        )
        np.testing.assert_allclose(found.params, expected.params, rtol=SOLVE)
        np.testing.assert_allclose(found.cov, expected.cov, rtol=SOLVE, atol=1e-12)
    assert found.params.index.tolist() == list(design.D)


def test_the_score_of_double_machine_learning():
    """One instrument: sum of (Y - l - tau (D - r)) (Z - m) is zero, and its sandwich."""
    design = DESIGNS[1]
    design = replace(design, W=design.W[["w1"]])
    y, D, Z = by_hand(design, "none", None, ALL_TREES)
    tau = float(Z[:, 0] @ y[:, 0] / (Z[:, 0] @ D[:, 0]))
    psi = (y - tau * D) * Z
    error = float(np.sqrt((psi**2).sum()) / abs(Z[:, 0] @ D[:, 0]))
    found = PLIV(TREE, n_folds=3, random_state=7).fit(*design.data)
    assert found.params["d1"] == pytest.approx(tau, rel=SOLVE)
    assert found.std_errors["d1"] == pytest.approx(error, rel=SOLVE)
    # The Anderson-Rubin statistic is the squared t ratio of the score at the value.
    score = ((y - 0.3 * D) * Z)[:, 0]
    assert found.anderson_rubin(0.3).statistic == pytest.approx(
        score.sum() ** 2 / (score @ score), rel=SOLVE
    )
    assert found.conf_int(method="tf").shape == (1, 2)
    assert "covariates partialled out by learners" in str(found)


def test_repeats_average_residuals():
    design = DESIGNS[1]
    y, D, Z = by_hand(design, "one", None, ALL_TREES, n_repeats=3)
    expected = IV2SLS(y, None, D, Z).fit(cov_type="clustered", clusters=encode_labels(design.firm))
    found = PLIV(TREE, n_folds=3, n_repeats=3, random_state=7).fit(
        *design.data, clusters=design.clusters["one"]
    )
    np.testing.assert_allclose(found.std_errors, expected.std_errors, rtol=SOLVE)


def test_it_sees_through_covariates_that_are_not_linear():
    rng = np.random.default_rng(3)
    n = 2000
    x, e, u = rng.normal(size=(3, n))
    z = np.sin(2 * x) + e
    d = 0.7 * z + x**2 + u + 0.5 * rng.normal(size=n)
    y = d + 2 * np.sin(2 * x) + u
    data = (y, np.column_stack([np.ones(n), x]), d, z)
    linear, found = TSLS().fit(*data), PLIV("series").fit(*data)
    assert abs(found.params["endog"] - 1) < 4 * found.std_errors["endog"]
    assert linear.params["endog"] - 1 > 10 * linear.std_errors["endog"]
    assert 1.0 in found.conf_int(method="ar", level=0.999)


@pytest.mark.parametrize(
    "learner", ["boosting", "series", "ridge", "ols", RandomForestRegressor(20)]
)
def test_learners_and_workers(learner):
    design = DESIGNS[2]
    one, two = (
        PLIV(learner, n_folds=2, n_jobs=jobs).fit(*design.data, weights=design.weights)
        for jobs in (1, 2)
    )
    np.testing.assert_allclose(one.params, two.params, rtol=ROUNDING)
    assert np.isfinite(one.std_errors).all()
    assert one.learner.startswith("linear, covariates by ")


def test_categories_are_instruments():
    design = DESIGNS[1]
    y, X, D, W = design.data
    court = np.array(list("abcd"))[np.arange(len(y)) % 4]
    dummies = W.assign(**{c: court == c for c in "bcd"})
    found, expected = (
        PLIV("ols").fit(y, X, D, instruments) for instruments in (W.assign(court=court), dummies)
    )
    np.testing.assert_allclose(found.params, expected.params, rtol=SOLVE)
    assert found.first_stage.n_instruments == 6


def test_it_stands_in_tables_and_files(tmp_path):
    design = DESIGNS[1]
    frame = design.X.join(design.D).join(design.W).assign(y=design.y)
    res = PLIV("ols").fit_formula("y ~ 1 + x + [d1 ~ w1 + w2 + w3]", frame)
    tsls = TSLS().fit_formula("y ~ 1 + x + [d1 ~ w1 + w2 + w3]", frame)
    text = str(compare({"2SLS": tsls, "PLIV": res}, all_coefficients=True))
    assert "linear, covariates by ols" in text
    res.save(tmp_path / "pliv.zip")
    pd.testing.assert_series_equal(type(res).load(tmp_path / "pliv.zip").params, res.params)


def test_what_it_refuses():
    design = DESIGNS[1]
    y, X, D, W = design.data
    with pytest.raises(InputError, match="none that varies"):
        PLIV().fit(y, X[["const"]], D, W)
    with pytest.raises(InputError, match="needs the keys 'dependent', 'endog', 'instruments'"):
        PLIV({"outcome": "ols"}).fit(*design.data)
    with pytest.raises(InputError, match="n_folds"):
        PLIV(n_folds=1).fit(*design.data)
    with pytest.raises(InputError, match="n_repeats"):
        PLIV(n_repeats=0).fit(*design.data)
    learner = make_pipeline(PolynomialFeatures(2), LinearRegression())
    with pytest.raises(InputError, match="takes no sample_weight"):
        PLIV(learner).fit(*design.data, weights=design.weights)
