"""Monte Carlo standard errors are those that repeated Monte Carlo runs show."""

import numpy as np
import pytest

from mlinstruments.simulation import statistics

RUNS, R = 2000, 400
NORMAL = np.random.default_rng(0).normal(0.3, 2.0, (RUNS, R))
SKEWED = np.random.default_rng(1).exponential(1.0, (RUNS, R))
# The spread of 2000 values is known to 1 / sqrt(4000) = 1.6%; three times that, and 3% for terms of
# order 1/R in the delta method.
REPEATED = 0.08


@pytest.mark.parametrize("draws", [NORMAL, SKEWED], ids=["normal", "skewed"])
@pytest.mark.parametrize("statistic", ["median", "sd", "rmse"])
def test_standard_errors_are_the_spread_over_runs(statistic, draws):
    found = np.array([getattr(statistics, statistic)(x) for x in draws])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=REPEATED)


def test_values_are_the_textbook_ones():
    x = NORMAL[0]
    assert statistics.median(x)[0] == pytest.approx(np.median(x), abs=1e-14)
    assert statistics.sd(x)[0] == pytest.approx(x.std(ddof=1), rel=1e-12)
    assert statistics.rmse(x)[0] == pytest.approx(np.sqrt((x**2).mean()), rel=1e-12)
    hit = x > 0
    p = hit.mean()
    assert statistics.share(hit) == pytest.approx((p, np.sqrt(p * (1 - p) / R)), rel=1e-12)


def test_error_of_a_share_is_the_spread_over_runs():
    found = np.array([statistics.share(x > 3.0) for x in NORMAL])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=REPEATED)


def test_infinite_lengths_count_as_the_longest():
    x = np.array([1.0, 2.0, np.inf, np.inf, np.inf])
    assert statistics.median(x)[0] == np.inf
    x = np.concatenate([np.arange(80.0), np.full(21, np.inf)])
    value, error = statistics.median(x)
    assert value == 50.0
    assert error == pytest.approx(20 / (2 * statistics.QUANTILE))  # ranks 40 and 60


@pytest.mark.parametrize("statistic", ["median", "sd", "rmse", "share"])
def test_nothing_is_missing(statistic):
    assert np.isnan(getattr(statistics, statistic)(np.array([]))).all()


def test_too_few_draws_give_a_value_without_error():
    value, error = statistics.median(np.array([1.0, 2.0]))
    assert value == 1.5
    assert np.isnan(error)
    assert np.isnan(statistics.sd(np.array([1.0]))).all()
    assert np.isnan(statistics.rmse(np.array([1.0]))[1])
