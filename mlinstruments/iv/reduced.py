"""A linear model reduced to a few rows: coefficients of the k-class and what is partialled out.

Inner products of the columns [X, D, Z, y], and so every coefficient, are those of the reduced rows.
Notation as in :mod:`mlinstruments.iv.data`, with Z the excluded instruments in use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import least_squares, unit_length
from mlinstruments._core.typing import FloatArray


@dataclass(frozen=True)
class Reduced:
    """Few rows with the (weighted) inner products of many.

    Parameters
    ----------
    rows : array, shape (r, p + d + q + 1)
        Columns [X, D, Z, y].
    p, d, q : int
        Exogenous regressors, endogenous ones, instruments.
    n : int
        Rows they stand for.
    """

    rows: FloatArray
    p: int
    d: int
    q: int
    n: int

    @property
    def exog(self) -> FloatArray:
        """X, shape (r, p)."""
        return self.rows[:, : self.p]

    @property
    def endog(self) -> FloatArray:
        """D, shape (r, d)."""
        return self.rows[:, self.p : self.p + self.d]

    @property
    def instruments(self) -> FloatArray:
        """Z, shape (r, q)."""
        return self.rows[:, self.p + self.d : -1]

    @property
    def outcome(self) -> FloatArray:
        """Outcome, shape (r,)."""
        return self.rows[:, -1]


@dataclass(frozen=True)
class Coefficients:
    """The k-class solved.

    Its scores are those of an orthonormal basis of the regressors [X, fitted D], since sums of
    squares of nearly collinear ones would lose the digits in which they differ.

    Parameters
    ----------
    params : array, shape (p + d,)
    bread : array, shape (p + d, p + d)
        Inverse of the normal matrix.
    fitted : array, shape (p + d, m)
        [X, fitted D] as combinations of the columns [X, D, Z, y].
    basis : array, shape (p + d, m)
        The orthonormal basis likewise.
    spread : array, shape (p + d, p + d)
        Takes summed scores of the basis to errors of the coefficients.
    kappa : float
    """

    params: FloatArray
    bread: FloatArray
    fitted: FloatArray
    basis: FloatArray
    spread: FloatArray
    kappa: float


def solve(data: Reduced, kappa: float | None, fuller: float = 0.0) -> Coefficients:
    """Coefficients of the k-class; ``kappa`` None is LIML's own, less ``fuller`` / (n - p - q)."""
    X, D, Z, y = data.exog, data.endog, data.instruments, data.outcome
    p, d = data.p, data.d
    if kappa is None:
        kappa = liml_kappa(y, X, D, Z) - fuller / (data.n - p - data.q)
    both = np.hstack([X, Z])
    first_stage = least_squares(both, D) if d else np.zeros((p + data.q, 0))
    regressors, lengths = unit_length(np.hstack([X, D]))
    fitted = np.hstack([X, both @ first_stage]) / lengths
    q, r = linalg.qr(fitted, mode="economic")
    inverse = linalg.solve_triangular(r, np.eye(len(r)))
    if kappa == 1.0:
        params, bread, spread = inverse @ (q.T @ y), inverse @ inverse.T, inverse
    else:
        mixed = (1 - kappa) * regressors + kappa * fitted
        bread = linalg.inv(mixed.T @ regressors)
        params, bread, spread = bread @ (mixed.T @ y), (bread + bread.T) / 2, bread @ r.T
    made = np.zeros((p + d, data.rows.shape[1]))
    made[:p, :p] = np.eye(p)
    made[p:, :p], made[p:, p + d : -1] = first_stage[:p].T, first_stage[p:].T
    units = lengths[:, None]
    basis = inverse.T @ (made / units)
    bread, spread = bread / (units * lengths), spread / units
    return Coefficients(params / lengths, bread, made, basis, spread, kappa)


def liml_kappa(y: FloatArray, X: FloatArray, D: FloatArray, Z: FloatArray) -> float:
    """LIML's kappa: the least ratio of variances of [y, D] before and after adding Z to X."""
    outcomes = unit_length(np.column_stack([y, D]))[0]
    restricted = outcomes - X @ least_squares(X, outcomes) if X.shape[1] else outcomes
    both = np.hstack([X, Z])
    unrestricted = outcomes - both @ least_squares(both, outcomes)
    try:
        values = linalg.eigvalsh(restricted.T @ restricted, unrestricted.T @ unrestricted)
    except linalg.LinAlgError:
        raise InputError(
            "LIML needs the outcome and the endogenous regressors to vary independently given all"
            " instruments; here one is an exact linear function of the others. Use 2SLS."
        ) from None
    return float(values[0])


@dataclass(frozen=True)
class Partialled:
    """Instruments and outcomes with the covariates partialled out.

    Parameters
    ----------
    on_exog : array, shape (p, d + q + 1)
        Coefficients of [D, Z, y] on X.
    z : array, shape (r, q)
        Residual instruments of the reduced rows.
    v : array, shape (r, 1 + d)
        Residual [y, D] of the reduced rows.
    on_z : array, shape (q, 1 + d)
        Coefficients of ``v`` on ``z``, of least norm.
    """

    on_exog: FloatArray
    z: FloatArray
    v: FloatArray
    on_z: FloatArray

    @classmethod
    def of(cls, data: Reduced) -> Partialled:
        """Partial X out of everything else."""
        others = data.rows[:, data.p :]
        on_exog = np.zeros((0, others.shape[1]))
        if data.p:
            on_exog = least_squares(data.exog, others)
            others = others - data.exog @ on_exog
        z = others[:, data.d : -1]
        v = np.column_stack([others[:, -1], others[:, : data.d]])
        on_z = least_squares(z, v) if data.q else np.zeros((0, 1 + data.d))
        return cls(on_exog, z, v, on_z)
