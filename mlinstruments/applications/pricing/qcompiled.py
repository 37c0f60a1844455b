"""Q-learning compiled by numba: the steps of :mod:`.qengine` for one session after the other.

Operations on numbers come in the same order, so that tables are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from mlinstruments._core.typing import FloatArray, IntArray


def advance(
    q: FloatArray,
    greedy: IntArray,
    value: FloatArray,
    state: IntArray,
    last_change: IntArray,
    draws: FloatArray,
    chance: FloatArray,
    gains: FloatArray,
    alpha: float,
    delta: float,
    period: int,
) -> None:
    """Advance tables in place by as many periods as there are chances of exploring.

    Parameters
    ----------
    q : array, shape (n, S, K, m)
    greedy, value : array, shape (n, S, K)
        Best action in each state, and its value.
    state, last_change : int array, shape (S,)
    draws : array, shape (S, periods, n)
        Uniform.
    chance : array, shape (periods,)
    gains : array, shape (K, n)
        alpha times profit.
    alpha, delta : float
    period : int
        The first one.
    """
    n, sessions, _, m = q.shape
    meant = np.empty(n, np.int64)
    action = np.empty(n, np.int64)
    for s in range(sessions):
        now = state[s]
        for t in range(len(chance)):
            following = 0
            for i in range(n):
                meant[i] = action[i] = greedy[i, s, now]
                if draws[s, t, i] < chance[t]:
                    action[i] = min(int(draws[s, t, i] / chance[t] * m), m - 1)
                following = following * m + action[i]
            for i in range(n):
                row = q[i, s, now]
                a, best, old = action[i], meant[i], value[i, s, now]
                gain = gains[following, i] + value[i, s, following] * (alpha * delta)
                new = row[a] * (1 - alpha) + gain
                row[a] = new
                if new > old:
                    value[i, s, now] = new
                    best = a
                elif new < old and a == best:
                    best, most = 0, row[0]
                    for other in range(1, m):
                        if row[other] > most:
                            best, most = other, row[other]
                    value[i, s, now] = most
                if best != meant[i]:
                    greedy[i, s, now] = best
                    last_change[s] = period + t
            now = following
        state[s] = now


@cache
def kernel() -> Callable[..., Any]:
    """:func:`advance` compiled, on the first call."""
    from numba import njit

    compiled: Callable[..., Any] = njit(advance)
    return compiled
