"""The conditional logit of choices: probabilities, likelihood, Newton, scores.

Notation: theta (m,) multiplies the regressors; theta[0] is the scale lambda and theta[k] / theta[0]
the k-th preference parameter. The log-likelihood is concave in theta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.typing import BoolArray, FloatArray

from .design import Design


@dataclass(frozen=True)
class Likelihood:
    """The log-likelihood and its derivatives at one theta.

    Parameters
    ----------
    value : float
    gradient : array, shape (m,)
    hessian : array, shape (m, m)
        Negative semi-definite.
    """

    value: float
    gradient: FloatArray
    hessian: FloatArray


def log_probabilities(z: FloatArray, available: BoolArray, theta: FloatArray) -> FloatArray:
    """Log choice probabilities (C, A); minus infinity where an alternative is not available."""
    u = np.where(available, z @ theta, -np.inf)
    u = u - u.max(axis=1, keepdims=True)
    return np.asarray(u - np.log(np.exp(u).sum(axis=1, keepdims=True)))


def likelihood(
    z: FloatArray, available: BoolArray, counts: FloatArray, theta: FloatArray
) -> Likelihood:
    """Log-likelihood of counts (C, A) with gradient and Hessian."""
    log_p = log_probabilities(z, available, theta)
    p = np.exp(log_p)
    totals = counts.sum(axis=1)
    value = float((counts * np.where(counts > 0, log_p, 0.0)).sum())
    mean = np.einsum("ca,cam->cm", p, z)
    gradient = np.einsum("ca,cam->m", counts, z) - totals @ mean
    second = np.einsum("ca,cam,can->mn", p * totals[:, None], z, z)
    hessian = np.einsum("c,cm,cn->mn", totals, mean, mean) - second
    return Likelihood(value, np.asarray(gradient), np.asarray(hessian))


def maximise(
    z: FloatArray,
    available: BoolArray,
    counts: FloatArray,
    start: FloatArray | None = None,
    iterations: int = 100,
) -> tuple[FloatArray, Likelihood]:
    """Newton's method with step halving, from zero unless told otherwise.

    Regressors are scaled to unit size inside, so that the result does not depend on units.

    Returns
    -------
    theta : array, shape (m,)
        The maximiser where there is one; see the identification report for whether there is.
    Likelihood
        At theta.
    """
    mask = available[:, :, None]
    spread = np.where(mask, z - z.sum(1, keepdims=True) / mask.sum(1, keepdims=True), 0.0)
    size = np.sqrt((spread**2).mean(axis=(0, 1)))
    size = np.where(size > 0, size, 1.0)
    scaled = spread / size
    theta = np.zeros(z.shape[2]) if start is None else start * size
    here = likelihood(scaled, available, counts, theta)
    for _ in range(iterations):
        step = np.linalg.lstsq(-here.hessian, here.gradient, rcond=1e-12)[0]
        # The decrement is twice what a full step can still gain.
        if float(here.gradient @ step) <= 1e-16 * max(1.0, abs(here.value)):
            theta = theta + step  # too small to show in the value, not in the digits of theta
            break
        factor, there = 1.0, likelihood(scaled, available, counts, theta + step)
        while there.value < here.value and factor > 1e-12:
            factor /= 2
            there = likelihood(scaled, available, counts, theta + factor * step)
        if there.value <= here.value:
            break
        theta, here = theta + factor * step, there
    theta = theta / size
    return theta, likelihood(z, available, counts, theta)


def scores(design: Design, theta: FloatArray) -> FloatArray:
    """Score of one choice of every row, not multiplied by counts, (N, m)."""
    p = np.exp(log_probabilities(design.z, design.available, theta))
    surprise = design.z - np.einsum("ca,cam->cm", p, design.z)[:, None, :]
    return np.asarray(surprise[design.choice_set, design.action])


def null_log_likelihood(available: BoolArray, counts: FloatArray) -> float:
    """Log-likelihood of choosing uniformly at random."""
    return -float(counts.sum(axis=1) @ np.log(available.sum(axis=1)))
