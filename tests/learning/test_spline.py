"""B-splines by two routes against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import SplineTransformer

from mlinstruments.learning import spline
from mlinstruments.learning.features import Features
from mlinstruments.learning.series import BLOCK, SeriesDictionary
from mlinstruments.learning.spline import Spline
from tests.tolerances import IDENTITY, ROUNDING

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(3, 2, 500), [-1e3, 1e3]])  # far outside the places


@pytest.mark.parametrize("n_places", [2, 3, 5, 7, 30])
@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("route", ["powers", "recursion"])
def test_like_scikit_learn(monkeypatch, degree, n_places, route):
    monkeypatch.setattr(spline, "LARGEST_WEIGHT", 0.0 if route == "recursion" else 1e5)
    places = np.unique(np.quantile(X[:500], np.linspace(0, 1, n_places)))
    expected = SplineTransformer(degree=degree, knots=places[:, None], include_bias=False)
    found = Spline.at(places, degree)
    out = np.full((found.width, len(X)), np.nan)
    found.fill(X, out)
    tolerance = ROUNDING if route == "recursion" else IDENTITY
    np.testing.assert_allclose(out.T, expected.fit_transform(X[:, None]), rtol=0, atol=tolerance)


def test_places_close_together_take_the_recursion():
    places = np.array([0.0, 1.0, 1.0001, 1.0002, 1.0003, 50.0])
    found = Spline.at(places, 3)
    assert np.abs(found._weights).max() > spline.LARGEST_WEIGHT
    x = np.sort(RNG.uniform(0.9999, 1.0004, 200))
    expected = SplineTransformer(degree=3, knots=places[:, None], include_bias=False)
    out = np.empty((found.width, len(x)))
    found.fill(x, out)
    transformed = expected.fit(places[:, None]).transform(x[:, None])
    np.testing.assert_allclose(out.T, transformed, rtol=0, atol=IDENTITY)


def test_functions_of_other_rows_are_the_same_functions():
    w = np.column_stack([RNG.normal(size=3 * BLOCK), RNG.integers(0, 4, 3 * BLOCK)])
    fixed = SeriesDictionary.of(Features.numeric(w), 5, 250)
    whole = fixed.columns(w)
    assert whole.shape == (len(w), fixed.width)
    rows = RNG.permutation(len(w))[:70]
    np.testing.assert_allclose(fixed.columns(w[rows]), whole[rows], rtol=0, atol=ROUNDING)
    out = np.empty((fixed.width, len(rows)))
    fixed.fill(np.ascontiguousarray(w[rows].T), out)
    np.testing.assert_allclose(out.T, whole[rows], rtol=0, atol=ROUNDING)
    unseen = fixed.columns(np.array([[0.0, 9.0]]))
    base = fixed.columns(np.array([[0.0, 0.0]]))  # a value not seen counts as the first
    np.testing.assert_array_equal(unseen, base)
