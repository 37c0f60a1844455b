"""First stages that bend: in the instruments, or in a covariate that poses as one."""

from __future__ import annotations

from functools import partial

import numpy as np

from mlinstruments._core.arrays import check_count

from .base import Design, Inputs, Sample, TwoSteps, constant, correlated, wave_and_sign


def nonlinear(n: int = 1000, signal: float = 1.0) -> Design:
    """A first stage that no linear one can see: instruments relevant, uncorrelated with D.

    Three instruments W ~ U(-1, 1), f = .4 signal (sqrt2 cos(pi W1) + sign(W2 W3)), U ~ N(0, 1),
    V = .7 U + sqrt(.51) N, D = f + V, Y = D + U.

    Parameters
    ----------
    n : int
        Rows.
    signal : float
        Multiplies the first stage.

    Returns
    -------
    Design

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.simulation.designs import nonlinear
    >>> sample = nonlinear(n=100).draw(np.random.default_rng(0))
    >>> sample.W.shape, sample.truth
    ((100, 3), 1.0)
    """
    check_count(n, "n", 1)
    return Design(
        name=f"nonlinear(n={n}, signal={signal:g})",
        description="The treatment depends on its instruments, but on none of them linearly.",
        n=n,
        truth=1.0,
        sampler=TwoSteps(partial(_nonlinear, n, signal), _nonlinear_outcomes),
    )


def spurious(n: int = 1000, strength: float = 0.0) -> Design:
    """Spurious identification: what is non-linear in a covariate poses as an instrument.

    X, W, e, v ~ N(0, 1), D = (X^2 - 1) + strength (W^2 - 1) / sqrt2 + .6 e + .8 v,
    U = e + (X^2 - 1) / sqrt2, Y = U. The constant and X are the covariates: E[U | W] = 0 and
    E[X U] = 0 hold, E[U | X] = 0 does not, so that only a first stage linear in X is valid.

    Parameters
    ----------
    n : int
        Rows.
    strength : float
        Standard deviation of f(W); with 0 the instrument is irrelevant.

    Returns
    -------
    Design

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.simulation.designs import spurious
    >>> sample = spurious(n=100).draw(np.random.default_rng(0))
    >>> sample.X.shape, sample.truth, float(np.abs(sample.oracle).max())
    ((100, 2), 0.0, 0.0)
    """
    check_count(n, "n", 1)
    return Design(
        name=f"spurious(n={n}, strength={strength:g})",
        description="Errors and treatment share a non-linear function of a covariate.",
        n=n,
        truth=0.0,
        sampler=TwoSteps(partial(_spurious, n, strength), _spurious_outcomes),
    )


# ---- samplers -----------------------------------------------------------------------------------


def _nonlinear(n: int, signal: float, rng: np.random.Generator) -> Inputs:
    W = rng.uniform(-1, 1, (n, 3))
    return Inputs(constant(n), W, 0.4 * signal * wave_and_sign(W))


def _nonlinear_outcomes(given: Inputs, rng: np.random.Generator) -> Sample:
    U, V = correlated(0.7, len(given.f), rng)
    D = given.f + V
    return given.sample(D + U, D, 1.0)


def _spurious(n: int, strength: float, rng: np.random.Generator) -> Inputs:
    x, w = rng.standard_normal((2, n))
    return Inputs(np.column_stack([np.ones(n), x]), w[:, None], strength * (w**2 - 1) / np.sqrt(2))


def _spurious_outcomes(given: Inputs, rng: np.random.Generator) -> Sample:
    bend = given.X[:, 1] ** 2 - 1
    e, v = rng.standard_normal((2, len(bend)))
    D = bend + given.f + 0.6 * e + 0.8 * v
    return given.sample(e + bend / np.sqrt(2), D, 0.0)
