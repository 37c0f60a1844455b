"""Pictures of a Monte Carlo run: sampling distributions, power curves (the ``plot`` extra)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlinstruments._core.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    pyplot,
)

if TYPE_CHECKING:
    from .report import MonteCarloReport

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
STYLES = {"wald": (0, (3, 2)), "ar": "-"}
# Percentiles of the thin line, the thick one and the dot.
OUTER, INNER = (5, 95), (25, 75)
# Widths of the narrowest outer line that a longer one may stick out of the picture.
LONGEST = 12.0


def plot_report(report: MonteCarloReport, values: Iterable[float] | None, axes: Any) -> Any:
    """Draw both panels; see :meth:`MonteCarloReport.plot`."""
    if axes is None:
        height = max(3.2, 1.6 + 0.42 * len(report.estimators))
        axes = pyplot().subplots(1, 2, figsize=(10, height), layout="constrained")[1]
    left, right = axes
    _distributions(left, report)
    _curves(right, report, values)
    for ax in axes:
        ax.spines[["right", "top"]].set_visible(False)
    return axes


def _colour(report: MonteCarloReport, name: str) -> str:
    return COLOURS[report.estimators.index(name) % len(COLOURS)]


def _distributions(ax: Any, report: MonteCarloReport) -> None:
    ax.axvline(report.truth, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    places = [-float(i) for i in range(len(report.estimators))]
    ends = []
    for name, y in zip(report.estimators, places, strict=True):
        rows = report.draws[report.draws["estimator"] == name]
        found = rows["estimate"].dropna().to_numpy()
        colour = _colour(report, name)
        if len(found) == 0:
            ax.text(report.truth, y, "no estimates", va="center", fontsize="small", color=GREY)
            continue
        outer, inner = np.percentile(found, OUTER), np.percentile(found, INNER)
        ends.append(outer)
        (thin,) = ax.plot(outer, [y, y], color=colour, linewidth=1.5)
        thin.set_gid(f"outer {name}")
        ax.plot(inner, [y, y], color=colour, linewidth=7, solid_capstyle="butt")
        ax.plot([np.median(found)], [y], "o", color="white", markeredgecolor=colour, markersize=6)
    if ends:
        ax.set_xlim(*_limits(np.array(ends), report.truth))
    ax.set_yticks(places, report.estimators)
    ax.set_ylim(places[-1] - 0.6, 0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("Estimates: median, 25-75% (thick), 5-95% (thin)")
    ax.spines["left"].set_visible(False)


def _limits(ends: Any, truth: float) -> tuple[float, float]:
    """Room for all, unless one is so wide that nothing would be seen of the narrowest."""
    centre, width = ends.mean(axis=1), np.ptp(ends, axis=1)
    reach = LONGEST * max(float(width.min()), float(np.ptp([*centre, truth])) / 4)
    low = max(float(ends[:, 0].min()), min(float(centre.min()), truth) - reach)
    high = min(float(ends[:, 1].max()), max(float(centre.max()), truth) + reach)
    low, high = min(low, truth), max(high, truth)
    margin = 0.05 * ((high - low) or 1.0)
    return low - margin, high + margin


def _curves(ax: Any, report: MonteCarloReport, values: Iterable[float] | None) -> None:
    from matplotlib.lines import Line2D

    power = report.power(values)
    ax.axvline(report.truth, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    ax.axhline(1 - report.level, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    shown = set()
    for (name, test), group in power.groupby(["estimator", "test"], sort=False):
        colour, style = _colour(report, name), STYLES[test]
        (line,) = ax.plot(group["value"], group["rejection"], color=colour, linestyle=style)
        line.set_gid(f"{test} {name}")
        shown.add(test)
    words = {"wald": "Wald", "ar": "Anderson-Rubin"}
    entries = [
        Line2D([], [], color=GREY, linestyle=STYLES[test], label=words[test])
        for test in STYLES
        if test in shown
    ]
    entries += [
        Line2D([], [], color=_colour(report, name), linewidth=3, label=name)
        for name in dict.fromkeys(power["estimator"])
    ]
    ax.legend(handles=entries, frameon=False, fontsize="small", loc="center left",
              bbox_to_anchor=(1.0, 0.5))  # fmt: skip
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel(f"Hypothesised coefficient (truth {report.truth:g})")
    ax.set_ylabel("Rejection rate")
