"""Confidence sets that need not be intervals: unions, rays, the whole line or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlinstruments._core.tables import number

INF = float("inf")


@dataclass(frozen=True)
class ConfidenceSet:
    """A union of closed intervals on the line.

    Parameters
    ----------
    intervals : tuple of (low, high)
        Disjoint and in order; ends may be infinite. Empty for the empty set.
    level : float
        Confidence level.
    kind : str
        How the set was made, in words.

    Examples
    --------
    >>> from math import inf
    >>> from mlinstruments import ConfidenceSet
    >>> rays = ConfidenceSet(((-inf, -1.0), (2.0, inf)), 0.95, "AR")
    >>> 0.0 in rays, rays.is_bounded, str(rays)
    (False, False, '(-inf, -1.0000] U [2.0000, inf)')
    """

    intervals: tuple[tuple[float, float], ...]
    level: float
    kind: str

    def __contains__(self, value: Any) -> bool:
        return any(low <= value <= high for low, high in self.intervals)

    def __str__(self) -> str:
        if self.is_empty:
            return "empty"
        if self.is_whole_line:
            return "(-inf, inf): the whole line"
        return " U ".join(_interval(low, high) for low, high in self.intervals)

    @property
    def is_empty(self) -> bool:
        """Whether no value is in the set."""
        return not self.intervals

    @property
    def is_whole_line(self) -> bool:
        """Whether every value is in the set: the data do not speak."""
        return self.intervals == ((-INF, INF),)

    @property
    def is_bounded(self) -> bool:
        """Whether both ends are finite (an empty set is bounded)."""
        return all(low > -INF and high < INF for low, high in self.intervals)

    @property
    def length(self) -> float:
        """Total length, possibly infinite."""
        return sum(high - low for low, high in self.intervals)

    @property
    def hull(self) -> tuple[float, float]:
        """The smallest interval that holds the set; NaN for the empty set."""
        if self.is_empty:
            return float("nan"), float("nan")
        return self.intervals[0][0], self.intervals[-1][1]

    def intersect(self, other: ConfidenceSet) -> ConfidenceSet:
        """Values in both sets; level and kind are this set's.

        Examples
        --------
        >>> from math import inf
        >>> from mlinstruments import ConfidenceSet
        >>> a = ConfidenceSet(((0.0, 2.0),), 0.95, "AR")
        >>> a.intersect(ConfidenceSet(((1.0, inf),), 0.95, "AR")).intervals
        ((1.0, 2.0),)
        """
        pairs = [(max(a, c), min(b, d)) for a, b in self.intervals for c, d in other.intervals]
        kept = tuple(sorted((low, high) for low, high in pairs if low <= high))
        return ConfidenceSet(kept, self.level, self.kind)


def _interval(low: float, high: float) -> str:
    left = "(-inf" if low == -INF else f"[{number(low)}"
    right = "inf)" if high == INF else f"{number(high)}]"
    return f"{left}, {right}"


def merge(pieces: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Join touching intervals given in order.

    Examples
    --------
    >>> merge([(0.0, 1.0), (1.0, 2.0), (3.0, 4.0)])
    ((0.0, 2.0), (3.0, 4.0))
    """
    merged: list[tuple[float, float]] = []
    for low, high in pieces:
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)
