"""Rows of a data set on disk, read a block at a time: columns by role, cells drawn by row or label.

A cell is what cross-fitting deals a row to: a fold, a half of it and a side of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import InputError, MissingExtraError
from mlinstruments._core.typing import AnyArray, FloatArray

from .formula import unknown_column

# Rows decoded at a time, and rows worked on at a time: a dictionary of them stays in the cache.
BATCH, BLOCK = 65_536, 8_192
# Row groups that the sample is taken from, and rows in all.
SAMPLED_PIECES, SAMPLED_ROWS = 32, 20_000


@dataclass(frozen=True)
class Roles:
    """Names of the columns in use.

    Parameters
    ----------
    dependent : str
    exog, endog, instruments : tuple of str
        Exogenous regressors without the constant.
    weights, clusters : str or None
    """

    dependent: str
    exog: tuple[str, ...]
    endog: tuple[str, ...]
    instruments: tuple[str, ...]
    weights: str | None = None
    clusters: str | None = None

    @property
    def numeric(self) -> tuple[str, ...]:
        """Names of the rows of a block: exog, endog, dependent, instruments, weights."""
        weights = () if self.weights is None else (self.weights,)
        return (*self.exog, *self.endog, self.dependent, *self.instruments, *weights)

    @property
    def given(self) -> dict[str, str]:
        """Every name with its role."""
        return {
            **dict.fromkeys(self.exog, "exog"),
            **dict.fromkeys(self.endog, "endog"),
            self.dependent: "dependent",
            **dict.fromkeys(self.instruments, "instruments"),
            **({} if self.weights is None else {self.weights: "weights"}),
            **({} if self.clusters is None else {self.clusters: "clusters"}),
        }


@dataclass(frozen=True)
class Piece:
    """A part of a data set that is read in one go, such as a row group.

    Parameters
    ----------
    fragment : pyarrow.dataset.Fragment
    schema : pyarrow.Schema
        Of the whole data set.
    number : int
        Place among the pieces: with the seed it fixes the cells of its rows.
    rows : int
    """

    fragment: Any
    schema: Any
    number: int
    rows: int


@dataclass(frozen=True)
class Cells:
    """How rows are dealt to cells.

    Parameters
    ----------
    n : int
    entropy : tuple of int
        Seed of the draw.
    """

    n: int
    entropy: tuple[int, ...]

    def source(self, piece: Piece) -> np.random.Generator:
        """What draws the cells of the rows of a piece, in their order."""
        return np.random.default_rng([*self.entropy, piece.number])

    def of_rows(self, source: np.random.Generator, n: int) -> AnyArray:
        """Cells of the next n rows: the same however many are asked for at a time."""
        return (source.random(n) * self.n).astype(np.uint16)

    def of_labels(self, hashes: AnyArray) -> AnyArray:
        """Cells of labels by their 64-bit hashes: equal labels are dealt together."""
        salt = np.random.SeedSequence(list(self.entropy)).generate_state(1, np.uint64)[0]
        mixed = hashes ^ salt
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
        return np.asarray(mixed % np.uint64(self.n), dtype=np.uint16)


@dataclass(frozen=True)
class Block:
    """Some complete rows, those of a cell side by side.

    Parameters
    ----------
    values : array, shape (k, rows)
        In the order of :attr:`Roles.numeric`.
    cell : int array, shape (rows,)
        Increasing.
    label : uint64 array, shape (rows,), or None
        Hash of the cluster's label.
    """

    values: FloatArray
    cell: AnyArray
    label: AnyArray | None


@dataclass
class Tally:
    """Rows read, and those dropped with a missing value, by variable."""

    rows: int = 0
    dropped: int = 0
    missing: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count the rows of ``other`` too."""
        self.rows += other.rows
        self.dropped += other.dropped
        self.missing += other.missing


def open_pieces(source: Any, roles: Roles) -> list[Piece]:
    """The row groups of a data set whose columns serve; raises where they do not.

    Parameters
    ----------
    source : str, Path, list of these, or pyarrow.dataset.Dataset
        Parquet files or a folder of them, or any data set of pyarrow.
    roles : Roles
    """
    try:
        import pyarrow.dataset as ds
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    if isinstance(source, str | Path | list | tuple):
        source = _opened(source)
    if not isinstance(source, ds.Dataset):
        raise InputError(
            f"source must be a parquet file or folder, a list of files, or a pyarrow data set; got"
            f" {type(source).__name__}. Data in memory go to fit."
        )
    _check_schema(source.schema, roles)
    pieces: list[Piece] = []
    for fragment in source.get_fragments():
        parts = fragment.split_by_row_group() if hasattr(fragment, "row_groups") else [fragment]
        for part in parts:
            rows = part.count_rows()
            if rows:
                pieces.append(Piece(part, source.schema, len(pieces), rows))
    if not pieces:
        raise InputError("the data set is empty: there are no rows to estimate on.")
    return pieces


def _opened(source: Any) -> Any:
    import pyarrow as pa
    import pyarrow.dataset as ds

    listed = isinstance(source, list | tuple)
    try:
        return ds.dataset([str(one) for one in source] if listed else str(source), format="parquet")
    except FileNotFoundError:
        raise InputError(f"there is no file or folder {source}.") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{source} cannot be read as parquet: {error}") from None


def _check_schema(schema: Any, roles: Roles) -> None:
    import pyarrow.types as types

    for name, role in roles.given.items():
        if name not in schema.names:
            raise unknown_column(name, schema.names, role)
        kind = schema.field(name).type
        if role == "clusters":
            if types.is_nested(kind):
                raise InputError(f"{name!r} (clusters) holds lists: pass one label a row.")
            continue
        if not (
            types.is_integer(kind)
            or types.is_floating(kind)
            or types.is_boolean(kind)
            or types.is_decimal(kind)
        ):
            raise InputError(
                f"{name!r} (in {role}) holds {kind}; fit_dataset takes numbers only. Write"
                " categories as columns of 0 and 1, dates as years, or read the data into memory"
                " and call fit."
            )


def read_blocks(
    piece: Piece, roles: Roles, cells: Cells, tally: Tally, most: int | None = None
) -> Iterator[Block]:
    """Complete rows of a piece in blocks; ``tally`` counts them and the others.

    Parameters
    ----------
    piece : Piece
    roles : Roles
    cells : Cells
    tally : Tally
    most : int, optional
        Read no more rows than this.

    Raises
    ------
    InputError
        Where a value is infinite, or a weight not positive.
    """
    draws = cells.source(piece)
    left = piece.rows if most is None else min(most, piece.rows)
    for batch in piece.fragment.to_batches(
        schema=piece.schema,
        columns=list(roles.given),
        batch_size=min(BATCH, left),
        batch_readahead=2,
        fragment_readahead=1,
    ):
        batch = batch.slice(0, left)
        left -= batch.num_rows
        yield from _blocks(batch, roles, cells, draws, tally)
        if left == 0:
            return


def _blocks(
    batch: Any, roles: Roles, cells: Cells, draws: np.random.Generator, tally: Tally
) -> Iterator[Block]:
    n = batch.num_rows
    tally.rows += n
    label, complete = None, None
    if roles.clusters is None:
        cell = cells.of_rows(draws, n)
    else:
        label, present = _hashed(batch.column(roles.clusters))
        cell = cells.of_labels(label)
        if not present.all():
            complete = present
            tally.missing[roles.clusters] += int((~present).sum())
    columns = [_as_float(batch.column(name)) for name in roles.numeric]
    with np.errstate(all="ignore"):
        total = float(sum(column.sum() for column in columns))
    if not np.isfinite(total):
        complete = _complete(columns, roles, complete, tally)
    if roles.weights is not None and (columns[-1] <= 0).any():
        raise InputError(
            f"{roles.weights!r} (weights) must be positive; it holds {columns[-1].min():g}."
            " Analytic weights are inverse variances up to scale: drop rows without weight."
        )
    if complete is not None:
        tally.dropped += int((~complete).sum())
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        order = np.argsort(cell[rows], kind="stable")
        if complete is not None:
            order = order[complete[rows][order]]
        values = np.empty((len(columns), len(order)))
        for row, column in zip(values, columns, strict=True):
            np.take(column[rows], order, out=row)
        yield Block(values, cell[rows][order], None if label is None else label[rows][order])


def _complete(columns: list[FloatArray], roles: Roles, complete: Any, tally: Tally) -> Any:
    """Rows without a missing value; raises for infinite ones."""
    complete = np.ones(len(columns[0]), dtype=bool) if complete is None else complete
    for name, column in zip(roles.numeric, columns, strict=True):
        if np.isinf(column).any():
            raise InputError(
                f"{name!r} has {int(np.isinf(column).sum())} infinite values in a block of"
                f" {len(column)} rows: remove or recode them."
            )
        absent = np.isnan(column)
        if absent.any():
            tally.missing[name] += int(absent.sum())
            complete = complete & ~absent
    return complete


def _as_float(column: Any) -> FloatArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if column.type != pa.float64():
        column = pc.cast(column, pa.float64(), safe=False)
    if column.null_count:
        column = pc.fill_null(column, float("nan"))
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _hashed(column: Any) -> tuple[AnyArray, AnyArray]:
    """64-bit hashes of labels, and which are there.

    Two of g labels share a hash with a probability of g squared over 4e19: none does in practice.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    present = ~column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    if pa.types.is_temporal(column.type) or pa.types.is_decimal(column.type):
        column = column.cast(pa.string())
    # Without nulls, which would turn whole numbers into others.
    labels = column.filter(pa.array(present)).to_numpy(zero_copy_only=False)
    if labels.dtype.kind == "f":
        labels = labels + 0.0  # -0 is 0
    hashes = np.zeros(len(column), dtype=np.uint64)
    hashes[present] = pd.util.hash_array(labels, categorize=False)
    return hashes, present


def sample_blocks(pieces: list[Piece], roles: Roles, cells: Cells) -> FloatArray:
    """Some thousand complete rows (k, rows), read at little cost.

    The first rows of up to ``SAMPLED_PIECES`` row groups, one drawn from each of as many stretches
    of the data set. Knots and first guesses of locations come from them.
    """
    n = min(SAMPLED_PIECES, len(pieces))
    rng = np.random.default_rng([*cells.entropy, len(pieces)])
    ends = np.linspace(0, len(pieces), n + 1).astype(int)
    chosen = [pieces[int(rng.integers(a, b))] for a, b in pairwise(ends)]
    each, tally = -(-SAMPLED_ROWS // n), Tally()
    found = [
        block.values
        for piece in chosen
        for block in read_blocks(piece, roles, cells, tally, most=each)
    ]
    sample = np.hstack(found) if found else np.empty((len(roles.numeric), 0))
    if sample.shape[1] < 2:
        raise InputError(
            f"of {tally.rows} rows looked at {sample.shape[1]} are complete; missing values are in"
            f" {', '.join(tally.missing)}. Leave out the variables with most missing values."
        )
    return sample
