"""Utilities linear in their parameters: what is left to estimate is a conditional logit.

u = z_0 + sum_k theta_k z_k, with z_0 the own payoff in points. With random utility of scale lambda
the choice probabilities are a logit in z with coefficients lambda (1, theta).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol as TypingProtocol

import numpy as np

from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray

from .payoffs import outcomes
from .protocols import GAMES, Protocol


class Utility(TypingProtocol):
    """A utility linear in named parameters: what ``PreferenceLogit(utility=...)`` takes.

    Any object with these two members will do; nothing need be inherited.

    Examples
    --------
    Own payoff, and a liking for a one at the first node:

    >>> import numpy as np
    >>> from mlinstruments.games import HomoMoralis, Protocol
    >>> class Warm:
    ...     parameters = ("warmth",)
    ...
    ...     def regressors(self, protocol, y):
    ...         own = HomoMoralis(()).regressors(protocol, y)
    ...         liked = np.broadcast_to(protocol.pure()[:, :1], own.shape)
    ...         return np.concatenate([own, liked], axis=-1)
    >>> Warm().regressors(Protocol("tg", 80, 50, 30, 20), np.full(2, 0.5)).shape
    (4, 2)
    """

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters beside the scale."""
        ...

    def regressors(self, protocol: Protocol, y: FloatArray) -> FloatArray:
        """z (..., strategies, 1 + parameters) of pure strategies against beliefs y (..., nodes)."""
        ...


@dataclass(frozen=True)
class HomoMoralis:
    """Own payoff, the payoff if everybody did likewise, and aversion to inequity.

    u(x, y) = (1 - kappa) pi(x, y) + kappa pi(x, x) - alpha Behind - beta Ahead.

    Parameters
    ----------
    parameters : tuple of str
        Which of kappa, alpha and beta the utility has; the others are 0. None leaves the own
        payoff alone.

    Raises
    ------
    InputError
        Where a name is unknown or stands twice.

    References
    ----------
    Alger and Weibull (2013), doi:10.3982/ECTA10637; Fehr and Schmidt (1999),
    doi:10.1162/003355399556151.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.games import HomoMoralis, Protocol
    >>> spd = Protocol("spd", 90, 65, 25, 10)
    >>> HomoMoralis().regressors(spd, np.full(3, 0.5))[6]
    array([ 41.25,  23.75, -20.  ,  -0.  ])
    """

    parameters: tuple[str, ...] = ("kappa", "alpha", "beta")

    def __post_init__(self) -> None:
        for name in self.parameters:
            check_choice(name, "parameter", ("kappa", "alpha", "beta"))
        if len(set(self.parameters)) != len(self.parameters):
            raise InputError(f"a parameter is named twice: {', '.join(self.parameters)}.")

    @property
    def words(self) -> str:
        """The utility in words, for tables.

        Examples
        --------
        >>> from mlinstruments.games.utility import HomoMoralis
        >>> HomoMoralis(("kappa", "beta")).words
        '(1 - kappa) own + kappa universalised - beta ahead'
        """
        own = "(1 - kappa) own + kappa universalised" if "kappa" in self.parameters else "own"
        behind = " - alpha behind" if "alpha" in self.parameters else ""
        ahead = " - beta ahead" if "beta" in self.parameters else ""
        return own + behind + ahead

    def regressors(self, protocol: Protocol, y: FloatArray) -> FloatArray:
        """z for every pure strategy: own payoff, then one column a parameter.

        Parameters
        ----------
        protocol : Protocol
        y : array, shape (..., nodes)
            Beliefs.

        Returns
        -------
        array, shape (..., strategies, 1 + parameters)
        """
        x, y = protocol.pure(), np.asarray(y, dtype=float)[..., None, :]
        met, alike = outcomes(protocol, x, y), outcomes(protocol, x, x)
        gap = met.own - met.other
        return self._columns(
            met.mean(met.own),
            alike.mean(alike.own),
            met.mean(np.maximum(-gap, 0)),
            met.mean(np.maximum(gap, 0)),
        )

    def regressors_of_game(self, protocols: Sequence[Protocol], y: FloatArray) -> FloatArray:
        """:meth:`regressors` of several protocols of one game, each against its own belief.

        Parameters
        ----------
        protocols : sequence of Protocol
        y : array, shape (protocols, nodes)

        Returns
        -------
        array, shape (protocols, strategies, 1 + parameters)
        """
        marked, names, alike = _marked(protocols[0].game)
        met = outcomes(marked, marked.pure(), np.asarray(y, dtype=float)[:, None, :])
        payoffs = np.array([[getattr(p, n) for n in names] for p in protocols])
        own, other = (payoffs[:, paid.astype(int)] for paid in (met.own, met.other))
        gap = own - other
        values = np.stack([own, np.maximum(-gap, 0), np.maximum(gap, 0)], axis=-1)
        mean = met.probability @ values
        return self._columns(mean[..., 0], own @ alike.T, mean[..., 1], mean[..., 2])

    def _columns(
        self, own: FloatArray, universal: FloatArray, behind: FloatArray, ahead: FloatArray
    ) -> FloatArray:
        found = {"kappa": universal - own, "alpha": -behind, "beta": -ahead}
        return np.stack([own, *(found[name] for name in self.parameters)], axis=-1)


@cache
def _marked(game: str) -> tuple[Protocol, tuple[str, ...], FloatArray]:
    """A protocol with payoffs 0, 1, 2, 3, which tell what every outcome pays.

    Returns
    -------
    Protocol
    tuple of str
        Names of the payoffs 0, 1, 2, 3.
    array, shape (strategies, outcomes)
        Chances of the outcomes where both play the same.
    """
    order = GAMES[game].order
    names = (*(n for n in "SPRT" if n not in order), *reversed(order))
    T, R, P, S = (float(names.index(n)) for n in "TRPS")
    marked = Protocol(game, T, R, P, S)
    x = marked.pure()
    return marked, names, outcomes(marked, x, x).probability


@dataclass(frozen=True)
class WeightedOther:
    """(1 - w) own + w other, w a sum of parameters times characteristics of the situation.

    For choices between allocations given as columns rather than protocols: see
    :meth:`mlinstruments.preferences.AllocationChoices.from_frame`. With characteristics s (behind),
    r (ahead), q (kind treatment) and v (unkind treatment) this is the model of Bruhin, Fehr and
    Schunk (2019), doi:10.1093/jeea/jvy018.

    Parameters
    ----------
    parameters : tuple of str
        Names of the weights.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.games import WeightedOther
    >>> own, other = np.array([[10.0, 6.0]]), np.array([[2.0, 8.0]])
    >>> behind = (other > own).astype(float)
    >>> WeightedOther(("alpha",)).columns(own, other, {"alpha": behind})
    array([[[10., -0.],
            [ 6.,  2.]]])
    """

    parameters: tuple[str, ...] = ("alpha", "beta", "gamma", "delta")

    @property
    def words(self) -> str:
        """The utility in words, for tables."""
        names = ", ".join(self.parameters)
        return f"(1 - x) own + x other, x linear in {names}" if names else "own"

    def regressors(self, protocol: Protocol, y: FloatArray) -> FloatArray:
        """Not defined: protocols do not carry the characteristics."""
        raise InputError(
            "WeightedOther needs columns of own and other payoffs: AllocationChoices.from_frame."
        )

    def columns(
        self, own: FloatArray, other: FloatArray, characteristics: Mapping[str, FloatArray]
    ) -> FloatArray:
        """z for allocations: own payoff, then (other - own) times each characteristic.

        Parameters
        ----------
        own, other : array, shape (n, alternatives)
        characteristics : mapping of parameter to array (n, alternatives)

        Returns
        -------
        array, shape (n, alternatives, 1 + parameters)
        """
        gap = other - own
        return np.stack([own, *(gap * characteristics[p] for p in self.parameters)], axis=-1)


def utility_values(
    protocol: Protocol, y: FloatArray, kappa: float = 0.0, alpha: float = 0.0, beta: float = 0.0
) -> FloatArray:
    """Utility of every pure strategy.

    Parameters
    ----------
    protocol : Protocol
    y : array, shape (nodes,)
        Believed probability of a one at each node of the other.
    kappa, alpha, beta : float
        Preferences, as in :class:`HomoMoralis`.

    Returns
    -------
    array, shape (strategies,)
        In points.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.games import Protocol
    >>> from mlinstruments.games.utility import utility_values
    >>> spd = Protocol("spd", 90, 65, 25, 10)
    >>> best = utility_values(spd, np.full(3, 0.5), kappa=0.5).argmax()
    >>> spd.strategies[best]
    '110'
    """
    z = HomoMoralis().regressors(protocol, y)
    return np.asarray(z @ np.array([1.0, kappa, alpha, beta]))


def choice_probabilities(
    protocol: Protocol,
    y: FloatArray,
    scale: float,
    kappa: float = 0.0,
    alpha: float = 0.0,
    beta: float = 0.0,
) -> FloatArray:
    """Logit probabilities of the pure strategies.

    Parameters
    ----------
    protocol : Protocol
    y : array, shape (nodes,)
        Believed probability of a one at each node of the other.
    scale : float
        lambda, in 1 / points.
    kappa, alpha, beta : float
        Preferences, as in :class:`HomoMoralis`.

    Returns
    -------
    array, shape (strategies,)

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.games import Protocol
    >>> from mlinstruments.games.utility import choice_probabilities
    >>> spd = Protocol("spd", 90, 65, 25, 10)
    >>> p = choice_probabilities(spd, np.full(3, 0.5), 0.1)
    >>> round(float(p[0]), 10)
    0.282215129
    """
    u = scale * utility_values(protocol, y, kappa, alpha, beta)
    weights = np.exp(u - u.max())
    return np.asarray(weights / weights.sum())
