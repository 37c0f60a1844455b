"""Answers that are no choices, counted by reason, with what is known of whose they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import missing_mask
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray

from .columns import labels_of
from .readers import shown, where

STATUSES = ("ok", "refusal", "ambiguous", "parse_error")
# In the order they are reported; the last counts strategies, the others answers.
REASONS = ("refusal", "ambiguous", "parse_error", "incomplete")


@dataclass(frozen=True, eq=False, repr=False)
class Excluded(Mapping[str, float]):
    """Counts of answers that are no choices, by reason: a mapping, and equal to one.

    Parameters
    ----------
    reason : array, shape (E,)
        ``refusal``, ``ambiguous``, ``parse_error``, or ``incomplete`` of a strategy that lacks a
        node.
    count : array, shape (E,)
        How many.
    labels : mapping of str to array (E,)
        What the log says of them: subject, model, protocol, ...
    doubtful : bool array, shape (E,)
        Those of which the log does not say whether they belong to a selection that was made.

    Examples
    --------
    >>> found = Excluded.of({"refusal": 3})
    >>> found["refusal"], found == {"refusal": 3}
    (3, True)
    >>> found.select(model="base").unattributed
    {'refusal': 3}
    """

    reason: AnyArray
    count: FloatArray
    labels: Mapping[str, AnyArray]
    doubtful: BoolArray

    @classmethod
    def of(cls, counts: Mapping[str, float]) -> Excluded:
        """Counts of which nothing else is known."""
        if isinstance(counts, Excluded):
            return counts
        values = np.array(list(counts.values()), dtype=float)
        return cls(np.array(list(counts), dtype=object), values, {}, np.zeros(len(values), bool))

    @classmethod
    def rows(cls, reason: AnyArray, count: FloatArray, labels: Mapping[str, AnyArray]) -> Excluded:
        """One row an answer."""
        return cls(reason, count, labels, np.zeros(len(reason), dtype=bool))

    def joined(self, other: Excluded) -> Excluded:
        """These and others, with the labels that both have."""
        common = [name for name in self.labels if name in other.labels]
        return Excluded(
            np.concatenate([self.reason, other.reason]),
            np.concatenate([self.count, other.count]),
            {name: np.concatenate([self.labels[name], other.labels[name]]) for name in common},
            np.concatenate([self.doubtful, other.doubtful]),
        )

    def select(self, **values: Any) -> Excluded:
        """Those whose labels have given values, or of whom the log does not say."""
        kept, doubtful = np.ones(len(self.reason), dtype=bool), self.doubtful.copy()
        for name, value in values.items():
            if name in self.labels:
                known = ~missing_mask(self.labels[name])
                kept &= ~known | equal(self.labels[name], value)
                doubtful |= ~known
            else:
                doubtful[:] = True
        labels = {name: column[kept] for name, column in self.labels.items()}
        return Excluded(self.reason[kept], self.count[kept], labels, doubtful[kept])

    @property
    def unattributed(self) -> dict[str, float]:
        """Counts of those that may or may not belong to the selection, and are not in the others.

        Empty for a whole log.
        """
        return self._counts(self.doubtful)

    def _counts(self, rows: BoolArray) -> dict[str, float]:
        reason, count = self.reason[rows], self.count[rows]
        names = [*(r for r in REASONS if r in reason), *sorted(set(reason) - set(REASONS))]
        totals = {str(name): float(count[reason == name].sum()) for name in names}
        return {name: int(n) if n.is_integer() else n for name, n in totals.items()}

    def __getitem__(self, reason: str) -> float:
        return self._counts(~self.doubtful)[reason]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts(~self.doubtful))

    def __len__(self) -> int:
        return len(self._counts(~self.doubtful))

    def __repr__(self) -> str:
        return repr(dict(self))

    def __str__(self) -> str:
        words = _words(dict(self))
        if not self.unattributed:
            return words
        more = _words(self.unattributed)
        return f"{words or 'none known'}; perhaps also, of which the log does not say whose: {more}"


def usable(table: pd.DataFrame, source: str) -> tuple[pd.DataFrame, Excluded]:
    """Rows that are choices, and those that are not; nothing is recoded."""
    if "status" not in table.columns:
        return table, excluded_rows(table.iloc[:0], np.empty(0, dtype=object))
    status = table["status"].astype(str)
    unknown = ~status.isin(STATUSES)
    if unknown.any():
        row = int(np.argmax(unknown.to_numpy()))
        raise InputError(
            f"{source}, {where(table, row)}: status {shown(status.iloc[row])} is unknown; it is one"
            f" of {', '.join(STATUSES)}."
        )
    good = (status == "ok").to_numpy()
    if not good.any():
        raise InputError(f"{source} holds no choice: every answer is a refusal or unreadable.")
    return table[good], excluded_rows(table[~good], status[~good].to_numpy(dtype=object))


def excluded_rows(table: pd.DataFrame, reason: AnyArray) -> Excluded:
    """Rows that are no choices; a count that is missing is one."""
    counts = pd.to_numeric(table["count"], errors="coerce") if "count" in table else 1.0
    numbers = np.ones(len(table)) * np.asarray(counts, dtype=float)
    return Excluded.rows(reason, np.where(numbers >= 0, numbers, 1.0), labels_of(table))


def equal(values: AnyArray, value: Any) -> BoolArray:
    """Which entries (n,) equal a value; missing ones do not."""
    found = ~missing_mask(values)
    found[found] = np.asarray(values[found] == value, dtype=bool)
    return found


def _words(counts: Mapping[str, float]) -> str:
    answers = ", ".join(f"{name} {n:g}" for name, n in counts.items() if name != "incomplete")
    lacking = counts.get("incomplete")
    strategies = f"strategies that lack a node {lacking:g}" if lacking else ""
    return "; ".join(filter(None, (answers, strategies)))
