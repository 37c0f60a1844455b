"""The data of an instrumental-variable model: any frame or formula in, checked arrays out.

Notation: y (n,) dependent; X (n, p) exogenous, D (n, d) endogenous regressors; W instruments.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd
import scipy.linalg

from mlinstruments._core.arrays import (
    as_float_column,
    check_lengths,
    check_weights,
    encode_labels,
    missing_mask,
    require_finite,
)
from mlinstruments._core.exceptions import AssumptionWarning, InputError, MissingRowsWarning
from mlinstruments._core.linalg import RANK_TOLERANCE, Annihilator, dependent_columns
from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray, IntArray
from mlinstruments.iv.formula import IVFormula, unknown_column
from mlinstruments.learning.features import Features

# An instrument whose squared correlation with a treatment is closer to 1 is that treatment.
AFFINE_TOLERANCE = 1e-10
# Rows and instruments looked at in one go by the checks: bounds their memory.
BLOCK_ROWS, BLOCK_COLUMNS = 16_384, 32
ROLES = ("dependent", "exog", "endog", "instruments")
Kind = Literal["numbers", "features", "labels"]
KINDS: dict[str, Kind] = {"instruments": "features", "clusters": "labels"}


@dataclass(frozen=True, eq=False)
class IVData:
    """Rows ready for estimation: no missing regressor, no impossible column.

    Build it with :meth:`from_arrays` or :meth:`from_formula`, which check everything.

    Parameters
    ----------
    y : array, shape (n,)
        Dependent variable.
    D : array, shape (n, d)
        Endogenous regressors.
    X : array, shape (n, p)
        Exogenous regressors, with the constant if there is one.
    W : Features, n rows and q columns
        Excluded instruments; missing entries NaN where the learner takes them.
    weights : array, shape (n,), or None
        Analytic weights with mean one.
    clusters : tuple of int arrays, each (n,)
        Cluster numbers from 0; none, one or two ways.
    dependent, exog, endog, instruments, cluster_names : str or tuple of str
        Names of the columns.
    kept : bool array, shape (rows of the input,)
        Which input rows survived the dropping of missing values; n of them.
    index : pandas Index
        Labels of all input rows.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y, d, z = rng.normal(size=(3, 50))
    >>> data = IVData.from_arrays(y, np.ones(50), d, z)
    >>> data.nobs, data.endog, data.W.names
    (50, ('endog',), ('instruments',))
    """

    y: FloatArray
    D: FloatArray
    X: FloatArray
    W: Features
    weights: FloatArray | None
    clusters: tuple[IntArray, ...]
    dependent: str
    exog: tuple[str, ...]
    endog: tuple[str, ...]
    instruments: tuple[str, ...]
    cluster_names: tuple[str, ...]
    kept: BoolArray
    index: pd.Index

    @property
    def nobs(self) -> int:
        """Number of rows kept."""
        return len(self.y)

    @property
    def n_endog(self) -> int:
        """Number of endogenous regressors."""
        return int(self.D.shape[1])

    @property
    def n_exog(self) -> int:
        """Number of exogenous regressors, the constant included."""
        return int(self.X.shape[1])

    @classmethod
    def from_arrays(
        cls,
        dependent: Any,
        exog: Any,
        endog: Any,
        instruments: Any,
        weights: Any = None,
        clusters: Any = None,
        takes_missing: bool = True,
    ) -> IVData:
        """Check and convert arrays or columns of any data frame library.

        Parameters
        ----------
        dependent, exog, endog, instruments : array, Series or data frame, n rows each
            numpy, pandas, polars or pyarrow, in linearmodels' order. ``exog`` may be None. Only
            instruments may hold categories: strings, categoricals, or booleans stored as objects.
        weights : array or Series, shape (n,), optional
            Analytic weights, positive.
        clusters : array, Series or data frame with one or two columns, optional
            Labels of any hashable type.
        takes_missing : bool
            Keep rows whose instruments are missing, because the learner can use them.

        Returns
        -------
        IVData

        Raises
        ------
        InputError
            Where an input cannot be used; the message names the variable and the remedy.

        Warns
        -----
        MissingRowsWarning
            Once, with the number of rows dropped.
        AssumptionWarning
            Where ``exog`` has no constant.

        Examples
        --------
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"y": [1.0, 2, 4, 3], "d": [0.0, 1, 1, 2], "z": [1, 0, 1, 1]})
        >>> exog = pd.DataFrame({"const": [1.0, 1, 1, 1]})
        >>> IVData.from_arrays(frame["y"], exog, frame["d"], frame["z"]).exog
        ('const',)
        """
        given = {
            "dependent": dependent,
            "exog": exog,
            "endog": endog,
            "instruments": instruments,
            "weights": weights,
            "clusters": clusters,
        }
        pieces = _read_all(given)
        _check_columns(pieces)
        n = check_lengths({role: len(piece.values) for role, piece in pieces.items()})
        index = _common_index({role: piece.index for role, piece in pieces.items()}, n)
        nothing = _Missing(np.zeros(n, dtype=bool), Counter())
        return _assemble(pieces, index, takes_missing, nothing)

    @classmethod
    def from_formula(
        cls,
        formula: str,
        data: Any,
        weights: Any = None,
        clusters: Any = None,
        takes_missing: bool = True,
        context: Mapping[str, Any] | None = None,
    ) -> IVData:
        """Read the variables of a formula in linearmodels' dialect from a data frame.

        Parameters
        ----------
        formula : str
            ``"y ~ 1 + x + [d ~ z1 + z2]"``. No constant is added: write ``1 +``. Instruments that
            are plain columns go to the learner as they are, categories and missing values too.
        data : data frame, n rows
            pandas, polars or pyarrow.
        weights, clusters : column name, two column names (clusters), or as in ``from_arrays``
            See :meth:`from_arrays`.
        takes_missing : bool
            See :meth:`from_arrays`.
        context : mapping, optional
            Functions the formula uses, beside numpy as ``np``.

        Returns
        -------
        IVData

        Examples
        --------
        >>> import pandas as pd
        >>> frame = pd.DataFrame(
        ...     {"y": [1.0, 2, 4, 3, 2], "d": [1.0, 2, 3, 3, 1], "z": list("aabcb")}
        ... )
        >>> data = IVData.from_formula("y ~ 1 + [np.log(d) ~ z]", frame)
        >>> data.exog, data.endog, data.W.values[:, 0]
        (('Intercept',), ('np.log(d)',), array([0., 0., 1., 2., 1.]))
        """
        parts = IVFormula.parse(formula)
        source = _open_frame(data)
        names = parts.variables(source.columns, context or {})
        extra = {
            "weights": _columns_of(weights, source, "weights"),
            "clusters": _columns_of(clusters, source, "clusters"),
        }
        frame = source.select(sorted(set().union(*names.values()))).to_pandas()
        others = _read_all(extra)
        n = check_lengths({"data": len(frame), **{r: len(c.values) for r, c in others.items()}})
        indexes = {role: piece.index for role, piece in others.items()}
        index = _common_index({"data": nw.maybe_get_index(source), **indexes}, n)
        first = _Missing.in_frame(frame, names, takes_missing).joined(_Missing.of(others))
        if first.rows.all():
            raise _nothing_left(first)
        # Rows go before formulaic sees them: its dummies turn a missing category into the base.
        kept = frame.loc[~first.rows].reset_index(drop=True)
        read = _read_all(dict(parts.frames(kept, context or {})))
        pieces = {role: piece.expanded(~first.rows) for role, piece in read.items()} | others
        _check_columns(pieces)
        return _assemble(pieces, index, takes_missing, first)

    def on_input_index(
        self, values: AnyArray, columns: tuple[str, ...] | str | None = None
    ) -> pd.Series | pd.DataFrame:
        """Put results for the kept rows back on the rows of the input.

        Parameters
        ----------
        values : array, shape (n,) or (n, m)
            One entry or row for each kept row.
        columns : str or tuple of str, optional
            Name of the Series, or of the frame's columns.

        Returns
        -------
        Series or DataFrame, one row for each input row
            Missing in rows that were dropped.
        """
        full = np.full((len(self.kept), *values.shape[1:]), np.nan)
        full[self.kept] = values
        if values.ndim == 1:
            return pd.Series(full, self.index, name=columns)
        return pd.DataFrame(full, self.index, None if columns is None else list(columns))


# ---- reading: one input of any library -> float columns with names --------------------------


@dataclass(frozen=True, eq=False)
class _Columns:
    """One input: values (n, m) with labels as codes, and what the columns are."""

    role: str
    values: FloatArray
    categorical: BoolArray
    names: tuple[str, ...]
    index: pd.Index | None = None

    def expanded(self, rows: BoolArray) -> _Columns:
        """Spread over the True entries of ``rows``; NaN elsewhere."""
        if rows.all():
            return self
        values = np.full((len(rows), self.values.shape[1]), np.nan)
        values[rows] = self.values
        return replace(self, values=values)

    def taken(self, rows: BoolArray) -> FloatArray:
        """The values in the True entries of ``rows``: a view where those are all."""
        return self.values if rows.all() else self.values[rows]


def _read_all(given: Mapping[str, Any]) -> dict[str, _Columns]:
    pieces = {
        role: _read_columns(value, role, KINDS.get(role, "numbers"))
        for role, value in given.items()
        if value is not None
    }
    if "dependent" in given and "dependent" not in pieces:
        raise InputError("dependent is None: pass the dependent variable.")
    if given.get("exog", 0) is None:
        n = len(pieces["dependent"].values)
        pieces["exog"] = _Columns("exog", np.empty((n, 0)), np.zeros(0, bool), ())
    return pieces


def _read_columns(data: Any, role: str, kind: Kind) -> _Columns:
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
    piece = _converted(series, len(opened), names, role, kind)
    return replace(piece, index=nw.maybe_get_index(opened))


def _read_array(data: Any, role: str, kind: Kind) -> _Columns:
    array = _as_matrix(data, role)
    names = _names([None] * array.shape[1], role)
    if array.dtype.kind in "biuf" and kind != "labels":
        numeric = np.asarray(array, dtype=np.float64)
        return _Columns(role, numeric, np.zeros(len(names), bool), names)
    return _converted(list(array.T), len(array), names, role, kind)


def _as_matrix(data: Any, role: str) -> AnyArray:
    for method, what in (("collect", "a lazy frame"), ("toarray", "a sparse matrix")):
        if hasattr(data, method):
            raise InputError(f"{role} is {what}: call .{method}() on it first.")
    if isinstance(data, np.ma.MaskedArray):
        mask, data = np.ma.getmaskarray(data), np.array(data.data, dtype=object)
        data[mask] = None
    try:
        array = np.asarray(data)
        if isinstance(data, list | tuple) and array.dtype.kind in "US":
            array = np.asarray(data, dtype=object)  # keeps None and NaN apart from text
    except ValueError:
        raise InputError(f"{role} has rows of different lengths: pass a rectangle.") from None
    if array.ndim not in (1, 2):
        raise InputError(
            f"{role} has {array.ndim} dimensions: pass a column, a two-dimensional array or a"
            " data frame, one row an observation."
        )
    return array[:, None] if array.ndim == 1 else array


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
    import pyarrow as pa  # type: ignore[import-untyped]

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
) -> _Columns:
    values = np.empty((n, len(columns)))
    categorical = np.zeros(len(columns), dtype=bool)
    for j, (column, name) in enumerate(zip(columns, names, strict=True)):
        values[:, j], categorical[j] = _as_float(column, name, role, kind)
    return _Columns(role, values, categorical & (kind == "features"), names)


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


def _open_frame(data: Any) -> nw.DataFrame[Any]:
    try:
        return nw.from_native(_arrow_frame(data), eager_only=True)
    except nw.exceptions.DuplicateError as error:
        raise InputError(f"data has two columns of one name; rename one. {error}") from None
    except TypeError:
        raise InputError(
            f"data must be a pandas, polars or pyarrow data frame in memory; got"
            f" {type(data).__name__}. Convert it, or .collect() it, first."
        ) from None


def _columns_of(value: Any, source: nw.DataFrame[Any], role: str) -> Any:
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


# ---- rows: lengths, index, missing values ---------------------------------------------------


def _assemble(
    pieces: dict[str, _Columns], index: pd.Index, takes_missing: bool, first: _Missing
) -> IVData:
    """Check the pieces, drop missing rows (``first`` has those found before) and build."""
    _check_values(pieces)
    always = {r: c for r, c in pieces.items() if not (takes_missing and r == "instruments")}
    missing = first.joined(_Missing.of(always, ~first.rows))
    if missing.rows.all():
        raise _nothing_left(missing)
    missing.warn()
    kept = ~missing.rows
    data = _build(pieces, kept, index)
    _check_rows(data)
    _check_regressors(data)
    _check_instruments(data)
    return data


def _build(pieces: dict[str, _Columns], kept: BoolArray, index: pd.Index) -> IVData:
    weights, clusters = pieces.get("weights"), pieces.get("clusters")
    labels = () if clusters is None else tuple(clusters.taken(kept).T)
    instruments = pieces["instruments"]
    values = _compressed(instruments.taken(kept), instruments.categorical)
    return IVData(
        y=pieces["dependent"].taken(kept)[:, 0],
        D=pieces["endog"].taken(kept),
        X=pieces["exog"].taken(kept),
        W=Features(values, instruments.categorical, instruments.names),
        weights=None if weights is None else check_weights(weights.taken(kept)[:, 0]),
        clusters=tuple(encode_labels(column) for column in labels),
        dependent=pieces["dependent"].names[0],
        exog=pieces["exog"].names,
        endog=pieces["endog"].names,
        instruments=instruments.names,
        cluster_names=() if clusters is None else clusters.names,
        kept=kept,
        index=index,
    )


def _compressed(values: FloatArray, categorical: BoolArray) -> FloatArray:
    """Number the categories that occur 0, 1, ..., so that dropped rows leave no trace."""
    for j in np.flatnonzero(categorical):  # such values are never the caller's own array
        seen = ~np.isnan(values[:, j])
        values[seen, j] = np.unique(values[seen, j], return_inverse=True)[1]
    return values


@dataclass(frozen=True, eq=False)
class _Missing:
    """Rows (n,) with a missing value, and how many there are by variable."""

    rows: BoolArray
    counts: Counter[str]

    @classmethod
    def of(cls, pieces: Mapping[str, _Columns], among: BoolArray | None = None) -> _Missing:
        """Missing in the columns of ``pieces``, looking only at rows ``among``."""
        n = len(next(iter(pieces.values())).values) if pieces else 0
        rows, counts = np.zeros(n, dtype=bool), Counter[str]()
        for piece in pieces.values():
            for name, column in zip(piece.names, piece.values.T, strict=True):
                absent = np.isnan(column) if among is None else np.isnan(column) & among
                counts[name] += int(absent.sum())
                rows |= absent
        return cls(rows, +counts)

    @classmethod
    def in_frame(
        cls, frame: pd.DataFrame, names: Mapping[str, tuple[str, ...]], takes_missing: bool
    ) -> _Missing:
        """Missing in the columns that formula parts need, by part."""
        optional = {"instruments"} if takes_missing else set()
        needed = set().union(*(names[role] for role in names if role not in optional))
        absent = frame[sorted(needed)].isna()
        counts = Counter({str(name): int(absent[name].sum()) for name in absent})
        return cls(absent.any(axis=1).to_numpy(), +counts)

    def joined(self, other: _Missing) -> _Missing:
        """Missing in either."""
        if not len(other.rows):
            return self
        return _Missing(self.rows | other.rows, self.counts + other.counts)

    def warn(self) -> None:
        """Say once how many rows go, and why."""
        dropped = int(self.rows.sum())
        if dropped:
            message = f"Dropped {dropped} of {len(self.rows)} rows with missing values"
            warnings.warn(f"{message}: {self.listed()}.", MissingRowsWarning, stacklevel=4)

    def listed(self) -> str:
        """The variables with most missing values first, with their counts."""
        most = [f"{name} ({count})" for name, count in self.counts.most_common(8)]
        more = len(self.counts) - len(most)
        return ", ".join([*most, f"and {more} more"] if more else most)


def _nothing_left(missing: _Missing) -> InputError:
    n = len(missing.rows)
    empty = [repr(name) for name, count in missing.counts.items() if count == n]
    if empty:
        return InputError(f"{', '.join(empty)}: every value is missing. Leave it out, or fill it.")
    return InputError(
        f"no row is complete; missing values are in {missing.listed()}. Leave out the variables"
        " with most missing values."
    )


def _common_index(indexes: Mapping[str, pd.Index | None], n: int) -> pd.Index:
    """The index pandas inputs share, a RangeIndex where there is none."""
    indexed = {role: index for role, index in indexes.items() if index is not None}
    if not indexed:
        return pd.RangeIndex(n)
    (first_role, first), *rest = indexed.items()
    for role, index in rest:
        if not index.equals(first):
            raise InputError(
                f"{first_role} and {role} have different pandas indexes: align them (such as"
                f" {role}.loc[{first_role}.index]), or .reset_index(drop=True) on both if their"
                " rows are in the same order."
            )
    return first


# ---- checks: every one before any learner runs ----------------------------------------------


def _check_columns(pieces: Mapping[str, _Columns]) -> None:
    """How many columns each input may have, and that no name is used twice."""
    counts = {role: len(piece.names) for role, piece in pieces.items()}
    for role in ("dependent", "weights"):
        if counts.get(role, 1) != 1:
            raise InputError(f"{role} has {counts[role]} columns: pass exactly one.")
    for role in ("endog", "instruments"):
        if not counts.get(role):
            raise InputError(f"{role} has no columns: pass at least one {role} column.")
    if not 1 <= counts.get("clusters", 1) <= 2:
        raise InputError(f"clusters has {counts['clusters']} columns: pass one or two.")
    owner: dict[str, str] = {}
    for role in ROLES:
        for name in pieces[role].names:
            if name in owner:
                both = role if owner[name] == role else f"{owner[name]} and {role}"
                raise InputError(f"{name!r} appears twice in {both}: rename or leave out one.")
            owner[name] = role


def _check_values(pieces: Mapping[str, _Columns]) -> None:
    """Infinite values, columns with nothing in them, and weights out of range."""
    for role, piece in pieces.items():
        for name, column in zip(piece.names, piece.values.T, strict=True):
            require_finite(column, name)
            if np.isnan(column[0]) and np.isnan(column).all():
                raise InputError(f"{name!r} ({role}): every value is missing. Leave it out.")
    if "weights" in pieces:
        check_weights(pieces["weights"].values[:, 0])


def _check_rows(data: IVData) -> None:
    needed = data.n_exog + data.n_endog
    if data.nobs <= needed:
        raise InputError(
            f"too few rows: {data.nobs} for {needed} regressors (exog and endog). Use more rows"
            " or fewer regressors."
        )
    for name, codes in zip(data.cluster_names, data.clusters, strict=True):
        if codes.max() == 0:
            raise InputError(
                f"{name!r} (clusters) has only one cluster: at least two are needed, many are"
                " better. Choose a finer level."
            )


def _check_regressors(data: IVData) -> None:
    """Rank of [X, D], constants, and the absence of a constant."""
    for name, column in zip((data.dependent, *data.endog), (data.y, *data.D.T), strict=True):
        if _is_constant(column):
            raise InputError(f"{name!r} is constant in the rows used: there is nothing to explain.")
    p = data.n_exog
    small = _triangle([data.X, data.D])
    ones, exog, endog = small[:, :1], small[:, 1 : p + 1], small[:, p + 1 :]
    for j in dependent_columns(exog):
        raise InputError(
            f"exog is collinear: {data.exog[j]!r} is a linear combination of"
            f" {_ingredients(exog[:, j], exog[:, :j], data.exog)}. Drop {data.exog[j]!r}."
        )
    _check_endog(exog, endog, data)
    if _unexplained(ones[:, 0], exog) > 1e-8:
        warnings.warn(
            "exog has no constant. As in linearmodels none is added: add a column of ones to exog,"
            " or '1 +' to a formula, unless the model has no intercept.",
            AssumptionWarning,
            stacklevel=4,
        )


def _check_endog(exog: FloatArray, endog: FloatArray, data: IVData) -> None:
    for j, name in enumerate(data.endog):
        if _unexplained(endog[:, j], exog) < RANK_TOLERANCE:
            raise InputError(
                f"endogenous {name!r} is a linear combination of exog"
                f" {_ingredients(endog[:, j], exog, data.exog)}. Keep it in one of the two."
            )
    both = np.hstack([exog, endog])
    for j in dependent_columns(both):
        name = data.endog[j - data.n_exog]
        raise InputError(
            f"endog is collinear: {name!r} is a linear combination of"
            f" {_ingredients(both[:, j], both[:, :j], data.exog + data.endog)}. Drop {name!r}."
        )


def _check_instruments(data: IVData) -> None:
    """Instruments that vary, and are neither a treatment nor a linear function of exog."""
    lowest = np.fmin.reduce(data.W.values, axis=0)
    absent = np.isnan(data.W.values.sum(axis=0))
    flat = np.array([_is_constant(column) for column in data.W.values.T])
    for j in np.flatnonzero(flat & ~absent | np.isnan(lowest)):
        raise InputError(
            f"instrument {data.instruments[j]!r} is constant in the rows used: it carries no"
            " information. Leave it out."
        )
    numeric = np.flatnonzero(~data.W.categorical & ~flat)
    for chosen in _batches(numeric, absent):
        _check_batch(data, chosen)


def _batches(numeric: IntArray, absent: BoolArray) -> Iterator[IntArray]:
    """Complete instruments many at a time; incomplete ones alone, each on its own rows."""
    complete = numeric[~absent[numeric]]
    for start in range(0, len(complete), BLOCK_COLUMNS):
        yield complete[start : start + BLOCK_COLUMNS]
    for j in numeric[absent[numeric]]:
        yield np.array([j])


def _check_batch(data: IVData, chosen: IntArray) -> None:
    p, d = data.n_exog, data.n_endog
    observed = int((~np.isnan(data.W.values[:, chosen[0]])).sum())
    if observed < p + d + 3:
        return  # so few rows are fitted by anything
    small = _triangle([data.X, data.D, data.W.values], columns=chosen)
    exog, endog, instruments = np.hsplit(small[:, 1:], [p, p + d])
    for j, column in zip(chosen, instruments.T, strict=True):
        name = data.instruments[j]
        if _unexplained(column, exog) < RANK_TOLERANCE:
            raise InputError(
                f"instrument {name!r} is a linear combination of exog"
                f" {_ingredients(column, exog, data.exog)}: a learner would smuggle non-linear"
                " functions of exog in as instruments. Keep it in one of the two."
            )
        # The first row holds what the constant explains: without it, columns are centred.
        for treatment, other in zip(data.endog, endog[1:].T, strict=True):
            if _unexplained(column[1:], other[:, None]) ** 2 < AFFINE_TOLERANCE:
                raise InputError(
                    f"instrument {name!r} equals the endogenous {treatment!r}, or is an affine"
                    " function of it. Leave it out of the instruments."
                )


def _is_constant(column: FloatArray) -> bool:
    low, high = np.fmin.reduce(column), np.fmax.reduce(column)
    return bool(high - low <= 1e-12 * max(abs(low), abs(high)))


def _triangle(pieces: list[FloatArray], columns: IntArray | None = None) -> FloatArray:
    """Replace many rows by few with the same cross-products: R of a QR factorisation.

    Linear relations among columns, lengths and angles are those of the full columns, to machine
    precision, at O(n m^2) time and without a copy of the data.

    Parameters
    ----------
    pieces : list of arrays, each (n, .)
        Side by side, after a constant; rows with a missing entry are left out.
    columns : int array, optional
        Which columns of the last piece; all by default.

    Returns
    -------
    array, shape (at most m, m)
    """
    *others, last = pieces
    small = np.empty((0, 0))
    for start in range(0, len(last), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        final = last[rows] if columns is None else last[rows][:, columns]
        block = np.hstack([np.ones((len(final), 1)), *[o[rows] for o in others], final])
        block = block[~np.isnan(block).any(axis=1)]
        stacked = np.vstack([small, block]) if small.size else block
        small = scipy.linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0]
        small = small[: small.shape[1]]
    return small


def _unexplained(column: FloatArray, others: FloatArray) -> float:
    """The share of the length of ``column`` (m,) outside the span of ``others`` (m, k)."""
    length = float(np.linalg.norm(column))
    rest = Annihilator.of(others).residualise(column)
    return float(np.linalg.norm(rest)) / length if length > 0 else 0.0


def _ingredients(column: FloatArray, others: FloatArray, names: tuple[str, ...]) -> str:
    """Names of the columns that make up ``column``, for a message."""
    lengths = np.maximum(np.linalg.norm(others, axis=0), np.finfo(float).tiny)
    shares = np.abs(np.linalg.lstsq(others / lengths, column, rcond=None)[0])
    used = [repr(names[j]) for j in np.flatnonzero(shares > 1e-6 * np.linalg.norm(column))]
    return ", ".join(used[:5]) + (" and others" if len(used) > 5 else "")
