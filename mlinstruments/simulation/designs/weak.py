"""Instruments of any strength under strong endogeneity, for the size of tests."""

from __future__ import annotations

from functools import partial

import numpy as np

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import InputError

from .base import Design, Inputs, Sample, TwoSteps, constant, correlated, wave_and_sign

ERRORS = ("homoskedastic", "heteroskedastic", "sign")
# Log scale of the heteroskedastic errors per unit of W1, and the mean square of that scale.
LOG_SCALE = 0.7
MEAN_SQUARE = float(np.sinh(2 * LOG_SCALE) / (2 * LOG_SCALE))


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
    _check_strength(concentration, correlation)
    settings = f"n={n}, concentration={concentration:g}, errors={errors!r}"
    return Design(
        name=f"many_weak({settings}, correlation={correlation:g}, q={q}, linear={linear})",
        description="Instruments of any strength with strongly correlated errors.",
        n=n,
        truth=1.0,
        sampler=TwoSteps(
            partial(_many_weak, n, concentration, q, linear),
            partial(_many_weak_outcomes, errors, correlation),
        ),
    )


def many_normal(
    n: int = 1000, concentration: float = 60.0, q: int = 20, correlation: float = 0.95
) -> Design:
    """Many instruments, each as weak as the others: 2SLS leans to OLS, LIML and JIVE do not.

    W ~ N(0, 1)^q, f = sqrt(concentration / (n q)) (W1 + ... + Wq), (U, V) bivariate normal with
    unit variances, D = f + V, Y = D + U.

    Parameters
    ----------
    n : int
        Rows.
    concentration : float
        n Var(f) / Var(V), the concentration parameter; with 0 all instruments are irrelevant.
    q : int
        Instruments.
    correlation : float
        Of U and V.

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
    >>> from mlinstruments.simulation.designs import many_normal
    >>> sample = many_normal(n=100, concentration=0).draw(np.random.default_rng(0))
    >>> sample.W.shape, float(np.abs(sample.oracle).max())
    ((100, 20), 0.0)
    """
    check_count(n, "n", 1)
    check_count(q, "q", 1)
    _check_strength(concentration, correlation)
    settings = f"n={n}, concentration={concentration:g}, q={q}, correlation={correlation:g}"
    return Design(
        name=f"many_normal({settings})",
        description="Many normal instruments that share a small first stage.",
        n=n,
        truth=1.0,
        sampler=TwoSteps(
            partial(_many_normal, n, concentration, q),
            partial(_many_weak_outcomes, "homoskedastic", correlation),
        ),
    )


def _check_strength(concentration: float, correlation: float) -> None:
    if not -1 <= correlation <= 1:
        raise InputError(f"correlation must lie between -1 and 1; got {correlation!r}.")
    if not 0 <= concentration < float("inf"):
        raise InputError(f"concentration must be finite and 0 or more; got {concentration!r}.")


# ---- samplers -----------------------------------------------------------------------------------


def _many_weak(
    n: int, concentration: float, q: int, linear: bool, rng: np.random.Generator
) -> Inputs:
    W = rng.uniform(-1, 1, (n, q))
    shape = W[:, :3].sum(axis=1) if linear else wave_and_sign(W) / np.sqrt(2)
    return Inputs(constant(n), W, np.sqrt(concentration / n) * shape)


def _many_weak_outcomes(
    errors: str, correlation: float, given: Inputs, rng: np.random.Generator
) -> Sample:
    W, n = given.W, len(given.f)
    U, V = correlated(correlation * np.sign(W[:, 0]) if errors == "sign" else correlation, n, rng)
    if errors == "heteroskedastic":
        scale = np.exp(LOG_SCALE * W[:, 0]) / np.sqrt(MEAN_SQUARE)
        U, V = scale * U, scale * V
    D = given.f + V
    return given.sample(D + U, D, 1.0)


def _many_normal(n: int, concentration: float, q: int, rng: np.random.Generator) -> Inputs:
    W = rng.standard_normal((n, q))
    return Inputs(constant(n), W, np.sqrt(concentration / (n * q)) * W.sum(axis=1))
