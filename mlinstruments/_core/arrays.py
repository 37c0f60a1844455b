"""Checks on arrays, columns, groups and weights; errors name the variable and the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .exceptions import InputError
from .typing import AnyArray, BoolArray, FloatArray, IntArray


def as_float_column(values: AnyArray, name: str) -> FloatArray:
    """Return one column as float64, or say which column is not numeric.

    Parameters
    ----------
    values : array, shape (n,)
        Any numeric or boolean dtype; objects are converted where every entry is a number.
    name : str
        The variable, for the error.

    Returns
    -------
    array, shape (n,)

    Examples
    --------
    >>> as_float_column(np.array([True, False]), "treated")
    array([1., 0.])
    """
    if values.dtype.kind in "mM":
        raise InputError(f"{name!r} holds dates: convert them to numbers, such as years, first.")
    if values.dtype.kind in "USc":
        raise InputError(_not_numeric(name, values))
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(_not_numeric(name, values)) from None


def _not_numeric(name: str, values: AnyArray) -> str:
    example = next((v for v in values if not isinstance(v, int | float | np.number)), values[0])
    return (
        f"{name!r} must be numeric; it holds {example!r}. Convert it to numbers, or to dummy"
        " variables (in a formula: C(name))."
    )


def require_finite(values: FloatArray, name: str) -> None:
    """Raise if an array has an infinite entry (missing ones are handled elsewhere)."""
    bad = np.isinf(values)
    if bad.any():
        rows = np.flatnonzero(bad)
        raise InputError(
            f"{name!r} has {len(rows)} infinite value{'s' if len(rows) > 1 else ''}, the first"
            f" in row {rows[0]}: remove or recode them."
        )


def check_lengths(lengths: dict[str, int]) -> int:
    """Return the common number of rows of named inputs, or raise naming the odd one out.

    Examples
    --------
    >>> check_lengths({"dependent": 3, "exog": 3})
    3
    """
    reference_name, n = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != n:
            raise InputError(
                f"{reference_name} has {n} rows and {name} has {length}:"
                " every input must describe the same rows in the same order."
            )
    if n == 0:
        raise InputError(f"{reference_name} is empty: there are no rows to estimate on.")
    return n


def check_weights(weights: FloatArray) -> FloatArray:
    """Return analytic weights scaled to mean one, or raise.

    Parameters
    ----------
    weights : array, shape (n,)
        Strictly positive, as inverse variances up to scale.

    Returns
    -------
    array, shape (n,)
        The weights divided by their mean.

    Examples
    --------
    >>> check_weights(np.array([1.0, 3.0]))
    array([0.5, 1.5])
    """
    require_finite(weights, "weights")
    if (weights < 0).any():
        row = int(np.flatnonzero(weights < 0)[0])
        raise InputError(
            f"weights must be positive; row {row} holds {weights[row]:g}. Analytic weights are"
            " inverse variances up to scale."
        )
    if (weights == 0).any():
        row = int(np.flatnonzero(weights == 0)[0])
        raise InputError(f"weights must be positive; row {row} holds 0. Drop such rows.")
    return weights / float(weights.mean())


def encode_labels(labels: AnyArray) -> IntArray:
    """Number labels 0, 1, ... in order of first appearance.

    The numbers do not depend on what the labels are called, so renaming clusters changes nothing.

    Parameters
    ----------
    labels : array, shape (n,)
        Any hashable entries: integers, strings, dates, tuples.

    Returns
    -------
    array of int, shape (n,)

    Examples
    --------
    >>> encode_labels(np.array(["b", "a", "b"]))
    array([0, 1, 0])
    """
    import pandas as pd

    return np.asarray(pd.factorize(labels)[0], dtype=np.int64)


def missing_mask(values: AnyArray) -> BoolArray:
    """True where an entry is missing (NaN, None, NaT or a null of any frame library)."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind in "biuUS":
        return np.zeros(values.shape, dtype=bool)
    import pandas as pd

    return np.asarray(pd.isna(values), dtype=bool)


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``; otherwise raise and suggest the nearest.

    Examples
    --------
    >>> check_choice("robust", "cov_type", ("robust", "clustered"))
    'robust'
    """
    if value in choices:
        return str(value)
    import difflib

    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.{hint}")


def check_count(value: Any, name: str, least: int) -> int:
    """Return ``value`` as an int of at least ``least``, or raise.

    Examples
    --------
    >>> check_count(5, "n_folds", 2)
    5
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}; got {value!r}.")
    return int(value)


def check_level(value: Any) -> None:
    """Raise unless ``value`` can be a confidence level.

    Examples
    --------
    >>> check_level(0.95)
    """
    if not 0 < value < 1:
        raise InputError(f"level must lie between 0 and 1, such as 0.95; got {value!r}.")
