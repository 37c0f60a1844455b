"""Least squares in blocks against numpy's on all rows at once."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments._core import factor, linalg
from mlinstruments._core.factor import triangular_factor
from mlinstruments._core.linalg import (
    Annihilator,
    dependent_columns,
    has_constant,
    orthonormal_basis,
    residuals,
)
from tests.tolerances import SOLVE

N = 50
RNG = np.random.default_rng(2)
X = np.column_stack([np.ones(N), RNG.normal(5, 2, (N, 3))])
V = RNG.normal(size=(N, 2)) + X[:, [1]]
WEIGHTS = RNG.uniform(0.2, 3, N)


def explicit_residuals(values, regressors, weights):
    root = np.ones(N) if weights is None else np.sqrt(weights)
    scaled = values * (root if values.ndim == 1 else root[:, None])
    return values - regressors @ np.linalg.lstsq(regressors * root[:, None], scaled, rcond=None)[0]


@pytest.fixture(params=[None, 7, N], ids=["one block", "many blocks", "just one block"])
def block(request, monkeypatch):
    if request.param is not None:
        monkeypatch.setattr(linalg, "BLOCK", request.param)
        monkeypatch.setattr(factor, "BLOCK", request.param)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_factor_keeps_inner_products(block, weights):
    columns = np.column_stack([X, V])
    factor = triangular_factor([X, V[:, 0], V[:, [1]]], weights)
    mass = np.eye(N) if weights is None else np.diag(weights)
    np.testing.assert_allclose(factor.T @ factor, columns.T @ mass @ columns, rtol=1e-11)
    assert factor.shape == (6, 6)
    np.testing.assert_array_equal(np.tril(factor, -1), 0)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("values", [V[:, 0], V], ids=["vector", "matrix"])
def test_residuals(block, weights, values):
    found = residuals(values, X, weights)
    np.testing.assert_allclose(
        found, explicit_residuals(values, X, weights), rtol=SOLVE, atol=SOLVE
    )
    orthogonal = X.T @ (found if weights is None else (weights * found.T).T)
    np.testing.assert_allclose(orthogonal, 0, atol=SOLVE)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("collinear", [False, True])
def test_annihilator(weights, collinear):
    regressors = np.column_stack([X, X[:, 1] - 2 * X[:, 2], np.zeros(N)]) if collinear else X
    remover = Annihilator.of(regressors, weights)
    assert remover.basis.shape == (N, 4)
    for values in (V, V[:, 1]):
        np.testing.assert_allclose(
            remover.residualise(values), explicit_residuals(values, X, weights), atol=SOLVE
        )


def test_residuals_on_collinear_regressors():
    doubled = np.column_stack([X, X.sum(axis=1)])
    np.testing.assert_allclose(residuals(V, doubled), explicit_residuals(V, X, None), atol=SOLVE)


@pytest.mark.parametrize("seed", range(4))
def test_units_of_regressors_change_no_residual(seed):
    units = 10.0 ** np.random.default_rng(seed).permutation([-9, -3, 3, 9])
    np.testing.assert_allclose(residuals(V, units * X), residuals(V, X), atol=SOLVE)
    assert has_constant(units * X)


def test_no_regressors_return_a_copy():
    none = np.empty((N, 0))
    for found in (residuals(V, none), Annihilator.of(none).residualise(V)):
        np.testing.assert_array_equal(found, V)
        assert not np.shares_memory(found, V)


def test_fewer_rows_than_columns():
    wide = RNG.normal(size=(3, 5))
    factor = triangular_factor([wide])
    np.testing.assert_allclose(factor.T @ factor, wide.T @ wide, atol=1e-12)


def test_orthonormal_basis_spans_and_has_the_rank():
    columns = np.column_stack([X, 1e9 * X[:, 1] + 3, 1e-9 * X[:, 2]])
    basis = orthonormal_basis(columns)
    assert basis.shape == (N, 4)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(basis @ (basis.T @ X), X, rtol=1e-10)
    assert orthonormal_basis(np.zeros((N, 2))).shape == (N, 0)


DEPENDENT = {
    "none": (X, []),
    "sum": (np.column_stack([X, X[:, 1] + X[:, 3]]), [4]),
    "the later of two copies": (np.column_stack([X[:, 1], X[:, 2], X[:, 1]]), [2]),
    "zero": (np.column_stack([X[:, 0], np.zeros(N), X[:, 1]]), [1]),
    "two constants of other scales": (np.column_stack([X, np.full(N, 1e-8)]), [4]),
    "nearly collinear is not collinear": (np.column_stack([X, X[:, 1] + 1e-5 * V[:, 0]]), []),
    "more columns than rows": (np.eye(3)[:, [0, 1, 2, 0, 1]], [3, 4]),
}


@pytest.mark.parametrize("case", DEPENDENT)
def test_dependent_columns(case):
    columns, expected = DEPENDENT[case]
    assert dependent_columns(columns) == expected


def test_has_constant():
    cells = np.eye(3)[RNG.integers(0, 3, N)]
    assert has_constant(X)
    assert has_constant(cells)
    assert not has_constant(cells[:, 1:])
    assert not has_constant(X[:, 1:])
