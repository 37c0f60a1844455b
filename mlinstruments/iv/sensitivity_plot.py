"""The picture of exclusion bounds: sets against the size of direct effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlinstruments._core.drawing import BLUE, GREEN, GREY, ORANGE, pyplot

from .confidence_set import ConfidenceSet

if TYPE_CHECKING:
    from .exclusion_sets import ExclusionBounds

# Sets by closed form are quick; those of several instruments are inverted by bisection.
POINTS_QUICK, POINTS_SLOW = 81, 11
# Where the sets at the full range have no end, this many lengths of those that have one are shown.
REACH = 2.0


def plot_exclusion_bounds(bounds: ExclusionBounds, ax: Any = None) -> Any:
    """Unions of Wald intervals and of Anderson-Rubin sets, and local-to-zero intervals.

    Parameters
    ----------
    bounds : ExclusionBounds
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    if ax is None:
        ax = pyplot().subplots(figsize=(7.0, 4.2), layout="constrained")[1]
    shares = np.linspace(0, 1, POINTS_QUICK if len(bounds.low) == 1 else POINTS_SLOW)
    across, label = _across(bounds, shares)
    wald = [bounds.wald_at(s) for s in shares]
    local = [bounds.local_at(s) for s in shares]
    found = [bounds.ar_at(s) for s in shares]
    sets = [one for one in found if one is not None]
    low, high = _limits([*wald, *local, *sets])
    if sets:
        _band(ax, across, sets, low, high)
    for many, colour, style, name in (
        (wald, BLUE, "-", "union of Wald intervals"),
        (local, GREEN, "--", "local to zero"),
    ):
        for side in (0, 1):
            ends = [one.hull[side] for one in many]
            (drawn,) = ax.plot(across, ends, style, color=colour, linewidth=1.6)
            drawn.set_gid(f"{name} {'lower' if side == 0 else 'upper'}")
        drawn.set_label(name)
    ax.axhline(0.0, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    ax.set(xlim=(across[0], across[-1]), ylim=(low, high), xlabel=label)
    ax.set_ylabel(f"Effect of {bounds.endog}, {100 * bounds.level:g}% sets")
    ax.spines[["right", "top"]].set_visible(False)
    ax.legend(loc="best", frameon=False, fontsize="small")
    return ax


def _across(bounds: ExclusionBounds, shares: Any) -> tuple[Any, str]:
    """Places on the axis and what they mean: the direct effect itself where that is one number."""
    free = (bounds.low != 0) | (bounds.high != 0)
    if int(free.sum()) != 1:
        return shares, "Share of the range of direct effects"
    low, high = float(bounds.low[free].iloc[0]), float(bounds.high[free].iloc[0])
    words = f"Direct effect of one unit of {bounds.low.index[free][0]}"
    if low == -high:
        return shares * high, f"{words}, at most (either way)"
    if low == 0:
        return shares * high, f"{words}, at most"
    return shares, f"Share of a direct effect of {low:g} to {high:g}"


def _limits(sets: list[ConfidenceSet]) -> tuple[float, float]:
    """Ends of the vertical axis: those of all sets that have ends, and zero."""
    ends = np.array([end for one in sets for end in one.hull])
    finite = ends[np.isfinite(ends)]
    if len(finite) == 0:
        return -1.0, 1.0
    low, high = min(float(finite.min()), 0.0), max(float(finite.max()), 0.0)
    if len(finite) < len(ends):  # a little beyond what has an end
        bounded = [one.length for one in sets if one.is_bounded] or [high - low]
        low, high = low - REACH * bounded[0], high + REACH * bounded[0]
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _band(ax: Any, across: Any, sets: list[ConfidenceSet], low: float, high: float) -> None:
    """Anderson-Rubin sets: a smooth band of intervals, or bars where there are rays and holes."""
    style = {"color": ORANGE, "alpha": 0.35, "linewidth": 0}
    label = "union of AR sets"
    if len(sets) == len(across) and all(len(one.intervals) == 1 for one in sets):
        hulls = np.clip([one.hull for one in sets], low, high)
        ax.fill_between(across, hulls[:, 0], hulls[:, 1], label=label, **style)
        return
    half = (across[1] - across[0]) / 2
    for x, one in zip(across, sets, strict=False):
        for a, b in np.clip(np.reshape(one.intervals, (-1, 2)), low, high):
            ax.fill_between([x - half, x + half], a, b, label=label, **style)
            label = "_"
