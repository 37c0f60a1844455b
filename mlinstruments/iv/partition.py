"""How the rows are split for cross-fitting, checked before any learner runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlinstruments._core.arrays import missing_mask
from mlinstruments._core.exceptions import InputError
from mlinstruments.learning.folds import (
    Split,
    block_splits,
    given_split,
    leave_one_out_split,
    random_split,
)

from .data import IVData

# What n_folds says to leave out one row at a time.
LOO = "loo"


def make_splits(
    data: IVData,
    seeds: list[np.random.SeedSequence],
    n_folds: int | str,
    repeat_blocks: int | None,
    split_half: bool,
    folds: Any,
) -> list[Split]:
    """One split for each seed: random, made of blocks, given by the user, or leave-one-out."""
    if n_folds == LOO:
        return [_leave_one_out(data, len(seeds), repeat_blocks, folds)]
    if folds is not None:
        splits = [_given_split(data, folds, seeds, repeat_blocks, split_half)]
    elif repeat_blocks is not None:
        splits = block_splits(
            data.nobs, int(n_folds), data.clusters, seeds, repeat_blocks, split_half
        )
    else:
        splits = [
            random_split(data.nobs, int(n_folds), data.clusters, seed, split_half) for seed in seeds
        ]
    _require_training_rows(splits[0], data)
    return splits


def check_leave_one_out(covariates: str, interact_controls: bool) -> None:
    """Refuse what cannot be done fold by fold where a fold is a row."""
    if interact_controls:
        raise _unsuited("covariates cannot be partialled out of one row (interact_controls)")
    if covariates == "recentred":
        raise _unsuited("covariates='recentred' is learned fold by fold")


def _unsuited(what: str) -> InputError:
    return InputError(f"n_folds='loo' cannot be used here: {what}. Give n_folds a number.")


def _leave_one_out(data: IVData, n_repeats: int, repeat_blocks: int | None, folds: Any) -> Split:
    if folds is not None:
        raise _unsuited("folds= gives a partition of its own")
    if n_repeats > 1:
        raise _unsuited("there is one way to leave out every row, so n_repeats must be 1")
    if repeat_blocks is not None:
        raise _unsuited("repeat_blocks makes folds of blocks")
    if data.clusters:
        raise _unsuited("it would split clusters")
    return leave_one_out_split(data.nobs)


def _given_split(
    data: IVData,
    folds: Any,
    seeds: list[np.random.SeedSequence],
    repeat_blocks: int | None,
    split_half: bool,
) -> Split:
    if len(seeds) != 1:
        raise InputError("folds gives one partition: n_repeats must be 1.")
    if repeat_blocks is not None:
        raise InputError("folds gives one partition: leave repeat_blocks out.")
    labels = np.asarray(folds)
    if labels.shape != data.kept.shape:
        raise InputError(
            f"folds must hold one label for each of the {len(data.kept)} rows; its shape is"
            f" {labels.shape}."
        )
    gone = missing_mask(labels)
    if gone.any():
        raise InputError(f"folds is missing in row {int(np.argmax(gone))}: give every row a label.")
    return given_split(labels[data.kept], data.clusters, seeds[0], split_half)


def _require_training_rows(split: Split, data: IVData) -> None:
    least = min(len(rows) for cell in range(split.n_cells) for rows in split.training(cell))
    needed = data.n_exog + 2
    if least < needed:
        raise InputError(
            f"a training part has {least} rows, and {needed} are needed to fit"
            f" {data.n_exog} covariates and learn from the rest: use more rows, fewer covariates,"
            " fewer folds, or split_half=False."
        )
