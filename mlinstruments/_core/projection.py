"""Fitting the same regressors to many columns on many parts of the rows, at little cost each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from .factor import BLOCK, triangular_factor
from .linalg import RANK_TOLERANCE, independent_columns
from .typing import AnyArray, FloatArray, IntArray

# Eigenvalues of a Gram matrix below this share of the largest are zero up to rounding.
GRAM_TOLERANCE = 1e-11


@dataclass(frozen=True)
class Projector:
    """Regressors made orthonormal on all rows by a small matrix; the rows are not copied.

    Parameters
    ----------
    regressors : array, shape (n, p)
        As given, possibly rank deficient.
    weights : array, shape (n,), or None
        Analytic weights.
    combinations : array, shape (p, r)
        ``regressors @ combinations`` has r columns of unit variance, orthogonal up to rounding.

    Examples
    --------
    >>> part = Projector.onto(np.ones((4, 1))).on(np.array([0, 1]))
    >>> part.project(np.array([1.0, 3.0])).tolist()
    [2.0, 2.0]
    """

    regressors: FloatArray
    weights: FloatArray | None
    combinations: FloatArray

    @classmethod
    def onto(cls, regressors: FloatArray, weights: FloatArray | None = None) -> Projector:
        """Prepare to project on regressors (n, p) under weights (n,)."""
        factor = triangular_factor([regressors])
        kept = independent_columns(factor)
        combinations = np.zeros((regressors.shape[1], len(kept)))
        if len(kept):
            r = linalg.qr(factor[:, kept], mode="r")[0][: len(kept)]
            combinations[kept] = linalg.solve_triangular(r, np.eye(len(kept)))
        return cls(regressors, weights, np.sqrt(len(regressors)) * combinations)

    def on(self, rows: IntArray) -> Part:
        """The same regressors on some rows only."""
        r = self.combinations.shape[1]
        basis, gram = np.empty((r, len(rows)), np.float32), np.zeros((r, r))
        for block, columns, weights in self._blocks(rows):
            basis[:, block] = columns.T
            gram += columns.T @ (columns if weights is None else weights[:, None] * columns)
        # Orthonormal columns stay well conditioned on most parts of the rows: the inverse of their
        # Gram matrix loses little. Where a part has lower rank the generalised one is as good.
        inverse = linalg.pinvh(gram, rtol=GRAM_TOLERANCE) if r else gram
        return Part(self, rows, basis, inverse)

    def _blocks(self, rows: IntArray) -> Iterator[tuple[slice, FloatArray, FloatArray | None]]:
        for start in range(0, len(rows), BLOCK):
            inside = rows[start : start + BLOCK]
            columns = self.regressors[inside] @ self.combinations
            weights = None if self.weights is None else self.weights[inside]
            yield slice(start, start + BLOCK), columns, weights


@dataclass(frozen=True)
class Part:
    """What :class:`Projector` fits on some rows.

    Parameters
    ----------
    whole : Projector
    rows : int array, shape (m,)
    basis : 32-bit float array, shape (r, m)
        The regressors' combinations on these rows, one after the other and half as long as
        doubles: reading them is what a projection spends its time on.
    inverse : array, shape (r, r)
        Inverse of their (weighted) Gram matrix.
    """

    whole: Projector
    rows: IntArray
    basis: AnyArray
    inverse: FloatArray

    @property
    def only_a_mean(self) -> bool:
        """Whether all that the regressors fit is a constant."""
        spread = np.ptp(self.basis, axis=1).max(initial=0)
        return len(self.basis) <= 1 and bool(spread <= RANK_TOLERANCE)

    def residualise(self, values: FloatArray) -> FloatArray:
        """Residuals of ``values`` (m,) on the regressors, in doubles throughout."""
        total = np.zeros(len(self.inverse))
        for block, columns, weights in self.whole._blocks(self.rows):
            total += columns.T @ (values[block] if weights is None else weights * values[block])
        left, coefficients = values.copy(), self.inverse @ total
        for block, columns, _ in self.whole._blocks(self.rows):
            left[block] -= columns @ coefficients
        return left

    def project(self, values: AnyArray) -> AnyArray:
        """What the regressors fit of ``values`` (m,), in 32-bit floats, fast."""
        weights = self.whole.weights
        single = values.astype(np.float32, copy=False)
        total = self.basis @ (single if weights is None else weights[self.rows] * single)
        return np.asarray((self.inverse @ total).astype(np.float32) @ self.basis)
