"""The orthogonal Anderson-Rubin set: at each t the instrument is trained on D - rho(t) (Y - t D).

rho(t) is the regression of D on Y - t D, so that at the truth the target is uncorrelated with the
structural error, and with it the noise of the first stage. Targets of all t lie in the plane of
(D, Y): a learner is trained along a few directions of the plane once, and neighbours are combined.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.polynomial import polynomial as poly

from mlinstruments._core.hypotheses import TestResult, null_words
from mlinstruments._core.typing import FloatArray

from .anderson_rubin import Moments
from .confidence_set import INF, ConfidenceSet, merge


@dataclass(frozen=True)
class OrthogonalMoments:
    """Moments of instruments trained along directions of the plane of (treatment, outcome).

    Parameters
    ----------
    base : Moments
        Of all G direction instruments together.
    directions : array, shape (G, 2)
        Weights of (treatment, outcome) in each target, by increasing angle in [0, 180) degrees.
    products : array, shape (2, 2)
        Cross-products of (treatment, outcome), covariates partialled out.
    """

    base: Moments
    directions: FloatArray
    products: FloatArray


def target_directions(n: int, treatment: FloatArray, outcome: FloatArray) -> FloatArray:
    """``n`` evenly spread directions (n, 2) of the plane, in units of standard deviations."""
    angles = np.pi * np.arange(n) / n
    return np.column_stack([np.cos(angles) / treatment.std(), np.sin(angles) / outcome.std()])


def statistic(moments: OrthogonalMoments, value: float) -> float:
    """The statistic at one value of the coefficient."""
    mix = _mixture(moments, value)
    combined = _at(mix, value)
    numerator, variance = _polynomials(moments, mix)
    level = poly.polyval(value, variance)
    if not (np.any(combined) and level > 0):
        return 0.0
    return float(poly.polyval(value, numerator) ** 2 / level)


def test(moments: OrthogonalMoments, value: FloatArray, names: tuple[str, ...]) -> TestResult:
    """Test that the coefficient equals ``value`` (1,)."""
    found = statistic(moments, float(value[0]))
    return TestResult(found, _reference(moments).pvalue(found), 1, null_words(names, value))


def confidence_set(moments: OrthogonalMoments, level: float, kind: str) -> ConfidenceSet:
    """All values not rejected, exactly.

    Between two values at which the target passes a trained direction the combination is linear in
    t, so acceptance is the sign of a polynomial of degree four: its roots are the ends.
    """
    critical = _reference(moments).critical(level)
    breaks = _breaks(moments)
    ends = np.concatenate([[-INF], breaks, [INF]])
    pieces: list[tuple[float, float]] = []
    for low, high in pairwise(ends):
        inside = _inner_point(float(low), float(high))
        numerator, variance = _polynomials(moments, _mixture(moments, inside))
        excess = np.asarray(poly.polymul(numerator, numerator)) - critical * variance
        pieces += _nonpositive(excess, float(low), float(high))
    return ConfidenceSet(merge(pieces), level, kind)


def _reference(moments: OrthogonalMoments) -> Moments:
    """The base cut down to one instrument, which is how many a combination of directions is."""
    base = moments.base
    return Moments(base.m_y[:1], base.m_d[:1], base.meat[:2, :2], base.df_resid)


def _target(moments: OrthogonalMoments) -> FloatArray:
    """Weights of (treatment, outcome) in the target as polynomials of t: rows constant, slope.

    D - rho (Y - t D) is proportional to (S_yy - t S_dy) D + (t S_dd - S_dy) Y.
    """
    (dd, dy), (_, yy) = moments.products
    return np.array([[yy, -dy], [-dy, dd]])


def _breaks(moments: OrthogonalMoments) -> FloatArray:
    """Values of t at which the target is parallel to a trained direction, in order."""
    constant, slope = _target(moments)
    cross_constant = constant[0] * moments.directions[:, 1] - constant[1] * moments.directions[:, 0]
    cross_slope = slope[0] * moments.directions[:, 1] - slope[1] * moments.directions[:, 0]
    moving = cross_slope != 0
    return np.unique(-cross_constant[moving] / cross_slope[moving])


def _mixture(moments: OrthogonalMoments, value: float) -> FloatArray:
    """Weights (2, G) of the direction instruments near ``value``: rows constant, slope in t."""
    target = _target(moments)
    G = len(moments.directions)
    current = target[0] + value * target[1]
    best = None
    for g in range(G):
        # Neighbours round the circle; past the last direction comes the first, reversed.
        pair = np.stack([moments.directions[g], moments.directions[(g + 1) % G]])
        if g == G - 1:
            pair[1] = -pair[1]
        weights = np.linalg.solve(pair.T, current)
        agreement = min(weights) if min(weights) >= 0 else -max(weights)
        if best is None or agreement > best[0]:
            best = (agreement, g, pair)
    assert best is not None
    _, g, pair = best
    mix = np.zeros((2, G))
    solved = np.linalg.solve(pair.T, target.T).T  # rows: constant, slope; columns: the pair
    mix[:, g] += solved[:, 0]
    mix[:, (g + 1) % G] += solved[:, 1] * (-1 if g == G - 1 else 1)
    return mix


def _at(mix: FloatArray, value: float) -> FloatArray:
    return np.asarray(mix[0] + value * mix[1])


def _polynomials(moments: OrthogonalMoments, mix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Numerator (degree 2) and variance (degree 4) of the statistic as polynomials in t."""
    base, G = moments.base, mix.shape[1]
    # The summed moment is a(t)'(m_y - t m_d), with a(t) = mix[0] + t mix[1].
    loads = np.zeros((3, 2 * G))  # coefficients of t^0, t^1, t^2 on (outcome, treatment) scores
    loads[0, :G] = mix[0]
    loads[1, :G], loads[1, G:] = mix[1], -mix[0]
    loads[2, G:] = -mix[1]
    sums = np.concatenate([base.m_y, base.m_d[:, 0]])
    products = loads @ base.meat @ loads.T
    variance = np.array([np.trace(products[:, ::-1], offset=2 - k) for k in range(5)])
    return loads @ sums, variance


def _inner_point(low: float, high: float) -> float:
    if np.isinf(low) and np.isinf(high):
        return 0.0
    if np.isinf(low):
        return high - 1 - abs(high)
    if np.isinf(high):
        return low + 1 + abs(low)
    return (low + high) / 2


def _nonpositive(polynomial: FloatArray, low: float, high: float) -> list[tuple[float, float]]:
    """Parts of [low, high] where a polynomial is not positive."""
    roots = poly.polyroots(np.trim_zeros(polynomial, "b"))
    real = np.sort(roots[np.abs(roots.imag) <= 1e-8 * (1 + np.abs(roots))].real)
    ends = np.concatenate([[low], real[(real > low) & (real < high)], [high]])
    return [
        (float(a), float(b))
        for a, b in pairwise(ends)
        if poly.polyval(_inner_point(float(a), float(b)), polynomial) <= 0
    ]
