"""Sensitivity to the exclusion restriction: what if an instrument also acts on its own?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mlinstruments._core.arrays import check_choice, check_level
from mlinstruments._core.exceptions import InputError

from . import anderson_rubin
from .exclusion_sets import ExclusionBounds
from .results import IVResults


def exclusion_bounds(
    res: IVResults, direct_effect: Any, level: float = 0.95, ar: str | None = None
) -> ExclusionBounds:
    """Bounds on the effect of an endogenous regressor whose instruments may act on their own.

    The model becomes y = d t + X'b + Z'g + U. The exclusion restriction is g = 0; here g may lie
    anywhere in a range. For every g the outcome less Z'g is an ordinary outcome: the union of the
    intervals over the range covers t wherever in it g is, with the probability stated.

    For a learned instrument g is the effect of one unit of ``res.instrument``, which is in units of
    d: at g = 0.1 what the instruments predict of d acts on y directly by 0.1, beside its effect
    through d.

    Parameters
    ----------
    res : IVResults
        Of ``MLIV`` with one endogenous regressor, or of ``TSLS(direct_effects=True)``.
    direct_effect : float, (low, high), or mapping of an instrument's name to these
        The range of g; a number b is (-b, b). With several instruments a mapping, in which those
        not named have no direct effect.
    level : float
        Confidence level.
    ar : {"corrected", "pooled"}, optional
        Kind of Anderson-Rubin set of a learned instrument, as in :meth:`IVResults.conf_int`.

    Returns
    -------
    ExclusionBounds

    Raises
    ------
    InputError
        Where the results do not hold what is needed, or the range is none.

    Notes
    -----
    Unions are exact: the ends of Wald intervals are convex and concave in g, so over a range they
    are extreme at its corners, and Anderson-Rubin sets solve quadratic inequalities. With several
    learned repeats all sets use the averaged instrument, as the Anderson-Rubin sets of the fit do.

    A range for g times a learned instrument also covers other forms of direct effects. By the
    Cauchy-Schwarz inequality no function h(W) with standard deviation (given X) up to g ``spread``
    shifts the estimate by more than g does.

    References
    ----------
    Conley, Hansen, Rossi (2012), "Plausibly Exogenous", doi:10.1162/REST_a_00139.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import TSLS, exclusion_bounds
    >>> rng = np.random.default_rng(0)
    >>> z, u = rng.normal(size=(2, 1000))
    >>> d = z + u
    >>> res = TSLS(direct_effects=True).fit(d + 0.2 * z + u, np.ones(1000), d, z)
    >>> 1.0 in res.conf_int(method="ar"), 1.0 in exclusion_bounds(res, (0.0, 0.3)).ar
    (False, True)
    """
    check_level(level)
    kept = res.direct_effects
    if kept is None:
        raise InputError(_refusal(res))
    ranges = _ranges(direct_effect, kept.names)
    low, high = (pd.Series(ends, kept.names) for ends in zip(*ranges, strict=True))
    chosen = kept.pooled
    if kept.corrected is not None:
        kind = "corrected" if ar is None else check_choice(ar, "ar", ("corrected", "pooled"))
        chosen = kept.corrected if kind == "corrected" else kept.pooled
    elif ar is not None:
        raise InputError(
            f"ar= is for learned instruments; {res.method} uses its own: leave ar out."
        )
    reference = stats.t(res.df_resid) if res.debiased else stats.norm()
    return ExclusionBounds(
        endog=res.endog[0],
        low=low,
        high=high,
        level=level,
        spread=pd.Series(kept.spread, kept.names),
        line=kept.line,
        critical=float(reference.ppf((1 + level) / 2)),
        weak=kept.weak or res.weak,
        moments=anderson_rubin.silent(chosen) if kept.weak else chosen,
    )


def _refusal(res: IVResults) -> str:
    if len(res.endog) > 1:
        return f"exclusion bounds are for one endogenous regressor; there are {len(res.endog)}."
    if res.method == "2SLS":
        return "exclusion bounds need moments kept at the fit: TSLS(direct_effects=True).fit(...)."
    return (
        f"exclusion bounds are for MLIV and for TSLS(direct_effects=True), not for {res.method}:"
        " its estimate is not linear in direct effects of given instruments."
    )


def _ranges(given: Any, names: tuple[str, ...]) -> list[tuple[float, float]]:
    """The range (low, high) of every instrument."""
    if isinstance(given, Mapping):
        for name in given:
            check_choice(name, "direct_effect names an instrument that", names)
        return [_range(given.get(name, (0.0, 0.0)), name) for name in names]
    if len(names) > 1:
        raise InputError(
            f"direct_effect must name the instrument: with {', '.join(names)} pass a mapping such"
            f" as {{{names[0]!r}: (-0.1, 0.1)}}; those left out have none."
        )
    return [_range(given, names[0])]


def _range(given: Any, name: str) -> tuple[float, float]:
    try:
        ends = np.atleast_1d(np.asarray(given, dtype=float))
    except (TypeError, ValueError):
        ends = np.empty(0)
    if ends.shape == (1,):
        ends = np.array([-ends[0], ends[0]])
    if ends.shape != (2,) or not np.isfinite(ends).all() or ends[0] > ends[1]:
        raise InputError(
            f"direct_effect of {name!r} must be a number b, for -b to b, or (low, high), finite and"
            f" in order; got {given!r}."
        )
    return float(ends[0]), float(ends[1])
