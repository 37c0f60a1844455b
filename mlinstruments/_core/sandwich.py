"""Covariances of summed scores: the one home of every robust standard error in the package.

Words and small-sample factors are linearmodels': ``debiased`` multiplies by n/(n-k), and clustered
covariances by g/(g-1) (n-1)/(n-k) for each way of clustering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .arrays import check_choice, check_count
from .exceptions import InputError
from .linalg import BLOCK
from .typing import FloatArray, IntArray

KINDS = ("unadjusted", "robust", "clustered", "kernel")


@dataclass(frozen=True)
class CovarianceSpec:
    """How the variance of a sum of scores is estimated.

    Parameters
    ----------
    kind : {"unadjusted", "robust", "clustered", "kernel"}
        Homoskedastic, heteroskedasticity-robust, clustered in one or two ways, or Bartlett kernel.
    debiased : bool
        Apply small-sample factors (HC1 for ``robust``).
    clusters : tuple of int arrays, each (n,)
        Cluster numbers from 0, one array for each way of clustering.
    bandwidth : int, optional
        Lags of the Bartlett kernel; chosen from the data by linearmodels' rule if not given.
    absorbed : int
        Degrees of freedom of effects taken out of all variables, counted among the parameters.
    """

    kind: str = "robust"
    debiased: bool = False
    clusters: tuple[IntArray, ...] = ()
    bandwidth: int | None = None
    absorbed: int = 0

    def __post_init__(self) -> None:
        check_choice(self.kind, "cov_type", KINDS)
        if self.kind == "clustered" and not 1 <= len(self.clusters) <= 2:
            raise InputError(
                f"clustered covariances need one or two ways of clustering; got"
                f" {len(self.clusters)}: pass clusters= with one or two columns."
            )
        if self.kind == "kernel" and self.bandwidth is not None:
            check_count(self.bandwidth, "bandwidth", 0)

    @property
    def n_clusters(self) -> tuple[int, ...]:
        """Number of clusters in each way of clustering."""
        return tuple(int(codes.max()) + 1 for codes in self.clusters)

    @property
    def label(self) -> str:
        """The covariance in words, for tables."""
        if self.kind == "robust":
            return "robust (HC1)" if self.debiased else "robust (HC0)"
        if self.kind == "clustered":
            ways = "one way" if len(self.clusters) == 1 else "two ways"
            return f"clustered, {ways}"
        if self.kind == "kernel":
            return f"kernel (Bartlett, {self.bandwidth} lags)"
        return "unadjusted"

    def df_resid(self, n: int, n_params: int) -> int:
        """Degrees of freedom left of n rows by parameters, those of absorbed effects too."""
        return n - n_params - self.absorbed

    def resolve(self, scores: FloatArray) -> CovarianceSpec:
        """Fill in a bandwidth left to the data from the scores (n, m) of the fitted model."""
        if self.kind != "kernel" or self.bandwidth is not None:
            return self
        from linearmodels.iv.covariance import kernel_optimal_bandwidth

        return replace(self, bandwidth=int(kernel_optimal_bandwidth(scores.sum(1), "bartlett")))


def covariance_spec(
    cov_type: str | None,
    debiased: bool,
    bandwidth: int | None,
    clusters: tuple[IntArray, ...],
    absorbed: int = 0,
) -> CovarianceSpec:
    """The covariance a user asked for; clustered by default where clusters are given.

    Examples
    --------
    >>> covariance_spec(None, False, None, ()).label
    'robust (HC0)'
    """
    kind = cov_type if cov_type is not None else ("clustered" if clusters else "robust")
    check_choice(kind, "cov_type", KINDS)
    if clusters and kind != "clustered":
        raise InputError(
            f"clusters were given with cov_type={kind!r}: leave cov_type out or set it to"
            " 'clustered', or leave clusters out."
        )
    if bandwidth is not None and kind != "kernel":
        raise InputError(f"bandwidth belongs to cov_type='kernel'; cov_type is {kind!r}.")
    return CovarianceSpec(kind, debiased, clusters, bandwidth, absorbed)


def meat(scores: FloatArray, spec: CovarianceSpec, n_params: int) -> FloatArray:
    """Variance of the column sums of ``scores``.

    Parameters
    ----------
    scores : array, shape (n, m)
        One row an observation.
    spec : CovarianceSpec
        Any kind but ``unadjusted``, which is not a function of the scores.
    n_params : int
        Estimated parameters, for the small-sample factor.

    Returns
    -------
    array, shape (m, m)
        Symmetric; positive semi-definite except possibly under two-way clustering.

    Examples
    --------
    >>> import numpy as np
    >>> meat(np.array([[1.0], [2.0]]), CovarianceSpec("robust"), n_params=1)
    array([[5.]])
    """
    n = len(scores)
    if spec.kind == "robust":
        return _factor(spec, n, n_params) * (scores.T @ scores)
    if spec.kind == "clustered":
        return _clustered(scores, spec, n_params)
    if spec.kind == "kernel":
        if spec.bandwidth is None:
            raise InputError("a kernel covariance needs its bandwidth resolved first.")
        return _factor(spec, n, n_params) * _bartlett(scores, spec.bandwidth)
    raise InputError("an unadjusted covariance is not a function of scores.")


def meat_of_blocks(
    block: Callable[[slice], FloatArray], n: int, spec: CovarianceSpec, n_params: int
) -> FloatArray:
    """:func:`meat` of scores computed a block of rows at a time, never all held at once.

    Parameters
    ----------
    block : callable
        Takes a slice of rows and returns their scores (rows, m).
    n : int
        Rows in all.
    spec, n_params
        As for :func:`meat`. Kernels link neighbours across blocks, so their scores are joined.
    """
    slices = [slice(start, start + BLOCK) for start in range(0, n, BLOCK)]
    if spec.kind == "robust":
        total = sum(scores.T @ scores for scores in map(block, slices))
        return np.asarray(_factor(spec, n, n_params) * total)
    return meat(np.concatenate([block(rows) for rows in slices]), spec, n_params)


def moment_meat(z: FloatArray, v: FloatArray, spec: CovarianceSpec, n_params: int) -> FloatArray:
    """Variance of the sums of all products z_j v_m.

    Parameters
    ----------
    z : array, shape (n, q)
        Instruments.
    v : array, shape (n, m)
        Residuals.
    spec : CovarianceSpec
        Of any kind.
    n_params : int
        Estimated parameters, for the small-sample factor.

    Returns
    -------
    array, shape (m * q, m * q)
        Ordered v-major: entry ``m * q + j`` belongs to v_m and z_j.
    """
    n = len(z)
    if spec.kind == "unadjusted":
        product = np.asarray(np.kron(v.T @ v / n, z.T @ z), dtype=np.float64)
        return _factor(spec, n, n_params) * product
    scores = (v[:, :, None] * z[:, None, :]).reshape(n, -1)
    return meat(scores, spec, n_params)


def _factor(spec: CovarianceSpec, n: int, n_params: int) -> float:
    return n / spec.df_resid(n, n_params) if spec.debiased else 1.0


def _clustered(scores: FloatArray, spec: CovarianceSpec, n_params: int) -> FloatArray:
    first = _one_way(scores, spec.clusters[0], spec, n_params)
    if len(spec.clusters) == 1:
        return first
    a, b = spec.clusters
    both = np.unique(a * (int(b.max()) + 1) + b, return_inverse=True)[1].astype(np.int64)
    second = _one_way(scores, b, spec, n_params)
    return first + second - _one_way(scores, both, spec, n_params)


def _one_way(
    scores: FloatArray, codes: IntArray, spec: CovarianceSpec, n_params: int
) -> FloatArray:
    n, g = len(scores), int(codes.max()) + 1
    sums: FloatArray = np.column_stack([np.bincount(codes, column, g) for column in scores.T])
    factor = _factor(spec, n, n_params) * g / (g - 1) * (n - 1) / n if spec.debiased else 1.0
    return factor * (sums.T @ sums)


def _bartlett(scores: FloatArray, lags: int) -> FloatArray:
    total = scores.T @ scores
    for lag in range(1, min(lags, len(scores) - 1) + 1):
        cross = scores[lag:].T @ scores[:-lag]
        total += (1 - lag / (lags + 1)) * (cross + cross.T)
    return total


def nearest_psd(matrix: FloatArray, units: FloatArray | None = None) -> FloatArray:
    """Set negative eigenvalues of a symmetric matrix to zero (Cameron, Gelbach, Miller 2011).

    Parameters
    ----------
    matrix : array, shape (m, m)
    units : array, shape (m,), optional
        Positive; variables are measured in them first. Eigenvalues depend on units, and where these
        are far apart the rounding of the large entries would swallow the small ones.

    Examples
    --------
    >>> import numpy as np
    >>> nearest_psd(np.array([[1.0, 0.0], [0.0, -1.0]]))
    array([[1., 0.],
           [0., 0.]])
    """
    square = 1.0 if units is None else np.outer(units, units)
    values, vectors = np.linalg.eigh(matrix / square)
    if values[0] >= 0:
        return matrix
    clipped: FloatArray = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return clipped * square
