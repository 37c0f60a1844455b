"""Facts of the estimator that hold exactly, whatever the data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ivmodels.tests import (
    anderson_rubin_test,
    conditional_likelihood_ratio_test,
    lagrange_multiplier_test,
)
from linearmodels.iv import IV2SLS, IVGMM
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeRegressor

import mlinstruments
from mlinstruments import LIML, MLIV, TSLS
from mlinstruments._core.parallel import spawn_seeds
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments.iv.data import IVData
from mlinstruments.iv.estimate import kclass
from mlinstruments.iv.instrument import build_instruments
from mlinstruments.iv.learn import FirstStagePlan, bind, learn_instruments
from mlinstruments.learning import (
    OLS,
    Boosting,
    Forest,
    Kernel,
    Lasso,
    Ridge,
    Series,
    SklearnLearner,
    Stack,
)
from mlinstruments.learning.base import FoldTask
from mlinstruments.learning.crossfit import cross_fit
from mlinstruments.learning.features import Features
from mlinstruments.learning.folds import Split, random_split
from mlinstruments.learning.gram import GramEngine
from tests.designs import strong
from tests.tolerances import BACKFITTING, FLOAT32, IDENTITY, ROOT, ROUNDING, SOLVE

DESIGN = strong(n=200, seed=3)
Y, X, D, W = (np.asarray(part, dtype=float) for part in DESIGN.data)
WEIGHTS = DESIGN.weights / DESIGN.weights.mean()
LEARNERS = {
    "boosting": Boosting(rounds=20, min_data_in_leaf=5),
    "series": Series(penalty=0.1, interactions=False),
    "kernel": Kernel(n_features=20),
    "ridge": Ridge(0.1),
    "lasso": Lasso(),
    "ols": OLS(),
    # In small nodes two inputs may part the same rows, and rounding then says which is used.
    "forest": Forest(n_trees=10, min_samples_leaf=20),
    "stack": Stack(["ols", Series(penalty=0.1, interactions=False)]),
    "search": GridSearchCV(DecisionTreeRegressor(), {"min_samples_leaf": [20, 30]}, cv=2),
}


def instrument(learner, n_folds, weights=None, controls=X):
    seeds = spawn_seeds(0, 1)
    splits = [random_split(len(Y), n_folds, (), seeds[0])]
    engine = learner.prepare(Features.numeric(W), controls, weights)
    predictions = cross_fit(engine, D, splits, seeds).predictions
    return build_instruments(predictions, splits, X, D.std(axis=0), weights).z[0]


# ---- 1, 2: what the learned instrument becomes in known cases --------------------------------


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", ["unadjusted", "robust"])
def test_ols_without_splitting_is_2sls(kind, weights):
    z = instrument(OLS(), 1, weights)
    found = kclass(Y, X, D, z, CovarianceSpec(kind), weights)
    expected = IV2SLS(Y, X, D, W, weights=weights).fit(cov_type=kind)
    np.testing.assert_allclose(found.params, expected.params, rtol=IDENTITY)
    np.testing.assert_allclose(found.cov, expected.cov, rtol=SOLVE)


def test_leave_one_out_ols_is_jive():
    """z = (P D - h D) / (1 - h), P and h of all of (W, X): JIVE1 of Angrist, Imbens, Krueger."""
    both = np.hstack([X, W])
    projection = both @ np.linalg.pinv(both)
    h = np.diag(projection)[:, None]
    jive = (projection @ D - h * D) / (1 - h)
    n = len(Y)
    engine = GramEngine(both[:, 1:], np.ones((n, 1)), None, 0.0)
    everyone = np.arange(n)
    predicted = np.empty((n, 1))
    seed = np.random.SeedSequence(0)
    for i in range(n):
        # The engine predicts without its unpenalised constant: pin it down by the training mean.
        others = np.delete(everyone, i)
        fitted = engine.fit(FoldTask(D, (others,), everyone, seed)).predictions[0, 0]
        predicted[i] = fitted[i] - fitted[others].mean() + D[others].mean()
    np.testing.assert_allclose(predicted, jive, rtol=SOLVE)
    # Used un-centred, its residual on X is what just-identified IV sees.
    found = kclass(Y, X, D, predicted, CovarianceSpec())
    expected = np.linalg.solve(
        np.hstack([X, jive]).T @ np.hstack([X, D]), np.hstack([X, jive]).T @ Y
    )
    np.testing.assert_allclose(found.params, expected, rtol=SOLVE)


# ---- 3, 4: affine changes --------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("by_cell", [False, True], ids=["at large", "by cell"])
def test_affine_changes_of_predictions_change_nothing(by_cell, weights):
    seeds = spawn_seeds(0, 2)
    splits = [random_split(len(Y), 4, (), seed) for seed in seeds]
    engine = Boosting(rounds=20).prepare(Features.numeric(W), X, weights)
    predictions = cross_fit(engine, D, splits, seeds).predictions
    changed = 2.5 * predictions - 7 + X @ [3.0, -4.0]
    scale = D.std(axis=0)
    first = build_instruments(predictions, splits, X, scale, weights, by_cell)
    second = build_instruments(changed, splits, X, scale, weights, by_cell)
    np.testing.assert_allclose(second.noise, 2.5 * first.noise, atol=SOLVE)
    if by_cell:  # X'c centred by cell is removed by cell
        np.testing.assert_allclose(second.z, 2.5 * first.z, atol=SOLVE)
    for z, other in zip(first.z, second.z, strict=True):
        fits = [kclass(Y, X, D, one, CovarianceSpec(), weights) for one in (z, other)]
        if by_cell:
            np.testing.assert_allclose(fits[0].params, fits[1].params, rtol=SOLVE)
            np.testing.assert_allclose(fits[0].cov, fits[1].cov, rtol=SOLVE, atol=ROUNDING)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("controls", [X[:, :1], X], ids=["constant", "controls"])
def test_the_scale_of_predictions_and_the_level_of_each_fold_change_nothing(controls, weights):
    seeds = spawn_seeds(0, 1)
    splits = [random_split(len(Y), 4, (), seeds[0])]
    engine = Ridge(0.1).prepare(Features.numeric(W), controls, weights)
    predictions = cross_fit(engine, D, splits, seeds).predictions
    shifts = np.array([5.0, -3.0, 100.0, 0.0])[splits[0].cell]
    first, second = (
        build_instruments(values, splits, controls, D.std(axis=0), weights)
        for values in (predictions, 3 * predictions + shifts)
    )
    np.testing.assert_allclose(second.z, 3 * first.z, atol=SOLVE)


def fit(y, d, learner="boosting", **options):
    model = MLIV(LEARNERS[learner], n_folds=3, random_state=4, **options)
    return model.fit(y, DESIGN.X, d, DESIGN.W)


def assert_maps(found, expected, to, kinds=("corrected", "pooled", "folds")):
    """Estimates, sets of every kind and t ratios of ``expected`` mapped by ``to`` are ``found``'s."""
    assert found.params["d1"] == pytest.approx(to(expected.params["d1"]), rel=ROOT)
    for kind in kinds:
        one, other = (res.conf_int(method="ar", ar=kind).intervals for res in (found, expected))
        mapped = sorted(tuple(sorted(map(to, pair))) for pair in other)
        assert len(one) == len(mapped)
        np.testing.assert_allclose(one, mapped, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("learner", LEARNERS)
def test_outcomes_transform(learner):
    y, d = DESIGN.y, DESIGN.D["d1"]
    base = fit(y, d, learner)
    a, b = -2.0, 5.0
    changed = fit(a * y + b * d + 3 - 2 * DESIGN.X["x"], d, learner)
    assert_maps(changed, base, lambda t: a * t + b)
    ratio = changed.std_errors["d1"] / base.std_errors["d1"]
    assert ratio == pytest.approx(2, rel=IDENTITY)
    np.testing.assert_array_equal(changed.instrument, base.instrument)


@pytest.mark.parametrize("learner", LEARNERS)
def test_treatments_transform(learner):
    # A power of two scales 32-bit gradients without rounding, so trees are the same to the bit.
    y, d = DESIGN.y, DESIGN.D["d1"]
    base = fit(y, d, learner)
    changed = fit(y, 4 * d, learner)
    assert_maps(changed, base, lambda t: t / 4)
    f = changed.first_stage.f["d1"] / base.first_stage.f["d1"]
    assert f == pytest.approx(1, rel=IDENTITY)


@pytest.mark.parametrize("units", [[1e8, 1e-8], [1e-4, 1e4]], ids=str)
@pytest.mark.parametrize("clusters", ["none", "two"])
def test_units_of_two_treatments_transform(units, clusters):
    design = strong(n=200, d=2, seed=3)
    y, X, D, W = design.data
    model = MLIV("ridge", n_folds=3, random_state=4)
    options = {"clusters": design.clusters[clusters]}
    base, changed = (model.fit(y, X, d, W, **options) for d in (D, D * units))
    for name in ("params", "std_errors"):
        found, expected = (getattr(res, name)[["d1", "d2"]] for res in (changed, base))
        np.testing.assert_allclose(found * units, expected, rtol=SOLVE)
    np.testing.assert_allclose(changed.first_stage.f, base.first_stage.f, rtol=SOLVE)
    value = np.array([0.3, 0.2])
    tests = changed.anderson_rubin(value / units), base.anderson_rubin(value)
    assert tests[0].statistic == pytest.approx(tests[1].statistic, rel=SOLVE)
    found, expected = (res.conf_int(method="ar") for res in (changed, base))
    for name, unit in zip(D, units, strict=True):
        mapped = np.multiply(found[name].intervals, unit)
        np.testing.assert_allclose(mapped, expected[name].intervals, rtol=ROOT)


@pytest.mark.parametrize("learner", LEARNERS)
def test_covariates_added_to_the_treatment_change_nothing(learner):
    y, d = DESIGN.y, DESIGN.D["d1"]
    base = fit(y, d, learner)
    changed = fit(y, (d + 3 - 2 * DESIGN.X["x"]).rename("d1"), learner)
    # M_X removes them up to rounding, which 32-bit gradients enlarge.
    tolerance = FLOAT32 if learner == "boosting" else SOLVE
    for found, expected in (
        (changed.params["d1"], base.params["d1"]),
        (changed.std_errors["d1"], base.std_errors["d1"]),
        (changed.first_stage.f["d1"], base.first_stage.f["d1"]),
        (changed.conf_int(method="ar").hull, base.conf_int(method="ar").hull),
    ):
        np.testing.assert_allclose(found, expected, rtol=tolerance)


# ---- 5, 6: a binary instrument, a constant learner -------------------------------------------


@pytest.mark.parametrize("learner", ["boosting", "series", "ridge", "ols"])
def test_binary_instrument_gives_each_fold_its_wald_ratio(learner):
    rng = np.random.default_rng(5)
    n = 300
    w = (rng.random(n) < 0.4).astype(float)
    u = rng.normal(size=n)
    d = 1.5 * w + 0.5 * u + rng.normal(size=n)
    y = 1 + 2 * d + u
    folds = np.arange(n) % 3
    res = MLIV(learner, random_state=1).fit(y, np.ones(n), d, w, folds=folds)
    np.testing.assert_array_equal(res.folds["repeat 0"], folds)
    z = res.instrument.to_numpy()
    for k in range(3):
        here = folds == k
        treated, control = here & (w == 1), here & (w == 0)
        wald = (y[treated].mean() - y[control].mean()) / (d[treated].mean() - d[control].mean())
        assert len(np.unique(np.round(z[here], 10))) == 2
        found = (z[here] @ y[here]) / (z[here] @ d[here])
        assert found == pytest.approx(wald, rel=IDENTITY)
    assert res.params["endog"] == pytest.approx((z @ y) / (z @ d), rel=IDENTITY)


@pytest.mark.parametrize("n_repeats", [1, 3])
def test_a_constant_learner_draws_no_conclusion(n_repeats):
    res = MLIV(DummyRegressor(), n_repeats=n_repeats).fit(*DESIGN.data)
    assert res.params.isna().all()
    assert res.cov.isna().all(axis=None)
    assert res.std_errors.isna().all()
    assert "predicts d1" in res.weak
    for kind in ("corrected", "pooled") + (("folds", "split") if n_repeats == 1 else ()):
        assert res.conf_int(method="ar", ar=kind).is_whole_line
        test = res.anderson_rubin(17.0, ar=kind)
        assert (test.statistic, test.pvalue) == (0.0, 1.0)
    assert res.first_stage.f["d1"] == 0
    text = str(res)
    assert "No estimate" in text
    assert "the whole line" in text
    assert "nan" not in text
    low, high = res.conf_int(method="tf").iloc[0]
    assert (low, high) == (-np.inf, np.inf)


# ---- 7: the test and its inverse -------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    return {
        "robust": fit(DESIGN.y, DESIGN.D["d1"], "series", orthogonal=True),
        "trees": fit(DESIGN.y, DESIGN.D["d1"], "boosting", orthogonal=True),
    }


@pytest.mark.parametrize("name", ["robust", "trees"])
def test_the_statistic_is_zero_at_the_estimate(fitted, name):
    res = fitted[name]
    for kind in ("corrected", "pooled"):
        test = res.anderson_rubin(res.params["d1"], ar=kind)
        assert test.statistic == pytest.approx(0, abs=ROUNDING)
        assert test.pvalue == pytest.approx(1, abs=1e-5)  # the root of the statistic


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("kind", ["corrected", "pooled", "folds", "split", "orthogonal"])
@pytest.mark.parametrize("name", ["robust", "trees"])
def test_the_pvalue_at_an_end_is_alpha(fitted, name, kind, level):
    res = fitted[name]
    found = res.conf_int(level, method="ar", ar=kind)
    ends = [end for pair in found.intervals for end in pair if np.isfinite(end)]
    assert ends
    for end in ends:
        assert res.anderson_rubin(end, ar=kind).pvalue == pytest.approx(1 - level, abs=ROOT)
    low, high = found.hull
    for inside in ((low + high) / 2,) if found.is_bounded else ():
        assert res.anderson_rubin(inside, ar=kind).pvalue > 1 - level or inside not in found


# ---- 8: saturated cells ----------------------------------------------------------------------


def in_cells(d=1, n=240):
    """W a category of five courts, x of three levels that are related to it."""
    rng = np.random.default_rng(6)
    court = rng.integers(0, 5, n)
    level = (court + rng.integers(0, 4, n)) % 3
    u = rng.normal(size=n)
    peaks = np.array([[0.0, 2.0, -1.0, 1.0, 3.0], [1.0, 0.0, 2.0, -2.0, 0.5]])[:d, court].T
    D = peaks * (1 + 0.5 * level[:, None]) + 0.5 * u[:, None] + rng.normal(size=(n, d))
    y = pd.Series(D.sum(axis=1) + 0.5 * level + u, name="y")
    D = pd.DataFrame(D, columns=["d1", "d2"][:d])
    court = pd.DataFrame({"court": np.array(list("abcde"))[court]})
    return y, pd.Series(level, name="level"), D, court, rng.uniform(0.5, 2, n)


def indicators(labels):
    return pd.get_dummies(labels, drop_first=True, dtype=float)


def unsplit(data, learner, covariates="linear"):
    """The instruments of a learner trained on every row, which it then predicts."""
    engine, recentre = bind(learner, data, covariates)
    everyone = Split((np.zeros(data.nobs, dtype=np.int64),), None)
    plan = FirstStagePlan(engine, recentre, [everyone], spawn_seeds(0, 1), False, None, None)
    return learn_instruments(data, data.D, plan).z[0]


# Each can take any value in each court; iterated ones are iterated to convergence.
SATURATED = {
    "ols": (OLS(), SOLVE),
    "series": (Series(penalty=0.0), SOLVE),
    "backfitted regression": (SklearnLearner(LinearRegression(), rounds=100), BACKFITTING),
    "backfitted tree": (SklearnLearner(DecisionTreeRegressor(), rounds=100), BACKFITTING),
    "boosting": (
        Boosting(
            rounds=100,
            learning_rate=1.0,
            min_data_in_leaf=1,
            extra_trees=False,
            params={"cat_l2": 0, "cat_smooth": 0, "min_data_per_group": 1, "max_cat_to_onehot": 9},
        ),
        FLOAT32,
    ),
}


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("learner", SATURATED)
def test_saturated_in_cells_without_splitting_is_2sls_with_cell_dummies(learner, d, weighted):
    y, level, D, court, weights = in_cells(d)
    X = pd.DataFrame({"const": 1.0, "level": level})
    weights = weights if weighted else None
    data = IVData.from_arrays(y, X, D, court, weights)
    learner, tolerance = SATURATED[learner]
    z = unsplit(data, learner)
    expected = IV2SLS(y, X, D, indicators(court), weights=weights)
    for kind in ("unadjusted", "robust"):
        found = kclass(data.y, data.X, data.D, z, CovarianceSpec(kind), data.weights)
        reference = expected.fit(cov_type=kind)
        np.testing.assert_allclose(found.params, reference.params, rtol=tolerance)
        errors = np.sqrt(np.diag(found.cov))
        np.testing.assert_allclose(errors, reference.std_errors, rtol=tolerance)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_saturated_in_cells_the_first_stage_is_robinsons(weighted):
    """l from D - E[D|W] on X - E[X|W], then f = E[D - X'l | W], all by means of cells."""
    y, level, D, court, weights = in_cells()
    X = pd.DataFrame({"const": 1.0, "level": level})
    mass = pd.Series(weights if weighted else 1.0, y.index)

    def mean(values):
        groups = (values * mass).groupby(court["court"]), mass.groupby(court["court"])
        return groups[0].transform("sum") / groups[1].transform("sum")

    d, x = D["d1"], level.astype(float)
    inside_d, inside_x = d - mean(d), x - mean(x)
    slope = (mass * inside_x) @ inside_d / ((mass * inside_x) @ inside_x)
    f = mean(d - slope * x)
    root = np.sqrt(mass)
    f = f - X @ np.linalg.lstsq(X.mul(root, axis=0), f * root, rcond=None)[0]
    data = IVData.from_arrays(y, X, D, court, weights if weighted else None)
    np.testing.assert_allclose(unsplit(data, OLS())[:, 0], f, atol=SOLVE)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("covariates", ["linear", "recentred", "unconstrained"])
@pytest.mark.parametrize("exog", ["linear", "saturated"])
def test_what_covariates_may_do_in_cells(exog, covariates, weighted):
    y, level, D, court, weights = in_cells()
    weights = weights if weighted else None
    levels = indicators(level).set_axis(["level 1", "level 2"], axis=1)
    X = (level.astype(float).to_frame() if exog == "linear" else levels).assign(const=1.0)
    both = indicators(court["court"] + level.astype(str))
    by_court = indicators(court)
    within = pd.concat([by_court.mul(column, axis=0) for _, column in levels.items()], axis=1)
    within = pd.concat([by_court, within.set_axis(range(8), axis=1)], axis=1)
    # What 2SLS has the same instrument: the courts; courts by level given the levels; all cells.
    used, instruments = {
        "linear": (X, by_court),
        "recentred": (levels.assign(const=1.0), within),
        "unconstrained": (X, within if exog == "saturated" else both.iloc[:, 1:]),
    }[covariates]
    expected = IV2SLS(y, used, D, instruments, weights=weights).fit().params["d1"]
    data = IVData.from_arrays(y, X, D, court, weights)
    z = unsplit(data, SklearnLearner(DecisionTreeRegressor(), rounds=100), covariates)
    found = kclass(data.y, data.X, data.D, z, CovarianceSpec(), data.weights).params[-1]
    tolerance = BACKFITTING if covariates == "linear" else SOLVE
    assert found == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_saturated_in_cells_a_fold_gets_the_means_of_the_others(weighted):
    y, _, D, court, weights = in_cells()
    folds = np.arange(len(y)) % 4
    weights = weights if weighted else None
    model = MLIV("ols", split_half=False)
    res = model.fit(y, np.ones(len(y)), D, court, folds=folds, weights=weights)
    mass = np.ones(len(y)) if weights is None else weights
    expected = np.empty(len(y))
    for k in range(4):
        here = folds == k
        for label in "abcde":
            inside = (court["court"] == label).to_numpy()
            outside = inside & ~here
            expected[inside & here] = np.average(D["d1"][outside], weights=mass[outside])
        expected[here] -= np.average(expected[here], weights=mass[here])
    np.testing.assert_allclose(res.instrument, expected, rtol=SOLVE, atol=SOLVE)


# ---- 9: just-identified equalities, and another library --------------------------------------


@pytest.mark.parametrize("weights", [None, DESIGN.weights], ids=["plain", "weighted"])
def test_just_identified_2sls_liml_and_gmm_are_one(weights):
    y, X, D, W = DESIGN.data
    learned = MLIV("ridge").fit(y, X, D, W, weights=weights)
    for z, found in ((W[["w1"]], []), (learned.instrument, [learned.params])):
        found = found + [m().fit(y, X, D, z, weights=weights).params for m in (TSLS, LIML)]
        expected = IVGMM(y, X, D, z, weights=weights, weight_type="robust").fit().params
        for params in found:
            np.testing.assert_allclose(params, expected[params.index], rtol=SOLVE)


@pytest.mark.parametrize("beta", [-1.0, 0.5, 4.0])
def test_just_identified_anderson_rubin_is_the_score_and_the_likelihood_ratio_test(beta):
    learned = MLIV("ridge").fit(*DESIGN.data, cov_type="unadjusted", debiased=True)
    one = TSLS().fit(*DESIGN.data[:3], W[:, :1], cov_type="unadjusted", debiased=True)
    for z, found in (
        (learned.instrument.to_numpy()[:, None], learned.anderson_rubin(beta, ar="pooled")),
        (W[:, :1], one.anderson_rubin(beta)),
    ):
        for other in (lagrange_multiplier_test, conditional_likelihood_ratio_test):
            expected = other(Z=z, X=D, y=Y, beta=np.array([beta]), C=X[:, 1:])[0]
            assert found.statistic == pytest.approx(expected, rel=SOLVE)


@pytest.mark.parametrize("beta", [-1.0, 0.0, 1.0, 4.0])
@pytest.mark.parametrize("q", [1, 3])
def test_homoskedastic_anderson_rubin_is_that_of_ivmodels(q, beta):
    data = DESIGN.y, DESIGN.X, DESIGN.D, DESIGN.W.iloc[:, :q]
    for debiased, reference in ((True, "f"), (False, "chi2")):
        res = TSLS().fit(*data, cov_type="unadjusted", debiased=debiased)
        statistic, pvalue = anderson_rubin_test(
            Z=W[:, :q], X=D, y=Y, beta=np.array([beta]), C=X[:, 1:], critical_values=reference
        )
        found = res.anderson_rubin(beta)
        n, k = len(Y), 2 + q
        factor = 1.0 if debiased else n / (n - k)  # theirs always has n - k, ours n unless debiased
        assert found.statistic / q == pytest.approx(factor * statistic, rel=SOLVE)
        if debiased:
            assert found.pvalue == pytest.approx(pvalue, rel=1e-6, abs=1e-14)


def test_learned_instrument_makes_anderson_rubin_a_squared_t_ratio_at_the_null():
    res = fit(DESIGN.y, DESIGN.D["d1"], "ridge")
    z, clean = res.instrument.to_numpy(), np.linalg.pinv(X)
    for value in (0.0, 1.0):
        e = Y - value * D[:, 0]
        e = e - X @ (clean @ e)
        expected = (z @ e) ** 2 / ((z * e) @ (z * e))
        assert res.anderson_rubin(value, ar="pooled").statistic == pytest.approx(
            expected, rel=SOLVE
        )


# ---- 10: order, names, workers ---------------------------------------------------------------


def assert_identical(one, other):
    assert str(one) == str(other)
    np.testing.assert_array_equal(one.params, other.params)
    np.testing.assert_array_equal(one.cov, other.cov)
    np.testing.assert_array_equal(one.instrument, other.instrument)
    pd.testing.assert_frame_equal(one.splits, other.splits)
    for kind in one.ar:
        if not kind.refusal:
            sets = [r.conf_int(method="ar", ar=kind.kind) for r in (one, other)]
            assert sets[0] == sets[1]


@pytest.mark.parametrize("ways", ["one", "two"])
@pytest.mark.parametrize("learner", ["boosting", "series"])
def test_names_of_clusters_change_nothing(learner, ways):
    clusters = pd.DataFrame(DESIGN.clusters[ways])
    rng = np.random.default_rng(0)
    renamed = clusters.copy()
    for name in clusters:
        codes = pd.factorize(clusters[name])[0]
        renamed[name] = rng.permutation(1000)[codes]
    model = MLIV(LEARNERS[learner], n_folds=3)
    one, other = (model.fit(*DESIGN.data, clusters=c) for c in (clusters, renamed))
    assert_identical(one, other)


def test_the_order_of_rows_changes_nothing():
    folds = np.arange(len(Y)) % 4
    order = np.random.default_rng(1).permutation(len(Y))
    for weights, clusters in ((None, None), (DESIGN.weights, folds * 10 + DESIGN.X["x"].gt(0))):
        options = {"weights": weights, "clusters": clusters, "folds": folds}
        permuted = {k: None if v is None else np.asarray(v)[order] for k, v in options.items()}
        model = MLIV("ols", split_half=False)
        one = model.fit(*DESIGN.data, **options)
        other = model.fit(*DESIGN.taken(order).data, **permuted)
        np.testing.assert_allclose(other.params, one.params, rtol=1e-10)
        np.testing.assert_allclose(other.cov, one.cov, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(other.instrument, one.instrument[order], rtol=1e-10, atol=1e-10)
        assert other.first_stage.f["d1"] == pytest.approx(one.first_stage.f["d1"], rel=1e-10)
        for kind in ("corrected", "pooled", "folds"):
            sets = [r.conf_int(method="ar", ar=kind).intervals for r in (one, other)]
            np.testing.assert_allclose(*sets, rtol=SOLVE)


@pytest.mark.parametrize("ways", ["none", "one", "two"])
@pytest.mark.parametrize("model", ["OLS", "TSLS", "LIML"])
def test_the_order_of_rows_and_names_of_clusters_change_no_comparator(model, ways):
    rng = np.random.default_rng(2)
    order = rng.permutation(len(Y))
    model = getattr(mlinstruments, model)()
    clusters = DESIGN.clusters[ways]
    renamed = None
    if clusters is not None:
        frame = pd.DataFrame(clusters)
        codes = {name: rng.permutation(99)[pd.factorize(frame[name])[0]] for name in frame}
        renamed = pd.DataFrame(codes).iloc[order]
    one = model.fit(*DESIGN.data, weights=DESIGN.weights, clusters=clusters)
    taken = (part.iloc[order] for part in DESIGN.data)
    other = model.fit(*taken, weights=DESIGN.weights[order], clusters=renamed)
    np.testing.assert_allclose(other.params, one.params, rtol=SOLVE)
    np.testing.assert_allclose(other.cov, one.cov, rtol=SOLVE, atol=ROUNDING)
    if one.ar:
        sets = [res.conf_int(method="ar").intervals for res in (one, other)]
        np.testing.assert_allclose(*sets, rtol=ROOT)


@pytest.mark.parametrize("learner", ["boosting", "ridge"])
def test_workers_and_reruns_change_nothing(learner):
    model = MLIV(LEARNERS[learner], n_folds=3, n_repeats=2, random_state=8)
    first = model.fit(*DESIGN.data)
    assert_identical(first, model.fit(*DESIGN.data))
    model.set_params(n_jobs=2)
    assert_identical(first, model.fit(*DESIGN.data))
    other = model.set_params(random_state=9).fit(*DESIGN.data)
    assert (other.instrument != first.instrument).any()


@pytest.mark.parametrize("debiased", [False, True])
def test_singleton_clusters_are_robust(debiased):
    folds = np.arange(len(Y)) % 4
    model = MLIV("ridge", split_half=False)
    plain = model.fit(*DESIGN.data, folds=folds, debiased=debiased)
    single = model.fit(*DESIGN.data, folds=folds, clusters=np.arange(len(Y)), debiased=debiased)
    np.testing.assert_array_equal(single.instrument, plain.instrument)
    # g / (g - 1) (n - 1) / (n - k) with g = n is n / (n - k): HC1.
    np.testing.assert_allclose(single.cov, plain.cov, rtol=ROUNDING)
    assert single.first_stage.f["d1"] == pytest.approx(plain.first_stage.f["d1"], rel=SOLVE)
    sets = [r.conf_int(method="ar").intervals for r in (single, plain)]
    np.testing.assert_allclose(*sets, rtol=SOLVE)


def test_a_split_of_one_cell_trains_on_everything():
    split = Split((np.zeros(len(Y), dtype=np.int64),), None)
    np.testing.assert_array_equal(split.training(0)[0], np.arange(len(Y)))
    z = instrument(OLS(), 1)
    both = np.hstack([X, W])
    expected = both @ np.linalg.lstsq(both, D, rcond=None)[0]
    expected -= X @ np.linalg.lstsq(X, expected, rcond=None)[0]
    np.testing.assert_allclose(z, expected, atol=SOLVE)
