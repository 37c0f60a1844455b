"""f(W) + X'l by turns: f learned from what X leaves of the target, l fitted to what f leaves."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mlinstruments._core.absorb import Groups, Within
from mlinstruments._core.linalg import Annihilator
from mlinstruments._core.typing import FloatArray, IntArray

from .base import FoldFit, FoldTask, seed_int

# Turns end where l'X moves by less than this share of the target's standard deviation.
SETTLED = 1e-6


class FittedModel(Protocol):
    """A regressor fitted to some rows."""

    def at_training(self) -> FloatArray:
        """Its predictions of those rows, as far as it can from models that did not see them."""
        ...

    def predict(self, rows: IntArray) -> FloatArray:
        """Its predictions of any rows."""
        ...


@dataclass(frozen=True)
class ModelTask:
    """What a regressor of W is to be fitted to.

    Parameters
    ----------
    rows : int array, shape (m,)
    target : array, shape (m,)
    seed : int
    tune : int array, shape (n,), or None
        As in :class:`~mlinstruments.learning.base.FoldTask`.
    """

    rows: IntArray
    target: FloatArray
    seed: int
    tune: IntArray | None = None


class BackfittingEngine:
    """Any regressor of W bound to its inputs, with a linear part in X.

    Parameters
    ----------
    fit_model : callable
        Fits the regressor.
    controls : array, shape (n, p)
    weights : array, shape (n,), or None
    rounds : int
        Turns; one where the controls are no more than a constant.
    """

    linear_in_target = False

    def __init__(
        self,
        fit_model: Callable[[ModelTask], FittedModel],
        controls: FloatArray,
        weights: FloatArray | None,
        rounds: int,
    ) -> None:
        self._fit_model = fit_model
        self._controls = controls
        self._weights = weights
        self._rounds = rounds
        self._groups: Groups = ()

    def absorbing(self, groups: Groups) -> BackfittingEngine:
        """The same learner with group effects beside the controls."""
        other = copy(self)
        other._groups = groups
        return other

    def fit(self, task: FoldTask) -> FoldFit:
        """Backfit each target on each part and predict the rows asked for."""
        predictions = [
            [self._fit_part(task.targets[:, j], rows, task) for rows in task.parts]
            for j in range(task.targets.shape[1])
        ]
        shape = (len(predictions), len(task.parts))
        return FoldFit(np.array(predictions), np.full(shape, np.nan))

    def _fit_part(self, target: FloatArray, rows: IntArray, task: FoldTask) -> FloatArray:
        controls, outcome, seed = self._controls[rows], target[rows], seed_int(task.seed)
        constant = controls.shape[1] == 0 or bool(np.all(controls == controls[0]))
        if constant and not self._groups:
            return self._fit_model(ModelTask(rows, outcome, seed, task.tune)).predict(task.out)
        space = self._control_space(rows)
        linear = outcome - space.residualise(outcome)
        for _ in range(self._rounds):
            model = self._fit_model(ModelTask(rows, outcome - linear, seed, task.tune))
            rest = outcome - model.at_training()
            updated = rest - space.residualise(rest)
            moved = float(np.abs(updated - linear).max())
            linear = updated
            if moved <= SETTLED * float(np.std(outcome)):
                break
        return model.predict(task.out)

    def _control_space(self, rows: IntArray) -> Annihilator | Within:
        if self._groups:
            return Within.of(self._controls, self._groups, self._weights, rows)
        return Annihilator.of(self._controls, self._weights, rows)
