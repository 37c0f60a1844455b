"""Columns of a table gathered block by block, held small: numbers as arrays, words as codes.

The result is that of handing all values to pandas at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.typing import AnyArray, BoolArray

NONE = type(None)
# Whole numbers up to here are exact as floats.
EXACT_WHOLE = 2**53


class Words(dict[Any, int]):
    """Number of every word, given when it is first looked up.

    Examples
    --------
    >>> words = Words()
    >>> [words[w] for w in ("a", "b", "a")]
    [0, 1, 0]
    """

    def __missing__(self, word: Any) -> int:
        self[word] = len(self)
        return self[word]


@dataclass(frozen=True, eq=False)
class Piece:
    """Some values of a column.

    Parameters
    ----------
    kind : {"number", "word", "nothing", "other"}
    values : array or list
        Numbers, with anything where there are none; codes of words; or the values themselves.
    missing : bool array, optional
        Numbers: which are None.
    """

    kind: str
    values: Any
    missing: BoolArray | None = None


@dataclass
class Column:
    """Values of one name, in order.

    Parameters
    ----------
    pieces : list of Piece
    words : Words
    """

    pieces: list[Piece] = field(default_factory=list)
    words: Words = field(default_factory=Words)

    def add(self, values: Sequence[Any]) -> None:
        """Take values of any kind; lists and objects become JSON text."""
        kinds = set(map(type, values))
        if kinds & {list, dict}:
            values = [json.dumps(v) if isinstance(v, list | dict) else v for v in values]
            kinds = set(map(type, values))
        self.pieces.append(self._piece(values, kinds))

    def skip(self, n: int) -> None:
        """Take n times None."""
        if n:
            self.pieces.append(Piece("nothing", np.zeros(n, dtype=np.int64)))

    def _piece(self, values: Sequence[Any], kinds: set[type]) -> Piece:
        some = kinds - {NONE}
        if not some:
            return Piece("nothing", np.zeros(len(values), dtype=np.int64))
        if some == {str}:
            codes = np.fromiter(map(self.words.__getitem__, values), np.int64, len(values))
            return Piece("word", codes)
        if some in ({int}, {float}):
            numbers = _numbers(values, int in some, NONE in kinds)
            if numbers is not None:
                return numbers
        return Piece("other", list(values))

    def series(self) -> pd.Series:
        """All values, of the type pandas gives a list of them."""
        kinds = {piece.kind for piece in self.pieces} - {"nothing"}
        if kinds == {"number"}:
            return pd.Series(self._as_numbers())
        if kinds == {"word"}:
            return self._as_words()
        return pd.Series(list(chain.from_iterable(map(self._objects, self.pieces))))

    def _as_numbers(self) -> AnyArray:
        parts = []
        for piece in self.pieces:
            if piece.kind == "nothing":
                parts.append(np.full(len(piece.values), np.nan))
            elif piece.missing is None:
                parts.append(piece.values)
            else:
                parts.append(np.where(piece.missing, np.nan, piece.values))
        return np.concatenate(parts)

    def _as_words(self) -> pd.Series:
        none = self.words[None] if any(p.kind == "nothing" for p in self.pieces) else 0
        parts = [p.values if p.kind == "word" else p.values + none for p in self.pieces]
        return pd.Series(list(self.words)).take(np.concatenate(parts)).reset_index(drop=True)

    def _objects(self, piece: Piece) -> list[Any]:
        if piece.kind == "nothing":
            return [None] * len(piece.values)
        if piece.kind == "word":
            words = list(self.words)
            return [words[code] for code in piece.values.tolist()]
        if piece.kind == "number" and piece.missing is not None:
            pairs = zip(piece.values.tolist(), piece.missing.tolist(), strict=True)
            return [None if missing else value for value, missing in pairs]
        return list(piece.values.tolist() if piece.kind == "number" else piece.values)


def _numbers(values: Sequence[Any], whole: bool, holes: bool) -> Piece | None:
    """Numbers of one type, or None where they are too large for it."""
    missing = np.fromiter((v is None for v in values), bool, len(values)) if holes else None
    if holes:
        values = [0 if v is None else v for v in values]
    try:
        return Piece("number", np.array(values, np.int64 if whole else np.float64), missing)
    except OverflowError:
        return None


class Columns:
    """Columns gathered from records, which need not have the same keys.

    Examples
    --------
    >>> columns = Columns()
    >>> columns.add([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    >>> columns.add([{"b": "x", "c": [1]}])
    >>> columns.table()
         a  b    c
    0  1.0  x  NaN
    1  2.0  y  NaN
    2  NaN  x  [1]
    """

    def __init__(self) -> None:
        self.columns: dict[str, Column] = {}
        self.rows = 0

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """Append records; a key that one lacks is None."""
        found = _transposed(records)
        for name, column in self.columns.items():
            if name not in found:
                column.skip(len(records))
        for name, values in found.items():
            if name not in self.columns:
                self.columns[name] = Column()
                self.columns[name].skip(self.rows)
            self.columns[name].add(values)
        self.rows += len(records)

    def table(self) -> pd.DataFrame:
        """The table; columns in the order in which their names came, each freed once made."""
        made = {}
        for name in list(self.columns):
            made[name] = self.columns.pop(name).series()
        return pd.DataFrame(made)


def _transposed(records: Sequence[dict[str, Any]]) -> dict[str, Sequence[Any]]:
    """Values by key."""
    if not records:
        return {}
    names = tuple(records[0])
    if len(names) > 1 and set(map(len, records)) == {len(names)}:
        try:
            rows = map(itemgetter(*names), records)
            return dict(zip(names, zip(*rows, strict=True), strict=True))
        except KeyError:
            pass
    every = dict.fromkeys(chain.from_iterable(records))
    return {name: [record.get(name) for record in records] for name in every}
