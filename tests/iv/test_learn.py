"""What the first stage may do with covariates, and the control variate."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments import MLIV
from mlinstruments._core.exceptions import AssumptionWarning, WeakInstrumentWarning
from mlinstruments.learning import Boosting, Series
from mlinstruments.simulation import designs
from tests.designs import DESIGNS, FAST
from tests.tolerances import SOLVE


def spurious(n=600):
    """W irrelevant; D and Y both hold x^2 (section 1 of the notes), tau = 0."""
    rng = np.random.default_rng(0)
    x, w, e, v = rng.normal(size=(4, n))
    d = (x**2 - 1) + 0.6 * e + 0.8 * v
    y = e + (x**2 - 1) / np.sqrt(2)
    return y, np.column_stack([np.ones(n), x]), d, w


def test_non_linear_covariates_do_not_pose_as_instruments():
    data = spurious()
    for covariates in ("linear", "recentred"):
        res = MLIV("series", covariates=covariates).fit(*data)
        assert res.first_stage.f["endog"] < 10
        assert 0.0 in res.conf_int(method="ar")
    with pytest.warns(AssumptionWarning, match=r"'unconstrained'.*exactly linear"):
        res = MLIV("series", covariates="unconstrained").fit(*data)
    assert res.first_stage.f["endog"] > 100  # what the constraint is for
    assert res.params["endog"] > 0.5
    assert 0.0 not in res.conf_int(method="ar")


@pytest.mark.parametrize(
    "learner",
    [Boosting(max_rounds=100), Boosting(rounds=30), Series(penalty=0.2)],
    ids=["boosting", "boosting, few rounds", "series, heavy penalty"],
)
def test_recentring_removes_what_covariates_explain_whoever_learns(learner):
    estimates = []
    for seed in range(2):
        sample = designs.spurious(1000, 0.0).draw(np.random.default_rng(seed))
        data = sample.y, sample.X, sample.D, sample.W
        recentred = MLIV(learner, covariates="recentred", n_folds=2).fit(*data)
        with pytest.warns(AssumptionWarning):
            free = MLIV(learner, covariates="unconstrained", n_folds=2).fit(*data)
        # An F is a squared correlation: of x^2 a twentieth at most is left of the instrument.
        assert recentred.first_stage.f["endog"] < free.first_stage.f["endog"] / 20
        sample = designs.spurious(1000, 0.5).draw(np.random.default_rng(seed))
        data = sample.y, sample.X, sample.D, sample.W
        res = MLIV(learner, covariates="recentred", n_folds=2).fit(*data)
        estimates.append(res.params["endog"])
    # The oracle's standard deviation is sqrt(Var U / (n Var f)) = sqrt(2 / 250) = .09; that of an
    # instrument with correlation .6 is .15. Three of the mean of two; unconstrained is at .64.
    assert abs(np.mean(estimates)) < 3 * 0.15 / np.sqrt(2)


def test_recentring_learns_interactions_that_linear_covariates_cannot():
    rng = np.random.default_rng(1)
    n = 400
    x, w, u = rng.normal(size=(3, n))
    d = 1.5 * x * w + 0.5 * u + rng.normal(size=n)
    data = (d + u, np.column_stack([np.ones(n), x]), d, w)
    linear = MLIV("series").fit(*data).first_stage.partial_r2["endog"]
    recentred = MLIV("series", covariates="recentred").fit(*data)
    assert linear < 0.1 < 0.4 < recentred.first_stage.partial_r2["endog"]
    assert abs(recentred.params["endog"] - 1) < 4 * recentred.std_errors["endog"]


def test_control_variate_trains_on_less_noise():
    rng = np.random.default_rng(2)
    n = 400
    w = rng.uniform(-1, 1, (n, 3))
    u = rng.normal(size=n)
    mu = np.cos(3 * w[:, 0])
    d = mu + 0.95 * u + 0.3 * rng.normal(size=n)
    data = (d + u, np.ones(n), d, w)
    off, on = (MLIV(FAST, control_variate=c).fit(*data) for c in (False, True))
    centred = mu - mu.mean()
    fits = [np.corrcoef(res.instrument, centred)[0, 1] for res in (off, on)]
    assert fits[1] > fits[0]
    assert "control variate" in str(on)
    assert "control variate" not in str(off)
    assert (on.control_variate, off.control_variate) == (True, False)


def test_control_variate_by_hand():
    y, X, D, W = DESIGNS[1].data
    pilot = MLIV(FAST, n_folds=3).fit(y, X, D, W)
    e = (y - X @ pilot.params[["const", "x"]] - D["d1"] * pilot.params["d1"]).to_numpy()
    e = e - X.to_numpy() @ np.linalg.lstsq(X, e, rcond=None)[0]
    target = D["d1"] - e * (e @ D["d1"]) / (e @ e)
    found = MLIV(FAST, n_folds=3, control_variate=True).fit(y, X, D, W)
    trained = MLIV(FAST, n_folds=3).fit(y, X, target, W)
    np.testing.assert_allclose(found.instrument, trained.instrument, rtol=SOLVE, atol=SOLVE)


def test_control_variate_without_a_pilot_says_so():
    rng = np.random.default_rng(3)
    y, d, w = rng.normal(size=(3, 100))
    from sklearn.dummy import DummyRegressor

    with pytest.warns(WeakInstrumentWarning, match="control_variate=True was not used"):
        res = MLIV(DummyRegressor(), control_variate=True).fit(y, np.ones(100), d, w)
    assert res.control_variate is False
    assert res.weak
