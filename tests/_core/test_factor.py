"""Factors from cross-products against those from the rows, and when they are refused."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments._core import factor
from mlinstruments._core.factor import transposed_blocks, triangular_factor
from mlinstruments._core.linalg import dependent_columns, least_squares
from tests.tolerances import ROUNDING, SOLVE

N = 3000
RNG = np.random.default_rng(0)
# Correlated, of units and levels far apart, with a constant.
MIXED = RNG.normal(size=(N, 5)) @ RNG.uniform(0.2, 1, (5, 5))
COLUMNS = np.column_stack([np.ones(N), MIXED * [1, 1e-6, 1e6, 1, 1] + [0, 0, 0, 1e4, 2e3]])
WEIGHTS = RNG.uniform(0.2, 3, N)


@pytest.fixture(autouse=True)
def many_small_blocks(monkeypatch):
    for name, value in (("GRAM_ROWS", 0), ("LEAST_ROWS", 97), ("CELLS", 0), ("BLOCK", 97)):
        monkeypatch.setattr(factor, name, value)


def by_rows(columns, weights=None):
    return factor._from_rows([columns], weights, False)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_same_factor_from_products_as_from_rows(weights, order):
    columns = np.asarray(COLUMNS, order=order)
    assert factor._from_products([columns], weights, False) is not None
    found, expected = triangular_factor([columns], weights), by_rows(columns, weights)
    signs = np.sign(np.diag(found) * np.diag(expected))
    lengths = np.linalg.norm(expected, axis=0)
    np.testing.assert_allclose(signs[:, None] * found / lengths, expected / lengths, atol=1e-11)
    # The coefficients of a regression are what counts.
    one, other = (least_squares(f[:, :-1], f[:, -1]) for f in (found, expected))
    np.testing.assert_allclose(one, other, rtol=SOLVE)


def test_a_level_of_a_million_standard_deviations_costs_no_digits():
    y, x = RNG.normal(size=(2, N))
    found = triangular_factor([np.ones(N), 1e6 + x, y + x])
    slope = least_squares(found[:, :2], found[:, 2])[1]
    expected = triangular_factor([np.ones(N), x, y + x])
    # Adding a million leaves 1e-16 * 1e6 of each entry of x.
    assert slope == pytest.approx(least_squares(expected[:, :2], expected[:, 2])[1], rel=1e-10)


@pytest.mark.parametrize(
    "columns",
    {
        "dependent": np.column_stack([COLUMNS, COLUMNS[:, 1] + COLUMNS[:, 4]]),
        "nearly dependent": np.column_stack(
            [COLUMNS, COLUMNS[:, 1] + 1e-5 * RNG.normal(size=N) * COLUMNS[:, 1].std()]
        ),
        "late to vary": np.column_stack([np.ones(N), np.arange(N) == N - 1]),
        "an outlier": np.column_stack([COLUMNS, np.where(np.arange(N) == 3, 1e12, MIXED[:, 0])]),
        "squares overflow": 1e200 * COLUMNS,
    }.items(),
    ids=lambda pair: pair[0],
)
def test_where_squaring_costs_digits_rows_are_factored(columns):
    name, data = columns
    found, expected = triangular_factor([data]), by_rows(data)
    refused = factor._from_products([data], None, False) is None
    assert refused == (name not in ("late to vary", "an outlier"))
    lengths = np.abs(expected).max(axis=0)
    signs = np.sign(np.diag(found)) * np.sign(np.diag(expected))
    np.testing.assert_allclose(
        np.where(signs, signs, 1.0)[:, None] * found / lengths, expected / lengths, atol=1e-11
    )


def test_constants_and_zeros_are_exact():
    data = np.column_stack([np.full(N, 3.0), np.zeros(N), COLUMNS[:, 1], np.full(N, 7.0)])
    assert factor._from_products([data], None, False) is not None
    assert dependent_columns(triangular_factor([data])) == [1, 3]


def test_missing_entries_are_skipped_or_show():
    holed = COLUMNS.copy()
    holed[[3, 500, 501], [1, 2, 2]] = np.nan
    complete = ~np.isnan(holed).any(axis=1)
    found = triangular_factor([holed], WEIGHTS, skip_missing=True)
    expected = triangular_factor([holed[complete]], WEIGHTS[complete])
    lengths = np.linalg.norm(expected, axis=0)
    np.testing.assert_allclose(found / lengths, expected / lengths, atol=1e-11)
    for bad in (np.nan, np.inf, -np.inf):
        holed[3, 1] = bad
        assert not np.isfinite(triangular_factor([holed])).all()


def test_blocks_hold_every_row_once():
    pieces = [COLUMNS[:, :2], COLUMNS[:, [2]], np.asfortranarray(COLUMNS[:, 3:])]
    shift = np.arange(6.0)
    joined = np.hstack([block.copy() for _, block in transposed_blocks(pieces, shift)])
    np.testing.assert_array_equal(joined, (COLUMNS - shift).T)
    (rows, block), *rest = transposed_blocks(pieces, whole=True)
    assert (rows, rest) == (slice(0, N), [])
    np.testing.assert_array_equal(block, COLUMNS.T)


def test_no_columns():
    assert triangular_factor([np.empty((N, 0))]).shape == (0, 0)
    assert triangular_factor([np.ones(N)])[0, 0] ** 2 == pytest.approx(N, rel=ROUNDING)
