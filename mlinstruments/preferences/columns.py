"""The columns of a log, each checked, with errors that name the line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import AnyArray, FloatArray, IntArray
from mlinstruments.games.protocols import Protocol

from .readers import shown, where

PAYOFFS = ["T", "R", "P", "S"]
# Columns that are not grouping labels.
NOT_LABELS = {*PAYOFFS, "node", "strategy", "action", "count", "status", "raw", "prompt"}
# Labels that a summary names.
MOST_TOLD = 8


def require_columns(table: pd.DataFrame, source: str) -> None:
    """Raise unless a log has the columns it cannot do without, and rows."""
    missing = [c for c in ["protocol_id", "game", *PAYOFFS] if c not in table.columns]
    if missing:
        raise InputError(
            f"{source} has no column {missing[0]!r}; a log needs protocol_id, game, T, R, P, S and"
            " strategy, or node and action."
        )
    if "strategy" not in table.columns and not {"node", "action"} <= set(table.columns):
        raise InputError(f"{source} needs a column strategy, or columns node and action.")
    if len(table) == 0:
        raise InputError(f"{source} is empty: there are no choices.")


def protocols_of(table: pd.DataFrame, source: str) -> tuple[tuple[Protocol, ...], IntArray]:
    """The protocols of a log, and which of them every row belongs to, (N,)."""
    columns = ["protocol_id", "game", *PAYOFFS]
    group = table.groupby(columns, sort=False, dropna=False).ngroup().to_numpy().astype(np.int64)
    first = np.unique(group, return_index=True)[1]
    rows = table.iloc[first]
    if rows["protocol_id"].isna().any():
        row = int(first[int(np.argmax(rows["protocol_id"].isna().to_numpy()))])
        raise InputError(f"{source}, {where(table, row)}: protocol_id is missing.")
    payoffs = number_columns(rows, PAYOFFS, source)
    made = tuple(
        _protocol(
            str(rows["protocol_id"].iloc[k]), rows["game"].iloc[k], payoffs[k].tolist(), place
        )
        for k, place in enumerate(f"{source}, {where(table, int(row))}" for row in first)
    )
    again = pd.Series([protocol.id for protocol in made]).duplicated().to_numpy()
    if again.any():
        row = int(first[int(np.argmax(again))])
        raise InputError(
            f"{source}, {where(table, row)}: protocol {shown(table['protocol_id'].iloc[row])}"
            " appears with two different games or payoffs; give each its own protocol_id."
        )
    return made, group


def _protocol(name: str, game: Any, payoffs: Sequence[float], place: str) -> Protocol:
    T, R, P, S = payoffs
    try:
        return Protocol(game, T, R, P, S, id=name)
    except InputError as error:
        words = str(error)
        for value in (name, game):  # which may be a whole answer that went astray
            words = words.replace(repr(value), shown(value))
        raise InputError(f"{place}: {words}") from None


def strategies_of(
    table: pd.DataFrame, protocols: tuple[Protocol, ...], position: IntArray, source: str
) -> IntArray:
    """Position of every row's strategy among those of its protocol, (N,)."""
    codes, words = pd.factorize(table["strategy"], use_na_sentinel=False)
    # A table may have lost leading zeros to a number; text is taken as it stands.
    numeric = pd.api.types.is_numeric_dtype(table["strategy"])
    texts = [str(word).removesuffix(".0") if numeric else word for word in words]
    lookup = np.full((len(protocols), max(len(words), 1)), -1, dtype=np.int64)
    for i, protocol in enumerate(protocols):
        known = {s: k for k, s in enumerate(protocol.strategies)}
        lookup[i, : len(texts)] = [
            known.get(text.zfill(protocol.n_nodes) if numeric else text, -1) for text in texts
        ]
    found = lookup[position, codes]
    if (found < 0).any():
        row = int(np.argmax(found < 0))
        protocol = protocols[position[row]]
        raise InputError(
            f"{source}, {where(table, row)}: strategy"
            f" {shown(table['strategy'].iloc[row])} is not one of"
            f" {', '.join(protocol.strategies)} of {protocol.game}"
            f" ({', '.join(protocol.rules.nodes)})."
        )
    return np.asarray(found)


def counts_of(table: pd.DataFrame, source: str) -> FloatArray:
    """How often every row was chosen, or how probable it is, (N,); once unless the log says."""
    name = next((c for c in ("count", "probability") if c in table.columns), None)
    if name is None:
        return np.ones(len(table))
    counts = number_column(table, name, source)
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        row = int(np.argmax(~(np.isfinite(counts) & (counts >= 0))))
        raise InputError(
            f"{source}, {where(table, row)}: {name} must be a number of at least 0; got"
            f" {counts[row]:g}."
        )
    return counts


def stated_beliefs(
    table: pd.DataFrame, protocols: tuple[Protocol, ...], position: IntArray, source: str
) -> FloatArray:
    """Elicited beliefs, (N, 3), NaN where none and beyond a protocol's nodes."""
    beliefs = np.full((len(table), 3), np.nan)
    for j in range(3):
        if f"belief_{j + 1}" in table.columns:
            beliefs[:, j] = number_column(table, f"belief_{j + 1}", source)
    outside = (beliefs < 0) | (beliefs > 1)
    if outside.any():
        row, j = (int(v[0]) for v in np.nonzero(outside))
        raise InputError(
            f"{source}, {where(table, row)}: belief_{j + 1} is {beliefs[row, j]:g}; beliefs are"
            " probabilities between 0 and 1."
        )
    nodes = np.array([p.n_nodes for p in protocols])[position]
    beliefs[np.arange(3)[None, :] >= nodes[:, None]] = np.nan
    return beliefs


def labels_of(table: pd.DataFrame) -> dict[str, AnyArray]:
    """Columns rows may be clustered or selected by; all one subject unless the log says."""
    kept = [
        c for c in table.columns if c not in NOT_LABELS and not str(c).startswith(("belief_", "_"))
    ]
    labels = {str(c): _as_array(table[c]) for c in kept}
    if "subject" not in labels:
        labels["subject"] = np.zeros(len(table), dtype=np.int64)
    return labels


def _as_array(column: pd.Series) -> AnyArray:
    """A column as numpy array; words that occur often are held once."""
    if not isinstance(column.dtype, pd.StringDtype):
        return np.asarray(column.to_numpy())
    codes, words = pd.factorize(column, use_na_sentinel=False)
    return np.asarray(words.to_numpy(dtype=object)[codes])


def number_columns(table: pd.DataFrame, columns: Sequence[str], source: str) -> FloatArray:
    """Columns as numbers, NaN where missing, (rows, columns)."""
    return np.column_stack([number_column(table, name, source) for name in columns])


def number_column(table: pd.DataFrame, name: str, source: str) -> FloatArray:
    """A column as numbers, NaN where missing, (rows,)."""
    if name not in table.columns:
        there = ", ".join(map(str, table.columns))
        raise InputError(f"{source} has no column {name!r}; there are {there}.")
    try:
        return np.asarray(table[name].to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError, OverflowError):
        row = next(k for k, value in enumerate(table[name]) if not _is_number(value))
        value = shown(table[name].iloc[row])
        raise InputError(
            f"{source}, {where(table, row)}: {name} must be a number; got {value}."
        ) from None


def _is_number(value: Any) -> bool:
    if value is None or value is pd.NA:
        return True
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def labels_told(labels: Mapping[str, AnyArray]) -> tuple[str, ...]:
    """How many values each label has, in a line for a table; no line without labels."""
    distinct = {name: pd.Series(values).nunique() for name, values in labels.items()}
    told = [f"{name} {n}" for name, n in distinct.items() if n]
    more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    words = f"Values of each label: {', '.join(told[:MOST_TOLD])}{more}."
    return (words,) if told else ()
