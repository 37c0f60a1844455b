"""Several learners in one: their predictions averaged with weights that add to one."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from mlinstruments._core.absorb import Groups, Within
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import Annihilator
from mlinstruments._core.typing import FloatArray, IntArray

from .base import AbsorbingEngine, ClusteredLearner, Engine, FoldFit, FoldTask, Learner
from .features import Features
from .folds import random_split

# Weights are found by looking at every subset of learners: 1023 of them.
MOST = 10


@dataclass(frozen=True)
class Stack:
    """A weighted average of learners, with convex weights found inside each training part.

    Each training part is divided in two sides; every learner is trained on either side and predicts
    the other. The weights, not negative and adding to one, are those with which these predictions
    fit best once the covariates are fitted to the rest. Then every learner is trained on the whole
    part. That makes twice the work of the learners alone. ``MLIV(learner=[...])`` does the same
    with defaults; ``res.first_stage.learner_weights`` shows the weights of every fold.

    Parameters
    ----------
    learners : sequence of str, learner or scikit-learn regressor
        Two to ten.

    Raises
    ------
    InputError
        Where there are too few or too many.

    References
    ----------
    Wolpert (1992), doi:10.1016/S0893-6080(05)80023-1; Breiman (1996), doi:10.1007/BF00117832.

    Examples
    --------
    >>> from mlinstruments.learning import Ridge, Stack
    >>> Stack(["series", Ridge(penalty=1.0)]).label
    'stack of series, ridge(penalty=1.0)'
    """

    learners: Sequence[Any]

    def __post_init__(self) -> None:
        if isinstance(self.learners, str) or not 2 <= len(self.learners) <= MOST:
            raise InputError(
                f"a stack takes a list of 2 to {MOST} learners; got {self.learners!r}."
            )

    @property
    def members(self) -> list[Learner]:
        """The learners."""
        from .adapters import as_learner

        return [as_learner(learner) for learner in self.learners]

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called, those of one name numbered."""
        labels = [member.label for member in self.members]
        return tuple(
            f"{label} {labels[: j + 1].count(label)}" if labels.count(label) > 1 else label
            for j, label in enumerate(labels)
        )

    @property
    def label(self) -> str:
        """The learner in words."""
        return f"stack of {', '.join(self.names)}"

    @property
    def takes_missing(self) -> bool:
        """Whether all learners do."""
        return all(member.takes_missing for member in self.members)

    def prepare(
        self, features: Features, controls: FloatArray, weights: FloatArray | None
    ) -> StackEngine:
        """Bind every learner."""
        return self.prepare_clustered(features, controls, weights, ())

    def prepare_clustered(
        self,
        features: Features,
        controls: FloatArray,
        weights: FloatArray | None,
        clusters: tuple[IntArray, ...],
    ) -> StackEngine:
        """The same where learners want to know clusters."""
        engines = [
            member.prepare_clustered(features, controls, weights, clusters)
            if isinstance(member, ClusteredLearner)
            else member.prepare(features, controls, weights)
            for member in self.members
        ]
        return StackEngine(engines, self.names, controls, weights)


class StackEngine:
    """Learners bound to the same inputs.

    Parameters
    ----------
    engines : list of Engine
    names : tuple of str
    controls : array, shape (n, p)
    weights : array, shape (n,), or None
    """

    linear_in_target = False

    def __init__(
        self,
        engines: list[Engine],
        names: tuple[str, ...],
        controls: FloatArray,
        weights: FloatArray | None,
    ) -> None:
        self._engines = engines
        self.names = names
        self._controls = controls
        self._weights = weights
        self._groups: Groups = ()

    def absorbing(self, groups: Groups) -> StackEngine:
        """The same learners with group effects beside the controls."""
        other = copy(self)
        able = [engine for engine in self._engines if isinstance(engine, AbsorbingEngine)]
        if len(able) < len(self._engines):
            raise InputError("absorb= needs learners that can absorb; one of the stack cannot.")
        other._engines = [engine.absorbing(groups) for engine in able]
        other._groups = groups
        return other

    def fit(self, task: FoldTask) -> FoldFit:
        """Fit all learners, weigh them on each part, and predict the rows asked for."""
        if task.share_tuning:
            fits = [self.fit(self._single(task, j)) for j in range(task.targets.shape[1])]
            return _joined(fits)
        found = np.stack([engine.fit(task).predictions for engine in self._engines], axis=-1)
        chosen = np.stack([self._weigh(task, rows) for rows in task.parts], axis=1)
        predictions = np.einsum("mpnj,mpj->mpn", found, chosen)
        return FoldFit(predictions, np.full(predictions.shape[:2], np.nan), chosen)

    def _single(self, task: FoldTask, j: int) -> FoldTask:
        return replace(task, targets=task.targets[:, [j]], share_tuning=False)

    def _weigh(self, task: FoldTask, rows: IntArray) -> FloatArray:
        """Weights (m, learners) of a part, one line for each target."""
        sides = _sides(task, rows)
        m, J = task.targets.shape[1], len(self._engines)
        columns = []
        for here, there in (sides, sides[::-1]):
            inner = replace(task, parts=(here,), out=there)
            found = [engine.fit(inner).predictions[:, 0].T for engine in self._engines]
            space = self._space(there)
            root = 1.0 if self._weights is None else np.sqrt(self._weights[there])[:, None]
            columns.append(root * space.residualise(np.hstack([*found, task.targets[there]])))
        both = np.vstack(columns).reshape(-1, J + 1, m)  # learners, then the target
        return np.stack([convex_weights(both[:, :J, j], both[:, J, j]) for j in range(m)])

    def _space(self, rows: IntArray) -> Annihilator | Within:
        if self._groups:
            return Within.of(self._controls, self._groups, self._weights, rows)
        return Annihilator.of(self._controls, self._weights, rows)


def _sides(task: FoldTask, rows: IntArray) -> tuple[IntArray, IntArray]:
    if task.tune is not None:
        first, second = (rows[task.tune[rows] == side] for side in (0, 1))
        if min(len(first), len(second)) > 1:
            return first, second
    side = random_split(len(rows), 2, (), task.seed, halves=False).cell
    return rows[side == 0], rows[side == 1]


def _joined(fits: list[FoldFit]) -> FoldFit:
    weights = [fit.weights for fit in fits if fit.weights is not None]
    return FoldFit(
        np.concatenate([fit.predictions for fit in fits]),
        np.concatenate([fit.tuning for fit in fits]),
        np.concatenate(weights),
    )


def convex_weights(predictions: FloatArray, target: FloatArray) -> FloatArray:
    """Weights, not negative and adding to one, with which predictions fit a target best.

    Every subset of the columns is tried, so the answer is exact.

    Parameters
    ----------
    predictions : array, shape (n, J)
    target : array, shape (n,)

    Returns
    -------
    array, shape (J,)

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> convex_weights(x, x @ [0.25, 0.75]).round(6).tolist()
    [0.25, 0.75]
    """
    J = predictions.shape[1]
    columns = np.column_stack([predictions, target])
    gram = columns.T @ columns
    best, least = np.zeros(J), np.inf
    for size in range(1, J + 1):
        for subset in combinations(range(J), size):
            weights = _adding_to_one(gram, list(subset))
            if weights is None:
                continue
            contrast = np.append(weights, -1.0)
            loss = float(contrast @ gram @ contrast)
            # Fewer learners where more gain nothing but rounding.
            if loss < least - 1e-12 * gram[-1, -1]:
                least, best = loss, weights
    return best


def _adding_to_one(gram: FloatArray, subset: list[int]) -> FloatArray | None:
    """Weights (J,) of a subset that add to one and fit best; None where one is negative.

    ``gram`` (J + 1, J + 1) holds the products of predictions and, last, the target.
    """
    weights = np.zeros(len(gram) - 1)
    *others, last = subset
    # The last takes what the others leave: least squares of the rest on differences from it.
    moves = np.eye(len(gram))
    moves[last] -= 1
    turned = moves[:, [*others, -1]]
    products = turned.T @ gram @ turned
    try:
        weights[others] = np.linalg.solve(products[:-1, :-1], products[:-1, -1])
    except np.linalg.LinAlgError:
        return None
    weights[last] = 1 - weights.sum()
    return weights if np.isfinite(weights).all() and (weights >= 0).all() else None
