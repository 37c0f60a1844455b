"""The log of a run: JSON lines appended and flushed record by record, taken up after a kill.

A record is what one question gave: one row, or one row an option where probabilities were measured.
Its rows are written at once and carry the record's key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mlinstruments._core.exceptions import InputError
from mlinstruments.preferences.readers import shown

Row = dict[str, Any]
Key = tuple[Any, ...]
# What tells one record of one agent from another.
KEY = ("protocol_id", "node", "template", "draw")
# How the records begin that are written here: answers to protocols, settings of a run of the
# applications, prices, dilemmas.
STARTS = (b'{"subject": ', b'{"record": ', b'{"session": ', b'{"model": ')


def key_of(row: Mapping[str, Any]) -> Key:
    """The key of a row's record.

    Examples
    --------
    >>> key_of({"protocol_id": "a", "node": 0, "template": "t", "draw": 3, "status": "ok"})
    ('a', 0, 't', 3)
    """
    return tuple(row.get(name) for name in KEY)


class Journal:
    """Records of a run, in a file or in memory.

    Use :func:`opened`, which locks the file, mends its end and closes it.

    Parameters
    ----------
    rows : list of dict
        What the file held.
    file : binary file or None
        None keeps rows in memory alone.
    end : int
        Where the last whole record ends.
    ended : bool
        Whether with a line's end.
    """

    def __init__(
        self, rows: list[Row], file: IO[bytes] | None, end: int = 0, ended: bool = True
    ) -> None:
        self.rows, self._file = rows, file
        self._end, self._ended = end, ended
        self._mended = file is None

    def mend(self) -> None:
        """Cut off what a kill left of a record; not before the file is known to be a log."""
        if self._file is None or self._mended:
            return
        self._file.truncate(self._end)
        self._file.seek(0, 2)
        self._file.write(b"" if self._ended else b"\n")
        self._mended = True

    def write(self, rows: Sequence[Row]) -> None:
        """Append a record, all of it or nothing that a later run would keep."""
        if self._file is not None:
            self.mend()
            lines = [json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n" for row in rows]
            self._file.write("".join(lines).encode())
            self._file.flush()
        self.rows.extend(rows)


@contextmanager
def opened(path: str | Path | None) -> Iterator[Journal]:
    """Open a log to append to; half a record at its end, as a kill leaves it, is cut off.

    Nothing is cut off before the first record is written, or the block ends without an error: a
    caller that finds the file to be something else raises, and leaves it as it was.

    Parameters
    ----------
    path : str, Path or None
        A file ending in .jsonl, made where it is not there; None for memory.

    Returns
    -------
    context manager of Journal

    Raises
    ------
    InputError
        Where another run writes to the file, or a line is no JSON object and no record that was
        cut off.
    """
    if path is None:
        yield Journal([], None)
        return
    if Path(path).suffix != ".jsonl":
        raise InputError(f"log must end in .jsonl, which can grow line by line; got {str(path)!r}.")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        _lock(file, path)
        journal = Journal(*_read(file, path))
        yield journal
        journal.mend()


def _lock(file: IO[bytes], path: str | Path) -> None:
    """Keep a second run out until this one ends, however it ends; where the system can."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{path} is being written by another run: wait for it to end.") from None
    except OSError:  # a file system without locks
        return


def _read(file: IO[bytes], path: str | Path) -> tuple[list[Row], IO[bytes], int, bool]:
    """Rows of whole records, their file, where they end, and whether with a line's end."""
    file.seek(0)
    rows: list[Row] = []
    starts: list[int] = []
    at, ended, foreign = 0, True, True
    for number, line in enumerate(file, start=1):
        try:
            rows.append(_parsed(line, f"{path}, line {number}"))
        except InputError:
            if line.endswith(b"\n") or not _begins(line, STARTS if foreign else (b'{"',)):
                raise
            break
        foreign = foreign and not _begins(line, STARTS)
        ended = line.endswith(b"\n")
        starts.append(at)
        at += len(line)
    lacking = _unfinished(rows)
    if lacking:
        return rows[:-lacking], file, starts[-lacking], True
    return rows, file, at, ended


def _begins(line: bytes, starts: Sequence[bytes]) -> bool:
    """Whether a line, however short, may be the beginning of a record, and not of other text."""
    return any(line[: len(start)] == start[: len(line)] for start in starts)


def _parsed(line: bytes, place: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise InputError(
            f"{place} is not a JSON object: {shown(line.decode(errors='replace').strip())}. Mend or"
            " delete the line, or write to another log."
        )
    return row


def _unfinished(rows: Sequence[Row]) -> int:
    """How many rows at the end are a record whose other rows are missing."""
    if not rows:
        return 0
    size = rows[-1].get("rows", 1)
    ours = {"part", "subject", *KEY[:1]} <= rows[-1].keys()
    if not ours or not isinstance(size, int) or size < 2:
        return 0
    last = (key_of(rows[-1]), rows[-1].get("model"), rows[-1].get("subject"))
    have = 0
    for row in reversed(rows[-size:]):
        if (key_of(row), row.get("model"), row.get("subject")) != last:
            break
        have += 1
    return 0 if have == size else have
