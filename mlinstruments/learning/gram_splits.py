"""Learners linear in a dictionary, on every cell of many splits, from one pass over the rows.

Splits made of blocks of rows need of each block only its Gram matrix. Training parts, halves and
the sides that penalties are chosen on are sums of blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlinstruments._core.grams import (
    CONDITION_LIMIT,
    STEP,
    ZERO_EIGENVALUE,
    BlockGrams,
    GramAccumulator,
    gather,
    partial_out,
    rough_location,
)
from mlinstruments._core.projection import Projector
from mlinstruments._core.typing import BoolArray, FloatArray, IntArray

from .base import CrossFit, FoldFit, FoldTask
from .bound import BoundDictionary
from .folds import Split
from .split_blocks import Blocks, blocks_of

# Gram matrices may take this many bytes; beyond it cells are fitted one by one.
MEMORY = 1 << 30
# A column whose variance is below this share of its square about the first guess of its mean has
# lost digits in a Gram matrix: its moments are taken again.
CANCELLED = 1e-9


@dataclass(frozen=True)
class TurnedGrams:
    """Gram matrices of a dictionary standardised and less its regression on the controls.

    Parameters
    ----------
    products : array, shape (B, c + m + t, c + m + t)
        By block, of [controls, dictionary in this basis, targets].
    rows : int array, shape (B,)
        Rows in each block.
    mean : array, shape (m,)
        Of the dictionary's columns as they came.
    c : int
        Columns of the controls.
    condition : float
        Condition number of the dictionary's Gram matrix on all rows.
    back : array, shape (m, m)
        Coefficients in this basis to coefficients of the columns as they came.
    """

    products: FloatArray
    rows: IntArray
    mean: FloatArray
    c: int
    condition: float
    back: FloatArray


@dataclass(frozen=True)
class Basis:
    """Splits made of blocks of rows, and their Gram matrices.

    Parameters
    ----------
    bound : BoundDictionary
    splits : list of Split
    blocks : Blocks
    grams : TurnedGrams
        By block.
    """

    bound: BoundDictionary
    splits: list[Split]
    blocks: Blocks
    grams: TurnedGrams

    @property
    def condition(self) -> float:
        """Condition number of the dictionary's Gram matrix on all rows."""
        return self.grams.condition


@dataclass(frozen=True)
class PartGrams:
    """What a learner needs of P training parts, controls partialled out in each.

    Parameters
    ----------
    gram : array, shape (P, m, m)
        Of the dictionary, in the units of its penalty.
    cross : array, shape (P, m, t)
        Of the dictionary and the targets.
    squares : array, shape (P, t)
        Of the targets.
    rows : int array, shape (P,)
    sides : PartGrams or None
        Of the two sides of every part, 2 P in all, first and second in turn; None where no tuning
        value is to be chosen.
    """

    gram: FloatArray
    cross: FloatArray
    squares: FloatArray
    rows: IntArray
    sides: PartGrams | None

    def at(self, chosen: IntArray) -> PartGrams:
        """Some of the parts, without their sides."""
        gram, cross, squares = self.gram[chosen], self.cross[chosen], self.squares[chosen]
        return PartGrams(gram, cross, squares, self.rows[chosen], None)


@dataclass(frozen=True)
class PartFits:
    """Fits on P training parts.

    Parameters
    ----------
    coefficients : array, shape (P, m, t)
    tuning : array, shape (P, t)
    accurate : bool array, shape (P,)
        Where False, the fit needs the rows.
    """

    coefficients: FloatArray
    tuning: FloatArray
    accurate: BoolArray


def basis_of_splits(
    bound: BoundDictionary, targets: FloatArray, splits: list[Split], tuned: bool, rotated: bool
) -> Basis | None:
    """One pass over the rows for splits made of the same blocks.

    None where a training part has fewer rows than columns, or Gram matrices do not fit into memory,
    or splits have no sides to choose tuning values on: cells one by one are better then.

    Parameters
    ----------
    bound : BoundDictionary
    targets : array, shape (n, t)
    splits : list of Split
    tuned : bool
        Whether tuning values are to be chosen, so that sides must be kept apart.
    rotated : bool
        Whether columns may be mixed: eigenvectors of all rows make Gram matrices of random parts
        nearly diagonal.
    """
    if tuned and any(split.tune is None for split in splits):
        return None
    blocks = blocks_of(splits, tuned)
    width = bound.width + bound.controls.shape[1] + targets.shape[1] + 1
    if blocks.fewest_rows < max(bound.width, bound.fewest_rows):
        return None
    if (blocks.cell.shape[1] + 3 * blocks.most_sums) * width**2 * 8 > MEMORY:
        return None
    return _basis(bound, targets, splits, blocks, rotated)


def _basis(
    bound: BoundDictionary,
    targets: FloatArray,
    splits: list[Split],
    blocks: Blocks,
    rotated: bool,
) -> Basis:
    m = bound.width
    columns = [bound.columns, *_orthogonal(bound.controls), targets]
    others = sum(part.shape[1] for part in columns[1:])
    # Targets are not shifted: held-out ones would then reach training parts by rounding.
    shift = np.concatenate([rough_location([bound.columns])[0], np.zeros(others)])
    collected = GramAccumulator(blocks.cell.shape[1], shift, np.ones(m + others))
    collected.add(columns, blocks.code, bound.weights)
    grams = collected.result()
    same_moments = bound.weights is None and not bound.common_scale
    mean, scale = _moments(grams, bound.columns) if same_moments else bound.location
    c = others - targets.shape[1]
    # Where all that controls fit is a mean, the constant in front of the columns does it.
    inside = np.arange(m + 1, m + 1 + c) if c else np.zeros(1, dtype=np.int64)
    return Basis(bound, splits, blocks, turn(grams, mean, scale, inside, rotated))


def turn(
    grams: BlockGrams, mean: FloatArray, scale: FloatArray, inside: IntArray, rotated: bool
) -> TurnedGrams:
    """A change of basis of Gram matrices of [1, dictionary, other controls, targets].

    Parameters
    ----------
    grams : BlockGrams
    mean, scale : arrays, shape (m,)
        To standardise the dictionary by.
    inside : int array, shape (c,)
        Positions of the controls, the constant among them or in their span.
    rotated : bool
        Whether to turn the dictionary along its eigenvectors.
    """
    m, k = len(mean), grams.products.shape[1]
    shifts, scales = np.r_[mean, grams.shift[m:]], np.r_[scale, grams.scale[m:]]
    phi = np.arange(1, m + 1)
    total = grams.total().rescaled(shifts, scales).products[0]
    slopes = np.linalg.pinv(total[np.ix_(inside, inside)], hermitian=True)
    values, vectors = np.linalg.eigh(partial_out(total, inside, phi))
    if not rotated:
        vectors = np.eye(m)
    change = np.eye(k)
    change[np.ix_(phi, phi)] = vectors
    change[np.ix_(inside, phi)] = -slopes @ total[np.ix_(inside, phi)] @ vectors
    order = np.concatenate([inside, phi, np.setdiff1d(np.arange(m + 1, k), inside)])
    return TurnedGrams(
        grams.turned(grams.change_to(shifts, scales) @ change[:, order]),
        grams.rows,
        mean,
        len(inside),
        float(values[-1] / values[0]) if values[0] > 0 else float("inf"),
        vectors / scale[:, None],
    )


def _orthogonal(controls: FloatArray) -> list[FloatArray]:
    """Controls made orthogonal on all rows; nothing where all they fit is a mean."""
    projector = Projector.onto(controls)
    if projector.combinations.shape[1] == 1 and np.ptp(controls, axis=0).max() == 0:
        return []
    return [controls @ projector.combinations]


def _moments(grams: BlockGrams, dictionary: FloatArray) -> tuple[FloatArray, FloatArray]:
    m = dictionary.shape[1]
    mean, deviation = grams.mean()[:m], grams.deviation()[:m]
    total = grams.products.sum(axis=0)
    squares = np.diag(total)[1 : m + 1] / total[0, 0]
    for j in np.flatnonzero(deviation**2 <= CANCELLED * squares):
        mean[j], deviation[j] = dictionary[:, j].mean(), dictionary[:, j].std()
    return mean, np.where(deviation > 0, deviation, 1.0)


def fit_blocks(
    basis: Basis,
    solve_parts: Callable[[PartGrams], PartFits],
    fit: Callable[[FoldTask], FoldFit],
    targets: FloatArray,
    seeds: list[list[np.random.SeedSequence]],
    share_tuning: bool,
) -> CrossFit:
    """Fits and predictions of every cell of every split.

    Parameters
    ----------
    basis : Basis
    solve_parts : callable
        Fits training parts from their Gram matrices.
    fit : callable
        Fits a cell from its rows, where Gram matrices are not accurate enough.
    targets : array, shape (n, t)
    seeds : list of lists of SeedSequence
        One for each cell of each split.
    share_tuning : bool
    """
    t, training = targets.shape[1], basis.blocks.training
    fits = [fit_training_parts(basis.grams, split, solve_parts) for split in training]
    predictions = _predict(basis, [b for b, _, _ in fits])
    most = max(len(tuning) for _, tuning, _ in fits)
    tuning = np.full((len(fits), most, t, fits[0][1].shape[1]), np.nan)
    for r, (_, chosen, accurate) in enumerate(fits):
        tuning[r, : len(chosen)] = np.swapaxes(chosen, 1, 2)
        for cell in np.flatnonzero(~accurate):
            seed = seeds[r][cell]
            task = FoldTask.of_cell(targets, basis.splits[r], int(cell), seed, share_tuning)
            alone = fit(task)
            predictions[r][:, :, task.out] = alone.predictions
            tuning[r, cell] = alone.tuning
    return CrossFit(predictions, tuning)


def fit_training_parts(
    grams: TurnedGrams, training: BoolArray, solve_parts: Callable[[PartGrams], PartFits]
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Fits on the training parts of one split.

    Parameters
    ----------
    grams : TurnedGrams
    training : bool array, shape (cells, parts, sides, B)
        Which blocks each part consists of.
    solve_parts : callable

    Returns
    -------
    coefficients : array, shape (cells, parts, m, t)
        Of the dictionary's columns as they came.
    tuning : array, shape (cells, parts, t)
    accurate : bool array, shape (cells,)
        Where False, fits need the rows.
    """
    parts, safe = _part_grams(grams, training)
    found = solve_parts(parts)
    shape = training.shape[:2]
    accurate = np.asarray((safe & found.accurate).reshape(shape).all(axis=1))
    t = parts.cross.shape[2]
    coefficients = (grams.back @ found.coefficients).reshape(*shape, -1, t)
    return coefficients, found.tuning.reshape(*shape, t), accurate


def _part_grams(grams: TurnedGrams, training: BoolArray) -> tuple[PartGrams, BoolArray]:
    """Of all training parts of one split; and where controls may be partialled out of sums."""
    cells, parts, sides, B = training.shape
    P, k, c = cells * parts, grams.products.shape[1], grams.c
    belongs = training.reshape(-1, B).astype(float)
    sums = (belongs @ grams.products.reshape(B, k * k)).reshape(P, sides, k, k)
    rows = (belongs @ grams.rows).astype(np.int64).reshape(P, sides)
    whole = sums.sum(axis=1) if sides > 1 else sums[:, 0]
    apart = None
    if sides > 1:
        apart = _without_controls(grams, sums.reshape(-1, k, k), rows.ravel(), None)
    found = _without_controls(grams, whole, rows.sum(axis=1), apart)
    return found, well_conditioned(whole[:, :c, :c])


def _without_controls(
    grams: TurnedGrams, products: FloatArray, rows: IntArray, sides: PartGrams | None
) -> PartGrams:
    m, c = len(grams.mean), grams.c
    left = partial_out(products, np.arange(c), np.arange(c, products.shape[-1]))
    squares = np.diagonal(left[:, m:, m:], axis1=1, axis2=2)
    return PartGrams(left[:, :m, :m], left[:, :m, m:], squares, rows, sides)


def well_conditioned(inside: FloatArray) -> BoolArray:
    """Whether columns with Gram matrices (S, c, c) can be partialled out without their rows."""
    lengths = np.sqrt(np.maximum(np.diagonal(inside, axis1=1, axis2=2), 0))
    unit = 1 / np.where(lengths > 0, lengths, 1.0)
    values = np.linalg.eigvalsh(inside * unit[:, :, None] * unit[:, None, :])
    doubtful = (values > ZERO_EIGENVALUE) & (values * CONDITION_LIMIT < values[:, -1:])
    return np.asarray(~doubtful.any(axis=1))


def _predict(basis: Basis, found: list[FloatArray]) -> FloatArray:
    """Predictions (splits, t, parts, n) from coefficients (cells, parts, m, t) by split."""
    parts, m, t = found[0].shape[1:]
    blocks = basis.blocks
    flat = [np.transpose(b, (0, 2, 3, 1)).reshape(len(b), m, t * parts) for b in found]
    if len(found) == 1:
        groups, wide = blocks.cell[0][blocks.code], flat[0]
    else:
        groups = blocks.code
        wide = np.concatenate([b[cell] for b, cell in zip(flat, blocks.cell, strict=True)], axis=2)
    values = predict(basis.bound.columns, basis.grams.mean, groups, wide)
    return values.reshape(len(found), t, parts, -1)


def predict(
    dictionary: FloatArray, shift: FloatArray, groups: IntArray, found: FloatArray
) -> FloatArray:
    """(dictionary - shift) times the coefficients of each row's group, shape (k, n).

    Parameters
    ----------
    dictionary : array, shape (n, m)
    shift : array, shape (m,)
    groups : int array, shape (n,)
    found : array, shape (groups, m, k)
    """
    out = np.empty((found.shape[2], len(dictionary)))
    counts = np.bincount(groups, minlength=len(found))
    order = np.argsort(groups.astype(np.uint16) if len(found) < 1 << 16 else groups, kind="stable")
    scratch = np.empty((STEP, dictionary.shape[1]), dictionary.dtype)
    begin = 0
    for g in np.flatnonzero(counts):
        end = begin + int(counts[g])
        for start in range(begin, end, STEP):
            rows = order[start : min(start + STEP, end)]
            block = gather(dictionary, rows, scratch)
            np.subtract(block, shift, out=block)
            out[:, start : start + len(rows)] = (block @ found[g]).T
        begin = end
    # Rows go back to their places a line at a time, which a core's cache can hold.
    for line in out:
        line[order] = line.copy()
    return out
