"""The second pass over the rows: sums of squared scores for every covariance and test at once.

Rows come in blocks [X, D, Z, y], each column a row of the block, so that nothing as long as the
data is made, whether the blocks are parts of arrays or come from a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlinstruments._core.sandwich import CovarianceSpec, MeatSum
from mlinstruments._core.typing import FloatArray, IntArray

from .reduced import Coefficients, Partialled, Reduced


@dataclass(frozen=True)
class Combinations:
    """What scores are made of, as linear combinations of the m columns [X, D, Z, y].

    Parameters
    ----------
    weights : array, shape (1 + k + 1 + d + q, m)
        Residual at the estimate; basis of the k regressors; [y, D] and Z with X partialled out.
    on_z : array, shape (q, d)
        Of residual D on residual Z.
    k, d, q : int
        k is 0 where there is no estimate.
    """

    weights: FloatArray
    on_z: FloatArray
    k: int
    d: int
    q: int

    @classmethod
    def of(
        cls, data: Reduced, partialled: Partialled, coefficients: Coefficients | None
    ) -> Combinations:
        """For given coefficients; without them residuals are those of [y] = 0."""
        p, d, m = data.p, data.d, data.rows.shape[1]
        resid, basis = np.zeros((1, m)), np.zeros((0, m))
        if coefficients is not None:
            resid[0, : p + d], resid[0, -1] = -coefficients.params, 1.0
            basis = coefficients.basis
        rest = np.eye(m)[p:]
        rest[:, :p] = -partialled.on_exog.T
        weights = np.vstack([resid, basis, rest[-1:], rest[:d], rest[d:-1]])
        return cls(weights, partialled.on_z[:, 1:], len(basis), d, data.q)

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """Where the basis, [y, D] and Z are among the combinations."""
        a, b = 1 + self.k, 2 + self.k + self.d
        return slice(1, a), slice(a, b), slice(b, b + self.q)


class ScoreSums:
    """Meats of a fit, of its Anderson-Rubin moments and of its first stage, block by block.

    Parameters
    ----------
    combinations : Combinations
    spec : CovarianceSpec
        Of any kind; with ``unadjusted`` there is nothing to sum but squared residuals.
    n_noise : int
        Noises of the instruments to sum as well, each a meat of its own.
    told : array, shape (b, m), optional
        Regressors, as combinations of the columns, by whose scores a kernel's automatic bandwidth
        is chosen.

    Attributes
    ----------
    spec : CovarianceSpec
        With the bandwidth that was used.
    squares : float
        Weighted sum of squared residuals.
    """

    def __init__(
        self,
        combinations: Combinations,
        spec: CovarianceSpec,
        n_noise: int = 0,
        told: FloatArray | None = None,
    ) -> None:
        self.spec = spec
        self.squares = 0.0
        self._combinations = combinations
        self._n_noise = n_noise
        self._told = told
        self._meats: list[MeatSum] = []

    def add(
        self,
        block: FloatArray,
        weights: FloatArray | None = None,
        groups: Sequence[IntArray] = (),
        noise: Sequence[FloatArray] = (),
    ) -> FloatArray:
        """Take in a block (m, rows) and return the combinations made of it.

        Parameters
        ----------
        block : array, shape (m, rows)
            [X, D, Z, y].
        weights : array, shape (rows,), optional
        groups : list of int arrays, each (rows,)
            As :meth:`mlinstruments._core.sandwich.MeatSum.add` wants them.
        noise : list of arrays, each (q, rows)
            X partialled out.

        Returns
        -------
        array, shape (1 + k + 1 + d + q, rows)
            Residuals at the estimate first; as in :class:`Combinations`.
        """
        c = self._combinations
        made = c.weights @ block
        resid = made[0]
        weighted = resid if weights is None else weights * resid
        self.squares += float(weighted @ resid)
        if self.spec.kind == "unadjusted":
            return np.asarray(made)
        if self.spec.kind == "kernel" and self.spec.bandwidth is None:
            assert self._told is not None
            self.spec = self.spec.resolve((self._told @ block * weighted).T)
        scores = self._scores(made, weighted, weights, noise)
        if not self._meats:
            self._meats = [MeatSum(self.spec, len(one)) for one in scores]
        for meat, one in zip(self._meats, scores, strict=True):
            meat.add(one, groups)
        return np.asarray(made)

    def merge(self, other: ScoreSums, groups: Sequence[IntArray] = ()) -> None:
        """Take in what ``other`` has, whose groups have the numbers ``groups`` here."""
        self.squares += other.squares
        if not self._meats:
            self._meats = [MeatSum(self.spec, meat.width) for meat in other._meats]
        for mine, theirs in zip(self._meats, other._meats, strict=False):
            mine.merge(theirs, groups)

    def _scores(
        self,
        made: FloatArray,
        weighted: FloatArray,
        weights: FloatArray | None,
        noise: Sequence[FloatArray],
    ) -> list[FloatArray]:
        """Of the fit; of the moments, outcome first; of the noises; of all first stages."""
        c = self._combinations
        basis, v, z = (made[part] for part in c.parts)
        surprises = v[1:] - c.on_z.T @ z
        if weights is not None:
            v, surprises = v * weights, surprises * weights
        moments = [(v[:, None] * one[None]).reshape(-1, v.shape[1]) for one in (z, *noise)]
        basis *= weighted  # in place: nobody else needs it
        first = (surprises[:, None] * z[None]).reshape(-1, z.shape[1])
        return [basis, *moments, first]

    def fit_meat(self, n_params: int) -> FloatArray:
        """Variance of the summed scores of the basis (k, k)."""
        return self._meats[0].result(n_params)

    def moment_meat(self, n_params: int) -> FloatArray:
        """Variance of the summed products of instruments and [y, D] (q (1 + d), q (1 + d))."""
        return self._meats[1].result(n_params)

    def noise_meats(self, n_params: int) -> list[FloatArray]:
        """The same for each noise in place of the instruments."""
        return [meat.result(n_params) for meat in self._meats[2 : 2 + self._n_noise]]

    def first_stage_meat(self, n_params: int) -> FloatArray:
        """Variance of the summed products of instruments and first-stage residuals (d q, d q)."""
        return self._meats[2 + self._n_noise].result(n_params)
