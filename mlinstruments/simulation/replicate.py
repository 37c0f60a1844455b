"""One replication: draw a sample, fit every estimator, read what each says; any may fail."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
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
TEXTS = ("ar_set", "failure")
# What an estimator that is a function may return beside numbers of its own.
GIVEN = ("estimate", "std_error", "lower", "upper", "ar_set", "ar_pvalue", "f")
# Children of a replication's seed: the sample's, and the estimators' own randomness.
DATA, FIT = 0, 1


@dataclass(frozen=True)
class Plan:
    """What every replication needs, and nothing that changes between them.

    Parameters
    ----------
    design : design
    estimators : mapping of name to estimator
    root : SeedSequence
        Replication i draws from its i-th child.
    level : float
        Of intervals and sets.
    alone : bool
        Whether estimators must not start workers of their own, because replications run side by
        side already.
    """

    design: Any
    estimators: Mapping[str, Any]
    root: np.random.SeedSequence
    level: float
    alone: bool


def replication_seed(
    root: np.random.SeedSequence, replication: int, purpose: int = DATA
) -> np.random.SeedSequence:
    """The seed of one replication's sample or fits, whatever ran before it."""
    return np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, replication, purpose))


def run_batch(plan: Plan, replications: list[int]) -> list[Row]:
    """Rows of some replications, one for each estimator."""
    with _one_thread(), _no_workers(plan.alone):
        return [row for i in replications for row in _replicate(plan, i)]


def _replicate(plan: Plan, replication: int) -> list[Row]:
    seed = replication_seed(plan.root, replication)
    try:
        sample = plan.design.draw(np.random.default_rng(seed))
    except Exception as error:
        failure = f"the design's draw: {_words(error)}"
        return [_row(replication, name, {}, failure) for name in plan.estimators]
    own = replication_seed(plan.root, replication, FIT)
    rows = []
    for name, estimator in plan.estimators.items():
        try:
            numbers = _read(fit(estimator, sample, own), plan)
            rows.append(_row(replication, name, numbers))
        except Exception as error:  # recorded: one bad draw must not lose the others
            rows.append(_row(replication, name, {}, _words(error)))
    return rows


def _row(replication: int, name: str, numbers: Mapping[str, Any], failure: str = "") -> Row:
    empty = {**dict.fromkeys(NUMBERS, float("nan")), **dict.fromkeys(TEXTS, "")}
    return {"replication": replication, "estimator": name, **empty, **numbers, "failure": failure}


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


# ---- fitting ------------------------------------------------------------------------------------


def fit(estimator: Any, sample: Any, seed: np.random.SeedSequence) -> Any:
    """Results of an estimator, or what a function returns.

    An estimator's own ``random_state`` is kept; where it is None, and for functions of two
    arguments, randomness comes from ``seed``.
    """
    if not hasattr(estimator, "fit"):
        function: Callable[..., Any] = estimator
        wants_rng = takes_generator(function)
        return function(sample, np.random.default_rng(seed)) if wants_rng else function(sample)
    parameters = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    if parameters.get("random_state", 0) is None:
        estimator = type(estimator)(**{**parameters, "random_state": seed})
    clusters = getattr(sample, "clusters", None)
    more = {} if clusters is None else {"clusters": clusters}
    return estimator.fit(sample.y, sample.X, sample.D, sample.W, **more)


def takes_generator(function: Callable[..., Any]) -> bool:
    """Whether a function has a second argument without default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [
        p
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(needed) > 1


# ---- reading ------------------------------------------------------------------------------------


def _read(found: Any, plan: Plan) -> Row:
    truth = float(plan.design.truth)
    if isinstance(found, IVResults):
        return _read_results(found, truth, plan.level)
    if isinstance(found, Mapping):
        return _read_mapping(found, plan.level)
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
        row.update(_read_set(res.conf_int(level, method="ar")))
    return row


def _read_set(found: ConfidenceSet) -> Row:
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
        row.update(_read_set(found["ar_set"]))
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


# ---- where it runs ------------------------------------------------------------------------------


def _no_workers(alone: bool) -> AbstractContextManager[Any]:
    import joblib

    return joblib.parallel_config("sequential") if alone else nullcontext()


def _one_thread() -> AbstractContextManager[Any]:
    # Sums split among threads round differently: a table must not depend on how many there are.
    from threadpoolctl import threadpool_limits

    found: AbstractContextManager[Any] = threadpool_limits(limits=1, user_api="blas")
    return found
