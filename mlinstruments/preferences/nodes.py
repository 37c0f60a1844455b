"""From one row a node to one row a strategy; repeated draws and mixed prompts are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray, IntArray
from mlinstruments._core.warn import warn_user
from mlinstruments.games.protocols import GAMES

from .columns import number_column
from .readers import shown, where

# What tells one strategy of one subject from another.
KEYS = ("subject", "model", "temperature", "template", "protocol_id", "draw")
SAME = ("game", "T", "R", "P", "S", "count", "probability")
BELIEFS = ("belief_1", "belief_2", "belief_3")


def assemble_nodes(table: pd.DataFrame, source: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the choices at the nodes of a protocol into whole strategies.

    Parameters
    ----------
    table : DataFrame
        One row a node: ``protocol_id``, ``game``, ``node`` (0, 1, ..) and ``action`` (0 or 1;
        missing where there was no answer). Rows of the same subject, model, temperature,
        template, protocol and draw (of these, the columns there are) form a strategy. Where
        there is a ``probability`` for both actions of a node, strategies have the product over
        their nodes: choices at nodes are independent, as answers to prompts apart are.
    source : str
        What to call the table in errors.

    Returns
    -------
    table : DataFrame
        One row a strategy, in order of first appearance, with ``strategy`` and every column that
        is the same at all nodes; beliefs may be given at any node.
    lacking : DataFrame
        The same of strategies that lack a node; they are left out with a warning.

    Raises
    ------
    InputError
        Naming the line: a node given twice, an action that is not 0 or 1, payoffs or beliefs that
        differ between the nodes of one strategy.

    Examples
    --------
    >>> rows = [{"protocol_id": "a", "game": "tg", "node": j, "action": j} for j in (0, 1)]
    >>> assemble_nodes(pd.DataFrame(rows), "log")[0]["strategy"].tolist()
    ['01']
    """
    node = _whole(table, "node", (0, 1, 2), source)
    action = _whole(table, "action", (0, 1), source, missing=True)
    group = _group(table, _present(table, KEYS))
    first = np.unique(group, return_index=True)[1].astype(np.int64)
    needed = _nodes_needed(table, node, source)[first]
    if _measured(table, group, node, action):
        return _multiplied(table, group, first, (node, action), needed, source)
    _refuse_repeats(table, group, node, source)
    grid = np.full((len(first), 3), -1, dtype=np.int64)
    grid[group, node] = action
    complete = (grid >= 0).sum(axis=1) == needed
    result = _constant_columns(table, group, first, source)
    result["strategy"] = _words(grid, needed)
    _report_incomplete(int((~complete).sum()), len(complete), source)
    return result[complete], result[~complete]


def check_duplicates(table: pd.DataFrame, source: str) -> None:
    """Refuse a draw that stands in the log twice.

    Parameters
    ----------
    table : DataFrame
        One row a strategy; without a column ``draw`` nothing is checked. Rows with counts or
        probabilities share a draw between strategies.
    source : str
        What to call the table in errors.

    Raises
    ------
    InputError
        Naming the second line and the first.
    """
    if "draw" not in table.columns:
        return
    keys = _present(table, (*KEYS, "prompt_hash"))
    if {"count", "probability"} & set(table.columns):
        keys.append("strategy")
    again = table.duplicated(keys).to_numpy()
    if again.any():
        raise _repeat(table, keys, int(np.argmax(again)), source)


def check_prompts(table: pd.DataFrame, source: str) -> None:
    """Refuse two prompts for one model and protocol that no ``template`` tells apart.

    Parameters
    ----------
    table : DataFrame
        Without a column ``prompt_hash``, or with ``template``, nothing is checked. Each node may
        have its own prompt.
    source : str
        What to call the table in errors.

    Raises
    ------
    InputError
        Naming both prompts and lines.
    """
    if "prompt_hash" not in table.columns or "template" in table.columns:
        return
    group = _group(table, _present(table, ("model", "protocol_id", "node")))
    first = np.unique(group, return_index=True)[1]
    code = pd.factorize(table["prompt_hash"])[0]
    other = code != code[first][group]
    if not other.any():
        return
    row = int(np.argmax(other))
    before = int(first[group[row]])
    hashes = table["prompt_hash"]
    raise InputError(
        f"{source}, {where(table, row)}: prompt_hash {shown(hashes.iloc[row])}, but"
        f" {shown(hashes.iloc[before])} in {where(table, before)} for the same model and protocol"
        f" {shown(table['protocol_id'].iloc[row])}: answers to two prompts are mixed. Read them"
        " separately, or name the prompt of every row in a column template."
    )


# ---- steps --------------------------------------------------------------------------------------


def _present(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in table.columns]


def _group(table: pd.DataFrame, keys: list[str]) -> IntArray:
    """Number of the group of every row, in order of first appearance."""
    grouped = table.groupby(keys, sort=False, dropna=False)
    return np.asarray(grouped.ngroup().to_numpy(), dtype=np.int64)


def _whole(
    table: pd.DataFrame, name: str, allowed: tuple[int, ...], source: str, missing: bool = False
) -> IntArray:
    """A column of small whole numbers; -1 where missing."""
    numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    absent = table[name].isna().to_numpy() if missing else np.zeros(len(table), dtype=bool)
    bad = ~np.isin(numbers, allowed) & ~absent
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{source}, {where(table, row)}: {name} must be one of"
            f" {', '.join(map(str, allowed))}; got {shown(table[name].iloc[row])}."
        )
    return np.where(absent, -1, np.nan_to_num(numbers)).astype(np.int64)


def _refuse_repeats(table: pd.DataFrame, group: IntArray, node: IntArray, source: str) -> None:
    again = pd.Series(3 * group + node).duplicated().to_numpy()
    if again.any():
        raise _repeat(table, [*_present(table, KEYS), "node"], int(np.argmax(again)), source)


def _repeat(table: pd.DataFrame, keys: list[str], row: int, source: str) -> InputError:
    this = table[keys].iloc[row]
    alike = np.ones(row, dtype=bool)
    for name in keys:
        column = table[name].iloc[:row]
        alike &= (column.isna() if pd.isna(this[name]) else column == this[name]).to_numpy(bool)
    words = ", ".join(f"{name} {shown(this[name], 40)}" for name in keys)
    return InputError(
        f"{source}, {where(table, row)}: {words} is also in {where(table, int(np.argmax(alike)))}."
        " Delete one of the two, or number repetitions in a column draw."
    )


def _nodes_needed(table: pd.DataFrame, node: IntArray, source: str) -> IntArray:
    """Nodes of every row's game."""
    code, games = pd.factorize(table["game"], use_na_sentinel=False)
    widths = [len(GAMES[g].nodes) if isinstance(g, str) and g in GAMES else 0 for g in games]
    needed: IntArray = np.array(widths, dtype=np.int64)[code]
    outside = node >= needed
    if outside.any():
        row = int(np.argmax(outside))
        game = shown(table["game"].iloc[row])
        place = f"{source}, {where(table, row)}"
        if needed[row] == 0:
            raise InputError(f"{place}: game {game} is unknown; it is one of {', '.join(GAMES)}.")
        raise InputError(
            f"{place}: node {node[row]} is not in {game}, whose nodes are 0 to {needed[row] - 1}."
        )
    return needed


def _measured(table: pd.DataFrame, group: IntArray, node: IntArray, action: IntArray) -> bool:
    """Whether some node has a probability for each of its two actions."""
    if "probability" not in table.columns:
        return False
    place = pd.DataFrame({"node": 3 * group + node, "action": action})
    return bool((place[action >= 0].groupby("node")["action"].nunique() == 2).any())


def _multiplied(
    table: pd.DataFrame,
    group: IntArray,
    first: IntArray,
    places: tuple[IntArray, IntArray],
    needed: IntArray,
    source: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """:func:`assemble_nodes` of probabilities, one row a node and action."""
    node, action = places
    again = pd.Series(9 * group + 3 * node + action).duplicated().to_numpy()
    if again.any():
        keys = [*_present(table, KEYS), "node", "action"]
        raise _repeat(table, keys, int(np.argmax(again)), source)
    grid = np.full((len(first), 3, 2), np.nan)
    rows = action >= 0
    p = number_column(table, "probability", source)
    if ((p < 0) | (p > 1)).any():
        row = int(np.argmax((p < 0) | (p > 1)))
        raise InputError(
            f"{source}, {where(table, row)}: probability must lie between 0 and 1; got {p[row]:g}."
        )
    grid[group[rows], node[rows], action[rows]] = p[rows]
    complete = (~np.isnan(grid)).all(axis=2).sum(axis=1) == needed
    result = _constant_columns(table.drop(columns="probability"), group, first, source)
    _report_incomplete(int((~complete).sum()), len(complete), source)
    kept = np.flatnonzero(complete)
    of = np.repeat(kept, 2 ** needed[kept])
    # Strategies of a group in order: their digits are the bits of 0, 1, ..., highest first.
    number = np.arange(len(of)) - np.searchsorted(of, of)
    chance = np.ones(len(of))
    digits = np.zeros((len(of), 3), dtype=np.int64)
    for j in range(3):
        digits[:, j] = (number >> np.maximum(needed[of] - 1 - j, 0)) & 1
        inside = j < needed[of]
        chance[inside] *= grid[of[inside], j, digits[inside, j]]
    strategies = result.iloc[of].assign(strategy=_words(digits, needed[of]), probability=chance)
    return strategies, result[~complete]


def _constant_columns(
    table: pd.DataFrame, group: IntArray, first: IntArray, source: str
) -> pd.DataFrame:
    kept = []
    beliefs = {}
    for name in table.columns:
        if name in BELIEFS:
            beliefs[name] = _belief(table, name, group, source)
        elif name in ("_line", *KEYS):
            kept.append(name)
        elif name not in ("node", "action"):
            differs = _differs(table[name], group, first)
            if not differs.any():
                kept.append(name)
            elif name in SAME:
                raise _unequal(table, name, int(np.argmax(differs)), group, source)
    return table[kept].iloc[first].assign(**beliefs)


def _differs(column: Any, group: IntArray, first: IntArray) -> BoolArray:
    try:
        code = pd.factorize(column)[0]
    except TypeError:  # lists and other entries that cannot be hashed
        code = pd.factorize(column.astype(str))[0]
    return np.asarray(code != code[first][group])


def _belief(table: pd.DataFrame, name: str, group: IntArray, source: str) -> FloatArray:
    """The belief stated at whichever node, by group."""
    numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = np.isnan(numbers) & table[name].notna().to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        value = shown(table[name].iloc[row])
        raise InputError(f"{source}, {where(table, row)}: {name} must be a number; got {value}.")
    stated = pd.Series(numbers).groupby(group, sort=True).first().to_numpy()
    differs = ~np.isnan(numbers) & (numbers != stated[group])
    if differs.any():
        raise _unequal(table, name, int(np.argmax(differs)), group, source)
    return np.asarray(stated)


def _unequal(table: pd.DataFrame, name: str, row: int, group: IntArray, source: str) -> InputError:
    mates = np.flatnonzero((group == group[row]) & table[name].notna().to_numpy())
    before = int(mates[0])
    return InputError(
        f"{source}, {where(table, row)}: {name} is {shown(table[name].iloc[row])}, but"
        f" {shown(table[name].iloc[before])} in {where(table, before)}, another node of the same"
        " strategy."
    )


def _words(grid: IntArray, needed: IntArray) -> AnyArray:
    """Strategies as digits from actions (groups, 3) and how many of them count."""
    digits = np.maximum(grid, 0) @ np.array([4, 2, 1])
    table = np.array([[f"{d:03b}"[:n] for d in range(8)] for n in range(4)], dtype=object)
    return np.asarray(table[needed, digits])


def _report_incomplete(incomplete: int, total: int, source: str) -> None:
    if incomplete == total:
        raise InputError(f"{source}: none of {total} strategies has an action at every node.")
    if incomplete:
        warn_user(
            f"{source}: {incomplete} of {total} strategies lack an action at some node and are left"
            " out.",
            MissingRowsWarning,
        )
