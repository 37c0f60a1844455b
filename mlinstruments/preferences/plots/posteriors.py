"""How surely each subject of a mixture belongs to a type."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlinstruments._core.drawing import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    pyplot,
)
from mlinstruments._core.typing import FloatArray

TYPE_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, BLACK)


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
    >>> from mlinstruments.preferences.plots import plot_posteriors
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


def posterior_order(tau: FloatArray) -> FloatArray:
    """Subjects by most probable type, the surest of each type first."""
    best = tau.argmax(axis=1)
    return np.asarray(np.lexsort((-tau[np.arange(len(tau)), best], best)))


def _mark_types(ax: Any, ordered: FloatArray) -> None:
    """White lines where the most probable type changes."""
    best = ordered.argmax(axis=1)
    for place in np.flatnonzero(np.diff(best)) + 1:
        ax.axvline(place, color="white", linewidth=1.5)
