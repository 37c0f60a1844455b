"""Absorbed effects give what dummies give: estimates, errors, sets, degrees of freedom."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS, IVLIML, AbsorbingLS
from packaging.version import Version
from sklearn.tree import DecisionTreeRegressor

import mlinstruments
from mlinstruments import LIML, MLIV, OLS, TSLS, Fuller, MLIVResults, specification_tests
from mlinstruments._core.exceptions import InputError, SingletonWarning
from mlinstruments.learning import OLS as OLSLearner
from mlinstruments.learning import (
    Boosting,
    Forest,
    Kernel,
    Lasso,
    Ridge,
    Series,
    SklearnLearner,
    Stack,
)
from mlinstruments.learning.features import Features
from tests.designs import strong
from tests.tolerances import ROUNDING, SOLVE

N = 300
DESIGN = strong(n=N, d=2, seed=21)
RNG = np.random.default_rng(5)
# Effects on everything, of groups of which W and x tell something.
UNIT = np.array([f"unit {g}" for g in (np.arange(N) + 3 * (DESIGN.W["w1"] > 0)) % 40])
TIME = RNG.integers(0, 6, N)
LEVEL = RNG.normal(size=40)[pd.factorize(UNIT)[0]] + 0.5 * TIME
Y = DESIGN.y + 2 * LEVEL
X = DESIGN.X.assign(x=DESIGN.X["x"] + 0.5 * LEVEL)
D = DESIGN.D.add(LEVEL, axis=0)
W = DESIGN.W
WAYS = {
    "one way": pd.DataFrame({"unit": UNIT}),
    "two ways": pd.DataFrame({"unit": UNIT, "time": TIME}),
}
FOLDS = RNG.permutation(N) % 3
# Boosting is told gradients in 32-bit floats, 6e-8 relative, over 20 rounds; ends of AR sets and
# ratios of the second stage carry them on.
SINGLE = 1e-5


def dummies(ways):
    frames = [pd.get_dummies(WAYS[ways][c], drop_first=True, dtype=float) for c in WAYS[ways]]
    found = pd.concat(frames, axis=1)
    found.columns = [f"g{j}" for j in range(found.shape[1])]
    return pd.concat([X, found], axis=1)


LEARNERS = {
    "boosting": (Boosting(rounds=20, min_data_in_leaf=5), SINGLE),
    "series": (Series(knots=4, interactions=False), SOLVE),
    "kernel": (Kernel(n_features=20), SOLVE),
    "ridge": (Ridge(0.1), SOLVE),
    "lasso": (Lasso(), SOLVE),
    "ols": (OLSLearner(), SOLVE),
    # In small nodes two inputs may part the same rows, and rounding then says which is used.
    "forest": (Forest(n_trees=5, min_samples_leaf=20), SOLVE),
    "stack": (Stack(["ols", Series(0.1, knots=4, interactions=False)]), SOLVE),
    "tree": (SklearnLearner(DecisionTreeRegressor(max_depth=3, min_samples_leaf=20)), SOLVE),
}
COVARIANCES = {
    "unadjusted": {"cov_type": "unadjusted"},
    "robust": {"cov_type": "robust"},
    "clustered": {"clusters": DESIGN.firm},
    "two-way clustered": {"clusters": DESIGN.clusters["two"]},
    "kernel": {"cov_type": "kernel", "bandwidth": 4},
}


def assert_equally_strong(found, expected, tolerance):
    one, other = found.first_stage.joint, expected.first_stage.joint
    for measure in ("cragg_donald", "kleibergen_paap"):
        assert getattr(one, measure) == pytest.approx(getattr(other, measure), rel=tolerance)
    np.testing.assert_allclose(one.conditional_f, other.conditional_f, rtol=tolerance)
    effective = [r.first_stage.effective_f for r in (found, expected)]
    np.testing.assert_allclose(*effective, rtol=tolerance)


def assert_equal(found, expected, tolerance, kinds, d):
    names = ["x", *D.columns[:d]]
    np.testing.assert_allclose(found.params[names], expected.params[names], rtol=tolerance)
    cov = expected.cov.loc[names, names]
    np.testing.assert_allclose(
        found.cov, cov, rtol=tolerance, atol=tolerance * cov.abs().max().max()
    )
    np.testing.assert_allclose(found.resids, expected.resids, atol=10 * tolerance)
    assert found.df_resid == expected.df_resid
    for measure in ("f", "linear_f", "partial_r2"):
        one, other = (getattr(r.first_stage, measure) for r in (found, expected))
        np.testing.assert_allclose(one, other, rtol=10 * tolerance)
    assert found.first_stage.n_instruments == expected.first_stage.n_instruments
    assert_equally_strong(found, expected, 10 * tolerance)
    for kind in kinds:
        tests = [r.anderson_rubin(0.5, ar=kind) for r in (found, expected)]
        assert tests[0].statistic == pytest.approx(tests[1].statistic, rel=100 * tolerance)
        assert tests[0].pvalue == pytest.approx(tests[1].pvalue, rel=1e3 * tolerance, abs=ROUNDING)
        if d == 1:
            sets = [r.conf_int(method="ar", ar=kind).intervals for r in (found, expected)]
            np.testing.assert_allclose(*sets, rtol=100 * tolerance)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_does_with_groups_what_it_does_with_dummies(name, ways, weighted):
    learner, tolerance = LEARNERS[name]
    options = {"weights": DESIGN.weights if weighted else None, "folds": FOLDS}
    model = MLIV(learner, random_state=2)
    found = model.fit(Y, X, D[["d1"]], W, absorb=WAYS[ways], **options)
    expected = model.fit(Y, dummies(ways), D[["d1"]], W, **options)
    assert_equal(found, expected, tolerance, ("corrected", "pooled", "folds", "split"), 1)
    np.testing.assert_allclose(found.instrument, expected.instrument, atol=10 * tolerance)
    assert found.first_stage.f["d1"] > 10


@pytest.mark.parametrize("debiased", [False, True], ids=["large", "debiased"])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("ways", WAYS)
def test_every_covariance_is_that_with_dummies(ways, covariance, debiased):
    options = {**COVARIANCES[covariance], "debiased": debiased}
    model = MLIV("ols", n_folds=3)
    found = model.fit(
        Y, X, D, W, absorb=WAYS[ways], folds=None if "clusters" in options else FOLDS, **options
    )
    expected = model.fit(
        Y, dummies(ways), D, W, folds=None if "clusters" in options else FOLDS, **options
    )
    assert_equal(found, expected, SOLVE, ("corrected", "pooled"), 2)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("debiased", [False, True], ids=["large", "debiased"])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("model", ["OLS", "TSLS", "LIML", "Fuller"])
def test_comparators_are_those_of_linearmodels_with_dummies(
    model, ways, covariance, debiased, weighted
):
    options = COVARIANCES[covariance]
    weights = DESIGN.weights if weighted else None
    ours, theirs = {
        "OLS": (OLS, lambda *a, **k: IV2SLS(a[0], pd.concat(a[1:3], axis=1), None, None, **k)),
        "TSLS": (TSLS, IV2SLS),
        "LIML": (LIML, IVLIML),
        "Fuller": (Fuller, partial(IVLIML, fuller=1.0)),
    }[model]
    found = ours().fit(Y, X, D, W, weights=weights, absorb=WAYS[ways], debiased=debiased, **options)
    given = dict(options)
    if "clusters" in given:
        frame = pd.DataFrame(given["clusters"])
        codes = np.column_stack([pd.factorize(frame[c])[0] for c in frame])
        given = {"cov_type": "clustered", "clusters": codes}
    elif "bandwidth" in given:
        given["kernel"] = "bartlett"
    expected = theirs(Y, dummies(ways), D, W, weights=weights).fit(debiased=debiased, **given)
    names = ["x", "d1", "d2"]
    np.testing.assert_allclose(found.params, expected.params[names], rtol=SOLVE)
    # Theirs of all coefficients are not taken: two ways may leave a dummy a negative variance.
    errors = np.sqrt(np.diag(expected.cov.loc[names, names]))
    np.testing.assert_allclose(found.std_errors, errors, rtol=SOLVE)
    assert found.df_resid == expected.df_resid


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("ways", WAYS)
def test_strength_and_over_identification_are_those_with_dummies(ways, covariance):
    options = {**COVARIANCES[covariance], "debiased": True}
    found = TSLS().fit(Y, X, D, W, absorb=WAYS[ways], **options)
    expected = TSLS().fit(Y, dummies(ways), D, W, **options)
    assert_equally_strong(found, expected, SOLVE)
    # Missing in both where the two-way variance of the moments is not positive definite.
    statistic = pytest.approx(expected.overid.statistic, rel=SOLVE, nan_ok=True)
    assert found.overid.statistic == statistic
    assert found.overid.df == expected.overid.df


@pytest.mark.parametrize("debiased", [False, True], ids=["large", "debiased"])
@pytest.mark.parametrize("covariance", ["unadjusted", "robust", "clustered"])
@pytest.mark.parametrize("ways", WAYS)
def test_the_hausman_contrast_is_that_with_dummies(ways, covariance, debiased):
    options = {**COVARIANCES[covariance], "debiased": debiased}
    options |= {} if covariance == "clustered" else {"folds": FOLDS}
    model = MLIV(Series(0.1, knots=4, interactions=False), n_folds=3)
    found = specification_tests(model, Y, X, D, W, absorb=WAYS[ways], **options)
    expected = specification_tests(model, Y, dummies(ways), D, W, **options)
    assert found.hausman.statistic == pytest.approx(expected.hausman.statistic, rel=1e-6)
    assert found.hausman.df == expected.hausman.df == 2


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("ways", WAYS)
def test_least_squares_is_absorbing_ls(ways, debiased):
    if debiased and Version(version("linearmodels")) < Version("7"):
        pytest.skip("AbsorbingLS of linearmodels 6 does not count absorbed effects")
    found = OLS().fit(Y, X, D, W, absorb=WAYS[ways], debiased=debiased)
    labels = WAYS[ways].astype(str).astype("category")
    expected = AbsorbingLS(Y, pd.concat([X[["x"]], D], axis=1), absorb=labels).fit(
        cov_type="robust", debiased=debiased
    )
    np.testing.assert_allclose(found.params, expected.params[["x", "d1", "d2"]], rtol=1e-6)
    errors = expected.std_errors[["x", "d1", "d2"]]
    np.testing.assert_allclose(found.std_errors, errors, rtol=1e-6)
    pvalues = expected.pvalues[["x", "d1", "d2"]]
    np.testing.assert_allclose(found.pvalues, pvalues, rtol=1e-4, atol=1e-12)
    assert found.df_resid == expected.df_resid


@pytest.mark.parametrize(
    "settings",
    [{"control_variate": True}, {"orthogonal": True}, {"n_repeats": 3}, {"split_half": False}],
    ids=str,
)
def test_options_of_the_first_stage(settings):
    model = MLIV("ridge" if "orthogonal" in settings else "ols", n_folds=3, **settings)
    clusters = WAYS["one way"]  # the same folds with and without
    found = model.fit(Y, X, D[["d1"]], W, absorb=UNIT, clusters=clusters)
    expected = model.fit(Y, dummies("one way"), D[["d1"]], W, clusters=clusters)
    kinds = ("corrected", "orthogonal") if "orthogonal" in settings else ("corrected",)
    assert_equal(found, expected, SOLVE, kinds, 1)


def test_folds_keep_many_groups_whole_and_few_not():
    many = MLIV("ridge", n_folds=4).fit(Y, X, D, W, absorb=UNIT).folds["repeat 0"]
    assert (many.groupby(UNIT).nunique() == 1).all()
    few = MLIV("ridge", n_folds=4).fit(Y, X, D, W, absorb=TIME).folds["repeat 0"]
    assert (few.groupby(TIME).nunique() == 4).all()
    by_firm = MLIV("ridge", n_folds=4).fit(Y, X, D, W, absorb=UNIT, clusters=DESIGN.firm).folds
    assert (by_firm["repeat 0"].groupby(DESIGN.firm).nunique() == 1).all()


def test_groups_that_a_training_part_has_not_seen():
    """Each fold is one time: its effect is in no training part, and the estimate is unmoved."""
    model, folds = MLIV("ols"), TIME
    found = model.fit(Y, X, D[["d1"]], W, absorb=WAYS["two ways"], folds=folds)
    expected = model.fit(Y, dummies("two ways"), D[["d1"]], W, folds=folds)
    assert_equal(found, expected, SOLVE, ("corrected",), 1)
    shifted = (D["d1"] + 100.0 * TIME).rename("d1")
    moved = model.fit(Y, X, shifted, W, absorb=WAYS["two ways"], folds=folds)
    assert moved.params["d1"] == pytest.approx(found.params["d1"], rel=SOLVE)


@pytest.mark.parametrize("name", LEARNERS)
def test_effects_on_everything_change_nothing(name):
    learner, tolerance = LEARNERS[name]
    model = MLIV(learner, random_state=2)
    base = model.fit(Y, X, D[["d1"]], W, absorb=UNIT, folds=FOLDS)
    effect = np.round(10 * np.random.default_rng(9).normal(size=40))[pd.factorize(UNIT)[0]]
    changed = model.fit(
        Y + 3 * effect,
        X.assign(x=X["x"] - effect),
        D[["d1"]].add(effect, axis=0),
        W,
        absorb=UNIT,
        folds=FOLDS,
    )
    np.testing.assert_allclose(changed.params, base.params, rtol=10 * tolerance)
    np.testing.assert_allclose(changed.std_errors, base.std_errors, rtol=10 * tolerance)


# ---- singletons ---------------------------------------------------------------------------------


def test_rows_alone_in_a_group_are_dropped_again_and_again():
    unit, time = UNIT.copy(), TIME.copy().astype(object)
    unit[:2], unit[2:4], time[3] = ["alone", "also alone"], "pair", "once"  # 3 goes by time, then 2
    absorb = pd.DataFrame({"unit": unit, "time": time})
    with pytest.warns(
        SingletonWarning, match=r"Dropped 4 of 300 rows alone in a group of unit, time"
    ):
        found = TSLS().fit(Y, X, D, W, absorb=absorb, debiased=True)
    assert found.nobs == 296
    assert found.absorbed.singletons == 4
    assert found.resids.isna().to_numpy().nonzero()[0].tolist() == [0, 1, 2, 3]
    rest = [part.iloc[4:].reset_index(drop=True) for part in (Y, X, D, W, absorb)]
    expected = TSLS().fit(*rest[:4], absorb=rest[4], debiased=True)
    np.testing.assert_allclose(found.params, expected.params, rtol=ROUNDING)
    np.testing.assert_allclose(found.cov, expected.cov, rtol=ROUNDING)


def test_missing_rows_go_first():
    unit = UNIT.astype(object)
    lonely = np.flatnonzero(UNIT[0] == UNIT)
    y = Y.copy()
    y.iloc[lonely[1:]] = np.nan
    unit[50] = None
    with pytest.warns() as caught:
        found = TSLS().fit(y, X, D, W, absorb=unit)
    words = [str(w.message) for w in caught]
    assert any(f"Dropped {len(lonely)} of 300 rows with missing" in w for w in words)
    assert any("Dropped 1 of" in w and "alone" in w for w in words)
    assert found.nobs == N - len(lonely) - 1


# ---- reading, printing, refusing ----------------------------------------------------------------


def test_formulas_name_columns():
    frame = pd.concat([Y, X, D, W, WAYS["two ways"]], axis=1)
    for model in (MLIV("ols", n_folds=3), TSLS()):
        found = model.fit_formula("y ~ 1 + x + [d1 ~ w1 + w2 + w3]", frame, absorb=["unit", "time"])
        expected = model.fit(Y, X, D[["d1"]], W, absorb=WAYS["two ways"])
        np.testing.assert_array_equal(found.params, expected.params)
        assert list(found.params.index) == ["x", "d1"]
    one = TSLS().fit_formula("y ~ x + [d1 ~ w1 + w2 + w3]", frame, absorb="unit")
    assert one.absorbed.groups == {"unit": 40}
    with pytest.raises(InputError, match=r"'units' \(in absorb\) is not a column"):
        TSLS().fit_formula("y ~ x + [d1 ~ w1]", frame, absorb="units")


def test_results_say_what_was_absorbed(tmp_path):
    res = MLIV("ols", n_folds=3).fit(Y, X, D, W, absorb=WAYS["two ways"])
    assert "unit 40, time 6 (45 degrees of freedom)" in str(res)
    assert res.absorbed.df == 45
    res.save(tmp_path / "absorbed.zip")
    again = MLIVResults.load(tmp_path / "absorbed.zip")
    assert again.absorbed == res.absorbed
    assert str(again) == str(res)
    assert "Absorbed" not in str(MLIV("ols").fit(Y, X, D, W))


REFUSED = {
    "efficient": ({"efficient": True}, {}, ["absorb=", "efficient=True", "leave one"]),
    "recentred": ({"covariates": "recentred"}, {}, ["covariates='recentred'"]),
    "by fold": ({"interact_controls": True}, {}, ["interact_controls=True"]),
    "leave one out": ({"n_folds": "loo"}, {}, ["n_folds='loo'"]),
    "bandwidth": ({}, {"cov_type": "kernel"}, ["bandwidth="]),
    "three ways": ({}, {"absorb": np.zeros((N, 3))}, ["absorb has 3 columns", "one or two"]),
    "all alone": ({}, {"absorb": np.arange(N)}, ["every row is alone", "coarser"]),
    "too many": (
        {},
        {"absorb": np.arange(N) // 2, "folds": np.arange(N) % 2},
        ["absorbed effects", "training part"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    settings, options, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        MLIV(**{"learner": "ols", **settings}).fit(Y, X, D, W, **{"absorb": UNIT, **options})
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("role", ["exog", "endog", "dependent"])
def test_what_groups_determine_is_named(role):
    level = pd.Series(LEVEL, name="level")
    both = WAYS["two ways"]
    data = {"dependent": Y, "exog": X, "endog": D, "instruments": W}
    data[role] = level if role == "dependent" else data[role].assign(level=level)
    name = "level"
    with pytest.raises(InputError, match=rf"'{name}' \({role}\) does not vary within.*unit, time"):
        TSLS().fit(**data, absorb=both)


@pytest.mark.parametrize(
    "name", ["GMM", "IJIVE", "JIVE", "UJIVE", "PLIV", "PostLassoIV", "SplitSampleIV"]
)
def test_comparators_that_cannot_absorb_say_so(name):
    model = getattr(mlinstruments, name)()
    with pytest.raises(InputError, match=f"{name} does not absorb effects: put dummies"):
        model.fit(Y, X, D, W, absorb=UNIT)


def test_a_learner_that_cannot_absorb_is_refused():
    class Own:
        label, takes_missing = "own", False

        def prepare(self, features: Features, controls, weights):
            return object()

    with pytest.raises(InputError, match=r"own cannot\. Put dummies of unit"):
        MLIV(Own()).fit(Y, X, D, W, absorb=WAYS["one way"])
