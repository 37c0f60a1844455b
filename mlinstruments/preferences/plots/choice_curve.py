"""Share of an action against the own payoff it gains, observed and fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from mlinstruments._core.arrays import check_count
from mlinstruments._core.drawing import BLUE, GREY, VERMILION, pyplot
from mlinstruments._core.typing import FloatArray

from ..incentives import binary_choices
from ..results import PreferenceResults


def plot_choice_curve(fit: PreferenceResults, bins: int = 10, ax: Any = None) -> Any:
    """Share of an action against what it gains its chooser, observed and fitted.

    Action 1 at a node is to cooperate, trust, reciprocate, split equally or accept. Every node
    choice of every strategy is a binary choice with an own-payoff gap (see
    :func:`.incentive_sensitivity`). Gaps are cut into bins of about equal numbers of
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
    >>> from mlinstruments.preferences.plots import plot_choice_curve
    >>> matplotlib.use("Agg")
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import PreferenceLogit, simulate_choices
    >>> data = simulate_choices(default_grid(), scale=0.1, draws=9)
    >>> fit = PreferenceLogit(parameters=("kappa",)).fit(data)
    >>> plot_choice_curve(fit).get_xlabel()
    'own payoff, action 1 less action 0 (points)'
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
    ax.set_xlabel("own payoff, action 1 less action 0 (points)")
    ax.set_ylabel("share choosing action 1")
    ax.spines[["top", "right"]].set_visible(False)
    if not fit.identification.identified:
        ax.text(
            0.03, 0.98, "no fitted curve: not identified", transform=ax.transAxes, va="top",
            fontsize="small", style="italic", color=GREY,
        )  # fmt: skip
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    return ax


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
