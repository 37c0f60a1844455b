"""Split-sample IV, written out; and rows taken from data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS

from mlinstruments import TSLS, SplitSampleIV
from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments._core.parallel import spawn_seeds
from mlinstruments.iv.data import IVData
from mlinstruments.learning.folds import random_split
from tests.designs import strong
from tests.tolerances import SOLVE

DESIGNS = {d: strong(n=240, d=d, seed=80 + d) for d in (1, 2)}


@pytest.mark.parametrize("clusters", ["none", "one", "two"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("d", [1, 2])
def test_it_is_iv_in_one_half(d, weighted, clusters):
    design = DESIGNS[d]
    y, X, D, W = design.data
    weights = design.weights if weighted else np.ones(len(y))
    codes = {"none": [], "one": [design.firm], "two": [design.firm, design.year]}[clusters]
    split = random_split(
        len(y), 2, tuple(map(encode_labels, codes)), spawn_seeds(3, 1)[0], halves=False
    )
    (train,), rows = split.training(0), split.held_out(0)
    both, root = X.join(W).to_numpy(), np.sqrt(weights[train])[:, None]
    first = np.linalg.lstsq(root * both[train], root * D.to_numpy()[train], rcond=None)[0]
    half = design.taken(rows)
    inside = {"none": {"cov_type": "robust"}, "one": {"clusters": encode_labels(half.firm)}}
    inside["two"] = {"clusters": np.column_stack([*map(encode_labels, (half.firm, half.year))])}
    theirs = {"cov_type": "clustered"} | inside[clusters]
    used = weights[rows] if weighted else None
    for debiased in (False, True):
        expected = IV2SLS(half.y, half.X, half.D, both[rows] @ first, weights=used)
        expected = expected.fit(debiased=debiased, **theirs)
        found = SplitSampleIV(random_state=3).fit(
            y, X, D, W,
            weights=design.weights if weighted else None,
            clusters=design.clusters[clusters],
            debiased=debiased,
        )  # fmt: skip
        np.testing.assert_allclose(found.params, expected.params, rtol=SOLVE)
        np.testing.assert_allclose(found.cov, expected.cov, rtol=SOLVE, atol=1e-10)
    assert found.nobs == len(rows)
    np.testing.assert_allclose(found.resids.dropna(), expected.resids, rtol=SOLVE, atol=SOLVE)
    assert found.resids.dropna().index.tolist() == rows.tolist()
    assert not set(train) & set(rows)
    assert found.first_stage.n_instruments == d


def test_its_sets_and_tf_are_those_of_one_instrument():
    res = SplitSampleIV().fit(*DESIGNS[1].data)
    found = res.conf_int(method="ar")
    assert "one fold estimates" in found.kind
    for end in found.hull:
        assert res.anderson_rubin(end).pvalue == pytest.approx(0.05, rel=1e-6)
    assert res.conf_int(method="tf").shape == (1, 2)
    assert "linear, on the other half" in str(res)


def test_another_seed_takes_another_half():
    a, b, again = (SplitSampleIV(seed).fit(*DESIGNS[1].data) for seed in (0, 1, 0))
    assert a.params["d1"] != b.params["d1"]
    assert a.params["d1"] == again.params["d1"]


@pytest.mark.slow
def test_irrelevant_instruments_say_nothing():
    """2SLS with thirty irrelevant instruments rejects the truth often; the split's set does not."""
    rng = np.random.default_rng(5)
    rejected = {"split": 0, "2SLS": 0}
    for seed in range(150):
        W = rng.normal(size=(200, 30))
        u, v = rng.normal(size=(2, 200))
        d = 0.95 * u + 0.3 * v
        data = (u, np.ones(200), d, W)  # the truth is 0
        rejected["split"] += SplitSampleIV(seed).fit(*data).anderson_rubin(0.0).pvalue < 0.05
        rejected["2SLS"] += TSLS().fit(*data).pvalues["endog"] < 0.05
    assert rejected["split"] <= 17  # 99.9% of binomial(150, .05)
    assert rejected["2SLS"] > 140


def test_rows_taken_are_as_if_others_were_dropped():
    design = DESIGNS[1]
    y, X, D, W = design.data
    gap = y.copy()
    gap.iloc[[3, 50]] = np.nan
    with pytest.warns(MissingRowsWarning):
        data = IVData.from_arrays(gap, X, D, W, design.weights, design.clusters["two"])
    rows = np.arange(10, 60)
    taken = data.taken(rows)
    kept = np.delete(np.arange(240), [3, 50])[rows]
    half = design.taken(kept)
    same = IVData.from_arrays(*half.data, half.weights, half.clusters["two"])
    np.testing.assert_array_equal(taken.y, same.y)
    np.testing.assert_array_equal(taken.W.values, same.W.values)
    np.testing.assert_allclose(taken.weights, same.weights)
    for one, other in zip(taken.clusters, same.clusters, strict=True):
        np.testing.assert_array_equal(one, other)
    placed = taken.on_input_index(taken.y, "y")
    assert placed.dropna().index.tolist() == kept.tolist()


def test_too_many_covariates_for_a_half_are_refused():
    design = strong(n=60, seed=1)
    y, _, D, W = design.data
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 32))).add_prefix("x").assign(const=1.0)
    with pytest.raises(InputError, match="in the half of 30 rows"):
        SplitSampleIV().fit(y, X, D, W)
