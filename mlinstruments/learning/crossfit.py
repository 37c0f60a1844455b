"""The hot loop: every split, cell, target and half of a cross-fitted first stage, in one map."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlinstruments._core.parallel import parallel_map
from mlinstruments._core.typing import FloatArray, IntArray

from .base import CrossFit, Engine, FoldFit, FoldTask, LeaveOneOutEngine, SplitEngine
from .folds import Split

Place = tuple[int, int, tuple[int, ...]]  # repeat, cell, targets
# Recentring goes on while held-out rows confirm it by this t ratio, and at most so many times.
CONFIRMED, PASSES = 2.0, 10


@dataclass(frozen=True)
class Work:
    """What every fold needs; large, so workers get it once."""

    engine: Engine
    recentre: Engine | None
    targets: FloatArray
    splits: list[Split]
    seeds: list[list[np.random.SeedSequence]]
    share_tuning: bool


def cross_fit(
    engine: Engine,
    targets: FloatArray,
    splits: list[Split],
    seeds: list[np.random.SeedSequence],
    share_tuning: bool = False,
    recentre: Engine | None = None,
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> CrossFit:
    """Predict every target for every row from models that never saw the row's cell.

    Parameters
    ----------
    engine : Engine
        The learner bound to its inputs.
    targets : array, shape (n, m)
        What is learned, each column on its own.
    splits : list of Split
        One for each repeat.
    seeds : list of SeedSequence
        One for each repeat.
    share_tuning : bool
        Keep the tuning values of the first target for all.
    recentre : Engine, optional
        Learner of the covariates alone; what it predicts of f is subtracted.
    n_jobs, progress
        As in :func:`mlinstruments._core.parallel.parallel_map`.

    Returns
    -------
    CrossFit
    """
    if any(split.loo for split in splits):
        return _without_each_row(engine, targets, len(splits))
    cell_seeds = [cell_seeds_of(split, seed) for split, seed in zip(splits, seeds, strict=True)]
    if recentre is None and isinstance(engine, SplitEngine):
        found = _all_cells(engine, targets, splits, cell_seeds, share_tuning, n_jobs, progress)
        if found is not None:
            return found
    groups = _target_groups(engine, targets.shape[1], share_tuning)
    places = [(r, c, g) for r, s in enumerate(splits) for c in range(s.n_cells) for g in groups]

    work = Work(engine, recentre, targets, splits, cell_seeds, share_tuning)
    fits = parallel_map(_fit_place, places, n_jobs, progress, "first stage", shared=work)
    return _collect(fits, places, splits, targets.shape)


def _without_each_row(engine: Engine, targets: FloatArray, n_splits: int) -> CrossFit:
    # There is one way to leave out every row, so that repeats are one.
    assert isinstance(engine, LeaveOneOutEngine)
    predictions, penalty = engine.leave_one_out(targets)
    tuning = np.full((n_splits, len(targets), targets.shape[1], 1), penalty)
    return CrossFit(np.stack([predictions[:, None]] * n_splits), tuning)


def _fit_place(work: Work, place: Place) -> FoldFit:
    r, cell, group = place
    chosen = work.targets[:, list(group)]
    seed = work.seeds[r][cell]
    task = FoldTask.of_cell(chosen, work.splits[r], cell, seed, work.share_tuning)
    if work.recentre is None:
        return work.engine.fit(task)
    return _recentred(work.engine, work.recentre, task)


def cell_seeds_of(split: Split, seed: np.random.SeedSequence) -> list[np.random.SeedSequence]:
    """Independent seeds for the cells of a split whose own seed is ``seed``."""
    source = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 1))
    return source.spawn(split.n_cells)


def _all_cells(
    engine: SplitEngine,
    targets: FloatArray,
    splits: list[Split],
    seeds: list[list[np.random.SeedSequence]],
    share_tuning: bool,
    n_jobs: int | None,
    progress: bool | None,
) -> CrossFit | None:
    """Splits made of the same blocks together, others one by one; None where cells are better."""
    together: dict[int, list[int]] = {}
    for r, split in enumerate(splits):
        together.setdefault(r if split.blocks is None else -1 - id(split.blocks), []).append(r)

    def run(places: list[int]) -> CrossFit | None:
        mine, own_seeds = [splits[r] for r in places], [seeds[r] for r in places]
        return engine.fit_splits(targets, mine, own_seeds, share_tuning)

    fits = parallel_map(run, together.values(), n_jobs, progress, "first stage")
    found = [fit for fit in fits if fit is not None]
    if len(found) < len(fits):
        return None
    if len(found) == 1:
        return found[0]
    order = np.argsort([r for places in together.values() for r in places])
    most = max(fit.tuning.shape[1] for fit in found)
    tuning = [_widened(fit.tuning, most) for fit in found]
    predictions = np.concatenate([fit.predictions for fit in found])
    return CrossFit(predictions[order], np.concatenate(tuning)[order])


def _widened(tuning: FloatArray, cells: int) -> FloatArray:
    missing = cells - tuning.shape[1]
    return np.pad(tuning, [(0, 0), (0, missing), (0, 0), (0, 0)], constant_values=np.nan)


def _target_groups(engine: Engine, m: int, share_tuning: bool) -> list[tuple[int, ...]]:
    # Linear learners solve all targets at once; so must tasks whose tuning is shared.
    together = engine.linear_in_target or share_tuning
    return [tuple(range(m))] if together else [(j,) for j in range(m)]


def _collect(
    fits: list[FoldFit],
    places: list[Place],
    splits: list[Split],
    shape: tuple[int, ...],
) -> CrossFit:
    n, m = shape
    parts = fits[0].predictions.shape[1]
    predictions = np.empty((len(splits), m, parts, n))
    most = max(split.n_cells for split in splits)
    tuning = np.full((len(splits), most, m, parts), np.nan)
    for (r, cell, group), fit in zip(places, fits, strict=True):
        rows = splits[r].held_out(cell)
        for j, target in enumerate(group):
            predictions[r, target][:, rows] = fit.predictions[j]
            tuning[r, cell, target] = fit.tuning[j]
    return CrossFit(predictions, tuning)


def _recentred(engine: Engine, recentre: Engine, task: FoldTask) -> FoldFit:
    """g(W, X) - E[g(W, X) | X], both learned on the same training part."""
    everyone = np.arange(len(task.targets))
    joint = engine.fit(replace(task, out=everyone))
    left = joint.predictions
    for j, part in np.ndindex(left.shape[:2]):
        _remove_explained(left[j, part], recentre, task.parts[part], task)
    return FoldFit(left[:, :, task.out], joint.tuning)


def _remove_explained(values: FloatArray, recentre: Engine, rows: IntArray, task: FoldTask) -> None:
    """Subtract from ``values`` (n,), in place, what the covariates explain of them.

    A learner that shrinks finds a part of it at a time, and what it leaves would pose as an
    instrument. So the rest is learned again for as long as the rows held out confirm it.
    """
    used = np.union1d(rows, task.out)
    held_out = np.searchsorted(used, task.out)
    for k in range(PASSES):
        inner = FoldTask(values[:, None], (rows,), used, task.seed, tune=task.tune)
        explained = recentre.fit(inner).predictions[0, 0]
        if k > 0 and _t_ratio(explained[held_out], values[task.out]) < CONFIRMED:
            return
        values[used] -= explained


def _t_ratio(predicted: FloatArray, actual: FloatArray) -> float:
    """Heteroskedasticity-robust t ratio of a covariance."""
    products = (predicted - predicted.mean()) * (actual - actual.mean())
    length = float(np.linalg.norm(products))
    return float(products.sum()) / length if length > 0 else 0.0
