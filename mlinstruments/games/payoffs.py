"""Payoffs of strategy pairs, and how far one comes out behind or ahead.

A strategy is a vector of probabilities, one a node, covering both roles. Every game is written
once, as the paths through its tree: how probable each is, and what the first and the second mover
earn at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlinstruments._core.typing import FloatArray

from .protocols import Protocol


@dataclass(frozen=True)
class Outcomes:
    """What may happen when x meets y, the two roles together.

    Parameters
    ----------
    probability : array, shape (..., outcomes)
        Sums to one over outcomes.
    own, other : array, shape (outcomes,)
        Payoffs.
    """

    probability: FloatArray
    own: FloatArray
    other: FloatArray

    def mean(self, values: FloatArray) -> FloatArray:
        """Expectation of ``values`` (outcomes,)."""
        return np.asarray(self.probability @ values)


def outcomes(protocol: Protocol, x: FloatArray, y: FloatArray) -> Outcomes:
    """Outcomes of playing x against y, each role with probability one half.

    Parameters
    ----------
    protocol : Protocol
    x, y : array, shape (..., nodes)
        Probabilities at each node; broadcast against one another.

    Returns
    -------
    Outcomes
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    a, b = np.moveaxis(x, -1, 0), np.moveaxis(y, -1, 0)
    paths = PATHS[protocol.game]
    moving_first, moving_second = paths(a, b), paths(b, a)
    ends = [pair for _, pair in moving_first] + [pair[::-1] for _, pair in moving_second]
    chances = np.broadcast_arrays(*[chance for chance, _ in moving_first + moving_second])
    return Outcomes(
        np.stack(chances, axis=-1) / 2,
        np.array([getattr(protocol, pair[0]) for pair in ends]),
        np.array([getattr(protocol, pair[1]) for pair in ends]),
    )


# ---- games as paths -----------------------------------------------------------------------------
# Of a first and a second mover with probabilities (nodes, ...): the chance of each path, and the
# payoffs of the two at its end, such as "ST".

Paths = list[tuple[FloatArray, str]]


def _spd(first: FloatArray, second: FloatArray) -> Paths:
    cooperates, after_c, after_d = first[0], second[1], second[2]
    return [
        (cooperates * after_c, "RR"),
        (cooperates * (1 - after_c), "ST"),
        ((1 - cooperates) * after_d, "TS"),
        ((1 - cooperates) * (1 - after_d), "PP"),
    ]


def _tg(first: FloatArray, second: FloatArray) -> Paths:
    trusts, reciprocates = first[0], second[1]
    return [
        (1 - trusts, "PP"),
        (trusts * reciprocates, "RR"),
        (trusts * (1 - reciprocates), "ST"),
    ]


def _ug(first: FloatArray, second: FloatArray) -> Paths:
    splits, accepts = first[0], second[1]
    return [
        (splits, "RR"),
        ((1 - splits) * accepts, "TS"),
        ((1 - splits) * (1 - accepts), "PP"),
    ]


def _dictator(first: FloatArray, second: FloatArray) -> Paths:
    return [(first[0], "RR"), (1 - first[0], "TS")]


def _simultaneous(first: FloatArray, second: FloatArray) -> Paths:
    return [
        (first[0] * second[0], "RR"),
        (first[0] * (1 - second[0]), "ST"),
        ((1 - first[0]) * second[0], "TS"),
        ((1 - first[0]) * (1 - second[0]), "PP"),
    ]


PATHS: dict[str, Callable[[FloatArray, FloatArray], Paths]] = {
    "spd": _spd,
    "tg": _tg,
    "ug": _ug,
    "dictator": _dictator,
    "public_goods": _simultaneous,
    "matrix": _simultaneous,
}


# ---- expectations -------------------------------------------------------------------------------


def payoff(protocol: Protocol, x: FloatArray, y: FloatArray) -> FloatArray:
    """Expected payoff of x against y, shape (...,).

    Examples
    --------
    >>> tg = Protocol("tg", 80, 50, 30, 20)
    >>> float(payoff(tg, np.array([1.0, 1.0]), np.array([1.0, 1.0])))
    50.0
    """
    found = outcomes(protocol, x, y)
    return found.mean(found.own)


def behind(protocol: Protocol, x: FloatArray, y: FloatArray) -> FloatArray:
    """Expected shortfall against the other, E max(other - own, 0)."""
    found = outcomes(protocol, x, y)
    return found.mean(np.maximum(found.other - found.own, 0))


def ahead(protocol: Protocol, x: FloatArray, y: FloatArray) -> FloatArray:
    """Expected lead over the other, E max(own - other, 0)."""
    found = outcomes(protocol, x, y)
    return found.mean(np.maximum(found.own - found.other, 0))
