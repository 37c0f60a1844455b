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

    Parameters
    ----------
    params : array, shape (p + d,)
    bread : array, shape (p + d, p + d)
        Inverse of the normal matrix.
    first_stage : array, shape (p + q, d)
        Of D on [X, Z].
    kappa : float
    """

    params: FloatArray
    bread: FloatArray
    first_stage: FloatArray
    kappa: float


def solve(data: Reduced, kappa: float | None) -> Coefficients:
    """Coefficients of the k-class; ``kappa`` None is LIML's own."""
    X, D, Z, y = data.exog, data.endog, data.instruments, data.outcome
    if kappa is None:
        kappa = liml_kappa(y, X, D, Z)
    both = np.hstack([X, Z])
    first_stage = least_squares(both, D) if data.d else np.zeros((data.p + data.q, 0))
    fitted = np.hstack([X, both @ first_stage])
    regressors, lengths = unit_length(np.hstack([X, D]))
    params, bread = _solve_scaled(regressors, fitted / lengths, y, kappa)
    return Coefficients(params / lengths, bread / np.outer(lengths, lengths), first_stage, kappa)


def _solve_scaled(
    regressors: FloatArray, fitted: FloatArray, outcome: FloatArray, kappa: float
) -> tuple[FloatArray, FloatArray]:
    if kappa == 1.0:
        q, r = linalg.qr(fitted, mode="economic")
        inverse = linalg.solve_triangular(r, np.eye(len(r)))
        return inverse @ (q.T @ outcome), inverse @ inverse.T
    mixed = (1 - kappa) * regressors + kappa * fitted
    bread = linalg.inv(mixed.T @ regressors)
    return bread @ (mixed.T @ outcome), (bread + bread.T) / 2


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
