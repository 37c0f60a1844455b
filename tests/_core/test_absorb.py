"""Group effects without dummies are what dummies would take out."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments._core import absorb
from mlinstruments._core.absorb import GroupEffects, Within, renumbered
from tests.tolerances import SOLVE


def groupings(kind, n=300):
    rng = np.random.default_rng(4)
    firm, year = rng.integers(0, 40, n), rng.integers(0, 7, n)
    apart = firm % 2  # two parts without a row in common
    return {
        "one way": (firm,),
        "two ways": (firm, year),
        "the finer way second": (year, firm),
        "two parts": (firm, 7 * apart + year),
        "nested": (firm, firm // 5),
        "chain": (np.arange(n) // 2, (np.arange(n) + 1) // 2),  # as badly connected as can be
    }[kind]


KINDS = ("one way", "two ways", "the finer way second", "two parts", "nested", "chain")


def dummies(groups):
    return np.hstack([codes[:, None] == np.unique(codes) for codes in groups]).astype(float)


def regressed(values, regressors, weights):
    root = np.ones(len(values)) if weights is None else np.sqrt(weights)
    b = np.linalg.lstsq(root[:, None] * regressors, root[:, None] * values, rcond=None)[0]
    return values - regressors @ b


@pytest.fixture(params=["inverse", "iterated"])
def solver(request, monkeypatch):
    if request.param == "iterated":
        monkeypatch.setattr(absorb, "DENSE", 0)


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_residuals_are_those_on_dummies(kind, weighted):
    rng = np.random.default_rng(0)
    groups = renumbered(groupings(kind), np.arange(300))
    weights = rng.uniform(0.5, 2, 300) if weighted else None
    values = rng.normal(size=(300, 3)) + 10 * groups[0][:, None]
    effects = GroupEffects(groups, weights)
    expected = regressed(values, dummies(groups), weights)
    np.testing.assert_allclose(effects.residualise(values), expected, atol=SOLVE)
    np.testing.assert_allclose(effects.residualise(values[:, 0]), expected[:, 0], atol=SOLVE)
    assert effects.rank == np.linalg.matrix_rank(dummies(groups))


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_regressors_beside_groups_on_some_rows(kind, weighted):
    rng = np.random.default_rng(1)
    groups, rows = groupings(kind), np.sort(rng.permutation(300)[:180])
    weights = rng.uniform(0.5, 2, 300) if weighted else None
    level = groups[0][:, None] ** 2.0  # determined by the groups
    X = np.hstack([np.ones((300, 1)), rng.normal(size=(300, 2)) + level, level])
    values = rng.normal(size=(300, 2)) + X[:, [1]]
    found = Within.of(X, groups, weights, rows)
    both = np.hstack([X, dummies(groups)])[rows]
    expected = regressed(values[rows], both, None if weights is None else weights[rows])
    np.testing.assert_allclose(found.residualise(values[rows]), expected, atol=1e-7)
    fitted = found.project(values[rows, 0].astype(np.float32))
    assert fitted.dtype == np.float32
    np.testing.assert_allclose(fitted, (values[rows] - expected)[:, 0], rtol=1e-5, atol=1e-4)


def test_what_groups_determine_is_zero_and_not_rounding():
    groups = renumbered(groupings("two ways"), np.arange(300))
    rng = np.random.default_rng(2)
    level = np.sqrt(groups[0]) + 1e3 * groups[1]
    found = GroupEffects(groups, None).columns(np.column_stack([level, rng.normal(size=300)]))
    np.testing.assert_array_equal(found[:, 0], 0)
    assert found[:, 1].any()
