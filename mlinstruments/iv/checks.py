"""Checks of the columns that were read, every one before any learner runs.

Each raises an error that names the variable and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mlinstruments._core.arrays import check_weights, require_finite
from mlinstruments._core.exceptions import AssumptionWarning, InputError
from mlinstruments._core.factor import triangular_factor
from mlinstruments._core.linalg import RANK_TOLERANCE, Annihilator, dependent_columns
from mlinstruments._core.typing import BoolArray, FloatArray, IntArray
from mlinstruments._core.warn import warn_user
from mlinstruments.iv.columns import Columns

# An instrument whose squared correlation with a treatment is closer to 1 is that treatment.
AFFINE_TOLERANCE = 1e-10
# Instruments looked at in one go: bounds the memory.
BLOCK_COLUMNS = 32
ROLES = ("dependent", "exog", "endog", "instruments")

Pieces = Mapping[str, Columns]  # by role


# ---- all rows --------------------------------------------------------------------------------


def check_columns(pieces: Pieces) -> None:
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
    _check_names(pieces)


def _check_names(pieces: Pieces) -> None:
    owner: dict[str, str] = {}
    for role in ROLES:
        for name in pieces[role].names:
            if name in owner:
                both = role if owner[name] == role else f"{owner[name]} and {role}"
                raise InputError(f"{name!r} appears twice in {both}: rename or leave out one.")
            owner[name] = role


def check_values(pieces: Pieces) -> None:
    """Infinite values, columns with nothing in them, and weights out of range."""
    for role, piece in pieces.items():
        for name, column in zip(piece.names, piece.values.T, strict=True):
            require_finite(column, name)
            if np.isnan(column[0]) and np.isnan(column).all():
                raise InputError(f"{name!r} ({role}): every value is missing. Leave it out.")
    if "weights" in pieces:
        check_weights(pieces["weights"].values[:, 0])


# ---- the rows used ---------------------------------------------------------------------------


def check_rows(pieces: Pieces) -> None:
    """More rows than regressors, and more than one cluster."""
    n, needed = len(pieces["dependent"].values), _width(pieces, "exog", "endog")
    if n <= needed:
        raise InputError(
            f"too few rows: {n} for {needed} regressors (exog and endog). Use more rows"
            " or fewer regressors."
        )
    if "clusters" not in pieces:
        return
    clusters = pieces["clusters"]
    for name, codes in zip(clusters.names, clusters.values.T, strict=True):
        if (codes == codes[0]).all():
            raise InputError(
                f"{name!r} (clusters) has only one cluster: at least two are needed, many are"
                " better. Choose a finer level."
            )


def check_regressors(pieces: Pieces, factor: FloatArray | None) -> None:
    """Constants and the rank of [exog, endog]; warns where exog has no constant.

    ``factor`` is the joint one of these rows, if there is one.
    """
    X, D, y = (pieces[role].values for role in ("exog", "endog", "dependent"))
    p, d = X.shape[1], D.shape[1]
    if factor is None:
        factor = triangular_factor([_ones(len(y)), X, D, y])
    ones, exog, endog = np.hsplit(factor[:, : 1 + p + d], [1, 1 + p])
    for role, few in (("dependent", factor[:, -1:]), ("endog", endog)):
        for name, column, small in zip(
            pieces[role].names, pieces[role].values.T, few.T, strict=True
        ):
            if not _surely_varies(small) and _is_constant(column):
                raise _nothing_to_explain(name)
    _check_exog(exog, pieces["exog"].names)
    _check_endog(exog, endog, pieces["exog"].names, pieces["endog"].names)
    if _unexplained(ones[:, 0], exog) > 1e-8:
        warn_user(
            "exog has no constant. As in linearmodels none is added: add a column of ones to exog,"
            " or '1 +' to a formula, unless the model has no intercept.",
            AssumptionWarning,
        )


def check_reduced(
    exog: FloatArray,
    endog: FloatArray,
    outcome: FloatArray,
    exog_names: tuple[str, ...],
    endog_names: tuple[str, ...],
    dependent: str,
) -> None:
    """The same of few rows (r, .) with the inner products of many, a constant first in exog."""
    for name, column in zip((dependent, *endog_names), (outcome, *endog.T), strict=True):
        if _unexplained(column, exog[:, :1]) < RANK_TOLERANCE:
            raise _nothing_to_explain(name)
    _check_exog(exog, exog_names)
    _check_endog(exog, endog, exog_names, endog_names)


def _nothing_to_explain(name: str) -> InputError:
    return InputError(f"{name!r} is constant in the rows used: there is nothing to explain.")


def _check_exog(exog: FloatArray, names: tuple[str, ...]) -> None:
    for j in dependent_columns(exog):
        raise InputError(
            f"exog is collinear: {names[j]!r} is a linear combination of"
            f" {_ingredients(exog[:, j], exog[:, :j], names)}. Drop {names[j]!r}."
        )


def _check_endog(
    exog: FloatArray, endog: FloatArray, exog_names: tuple[str, ...], endog_names: tuple[str, ...]
) -> None:
    for name, column in zip(endog_names, endog.T, strict=True):
        if _unexplained(column, exog) < RANK_TOLERANCE:
            raise InputError(
                f"endogenous {name!r} is a linear combination of exog"
                f" {_ingredients(column, exog, exog_names)}. Keep it in one of the two."
            )
    both, names = np.hstack([exog, endog]), exog_names + endog_names
    for j in dependent_columns(both):
        raise InputError(
            f"endog is collinear: {names[j]!r} is a linear combination of"
            f" {_ingredients(both[:, j], both[:, :j], names)}. Drop {names[j]!r}."
        )


def check_instruments(pieces: Pieces, factor: FloatArray | None) -> None:
    """Instruments that vary, and are neither a treatment nor a linear function of exog.

    ``factor`` is the joint one of these rows, if there is one.
    """
    instruments = pieces["instruments"]
    if factor is not None:
        few = factor[:, 1 + _width(pieces, "exog", "endog") : -1]
        if all(_surely_varies(column) for column in few.T):
            _check_batch(pieces, np.arange(few.shape[1]), factor)
            return
    lowest = np.fmin.reduce(instruments.values, axis=0)
    absent = np.isnan(instruments.values.sum(axis=0))
    flat = np.array([_is_constant(column) for column in instruments.values.T])
    for j in np.flatnonzero(flat & ~absent | np.isnan(lowest)):
        raise InputError(
            f"instrument {instruments.names[j]!r} is constant in the rows used: it carries no"
            " information. Leave it out."
        )
    numeric = np.flatnonzero(~instruments.categorical & ~flat)
    for chosen in _batches(numeric, absent):
        _check_batch(pieces, chosen, None)


def check_relations(pieces: Pieces) -> None:
    """Complete numeric instruments that are neither a treatment nor a linear function of exog.

    Those that are constant are let through: among other rows they may vary.
    """
    varying = [j for j, w in enumerate(pieces["instruments"].values.T) if not _is_constant(w)]
    for start in range(0, len(varying), BLOCK_COLUMNS):
        _check_batch(pieces, np.array(varying[start : start + BLOCK_COLUMNS]), None)


def _batches(numeric: IntArray, absent: BoolArray) -> Iterator[IntArray]:
    """Complete instruments many at a time; incomplete ones alone, each on its own rows."""
    complete = numeric[~absent[numeric]]
    for start in range(0, len(complete), BLOCK_COLUMNS):
        yield complete[start : start + BLOCK_COLUMNS]
    for j in numeric[absent[numeric]]:
        yield np.array([j])


def _check_batch(pieces: Pieces, chosen: IntArray, factor: FloatArray | None) -> None:
    X, D, W = (pieces[role].values for role in ("exog", "endog", "instruments"))
    p, d = X.shape[1], D.shape[1]
    rows = len(W) if factor is not None else (~np.isnan(W[:, chosen[0]])).sum()
    if rows < p + d + 3:
        return  # so few rows are fitted by anything
    if factor is None:
        columns = [_ones(len(W)), X, D, *(W[:, j : j + 1] for j in chosen)]
        factor = triangular_factor(columns, skip_missing=True)
    exog, endog, instruments = np.hsplit(factor[:, 1 : 1 + p + d + len(chosen)], [p, p + d])
    for j, column in zip(chosen, instruments.T, strict=True):
        name = pieces["instruments"].names[j]
        _check_not_exog(name, column, exog, pieces["exog"].names)
        _check_not_endog(name, column, endog, pieces["endog"].names)


def _check_not_exog(
    name: str, column: FloatArray, exog: FloatArray, exog_names: tuple[str, ...]
) -> None:
    if _unexplained(column, exog) < RANK_TOLERANCE:
        raise InputError(
            f"instrument {name!r} is a linear combination of exog"
            f" {_ingredients(column, exog, exog_names)}: a learner would smuggle non-linear"
            " functions of exog in as instruments. Keep it in one of the two."
        )


def _check_not_endog(
    name: str, column: FloatArray, endog: FloatArray, endog_names: tuple[str, ...]
) -> None:
    # The first row holds what the constant explains: without it, columns are centred.
    for treatment, other in zip(endog_names, endog[1:].T, strict=True):
        if _unexplained(column[1:], other[:, None]) ** 2 < AFFINE_TOLERANCE:
            raise InputError(
                f"instrument {name!r} equals the endogenous {treatment!r}, or is an affine"
                " function of it. Leave it out of the instruments."
            )


# ---- arithmetic ------------------------------------------------------------------------------


def _width(pieces: Pieces, *roles: str) -> int:
    return sum(len(pieces[role].names) for role in roles)


def _surely_varies(few: FloatArray) -> bool:
    """Whether a column certainly varies, from its part in the joint factor, constant first."""
    return bool(np.linalg.norm(few[1:]) > 1e-6 * np.linalg.norm(few))


def _is_constant(column: FloatArray) -> bool:
    low, high = np.fmin.reduce(column), np.fmax.reduce(column)
    return bool(high - low <= 1e-12 * max(abs(low), abs(high)))


def joint_factor(pieces: Pieces) -> FloatArray | None:
    """R of [1, exog, endog, instruments, dependent]: says of the columns what most checks ask.

    None where an entry is missing or infinite, an instrument is categorical, or there are too many
    for one pass.
    """
    instruments = pieces["instruments"]
    if instruments.categorical.any() or len(instruments.names) > BLOCK_COLUMNS:
        return None
    columns = [pieces[role].values for role in ("exog", "endog", "instruments", "dependent")]
    factor = triangular_factor([_ones(len(columns[0])), *columns])
    return factor if np.isfinite(factor).all() else None


def _ones(n: int) -> FloatArray:
    return np.broadcast_to(1.0, (n, 1))


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
