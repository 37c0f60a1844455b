"""Dictionaries of W: the columns themselves, splines of each, tensor products of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np

from mlinstruments._core.typing import FloatArray

from .features import Features
from .spline import Spline

# A column with at most this many distinct values gets an indicator for each instead of a spline.
FEW_VALUES = 8
# Rows evaluated at a time, so that they stay in a core's cache.
BLOCK = 2048


def series_dictionary(features: Features, knots: int, pair_columns: int) -> FloatArray:
    """Columns spanning smooth functions of W.

    Parameters
    ----------
    features : Features
        Complete inputs (n, q).
    knots : int
        Knots of each cubic spline.
    pair_columns : int
        Room for products of pairs; 0 for none.

    Returns
    -------
    array, shape (n, m)

    Examples
    --------
    >>> w = np.array([[0.0], [1.0], [2.0], [1.0]])
    >>> series_dictionary(Features.numeric(w), knots=5, pair_columns=0)
    array([[0., 0.],
           [1., 0.],
           [0., 1.],
           [1., 0.]])
    """
    return SeriesDictionary.of(features, knots, pair_columns).columns(features.values)


@dataclass(frozen=True)
class SeriesDictionary:
    """Functions of W whose knots and values are fixed, to be evaluated on any rows.

    Parameters
    ----------
    mains : tuple of ColumnBasis
        One for each column of W.
    pairs : tuple of ColumnBasis
        Those whose products are taken; empty where there are none.
    """

    mains: tuple[ColumnBasis, ...]
    pairs: tuple[ColumnBasis, ...]

    @classmethod
    def of(cls, features: Features, knots: int, pair_columns: int) -> SeriesDictionary:
        """Place knots at quantiles of some rows, and find which columns have few values."""
        columns = range(features.values.shape[1])
        mains = tuple(_basis(features, j, knots, degree=3) for j in columns)
        for coarse in (5, 4, 3, 2) if len(mains) > 1 else ():
            pairs = tuple(_basis(features, j, coarse, degree=min(2, coarse - 1)) for j in columns)
            widths = [basis.width for basis in pairs]
            if sum(a * b for a, b in combinations(widths, 2)) <= pair_columns:
                return cls(mains, pairs)
        return cls(mains, ())

    @property
    def width(self) -> int:
        """Columns."""
        products = sum(a.width * b.width for a, b in combinations(self.pairs, 2))
        return sum(basis.width for basis in self.mains) + products

    def columns(self, values: FloatArray) -> FloatArray:
        """The functions of W = ``values`` (n, q), shape (n, m)."""
        return _in_blocks(self, values)

    def fill(self, values: FloatArray, out: FloatArray) -> None:
        """Write the functions of W = ``values`` (q, rows) to ``out`` (m, rows)."""
        at = 0
        for basis, row in zip(self.mains, values, strict=True):
            basis.fill(row, out[at : at + basis.width])
            at += basis.width
        singles = [np.empty((basis.width, values.shape[1])) for basis in self.pairs]
        for basis, row, single in zip(self.pairs, values, singles, strict=False):
            basis.fill(row, single)
        for a, b in combinations(singles, 2):
            for single in a:
                np.multiply(single, b, out=out[at : at + len(b)])
                at += len(b)


@dataclass(frozen=True)
class Untransformed:
    """The columns of W themselves.

    Parameters
    ----------
    width : int
        How many there are.
    """

    width: int

    def columns(self, values: FloatArray) -> FloatArray:
        """``values`` (n, q)."""
        return values

    def fill(self, values: FloatArray, out: FloatArray) -> None:
        """Write ``values`` (q, rows) to ``out`` (q, rows)."""
        out[:] = values


class Dictionary(Protocol):
    """Functions of W that are fixed."""

    @property
    def width(self) -> int:
        """How many there are."""
        ...

    def columns(self, values: FloatArray) -> FloatArray:
        """The functions of W = ``values`` (n, q), shape (n, m)."""
        ...

    def fill(self, values: FloatArray, out: FloatArray) -> None:
        """Write the functions of W = ``values`` (q, rows) to ``out`` (m, rows)."""
        ...


def _in_blocks(dictionary: Dictionary, values: FloatArray) -> FloatArray:
    out = np.empty((len(values), dictionary.width))
    buffer = np.empty((dictionary.width, min(BLOCK, len(values))))
    for start in range(0, len(values), BLOCK):
        rows = values[start : start + BLOCK]
        dictionary.fill(np.ascontiguousarray(rows.T), buffer[:, : len(rows)])
        out[start : start + BLOCK] = buffer[:, : len(rows)].T
    return out


class ColumnBasis(Protocol):
    """Functions of one column."""

    @property
    def width(self) -> int:
        """How many there are."""
        ...

    def fill(self, values: FloatArray, out: FloatArray) -> None:
        """Write the functions of ``values`` (rows,) to ``out`` (width, rows)."""
        ...


@dataclass(frozen=True)
class Indicators:
    """One for each of some values (width,); all 0 for any other."""

    values: FloatArray

    @property
    def width(self) -> int:
        """How many there are."""
        return len(self.values)

    def fill(self, values: FloatArray, out: FloatArray) -> None:
        """Write the functions of ``values`` (rows,) to ``out`` (width, rows)."""
        np.equal(values, self.values[:, None], out=out, casting="unsafe")


@dataclass(frozen=True)
class Line:
    """The column itself, less ``mean`` and divided by ``deviation``."""

    mean: float
    deviation: float

    @property
    def width(self) -> int:
        """One."""
        return 1

    def fill(self, values: FloatArray, out: FloatArray) -> None:
        """Write the functions of ``values`` (rows,) to ``out`` (1, rows)."""
        np.subtract(values, self.mean, out=out[0])
        out /= self.deviation


def _basis(features: Features, column: int, knots: int, degree: int) -> ColumnBasis:
    values = features.values[:, column]
    distinct = np.unique(values)
    if features.categorical[column] or len(distinct) <= FEW_VALUES:
        return Indicators(distinct[1:])
    if degree == 1 and knots == 2:
        return Line(float(values.mean()), float(values.std()))
    places = np.unique(np.quantile(values, np.linspace(0, 1, knots)))
    if len(places) < 2:
        places = np.array([distinct[0], distinct[-1]])
    return Spline.at(places, degree)
