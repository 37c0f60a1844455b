"""Choices of people or models in protocols, checked, counted, and turned into choice sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import AnyArray, FloatArray, IntArray
from mlinstruments.games.protocols import Protocol, protocols_from_rows
from mlinstruments.games.solutions import subgame_perfect
from mlinstruments.games.utility import HomoMoralis, Utility, WeightedOther

from .cells import cells, node_design, regressors
from .design import Design
from .nodes import assemble_nodes, check_duplicates, check_prompts
from .readers import as_pandas, read_table, shown, where

PAYOFFS = ["T", "R", "P", "S"]
BELIEFS = ("elicited", "uniform", "empirical", "self", "subgame_perfect")
STATUSES = ("ok", "refusal", "ambiguous", "parse_error")
# Columns that are not grouping labels.
NOT_LABELS = {*PAYOFFS, "node", "strategy", "action", "count", "status", "raw", "prompt"}


@dataclass(frozen=True, eq=False)
class ChoiceData:
    """Whole strategies chosen in protocols.

    Build it with :meth:`read`, :meth:`from_frame` or :meth:`from_counts`, which check everything.

    Parameters
    ----------
    protocols : tuple of Protocol
    protocol : int array, shape (N,)
        Which protocol a row belongs to.
    strategy : int array, shape (N,)
        Position of the strategy chosen among the protocol's.
    count : array, shape (N,)
        How often; probabilities are counts that sum to one over the strategies of a draw.
    beliefs : array, shape (N, 3)
        Elicited beliefs, NaN where none and beyond the protocol's nodes.
    labels : mapping of str to array (N,)
        Columns rows can be clustered by or compared by: subject, model, template, ...
    excluded : mapping of str to int
        Answers that are not choices (refusal, ambiguous, parse_error, incomplete), counted.

    Examples
    --------
    >>> tg = Protocol("tg", 80, 50, 30, 20, id="a")
    >>> data = ChoiceData.from_counts([(tg, (0.5, 0.5), {"00": 3, "11": 2})])
    >>> data.n_choices
    5.0
    """

    protocols: tuple[Protocol, ...]
    protocol: IntArray
    strategy: IntArray
    count: FloatArray
    beliefs: FloatArray
    labels: Mapping[str, AnyArray]
    excluded: Mapping[str, int]

    @property
    def n_choices(self) -> float:
        """Total count."""
        return float(self.count.sum())

    @classmethod
    def read(cls, path: str | Path, partial: bool = False) -> ChoiceData:
        """Read a log: JSONL, CSV or parquet by the file's ending; see :meth:`from_frame`.

        Parameters
        ----------
        path : str or Path
        partial : bool
            Keep the readable lines of a damaged file, with a warning that counts the others.

        Raises
        ------
        InputError
            Naming file and line.
        """
        return cls.from_frame(read_table(path, partial), source=str(path))

    @classmethod
    def from_frame(cls, frame: Any, source: str = "data") -> ChoiceData:
        """Take a table with one row a choice (or a count, or a probability).

        Parameters
        ----------
        frame : data frame
            pandas, polars or pyarrow, with ``protocol_id``, ``game``, ``T``, ``R``, ``P``, ``S``
            and either ``strategy`` (digits, one a node, such as ``"110"``) or ``node`` (0, 1, ..)
            with ``action`` (0 or 1), then assembled by subject, protocol and draw. Optional:
            ``count`` (or ``probability``), ``belief_1`` to ``belief_3``, ``status``, ``subject``
            and any other column, which can then be clustered by.
        source : str
            What to call the table in errors.

        Returns
        -------
        ChoiceData

        Raises
        ------
        InputError
            Naming the row.
        """
        table = as_pandas(frame, source)
        _require_columns(table, source)
        table, excluded = _usable(table, source)
        check_prompts(table, source)
        if "strategy" in table.columns:
            check_duplicates(table, source)
        else:
            table, incomplete = assemble_nodes(table, source)
            if incomplete:
                excluded["incomplete"] = incomplete
        protocols, position = _protocols(table, source)
        strategy = _strategies(table, protocols, position, source)
        return cls(
            protocols,
            position,
            strategy,
            _counts(table, source),
            _beliefs(table, protocols, position, source),
            _labels(table),
            excluded,
        )

    @classmethod
    def from_counts(
        cls, cells: Sequence[tuple[Protocol, Sequence[float] | None, Mapping[str, float]]]
    ) -> ChoiceData:
        """Take counts by protocol and belief.

        Parameters
        ----------
        cells : sequence of (protocol, belief or None, {strategy: count})
        """
        rows = []
        for protocol, belief, counts in cells:
            for strategy, count in counts.items():
                row: dict[str, Any] = {
                    "protocol_id": protocol.id or protocol.game,
                    "game": protocol.game,
                    **{name: getattr(protocol, name) for name in PAYOFFS},
                    "strategy": strategy,
                    "count": count,
                }
                for j, value in enumerate(belief or (), start=1):
                    row[f"belief_{j}"] = value
                rows.append(row)
        return cls.from_frame(pd.DataFrame(rows), source="counts")

    def select(self, **values: Any) -> ChoiceData:
        """Rows whose labels have given values: ``data.select(model="base")``."""
        kept = np.ones(len(self.count), dtype=bool)
        for name, value in values.items():
            if name not in self.labels:
                raise InputError(f"no column {name!r}; there are {', '.join(self.labels)}.")
            kept &= np.asarray(self.labels[name] == value)
        if not kept.any():
            raise InputError(f"no row has {values}.")
        return ChoiceData(
            self.protocols,
            self.protocol[kept],
            self.strategy[kept],
            self.count[kept],
            self.beliefs[kept],
            {name: column[kept] for name, column in self.labels.items()},
            self.excluded,
        )

    def resolved_beliefs(self, beliefs: Any) -> FloatArray:
        """Belief of every row about the other's play, (N, 3), NaN beyond its nodes.

        Parameters
        ----------
        beliefs : str or mapping
            ``"elicited"``, ``"uniform"`` (one half everywhere), ``"empirical"`` (mean play in the
            protocol), ``"self"`` (the other does as I do), ``"subgame_perfect"``, or a mapping from
            protocol id or game to probabilities.
        """
        if isinstance(beliefs, Mapping):
            return self._per_protocol([_fixed_belief(p, beliefs) for p in self.protocols])
        check_choice(beliefs, "beliefs", BELIEFS)
        if beliefs == "elicited":
            return self._elicited()
        if beliefs == "uniform":
            return self._per_protocol([np.full(p.n_nodes, 0.5) for p in self.protocols])
        if beliefs == "subgame_perfect":
            return self._per_protocol([subgame_perfect(p) for p in self.protocols])
        played = self._per_strategy([p.pure() for p in self.protocols])
        if beliefs == "self":
            return played
        totals = np.bincount(self.protocol, self.count, len(self.protocols))
        totals[totals == 0] = 1.0  # protocols of which select() kept no row
        means = [
            np.bincount(self.protocol, self.count * np.nan_to_num(column), len(self.protocols))
            for column in played.T
        ]
        return self._per_protocol(
            [
                np.array([m[i] for m in means])[: p.n_nodes] / totals[i]
                for i, p in enumerate(self.protocols)
            ]
        )

    def design(
        self, utility: Utility | None = None, beliefs: Any = "elicited", unit: str = "strategy"
    ) -> Design:
        """Choice sets with regressors.

        Parameters
        ----------
        utility : Utility, optional
            :class:`HomoMoralis` by default.
        beliefs : str or mapping
            See :meth:`resolved_beliefs`.
        unit : {"strategy", "node"}
            Logit over whole strategies, or at every node given the subject's own other nodes.
        """
        check_choice(unit, "unit", ("strategy", "node"))
        resolved = self.resolved_beliefs(beliefs)
        cell, first = cells(self.protocol, resolved)
        model = utility or HomoMoralis()
        of = self.protocol[first]
        z, available = regressors(model, self.protocols, of, resolved[first])
        strategies = [p.strategies for p in self.protocols]
        names = tuple(strategies[i] for i in of)
        whole = Design(
            z, available, model.parameters, cell, self.strategy, self.count, self.labels, names
        )
        return whole if unit == "strategy" else node_design(whole)

    def _elicited(self) -> FloatArray:
        nodes = np.array([p.n_nodes for p in self.protocols])[self.protocol]
        needed = np.arange(3)[None, :] < nodes[:, None]
        if np.isnan(self.beliefs[needed]).any():
            raise InputError(
                "the log has no beliefs (belief_1, ...) in some rows: choose beliefs='uniform',"
                " 'empirical', 'self', 'subgame_perfect', or give them by protocol."
            )
        return self.beliefs

    def _per_protocol(self, values: list[FloatArray]) -> FloatArray:
        table = np.full((len(values), 3), np.nan)
        for i, value in enumerate(values):
            table[i, : len(value)] = value
        return table[self.protocol]

    def _per_strategy(self, pure: list[FloatArray]) -> FloatArray:
        most = max(len(p) for p in pure)
        table = np.full((len(pure), most, 3), np.nan)
        for i, values in enumerate(pure):
            table[i, : len(values), : values.shape[1]] = values
        return np.asarray(table[self.protocol, self.strategy])


@dataclass(frozen=True, eq=False)
class AllocationChoices:
    """Choices between allocations given as columns, rather than in protocols.

    Build it with :meth:`from_frame`.

    Parameters
    ----------
    sets : Design
    """

    sets: Design

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        own: Sequence[str],
        other: Sequence[str],
        chosen: str,
        characteristics: Mapping[str, Sequence[str] | str],
        labels: Sequence[str] = (),
        count: str | None = None,
    ) -> AllocationChoices:
        """Take one row a choice.

        Parameters
        ----------
        frame : data frame
        own, other : sequence of column names
            Payoffs of self and other, one column an alternative.
        chosen : str
            Column with the position (0, 1, ...) of the alternative chosen.
        characteristics : mapping of parameter to column name(s)
            One column for all alternatives or one for each; multiplied by other - own.
        labels : sequence of str
            Columns to cluster by.
        count : str, optional
            Column of counts.
        """
        table = as_pandas(frame, "data")
        model = WeightedOther(tuple(characteristics))
        alternatives = len(own)
        if len(other) != alternatives or alternatives < 2:
            raise InputError("own and other must name the same two or more alternatives.")
        z = model.columns(
            _numbers(table, list(own)),
            _numbers(table, list(other)),
            {
                name: _numbers(table, [c] * alternatives if isinstance(c, str) else list(c))
                for name, c in characteristics.items()
            },
        )
        action = _numbers(table, [chosen])[:, 0]
        bad = ~np.isin(action, np.arange(alternatives))
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(
                f"row {row}: {chosen} is {action[row]:g}; it must be 0 to {alternatives - 1}."
            )
        # Rows with the same regressors share a set, so that repeated situations cost nothing.
        unique, position = np.unique(z.reshape(len(z), -1), axis=0, return_inverse=True)
        sets = unique.reshape(len(unique), alternatives, -1)
        names = tuple(str(a) for a in range(alternatives))
        weights = np.ones(len(table)) if count is None else _numbers(table, [count])[:, 0]
        return cls(
            Design(
                sets,
                np.ones(sets.shape[:2], dtype=bool),
                model.parameters,
                position.astype(np.int64).ravel(),
                action.astype(np.int64),
                weights,
                {name: table[name].to_numpy() for name in labels},
                (names,) * len(sets),
            )
        )

    @property
    def n_choices(self) -> float:
        """Total count."""
        return self.sets.n_choices

    @property
    def excluded(self) -> Mapping[str, int]:
        """Nothing is excluded."""
        return {}

    def design(self, utility: Any = None, beliefs: Any = None, unit: str = "strategy") -> Design:
        """The choice sets; utility, beliefs and unit are settled by the columns."""
        return self.sets


# ---- reading a table ----------------------------------------------------------------------------


def _require_columns(table: pd.DataFrame, source: str) -> None:
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


def _usable(table: pd.DataFrame, source: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows that are choices, and how many are not, by status; nothing is recoded."""
    if "status" not in table.columns:
        return table, {}
    status = table["status"].astype(str)
    unknown = ~status.isin(STATUSES)
    if unknown.any():
        row = int(np.argmax(unknown.to_numpy()))
        raise InputError(
            f"{source}, {where(table, row)}: status {shown(status.iloc[row])} is unknown; it is one"
            f" of {', '.join(STATUSES)}."
        )
    counted = {name: int((status == name).sum()) for name in STATUSES[1:]}
    kept = table[(status == "ok").to_numpy()]
    if len(kept) == 0:
        raise InputError(f"{source} holds no choice: every answer is a refusal or unreadable.")
    return kept, {name: n for name, n in counted.items() if n}


def _protocols(table: pd.DataFrame, source: str) -> tuple[tuple[Protocol, ...], IntArray]:
    columns = ["protocol_id", "game", *PAYOFFS]
    group = table.groupby(columns, sort=False, dropna=False).ngroup().to_numpy().astype(np.int64)
    first = np.unique(group, return_index=True)[1]
    rows = table.iloc[first]
    if rows["protocol_id"].isna().any():
        row = int(first[int(np.argmax(rows["protocol_id"].isna().to_numpy()))])
        raise InputError(f"{source}, {where(table, row)}: protocol_id is missing.")
    ids = rows["protocol_id"].astype(str)
    if ids.duplicated().any():
        row = int(first[int(np.argmax(ids.duplicated().to_numpy()))])
        raise InputError(
            f"{source}, {where(table, row)}: protocol {shown(table['protocol_id'].iloc[row])}"
            " appears with two different games or payoffs; give each its own protocol_id."
        )
    made: list[Protocol] = []
    for position, record in zip(first, rows[columns].to_dict("records"), strict=True):
        try:
            made += protocols_from_rows([{str(k): v for k, v in record.items()}], source)
        except InputError as error:
            words = str(error).partition(": ")[2]
            raise InputError(f"{source}, {where(table, int(position))}: {words}") from None
    return tuple(made), group


def _strategies(
    table: pd.DataFrame, protocols: tuple[Protocol, ...], position: IntArray, source: str
) -> IntArray:
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


def _counts(table: pd.DataFrame, source: str) -> FloatArray:
    name = next((c for c in ("count", "probability") if c in table.columns), None)
    if name is None:
        return np.ones(len(table))
    counts = _numbers(table, [name])[:, 0]
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        row = int(np.argmax(~(np.isfinite(counts) & (counts >= 0))))
        raise InputError(
            f"{source}, {where(table, row)}: {name} must be a number of at least 0; got"
            f" {counts[row]:g}."
        )
    return counts


def _beliefs(
    table: pd.DataFrame, protocols: tuple[Protocol, ...], position: IntArray, source: str
) -> FloatArray:
    beliefs = np.full((len(table), 3), np.nan)
    for j in range(3):
        if f"belief_{j + 1}" in table.columns:
            beliefs[:, j] = _numbers(table, [f"belief_{j + 1}"])[:, 0]
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


def _labels(table: pd.DataFrame) -> dict[str, AnyArray]:
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


def _numbers(table: pd.DataFrame, columns: list[str]) -> FloatArray:
    for name in columns:
        if name not in table.columns:
            raise InputError(f"no column {name!r}; there are {', '.join(map(str, table.columns))}.")
    try:
        return np.asarray(table[columns].to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):
        raise InputError(f"columns {', '.join(columns)} must be numeric.") from None


# ---- choice sets --------------------------------------------------------------------------------


def _fixed_belief(protocol: Protocol, beliefs: Mapping[str, Sequence[float]]) -> FloatArray:
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
