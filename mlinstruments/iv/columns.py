"""Reading: one input of any frame library becomes float columns with names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd

from mlinstruments._core.arrays import as_float_column, check_lengths, missing_mask
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray
from mlinstruments.iv.formula import unknown_column

Kind = Literal["numbers", "features", "labels"]
KINDS: dict[str, Kind] = {"instruments": "features", "clusters": "labels"}


@dataclass(frozen=True, eq=False)
class Columns:
    """One input: values (n, m) with labels as codes, and what the columns are."""

    values: FloatArray
    categorical: BoolArray
    names: tuple[str, ...]
    index: pd.Index | None = None

    def expanded(self, rows: BoolArray) -> Columns:
        """Spread over the True entries of ``rows``; NaN elsewhere."""
        if rows.all():
            return self
        values = np.full((len(rows), self.values.shape[1]), np.nan)
        values[rows] = self.values
        return replace(self, values=values)

    def taken(self, rows: BoolArray) -> Columns:
        """The True entries of ``rows``: without a copy where those are all."""
        return self if rows.all() else replace(self, values=self.values[rows])


def read_all(given: Mapping[str, Any]) -> dict[str, Columns]:
    """Read inputs by role; those that are None are left out, but for exog, then without columns."""
    pieces = {
        role: _read_columns(value, role, KINDS.get(role, "numbers"))
        for role, value in given.items()
        if value is not None
    }
    if "dependent" in given and "dependent" not in pieces:
        raise InputError("dependent is None: pass the dependent variable.")
    if "exog" in given and "exog" not in pieces:
        n = len(pieces["dependent"].values)
        pieces["exog"] = Columns(np.empty((n, 0)), np.zeros(0, dtype=bool), ())
    return pieces


def open_frame(data: Any) -> tuple[nw.DataFrame[Any], pd.Index | None]:
    """A data frame of any library, and its index if it is pandas'."""
    try:
        frame = nw.from_native(_arrow_frame(data), eager_only=True)
    except nw.exceptions.DuplicateError as error:
        raise InputError(f"data has two columns of one name; rename one. {error}") from None
    except TypeError:
        raise InputError(
            f"data must be a pandas, polars or pyarrow data frame in memory; got"
            f" {type(data).__name__}. Convert it, or .collect() it, first."
        ) from None
    return frame, nw.maybe_get_index(frame)


def columns_of(value: Any, source: nw.DataFrame[Any], role: str) -> Any:
    """Weights or clusters given as column names become those columns; all else is unchanged."""
    listed = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
    if not isinstance(value, str) and not (listed and len(value) != len(source)):
        return value
    names = [value] if isinstance(value, str) else list(value)
    if len(set(names)) < len(names):
        raise InputError(f"{role} names the column {names[0]!r} twice: name it once.")
    for name in names:
        if name not in source.columns:
            raise unknown_column(name, source.columns, role)
    return source.select(names).to_native()


def common_index(pieces: Mapping[str, Columns], **others: tuple[int, pd.Index | None]) -> pd.Index:
    """The index that pandas inputs share, a RangeIndex where there is none.

    Inputs that are not ``pieces`` are given as their number of rows and index.
    """
    rows = others | {role: (len(piece.values), piece.index) for role, piece in pieces.items()}
    n = check_lengths({role: length for role, (length, _) in rows.items()})
    indexed = [(role, index) for role, (_, index) in rows.items() if index is not None]
    if not indexed:
        return pd.RangeIndex(n)
    (first_role, first), *rest = indexed
    for role, index in rest:
        if not index.equals(first):
            raise InputError(
                f"{first_role} and {role} have different pandas indexes: align them (such as"
                f" {role}.loc[{first_role}.index]), or .reset_index(drop=True) on both if their"
                " rows are in the same order."
            )
    return first


def _read_columns(data: Any, role: str, kind: Kind) -> Columns:
    if kind == "labels" and isinstance(data, list | tuple):
        data = _listed_labels(data)
    try:
        opened = nw.from_native(
            _arrow_frame(data), eager_only=True, allow_series=True, pass_through=True
        )
    except nw.exceptions.DuplicateError:
        raise InputError(f"{role} has two columns of one name: rename or drop one.") from None
    if not isinstance(opened, nw.Series | nw.DataFrame):
        return _read_array(data, role, kind)
    if isinstance(opened, nw.Series):
        series, labels = [opened], [opened.name]
    else:
        series, labels = list(opened.iter_columns()), list(opened.columns)
    names = _names(labels, role)
    native = opened.to_native()
    if kind != "labels" and isinstance(native, pd.Series | pd.DataFrame) and _all_doubles(native):
        array = native.to_numpy()  # not copied where pandas keeps its columns together
        values = array[:, None] if array.ndim == 1 else array
        piece = Columns(values, np.zeros(len(names), dtype=bool), names)
    else:
        piece = _converted(series, len(opened), names, role, kind)
    return replace(piece, index=nw.maybe_get_index(opened))


def _all_doubles(data: pd.Series | pd.DataFrame) -> bool:
    types = [data.dtype] if isinstance(data, pd.Series) else list(data.dtypes)
    return bool(types) and all(dtype == np.float64 for dtype in types)


def _read_array(data: Any, role: str, kind: Kind) -> Columns:
    array = _as_matrix(data, role)
    names = _names([None] * array.shape[1], role)
    if array.dtype.kind in "biuf" and kind != "labels":
        numeric = np.asarray(array, dtype=np.float64)
        return Columns(numeric, np.zeros(len(names), bool), names)
    return _converted(list(array.T), len(array), names, role, kind)


def _as_matrix(data: Any, role: str) -> AnyArray:
    for method, what in (("collect", "a lazy frame"), ("toarray", "a sparse matrix")):
        if hasattr(data, method):
            raise InputError(f"{role} is {what}: call .{method}() on it first.")
    try:
        array = _as_array(data)
    except ValueError:
        raise InputError(f"{role} has rows of different lengths: pass a rectangle.") from None
    if array.ndim not in (1, 2):
        raise InputError(
            f"{role} has {array.ndim} dimensions: pass a column, a two-dimensional array or a"
            " data frame, one row an observation."
        )
    return array[:, None] if array.ndim == 1 else array


def _as_array(data: Any) -> AnyArray:
    """A numpy array with None where a masked array is masked or a list of strings has None."""
    if isinstance(data, np.ma.MaskedArray):
        filled = np.array(data.data, dtype=object)
        filled[np.ma.getmaskarray(data)] = None
        return filled
    array = np.asarray(data)
    if isinstance(data, list | tuple) and array.dtype.kind in "US":
        return np.asarray(data, dtype=object)  # keeps None and NaN apart from text
    return array


def _listed_labels(data: Any) -> AnyArray:
    """A list of labels as one column; tuples are labels, columns in a list are refused."""
    if any(np.ndim(entry) > 0 and not isinstance(entry, tuple) for entry in data[:2]):
        raise InputError(
            "clusters is a list of columns: pass a two-column array or frame, such as"
            " numpy.column_stack([firm, year])."
        )
    labels = np.empty(len(data), dtype=object)
    labels[:] = data
    return labels


def _arrow_frame(data: Any) -> Any:
    """pyarrow's plain arrays and record batches as the chunked kinds narwhals knows."""
    if type(data).__module__.partition(".")[0] != "pyarrow":
        return data
    import pyarrow as pa

    if isinstance(data, pa.Array):
        return pa.chunked_array([data])
    return pa.Table.from_batches([data]) if isinstance(data, pa.RecordBatch) else data


def _names(labels: list[Any], role: str) -> tuple[str, ...]:
    """The labels, or linearmodels' default names where the library made the labels up."""
    numbered = range(len(labels))
    made_up = (list(numbered), [f"column_{j}" for j in numbered])
    if labels in made_up or all(label is None or label == "" for label in labels):
        return (role,) if len(labels) == 1 else tuple(f"{role}.{j}" for j in numbered)
    return tuple(map(str, labels))


def _converted(
    columns: list[Any], n: int, names: tuple[str, ...], role: str, kind: Kind
) -> Columns:
    values = np.empty((n, len(columns)))
    categorical = np.zeros(len(columns), dtype=bool)
    for j, (column, name) in enumerate(zip(columns, names, strict=True)):
        values[:, j], categorical[j] = _as_float(column, name, role, kind)
    return Columns(values, categorical & (kind == "features"), names)


def _as_float(column: Any, name: str, role: str, kind: Kind) -> tuple[AnyArray, bool]:
    """One column as numbers and False, or as codes (NaN where missing) and True."""
    if not isinstance(column, nw.Series):
        return _array_as_float(column, name, role, kind)
    dtype = column.dtype
    if dtype.is_nested():
        raise InputError(f"{name!r} (in {role}) holds lists: pass one value a row.")
    category = isinstance(dtype, nw.Categorical | nw.Enum)
    if kind == "numbers" and category:
        raise _not_numeric(name, role, column.drop_nulls().to_list()[:1])
    if kind == "features" and category:
        return _category_codes(column), True
    if kind != "labels" and (dtype.is_numeric() or dtype == nw.Boolean):
        return column.cast(nw.Float64).to_numpy(), False
    # pyarrow's own conversion of dictionaries to numpy loses the nulls.
    text = category and not isinstance(column.to_native(), pd.Series)
    return _array_as_float(
        (column.cast(nw.String) if text else column).to_numpy(), name, role, kind
    )


def _array_as_float(values: AnyArray, name: str, role: str, kind: Kind) -> tuple[AnyArray, bool]:
    if kind == "labels":
        return _label_codes(values, name, sort=False), True
    if values.dtype.kind in "biufmMc":
        return as_float_column(values, name), False
    holds = pd.api.types.infer_dtype(values, skipna=True)
    if holds.startswith(("date", "time", "period")):
        raise InputError(f"{name!r} holds dates: convert them to numbers, such as years, first.")
    numbers = ("floating", "integer", "mixed-integer-float", "decimal", "complex", "empty")
    if holds in numbers or (holds == "boolean" and kind == "numbers"):
        return as_float_column(np.where(missing_mask(values), np.nan, values), name), False
    if kind == "numbers":
        raise _not_numeric(name, role, [v for v in values if isinstance(v, str)] or values)
    return _label_codes(values, name, sort=True), True


def _category_codes(column: nw.Series[Any]) -> FloatArray:
    """Codes in the order of the categories where the type fixes one, else of sorted labels."""
    native = column.to_native()
    if isinstance(native, pd.Series) and isinstance(native.dtype, pd.CategoricalDtype):
        return _nan_codes(native.cat.codes.to_numpy())
    labels = column.cast(nw.String).to_numpy()
    if isinstance(column.dtype, nw.Enum):
        return _nan_codes(pd.Categorical(labels, list(column.dtype.categories)).codes)
    return _label_codes(labels, column.name, sort=True)


def _label_codes(labels: AnyArray, name: str, sort: bool) -> FloatArray:
    try:
        return _nan_codes(pd.factorize(labels, sort=sort)[0])
    except TypeError as error:
        raise InputError(f"{name!r} holds labels that cannot be compared ({error}).") from None


def _nan_codes(codes: AnyArray) -> FloatArray:
    return np.where(codes < 0, np.nan, codes)


def _not_numeric(name: str, role: str, entries: Any) -> InputError:
    example = f"; it holds {entries[0]!r}" if len(entries) else ""
    return InputError(
        f"{name!r} (in {role}) must be numeric{example}. Convert it to numbers, or to dummy"
        " variables (pandas.get_dummies; in a formula: C(name)). Only instruments take categories."
    )
