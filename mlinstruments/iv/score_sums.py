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
    weights : array, shape (1 + d + 1 + d + q, m)
        Residual at the estimate; fitted D; [y, D] and Z with X partialled out.
    on_z : array, shape (q, d)
        Of residual D on residual Z.
    p, d, q : int
    """

    weights: FloatArray
    on_z: FloatArray
    p: int
    d: int
    q: int

    @classmethod
    def of(
        cls, data: Reduced, partialled: Partialled, coefficients: Coefficients | None
    ) -> Combinations:
        """For given coefficients; without them residual and fitted D are 0."""
        p, d, q = data.p, data.d, data.q
        m = data.rows.shape[1]
        weights = np.zeros((2 + 2 * d + q, m))
        if coefficients is not None:
            weights[0, : p + d], weights[0, -1] = -coefficients.params, 1.0
            weights[1 : 1 + d, :p] = coefficients.first_stage[:p].T
            weights[1 : 1 + d, p + d : -1] = coefficients.first_stage[p:].T
        rest = np.eye(m)[p:]
        rest[:, :p] = -partialled.on_exog.T
        weights[1 + d], weights[2 + d : 2 + 2 * d] = rest[-1], rest[:d]
        weights[2 + 2 * d :] = rest[d:-1]
        return cls(weights, partialled.on_z[:, 1:], p, d, q)


class ScoreSums:
    """Meats of a fit, of its Anderson-Rubin moments and of its first stage, block by block.

    Parameters
    ----------
    combinations : Combinations
    spec : CovarianceSpec
        Of any kind; with ``unadjusted`` there is nothing to sum but squared residuals.
    n_noise : int
        Noises of the instruments to sum as well, each a meat of its own.
    skipped_bandwidth_columns : int array
        Scores of the fit that a kernel's automatic bandwidth does not look at.

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
        skipped_bandwidth_columns: Sequence[int] = (),
    ) -> None:
        self.spec = spec
        self.squares = 0.0
        self._combinations = combinations
        self._n_noise = n_noise
        self._skipped = skipped_bandwidth_columns
        self._meats: list[MeatSum] = []

    def add(
        self,
        block: FloatArray,
        weights: FloatArray | None = None,
        groups: Sequence[IntArray] = (),
        noise: Sequence[FloatArray] = (),
    ) -> FloatArray:
        """Take in a block (m, rows), which is overwritten, and return its residuals (rows,).

        Parameters
        ----------
        block : array, shape (m, rows)
            [X, D, Z, y].
        weights : array, shape (rows,), optional
        groups : list of int arrays, each (rows,)
            As :meth:`mlinstruments._core.sandwich.MeatSum.add` wants them.
        noise : list of arrays, each (q, rows)
            X partialled out.
        """
        c = self._combinations
        made = c.weights @ block
        resid = made[0]
        weighted = resid if weights is None else weights * resid
        self.squares += float(weighted @ resid)
        if self.spec.kind == "unadjusted":
            return np.asarray(resid)
        scores = self._scores(block, made, weighted, weights, noise)
        if self.spec.kind == "kernel" and self.spec.bandwidth is None:
            kept = [j for j in range(c.p + c.d) if j not in self._skipped]
            self.spec = self.spec.resolve((scores[0][kept] if kept else scores[0]).T)
        if not self._meats:
            self._meats = [MeatSum(self.spec, len(one)) for one in scores]
        for meat, one in zip(self._meats, scores, strict=True):
            meat.add(one, groups)
        return np.asarray(resid)

    def _scores(
        self,
        block: FloatArray,
        made: FloatArray,
        weighted: FloatArray,
        weights: FloatArray | None,
        noise: Sequence[FloatArray],
    ) -> list[FloatArray]:
        """Of the fit; of the moments, outcome first; of the noises; of each first stage."""
        c = self._combinations
        fitted, v, z = np.split(made[1:], [c.d, 2 * c.d + 1])
        surprises = v[1:] - c.on_z.T @ z
        if weights is not None:
            v, surprises = v * weights, surprises * weights
        # The columns are no longer needed: their place serves for their scores.
        block[: c.p] *= weighted
        np.multiply(fitted, weighted, out=block[c.p : c.p + c.d])
        moments = [(v[:, None] * one[None]).reshape(-1, v.shape[1]) for one in (z, *noise)]
        return [block[: c.p + c.d], *moments, *(z * surprise for surprise in surprises)]

    def fit_meat(self, n_params: int) -> FloatArray:
        """Variance of the summed scores of the fit (p + d, p + d)."""
        return self._meats[0].result(n_params)

    def moment_meat(self, n_params: int) -> FloatArray:
        """Variance of the summed products of instruments and [y, D] (q (1 + d), q (1 + d))."""
        return self._meats[1].result(n_params)

    def noise_meats(self, n_params: int) -> list[FloatArray]:
        """The same for each noise in place of the instruments."""
        return [meat.result(n_params) for meat in self._meats[2 : 2 + self._n_noise]]

    def first_stage_meats(self, n_params: int) -> list[FloatArray]:
        """Variance of instruments times first-stage residuals (q, q), for each of D."""
        return [meat.result(n_params) for meat in self._meats[2 + self._n_noise :]]
