"""Linear k-class estimation on arrays: OLS, just-identified IV, 2SLS and LIML are its cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import least_squares, triangular_factor, unit_length
from mlinstruments._core.sandwich import CovarianceSpec, meat_of_blocks, nearest_psd
from mlinstruments._core.typing import FloatArray


@dataclass(frozen=True)
class LinearFit:
    """A fitted linear model; k counts exogenous then endogenous regressors.

    Parameters
    ----------
    params : array, shape (k,)
    cov : array, shape (k, k)
    resids : array, shape (n,)
        Not weighted.
    kappa : float
        0 OLS, 1 2SLS, otherwise LIML's or Fuller's.
    spec : CovarianceSpec
        With the bandwidth that was used.
    """

    params: FloatArray
    cov: FloatArray
    resids: FloatArray
    kappa: float
    spec: CovarianceSpec


def kclass(
    y: FloatArray,
    X: FloatArray,
    D: FloatArray,
    Z: FloatArray,
    spec: CovarianceSpec,
    weights: FloatArray | None = None,
    kappa: float | None = 1.0,
    fuller: float = 0.0,
) -> LinearFit:
    """Estimate y = X b + D t by the k-class with excluded instruments Z.

    Parameters
    ----------
    y : array, shape (n,)
    X : array, shape (n, p)
        Exogenous regressors.
    D : array, shape (n, d)
        Endogenous regressors; d may be 0 (OLS).
    Z : array, shape (n, q)
        Excluded instruments, q at least d.
    spec : CovarianceSpec
    weights : array, shape (n,), optional
        Analytic weights with mean one.
    kappa : float, optional
        The k-class parameter; None computes LIML's.
    fuller : float
        Over the degrees of freedom n - p - q, subtracted from LIML's.

    Returns
    -------
    LinearFit

    References
    ----------
    Theil (1958); Anderson and Rubin (1949), doi:10.1214/aoms/1177730090; Fuller (1977),
    doi:10.2307/1912683.
    """
    p, d, q = X.shape[1], D.shape[1], Z.shape[1]
    factor = triangular_factor([X, D, Z, y], weights)
    exog, endog = factor[:, :p], factor[:, p : p + d]
    instruments, outcome = factor[:, p + d : p + d + q], factor[:, -1]
    if kappa is None:
        kappa = liml_kappa(outcome, exog, endog, instruments) - fuller / (len(y) - p - q)
    first_stage = np.zeros((p + q, d))
    if d:
        first_stage = least_squares(np.hstack([exog, instruments]), endog)
    regressors = np.hstack([exog, endog])
    fitted = np.hstack([exog, np.hstack([exog, instruments]) @ first_stage])
    params, bread = _solve(regressors, fitted, outcome, kappa)

    resids = y - X @ params[:p] - D @ params[p:]
    if spec.kind == "unadjusted":
        n = len(y)
        squares = resids @ (resids if weights is None else weights * resids)
        factor_n = n / (n - p - d) if spec.debiased else 1.0
        return LinearFit(params, factor_n * squares / n * bread, resids, kappa, spec)
    weighted = resids if weights is None else weights * resids

    def scores(rows: slice) -> FloatArray:
        """Scores [X, fitted D] * e of some rows."""
        exogenous = X[rows]
        endogenous = exogenous @ first_stage[:p] + Z[rows] @ first_stage[p:]
        return np.asarray(np.hstack([exogenous, endogenous]) * weighted[rows, None])

    if spec.kind == "kernel":
        spec = spec.resolve(_without_constant(scores(slice(None)), X, weights))
    cov = bread @ meat_of_blocks(scores, len(y), spec, p + d) @ bread
    cov = (cov + cov.T) / 2
    if (np.diag(cov) <= 0).any():  # two-way sums may cancel to less than nothing
        cov = nearest_psd(cov, np.sqrt(np.abs(np.diag(bread))))
    return LinearFit(params, cov, resids, kappa, spec)


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


def _solve(
    regressors: FloatArray, fitted: FloatArray, outcome: FloatArray, kappa: float
) -> tuple[FloatArray, FloatArray]:
    """Coefficients and the inverse of the k-class normal matrix, on factored rows."""
    regressors, lengths = unit_length(regressors)
    params, bread = _solve_scaled(regressors, fitted / lengths, outcome, kappa)
    return params / lengths, bread / np.outer(lengths, lengths)


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


def _without_constant(scores: FloatArray, X: FloatArray, weights: FloatArray | None) -> FloatArray:
    """Columns the automatic bandwidth looks at: linearmodels leaves the constant's score out.

    It looks for a constant after weighting, and so finds none where there are weights.
    """
    if weights is not None:
        return scores
    constant = np.ptp(X, axis=0) == 0
    kept = np.concatenate([~constant, np.ones(scores.shape[1] - X.shape[1], dtype=bool)])
    return scores[:, kept] if kept.any() else scores
