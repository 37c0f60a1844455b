"""Pictures of estimates (the ``plot`` extra)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlinstruments._core.drawing import (
    BLUE,
    GREY,
    ORANGE,
    WHITE_BOX,
    arrow,
    pyplot,
    sides,
    zero_line,
)
from mlinstruments._core.exceptions import InputError
from mlinstruments.iv.compare import check_results
from mlinstruments.iv.confidence_set import ConfidenceSet
from mlinstruments.iv.mliv_results import MLIVResults
from mlinstruments.iv.results import IVResults

WALD_HEIGHT, AR_HEIGHT = 0.14, -0.16
# How many typical interval lengths an end may lie from the estimates before it is cut off. Wald
# intervals may be huge where nothing is learned; a far end of an Anderson-Rubin set is news.
WALD_REACH, AR_REACH = 2.0, 10.0
# Zero is in the picture unless that would shrink everything else by more than this factor.
NEAR_ZERO = 10.0


@dataclass(frozen=True)
class Row:
    """What is drawn for one model.

    Parameters
    ----------
    name : str
    estimate : float
        NaN where there is none.
    wald : tuple of float
        Lower and upper end; NaN where there is no estimate.
    ar : ConfidenceSet or None
        None for models or coefficients without one.
    strength : str
        The first-stage F in words, or empty.
    """

    name: str
    estimate: float
    wald: tuple[float, float]
    ar: ConfidenceSet | None
    strength: str


def plot_estimates(
    results: Mapping[str, IVResults],
    coefficient: str | None = None,
    level: float = 0.95,
    ax: Any = None,
) -> Any:
    """Point estimates with Wald intervals and Anderson-Rubin sets, one row for each model.

    A filled arrow at the edge of the picture marks a set that has no end on that side. An end that
    is finite but so far out that it would squeeze everything else is cut off: a hollow arrow, with
    the number. At the right stands the first-stage F, and with several instruments q x F, which is
    what compares with the F of one learned instrument.

    Parameters
    ----------
    results : mapping of name to results
        In the order of the rows, from the top.
    coefficient : str, optional
        Which coefficient; may be left out where the models have a single endogenous regressor.
    level : float
        Of the intervals and sets.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.
    InputError
        Where the coefficient is not in a model, or must be named.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from mlinstruments import OLS, TSLS
    >>> from mlinstruments.plotting import plot_estimates
    >>> rng = np.random.default_rng(0)
    >>> z, u = rng.normal(size=(2, 200))
    >>> data = (z + 2 * u, np.ones(200), z + u, z)
    >>> ax = plot_estimates({"OLS": OLS().fit(*data), "2SLS": TSLS().fit(*data)})
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['OLS', '2SLS']
    """
    chosen = _coefficient(results, coefficient)
    rows = [_row(name, res, chosen, level) for name, res in results.items()]
    if ax is None:
        ax = pyplot().subplots(figsize=(7.5, 1.4 + 0.6 * len(rows)), layout="constrained")[1]
    low, high = _limits(rows)
    zero_line(ax)
    for position, row in enumerate(rows):
        _draw_row(ax, row, -float(position), low, high)
    ax.set_xlim(low, high)
    ax.set_ylim(0.45 - len(rows), 0.45)
    ax.set_yticks([-float(i) for i in range(len(rows))], [row.name for row in rows])
    ax.tick_params(axis="y", length=0, pad=9)
    ax.spines[["left", "right", "top"]].set_visible(False)
    ax.set_xlabel(f"Coefficient of {chosen}")
    _legend(ax, rows, level)
    return ax


# ---- what to draw -------------------------------------------------------------------------------


def _coefficient(results: Mapping[str, IVResults], coefficient: str | None) -> str:
    check_results(results, "plot_estimates")
    if coefficient is None:
        known = list(dict.fromkeys(name for res in results.values() for name in res.endog))
        if len(known) > 1:
            raise InputError(
                f"there are several endogenous regressors, {', '.join(known)}: name one, as in"
                f" coefficient={known[0]!r}."
            )
        coefficient = known[0]
    for name, res in results.items():
        if coefficient not in res.names:
            raise InputError(
                f"{name!r} has no coefficient {coefficient!r}; it has {', '.join(res.names)}."
            )
    return coefficient


def _row(name: str, res: IVResults, coefficient: str, level: float) -> Row:
    interval = res.conf_int(level).loc[coefficient]
    return Row(
        name,
        float(res.params[coefficient]),
        (float(interval["lower"]), float(interval["upper"])),
        _ar_set(res, coefficient, level),
        _strength(res, coefficient),
    )


def _ar_set(res: IVResults, coefficient: str, level: float) -> ConfidenceSet | None:
    if not res.ar or coefficient not in res.endog or res._joint_only:
        return None
    found = res.conf_int(level, method="ar")
    chosen: ConfidenceSet = found[coefficient] if isinstance(found, dict) else found
    return chosen


def _strength(res: IVResults, coefficient: str) -> str:
    if res.first_stage is None or coefficient not in res.endog:
        return ""
    f = float(res.first_stage.f[coefficient])
    q = 1 if isinstance(res, MLIVResults) else res.first_stage.n_instruments
    words = f"F = {f:.1f}"
    # A joint F is an average over instruments: q x F is what compares with a single one's F.
    return words if q == 1 else f"{words}\nq × F = {q * f:.1f}"


def _limits(rows: list[Row]) -> tuple[float, float]:
    """Ends of the axis: room for every estimate, and for ends that are not far out."""
    wald = [row.wald for row in rows]
    sets = [pair for row in rows if row.ar is not None for pair in row.ar.intervals]
    anchors = _finite([row.estimate for row in rows]) or _finite(_flat(sets)) or [0.0]
    lengths = _finite([high - low for low, high in wald + sets]) or [0.0]
    first, last = min(anchors), max(anchors)
    unit = max(float(np.median(lengths)), last - first)

    def near(pairs: list[tuple[float, float]], reach: float) -> list[float]:
        return [e for e in _flat(pairs) if first - reach * unit <= e <= last + reach * unit]

    shown = [first, last, *near(wald, WALD_REACH), *near(sets, AR_REACH)]
    low, high = min(shown), max(shown)
    span = (high - low) or abs(high) or 1.0
    if max(high, 0.0) - min(low, 0.0) <= NEAR_ZERO * span:
        low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.08 * ((high - low) or 2.0)
    return low - margin, high + margin


def _flat(pairs: list[tuple[float, float]]) -> list[float]:
    return [end for pair in pairs for end in pair]


def _finite(values: list[float]) -> list[float]:
    return [value for value in values if np.isfinite(value)]


# ---- drawing ------------------------------------------------------------------------------------


def _draw_row(ax: Any, row: Row, y: float, low: float, high: float) -> None:
    upper = y if row.ar is None else y + WALD_HEIGHT
    if np.isfinite(row.estimate):
        _bar(ax, row.wald, upper, low, high, f"wald {row.name}", BLUE, width=1.5)
        (dot,) = ax.plot([row.estimate], [upper], "o", color=BLUE, markersize=6, zorder=4)
        dot.set_gid(f"estimate {row.name}")
    else:
        _words(ax, (low + high) / 2, upper, "no estimate")
    if row.ar is not None:
        _draw_set(ax, row.ar, y + AR_HEIGHT, low, high, f"ar {row.name}")
    right = ax.get_yaxis_transform()
    ax.text(1.03, y, row.strength, transform=right, va="center", color=GREY, fontsize="small")


def _draw_set(ax: Any, found: ConfidenceSet, y: float, low: float, high: float, label: str) -> None:
    for pair in found.intervals:
        _bar(ax, pair, y, low, high, label, ORANGE, width=6.0)
    if found.is_whole_line:
        _words(ax, (low + high) / 2, y, "the whole line", drop=6)
    if found.is_empty:
        _words(ax, (low + high) / 2, y, "Anderson-Rubin set: empty")


def _bar(
    ax: Any,
    ends: tuple[float, float],
    y: float,
    low: float,
    high: float,
    label: str,
    colour: str,
    width: float,
) -> None:
    """An interval, with caps if thin; ends off the axis become arrows at its edge."""
    if ends[1] < low:
        return arrow(ax, ends[1], low, y, "left", colour, label)
    if ends[0] > high:
        return arrow(ax, ends[0], high, y, "right", colour, label)
    drawn = [max(ends[0], low), min(ends[1], high)]
    (line,) = ax.plot(drawn, [y, y], color=colour, linewidth=width, zorder=3)
    line.set(gid=label, solid_capstyle="butt")
    for end, outside, edge, side in sides(ends, low, high):
        if outside:
            arrow(ax, end, edge, y, side, colour, label)
        elif width < 3:
            ax.plot([end], [y], "|", color=colour, markersize=9, markeredgewidth=width, zorder=3)


def _words(ax: Any, x: float, y: float, words: str, drop: float = 0.0) -> None:
    """Centred at (x, y), or hanging ``drop`` points below it."""
    align = "top" if drop else "center"
    ax.annotate(
        words, (x, y), (0, -drop), textcoords="offset points", ha="center", va=align,
        fontsize="small", bbox=WHITE_BOX, zorder=2,
    )  # fmt: skip


def _legend(ax: Any, rows: list[Row], level: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.transforms import ScaledTranslation

    share = f"{100 * level:g}%"
    words = f"estimate, {share} Wald interval"
    entries = [Line2D([], [], color=BLUE, marker="o", linewidth=1.5, label=words)]
    sets = [row.ar for row in rows if row.ar is not None]
    if sets:
        words = f"{share} Anderson-Rubin set"
        entries.append(Line2D([], [], color=ORANGE, linewidth=6, label=words))
    if not all(found.is_bounded for found in sets):
        words = "no end on that side"
        entries.append(Line2D([], [], color=ORANGE, marker=">", linestyle="none", label=words))
    below = ax.transAxes + ScaledTranslation(0, -0.52, ax.figure.dpi_scale_trans)  # inches
    ax.legend(
        handles=entries, loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=below,
        ncols=len(entries), frameon=False, fontsize="small", columnspacing=1.5,
    )  # fmt: skip
