"""Choice sets of a log: which rows share one, and the regressors of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray, IntArray
from mlinstruments.games.protocols import Protocol
from mlinstruments.games.utility import HomoMoralis, Utility

from .design import Design, first_rows


def cells(protocol: IntArray, beliefs: FloatArray) -> tuple[IntArray, IntArray]:
    """Number of the (protocol, belief) pair of every row, and the first row of each.

    Parameters
    ----------
    protocol : int array, shape (N,)
    beliefs : array, shape (N, 3)
        Probabilities; NaN beyond the nodes of a protocol.

    Returns
    -------
    cell : int array, shape (N,)
    first : int array, shape (C,)

    Examples
    --------
    >>> cells(np.array([1, 0, 1]), np.array([[0.5], [0.2], [0.5]]))
    (array([0, 1, 0]), array([0, 1]))
    """
    code, first = _numbered(protocol)
    beliefs = np.where(np.isnan(beliefs), -1.0, beliefs)
    if np.array_equal(beliefs[first][code], beliefs):  # one belief in each protocol
        return code, first
    for column in beliefs.T:
        value, values = pd.factorize(column)
        code = np.asarray(pd.factorize(code * len(values) + value)[0], dtype=np.int64)
    return code, first_rows(code)


def _numbered(values: IntArray) -> tuple[IntArray, IntArray]:
    """Small whole numbers renumbered by first appearance, and the first row of each."""
    code = np.asarray(pd.factorize(values)[0], dtype=np.int64)
    return code, first_rows(code)


def regressors(
    utility: Utility, protocols: tuple[Protocol, ...], of: IntArray, beliefs: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Regressors (C, A, m) and availability (C, A) of cells with protocols ``of`` and beliefs.

    Parameters
    ----------
    utility : Utility
    protocols : tuple of Protocol
    of : int array, shape (C,)
        Which protocol a cell belongs to.
    beliefs : array, shape (C, 3)
    """
    used = np.unique(of)
    width = np.array([len(p.strategies) for p in protocols])
    z = np.zeros((len(of), width[used].max(), 1 + len(utility.parameters)))
    available = np.arange(z.shape[1]) < width[of][:, None]
    if isinstance(utility, HomoMoralis):
        games = np.array([p.game for p in protocols])[of]
        for game in np.unique(games):
            here = np.flatnonzero(games == game)
            own = [protocols[i] for i in of[here]]
            values = utility.regressors_of_game(own, beliefs[here, : own[0].n_nodes])
            z[here, : values.shape[1]] = values
        return z, available
    for i in used:
        here = np.flatnonzero(of == i)
        values = utility.regressors(protocols[i], beliefs[here, : protocols[i].n_nodes])
        z[here, : values.shape[1]] = values
    return z, available


def node_design(whole: Design) -> Design:
    """A binary choice at each node, the subject's own other nodes held as chosen.

    Parameters
    ----------
    whole : Design
        Of whole strategies.
    """
    C, A = whole.available.shape
    alike: dict[tuple[str, ...], list[int]] = {}
    for c, strategies in enumerate(whole.actions):
        alike.setdefault(strategies, []).append(c)
    forms = [(names, np.array(sets), _pairs(names)) for names, sets in alike.items()]
    size = np.zeros(C, dtype=np.int64)
    for _, sets, pairs in forms:
        size[sets] = len(pairs)
    begin = np.cumsum(size) - size
    z = np.empty((int(size.sum()), 2, whole.z.shape[2]))
    titles: list[tuple[str, ...]] = [()] * len(z)
    place = np.full((C, 3, A), -1, dtype=np.int64)
    bits = np.zeros((C, A, 3), dtype=np.int64)
    width = np.zeros(C, dtype=np.int64)
    for names, sets, pairs in forms:
        digits = np.array([[int(bit) for bit in name] for name in names])
        width[sets] = digits.shape[1]
        bits[sets[:, None], np.arange(len(names)), : digits.shape[1]] = digits
        for k, (zero, one, node) in enumerate(pairs):
            at = begin[sets] + k
            z[at] = whole.z[sets][:, [zero, one]]
            place[sets, node, zero] = place[sets, node, one] = at
            for position in at.tolist():
                titles[position] = (names[zero], names[one])
    nodes = width[whole.choice_set]
    rows = [np.flatnonzero(nodes > node) for node in range(3)]
    row = np.concatenate(rows)
    which = np.repeat(np.arange(3), [len(r) for r in rows])
    cell, strategy = whole.choice_set[row], whole.action[row]
    return Design(
        z,
        np.ones((len(z), 2), dtype=bool),
        whole.parameters,
        place[cell, which, strategy],
        bits[cell, strategy, which],
        whole.count[row],
        Picked(whole.labels, row),
        tuple(titles),
        whole.utility,
    )


class Picked(Mapping[str, AnyArray]):
    """Columns of some rows, picked when they are asked for.

    Examples
    --------
    >>> Picked({"subject": np.array([7, 8, 9])}, np.array([2, 0]))["subject"]
    array([9, 7])
    """

    def __init__(self, columns: Mapping[str, AnyArray], rows: IntArray) -> None:
        self.columns, self.rows = columns, rows

    def __getitem__(self, name: str) -> AnyArray:
        return np.asarray(self.columns[name][self.rows])

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def _pairs(strategies: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """Strategies that differ at one node: the one with 0 there, the one with 1, the node."""
    known = {s: k for k, s in enumerate(strategies)}
    return [
        (k, known[f"{s[:node]}1{s[node + 1 :]}"], node)
        for k, s in enumerate(strategies)
        for node in range(len(s))
        if s[node] == "0"
    ]
