"""How strong several instruments are, also for several endogenous regressors at once.

Glossary: Q an orthonormal basis of the instruments, D the treatments, both with covariates and
weights partialled out; V = D - Q Q'D. W(v) is the variance of the sums Q'v, in any covariance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import linalg, stats

from mlinstruments._core.hypotheses import TestResult
from mlinstruments._core.linalg import RANK_TOLERANCE, least_squares, unit_length
from mlinstruments._core.sandwich import CovarianceSpec, moment_meat, nearest_psd
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


@dataclass(frozen=True)
class FirstStages:
    """What a first stage is made of: rows, or few rows with their inner products.

    Parameters
    ----------
    z : array, shape (r, q)
        Instruments, covariates and weights partialled out.
    D : array, shape (r, d)
        Endogenous regressors likewise.
    meat : array, shape (d q, d q), or None
        Variance of the sums of instruments times first-stage residuals, treatment by treatment;
        None for ``unadjusted``.
    n : int
        Rows of the data.
    n_exog : int
        Covariates partialled out, for small-sample factors.
    """

    z: FloatArray
    D: FloatArray
    meat: FloatArray | None
    n: int
    n_exog: int

    @classmethod
    def of_rows(
        cls, z: FloatArray, D: FloatArray, spec: CovarianceSpec, n_exog: int
    ) -> FirstStages:
        """From instruments (n, q) and endogenous regressors (n, d), one row an observation."""
        meat = None
        if spec.kind != "unadjusted":
            V = D - z @ least_squares(z, D)
            if spec.kind == "kernel" and spec.bandwidth is None:
                spec = spec.resolve((V[:, :, None] * z[:, None, :]).reshape(len(z), -1))
            meat = moment_meat(z, V, spec, n_exog + z.shape[1])
        return cls(z, D, meat, len(z), n_exog)


@dataclass(frozen=True)
class _Orthonormal:
    """A first stage of orthonormal instruments and treatments of unit length.

    Parameters
    ----------
    products : array, shape (q, d)
        Q'D.
    noise : array, shape (d, d)
        V'V.
    meat : array, shape (d q, d q), or None
    factor : float
        Over the rows, of the classical variance.
    """

    products: FloatArray
    noise: FloatArray
    meat: FloatArray | None
    factor: float

    @classmethod
    def of(cls, stage: FirstStages, spec: CovarianceSpec) -> _Orthonormal:
        z, lengths = unit_length(stage.z)
        D, sizes = unit_length(stage.D)
        _, s, V = np.linalg.svd(z, full_matrices=False)
        kept = s > RANK_TOLERANCE * max(s.max(initial=0.0), 1.0)
        turn = (V[kept] / s[kept, None]).T / lengths[:, None]
        products = (stage.z @ turn).T @ D
        rest = D - stage.z @ turn @ products
        meat = stage.meat
        if meat is not None:
            both = np.kron(np.diag(1 / sizes), turn)
            meat = both.T @ meat @ both
        n, n_params = stage.n, stage.n_exog + int(kept.sum())
        factor = 1 / (spec.df_resid(n, n_params) if spec.debiased else n)
        return cls(products, rest.T @ rest, meat, factor)

    def variance(self, b: FloatArray) -> FloatArray:
        """W(V b), shape (q, q)."""
        if self.meat is None:
            return np.asarray(self.factor * float(b @ self.noise @ b) * np.eye(len(self.products)))
        return nearest_psd(contracted(self.meat, b))

    def wald(self, directions: FloatArray, b: FloatArray) -> float:
        """Wald statistic of directions' Q'D b, directions (q, m).

        0 where its variance is nothing, as two-way clustered sums may be: such covariances confirm
        no strength.
        """
        m = directions.T @ self.products @ b
        S = directions.T @ self.variance(b) @ directions
        return float(m @ np.linalg.pinv(S, hermitian=True) @ m)


def contracted(meat: FloatArray, b: FloatArray) -> FloatArray:
    """The variance of the sums of z (v'b) from that of all products z v, for b (m,): (q, q)."""
    q = len(meat) // len(b)
    blocks = meat.reshape(len(b), q, len(b), q)
    return np.asarray(np.einsum("a,aibj,b->ij", b, blocks, b))


def joint_strength(
    stage: FirstStages, spec: CovarianceSpec, endog: tuple[str, ...]
) -> tuple[JointStrength, float]:
    """Joint strength, and the effective F (missing with several endogenous regressors).

    Parameters
    ----------
    stage : FirstStages
    spec : CovarianceSpec
    endog : tuple of str
        Names of the endogenous regressors.

    References
    ----------
    Cragg, Donald (1993), doi:10.1017/S0266466600007519; Kleibergen, Paap (2006),
    doi:10.1016/j.jeconom.2005.02.011; Sanderson, Windmeijer (2016),
    doi:10.1016/j.jeconom.2015.06.004; Montiel Olea, Pflueger (2013),
    doi:10.1080/00401706.2013.806694.
    """
    own = _Orthonormal.of(stage, spec)
    q, d = own.products.shape
    df_resid = spec.df_resid(stage.n, stage.n_exog + q)
    identified = 0 < d <= q and df_resid > 0
    found = _rank_statistic(own) if identified else 0.0
    least = _cragg_donald(own) * df_resid if identified else 0.0
    df = max(q - d + 1, 1)
    words = "the instruments do not identify all coefficients"
    test = TestResult(found, float(stats.chi2.sf(found, df)), df, words)
    each = [_conditional_f(own, j) if identified else 0.0 for j in range(d)]
    critical, effective = np.full(len(TOLERATED), np.nan), float("nan")
    W = own.variance(np.ones(1)) if d == 1 and identified else np.zeros((0, 0))
    if np.trace(W) > 0:
        effective = float((own.products**2).sum()) / float(np.trace(W))
        critical = np.array(effective_critical(W))
    elif d == 1:
        effective = 0.0
    share = max(q, 1)
    joint = JointStrength(
        least / share,
        found / share,
        test,
        pd.Series(each, list(endog), name="conditional_f"),
        pd.Series(critical, TOLERATED, name="effective_critical"),
    )
    return joint, effective


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


def _cragg_donald(own: _Orthonormal) -> float:
    """Least eigenvalue of D'QQ'D in the metric of V'V."""
    if not np.linalg.eigvalsh(own.noise)[0] > 0:
        return float("inf")
    return float(max(linalg.eigvalsh(own.products.T @ own.products, own.noise)[0], 0.0))


def _rank_statistic(own: _Orthonormal) -> float:
    """The rk statistic of rank d - 1: a Wald test of what is least of Q'D, standardised by V'V.

    With Q'D (V'V)^(-1/2) = U S B', it tests the last q - d + 1 columns of U times Q'D b, b the last
    column of (V'V)^(-1/2) B; any square root serves, since the choice of bases cancels.
    """
    d = own.products.shape[1]
    if not np.linalg.eigvalsh(own.noise)[0] > 0:
        return float("inf")
    lower = linalg.cholesky(own.noise, lower=True)
    root = linalg.solve_triangular(lower, np.eye(d), lower=True).T
    U, _, B = np.linalg.svd(own.products @ root)
    return own.wald(U[:, d - 1 :], root @ B[-1])


def _conditional_f(own: _Orthonormal, j: int) -> float:
    """F of treatment j given the others: what instruments say of D_j - D_others delta, by 2SLS."""
    q, d = own.products.shape
    others = np.delete(own.products, j, axis=1)
    b = np.insert(-linalg.lstsq(others, own.products[:, j])[0], j, 1.0)
    outside = linalg.qr(others)[0][:, d - 1 :] if d > 1 else np.eye(q)
    return own.wald(outside, b) / float(q - d + 1)


def median_joint(many: list[JointStrength], rises: pd.Series) -> JointStrength:
    """Medians over repeats, each statistic on its own.

    ``rises`` tells which repeats have learned instruments that all rise with their treatments: in
    others they are noise, however large their square, and have no strength.
    """
    test = many[0].rank_test
    used = np.asarray(rises, dtype=float)

    def median(values: list[Any]) -> Any:
        return np.median(np.array([np.ravel(v) for v in values]) * used[:, None], axis=0)

    statistic = float(median([one.rank_test.statistic for one in many])[0])
    conditional = median([one.conditional_f for one in many])
    critical = np.median([one.effective_critical for one in many], axis=0)
    return JointStrength(
        float(median([one.cragg_donald for one in many])[0]),
        float(median([one.kleibergen_paap for one in many])[0]),
        replace(test, statistic=statistic, pvalue=float(stats.chi2.sf(statistic, test.df))),
        pd.Series(conditional, many[0].conditional_f.index, name="conditional_f"),
        pd.Series(critical, TOLERATED, name="effective_critical"),
    )
