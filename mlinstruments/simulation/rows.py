"""Rows of the table of draws: what each estimator said about one sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import ndtri

from mlinstruments._core.exceptions import InputError
from mlinstruments.iv.confidence_set import ConfidenceSet
from mlinstruments.iv.results import IVResults, wald_limits

Row = dict[str, Any]
# Columns of every row after "replication" and "estimator"; a user's own numbers follow.
NUMBERS = (
    "estimate", "std_error", "wald_lower", "wald_upper",
    "ar_pvalue", "ar_lower", "ar_upper", "ar_length", "f",
)  # fmt: skip
TEXTS = ("ar_set", "warnings", "failure")
# What an estimator that is a function may return beside numbers of its own.
GIVEN = ("estimate", "std_error", "lower", "upper", "ar_set", "ar_pvalue", "f")


def row_of(replication: int, name: str, numbers: Mapping[str, Any], failure: str = "") -> Row:
    """A row of the table, missing where nothing was given."""
    empty = {**dict.fromkeys(NUMBERS, float("nan")), **dict.fromkeys(TEXTS, "")}
    return {"replication": replication, "estimator": name, **empty, **numbers, "failure": failure}


def read(found: Any, truth: float, level: float) -> Row:
    """Numbers of what an estimator returned: results, or a mapping."""
    if isinstance(found, IVResults):
        return _read_results(found, truth, level)
    if isinstance(found, Mapping):
        return _read_mapping(found, level)
    raise InputError(
        f"an estimator must return results of this package or a mapping with 'estimate'; got a"
        f" {type(found).__name__}."
    )


def _read_results(res: IVResults, truth: float, level: float) -> Row:
    if len(res.endog) != 1:
        raise InputError(f"designs have one endogenous regressor; there are {len(res.endog)}.")
    position = len(res.exog)
    lower, upper = wald_limits(res, level)
    row = {
        "estimate": float(res.estimates[position]),
        "std_error": float(np.sqrt(res.covariance[position, position])),
        "wald_lower": float(lower[position]),
        "wald_upper": float(upper[position]),
    }
    if res.first_stage is not None:
        row["f"] = float(res.first_stage.f.iloc[0])
    if res.ar:
        row["ar_pvalue"] = res.anderson_rubin(truth).pvalue
        row.update(read_set_of(res.conf_int(level, method="ar")))
    return row


def read_set_of(found: ConfidenceSet) -> Row:
    """Columns that say what an Anderson-Rubin set is."""
    lower, upper = found.hull
    return {
        "ar_lower": lower, "ar_upper": upper, "ar_length": found.length, "ar_set": write_set(found),
    }  # fmt: skip


def _read_mapping(found: Mapping[str, Any], level: float) -> Row:
    if "estimate" not in found:
        raise InputError(f"an estimator's mapping needs 'estimate'; it has {', '.join(found)}.")
    own = {name: value for name, value in found.items() if name not in GIVEN}
    clash = set(own) & {"replication", "estimator", *NUMBERS, *TEXTS}
    if clash:
        raise InputError(f"{', '.join(sorted(clash))}: names of the table; use others.")
    estimate, error = float(found["estimate"]), float(found.get("std_error", np.nan))
    width = float(ndtri((1 + level) / 2)) * error
    row = {
        "estimate": estimate,
        "std_error": error,
        "wald_lower": float(found.get("lower", estimate - width)),
        "wald_upper": float(found.get("upper", estimate + width)),
        "ar_pvalue": float(found.get("ar_pvalue", np.nan)),
        "f": float(found.get("f", np.nan)),
        **{name: float(value) for name, value in own.items()},
    }
    if "ar_set" in found:
        row.update(read_set_of(found["ar_set"]))
    return row


def write_set(found: ConfidenceSet) -> str:
    """A confidence set in text, to the last bit.

    Examples
    --------
    >>> write_set(ConfidenceSet(((-float("inf"), 0.1), (2.0, 3.0)), 0.95, "AR"))
    '-inf,0.1;2.0,3.0'
    """
    if found.is_empty:
        return "empty"
    return ";".join(f"{float(low)!r},{float(high)!r}" for low, high in found.intervals)


def read_set(text: str) -> tuple[tuple[float, float], ...]:
    """The intervals that :func:`write_set` wrote.

    Examples
    --------
    >>> read_set("-inf,0.1;2.0,3.0"), read_set("empty")
    (((-inf, 0.1), (2.0, 3.0)), ())
    """
    if text == "empty":
        return ()
    pairs = [pair.split(",") for pair in text.split(";")]
    return tuple((float(low), float(high)) for low, high in pairs)
