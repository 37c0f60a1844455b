"""Residualising, projecting and rank checks on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from .factor import BLOCK, triangular_factor
from .typing import FloatArray, IntArray

# A column whose residual on the others is below this share of its own length counts as collinear.
RANK_TOLERANCE = 1e-9
# Singular values below this share of the largest, of columns of unit length, are rounding.
SINGULAR_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Annihilator:
    """Removes from any column what a set of regressors explains, under weights.

    With ``root`` the square roots of the weights, ``residualise(v)`` is the residual of the
    weighted regression of ``v`` on the regressors.

    Parameters
    ----------
    basis : array, shape (n, r)
        Orthonormal columns spanning the weighted regressors.
    root : array, shape (n,), or None
        Square roots of the weights; None where all are one.
    """

    basis: FloatArray
    root: FloatArray | None = None

    @classmethod
    def of(
        cls,
        regressors: FloatArray,
        weights: FloatArray | None = None,
        rows: IntArray | None = None,
    ) -> Annihilator:
        """Build from regressors (n, p), possibly rank deficient, and weights (n,).

        With ``rows`` only those rows count; the basis is then of their number.
        """
        if weights is not None and rows is not None:
            weights = weights[rows]
        root = None if weights is None else np.sqrt(weights)
        return cls(orthonormal_basis(regressors, root, rows), root)

    def residualise(self, values: FloatArray) -> FloatArray:
        """Weighted residuals of ``values`` (n,) or (n, m) on the regressors, same shape."""
        if self.basis.shape[1] == 0:
            return values.copy()
        if self.root is None:
            return values - self.basis @ (self.basis.T @ values)
        root = self.root if values.ndim == 1 else self.root[:, None]
        return values - (self.basis @ (self.basis.T @ (root * values))) / root


def orthonormal_basis(
    columns: FloatArray, root: FloatArray | None = None, rows: IntArray | None = None
) -> FloatArray:
    """Orthonormal basis of the column space of ``columns`` (n, p), shape (n, rank).

    Parameters
    ----------
    columns : array, shape (n, p)
    root : array, shape (n,) or (len(rows),), optional
        Square roots of weights, which multiply the rows first.
    rows : int array, optional
        Use these rows only.

    Notes
    -----
    Columns times the inverse of their R, twice, since once is orthogonal only up to their condition
    number: beside the basis itself nothing of full length is held.
    """
    basis = columns.copy() if rows is None else columns[rows]
    if root is not None:
        basis *= root[:, None]
    factor = triangular_factor([basis])
    kept = independent_columns(factor)
    if len(kept) < basis.shape[1]:
        basis, factor = basis[:, kept], factor[:, kept]
    if len(kept) > 0:
        _divide_by_factor(basis, factor)
        _divide_by_factor(basis, triangular_factor([basis]))
    return basis


def _divide_by_factor(basis: FloatArray, factor: FloatArray) -> None:
    """Multiply ``basis`` (n, p) in place by the inverse of the R of ``factor`` (r, p)."""
    r = linalg.qr(factor, mode="r")[0][: factor.shape[1]]
    inverse = linalg.solve_triangular(r, np.eye(len(r)))
    for start in range(0, len(basis), BLOCK):
        basis[start : start + BLOCK] = basis[start : start + BLOCK] @ inverse


def independent_columns(factor: FloatArray) -> IntArray:
    """Columns that span all of them, by pivoted QR with columns at unit length."""
    lengths = np.linalg.norm(factor, axis=0)
    present = np.flatnonzero(lengths > 0)
    if len(present) == 0:
        return present
    _, r, order = linalg.qr(factor[:, present] / lengths[present], mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(r)) > RANK_TOLERANCE).sum())
    return np.sort(present[order[:rank]])


def dependent_columns(columns: FloatArray) -> list[int]:
    """Positions of columns that are linear combinations of those before them.

    Examples
    --------
    >>> x = np.column_stack([np.ones(4), np.arange(4.0), 2 * np.arange(4.0) + 1])
    >>> dependent_columns(x)
    [2]
    """
    lengths = np.linalg.norm(columns, axis=0)
    r = linalg.qr(columns / np.where(lengths > 0, lengths, 1.0), mode="r")[0]
    if r.shape[0] < r.shape[1]:  # more columns than rows: the surplus is dependent
        r = np.vstack([r, np.zeros((r.shape[1] - r.shape[0], r.shape[1]))])
    found: list[int] = []
    basis = np.empty((r.shape[0], 0))
    for j in range(r.shape[1]):
        column = r[:, j]
        rest = column - basis @ (basis.T @ column)
        rest = rest - basis @ (basis.T @ rest)  # twice is enough (Kahan, Parlett)
        length = np.linalg.norm(rest)
        if length <= RANK_TOLERANCE:
            found.append(j)
        else:
            basis = np.column_stack([basis, rest / length])
    return found


def has_constant(columns: FloatArray) -> bool:
    """Whether a constant lies in the span of ``columns`` (n, p)."""
    n = len(columns)
    if columns.shape[1] == 0 or n == 0:
        return False
    factor = triangular_factor([columns, np.ones(n)])
    constant, others = factor[:, -1], factor[:, :-1]
    rest = constant - others @ least_squares(others, constant)
    return bool(np.linalg.norm(rest) < 1e-8 * np.sqrt(n))


def unit_length(columns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """``columns`` (n, p) divided by their lengths (p,), those of zeros by one; and these divisors.

    Columns in units far apart otherwise look collinear to a factorisation, to squares above all.
    """
    lengths = np.linalg.norm(columns, axis=0)
    lengths = np.where(lengths > 0, lengths, 1.0)
    return columns / lengths, lengths


def least_squares(columns: FloatArray, values: FloatArray) -> FloatArray:
    """Coefficients of ``values`` (n,) or (n, m) on ``columns`` (n, p), of least norm if collinear.

    Units of the columns do not matter.

    Examples
    --------
    >>> least_squares(np.array([[1e12, 0.0], [0.0, 1e-12]]), np.array([1.0, 1.0]))
    array([1.e-12, 1.e+12])
    """
    if values.size == 0:  # LAPACK takes no problem without a right-hand side
        return np.zeros((columns.shape[1], *values.shape[1:]))
    scaled, lengths = unit_length(columns)
    found = linalg.lstsq(scaled, values, cond=SINGULAR_TOLERANCE)[0]
    return np.asarray((found.T / lengths).T)


def residuals(
    values: FloatArray, regressors: FloatArray, weights: FloatArray | None = None
) -> FloatArray:
    """Weighted least-squares residuals of ``values`` (n,) or (n, m) on ``regressors`` (n, p).

    Examples
    --------
    >>> residuals(np.array([1.0, 3.0]), np.ones((2, 1)))
    array([-1.,  1.])
    """
    p = regressors.shape[1]
    if p == 0:
        return values.copy()
    factor = triangular_factor([regressors, values], weights)
    coefficients = least_squares(factor[:, :p], factor[:, p:])
    if values.ndim == 1:
        coefficients = coefficients[:, 0]
    left = np.empty(values.shape)
    for start in range(0, len(values), BLOCK):
        rows = slice(start, start + BLOCK)
        left[rows] = values[rows] - regressors[rows] @ coefficients
    return left
