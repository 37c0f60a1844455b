"""The picture of a first stage taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlinstruments._core.drawing import BLUE, GREY, ORANGE, pyplot

if TYPE_CHECKING:
    from .explain import FirstStageExplanation
    from .mte_weights import MTEWeights

# Rows of the importance panel: more names than this cannot be read.
MOST_BARS = 15


def plot_explanation(explained: FirstStageExplanation, most: int = 4) -> Any:
    """First stage, importance, and curves of the ``most`` important instruments.

    Parameters
    ----------
    explained : FirstStageExplanation
    most : int

    Returns
    -------
    matplotlib Figure
    """
    names = _curved(explained)[:most]
    across = 3
    down = int(np.ceil((2 + len(names)) / across))
    figure, panels = pyplot().subplots(
        down, across, figsize=(3.6 * across, 3.0 * down), layout="constrained", squeeze=False
    )
    flat = list(panels.ravel())
    _first_stage(flat[0], explained)
    _importance(flat[1], explained)
    for ax, name in zip(flat[2:], names, strict=False):
        _curve(ax, explained, name)
    same = [ax.get_ylim() for ax in flat[2 : 2 + len(names)]]
    for ax in flat[2 : 2 + len(names)]:  # one scale: heights are what is compared
        ax.set_ylim(min(low for low, _ in same), max(high for _, high in same))
    for ax in flat[2 + len(names) :]:
        ax.set_visible(False)
    for ax in flat:
        ax.spines[["right", "top"]].set_visible(False)
    return figure


def _curved(explained: FirstStageExplanation) -> list[str]:
    """Instruments that have curves, by importance; those of groups come last."""
    known = list(dict.fromkeys(explained.curves["instrument"]))
    first = [name for name in explained.importance.index if name in known]
    return first + [name for name in known if name not in first]


def _first_stage(ax: Any, explained: FirstStageExplanation) -> None:
    bins = explained.bins
    ax.errorbar(
        bins["predicted"], bins["actual"], 2 * bins["std_error"], fmt="o", color=BLUE,
        markersize=4, elinewidth=1,
    )  # fmt: skip
    ends = np.array([bins["predicted"].min(), bins["predicted"].max()])
    ax.plot(ends, ends, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    ax.set_xlabel("predicted, given the covariates")
    ax.set_ylabel(explained.regressor)
    ax.set_title(f"First stage, partial R² {explained.partial_r2:.3f}", fontsize="medium")


def _importance(ax: Any, explained: FirstStageExplanation) -> None:
    table = explained.importance.iloc[:MOST_BARS].iloc[::-1]
    places = np.arange(len(table))
    ax.barh(places, table["importance"], color=BLUE, height=0.6)
    folds = [name for name in table.columns if name.startswith("fold")]
    for fold in folds:
        ax.plot(table[fold], places, "o", color=ORANGE, markersize=3.5, alpha=0.8)
    ax.plot([], [], "o", color=ORANGE, markersize=3.5, label="each fold")
    ax.set_yticks(places, [str(name) for name in table.index])
    ax.axvline(0.0, color=GREY, linewidth=0.8)
    ax.set_title("Partial R² lost by shuffling", fontsize="medium")
    ax.legend(loc="lower right", frameon=False, fontsize="small")


def _curve(ax: Any, explained: FirstStageExplanation, name: str) -> None:
    curve = explained.curves[explained.curves["instrument"] == name]
    for fold in [column for column in curve.columns if column.startswith("fold")]:
        ax.plot(curve["value"], curve[fold], color=GREY, linewidth=0.7, alpha=0.6)
    (line,) = ax.plot(curve["value"], curve["mean"], color=BLUE, linewidth=2)
    if len(curve) <= 3:
        line.set_marker("o")
    line.set_gid(f"curve {name}")
    ax.set_title(str(name), fontsize="medium")
    ax.set_ylabel(f"predicted {explained.regressor}")


def plot_mte_weights(found: MTEWeights, ax: Any = None) -> Any:
    """Weights on marginal treatment effects as steps, negative ones in another colour.

    Parameters
    ----------
    found : MTEWeights
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    if ax is None:
        ax = pyplot().subplots(figsize=(6.0, 3.6), layout="constrained")[1]
    u, weight = found.table["u"].to_numpy(), found.table["weight"].to_numpy()
    half = (u[1] - u[0]) / 2
    edges = np.append(u - half, u[-1] + half)
    ax.stairs(np.maximum(weight, 0), edges, fill=True, color=BLUE, alpha=0.7)
    if found.negative > 0:
        ax.stairs(np.minimum(weight, 0), edges, fill=True, color=ORANGE, alpha=0.9)
        words = f"negative: {found.negative:.3f} of {found.total:.3f}"
        ax.text(0.99, 0.97, words, transform=ax.transAxes, ha="right", va="top", color=GREY)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.set(xlim=(0, 1), xlabel="resistance to treatment u", ylabel="weight on MTE(u)")
    ax.spines[["right", "top"]].set_visible(False)
    return ax
