"""The data of an instrumental-variable model: any frame or formula in, checked arrays out.

Notation: y (n,) dependent; X (n, p) exogenous, D (n, d) endogenous regressors; W instruments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.absorb import GroupEffects
from mlinstruments._core.arrays import check_weights, encode_labels
from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray, IntArray
from mlinstruments._core.warn import warn_user
from mlinstruments.iv import checks, fixed_effects
from mlinstruments.iv.columns import Columns, columns_of, common_index, open_frame, read_all
from mlinstruments.iv.fixed_effects import FixedEffects
from mlinstruments.iv.formula import IVFormula
from mlinstruments.learning.features import Features


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
    absorbed : FixedEffects, or None
        Groups whose effects are part of the model.

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
    absorbed: FixedEffects | None = None
    # Few rows with the inner products of [X, D, W, y], where the checks have made them: without
    # weights, missing entries or categories. Not handed on to other rows by replace().
    factor: FloatArray | None = field(default=None, init=False)

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

    @property
    def df_absorbed(self) -> int:
        """Degrees of freedom of absorbed effects."""
        return 0 if self.absorbed is None else self.absorbed.rank

    @cached_property
    def _effects(self) -> GroupEffects | None:
        return None if self.absorbed is None else self.absorbed.effects(self.weights)

    def demeaned(self, values: FloatArray) -> FloatArray:
        """``values`` (n, m) less absorbed effects; as they are where there are none."""
        return values if self._effects is None else self._effects.columns(values)

    @cached_property
    def within(self) -> IVData:
        """These data with absorbed effects taken out of y, X and D; themselves without any.

        By the theorem of Frisch, Waugh and Lovell all that comes after the first stage is the same
        as with a dummy for each group, but for degrees of freedom.
        """
        if self.absorbed is None:
            return self
        y, X, D = (self.demeaned(values) for values in (self.y[:, None], self.X, self.D))
        return replace(self, y=y[:, 0], X=X, D=D)

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
        absorb: Any = None,
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
        absorb : array, Series or data frame with one or two columns, optional
            Groups whose effects are part of the model; labels of any hashable type.

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
            "absorb": absorb,
        }
        pieces = read_all(given)
        checks.check_columns(pieces)
        index = common_index(pieces)
        nothing = _Missing(np.zeros(len(index), dtype=bool), Counter())
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
        absorb: Any = None,
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
        absorb : column name, two column names, or as in ``from_arrays``

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
        source, labels = open_frame(data)
        names = parts.variables(source.columns, context or {})
        extra = {"weights": weights, "clusters": clusters, "absorb": absorb}
        others = read_all({role: columns_of(v, source, role) for role, v in extra.items()})
        frame = source.select(sorted(set().union(*names.values()))).to_pandas()
        index = common_index(others, data=(len(frame), labels))
        missing = _Missing.in_frame(frame, names, takes_missing)
        missing = missing.joined(_Missing.of(others, np.ones(len(index), dtype=bool)))
        missing.require_a_row()
        # Rows go before formulaic sees them: its dummies turn a missing category into the base.
        kept = ~missing.rows
        read = read_all(parts.frames(frame.loc[kept].reset_index(drop=True), context or {}))
        pieces = {role: piece.expanded(kept) for role, piece in read.items()} | others
        checks.check_columns(pieces)
        return _assemble(pieces, index, takes_missing, missing)

    def taken(self, rows: IntArray) -> IVData:
        """Some of the kept rows, in increasing order, as if the others had been dropped."""
        kept = np.zeros_like(self.kept)
        kept[np.flatnonzero(self.kept)[rows]] = True
        weights = None if self.weights is None else check_weights(self.weights[rows])
        return replace(
            self,
            y=self.y[rows],
            D=self.D[rows],
            X=self.X[rows],
            W=replace(self.W, values=self.W.values[rows]),
            weights=weights,
            clusters=tuple(encode_labels(codes[rows]) for codes in self.clusters),
            kept=kept,
        )

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
        full = values
        if len(values) < len(self.kept):
            full = np.full((len(self.kept), *values.shape[1:]), np.nan)
            full[self.kept] = values
        if values.ndim == 1:
            return pd.Series(full, self.index, name=columns, copy=False)
        return pd.DataFrame(full, self.index, None if columns is None else list(columns))


# ---- assembly --------------------------------------------------------------------------------


def _assemble(
    pieces: dict[str, Columns], index: pd.Index, takes_missing: bool, first: _Missing
) -> IVData:
    """Check the pieces, drop missing rows (``first`` has those found before) and build."""
    factor = checks.joint_factor(pieces)
    # A finite factor says that every column it is made of is complete and finite.
    known = () if factor is None else checks.ROLES
    unknown = {role: piece for role, piece in pieces.items() if role not in known}
    checks.check_values(unknown)
    always = {r: c for r, c in unknown.items() if not (takes_missing and r == "instruments")}
    missing = first.joined(_Missing.of(always, ~first.rows)) if always else first
    missing.require_a_row()
    missing.warn()
    kept = ~missing.rows
    used = {role: piece.taken(kept) for role, piece in pieces.items()}
    factor, absorbed = factor if kept.all() else None, None
    if "absorb" in used:
        used, stay, absorbed = fixed_effects.absorb(used)
        kept[np.flatnonzero(kept)] = stay
        factor = None  # of other columns: effects go, and a constant with them
    checks.check_rows(used, 0 if absorbed is None else absorbed.rank)
    demeaned = used if absorbed is None else fixed_effects.within(used, absorbed)
    checks.check_regressors(demeaned, factor, absorbed is not None)
    checks.check_instruments(used, factor)
    if factor is not None:
        factor = None if "weights" in used else factor[:, 1:]
    return _build(used, kept, index, factor, absorbed)


def _build(
    pieces: Mapping[str, Columns],
    kept: BoolArray,
    index: pd.Index,
    factor: FloatArray | None,
    absorbed: FixedEffects | None,
) -> IVData:
    dependent, instruments = pieces["dependent"], pieces["instruments"]
    weights, clusters = pieces.get("weights"), pieces.get("clusters")
    values = _compressed(instruments.values, instruments.categorical)
    data = IVData(
        y=dependent.values[:, 0],
        D=pieces["endog"].values,
        X=pieces["exog"].values,
        W=Features(values, instruments.categorical, instruments.names),
        weights=None if weights is None else check_weights(weights.values[:, 0]),
        clusters=() if clusters is None else tuple(map(encode_labels, clusters.values.T)),
        dependent=dependent.names[0],
        exog=pieces["exog"].names,
        endog=pieces["endog"].names,
        instruments=instruments.names,
        cluster_names=() if clusters is None else clusters.names,
        kept=kept,
        index=index,
        absorbed=absorbed,
    )
    object.__setattr__(data, "factor", factor)
    return data


def _compressed(values: FloatArray, categorical: BoolArray) -> FloatArray:
    """Number the categories that occur 0, 1, ..., so that dropped rows leave no trace."""
    for j in np.flatnonzero(categorical):  # such values are never the caller's own array
        seen = ~np.isnan(values[:, j])
        values[seen, j] = np.unique(values[seen, j], return_inverse=True)[1]
    return values


# ---- missing rows ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Missing:
    """Rows (n,) with a missing value, and how many there are by variable."""

    rows: BoolArray
    counts: Counter[str]

    @classmethod
    def of(cls, pieces: Mapping[str, Columns], among: BoolArray) -> _Missing:
        """Missing in the columns of ``pieces``, looking only at rows ``among``."""
        rows, counts = np.zeros(len(among), dtype=bool), Counter[str]()
        for piece in pieces.values():
            for name, column in zip(piece.names, piece.values.T, strict=True):
                absent = np.isnan(column) & among
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
        return _Missing(self.rows | other.rows, self.counts + other.counts)

    def warn(self) -> None:
        """Say once how many rows go, and why."""
        warn_of_dropped(int(self.rows.sum()), len(self.rows), self.counts)

    def require_a_row(self) -> None:
        """Raise where no row is complete."""
        n = len(self.rows)
        if not self.rows.all():
            return
        empty = [repr(name) for name, count in self.counts.items() if count == n]
        if empty:
            raise InputError(
                f"{', '.join(empty)}: every value is missing. Leave it out, or fill it."
            )
        raise InputError(
            f"no row is complete; missing values are in {_listed(self.counts)}. Leave out the"
            " variables with most missing values."
        )


def warn_of_dropped(dropped: int, n: int, counts: Counter[str]) -> None:
    """Say once how many of ``n`` rows were dropped, and why, unless none was."""
    if dropped:
        message = f"Dropped {dropped} of {n} rows with missing values: {_listed(counts)}."
        warn_user(message, MissingRowsWarning)


def _listed(counts: Counter[str]) -> str:
    """The variables with most missing values first, with their counts."""
    most = [f"{name} ({count})" for name, count in counts.most_common(8)]
    more = len(counts) - len(most)
    return ", ".join([*most, f"and {more} more"] if more else most)
