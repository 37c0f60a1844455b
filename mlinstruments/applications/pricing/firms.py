"""Firms with known rules: what every other agent is compared with.

A firm's rule is told the prices of all past periods and gives the next one. It keeps nothing that
could not be had from these prices, so that a run can be taken up anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, runtime_checkable
from typing import Protocol as TypingProtocol

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray

from .checks import weight_of
from .market import Market
from .qlearning import price_grid

# From past prices (periods, n), the opening ones first, and random numbers of its own to a price.
Rule = Callable[[FloatArray, np.random.Generator], float]


@runtime_checkable
class Firm(TypingProtocol):
    """What :func:`compete` lets set prices by rule; nothing need be inherited.

    Examples
    --------
    >>> from mlinstruments.applications.pricing import Firm, Market, compete
    >>> class CostPlus:
    ...     name, settings = "cost plus", {}
    ...
    ...     def rule(self, market, firm):
    ...         return lambda prices, rng: 1.2 * market.cost[firm]
    >>> isinstance(CostPlus(), Firm)
    True
    >>> compete(Market(), [CostPlus(), CostPlus()], periods=2).prices[0, -1]
    array([1.2, 1.2])
    """

    @property
    def name(self) -> str:
        """What logs call it."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What its prices depend on; plain JSON values."""
        ...

    def rule(self, market: Market, firm: int) -> Rule:
        """The rule of a firm in a market, anew for every session."""
        ...


@dataclass(frozen=True)
class BestResponseFirm:
    """Charges the best price against what the others charged last, as if nothing followed.

    Parameters
    ----------
    kappa : float
        Weight of the universalised profit: 0 is homo economicus, above it homo moralis.
    name : str
        What logs call it; by default after the kappa.

    Examples
    --------
    >>> from mlinstruments.applications.pricing import BestResponseFirm, Market, compete
    >>> run = compete(Market(), [BestResponseFirm(0.5), BestResponseFirm(0.5)], periods=60)
    >>> run.prices[0, -1].round(6)
    array([1.710572, 1.710572])
    """

    kappa: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        kind = "economicus" if weight_of(self.kappa) == 0 else f"moralis {self.kappa:g}"
        object.__setattr__(self, "name", self.name or kind)

    @property
    def settings(self) -> dict[str, Any]:
        """Its kappa."""
        return {"firm": "best response", "kappa": self.kappa}

    def rule(self, market: Market, firm: int) -> Rule:
        """The rule of a firm in a market."""
        return lambda prices, rng: _reply(market, tuple(prices[-1].tolist()), firm, self.kappa)


@lru_cache(maxsize=4096)
def _reply(market: Market, prices: tuple[float, ...], firm: int, kappa: float) -> float:
    """The same question is asked in period after period once prices stand still."""
    return market.best_response(prices, firm, kappa)


@dataclass(frozen=True)
class LogitFirm:
    """Chooses from a grid by a logit of the moral utility against what the others charged last.

    Parameters
    ----------
    choice_scale : float
        lambda, 1 over units of profit; 0 chooses at random.
    kappa : float
    n_prices, spread :
        Of the grid; see :func:`price_grid`.
    name : str

    Examples
    --------
    >>> from mlinstruments.applications.pricing import LogitFirm, Market, compete
    >>> run = compete(Market(), [LogitFirm(0.5), LogitFirm(0.5)], periods=5)
    >>> run.prices.shape
    (1, 6, 2)
    """

    choice_scale: float
    kappa: float = 0.0
    n_prices: int = 15
    spread: float = 0.1
    name: str = "logit"

    def __post_init__(self) -> None:
        weight_of(self.kappa)
        if not 0 <= self.choice_scale < np.inf:
            raise InputError(f"choice_scale must be at least 0; got {self.choice_scale!r}.")

    @property
    def settings(self) -> dict[str, Any]:
        """Its parameters."""
        known = {"choice_scale": self.choice_scale, "kappa": self.kappa}
        return {"firm": "logit", **known, "n_prices": self.n_prices, "spread": self.spread}

    def rule(self, market: Market, firm: int) -> Rule:
        """The rule of a firm in a market."""
        grid = price_grid(market, self.n_prices, self.spread)

        def price(prices: FloatArray, rng: np.random.Generator) -> float:
            utility = market.moral_utility(grid, prices[-1], firm, self.kappa)
            weights = np.exp(self.choice_scale * (utility - utility.max()))
            return float(rng.choice(grid, p=weights / weights.sum()))

        return price


@dataclass(frozen=True)
class TitForTatFirm:
    """Charges the joint monopoly's price first, then the lowest price another charged last.

    Parameters
    ----------
    name : str

    Examples
    --------
    >>> from mlinstruments.applications.pricing import Market, TitForTatFirm, compete
    >>> run = compete(Market(), [TitForTatFirm(), TitForTatFirm()], periods=10)
    >>> run.prices[0, -1].round(4)
    array([1.925, 1.925])
    """

    name: str = "tit for tat"

    @property
    def settings(self) -> dict[str, Any]:
        """It has no parameters."""
        return {"firm": "tit for tat"}

    def rule(self, market: Market, firm: int) -> Rule:
        """The rule of a firm in a market."""
        start = float(market.monopoly().prices[firm])

        def price(prices: FloatArray, rng: np.random.Generator) -> float:
            return start if len(prices) == 1 else float(np.delete(prices[-1], firm).min())

        return price


@dataclass(frozen=True)
class ScriptedFirm:
    """Charges what a script says.

    Parameters
    ----------
    script : float, sequence of float, or callable
        One price for ever; prices of the periods, the last one kept; or a function from past prices
        (periods, n) to a price, which logs know by its name alone.
    name : str

    Examples
    --------
    >>> from mlinstruments.applications.pricing import Market, ScriptedFirm, compete
    >>> run = compete(Market(), [ScriptedFirm([1.8, 1.7]), ScriptedFirm(1.5)], periods=3)
    >>> run.prices[0, 1:].tolist()
    [[1.8, 1.5], [1.7, 1.5], [1.7, 1.5]]
    """

    script: float | Sequence[float] | Callable[[FloatArray], float] = field(repr=False)
    name: str = "scripted"

    def __post_init__(self) -> None:
        if not callable(self.script):
            values = np.atleast_1d(np.asarray(self.script, dtype=np.float64))
            if not len(values) or not np.isfinite(values).all():
                raise InputError(f"a script needs finite prices; got {self.script!r}.")

    @property
    def settings(self) -> dict[str, Any]:
        """The prices, or the name of the function."""
        if callable(self.script):
            known: Any = getattr(self.script, "__qualname__", type(self.script).__name__)
        else:
            known = np.atleast_1d(np.asarray(self.script, dtype=np.float64)).tolist()
        return {"firm": "scripted", "script": known}

    def rule(self, market: Market, firm: int) -> Rule:
        """The rule of a firm in a market."""
        if callable(self.script):
            script = self.script
            return lambda prices, rng: float(script(prices))
        values = np.atleast_1d(np.asarray(self.script, dtype=np.float64))
        return lambda prices, rng: float(values[min(len(prices), len(values)) - 1])
