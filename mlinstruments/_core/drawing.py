"""What all pictures share; matplotlib is imported only when one is drawn (the ``plot`` extra)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .exceptions import MissingExtraError

# Okabe and Ito's palette, told apart by every common form of colour vision; and a grey for text.
BLUE, ORANGE, VERMILION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
GREY = "#595959"
# Behind words that stand on a line.
WHITE_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}


def pyplot() -> Any:
    """matplotlib.pyplot, or the error that names the extra to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot") from error
    return plt


def zero_line(ax: Any) -> None:
    """A dashed vertical line at zero, behind everything."""
    ax.axvline(0.0, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)


def sides(
    ends: tuple[float, float], low: float, high: float
) -> Iterator[tuple[float, bool, float, str]]:
    """Each end of an interval: whether it is off an axis from low to high, that edge, its side.

    Examples
    --------
    >>> list(sides((-1.0, 0.5), 0.0, 1.0))
    [(-1.0, True, 0.0, 'left'), (0.5, False, 1.0, 'right')]
    """
    yield ends[0], ends[0] < low, low, "left"
    yield ends[1], ends[1] > high, high, "right"


def arrow(
    ax: Any,
    end: float,
    edge: float,
    y: float,
    side: str,
    colour: str,
    label: str = "",
    small: bool = False,
) -> None:
    """At the edge: filled for an infinite end, hollow and with its number for one further out."""
    size, digits, shift, words = (7, 2, (6, 5), "x-small") if small else (8, 3, (7, 3), "small")
    fill = "white" if np.isfinite(end) else colour
    (mark,) = ax.plot([edge], [y], "<" if side == "left" else ">", color=colour, zorder=4)
    gid = f"arrow {side} {label}".strip()
    mark.set(gid=gid, markersize=size, markerfacecolor=fill, clip_on=False)
    if np.isfinite(end):
        across, up = shift
        ax.annotate(
            f"{end:.{digits}g}", (edge, y), (across if side == "left" else -across, up),
            textcoords="offset points", ha=side, va="bottom", fontsize=words, color=colour,
        )  # fmt: skip
