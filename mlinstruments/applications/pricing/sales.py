"""What prices lead to in a market with logit demand: shares, quantities, profits, surplus."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlinstruments._core.arrays import as_float_column, check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray

from .checks import PerFirm, per_firm
from .demand import Demand, inclusive_value, shares
from .outcome import Outcome


@dataclass(frozen=True)
class Sales:
    """Parameters of a market and what follows from prices; :class:`Market` adds what firms want."""

    n_firms: int = 2
    a: PerFirm = 2.0
    a0: float = 0.0
    mu: float = 0.25
    cost: PerFirm = 1.0
    scale: float = 100.0

    def __post_init__(self) -> None:
        check_count(self.n_firms, "n_firms", 1)
        for name in ("a", "cost"):
            object.__setattr__(self, name, per_firm(getattr(self, name), name, self.n_firms))
        for name in ("a0", "mu", "scale"):
            value = getattr(self, name)
            if np.ndim(value) or not np.isfinite(as_float_column(np.atleast_1d(value), name)[0]):
                raise InputError(f"{name} must be one finite number; got {value!r}.")
            if name != "a0" and not value > 0:
                raise InputError(f"{name} must be positive; got {value!r}.")

    @cached_property
    def _arrays(self) -> Demand:
        return Demand(np.array(self.a), np.array(self.cost), float(self.a0), float(self.mu))

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters, as JSON."""
        return {name: list(v) if np.ndim(v) else v for name, v in asdict(self).items()}

    # ---- what prices lead to ------------------------------------------------------------------

    def shares(self, prices: Any) -> FloatArray:
        """Shares of consumers.

        Parameters
        ----------
        prices : array, shape (..., n)

        Returns
        -------
        array, shape (..., n)
        """
        return shares(self._arrays, self._profile(prices))

    def demand(self, prices: Any) -> FloatArray:
        """Quantities: ``scale`` times :meth:`shares`.

        Parameters
        ----------
        prices : array, shape (..., n)

        Returns
        -------
        array, shape (..., n)
        """
        return np.asarray(self.scale * self.shares(prices))

    def profit(self, prices: Any) -> FloatArray:
        """(price - cost) times quantity.

        Parameters
        ----------
        prices : array, shape (..., n)

        Returns
        -------
        array, shape (..., n)
        """
        return np.asarray((self._profile(prices) - self._arrays.cost) * self.demand(prices))

    def consumer_surplus(self, prices: Any) -> FloatArray:
        """``scale`` mu log(sum_j exp((a_j - p_j) / mu) + exp(a0 / mu)).

        Defined but for a constant: its derivative in a price is minus the quantity.

        Parameters
        ----------
        prices : array, shape (..., n)

        Returns
        -------
        array, shape (...)
        """
        return np.asarray(self.scale * inclusive_value(self._arrays, self._profile(prices)))

    def outcome(self, prices: Any, what: str = "Prices") -> Outcome:
        """Shares, profits and consumer surplus together.

        Parameters
        ----------
        prices : array, shape (n,)
        what : str
            Title of the printed table.

        Returns
        -------
        Outcome
        """
        p = self._profile(prices, one=True)
        return Outcome(what, p, self.shares(p), self.profit(p), float(self.consumer_surplus(p)))

    # ---- checks -------------------------------------------------------------------------------

    def _profile(self, prices: Any, one: bool = False) -> FloatArray:
        p = np.asarray(prices, dtype=np.float64)
        if p.ndim == 0 or p.shape[-1] != self.n_firms or (one and p.ndim > 1):
            raise InputError(f"prices must be one a firm, {self.n_firms} here; got {prices!r}.")
        if not np.isfinite(p).all():
            raise InputError(f"prices must be finite; got {prices!r}.")
        return p

    def _firm(self, firm: int) -> int:
        if firm not in range(self.n_firms):
            raise InputError(f"firm must be 0 to {self.n_firms - 1}; got {firm!r}.")
        return int(firm)
