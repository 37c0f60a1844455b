"""When a moral passenger gives up their life for n pedestrians.

A car with m people (the passenger and their company) can save them or n pedestrians. A passenger
who knows their place loses their life by self-sacrifice: own payoff -1. Universalised, the rule
holds behind the veil: one may be any of the n + m, and survives with chance n / (n + m) rather than
m / (n + m), a gain of (n - m) / (n + m). Utility (1 - kappa) own + kappa universalised makes
self-sacrifice optimal iff kappa >= (n + m) / (2 n), with one passenger (n + 1) / (2 n): .75 at n =
2, .55 at 10, one half in the limit. With role uncertainty in the own payoff too, it would be 1 / n.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray

# What self-sacrifice does to the one who answers, by question or else by perspective.
OWN = {"buy": -1.0, "others_buy": 1.0}
OWN_BY_PERSPECTIVE = {"passenger": -1.0, "pedestrian": 1.0, "observer": 0.0}


def threshold(pedestrians: Any, passengers: Any = 1) -> FloatArray:
    """The least kappa at which a passenger gives up their life: (n + m) / (2 n).

    Parameters
    ----------
    pedestrians, passengers : float or array
        At least 1.

    Returns
    -------
    array
        Above 1 where passengers are more, so that no kappa does.

    Raises
    ------
    InputError
        Where there are no pedestrians or passengers.

    References
    ----------
    Alger and Weibull (2013), doi:10.3982/ECTA10637.

    Examples
    --------
    >>> from mlinstruments.applications.dilemmas import threshold
    >>> threshold([2, 10, 100])
    array([0.75 , 0.55 , 0.505])
    """
    n, m = np.broadcast_arrays(
        np.asarray(pedestrians, dtype=np.float64), np.asarray(passengers, dtype=np.float64)
    )
    if not ((n >= 1) & (m >= 1)).all():
        raise InputError("there must be at least one pedestrian and one passenger.")
    return np.asarray((n + m) / (2 * n))


def universal_gain(pedestrians: Any, passengers: Any = 1) -> FloatArray:
    """What self-sacrifice adds to everybody's chance to survive, (n - m) / (n + m).

    Examples
    --------
    >>> universal_gain([1, 3])
    array([0. , 0.5])
    """
    n, m = np.asarray(pedestrians, dtype=np.float64), np.asarray(passengers, dtype=np.float64)
    return np.asarray((n - m) / (n + m))


def moral_gain(
    kappa: float, pedestrians: Any, passengers: Any, question: str, perspective: str
) -> FloatArray:
    """Utility of a car that sacrifices its passengers less that of one that protects them.

    Who is asked whether to buy such a car would ride in it; who wishes that others buy one would
    not. For morality and regulation the perspective of the text says who one is.
    """
    own = OWN.get(question, OWN_BY_PERSPECTIVE[perspective])
    return np.asarray((1 - kappa) * own + kappa * universal_gain(pedestrians, passengers))


def kappa_between(lowest: float | None, highest: float | None, passengers: int = 1) -> Any:
    """Kappas of somebody who sacrifices from ``highest`` pedestrians on and not yet at ``lowest``.

    Parameters
    ----------
    lowest : float or None
        The largest number at which they do not; None where they do at all.
    highest : float or None
        The smallest number at which they do; None where they never do.
    passengers : int

    Returns
    -------
    (low, high)
        Low included, high not, but for the ends 0 and 1.

    Examples
    --------
    >>> tuple(round(float(k), 3) for k in kappa_between(2, 5))
    (0.6, 0.75)
    """
    low = 0.0 if highest is None else float(threshold(highest, passengers))
    if highest is None:
        # Never: less than the threshold of the largest number shown.
        return 0.0, float(threshold(lowest, passengers))
    high = 1.0 if lowest is None else min(1.0, float(threshold(lowest, passengers)))
    return low, high
