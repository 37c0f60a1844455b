"""Covariance of the logit coefficients, and of their ratios: delta, Fieller, bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse, stats

from mlinstruments._core.exceptions import AssumptionWarning, InputError
from mlinstruments._core.sandwich import CovarianceSpec, meat, nearest_psd
from mlinstruments._core.typing import FloatArray, IntArray
from mlinstruments._core.warn import warn_user

from .batched import Batch, evaluate, information_left, newton
from .design import Design, used_sets
from .likelihood import Likelihood, surprises
from .subjects import BLOCK_CELLS, unit_regressors

# Least eigenvalue of a correlation matrix; below, its inverse is rounding.
SINGULAR = 1e-12
# Share of the information of an estimate, as a determinant, below which Newton on a bootstrap draw
# is on its way to infinity.
CERTAIN = 1e-11


def coefficient_covariance(
    design: Design, theta: FloatArray, found: Likelihood, clusters: tuple[IntArray, ...]
) -> FloatArray:
    """Sandwich covariance of theta (m, m): clustered where clusters are given, else robust.

    Small-sample factors (N-1)/(N-m) and C/(C-1), N the number of choices, C of clusters. Two ways
    of clustering may give variances below zero; the matrix is then replaced by the nearest that has
    none, with a warning.

    References
    ----------
    Cameron, Gelbach and Miller (2011), doi:10.1198/jbes.2010.07136.
    """
    m = len(theta)
    n = design.n_choices
    surprise = surprises(design, theta).reshape(-1, m)
    bread = hessian_covariance(found)
    if clusters:
        # Scores of a row add up over its count; the factor counts choices, not rows.
        rows = surprise[design.cell] * design.count[:, None]
        raw = meat(rows, CovarianceSpec("clustered", clusters=clusters), m)
        least = min(int(c.max()) + 1 for c in clusters)
        middle = raw * (n - 1) / (n - m) * least / (least - 1)
    else:
        middle = (surprise * design.counts().reshape(-1, 1)).T @ surprise * n / (n - m)
    covariance = np.asarray(bread @ middle @ bread)
    return _mended(covariance, np.sqrt(np.diag(bread))) if len(clusters) == 2 else covariance


def _mended(covariance: FloatArray, units: FloatArray) -> FloatArray:
    """Positive semi-definite, with a warning where it was not; eigenvalues are taken in ``units``.

    Otherwise rounding of coefficients of large variance would swallow those of small.
    """
    square = np.outer(units, units)
    raw = (covariance + covariance.T) / square / 2
    mended = nearest_psd(raw)
    if mended is raw:
        return covariance
    warn_user(
        "the two-way clustered covariance is not positive semi-definite, as happens with few"
        " clusters: its negative part is set to zero, which makes it unreliable. Compare with one"
        " way of clustering.",
        AssumptionWarning,
    )
    return mended * square


def wald_statistic(gap: FloatArray, variance: FloatArray) -> float:
    """gap' variance^-1 gap, for gap (k,) and variance (k, k).

    Raises
    ------
    InputError
        Where the variance is singular, as two-way clustered ones can be.

    Examples
    --------
    >>> wald_statistic(np.array([3.0]), np.array([[9.0]]))
    1.0
    """
    size = np.sqrt(np.maximum(np.diag(variance), 0.0))
    scaled = variance / np.outer(size, size) if size.all() else np.zeros_like(variance)
    if np.linalg.eigvalsh(scaled)[0] <= SINGULAR:
        raise InputError(
            "no test: the covariance of these parameters is singular, as there are fewer clusters"
            " than a joint test needs. Test fewer of them, or cluster one way."
        )
    return float(gap @ np.linalg.solve(variance, gap))


def hessian_covariance(found: Likelihood) -> FloatArray:
    """Inverse observed information: right where every choice is independent and the model is."""
    size = np.sqrt(np.maximum(np.diag(-found.hessian), 0.0))
    square = np.outer(np.where(size > 0, size, 1.0), np.where(size > 0, size, 1.0))
    return np.asarray(np.linalg.pinv(-found.hessian / square, hermitian=True) / square)


def reported(theta: FloatArray) -> FloatArray:
    """Reported coefficients from theta: the scale, then ratios to it."""
    return np.concatenate([theta[:1], theta[1:] / theta[0]])


def delta_covariance(theta: FloatArray, covariance: FloatArray) -> FloatArray:
    """Covariance of the reported coefficients by the delta method."""
    m = len(theta)
    jacobian = np.zeros((m, m))
    jacobian[0, 0] = 1.0
    jacobian[1:, 0] = -theta[1:] / theta[0] ** 2
    jacobian[range(1, m), range(1, m)] = 1 / theta[0]
    return np.asarray(jacobian @ covariance @ jacobian.T)


def critical_value(level: float, df: float) -> float:
    """Two-sided critical value of Student's t; normal at infinite degrees of freedom.

    Examples
    --------
    >>> [round(critical_value(0.95, df), 3) for df in (9, np.inf)]
    [2.262, 1.96]
    """
    return float(stats.t.ppf((1 + level) / 2, df))


def percentile(level: float, n: float) -> float:
    """Share of bootstrap draws to leave out at either end, n units drawn of n.

    Percentiles of a mean fall short of the t interval by a factor sqrt((n - 1) / n) and by using
    normal quantiles; the share is lowered by as much.

    References
    ----------
    Hesterberg (2015), doi:10.1080/00031305.2015.1089789, section 3.2 ("expanded percentile").

    Examples
    --------
    >>> [round(percentile(0.95, n), 4) for n in (10, 100, 10_000)]
    [0.0086, 0.0231, 0.025]
    """
    wider = np.sqrt(n / (n - 1)) * critical_value(level, n - 1)
    return float(stats.norm.cdf(-wider))


def fieller(
    theta: FloatArray,
    covariance: FloatArray,
    position: int,
    level: float,
    df: float = np.inf,
) -> tuple[tuple[float, float], ...]:
    """Fieller's set for theta[position] / theta[0]: interval, two rays or the whole line.

    Parameters
    ----------
    theta : array, shape (m,)
    covariance : array, shape (m, m)
    position : int
    level : float
    df : float
        Degrees of freedom of the covariance.

    References
    ----------
    Fieller (1954), doi:10.1111/j.2517-6161.1954.tb00159.x.

    Examples
    --------
    >>> fieller(np.array([1.0, 0.0]), np.eye(2) * 0.0001, 1, 0.95)[0][1] < 0.02
    True
    """
    c = critical_value(level, df) ** 2
    scale, target = theta[0], theta[position]
    a = scale**2 - c * covariance[0, 0]
    b = scale * target - c * covariance[0, position]
    d = target**2 - c * covariance[position, position]
    discriminant = b * b - a * d
    if a > 0:
        root = np.sqrt(max(discriminant, 0.0))
        return ((float((b - root) / a), float((b + root) / a)),)
    if discriminant <= 0 or a == 0:
        return ((-np.inf, np.inf),)
    ends = sorted(((b - np.sqrt(discriminant)) / a, (b + np.sqrt(discriminant)) / a))
    return ((-np.inf, float(ends[0])), (float(ends[1]), np.inf))


def bootstrap(
    design: Design,
    theta: FloatArray,
    clusters: IntArray | None,
    draws: int,
    random_state: Any,
) -> FloatArray:
    """Coefficients re-estimated with clusters, or without them single choices, drawn at random.

    How often each was drawn reaches the likelihood through totals by choice set and sums of chosen
    regressors alone: a draw costs a few Newton steps on the choice sets, taken for many at once.

    Parameters
    ----------
    design : Design
    theta : array, shape (m,)
        The estimate, where Newton starts.
    clusters : int array (N,), or None
        Single choices need counts that are whole numbers.
    draws : int
    random_state : int or Generator

    Returns
    -------
    array, shape (draws, m)
        NaN where there is no finite maximum or the scale is not positive.
    """
    z, size = unit_regressors(design)
    units = _single_choices(design, z) if clusters is None else _clusters(design, z, clusters)
    sets = np.ascontiguousarray(z.transpose(2, 0, 1))[..., None]
    there = design.available[used_sets(design)].astype(float)[..., None]
    rng = np.random.default_rng(random_state)
    found = np.full((draws, len(theta)), np.nan)

    def batch_of(drawn: FloatArray) -> Batch:
        return Batch(sets, there, np.asarray(units.totals.T @ drawn), units.chosen.T @ drawn)

    whole = batch_of(units.n * units.chance[:, None])
    least = CERTAIN * information_left(whole, evaluate(whole, (theta * size)[:, None]))
    step = max(1, BLOCK_CELLS // max(z.shape[0] * z.shape[1], len(units.chance)))
    for first in range(0, draws, step):
        rows = np.arange(first, min(first + step, draws))
        drawn = rng.multinomial(units.n, units.chance, size=len(rows)).T.astype(float)
        batch = batch_of(drawn)
        fit = newton(batch, theta * size)
        good = fit.converged & (fit.theta[0] > 0) & np.isfinite(fit.theta).all(axis=0)
        good &= information_left(batch, evaluate(batch, fit.theta)) > least
        found[rows[good]] = fit.theta.T[good] / size
    return found


@dataclass(frozen=True, eq=False)
class _Units:
    """What a bootstrap draws.

    Parameters
    ----------
    totals : sparse matrix, shape (U, C)
        Choices of every unit from every used set.
    chosen : array, shape (U, m)
        Sum of the regressors of what was chosen.
    chance : array, shape (U,)
        Of being drawn, each time.
    n : int
        How many are drawn.
    """

    totals: Any
    chosen: FloatArray
    chance: FloatArray
    n: int


def _clusters(design: Design, z: FloatArray, clusters: IntArray) -> _Units:
    C, A, m = z.shape
    U = int(clusters.max()) + 1
    kept = design.count > 0
    number = np.cumsum(used_sets(design)) - 1
    choice_set, count = number[design.choice_set[kept]], design.count[kept]
    shares = sparse.csr_matrix(
        (count, (clusters[kept], choice_set * A + design.action[kept])), shape=(U, C * A)
    )
    totals = sparse.csr_matrix((count, (clusters[kept], choice_set)), shape=(U, C))
    return _Units(totals, np.asarray(shares @ z.reshape(-1, m)), np.full(U, 1 / U), U)


def _single_choices(design: Design, z: FloatArray) -> _Units:
    """Cells in place of choices: as many of each are drawn, in distribution."""
    A, m = z.shape[1:]
    counts = design.counts()[used_sets(design)].ravel()
    cell = np.flatnonzero(counts > 0)
    total = counts.sum()
    totals = sparse.csr_matrix((np.ones(len(cell)), (np.arange(len(cell)), cell // A)))
    return _Units(totals, z.reshape(-1, m)[cell], counts[cell] / total, round(float(total)))
