"""Specification tests from data, and the diagnostics of results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ivmodels.tests import residual_prediction_test
from linearmodels.iv import IV2SLS
from scipy import stats

from mlinstruments import (
    LIML,
    MLIV,
    OLS,
    TSLS,
    PostLassoIV,
    specification_tests,
)
from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.exceptions import InputError
from mlinstruments.learning import Boosting
from tests.designs import DESIGNS, FAST, strong
from tests.tolerances import ROUNDING, SOLVE

MODEL = MLIV(FAST, n_folds=3)


def stacked(design, z, weights, codes):
    """Contrast of IV with z and 2SLS, by one regression on the data set twice."""
    y, X, D, W = (np.asarray(part, dtype=float) for part in design.data)
    w = np.ones(len(y)) if weights is None else weights
    root, d, p = np.sqrt(w)[:, None], D.shape[1], X.shape[1]
    both = np.hstack([X, W])
    fitted = both @ np.linalg.lstsq(root * both, root * D, rcond=None)[0]

    def twice(a, b):
        return np.block([[a, np.zeros(b.shape)], [np.zeros(a.shape), b]])

    model = IV2SLS(np.tile(y, 2), twice(X, X), twice(D, D), twice(z, fitted), weights=np.tile(w, 2))
    res = model.fit(cov_type="clustered", clusters=np.tile(codes, 2))
    b, V = res.params.to_numpy()[2 * p :], res.cov.to_numpy()[2 * p :, 2 * p :]
    turn = np.hstack([np.eye(d), -np.eye(d)])
    gap = turn @ b
    return float(gap @ np.linalg.solve(turn @ V @ turn.T, gap))


@pytest.mark.parametrize("clustered", [False, True], ids=["rows", "clusters"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("d", [1, 2])
def test_hausman_is_the_contrast_of_stacked_regressions(d, weighted, clustered):
    design = DESIGNS[d]
    weights = design.weights if weighted else None
    clusters = design.clusters["one"] if clustered else None
    found = specification_tests(MODEL, *design.data, weights=weights, clusters=clusters)
    z = found.results.instrument.to_numpy().reshape(240, -1)
    codes = encode_labels(design.firm) if clustered else np.arange(240)
    expected = stacked(design, z, weights, codes)
    assert found.hausman.statistic == pytest.approx(expected, rel=SOLVE)
    assert found.hausman.df == d
    assert found.hausman.pvalue == pytest.approx(stats.chi2.sf(expected, d), rel=1e-6)


def test_the_fit_is_that_of_the_model():
    design = DESIGNS[1]
    options = {"weights": design.weights, "clusters": design.clusters["two"], "debiased": True}
    found = specification_tests(MODEL, *design.data, **options)
    alone = MODEL.fit(*design.data, **options)
    np.testing.assert_allclose(found.results.cov, alone.cov, rtol=ROUNDING)
    frame = design.X.join(design.D).join(design.W).assign(y=design.y)
    formula = "y ~ 1 + x + [d1 ~ w1 + w2 + w3]"
    by_formula = specification_tests(MODEL, formula, frame)
    assert by_formula.results.params["d1"] == MODEL.fit_formula(formula, frame).params["d1"]


def test_a_linear_learner_in_sample_differs_from_2sls_by_folds_only():
    found = specification_tests(MLIV("ols", n_folds=3), *DESIGNS[1].data)
    assert found.hausman.pvalue > 0.01


def samples(draws, curved=0.0, bent=0.0):
    """The error holds W squared times ``curved`` and x squared times ``bent``."""
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        w, x, u = rng.normal(size=(3, 400))
        w = w + 0.6 * (x**2 - 1) * (bent != 0)
        d = w + w**2 + x + u + rng.normal(size=400)
        y = d + x + u + curved * (w**2 - 1) + bent * (x**2 - 1)
        yield y, np.column_stack([np.ones(400), x]), d, w


@pytest.mark.slow
def test_hausman_finds_a_curved_exclusion_and_keeps_its_size():
    model = MLIV("series", n_folds=2)
    valid = [specification_tests(model, *data).hausman.pvalue for data in samples(100)]
    assert np.sum(np.array(valid) < 0.05) <= 13  # 99.9% of binomial(100, .05)
    wrong = [specification_tests(model, *data).hausman.pvalue for data in samples(20, curved=1.0)]
    assert np.sum(np.array(wrong) < 0.05) == 20


@pytest.mark.slow
def test_curvature_tells_instruments_that_move_with_bent_covariates():
    model = MLIV("series", n_folds=2)
    apart = [specification_tests(model, *data).curvature for data in samples(60)]
    assert np.sum([test.pvalue < 0.05 for test in apart]) <= 9  # 99.9% of binomial(60, .05)
    assert {test.df for test in apart} == {1}
    bent = [specification_tests(model, *data).curvature.pvalue for data in samples(10, bent=1.0)]
    assert max(bent) < 1e-3


def test_residual_prediction_is_that_of_ivmodels():
    y, X, D, W = (np.asarray(part, dtype=float) for part in DESIGNS[1].data)
    for cov_type, robust in (("robust", True), ("unadjusted", False)):
        found = specification_tests(
            MODEL, *DESIGNS[1].data, cov_type=cov_type, n_residual_splits=3
        ).residual_prediction
        pvalues = [
            residual_prediction_test(W, D, y, C=X, robust=robust, fit_intercept=False, seed=seed)[1]
            for seed in range(3)
        ]
        assert found.pvalue == pytest.approx(min(1, 2 * np.median(pvalues)), rel=1e-6)
    y, X, d, w = next(samples(1, curved=2.0))
    found = specification_tests(MLIV("series"), y, X, d, w, n_residual_splits=3)
    assert found.residual_prediction.pvalue < 0.05
    assert found.diagnostics.to_frame().loc["Residual prediction", "verdict"] == "look"
    without = specification_tests(MLIV("series"), y, X, d, w)
    assert "Residual prediction" not in without.diagnostics.to_frame().index


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": DESIGNS[1].weights}, "weights"),
        ({"clusters": DESIGNS[1].firm}, "clusters"),
        ({"absorb": DESIGNS[1].year}, "absorbed effects"),
        ({"cov_type": "kernel"}, "a kernel covariance"),
    ],
)
def test_residual_prediction_refuses_what_it_does_not_know(options, words):
    with pytest.raises(InputError, match=f"does not know {words}"):
        specification_tests(MODEL, *DESIGNS[1].data, n_residual_splits=2, **options)


def test_placebo_is_the_f_of_permuted_instruments():
    design = DESIGNS[2]
    found = specification_tests(MODEL, *design.data, n_permutations=19)
    assert found.placebo.shape == (19, 2)
    assert (found.placebo.median() < 3).all()
    assert found.placebo.nunique().min() > 5
    again = specification_tests(MODEL, *design.data, n_permutations=19)
    pd.testing.assert_frame_equal(found.placebo, again.placebo)
    frame = found.diagnostics.to_frame()
    assert frame.loc["Placebo F (d1)", "pvalue"] == pytest.approx(1 / 20)
    assert frame.loc["Placebo F (d1)", "verdict"] == "fine"
    noise = np.random.default_rng(0).normal(size=(240, 3))
    irrelevant = specification_tests(MODEL, *design.data[:3], noise, n_permutations=19)
    assert (irrelevant.diagnostics.to_frame().loc["Placebo F (d1)", "pvalue"]) > 0.05


def test_what_cannot_be_tested_is_missing():
    y, X, D, W = DESIGNS[1].data
    gap = W.assign(w1=W["w1"].where(np.arange(240) > 5))
    model = MLIV(Boosting(rounds=20, min_data_in_leaf=5), n_folds=3)
    found = specification_tests(model, y, X[["const"]], D, gap)
    assert np.isnan(found.hausman.statistic)
    assert np.isnan(found.curvature.statistic)
    noise = np.random.default_rng(2).normal(size=(240, 1))
    weak = specification_tests(MODEL, y, X, D, noise)
    assert weak.results.weak == "" or np.isnan(weak.hausman.statistic)
    assert "No" in str(weak.results) or weak.results.weak == ""
    assert found.placebo.empty
    assert "Hausman" in str(found)


def test_categories_are_2sls_with_their_indicators():
    y, X, D, W = DESIGNS[1].data
    court = np.array(list("abcd"))[np.arange(240) % 4]
    found = specification_tests(MODEL, y, X, D, W.assign(court=court))
    assert np.isfinite(found.hausman.statistic)


def test_what_it_refuses():
    design = DESIGNS[1]
    with pytest.raises(InputError, match="needs an MLIV; got TSLS"):
        specification_tests(TSLS(), *design.data)
    with pytest.raises(InputError, match="efficient=False"):
        specification_tests(MLIV(FAST, efficient=True), *design.data)
    with pytest.raises(InputError, match="got 3 inputs"):
        specification_tests(MODEL, *design.data[:3])
    with pytest.raises(InputError, match="n_permutations"):
        specification_tests(MODEL, *design.data, n_permutations=-1)


# ---- diagnostics of results ------------------------------------------------------------------


def test_diagnostics_hold_the_numbers_of_the_result():
    res = MLIV(FAST, n_folds=3, n_repeats=3).fit(*DESIGNS[2].data)
    frame = res.diagnostics().to_frame()
    first = res.first_stage
    for name in ("d1", "d2"):
        assert frame.loc[f"First-stage F ({name})", "statistic"] == first.f[name]
        assert frame.loc[f"Conditional F ({name})", "statistic"] == first.joint.conditional_f[name]
        assert frame.loc[f"Calibration ({name})", "statistic"] == first.calibration[name]
        assert frame.loc[f"Reliability ({name})", "statistic"] == first.reliability[name]
        expected = 3 * first.linear_f[name]
        assert frame.loc[f"q x linear F ({name})", "statistic"] == expected
        assert frame.loc[f"AR set length ({name})", "statistic"] == (
            res.conf_int(method="ar")[name].length
        )
        own = res.splits[res.splits["endog"] == name]
        spread = own["estimate"].std() / own["std_error"].median()
        assert frame.loc[f"Spread ({name})", "statistic"] == pytest.approx(spread)
    assert frame.loc["Rank test", "pvalue"] == first.joint.rank_test.pvalue
    assert set(frame["verdict"]) <= {"fine", "look"}


def test_verdicts_follow_the_numbers():
    rng = np.random.default_rng(0)
    n = 400
    W = rng.normal(size=(n, 3))
    u, v = rng.normal(size=(2, n))

    def verdicts(strength, direct=0.0, model=LIML):
        d = strength * W.sum(axis=1) + u + v
        res = model().fit(d + u + direct * W[:, 0], np.ones(n), d, W)
        return res.diagnostics().to_frame()["verdict"]

    sound = verdicts(1.0)
    assert (sound == "fine").all()
    assert sound.index.tolist() == [
        "First-stage F",
        "Rank test",
        "Effective F",
        "AR set length",
        "J test",
    ]
    weak = verdicts(0.02)
    assert (weak[["First-stage F", "Rank test", "Effective F", "AR set length"]] == "look").all()
    assert verdicts(1.0, direct=1.0)["J test"] == "look"


def test_every_verdict_to_look_says_what_to_do():
    rng = np.random.default_rng(1)
    W = rng.normal(size=(200, 2))
    u = rng.normal(size=200)
    d = 0.01 * W[:, 0] + u
    results = [
        MLIV(FAST, n_folds=2, n_repeats=2).fit(d + u, np.ones(200), d, W),
        TSLS().fit(d + u, np.ones(200), d, W),
        PostLassoIV().fit(d + u, np.ones(200), d, W),
    ]
    for res in results:
        found = res.diagnostics()
        frame = found.to_frame()
        looks = frame[frame["verdict"] == "look"]
        assert len(looks) > 1
        flowing = " ".join(str(found).split())
        for _, row in frame.iterrows():
            assert row["meaning"].endswith(".")
            assert (row["advice"] in flowing) == (row["verdict"] == "look")


def test_diagnostics_of_least_squares_are_refused():
    design = strong(n=60, seed=0)
    with pytest.raises(InputError, match="OLS uses no instruments"):
        OLS().fit(*design.data).diagnostics()


def test_joint_sets_are_left_out():
    frame = TSLS().fit(*DESIGNS[3].data).diagnostics().to_frame()
    assert not any(name.startswith("AR set") for name in frame.index)
    two = PostLassoIV().fit(*replace(DESIGNS[2]).data).diagnostics().to_frame()
    assert not any(name.startswith("AR set") for name in two.index)
