"""Designs with a known truth: each one draws samples of Y = D tau + X'b + U.

Notation: U is the structural error, V the first stage's; oracle is the function f(W) of the
instruments that the first stage f(W) + X'l + V holds, which a learner is to find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray

ERRORS = ("homoskedastic", "heteroskedastic", "sign")
# Log scale of the heteroskedastic errors per unit of W1, and the mean square of that scale.
LOG_SCALE = 0.7
MEAN_SQUARE = float(np.sinh(2 * LOG_SCALE) / (2 * LOG_SCALE))


@dataclass(frozen=True)
class Sample:
    """One draw from a design.

    Parameters
    ----------
    y : array, shape (n,)
        Outcome.
    X : array, shape (n, p)
        Included exogenous variables, the constant first.
    D : array, shape (n,)
        Endogenous regressor.
    W : array, shape (n, q)
        Excluded instruments.
    oracle : array, shape (n,)
        The function of the instruments in the first stage; zero where they are irrelevant.
    truth : float
        Coefficient of D.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.simulation.designs import nonlinear
    >>> sample = nonlinear(n=100).draw(np.random.default_rng(0))
    >>> sample.y.shape, sample.X.shape, sample.D.shape, sample.W.shape
    ((100,), (100, 1), (100,), (100, 3))
    """

    y: FloatArray
    X: FloatArray
    D: FloatArray
    W: FloatArray
    oracle: FloatArray
    truth: float


@dataclass(frozen=True)
class Design:
    """A data-generating process.

    Parameters
    ----------
    name : str
        Its name with its settings.
    description : str
        What it is for, in a sentence.
    n : int
        Rows of a sample.
    truth : float
        Coefficient of the endogenous regressor.
    sampler : callable
        From a numpy Generator to a :class:`Sample`.

    Examples
    --------
    >>> from mlinstruments.simulation.designs import nonlinear
    >>> design = nonlinear(n=100)
    >>> design.name, design.truth
    ('nonlinear(n=100, signal=1)', 1.0)
    """

    name: str
    description: str
    n: int
    truth: float
    sampler: Callable[[np.random.Generator], Sample]

    def draw(self, rng: np.random.Generator) -> Sample:
        """Draw a sample; the generator is the one source of randomness.

        Parameters
        ----------
        rng : numpy.random.Generator

        Returns
        -------
        Sample
        """
        return self.sampler(rng)


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
        sampler=partial(_nonlinear, n, signal),
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
        sampler=partial(_spurious, n, strength),
    )


def many_weak(
    n: int = 500,
    concentration: float = 0.0,
    errors: str = "homoskedastic",
    correlation: float = 0.95,
    q: int = 5,
    linear: bool = False,
) -> Design:
    """Instruments from irrelevant to strong under strong endogeneity, for the size of tests.

    W ~ U(-1, 1)^q, f = strength (sqrt2 cos(pi W1) + sign(W2 W3)) / sqrt2 or, with ``linear``,
    f = strength (W1 + W2 + W3), with strength sqrt(concentration / n), (U, V) bivariate normal with
    unit variances, D = f + V, Y = D + U.

    Parameters
    ----------
    n : int
        Rows.
    concentration : float
        n Var(f) / Var(V), the concentration parameter of f as an instrument.
    errors : {"homoskedastic", "heteroskedastic", "sign"}
        ``heteroskedastic``: U and V are both multiplied by exp(.7 W1), over the root of its mean
        square. ``sign``: the correlation of U and V has the sign of W1.
    correlation : float
        Of U and V given W (``sign``: its absolute value).
    q : int
        Instruments, 3 or more; those after the third are irrelevant.
    linear : bool
        A first stage for learners linear in W, to which the other one is invisible.

    Returns
    -------
    Design

    Raises
    ------
    InputError
        Where a setting is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.simulation.designs import many_weak
    >>> sample = many_weak(n=100, errors="sign", q=20).draw(np.random.default_rng(0))
    >>> sample.W.shape, sample.truth
    ((100, 20), 1.0)
    """
    check_count(n, "n", 1)
    check_count(q, "q", 3)
    check_choice(errors, "errors", ERRORS)
    if not -1 <= correlation <= 1:
        raise InputError(f"correlation must lie between -1 and 1; got {correlation!r}.")
    if not concentration >= 0:
        raise InputError(f"concentration must be 0 or more; got {concentration!r}.")
    settings = f"n={n}, concentration={concentration:g}, errors={errors!r}"
    return Design(
        name=f"many_weak({settings}, correlation={correlation:g}, q={q}, linear={linear})",
        description="Instruments of any strength with strongly correlated errors.",
        n=n,
        truth=1.0,
        sampler=partial(_many_weak, n, concentration, errors, correlation, q, linear),
    )


# ---- samplers -----------------------------------------------------------------------------------


def _nonlinear(n: int, signal: float, rng: np.random.Generator) -> Sample:
    W = rng.uniform(-1, 1, (n, 3))
    f = 0.4 * signal * _wave_and_sign(W)
    U, V = _correlated(0.7, n, rng)
    D = f + V
    return Sample(D + U, np.ones((n, 1)), D, W, f, 1.0)


def _spurious(n: int, strength: float, rng: np.random.Generator) -> Sample:
    x, w, e, v = rng.standard_normal((4, n))
    f = strength * (w**2 - 1) / np.sqrt(2)
    D = (x**2 - 1) + f + 0.6 * e + 0.8 * v
    y = e + (x**2 - 1) / np.sqrt(2)
    return Sample(y, np.column_stack([np.ones(n), x]), D, w[:, None], f, 0.0)


def _many_weak(
    n: int,
    concentration: float,
    errors: str,
    correlation: float,
    q: int,
    linear: bool,
    rng: np.random.Generator,
) -> Sample:
    W = rng.uniform(-1, 1, (n, q))
    shape = W[:, :3].sum(axis=1) if linear else _wave_and_sign(W) / np.sqrt(2)
    f = np.sqrt(concentration / n) * shape
    U, V = _correlated(correlation * np.sign(W[:, 0]) if errors == "sign" else correlation, n, rng)
    if errors == "heteroskedastic":
        scale = np.exp(LOG_SCALE * W[:, 0]) / np.sqrt(MEAN_SQUARE)
        U, V = scale * U, scale * V
    D = f + V
    return Sample(D + U, np.ones((n, 1)), D, W, f, 1.0)


def _wave_and_sign(W: FloatArray) -> FloatArray:
    """Two orthogonal functions of unit variance, added; neither is correlated with any W_j."""
    return np.asarray(np.sqrt(2) * np.cos(np.pi * W[:, 0]) + np.sign(W[:, 1] * W[:, 2]))


def _correlated(
    correlation: float | FloatArray, n: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    first, second = rng.standard_normal((2, n))
    return first, np.asarray(correlation * first + np.sqrt(1 - correlation**2) * second)
