"""Prices as choices with own and universalised payoffs, or why they tell nothing of morality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlinstruments._core.exceptions import InputError, NotIdentifiedError
from mlinstruments._core.typing import BoolArray, FloatArray, IntArray
from mlinstruments.preferences.allocations import AllocationChoices

if TYPE_CHECKING:
    from .market import Market

STEPS = 41
CONDUCT = (
    "Such prices identify conduct, not morality: a firm with a moral weight, one that cares for the"
    " others' profit and a cartel may all charge them. Market.conduct measures what they have in"
    " common. A moral weight needs prices set once against prices of others that are announced and"
    " vary at random."
)


def price_choices(
    market: Market,
    prices: Any,
    known: Any,
    firm: Any,
    labels: Mapping[str, Any] | None,
    grid: Any,
) -> AllocationChoices:
    """See :meth:`Market.choices`."""
    charged, others = np.asarray(prices, dtype=np.float64), np.asarray(known, dtype=np.float64)
    n = market.n_firms
    if n < 2:
        raise NotIdentifiedError("a single firm's own and universalised profits are the same.")
    if charged.ndim != 1 or others.shape != (len(charged), n) or not len(charged):
        raise InputError(
            f"prices must be one a choice, and known one a choice and firm, {n} of them; got shapes"
            f" {charged.shape} and {others.shape}."
        )
    who = np.broadcast_to(np.asarray(firm), charged.shape)
    if not np.isin(who, np.arange(n)).all():
        raise InputError(f"firm must be 0 to {n - 1}; got {firm!r}.")
    is_own = np.arange(n) == who[:, None]
    rivals = others[~is_own].reshape(len(charged), n - 1)
    if not (np.isfinite(charged).all() and np.isfinite(rivals).all()):
        raise InputError("prices, and the others' known prices, must be finite.")
    menu = _menu(market, charged, grid)
    chosen = np.abs(charged[:, None] - menu).argmin(axis=1)
    _require_identified(rivals, charged, who, float(np.diff(menu).max()))
    own, universal = _payoffs(market, menu, others, who, is_own)
    columns = {"firm": who, **(labels or {})}
    names = [f"{price:.6g}" for price in menu]
    return AllocationChoices.from_payoffs(own, universal, chosen, columns, names=names)


def _menu(market: Market, charged: FloatArray, grid: Any) -> FloatArray:
    if grid is None:
        ends = (market.nash().prices, market.monopoly().prices, charged)
        return np.linspace(min(map(np.min, ends)), max(map(np.max, ends)), STEPS)
    menu = np.asarray(grid, dtype=np.float64)
    if menu.ndim != 1 or len(menu) < 2 or not (np.diff(menu) > 0).all():
        raise InputError(f"grid must be two or more ascending prices; got {grid!r}.")
    low, high = 1.5 * menu[0] - 0.5 * menu[1], 1.5 * menu[-1] - 0.5 * menu[-2]
    off = (charged < low) | (charged > high)
    if off.any():
        row = int(off.argmax())
        raise InputError(
            f"choice {row}: price {charged[row]:g} is off the grid, {menu[0]:g} to {menu[-1]:g}:"
            " widen it."
        )
    return menu


def _require_identified(
    rivals: FloatArray, charged: FloatArray, who: IntArray, step: float
) -> None:
    """Raise where no firm faced prices that vary, or all charged the same as the others."""
    varies = any(
        len(np.unique(rivals[who == firm], axis=0)) > 1 for firm in np.unique(who).tolist()
    )
    if not varies:
        raise NotIdentifiedError(f"the others' prices never vary. {CONDUCT}")
    if (np.abs(rivals - charged[:, None]) <= step / 2).all():
        raise NotIdentifiedError(f"every price is that of the others. {CONDUCT}")


def _payoffs(
    market: Market, menu: FloatArray, others: FloatArray, who: IntArray, is_own: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Own and universalised profits of every price on the menu, (N, prices) each."""
    moved = np.where(is_own[:, None, :], menu[None, :, None], others[:, None, :])
    rows = np.arange(len(who))
    own = market.profit(moved)[rows, :, who]
    alike = market.profit(np.repeat(menu[:, None], others.shape[1], axis=1))
    return own, alike[:, who].T
