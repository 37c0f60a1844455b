"""The conditional logit of choices: probabilities, likelihood, Newton, scores.

Notation: theta (m,) multiplies the regressors; theta[0] is the scale lambda and theta[k] / theta[0]
the k-th preference parameter. The log-likelihood is concave in theta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.typing import BoolArray, FloatArray

from .design import Design

# exp overflows soon after.
SAFE_EXPONENT = 600.0


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
    problem, size = _scaled(z, available, counts)
    theta = np.zeros(z.shape[2]) if start is None else start * size
    here = _evaluate(problem, theta)
    for _ in range(iterations):
        step = newton_step(here)
        # The decrement is twice what a full step can still gain.
        if float(here.gradient @ step) <= 1e-16 * max(1.0, abs(here.value)):
            theta = theta + step  # too small to show in the value, not in the digits of theta
            here = _evaluate(problem, theta)
            break
        factor, there = 1.0, _evaluate(problem, theta + step)
        while there.value < here.value and factor > 1e-12:
            factor /= 2
            there = _evaluate(problem, theta + factor * step)
        if there.value <= here.value:
            break
        theta, here = theta + factor * step, there
    here = Likelihood(here.value, here.gradient * size, here.hessian * np.outer(size, size))
    return theta / size, here


def newton_step(here: Likelihood) -> FloatArray:
    """Where the quadratic approximation is greatest; 0 in directions it does not see."""
    values, vectors = np.linalg.eigh(-here.hessian)
    seen = values > 1e-12 * values[-1]
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=seen)
    return np.asarray(vectors @ (inverse * (here.gradient @ vectors)))


@dataclass(frozen=True, eq=False)
class _Problem:
    """A likelihood prepared for many evaluations: regressors centred, choices summed.

    Parameters
    ----------
    z : array, shape (C, A, m)
    flat : array, shape (C * A, m)
        The same.
    closed : array, shape (C, A), or None
        Minus infinity where an alternative is not available, else 0; None where all are.
    totals : array, shape (C,)
    inverse : array, shape (C, 1)
        Of the totals, 1 where a total is 0.
    chosen : array, shape (m,)
        Sum of the regressors of what was chosen.
    reach : array, shape (m,)
        Greatest absolute value of each regressor.
    """

    z: FloatArray
    flat: FloatArray
    closed: FloatArray | None
    totals: FloatArray
    inverse: FloatArray
    chosen: FloatArray
    reach: FloatArray


def _scaled(z: FloatArray, available: BoolArray, counts: FloatArray) -> tuple[_Problem, FloatArray]:
    """The problem with regressors of unit size, and their sizes (m,)."""
    C, A, m = z.shape
    here = available.sum(axis=1)
    # Zero where there is no alternative, also after centring.
    spread = z - (z.sum(axis=1) / here[:, None])[:, None, :] * available[:, :, None]
    flat = spread.reshape(C * A, m)
    size = np.sqrt(np.einsum("nj,nj->j", flat, flat) / len(flat))
    size[size == 0] = 1.0
    flat /= size
    totals = counts.sum(axis=1)
    problem = _Problem(
        spread,
        flat,
        None if int(here.sum()) == C * A else np.where(available, 0.0, -np.inf),
        totals,
        1 / np.where(totals > 0, totals, 1.0)[:, None],
        counts.reshape(-1) @ flat,
        np.abs(flat).max(axis=0),
    )
    return problem, size


def _evaluate(problem: _Problem, theta: FloatArray) -> Likelihood:
    """:func:`likelihood` of the problem."""
    z, flat, totals = problem.z, problem.flat, problem.totals
    u = (flat @ theta).reshape(z.shape[:2])
    if problem.closed is not None:
        u += problem.closed
    top = np.zeros(len(u))
    if float(problem.reach @ np.abs(theta)) > SAFE_EXPONENT:
        top = u.max(axis=1)
        u -= top[:, None]
    weight = np.exp(u, out=u)
    total = weight.sum(axis=1)
    weight *= (totals / total)[:, None]
    mean = np.matmul(weight[:, None, :], z)[:, 0]
    value = float(theta @ problem.chosen - totals @ (np.log(total) + top))
    gradient = problem.chosen - mean.sum(axis=0)
    share = mean * problem.inverse
    hessian = mean.T @ share - flat.T @ (flat * weight.reshape(-1, 1))
    return Likelihood(value, gradient, hessian)


def surprises(design: Design, theta: FloatArray) -> FloatArray:
    """Score of one choice of every alternative of every set, (C, A, m)."""
    p = np.exp(log_probabilities(design.z, design.available, theta))
    return np.asarray(design.z - np.matmul(p[:, None, :], design.z))


def scores(design: Design, theta: FloatArray) -> FloatArray:
    """Score of one choice of every row, not multiplied by counts, (N, m)."""
    return np.asarray(surprises(design, theta)[design.choice_set, design.action])


def null_log_likelihood(available: BoolArray, counts: FloatArray) -> float:
    """Log-likelihood of choosing uniformly at random."""
    return -float(counts.sum(axis=1) @ np.log(available.sum(axis=1)))
