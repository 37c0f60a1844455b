"""How strong a first stage is: robust F, partial R2, calibration, fold by fold; and tF."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.factor import triangular_factor
from mlinstruments._core.linalg import dependent_columns, least_squares, residuals, unit_length
from mlinstruments._core.sandwich import CovarianceSpec, meat, meat_of_blocks, nearest_psd
from mlinstruments._core.typing import FloatArray, IntArray

from .joint_strength import JointStrength


@dataclass(frozen=True)
class FirstStage:
    """Strength of the instruments, one entry for each endogenous regressor.

    Parameters
    ----------
    f : Series
        Robust F of the (learned) instruments given the covariates, with the covariance of the fit;
        the median over repeats. 0 where a learned instrument does not rise with its treatment: such
        predictions are noise, however large their square. With one learned instrument this is also
        the effective F of Montiel Olea and Pflueger (2013).
    effective_f : Series
        Effective F of Montiel Olea and Pflueger, an F that bounds the bias of 2SLS whatever the
        covariance; ``joint.effective_critical`` holds its critical values. The same number as ``f``
        with one (learned) instrument; missing with several endogenous regressors.
    partial_r2 : Series
        Share of the treatment's variance, given covariates, that the instruments explain.
    calibration : Series
        Slope of the treatment on its own learned instrument: about 1 when predictions are
        calibrated; not positive means that they do not predict. Missing for comparators.
    reliability : Series
        Share of the learned instrument's variance that is signal, from the agreement of halves.
    linear_f : Series
        Robust joint F of the instruments taken linearly (categories as indicators), missing where
        an instrument has missing values. Compare ``f`` with ``n_instruments * linear_f``, not with
        ``linear_f``: a joint F is an average over instruments.
    n_instruments : int
        How many columns that linear first stage has.
    by_fold : DataFrame
        One row for each repeat, fold and endogenous regressor: rows, slope, F.
    joint : JointStrength
        Of all (learned) instruments together: Cragg-Donald, Kleibergen-Paap, conditional F.
    learner_weights : DataFrame
        For a stack of learners, one row for each repeat, fold, endogenous regressor and training
        part, one column for each learner: convex weights. Empty otherwise.
    """

    f: pd.Series
    effective_f: pd.Series
    partial_r2: pd.Series
    calibration: pd.Series
    reliability: pd.Series
    linear_f: pd.Series
    n_instruments: int
    by_fold: pd.DataFrame
    joint: JointStrength
    learner_weights: pd.DataFrame = field(default_factory=pd.DataFrame)

    def to_frame(self) -> pd.DataFrame:
        """The measures side by side, one row for each endogenous regressor."""
        columns = ["f", "effective_f", "partial_r2", "calibration", "reliability", "linear_f"]
        frame = pd.DataFrame({name: getattr(self, name) for name in columns})
        frame.insert(1, "conditional_f", self.joint.conditional_f)
        frame["q_times_linear_f"] = self.n_instruments * self.linear_f
        return frame


def robust_f(z: FloatArray, d: FloatArray, spec: CovarianceSpec, n_exog: int) -> float:
    """Robust F of instruments for one treatment, covariates (and weights) partialled out.

    Parameters
    ----------
    z : array, shape (n, q)
    d : array, shape (n,)
    spec : CovarianceSpec
    n_exog : int
        Covariates partialled out.

    Returns
    -------
    float
        Wald statistic over q; 0 where the instruments do not vary.
    """
    scores = None
    if spec.kind != "unadjusted":
        scores = z * (d - z @ least_squares(z, d))[:, None]
        spec = spec.resolve(scores)
    n_params = n_exog + int((z**2).sum(axis=0).astype(bool).sum())
    variance = None if scores is None else meat(scores, spec, n_params)
    return f_statistic(z, d, variance, spec, len(d), n_params)


def f_statistic(
    z: FloatArray,
    d: FloatArray,
    variance: FloatArray | None,
    spec: CovarianceSpec,
    n: int,
    n_params: int,
) -> float:
    """F of instruments for one treatment from their inner products and the meat of their scores.

    Parameters
    ----------
    z : array, shape (r, q)
        Instruments, or any rows with their inner products.
    d : array, shape (r,)
        The treatment likewise.
    variance : array, shape (q, q), or None
        Variance of the sums of instrument times first-stage residual; None for ``unadjusted``.
    spec : CovarianceSpec
    n : int
        Rows of the data.
    n_params : int
        Covariates partialled out and instruments.

    Returns
    -------
    float
        Wald statistic over q; 0 where the instruments do not vary.
    """
    kept = (z**2).sum(axis=0) > 0
    z, lengths = unit_length(z[:, kept])
    q = int(z.shape[1])
    if q == 0:
        return 0.0
    if variance is None:
        coefficients = least_squares(z, d)
        resids = d - z @ coefficients
        factor = n / spec.df_resid(n, n_params) if spec.debiased else 1.0
        wald = float(coefficients @ (z.T @ z) @ coefficients)
        return wald / (factor * float(resids @ resids) / n) / q
    scaled = nearest_psd(variance[np.ix_(kept, kept)] / np.outer(lengths, lengths))
    product = z.T @ d
    # (z'z)^-1 meat (z'z)^-1 in the middle cancels: the Wald statistic needs the meat alone.
    return float(product @ np.linalg.pinv(scaled, hermitian=True) @ product) / q


def partial_r2(z: FloatArray, d: FloatArray) -> float:
    """Share of the variance of d (n,) that z (n, q) explains, both partialled out."""
    total = float(d @ d)
    fitted = z @ least_squares(z, d)
    return float(fitted @ fitted) / total if total > 0 else 0.0


def slope(z: FloatArray, d: FloatArray) -> float:
    """Slope of d (n,) on z (n,), both partialled out; NaN where z does not vary."""
    squares = float(z @ z)
    return float(z @ d) / squares if squares > 0 else float("nan")


BY_FOLD = ["repeat", "fold", "endog", "rows", "slope", "f"]


def by_fold(
    z: FloatArray,
    d: FloatArray,
    root: FloatArray | None,
    cell: IntArray,
    repeat: int,
    endog: str,
) -> list[dict[str, object]]:
    """Rows, slope and heteroskedasticity-robust F in each cell, its mean taken out.

    ``z`` and ``d`` (n,) are partialled out and scaled by ``root``, the root weights if any.
    """
    constant = np.ones(len(z)) if root is None else root
    table: list[dict[str, object]] = []
    for k in range(int(cell.max()) + 1):
        rows = np.flatnonzero(cell == k)
        both = residuals(np.column_stack([z[rows], d[rows]]), constant[rows, None])
        here, there = both[:, 0], both[:, 1]
        table.append(
            {
                "repeat": repeat,
                "fold": k,
                "endog": endog,
                "rows": len(rows),
                "slope": slope(here, there),
                "f": robust_f(here[:, None], there, CovarianceSpec("robust"), 1),
            }
        )
    return table


def reliability(z: FloatArray, noise: FloatArray | None) -> float:
    """Share of the variance of z (n,) that is signal: 1 - noise / total, at least 0."""
    total = float(z @ z)
    if noise is None or total == 0:
        return float("nan")
    return max(0.0, 1.0 - float(noise @ noise) / total)


def linear_first_stage(
    instruments: FloatArray,
    d: FloatArray,
    exog: FloatArray,
    spec: CovarianceSpec,
    weights: FloatArray | None,
) -> tuple[float, int]:
    """Robust joint F of instruments (n, q) for d (n,) given exog (n, p), and how many it joins.

    Instruments that others and exog determine are left out. NaN with too few rows. The same number
    as :func:`robust_f` of partialled-out instruments, without making them.
    """
    n, q = instruments.shape
    p = exog.shape[1]
    if q == 0 or 3 * (q + p) > n:
        return float("nan"), q
    factor = triangular_factor([exog, instruments, d], weights)
    surplus = [j - p for j in dependent_columns(factor[:, :-1]) if j >= p]
    if surplus:
        independent = np.delete(instruments, surplus, axis=1)
        return linear_first_stage(independent, d, exog, spec, weights)
    if spec.kind == "unadjusted" or spec.kind == "kernel":
        both = residuals(np.column_stack([instruments, d]), exog, weights)
        both = both if weights is None else both * np.sqrt(weights)[:, None]
        return robust_f(both[:, :-1], both[:, -1], spec, p), q
    on_exog = least_squares(factor[:, :p], factor[:, p : p + q]) if p else np.zeros((0, q))
    cleaned, lengths = unit_length(factor[:, p : p + q] - factor[:, :p] @ on_exog)
    product = cleaned.T @ factor[:, -1]
    full = least_squares(factor[:, :-1], factor[:, -1])

    def scores(rows: slice) -> FloatArray:
        x, w = exog[rows], instruments[rows]
        surprise = d[rows] - x @ full[:p] - w @ full[p:]
        surprise = surprise if weights is None else weights[rows] * surprise
        return np.asarray((w - x @ on_exog) / lengths * surprise[:, None])

    variance = nearest_psd(meat_of_blocks(scores, n, spec, p + q))
    return float(product @ np.linalg.pinv(variance, hermitian=True) @ product) / int(q), q


def tf_critical(f: float, level: float = 0.95) -> float:
    """Critical value for |t| when the first-stage F is ``f``, valid however weak the instrument.

    Computed rather than read off a table. With perfectly correlated errors the t ratio is
    x (f0 + x) / f0 when the first-stage t ratio is f0 + x, x standard normal; the critical value
    c(|first-stage t|) is the one that makes the test exact for every f0.

    Parameters
    ----------
    f : float
        First-stage F of a single instrument.
    level : float
        Only 0.95.

    Returns
    -------
    float
        At least 1.96; infinite for F at or below 1.96 squared.

    References
    ----------
    Lee, McCrary, Moreira, Porter (2022), doi:10.1257/aer.20211063.

    Examples
    --------
    >>> round(tf_critical(16.0), 2), round(tf_critical(1000.0), 2), tf_critical(2.0)
    (2.79, 1.96, inf)
    """
    if level != 0.95:
        raise InputError(f"tF critical values exist for level=0.95; got {level}.")
    root = float(np.sqrt(f))
    normal = float(stats.norm.ppf(0.975))
    if root <= normal:
        return float("inf")
    grid, inverse = _tf_curve()
    if root >= grid[-1]:
        return normal
    return max(normal, float(1 / np.interp(root, grid, inverse)))


def tf_interval(
    f: float, estimate: float, std_error: float, level: float = 0.95
) -> tuple[float, float]:
    """Estimate plus and minus the tF critical value; infinite where that is, or none is given."""
    critical = tf_critical(f, level) if np.isfinite(f) else float("inf")
    width = critical * std_error
    if not (np.isfinite(width) and np.isfinite(estimate)):
        return -float("inf"), float("inf")
    return estimate - width, estimate + width


@cache
def _tf_curve() -> tuple[FloatArray, FloatArray]:
    """First-stage |t| and 1/c there, from 1.96, where c is infinite, up to where c is 1.96.

    Rejection happens right of x_hi and left of -(f0 + m), where the first-stage t ratio is
    negative; the two tails sum to 5%. Each end is where |x (f0 + x)| / f0 meets c, and c at the
    right end of one f0 is c at the left end of a smaller one: iterate to the fixed point.
    """
    normal = stats.norm.ppf(0.975)
    f0 = np.concatenate([np.geomspace(1e-4, 1, 400), np.linspace(1, 9, 300)[1:]])
    right = np.full(len(f0), stats.norm.ppf(0.95))
    for _ in range(200):
        grid = np.concatenate([[normal], f0 + right])
        inverse = np.concatenate([[0.0], f0 / (right * (f0 + right))])
        low, high = np.full(len(f0), normal / 2), np.full(len(f0), 15.0)
        for _ in range(60):
            middle = (low + high) / 2
            rejected = (f0 + middle) * middle / f0 * np.interp(middle, grid, inverse, left=0) >= 1
            low, high = np.where(rejected, low, middle), np.where(rejected, middle, high)
        updated = stats.norm.isf(0.05 - stats.norm.sf(f0 + high))
        if np.abs(updated - right).max() < 1e-10:
            break
        right = updated
    return grid, inverse
