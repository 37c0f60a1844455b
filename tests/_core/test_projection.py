"""Projections on parts of the rows against weighted least squares on those rows."""

import numpy as np
import pytest

from mlinstruments._core.projection import Projector
from tests.tolerances import FLOAT32, SOLVE

N = 400
RNG = np.random.default_rng(12)
ROWS = np.sort(RNG.choice(N, 150, replace=False))
GROUPS = np.repeat(np.arange(20), 20)
PLAIN = np.column_stack([np.ones(N), RNG.normal(1e3, 1, N), RNG.normal(0, 1e-4, N)])
REGRESSORS = {
    "plain": PLAIN,
    "collinear": np.column_stack([PLAIN, PLAIN @ [1.0, 2.0, 3.0]]),
    # Rows 0 to 19 alone carry the first indicator, and few of them are in the part, if any.
    "absent from the part": (GROUPS[:, None] == np.arange(20)).astype(float),
    "none": np.empty((N, 0)),
}
WEIGHTS = RNG.uniform(0.2, 3, N)
VALUES = RNG.normal(size=N) + PLAIN[:, 1]


def least_squares_fit(regressors, values, weights):
    root = np.sqrt(weights)
    scale = np.linalg.norm(regressors, axis=0)
    scaled = regressors / np.where(scale > 0, scale, 1)
    b = np.linalg.lstsq(scaled * root[:, None], values * root, rcond=1e-12)[0]
    return scaled @ b


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize("rows", [ROWS, ROWS[ROWS >= 40]], ids=["part", "part without groups"])
def test_a_part_is_projected_on_as_by_least_squares(name, weights, rows):
    regressors = REGRESSORS[name]
    part = Projector.onto(regressors, weights).on(rows)
    mass = np.ones(N) if weights is None else weights
    expected = least_squares_fit(regressors[rows], VALUES[rows], mass[rows])
    left = part.residualise(VALUES[rows])
    np.testing.assert_allclose(left, VALUES[rows] - expected, atol=SOLVE * 1e3)  # size of VALUES
    centred = VALUES[rows] - 1e3
    expected = least_squares_fit(regressors[rows], centred, mass[rows])
    np.testing.assert_allclose(part.project(centred), expected, atol=FLOAT32)


def test_only_a_constant_is_only_a_mean():
    assert Projector.onto(np.full((N, 1), 7.0)).on(ROWS).only_a_mean
    assert Projector.onto(np.full((N, 2), 7.0)).on(ROWS).only_a_mean
    assert Projector.onto(np.empty((N, 0))).on(ROWS).only_a_mean
    assert not Projector.onto(PLAIN[:, 1:2]).on(ROWS).only_a_mean
    assert not Projector.onto(PLAIN[:, :2]).on(ROWS).only_a_mean
