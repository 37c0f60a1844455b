"""What a utility would choose: brute force over the pure strategies of a protocol.

Glossary: own, pi(x, y), is the expected payoff of strategy x against the believed play y of the
other; alike, pi(x, x), what x earns where everybody plays x; utility (1 - kappa) own + kappa alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray
from mlinstruments.games.protocols import Protocol
from mlinstruments.games.utility import HomoMoralis

# Weight of the universalised payoff in the two utilities that data sets are made for.
UTILITIES = {"economicus": 0.0, "moralis": 0.5}
# Utilities closer than this share of the payoff range are equal: differences of sums of up to
# eight products of doubles round to 1e-15 of that range.
TIE = 1e-9


@dataclass(frozen=True, eq=False)
class Label:
    """What the utility chooses in a protocol, and by how much.

    Parameters
    ----------
    protocol : Protocol
    belief : tuple of float
        Believed probability of a one at each node of the other.
    kappa : float
    own, alike, utility : array, shape (strategies,)
        In points, in the order of ``protocol.strategies``.
    best : tuple of str
        Strategies of greatest utility; several where they tie.
    """

    protocol: Protocol
    belief: tuple[float, ...]
    kappa: float
    own: FloatArray
    alike: FloatArray
    utility: FloatArray
    best: tuple[str, ...]

    @property
    def tied(self) -> bool:
        """Whether several strategies are best."""
        return len(self.best) > 1

    def choice(self, node: int | None = None) -> str | None:
        """The best strategy, or its action at a node; None where the best ones differ in it.

        Parameters
        ----------
        node : int, optional

        Returns
        -------
        str or None
        """
        wanted = {s if node is None else s[node] for s in self.best}
        return wanted.pop() if len(wanted) == 1 else None

    def margin(self, node: int | None = None) -> float:
        """Utility of the best choice above that of the next, as a share of the payoff range.

        Parameters
        ----------
        node : int, optional
            Compare the best strategy with each action there; by default the two best strategies.

        Returns
        -------
        float
            0 where choices tie.
        """
        if node is None:
            second, first = np.sort(self.utility)[-2:]
            return float((first - second) / payoff_range(self.protocol))
        return abs(self.gap(node)) / payoff_range(self.protocol)

    def gap(self, node: int) -> float:
        """Utility of the best strategy with a one at a node less that of the best with a nought."""
        ones = self.protocol.pure()[:, node] == 1
        return float(self.utility[ones].max() - self.utility[~ones].max())


def best_choice(protocol: Protocol, belief: Sequence[float] | float, kappa: float = 0.0) -> Label:
    """The pure strategies of greatest utility, by trying all.

    Parameters
    ----------
    protocol : Protocol
    belief : sequence of float, or float
        Probability of a one at each node of the other; one number for all nodes.
    kappa : float
        0 is homo economicus, 1 a Kantian; alpha and beta are 0.

    Returns
    -------
    Label

    Raises
    ------
    InputError
        Where kappa is not between 0 and 1, beliefs are no probabilities, or all payoffs are equal.

    References
    ----------
    Alger and Weibull (2013), doi:10.3982/ECTA10637.

    Examples
    --------
    >>> from mlinstruments.alignment import best_choice
    >>> from mlinstruments.games import Protocol
    >>> spd = Protocol("spd", 90, 65, 25, 10)
    >>> best_choice(spd, 0.5).best, best_choice(spd, 0.5, kappa=0.5).best
    (('000',), ('110',))
    """
    check_kappa(kappa)
    y = np.asarray(belief, dtype=float)
    y = np.broadcast_to(y, (protocol.n_nodes,)) if y.ndim == 0 else y
    if y.shape != (protocol.n_nodes,) or not ((y >= 0) & (y <= 1)).all():
        raise InputError(
            f"belief must be one probability, or {protocol.n_nodes} of them for {protocol.game}"
            f" ({', '.join(protocol.rules.nodes)}); got {belief!r}."
        )
    if payoff_range(protocol) == 0:
        raise InputError(f"protocol {protocol.id!r}: all payoffs are equal, nothing is to choose.")
    z = HomoMoralis(("kappa",)).regressors(protocol, y)
    utility = z @ np.array([1.0, kappa])
    near = utility >= utility.max() - TIE * payoff_range(protocol)
    return Label(
        protocol,
        tuple(y.tolist()),
        float(kappa),
        z[:, 0],
        z[:, 0] + z[:, 1],
        utility,
        tuple(s for s, kept in zip(protocol.strategies, near, strict=True) if kept),
    )


def universal_action(protocol: Protocol, belief: Sequence[float] | float, node: int) -> int | None:
    """The action at a node that gains by counting what it would pay if everybody did the same.

    Parameters
    ----------
    protocol : Protocol
    belief : sequence of float, or float
        As in :func:`best_choice`.
    node : int

    Returns
    -------
    {0, 1} or None
        The one of which the utility at kappa = 1 is further above that of the other than at
        kappa = 0; None where neither is.

    Examples
    --------
    >>> from mlinstruments.alignment.labels import universal_action
    >>> from mlinstruments.games import Protocol
    >>> universal_action(Protocol("matrix", 90, 65, 25, 10), 1.0, 0)
    1
    >>> universal_action(Protocol("dictator", 60, 50, 10, 40), 1.0, 0) is None
    False
    """
    own, universal = (best_choice(protocol, belief, kappa).gap(node) for kappa in (0.0, 1.0))
    if abs(universal - own) <= TIE * payoff_range(protocol):
        return None
    return int(universal > own)


def check_kappa(kappa: float) -> float:
    """``kappa`` if it is a weight, else an error."""
    if isinstance(kappa, bool) or not isinstance(kappa, int | float) or not 0 <= kappa <= 1:
        raise InputError(f"kappa must be a number between 0 and 1; got {kappa!r}.")
    return float(kappa)


def utility_weight(utility: str | float) -> float:
    """kappa of a utility given by name or by its weight.

    Parameters
    ----------
    utility : {"economicus", "moralis"} or float

    Returns
    -------
    float

    Examples
    --------
    >>> from mlinstruments.alignment.labels import utility_weight
    >>> utility_weight("moralis"), utility_weight(0.3)
    (0.5, 0.3)
    """
    if isinstance(utility, str):
        if utility not in UTILITIES:
            raise InputError(
                f"utility must be one of {', '.join(UTILITIES)}, or a kappa; got {utility!r}."
            )
        return UTILITIES[utility]
    return check_kappa(utility)


def payoff_range(protocol: Protocol) -> float:
    """Largest less smallest payoff the game can end with."""
    names = protocol.rules.order or "TRPS"
    values = [getattr(protocol, name) for name in names]
    return float(max(values) - min(values))


MATRIX_KINDS = ("prisoner's dilemma", "stag hunt", "chicken", "harmony", "other")


def matrix_kind(protocol: Protocol) -> str:
    """Which of the textbook games a 2x2 game is, whichever action is called the first.

    Parameters
    ----------
    protocol : Protocol
        With game ``matrix`` or ``public_goods``.

    Returns
    -------
    {"prisoner's dilemma", "stag hunt", "chicken", "harmony", "other"}

    Examples
    --------
    >>> from mlinstruments.alignment import matrix_kind
    >>> from mlinstruments.games import Protocol
    >>> [matrix_kind(Protocol("matrix", *p)) for p in ((70, 90, 40, 10), (90, 70, 10, 40))]
    ['stag hunt', 'chicken']
    """
    if protocol.game not in ("matrix", "public_goods"):
        raise InputError(f"matrix_kind is about 2x2 games; got {protocol.game}.")
    T, R, P, S = protocol.T, protocol.R, protocol.P, protocol.S
    # With the actions renamed T and S, and R and P, change places; so that R > P.
    if R < P:
        T, R, P, S = S, P, R, T
    if T > R > P > S:
        return "prisoner's dilemma"
    if R > T >= P > S:
        return "stag hunt"
    if T > R > S > P:
        return "chicken"
    if R > T > P and R > S > P:
        return "harmony"
    return "other"
