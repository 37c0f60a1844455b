"""Linear k-class estimation on arrays: OLS, just-identified IV, 2SLS and LIML are its cases.

Two passes over the rows in blocks, one for inner products and one for scores, give coefficients,
covariance, Anderson-Rubin moments and first-stage F together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlinstruments._core.factor import transposed_blocks, triangular_factor
from mlinstruments._core.hypotheses import TestResult
from mlinstruments._core.sandwich import CovarianceSpec, cluster_ways, nearest_psd
from mlinstruments._core.typing import FloatArray

from . import anderson_rubin as ar
from . import strength
from .joint_strength import FirstStages, JointStrength, contracted, joint_strength
from .reduced import Coefficients, Partialled, Reduced, solve
from .score_sums import Combinations, ScoreSums
from .specification import over_identification


@dataclass(frozen=True)
class LinearFit:
    """A fitted linear model; k counts exogenous then endogenous regressors.

    Parameters
    ----------
    params : array, shape (k,)
    cov : array, shape (k, k)
    resids : array, shape (n,)
        Not weighted.
    kappa : float
        0 OLS, 1 2SLS, otherwise LIML's or Fuller's.
    spec : CovarianceSpec
        With the bandwidth that was used.
    """

    params: FloatArray
    cov: FloatArray
    resids: FloatArray
    kappa: float
    spec: CovarianceSpec


@dataclass(frozen=True)
class Variables:
    """The columns of a linear model.

    Parameters
    ----------
    y : array, shape (n,)
    X : list of arrays, each (n, p_i)
        Exogenous regressors, side by side.
    D : array, shape (n, d)
        Endogenous regressors.
    Z : array, shape (n, q)
        Excluded instruments.
    weights : array, shape (n,), optional
        Analytic weights with mean one.
    """

    y: FloatArray
    X: Sequence[FloatArray]
    D: FloatArray
    Z: FloatArray
    weights: FloatArray | None = None

    @cached_property
    def matrices(self) -> list[FloatArray]:
        """[X, D, Z, y] side by side, each (n, .)."""
        return [*self.X, self.D, self.Z, self.y[:, None]]

    def reduce(self, factor: FloatArray | None = None) -> Reduced:
        """Few rows with their inner products; ``factor`` is such rows where they are known."""
        rows = triangular_factor(self.matrices, self.weights) if factor is None else factor
        p = sum(x.shape[1] for x in self.X)
        return Reduced(rows, p, self.D.shape[1], self.Z.shape[1], len(self.y))


@dataclass(frozen=True)
class SecondStage:
    """What the rows say once the instruments are there.

    Parameters
    ----------
    reduced : Reduced
    partialled : Partialled
    sums : ScoreSums
        With all rows added.
    coefficients : Coefficients, or None
        None where no estimate was wanted.
    resids : array, shape (n,), or None
    """

    reduced: Reduced
    partialled: Partialled
    sums: ScoreSums
    coefficients: Coefficients | None
    resids: FloatArray | None = None

    def fit(self) -> LinearFit:
        """Coefficients with their covariance."""
        c, resids = self.coefficients, self.resids
        assert c is not None
        assert resids is not None
        cov = covariance(self.reduced, c, self.sums)
        return LinearFit(c.params, cov, resids, c.kappa, self.sums.spec)

    def moments(self, noise: FloatArray | None = None, factor: float = 1.0) -> ar.Moments:
        """Anderson-Rubin moments, with a meat (q (1 + d), q (1 + d)) of noise added."""
        data, spec = self.reduced, self.sums.spec
        n_params = data.p + data.q
        if spec.kind == "unadjusted":
            meat = self._unadjusted(self.partialled.z.T @ self.partialled.z)
        else:
            meat = self.sums.moment_meat(n_params)
        if noise is not None:
            meat = meat + noise
        products = self.partialled.z.T @ self.partialled.v
        lengths = [np.linalg.norm(a, axis=0) for a in (self.partialled.v, self.partialled.z)]
        units = np.kron(*lengths) / np.sqrt(data.n)
        return ar.from_sums(products, meat, units, spec, data.n, n_params, factor)

    def noise_meats(self, squares: Sequence[FloatArray] = ()) -> list[FloatArray]:
        """Meat that each noise adds; ``squares`` are their products (q, q), if unadjusted."""
        if self.sums.spec.kind == "unadjusted":
            return [self._unadjusted(one) for one in squares]
        return self.sums.noise_meats(self.reduced.p + self.reduced.q)

    def _unadjusted(self, squares: FloatArray) -> FloatArray:
        # The classical test takes its variance under the alternative.
        data, few = self.reduced, self.partialled
        left = few.v - few.z @ few.on_z
        spec = self.sums.spec
        factor = data.n / spec.df_resid(data.n, data.p + data.q) if spec.debiased else 1.0
        return np.asarray(factor * np.kron(left.T @ left / data.n, squares))

    @cached_property
    def _first_stage_meat(self) -> FloatArray | None:
        """Meat of all first stages (d q, d q); None for ``unadjusted``."""
        if self.sums.spec.kind == "unadjusted":
            return None
        return self.sums.first_stage_meat(self.reduced.p + self.reduced.q)

    def first_stage_f(self) -> list[float]:
        """Robust F of the instruments for each endogenous regressor."""
        data, few, spec = self.reduced, self.partialled, self.sums.spec
        n_params, meat, found = data.p + data.q, self._first_stage_meat, []
        for j, d in enumerate(few.v.T[1:]):
            block = slice(j * data.q, (j + 1) * data.q)
            own = None if meat is None else meat[block, block]
            found.append(strength.f_statistic(few.z, d, own, spec, data.n, n_params))
        return found

    def joint_strength(self, endog: tuple[str, ...]) -> tuple[JointStrength, float]:
        """Strength of all instruments together, and the effective F."""
        data, few = self.reduced, self.partialled
        stage = FirstStages(few.z, few.v[:, 1:], self._first_stage_meat, data.n, data.p)
        return joint_strength(stage, self.sums.spec, endog)

    def over_identification(self) -> TestResult | None:
        """Whether all instruments imply the same coefficients; None where they must."""
        data, c = self.reduced, self.coefficients
        if c is None or data.q <= data.d:
            return None
        blocks = np.concatenate([[1.0], -c.params[data.p :]])
        few, spec = self.partialled, self.sums.spec
        e = few.v @ blocks
        if spec.kind == "unadjusted":
            factor = data.n / spec.df_resid(data.n, data.p + data.q) if spec.debiased else 1.0
            S = factor * float(e @ e) / data.n * few.z.T @ few.z
        else:
            S = contracted(self.sums.moment_meat(data.p + data.q), blocks)
        return over_identification(few.z, few.v, S)


def second_stage(
    data: Variables,
    spec: CovarianceSpec,
    kappa: float | None = 1.0,
    reduced: Reduced | None = None,
    estimate: bool = True,
    noise: Sequence[FloatArray] = (),
    fuller: float = 0.0,
) -> SecondStage:
    """Everything that instruments once given imply, in two passes over blocks of rows.

    Parameters
    ----------
    data : Variables
    spec : CovarianceSpec
    kappa : float, optional
        The k-class parameter; None computes LIML's.
    reduced : Reduced, optional
        If known; the first pass is then left out.
    estimate : bool
        Whether coefficients are wanted.
    noise : list of arrays, each (n, q)
        Noises of the instruments, X partialled out, which enter Anderson-Rubin moments.
    fuller : float
        Over the degrees of freedom n - p - q, subtracted from LIML's kappa.

    Returns
    -------
    SecondStage
    """
    reduced = data.reduce() if reduced is None else reduced
    partialled = Partialled.of(reduced)
    # The degrees of freedom are n - p - q less those of absorbed effects, which X does not show.
    df = spec.df_resid(reduced.n, reduced.p + reduced.q)
    coefficients = solve(reduced, kappa, fuller / df if fuller else 0.0) if estimate else None
    combinations = Combinations.of(reduced, partialled, coefficients)
    told = None
    if spec.kind == "kernel" and coefficients is not None:
        told = _without_constants(coefficients.fitted, data)
    sums = ScoreSums(combinations, spec, len(noise), told)
    resids = np.empty(len(data.y)) if estimate else None
    if estimate or spec.kind != "unadjusted":
        ways = cluster_ways(spec)
        for rows, block in transposed_blocks(data.matrices, whole=spec.kind == "kernel"):
            made = sums.add(
                block,
                None if data.weights is None else data.weights[rows],
                [codes[rows] for codes in ways],
                [one[rows].T for one in noise],
            )
            if resids is not None:
                resids[rows] = made[0]
    return SecondStage(reduced, partialled, sums, coefficients, resids)


def covariance(data: Reduced, coefficients: Coefficients, sums: ScoreSums) -> FloatArray:
    """Covariance of the coefficients (k, k)."""
    n, k, spec = data.n, data.p + data.d, sums.spec
    bread = coefficients.bread
    if spec.kind == "unadjusted":
        factor = n / spec.df_resid(n, k) if spec.debiased else 1.0
        return np.asarray(factor * sums.squares / n * bread)
    cov = coefficients.spread @ sums.fit_meat(k) @ coefficients.spread.T
    cov = (cov + cov.T) / 2
    if (np.diag(cov) <= 0).any():  # two-way sums may cancel to less than nothing
        cov = nearest_psd(cov, np.sqrt(np.abs(np.diag(bread))))
    return np.asarray(cov)


def kclass(
    y: FloatArray,
    X: FloatArray,
    D: FloatArray,
    Z: FloatArray,
    spec: CovarianceSpec,
    weights: FloatArray | None = None,
    kappa: float | None = 1.0,
    fuller: float = 0.0,
) -> LinearFit:
    """Estimate y = X b + D t by the k-class with excluded instruments Z.

    Parameters
    ----------
    y : array, shape (n,)
    X : array, shape (n, p)
        Exogenous regressors.
    D : array, shape (n, d)
        Endogenous regressors; d may be 0 (OLS).
    Z : array, shape (n, q)
        Excluded instruments, q at least d.
    spec : CovarianceSpec
    weights : array, shape (n,), optional
        Analytic weights with mean one.
    kappa : float, optional
        The k-class parameter; None computes LIML's.
    fuller : float
        Over the degrees of freedom n - p - q, subtracted from LIML's.

    Returns
    -------
    LinearFit

    References
    ----------
    Theil (1958); Anderson and Rubin (1949), doi:10.1214/aoms/1177730090; Fuller (1977),
    doi:10.2307/1912683.
    """
    return second_stage(Variables(y, [X], D, Z, weights), spec, kappa, fuller=fuller).fit()


def _without_constants(regressors: FloatArray, data: Variables) -> FloatArray:
    """Rows whose scores an automatic bandwidth looks at: linearmodels leaves constants out.

    It looks for them after weighting, and so finds none where there are weights.
    """
    if data.weights is not None:
        return regressors
    flat = np.flatnonzero(np.concatenate([np.ptp(x, axis=0) == 0 for x in data.X]))
    return np.delete(regressors, flat, axis=0) if len(flat) < len(regressors) else regressors
