"""Statistics of a report against plain loops over its draws; what it prints and draws."""

import dataclasses

import numpy as np
import pytest

from mlinstruments import MLIV, OLS, TSLS
from mlinstruments._core.exceptions import InputError
from mlinstruments.simulation import designs, monte_carlo
from mlinstruments.simulation.rows import read_set
from tests.designs import FAST

DESIGN = designs.many_weak(n=120, concentration=15, linear=True, q=3)
TRUTH = DESIGN.truth


@pytest.fixture(scope="module")
def report():
    learned = MLIV(learner=FAST, n_folds=2)
    return monte_carlo(DESIGN, {"OLS": OLS(), "2SLS": TSLS(), "learned": learned}, 60)


def rows_of(report, name):
    return [row for row in report.draws.to_dict("records") if row["estimator"] == name]


def value(report, name, statistic):
    return report.statistics.loc[(name, statistic), "value"]


@pytest.mark.parametrize("name", ["OLS", "2SLS", "learned"])
def test_statistics_are_those_of_a_plain_loop(report, name):
    rows = rows_of(report, name)
    given = [row for row in rows if np.isfinite(row["estimate"])]
    errors = [row["estimate"] - TRUTH for row in given]
    assert value(report, name, "median_bias") == pytest.approx(np.median(errors), abs=1e-12)
    assert value(report, name, "sd") == pytest.approx(np.std(errors, ddof=1), rel=1e-12)
    assert value(report, name, "rmse") == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    covered = [row["wald_lower"] <= TRUTH <= row["wald_upper"] for row in given]
    assert value(report, name, "wald_coverage") == np.mean(covered)
    lengths = [row["wald_upper"] - row["wald_lower"] for row in given]
    assert value(report, name, "wald_length") == pytest.approx(np.median(lengths))
    rejected = len(given) - sum(covered)
    assert value(report, name, "wald_rejection") == rejected / len(rows)
    if name != "OLS":
        small = [row["ar_pvalue"] < 0.05 for row in rows]
        assert value(report, name, "ar_rejection") == np.mean(small)
        assert value(report, name, "ar_coverage") == 1 - np.mean(small)  # test and set agree
        assert value(report, name, "ar_length") == np.median([row["ar_length"] for row in rows])
        bounded = [np.isfinite(row["ar_length"]) for row in rows]
        assert value(report, name, "ar_bounded") == np.mean(bounded)
        assert value(report, name, "f") == np.median([row["f"] for row in rows])


def test_the_draws_hold_every_shape_of_set_and_fits_without_estimate(report):
    learned = rows_of(report, "learned")
    assert any(np.isnan(row["estimate"]) for row in learned)
    assert any(row["ar_set"] == "-inf,inf" for row in learned)
    assert any(len(read_set(row["ar_set"])) == 2 for row in rows_of(report, "2SLS") + learned)


def test_ols_has_no_anderson_rubin_statistics(report):
    for statistic in ("ar_coverage", "ar_length", "ar_bounded", "ar_rejection", "f"):
        found = report.statistics.loc[("OLS", statistic)]
        assert np.isnan(found["value"])
        assert found["replications"] == 0
    assert set(report.power([1.0]).query("estimator == 'OLS'")["test"]) == {"wald"}


@pytest.mark.slow
def test_power_is_that_of_the_tests_themselves(report):
    grid = [-1.0, 0.5, TRUTH, 1.5, 3.0]
    power = report.power(grid).set_index(["estimator", "test", "value"])
    estimators = {"2SLS": TSLS(), "learned": MLIV(learner=FAST, n_folds=2)}
    for name, estimator in estimators.items():
        pvalues = []
        for replication in range(report.replications):
            sample = DESIGN.draw(np.random.default_rng(report.seed(replication)))
            res = estimator.fit(sample.y, sample.X, sample.D, sample.W)
            pvalues.append([res.anderson_rubin(v).pvalue for v in grid])
        expected = np.mean(np.array(pvalues) < 0.05, axis=0)
        found = [power.loc[(name, "ar", v), "rejection"] for v in grid]
        np.testing.assert_array_equal(found, expected)
        at_truth = power.loc[(name, "wald", TRUTH), "rejection"]
        assert at_truth == value(report, name, "wald_rejection")


def test_default_values_lie_around_the_truth(report):
    values = report.power()["value"].unique()
    assert len(values) == 41
    assert values.mean() == pytest.approx(TRUTH)
    with pytest.raises(InputError, match="finite"):
        report.power([np.inf])
    with pytest.raises(InputError, match="at least one"):
        report.power([])


def test_the_level_is_that_of_intervals_sets_and_tests():
    report = monte_carlo(DESIGN, {"2SLS": TSLS()}, 40, level=0.5)
    rows = rows_of(report, "2SLS")
    assert value(report, "2SLS", "ar_rejection") == np.mean([r["ar_pvalue"] < 0.5 for r in rows])
    assert value(report, "2SLS", "ar_rejection") > 0.2
    assert value(report, "2SLS", "ar_coverage") == 1 - value(report, "2SLS", "ar_rejection")


def test_text_and_html_show_every_estimator_and_its_errors(report):
    text = str(report)
    for words in ("many_weak(n=120", "Truth:", "OLS", "2SLS", "learned", "AR rejects the truth"):
        assert words in text
    none = sum(np.isnan(row["estimate"]) for row in rows_of(report, "learned"))
    assert f"learned: no estimate in {none} of 60 replications" in " ".join(text.split())
    bias, error = report.statistics.loc[("OLS", "median_bias"), ["value", "mc_se"]]
    lines = text.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("Median bias"))
    assert lines[place].split()[2] == f"{bias:.4f}"
    assert lines[place + 1].split()[0] == f"({error:.4f})"
    assert report._repr_html_().count("<th scope='col'>") == 4
    assert "tabular" in report.as_latex()


def test_a_report_is_frozen(report):
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.truth = 2.0
    with pytest.raises(InputError, match="replication"):
        report.seed(-1)


def test_picture_shows_distributions_and_power(report):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    left, right = report.plot(values=[0.0, 0.5, 1.0, 1.5])
    lines = {line.get_gid(): line for ax in (left, right) for line in ax.lines if line.get_gid()}
    found = [row["estimate"] for row in rows_of(report, "OLS")]
    np.testing.assert_allclose(lines["outer OLS"].get_xdata(), np.percentile(found, [5, 95]))
    curves = {gid for gid in lines if gid.startswith(("wald", "ar"))}
    assert curves == {"wald OLS", "wald 2SLS", "wald learned", "ar 2SLS", "ar learned"}
    power = report.power([0.0, 0.5, 1.0, 1.5]).query("estimator == '2SLS' and test == 'ar'")
    np.testing.assert_array_equal(lines["ar 2SLS"].get_ydata(), power["rejection"])
    assert [label.get_text() for label in left.get_yticklabels()] == ["OLS", "2SLS", "learned"]
    axes = plt.subplots(1, 2)[1]
    assert report.plot(axes=axes)[0] is axes[0]
    plt.close("all")
