"""From Gram matrices by cell to out-of-fold first stages, and what their predictions add up to.

Columns are [1, Phi(W), X without the constant, D, y], m, p - 1, d and 1 of them after the constant
in front, shifted and scaled as :class:`mlinstruments._core.grams.BlockGrams` says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.factor import factor_of_products
from mlinstruments._core.grams import BlockGrams
from mlinstruments._core.linalg import least_squares
from mlinstruments._core.typing import FloatArray, IntArray
from mlinstruments.learning.folds import Split
from mlinstruments.learning.gram import PENALTIES
from mlinstruments.learning.gram_splits import MEMORY, fit_training_parts, turn
from mlinstruments.learning.ridge_path import ridge_parts
from mlinstruments.learning.split_blocks import blocks_of

from .dataset_sums import FoldLines, GramSums, Predictor
from .reduced import Partialled, Reduced


@dataclass(frozen=True)
class Shape:
    """Columns of each sort: dictionary, X with the constant, D."""

    m: int
    p: int
    d: int


def with_mean_weight_one(sums: GramSums, weighted: bool) -> tuple[BlockGrams, float]:
    """Gram matrices for weights with mean one, and the mean that they had."""
    if not weighted:
        return sums.grams, 1.0
    grams = sums.grams
    weight = float(grams.products[:, 0, 0].sum()) / int(grams.rows.sum())
    return replace(grams, products=grams.products / weight), weight


def location(sums: GramSums, m: int, weighted: bool) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation (m,) of the dictionary, weights apart; 1 where it is constant."""
    if weighted:
        first, second = sums.moments / int(sums.grams.rows.sum())
        mean, deviation = sums.grams.shift[:m] + first, np.sqrt(np.maximum(second - first**2, 0))
    else:
        mean, deviation = sums.grams.mean()[:m], sums.grams.deviation()[:m]
    return mean, np.where(deviation > 0, deviation, 1.0)


def train(
    grams: BlockGrams,
    split: Split,
    learner: Any,
    dictionary: tuple[FloatArray, FloatArray],
    shape: Shape,
) -> FloatArray:
    """Coefficients (folds, parts, m, d) of D on the dictionary, out of each fold.

    Parameters
    ----------
    grams : BlockGrams
        By cell.
    split : Split
        Of the cells.
    learner : Learner
        With a ``penalty``, None to choose one.
    dictionary : pair of arrays (m,)
        Mean and standard deviation.
    shape : Shape
    """
    blocks = blocks_of([split], tuned=learner.penalty is None)
    training = blocks.training[0]
    k = grams.products.shape[1]
    if (len(grams.rows) + 3 * int(np.prod(training.shape[:3]))) * k**2 * 8 > MEMORY:
        raise InputError(
            f"the learner has {shape.m} columns, too many for their Gram matrices to fit into"
            " memory: use fewer instruments, fewer knots, or interactions=False."
        )
    inner = BlockGrams(
        grams.products[:, :-1, :-1], grams.rows, grams.shift[:-1], grams.scale[:-1]
    ).regrouped(blocks.code)
    least = int((training @ inner.rows).min())
    if least < max(shape.m, shape.p + 2):
        raise InputError(
            f"a training part has {least} rows for {shape.m} columns of the learner and {shape.p}"
            " covariates: data this small go to fit."
        )
    inside = np.concatenate([[0], np.arange(shape.m + 1, shape.m + shape.p)])
    found, _, accurate = fit_training_parts(
        turn(inner, *dictionary, inside, rotated=True),
        training,
        lambda parts: ridge_parts(parts, learner.penalty, PENALTIES, share_tuning=False),
    )
    if not accurate.all():
        raise InputError(
            "the learner's columns, or the covariates, are so nearly collinear that sums over rows"
            " do not tell them apart: leave some out, or use a larger penalty."
        )
    at = shape.m + shape.p - 1
    return np.asarray(found * grams.scale[at : at + shape.d])


@dataclass(frozen=True)
class Predictions:
    """Learned instruments and their noise, as functions of W in each fold and as sums.

    Parameters
    ----------
    slopes : array, shape (folds, m, d + e)
        Of [instruments, noise] on the dictionary; e is d with halves, otherwise 0.
    levels : array, shape (folds, d + e)
        So that each has mean 0 in each fold.
    products : array, shape (folds, k, k)
        Gram matrices of [1, X without the constant, D, instruments, noise, y].
    shift, scale : arrays, shape (k - 1,)
        Of these columns but the constant.
    rows : int array, shape (folds,)
    shape : Shape
    """

    slopes: FloatArray
    levels: FloatArray
    products: FloatArray
    shift: FloatArray
    scale: FloatArray
    rows: IntArray
    shape: Shape

    @property
    def n_noise(self) -> int:
        """Columns of noise: d or none."""
        return int(self.slopes.shape[2]) - self.shape.d

    def reduced(self) -> Reduced:
        """[X, D, Z, y] as few rows."""
        p, d, e = self.shape.p, self.shape.d, self.n_noise
        k = self.products.shape[1]
        kept = np.r_[1 : p + 2 * d, p + 2 * d + e : k]
        return Reduced(self._factor(kept), p, d, d, int(self.rows.sum()))

    def noise(self) -> tuple[FloatArray, FloatArray]:
        """Coefficients (p, e) of the noise on X, and few rows (r, e) of what X leaves of it."""
        p, d, e = self.shape.p, self.shape.d, self.n_noise
        if e == 0:
            return np.zeros((p, 0)), np.zeros((1, 0))
        factor = self._factor(np.r_[1:p, p + 2 * d : p + 2 * d + e])
        on_exog = least_squares(factor[:, :p], factor[:, p:])
        return on_exog, factor[:, p:] - factor[:, :p] @ on_exog

    def _factor(self, kept: IntArray) -> FloatArray:
        """R of the constant and the columns ``kept``, in their own units."""
        total = self.products.sum(axis=0)
        scale, shift = self.scale[kept - 1], self.shift[kept - 1]
        n = len(kept) + 1
        products, sums = np.zeros((n, n)), np.zeros(n)
        products[1:, 1:] = total[np.ix_(kept, kept)] * np.outer(scale, scale)
        sums[1:] = total[0, kept] * scale
        found = factor_of_products(products, sums, float(total[0, 0]), np.r_[1.0, shift])
        if found is None:
            raise InputError(
                "exog, endog and the outcome are so nearly collinear that sums over rows do not"
                " tell them apart: leave out a covariate that others determine (a constant is"
                f" included, as {CONSTANT!r}), or read a sample of the data and call fit."
            )
        return found

    def predictor(self, split: Split, noise_on_exog: FloatArray, weight: float) -> Predictor:
        """What the second pass computes the instruments by."""
        return Predictor(split.cell, self.slopes, self.levels, noise_on_exog, weight)


# The name of the column of ones.
CONSTANT = "const"


def predictions(grams: BlockGrams, split: Split, found: FloatArray, shape: Shape) -> Predictions:
    """What the first stages predict: the mean of the halves, and half their difference."""
    m, p, d = shape.m, shape.p, shape.d
    parts = [found.mean(axis=1)]
    if found.shape[1] == 2:
        parts.append((found[:, 0] - found[:, 1]) / 2)
    slopes = np.concatenate(parts, axis=2)
    folds = grams.regrouped(split.cell)
    others, made = p - 1 + d, slopes.shape[2]
    k = grams.products.shape[1]
    change = np.zeros((len(slopes), k, 2 + others + made))
    change[:, 0, 0] = 1.0
    change[:, np.arange(m + 1, k - 1), np.arange(1, 1 + others)] = 1.0
    change[:, -1, -1] = 1.0
    new = slice(1 + others, 1 + others + made)
    change[:, 1 : m + 1, new] = grams.scale[:m, None] * slopes
    # Without centring by fold, out-of-fold means lean against the mean of the rows held out.
    front = folds.products[:, 0]
    means = np.einsum("fk,fkj->fj", front, change[:, :, new]) / front[:, :1]
    change[:, 0, new] = -means
    return Predictions(
        slopes,
        -means - np.einsum("m,fmj->fj", grams.shift[:m], slopes),
        np.swapaxes(change, 1, 2) @ folds.products @ change,
        np.concatenate([grams.shift[m:-1], np.zeros(made), grams.shift[-1:]]),
        np.concatenate([grams.scale[m:-1], np.ones(made), grams.scale[-1:]]),
        folds.rows,
        shape,
    )


def fold_lines(made: Predictions, few: Partialled) -> FoldLines:
    """Lines of each D on its instrument in each fold, X partialled out over all of them."""
    p, d = made.shape.p, made.shape.d
    on_exog = few.on_exog[:, : 2 * d]  # of [D, Z]
    shift, scale = made.shift, made.scale
    change = np.zeros((made.products.shape[1], 1 + 2 * d))
    change[0, 0] = 1.0
    own = slice(p, p + 2 * d)
    change[own, 1:] = np.diag(scale[p - 1 : p - 1 + 2 * d])
    change[0, 1:] = shift[p - 1 : p - 1 + 2 * d] - on_exog[0] - shift[: p - 1] @ on_exog[1:]
    change[1:p, 1:] = -scale[: p - 1, None] * on_exog[1:]
    products = change.T @ made.products @ change
    mass = products[:, 0, 0]
    means = products[:, 0, 1:] / mass[:, None]
    cross = products[:, 1:, 1:] - mass[:, None, None] * means[:, :, None] * means[:, None, :]
    j = np.arange(d)
    squares, together = cross[:, d + j, d + j], cross[:, j, d + j]
    slope = np.divide(together, squares, out=np.zeros_like(together), where=squares > 0)
    return FoldLines(means[:, d:], means[:, :d], slope, together)
