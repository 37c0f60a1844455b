"""A design in which the variance of the error depends on the instrument."""

from __future__ import annotations

from functools import partial

import numpy as np

from mlinstruments._core.arrays import check_count

from .base import Design, Inputs, Sample, TwoSteps, correlated


def heteroskedastic(n: int = 1000, slope: float = 1.2) -> Design:
    """Errors whose variance grows with the instrument, so that f(W) is not the best instrument.

    W ~ U(-2, 2), X = W^2 - 4/3 + exp(.3 W) N, U = exp(slope W / 2) N with Var(U | W) =
    exp(slope W), V of unit variance correlated .6 with U, D = f(W) + .7 X + V with f = sin 2W +
    .5 W, Y = D + U. The constant and X are the covariates; X is independent of U given W.

    Parameters
    ----------
    n : int
        Rows.
    slope : float
        Of the log variance of U in W; 0 for homoskedastic errors.

    Returns
    -------
    Design

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.simulation.designs import heteroskedastic
    >>> sample = heteroskedastic(n=100).draw(np.random.default_rng(0))
    >>> sample.X.shape, sample.W.shape, sample.truth
    ((100, 2), (100, 1), 1.0)
    """
    check_count(n, "n", 1)
    return Design(
        name=f"heteroskedastic(n={n}, slope={slope:g})",
        description="The error's variance grows with the instrument, exponentially.",
        n=n,
        truth=1.0,
        sampler=TwoSteps(partial(_heteroskedastic, n), partial(_outcomes, slope)),
    )


def _heteroskedastic(n: int, rng: np.random.Generator) -> Inputs:
    w = rng.uniform(-2, 2, n)
    x = w**2 - 4 / 3 + np.exp(0.3 * w) * rng.standard_normal(n)
    return Inputs(np.column_stack([np.ones(n), x]), w[:, None], np.sin(2 * w) + 0.5 * w)


def _outcomes(slope: float, given: Inputs, rng: np.random.Generator) -> Sample:
    e, V = correlated(0.6, len(given.f), rng)
    D = given.f + 0.7 * given.X[:, 1] + V
    return given.sample(D + np.exp(slope * given.W[:, 0] / 2) * e, D, 1.0)
