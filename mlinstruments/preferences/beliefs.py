"""What choosers expect of the other's play: stated, assumed, or computed from the game or the log.

Beliefs are probabilities of a one at each node, (N, 3) for N rows, NaN beyond a protocol's nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray, IntArray
from mlinstruments.games.protocols import Protocol
from mlinstruments.games.solutions import subgame_perfect

KINDS = ("elicited", "uniform", "empirical", "self", "subgame_perfect")


def resolve(
    kind: Any,
    protocols: tuple[Protocol, ...],
    protocol: IntArray,
    strategy: IntArray,
    count: FloatArray,
    stated: FloatArray,
) -> FloatArray:
    """Belief of every row, (N, 3).

    Parameters
    ----------
    kind : str or mapping
        See :meth:`.ChoiceData.resolved_beliefs`.
    protocols : tuple of Protocol
    protocol, strategy : int array, shape (N,)
        Which protocol, and which of its strategies.
    count : array, shape (N,)
    stated : array, shape (N, 3)
        Elicited beliefs.
    """
    if isinstance(kind, Mapping):
        return _by_protocol([_fixed(p, kind) for p in protocols])[protocol]
    check_choice(kind, "beliefs", KINDS)
    if kind == "elicited":
        return _complete(stated, np.array([p.n_nodes for p in protocols])[protocol])
    if kind == "uniform":
        return _by_protocol([np.full(p.n_nodes, 0.5) for p in protocols])[protocol]
    if kind == "subgame_perfect":
        return _by_protocol([subgame_perfect(p) for p in protocols])[protocol]
    played = _played(protocols)[protocol, strategy]
    if kind == "self":
        return np.asarray(played)
    return _mean_play(protocols, protocol, count, played)[protocol]


def _complete(stated: FloatArray, nodes: IntArray) -> FloatArray:
    """Elicited beliefs, if there is one for every node."""
    if np.isnan(stated[np.arange(3)[None, :] < nodes[:, None]]).any():
        raise InputError(
            "the log has no beliefs (belief_1, ...) in some rows: choose beliefs='uniform',"
            " 'empirical', 'self', 'subgame_perfect', or give them by protocol."
        )
    return stated


def _fixed(protocol: Protocol, beliefs: Mapping[str, Sequence[float]]) -> FloatArray:
    """Beliefs given for a protocol, or for its game."""
    for key in (protocol.id, protocol.game):
        if key in beliefs:
            value = np.asarray(beliefs[key], dtype=float)
            if value.shape != (protocol.n_nodes,) or not ((value >= 0) & (value <= 1)).all():
                raise InputError(
                    f"beliefs[{key!r}] must be {protocol.n_nodes} probabilities"
                    f" ({', '.join(protocol.rules.nodes)}); got {beliefs[key]!r}."
                )
            return value
    raise InputError(f"beliefs names neither protocol {protocol.id!r} nor game {protocol.game!r}.")


def _mean_play(
    protocols: tuple[Protocol, ...], protocol: IntArray, count: FloatArray, played: FloatArray
) -> FloatArray:
    """Share of ones at each node of every protocol, (protocols, 3)."""
    totals = np.bincount(protocol, count, len(protocols))
    totals[totals == 0] = 1.0  # protocols of which select() kept no row
    means = [
        np.bincount(protocol, count * np.nan_to_num(column), len(protocols)) / totals
        for column in played.T
    ]
    table = np.stack(means, axis=1)
    return _by_protocol([table[i, : p.n_nodes] for i, p in enumerate(protocols)])


def _by_protocol(values: list[FloatArray]) -> FloatArray:
    """One row a protocol, (protocols, 3)."""
    table = np.full((len(values), 3), np.nan)
    for i, value in enumerate(values):
        table[i, : len(value)] = value
    return table


def _played(protocols: tuple[Protocol, ...]) -> FloatArray:
    """Digits of every strategy of every protocol, (protocols, strategies, 3)."""
    pure = [p.pure() for p in protocols]
    table = np.full((len(pure), max(map(len, pure)), 3), np.nan)
    for i, values in enumerate(pure):
        table[i, : len(values), : values.shape[1]] = values
    return table
