"""Leaving out each row in closed form against as many refits, and against UJIVE."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments import MLIV
from mlinstruments._core.exceptions import InputError
from mlinstruments.learning import OLS, Boosting, Ridge, Series
from mlinstruments.learning.leave_one_out import leave_one_out, refitted
from tests.designs import strong
from tests.tolerances import IDENTITY, SOLVE

DESIGN = strong(n=120, seed=3)
Y, X, D, W = (np.asarray(part, dtype=float) for part in DESIGN.data)
N = len(Y)
RNG = np.random.default_rng(2)
PHI = np.column_stack([W, W**2, RNG.integers(0, 9, N)[:, None] == np.arange(9)]).astype(float)
PHI = (PHI - PHI.mean(axis=0)) / PHI.std(axis=0)
TARGETS = np.column_stack([D, RNG.normal(size=N)])


@pytest.mark.parametrize("weights", [None, DESIGN.weights], ids=["plain", "weighted"])
@pytest.mark.parametrize("penalty", [0.0, 1e-3, 0.5])
def test_closed_form_is_n_refits(penalty, weights):
    found = leave_one_out(PHI, X, TARGETS, weights, penalty)
    assert found.shape == (2, N)
    root = np.ones(N) if weights is None else np.sqrt(weights)
    for i in range(0, N, 7):
        others = np.delete(np.arange(N), i)
        columns = np.hstack([PHI, X])[others] * root[others, None]
        m, p = PHI.shape[1], X.shape[1]
        extra = np.hstack([np.sqrt((N - 1) * penalty) * np.eye(m), np.zeros((m, p))])
        outcome = np.vstack([TARGETS[others] * root[others, None], np.zeros((m, 2))])
        b = np.linalg.lstsq(np.vstack([columns, extra]), outcome, rcond=None)[0][:m]
        f = PHI @ b
        slopes = np.linalg.lstsq(columns[:, m:], f[others] * root[others, None], rcond=None)[0]
        expected = f[i] - X[i] @ slopes
        np.testing.assert_allclose(found[:, i], expected, atol=SOLVE)
        explicit = refitted(PHI, X, TARGETS, weights, penalty, i)
        np.testing.assert_allclose(explicit, expected, atol=SOLVE)


def test_least_squares_is_ujive():
    both = np.hstack([X, W])
    m, c = (a @ np.linalg.pinv(a) for a in (both, X))
    left = [(D[:, 0] - a @ D[:, 0]) / (1 - np.diag(a)) for a in (c, m)]
    ujive = left[0] - left[1]
    np.testing.assert_allclose(leave_one_out(W, X, D, None, 0.0)[0], ujive, atol=SOLVE)
    res = MLIV(OLS(), n_folds="loo").fit(*DESIGN.data)
    z = ujive - X @ np.linalg.lstsq(X, ujive, rcond=None)[0]
    np.testing.assert_allclose(res.instrument, z, atol=SOLVE)
    assert res.params["d1"] == pytest.approx((z @ Y) / (z @ D[:, 0]), rel=IDENTITY)
    assert "leave-one-out" in str(res)


@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_a_row_that_alone_explains_a_column_is_refitted(penalty):
    lone = np.zeros(N)
    lone[5] = 1
    phi = np.column_stack([PHI[:, :5], lone])
    found = leave_one_out(phi, X, TARGETS, None, penalty)
    for i in (4, 5, 6):
        expected = refitted(phi, X, TARGETS, None, penalty, i)
        np.testing.assert_allclose(found[:, i], expected, atol=SOLVE)


def test_its_own_treatment_does_not_reach_a_row():
    changed = TARGETS.copy()
    changed[7] += 100
    for penalty in (0.0, 0.1):
        first, second = (leave_one_out(PHI, X, t, None, penalty) for t in (TARGETS, changed))
        np.testing.assert_allclose(first[:, 7], second[:, 7], atol=SOLVE)
        assert (np.abs(first - second).max(axis=1) > 0.1).all()


def test_irrelevant_instruments_stay_irrelevant():
    # Folds of one row, centred not at all, would hand the treatment itself back with a minus sign.
    rng = np.random.default_rng(0)
    strong_enough = 0
    for _ in range(60):
        w, u = rng.normal(size=(200, 5)), rng.normal(size=200)
        d = u + rng.normal(size=200)
        res = MLIV(Ridge(10.0), n_folds="loo").fit(d + u, np.ones(200), d, w)
        strong_enough += res.first_stage.f["endog"] > 10
    assert strong_enough <= 3  # P(chi2 > 10) is .002


@pytest.mark.parametrize("learner", [OLS(), Ridge(0.1), Series(penalty=0.05, knots=4)], ids=str)
def test_fits_with_everything_that_works_beside_it(learner):
    for options in ({}, {"orthogonal": True}, {"control_variate": True}):
        model = MLIV(learner, n_folds="loo", **options)
        res = model.fit(*DESIGN.data, weights=DESIGN.weights)
        assert np.isfinite(res.params).all()
        assert res.n_folds == N
        assert res.first_stage.by_fold.empty
        kinds = ("corrected", "pooled") + (("orthogonal",) if "orthogonal" in options else ())
        for kind in kinds:
            assert res.conf_int(method="ar", ar=kind).intervals
        # No halves were trained: the critical value is doubled.
        doubled = res.anderson_rubin(0.0).statistic
        assert doubled == pytest.approx(res.anderson_rubin(0.0, ar="pooled").statistic / 2)
        for kind in ("folds", "split"):
            with pytest.raises(InputError, match="'corrected'"):
                res.conf_int(method="ar", ar=kind)


REFUSED = {
    "boosting": (Boosting(), {}, {}, "closed form.*boosting"),
    "penalty to choose": (Ridge(), {}, {}, "given penalty"),
    "repeats": (OLS(), {"n_repeats": 2}, {}, "n_repeats must be 1"),
    "blocks": (OLS(), {"repeat_blocks": 40}, {}, "repeat_blocks"),
    "interacted": (OLS(), {"interact_controls": True}, {}, "interact_controls"),
    "recentred": (OLS(), {"covariates": "recentred"}, {}, "recentred"),
    "clusters": (OLS(), {}, {"clusters": DESIGN.firm}, "split clusters"),
    "folds": (OLS(), {}, {"folds": np.arange(N) % 3}, "partition of its own"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_do_is_refused(case):
    learner, settings, options, words = REFUSED[case]
    with pytest.raises(InputError, match=words):
        MLIV(learner, n_folds="loo", **settings).fit(*DESIGN.data, **options)


def test_other_words_for_folds_are_refused():
    with pytest.raises(InputError, match=r"n_folds must be a whole number.*'loo'.*'leave'"):
        MLIV(OLS(), n_folds="leave").fit(*DESIGN.data)
