"""Partitions: balanced, clusters whole in folds and halves, blind to what clusters are called."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.exceptions import InputError
from mlinstruments.learning.folds import block_splits, given_split, random_split
from tests.strategies import FIXED, seeds

SEED = np.random.SeedSequence(5)


def clusters_of(seed, n=120, g=15):
    """Codes of ``g`` clusters of very unequal sizes, all present."""
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(g), rng.choice(g, n - g, p=rng.dirichlet(np.ones(g)))])
    return encode_labels(rng.permutation(codes))


def cuts(labels, clusters):
    """Clusters with rows under more than one label."""
    return [c for c in np.unique(clusters) if len(np.unique(labels[clusters == c])) > 1]


@given(seed=seeds, n=st.integers(2, 80), n_folds=st.integers(2, 12))
@FIXED
def test_rows_are_dealt_evenly_into_folds_and_halves(seed, n, n_folds):
    n_folds = min(n, n_folds)
    split = random_split(n, n_folds, (), np.random.SeedSequence(seed))
    sizes = np.bincount(split.cell, minlength=n_folds)
    assert len(sizes) == split.n_cells == n_folds
    assert sizes.max() - sizes.min() <= 1
    for k in range(n_folds):
        sides = np.bincount(split.half[split.cell == k], minlength=2)
        assert abs(sides[0] - sides[1]) <= 1


@given(seed=seeds, n=st.integers(3, 40))
@FIXED
def test_leave_one_out_trains_on_balanced_halves(seed, n):
    split = random_split(n, n, (), np.random.SeedSequence(seed))
    for k in range(n):
        first, second = split.training(k)
        assert abs(len(first) - len(second)) <= 2
        assert len(first) + len(second) == n - 1


@given(seed=seeds, n_folds=st.integers(2, 8), halves=st.booleans())
@FIXED
def test_training_parts_are_all_other_folds(seed, n_folds, halves):
    clusters = clusters_of(seed)
    split = random_split(120, n_folds, (clusters,), np.random.SeedSequence(seed), halves)
    for k in range(split.n_cells):
        parts = split.training(k)
        assert len(parts) == (2 if halves else 1)
        everyone = np.concatenate([*parts, split.held_out(k)])
        np.testing.assert_array_equal(np.sort(everyone), np.arange(120))
        for part in parts:
            assert not set(clusters[part]) & set(clusters[split.held_out(k)])


@given(seed=seeds, n_folds=st.integers(2, 8))
@FIXED
def test_clusters_stay_whole_in_folds_and_halves(seed, n_folds):
    clusters = clusters_of(seed)
    split = random_split(120, n_folds, (clusters,), np.random.SeedSequence(seed))
    assert cuts(split.cell, clusters) == []
    assert cuts(split.half, clusters) == []
    assert split.n_cells == n_folds
    # Dealt to the smallest pile, no fold exceeds another by more than the largest cluster.
    sizes = np.bincount(split.cell)
    assert sizes.max() - sizes.min() <= np.bincount(clusters).max()


@given(seed=seeds, n_folds=st.integers(2, 4))
@FIXED
def test_two_way_training_parts_share_no_cluster_of_either_way(seed, n_folds):
    a, b = clusters_of(seed), clusters_of(seed + 1)
    split = random_split(120, n_folds, (a, b), np.random.SeedSequence(seed))
    assert split.half is None
    assert n_folds <= split.n_cells <= n_folds**2
    assert cuts(split.folds[0], a) == cuts(split.folds[1], b) == []
    covered = np.zeros(120, dtype=int)
    for k in range(split.n_cells):
        (part,), out = split.training(k), split.held_out(k)
        covered[out] += 1
        assert not set(a[part]) & set(a[out])
        assert not set(b[part]) & set(b[out])
        here = [fold[out[0]] for fold in split.folds]
        allowed = (split.folds[0] != here[0]) & (split.folds[1] != here[1])
        np.testing.assert_array_equal(part, np.flatnonzero(allowed))
    np.testing.assert_array_equal(covered, 1)


def test_one_fold_means_no_splitting():
    split = random_split(9, 1, (), SEED)
    (part,) = split.training(0)
    np.testing.assert_array_equal(part, np.arange(9))
    np.testing.assert_array_equal(split.held_out(0), np.arange(9))


@pytest.mark.parametrize("n_ways", [0, 1, 2])
def test_names_of_clusters_do_not_matter(n_ways):
    ways = [clusters_of(1), clusters_of(2)][:n_ways]
    rng = np.random.default_rng(3)
    renamed = [encode_labels(rng.permutation(15)[codes].astype(str)) for codes in ways]
    first = random_split(120, 3, tuple(ways), SEED)
    second = random_split(120, 3, tuple(renamed), SEED)
    np.testing.assert_array_equal(first.cell, second.cell)
    if n_ways < 2:
        np.testing.assert_array_equal(first.half, second.half)


def test_seeds_decide():
    first, again = (random_split(50, 5, (), SEED) for _ in range(2))
    other = random_split(50, 5, (), np.random.SeedSequence(6))
    np.testing.assert_array_equal(first.cell, again.cell)
    np.testing.assert_array_equal(first.half, again.half)
    assert (first.cell != other.cell).any()


# ---- partitions that users give --------------------------------------------------------------


def test_given_folds_are_used_and_numbered():
    labels = np.array(["east", "west", "east", "north"] * 6)
    split = given_split(labels, (), SEED)
    np.testing.assert_array_equal(split.cell, [0, 1, 0, 2] * 6)
    for k in range(3):
        sides = np.bincount(split.half[split.cell == k], minlength=2)
        assert sides[0] == sides[1]
    assert given_split(labels, (), SEED, halves=False).half is None


def test_given_folds_halve_clusters_whole():
    clusters = clusters_of(4)
    folds = np.arange(15)[clusters] % 3
    split = given_split(folds, (clusters,), SEED)
    assert cuts(split.half, clusters) == []
    for k in range(3):
        assert set(split.half[split.cell == k]) == {0, 1}


def test_given_folds_do_not_depend_on_their_names():
    labels = np.array([3, 1, 2] * 8)
    first = given_split(labels, (), SEED)
    second = given_split(np.array(["c", "a", "b"] * 8), (), SEED)
    np.testing.assert_array_equal(first.cell, second.cell)
    np.testing.assert_array_equal(first.half, second.half)


REFUSED = {
    "more folds than clusters": (
        lambda: random_split(120, 16, (clusters_of(0),), SEED),
        ["16 folds", "clusters", "15", "lower n_folds"],
    ),
    "more folds than clusters in one of two ways": (
        lambda: random_split(120, 5, (clusters_of(0), np.arange(120) % 3), SEED),
        ["5 folds", "clusters", "there are 3", "lower n_folds"],
    ),
    "more folds than rows": (
        lambda: random_split(3, 4, (), SEED),
        ["4 folds", "rows", "there are 3", "lower n_folds"],
    ),
    "one fold given": (
        lambda: given_split(np.zeros(9), (), SEED),
        ["folds", "at least two"],
    ),
    "a cluster cut": (
        lambda: given_split(np.array([0, 0, 1, 1]), (np.array([0, 1, 1, 2]),), SEED),
        ["folds splits a cluster", "row 2", "one fold"],
    ),
    "two ways and folds": (
        lambda: given_split(np.array([0, 1] * 4), (np.arange(8), np.arange(8)), SEED),
        ["folds", "two-way", "leave folds out"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


# ---- blocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize("clustered", [True, False])
def test_splits_of_blocks_keep_blocks_whole(clustered, halves):
    clusters = (clusters_of(1, 600, 80),) if clustered else ()
    splits = block_splits(600, 4, clusters, SEED.spawn(5), 32, halves)
    blocks = splits[0].blocks
    assert len(np.unique(blocks)) == 32
    if clustered:
        assert cuts(blocks, clusters[0]) == []
    else:
        assert set(np.bincount(blocks)) == {18, 19}
    for split in splits:
        assert split.blocks is blocks
        assert split.n_cells == 4
        assert (split.half is not None) == halves
        for labels in (split.cell, split.tune) + ((split.half,) if halves else ()):
            assert cuts(labels, blocks) == []
        for cell in range(4):
            for part in split.training(cell):
                sides = np.bincount(split.tune[part], minlength=2)
                assert abs(sides[0] - sides[1]) <= (400 if clustered else 60)
    assert len({tuple(split.cell) for split in splits}) == 5


@pytest.mark.parametrize(
    ("n_blocks", "clusters", "words"),
    [
        (15, (), ["4 folds", "16 blocks", "15"]),
        (700, (), ["700", "600 rows"]),
        (90, (clusters_of(1, 600, 80),), ["90", "80 clusters"]),
        (20, (clusters_of(1, 600, 80), clusters_of(2, 600, 80)), ["two-way", "leave it out"]),
    ],
)
def test_blocks_that_cannot_be_are_refused(n_blocks, clusters, words):
    with pytest.raises(InputError) as caught:
        block_splits(600, 4, clusters, SEED.spawn(2), n_blocks)
    for word in words:
        assert word in str(caught.value)


@given(seed=seeds, n=st.integers(16, 80), n_folds=st.integers(2, 8), halves=st.booleans())
@FIXED
def test_sides_for_tuning_are_even_in_every_training_part(seed, n, n_folds, halves):
    split = random_split(n, n_folds, (), np.random.SeedSequence(seed), halves)
    for cell in range(n_folds):
        for part in split.training(cell):
            sides = np.bincount(split.tune[part], minlength=2)
            assert abs(sides[0] - sides[1]) <= n_folds / 2 + 1


def test_sides_for_tuning_keep_clusters_whole():
    clusters = clusters_of(4)
    for halves in (True, False):
        split = random_split(120, 3, (clusters,), SEED, halves)
        assert cuts(split.tune, clusters) == []
    given_folds = given_split(clusters % 3, (clusters,), SEED)
    assert cuts(given_folds.tune, clusters) == []
