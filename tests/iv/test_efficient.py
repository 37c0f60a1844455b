"""Efficient instruments: two-step GMM in cells, valid and more precise where variances vary."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS, IVGMM

from mlinstruments import MLIV, MLIVResults
from mlinstruments._core.exceptions import FallbackWarning, InputError
from mlinstruments._core.parallel import spawn_seeds
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments.iv import efficient
from mlinstruments.iv.assemble import fit_repeats
from mlinstruments.iv.conditional import Choices, Source, learn_conditional
from mlinstruments.iv.data import IVData
from mlinstruments.iv.efficient import Problem, instruments, varying_covariates
from mlinstruments.iv.learn import FirstStagePlan, bind
from mlinstruments.learning import OLS, Boosting, Ridge, Series
from mlinstruments.learning.crossfit import cell_seeds_of
from mlinstruments.learning.folds import Split, random_split
from tests.designs import DESIGNS, FAST
from tests.tolerances import ROUNDING, SOLVE

# Two routes through cross-products of designs of condition number below 1e2.
GMM = 1e-10


def heteroskedastic(seed, n=1000):
    """W ~ U(-2, 2), Var(U | W) = exp(1.2 W), X related to W and not linearly; the effect is 1."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(-2, 2, n)
    x = w**2 - 4 / 3 + np.exp(0.3 * w) * rng.normal(size=n)
    e = rng.normal(size=n)
    D = np.sin(2 * w) + 0.5 * w + 0.7 * x + 0.6 * e + 0.8 * rng.normal(size=n)
    return D + np.exp(0.6 * w) * e, np.column_stack([np.ones(n), x]), D, w


# ---- two-step GMM -------------------------------------------------------------------------------


def in_cells(d, r, n=400):
    """W a category of six cells on which means, variances and the skewness of x depend."""
    rng = np.random.default_rng(8)
    cell = rng.integers(0, 6, n)
    e = rng.normal(size=n)
    x = rng.normal(size=(n, r)) * (1 + 0.2 * cell[:, None]) + 0.3 * cell[:, None] ** 1.5
    u = e * np.exp(0.25 * cell) * (1 + 0.3 * (x > 0).any(axis=1))
    peaks = np.array([[0, 2, -1, 1, 3, 0.5], [1, 0, 2, -2, 0.5, 1]], dtype=float)[:d, cell].T
    D = peaks + x @ np.full((r, d), 0.4) + 0.6 * e[:, None] + rng.normal(size=(n, d))
    X = pd.DataFrame(x, columns=[f"x{j}" for j in range(r)]).assign(const=1.0)
    W = pd.DataFrame({"cell": np.array(list("abcdef"))[cell]})
    y = pd.Series(D.sum(axis=1) + x.sum(axis=1) + u, name="y")
    return y, X, pd.DataFrame(D, columns=["d1", "d2"][:d]), W, rng.uniform(0.5, 2, n)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("r", [0, 1, 2])
@pytest.mark.parametrize("d", [1, 2])
def test_in_cells_without_splitting_it_is_two_step_gmm(d, r, weighted):
    y, X, D, W, weights = in_cells(d, r)
    weights = weights if weighted else None
    cells = pd.get_dummies(W["cell"], drop_first=True, dtype=float)
    first = IV2SLS(y, X, D, cells, weights=weights).fit()
    expected = IVGMM(y, X, D, cells, weights=weights).fit(iter_limit=2)

    data = IVData.from_arrays(y, X, D, W, weights)
    everyone = np.arange(data.nobs)
    plain = OLS().prepare(data.W, np.ones((data.nobs, 1)), data.weights)
    problem = Problem(plain, plain, varying_covariates(data), data)
    q = first.resids.to_numpy() ** 2 * (1 if data.weights is None else data.weights)
    source = Source(plain, data.weights, everyone, np.random.SeedSequence(0))
    choices = Choices("level", np.ones(r, dtype=bool))
    learned = learn_conditional(source, problem.x, q, (everyone,), choices)
    found = instruments(source, problem, q, learned, (everyone,), everyone)
    assert not found.refusal
    z = np.hstack([found.exog[0], found.endog[0]])
    z = z if data.weights is None else data.weights[:, None] * z
    T = np.hstack([data.X, data.D])
    params = np.linalg.solve(z.T @ T, z.T @ data.y)
    np.testing.assert_allclose(params, expected.params, rtol=GMM)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_pipeline_in_one_cell_is_two_step_gmm(weighted, monkeypatch):
    """The same from learn_efficient on, given the pilot, with its covariance."""
    y, X, D, W, weights = in_cells(2, 2)
    weights = weights if weighted else None
    cells = pd.get_dummies(W["cell"], drop_first=True, dtype=float)
    first = IV2SLS(y, X, D, cells, weights=weights).fit()
    data = IVData.from_arrays(y, X, D, W, weights)
    monkeypatch.setattr(efficient, "pilot_residuals", lambda *_: first.resids.to_numpy())

    def chosen(source, x, q, sides):
        return Choices("level", np.ones(x.shape[1], dtype=bool)), None

    monkeypatch.setattr(efficient, "choose", chosen)
    engine, _ = bind(OLS(), data, "linear")
    plain = OLS().prepare(data.W, np.ones((data.nobs, 1)), data.weights)
    split = Split((np.zeros(data.nobs, dtype=np.int64),), None)
    plan = FirstStagePlan(engine, None, [split], spawn_seeds(0, 1), False, None, None, plain)
    learned = efficient.learn_efficient(data, plan)
    found = fit_repeats(data, learned, CovarianceSpec("robust"))[0].fit
    expected = IVGMM(y, X, D, cells, weights=weights).fit(iter_limit=2)
    np.testing.assert_allclose(found.params, expected.params, rtol=GMM)
    # GMM's robust covariance is (G' S^-1 G)^-1 with S at its own residuals; ours the sandwich with
    # weights at the pilot's: equal in the limit only, so against the sandwich by hand.
    z = np.hstack([learned.exog[0], learned.z[0]])
    mass = np.ones(data.nobs) if data.weights is None else data.weights
    bread = np.linalg.inv((mass[:, None] * z).T @ np.hstack([data.X, data.D]))
    scores = z * (mass * found.resids)[:, None]
    np.testing.assert_allclose(found.cov, bread @ (scores.T @ scores) @ bread.T, rtol=SOLVE)
    np.testing.assert_allclose(np.sqrt(np.diag(found.cov)), expected.std_errors, rtol=0.05)


# ---- the instrument in the hands of another program ---------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("ways", ["none", "one", "two"])
@pytest.mark.parametrize("d", [1, 2])
def test_the_instruments_reproduce_the_fit(d, ways, weighted):
    design = DESIGNS[d]
    y, X, D, W = design.data
    weights, clusters = (design.weights if weighted else None), design.clusters[ways]
    model = MLIV(FAST, efficient=True, n_folds=3)
    res = model.fit(y, X, D, W, weights=weights, clusters=clusters)
    assert res.efficient
    options = {"cov_type": "robust"}
    if clusters is not None:
        frame = pd.DataFrame(clusters)
        codes = np.column_stack([pd.factorize(frame[name])[0] for name in frame])
        options = {"cov_type": "clustered", "clusters": codes}
    T = pd.concat([X, D], axis=1)
    assert list(res.instrument) == [f"instrument for {name}" for name in T]
    expected = IV2SLS(y, None, T, res.instrument, weights=weights).fit(**options)
    np.testing.assert_allclose(res.params, expected.params, rtol=SOLVE)
    np.testing.assert_allclose(res.cov, expected.cov, rtol=SOLVE, atol=1e-11)
    z = res.instrument[[f"instrument for {name}" for name in D]].to_numpy()
    mass = 1 if weights is None else weights[:, None]
    np.testing.assert_allclose(X.T @ (mass * z), 0, atol=SOLVE * len(y))
    truth = np.array([1.0, -0.5])[:d]
    assert (np.abs(res.params[list(D)] - truth) < 4 * res.std_errors[list(D)]).all()  # seeded


def test_repeats_are_combined_by_medians():
    design = DESIGNS[1]
    models = [MLIV(FAST, efficient=True, n_folds=3, n_repeats=r) for r in (1, 3)]
    one, three = (model.fit(*design.data) for model in models)
    found = three.splits["estimate"]
    assert found[0] == one.params["d1"]
    assert three.params["d1"] == pytest.approx(np.median(found), rel=ROUNDING)
    assert 1.0 in three.conf_int(method="ar")


def test_results_say_so_and_are_saved(tmp_path):
    res = MLIV(FAST, efficient=True).fit(*DESIGNS[1].data)
    assert "linear in covariates, efficient" in str(res)
    res.save(tmp_path / "efficient.zip")
    again = MLIVResults.load(tmp_path / "efficient.zip")
    assert again.efficient
    assert str(again) == str(res)
    assert not MLIV(FAST).fit(*DESIGNS[1].data).efficient


def test_units_names_and_workers_change_nothing():
    y, X, D, W = DESIGNS[1].data
    model = MLIV(FAST, efficient=True, n_folds=3)
    base = model.fit(y, X, D, W)
    spread = X.assign(x=1e4 * X["x"] + 7)
    changed = model.set_params(n_jobs=2).fit(5 * y + D["d1"], spread, D, W)
    assert changed.params["d1"] == pytest.approx(5 * base.params["d1"] + 1, rel=SOLVE)
    assert changed.std_errors["d1"] == pytest.approx(5 * base.std_errors["d1"], rel=SOLVE)
    assert changed.params["x"] == pytest.approx(5e-4 * base.params["x"], rel=SOLVE)


def test_dummies_that_add_to_a_constant_are_one():
    y, X, D, W = DESIGNS[1].data
    group = pd.Series(np.arange(len(y)) % 3, name="g")
    whole = pd.concat([X[["x"]], pd.get_dummies(group, dtype=float).add_prefix("g")], axis=1)
    based = whole.drop(columns="g0").assign(const=1.0)
    one, other = (MLIV(FAST, efficient=True, n_folds=3).fit(y, Z, D, W) for Z in (whole, based))
    assert one.params["d1"] == pytest.approx(other.params["d1"], rel=SOLVE)
    assert one.std_errors["d1"] == pytest.approx(other.std_errors["d1"], rel=SOLVE)


# ---- nothing leaks ------------------------------------------------------------------------------

LEARNERS = {
    "boosting": Boosting(max_rounds=30, min_data_in_leaf=5),
    "series": Series(knots=4, interactions=False),
    "ridge": Ridge(),
}


@pytest.mark.parametrize("ways", ["none", "one", "two"])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_fold_is_never_trained_on_its_own_outcomes(name, ways):
    design = DESIGNS[1]
    y, X, D, W = design.data
    clusters = design.clusters[ways]
    rng = np.random.default_rng(1)

    def cell_instruments(y, D, split):
        data = IVData.from_arrays(y, X, D, W, clusters=clusters)
        engine, _ = bind(LEARNERS[name], data, "linear")
        plain = LEARNERS[name].prepare(data.W, np.ones((data.nobs, 1)), None)
        problem = Problem(engine, plain, varying_covariates(data), data)
        seed = cell_seeds_of(split, spawn_seeds(0, 1)[0])[1]
        return efficient._cell(problem, split, 1, seed)

    codes = IVData.from_arrays(y, X, D, W, clusters=clusters).clusters
    split = random_split(len(y), 3, codes, spawn_seeds(0, 1)[0])
    out = split.held_out(1)
    barred = np.logical_or.reduce([fold == fold[out[0]] for fold in split.folds])
    y2, D2 = y.to_numpy().copy(), D.to_numpy().copy()
    y2[barred] += 100 * rng.normal(size=barred.sum())
    D2[barred] += 100 * rng.normal(size=(barred.sum(), 1))
    one, other = cell_instruments(y, D, split), cell_instruments(y2, D2, split)
    np.testing.assert_array_equal(one.endog, other.endog)
    np.testing.assert_array_equal(one.exog, other.exog)
    y3 = y.to_numpy().copy()
    y3[~barred] *= np.exp(W["w1"].to_numpy())[~barred]
    assert (cell_instruments(y3, D, split).endog != one.endog).any()  # outcomes do train weights


# ---- precision and size -------------------------------------------------------------------------


@pytest.mark.slow
def test_it_is_more_precise_where_variances_vary():
    """60 draws: the ratio of standard deviations of two correlated estimates, .75, has error .05."""
    found = []
    for seed in range(60):
        models = [MLIV(FAST, efficient=on, n_folds=3) for on in (False, True)]
        fits = [model.fit(*heteroskedastic(seed)) for model in models]
        found.append([(r.params["endog"], r.std_errors["endog"]) for r in fits])
    estimates, errors = np.moveaxis(np.array(found), 2, 0)
    spread = estimates.std(axis=0)
    assert spread[1] < 0.85 * spread[0]
    assert abs(estimates[:, 1].mean() - 1) < 4 * spread[1] / np.sqrt(60)
    covered = (np.abs(estimates - 1) < 1.96 * errors).sum(axis=0)
    assert (covered >= 51).all()  # of 60 at 95%: fewer have probability 2e-3


def test_irrelevant_instruments_draw_no_conclusion():
    """40 draws; the corrected test rejects 5% or less, so 7 or more have probability 3e-3."""
    rejected, f = 0, []
    for seed in range(40):
        rng = np.random.default_rng([3, seed])
        W, e = rng.normal(size=(300, 2)), rng.normal(size=300)
        D = 0.95 * e + 0.3 * rng.normal(size=300)
        y = D + e * np.exp(0.5 * W[:, 0])
        res = MLIV(FAST, efficient=True, n_folds=3).fit(y, np.ones(300), D, W)
        rejected += 1.0 not in res.conf_int(method="ar")
        f.append(res.first_stage.f["endog"])
    assert rejected < 7
    assert np.median(f) < 2


# ---- refusals and falling back ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "options", "words"),
    [
        ({"control_variate": True}, {}, ["control_variate=True", "leave one"]),
        ({"orthogonal": True}, {}, ["orthogonal=True"]),
        ({"interact_controls": True}, {}, ["interact_controls=True"]),
        ({"covariates": "recentred"}, {}, ["covariates='recentred'"]),
        ({"n_folds": "loo"}, {}, ["n_folds='loo'"]),
        ({}, {"cov_type": "unadjusted"}, ["'unadjusted'", "constant", "'robust'"]),
    ],
    ids=str,
)
def test_refusals(settings, options, words):
    with pytest.raises(InputError) as caught:
        MLIV("ridge", efficient=True, **settings).fit(*DESIGNS[1].data, **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.filterwarnings("ignore:exog has no constant")
def test_a_constant_is_needed():
    y, X, D, W = DESIGNS[1].data
    with pytest.raises(InputError, match="needs a constant in exog"):
        MLIV("ridge", efficient=True).fit(y, X[["x"]], D, W)


def test_it_falls_back_where_weights_rest_on_few_rows():
    rng = np.random.default_rng(0)
    W = (np.arange(400) % 20 == 0).astype(float)
    D = W + rng.normal(size=400)
    e = rng.normal(size=400) * np.where(W > 0, 1e-4, 1e2)
    folds = np.random.default_rng(1).permutation(400) % 4
    data = (D + e, np.ones(400), D, W)
    with pytest.warns(FallbackWarning, match=r"not used.*training rows in effect.*default one"):
        res = MLIV("ols", efficient=True).fit(*data, folds=folds)
    assert not res.efficient
    plain = MLIV("ols").fit(*data, folds=folds)
    np.testing.assert_array_equal(res.params, plain.params)
    np.testing.assert_array_equal(res.instrument, plain.instrument)


def test_it_falls_back_where_covariates_are_functions_of_the_instruments():
    y, X, D, W = DESIGNS[1].data
    X = X.assign(group=(W["w1"] > 0).astype(float))
    knots = pd.DataFrame({"level": np.where(W["w1"] > 0, "a", "b"), "w2": W["w2"]})
    with pytest.warns(FallbackWarning, match="functions of the instruments"):
        res = MLIV("ols", efficient=True).fit(y, X, D, knots)
    assert not res.efficient


def test_it_falls_back_where_nothing_is_left_to_weight_by():
    _, X, D, W = DESIGNS[1].data
    with pytest.warns(FallbackWarning, match="no residuals"):
        res = MLIV("ols", efficient=True).fit(2 * D["d1"].rename("y"), X, D, W)
    assert not res.efficient
