"""Q-learning of pricing firms as one would write it down: one session, period by period.

What the vectorised version is timed beside, and held against bit by bit in the tests.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def plain_q_learning(
    profits: Any,
    m: int,
    alpha: float,
    beta: float,
    delta: float,
    generator: np.random.Generator,
    stable: int,
    max_periods: int,
    look: int = 512,
    arrays: bool = False,
) -> tuple[Any, int, int, bool]:
    """Learn until no best price has changed for ``stable`` periods, looked at every ``look``.

    Parameters
    ----------
    profits : array, shape (states, firms)
        A state is the last prices of all firms, the first firm's slowest.
    m : int
        Prices.
    alpha, beta, delta : float
    generator : Generator
    stable, max_periods, look : int
    arrays : bool
        Keep tables in NumPy arrays rather than in lists, which is slower.

    Returns
    -------
    tables, state, periods, converged
    """
    states, n = np.shape(profits)
    pay = np.asarray(profits).tolist()
    actions = [[(k // m ** (n - 1 - i)) % m for i in range(n)] for k in range(states)]
    tables: Any = []
    for i in range(n):
        mean = [np.mean([pay[k][i] for k in range(states) if actions[k][i] == a]) for a in range(m)]
        row = [float(value / (1 - delta)) for value in mean]
        tables.append([list(row) for _ in range(states)])
    if arrays:
        tables = np.array(tables)

    def best(row: Any) -> int:
        return int(row.argmax()) if arrays else row.index(max(row))

    def top(row: Any) -> float:
        return row.max() if arrays else max(row)

    state, last, t = int(generator.integers(states)), 0, 0
    while t < max_periods:
        for draws in generator.random((look, n)).tolist():
            chance = float(np.exp(-beta * t)) if arrays else math.exp(-beta * t)
            chosen = []
            for i in range(n):
                if draws[i] < chance:
                    chosen.append(min(int(draws[i] / chance * m), m - 1))
                else:
                    chosen.append(best(tables[i][state]))
            following = 0
            for action in chosen:
                following = following * m + action
            for i in range(n):
                row, action = tables[i][state], chosen[i]
                before = best(row)
                gain = alpha * pay[following][i] + alpha * delta * top(tables[i][following])
                row[action] = (1 - alpha) * row[action] + gain
                if best(row) != before:
                    last = t
            state = following
            t += 1
        if t - 1 - last >= stable:
            return tables, state, t, True
    return tables, state, t, False
