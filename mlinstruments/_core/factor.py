"""Few rows with the inner products of many: the R of a QR decomposition, made a block at a time.

Any least-squares quantity of the data is that of the rows of R. For many rows R comes from the
Gram matrix of the shifted columns, at a fraction of the time of QR, where their condition number
says that squaring it is harmless; otherwise from QR of the rows themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from .typing import FloatArray

# Rows handled at a time where n x p temporaries would matter; larger ones are no faster.
BLOCK = 16_384
# Fewer rows than this are factored by QR: nothing is to be gained.
GRAM_ROWS = 16_384
# Numbers in a block of columns laid out as rows: it should stay in a core's cache.
CELLS = 2**17
# Rows a block has at least, however many columns.
LEAST_ROWS = 256
# A Gram matrix squares the condition number: its factor is used where the reciprocal of that is
# above this limit (columns centred and of unit length): it is then good to 1e6 EPS = 2e-10.
RECIPROCAL_CONDITION = 1e-3


def triangular_factor(
    columns: Sequence[FloatArray],
    weights: FloatArray | None = None,
    skip_missing: bool = False,
) -> FloatArray:
    """R of the QR decomposition of columns side by side, without joining them in memory.

    Inner products are preserved, so any least-squares quantity of the data is that of the few rows
    of R, to the accuracy of a QR decomposition or within 2e-10 of it.

    Parameters
    ----------
    columns : list of arrays, each (n,) or (n, m_i)
        The variables, in order.
    weights : array, shape (n,), optional
        Analytic weights.
    skip_missing : bool
        Leave out rows with a missing entry; otherwise there must be none.

    Returns
    -------
    array, shape (r, sum of m_i), r at most the number of columns
        With NaN where there are infinite or missing entries that are not skipped.

    Examples
    --------
    >>> r = triangular_factor([np.array([3.0, 4.0])])
    >>> abs(r)
    array([[5.]])
    """
    matrices = [c[:, None] if c.ndim == 1 else c for c in columns]
    if len(matrices[0]) >= GRAM_ROWS:
        factor = _from_products(matrices, weights, skip_missing)
        if factor is not None:
            return factor
    return _from_rows(matrices, weights, skip_missing)


def append_rows(factor: FloatArray, block: FloatArray) -> FloatArray:
    """R of the QR decomposition of the rows behind ``factor`` (r, m) and ``block`` (b, m)."""
    stacked = np.vstack([factor, block])
    if stacked.shape[1] == 0:
        return np.empty((0, 0))
    r = linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0]
    return np.asarray(r[: stacked.shape[1]])


def transposed_blocks(
    matrices: Sequence[FloatArray], shift: FloatArray | None = None, whole: bool = False
) -> Iterator[tuple[slice, FloatArray]]:
    """Blocks of rows of columns side by side, each column a row of one small buffer.

    Parameters
    ----------
    matrices : list of arrays, each (n, m_i)
    shift : array, shape (sum of m_i,), optional
        Subtracted from the columns.
    whole : bool
        All rows in a single block.

    Yields
    ------
    slice, array of shape (sum of m_i, rows)
        Which rows, and their values; the array is overwritten by the next block.
    """
    n, m = len(matrices[0]), sum(matrix.shape[1] for matrix in matrices)
    size = n if whole else max(LEAST_ROWS, CELLS // (m + 1))
    buffer = np.empty((m, min(size, n)))
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        block = buffer[:, : rows.stop - start]
        at = 0
        for matrix in matrices:
            end = at + matrix.shape[1]
            if shift is None:
                block[at:end] = matrix[rows].T
            else:
                np.subtract(matrix[rows].T, shift[at:end, None], out=block[at:end])
            at = end
        yield rows, block


def _from_rows(
    matrices: Sequence[FloatArray], weights: FloatArray | None, skip_missing: bool
) -> FloatArray:
    factor = np.empty((0, sum(m.shape[1] for m in matrices)))
    for start in range(0, len(matrices[0]), BLOCK):
        rows = slice(start, start + BLOCK)
        block = np.hstack([m[rows] for m in matrices])
        if weights is not None:
            block *= np.sqrt(weights[rows])[:, None]
        if skip_missing:
            block = block[~np.isnan(block).any(axis=1)]
        factor = append_rows(factor, block)
    return factor


def _from_products(
    matrices: Sequence[FloatArray], weights: FloatArray | None, skip_missing: bool
) -> FloatArray | None:
    """R from cross-products of the shifted columns; None where that would cost digits."""
    shift = _rough_means(matrices)
    m = len(shift)
    products, sums, mass = np.zeros((m, m)), np.zeros(m), 0.0
    with np.errstate(all="ignore"):  # missing, infinite and huge entries are looked for at the end
        for rows, block in transposed_blocks(matrices, shift):
            here = None if weights is None else weights[rows]
            if skip_missing and not np.isfinite(block.sum()):
                present = ~np.isnan(block).any(axis=0)
                block, here = block[:, present], None if here is None else here[present]
            if here is None:
                products += block @ block.T
                sums += block @ np.ones(block.shape[1])
                mass += block.shape[1]
            else:
                sums += block @ here
                mass += float(here.sum())
                block *= np.sqrt(here)
                products += block @ block.T
    return factor_of_products(products, sums, mass, shift)


def _rough_means(matrices: Sequence[FloatArray]) -> FloatArray:
    """Means of the first rows, 0 where they are not finite: any number near a column will do."""
    with np.errstate(all="ignore"):
        means = np.concatenate([m[:BLOCK].mean(axis=0) for m in matrices])
        # Constants become exact zeros.
        first = np.concatenate([m[0] for m in matrices])
        means = np.where(np.abs(means - first) <= 1e-12 * np.abs(first), first, means)
    return np.where(np.isfinite(means), means, 0.0)


def factor_of_products(
    products: FloatArray, sums: FloatArray, mass: float, shift: FloatArray
) -> FloatArray | None:
    """R of columns from cross-products of these less a shift.

    Parameters
    ----------
    products : array, shape (m, m)
        Of the shifted columns.
    sums : array, shape (m,)
        Of the shifted columns.
    mass : float
        Sum of the weights.
    shift : array, shape (m,)

    Returns
    -------
    array, shape (at most m, m), or None
        None where squaring has cost digits: columns are nearly collinear, or shifts far from means.
    """
    if not np.isfinite(sums).all():
        return np.full(products.shape, np.nan)
    if not (np.isfinite(products).all() and mass > 0):
        return None  # squares beyond the range of doubles
    # The constant takes the mean of the shifted columns; the rest is the centred Gram matrix.
    lengths = np.sqrt(np.diag(products))
    present = np.flatnonzero(lengths > 0)
    units = lengths[present]
    means = sums[present] / units / mass
    centred = products[np.ix_(present, present)] / np.outer(units, units)
    centred -= mass * np.outer(means, means)
    root = np.empty((0, 0))
    if len(present):
        left = np.sqrt(np.maximum(np.diag(centred), 0))
        if not (left > 0).all():
            return None
        root, failed = lapack.dpotrf(centred / np.outer(left, left), lower=0, clean=1)
        if failed or min(left.min(), 1 / np.linalg.cond(root, 1)) < RECIPROCAL_CONDITION:
            return None
        root = root * (left * units)
    factor = np.zeros((1 + len(present), len(shift)))
    factor[0] = np.sqrt(mass) * shift
    factor[0, present] += np.sqrt(mass) * means * units
    factor[1:, present] = root
    return append_rows(np.empty((0, len(shift))), factor)
