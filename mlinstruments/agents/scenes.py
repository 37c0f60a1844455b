"""Who moves when, and what every end pays: games without their names, for prompts to tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlinstruments._core.exceptions import InputError
from mlinstruments.games.protocols import Protocol


@dataclass(frozen=True)
class Scene:
    """The moves of a game.

    Parameters
    ----------
    ends : tuple of (first action, second action or None, payoffs)
        Payoffs of the first and the second mover, such as ``"ST"``.
    second : mapping of int to int
        The second mover's node by the first mover's action; empty where there is none.
    same : bool
        Whether both movers have the same two actions.
    at_once : bool
        Whether both move at the same time.
    """

    ends: tuple[tuple[int, int | None, str], ...]
    second: Mapping[int, int]
    same: bool
    at_once: bool = False


_TWO_BY_TWO = ((1, 1, "RR"), (1, 0, "ST"), (0, 1, "TS"), (0, 0, "PP"))
SCENES = {
    "spd": Scene(_TWO_BY_TWO, {1: 1, 0: 2}, same=True),
    "tg": Scene(((1, 1, "RR"), (1, 0, "ST"), (0, None, "PP")), {1: 1}, same=False),
    "ug": Scene(((1, None, "RR"), (0, 1, "TS"), (0, 0, "PP")), {0: 1}, same=False),
    "dictator": Scene(((1, None, "RR"), (0, None, "TS")), {}, same=False),
    "public_goods": Scene(_TWO_BY_TWO, {}, same=True, at_once=True),
    "matrix": Scene(_TWO_BY_TWO, {}, same=True, at_once=True),
}


@dataclass(frozen=True)
class Seat:
    """Where in a game the asked agent sits.

    Parameters
    ----------
    moves : {"first", "second", "both"}
        The mover whose payoffs are told as "you"; both for a whole strategy of two roles.
    after : int or None
        The other's action that was seen.
    """

    moves: str
    after: int | None = None


def seat(protocol: Protocol, node: int | None, seen: int | None) -> Seat:
    """Where an agent asked about a node sits.

    Parameters
    ----------
    protocol : Protocol
    node : int or None
    seen : int or None
        In games where both move at once: the other's action, told to the agent.

    Returns
    -------
    Seat

    Raises
    ------
    InputError
        Where there is no such node, or ``seen`` is given in a sequential game.

    Examples
    --------
    >>> seat(Protocol("spd", 90, 65, 25, 10), 2, None)
    Seat(moves='second', after=0)
    """
    scene = SCENES[protocol.game]
    if node is not None and node not in range(protocol.n_nodes):
        raise InputError(
            f"node must be 0 to {protocol.n_nodes - 1} in {protocol.game}, or None for the whole"
            f" strategy; got {node!r}."
        )
    if seen is not None:
        if not scene.at_once or seen not in (0, 1):
            raise InputError(
                "seen must be the other's action, 0 or 1, in a game where both move at once"
                f" (matrix, public_goods); got {seen!r} in {protocol.game}."
            )
        return Seat("first", seen)
    if node is None:
        return Seat("both" if protocol.n_nodes > 1 else "first")
    for after, place in scene.second.items():
        if place == node:
            return Seat("second", after)
    return Seat("first")
