"""Covariances of summed scores: the one home of every robust standard error in the package.

Words and small-sample factors are linearmodels': ``debiased`` multiplies by n/(n-k), and clustered
covariances by g/(g-1) (n-1)/(n-k) for each way of clustering.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .arrays import check_choice, check_count
from .exceptions import InputError
from .factor import BLOCK
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
    total = MeatSum(spec, scores.shape[1])
    total.add(scores.T, cluster_ways(spec))
    return total.result(n_params)


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
        As for :func:`meat`. Kernels link neighbours across blocks, so theirs is a single one.
    """
    step = n if spec.kind == "kernel" else BLOCK
    ways = cluster_ways(spec)
    total = None
    for start in range(0, n, step):
        rows = slice(start, start + step)
        scores = block(rows).T
        total = MeatSum(spec, len(scores)) if total is None else total
        total.add(scores, [codes[rows] for codes in ways])
    assert total is not None
    return total.result(n_params)


def cluster_ways(spec: CovarianceSpec) -> tuple[IntArray, ...]:
    """Groups (n,) whose sums of scores a covariance needs: the clusters, and those of both ways."""
    if len(spec.clusters) < 2:
        return spec.clusters
    a, b = spec.clusters
    both = np.unique(a * (int(b.max()) + 1) + b, return_inverse=True)[1]
    return (a, b, both.astype(np.int64))


class MeatSum:
    """The meat of scores that arrive a block of rows at a time.

    Parameters
    ----------
    spec : CovarianceSpec
        Any kind but ``unadjusted``; its own clusters are not looked at.
    m : int
        Scores of a row.

    Examples
    --------
    >>> import numpy as np
    >>> total = MeatSum(CovarianceSpec("robust"), 1)
    >>> for score in (1.0, 2.0):
    ...     total.add(np.array([[score]]))
    >>> total.result(n_params=1)
    array([[5.]])
    """

    def __init__(self, spec: CovarianceSpec, m: int) -> None:
        if spec.kind == "unadjusted":
            raise InputError("an unadjusted covariance is not a function of scores.")
        self._spec = spec
        self._n = 0
        self._products = np.zeros((m, m))
        ways = {0: 0, 1: 1, 2: 3}[len(spec.clusters)] if spec.kind == "clustered" else 0
        self._sums = [GroupSums(m) for _ in range(ways)]

    @property
    def width(self) -> int:
        """Scores of a row."""
        return len(self._products)

    def add(self, scores: FloatArray, groups: Sequence[IntArray] = ()) -> None:
        """Take in scores (m, rows) and, where clustered, each row's group in each way.

        With two ways of clustering the groups are those of the first, the second, and both.
        """
        self._n += scores.shape[1]
        if self._spec.kind == "robust":
            self._products += scores @ scores.T
        elif self._spec.kind == "clustered":
            for sums, codes in zip(self._sums, groups, strict=True):
                sums.add(scores, codes)
        elif self._spec.bandwidth is None:
            raise InputError("a kernel covariance needs its bandwidth resolved first.")
        else:  # a single block
            self._products = _bartlett(scores.T, self._spec.bandwidth)

    def merge(self, other: MeatSum, groups: Sequence[IntArray] = ()) -> None:
        """Take in what ``other`` has, whose groups have the numbers ``groups`` here, each way."""
        self._n += other._n
        self._products += other._products
        for sums, more, codes in zip(self._sums, other._sums, groups, strict=True):
            sums.add(more.values.T, codes[: len(more.values)])

    def result(self, n_params: int) -> FloatArray:
        """Variance of the sums of the scores (m, m); ``n_params`` for the small-sample factor."""
        n, spec = self._n, self._spec
        factor = n / spec.df_resid(n, n_params) if spec.debiased else 1.0
        if spec.kind != "clustered":
            return factor * self._products
        total = np.zeros_like(self._products)
        for sums, sign in zip(self._sums, (1, 1, -1), strict=False):
            g = len(sums.values)
            groups = g / (g - 1) * (n - 1) / n if spec.debiased else 1.0
            total += sign * factor * groups * (sums.values.T @ sums.values)
        return total


class GroupSums:
    """Sums of scores by group, for groups numbered from 0 and not known beforehand.

    Parameters
    ----------
    m : int
        Scores of a row.
    """

    def __init__(self, m: int) -> None:
        self._held = np.zeros((64, m))
        self._size = 0

    @property
    def values(self) -> FloatArray:
        """Sums, shape (groups, m)."""
        return self._held[: self._size]

    def add(self, scores: FloatArray, codes: IntArray) -> None:
        """Add scores (m, rows) to the groups ``codes`` (rows,)."""
        if len(codes) == 0:
            return
        most = int(codes.max()) + 1
        self._size = max(self._size, most)
        if most > len(self._held):
            grown = np.zeros((max(most, 2 * len(self._held)), self._held.shape[1]))
            grown[: len(self._held)] = self._held
            self._held = grown
        if most <= len(codes):
            for j, row in enumerate(scores):
                self._held[:most, j] += np.bincount(codes, row, most)
        else:
            order = np.argsort(codes, kind="stable")
            sorted_codes = codes[order]
            first = np.flatnonzero(np.diff(sorted_codes, prepend=-1))
            self._held[sorted_codes[first]] += np.add.reduceat(scores[:, order], first, axis=1).T


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
        return n / spec.df_resid(n, n_params) * product if spec.debiased else product

    def scores(rows: slice) -> FloatArray:
        return np.asarray(
            (v[rows, :, None] * z[rows, None, :]).reshape(-1, v.shape[1] * z.shape[1])
        )

    return meat_of_blocks(scores, n, spec, n_params)


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
