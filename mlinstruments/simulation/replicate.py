"""Replications: draw samples, fit every estimator, read what each says; any may fail."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlinstruments._core.warn import collected_warnings

from . import batched
from .rows import Row, read, row_of

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
    chunk : int
        Replications drawn together, from one of its multiples on. A chunk is always drawn whole, so
        that numbers do not depend on which of its replications are wanted.
    at_once : frozenset of str
        Estimators that take a chunk at once.
    """

    design: Any
    estimators: Mapping[str, Any]
    root: np.random.SeedSequence
    level: float
    alone: bool
    chunk: int = 1
    at_once: frozenset[str] = frozenset()


def replication_seed(
    root: np.random.SeedSequence, replication: int, purpose: int = DATA
) -> np.random.SeedSequence:
    """The seed of one replication's sample or fits, whatever ran before it."""
    return np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, replication, purpose))


def run_batch(plan: Plan, chunks: list[list[int]]) -> list[Row]:
    """Rows of some replications, those of a chunk together, one for each estimator."""
    with _one_thread(), _no_workers(plan.alone):
        return [row for wanted in chunks for row in _replicate(plan, wanted)]


def _replicate(plan: Plan, wanted: list[int]) -> list[Row]:
    """Rows of the wanted replications of one chunk, all of whose samples are drawn."""
    start = wanted[0] - wanted[0] % plan.chunk
    drawn = list(range(start, start + plan.chunk))
    samples, failures = _drawn(plan, drawn)
    columns = {
        name: _column(plan, name, samples, failures, drawn, set(wanted)) for name in plan.estimators
    }
    return [columns[name][i] for i in range(len(wanted)) for name in plan.estimators]


def _drawn(plan: Plan, replications: list[int]) -> tuple[list[Any], list[str]]:
    """Samples, None where the draw failed, and why it did."""
    samples: list[Any] = []
    failures = []
    for i in replications:
        try:
            seed = replication_seed(plan.root, i)
            samples.append(plan.design.draw(np.random.default_rng(seed)))
            failures.append("")
        except Exception as error:
            samples.append(None)
            failures.append(f"the design's draw: {_words(error)}")
    return samples, failures


def _column(
    plan: Plan,
    name: str,
    samples: list[Any],
    failures: list[str],
    replications: list[int],
    wanted: set[int],
) -> list[Row]:
    """One estimator's rows of the wanted replications, many samples at once where it can."""
    seeds = [replication_seed(plan.root, i, FIT) for i in replications]
    at_once = _at_once(plan, name, samples, seeds)
    rows = []
    for i, sample, failure, seed, found in zip(
        replications, samples, failures, seeds, at_once, strict=True
    ):
        if i not in wanted:
            continue
        numbers: Row = {}
        with collected_warnings() as said:
            try:
                if not failure:
                    numbers = found or _one(plan, name, sample, seed)
            except Exception as error:  # recorded: one bad draw must not lose the others
                failure = _words(error)
        rows.append(row_of(i, name, numbers | {"warnings": "\n".join(said)}, failure))
    return rows


def _one(plan: Plan, name: str, sample: Any, seed: np.random.SeedSequence) -> Row:
    return read(fit(plan.estimators[name], sample, seed), float(plan.design.truth), plan.level)


def _at_once(
    plan: Plan, name: str, samples: list[Any], seeds: list[np.random.SeedSequence]
) -> list[Row | None]:
    found: list[Row | None] = [None] * len(samples)
    drawn = [i for i, sample in enumerate(samples) if sample is not None]
    if name not in plan.at_once or not drawn:
        return found
    try:
        rows = batched.fit_batch(
            plan.estimators[name],
            [samples[i] for i in drawn],
            [seeds[i] for i in drawn],
            float(plan.design.truth),
            plan.level,
        )
    except Exception:  # whatever is odd about these samples, fits one by one will say it
        return found
    for i, row in zip(drawn, rows, strict=True):
        found[i] = row
    return found


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


# ---- where it runs ------------------------------------------------------------------------------


def _no_workers(alone: bool) -> AbstractContextManager[Any]:
    import joblib

    return joblib.parallel_config("sequential") if alone else nullcontext()


def _one_thread() -> AbstractContextManager[Any]:
    # Sums split among threads round differently: a table must not depend on how many there are.
    from threadpoolctl import threadpool_limits

    found: AbstractContextManager[Any] = threadpool_limits(limits=1, user_api="blas")
    return found
