"""Choices between two alternatives that differ at one node, and whose protocol they are of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray, IntArray

from ..design import Design


@dataclass(frozen=True, eq=False)
class BinaryChoices:
    """Choices between two alternatives that differ at one node.

    Parameters
    ----------
    row : int array, shape (B,)
        Row of the design each comes from.
    difference : array, shape (B, m)
        Regressors of the action (a 1 at the node) less those of its alternative; the first is the
        own-payoff gap.
    taken : bool array, shape (B,)
        Whether the action was chosen.
    node : int array, shape (B,)
        Position of the node.
    """

    row: IntArray
    difference: FloatArray
    taken: BoolArray
    node: IntArray


def binary_choices(design: Design) -> BinaryChoices:
    """The binary choices of a design: all nodes of every strategy chosen.

    Returns
    -------
    BinaryChoices
    """
    C = len(design.z)
    twin = [_neighbours(names) for names in design.actions]
    most = max(len(found) for found in twin)
    table = np.full((C, most, 4), -1, dtype=np.int64)  # lower, upper, node, 1 where there is a pair
    for c, found in enumerate(twin):
        for slot, pair in enumerate(found):
            table[c, slot] = *pair, 1
    lower, upper, node, real = np.moveaxis(table[design.choice_set], -1, 0)
    action = design.action[:, None]
    row, k = np.nonzero((real > 0) & ((action == lower) | (action == upper)))
    sets, one = design.choice_set[row], upper[row, k]
    difference = design.z[sets, one] - design.z[sets, lower[row, k]]
    return BinaryChoices(row, difference, design.action[row] == one, node[row, k])


def _neighbours(names: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """Pairs (lower, upper, node) of alternatives whose names differ in one digit."""
    found = []
    for i, a in enumerate(names):
        for j in range(i + 1, len(names)):
            differing = [n for n, (p, q) in enumerate(zip(a, names[j], strict=True)) if p != q]
            if len(differing) == 1:
                found.append((i, j, differing[0]))
    return found


def row_protocols(design: Design) -> IntArray:
    """Protocol of every row, (N,); the choice set where the data have no protocols."""
    if "protocol_id" in design.labels:
        return design.cluster_codes(("protocol_id",))[0]
    return np.unique(design.choice_set, return_inverse=True)[1].astype(np.int64)


def row_clusters(design: Design) -> IntArray:
    """What choices of every row are clustered by, (N,); the protocol where nothing else is said."""
    if "cluster" in design.labels:
        return np.asarray(design.labels["cluster"], dtype=np.int64)
    return row_protocols(design)


def row_games(design: Design) -> AnyArray:
    """Game of every row, (N,); "all" where the data have no games."""
    if "game" in design.labels:
        return np.asarray(design.labels["game"])
    return np.full(len(design.count), "all")
