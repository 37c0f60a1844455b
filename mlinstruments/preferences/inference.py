"""Covariance of the logit coefficients, and of their ratios: delta, Fieller, bootstrap."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from mlinstruments._core.exceptions import AssumptionWarning, InputError
from mlinstruments._core.sandwich import CovarianceSpec, meat, nearest_psd
from mlinstruments._core.typing import FloatArray, IntArray
from mlinstruments._core.warn import warn_user

from .design import Design
from .likelihood import Likelihood, maximise, scores

# Least eigenvalue of a correlation matrix; below, its inverse is rounding.
SINGULAR = 1e-12


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
    surprise = scores(design, theta)
    bread = hessian_covariance(found)
    if clusters:
        # Scores of a row add up over its count; the factor counts choices, not rows.
        raw = meat(
            surprise * design.count[:, None], CovarianceSpec("clustered", clusters=clusters), m
        )
        least = min(int(c.max()) + 1 for c in clusters)
        middle = raw * (n - 1) / (n - m) * least / (least - 1)
    else:
        middle = (surprise * design.count[:, None]).T @ surprise * n / (n - m)
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


def fieller(
    theta: FloatArray, covariance: FloatArray, position: int, level: float
) -> tuple[tuple[float, float], ...]:
    """Fieller's set for theta[position] / theta[0]: interval, two rays or the whole line.

    References
    ----------
    Fieller (1954), doi:10.1111/j.2517-6161.1954.tb00159.x.

    Examples
    --------
    >>> fieller(np.array([1.0, 0.0]), np.eye(2) * 0.0001, 1, 0.95)[0][1] < 0.02
    True
    """
    c = stats.norm.ppf((1 + level) / 2) ** 2
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
    design: Design, theta: FloatArray, clusters: IntArray, draws: int, random_state: Any
) -> FloatArray:
    """Coefficients theta re-estimated with clusters drawn at random, (draws, m).

    Whole clusters are weighted by multinomial counts, which reaches the likelihood through the
    cell counts alone, so a draw costs a few Newton steps on the choice sets. Draws without a finite
    maximum or with a scale that is not positive are NaN.
    """
    C, A = design.available.shape
    n_clusters = int(clusters.max()) + 1
    cell = design.choice_set * A + design.action
    # Clusters by cells, sparse: a cluster touches few cells.
    from scipy import sparse

    table = sparse.csr_matrix(
        (design.count, (clusters, cell)), shape=(n_clusters, C * A), dtype=float
    )
    rng = np.random.default_rng(random_state)
    found = np.full((draws, len(theta)), np.nan)
    for b in range(draws):
        weights = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters)).astype(float)
        counts = np.asarray(weights @ table).reshape(C, A)
        estimate, at = maximise(design.z, design.available, counts, start=theta, iterations=30)
        # Newton's decrement: how much log-likelihood a further step could gain, free of units.
        settled = float(at.gradient @ np.linalg.pinv(-at.hessian) @ at.gradient) <= 1e-6
        if estimate[0] > 0 and settled and np.isfinite(estimate).all():
            found[b] = estimate
    return found
