"""Gram matrices by block against the rows themselves, chunked, merged, left out, ill-conditioned."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.grams import (
    STEP,
    GramAccumulator,
    block_grams,
    condition,
    least_squares_on,
    partial_out,
    rough_location,
)
from mlinstruments._core.linalg import residuals
from tests.tolerances import ROUNDING, SOLVE

N, M, BLOCKS = 3000, 6, 7
RNG = np.random.default_rng(0)
COLUMNS = RNG.normal([0, 5, 1e5, 0, 0, -3], [1, 1, 2, 1e-4, 1e3, 1], (N, M))
block_of = RNG.integers(0, BLOCKS, N)
WEIGHTS = RNG.uniform(0.2, 3, N)
LOCATION = rough_location([COLUMNS])


def brute(rows, weights=None, columns=COLUMNS, location=LOCATION):
    standard = np.column_stack([np.ones(N), (columns - location[0]) / location[1]])[rows]
    w = np.ones(N)[rows] if weights is None else weights[rows]
    return standard.T @ (standard * w[:, None])


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
@pytest.mark.parametrize("codes", [block_of, np.sort(block_of)], ids=["mixed", "in order"])
def test_blocks_are_those_of_their_rows(codes, dtype, weights):
    found = block_grams(COLUMNS, codes.astype(dtype), weights=weights)
    assert found.rows.tolist() == np.bincount(codes).tolist()
    for b in range(BLOCKS):
        assert_same(found.products[b], brute(codes == b, weights))


def test_columns_may_come_in_pieces_of_any_type():
    pieces = [COLUMNS[:, 0], COLUMNS[:, 1:3].astype(np.float32), np.arange(N)]
    joined = np.column_stack([np.asarray(p, dtype=float) for p in pieces])
    found, expected = block_grams(pieces, block_of), block_grams(joined, block_of)
    np.testing.assert_array_equal(found.products, expected.products)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_chunks_and_workers_add_up(weights):
    whole = block_grams(COLUMNS, block_of, weights=weights)
    collected = [GramAccumulator(BLOCKS, *LOCATION) for _ in range(2)]
    for i, start in enumerate(range(0, N, 411)):
        rows = slice(start, start + 411)
        own = None if weights is None else weights[rows]
        collected[i % 2].add([COLUMNS[rows]], block_of[rows], own)
    found = collected[0].result() + collected[1].result()
    assert_same(found.products, whole.products)
    np.testing.assert_array_equal(found.rows, whole.rows)


def test_a_block_longer_than_a_step_is_whole():
    assert N > 2 * STEP
    assert_same(block_grams(COLUMNS).products[0], brute(slice(None)))


def test_sums_of_blocks_are_those_of_their_rows():
    grams = block_grams(COLUMNS, block_of)
    assert_same(grams.total().products[0], brute(slice(None)))
    groups = np.array([0, 1, 2, 0, 1, 2, 0])
    for g, products in enumerate(grams.regrouped(groups).products):
        assert_same(products, brute(groups[block_of] == g))
    left = grams.leave_out()
    for b in range(BLOCKS):
        assert left.rows[b] == (block_of != b).sum()
        assert_same(left.products[b], brute(block_of != b))
        assert_same((grams.total().products - grams.products)[b], brute(block_of != b))
    none = grams - grams
    assert (none.products == 0).all()
    assert (none.rows == 0).all()


def test_empty_blocks_stay():
    found = block_grams(COLUMNS, block_of, n_blocks=BLOCKS + 2)
    assert found.rows[-2:].tolist() == [0, 0]
    assert (found.products[-2:] == 0).all()
    assert found.regrouped(np.arange(BLOCKS + 2), BLOCKS + 4).products.shape[0] == BLOCKS + 4


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_location_follows_and_may_be_changed(weights):
    grams = block_grams(COLUMNS, block_of, weights=weights)
    mean = np.average(COLUMNS, axis=0, weights=weights)
    deviation = np.sqrt(np.average((COLUMNS - mean) ** 2, axis=0, weights=weights))
    np.testing.assert_allclose(grams.mean(), mean, rtol=ROUNDING, atol=ROUNDING * deviation.max())
    np.testing.assert_allclose(grams.deviation(), deviation, rtol=ROUNDING)
    location = grams.mean(), grams.deviation()
    moved = grams.rescaled(*location)
    for b in range(BLOCKS):
        assert_same(moved.products[b], brute(block_of == b, weights, location=location))


def test_a_large_mean_costs_nothing_once_shifted():
    far = COLUMNS[:, [0]] + 1e8
    exact = np.var(far - 1e8)
    unshifted = block_grams(far, location=(np.zeros(1), np.ones(1))).deviation() ** 2
    assert abs(unshifted[0] - exact) > 1e-2  # what the shift is for
    # Stored around 1e8 a number has a spacing of 1.5e-8 to begin with.
    np.testing.assert_allclose(block_grams(far).deviation() ** 2, exact, rtol=SOLVE)


def test_a_trend_does_not_spoil_the_first_guess():
    trend = np.linspace(0, 1e6, N)
    shift, scale = rough_location([trend])
    assert abs(shift[0] - 5e5) < 1e4
    assert 0.9 < scale[0] / trend.std() < 1.1


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("collinear", [False, True])
def test_partialling_out_is_regression_on_the_rows(collinear, weights):
    columns = COLUMNS.copy()
    if collinear:
        columns[:, 3] = columns[:, 1] - 2 * columns[:, 4]
        columns[:, 5] = 1.0  # varies not at all; the constant is there besides
    grams = block_grams(columns, block_of, weights=weights)
    controls, kept = np.array([0, 2, 4, 5, 6]), np.array([1, 3])
    found = partial_out(grams.products, controls, kept)
    shift, scale = grams.shift, grams.scale
    standard = np.column_stack([np.ones(N), (columns - shift) / scale])
    for b in range(BLOCKS):
        rows = block_of == b
        w = None if weights is None else weights[rows]
        left = residuals(standard[rows][:, kept], standard[rows][:, controls], w)
        expected = left.T @ (left if w is None else left * w[:, None])
        np.testing.assert_allclose(found[b], expected, atol=SOLVE * np.abs(expected).max())


def polynomials(degree, n=4000):
    x = RNG.uniform(0, 1, n)
    powers = x[:, None] ** np.arange(degree + 1)
    return powers, powers @ np.ones(degree + 1)


def test_ill_conditioned_columns_go_back_to_the_rows():
    powers, outcome = polynomials(9)
    both = np.column_stack([powers, outcome])
    products = both.T @ both
    regressors, response = np.arange(10), np.array([10])
    assert condition(products[:10, :10]) > 1e6
    from_gram = np.linalg.lstsq(products[:10, :10], products[:10, 10], rcond=None)[0]
    assert np.abs(from_gram - 1).max() > 1e-3  # the squared condition number shows
    found = least_squares_on(products, regressors, response, lambda: [both])
    # The columns' own condition number is 1e7: EPS times that, times the number of columns.
    np.testing.assert_allclose(found[:, 0], 1, atol=SOLVE)


def test_well_conditioned_columns_are_solved_without_the_rows():
    standard = (COLUMNS - LOCATION[0]) / LOCATION[1]
    products = standard.T @ standard

    def rows():
        raise AssertionError("not needed")

    found = least_squares_on(products, np.arange(4), np.array([4, 5]), rows)
    expected = np.linalg.lstsq(standard[:, :4], standard[:, 4:], rcond=None)[0]
    np.testing.assert_allclose(found, expected, atol=SOLVE)


def test_leaving_a_block_out_does_not_cancel():
    columns = RNG.normal(size=(N, 3))
    columns[block_of == 2, 0] *= 1e8  # nearly all of the column is in one block
    grams = block_grams(columns, block_of, location=(np.zeros(3), np.ones(3)))
    expected = brute(block_of != 2, columns=columns, location=(np.zeros(3), np.ones(3)))
    subtracted = (grams.total().products - grams.products)[2]
    assert abs(subtracted[1, 1] - expected[1, 1]) > 0.1  # what downdating does here
    assert_same(grams.leave_out().products[2], expected)


def test_condition_numbers():
    q = np.linalg.qr(RNG.normal(size=(50, 3)))[0]
    mixed = q @ np.array([[1, 0, 0], [0, 1, 0.8], [0, 0, 0.6]])
    values = np.linalg.svd(mixed, compute_uv=False)
    found = condition(mixed.T @ mixed)
    np.testing.assert_allclose(found, (values[0] / values[-1]) ** 2, rtol=SOLVE)
    units = mixed * [1e6, 1, 1e-6]
    np.testing.assert_allclose(condition(units.T @ units), found, rtol=SOLVE)
    assert condition(np.zeros((2, 2))) == np.inf
    assert condition(np.zeros((0, 0))) == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: block_grams(COLUMNS, block_of[:-1]), ["2999 entries", "3000 rows"]),
        (lambda: block_grams(COLUMNS, block_of - 1), ["blocks", "between 0 and 5", "from -1 to 5"]),
        (lambda: block_grams(COLUMNS, block_of, n_blocks=3), ["between 0 and 2", "from 0 to 6"]),
        (
            lambda: GramAccumulator(1, *LOCATION).add([COLUMNS[:, :2]]),
            ["2 columns", "shift and scale are for 6"],
        ),
        (lambda: GramAccumulator(1, np.zeros(1), np.zeros(1)), ["scale above 0"]),
        (lambda: block_grams(COLUMNS) + block_grams(COLUMNS[:, :2]), ["6 columns", "2 columns"]),
        (lambda: block_grams(COLUMNS) + block_grams(2 * COLUMNS), ["rescaled(shift, scale)"]),
        (
            lambda: block_grams(np.where(COLUMNS > 1e5 + 5, np.nan, COLUMNS), location=LOCATION),
            ["column 2", "missing or infinite"],
        ),
    ],
)
def test_bad_input_says_what_is_wrong(call, words):
    with pytest.raises(InputError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
