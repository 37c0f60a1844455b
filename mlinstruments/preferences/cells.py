"""Choice sets of a log: which rows share one, and the regressors of each."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlinstruments._core.typing import BoolArray, FloatArray, IntArray
from mlinstruments.games.protocols import Protocol
from mlinstruments.games.utility import Utility

from .design import Design


def cells(protocol: IntArray, beliefs: FloatArray) -> tuple[IntArray, IntArray]:
    """Number of the (protocol, belief) pair of every row, and the first row of each."""
    columns = {str(j): column for j, column in enumerate(beliefs.T)}
    table = pd.DataFrame({"protocol": protocol, **columns})
    cell = table.groupby(list(table.columns), sort=False, dropna=False).ngroup().to_numpy()
    first = np.unique(cell, return_index=True)[1]
    return cell.astype(np.int64), first.astype(np.int64)


def regressors(
    utility: Utility, protocols: tuple[Protocol, ...], of: IntArray, beliefs: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Regressors (C, A, m) and availability (C, A) of cells with protocols ``of`` and beliefs."""
    most = max(len(protocols[i].strategies) for i in np.unique(of))
    z = np.zeros((len(of), most, 1 + len(utility.parameters)))
    available = np.zeros((len(of), most), dtype=bool)
    for i in np.unique(of):
        protocol, cells = protocols[i], np.flatnonzero(of == i)
        values = utility.regressors(protocol, beliefs[cells, : protocol.n_nodes])
        z[cells, : values.shape[1]] = values
        available[cells, : values.shape[1]] = True
    return z, available


def node_design(whole: Design) -> Design:
    """A binary choice at each node, the subject's own other nodes held as chosen."""
    pairs: list[FloatArray] = []
    titles: list[tuple[str, ...]] = []
    C, A = whole.available.shape
    where = np.full((C, 3, A), -1, dtype=np.int64)
    bits = np.zeros((C, A, 3), dtype=np.int64)
    for i, strategies in enumerate(whole.actions):
        known = {s: k for k, s in enumerate(strategies)}
        for k, s in enumerate(strategies):
            bits[i, k, : len(s)] = [int(b) for b in s]
            for node in range(len(s)):
                if s[node] == "0":
                    other = s[:node] + "1" + s[node + 1 :]
                    where[i, node, [k, known[other]]] = len(pairs)
                    pairs.append(whole.z[i, [k, known[other]]])
                    titles.append((s, other))
    width = np.array([len(s[0]) for s in whole.actions])[whole.choice_set]
    rows = [np.flatnonzero(width > node) for node in range(3)]
    row = np.concatenate(rows)
    at = np.repeat(np.arange(3), [len(r) for r in rows])
    cell, strategy = whole.choice_set[row], whole.action[row]
    return Design(
        np.stack(pairs),
        np.ones((len(pairs), 2), dtype=bool),
        whole.parameters,
        where[cell, at, strategy],
        bits[cell, strategy, at],
        whole.count[row],
        {name: column[row] for name, column in whole.labels.items()},
        tuple(titles),
        whole.utility,
    )
