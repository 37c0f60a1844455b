"""Prices and what they lead to, in one value."""

from __future__ import annotations

from dataclasses import dataclass

from mlinstruments._core.tables import Printed, Table, number
from mlinstruments._core.typing import FloatArray


@dataclass(frozen=True, eq=False, repr=False)
class Outcome(Printed):
    """Prices and what they lead to.

    Parameters
    ----------
    what : str
        How the prices came about.
    prices : array, shape (n,)
    shares : array, shape (n,)
        Of all consumers; the rest buy nothing.
    profits : array, shape (n,)
    consumer_surplus : float
        See :meth:`Market.consumer_surplus`.

    Examples
    --------
    >>> from mlinstruments.applications.pricing import Market
    >>> Market().nash().prices.round(6)
    array([1.472927, 1.472927])
    """

    what: str
    prices: FloatArray
    shares: FloatArray
    profits: FloatArray
    consumer_surplus: float

    @property
    def summary(self) -> Table:
        """A row a firm."""
        rows = [
            (str(k), number(p, 6), number(s, 6), number(v, 4))
            for k, (p, s, v) in enumerate(zip(self.prices, self.shares, self.profits, strict=True))
        ]
        facts = (("Consumer surplus", number(self.consumer_surplus)),)
        return Table(self.what, facts, ("firm", "price", "share", "profit"), tuple(rows))
