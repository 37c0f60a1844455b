"""Pictures of preferences (the ``plot`` extra)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from mlinstruments._core.arrays import check_count
from mlinstruments._core.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WHITE_BOX,
    YELLOW,
    arrow,
    pyplot,
    sides,
    zero_line,
)
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import BoolArray, FloatArray

from .incentives import binary_choices
from .results import PreferenceResults

TYPE_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, BLACK)
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
        See :meth:`PreferenceResults.conf_int`.

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


def plot_choice_curve(fit: PreferenceResults, bins: int = 10, ax: Any = None) -> Any:
    """Share of an action against what it gains its chooser, observed and fitted.

    Every node choice of every strategy is a binary choice with an own-payoff gap (see
    :mod:`mlinstruments.preferences.incentives`). Gaps are cut into bins of about equal numbers of
    choices. Dots are observed shares, with 95% Wilson intervals that take choices as independent;
    the line is the mean fitted probability of the same choices, which need not be monotone because
    the model knows more than the gap; the dashed curve is what the fitted scale would give if own
    payoffs were all that counted.

    Parameters
    ----------
    fit : PreferenceResults
        Without identification only the dots are drawn.
    bins : int
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import PreferenceLogit, simulate_choices
    >>> data = simulate_choices(default_grid(), scale=0.1, draws=9)
    >>> fit = PreferenceLogit(parameters=("kappa",)).fit(data)
    >>> plot_choice_curve(fit).get_xlabel()
    'own-payoff gap of the action (points)'
    """
    check_count(bins, "bins", 2)
    ax = pyplot().subplots(figsize=(6.0, 4.0), layout="constrained")[1] if ax is None else ax
    found = choice_bins(fit, bins)
    reach = 1.1 * float(np.abs(found.gap).max() or 1.0)
    curve = np.linspace(-reach, reach, 200)
    ax.axvline(0.0, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
    ax.axhline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
    if fit.identification.identified:
        scale = float(fit.params["lambda"])
        payoffs = 1 / (1 + np.exp(-scale * curve))
        ax.plot(curve, payoffs, "--", color=GREY, linewidth=1.2, label="own payoffs alone")
        ax.plot(found.gap, found.fitted, color=VERMILION, linewidth=2.0, label="fitted", zorder=2)
    errors = np.abs(np.vstack([found.lower, found.upper]) - found.share)
    ax.errorbar(
        found.gap, found.share, errors, fmt="o", color=BLUE, markersize=5, linewidth=1.2,
        label="observed, 95% interval", zorder=3,
    )  # fmt: skip
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("own-payoff gap of the action (points)")
    ax.set_ylabel("share choosing the action (1 at a node)")
    ax.spines[["top", "right"]].set_visible(False)
    if not fit.identification.identified:
        ax.set_title("no fitted curve: not identified", fontsize="small", color=GREY)
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    return ax


def plot_posteriors(mixture: Any, ax: Any = None) -> Any:
    """How sure it is of which type each subject is: posterior probabilities, stacked.

    Subjects stand side by side, ordered by their most probable type and how probable it is. Solid
    blocks are clear types; slopes and slivers are subjects of whom one cannot be sure.

    Parameters
    ----------
    mixture : MixtureResults
        Anything with ``posteriors`` (data frame, a row a subject and a column a type) and
        ``shares`` (one a type).
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import pandas as pd
    >>> from types import SimpleNamespace
    >>> tau = pd.DataFrame({1: [0.9, 0.2], 2: [0.1, 0.8]})
    >>> plot_posteriors(SimpleNamespace(posteriors=tau, shares=[0.6, 0.4])).get_xlabel()
    '2 subjects, by most probable type'
    """
    plt = pyplot()
    ax = plt.subplots(figsize=(7.0, 2.8), layout="constrained")[1] if ax is None else ax
    tau = mixture.posteriors.to_numpy(dtype=float)
    shares = np.asarray(mixture.shares, dtype=float)
    ordered = tau[posterior_order(tau)]
    edges = np.arange(len(ordered) + 1)
    top = np.zeros(len(ordered))
    for k, column in enumerate(ordered.T):
        colour = TYPE_COLOURS[k % len(TYPE_COLOURS)]
        ax.stairs(
            top + column, edges, baseline=top, fill=True, color=colour, linewidth=0,
            label=f"type {mixture.posteriors.columns[k]}, share {shares[k]:.2f}",
        )  # fmt: skip
        top = top + column
    _mark_types(ax, ordered)
    ax.set_xlim(0, len(ordered))
    ax.set_ylim(0, 1)
    ax.set_xlabel(f"{len(ordered)} subjects, by most probable type")
    ax.set_ylabel("posterior probability")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


# ---- numbers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChoiceBins:
    """Binary choices binned by their own-payoff gap.

    Parameters
    ----------
    gap, share, fitted : array, shape (B,)
        Means over the choices of a bin; ``fitted`` is NaN without identification.
    lower, upper : array, shape (B,)
        Wilson's 95% interval of the share.
    count : array, shape (B,)
    """

    gap: FloatArray
    share: FloatArray
    fitted: FloatArray
    lower: FloatArray
    upper: FloatArray
    count: FloatArray


def choice_bins(fit: PreferenceResults, bins: int) -> ChoiceBins:
    """Cut the binary choices of a fit into bins of about equal numbers; ties stay together."""
    pairs = binary_choices(fit.design)
    weight = fit.design.count[pairs.row]
    kept = weight > 0
    gap, weight = pairs.difference[kept, 0], weight[kept]
    known = fit.identification.identified
    index = pairs.difference[kept] @ fit.theta if known else np.full(len(gap), np.nan)
    p = 1 / (1 + np.exp(-index))
    position = np.unique(np.round(gap, 9), return_inverse=True)[1]
    held = np.bincount(position, weight)
    # A value goes to the bin its middle choice falls in.
    middle = (np.cumsum(held) - held / 2) / held.sum()
    label = np.unique(np.minimum((middle * bins).astype(int), bins - 1), return_inverse=True)[1]
    group = label[position]
    count = np.bincount(group, weight).astype(np.float64)
    share = np.bincount(group, weight * pairs.taken[kept]) / count
    lower, upper = _wilson(share, count)
    return ChoiceBins(
        gap=np.bincount(group, weight * gap) / count,
        share=share,
        fitted=np.bincount(group, weight * p) / count,
        lower=lower,
        upper=upper,
        count=count,
    )


def _wilson(share: FloatArray, count: FloatArray) -> tuple[FloatArray, FloatArray]:
    z2 = float(stats.norm.ppf(0.975)) ** 2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = np.sqrt(z2 * (share * (1 - share) + z2 / (4 * count)) / count) / (1 + z2 / count)
    return np.minimum(centre - half, share), np.maximum(centre + half, share)


def posterior_order(tau: FloatArray) -> FloatArray:
    """Subjects by most probable type, the surest of each type first."""
    best = tau.argmax(axis=1)
    return np.asarray(np.lexsort((-tau[np.arange(len(tau)), best], best)))


# ---- drawing ------------------------------------------------------------------------------------


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


def _mark_types(ax: Any, ordered: FloatArray) -> None:
    """White lines where the most probable type changes."""
    best = ordered.argmax(axis=1)
    for place in np.flatnonzero(np.diff(best)) + 1:
        ax.axvline(place, color="white", linewidth=1.5)
