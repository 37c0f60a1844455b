"""Tables of choices from files and data frames, with the line each row stands on."""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, Any

import narwhals as nw
import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import InputError, MissingExtraError, MissingRowsWarning
from mlinstruments._core.typing import IntArray
from mlinstruments._core.warn import warn_user

from .records import Columns

ENDINGS = (".jsonl", ".ndjson", ".csv", ".jsonl.gz", ".ndjson.gz", ".csv.gz", ".parquet")
# Text even where it looks like numbers, so that leading zeros stay.
TEXT = ("strategy", "subject", "protocol_id", "model", "template", "prompt_hash", "session")
# pandas reads decimals exactly unasked since 3.1, and only where asked before.
OLD_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2]) < (3, 1)
EXACT: dict[str, Any] = {"float_precision": "round_trip"} if OLD_PANDAS else {}
BOM = b"\xef\xbb\xbf"
GZIP_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)
# JSON lines read at once: few enough for the processor's cache.
CHUNK = 1 << 16
SCAN = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def where(table: pd.DataFrame, row: int) -> str:
    """Place of a row for errors: its line in the file, or its row in the frame given."""
    return f"line {table['_line'].iloc[row]}" if "_line" in table else f"row {table.index[row]}"


def shown(value: Any, most: int = 80) -> str:
    """A value as written in errors, cut where it is long.

    Examples
    --------
    >>> shown("a" * 1_000_000, most=5)
    "'aaaa... (1000002 characters)"
    """
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def as_pandas(frame: Any, source: str) -> pd.DataFrame:
    """Take a table of any library as pandas, rows numbered from 0.

    Parameters
    ----------
    frame : data frame or list of mappings
        pandas, polars, pyarrow, or any eager frame narwhals knows.
    source : str
        What to call it in errors.

    Returns
    -------
    DataFrame
        Categories become plain values; the frame given is left as it was.

    Raises
    ------
    InputError
        Where it is no table in memory, or has two columns of one name.

    Examples
    --------
    >>> as_pandas([{"strategy": "01"}], "log")["strategy"].tolist()
    ['01']
    """
    if isinstance(frame, list | tuple):
        frame = _from_records(frame, source)
    try:
        opened = nw.from_native(frame, eager_only=True)
    except nw.exceptions.DuplicateError as error:
        raise InputError(f"{source} has two columns of one name; rename one. {error}") from None
    except TypeError:
        raise InputError(
            f"{source} must be a pandas, polars or pyarrow data frame in memory, or a list of"
            f" dictionaries; got {type(frame).__name__}."
        ) from None
    if isinstance(frame, pd.DataFrame):
        columns = {name: frame[name] for name in frame.columns}
    else:
        columns = {column.name: _column(column) for column in opened.iter_columns()}
    plain = {name: _without_categories(column) for name, column in columns.items()}
    table = pd.DataFrame(plain, index=getattr(frame, "index", None))
    return table.reset_index(drop=True)


def _from_records(records: Any, source: str) -> pd.DataFrame:
    for row, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise InputError(
                f"{source}, row {row}: expected a dictionary of column names and values; got"
                f" {shown(record)}."
            )
    try:
        return pd.DataFrame(list(records))
    except OverflowError:  # old pandas, where a whole number is too large for a double
        row, name, value = next(
            (row, name, value)
            for row, record in enumerate(records)
            for name, value in record.items()
            if isinstance(value, int) and abs(value) > sys.float_info.max
        )
        raise InputError(
            f"{source}, row {row}: {name} must be a number; got {shown(value)}."
        ) from None


def _column(column: Any) -> Any:
    if isinstance(column.dtype, nw.Categorical | nw.Enum):
        column = column.cast(nw.String)
    return pd.Series(column.to_numpy())


def _without_categories(column: Any) -> Any:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.astype(column.cat.categories.dtype)
    return column


def read_table(path: str | Path, partial: bool = False, text: bool = False) -> pd.DataFrame:
    """Read a table by its file's ending: .jsonl, .ndjson, .csv, these with .gz, or .parquet.

    Parameters
    ----------
    path : str or Path
        UTF-8 text, or parquet. Lists and objects within a JSON line become JSON text. In CSV
        strategies, subjects, protocols, models, templates and sessions are read as text.
    partial : bool
        Keep the readable lines of a damaged text file and warn how many are not, instead of
        raising. Nothing is written to the file.
    text : bool
        Read every field of a CSV file as text.

    Returns
    -------
    DataFrame
        Text files have a column ``_line``: the line of the file a row starts on, from 1.

    Raises
    ------
    InputError
        Naming file and line: cut-off or invalid JSON, a line that is not an object, bytes that are
        not UTF-8, more or fewer fields than the header.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = path.write_text("subject,strategy\\n007,01\\n")
    >>> read_table(path).to_dict("records")
    [{'subject': '007', 'strategy': '01', '_line': 2}]
    """
    name = Path(path).name.lower()
    ending = next((e for e in ENDINGS if name.endswith(e)), None)
    if ending is None:
        raise InputError(f"{path}: the file must end in {', '.join(ENDINGS)}.")
    if ending == ".parquet":
        return _read_parquet(path)
    faults = Faults(str(path), partial)
    if ending.startswith(".csv"):
        table = _read_csv(path, faults, str if text else dict.fromkeys(TEXT, str))
    else:
        table = _read_jsonl(path, faults)
    faults.warn()
    return table


def _read_parquet(path: str | Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        raise InputError(
            f"{path} is not a whole parquet file ({error}). A file whose writing was cut off"
            " cannot be read; logs that grow are safe as .jsonl."
        ) from None


class Faults:
    """Unreadable lines: the first raises, or all are counted and warned about once."""

    def __init__(self, source: str, partial: bool) -> None:
        self.source, self.partial = source, partial
        self.found: list[str] = []

    def add(self, line: int, words: str, intact: int) -> None:
        message = f"{self.source}, line {line}: {words}"
        if not self.partial:
            raise InputError(
                f"{message}. The {intact} rows before it are intact: mend or delete the line, or"
                " read the readable lines with partial=True."
            )
        self.found.append(message)

    def warn(self) -> None:
        if self.found:
            n = len(self.found)
            some = f"{n} unreadable line{'s' * (n > 1)} left out"
            warn_user(f"{some}; the first: {self.found[0]}.", MissingRowsWarning)


@contextmanager
def _opened(path: str | Path) -> Iterator[IO[bytes]]:
    """The bytes of a plain or gzipped file after its byte-order mark."""
    packed = str(path).lower().endswith(".gz")
    file: IO[bytes]
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:  # type: ignore[assignment]
            if file.read(len(BOM)) != BOM:
                file.seek(0)
            yield file
    except GZIP_DAMAGE as error:
        raise _not_whole(path, error) from None


def _not_whole(path: str | Path, error: Exception) -> InputError:
    # A wrong checksum says nothing of where the damage is.
    known = not isinstance(error, gzip.BadGzipFile)
    place = f"; it can be read up to line {_sound_lines(path)}" if known else ""
    return InputError(
        f"{path} is not a whole gzip file ({error}){place}. Unpack what there is, gzip -dc, and"
        " read that with partial=True."
    )


def _sound_lines(path: str | Path) -> int:
    """How many whole lines of a gzipped file come before what cannot be unpacked."""
    lines = 0
    with gzip.open(path, "rb") as file:
        try:
            while chunk := file.read1(CHUNK):
                lines += chunk.count(b"\n")
        except GZIP_DAMAGE:
            pass
    return lines


# ---- JSON lines ---------------------------------------------------------------------------------


def _read_jsonl(path: str | Path, faults: Faults) -> pd.DataFrame:
    columns = Columns()
    lines: list[IntArray] = []
    last = 0
    with _opened(path) as file:
        for chunk in _whole_lines(file):
            records = _sound(chunk)
            if records is not None:
                numbers = np.arange(last + 1, last + 1 + len(records))
                last += len(records)
            else:
                numbered = list(_objects(BytesIO(chunk), faults, last + 1, columns.rows))
                numbers = np.array([number for number, _ in numbered], dtype=np.int64)
                records = [record for _, record in numbered]
                last += chunk.count(b"\n")
            columns.add(records)
            lines.append(numbers)
    table = columns.table()
    table["_line"] = np.concatenate(lines) if lines else np.empty(0, dtype=np.int64)
    return table


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Pieces of a file that end with a line."""
    parts: list[bytes] = []
    while chunk := file.read(CHUNK):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join([*parts, chunk[:end]])
            parts = []
        parts.append(chunk[end:])
    if any(parts):
        yield b"".join(parts)


def _sound(chunk: bytes) -> list[dict[str, Any]] | None:
    """The objects of lines of which each holds one and nothing else, or None."""
    records: list[dict[str, Any]] = []
    at = 0
    try:
        text = chunk.decode()
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        while at < len(text):
            record, at = SCAN(text, at)
            if text[at] != "\n":
                return None
            records.append(record)
            at += 1
    except (ValueError, StopIteration, IndexError, RecursionError):
        return None
    # An object may also have a line break inside.
    alone = text.count("\n") == len(records) and set(map(type, records)) == {dict}
    if not alone:
        return None
    half = "\\ud" in text or "\\uD" in text
    return [_whole_characters(record) for record in records] if half else records


def json_objects(path: str | Path, faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that holds one."""
    with _opened(path) as file:
        yield from _objects(file, faults, 1, 0)


def _objects(
    file: IO[bytes], faults: Faults, first: int, intact: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """:func:`json_objects` of lines numbered from ``first``, after ``intact`` rows."""
    for number, line in enumerate(file, start=first):
        try:
            record = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            if line.strip():
                faults.add(number, _json_fault(line, error), intact)
            continue
        if type(record) is dict:
            intact += 1
            half = b"\\ud" in line or b"\\uD" in line
            yield number, _whole_characters(record) if half else record
        else:
            faults.add(number, f"not a JSON object: {shown(record)}", intact)


def _whole_characters(record: dict[str, Any]) -> dict[str, Any]:
    """Text as text: half a surrogate pair, as of an emoji cut in two, is left as it was escaped."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if type(value) is str else value
        for name, value in record.items()
    }


def _json_fault(line: bytes, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} ({line[error.start]:#04x}) is not UTF-8 text"
    what = "not valid JSON" if line.endswith(b"\n") else "the line is cut off"
    return f"{what}: {shown(line.decode().strip())}"


# ---- CSV ----------------------------------------------------------------------------------------


def _read_csv(path: str | Path, faults: Faults, dtype: Any) -> pd.DataFrame:
    table, problem = None, ""
    try:
        table = _parse_csv(path, dtype)
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty: there is no header.") from None
    except GZIP_DAMAGE as error:
        raise _not_whole(path, error) from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        problem = str(error)
    if table is not None and _plain(table, path):
        return table.assign(_line=np.arange(2, len(table) + 2))
    lines, rows = _records(path, faults, "EOF inside string" in problem)
    if faults.found:
        table = _parse_csv(_rewritten(rows), dtype)
    if table is None or len(table) != len(lines):
        raise InputError(f"{path} cannot be read as CSV: {problem or 'stray quotes'}.")
    return table.assign(_line=lines)


def _parse_csv(file: Any, dtype: Any) -> pd.DataFrame:
    return pd.read_csv(
        file,
        dtype=dtype,
        encoding="utf-8",
        **EXACT,
        low_memory=False,
    )


def _plain(table: pd.DataFrame, path: str | Path) -> bool:
    """Whether rows are certainly the file's lines: one each, none short of fields."""
    if _named_short(path):
        return False
    with _opened(path) as file:
        breaks, last = 0, b"\n"
        while chunk := file.read(1 << 22):
            breaks, last = breaks + chunk.count(b"\n"), chunk[-1:]
    lines = breaks + (last != b"\n")
    return lines == len(table) + 1 and not table.iloc[:, -1].isna().any()


def _named_short(path: str | Path) -> bool:
    """Whether the first row has more fields than the header, which pandas takes for an index."""
    with _opened(path) as file:
        reader = csv.reader(line.decode(errors="replace") for line in file)
        try:
            widths = [len(fields) for fields in islice(filter(None, reader), 2)]
        except csv.Error:  # a field too long for csv's limit
            return True
    return len(widths) == 2 and widths[1] > widths[0]


def _records(path: str | Path, faults: Faults, unclosed: bool) -> tuple[IntArray, list[list[str]]]:
    """First line of every record, and, where some are left out, the header and the rows kept.

    ``unclosed`` says that the last record opens a quote and never closes it.
    """
    lines: list[int] = []
    rows: list[list[str]] = []
    width, start = 0, 1
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with _opened(path) as file:
            reader = csv.reader(line.decode(errors="surrogateescape") for line in file)
            for fields in reader:
                here, start = start, reader.line_num + 1
                if len(fields) < 2 and not "".join(fields).strip() and width != 1:
                    continue
                width = width or len(fields)
                fault = _csv_fault(fields, width)
                if fault and not lines:
                    raise InputError(
                        f"{path}, line {here}: {fault}, and it is the header, without which the"
                        " rows cannot be read."
                    )
                if fault:
                    faults.add(here, fault, len(lines) - 1)
                    continue
                lines.append(here)
                if faults.partial:
                    rows.append(fields)
    finally:
        csv.field_size_limit(limit)
    if unclosed and not faults.found:
        faults.add(lines.pop(), "a quote is opened and never closed", len(lines) - 1)
        rows = rows[:-1]
    return np.asarray(lines[1:], dtype=np.int64), rows


def _csv_fault(fields: list[str], width: int) -> str:
    if len(fields) != width:
        return f"{len(fields)} fields where the header has {width}: {shown(','.join(fields))}"
    try:
        "".join(fields).encode()
    except UnicodeEncodeError:
        return "the line is not UTF-8 text"
    return ""


def _rewritten(rows: list[list[str]]) -> IO[str]:
    from io import StringIO

    file = StringIO()
    csv.writer(file).writerows(rows)
    file.seek(0)
    return file
