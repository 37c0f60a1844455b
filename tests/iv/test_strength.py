"""First-stage numbers by other means, and tF."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS

from mlinstruments import MLIV
from mlinstruments.iv.strength import tf_critical
from tests.designs import DESIGNS, FAST
from tests.tolerances import IDENTITY, SOLVE


@pytest.mark.parametrize("weighted", [False, True])
def test_tf_interval_by_hand(weighted):
    design = DESIGNS[1]
    weights = design.weights if weighted else None
    res = MLIV(FAST, n_folds=3).fit(*design.data, weights=weights)
    low, high = res.conf_int(method="tf").loc["d1"]
    critical = tf_critical(res.first_stage.f["d1"])
    assert (low + high) / 2 == pytest.approx(res.params["d1"], rel=IDENTITY)
    assert (high - low) / 2 == pytest.approx(critical * res.std_errors["d1"], rel=IDENTITY)


# Lee, McCrary, Moreira, Porter (2022), as tabulated by sqrt(F) in the notes, to their digits.
TF = {2.0: 18.66, 2.5: 4.92, 3.2: 3.39, 4.0: 2.80, 5.0: 2.46, 8.0: 2.08, 10.3: 1.96}


@pytest.mark.parametrize("root", TF)
def test_tf_critical_values_are_the_published_ones(root):
    # The table interpolates between its own entries: a hundredth, and a fiftieth near the pole.
    assert tf_critical(root**2) == pytest.approx(TF[root], rel=0.01)


def test_first_stage_numbers_are_those_of_the_learned_instrument():
    _, X, D, _ = DESIGNS[1].data
    res = MLIV(FAST, n_folds=3).fit(*DESIGNS[1].data)
    first = IV2SLS(D["d1"], X.assign(z=res.instrument), None, None).fit(cov_type="robust")
    assert res.first_stage.f["d1"] == pytest.approx(first.tstats["z"] ** 2, rel=SOLVE)
    assert res.first_stage.effective_f["d1"] == res.first_stage.f["d1"]
    assert res.first_stage.calibration["d1"] == pytest.approx(first.params["z"], rel=SOLVE)
    linear = IV2SLS(D["d1"], X.join(DESIGNS[1].W), None, None).fit(cov_type="robust")
    b, cov = linear.params[2:], linear.cov.iloc[2:, 2:]
    expected = b @ np.linalg.solve(cov, b) / 3
    assert res.first_stage.linear_f["d1"] == pytest.approx(expected, rel=SOLVE)
    assert res.first_stage.n_instruments == 3
    folds = res.first_stage.by_fold
    assert folds["rows"].sum() == 240
    k = 1
    rows = res.folds["repeat 0"] == k
    rest = [v - X @ np.linalg.lstsq(X, v, rcond=None)[0] for v in (D["d1"],)]
    z, d = (v[rows] - v[rows].mean() for v in (res.instrument, rest[0]))
    own = folds.iloc[k]
    assert own["slope"] == pytest.approx((z @ d) / (z @ z), rel=SOLVE)
    e = d - z * own["slope"]
    assert own["f"] == pytest.approx((z @ d) ** 2 / ((z * e) @ (z * e)), rel=SOLVE)


@pytest.mark.parametrize("weighted", [False, True])
def test_slopes_by_fold_are_those_of_regressions_in_the_fold(weighted):
    design = DESIGNS[1]
    weights = design.weights if weighted else None
    y, _, D, W = design.data
    constant = design.X[["const"]]
    res = MLIV(FAST, n_folds=3).fit(y, constant, D, W, weights=weights)
    for k in range(3):
        rows = res.folds["repeat 0"] == k
        z, d = res.instrument[rows], D["d1"][rows]
        w = weights[rows] if weighted else None
        own = IV2SLS(d, pd.DataFrame({"one": 1.0, "z": z}), None, None, weights=w)
        own = own.fit(cov_type="robust")
        row = res.first_stage.by_fold.iloc[k]
        assert row["slope"] == pytest.approx(own.params["z"], rel=SOLVE)
        assert row["f"] == pytest.approx(own.tstats["z"] ** 2, rel=SOLVE)


@pytest.mark.parametrize("kind", ["robust", "unadjusted", "kernel"])
def test_the_linear_first_stage_counts_independent_instruments(kind):
    y, X, D, W = DESIGNS[1].data
    court = np.array(list("abc"))[np.arange(240) % 3]
    doubled = W.assign(sum=W["w1"] + W["w2"] - X["x"], court=court, again=court)
    plain = W.assign(b=court == "b", c=court == "c")
    options = {"cov_type": kind, "bandwidth": 3 if kind == "kernel" else None}
    found, expected = (MLIV(FAST).fit(y, X, D, w, **options).first_stage for w in (doubled, plain))
    assert found.n_instruments == expected.n_instruments == 5
    assert found.linear_f["d1"] == pytest.approx(expected.linear_f["d1"], rel=SOLVE)
