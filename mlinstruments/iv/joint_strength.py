"""How strong several instruments are, also for several endogenous regressors at once.

Glossary: Q an orthonormal basis of the instruments, D the treatments, both with covariates and
weights partialled out; V = D - Q Q'D. W(v) is the variance of the sums Q'v, in any covariance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import linalg, stats

from mlinstruments._core.hypotheses import TestResult
from mlinstruments._core.linalg import orthonormal_basis, unit_length
from mlinstruments._core.sandwich import CovarianceSpec, meat, nearest_psd
from mlinstruments._core.typing import FloatArray

# Bias of 2SLS, as a share of its worst case, that critical values of the effective F are for.
TOLERATED = (0.05, 0.10, 0.20, 0.30)


@dataclass(frozen=True)
class JointStrength:
    """Strength of all instruments together.

    Parameters
    ----------
    cragg_donald : float
        Cragg-Donald F: the least eigenvalue of the homoskedastic first stage over the number of
        instruments. With one endogenous regressor, its classical F.
    kleibergen_paap : float
        Kleibergen-Paap rk Wald statistic over the number of instruments: the same with the
        covariance of the fit. With one endogenous regressor, its robust F.
    rank_test : TestResult
        That the instruments do not identify all coefficients, by the rk statistic.
    conditional_f : Series
        Sanderson-Windmeijer F of each endogenous regressor given the others, with the covariance of
        the fit; with one endogenous regressor, its F. Each tells which coefficient is weak.
    effective_critical : Series
        With one endogenous regressor, 5% critical values of the effective F by the bias of 2SLS
        they rule out, as a share of the worst case: an effective F above the entry at 0.1 speaks
        against a bias of more than a tenth. Missing with several.
    """

    cragg_donald: float
    kleibergen_paap: float
    rank_test: TestResult
    conditional_f: pd.Series
    effective_critical: pd.Series


def joint_strength(
    z: FloatArray, D: FloatArray, spec: CovarianceSpec, n_exog: int, endog: tuple[str, ...]
) -> tuple[JointStrength, float]:
    """Joint strength, and the effective F (missing with several endogenous regressors).

    Parameters
    ----------
    z : array, shape (n, q)
        Instruments, covariates and weights partialled out.
    D : array, shape (n, d)
        Endogenous regressors likewise.
    spec : CovarianceSpec
    n_exog : int
        Covariates partialled out, for small-sample factors.
    endog : tuple of str
        Names of the endogenous regressors.

    References
    ----------
    Cragg, Donald (1993), doi:10.1017/S0266466600007519; Kleibergen, Paap (2006),
    doi:10.1016/j.jeconom.2005.02.011; Sanderson, Windmeijer (2016),
    doi:10.1016/j.jeconom.2015.06.004; Montiel Olea, Pflueger (2013),
    doi:10.1080/00401706.2013.806694.
    """
    Q, (n, d) = orthonormal_basis(unit_length(z)[0]), D.shape
    q = int(Q.shape[1])
    products, lengths = Q.T @ D, unit_length(D)[1]
    products, V = products / lengths, D / lengths - Q @ (products / lengths)

    def variance(v: FloatArray) -> FloatArray:
        return variance_of_sums(Q, v, spec, n_exog)

    identified = 0 < d <= q and n > n_exog + q
    found = _rank_statistic(products, V, variance) if identified else 0.0
    least = _cragg_donald(products, V) * (n - n_exog - q) if identified else 0.0
    df = max(q - d + 1, 1)
    words = "the instruments do not identify all coefficients"
    test = TestResult(found, float(stats.chi2.sf(found, df)), df, words)
    each = [_conditional_f(products, V, j, variance) if identified else 0.0 for j in range(d)]
    critical, effective = _no_critical(), float("nan")
    W = variance(V[:, 0]) if d == 1 and identified else np.zeros((0, 0))
    if np.trace(W) > 0:
        effective = float(products[:, 0] @ products[:, 0]) / float(np.trace(W))
        critical = pd.Series(effective_critical(W), TOLERATED, name="effective_critical")
    elif d == 1:
        effective = 0.0
    conditional = pd.Series(each, list(endog), name="conditional_f")
    share = max(q, 1)
    return JointStrength(least / share, found / share, test, conditional, critical), effective


def variance_of_sums(Q: FloatArray, v: FloatArray, spec: CovarianceSpec, n_exog: int) -> FloatArray:
    """W(v): the variance of Q'v (q,), Q (n, q) orthonormal and v (n,) residuals."""
    n, q = Q.shape
    if spec.kind == "unadjusted":
        factor = n / (n - n_exog - q) if spec.debiased else 1.0
        return np.asarray(factor * float(v @ v) / n * np.eye(q))
    scores = Q * v[:, None]
    return nearest_psd(meat(scores, spec.resolve(scores), n_exog + q))


def effective_critical(W: FloatArray, level: float = 0.05) -> list[float]:
    """Critical values of the effective F for each bias in ``TOLERATED``.

    Patnaik's approximation to the worst case: K_eff F is non-central chi-squared with K_eff degrees
    of freedom and non-centrality K_eff x, x = 1 / bias (the simplified, conservative choice) and
    K_eff = tr(W)^2 (1 + 2 x) / (tr(W^2) + 2 x tr(W) max eigenvalue of W).

    Parameters
    ----------
    W : array, shape (q, q)
        Variance of the first-stage coefficients of orthonormal instruments.
    level : float
        Of the test.

    References
    ----------
    Montiel Olea, Pflueger (2013), doi:10.1080/00401706.2013.806694.

    Examples
    --------
    >>> [round(value, 1) for value in effective_critical(np.eye(1))]
    [37.4, 23.1, 15.1, 12.0]
    """
    values = np.linalg.eigvalsh(W)
    total, found = float(values.sum()), []
    for bias in TOLERATED:
        x = 1 / bias
        k = total**2 * (1 + 2 * x) / (float((values**2).sum()) + 2 * x * total * float(values[-1]))
        found.append(float(stats.ncx2.isf(level, k, k * x)) / k)
    return found


def _no_critical() -> pd.Series:
    return pd.Series(np.nan, TOLERATED, name="effective_critical")


def _cragg_donald(products: FloatArray, V: FloatArray) -> float:
    """Least eigenvalue of D'QQ'D in the metric of V'V."""
    noise = V.T @ V
    if not np.linalg.eigvalsh(noise)[0] > 0:
        return float("inf")
    return float(max(linalg.eigvalsh(products.T @ products, noise)[0], 0.0))


def _rank_statistic(
    products: FloatArray, V: FloatArray, variance: Callable[[FloatArray], FloatArray]
) -> float:
    """The rk statistic of rank d - 1: a Wald test of what is least of Q'D, standardised by V'V.

    With Q'D (V'V)^(-1/2) = U S B', it tests the last q - d + 1 columns of U times Q'D b, b the last
    column of (V'V)^(-1/2) B; any square root serves, since the choice of bases cancels.
    """
    d = products.shape[1]
    noise = V.T @ V
    if not np.linalg.eigvalsh(noise)[0] > 0:
        return float("inf")
    root = linalg.solve_triangular(linalg.cholesky(noise, lower=True), np.eye(d), lower=True).T
    U, _, B = np.linalg.svd(products @ root)
    b = root @ B[-1]
    return _wald(U[:, d - 1 :], products @ b, V @ b, variance)


def _conditional_f(
    products: FloatArray, V: FloatArray, j: int, variance: Callable[[FloatArray], FloatArray]
) -> float:
    """F of treatment j given the others: what instruments say of D_j - D_others delta, by 2SLS."""
    q, d = products.shape
    others = np.delete(products, j, axis=1)
    delta = linalg.lstsq(others, products[:, j])[0]
    b = np.insert(-delta, j, 1.0)
    outside = linalg.qr(others)[0][:, d - 1 :] if d > 1 else np.eye(q)
    return _wald(outside, products @ b, V @ b, variance) / float(q - d + 1)


def _wald(
    directions: FloatArray,
    sums: FloatArray,
    resids: FloatArray,
    variance: Callable[[FloatArray], FloatArray],
) -> float:
    """Wald statistic of directions' (q, m) of sums (q,) with the variance their residuals imply.

    0 where that is nothing, as two-way clustered sums may be: such covariances confirm no strength.
    """
    m = directions.T @ sums
    S = directions.T @ variance(resids) @ directions
    return float(m @ np.linalg.pinv(S, hermitian=True) @ m)


def median_joint(many: list[JointStrength]) -> JointStrength:
    """Medians over repeats, each statistic on its own."""
    first = many[0]
    statistic = float(np.median([one.rank_test.statistic for one in many]))
    df = first.rank_test.df
    return JointStrength(
        float(np.median([one.cragg_donald for one in many])),
        float(np.median([one.kleibergen_paap for one in many])),
        replace(first.rank_test, statistic=statistic, pvalue=float(stats.chi2.sf(statistic, df))),
        pd.concat([one.conditional_f for one in many], axis=1)
        .median(axis=1)
        .rename("conditional_f"),
        pd.concat([one.effective_critical for one in many], axis=1)
        .median(axis=1)
        .rename("effective_critical"),
    )
