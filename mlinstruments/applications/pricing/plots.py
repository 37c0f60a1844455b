"""Pictures of price competition: paths, profit gains by pair, the response to a price cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_count
from mlinstruments._core.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    pyplot,
)
from mlinstruments._core.exceptions import InputError

from .competition import Competition

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)


def plot_prices(
    run: Competition, session: int | None = None, ax: Any = None, window: int | None = None
) -> Any:
    """Prices of every firm over time, between those of Nash and of the joint monopoly.

    Parameters
    ----------
    run : Competition
    session : int, optional
        Which one; by default the mean over all, with a band from the 10th to the 90th percentile.
    ax : matplotlib Axes, optional
    window : int, optional
        Draw means over so many last periods, and prices as dots: for firms whose prices jump.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.
    InputError
        Where there is no such session.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from mlinstruments.applications.pricing import (
    ...     BestResponseFirm, Market, compete, plot_prices)
    >>> run = compete(Market(), [BestResponseFirm(), BestResponseFirm(0.5)], periods=20)
    >>> plot_prices(run).get_xlabel()
    'period'
    """
    sessions, periods, n = run.prices.shape
    if session is not None and session not in range(sessions):
        raise InputError(f"session must be 0 to {sessions - 1}; got {session!r}.")
    if window is not None:
        check_count(window, "window", 1)
    if ax is None:
        ax = pyplot().subplots(figsize=(6.5, 3.6), layout="constrained")[1]
    shown = run.prices if session is None else run.prices[[session]]
    _benchmarks(ax, run.market.nash().prices, run.market.monopoly().prices)
    time = np.arange(periods)
    for firm in range(n):
        colour = COLOURS[firm % len(COLOURS)]
        if len(shown) > 1:
            low, high = np.quantile(shown[:, :, firm], (0.1, 0.9), axis=0)
            ax.fill_between(time, low, high, color=colour, alpha=0.15, linewidth=0)
        path = shown[:, :, firm].mean(axis=0)
        if window is not None:
            ax.plot(time, path, ".", color=colour, alpha=0.25, markersize=3, markeredgewidth=0)
            path = pd.Series(path).rolling(window, min_periods=1).mean().to_numpy()
        ax.plot(
            time, path, color=colour, linewidth=1.4,
            linestyle="-" if firm % 2 == 0 else (0, (5, 1.5)), label=run.names[firm],
        )  # fmt: skip
    ax.set_xlim(0, periods * 1.12)  # room for the words at the right
    ax.set_xlabel("period")
    ax.set_ylabel("price")
    ax.spines[["top", "right"]].set_visible(False)
    # On white, since it may come to lie on a dashed line.
    ax.legend(fontsize="small", loc="best", framealpha=1.0, edgecolor="none")
    return ax


def _benchmarks(ax: Any, nash: Any, joint: Any) -> None:
    for words, prices in (("Nash", nash), ("monopoly", joint)):
        for k, price in enumerate(np.unique(np.round(prices, 10))):
            ax.axhline(price, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            if k == 0:
                ax.text(
                    0.995, price, words, transform=ax.get_yaxis_transform(), ha="right",
                    va="bottom", fontsize="small", color=GREY,
                )  # fmt: skip


def plot_gains(
    runs: Mapping[tuple[str, str], Competition], periods: int = 100, ax: Any = None
) -> Any:
    """Profit gains by pair of agents, each of the agent in the row against that in the column.

    Parameters
    ----------
    runs : mapping of (first, second) to Competition
        Of two firms each. A pair that was run in one order stands for both.
    periods : int
        Last periods that are averaged.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.
    InputError
        Where a run is not of two firms.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from mlinstruments.applications.pricing import (
    ...     BestResponseFirm, Market, compete, plot_gains)
    >>> firms = BestResponseFirm(), BestResponseFirm(0.5)
    >>> runs = {(a.name, b.name): compete(Market(), [a, b], periods=30)
    ...         for a in firms for b in firms}
    >>> ax = plot_gains(runs)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['economicus', 'moralis 0.5']
    """
    table = gain_table(runs, periods)
    if ax is None:
        side = 2.2 + 1.05 * len(table)
        ax = pyplot().subplots(figsize=(side + 0.9, side), layout="constrained")[1]
    values = table.to_numpy()
    reach = max(1.0, float(np.nanmax(np.abs(values))))
    image = ax.imshow(values, cmap="RdBu", vmin=-reach, vmax=reach)
    for i, j in np.argwhere(~np.isnan(values)):
        dark = abs(values[i, j]) > 0.6 * reach
        ax.text(
            j, i, f"{values[i, j]:.2f}", ha="center", va="center",
            color="white" if dark else "black",
        )  # fmt: skip
    ax.set_xticks(range(len(table)), table.columns, rotation=30, ha="right")
    ax.set_yticks(range(len(table)), table.index)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("against")
    ax.figure.colorbar(image, ax=ax, label="profit gain (0 Nash, 1 monopoly)", shrink=0.8)
    return ax


def gain_table(runs: Mapping[tuple[str, str], Competition], periods: int = 100) -> pd.DataFrame:
    """Mean profit gain of the agent in the row against that in the column."""
    names: Sequence[str] = list(dict.fromkeys(name for pair in runs for name in pair))
    table = pd.DataFrame(np.nan, index=names, columns=names)
    own: dict[tuple[str, str], list[float]] = {}
    for (first, second), run in runs.items():
        if run.market.n_firms != 2:
            raise InputError(f"{first!r} against {second!r}: a pair has two firms.")
        gain = run.last(periods).groupby("firm")["gain"].mean()
        own.setdefault((first, second), []).append(float(gain[0]))
        own.setdefault((second, first), []).append(float(gain[1]))
    for (first, second), values in own.items():
        table.loc[first, second] = float(np.mean(values))
    return table


def plot_response(table: pd.DataFrame, ax: Any = None) -> Any:
    """Prices around a cut that one firm was made to take in period 0.

    Parameters
    ----------
    table : DataFrame
        Of :func:`impulse_response` or :meth:`QLearningResults.deviation`.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Bands are 95% intervals of the means over sessions.

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.
    InputError
        For another table.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from mlinstruments.applications.pricing import (
    ...     Market, TitForTatFirm, impulse_response, plot_response)
    >>> found = impulse_response(
    ...     Market(), [TitForTatFirm(), TitForTatFirm()], price=1.5, at=5, after=3)
    >>> plot_response(found).get_xlabel()
    'period after the cut'
    """
    if not {"deviator", "others"} <= set(table.columns):
        raise InputError("plot_response takes the table of impulse_response or deviation.")
    if ax is None:
        ax = pyplot().subplots(figsize=(6.0, 3.6), layout="constrained")[1]
    for name, colour, mark in (("deviator", VERMILION, "o"), ("others", BLUE, "s")):
        error = 1.96 * table.get(f"{name}_se", pd.Series(0.0, table.index)).fillna(0.0)
        ax.fill_between(
            table.index, table[name] - error, table[name] + error, color=colour, alpha=0.15,
            linewidth=0,
        )  # fmt: skip
        ax.plot(
            table.index, table[name], color=colour, marker=mark, markersize=4, linewidth=1.3,
            label=name,
        )  # fmt: skip
        ax.axhline(table[name].iloc[0], color=colour, linewidth=0.8, linestyle=(0, (1, 2)))
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    ax.set_xlabel("period after the cut")
    ax.set_ylabel("price")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small", loc="best")
    return ax
