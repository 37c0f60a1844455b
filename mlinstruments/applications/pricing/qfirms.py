"""Q-learners as firms among others: learning as they go, or with a strategy learnt before."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray, IntArray

from .firms import Rule
from .market import Market
from .qengine import explored, first_values, joint_actions
from .qlearning import check_learning, price_grid
from .qresults import QLearningResults


def nearest(grid: FloatArray, prices: FloatArray) -> IntArray:
    """Position on the grid of the price nearest to each.

    Examples
    --------
    >>> nearest(np.array([1.0, 2.0]), np.array([[1.2, 1.9]]))
    array([[0, 1]])
    """
    return np.asarray(np.abs(prices[..., None] - grid).argmin(axis=-1))


@dataclass(frozen=True)
class QLearningFirm:
    """Learns from every period by Q-learning; prices of others are taken to the nearest it knows.

    A few hundred periods teach it little unless ``beta`` is large: see :func:`q_learning` for the
    many that learning takes, and :class:`LearntFirm` for what comes of it.

    Parameters
    ----------
    alpha, beta, discount, n_prices, spread :
        As in :func:`q_learning`.
    name : str

    Examples
    --------
    >>> from mlinstruments.applications.pricing import Market, QLearningFirm, compete
    >>> firms = [QLearningFirm(beta=0.02, n_prices=5), QLearningFirm(beta=0.02, n_prices=5)]
    >>> compete(Market(), firms, periods=20).prices.shape
    (1, 21, 2)
    """

    alpha: float = 0.15
    beta: float = 0.01
    discount: float = 0.95
    n_prices: int = 15
    spread: float = 0.1
    name: str = "Q-learning"

    def __post_init__(self) -> None:
        check_learning(self.alpha, self.beta, self.discount)
        check_count(self.n_prices, "n_prices", 2)

    @property
    def settings(self) -> dict[str, Any]:
        """Its parameters."""
        known = asdict(self)
        del known["name"]
        return {"firm": "Q-learning", **known}

    def rule(self, market: Market, firm: int) -> Rule:
        """The rule of a firm in a market."""
        m, n = self.n_prices, market.n_firms
        grid = price_grid(market, m, self.spread)
        profits = market.profit(grid[joint_actions(m, n)])
        first = first_values(profits, m, self.discount)[firm]
        table = np.tile(first, (m**n, 1))
        powers = m ** np.arange(n)[::-1]
        seen = 1  # periods learnt from, the opening one being no choice

        def price(prices: FloatArray, rng: np.random.Generator) -> float:
            nonlocal seen
            actions = nearest(grid, prices)
            states = actions @ powers
            earned = market.profit(prices)[:, firm]
            for t in range(seen, len(prices)):
                state, action, after = states[t - 1], actions[t, firm], states[t]
                ahead = self.alpha * (earned[t] + self.discount * table[after].max())
                table[state, action] = (1 - self.alpha) * table[state, action] + ahead
            seen = len(prices)
            draw, chance = rng.random(), np.exp(-self.beta * (len(prices) - 1))
            if draw < chance:
                return float(grid[explored(np.array(draw), np.array(chance), m)])
            return float(grid[table[states[-1]].argmax()])

        return price


@dataclass(frozen=True, eq=False)
class LearntFirm:
    """Follows a strategy that Q-learners arrived at.

    Parameters
    ----------
    results : QLearningResults
        Of the same market.
    session : int
    name : str

    Raises
    ------
    InputError
        Where the session did not converge, or there is no such one.

    Examples
    --------
    >>> from mlinstruments.applications.pricing import LearntFirm, compete, q_learning
    >>> learnt = q_learning(sessions=2, beta=2e-3, n_prices=6, stable=2000)
    >>> firms = [LearntFirm(learnt, 0), LearntFirm(learnt, 1)]  # of different sessions
    >>> compete(learnt.market, firms, periods=5).prices.shape
    (1, 6, 2)
    """

    results: QLearningResults = field(repr=False)
    session: int = 0
    name: str = "learnt"

    def __post_init__(self) -> None:
        if self.session not in range(len(self.results.state)):
            raise InputError(
                f"session must be 0 to {len(self.results.state) - 1}; got {self.session!r}."
            )
        if not self.results.converged[self.session]:
            raise InputError(f"session {self.session} did not converge: take another one.")

    @property
    def settings(self) -> dict[str, Any]:
        """Session and learning parameters."""
        return {"firm": "learnt", "session": self.session, **asdict(self.results.learning)}

    def rule(self, market: Market, firm: int) -> Rule:
        """The rule of a firm in a market."""
        if market != self.results.market:
            raise InputError("a learnt strategy is of the market it was learnt in.")
        grid = self.results.grid
        strategy = self.results.strategies[self.session, firm]
        powers = len(grid) ** np.arange(market.n_firms)[::-1]
        return lambda prices, rng: float(grid[strategy[nearest(grid, prices[-1]) @ powers]])
