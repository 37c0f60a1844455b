"""Tests of what IV assumes, on arrays: over-identification, Hausman's contrast, curved covariates.

Glossary: z instruments, y outcome, D endogenous regressors, all with covariates and weights
partialled out; e residuals.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import stats

from mlinstruments._core.hypotheses import TestResult
from mlinstruments._core.linalg import dependent_columns, orthonormal_basis, unit_length
from mlinstruments._core.sandwich import CovarianceSpec, meat, moment_meat, nearest_psd
from mlinstruments._core.typing import FloatArray

# Curved terms looked at by the test of covariates, squares first.
MOST_TERMS = 30
# Contrasts whose variance is below this share of the estimates' own are rounding.
NO_CONTRAST = 1e-10


def over_identification(z: FloatArray, v: FloatArray, S: FloatArray) -> TestResult:
    """Hansen's J: whether all instruments imply the same coefficients; Sargan's if ``unadjusted``.

    The least of (z'u)' S^-1 (z'u), u = y - D t, over t. With covariates partialled out of
    everything it is the J of two-step GMM with the covariates among the instruments.

    Parameters
    ----------
    z : array, shape (r, q)
        More instruments than endogenous regressors: rows, or few rows with their inner products.
    v : array, shape (r, 1 + d)
        [y, D] likewise.
    S : array, shape (q, q)
        Variance of the sums z'e at the residuals of the fit.

    References
    ----------
    Sargan (1958), doi:10.2307/1907619; Hansen (1982), doi:10.2307/1912775.
    """
    z, lengths = unit_length(z)
    sums = z.T @ unit_length(v)[0]
    units = lengths * unit_length(v[:, :1])[1]
    values, vectors = np.linalg.eigh(S / np.outer(units, units))
    kept = values > values[-1] * len(values) * np.finfo(float).eps
    scaled = (vectors[:, kept] / np.sqrt(values[kept])).T @ sums
    outcome, treatments = scaled[:, 0], scaled[:, 1:]
    rest = outcome - treatments @ np.linalg.lstsq(treatments, outcome, rcond=None)[0]
    df = int(kept.sum()) - treatments.shape[1]
    null = "all instruments are valid"
    if df < 1:  # two-way sums may leave fewer directions than coefficients
        return TestResult(float("nan"), float("nan"), max(df, 0), null)
    found = float(rest @ rest)
    return TestResult(found, float(stats.chi2.sf(found, df)), df, null)


def influence(z: FloatArray, D: FloatArray, e: FloatArray) -> FloatArray:
    """What each row adds to the error of just-identified IV: (z'D)^-1 z_i e_i, shape (n, d)."""
    return np.asarray(np.linalg.solve(z.T @ D, (z * e[:, None]).T).T)


def contrast(
    difference: FloatArray,
    first: tuple[FloatArray, FloatArray],
    second: tuple[FloatArray, FloatArray],
    D: FloatArray,
    spec: CovarianceSpec,
    n_params: int,
) -> TestResult:
    """Whether two just-identified IV estimates of the same coefficients differ by chance.

    The variance of their difference is that of the sum of the differences of their influences, so
    that neither needs to be efficient (Hausman's own formula does).

    Parameters
    ----------
    difference : array, shape (d,)
        First less second.
    first, second : pairs of arrays, shapes (n, d) and (n,)
        Instruments, one for each endogenous regressor, and residuals.
    D : array, shape (n, d)
    spec : CovarianceSpec
    n_params : int
        Coefficients of each fit, for small-sample factors.

    References
    ----------
    Hausman (1978), doi:10.2307/1913827.
    """
    null = "both estimates have one limit"
    if spec.kind == "unadjusted":
        e = second[1]
        ones = np.ones(len(e))
        factor = len(e) / spec.df_resid(len(e), n_params) if spec.debiased else 1.0
        each = [influence(z, D, ones) for z, _ in (first, second)]
        gap = each[0] - each[1]
        own, variance = (factor * float(e @ e) / len(e) * v.T @ v for v in (each[1], gap))
    else:
        each = [influence(z, D, e) for z, e in (first, second)]
        gap = each[0] - each[1]
        spec = spec.resolve(each[1])
        own, variance = (nearest_psd(meat(v, spec, n_params)) for v in (each[1], gap))
    units = np.sqrt(np.diag(own))
    units = np.where(units > 0, units, 1.0)
    values, vectors = np.linalg.eigh(variance / np.outer(units, units))
    kept = values > NO_CONTRAST
    df = int(kept.sum())
    if df == 0:
        return TestResult(float("nan"), float("nan"), 0, null)
    scaled = vectors[:, kept].T @ (difference / units)
    found = float((scaled**2 / values[kept]).sum())
    return TestResult(found, float(stats.chi2.sf(found, df)), df, null)


def curved_terms(X: FloatArray) -> FloatArray:
    """Squares and pairwise products (n, m) of covariates X (n, p), without those X determines."""
    varying = X[:, np.ptp(X, axis=0) > 0]
    scaled = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    squares = [column**2 for column in scaled.T if len(np.unique(column)) > 2]
    products = [a * b for a, b in combinations(scaled.T, 2)]
    terms = (squares + products)[:MOST_TERMS]
    if not terms:
        return np.empty((len(X), 0))
    p = X.shape[1]
    columns = np.column_stack([X, *terms])
    surplus = {j for j in dependent_columns(columns) if j >= p}
    return columns[:, [j for j in range(p, columns.shape[1]) if j not in surplus]]


def curvature(z: FloatArray, terms: FloatArray, spec: CovarianceSpec, n_exog: int) -> TestResult:
    """Whether instruments are related to curved covariates, beyond the covariates themselves.

    A RESET test of the instrument: the Wald test of the terms in its regression on covariates and
    terms. Where they are related, a bend of the outcome in the covariates that the model leaves out
    would pass for an effect of the treatment.

    Parameters
    ----------
    z : array, shape (n, d)
        Instruments; covariates and weights partialled out.
    terms : array, shape (n, m)
        Squares and products of covariates, likewise.
    spec : CovarianceSpec
    n_exog : int
        Covariates partialled out.

    References
    ----------
    Ramsey (1969), doi:10.1111/j.2517-6161.1969.tb00796.x.
    """
    null = "the instrument is unrelated to curved covariates"
    Q = orthonormal_basis(unit_length(terms)[0])
    if Q.shape[1] == 0:
        return TestResult(float("nan"), float("nan"), 0, null)
    z = unit_length(z)[0]
    rest = z - Q @ (Q.T @ z)
    scores = (rest[:, :, None] * Q[:, None, :]).reshape(len(z), -1)
    n_params = n_exog + Q.shape[1]
    variance = nearest_psd(moment_meat(Q, rest, spec.resolve(scores), n_params))
    sums = (Q.T @ z).T.ravel()
    df = int(np.linalg.matrix_rank(variance, hermitian=True))
    found = float(sums @ np.linalg.pinv(variance, hermitian=True) @ sums)
    return TestResult(found, float(stats.chi2.sf(found, df)) if df else float("nan"), df, null)
