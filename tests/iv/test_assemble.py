"""Estimates from instruments: medians over repeats, and when there is none."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments import MLIV
from tests.designs import DESIGNS, FAST
from tests.tolerances import IDENTITY, SOLVE


@pytest.mark.parametrize("n_repeats", [3, 4])
def test_the_median_rule_by_hand(n_repeats):
    design = DESIGNS[1]
    res = MLIV(FAST, n_folds=3, n_repeats=n_repeats).fit(*design.data)
    table = res.splits
    assert len(table) == n_repeats
    assert table["estimate"].nunique() == n_repeats
    tau = np.median(table["estimate"])
    variances = table["std_error"] ** 2 + (table["estimate"] - tau) ** 2
    assert res.params["d1"] == pytest.approx(tau, rel=IDENTITY)
    assert res.std_errors["d1"] ** 2 == pytest.approx(np.median(variances), rel=IDENTITY)
    for name in ("f", "partial_r2", "calibration", "reliability"):
        found = getattr(res.first_stage, name)["d1"]
        assert found == pytest.approx(np.median(table[name]), rel=IDENTITY)


def test_the_median_rule_with_two_endogenous_regressors():
    res = MLIV(FAST, n_folds=3, n_repeats=3).fit(*DESIGNS[2].data)
    for name in ("d1", "d2"):
        rows = res.splits[res.splits["endog"] == name]
        assert res.params[name] == pytest.approx(np.median(rows["estimate"]), rel=IDENTITY)
    block = res.cov.loc[["d1", "d2"], ["d1", "d2"]]
    smallest = np.linalg.eigvalsh(block)[0]
    assert smallest > 0


def test_the_instrument_is_the_mean_over_repeats():
    design = DESIGNS[1]
    both = MLIV("ridge", n_repeats=2, random_state=3).fit(*design.data)
    folds = [both.folds[f"repeat {r}"].to_numpy() for r in range(2)]
    assert (folds[0] != folds[1]).any()
    alone = MLIV("ridge", random_state=3).fit(*design.data)
    np.testing.assert_array_equal(both.folds["repeat 0"], alone.folds["repeat 0"])
    first = both.splits.iloc[0]
    assert alone.params["d1"] == pytest.approx(first["estimate"], rel=IDENTITY)
    other = 2 * both.instrument - alone.instrument  # then the second repeat's
    y, D = design.y, design.D["d1"]
    assert (other @ y) / (other @ D) == pytest.approx(both.splits["estimate"][1], rel=SOLVE)


def test_a_negative_slope_is_refused_an_estimate():
    rng = np.random.default_rng(4)
    n = 60
    w = np.repeat([0.0, 1.0], n // 2)
    folds = np.tile([0, 1], n // 2)
    d = np.where(folds == 0, w, -w) * 3 + 0.1 * rng.normal(size=n)
    res = MLIV("ols", split_half=False).fit(d + rng.normal(size=n), np.ones(n), d, w, folds=folds)
    assert "slope not positive" in res.weak
    assert res.params.isna().all()
    assert res.first_stage.calibration["endog"] < 0
    assert "No estimate" in str(res)


def test_two_way_clusters_never_give_a_standard_error_of_nothing():
    # Cluster sums that nearly cancel in both ways leave V = A + B - AB indefinite.
    design = DESIGNS[1]
    rng = np.random.default_rng(0)
    for _ in range(20):
        clusters = np.column_stack([rng.integers(0, 3, 240), rng.integers(0, 3, 240)])
        res = MLIV("ols", n_folds=2).fit(*design.data, clusters=clusters)
        assert (res.std_errors > 0).all()
        assert (res.first_stage.f >= 0).all()
