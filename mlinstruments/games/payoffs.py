"""Payoffs of strategy pairs, and how far one comes out behind or ahead.

A strategy is a vector of probabilities, one a node, covering both roles. Every game is written
once, as the outcomes of either role: probabilities with own and the other's payoff.
"""

from __future__ import annotations

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
    T, R, P, S = protocol.T, protocol.R, protocol.P, protocol.S
    a, b = np.moveaxis(x, -1, 0), np.moveaxis(y, -1, 0)
    if protocol.game == "spd":
        table = [
            (a[0] * b[1], R, R),
            (a[0] * (1 - b[1]), S, T),
            ((1 - a[0]) * b[2], T, S),
            ((1 - a[0]) * (1 - b[2]), P, P),
            (b[0] * a[1], R, R),
            (b[0] * (1 - a[1]), T, S),
            ((1 - b[0]) * a[2], S, T),
            ((1 - b[0]) * (1 - a[2]), P, P),
        ]
    elif protocol.game == "tg":
        table = [
            (1 - a[0], P, P),
            (a[0] * b[1], R, R),
            (a[0] * (1 - b[1]), S, T),
            (1 - b[0], P, P),
            (b[0] * a[1], R, R),
            (b[0] * (1 - a[1]), T, S),
        ]
    elif protocol.game == "ug":
        table = [
            (a[0], R, R),
            ((1 - a[0]) * b[1], T, S),
            ((1 - a[0]) * (1 - b[1]), P, P),
            (b[0], R, R),
            ((1 - b[0]) * a[1], S, T),
            ((1 - b[0]) * (1 - a[1]), P, P),
        ]
    elif protocol.game == "dictator":
        table = [(a[0], R, R), (1 - a[0], T, S), (b[0], R, R), (1 - b[0], S, T)]
    else:  # matrix and public_goods: simultaneous and symmetric, so both roles are alike
        table = 2 * [
            (a[0] * b[0], R, R),
            (a[0] * (1 - b[0]), S, T),
            ((1 - a[0]) * b[0], T, S),
            ((1 - a[0]) * (1 - b[0]), P, P),
        ]
    weights = np.broadcast_arrays(*[row[0] for row in table])
    probability = np.stack(weights, axis=-1) / 2
    return Outcomes(
        probability, np.array([row[1] for row in table]), np.array([row[2] for row in table])
    )


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
