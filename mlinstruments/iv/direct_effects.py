"""What instruments with an effect of their own would do to an estimate, exactly.

Notation: y = d t + X b + Z g + U, where g (q,) is the direct effect of the instruments. Covariates
are partialled out throughout. At a given g everything is IV of y - Z g; as g enters linearly, the
estimate is linear in it and its variance a convex quadratic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import least_squares
from mlinstruments._core.sandwich import CovarianceSpec, moment_meat, nearest_psd
from mlinstruments._core.typing import FloatArray

from . import anderson_rubin as ar
from .anderson_rubin import Moments
from .confidence_set import INF, ConfidenceSet

# Scores are kept for every pair of an instrument and a variable, and corners of a box number 2^q.
MOST_INSTRUMENTS = 12


@dataclass(frozen=True)
class DirectEffectLine:
    """The estimate t0 + t1'g and its variance (1, g)' variance (1, g).

    Parameters
    ----------
    intercept : float
    slope : array, shape (q,)
    variance : array, shape (1 + q, 1 + q)
        Positive semi-definite.
    """

    intercept: float
    slope: FloatArray
    variance: FloatArray

    def estimate(self, g: FloatArray) -> float:
        """The estimate at direct effects g (q,)."""
        return float(self.intercept + self.slope @ g)

    def std_error(self, g: FloatArray) -> float:
        """Its standard error."""
        one = np.concatenate([[1.0], g])
        return float(np.sqrt(max(one @ self.variance @ one, 0.0)))


@dataclass(frozen=True)
class DirectEffectMoments:
    """All that bounds under direct effects need; kept at the fit.

    Parameters
    ----------
    names : tuple of str
        The instruments.
    line : DirectEffectLine
    pooled : Moments
        Of the instruments (q), with (d, Z) for the endogenous regressors: m_d is (q, 1 + q).
    corrected : Moments or None
        The same with what a learned instrument owes to the errors it was trained on.
    spread : array, shape (q,)
        Standard deviations of the instruments given the covariates.
    weak : str
        Empty, or why a learned instrument gives no estimate.
    """

    names: tuple[str, ...]
    line: DirectEffectLine
    pooled: Moments
    corrected: Moments | None
    spread: FloatArray
    weak: str = ""


def direct_effect_moments(
    z: FloatArray,
    y: FloatArray,
    d: FloatArray,
    spec: CovarianceSpec,
    n_exog: int,
    names: tuple[str, ...],
    noises: list[FloatArray] | None = None,
    learned: bool = False,
) -> DirectEffectMoments:
    """Moments from variables with the covariates (and weights) partialled out.

    Parameters
    ----------
    z : array, shape (n, q)
    y, d : array, shape (n,)
    spec : CovarianceSpec
    n_exog : int
    names : tuple of str
        Of the instruments.
    noises : list of arrays, each (n, q), optional
        Of a learned instrument, by repeat; without it all of the instrument is taken for noise.
    learned : bool

    Returns
    -------
    DirectEffectMoments

    Raises
    ------
    InputError
        With more instruments than can be kept.
    """
    n, q = z.shape
    if q > MOST_INSTRUMENTS:
        raise InputError(
            f"bounds under direct effects are for at most {MOST_INSTRUMENTS} instruments; there are"
            f" {q}. Use their learned instrument: MLIV(...).fit(...)."
        )

    def found(noise: FloatArray | None = None, factor: float = 1.0) -> Moments:
        made = ar.moments(z, y, [d, z], spec, n_exog, noise, factor)
        # Residuals of instruments on themselves: zero, but for rounding.
        return _without_instruments_own(made) if spec.kind == "unadjusted" else made

    pooled, corrected = found(), None
    if learned:
        many = [found(noise) for noise in noises or ()]
        corrected = ar.average_noise(many, pooled) if many else found(factor=2.0)
    weak = ""
    if learned and not float(z[:, 0] @ d) > 0:
        weak = "predictions do not rise with what they predict."
    spread = np.sqrt(np.einsum("ij,ij->j", z, z) / n)
    fitted = _nowhere(q) if weak else line(z, y, d, spec, n_exog + 1)
    return DirectEffectMoments(names, fitted, pooled, corrected, spread, weak)


def _without_instruments_own(moments: Moments) -> Moments:
    q = moments.df
    meat = moments.meat.copy()
    meat[2 * q :], meat[:, 2 * q :] = 0.0, 0.0
    return replace(moments, meat=meat)


# ---- the estimate -------------------------------------------------------------------------------


def line(
    z: FloatArray, y: FloatArray, d: FloatArray, spec: CovarianceSpec, n_params: int
) -> DirectEffectLine:
    """2SLS of y - Z g on d as a function of g.

    With pi = (Z'Z)^-1 Z'd the estimate is pi'Z'(y - Z g) / (pi'Z'd). Residuals are linear in
    (1, g), so their products with the first stage pi'Z are, too.

    Parameters
    ----------
    z : array, shape (n, q)
    y, d : array, shape (n,)
        All with the covariates (and weights) partialled out.
    spec : CovarianceSpec
        With its bandwidth, if any.
    n_params : int
        For small-sample factors.
    """
    fitted = z @ least_squares(z, d)
    explained = float(fitted @ d)
    residuals = np.column_stack([y, z])  # for now the variables themselves; made in place
    effects = (fitted @ residuals) / explained
    for column, effect in zip(residuals.T, effects, strict=True):
        column -= effect * d
    residuals[:, 1:] *= -1.0
    variance = moment_meat(fitted[:, None], residuals, spec, n_params) / explained**2
    units = np.sqrt(np.einsum("ij,ij->j", residuals, residuals))
    variance = nearest_psd((variance + variance.T) / 2, np.where(units > 0, units, 1.0))
    return DirectEffectLine(float(effects[0]), -effects[1:], variance)


def _nowhere(q: int) -> DirectEffectLine:
    """The line where there is no estimate."""
    missing = np.full((1 + q, 1 + q), np.nan)
    return DirectEffectLine(float("nan"), missing[0, 1:], missing)


def wald_union(
    found: DirectEffectLine, low: FloatArray, high: FloatArray, critical: float
) -> tuple[float, float]:
    """Union of the intervals estimate +- critical x error over direct effects in a box.

    A standard error is the root of a positive semi-definite quadratic form, hence convex in g: the
    upper end is convex, the lower one concave, and over a box both are extreme at its corners. In
    between ends move without a jump, so the union is an interval.

    Parameters
    ----------
    found : DirectEffectLine
    low, high : array, shape (q,)
    critical : float
    """
    ends = [sorted({float(a), float(b)}) for a, b in zip(low, high, strict=True)]
    corners = [np.array(corner) for corner in product(*ends)]
    centres = np.array([found.estimate(g) for g in corners])
    widths = critical * np.array([found.std_error(g) for g in corners])
    return float((centres - widths).min()), float((centres + widths).max())


def local_interval(
    found: DirectEffectLine, mean: FloatArray, sd: FloatArray, critical: float
) -> tuple[float, float]:
    """Local-to-zero interval where direct effects are independent N(mean, sd^2), each (q,).

    The estimate is then normal around its value at the mean, and the variance of the direct effects
    adds to its own at no direct effect.
    """
    centre = found.estimate(mean)
    error = float(np.sqrt(found.variance[0, 0] + found.slope**2 @ sd**2))
    return centre - critical * error, centre + critical * error


def wald_breakdown(
    found: DirectEffectLine, low: FloatArray, high: FloatArray, critical: float, value: float
) -> float:
    """Share of a box around zero at which the union of intervals reaches ``value``."""

    def reached(share: float) -> bool:
        ends = wald_union(found, share * low, share * high, critical)
        return ends[0] <= value <= ends[1]

    if reached(0.0):
        return 0.0
    beyond = 1.0
    while not reached(beyond):
        beyond *= 2
        if beyond > 1e9:
            return INF
    below = 0.0 if beyond == 1.0 else beyond / 2
    for _ in range(100):
        middle = (below + beyond) / 2
        below, beyond = (below, middle) if reached(middle) else (middle, beyond)
    return (below + beyond) / 2


# ---- Anderson-Rubin -----------------------------------------------------------------------------


def along(moments: Moments, low: FloatArray, high: FloatArray) -> tuple[Moments, int]:
    """Moments of (d, Z_j), and j, where only instrument j has an unknown direct effect.

    Given effects of the others go into the outcome. Where all are given the first is j.
    """
    q = moments.df
    j = int(np.argmax(low < high))
    given = low.copy()
    given[j] = 0.0
    mixing = np.zeros((3, 2 + q))
    mixing[0, 0], mixing[0, 2:], mixing[1, 1], mixing[2, 2 + j] = 1.0, -given, 1.0, 1.0
    products = np.column_stack([moments.m_y, moments.m_d]) @ mixing.T
    transform = np.kron(mixing, np.eye(q))
    meat = transform @ moments.meat @ transform.T
    return replace(moments, m_y=products[:, 0], m_d=products[:, 1:], meat=meat), j


def ar_union(moments: Moments, low: float, high: float, level: float, kind: str) -> ConfidenceSet:
    """Values of t that some direct effect g of one instrument, in [low, high], makes acceptable.

    With one instrument the accepted (t, g) are h(t, g) >= 0 for a quadratic h. Its greatest value
    over g lies at low, at high, or inside where h is concave in g; each is quadratic in t, and the
    ends of the union are among their roots. With several instruments which g are acceptable at a
    given t is exact, and ends in t are found by bisection, as for projections.

    Parameters
    ----------
    moments : Moments
        Of (d, Z_j), from :func:`along`.
    low, high : float
    level : float
    kind : str
        Name of the set.
    """
    if moments.df > 1:
        return ar.projection(moments, 0, level, kind, within=(low, high))
    scaled, units = ar.in_like_units(moments)
    low, high = low / units[1], high / units[1]
    products = np.concatenate([scaled.m_y, -scaled.m_d[0]])
    signs = np.array([1.0, -1.0, -1.0])
    form = scaled.critical(level) * scaled.meat * np.outer(signs, signs)
    form -= np.outer(products, products)

    def at(g: float) -> FloatArray:
        """Coefficients of h in t at g, the highest power first."""
        one = np.array([1.0, g])
        constant = one @ form[np.ix_([0, 2], [0, 2])] @ one
        return np.array([form[1, 1], 2 * form[1, [0, 2]] @ one, constant])

    inner = _greatest_over(form)

    def accepted(t: float) -> bool:
        powers = np.array([t * t, t, 1.0])
        if max(at(low) @ powers, at(high) @ powers) >= 0:
            return True
        if form[2, 2] >= 0:  # convex in g: greatest at an end
            return False
        best = -(form[0, 2] + form[1, 2] * t) / form[2, 2]
        return bool(low < best < high and inner @ powers >= 0)

    curves = [at(low), at(high)] + ([inner] if form[2, 2] < 0 else [])
    roots = np.concatenate([ar.real_roots(*curve[::-1].reshape(3, 1, 1)) for curve in curves])
    pieces = ar.accepted_pieces(np.unique(roots), accepted)
    return ConfidenceSet(tuple((units[0] * a, units[0] * b) for a, b in pieces), level, kind)


def _greatest_over(form: FloatArray) -> FloatArray:
    """The greatest value of h(t, .) times -form[2, 2], as a quadratic in t, highest power first.

    In this sense h is positive where its discriminant in g is.
    """
    a, b, c = form[2, 2], form[1, 2], form[0, 2]
    return np.array([b * b - a * form[1, 1], 2 * (b * c - a * form[0, 1]), c * c - a * form[0, 0]])


def ar_breakdown(moments: Moments, low: float, high: float, level: float, value: float) -> float:
    """Share of [low, high], around zero, at which the union of the sets holds ``value``."""
    fixed = replace(
        moments,
        m_y=moments.m_y - value * moments.m_d[:, 0],
        m_d=moments.m_d[:, 1:],
        meat=_shifted(moments, value),
    )
    found = ar.confidence_set(fixed, level, "")  # direct effects acceptable with this value
    shares = [INF]
    for a, b in found.intervals:
        if a <= 0 <= b:
            return 0.0
        nearest, side = (a, high) if a > 0 else (b, low)
        shares.append(nearest / side if side != 0 else INF)
    return min(shares)


def _shifted(moments: Moments, value: float) -> FloatArray:
    """Meat of (y - value d, Z_j) from that of (y, d, Z_j)."""
    mixing = np.array([[1.0, -value, 0.0], [0.0, 0.0, 1.0]])
    transform = np.kron(mixing, np.eye(moments.df))
    return np.asarray(transform @ moments.meat @ transform.T)
