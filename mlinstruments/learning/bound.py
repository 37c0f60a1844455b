"""A dictionary of the instruments with the controls and weights it is fitted beside."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from mlinstruments._core.grams import STEP
from mlinstruments._core.linalg import Annihilator
from mlinstruments._core.typing import FloatArray, IntArray

from .base import FoldTask, seed_int


class BoundDictionary:
    """Columns (n, m) that learners linear in them share, standardised where they are used.

    Parameters
    ----------
    columns : array, shape (n, m)
    controls : array, shape (n, p)
    weights : array, shape (n,), or None
    common_scale : bool
        Divide by one number, the root mean variance, in place of a standard deviation each.
    """

    def __init__(
        self,
        columns: FloatArray,
        controls: FloatArray,
        weights: FloatArray | None,
        common_scale: bool = False,
    ) -> None:
        self.columns = np.asarray(columns, dtype=float)
        self.controls = controls
        self.weights = weights
        self.common_scale = common_scale

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.columns.shape[1])

    @property
    def fewest_rows(self) -> int:
        """Rows that let a penalty be judged: more than the controls take up."""
        return int(self.controls.shape[1]) + 2

    @cached_property
    def location(self) -> tuple[FloatArray, FloatArray]:
        """Mean and scale of every column, weights apart; a scale of 1 where it does not vary."""
        scale = self.columns.std(axis=0)
        if self.common_scale:
            scale = np.full_like(scale, np.sqrt((scale**2).mean()))
        return self.columns.mean(axis=0), np.where(scale > 0, scale, 1.0)

    def standard(self, rows: IntArray) -> FloatArray:
        """Some rows, less the mean and divided by the scale."""
        mean, scale = self.location
        found = np.empty((len(rows), self.width))
        for start in range(0, len(rows), STEP):
            block = self.columns.take(rows[start : start + STEP], axis=0)
            block -= mean
            np.divide(block, scale, out=found[start : start + STEP])
        return found

    def residualised(self, targets: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Columns and targets (n, t) less the controls, both times the roots of the weights."""
        controls = Annihilator.of(self.controls, self.weights, rows)
        left, outcome = self.standard(rows), targets[rows]
        for values in (left, outcome):
            if controls.root is not None:
                values *= controls.root[:, None]
            explained = controls.basis.T @ values
            for start in range(0, len(rows), STEP):
                block = slice(start, start + STEP)
                values[block] -= controls.basis[block] @ explained
        return left, outcome

    def sides(self, task: FoldTask, rows: IntArray) -> list[IntArray]:
        """The two sides of a training part that predict each other to choose tuning values.

        Each part is tuned on its own rows: were the halves to tune each other, the penalty would be
        light just where they agree by chance, and their agreement no measure of signal.
        """
        if task.tune is not None:
            sides = [rows[task.tune[rows] == side] for side in (0, 1)]
            if min(map(len, sides)) >= self.fewest_rows:
                return sides
        order = np.random.default_rng(seed_int(task.seed)).permutation(rows)
        return np.array_split(order, 2)
