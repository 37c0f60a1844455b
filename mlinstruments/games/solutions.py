"""Best replies, subgame-perfect play and logit quantal-response equilibrium."""

from __future__ import annotations

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray

from .protocols import Protocol
from .utility import utility_values


def best_replies(
    protocol: Protocol,
    y: FloatArray,
    kappa: float = 0.0,
    alpha: float = 0.0,
    beta: float = 0.0,
    tolerance: float = 1e-9,
) -> tuple[str, ...]:
    """Pure strategies of greatest utility; several where they tie.

    Parameters
    ----------
    protocol : Protocol
    y : array, shape (nodes,)
        Believed probability of a one at each node of the other.
    kappa, alpha, beta : float
        Preferences, as in :class:`HomoMoralis`.
    tolerance : float
        Utilities closer than this share of the payoff range count as ties.

    Returns
    -------
    tuple of str
        Strategies as digits, one a node.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.games import Protocol, best_replies
    >>> tg = Protocol("tg", 90, 60, 30, 10)
    >>> best_replies(tg, np.array([0.5, 0.5]))
    ('10',)
    >>> best_replies(tg, np.array([0.5, 0.5]), kappa=0.5)
    ('11',)
    """
    u = utility_values(protocol, y, kappa, alpha, beta)
    span = max(protocol.T, protocol.R, protocol.P, protocol.S) - min(
        protocol.T, protocol.R, protocol.P, protocol.S
    )
    near = u >= u.max() - tolerance * max(span, 1e-300)
    return tuple(s for s, kept in zip(protocol.strategies, near, strict=True) if kept)


def subgame_perfect(protocol: Protocol) -> FloatArray:
    """Play of two payoff maximisers, found backwards.

    Parameters
    ----------
    protocol : Protocol

    Returns
    -------
    array, shape (nodes,)
        Probability of a one at each node: 0, 1, or one half where payoffs tie.

    Raises
    ------
    InputError
        For a 2x2 game without a dominant action, which is not settled backwards.

    Examples
    --------
    >>> from mlinstruments.games import Protocol, subgame_perfect
    >>> subgame_perfect(Protocol("ug", 70, 50, 10, 30))
    array([0., 1.])
    """
    T, R, P, S = protocol.T, protocol.R, protocol.P, protocol.S
    if protocol.game == "spd":
        after_c, after_d = _better(R, T), _better(S, P)
        first = _better(after_c * R + (1 - after_c) * S, after_d * T + (1 - after_d) * P)
        return np.array([first, after_c, after_d])
    if protocol.game == "tg":
        reciprocate = _better(R, T)
        return np.array([_better(reciprocate * R + (1 - reciprocate) * S, P), reciprocate])
    if protocol.game == "ug":
        accept = _better(S, P)
        return np.array([_better(R, accept * T + (1 - accept) * P), accept])
    if protocol.game in ("dictator", "public_goods"):
        return np.array([0.0])
    if R >= T and S >= P and (R > T or S > P):
        return np.array([1.0])
    if R <= T and S <= P and (R < T or S < P):
        return np.array([0.0])
    raise InputError(
        f"protocol {protocol.id!r} has no dominant action, so backward induction does not"
        " settle it: give beliefs explicitly."
    )


def _better(yes: float, no: float) -> float:
    return 0.5 if yes == no else float(yes > no)


def quantal_response(
    protocol: Protocol,
    scale: float,
    kappa: float = 0.0,
    alpha: float = 0.0,
    beta: float = 0.0,
    iterations: int = 20_000,
    tolerance: float = 1e-12,
) -> FloatArray:
    """Symmetric logit quantal-response equilibrium over pure strategies.

    Found by damped iteration from uniform play.

    Parameters
    ----------
    protocol : Protocol
    scale : float
        lambda, in 1 / points; 0 plays at random.
    kappa, alpha, beta : float
        Preferences, as in :class:`HomoMoralis`.
    iterations : int
        Most steps.
    tolerance : float
        Largest change of a probability at which the iteration has settled.

    Returns
    -------
    array, shape (strategies,)
        Probabilities, in the order of ``protocol.strategies``.

    Raises
    ------
    InputError
        Where the iteration does not settle (very large scales).

    References
    ----------
    McKelvey and Palfrey (1995), doi:10.1006/game.1995.1023.

    Examples
    --------
    >>> from mlinstruments.games import Protocol, quantal_response
    >>> quantal_response(Protocol("matrix", 2, 3, 1, 0), scale=0.0)
    array([0.5, 0.5])
    """
    pure = protocol.pure()
    p = np.full(len(pure), 1 / len(pure))
    for _ in range(iterations):
        reply = _reply_to_mixture(protocol, p, pure, scale, (kappa, alpha, beta))
        if np.abs(reply - p).max() < tolerance:
            return reply
        p = 0.5 * (p + reply)
    raise InputError(f"quantal response did not settle at scale {scale:g}: lower the scale.")


def _reply_to_mixture(
    protocol: Protocol,
    p: FloatArray,
    pure: FloatArray,
    scale: float,
    theta: tuple[float, float, float],
) -> FloatArray:
    """Logit reply to a mixture of pure strategies, which need not be independent across nodes."""
    u = sum(weight * utility_values(protocol, y, *theta) for weight, y in zip(p, pure, strict=True))
    weights = np.exp(scale * (np.asarray(u) - np.max(u)))
    return np.asarray(weights / weights.sum())
