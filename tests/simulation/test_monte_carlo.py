"""Every number of a run is that of a fit anyone can repeat, whatever ran it and in what order."""

import dataclasses

import joblib
import numpy as np
import pandas as pd
import pytest

from mlinstruments import LIML, MLIV, OLS, TSLS, ConfidenceSet
from mlinstruments._core.exceptions import InputError
from mlinstruments.simulation import Design, Sample, designs, monte_carlo
from mlinstruments.simulation.replicate import replication_seed
from tests.designs import FAST

DESIGN = designs.many_weak(n=120, concentration=60, linear=True)
PAIR = {"OLS": OLS(), "2SLS": TSLS()}
LEARNED = {
    "own seed": MLIV(learner=FAST, n_folds=2, random_state=3),
    "given seed": MLIV(learner=FAST, n_folds=2, random_state=None),
}


def equal(one, two):
    pd.testing.assert_frame_equal(one.draws, two.draws, check_exact=True)


@pytest.fixture(scope="module")
def report():
    return monte_carlo(DESIGN, {**PAIR, **LEARNED}, 12, random_state=5)


def drawn(report, replication):
    sample = DESIGN.draw(np.random.default_rng(report.seed(replication)))
    return sample.y, sample.X, sample.D, sample.W


def test_one_row_for_each_replication_and_estimator(report):
    assert report.draws["replication"].tolist() == np.repeat(np.arange(12), 4).tolist()
    assert report.draws["estimator"].tolist() == [*PAIR, *LEARNED] * 12
    assert (report.draws["failure"] == "").all()


@pytest.mark.parametrize("replication", [0, 1, 7])
@pytest.mark.parametrize("name", [*PAIR, "own seed"])
def test_a_row_is_the_fit_of_its_sample(report, replication, name):
    res = {**PAIR, **LEARNED}[name].fit(*drawn(report, replication))
    row = report.draws.set_index(["replication", "estimator"]).loc[(replication, name)]
    assert row["estimate"] == res.params["endog"]
    assert row["std_error"] == res.std_errors["endog"]
    interval = res.conf_int(0.95).loc["endog"]
    assert (row["wald_lower"], row["wald_upper"]) == (interval["lower"], interval["upper"])
    if name == "OLS":
        assert np.isnan(row[["ar_pvalue", "ar_length", "f"]].to_numpy(dtype=float)).all()
        assert row["ar_set"] == ""
    else:
        found = res.conf_int(0.95, method="ar")
        assert row["ar_pvalue"] == res.anderson_rubin(1.0).pvalue
        assert (row["ar_lower"], row["ar_upper"]) == found.hull
        assert row["ar_length"] == found.length
        assert row["f"] == res.first_stage.f["endog"]


def test_an_estimator_without_seed_is_given_the_replications(report):
    root = np.random.SeedSequence(5)
    rows = report.draws[report.draws["estimator"] == "given seed"]
    for replication in (0, 3):
        seed = replication_seed(root, replication, 1)
        model = MLIV(learner=FAST, n_folds=2, random_state=seed)
        res = model.fit(*drawn(report, replication))
        assert rows["estimate"].iloc[replication] == res.params["endog"]
    assert LEARNED["given seed"].random_state is None  # the caller's estimator is left alone


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_backends_agree_to_the_bit(report, backend):
    with joblib.parallel_config(backend, n_jobs=2):
        equal(report, monte_carlo(DESIGN, {**PAIR, **LEARNED}, 12, random_state=5))


def test_n_jobs_agrees_to_the_bit(report):
    equal(report, monte_carlo(DESIGN, {**PAIR, **LEARNED}, 12, random_state=5, n_jobs=2))


def test_a_replication_does_not_depend_on_how_many_there_are(report):
    fewer = monte_carlo(DESIGN, {**PAIR, **LEARNED}, 3, random_state=5)
    pd.testing.assert_frame_equal(fewer.draws, report.draws.iloc[:12], check_exact=True)


@pytest.mark.parametrize(
    "random_state",
    [5, np.random.SeedSequence(5), np.random.SeedSequence(5, spawn_key=(2, 1))],
    ids=str,
)
def test_the_same_seed_gives_the_same_run(random_state):
    one, two = (monte_carlo(DESIGN, PAIR, 3, random_state=random_state) for _ in range(2))
    equal(one, two)
    sample = DESIGN.draw(np.random.default_rng(one.seed(1)))
    res = OLS().fit(sample.y, sample.X, sample.D, sample.W)
    assert res.params["endog"] == one.draws["estimate"].iloc[2]


def test_other_seeds_give_other_runs():
    states = (5, 6, np.random.SeedSequence(5, spawn_key=(0,)), None, None)
    found = [monte_carlo(DESIGN, {"OLS": OLS()}, 1, random_state=s) for s in states]
    assert len({run.draws["estimate"].iloc[0] for run in found}) == len(states)


def test_a_generator_is_drawn_from():
    one, two = (
        monte_carlo(DESIGN, PAIR, 2, random_state=np.random.default_rng(3)) for _ in range(2)
    )
    equal(one, two)


# ---- estimators that are functions --------------------------------------------------------------


def ratio(sample):
    """IV with the sum of the instruments, by hand."""
    z = sample.W.sum(axis=1) - sample.W.sum() / len(sample.W)
    estimate = (z @ sample.y) / (z @ sample.D)
    residual = sample.y - estimate * sample.D
    residual = residual - residual.mean()
    error = np.sqrt(((z * residual) ** 2).sum()) / abs(z @ sample.D)
    return {"estimate": estimate, "std_error": error, "first": sample.D[0]}


def noisy(sample, rng):
    return {"estimate": rng.normal(), "lower": -2.0, "upper": 2.0}


def with_set(sample):
    rays = ConfidenceSet(((-np.inf, 0.1), (1 / 3, 7.0)), 0.95, "mine")
    return {"estimate": 1.0, "ar_set": rays, "ar_pvalue": 0.5, "f": 3.0}


def own_results(sample):
    return LIML().fit(sample.y, sample.X, sample.D, sample.W, debiased=True)


def test_functions_return_mappings_or_results():
    functions = {"ratio": ratio, "noisy": noisy, "set": with_set, "results": own_results}
    report = monte_carlo(DESIGN, functions, 2)
    rows = report.draws[report.draws["replication"] == 1].set_index("estimator")
    sample = DESIGN.draw(np.random.default_rng(report.seed(1)))
    by_hand = ratio(sample)
    assert rows.loc["ratio", "estimate"] == by_hand["estimate"]
    width = 1.959963984540054 * by_hand["std_error"]
    assert rows.loc["ratio", "wald_upper"] == pytest.approx(by_hand["estimate"] + width, rel=1e-12)
    assert rows.loc["ratio", "first"] == sample.D[0]
    assert np.isnan(rows.loc["noisy", "first"])
    rng = np.random.default_rng(replication_seed(np.random.SeedSequence(0), 1, 1))
    assert rows.loc["noisy", "estimate"] == rng.normal()
    assert rows.loc["noisy", "wald_lower"] == -2.0
    assert rows.loc["set", "ar_lower"] == -np.inf
    assert rows.loc["set", "ar_length"] == np.inf
    power = report.power([0.2, 1 / 3]).set_index(["estimator", "test", "value"])["rejection"]
    assert power[("set", "ar", 0.2)] == 1.0
    assert power[("set", "ar", 1 / 3)] == 0.0  # an end belongs to the set, to the last bit
    res = own_results(sample)
    assert rows.loc["results", "wald_upper"] == res.conf_int(0.95).loc["endog", "upper"]


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_warnings_of_fits_are_counted_and_not_shown(backend, recwarn):
    def weak(sample):
        noise = np.random.default_rng(len(sample.y)).normal(size=(len(sample.y), 1))
        return MLIV("ols", control_variate=True).fit(sample.y, sample.X, sample.D, noise)

    with joblib.parallel_config(backend, n_jobs=2):
        report = monte_carlo(designs.nonlinear(n=100), {"weak": weak, "OLS": OLS()}, 12)
    assert not recwarn.list
    said = report.draws.set_index("estimator")["warnings"]
    assert (said["OLS"] == "").all()
    weak_draws = report.draws[report.draws["estimator"] == "weak"]
    silent = weak_draws["warnings"] == ""
    assert (~silent).sum() > 0
    assert (
        weak_draws.loc[~silent, "warnings"].str.startswith("WeakInstrumentWarning: control").all()
    )
    assert f"weak: warned in {(~silent).sum()} replications, first WeakInstrument" in str(report)


# ---- failures -----------------------------------------------------------------------------------


def fails_below_zero(sample):
    if sample.D[0] < 0:
        raise ZeroDivisionError("below zero")
    return {"estimate": 1.0}


def nothing(sample):
    return 3.0


def two_endogenous(sample):
    return OLS().fit(sample.y, sample.X, np.column_stack([sample.D, sample.D**2]), sample.W)


def test_failures_are_kept_with_their_message_and_can_be_drawn_again():
    estimators = {"fails": fails_below_zero, "OLS": OLS()}
    report = monte_carlo(DESIGN, estimators, 30)
    failures = report.failures
    assert 5 < len(failures) < 25
    for replication in range(30):
        first = DESIGN.draw(np.random.default_rng(report.seed(replication))).D[0]
        assert (first < 0) == (replication in set(failures["replication"]))
    assert set(failures["failure"]) == {"ZeroDivisionError: below zero"}
    assert set(failures["estimator"]) == {"fails"}
    assert len(report.draws) == 60
    assert f"fails: {len(failures)} of 30 replications failed" in str(report)
    value = report.statistics.loc[("fails", "median_bias")]
    assert value["replications"] == 30 - len(failures)
    assert report.statistics.loc[("OLS", "sd"), "replications"] == 30


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (nothing, "must return results of this package or a mapping"),
        (lambda sample: {"mean": 1.0}, "needs 'estimate'"),
        (lambda sample: {"estimate": 1.0, "ar_length": 2.0}, "ar_length: names of the table"),
        (two_endogenous, "one endogenous regressor; there are 2"),
    ],
)
def test_what_cannot_be_read_is_a_failure(estimator, words):
    report = monte_carlo(DESIGN, {"odd": estimator}, 1)
    assert words in report.failures["failure"].iloc[0]
    assert "InputError" in report.failures["failure"].iloc[0]
    assert "Median bias" not in str(report)


def test_a_draw_that_fails_fails_every_estimator():
    def sampler(rng):
        if rng.random() < 0.5:
            raise ValueError("no luck")
        return DESIGN.draw(rng)

    design = Design("unlucky", "Half of the draws fail.", 120, 1.0, sampler)
    report = monte_carlo(design, PAIR, 20)
    unlucky = report.failures
    assert 4 < len(unlucky) / 2 < 16
    assert set(unlucky["failure"]) == {"the design's draw: ValueError: no luck"}
    assert unlucky["estimator"].value_counts().nunique() == 1
    assert report.draws["estimate"].notna().sum() == 40 - len(unlucky)


# ---- designs of one's own -----------------------------------------------------------------------


class Bare:
    """The least a design can be."""

    name, truth = "bare", 2.0

    def draw(self, rng):
        w, u = rng.standard_normal((2, 80))
        bare = dataclasses.make_dataclass("Drawn", ["y", "X", "D", "W"])
        return bare(2 * (w + u) + u, np.ones((80, 1)), w + u, w[:, None])


def test_any_object_with_a_name_a_truth_and_draws_will_do():
    report = monte_carlo(Bare(), {"2SLS": TSLS()}, 40)
    assert report.statistics.loc[("2SLS", "wald_coverage"), "value"] > 0.8
    assert report.name == "bare"


def test_clusters_of_a_sample_reach_the_estimators():
    labels = np.repeat(np.arange(12), 10)

    def sampler(rng):
        sample = DESIGN.draw(rng)
        return Sample(sample.y, sample.X, sample.D, sample.W, sample.oracle, 1.0, clusters=labels)

    report = monte_carlo(Design("grouped", "", 120, 1.0, sampler), PAIR, 1)
    res = TSLS().fit(*drawn(report, 0), clusters=labels)
    assert report.draws["std_error"].iloc[1] == res.std_errors["endog"]


# ---- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"design": 3}, "lacks name, truth, draw"),
        ({"estimators": {}}, "mapping of names"),
        ({"estimators": [OLS()]}, "mapping of names"),
        ({"estimators": {"x": 3}}, "'x' must have fit"),
        ({"estimators": {"x": OLS}}, "'x' must have fit"),
        ({"estimators": {1: OLS()}}, "must be text"),
        ({"estimators": {"x": MLIV(random_state=np.random.default_rng(0))}}, "Generator"),
        ({"replications": 0}, "replications"),
        ({"level": 95}, "level"),
        ({"random_state": -1}, "random_state"),
        ({"random_state": np.random.SeedSequence([1, 2])}, "one number"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(change, words):
    given = {"design": DESIGN, "estimators": PAIR, "replications": 1, **change}
    design, estimators, replications = (
        given.pop(k) for k in ("design", "estimators", "replications")
    )
    with pytest.raises(InputError, match=words):
        monte_carlo(design, estimators, replications, **given)


def test_progress_counts_replications(capsys):
    monte_carlo(DESIGN, PAIR, 4, progress=True)
    shown = capsys.readouterr().err
    assert "replications" in shown
    assert "/4 " in shown
    monte_carlo(DESIGN, PAIR, 4)
    assert capsys.readouterr().err == ""
