"""Checks on numbers that may differ from firm to firm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlinstruments._core.arrays import as_float_column
from mlinstruments._core.exceptions import InputError

PerFirm = float | Sequence[float]


def per_firm(value: Any, name: str, n: int) -> tuple[float, ...]:
    """One number a firm, from one for all or one for each.

    Examples
    --------
    >>> per_firm(1, "cost", 2)
    (1.0, 1.0)
    """
    values = as_float_column(np.atleast_1d(np.asarray(value)), name)
    if values.ndim != 1 or len(values) not in (1, n):
        raise InputError(f"{name} must be one number or one a firm, {n} here; got {value!r}.")
    if not np.isfinite(values).all():
        raise InputError(f"{name} must be finite; got {value!r}.")
    return tuple(float(v) for v in np.broadcast_to(values, n))


def weight_of(kappa: Any) -> float:
    """A moral weight between 0 and 1.

    Examples
    --------
    >>> weight_of(1)
    1.0
    """
    value = float(as_float_column(np.atleast_1d(np.asarray(kappa)), "kappa")[0])
    if np.ndim(kappa) or not 0 <= value <= 1:
        raise InputError(f"kappa must lie between 0 and 1; got {kappa!r}.")
    return value
