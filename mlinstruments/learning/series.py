"""Dictionaries of W: the columns themselves, splines of each, tensor products of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np

from mlinstruments._core.typing import FloatArray, IntArray

from .features import Features

# A column with at most this many distinct values gets an indicator for each instead of a spline.
FEW_VALUES = 8


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

    def columns(self, values: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """The functions of W = ``values`` (n, q), shape (n, m); written to ``out`` if given."""
        out = np.empty((len(values), self.width)) if out is None else out
        at = 0
        for basis, column in zip(self.mains, values.T, strict=True):
            basis.fill(column, out[:, at : at + basis.width])
            at += basis.width
        singles = [np.empty((len(values), basis.width)) for basis in self.pairs]
        for basis, column, single in zip(self.pairs, values.T, singles, strict=False):
            basis.fill(column, single)
        for a, b in combinations(singles, 2):
            for single in a.T:
                np.multiply(single[:, None], b, out=out[:, at : at + b.shape[1]])
                at += b.shape[1]
        return out


@dataclass(frozen=True)
class Untransformed:
    """The columns of W themselves.

    Parameters
    ----------
    width : int
        How many there are.
    """

    width: int

    def columns(self, values: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """``values`` (n, q); written to ``out`` if given."""
        if out is None:
            return values
        out[:] = values
        return out


class ColumnBasis(Protocol):
    """Functions of one column."""

    @property
    def width(self) -> int:
        """How many there are."""
        ...

    def fill(self, values: FloatArray, out: FloatArray) -> None:
        """Write the functions of ``values`` (n,) to ``out`` (n, width)."""
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
        """Write the functions of ``values`` (n,) to ``out`` (n, width)."""
        np.equal(values[:, None], self.values, out=out, casting="unsafe")


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
        """Write the functions of ``values`` (n,) to ``out`` (n, 1)."""
        out[:, 0] = (values - self.mean) / self.deviation


@dataclass(frozen=True)
class Spline:
    """B-splines, constant outside the outermost places; the last is left out, as they sum to one.

    Parameters
    ----------
    knots : array, shape (places + 2 degree,)
        The places, and as many as the degree before and after them.
    degree : int

    References
    ----------
    de Boor (1978), "A Practical Guide to Splines".
    """

    knots: FloatArray
    degree: int

    @classmethod
    def at(cls, places: FloatArray, degree: int) -> Spline:
        """With knots at increasing ``places``, continued on either side in steps like the last."""
        steps = np.arange(1, degree + 1)
        before = places[0] - steps[::-1] * (places[1] - places[0])
        after = places[-1] + steps * (places[-1] - places[-2])
        return cls(np.concatenate([before, places, after]), degree)

    @property
    def width(self) -> int:
        """How many there are."""
        return len(self.knots) - self.degree - 2

    def fill(self, values: FloatArray, out: FloatArray) -> None:
        """Write the functions of ``values`` (n,) to ``out`` (n, width)."""
        knots, degree = self.knots, self.degree
        x = np.clip(values, knots[degree], knots[-degree - 1])
        piece = np.searchsorted(knots[degree + 1 : -degree - 1], x, side="right")
        nonzero = self._nonzero(x, piece + degree)
        out[:] = 0.0
        for r, value in enumerate(nonzero):
            inside = slice(None) if r < degree else piece + r < self.width
            out[np.arange(len(x))[inside], (piece + r)[inside]] = value[inside]

    def _nonzero(self, x: FloatArray, interval: IntArray) -> list[FloatArray]:
        """The degree + 1 functions not 0 at x (n,), by the recursion of Cox and de Boor."""
        left = [x - self.knots[interval - j] for j in range(self.degree)]
        right = [self.knots[interval + 1 + j] - x for j in range(self.degree)]
        found = [np.ones_like(x)]
        for j in range(1, self.degree + 1):
            saved, higher = np.zeros_like(x), []
            for r in range(j):
                share = found[r] / (right[r] + left[j - 1 - r])
                higher.append(saved + right[r] * share)
                saved = left[j - 1 - r] * share
            found = [*higher, saved]
        return found


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
