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
from mlinstruments._core.tables import Printed, Table
from mlinstruments._core.typing import AnyArray, FloatArray, IntArray
from mlinstruments.games.protocols import Protocol
from mlinstruments.games.utility import HomoMoralis, Utility

from .allocations import AllocationChoices
from .beliefs import resolve
from .cells import cells, node_design, regressors
from .columns import (
    PAYOFFS,
    counts_of,
    labels_of,
    labels_told,
    protocols_of,
    require_columns,
    stated_beliefs,
    strategies_of,
)
from .design import Design
from .excluded import Excluded, equal, excluded_rows, usable
from .nodes import assemble_nodes, check_duplicates, check_prompts
from .readers import as_pandas, read_table

__all__ = ["AllocationChoices", "ChoiceData"]


@dataclass(frozen=True, eq=False, repr=False)
class ChoiceData(Printed):
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
    excluded : Excluded, or mapping of str to number
        Answers that are not choices (refusal, ambiguous, parse_error, incomplete), counted.

    Examples
    --------
    >>> from mlinstruments import ChoiceData
    >>> from mlinstruments.games import Protocol
    >>> tg = Protocol("tg", 80, 50, 30, 20, id="a")
    >>> data = ChoiceData.from_counts([(tg, (0.5, 0.5), {"00": 3, "11": 2})])
    >>> data.n_choices
    5.0
    >>> print(data)
    Choices in games
    ==============================================
    Choices:     5
    Not choices: none
    ----------------------------------------------
    Game   Protocols   Choices   Rows with beliefs
    ----------------------------------------------
    tg             1         5              2 of 2
    ==============================================
    Values of each label: protocol_id 1, game 1, subject 1.
    """

    protocols: tuple[Protocol, ...]
    protocol: IntArray
    strategy: IntArray
    count: FloatArray
    beliefs: FloatArray
    labels: Mapping[str, AnyArray]
    excluded: Excluded

    def __post_init__(self) -> None:
        object.__setattr__(self, "excluded", Excluded.of(self.excluded))

    @property
    def n_choices(self) -> float:
        """Total count."""
        return float(self.count.sum())

    @property
    def summary(self) -> Table:
        """What there is: a line for each game, beliefs, labels, and answers that are no choices."""
        games = np.array([protocol.game for protocol in self.protocols], dtype=object)
        rows = []
        for game in dict.fromkeys(games.tolist()):
            own = games[self.protocol] == game
            stated = int((~np.isnan(self.beliefs[own]).all(axis=1)).sum())
            counts = (int((games == game).sum()), f"{self.count[own].sum():g}")
            rows.append((str(game), *map(str, counts), f"{stated} of {own.sum()}"))
        told = labels_told(self.labels)
        lost = ", ".join(f"{reason} {n:g}" for reason, n in self.excluded.items() if n)
        facts = (("Choices", f"{self.n_choices:g}"), ("Not choices", lost or "none"))
        columns = ("Game", "Protocols", "Choices", "Rows with beliefs")
        return Table("Choices in games", facts, columns, tuple(rows), told)

    @classmethod
    def read(cls, path: str | Path, partial: bool = False) -> ChoiceData:
        """Read a log: JSONL, CSV or parquet by the file's ending; see :meth:`from_frame`.

        Parameters
        ----------
        path : str or Path
        partial : bool
            Keep the readable lines of a damaged file, with a warning that counts the others.

        Returns
        -------
        ChoiceData

        Raises
        ------
        InputError
            Naming file and line.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from mlinstruments import ChoiceData
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
        >>> _ = path.write_text("protocol_id,game,T,R,P,S,strategy\\na,tg,80,50,30,20,01\\n")
        >>> ChoiceData.read(path).n_choices
        1.0
        """
        return cls.from_frame(read_table(path, partial), source=str(path))

    @classmethod
    def from_frame(cls, frame: Any, source: str = "data") -> ChoiceData:
        """Take a table with one row a choice (or a count, or a probability).

        Answers whose ``status`` is not ``"ok"`` are counted in ``excluded`` and left out, never
        recoded as a choice.

        Parameters
        ----------
        frame : data frame
            pandas, polars or pyarrow, with ``protocol_id``, ``game``, ``T``, ``R``, ``P``, ``S``
            and either ``strategy`` (digits, one a node, such as ``"110"``) or ``node`` (0, 1, ..)
            with ``action`` (0 or 1), then assembled by subject, protocol and draw. Optional:
            ``count`` (or ``probability``; given for both actions of every node, it is multiplied
            over the nodes), ``belief_1`` to ``belief_3``, ``status``, ``subject``
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

        Warns
        -----
        MissingRowsWarning
            Where strategies lack an action at some node; it counts them.

        Examples
        --------
        >>> from mlinstruments import ChoiceData
        >>> tg = {"protocol_id": "a", "game": "tg", "T": 80, "R": 50, "P": 30, "S": 20}
        >>> rows = [{**tg, "subject": 1, "node": 0, "action": 1, "status": "ok"},
        ...         {**tg, "subject": 1, "node": 1, "action": 0, "status": "ok"},
        ...         {**tg, "subject": 2, "node": 0, "action": None, "status": "refusal"}]
        >>> data = ChoiceData.from_frame(rows)
        >>> data.protocols[0].strategies[data.strategy[0]], data.excluded
        ('10', {'refusal': 1})
        """
        table = as_pandas(frame, source)
        require_columns(table, source)
        table, excluded = usable(table, source)
        check_prompts(table, source)
        if "strategy" in table.columns:
            check_duplicates(table, source)
        else:
            table, lacking = assemble_nodes(table, source)
            reason = np.full(len(lacking), "incomplete", dtype=object)
            excluded = excluded.joined(excluded_rows(lacking, reason))
        protocols, position = protocols_of(table, source)
        strategy = strategies_of(table, protocols, position, source)
        return cls(
            protocols,
            position,
            strategy,
            counts_of(table, source),
            stated_beliefs(table, protocols, position, source),
            labels_of(table),
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
            A belief is one probability a node.

        Returns
        -------
        ChoiceData

        Raises
        ------
        InputError
            Where a strategy is not one of its game, a count is negative, or a belief is no
            probability.

        Examples
        --------
        >>> from mlinstruments import ChoiceData
        >>> from mlinstruments.games import Protocol
        >>> ug = Protocol("ug", 70, 50, 10, 30, id="b")
        >>> ChoiceData.from_counts([(ug, None, {"01": 7, "11": 3})]).n_choices
        10.0
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

    @staticmethod
    def from_prices(
        market: Any,
        prices: Any,
        known: Any,
        firm: Any = 0,
        labels: Mapping[str, Any] | None = None,
        grid: Any = None,
    ) -> AllocationChoices:
        """Take prices that firms set once, knowing what the others charge.

        Parameters
        ----------
        market : :class:`mlinstruments.applications.pricing.Market`
        prices, known, firm, labels, grid :
            See :meth:`mlinstruments.applications.pricing.Market.choices`.

        Returns
        -------
        AllocationChoices

        Raises
        ------
        NotIdentifiedError
            Where prices say what conduct is and not why, such as those of a symmetric equilibrium.

        Examples
        --------
        >>> from mlinstruments import ChoiceData, PreferenceLogit
        >>> from mlinstruments.applications.pricing import Market
        >>> rivals = [[0.0, p] for p in (1.2, 1.4, 1.6, 1.8, 1.9)]
        >>> data = ChoiceData.from_prices(Market(), [1.6, 1.7, 1.7, 1.8, 1.7], rivals)
        >>> PreferenceLogit().fit(data).params.index.tolist()
        ['lambda', 'kappa']
        """
        found: AllocationChoices = market.choices(prices, known, firm, labels, grid)
        return found

    def select(self, **values: Any) -> ChoiceData:
        """Rows whose labels have given values.

        Parameters
        ----------
        **values
            Column and value.

        Returns
        -------
        ChoiceData
            ``excluded`` then counts what was no choice among such rows; what the log says too
            little of is counted apart, in ``excluded.unattributed``.

        Raises
        ------
        InputError
            Where there is no such column, or no such row.

        Examples
        --------
        >>> from mlinstruments import ChoiceData
        >>> from mlinstruments.games import Protocol
        >>> tg = Protocol("tg", 80, 50, 30, 20, id="a")
        >>> data = ChoiceData.from_counts([(tg, None, {"00": 3, "11": 2})])
        >>> data.select(game="tg").n_choices
        5.0
        """
        kept = np.ones(len(self.count), dtype=bool)
        for name, value in values.items():
            if name not in self.labels:
                raise InputError(f"no column {name!r}; there are {', '.join(self.labels)}.")
            kept &= equal(self.labels[name], value)
        excluded = self.excluded.select(**values)
        if not kept.any():
            raise InputError(_nothing_selected(values, excluded))
        return ChoiceData(
            self.protocols,
            self.protocol[kept],
            self.strategy[kept],
            self.count[kept],
            self.beliefs[kept],
            {name: column[kept] for name, column in self.labels.items()},
            excluded,
        )

    def resolved_beliefs(self, beliefs: Any) -> FloatArray:
        """Belief of every row about the other's play, (N, 3), NaN beyond its nodes.

        Parameters
        ----------
        beliefs : str or mapping
            ``"elicited"``, ``"uniform"`` (one half everywhere), ``"empirical"`` (mean play in the
            protocol), ``"self"`` (the other does as I do), ``"subgame_perfect"``, or a mapping from
            protocol id or game to probabilities.

        Returns
        -------
        array, shape (N, 3)

        Raises
        ------
        InputError
            Where elicited beliefs are missing, or the mapping lacks a protocol.

        Examples
        --------
        >>> from mlinstruments import ChoiceData
        >>> from mlinstruments.games import Protocol
        >>> tg = Protocol("tg", 80, 50, 30, 20, id="a")
        >>> data = ChoiceData.from_counts([(tg, None, {"00": 3, "11": 1})])
        >>> data.resolved_beliefs("empirical")[0]
        array([0.25, 0.25,  nan])
        """
        return resolve(
            beliefs, self.protocols, self.protocol, self.strategy, self.count, self.beliefs
        )

    def design(
        self, utility: Utility | None = None, beliefs: Any = "elicited", unit: str = "strategy"
    ) -> Design:
        """Choice sets with regressors.

        Parameters
        ----------
        utility : Utility, optional
            :class:`.HomoMoralis` by default.
        beliefs : str or mapping
            See :meth:`resolved_beliefs`.
        unit : {"strategy", "node"}
            Logit over whole strategies, or at every node given the subject's own other nodes.

        Returns
        -------
        Design
            Choice sets, one for each protocol and belief, and who chose what from them.

        Raises
        ------
        InputError
            As :meth:`resolved_beliefs`.

        Examples
        --------
        >>> from mlinstruments import ChoiceData
        >>> from mlinstruments.games import Protocol
        >>> tg = Protocol("tg", 80, 50, 30, 20, id="a")
        >>> data = ChoiceData.from_counts([(tg, (0.5, 0.5), {"00": 3, "11": 1})])
        >>> data.design().z.shape  # sets, strategies, coefficients
        (1, 4, 4)
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
            z,
            available,
            model.parameters,
            cell,
            self.strategy,
            self.count,
            self.labels,
            names,
            str(getattr(model, "words", "")),
        )
        return whole if unit == "strategy" else node_design(whole)


def _nothing_selected(values: Mapping[str, Any], excluded: Excluded) -> str:
    words = ", ".join(f"{name}={value!r}" for name, value in values.items())
    answers = f", only answers that are none: {excluded}" if str(excluded) else ""
    return f"no choice has {words}{answers}."
