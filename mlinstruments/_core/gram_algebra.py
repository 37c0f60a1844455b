"""What Gram matrices can tell of their columns, and where they lose the digits to do so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .factor import triangular_factor
from .linalg import least_squares
from .typing import FloatArray, IntArray

# Solving from a Gram matrix loses EPS times its condition number: above this limit more than 2e-10.
# It is the square of the columns' own condition number, here 1e3.
CONDITION_LIMIT = 1e6
# Eigenvalues of a Gram matrix with unit diagonal below this are zero up to rounding.
ZERO_EIGENVALUE = 1e-11


def partial_out(products: FloatArray, controls: IntArray, kept: IntArray) -> FloatArray:
    """Cross-products of the residuals of some columns on others (the Schur complement).

    Parameters
    ----------
    products : array, shape (..., k, k)
        Gram matrices.
    controls : int array, shape (c,)
        Positions of the columns to partial out, possibly collinear.
    kept : int array, shape (m,)
        Positions of the columns whose residuals are wanted.

    Returns
    -------
    array, shape (..., m, m)

    Notes
    -----
    Controls are brought to unit length, and directions in which they do not vary are left out. As
    for any Gram matrix their condition number counts squared: give controls that are orthogonal on
    all rows (:class:`mlinstruments._core.projection.Projector`) where it may be large.

    Examples
    --------
    >>> x = np.array([[1.0, 1.0], [1.0, 3.0]])
    >>> partial_out(x.T @ x, np.array([0]), np.array([1]))
    array([[2.]])
    """
    inside = _at(products, controls, controls)
    across = _at(products, controls, kept)
    left = _at(products, kept, kept)
    lengths = np.sqrt(np.maximum(np.diagonal(inside, axis1=-2, axis2=-1), 0))
    unit = 1 / np.where(lengths > 0, lengths, 1.0)
    values, vectors = np.linalg.eigh(inside * unit[..., :, None] * unit[..., None, :])
    present = values > ZERO_EIGENVALUE
    inverse_root = np.where(present, 1 / np.sqrt(np.where(present, values, 1.0)), 0.0)
    basis = (vectors * inverse_root[..., None, :]) * unit[..., :, None]
    explained = np.swapaxes(basis, -1, -2) @ across
    return np.asarray(left - np.swapaxes(explained, -1, -2) @ explained)


def _at(products: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """Entries at some rows and columns: a view where both are runs of positions."""
    ends = [(int(p[0]), int(p[-1]) + 1) for p in (rows, columns) if len(p)]
    runs = [np.array_equal(p, np.arange(*e)) for p, e in zip((rows, columns), ends, strict=False)]
    if runs == [True, True]:
        return products[..., slice(*ends[0]), slice(*ends[1])]
    return products[..., rows[:, None], columns]


def condition(products: FloatArray) -> float:
    """Condition number of a Gram matrix (k, k) with its columns at unit length; inf if singular.

    Examples
    --------
    >>> condition(np.diag([1.0, 1e12])), condition(np.ones((2, 2)))
    (1.0, inf)
    """
    if len(products) == 0:
        return 1.0
    diagonal = np.diag(products)
    if not (diagonal > 0).all():
        return float("inf")
    unit = 1 / np.sqrt(diagonal)
    values = np.linalg.eigvalsh(products * unit[:, None] * unit)
    # What is below rounding cannot be told from zero.
    return float(values[-1] / values[0]) if values[0] > ZERO_EIGENVALUE else float("inf")


def least_squares_on(
    products: FloatArray,
    regressors: IntArray,
    responses: IntArray,
    rows: Callable[[], Sequence[FloatArray]],
    weights: FloatArray | None = None,
) -> FloatArray:
    """Coefficients of some columns on others, from their Gram matrix where that is accurate.

    Parameters
    ----------
    products : array, shape (k, k)
        Gram matrix of the columns.
    regressors, responses : int arrays, shapes (m,) and (t,)
        Positions in it.
    rows : callable
        Gives the k columns themselves, each (n,) or (n, k_i) side by side and shifted and scaled as
        in the Gram matrix; called only where the condition number is above ``CONDITION_LIMIT``.
    weights : array, shape (n,), optional
        Of the rows.

    Returns
    -------
    array, shape (m, t)
        Of least norm where the regressors are collinear.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0, 2.0], [1.0, 1.0, 5.0], [1.0, 2.0, 8.0]])
    >>> found = least_squares_on(x.T @ x, np.array([0, 1]), np.array([2]), lambda: [x])
    >>> found.round(12).tolist()
    [[2.0], [3.0]]
    """
    inside = products[np.ix_(regressors, regressors)]
    if condition(inside) <= CONDITION_LIMIT:
        return np.asarray(np.linalg.solve(inside, products[np.ix_(regressors, responses)]))
    factor = triangular_factor(list(rows()), weights)
    return least_squares(factor[:, regressors], factor[:, responses])
