"""Estimate, standard error, F and corrected Anderson-Rubin set of many samples at once.

The numbers of :mod:`mlinstruments.iv` for one learned instrument, one endogenous regressor and
robust covariances, in sums over rows.

Glossary: z instruments, w their noise, y outcomes, d treatments, each (R, n), a row a sample,
orthogonal to the covariates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, chdtri, ndtri

from mlinstruments._core.typing import BoolArray, FloatArray

# Below this share of what was added up, a difference has lost digits; and below this share of their
# terms the coefficients of the quadratic of a set are too near zero to tell its shape.
CANCELLED, LEVEL = 1e-4, 1e-9
# An instrument whose spread is below this share of the treatment's says nothing.
FLAT = 1e-8


@dataclass(frozen=True)
class SecondStage:
    """Numbers of R samples, each (R,) but where said.

    Parameters
    ----------
    estimate, std_error, f : array
        Missing estimates where the instrument does not rise with the treatment; F is 0 there.
    lower, upper : array
        Wald interval.
    pvalue : array
        Anderson-Rubin test of the truth.
    ends : array, shape (R, 2)
        Real ends of the Anderson-Rubin set, in order; missing where it is the whole line.
    outside : bool array
        Whether the set is what lies outside of its ends.
    clear : bool array
        Where False, digits were lost and the sample needs a fit of its own.
    """

    estimate: FloatArray
    std_error: FloatArray
    f: FloatArray
    lower: FloatArray
    upper: FloatArray
    pvalue: FloatArray
    ends: FloatArray
    outside: BoolArray
    clear: BoolArray


def second_stage(
    z: FloatArray,
    w: FloatArray | None,
    y: FloatArray,
    d: FloatArray,
    truth: float,
    level: float,
) -> SecondStage:
    """All numbers of a row of the table.

    Parameters
    ----------
    z, y, d : array, shape (R, n)
    w : array, shape (R, n), or None
        None where the noise is unknown and all of the instrument is taken for noise.
    truth : float
    level : float
    """
    yy, yd, dd, zz, product = y * y, y * d, d * d, z * z, z * d
    zy, zd = np.einsum("rn,rn->r", z, y), product.sum(axis=1)
    length = zz.sum(axis=1)
    # Variances of the sums of z y, z d and their covariance.
    s_yy, s_yd, s_dd = (np.einsum("rn,rn->r", zz, v) for v in (yy, yd, dd))
    varies = length > FLAT**2 * dd.sum(axis=1)
    with np.errstate(all="ignore"):
        estimate, slope = zy / zd, zd / length
        meat = s_yy - 2 * estimate * s_yd + estimate**2 * s_dd
        exact = meat > CANCELLED * (s_yy + estimate**2 * s_dd)
        std_error = np.sqrt(meat) / np.abs(zd)
        # Scores z (d - slope z) of the first stage.
        cubes, fourth = np.einsum("rn,rn->r", zz, product), np.einsum("rn,rn->r", zz, zz)
        first = s_dd - 2 * slope * cubes + slope**2 * fourth
        exact &= first > CANCELLED * s_dd
        f = zd**2 / first
    if w is None:
        v_yy, v_yd, v_dd = 2 * s_yy, 2 * s_yd, 2 * s_dd
    else:
        ww = w * w
        v_yy, v_yd, v_dd = (
            s + np.einsum("rn,rn->r", ww, v) for s, v in ((s_yy, yy), (s_yd, yd), (s_dd, dd))
        )
    rises = zd > 0
    silent = ~rises
    statistic = (zy - zd * truth) ** 2 / (v_yy - 2 * truth * v_yd + truth**2 * v_dd)
    pvalue = chdtrc(1.0, np.where(silent, 0.0, statistic))
    ends, outside, sure = _set(zy, zd, v_yy, v_yd, v_dd, float(chdtri(1.0, 1 - level)))
    ends[silent] = np.nan
    estimate, std_error = np.where(silent, np.nan, estimate), np.where(silent, np.nan, std_error)
    width = float(ndtri((1 + level) / 2)) * std_error
    return SecondStage(
        estimate=estimate,
        std_error=std_error,
        f=np.where(silent, 0.0, f),
        lower=estimate - width,
        upper=estimate + width,
        pvalue=pvalue,
        ends=ends,
        outside=outside & rises,
        clear=varies & (silent | exact & sure),
    )


def _set(
    m_y: FloatArray,
    m_d: FloatArray,
    v_yy: FloatArray,
    v_yd: FloatArray,
    v_dd: FloatArray,
    critical: float,
) -> tuple[FloatArray, BoolArray, BoolArray]:
    """Where a t^2 - 2 h t + k >= 0, the values t that are not rejected, exactly.

    Returns ends (R, 2), whether the set is outside them, and whether the shape is beyond doubt.
    """
    a = critical * v_dd - m_d**2
    h = critical * v_yd - m_y * m_d
    k = critical * v_yy - m_y**2
    gap = h**2 - a * k
    root = np.sqrt(np.maximum(gap, 0.0))
    far = h + np.where(h >= 0, root, -root)  # adds what has one sign: no digits cancel
    with np.errstate(all="ignore"):
        both = np.sort(np.stack([far / a, k / far], axis=1), axis=1)
    sure = (np.abs(a) > LEVEL * critical * v_dd) & (np.abs(gap) > LEVEL * (h**2 + np.abs(a * k)))
    sure &= (gap > 0) | (a > 0)
    return np.where((gap > 0)[:, None], both, np.nan), (gap > 0) & (a > 0), sure
