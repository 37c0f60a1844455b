"""Kinds of Anderson-Rubin inference of a fit: what each is, and what refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlinstruments import MLIV
from mlinstruments._core.exceptions import InputError
from tests.designs import DESIGNS, FAST
from tests.tolerances import ROUNDING


def test_sets_that_were_not_prepared_say_how_to_get_them():
    res = MLIV(FAST, n_folds=3).fit(*DESIGNS[1].data)
    with pytest.raises(InputError, match=r"MLIV\(orthogonal=True\)"):
        res.conf_int(method="ar", ar="orthogonal")
    repeated = MLIV(FAST, n_folds=3, n_repeats=2).fit(*DESIGNS[1].data)
    for kind in ("folds", "split"):
        with pytest.raises(InputError, match=r"n_repeats=1; use 'corrected'"):
            repeated.anderson_rubin(0, ar=kind)
    kernel = MLIV(FAST, n_folds=3).fit(*DESIGNS[1].data, cov_type="kernel", bandwidth=2)
    with pytest.raises(InputError, match=r"kernel.*use 'corrected'"):
        kernel.conf_int(method="ar", ar="folds")
    assert kernel.conf_int(method="ar").is_bounded


def test_without_halves_the_corrected_statistic_is_half_the_pooled_one():
    res = MLIV(FAST, n_folds=3, split_half=False).fit(*DESIGNS[1].data)
    for value in (-1.0, 0.0, 2.0):
        one, other = (res.anderson_rubin(value, ar=k).statistic for k in ("pooled", "corrected"))
        assert one == pytest.approx(2 * other, rel=ROUNDING)
    assert np.isnan(res.first_stage.reliability["d1"])


def test_with_halves_the_correction_lies_between_none_and_twice():
    res = MLIV(FAST, n_folds=3).fit(*DESIGNS[1].data)
    for value in (-1.0, 0.0, 2.0):
        pooled, corrected = (
            res.anderson_rubin(value, ar=k).statistic for k in ("pooled", "corrected")
        )
        assert 1 < pooled / corrected < 2
    assert 0.5 < res.first_stage.reliability["d1"] < 1


@pytest.mark.parametrize("ways", ["none", "one"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("value", [-1.0, 0.5, 1.0, 20.0])
def test_orthogonal_statistic_is_that_of_a_first_stage_trained_at_the_null(value, weighted, ways):
    design = DESIGNS[1]
    y, X, D, W = design.data
    options = {"weights": design.weights if weighted else None, "clusters": design.clusters[ways]}
    res = MLIV(FAST, n_folds=3, orthogonal=True).fit(y, X, D, W, **options)
    w = design.weights / design.weights.mean() if weighted else np.ones(240)
    root = np.sqrt(w)[:, None]

    def clean(v):
        return v - X.to_numpy() @ np.linalg.lstsq(X * root, v * root[:, 0], rcond=None)[0]

    d, e = clean(D["d1"].to_numpy()), clean((y - value * D["d1"]).to_numpy())
    target = D["d1"] - e * (w @ (d * e)) / (w @ e**2)
    z = MLIV(FAST, n_folds=3).fit(y, X, target.rename("d1"), W, **options).instrument.to_numpy()
    scores = w * z * e
    codes = pd.factorize(design.firm)[0] if ways == "one" else np.arange(240)
    expected = scores.sum() ** 2 / (np.bincount(codes, scores) ** 2).sum()
    found = res.anderson_rubin(value, ar="orthogonal").statistic
    assert found == pytest.approx(expected, rel=1e-6)
