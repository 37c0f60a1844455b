"""Every combination of options runs or refuses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mlinstruments import MLIV
from mlinstruments._core.exceptions import InputError
from tests.designs import DESIGNS, FAST

MATRIX = list(
    itertools.product([False, True], ["none", "one", "two"], [1, 2], [1, 3], [False, True])
)


@pytest.mark.parametrize(("weighted", "ways", "d", "n_repeats", "cv"), MATRIX)
def test_options_combine_or_are_refused(weighted, ways, d, n_repeats, cv):
    design = DESIGNS[d]
    model = MLIV(FAST, n_folds=3, n_repeats=n_repeats, control_variate=cv)
    res = model.fit(
        *design.data,
        weights=design.weights if weighted else None,
        clusters=design.clusters[ways],
    )
    assert np.isfinite(res.params).all()
    assert (res.std_errors > 0).all()
    assert res.first_stage.f.min() > 10
    truth = np.array([1.0, -0.5])[:d]
    ratio = (res.params[list(design.D)] - truth) / res.std_errors[list(design.D)]
    assert (np.abs(ratio) < 4).all()
    assert not res.to_frame().isna().any(axis=None)
    # Joint tests of two coefficients project at .2 s a set, so not under every option.
    kinds = ("corrected", "pooled", "folds", "split", "orthogonal")
    for kind in kinds if d == 1 else ("corrected",) * (not weighted and not cv):
        if next(k for k in res.ar if k.kind == kind).refusal:
            assert kind not in ("corrected", "pooled")
            with pytest.raises(InputError, match=r"'corrected'|orthogonal=True"):
                res.conf_int(method="ar", ar=kind)
            continue
        found = res.conf_int(method="ar", ar=kind)
        for name, one in zip(design.D, [found] if d == 1 else found.values(), strict=True):
            assert not np.isnan(one.intervals).any()
            if kind in ("corrected", "pooled"):
                assert float(res.params[name]) in one
                assert one.is_bounded or d == 2  # twelve years do not bound a joint test of two


@pytest.mark.parametrize("n_repeats", [1, 3])
def test_sparse_two_way_clusters_with_empty_cells(n_repeats):
    design = DESIGNS[1]
    rng = np.random.default_rng(0)
    firm = rng.integers(0, 12, 240)
    clusters = np.column_stack([firm, firm + 12 * (rng.random(240) < 0.1)])  # nearly nested
    res = MLIV("ols", n_folds=4, n_repeats=n_repeats).fit(*design.data, clusters=clusters)
    assert np.isfinite(res.params).all()


@pytest.mark.parametrize("ways", ["none", "one"])
@pytest.mark.parametrize("learner", [FAST, "ridge", "ols"], ids=str)
def test_repeats_made_of_blocks_are_ordinary_repeats(learner, ways):
    design = DESIGNS[1]
    clusters = design.clusters[ways]
    model = MLIV(learner, n_folds=3, n_repeats=5, repeat_blocks=18)
    res = model.fit(*design.data, clusters=clusters)
    assert len(np.unique(res.folds, axis=1).T) == 5
    assert res.folds.apply(lambda column: column.value_counts().max() <= 110).all()
    if clusters is not None:
        assert (res.folds.groupby(clusters.to_numpy()).nunique() == 1).all(axis=None)
    free = MLIV(learner, n_folds=3, n_repeats=5).fit(*design.data, clusters=clusters)
    # Two medians over partitions: apart by less than a standard error of either.
    assert abs(res.params["d1"] - free.params["d1"]) < free.std_errors["d1"]
    again = model.fit(*design.data, clusters=clusters)
    np.testing.assert_array_equal(again.params, res.params)


REFUSED = {
    "blocks and folds": (
        {"repeat_blocks": 30},
        {"folds": np.arange(240) % 3},
        1,
        ["leave repeat_blocks out"],
    ),
    "too few blocks": ({"repeat_blocks": 19}, {}, 1, ["5 folds", "20 blocks", "19"]),
    "half a block": ({"repeat_blocks": 20.5}, {}, 1, ["repeat_blocks", "whole number"]),
    "blocks and two ways": (
        {"repeat_blocks": 20},
        {"clusters": DESIGNS[1].clusters["two"]},
        1,
        ["repeat_blocks", "two-way"],
    ),
    "orthogonal and repeats": (
        {"orthogonal": True, "n_repeats": 2},
        {},
        1,
        ["orthogonal", "n_repeats=1", "'corrected'"],
    ),
    "orthogonal and control variate": (
        {"orthogonal": True, "control_variate": True},
        {},
        1,
        ["orthogonal", "leave control_variate out"],
    ),
    "orthogonal and two regressors": (
        {"orthogonal": True},
        {},
        2,
        ["orthogonal", "single endogenous"],
    ),
    "folds and repeats": (
        {"n_repeats": 2},
        {"folds": np.arange(240) % 3},
        1,
        ["n_repeats must be 1"],
    ),
    "folds of another shape": (
        {},
        {"folds": np.zeros((240, 2))},
        1,
        ["folds", "240 rows", "(240, 2)"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    settings, options, d, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        MLIV("ridge", **settings).fit(*DESIGNS[d].data, **options)
    for word in words:
        assert word in str(caught.value)
