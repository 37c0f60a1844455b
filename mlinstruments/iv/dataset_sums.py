"""The two passes over a data set on disk: Gram matrices by cell, then sums of squared scores.

Each function takes a few pieces of the data set and returns sums, which add up: over pieces here,
over threads, processes or the workers of a cluster. Notation as in :mod:`mlinstruments.iv.data`;
Phi(W) is the dictionary of the instruments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from mlinstruments._core.grams import BlockGrams
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments._core.typing import FloatArray, IntArray

from .score_sums import Combinations, ScoreSums
from .source import Cells, Piece, Roles, Tally, read_blocks


@dataclass(frozen=True)
class Reading:
    """What both passes need to know.

    Parameters
    ----------
    roles : Roles
    cells : Cells
    dictionary : Dictionary
        Functions of W, their knots fixed.
    """

    roles: Roles
    cells: Cells
    dictionary: Any

    @property
    def instruments(self) -> slice:
        """Where a block holds W."""
        start = len(self.roles.exog) + len(self.roles.endog) + 1
        return slice(start, start + len(self.roles.instruments))

    @property
    def others(self) -> slice:
        """Where a block holds [X without the constant, D, y]."""
        return slice(0, self.instruments.start)


# ---- first pass ------------------------------------------------------------------------------


@dataclass
class GramSums:
    """What the first pass finds.

    Parameters
    ----------
    grams : BlockGrams
        Of [Phi(W), X without the constant, D, y] by cell.
    moments : array, shape (2, m)
        Sums of the shifted dictionary and of its squares, weights apart.
    tally : Tally
    """

    grams: BlockGrams
    moments: FloatArray
    tally: Tally

    def __add__(self, other: GramSums) -> GramSums:
        """Both, in place of this one."""
        self.tally.add(other.tally)
        return GramSums(self.grams + other.grams, self.moments + other.moments, self.tally)


def gram_sums(
    pieces: list[Piece], reading: Reading, shift: FloatArray, scale: FloatArray
) -> GramSums:
    """Gram matrices of some pieces.

    Parameters
    ----------
    pieces : list of Piece
    reading : Reading
    shift, scale : arrays, shape (k,)
        Rough locations of the columns.
    """
    m, weighted = reading.dictionary.width, reading.roles.weights is not None
    n, k = reading.cells.n, 1 + len(shift)
    products, rows = np.zeros((n, k, k)), np.zeros(n, dtype=np.int64)
    moments, tally = np.zeros((2, m)), Tally()
    for block in _blocks(pieces, reading, tally):
        columns = np.empty((k, len(block.cell)))
        columns[0] = 1.0
        reading.dictionary.fill(block.values[reading.instruments], columns[1 : m + 1])
        columns[m + 1 :] = block.values[reading.others]
        columns[1:] -= shift[:, None]
        if weighted:
            shifted = columns[1 : m + 1]
            moments += shifted.sum(axis=1), np.einsum("ij,ij->i", shifted, shifted)
            columns *= np.sqrt(block.values[-1])
        ends = np.searchsorted(block.cell, np.arange(n + 1))
        for cell, (start, stop) in enumerate(pairwise(ends)):
            own = columns[:, start:stop]
            products[cell] += own @ own.T
        rows += np.diff(ends)
    unit = 1 / np.r_[1.0, scale]
    return GramSums(BlockGrams(products * np.outer(unit, unit), rows, shift, scale), moments, tally)


def _blocks(pieces: list[Piece], reading: Reading, tally: Tally) -> Iterator[Any]:
    for piece in pieces:
        yield from read_blocks(piece, reading.roles, reading.cells, tally)


# ---- second pass -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Predictor:
    """Learned instruments and their noise as functions of W, by fold.

    Parameters
    ----------
    fold : int array, shape (cells,)
        Fold of each cell.
    slopes : array, shape (folds, m, d + e)
        Of [instruments, noise] on the dictionary; e is d with halves, otherwise 0.
    levels : array, shape (folds, d + e)
    noise_on_exog : array, shape (p, e)
        Coefficients of the noise on X, constant first, which are taken out.
    weight : float
        Mean weight.
    """

    fold: IntArray
    slopes: FloatArray
    levels: FloatArray
    noise_on_exog: FloatArray
    weight: float


@dataclass(frozen=True)
class FoldLines:
    """Lines of each D on its instrument in each fold, X partialled out of both.

    Parameters
    ----------
    z, d, slope : arrays, shape (folds, d)
        Means of the instrument and of D, and the slope.
    together : array, shape (folds, d)
        Sums of products of the two, less their means.
    """

    z: FloatArray
    d: FloatArray
    slope: FloatArray
    together: FloatArray


@dataclass
class DatasetScores:
    """What the second pass finds.

    Parameters
    ----------
    sums : ScoreSums
    by_fold : array, shape (folds, d)
        Sums of squared scores of the first stage in each fold.
    clusters : dict
        Number of each cluster by the hash of its label.
    """

    sums: ScoreSums
    by_fold: FloatArray
    clusters: dict[int, int] = field(default_factory=dict)

    def __add__(self, other: DatasetScores) -> DatasetScores:
        """Both, in place of this one."""
        groups = [numbered(self.clusters, list(other.clusters))] if other.clusters else []
        self.sums.merge(other.sums, groups)
        self.by_fold += other.by_fold
        return self


def numbered(numbers: dict[int, int], labels: list[int]) -> IntArray:
    """Numbers of labels, new ones from the next number on."""
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)


def score_sums(
    pieces: list[Piece],
    reading: Reading,
    predictor: Predictor,
    lines: FoldLines,
    combinations: Combinations,
    spec: CovarianceSpec,
) -> DatasetScores:
    """Sums of squared scores of some pieces, with instruments predicted on the way."""
    d, (p, e) = combinations.d, predictor.noise_on_exog.shape
    found = DatasetScores(ScoreSums(combinations, spec, int(e > 0)), np.zeros(lines.slope.shape))
    for block in _blocks(pieces, reading, Tally()):
        predicted = _predict(block, reading, predictor)
        rows, m = len(block.cell), combinations.weights.shape[1]
        columns = np.empty((m, rows))
        columns[0] = 1.0
        columns[1 : p + d] = block.values[: p - 1 + d]
        columns[p + d : -1] = predicted[:d]
        columns[-1] = block.values[p - 1 + d]
        noise = [predicted[d:] - predictor.noise_on_exog.T @ columns[:p]] if e else []
        weights = None
        if reading.roles.weights is not None:
            weights = block.values[-1] / predictor.weight
        groups = []
        if block.label is not None:
            labels, place = np.unique(block.label, return_inverse=True)
            groups = [numbered(found.clusters, labels.tolist())[place]]
        made = found.sums.add(columns, weights, groups, noise)
        _, outcomes, instruments = combinations.parts
        both = made[outcomes][1:], made[instruments]
        _add_by_fold(found.by_fold, *both, predictor.fold[block.cell], lines, weights)
    return found


def _predict(block: Any, reading: Reading, predictor: Predictor) -> FloatArray:
    """[Instruments, noise] (d + e, rows), X not yet partialled out."""
    columns = np.empty((reading.dictionary.width, len(block.cell)))
    reading.dictionary.fill(block.values[reading.instruments], columns)
    fold = predictor.fold[block.cell]  # cells of a fold are neighbours, so rows are too
    out = np.empty((predictor.levels.shape[1], len(fold)))
    ends = np.searchsorted(fold, np.arange(len(predictor.levels) + 1))
    for k, (start, stop) in enumerate(pairwise(ends)):
        out[:, start:stop] = predictor.slopes[k].T @ columns[:, start:stop]
        out[:, start:stop] += predictor.levels[k][:, None]
    return out


def _add_by_fold(
    total: FloatArray,
    treatments: FloatArray,
    instruments: FloatArray,
    fold: IntArray,
    lines: FoldLines,
    weights: FloatArray | None,
) -> None:
    for j in range(len(treatments)):
        here = instruments[j] - lines.z[fold, j]
        scores = here * (treatments[j] - lines.d[fold, j] - lines.slope[fold, j] * here)
        scores = scores if weights is None else weights * scores
        total[:, j] += np.bincount(fold, scores**2, len(total))
