"""What repeated price competition left behind: prices, profits, and every answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import AssumptionWarning
from mlinstruments._core.tables import Printed, Table, number
from mlinstruments._core.typing import FloatArray
from mlinstruments._core.warn import warn_user
from mlinstruments.preferences.allocations import AllocationChoices

from .market import Market


@dataclass(frozen=True, eq=False, repr=False)
class Competition(Printed):
    """Sessions of repeated price competition.

    Parameters
    ----------
    market : Market
    names : tuple of str
        Of the firms.
    prices : array, shape (sessions, 1 + periods, n)
        Period 0 is the opening, which nobody chose.
    rows : tuple of dict
        The log: one a price.

    Examples
    --------
    >>> from mlinstruments.applications.pricing import BestResponseFirm, Market, compete
    >>> run = compete(Market(), [BestResponseFirm(), BestResponseFirm()], periods=40)
    >>> run.last(10)[["firm", "price", "gain"]].round(4)
       firm   price  gain
    0     0  1.4729   0.0
    1     1  1.4729   0.0
    """

    market: Market
    names: tuple[str, ...]
    prices: FloatArray
    rows: tuple[dict[str, Any], ...]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a price: the log with quantity, profit and Delta, sorted."""
        table = pd.DataFrame(list(self.rows)).sort_values(["session", "period", "firm"])
        place = tuple(table[name].to_numpy() for name in ("session", "period", "firm"))
        profits = self.market.profit(self.prices)
        table["quantity"] = self.market.demand(self.prices)[place]
        table["profit"] = profits[place]
        table["gain"] = self.market.profit_gain(profits)[place]
        return table.reset_index(drop=True)

    def last(self, periods: int = 100) -> pd.DataFrame:
        """Means over the last periods of every session.

        Parameters
        ----------
        periods : int
            All where there are fewer; the opening does not count.

        Returns
        -------
        DataFrame
            ``session``, ``firm``, ``agent``, ``price``, ``profit``, ``gain`` (Delta of the mean
            profit) and ``conduct`` (of the mean prices).
        """
        check_count(periods, "periods", 1)
        kept = self.prices[:, 1:][:, -periods:]
        price, profit = kept.mean(axis=1), self.market.profit(kept).mean(axis=1)
        several = self.market.n_firms > 1
        conduct = self.market.conduct(price) if several else np.full(price.shape, np.nan)
        sessions, n = price.shape
        return pd.DataFrame(
            {
                "session": np.repeat(np.arange(sessions), n),
                "firm": np.tile(np.arange(n), sessions),
                "agent": np.tile(np.array(self.names, dtype=object), sessions),
                "price": price.ravel(),
                "profit": profit.ravel(),
                "gain": self.market.profit_gain(profit).ravel(),
                "conduct": conduct.ravel(),
            }
        )

    def choices(self, after: int = 0, grid: Any = None) -> AllocationChoices:
        """Chosen prices as choices against what the others charged one period before.

        Parameters
        ----------
        after : int
            Periods left out at the beginning.
        grid : array, optional
            As in :meth:`Market.choices`.

        Returns
        -------
        AllocationChoices
            With the log's ``session``, ``period`` and ``agent`` to cluster by.

        Raises
        ------
        NotIdentifiedError
            As :meth:`Market.choices`, such as where prices have settled.

        Warns
        -----
        AssumptionWarning
            A kappa of these choices is that of firms that look no further than the period and
            expect the others to stay.

        Examples
        --------
        >>> import warnings
        >>> from mlinstruments.applications.pricing import LogitFirm, Market, compete
        >>> run = compete(Market(), [LogitFirm(0.5), LogitFirm(0.5)], periods=20)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     run.choices().n_choices
        40.0
        """
        check_count(after, "after", 0)
        frame = self.frame
        kept = frame[(frame["status"] == "ok") & (frame["period"] > after)]
        session, period, firm = (kept[c].to_numpy() for c in ("session", "period", "firm"))
        known = self.prices[session, period - 1]
        labels = {name: kept[name].to_numpy() for name in ("session", "period", "agent")}
        found = self.market.choices(kept["price"].to_numpy(), known, firm, labels, grid)
        warn_user(
            "choices of a repeated game are taken as if firms looked no further than the period and"
            " expected the others to charge what they charged last: rewards and punishments to come"
            " would pass for a moral weight.",
            AssumptionWarning,
        )
        return found

    @property
    def statuses(self) -> dict[str, int]:
        """How many prices were chosen, forced, or carried over from the period before, and why."""
        return dict(Counter(row["status"] for row in self.rows))

    @property
    def summary(self) -> Table:
        """A row a firm: means over the last 100 periods and standard errors over sessions."""
        sessions, periods, _ = self.prices.shape
        found = self.last(100)
        rows = []
        for firm, name in enumerate(self.names):
            own = found[found["firm"] == firm]
            cells = [name]
            for column in ("price", "gain", "conduct"):
                # What rounding leaves of zero is zero.
                cells.append(number(round(float(own[column].mean()), 12)))
                if sessions > 1:
                    cells.append(number(round(float(own[column].sem()), 12)))
            rows.append(tuple(cells))
        heads = [""]
        for column in ("price", "profit gain", "conduct"):
            heads += [column, "se"] if sessions > 1 else [column]
        counts = ", ".join(f"{status} {n}" for status, n in sorted(self.statuses.items()))
        facts = (
            ("Sessions, periods", f"{sessions}, {periods - 1}"),
            ("Prices", counts),
            ("Nash, monopoly", ", ".join(
                number(float(o.prices.mean())) for o in (self.market.nash(), self.market.monopoly())
            )),
        )  # fmt: skip
        note = f"Means over the last {min(100, periods - 1)} periods."
        return Table("Price competition", facts, tuple(heads), tuple(rows), (note,))
