"""Before a log is made: the standard errors to expect, and protocols that make them small.

The expected information of a choice is the variance of the regressors under its probabilities,
I = sum_s p_s (z_s - zbar)(z_s - zbar)', and adds up over independent choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray, IntArray
from mlinstruments.games.protocols import Protocol
from mlinstruments.games.utility import HomoMoralis

from .inference import delta_covariance

PARAMETERS = ("kappa", "alpha", "beta")
# Gauss-Legendre points a node for beliefs that vary: exact for polynomials of degree nine.
POINTS = 5
SINGULAR = 1e-12


def precision(
    protocols: Sequence[Protocol],
    theta: Mapping[str, float],
    subjects: int | Sequence[int] = 1,
    draws: int = 1,
    belief: float | str = 0.5,
    parameters: Sequence[str] = PARAMETERS,
    intraclass: float = 0.0,
) -> pd.DataFrame:
    """Expected standard errors of the scale and the preference parameters.

    From the expected information of independent choices of whole strategies, by the delta method:
    what a large log will show; in a small one estimates scatter more and some have no estimate.

    Choices of one subject (or repeated draws of one prompt) are seldom independent. With an
    intraclass correlation r of the scores within a subject the variance is multiplied by Kish's
    design effect 1 + (m - 1) r, m the choices of a subject: at r = 1 a subject is worth one choice.

    Parameters
    ----------
    protocols : sequence of Protocol
        Each played by every subject.
    theta : mapping
        ``lambda`` (1 / points, positive) and values of the parameters; those not given are 0.
    subjects : int or sequence of int
        Several give one row each.
    draws : int
        Choices of a subject in a protocol.
    belief : float or "varied"
        Believed probability of a one at every node; ``"varied"``: differs between choices,
        independent and uniform over [0, 1] at each node.
    parameters : sequence of {"kappa", "alpha", "beta"}
        Those to be estimated; values of the others are known.
    intraclass : float
        r above, from 0 (independent) to 1.

    Returns
    -------
    DataFrame, one row a number of subjects
        Columns ``choices``, ``design_effect``, and the expected standard error of ``lambda`` and
        of each parameter; infinite where the protocols do not identify them.

    Raises
    ------
    InputError

    References
    ----------
    Kish (1965), *Survey Sampling*, for the design effect.

    Examples
    --------
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import precision
    >>> theta = {"lambda": 0.1, "kappa": 0.2}
    >>> table = precision(default_grid(), theta, [1, 10, 60], belief="varied")
    >>> table["kappa"].round(2).tolist()
    [0.31, 0.1, 0.04]
    """
    counts = [subjects] if isinstance(subjects, int | np.integer) else list(subjects)
    people = [check_count(n, "subjects", 1) for n in counts]
    check_count(draws, "draws", 1)
    if not 0 <= intraclass <= 1:
        raise InputError(f"intraclass must lie between 0 and 1; got {intraclass!r}.")
    names = _check_parameters(parameters)
    values = _check_theta(theta)
    each = information(protocols, values, belief).sum(axis=0)
    choices = len(protocols) * draws
    effect = 1 + (choices - 1) * intraclass
    errors = np.sqrt(np.diag(reported_covariance(each * draws, values, names)))
    rows = [
        {
            "choices": n * choices,
            "design_effect": effect,
            **dict(zip(("lambda", *names), errors * np.sqrt(effect / n), strict=True)),
        }
        for n in people
    ]
    return pd.DataFrame(rows, index=pd.Index(people, name="subjects"))


def information(
    protocols: Sequence[Protocol], theta: FloatArray, belief: float | str = 0.5
) -> FloatArray:
    """Expected information of one choice in every protocol about lambda (1, kappa, alpha, beta).

    Parameters
    ----------
    protocols : sequence of Protocol
    theta : array, shape (4,)
        lambda (1, kappa, alpha, beta).
    belief : float or "varied"

    Returns
    -------
    array, shape (protocols, 4, 4)
    """
    if len(protocols) == 0:
        raise InputError("protocols is empty: give at least one.")
    return np.stack([_information(p, theta, belief) for p in protocols])


def reported_covariance(total: FloatArray, theta: FloatArray, names: Sequence[str]) -> FloatArray:
    """Covariance of the scale and the named parameters; infinite variances where it is singular."""
    kept = [0, *(1 + PARAMETERS.index(name) for name in names)]
    within = total[np.ix_(kept, kept)]
    size = np.sqrt(np.diag(within))
    m = len(kept)
    if (size <= 0).any():
        return np.full((m, m), np.inf)
    scaled = within / np.outer(size, size)
    if np.linalg.eigvalsh(scaled)[0] < SINGULAR:
        return np.full((m, m), np.inf)
    return delta_covariance(theta[kept], np.linalg.inv(scaled) / np.outer(size, size))


def _information(protocol: Protocol, theta: FloatArray, belief: float | str) -> FloatArray:
    total = np.zeros((4, 4))
    for weight, y in _beliefs(protocol.n_nodes, belief):
        z = HomoMoralis().regressors(protocol, y)
        u = z @ theta
        p = np.exp(u - u.max())
        p /= p.sum()
        spread = z - p @ z
        total += weight * (spread.T * p) @ spread
    return total


def _beliefs(n_nodes: int, belief: float | str) -> list[tuple[float, FloatArray]]:
    """Beliefs with their weights."""
    if isinstance(belief, str):
        check_choice(belief, "belief", ("varied",))
        points, weights = np.polynomial.legendre.leggauss(POINTS)
        grid = np.stack(np.meshgrid(*[(points + 1) / 2] * n_nodes), axis=-1).reshape(-1, n_nodes)
        products = np.stack(np.meshgrid(*[weights / 2] * n_nodes), axis=-1).reshape(-1, n_nodes)
        return [(float(w), y) for w, y in zip(products.prod(axis=1), grid, strict=True)]
    if not 0 <= belief <= 1:
        raise InputError(f"belief must be a probability or 'varied'; got {belief!r}.")
    return [(1.0, np.full(n_nodes, float(belief)))]


def _check_parameters(parameters: Sequence[str]) -> tuple[str, ...]:
    names = HomoMoralis(tuple(parameters)).parameters
    return tuple(names)


def _check_theta(theta: Mapping[str, float]) -> FloatArray:
    for name in theta:
        check_choice(name, "a name in theta", ("lambda", *PARAMETERS))
    scale = float(theta.get("lambda", 0.0))
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(
            f"theta needs a positive 'lambda', in 1 / points, such as 0.1; got {scale!r}."
        )
    ratios = np.array([1.0, *(float(theta.get(name, 0.0)) for name in PARAMETERS)])
    return np.asarray(scale * ratios)


# ---- informative grids --------------------------------------------------------------------------


def informative_grid(
    candidates: Sequence[Protocol],
    n: int,
    theta: Mapping[str, float],
    criterion: str = "D",
    parameters: Sequence[str] = PARAMETERS,
    belief: float | str = 0.5,
    start: Sequence[Protocol] | None = None,
    n_starts: int = 5,
    random_state: Any = 0,
) -> tuple[Protocol, ...]:
    """Choose protocols that tell most about preferences near ``theta``.

    Fedorov's exchange: from protocols added greedily, and from random sets, the one swap that gains
    most is made until none gains. A local search: the best set found is returned.

    Parameters
    ----------
    candidates : sequence of Protocol
        For instance :func:`mlinstruments.games.sample_protocols`.
    n : int
        How many, all different.
    theta : mapping
        ``lambda`` and the parameters expected, as in :func:`precision`.
    criterion : {"D", "kappa"}
        ``"D"``: greatest determinant of the information. ``"kappa"``: least variance of kappa.
    parameters : sequence of str
        Those to be estimated.
    belief : float or "varied"
    start : sequence of Protocol, optional
        n of the candidates to begin with in place of those added greedily.
    n_starts : int
        That start and ``n_starts - 1`` random ones.
    random_state : int or Generator

    Returns
    -------
    tuple of Protocol
        In the order of the candidates.

    Raises
    ------
    InputError
        Where there are too few candidates, or no set of them identifies the parameters.

    References
    ----------
    Fedorov (1972), *Theory of Optimal Experiments*; Atkinson, Donev, Tobias (2007), *Optimum
    Experimental Designs, with SAS*.

    Examples
    --------
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import informative_grid
    >>> chosen = informative_grid(default_grid(), 6, {"lambda": 0.1, "kappa": 0.3})
    >>> len({protocol.id for protocol in chosen})
    6
    """
    check_choice(criterion, "criterion", ("D", "kappa"))
    check_count(n, "n", 1)
    check_count(n_starts, "n_starts", 1)
    if n > len(candidates):
        raise InputError(f"n is {n} and there are {len(candidates)} candidates: give more of them.")
    names, values = _check_parameters(parameters), _check_theta(theta)
    if criterion == "kappa" and "kappa" not in names:
        raise InputError("criterion='kappa' needs kappa among the parameters.")
    kept = [0, *(1 + PARAMETERS.index(name) for name in names)]
    each = information(candidates, values, belief)[:, kept][:, :, kept]
    # Units of the whole candidate set: determinants are then of order one.
    size = np.sqrt(np.maximum(np.diagonal(each.sum(axis=0)), 1e-300))
    each = each / np.outer(size, size)
    gradient = _kappa_gradient(values[kept], names) / size if criterion == "kappa" else None
    rng = np.random.default_rng(random_state)
    first = _greedy(each, n, gradient) if start is None else _positions(candidates, start, n)
    starts = [first]
    starts += [rng.choice(len(each), n, replace=False) for _ in range(n_starts - 1)]
    found = [_exchange(each, np.asarray(start, dtype=np.int64), gradient) for start in starts]
    best = max(found, key=lambda chosen: float(_merit(each[chosen].sum(axis=0), gradient)))
    if not np.isfinite(_merit(each[best].sum(axis=0), gradient)):
        raise InputError(
            f"no {n} of these protocols identify {', '.join(('lambda', *names))}: raise n, add"
            " other games or payoffs, or drop a parameter."
        )
    return tuple(candidates[i] for i in sorted(best))


def _positions(candidates: Sequence[Protocol], start: Sequence[Protocol], n: int) -> IntArray:
    listed = list(candidates)
    if len(set(start)) != n or any(protocol not in listed for protocol in start):
        raise InputError(f"start must be {n} different protocols, each one of the candidates.")
    return np.array([listed.index(protocol) for protocol in start], dtype=np.int64)


def _kappa_gradient(theta: FloatArray, names: Sequence[str]) -> FloatArray:
    """Derivative of kappa in the coefficients."""
    position = 1 + list(names).index("kappa")
    gradient = np.zeros(len(theta))
    gradient[0] = -theta[position] / theta[0] ** 2
    gradient[position] = 1 / theta[0]
    return gradient


def _merit(total: FloatArray, gradient: FloatArray | None) -> FloatArray:
    """What is maximised, for information matrices (..., m, m); -inf where they are singular."""
    least = np.linalg.eigvalsh(total)[..., 0]
    sound = least > SINGULAR * np.trace(total, axis1=-2, axis2=-1)
    if gradient is None:
        value = np.linalg.slogdet(total)[1]
    else:
        safe = np.where(sound[..., None, None], total, np.eye(total.shape[-1]))
        solved = np.linalg.solve(safe, np.broadcast_to(gradient, total.shape[:-1])[..., None])
        value = -(solved[..., 0] @ gradient)
    return np.asarray(np.where(sound, value, -np.inf))


def _greedy(each: FloatArray, n: int, gradient: FloatArray | None) -> IntArray:
    """Add the best protocol n times, a trace of the whole keeping early sums regular."""
    total = 1e-6 * each.sum(axis=0) / len(each) + 1e-9 * np.eye(each.shape[1])
    chosen: list[int] = []
    for _ in range(n):
        merit = _merit(total + each, gradient)
        merit[chosen] = -np.inf
        rest = [i for i in range(len(each)) if i not in chosen]
        best = max(rest, key=lambda i: float(merit[i]))
        chosen.append(best)
        total = total + each[best]
    return np.array(chosen, dtype=np.int64)


def _exchange(each: FloatArray, chosen: IntArray, gradient: FloatArray | None) -> IntArray:
    """Swap one chosen for one other, the best such swap first, until none gains."""
    chosen = chosen.copy()
    here = float(_merit(each[chosen].sum(axis=0), gradient))
    while True:
        rest = np.setdiff1d(np.arange(len(each)), chosen)
        if len(rest) == 0:
            return chosen
        without = each[chosen].sum(axis=0) - each[chosen]
        merit = _merit(without[:, None] + each[rest][None], gradient)
        out, into = np.unravel_index(int(merit.argmax()), merit.shape)
        if not merit[out, into] > here + 1e-10 * max(1.0, abs(here)):
            return chosen
        chosen[out], here = rest[into], float(merit[out, into])
