"""What a first-stage learner is: a configuration that prepares an engine, which fits folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mlinstruments._core.typing import FloatArray, IntArray

from .features import Features
from .folds import Split


@dataclass(frozen=True)
class FoldTask:
    """One first-stage fit.

    Parameters
    ----------
    targets : array, shape (n, m)
        What is learned; each column on its own.
    parts : tuple of int arrays
        Disjoint sets of training rows, one fit each.
    out : int array
        Rows to predict.
    seed : SeedSequence
        Randomness of this task.
    share_tuning : bool
        Choose tuning values on the first target and keep them for the others.
    tune : int array, shape (n,), or None
        Side of each row where a part is divided in two to choose tuning values; drawn from the seed
        where None.
    """

    targets: FloatArray
    parts: tuple[IntArray, ...]
    out: IntArray
    seed: np.random.SeedSequence
    share_tuning: bool = False
    tune: IntArray | None = None

    @classmethod
    def of_cell(
        cls,
        targets: FloatArray,
        split: Split,
        cell: int,
        seed: np.random.SeedSequence,
        share_tuning: bool = False,
    ) -> FoldTask:
        """The task of predicting one cell of a split."""
        training, out = split.training(cell), split.held_out(cell)
        return cls(targets, training, out, seed, share_tuning, split.tune)


@dataclass(frozen=True)
class FoldFit:
    """Predictions of one task.

    Parameters
    ----------
    predictions : array, shape (m, parts, len(out))
        f(W) for each target and training part, without the part linear in the controls.
    tuning : array, shape (m, parts)
        The tuning value of each fit (boosting rounds, ridge penalty), NaN if none.
    """

    predictions: FloatArray
    tuning: FloatArray


class Engine(Protocol):
    """A learner bound to its inputs."""

    @property
    def linear_in_target(self) -> bool:
        """Whether predictions are linear in the target once tuning is shared."""
        ...

    def fit(self, task: FoldTask) -> FoldFit:
        """Fit f(W) + X'l on each training part and predict f(W)."""
        ...


@dataclass(frozen=True)
class CrossFit:
    """Out-of-fold predictions.

    Parameters
    ----------
    predictions : array, shape (splits, targets, parts, n)
        Each row predicted by models trained without its cell; one entry for each training part.
    tuning : array, shape (splits, cells, targets, parts)
        Tuning value of every fit (boosting rounds, penalty), NaN where there is none.
    """

    predictions: FloatArray
    tuning: FloatArray


@runtime_checkable
class SplitEngine(Protocol):
    """An engine that can also serve all cells of splits made of the same blocks at once."""

    def fit_splits(
        self,
        targets: FloatArray,
        splits: list[Split],
        seeds: list[list[np.random.SeedSequence]],
        share_tuning: bool,
    ) -> CrossFit | None:
        """What :meth:`Engine.fit` gives cell by cell, up to rounding; None where that is better.

        ``seeds`` holds one for each cell of each split.
        """
        ...


@runtime_checkable
class LeaveOneOutEngine(Protocol):
    """An engine that leaves out each row in turn without as many fits."""

    def leave_one_out(self, targets: FloatArray) -> tuple[FloatArray, float]:
        """Predictions (m, n) of each row from all others, less the controls; and the penalty."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A configuration that can be bound to inputs."""

    @property
    def label(self) -> str:
        """The learner in words, for tables."""
        ...

    @property
    def takes_missing(self) -> bool:
        """Whether missing instruments may be passed as they are."""
        ...

    def prepare(
        self, features: Features, controls: FloatArray, weights: FloatArray | None
    ) -> Engine:
        """Bind to inputs; whatever all folds share is done here, once."""
        ...


@runtime_checkable
class ClusteredLearner(Protocol):
    """A configuration that makes use of clusters beyond keeping them whole."""

    def prepare_clustered(
        self,
        features: Features,
        controls: FloatArray,
        weights: FloatArray | None,
        clusters: tuple[IntArray, ...],
    ) -> Engine:
        """Bind to inputs and none, one or two ways of clustering, as codes from 0."""
        ...


def seed_int(seed: np.random.SeedSequence) -> int:
    """A seed as the non-negative 31-bit integer that learners take."""
    return int(seed.generate_state(1)[0] >> 1)


def describe(name: str, **settings: Any) -> str:
    """``name(a=1, b=2)`` with settings that are None left out.

    Examples
    --------
    >>> describe("ridge", penalty=None)
    'ridge'
    """
    shown = ", ".join(f"{key}={value}" for key, value in settings.items() if value is not None)
    return f"{name}({shown})" if shown else name
