"""Estimates of several fits with their intervals, one panel a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlinstruments._core.drawing import BLUE, GREY, WHITE_BOX, arrow, pyplot, sides, zero_line
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import BoolArray, FloatArray

from ..results import PreferenceResults

TITLES = {
    "lambda": r"scale $\lambda$ (1 / points)",
    "kappa": r"Kantian weight $\kappa$",
    "alpha": r"aversion to being behind $\alpha$",
    "beta": r"aversion to being ahead $\beta$",
}
# How many typical interval lengths an end may lie beyond the estimates before it is cut off.
REACH = 3.0


def plot_preferences(
    fits: Mapping[str, PreferenceResults],
    parameters: tuple[str, ...] | None = None,
    level: float = 0.95,
    method: str = "delta",
) -> Any:
    """Estimates with intervals: one panel a parameter, one row a fit.

    A fit that is not identified keeps its row, which says so. An end too far out to draw is a
    hollow arrow with its number; an infinite one is a filled arrow. The dashed line is zero.

    Parameters
    ----------
    fits : mapping of name to PreferenceResults
        From the top.
    parameters : tuple of str, optional
        Which, in which order; lambda and all parameters by default.
    level : float
    method : {"delta", "fieller", "bootstrap"}
        See :meth:`.PreferenceResults.conf_int`.

    Returns
    -------
    array of matplotlib Axes, one a parameter

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.
    InputError
        Where there is no fit, or no fit has the parameter.

    Examples
    --------
    >>> import matplotlib
    >>> from mlinstruments.preferences.plots import plot_preferences
    >>> matplotlib.use("Agg")
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import PreferenceLogit, simulate_choices
    >>> data = simulate_choices(default_grid(), scale=0.1, draws=9)
    >>> fit = PreferenceLogit(parameters=("kappa",)).fit(data)
    >>> axes = plot_preferences({"agent": fit})
    >>> len(axes)
    2
    """
    names = _parameters(fits, parameters)
    plt = pyplot()
    intervals = {name: _limits(fit, level, method) for name, fit in fits.items()}
    figure, axes = plt.subplots(
        1,
        len(names),
        figsize=(1.6 + 2.5 * len(names), 1.3 + 0.45 * len(fits)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, parameter in zip(axes[0], names, strict=True):
        _panel(ax, parameter, [(f, intervals[name]) for name, f in fits.items()])
    rows = -np.arange(len(fits), dtype=float)
    axes[0, 0].set_yticks(rows, list(fits))
    axes[0, 0].set_ylim(0.6 - len(fits), 0.6)
    figure.supxlabel(f"estimate and {100 * level:g}% interval ({method})", fontsize="small")
    return axes[0]


def _parameters(
    fits: Mapping[str, PreferenceResults], parameters: tuple[str, ...] | None
) -> tuple[str, ...]:
    if not fits:
        raise InputError(
            "plot_preferences needs at least one fit: plot_preferences({'base': fit})."
        )
    for name, fit in fits.items():
        if not isinstance(fit, PreferenceResults):
            raise InputError(
                f"plot_preferences shows results of PreferenceLogit; {name!r} is a"
                f" {type(fit).__name__}."
            )
    known = tuple(dict.fromkeys(name for fit in fits.values() for name in fit.names))
    for name in parameters or ():
        if name not in known:
            raise InputError(f"no fit has {name!r}; there are {', '.join(known)}.")
    return parameters or known


def _limits(fit: PreferenceResults, level: float, method: str) -> Any:
    return fit.conf_int(level, method) if fit.identification.identified else None


def _panel(ax: Any, parameter: str, fits: list[tuple[PreferenceResults, Any]]) -> None:
    rows = [_row(fit, limits, parameter) for fit, limits in fits]
    ends = np.array(rows, dtype=float)
    low, high = _axis(ends)
    zero_line(ax)
    for position, (row, (fit, _)) in enumerate(zip(rows, fits, strict=True)):
        ax.axhline(-position, color="#E6E6E6", linewidth=0.8, zorder=0)
        if not np.isfinite(row[0]):
            words = "not estimated" if parameter not in fit.names else "not identified"
            ax.text(
                (low + high) / 2, -position, words, ha="center", va="center",
                color=GREY, fontsize="small", style="italic",
                bbox=WHITE_BOX,
            )  # fmt: skip
            continue
        _bar(ax, row, -float(position), low, high)
    ax.set_xlim(low, high)
    ax.set_title(TITLES.get(parameter, parameter), fontsize="medium")
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "right", "top"]].set_visible(False)
    ax.locator_params(axis="x", nbins=5)


def _row(fit: PreferenceResults, limits: Any, parameter: str) -> tuple[float, float, float]:
    if limits is None or parameter not in fit.names:
        return (np.nan, np.nan, np.nan)
    ends = limits.loc[parameter]
    return float(fit.params[parameter]), float(ends["lower"]), float(ends["upper"])


def _axis(rows: FloatArray) -> tuple[float, float]:
    """Ends of the axis: every estimate, zero, and interval ends that are not far out."""
    estimates = rows[np.isfinite(rows[:, 0]), 0]
    if len(estimates) == 0:
        return -1.0, 1.0
    lengths = rows[:, 2] - rows[:, 1]
    lengths = lengths[np.isfinite(lengths)]
    first, last = float(estimates.min()), float(estimates.max())
    typical = float(np.median(lengths)) if len(lengths) else 1.0
    reach = REACH * max(typical, last - first, 1e-12)
    ends: FloatArray = rows[:, 1:].ravel()
    inside: BoolArray = np.isfinite(ends) & (ends > first - reach) & (ends < last + reach)
    low = min(first, 0.0, *ends[inside])
    high = max(last, 0.0, *ends[inside])
    margin = 0.08 * (high - low)
    return low - margin, high + margin


def _bar(ax: Any, row: tuple[float, float, float], y: float, low: float, high: float) -> None:
    estimate, lower, upper = row
    ax.plot([max(lower, low), min(upper, high)], [y, y], color=BLUE, linewidth=1.8, zorder=2)
    ax.plot([estimate], [y], "o", color=BLUE, markersize=6, zorder=3)
    for end, beyond, edge, side in sides((lower, upper), low, high):
        if beyond:
            arrow(ax, end, edge, y, side, BLUE, small=True)
