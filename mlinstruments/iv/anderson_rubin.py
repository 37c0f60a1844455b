"""Anderson-Rubin tests and their exact inverses, from a handful of moments.

Notation: m(t) = m_y - m_d t sums instrument times restricted residual; S(t), quadratic in t, is its
variance; the statistic m(t)' S(t)^-1 m(t) is chi-squared with one degree for each instrument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, stats

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.hypotheses import TestResult, null_words
from mlinstruments._core.linalg import least_squares
from mlinstruments._core.sandwich import CovarianceSpec, moment_meat, nearest_psd
from mlinstruments._core.typing import FloatArray

from .confidence_set import INF, ConfidenceSet, merge

# Arcs of the half circle looked at for ends of a projection: shorter gaps may go unseen.
N_ARCS = 720


@dataclass(frozen=True)
class Moments:
    """All an Anderson-Rubin test needs.

    Parameters
    ----------
    m_y : array, shape (q,)
        Sums of instrument times outcome, covariates partialled out.
    m_d : array, shape (q, d)
        Sums of instrument times endogenous regressor.
    meat : array, shape (q (1 + d), q (1 + d))
        Variance of the sums of instrument times (outcome, endogenous), outcome first.
    df_resid : float
        Residual degrees of freedom where small-sample factors are used: the reference is then
        F(q, df_resid) rather than chi-squared over q. Infinite otherwise.
    """

    m_y: FloatArray
    m_d: FloatArray
    meat: FloatArray
    df_resid: float = INF

    @property
    def df(self) -> int:
        """Number of instruments."""
        return len(self.m_y)

    @property
    def n_endog(self) -> int:
        """Number of endogenous regressors."""
        return int(self.m_d.shape[1])

    def critical(self, level: float) -> float:
        """Critical value of the statistic."""
        if self.df_resid == INF:
            return float(stats.chi2.ppf(level, self.df))
        return float(self.df * stats.f.ppf(level, self.df, self.df_resid))

    def pvalue(self, statistic: float) -> float:
        """Upper tail probability of a value of the statistic."""
        if self.df_resid == INF:
            return float(stats.chi2.sf(statistic, self.df))
        return float(stats.f.sf(statistic / self.df, self.df, self.df_resid))


def moments(
    z: FloatArray,
    y: FloatArray,
    D: FloatArray | Sequence[FloatArray],
    spec: CovarianceSpec,
    n_exog: int,
    noise: FloatArray | None = None,
    factor: float = 1.0,
) -> Moments:
    """Moments from instruments and variables with the covariates (and weights) partialled out.

    Parameters
    ----------
    z : array, shape (n, q)
    y : array, shape (n,)
    D : array, shape (n, d), or its columns in a list
    spec : CovarianceSpec
    n_exog : int
        Covariates partialled out, for small-sample factors.
    noise : array, shape (n, q), optional
        What the instrument owes to the errors it was trained on. Its own meat is added: see
        :func:`mlinstruments.iv.instrument.build_instruments`.
    factor : float
        Multiplies the variance.

    Returns
    -------
    Moments
    """
    variables = np.column_stack([y, D] if isinstance(D, np.ndarray) else [y, *D])
    if spec.kind == "unadjusted":  # the classical test takes its variance under the alternative
        residual = variables - z @ least_squares(z, variables)
    else:
        residual = variables
    n_params = n_exog + z.shape[1]
    meat = moment_meat(z, residual, spec, n_params)
    if noise is not None:
        meat = meat + moment_meat(noise, residual, spec, n_params)
    lengths = [np.sqrt(np.einsum("ij,ij->j", a, a)) for a in (variables, z)]  # no copy of the rows
    units = np.kron(*lengths) / np.sqrt(len(y))
    return from_sums(z.T @ variables, meat, units, spec, len(y), n_params, factor)


def from_sums(
    products: FloatArray,
    meat: FloatArray,
    units: FloatArray,
    spec: CovarianceSpec,
    n: int,
    n_params: int,
    factor: float = 1.0,
) -> Moments:
    """Moments from sums over rows.

    Parameters
    ----------
    products : array, shape (q, 1 + d)
        Of instruments and (outcome, endogenous).
    meat : array, shape (q (1 + d), q (1 + d))
        Variance of ``products``, outcome first.
    units : array, shape (q (1 + d),)
        Of the entries of ``products``, to tell the small from rounding of the large.
    spec, n, n_params, factor
        As for :func:`moments`, with ``n`` rows.
    """
    df_resid = float(spec.df_resid(n, n_params)) if spec.debiased else INF
    meat = factor * nearest_psd((meat + meat.T) / 2, np.where(units > 0, units, 1.0))
    return Moments(products[:, 0], products[:, 1:], meat, df_resid)


def silent(moments: Moments) -> Moments:
    """Moments that reject nothing, for instruments that are known not to predict."""
    return replace(
        moments,
        m_y=np.zeros_like(moments.m_y),
        m_d=np.zeros_like(moments.m_d),
        meat=np.zeros_like(moments.meat),
    )


def average_noise(many: list[Moments], centre: Moments) -> Moments:
    """``centre`` with the mean extra variance of ``many`` moments, which share its instruments."""
    meat = np.mean([m.meat for m in many], axis=0)
    return replace(centre, meat=meat)


def in_like_units(moments: Moments) -> tuple[Moments, FloatArray]:
    """Moments of instruments and variables of like variance, and a unit of each coefficient (d,).

    Inverses and roots lose the small where units are far apart, and they enter here squared.
    """
    q = moments.df
    variances = np.diag(moments.meat).reshape(-1, q)  # a variable a row
    shares = variances / np.where(variances.sum(axis=1) > 0, variances.sum(axis=1), 1.0)[:, None]
    instrument = np.sqrt(shares.sum(axis=0))
    instrument = np.where(instrument > 0, instrument, 1.0)
    variable = np.sqrt((variances / instrument**2).sum(axis=1))
    variable = np.where(variable > 0, variable, 1.0)
    each = np.kron(variable, instrument)
    scaled = replace(
        moments,
        m_y=moments.m_y / (variable[0] * instrument),
        m_d=moments.m_d / np.outer(instrument, variable[1:]),
        meat=moments.meat / np.outer(each, each),
    )
    return scaled, variable[0] / variable[1:]


def statistic(moments: Moments, value: FloatArray) -> float:
    """The Anderson-Rubin statistic at ``value`` (d,); 0 where instruments do not vary at all."""
    moments, units = in_like_units(moments)
    value = value / units
    contrast = np.concatenate([[1.0], -value])
    m = moments.m_y - moments.m_d @ value
    q = moments.df
    blocks = moments.meat.reshape(len(contrast), q, len(contrast), q)
    variance = np.einsum("a,aibj,b->ij", contrast, blocks, contrast)
    if not np.trace(variance) > 0:
        return 0.0
    return float(m @ np.linalg.pinv(variance, hermitian=True) @ m)


def test(moments: Moments, value: FloatArray, names: tuple[str, ...]) -> TestResult:
    """Test that the coefficients of the endogenous regressors ``names`` equal ``value`` (d,)."""
    found = statistic(moments, value)
    return TestResult(found, moments.pvalue(found), moments.df, null_words(names, value))


def confidence_set(moments: Moments, level: float, kind: str) -> ConfidenceSet:
    """All values of a single coefficient that are not rejected, exactly.

    The set is where m(t)' S(t)^-1 m(t) <= c, that is where c S(t) - m(t) m(t)' is positive
    semi-definite. Its ends are real roots of det(c S(t) - m(t) m(t)'), a quadratic eigenvalue
    problem, so nothing is searched and no range is truncated.

    Parameters
    ----------
    moments : Moments
        With one endogenous regressor.
    level : float
    kind : str
        Name of the set.
    """
    moments, units = in_like_units(moments)
    pieces = _acceptance(moments, moments.critical(level))
    return ConfidenceSet(tuple((units[0] * a, units[0] * b) for a, b in pieces), level, kind)


def projection(
    moments: Moments,
    coordinate: int,
    level: float,
    kind: str,
    within: tuple[float, float] = (-INF, INF),
) -> ConfidenceSet:
    """Values of one of two coefficients that some value of the other makes acceptable.

    For a given value of the one coefficient whether such a value of the other exists is decided
    exactly; the ends are then found by bisection on the circle t = centre + scale tan(angle), whose
    end points are +-infinity, so that no range is truncated.

    Parameters
    ----------
    moments : Moments
        With two endogenous regressors.
    coordinate : {0, 1}
    level : float
    kind : str
    within : (low, high)
        Values of the other that are allowed.

    Raises
    ------
    InputError
        With more than two endogenous regressors.
    """
    d = moments.m_d.shape[1]
    if d != 2:
        raise InputError(
            f"projections of the Anderson-Rubin set are available for two endogenous regressors;"
            f" there are {d}: use anderson_rubin(value) for joint tests."
        )
    moments, units = in_like_units(moments)
    critical = moments.critical(level)
    low, high = (end / units[1 - coordinate] for end in within)
    centre, scale = _circle(moments, coordinate, low, high)
    if not (np.isfinite(scale) and scale > 0):
        return ConfidenceSet(((-INF, INF),), level, kind)

    def accepted(angle: float) -> bool:
        others = _acceptance(_fixed(moments, coordinate, centre, scale, angle), critical)
        if within == (-INF, INF):
            return bool(others)
        cosine = np.cos(angle)  # by which the other is multiplied too
        return any(a <= cosine * high and b >= cosine * low for a, b in others)

    ends = _circle_ends(accepted)
    unit = units[coordinate]
    pieces = [(unit * _point(a, centre, scale), unit * _point(b, centre, scale)) for a, b in ends]
    return ConfidenceSet(merge(pieces), level, kind)


def _acceptance(moments: Moments, critical: float) -> tuple[tuple[float, float], ...]:
    q = moments.df
    blocks = moments.meat.reshape(2, q, 2, q)
    m_y, m_d = moments.m_y, moments.m_d[:, 0]
    # In units where outcome and treatment moments have like variances the roots are well scaled.
    size_y, size_d = np.trace(blocks[0, :, 0]), np.trace(blocks[1, :, 1])
    if size_d == 0:  # a coefficient of the instruments themselves under homoskedastic errors
        size_d = m_d @ m_d
    if not (size_y > 0 and size_d > 0):
        return ((-INF, INF),)
    unit = float(np.sqrt(size_y / size_d))
    p0 = (critical * blocks[0, :, 0] - np.outer(m_y, m_y)) / size_y
    cross = critical * blocks[0, :, 1] - np.outer(m_y, m_d)
    p1 = -(cross + cross.T) * unit / size_y
    p2 = (critical * blocks[1, :, 1] - np.outer(m_d, m_d)) * unit**2 / size_y

    def accepted(t: float) -> bool:
        return bool(np.linalg.eigvalsh(p0 + t * p1 + t * t * p2)[0] >= 0)

    return tuple((unit * a, unit * b) for a, b in accepted_pieces(real_roots(p0, p1, p2), accepted))


def real_roots(p0: FloatArray, p1: FloatArray, p2: FloatArray) -> FloatArray:
    """Real t with det(p0 + t p1 + t^2 p2) = 0, in order."""
    q = len(p0)
    if q == 1:
        roots = np.roots([p2[0, 0], p1[0, 0], p0[0, 0]]).astype(complex)
    else:
        # Filled by hand: np.block and block_diag take longer than the eigenvalues.
        companion, mass = np.zeros((2 * q, 2 * q)), np.eye(2 * q)
        companion[:q, q:] = np.eye(q)
        companion[q:, :q], companion[q:, q:], mass[q:, q:] = -p0, -p1, p2
        with np.errstate(all="ignore"):
            roots = linalg.eigvals(companion, mass)
    finite = roots[np.isfinite(roots)]
    real = np.abs(finite.imag) <= 1e-8 * (1 + np.abs(finite.real))
    return np.sort(finite[real].real)


def accepted_pieces(
    roots: FloatArray, accepted: Callable[[float], bool]
) -> list[tuple[float, float]]:
    """Join the intervals between ``roots`` whose inner points are accepted."""
    if len(roots) == 0:
        return [(-INF, INF)] if accepted(0.0) else []
    inner = (roots[1:] + roots[:-1]) / 2
    reach = 1 + np.abs(roots).max()
    points = np.concatenate([[roots[0] - reach], inner, [roots[-1] + reach]])
    ends = np.concatenate([[-INF], roots, [INF]])
    kept = [
        (float(a), float(b))
        for a, b, t in zip(ends, ends[1:], points, strict=False)
        if accepted(float(t))
    ]
    return list(merge(kept))


def _circle(moments: Moments, coordinate: int, low: float, high: float) -> tuple[float, float]:
    """Where to look from: an estimate of one of two coefficients, and a standard error.

    The other is estimated too unless it is bounded; then it is in the middle of its bounds.
    """
    value, sought = np.zeros(2), [0, 1]
    if np.isfinite(high - low):
        value[1 - coordinate], sought = (low + high) / 2, [coordinate]
    m_d = moments.m_d[:, sought]
    value[sought] = linalg.lstsq(m_d, moments.m_y - moments.m_d @ value)[0]
    contrast, inverse, q = np.concatenate([[1.0], -value]), np.linalg.pinv(m_d), moments.df
    blocks = moments.meat.reshape(3, q, 3, q)
    variance = inverse @ np.einsum("a,aibj,b->ij", contrast, blocks, contrast) @ inverse.T
    place = sought.index(coordinate)
    return float(value[coordinate]), float(np.sqrt(max(variance[place, place], 0.0)))


def _fixed(moments: Moments, coordinate: int, centre: float, scale: float, angle: float) -> Moments:
    """Moments of the other coefficient when one is centre + scale tan(angle).

    Everything is multiplied by cos(angle), which changes no statistic and keeps the limit
    at +-90 degrees, where the coefficient is infinite, finite.
    """
    q = moments.df
    cosine, sine = np.cos(angle), np.sin(angle)
    here = cosine * centre + scale * sine
    other = 1 - coordinate
    mixing = np.zeros((2, 3))
    mixing[0, 0], mixing[0, 1 + coordinate], mixing[1, 1 + other] = cosine, -here, 1.0
    transform = np.kron(mixing, np.eye(q))
    m_y = cosine * moments.m_y - here * moments.m_d[:, coordinate]
    meat = transform @ moments.meat @ transform.T
    return replace(moments, m_y=m_y, m_d=moments.m_d[:, [other]], meat=meat)


def _point(angle: float, centre: float, scale: float) -> float:
    if abs(angle) >= np.pi / 2:
        return INF if angle > 0 else -INF
    return float(centre + scale * np.tan(angle))


def _circle_ends(accepted: Callable[[float], bool]) -> list[tuple[float, float]]:
    """Accepted arcs of (-90, 90) degrees, their ends bisected to machine precision."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, N_ARCS + 1)
    flags = [accepted(float(a)) for a in angles]
    arcs: list[tuple[float, float]] = []
    start = angles[0] if flags[0] else None
    for i in range(N_ARCS):
        if flags[i] == flags[i + 1]:
            continue
        end = _bisect(accepted, float(angles[i]), float(angles[i + 1]), flags[i])
        if flags[i]:
            arcs.append((float(start if start is not None else end), end))
            start = None
        else:
            start = end
    if start is not None:
        arcs.append((float(start), float(angles[-1])))
    return arcs


def _bisect(accepted: Callable[[float], bool], low: float, high: float, at_low: bool) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        if accepted(middle) == at_low:
            low = middle
        else:
            high = middle
    return (low + high) / 2
