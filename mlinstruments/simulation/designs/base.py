"""What a design is: it draws samples of Y = D tau + X'b + U.

Notation: U is the structural error, V the first stage's; oracle is the function f(W) of the
instruments that the first stage f(W) + X'l + V holds, which a learner is to find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import AnyArray, FloatArray, IntArray


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
    clusters : array, shape (n,), optional
        Labels of groups with dependent errors; None where rows are independent.

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
    clusters: AnyArray | None = None


@dataclass(frozen=True)
class Design:
    """A data-generating process.

    One of your own takes a function from a numpy Generator to a :class:`Sample`; the generator must
    be its one source of randomness, and the name should hold whatever settings it has.

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

    One of your own:

    >>> import numpy as np
    >>> from mlinstruments.simulation import Design, Sample
    >>> def sampler(rng):
    ...     w, u = rng.standard_normal((2, 50))
    ...     d = w + u
    ...     return Sample(2 * d + u, np.ones((50, 1)), d, w[:, None], w, truth=2.0)
    >>> design = Design("mine(n=50)", "One strong instrument.", 50, 2.0, sampler)
    >>> design.draw(np.random.default_rng(0)).D.shape
    (50,)
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

    def hold(self, random_state: int = 0) -> Design:
        """The same design given its instruments and covariates, which are drawn once.

        Estimators that are linear in the treatment then take hundreds of samples at once.

        Parameters
        ----------
        random_state : int
            From which the held inputs are drawn.

        Returns
        -------
        Design

        Raises
        ------
        InputError
            Where the design is not one of this package's, whose samplers draw inputs first.

        Examples
        --------
        >>> import numpy as np
        >>> from mlinstruments.simulation.designs import nonlinear
        >>> design = nonlinear(n=100).hold()
        >>> one, two = (design.draw(np.random.default_rng(seed)) for seed in (1, 2))
        >>> one.W is two.W, bool((one.y == two.y).any())
        (True, False)
        """
        check_count(random_state, "random_state", 0)
        if not isinstance(self.sampler, TwoSteps):
            raise InputError(
                f"the instruments of {self.name} cannot be held: its sampler draws everything at"
                " once. Write one that keeps arrays of its own, W and X the same in every sample."
            )
        inputs = self.sampler.inputs(np.random.default_rng(random_state))
        name = f"{self.name}, inputs held({random_state})"
        return replace(self, name=name, sampler=replace(self.sampler, held=inputs))


@dataclass(frozen=True)
class Inputs:
    """What a sample is given: covariates X (n, p), instruments W (n, q), f(W) (n,), clusters."""

    X: FloatArray
    W: FloatArray
    f: FloatArray
    clusters: IntArray | None = None

    def sample(self, y: FloatArray, D: FloatArray, truth: float) -> Sample:
        """With an outcome and a treatment, each (n,)."""
        return Sample(y, self.X, D, self.W, self.f, truth, self.clusters)


@dataclass(frozen=True)
class TwoSteps:
    """A sampler that draws inputs, unless they are held, and then errors."""

    inputs: Callable[[np.random.Generator], Inputs]
    outcomes: Callable[[Inputs, np.random.Generator], Sample]
    held: Inputs | None = None

    def __call__(self, rng: np.random.Generator) -> Sample:
        return self.outcomes(self.inputs(rng) if self.held is None else self.held, rng)


def constant(n: int) -> FloatArray:
    """A column of ones (n, 1)."""
    return np.ones((n, 1))


def correlated(
    correlation: float | FloatArray, n: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Two standard normal errors (n,) with this correlation, or one for each row."""
    first, second = rng.standard_normal((2, n))
    return first, np.asarray(correlation * first + np.sqrt(1 - correlation**2) * second)


def wave_and_sign(W: FloatArray) -> FloatArray:
    """Two orthogonal functions of unit variance, added; neither is correlated with any W_j."""
    return np.asarray(np.sqrt(2) * np.cos(np.pi * W[:, 0]) + np.sign(W[:, 1] * W[:, 2]))
