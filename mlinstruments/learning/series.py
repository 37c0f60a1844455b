"""Dictionaries of W: splines of each column and tensor products of pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from mlinstruments._core.typing import FloatArray

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
    columns = range(features.values.shape[1])
    mains = [_basis(features, j, knots, degree=3) for j in columns]
    return np.hstack([*mains, *_pairs(features, pair_columns)])


def _pairs(features: Features, room: int) -> list[FloatArray]:
    columns = range(features.values.shape[1])
    for knots in (5, 4, 3, 2):
        bases = [_basis(features, j, knots, degree=min(2, knots - 1)) for j in columns]
        widths = [basis.shape[1] for basis in bases]
        if sum(a * b for a, b in combinations(widths, 2)) <= room:
            return [_products(a, b) for a, b in combinations(bases, 2)]
    return []


def _products(a: FloatArray, b: FloatArray) -> FloatArray:
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)


def _basis(features: Features, column: int, knots: int, degree: int) -> FloatArray:
    values = features.values[:, column]
    distinct = np.unique(values)
    if features.categorical[column] or len(distinct) <= FEW_VALUES:
        return np.asarray(values[:, None] == distinct[None, 1:], dtype=float)
    if degree == 1 and knots == 2:
        return (values[:, None] - float(values.mean())) / float(values.std())
    from sklearn.preprocessing import SplineTransformer

    places = np.unique(np.quantile(values, np.linspace(0, 1, knots)))
    if len(places) < 2:
        places = np.array([distinct[0], distinct[-1]])
    spline = SplineTransformer(degree=degree, knots=places[:, None], include_bias=False)
    return np.asarray(spline.fit_transform(values[:, None]))
