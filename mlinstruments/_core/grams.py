"""Cross-products of columns by block of rows: one pass, then every sum of blocks is free.

Least squares, ridge and lasso need of their rows only a Gram matrix. Gram matrices of disjoint
blocks of rows add up, so one pass over the data serves every fold, repeat, half, target and penalty
that is made of blocks; chunks of a stream and parts held by other workers add up just as well.
What squaring costs, half of the digits, is kept small: columns are shifted and scaled first, and
:func:`least_squares_on` goes back to the rows where the condition number asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .exceptions import InputError
from .gram_algebra import (
    CONDITION_LIMIT,
    ZERO_EIGENVALUE,
    condition,
    least_squares_on,
    partial_out,
)
from .typing import AnyArray, FloatArray, IntArray

__all__ = [
    "CONDITION_LIMIT",
    "ZERO_EIGENVALUE",
    "BlockGrams",
    "GramAccumulator",
    "block_grams",
    "condition",
    "least_squares_on",
    "partial_out",
    "rough_location",
]

# Rows multiplied at a time: with 100 columns they stay in the cache of one core.
STEP = 1024
# Rows that a first guess of location and scale is made from.
GUESS = 1000


@dataclass(frozen=True)
class BlockGrams:
    """Weighted cross-products of the columns [1, (c - shift) / scale] in each block of rows.

    Parameters
    ----------
    products : array, shape (B, 1 + m, 1 + m)
        One symmetric matrix for each block, the constant first: ``products[b, 0, 0]`` is the sum of
        weights of block b and ``products[b, 0, 1 + j]`` the weighted sum of column j.
    rows : int array, shape (B,)
        Rows in each block.
    shift, scale : arrays, shape (m,)
        What the columns were shifted by, and divided by afterwards.

    Examples
    --------
    >>> grams = block_grams(np.array([[1.0], [2.0], [4.0]]), np.array([0, 0, 1]))
    >>> grams.rows.tolist()
    [2, 1]
    >>> (grams + grams).rows.tolist()
    [4, 2]
    >>> grams.mean().round(6).tolist()
    [2.333333]
    """

    products: FloatArray
    rows: IntArray
    shift: FloatArray
    scale: FloatArray

    def __add__(self, other: BlockGrams) -> BlockGrams:
        """The same blocks with the rows of both: another chunk's, or another worker's."""
        self._require_same(other)
        return replace(self, products=self.products + other.products, rows=self.rows + other.rows)

    def __sub__(self, other: BlockGrams) -> BlockGrams:
        """The same blocks without the rows of ``other``, which must be among their own.

        Where ``other`` holds nearly all of a column, its digits cancel: prefer :meth:`leave_out`.
        """
        self._require_same(other)
        return replace(self, products=self.products - other.products, rows=self.rows - other.rows)

    def _require_same(self, other: BlockGrams) -> None:
        if self.products.shape != other.products.shape:
            raise InputError(
                f"Gram matrices of {self._size()} and of {other._size()} do not add up: give every"
                " part the same columns and the same number of blocks."
            )
        same = np.array_equal(self.shift, other.shift) and np.array_equal(self.scale, other.scale)
        if not same:
            raise InputError(
                "Gram matrices of columns shifted or scaled in different ways do not add up: call"
                " rescaled(shift, scale) on one of them first."
            )

    def _size(self) -> str:
        return f"{self.products.shape[0]} blocks and {self.products.shape[1] - 1} columns"

    def total(self) -> BlockGrams:
        """All blocks as one."""
        return replace(
            self, products=self.products.sum(axis=0)[None], rows=self.rows.sum(keepdims=True)
        )

    def leave_out(self) -> BlockGrams:
        """In place of each block all the others.

        Sums of the blocks before and after it, where total less block would cancel digits.
        """
        products, rows = np.zeros_like(self.products), np.zeros_like(self.rows)
        for order in (range(len(rows)), range(len(rows) - 1, -1, -1)):
            running, count = np.zeros_like(self.products[0]), 0
            for b in order:
                products[b] += running
                rows[b] += count
                running += self.products[b]
                count += int(self.rows[b])
        return replace(self, products=products, rows=rows)

    def regrouped(self, groups: IntArray, n_groups: int | None = None) -> BlockGrams:
        """Blocks merged into larger ones.

        Parameters
        ----------
        groups : int array, shape (B,)
            Group of each block, from 0.
        n_groups : int, optional
            By default one more than the largest.
        """
        size = int(groups.max()) + 1 if n_groups is None else n_groups
        belongs = (np.arange(size)[:, None] == groups[None, :]).astype(float)
        return self.summed(belongs)

    def summed(self, belongs: FloatArray) -> BlockGrams:
        """Sums of blocks, which may overlap.

        Parameters
        ----------
        belongs : array, shape (S, B)
            1 where a block counts towards a sum, 0 elsewhere.
        """
        B, k, _ = self.products.shape
        products = (belongs @ self.products.reshape(B, k * k)).reshape(-1, k, k)
        return replace(self, products=products, rows=(belongs @ self.rows).astype(np.int64))

    def rescaled(self, shift: FloatArray, scale: FloatArray) -> BlockGrams:
        """The same rows with columns shifted by ``shift`` and divided by ``scale``, each (m,).

        Digits are lost where the new shift is many standard deviations from the old one.
        """
        products = self.turned(self.change_to(shift, scale))
        return BlockGrams(products, self.rows, shift, scale)

    def change_to(self, shift: FloatArray, scale: FloatArray) -> FloatArray:
        """Matrix (1 + m, 1 + m) that turns these columns into others, multiplied from the right."""
        change = np.eye(len(shift) + 1)
        change[0, 1:] = (self.shift - shift) / scale
        change[1:, 1:] = np.diag(self.scale / scale)
        return change

    def turned(self, change: FloatArray) -> FloatArray:
        """Gram matrices (B, k, k) of combinations (1 + m, k) of the columns."""
        B, k, _ = self.products.shape
        new = change.shape[1]
        # Two long products in place of many small ones; the matrices are symmetric.
        once = (self.products.reshape(B * k, k) @ change).reshape(B, k, new)
        return (once.swapaxes(1, 2).reshape(B * new, k) @ change).reshape(B, new, new)

    def mean(self) -> FloatArray:
        """Weighted mean of every column over all blocks, in its own units, shape (m,)."""
        sums = self.products[:, 0].sum(axis=0)
        return np.asarray(self.shift + self.scale * sums[1:] / sums[0])

    def deviation(self) -> FloatArray:
        """Weighted standard deviation of every column over all blocks, shape (m,)."""
        products = self.products.sum(axis=0)
        means = products[0, 1:] / products[0, 0]
        variances = np.diag(products)[1:] / products[0, 0] - means**2
        return np.asarray(self.scale * np.sqrt(np.maximum(variances, 0)))


class GramAccumulator:
    """Collects :class:`BlockGrams` chunk by chunk, whatever the order of the rows.

    Parameters
    ----------
    n_blocks : int
        Blocks of rows to keep apart.
    shift, scale : arrays, shape (m,)
        Subtracted from the columns, and divided by. Any rough mean and standard deviation will do,
        as from :func:`rough_location`; all chunks and workers must use the same.

    Examples
    --------
    >>> chunk = np.array([[1e9], [1e9 + 1], [1e9 + 2]])
    >>> collected = GramAccumulator(2, *rough_location([chunk]))
    >>> collected.add([chunk], np.array([0, 1, 0]))
    >>> collected.add([chunk + 3], np.array([1, 1, 0]))
    >>> grams = collected.result()
    >>> grams.rows.tolist(), float(grams.mean()[0])
    ([3, 3], 1000000002.5)
    """

    def __init__(self, n_blocks: int, shift: FloatArray, scale: FloatArray) -> None:
        if not (np.isfinite(shift).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise InputError("shift and scale must be finite and scale above 0 in every column.")
        self._shift, self._scale = shift, scale
        self._products = np.zeros((n_blocks, len(shift) + 1, len(shift) + 1))
        self._rows = np.zeros(n_blocks, dtype=np.int64)

    def add(
        self,
        columns: Sequence[AnyArray],
        blocks: AnyArray | None = None,
        weights: FloatArray | None = None,
    ) -> None:
        """Take in some rows.

        Parameters
        ----------
        columns : sequence of arrays, each (n,) or (n, m_i)
            Side by side, m in all; of any float or integer type.
        blocks : int array, shape (n,), optional
            Block of each row, from 0, of any integer type; all in block 0 by default.
        weights : array, shape (n,), optional
        """
        matrices = [c[:, None] if c.ndim == 1 else c for c in columns]
        n = len(matrices[0])
        order, counts = self._order(blocks, n, sum(m.shape[1] for m in matrices))
        buffer = np.ones((min(STEP, n), len(self._shift) + 1))
        scratch = [
            None if order is None else np.empty((STEP, *m.shape[1:]), m.dtype) for m in matrices
        ]
        root = None if weights is None else np.sqrt(weights)
        begin = 0
        for b in np.flatnonzero(counts):
            end = begin + int(counts[b])
            for start in range(begin, end, STEP):
                stop = min(start + STEP, end)
                rows = slice(start, stop) if order is None else order[start:stop]
                filled = self._fill(buffer[: stop - start], matrices, rows, root, scratch)
                self._products[b] += filled.T @ filled
            begin = end
        self._rows += counts

    def result(self) -> BlockGrams:
        """What was collected so far.

        Raises
        ------
        InputError
            Where a column held a missing or an infinite value.
        """
        if not np.isfinite(self._products).all():
            lengths = np.diagonal(self._products, axis1=1, axis2=2).sum(axis=0)
            j = int(np.argmax(~np.isfinite(lengths))) - 1
            what = "weights" if j < 0 else f"column {j} of the Gram matrix"
            raise InputError(f"{what} holds missing or infinite values: leave such rows out.")
        # Dividing here and not every row changes no digit: only shifts do.
        unit = 1 / np.concatenate([[1.0], self._scale])
        products = self._products * (unit[:, None] * unit)
        return BlockGrams(products, self._rows.copy(), self._shift, self._scale)

    def _order(
        self, blocks: AnyArray | None, n: int, width: int
    ) -> tuple[IntArray | None, IntArray]:
        """Rows by block, None where they are in order; and how many each block has."""
        if width != len(self._shift):
            raise InputError(f"{width} columns were given; shift and scale are for {self._width}.")
        n_blocks = len(self._rows)
        if blocks is None:
            blocks = np.zeros(n, dtype=np.int8)
        if len(blocks) != n:
            raise InputError(f"blocks has {len(blocks)} entries for {n} rows.")
        if n and not 0 <= int(blocks.min()) <= int(blocks.max()) < n_blocks:
            raise InputError(
                f"blocks must lie between 0 and {n_blocks - 1}; they run from {blocks.min()} to"
                f" {blocks.max()}."
            )
        counts = np.bincount(blocks, minlength=n_blocks)
        if (blocks[1:] >= blocks[:-1]).all():
            return None, counts
        # Sixteen bits are sorted by counting, which is several times faster.
        narrow = blocks.astype(np.uint16) if n_blocks <= 1 << 16 else blocks
        return np.argsort(narrow, kind="stable"), counts

    @property
    def _width(self) -> int:
        return len(self._shift)

    def _fill(
        self,
        buffer: FloatArray,
        matrices: list[AnyArray],
        rows: slice | IntArray,
        root: FloatArray | None,
        scratches: list[AnyArray | None],
    ) -> FloatArray:
        buffer[:, 0] = 1.0
        at = 1
        for matrix, scratch in zip(matrices, scratches, strict=True):
            end = at + matrix.shape[1]
            taken = matrix[rows] if isinstance(rows, slice) else gather(matrix, rows, scratch)
            np.subtract(taken, self._shift[at - 1 : end - 1], out=buffer[:, at:end])
            at = end
        if root is not None:
            buffer *= root[rows][:, None]
        return buffer


def gather(matrix: AnyArray, rows: IntArray, scratch: AnyArray | None) -> AnyArray:
    """Rows of ``matrix`` (n, m), written into the first of ``scratch`` (STEP, m) if it is given.

    New memory for every step costs about as much as the copy.
    """
    if scratch is None:
        return matrix.take(rows, axis=0)
    out = scratch[: len(rows)]
    matrix.take(rows, axis=0, out=out, mode="clip")  # rows are known to be inside
    return out


def rough_location(columns: Sequence[AnyArray]) -> tuple[FloatArray, FloatArray]:
    """A mean and a standard deviation of every column from rows spread over all of them.

    Parameters
    ----------
    columns : sequence of arrays, each (n,) or (n, m_i)

    Returns
    -------
    shift, scale : arrays, shape (m,)
        Scale is 1 where the rows looked at do not vary.
    """
    step = max(1, len(columns[0]) // GUESS)
    sample = np.column_stack([np.asarray(c[::step], dtype=float) for c in columns])
    scale = sample.std(axis=0)
    return sample.mean(axis=0), np.where(scale > 0, scale, 1.0)


def block_grams(
    columns: AnyArray | Sequence[AnyArray],
    blocks: AnyArray | None = None,
    n_blocks: int | None = None,
    weights: FloatArray | None = None,
    location: tuple[FloatArray, FloatArray] | None = None,
) -> BlockGrams:
    """Cross-products of columns held in memory, by block of rows.

    Parameters
    ----------
    columns : array (n, m), or sequence of arrays, each (n,) or (n, m_i)
    blocks : int array, shape (n,), optional
        Block of each row, from 0; one block by default.
    n_blocks : int, optional
        By default one more than the largest.
    weights : array, shape (n,), optional
    location : pair of arrays (m,), optional
        Shift and scale; by default from :func:`rough_location`.

    Returns
    -------
    BlockGrams

    Examples
    --------
    >>> block_grams(np.array([3.0, 5.0]), location=(np.zeros(1), np.ones(1))).products[0].tolist()
    [[2.0, 8.0], [8.0, 34.0]]
    """
    listed = [columns] if isinstance(columns, np.ndarray) else list(columns)
    if n_blocks is None:
        n_blocks = 1 if blocks is None else int(blocks.max()) + 1
    collected = GramAccumulator(n_blocks, *(location or rough_location(listed)))
    collected.add(listed, blocks, weights)
    return collected.result()
