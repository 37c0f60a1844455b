"""Finding the best mixture: many starts, EM with concave steps, then Newton on the likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.typing import FloatArray

from .likelihood import maximise
from .mixture_likelihood import SubjectCounts, Types, derivatives, expectation

NEWTON_STEPS = 4
# Log-likelihoods closer than this, relatively, are one optimum.
SAME = 1e-6


@dataclass(frozen=True)
class Optimum:
    """A local maximum of the likelihood.

    Parameters
    ----------
    types : Types
        Sorted by share, largest first.
    loglik : float
    """

    types: Types
    loglik: float


def search(
    data: SubjectCounts, n_types: int, n_starts: int, rng: np.random.Generator
) -> list[Optimum]:
    """Local maxima reached from random starts, one a start, best first.

    Every start is followed to the end: Newton makes that cheap, and how many starts reach the best
    value is what tells whether there may be a better one.
    """
    starts = random_starts(data, n_types, n_starts, rng)
    ends = [_by_share(climb(data, em(data, start).types)) for start in starts]
    return sorted(ends, key=lambda end: -end.loglik)


def random_starts(
    data: SubjectCounts, n_types: int, n_starts: int, rng: np.random.Generator
) -> list[Types]:
    """Starting points, in turn the one-type estimate perturbed and fits to a few subjects each."""
    pooled = data.weighted(np.ones((data.n_subjects, 1)))[0]
    one = maximise(data.z, data.available, pooled)[0]
    if n_types == 1:
        return [Types(one[None, :], np.zeros(1))]
    make = (_perturbed, _from_subjects)
    return [make[i % 2](data, n_types, one, rng) for i in range(n_starts)]


def _perturbed(
    data: SubjectCounts, n_types: int, one: FloatArray, rng: np.random.Generator
) -> Types:
    spread = np.abs(one).max() * np.array([0.5] + [1.0] * (len(one) - 1))
    theta = one + spread * rng.standard_normal((n_types, len(one)))
    return Types(theta, np.full(n_types, -np.log(n_types)))


def _from_subjects(
    data: SubjectCounts, n_types: int, one: FloatArray, rng: np.random.Generator
) -> Types:
    """Each type starts as a small random group: large random groups would all be alike."""
    size = max(1, min(data.n_subjects // n_types, 5))
    drawn = rng.permutation(data.n_subjects)[: size * n_types]
    tau = np.zeros((data.n_subjects, n_types))
    tau[drawn, np.repeat(np.arange(n_types), size)] = 1.0
    theta = _newton_steps(data, tau, np.tile(one, (n_types, 1)))
    return Types(theta, np.full(n_types, -np.log(n_types)))


def _newton_steps(data: SubjectCounts, tau: FloatArray, theta: FloatArray) -> FloatArray:
    """Coefficients of every type improved on counts weighted by tau (concave problems)."""
    steps = [
        maximise(data.z, data.available, counts, start, NEWTON_STEPS)[0]
        for counts, start in zip(data.weighted(tau), theta, strict=True)
    ]
    return np.array(steps)


def em(
    data: SubjectCounts, types: Types, iterations: int = 300, tolerance: float = 1e-3
) -> Optimum:
    """Expectation-maximisation until a round gains less than ``tolerance``.

    References
    ----------
    Dempster, Laird and Rubin (1977), doi:10.1111/j.2517-6161.1977.tb01600.x.
    """
    value, tau = expectation(data, types)
    for _ in range(iterations):
        # An empty type keeps a share a logarithm can be taken of.
        shares = np.maximum(tau.mean(axis=0), 1e-12)
        types = Types(_newton_steps(data, tau, types.theta), np.log(shares / shares.sum()))
        before = value
        value, tau = expectation(data, types)
        if value - before < tolerance:
            break
    return Optimum(types, value)


def climb(data: SubjectCounts, types: Types, iterations: int = 200) -> Optimum:
    """Newton on the observed-data likelihood, turned uphill where that is not concave."""
    K = len(types.log_shares)
    value, tau = expectation(data, types)
    for _ in range(iterations):
        gradient, hessian = derivatives(data, types, tau)
        step = _uphill(gradient, hessian)
        if float(gradient @ step) <= 1e-15 * max(1.0, abs(value)):
            break
        factor, gained = 1.0, False
        while not gained and factor > 1e-10:
            there = Types.from_phi(types.phi + factor * step, K)
            reached, posterior = expectation(data, there)
            gained = reached > value
            factor /= 2
        if not gained:
            break
        types, value, tau = there, reached, posterior
    return Optimum(types, value)


def _uphill(gradient: FloatArray, hessian: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(hessian)
    # Flat directions lead to types that explain everything: long steps, as far as rounding goes.
    size = np.maximum(np.abs(values), 1e-14 * np.abs(values).max())
    return np.asarray(vectors @ ((vectors.T @ gradient) / size))


def _by_share(found: Optimum) -> Optimum:
    order = np.argsort(-found.types.log_shares, kind="stable")
    return Optimum(Types(found.types.theta[order], found.types.log_shares[order]), found.loglik)


def same_optimum(a: float, b: float) -> bool:
    """Whether two log-likelihoods are one optimum up to convergence."""
    return abs(a - b) <= SAME * max(1.0, abs(a))
