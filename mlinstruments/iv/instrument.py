"""From out-of-fold predictions to instruments: averaged, centred by fold, cleaned of covariates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.linalg import residuals
from mlinstruments._core.typing import BoolArray, FloatArray, IntArray
from mlinstruments.learning.folds import Split

# Predictions whose spread within cells is below this share of the target's count as constant.
CONSTANT_TOLERANCE = 1e-9


@dataclass(frozen=True)
class LearnedInstruments:
    """Instruments of every repeat, each orthogonal to the covariates.

    Parameters
    ----------
    z : array, shape (repeats, n, d)
        One learned instrument for each endogenous regressor.
    noise : array, shape (repeats, n, d), or None
        Half the difference of the two half-sample predictions, treated like ``z``: what the
        instrument owes to the particular rows it was trained on. None without halves.
    varies : bool array, shape (repeats, d)
        Whether an instrument varies at all.
    """

    z: FloatArray
    noise: FloatArray | None
    varies: BoolArray

    def of_targets(self, chosen: slice) -> LearnedInstruments:
        """The instruments learned for some of the targets."""
        noise = None if self.noise is None else self.noise[..., chosen]
        return LearnedInstruments(self.z[..., chosen], noise, self.varies[:, chosen])


def build_instruments(
    predictions: FloatArray,
    splits: list[Split],
    exog: FloatArray,
    scale: FloatArray,
    weights: FloatArray | None = None,
    interact_controls: bool = False,
) -> LearnedInstruments:
    """Average the halves, centre within cells, residualise on the covariates.

    Without centring, out-of-fold means are negatively related to the mean of the rows held out,
    and a learner that shrinks to a constant yields a spuriously strong instrument.

    Parameters
    ----------
    predictions : array, shape (repeats, d, parts, n)
        From :func:`mlinstruments.learning.crossfit.cross_fit`.
    splits : list of Split
        One for each repeat.
    exog : array, shape (n, p)
    scale : array, shape (d,)
        Standard deviations of the targets, to tell a constant from rounding error.
    weights : array, shape (n,), optional
    interact_controls : bool
        Residualise on the covariates in each cell rather than at large.

    Returns
    -------
    LearnedInstruments

    Notes
    -----
    With two halves a and b the instrument is (a + b) / 2 and the noise (a - b) / 2. Given W the
    halves are independent, so the squared noise has the variance of the instrument's own noise.
    Write the instrument as signal + noise, noise_i = sum_l A_il V_l over training rows l. Then
    Var(sum z e) = sum signal^2 e^2 + sum noise^2 e^2 + sum_il A_il A_li e_i V_i e_l V_l, and the
    last sum is at most the one before it (Cauchy-Schwarz on pairs of rows or clusters). The meat of
    z estimates the first two, the meat of the noise bounds the third, in any covariance that sums
    over independent units. Anderson-Rubin sets of kind "corrected" add the two.
    """
    kept = np.stack(
        [
            _clean(predictions[r].mean(axis=1).T, split, exog, weights, interact_controls)
            for r, split in enumerate(splits)
        ]
    )
    spread = np.sqrt((kept**2).mean(axis=1))
    varies = spread > CONSTANT_TOLERANCE * scale
    kept = np.where(varies[:, None, :], kept, 0.0)
    noise = None
    if predictions.shape[2] == 2:
        halves = (predictions[:, :, 0] - predictions[:, :, 1]) / 2
        noise = np.stack(
            [
                _clean(halves[r].T, split, exog, weights, interact_controls)
                for r, split in enumerate(splits)
            ]
        )
    return LearnedInstruments(kept, noise, varies)


def centre_within(values: FloatArray, cell: IntArray, weights: FloatArray | None) -> FloatArray:
    """Subtract the (weighted) mean of each cell from every column of ``values`` (n, m).

    Examples
    --------
    >>> centre_within(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 1]), None)
    array([[-1.],
           [ 1.],
           [ 0.]])
    """
    mass = np.bincount(cell, weights)
    weighted = values if weights is None else values * weights[:, None]
    means = np.column_stack([np.bincount(cell, column) / mass for column in weighted.T])
    return np.asarray(values - means[cell])


def _clean(
    values: FloatArray,
    split: Split,
    exog: FloatArray,
    weights: FloatArray | None,
    by_cell: bool,
) -> FloatArray:
    if split.loo:  # cells of one row have no mean; predictions come less their covariates
        return residuals(values, exog, weights)
    cell = split.cell
    centred = centre_within(values, cell, weights)
    if not by_cell:
        return residuals(centred, exog, weights)
    cleaned = np.empty_like(centred)
    for k in range(int(cell.max()) + 1):
        rows = np.flatnonzero(cell == k)
        cleaned[rows] = residuals(
            centred[rows], exog[rows], None if weights is None else weights[rows]
        )
    return cleaned
