"""Monte Carlo: many samples of a design, every estimator on each, resumable and parallel."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments import __version__
from mlinstruments._core.arrays import check_count, check_level
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.parallel import parallel_stream

from . import batched
from .checkpoint import Checkpoint, Settings, describe, read_settings
from .replicate import DATA, Plan, replication_seed, run_batch
from .report import MonteCarloReport
from .rows import NUMBERS, TEXTS, Row

# A task should last this long, so that handing it out costs little; and a part of a checkpoint is
# written this often, so that little is lost.
TASK_SECONDS, PART_SECONDS = 0.2, 5.0
# Replications drawn together are fitted in several tasks where they would take longer than this.
PIECE_SECONDS = 2.0
# Tasks a worker should get at least, so that all finish at about the same time.
TASKS_PER_WORKER = 4


def monte_carlo(
    design: Any,
    estimators: Mapping[str, Any],
    replications: int = 1000,
    *,
    random_state: Any = 0,
    level: float = 0.95,
    n_jobs: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | None = None,
) -> MonteCarloReport:
    """Draw samples of a design, fit every estimator on each, and compare with the truth.

    Replication i draws from the i-th child of ``random_state``, so its numbers do not depend on
    how many others there are, nor on ``n_jobs``, the backend, or an interruption. A fit that fails
    is recorded with its message and counted; the others go on. Warnings of fits are kept in the
    draws and counted in the report, not shown.

    Parameters
    ----------
    design : Design
        Or any object with ``name``, ``truth`` and ``draw(rng)``, which returns an object with
        arrays ``y``, ``X``, ``D``, ``W`` and optionally ``clusters``.
    estimators : mapping of name to estimator
        Anything whose ``fit(dependent, exog, endog, instruments)`` returns this package's results;
        with ``random_state=None`` an estimator is given a seed of the replication, otherwise its
        own is kept. Or a function of a sample, or of a sample and a numpy Generator, that returns
        such results or a mapping: ``estimate`` and, where there are, ``std_error``, ``lower`` and
        ``upper`` (by default the normal interval), ``ar_set`` (a ConfidenceSet), ``ar_pvalue`` (of
        the truth), ``f``, and numbers of your own.
    replications : int
        Samples. A checkpoint with fewer is continued.
    random_state : int, SeedSequence, Generator or None
        The one source of randomness; None draws fresh entropy, or takes that of the checkpoint.
    level : float
        Of confidence intervals and sets.
    n_jobs : int, optional
        Workers, as joblib counts them: processes, unless ``joblib.parallel_config`` has chosen a
        backend (loky, threading, dask, ray).
    checkpoint : str or Path, optional
        A folder in which finished replications are kept, as parquet (the ``parquet`` extra). The
        same call continues a run that was stopped, whatever stopped it.
    progress : bool, optional
        Show a progress bar; by default in a terminal.

    Returns
    -------
    MonteCarloReport

    Raises
    ------
    InputError
        Where a setting cannot be used, or the checkpoint is of a run with other settings.
    MissingExtraError
        Where a checkpoint is asked for without pyarrow.

    Examples
    --------
    >>> from mlinstruments import OLS, TSLS
    >>> from mlinstruments.simulation import designs, monte_carlo
    >>> design = designs.nonlinear(n=200)
    >>> report = monte_carlo(design, {"OLS": OLS(), "2SLS": TSLS()}, replications=20)
    >>> report.draws.shape[0], bool(report.statistics.loc[("OLS", "median_bias"), "value"] > 0.4)
    (40, True)
    """
    _check_design(design)
    _check_estimators(estimators)
    check_count(replications, "replications", 1)
    check_level(level)
    root = _root(random_state, checkpoint)
    kept = None
    if checkpoint is not None:
        kept = Checkpoint(checkpoint, _settings(design, estimators, root, level))
    plan = Plan(
        design,
        dict(estimators),
        root,
        level,
        _workers(n_jobs) > 1,
        *_chunks(design, estimators, root),
    )
    draws = _run(plan, replications, n_jobs, kept, progress)
    return MonteCarloReport(
        name=str(design.name),
        description=str(getattr(design, "description", "")),
        truth=float(design.truth),
        estimators=tuple(estimators),
        replications=replications,
        level=level,
        entropy=str(root.entropy),
        spawn_key=tuple(int(k) for k in root.spawn_key),
        draws=draws,
    )


# ---- settings -----------------------------------------------------------------------------------


def _check_design(design: Any) -> None:
    missing = [name for name in ("name", "truth", "draw") if not hasattr(design, name)]
    if missing:
        raise InputError(
            f"design must have name, truth and draw(rng); a {type(design).__name__} lacks"
            f" {', '.join(missing)}. Use one of designs, or build a Design."
        )


def _check_estimators(estimators: Mapping[str, Any]) -> None:
    if not isinstance(estimators, Mapping) or not estimators:
        raise InputError(
            "estimators must be a mapping of names to estimators, such as {'2SLS': TSLS()}; got"
            f" {estimators!r}."
        )
    for name, estimator in estimators.items():
        if not isinstance(name, str):
            raise InputError(f"names of estimators must be text; got {name!r}.")
        if isinstance(estimator, type) or not (hasattr(estimator, "fit") or callable(estimator)):
            raise InputError(
                f"estimator {name!r} must have fit() or be a function of a sample; got"
                f" {estimator!r}."
            )
        if isinstance(getattr(estimator, "random_state", 0), np.random.Generator):
            raise InputError(
                f"estimator {name!r} has a Generator as random_state, which moves on with every"
                " fit: give a number, or None for a new seed in every replication."
            )


def _root(random_state: Any, checkpoint: str | Path | None) -> np.random.SeedSequence:
    """The seed whose children the replications are."""
    if random_state is None and checkpoint is not None:
        kept = read_settings(checkpoint)
        if kept is not None:
            return np.random.SeedSequence(int(kept["entropy"]), spawn_key=kept["spawn_key"])
    if isinstance(random_state, np.random.SeedSequence):
        if not isinstance(random_state.entropy, int | np.integer):
            raise InputError("random_state must be a SeedSequence of one number.")
        return random_state
    if isinstance(random_state, np.random.Generator):
        random_state = int(random_state.integers(0, 2**63))
    if random_state is not None:
        check_count(random_state, "random_state", 0)
    return np.random.SeedSequence(random_state)


def _settings(
    design: Any, estimators: Mapping[str, Any], root: np.random.SeedSequence, level: float
) -> Settings:
    return {
        "design": describe(design),
        "estimators": {name: describe(estimator) for name, estimator in estimators.items()},
        "entropy": str(root.entropy),
        "spawn_key": [int(k) for k in root.spawn_key],
        "level": level,
        "mlinstruments": __version__,
    }


def _chunks(
    design: Any, estimators: Mapping[str, Any], root: np.random.SeedSequence
) -> tuple[int, frozenset[str]]:
    """How many replications are drawn together, and which estimators take them at once."""
    at_once = frozenset(name for name, e in estimators.items() if batched.takes(e))
    if not at_once:
        return 1, at_once
    try:
        seeds = (replication_seed(root, i, DATA) for i in (0, 1))
        one, two = (design.draw(np.random.default_rng(seed)) for seed in seeds)
        return batched.chunk_size(one, two), at_once
    except Exception:  # the run will record it
        return 1, frozenset()


# ---- running ------------------------------------------------------------------------------------


def _run(
    plan: Plan,
    replications: int,
    n_jobs: int | None,
    kept: Checkpoint | None,
    progress: bool | None,
) -> pd.DataFrame:
    from tqdm.auto import tqdm

    before = pd.DataFrame() if kept is None else kept.read()
    finished = set() if before.empty else set(before["replication"])
    done = sum(i < replications for i in finished)
    rows: list[Row] = []
    unwritten: list[Row] = []
    disable = None if progress is None else not progress
    bar = tqdm(total=replications, desc="replications", disable=disable, leave=False)
    bar.update(done)
    written = time.monotonic()
    try:
        for batch in _results(plan, _left(plan, replications, finished), n_jobs):
            new = [row for row in batch if row["replication"] not in finished]
            rows += new
            unwritten += new
            bar.update(
                sum(row["replication"] < replications for row in new) // len(plan.estimators)
            )
            if kept is not None and time.monotonic() - written > PART_SECONDS:
                kept.append(unwritten)
                unwritten, written = [], time.monotonic()
    finally:
        bar.close()
        if kept is not None:
            kept.append(unwritten)
    frames = [frame for frame in (before, pd.DataFrame(rows)) if len(frame)]
    return _in_order(pd.concat(frames), plan, replications)


def _left(plan: Plan, replications: int, finished: set[int]) -> list[list[int]]:
    """Replications still to run, those of a chunk together."""
    starts = range(0, replications, plan.chunk)
    ends = [min(start + plan.chunk, replications) for start in starts]
    chunks = [
        [i for i in range(start, end) if i not in finished]
        for start, end in zip(starts, ends, strict=True)
    ]
    return [chunk for chunk in chunks if chunk]


def _results(plan: Plan, left: list[list[int]], n_jobs: int | None) -> Iterator[list[Row]]:
    """Rows of tasks as they finish; the first two say how long others take."""
    if not left:
        return
    first = left[:2]
    if len(plan.at_once) < len(plan.estimators):
        first = [[i] for chunk in left[:2] for i in chunk][:2]
    for some in first:
        begun = time.perf_counter()
        yield run_batch(plan, [some])
    seconds = time.perf_counter() - begun
    done = {i for some in first for i in some}
    rest = [[i for i in chunk if i not in done] for chunk in left]
    pieces, each = _pieces([chunk for chunk in rest if chunk], seconds, plan)
    if not pieces:
        return
    size = _task_size(each, len(pieces), _workers(n_jobs))
    tasks = [pieces[start : start + size] for start in range(0, len(pieces), size)]
    yield from parallel_stream(run_batch, tasks, n_jobs, prefer="processes", shared=plan)


def _pieces(chunks: list[list[int]], seconds: float, plan: Plan) -> tuple[list[list[int]], float]:
    """Chunks cut where fits one by one would keep a worker long; and seconds of a piece."""
    if len(plan.at_once) == len(plan.estimators):
        return chunks, seconds
    width = max(1, min(plan.chunk, math.floor(PIECE_SECONDS / max(seconds, 1e-6))))
    pieces = [c[start : start + width] for c in chunks for start in range(0, len(c), width)]
    return pieces, width * seconds


def _task_size(seconds: float, left: int, workers: int) -> int:
    """Pieces a task: long enough to be worth handing out, short enough to share evenly."""
    long_enough = math.ceil(TASK_SECONDS / max(seconds, 1e-6))
    return max(1, min(long_enough, math.ceil(left / (TASKS_PER_WORKER * workers))))


def _workers(n_jobs: int | None) -> int:
    from joblib import effective_n_jobs

    return int(effective_n_jobs(n_jobs))


def _in_order(frame: pd.DataFrame, plan: Plan, replications: int) -> pd.DataFrame:
    """Rows by replication and estimator, whatever order they came in."""
    frame = frame[frame["replication"] < replications]
    place = {name: k for k, name in enumerate(plan.estimators)}
    order = np.lexsort((frame["estimator"].map(place), frame["replication"]))
    first = ["replication", "estimator", *NUMBERS, *TEXTS]
    others = sorted(set(frame.columns) - set(first))
    found = frame.iloc[order].reset_index(drop=True)[first + others]
    return found.astype({**dict.fromkeys(["estimator", *TEXTS], "str"), "replication": "int64"})
