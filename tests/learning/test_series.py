"""Dictionaries span what they say they span, within their room."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.learning.features import Features
from mlinstruments.learning.gram import Series
from mlinstruments.learning.series import FEW_VALUES, series_dictionary
from tests.tolerances import SOLVE

N = 200
RNG = np.random.default_rng(5)
W = RNG.uniform(-2, 3, (N, 3))


def unspanned(target, dictionary):
    """Root mean square of what a constant and the dictionary leave of the target."""
    both = np.column_stack([np.ones(len(target)), dictionary])
    rest = target - both @ np.linalg.lstsq(both, target, rcond=None)[0]
    return float(np.sqrt((rest**2).mean()) / target.std())


@pytest.mark.parametrize("knots", [2, 4, 7])
def test_splines_span_cubics_and_bend_at_knots_only(knots):
    w = W[:, :1]
    dictionary = series_dictionary(Features.numeric(w), knots, 0)
    assert dictionary.shape == (N, knots + 1)
    for power in (1, 2, 3):
        assert unspanned(w[:, 0] ** power, dictionary) < SOLVE
    inner = np.quantile(w, np.linspace(0, 1, knots))[1:-1]
    for place in inner:
        assert unspanned(np.maximum(w[:, 0] - place, 0) ** 3, dictionary) < SOLVE
    assert unspanned(np.maximum(w[:, 0] - 0.777, 0) ** 3, dictionary) > 1e-5


def test_products_span_interactions_of_straight_lines_and_parabolas():
    features = Features.numeric(W)
    both = series_dictionary(features, 7, 250)
    alone = series_dictionary(features, 7, 0)
    for target in (W[:, 0] * W[:, 1], W[:, 1] ** 2 * W[:, 2]):
        assert unspanned(target, both) < SOLVE
        assert unspanned(target, alone) > 0.1
    assert unspanned(W[:, 0] * W[:, 1] * W[:, 2], both) > 0.1  # pairs only


@pytest.mark.parametrize("room", [0, 3, 11, 12, 27, 60, 250])
def test_products_stay_within_their_room(room):
    mains = series_dictionary(Features.numeric(W), 7, 0).shape[1]
    extra = series_dictionary(Features.numeric(W), 7, room).shape[1] - mains
    # Three pairs: lines 1 column each, parabolas with 2, 3, 4 inner pieces 3, 4, 5.
    assert extra == {0: 0, 3: 3, 11: 3, 12: 3, 27: 27, 60: 48, 250: 75}[room]


def test_few_values_get_an_indicator_each():
    codes = RNG.integers(0, FEW_VALUES, N)
    numeric = series_dictionary(Features.numeric(codes[:, None].astype(float)), 7, 0)
    assert numeric.shape == (N, FEW_VALUES - 1)
    np.testing.assert_array_equal(numeric, codes[:, None] == np.arange(1, FEW_VALUES))
    assert unspanned(RNG.normal(size=FEW_VALUES)[codes], numeric) < SOLVE


def test_categories_are_never_splines():
    codes = RNG.integers(0, 30, N)
    features = Features(codes[:, None].astype(float), np.array([True]), ("court",))
    dictionary = series_dictionary(features, 7, 0)
    assert dictionary.shape[1] == len(np.unique(codes)) - 1
    assert unspanned(RNG.normal(size=30)[codes], dictionary) < SOLVE


def test_cells_and_splines_interact():
    court = RNG.integers(0, 3, N)
    features = Features(np.column_stack([court, W[:, 0]]), np.array([True, False]), ("court", "w"))
    slopes = np.array([1.0, -1.0, 3.0])[court] * W[:, 0]
    assert unspanned(slopes, series_dictionary(features, 7, 250)) < SOLVE
    assert unspanned(slopes, series_dictionary(features, 7, 0)) > 0.1


def test_mass_points_thin_the_knots_out():
    w = np.where(RNG.random(N) < 0.9, 0.0, RNG.uniform(0, 1, N))
    assert len(np.unique(w)) > FEW_VALUES
    dictionary = series_dictionary(Features.numeric(w[:, None]), 7, 0)
    assert np.isfinite(dictionary).all()
    assert unspanned(w, dictionary) < SOLVE


def test_almost_all_mass_at_one_point():
    w = np.zeros(N)
    w[:9] = np.arange(1, 10)  # every quantile but the last is 0
    dictionary = series_dictionary(Features.numeric(w[:, None]), 4, 0)
    assert unspanned(w, dictionary) < SOLVE


def test_knots_are_checked():
    with pytest.raises(InputError, match="at least 2 knots; got 1"):
        Series(knots=1)


def test_settings_reach_the_dictionary():
    features = Features.numeric(W)
    for learner, width in ((Series(), 99), (Series(knots=4), 90), (Series(interactions=False), 24)):
        engine = learner.prepare(features, np.ones((N, 1)), None)
        assert engine._bound.width == width
