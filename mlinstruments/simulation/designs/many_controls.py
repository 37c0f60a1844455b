"""A design with many covariates and many instruments, few of which matter much."""

from __future__ import annotations

from functools import partial

import numpy as np

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray

from .base import Design, Inputs, Sample, TwoSteps, correlated

# Correlation of neighbouring covariates, of the errors, and variance of what is new in W.
NEIGHBOURS, ERRORS, NEW = 0.5, 0.6, 0.25


def many_controls(n: int = 1000, p: int = 200, q: int = 150, truth: float = 1.0) -> Design:
    """Many covariates, and as many instruments that are those covariates with noise.

    X ~ N(0, S) with p columns, S_jk = .5^|j - k|; W_j = X_j + .5 N for the first q of them;
    D = X'b + W'd + V, Y = truth D + X'b + U with b_j = d_j = 1 / j^2 and (U, V) bivariate normal
    with unit variances and correlation .6. The constant and X are the covariates: W is relevant,
    and valid, given all of them only. DoubleML calls this design ``make_pliv_CHS2015``.

    Parameters
    ----------
    n : int
        Rows.
    p : int
        Covariates beside the constant.
    q : int
        Instruments, at most p.
    truth : float
        Coefficient of D.

    Returns
    -------
    Design

    Raises
    ------
    InputError
        Where a setting is out of its range.

    References
    ----------
    Chernozhukov, Hansen, Spindler (2015), doi:10.1257/aer.p20151022.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.simulation.designs import many_controls
    >>> sample = many_controls(n=100, p=20, q=15).draw(np.random.default_rng(0))
    >>> sample.X.shape, sample.W.shape, sample.truth
    ((100, 21), (100, 15), 1.0)
    """
    for name, value in (("n", n), ("p", p), ("q", q)):
        check_count(value, name, 1)
    if q > p:
        raise InputError(
            f"q must be at most p, whose covariates the instruments repeat: {q} > {p}."
        )
    return Design(
        name=f"many_controls(n={n}, p={p}, q={q}, truth={truth:g})",
        description="Many covariates and instruments whose coefficients fall off quadratically.",
        n=n,
        truth=float(truth),
        sampler=TwoSteps(partial(_many_controls, n, p, q), partial(_outcomes, float(truth))),
    )


def _many_controls(n: int, p: int, q: int, rng: np.random.Generator) -> Inputs:
    x = _neighbours(rng.standard_normal((n, p)))
    W = x[:, :q] + np.sqrt(NEW) * rng.standard_normal((n, q))
    return Inputs(np.column_stack([np.ones(n), x]), W, W @ _coefficients(q))


def _outcomes(truth: float, given: Inputs, rng: np.random.Generator) -> Sample:
    U, V = correlated(ERRORS, len(given.f), rng)
    by_controls = given.X[:, 1:] @ _coefficients(given.X.shape[1] - 1)
    D = by_controls + given.f + V
    return given.sample(truth * D + by_controls + U, D, truth)


def _coefficients(k: int) -> FloatArray:
    return np.asarray(1 / np.arange(1.0, k + 1) ** 2)


def _neighbours(noise: FloatArray) -> FloatArray:
    """Columns (n, p) of unit variance, each correlated .5 with the one before, in place."""
    for j in range(1, noise.shape[1]):
        noise[:, j] = NEIGHBOURS * noise[:, j - 1] + np.sqrt(1 - NEIGHBOURS**2) * noise[:, j]
    return noise
