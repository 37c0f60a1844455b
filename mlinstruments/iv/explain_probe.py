"""Where a first stage is asked what it has learned, and what its answers say.

Functions of predictions: out-of-fold in, tables out. Notation as in :mod:`mlinstruments.iv.data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.linalg import residuals
from mlinstruments._core.typing import FloatArray, IntArray
from mlinstruments.learning.folds import Split

from .data import IVData
from .instrument import centre_within

# Rows of a fold that are permuted, rows a curve averages over, and points of a curve.
PERMUTED_ROWS, CURVE_ROWS, POINTS = 1_000, 100, 20
# Numbers predicted from at a time: 160 MB.
MOST_NUMBERS = 20_000_000
BINS = 20


# ---- where to predict ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """Where the models of one fold are asked, and what they answer.

    Parameters
    ----------
    rows : int array, shape (r,)
        Rows of the fold that were shuffled.
    shape : (columns or groups, permutations, r)
    grids : list of arrays
        Values of each instrument where its curve is.
    n_curve : int
        Rows that each point of a curve averages over.
    inputs : array, shape (m, q)
        Shuffled rows, then those of the curves.
    shuffled : array of that shape
    curves : list of arrays, one value for each of a grid
    """

    rows: IntArray
    shape: tuple[int, int, int]
    grids: list[FloatArray]
    n_curve: int
    inputs: FloatArray
    shuffled: FloatArray
    curves: list[FloatArray]

    @classmethod
    def of(
        cls,
        values: FloatArray,
        fold: IntArray,
        columns: Mapping[str, IntArray],
        n_permutations: int,
        rng: np.random.Generator,
    ) -> Probe:
        """Draw rows and shuffles, and put the inputs together."""
        q = values.shape[1]
        grids = [grid_of(column) for column in values.T]
        room = MOST_NUMBERS // q
        asked = len(columns) * n_permutations
        rows = some(fold, max(min(PERMUTED_ROWS, room // (2 * asked)), 20), rng)
        points = sum(map(len, grids))
        chosen = some(fold, max(min(CURVE_ROWS, room // (2 * points)), 20), rng)
        inputs = []
        for group in columns.values():
            for _ in range(n_permutations):
                shuffled = values[rows]
                shuffled[:, group] = shuffled[rng.permutation(len(rows))][:, group]
                inputs.append(shuffled)
        for j, grid in enumerate(grids):
            block = np.tile(values[chosen], (len(grid), 1))
            block[:, j] = np.repeat(grid, len(chosen))
            inputs.append(block)
        shape = (len(columns), n_permutations, len(rows))
        return cls(rows, shape, grids, len(chosen), np.vstack(inputs), np.empty(0), [])

    def answered(self, predicted: FloatArray) -> Probe:
        """With predictions (m,) sorted into place and the inputs gone."""
        cut = int(np.prod(self.shape))
        points = np.cumsum([len(grid) for grid in self.grids])[:-1]
        means = predicted[cut:].reshape(-1, self.n_curve).mean(axis=1)
        return Probe(
            self.rows, self.shape, self.grids, self.n_curve, np.empty((0, 0)),
            predicted[:cut].reshape(self.shape), np.split(means, points),
        )  # fmt: skip


def some(rows: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def grid_of(column: FloatArray) -> FloatArray:
    """Values met in the data, evenly spaced in ranks."""
    present = column[~np.isnan(column)]
    places = (np.arange(POINTS) + 0.5) / POINTS
    distinct = np.unique(present)
    if len(distinct) <= POINTS:
        return distinct
    return np.unique(np.quantile(present, places, method="nearest"))


# ---- what the answers say -----------------------------------------------------------------------


def partialled_by_fold(
    data: IVData, values: FloatArray, cell: IntArray | None, rows: IntArray | None = None
) -> FloatArray:
    """Values (n,) or (n, m), less their fold's mean if asked and covariates, times root weights."""
    rows = np.arange(data.nobs) if rows is None else rows
    weights = None if data.weights is None else data.weights[rows]
    table = values if values.ndim == 2 else values[:, None]
    table = table if cell is None else centre_within(table, cell, weights)
    found = residuals(table, data.X[rows], weights)
    found = found if weights is None else found * np.sqrt(weights)[:, None]
    return found if values.ndim == 2 else found[:, 0]


def squared_correlation(z: FloatArray, d: FloatArray) -> Any:
    """Squared correlations of every column of z (n,) or (n, m) with d (n,)."""
    lengths = (z**2).sum(axis=0) * float(d @ d)
    return np.where(lengths > 0, (d @ z) ** 2 / np.where(lengths > 0, lengths, 1.0), 0.0)[()]


def importance(
    data: IVData,
    target: FloatArray,
    own: FloatArray,
    split: Split,
    probes: list[Probe],
    names: list[str],
    folds: list[str],
) -> pd.DataFrame:
    rows = np.concatenate([probe.rows for probe in probes])
    cell = split.cell[rows]
    d = partialled_by_fold(data, target[rows], None, rows)
    inside = partialled_by_fold(data, target[rows], cell, rows)
    base = partialled_by_fold(data, own[rows], cell, rows)
    shuffled = np.concatenate([probe.shuffled for probe in probes], axis=2)
    flat = partialled_by_fold(data, shuffled.reshape(-1, len(rows)).T, cell, rows)

    def lost(chosen: Any, outcome: FloatArray) -> FloatArray:
        left = squared_correlation(flat[chosen], outcome[chosen]).reshape(shuffled.shape[:2])
        return np.asarray(squared_correlation(base[chosen], outcome[chosen]) - left)

    drops = lost(slice(None), d)
    table = pd.DataFrame({"importance": drops.mean(axis=1)}, names)
    several = drops.shape[1] > 1
    table["sd"] = drops.std(axis=1, ddof=1) if several else np.nan
    for k, fold in enumerate(folds):
        table[fold] = lost(cell == k, inside).mean(axis=1)
    return table.sort_values("importance", ascending=False, kind="stable")


def curves(probes: list[Probe], instruments: tuple[str, ...], folds: list[str]) -> pd.DataFrame:
    pieces = []
    for j, name in enumerate(instruments):
        values = np.column_stack([probe.curves[j] for probe in probes])
        values = values - values.mean(axis=0)
        piece = pd.DataFrame(values, columns=folds)
        piece.insert(0, "mean", values.mean(axis=1))
        piece.insert(0, "value", probes[0].grids[j])
        piece.insert(0, "instrument", name)
        pieces.append(piece)
    return pd.concat(pieces, ignore_index=True)


def bins(z: FloatArray, d: FloatArray) -> pd.DataFrame:
    pieces = [rows for rows in np.array_split(np.argsort(z, kind="stable"), BINS) if len(rows) > 1]
    return pd.DataFrame(
        {
            "predicted": [float(z[rows].mean()) for rows in pieces],
            "actual": [float(d[rows].mean()) for rows in pieces],
            "std_error": [float(d[rows].std(ddof=1) / np.sqrt(len(rows))) for rows in pieces],
        }
    )
