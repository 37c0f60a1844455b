"""Random forests: rows, or whole clusters, drawn with replacement, a tree grown on each draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_count, encode_labels
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import AnyArray, FloatArray, IntArray

from .backfitting import BackfittingEngine, ModelTask
from .base import describe
from .features import Features


@dataclass(frozen=True)
class Forest:
    """A random forest of W, linear in the covariates by backfitting.

    Each tree is grown on rows drawn with replacement, whole clusters where there are any. Rows it
    was not grown on are out of its bag: backfitting uses predictions by such trees only, so that
    the linear part is not fitted to what the forest has memorised. ``MLIV(learner="forest",
    n_folds="oob")`` uses them for the instrument too: one forest in place of one for each fold.

    Parameters
    ----------
    n_trees : int
        Some hundred; with few trees a row may be in every bag, and is then predicted by the mean.
    min_samples_leaf : int
        Rows of a leaf, drawn twice counted once.
    max_features : float or int
        Inputs looked at for a split: a share of them, or how many.
    rounds : int
        Turns of backfitting, each with a forest of its own.

    Raises
    ------
    InputError
        Where a number is out of range.

    References
    ----------
    Breiman (2001), "Random Forests", doi:10.1023/A:1010933404324.

    Examples
    --------
    >>> from mlinstruments.learning import Forest
    >>> Forest(n_trees=500).label
    'forest(n_trees=500)'
    """

    n_trees: int = 200
    min_samples_leaf: int = 5
    max_features: float | int = 1.0
    rounds: int = 3

    def __post_init__(self) -> None:
        check_count(self.n_trees, "n_trees", 2)
        check_count(self.min_samples_leaf, "min_samples_leaf", 1)
        check_count(self.rounds, "rounds", 1)
        share = self.max_features
        if isinstance(share, bool) or not (
            (isinstance(share, float) and 0 < share <= 1) or (isinstance(share, int) and share >= 1)
        ):
            raise InputError(
                "max_features must be a share of the inputs in (0, 1], such as 0.5, or a number of"
                f" them; got {share!r}."
            )

    @property
    def label(self) -> str:
        """The learner in words."""
        trees = None if self.n_trees == 200 else self.n_trees
        leaf = None if self.min_samples_leaf == 5 else self.min_samples_leaf
        return describe("forest", n_trees=trees, min_samples_leaf=leaf)

    @property
    def takes_missing(self) -> bool:
        """Trees learn which way missing values go."""
        return True

    def prepare(
        self, features: Features, controls: FloatArray, weights: FloatArray | None
    ) -> ForestEngine:
        """Bind to the instruments, categories as indicators."""
        return self.prepare_clustered(features, controls, weights, ())

    def prepare_clustered(
        self,
        features: Features,
        controls: FloatArray,
        weights: FloatArray | None,
        clusters: tuple[IntArray, ...],
    ) -> ForestEngine:
        """The same with clusters drawn whole."""
        return ForestEngine(
            self, features.dummies().astype(np.float32), controls, weights, clusters
        )


class ForestEngine(BackfittingEngine):
    """A forest bound to its inputs (n, m)."""

    def __init__(
        self,
        learner: Forest,
        inputs: AnyArray,
        controls: FloatArray,
        weights: FloatArray | None,
        clusters: tuple[IntArray, ...],
    ) -> None:
        super().__init__(self._grow, controls, weights, learner.rounds)
        self._learner = learner
        self._inputs = inputs
        self._clusters = clusters

    @property
    def out_of_bag(self) -> str:
        """Empty: rows of a training part are predicted out of bag. Or why that is not valid."""
        if len(self._clusters) == 2:
            return "with two-way clusters a tree would have to be out of bag for both ways"
        return ""

    def _grow(self, task: ModelTask) -> GrownForest:
        weights = None if self._weights is None else self._weights[task.rows]
        # With two ways the first is drawn: rows out of bag then serve backfitting only.
        units = encode_labels(self._clusters[0][task.rows]) if self._clusters else None
        return grow(self._learner, self._inputs, task, weights, units)


@dataclass(frozen=True)
class GrownForest:
    """Trees, and what those say of each training row that were not grown on it.

    Parameters
    ----------
    trees : list of (scikit-learn tree, mean of the target in its bag)
    inputs : array, shape (n, q)
        Of all rows.
    rows : int array, shape (m,)
        Those the forest was grown on, in order.
    outside : array, shape (m,)
        Their predictions out of bag.
    """

    trees: list[tuple[Any, float]]
    inputs: AnyArray
    rows: IntArray
    outside: FloatArray

    def at_training(self) -> FloatArray:
        """Predictions of the training rows, out of bag."""
        return self.outside

    def predict(self, rows: IntArray) -> FloatArray:
        """Predictions less the mean of the target: by all trees, out of bag for training rows."""
        place = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        known = self.rows[place] == rows
        found = np.empty(len(rows))
        found[known] = self.outside[place[known]]
        fresh = self.inputs[rows[~known]]
        if len(fresh):
            found[~known] = np.mean(
                [tree.predict(fresh) - mean for tree, mean in self.trees], axis=0
            )
        return found


def grow(
    learner: Forest,
    inputs: AnyArray,
    task: ModelTask,
    weights: FloatArray | None,
    units: IntArray | None,
) -> GrownForest:
    """Grow a forest on some rows.

    Parameters
    ----------
    learner : Forest
    inputs : array, shape (n, q)
        Of all rows.
    task : ModelTask
    weights : array, shape (m,), or None
    units : int array, shape (m,), or None
        What is drawn, numbered from 0; rows where None.

    Notes
    -----
    The mean of the target in a tree's bag is taken from its predictions. Left there, the average
    over trees without row i would fall as the target of i rises, by nothing but arithmetic: rows
    whose target is large leave smaller means behind. A forest that finds nothing predicts zero.
    """
    from sklearn.tree import DecisionTreeRegressor

    m = len(task.rows)
    own = inputs[task.rows]
    mass = np.ones(m) if weights is None else weights
    codes = np.arange(m) if units is None else units
    n_units = int(codes.max()) + 1
    rng = np.random.default_rng(task.seed)
    totals, counts, trees = np.zeros(m), np.zeros(m), []
    for _ in range(learner.n_trees):
        drawn = np.bincount(rng.integers(0, n_units, n_units), minlength=n_units)[codes]
        bag = np.flatnonzero(drawn)
        effect = drawn[bag] * mass[bag]
        tree = DecisionTreeRegressor(
            min_samples_leaf=learner.min_samples_leaf,
            max_features=learner.max_features,
            random_state=int(rng.integers(2**31)),
        ).fit(own[bag], task.target[bag], sample_weight=effect)
        mean = float(np.average(task.target[bag], weights=effect))
        left = np.flatnonzero(drawn == 0)
        if len(left):
            totals[left] += tree.predict(own[left]) - mean
            counts[left] += 1
        trees.append((tree, mean))
    return GrownForest(trees, inputs, task.rows, totals / np.maximum(counts, 1))
