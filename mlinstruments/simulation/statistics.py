"""Statistics of a Monte Carlo run, each with its own Monte Carlo standard error.

Notation: R replications; x estimates, lengths or F statistics (R,); hit (R,) of zeros and ones.
"""

from __future__ import annotations

import numpy as np

from mlinstruments._core.typing import AnyArray, FloatArray

# Normal quantile of the interval of order statistics that gives a median's standard error.
QUANTILE = 1.96


def median(x: FloatArray) -> tuple[float, float]:
    """Median, and its standard error from order statistics: no density is estimated.

    The interval between the ranks R/2 -+ 1.96 sqrt(R)/2 covers the median of any continuous
    distribution in 95 of 100 cases; the standard error is its length over 2 x 1.96. Infinite
    entries count as larger than all others.

    Examples
    --------
    >>> median(np.arange(101.0))[0]
    50.0
    """
    n = len(x)
    if n == 0:
        return float("nan"), float("nan")
    ordered = np.sort(x)
    middle = ordered[[(n - 1) // 2, n // 2]]
    centre = float(middle[0] if middle[0] == middle[1] else middle.mean())
    reach = QUANTILE * np.sqrt(n) / 2
    low, high = round((n - 1) / 2 - reach), round((n - 1) / 2 + reach)
    if low < 0 or high > n - 1:
        return centre, float("nan")
    if not np.isfinite(ordered[high]):
        return centre, float("nan")
    return centre, float(ordered[high] - ordered[low]) / (2 * QUANTILE)


def sd(x: FloatArray) -> tuple[float, float]:
    """Standard deviation, and its standard error by the delta method from the fourth moment."""
    n = len(x)
    if n < 2:
        return float("nan"), float("nan")
    squares = (x - x.mean()) ** 2
    found = float(np.sqrt(squares.sum() / (n - 1)))
    return found, _root_error(squares, found)


def rmse(errors: FloatArray) -> tuple[float, float]:
    """Root mean squared error, and its standard error by the delta method."""
    if len(errors) == 0:
        return float("nan"), float("nan")
    squares = errors**2
    found = float(np.sqrt(squares.mean()))
    return found, _root_error(squares, found)


def _root_error(squares: FloatArray, root: float) -> float:
    n = len(squares)
    if n < 2 or root == 0:
        return float("nan")
    return float(squares.std(ddof=1) / np.sqrt(n) / (2 * root))


def share(hit: AnyArray) -> tuple[float, float]:
    """A proportion and its binomial standard error.

    Examples
    --------
    >>> share(np.array([True, False, True, True]))
    (0.75, 0.21650635094610965)
    """
    n = len(hit)
    if n == 0:
        return float("nan"), float("nan")
    p = float(np.mean(hit))
    return p, float(np.sqrt(p * (1 - p) / n))
