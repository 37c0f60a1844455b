"""Splits in terms of the blocks of rows they consist of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.typing import BoolArray, IntArray

from .folds import Split


@dataclass(frozen=True)
class Blocks:
    """Splits in terms of the blocks they consist of.

    Parameters
    ----------
    code : int array, shape (n,)
        Block of each row.
    cell : int array, shape (R, B)
        Cell of each block in each split.
    training : list of bool arrays, each (cells, parts, sides, B)
        For each split, which blocks train a cell; one side where no tuning value is to be chosen.
    """

    code: IntArray
    cell: IntArray
    training: list[BoolArray]

    @property
    def fewest_rows(self) -> int:
        """Rows of the smallest side of a training part."""
        sizes = np.bincount(self.code)
        return min(int((training @ sizes).min()) for training in self.training)

    @property
    def most_sums(self) -> int:
        """Sides of training parts in the split that has most of them."""
        return max(int(np.prod(training.shape[:3])) for training in self.training)


def blocks_of(splits: list[Split], tuned: bool) -> Blocks:
    """Blocks of a single split, or those that several were made of."""
    code = splits[0].blocks
    if code is None:
        code = _own_blocks(splits[0], tuned)
    first = np.zeros(int(code.max()) + 1, dtype=np.int64)
    first[code[::-1]] = np.arange(len(code))[::-1]
    cells = np.stack([split.cell[first] for split in splits])
    training = [_training(split, first, tuned) for split in splits]
    return Blocks(code, cells, training)


def _own_blocks(split: Split, tuned: bool) -> IntArray:
    """Rows that share fold, half and side, numbered without gaps."""
    code = split.cell
    for sides in (split.half, split.tune if tuned else None):
        if sides is not None:
            code = 2 * code + sides
    number = np.cumsum(np.bincount(code) > 0) - 1
    return np.asarray(number[code])


def _training(split: Split, first: IntArray, tuned: bool) -> BoolArray:
    cell, n_cells = split.cell[first], split.n_cells
    outside = np.ones((n_cells, len(first)), dtype=bool)
    if n_cells > 1:
        example = np.zeros(n_cells, dtype=np.int64)
        example[cell] = first
        for fold in split.folds:
            outside &= fold[example][:, None] != fold[first][None, :]
    halves = np.ones((1, len(first)), dtype=bool)
    if split.half is not None and n_cells > 1:
        halves = split.half[first] == np.arange(2)[:, None]
    sides = np.ones((1, len(first)), dtype=bool)
    if tuned:
        assert split.tune is not None
        sides = split.tune[first] == np.arange(2)[:, None]
    return np.asarray(outside[:, None, None] & halves[None, :, None] & sides[None, None])
