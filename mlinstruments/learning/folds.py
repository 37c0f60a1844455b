"""Random partitions: folds to hold out, halves to train on, clusters kept whole in both."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import numpy as np

from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import IntArray


@dataclass(frozen=True)
class Split:
    """One partition of the rows.

    With one way of clustering, or none, a cell is a fold and its training part is every other
    fold. With two ways each way is partitioned; a cell is a pair of folds and its training part
    shares neither of them (multiway cross-fitting: Chiang, Kato, Ma, Sasaki 2022).

    Parameters
    ----------
    folds : tuple of int arrays, each (n,)
        Fold of each row, one array a way of clustering.
    half : int array, shape (n,), or None
        Which of two halves a row trains when its fold is in the training part; None where each
        training part is used whole.
    tune : int array, shape (n,), or None
        Side of each row when a training part is divided in two to choose tuning values; learners
        that find None draw sides of their own.
    blocks : int array, shape (n,), or None
        Blocks of rows that fold, half and side consist of, where several splits are made of the
        same ones (:func:`block_splits`).
    loo : bool
        Every row is a cell of its own, to be predicted by all others in closed form.
    """

    folds: tuple[IntArray, ...]
    half: IntArray | None
    tune: IntArray | None = None
    blocks: IntArray | None = None
    loo: bool = False

    @property
    def cell(self) -> IntArray:
        """The cell of each row, numbered from 0 without gaps, shape (n,)."""
        if len(self.folds) == 1:
            return self.folds[0]
        a, b = self.folds
        codes = np.unique(a * (int(b.max()) + 1) + b, return_inverse=True)[1]
        return np.asarray(codes, dtype=np.int64)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.cell.max()) + 1

    def held_out(self, cell: int) -> IntArray:
        """Rows of a cell."""
        return np.flatnonzero(self.cell == cell)

    def training(self, cell: int) -> tuple[IntArray, ...]:
        """Rows that train the predictions of a cell: two disjoint halves, or one whole part."""
        if self.n_cells == 1:
            return (np.arange(len(self.cell)),)
        first = int(np.argmax(self.cell == cell))
        outside = np.logical_and.reduce([fold != fold[first] for fold in self.folds])
        if self.half is None:
            return (np.flatnonzero(outside),)
        return tuple(np.flatnonzero(outside & (self.half == side)) for side in (0, 1))


def random_split(
    n: int,
    n_folds: int,
    clusters: tuple[IntArray, ...],
    seed: np.random.SeedSequence,
    halves: bool = True,
) -> Split:
    """Partition ``n`` rows at random into folds of about equal size, clusters whole.

    Parameters
    ----------
    n : int
        Rows.
    n_folds : int
        Folds in each way of clustering; 1 means no sample splitting.
    clusters : tuple of int arrays, each (n,)
        None, one or two ways of clustering, as codes from 0.
    seed : SeedSequence
        The randomness.
    halves : bool
        Also split every training part in two. Two-way clusters cannot be halved in both ways
        without losing half of the rows, so their training parts stay whole.

    Returns
    -------
    Split

    Examples
    --------
    >>> split = random_split(6, 3, (), np.random.SeedSequence(0))
    >>> np.bincount(split.cell)
    array([2, 2, 2])
    """
    rng = np.random.default_rng(seed)
    if len(clusters) == 2 and n_folds > 1:
        parts = [_spread(_deal(_sizes(codes, n), n_folds, rng), codes) for codes in clusters]
        return Split(tuple(fold for fold, _, _ in parts), None, parts[0][1])
    codes = clusters[0] if clusters else None
    return _split(_spread(_deal(_sizes(codes, n), n_folds, rng), codes), halves and n_folds > 1)


def _split(dealt: tuple[IntArray, IntArray, IntArray], halves: bool) -> Split:
    fold, half, quarter = dealt
    return Split((fold,), half, quarter) if halves else Split((fold,), None, half)


def leave_one_out_split(n: int) -> Split:
    """Every one of ``n`` rows predicted from all others, without halves."""
    return Split((np.arange(n),), None, loo=True)


def given_split(
    folds: IntArray,
    clusters: tuple[IntArray, ...],
    seed: np.random.SeedSequence,
    halves: bool = True,
) -> Split:
    """A partition the user chose, with random halves inside each training part.

    Parameters
    ----------
    folds : array, shape (n,)
        Fold labels of any type.
    clusters : tuple of int arrays, each (n,)
        Must lie whole within folds.
    seed : SeedSequence
        For the halves.
    halves : bool
        As in :func:`random_split`.
    """
    codes = encode_labels(folds)
    if codes.max() == 0:
        raise InputError("folds has a single label: at least two folds are needed.")
    if len(clusters) == 2:
        raise InputError("folds cannot be given with two-way clusters: leave folds out.")
    units = clusters[0] if clusters else np.arange(len(codes))
    first = np.unique(units, return_index=True)[1]
    fold_of_unit = codes[first]
    if (fold_of_unit[units] != codes).any():
        row = int(np.argmax(fold_of_unit[units] != codes))
        raise InputError(
            f"folds splits a cluster (the one of row {row}): keep every cluster in one fold."
        )
    half, quarter = np.empty((2, len(first)), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(first))
    for cell in range(int(codes.max()) + 1):
        _halve(order[fold_of_unit[order] == cell], cell, half, quarter)
    if not halves:
        return Split((codes,), None, half[units])
    return Split((codes,), half[units], quarter[units])


def block_splits(
    n: int,
    n_folds: int,
    clusters: tuple[IntArray, ...],
    seeds: list[np.random.SeedSequence],
    n_blocks: int,
    halves: bool = True,
) -> list[Split]:
    """Several partitions made of the same random blocks of rows, each block whole in all of them.

    Rows (clusters) are dealt to blocks once, at random; every partition then deals blocks to folds
    and halves. Learners that need only sums over blocks read the data once for all partitions.

    Parameters
    ----------
    n, n_folds, clusters, halves
        As in :func:`random_split`, with one way of clustering at most.
    seeds : list of SeedSequence
        One for each partition.
    n_blocks : int
        At least four for each fold (halves, and the sides tuning values are chosen on). The more
        there are, the less partitions have in common: two rows share a block, and with it every
        fold, with probability 1 / n_blocks.

    Returns
    -------
    list of Split

    Examples
    --------
    >>> splits = block_splits(80, 2, (), np.random.SeedSequence(0).spawn(3), n_blocks=8)
    >>> [np.bincount(split.cell).tolist() for split in splits]
    [[40, 40], [40, 40], [40, 40]]
    """
    if len(clusters) == 2:
        raise InputError("repeat_blocks cannot be given with two-way clusters: leave it out.")
    if n_blocks < 4 * n_folds:
        raise InputError(
            f"{n_folds} folds need at least {4 * n_folds} blocks, four for each; repeat_blocks is"
            f" {n_blocks}."
        )
    codes = clusters[0] if clusters else None
    sizes = _sizes(codes, n)
    if len(sizes) < n_blocks:
        what = "rows" if codes is None else "clusters"
        raise InputError(f"repeat_blocks is {n_blocks}; there are {len(sizes)} {what}: lower it.")
    source = np.random.SeedSequence(seeds[0].entropy, spawn_key=(*seeds[0].spawn_key, 2))
    blocks = _spread(_deal(sizes, n_blocks, np.random.default_rng(source)), codes)[0]
    sizes = np.bincount(blocks)
    made = []
    for seed in seeds:
        dealt = _deal(sizes, n_folds, np.random.default_rng(seed))
        made.append(replace(_split(_spread(dealt, blocks), halves), blocks=blocks))
    return made


def _sizes(codes: IntArray | None, n: int) -> IntArray:
    """Rows of each unit; None means that every row is a unit of its own."""
    return np.ones(n, dtype=np.int64) if codes is None else np.bincount(codes)


def _spread(
    dealt: tuple[IntArray, IntArray, IntArray], codes: IntArray | None
) -> tuple[IntArray, IntArray, IntArray]:
    """From units to their rows."""
    if codes is None:
        return dealt
    fold, half, quarter = dealt
    return fold.take(codes), half.take(codes), quarter.take(codes)


def _deal(
    sizes: IntArray, n_folds: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray, IntArray]:
    """Fold, half and quarter of each unit, dealt in random order to the smallest pile."""
    if len(sizes) < n_folds:
        what = "rows" if sizes.max() == 1 else "clusters"
        raise InputError(
            f"{n_folds} folds need at least {n_folds} {what}; there are {len(sizes)}:"
            f" lower n_folds to {len(sizes)} or less."
        )
    order = rng.permutation(len(sizes))
    fold, half, quarter = np.empty((3, len(sizes)), dtype=np.int64)
    if sizes.min() == sizes.max():
        for k in range(n_folds):
            fold[order[k::n_folds]] = k
            _halve(order[k::n_folds], k, half, quarter)
    else:
        _deal_greedily(sizes, order, n_folds, fold, half, quarter)
    return fold, half, quarter


def _halve(pile: IntArray, k: int, half: IntArray, quarter: IntArray) -> None:
    """Halves and quarters of the units of fold ``k``, in place."""
    # The sides start at another half in every other fold, so leave-one-out balances too.
    for side in (0, 1):
        mine = pile[(k + side) % 2 :: 2]
        half[mine] = side
        quarter[mine] = (np.arange(len(mine)) + k // 2) % 2


def _deal_greedily(
    sizes: IntArray,
    order: IntArray,
    n_folds: int,
    fold: IntArray,
    half: IntArray,
    quarter: IntArray,
) -> None:
    piles = [(0, k) for k in range(n_folds)]
    sides = np.zeros((n_folds, 2, 2), dtype=np.int64)
    for unit in order:
        filled, k = heapq.heappop(piles)
        side = _lighter(sides[k].sum(axis=1), k)
        other = _lighter(sides[k, side], k // 2)
        fold[unit], half[unit], quarter[unit] = k, side, other
        sides[k, side, other] += sizes[unit]
        heapq.heappush(piles, (filled + int(sizes[unit]), k))


def _lighter(filled: IntArray, k: int) -> int:
    """Which of two piles is the smaller; where they are level it depends on the fold ``k``."""
    return int(filled[0] > filled[1]) if filled[0] != filled[1] else k % 2
