"""Choices that some preference explains without exception, found by linear programming.

There the likelihood has no maximum: the data give ranges, or say in which direction it rises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linprog

from mlinstruments._core.typing import FloatArray

from .design import Design

# Of directions no longer than one, in regressors of unit size.
POSITIVE = 1e-7


def is_separated(design: Design) -> bool:
    """Whether some theta makes every choice a best one and some strictly.

    References
    ----------
    Albert and Anderson (1984), doi:10.1093/biomet/71.1.1.
    """
    margins = _unit_margins(design)
    return _reach(margins, margins.sum(axis=0), [(-1.0, 1.0)] * margins.shape[1])


def is_explained(design: Design, scale: float) -> bool:
    """Whether some theta of this scale makes every choice a best one."""
    margins = _margins(design)
    return bool(_solve(margins, np.zeros(margins.shape[1]), scale).status == 0)


def rationalising_intervals(design: Design) -> dict[str, tuple[float, float]] | None:
    """Range of each parameter, the others free, over theta with scale 1 that explain every choice.

    Returns
    -------
    mapping of parameter to (low, high), or None where no such theta exists
    """
    if not is_explained(design, 1.0):
        return None
    margins = _margins(design)
    found: dict[str, tuple[float, float]] = {}
    for j, name in enumerate(design.parameters, start=1):
        cost = np.eye(margins.shape[1])[j]
        low, high = (_solve(margins, sign * cost, 1.0) for sign in (1.0, -1.0))
        found[name] = (
            float(low.fun) if low.status == 0 else -np.inf,
            -float(high.fun) if high.status == 0 else np.inf,
        )
    return found


def endless_parameters(design: Design) -> tuple[str, ...]:
    """Parameters that are not zero in some theta of scale 0 that makes every choice a best one.

    Along such a theta the likelihood rises without end.
    """
    margins = _unit_margins(design)
    m = margins.shape[1]
    bounds = [(0.0, 0.0)] + [(-1.0, 1.0)] * (m - 1)
    return tuple(
        name
        for j, name in enumerate(design.parameters, start=1)
        if any(_reach(margins, sign * np.eye(m)[j], bounds) for sign in (1.0, -1.0))
    )


def _margins(design: Design) -> FloatArray:
    """z of what was chosen less z of every available alternative not chosen, one row a pair."""
    c, a = np.nonzero(design.counts() > 0)
    others = design.available[c]
    others[np.arange(len(c)), a] = False
    return np.asarray((design.z[c, a][:, None, :] - design.z[c])[others])


def _unit_margins(design: Design) -> FloatArray:
    margins = _margins(design)
    size = np.abs(margins).max(axis=0)
    return np.asarray(margins / np.where(size > 0, size, 1.0))


def _reach(margins: FloatArray, gain: FloatArray, bounds: list[tuple[float, float]]) -> bool:
    """Whether a theta within bounds that makes every choice a best one has a positive gain."""
    found = linprog(-gain, A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=bounds)
    return bool(found.status == 0 and -found.fun > POSITIVE)


def _solve(margins: FloatArray, cost: FloatArray, scale: float) -> Any:
    """Least cost of theta of a given scale that makes every choice a best one."""
    bounds = [(scale, scale)] + [(None, None)] * (margins.shape[1] - 1)
    return linprog(cost, A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=bounds)
