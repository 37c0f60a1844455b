"""What Q-learners end up doing: their limit cycle, its profits, and how they meet a price cut."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.tables import Printed, Table, number
from mlinstruments._core.typing import BoolArray, FloatArray, IntArray

from .market import Market
from .qengine import Learning, joint_actions


@dataclass(frozen=True, eq=False, repr=False)
class QLearningResults(Printed):
    """Strategies of many sessions of Q-learning firms.

    Parameters
    ----------
    market : Market
    grid : array, shape (m,)
        Prices to choose from.
    learning : Learning
    stable : int
        Periods without a change that count as convergence.
    strategies : int array, shape (S, n, K)
        Position on the grid of the best price of each firm in each state, the last prices of all.
    state : int array, shape (S,)
        The last state of learning.
    periods : int array, shape (S,)
        Learnt for.
    converged : bool array, shape (S,)

    Examples
    --------
    >>> from mlinstruments.applications.pricing import q_learning
    >>> found = q_learning(sessions=5, beta=2e-3, n_prices=6, stable=2000)
    >>> found.prices.shape, found.converged.tolist()
    ((5, 2), [True, True, True, True, True])
    """

    market: Market
    grid: FloatArray
    learning: Learning
    stable: int
    strategies: IntArray
    state: IntArray
    periods: IntArray
    converged: BoolArray

    @cached_property
    def _next(self) -> IntArray:
        """Where the strategies lead from each state, (S, K)."""
        m, n = len(self.grid), self.market.n_firms
        powers = m ** np.arange(n)[::-1]
        return np.asarray(np.einsum("snk,n->sk", self.strategies, powers))

    @cached_property
    def _actions(self) -> IntArray:
        return joint_actions(len(self.grid), self.market.n_firms)

    @cached_property
    def _cycle(self) -> tuple[IntArray, FloatArray, FloatArray, IntArray]:
        """A state of each limit cycle, mean prices and profits over it (S, n), its length (S,)."""
        sessions = np.arange(len(self.state))
        state = self.state.copy()
        for _ in range(self._next.shape[1]):  # a path through K states is in its cycle by then
            state = self._next[sessions, state]
        first, length = state.copy(), np.zeros(len(state), dtype=np.int64)
        prices, profits = (np.zeros((len(state), self.market.n_firms)) for _ in range(2))
        open_ = np.ones(len(state), dtype=bool)
        while open_.any():
            charged = self.grid[self._actions[state]]
            prices += np.where(open_[:, None], charged, 0.0)
            profits += np.where(open_[:, None], self.market.profit(charged), 0.0)
            length += open_
            state = self._next[sessions, state]
            open_ &= state != first
        return first, prices / length[:, None], profits / length[:, None], length

    @property
    def prices(self) -> FloatArray:
        """Mean price of each firm over the limit cycle, (S, n)."""
        return self._cycle[1]

    @property
    def profits(self) -> FloatArray:
        """Mean profit of each firm over the limit cycle, (S, n)."""
        return self._cycle[2]

    @property
    def cycle_length(self) -> IntArray:
        """Periods after which prices repeat, (S,)."""
        return self._cycle[3]

    @property
    def gain(self) -> FloatArray:
        """Delta of each session: of the firms' mean profit, (S,)."""
        nash, joint = self.market.nash().profits.mean(), self.market.monopoly().profits.mean()
        return np.asarray((self.profits.mean(axis=1) - nash) / (joint - nash))

    def deviation(self, firm: int = 0, price: float | None = None, after: int = 15) -> pd.DataFrame:
        """Mean prices where one firm is made to charge another price once.

        Everybody, the firm included, follows the strategies before and after.

        Parameters
        ----------
        firm : int
            Who deviates.
        price : float, optional
            Taken to the nearest on the grid; by default the one that pays most at once.
        after : int
            Periods shown after the deviation.

        Returns
        -------
        DataFrame
            Mean over converged sessions of the prices of ``deviator`` and ``others``, their
            standard errors, and ``profit``, the deviator's less what it would have had; by
            ``period``, 0 that of the deviation.

        Raises
        ------
        InputError
            Where no session converged, or there is no such firm.

        Examples
        --------
        >>> from mlinstruments.applications.pricing import q_learning
        >>> found = q_learning(sessions=20, beta=2e-3, n_prices=6, stable=2000)
        >>> path = found.deviation(after=3)
        >>> path.index.tolist(), bool(path.loc[0, "deviator"] < path.loc[-1, "deviator"])
        ([-1, 0, 1, 2, 3], True)
        """
        check_count(after, "after", 1)
        n = self.market.n_firms
        if firm not in range(n):
            raise InputError(f"firm must be 0 to {n - 1}; got {firm!r}.")
        chosen = np.flatnonzero(self.converged)
        if not len(chosen):
            raise InputError("no session converged: there is no settled behaviour to deviate from.")
        state = self._cycle[0][chosen]
        ahead = self._next[chosen, state]
        forced = self._actions[ahead].copy()
        if price is None:
            forced[:, firm] = self._best_once(forced, firm)
        else:
            forced[:, firm] = int(np.abs(self.grid - price).argmin())
        powers = len(self.grid) ** np.arange(n)[::-1]
        paths = [[state, ahead], [state, forced @ powers]]  # undisturbed, disturbed
        for path in paths:
            for _ in range(after):
                path.append(self._next[chosen, path[-1]])
        calm, shaken = (self.grid[self._actions[np.array(path)]] for path in paths)
        more = (self.market.profit(shaken) - self.market.profit(calm))[..., firm]
        others = np.delete(shaken, firm, axis=2).mean(axis=2)
        columns = {"deviator": shaken[..., firm], "others": others, "profit": more}
        table = {name: values.mean(axis=1) for name, values in columns.items()}
        for name, values in columns.items():
            table[f"{name}_se"] = _standard_error(values, axis=1)
        return pd.DataFrame(table, index=pd.RangeIndex(-1, after + 1, name="period"))

    def _best_once(self, actions: IntArray, firm: int) -> IntArray:
        """Position on the grid of the price that pays most against the others' in ``actions``."""
        tried = np.repeat(actions[:, None, :], len(self.grid), axis=1)
        tried[:, :, firm] = np.arange(len(self.grid))
        best = self.market.profit(self.grid[tried])[..., firm].argmax(axis=1)
        return np.asarray(best)

    @property
    def summary(self) -> Table:
        """Prices and gains of the sessions that converged, with standard errors over sessions."""
        ok = self.converged
        settings = ", ".join(f"{name} {value:g}" for name, value in asdict(self.learning).items())
        facts = [
            ("Sessions", f"{len(ok)}, {int(ok.sum())} converged"),
            ("Learning", settings),
            ("Periods", f"{np.mean(self.periods):.0f} on average"),
        ]
        if not ok.any():
            note = "No session converged: allow more periods or let exploration decay faster."
            return Table("Q-learning firms", tuple(facts), notes=(note,))
        facts.append(("Constant prices", f"{np.mean(self.cycle_length[ok] == 1):.2f} of sessions"))
        price = self.prices[ok].mean(axis=1)
        rows = [
            (
                "price",
                self.market.nash().prices.mean(),
                price,
                self.market.monopoly().prices.mean(),
            ),
            ("profit gain", 0.0, self.gain[ok], 1.0),
        ]
        body = tuple(
            (
                name,
                number(nash),
                number(values.mean()),
                number(float(_standard_error(values, axis=0))),
                number(joint),
            )
            for name, nash, values, joint in rows
        )
        return Table("Q-learning firms", tuple(facts), ("", "Nash", "mean", "se", "monopoly"), body)


def _standard_error(values: FloatArray, axis: int) -> FloatArray:
    """Of the mean over sessions; NaN of a single one."""
    n = values.shape[axis]
    if n == 1:
        return np.full(np.delete(values.shape, axis), np.nan)
    return np.asarray(values.std(axis=axis, ddof=1) / np.sqrt(n))
