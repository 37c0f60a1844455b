"""Ridge on every cell of many splits from one pass over the rows.

Splits made of blocks of rows need of each block only its Gram matrix. Training parts, halves and
the sides that penalties are chosen on are sums of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.grams import (
    CONDITION_LIMIT,
    STEP,
    ZERO_EIGENVALUE,
    BlockGrams,
    GramAccumulator,
    partial_out,
    rough_location,
)
from mlinstruments._core.projection import Projector
from mlinstruments._core.typing import BoolArray, FloatArray, IntArray

from .folds import Split
from .ridge_path import path_errors, solve

# Gram matrices may take this many bytes; beyond it cells are fitted one by one.
MEMORY = 1 << 30
# A column whose variance is below this share of its square about the first guess of its mean has
# lost digits in a Gram matrix: its moments are taken again.
CANCELLED = 1e-9


@dataclass(frozen=True)
class Blocks:
    """Splits in terms of the blocks they consist of.

    Parameters
    ----------
    code : int array, shape (n,)
        Block of each row.
    cell : int array, shape (R, B)
        Cell of each block in each split.
    training : list of bool arrays, each (cells, parts, sides, B)
        For each split, which blocks train a cell; one side where no tuning value is to be chosen.
    """

    code: IntArray
    cell: IntArray
    training: list[BoolArray]


def blocks_of(splits: list[Split], tuned: bool) -> Blocks:
    """Blocks of a single split, or those that several were made of."""
    code = splits[0].blocks
    if code is None:
        code = _own_blocks(splits[0], tuned)
    first = np.zeros(int(code.max()) + 1, dtype=np.int64)
    first[code[::-1]] = np.arange(len(code))[::-1]
    cells = np.stack([split.cell[first] for split in splits])
    training = [_training(split, first, tuned) for split in splits]
    return Blocks(code, cells, training)


def _own_blocks(split: Split, tuned: bool) -> IntArray:
    """Rows that share fold, half and side, numbered without gaps."""
    code = split.cell
    for sides in (split.half, split.tune if tuned else None):
        if sides is not None:
            code = 2 * code + sides
    number = np.cumsum(np.bincount(code) > 0) - 1
    return np.asarray(number[code])


def _training(split: Split, first: IntArray, tuned: bool) -> BoolArray:
    cell, n_cells = split.cell[first], split.n_cells
    outside = np.ones((n_cells, len(first)), dtype=bool)
    if n_cells > 1:
        example = np.zeros(n_cells, dtype=np.int64)
        example[cell] = first
        for fold in split.folds:
            outside &= fold[example][:, None] != fold[first][None, :]
    halves = np.ones((1, len(first)), dtype=bool)
    if split.half is not None and n_cells > 1:
        halves = split.half[first] == np.arange(2)[:, None]
    sides = np.ones((1, len(first)), dtype=bool)
    if tuned:
        assert split.tune is not None
        sides = split.tune[first] == np.arange(2)[:, None]
    return np.asarray(outside[:, None, None] & halves[None, :, None] & sides[None, None])


@dataclass(frozen=True)
class Basis:
    """The dictionary standardised, less its regression on the controls, along its eigenvectors.

    Parameters
    ----------
    products : array, shape (B, c + m + t, c + m + t)
        Gram matrices by block of [controls, dictionary in this basis, targets].
    rows : int array, shape (B,)
        Rows in each block.
    mean : array, shape (m,)
        Of the dictionary's columns as they came.
    m, c : int
        Columns of the dictionary and of the controls.
    eigenvalues : array, shape (m,)
        Of the Gram matrix of all rows, ascending.
    back : array, shape (m, m)
        Coefficients in this basis to coefficients of the columns as they came.
    """

    products: FloatArray
    rows: IntArray
    mean: FloatArray
    m: int
    c: int
    eigenvalues: FloatArray
    back: FloatArray


def basis_of(
    dictionary: FloatArray,
    controls: FloatArray,
    targets: FloatArray,
    weights: FloatArray | None,
    location: tuple[FloatArray, FloatArray] | None,
    code: IntArray,
) -> Basis:
    """One pass over the rows, and a change of basis.

    Targets are not shifted: held-out ones would then reach training parts by rounding.
    ``location`` gives mean and standard deviation of the dictionary where weights are not to enter
    them; by default they come from the same pass.
    """
    m = dictionary.shape[1]
    columns = [dictionary, *_orthogonal(controls), targets]
    rough = rough_location([dictionary])[0]
    others = sum(part.shape[1] for part in columns[1:])
    shift = np.concatenate([rough, np.zeros(others)])
    collected = GramAccumulator(int(code.max()) + 1, shift, np.ones(m + others))
    collected.add(columns, code, weights)
    grams = collected.result()
    mean, deviation = _moments(grams, dictionary) if location is None else location
    wide = np.concatenate([mean, np.zeros(others)]), np.concatenate([deviation, np.ones(others)])
    c = others - targets.shape[1]
    # Where all that controls fit is a mean, the constant in front of the columns does it.
    inside = np.arange(m + 1, m + 1 + c) if c else np.zeros(1, dtype=np.int64)
    phi = np.arange(1, m + 1)
    standard = grams.total().rescaled(*wide)
    total = standard.products[0]
    slopes = np.linalg.pinv(total[np.ix_(inside, inside)], hermitian=True)
    values, vectors = np.linalg.eigh(partial_out(total, inside, phi))
    change = np.eye(len(total))
    change[np.ix_(phi, phi)] = vectors
    change[np.ix_(inside, phi)] = -slopes @ total[np.ix_(inside, phi)] @ vectors
    order = np.concatenate([inside, phi, np.arange(m + 1 + c, len(total))])
    turned = grams.turned(grams.change_to(*wide) @ change[:, order])
    return Basis(turned, grams.rows, mean, m, len(inside), values, vectors / deviation[:, None])


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


def fits_in_memory(blocks: Blocks, columns: int) -> bool:
    """Whether the Gram matrices of all blocks and of one split's training parts do."""
    sums = max(int(np.prod(training.shape[:3])) for training in blocks.training)
    return bool((blocks.cell.shape[1] + 3 * sums) * columns**2 * 8 <= MEMORY)


def coefficients(
    basis: Basis,
    training: BoolArray,
    penalty: float | None,
    penalties: FloatArray,
    share_tuning: bool,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Ridge coefficients of every cell of one split.

    Parameters
    ----------
    basis : Basis
    training : bool array, shape (cells, parts, sides, B)
    penalty : float, optional
        None to choose among ``penalties`` (L,) where either side predicts the other best.
    penalties : array, shape (L,)
    share_tuning : bool
        Choose on the first target, for all.

    Returns
    -------
    coefficients : array, shape (cells, parts, m, t)
        Of the columns as they came.
    chosen : array, shape (cells, parts, t)
        Penalties.
    accurate : bool array, shape (cells,)
        Where False, the coefficients need the rows.
    """
    cells, parts, sides, B = training.shape
    k = basis.products.shape[1]
    belongs = training.reshape(-1, B).astype(float)
    sums = (belongs @ basis.products.reshape(B, k * k)).reshape(cells * parts, sides, k, k)
    rows = (belongs @ basis.rows).astype(np.int64).reshape(cells * parts, sides)
    whole = sums.sum(axis=1) if sides > 1 else sums[:, 0]
    accurate = well_conditioned(whole[:, : basis.c, : basis.c])
    t = k - basis.m - basis.c
    if penalty is None:
        chosen = _chosen(basis, sums, rows, penalties, share_tuning)
    else:
        chosen = np.full((cells * parts, t), penalty)
    gram, cross = _residual(basis, whole)
    found = np.zeros((cells * parts, basis.m, t))
    for i in range(cells * parts):
        b = solve(gram[i], cross[i], int(rows[i].sum()), chosen[i])
        if b is None:
            accurate[i] = False
        else:
            found[i] = b
    shape = (cells, parts, basis.m, t)
    every = np.asarray(accurate.reshape(cells, parts).all(axis=1))
    return (basis.back @ found).reshape(shape), chosen.reshape(cells, parts, t), every


def _chosen(
    basis: Basis,
    sums: FloatArray,
    rows: IntArray,
    penalties: FloatArray,
    share_tuning: bool,
) -> FloatArray:
    gram, cross = _residual(basis, sums)
    t = cross.shape[-1]
    if share_tuning:
        cross = cross[..., :1]
    errors = path_errors(
        gram[:, 0], cross[:, 0], rows[:, 0], gram[:, 1], cross[:, 1], penalties
    ) + path_errors(gram[:, 1], cross[:, 1], rows[:, 1], gram[:, 0], cross[:, 0], penalties)
    chosen = penalties[errors.argmin(axis=1)]
    return np.asarray(np.broadcast_to(chosen, (len(chosen), t)) if share_tuning else chosen)


def _residual(basis: Basis, products: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gram matrices of the dictionary and its products with the targets, less the controls."""
    left = partial_out(products, np.arange(basis.c), np.arange(basis.c, products.shape[-1]))
    return left[..., : basis.m, : basis.m], left[..., : basis.m, basis.m :]


def well_conditioned(inside: FloatArray) -> BoolArray:
    """Whether columns with Gram matrices (S, c, c) can be partialled out without their rows."""
    lengths = np.sqrt(np.maximum(np.diagonal(inside, axis1=1, axis2=2), 0))
    unit = 1 / np.where(lengths > 0, lengths, 1.0)
    values = np.linalg.eigvalsh(inside * unit[:, :, None] * unit[:, None, :])
    doubtful = (values > ZERO_EIGENVALUE) & (values * CONDITION_LIMIT < values[:, -1:])
    return np.asarray(~doubtful.any(axis=1))


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
    begin = 0
    for g in np.flatnonzero(counts):
        end = begin + int(counts[g])
        for start in range(begin, end, STEP):
            rows = order[start : min(start + STEP, end)]
            block = dictionary.take(rows, axis=0)
            block -= shift
            out[:, start : start + len(rows)] = (block @ found[g]).T
        begin = end
    # Rows go back to their places a line at a time, which a core's cache can hold.
    for line in out:
        line[order] = line.copy()
    return out
