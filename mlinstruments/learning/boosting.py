"""Boosted trees with the controls profiled out: LightGBM on the objective ||M_X (D - h(W))||^2.

The gradient at h is M_X (h - D), M_X the annihilator of the training rows' controls, so that one
boosting run learns f in f(W) + X'l without ever letting a tree see X.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.projection import Projector
from mlinstruments._core.typing import FloatArray, IntArray

from .base import FoldFit, FoldTask, describe, seed_int
from .boosting_run import Run, subset
from .features import Features

# Held while an engine that came from another process bins its inputs, once for all threads.
BINNING = Lock()
# Sample sizes at which the preset changes (benchmarks/README.md has what was tried).
FEW_ROWS, MANY_ROWS = 2_500, 25_000
# Boosting stops this many times 1 / learning_rate rounds after the best one.
PATIENCE = 3
# Set by the package: a user's value would silently change what is estimated.
RESERVED = (
    "objective",
    "boost_from_average",
    "reg_sqrt",
    "num_threads",
    "n_jobs",
    "nthread",
    "num_iterations",
    "n_estimators",
)


@dataclass(frozen=True)
class Boosting:
    """Gradient boosted trees, linear in the covariates by construction.

    Parameters
    ----------
    rounds : int, optional
        Boosting rounds. By default chosen inside each training part, up to ``max_rounds``, where
        the profiled error of either half on the other is least.
    learning_rate, extra_trees : float, bool, optional
        LightGBM's own. By default slow and with random thresholds in samples of fewer than
        2,500 rows, where thresholds chosen from many fit noise; faster and with the best
        thresholds in larger ones.
    num_leaves, min_data_in_leaf, max_bin
        LightGBM's own.
    params : mapping, optional
        Further LightGBM parameters, kept to the letter.

    Raises
    ------
    InputError
        Where ``params`` sets what the package sets itself: objective, iterations, threads.

    References
    ----------
    Ke et al. (2017), "LightGBM", NeurIPS. Profiling: this package.

    Examples
    --------
    >>> from mlinstruments.learning import Boosting
    >>> Boosting(rounds=50).label
    'boosting(rounds=50)'
    """

    rounds: int | None = None
    max_rounds: int = 500
    learning_rate: float | None = None
    num_leaves: int = 8
    min_data_in_leaf: int = 20
    extra_trees: bool | None = None
    max_bin: int = 63
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rounds is not None:
            check_count(self.rounds, "rounds", 1)
        check_count(self.max_rounds, "max_rounds", 1)
        for name in RESERVED:
            if name in self.params:
                raise InputError(
                    f"Boosting(params=...) cannot set {name!r}: the objective profiles the"
                    " controls out, rounds= sets the iterations and n_jobs= the threads."
                )
        if self.params.get("boosting", "gbdt") in ("rf", "random_forest"):
            raise InputError(
                "Boosting(params=...) cannot grow a random forest: its trees are fitted to one"
                " gradient, from which controls cannot be profiled out. Pass scikit-learn's"
                " RandomForestRegressor as the learner."
            )

    @property
    def label(self) -> str:
        """The learner in words."""
        return describe("boosting", rounds=self.rounds)

    @property
    def takes_missing(self) -> bool:
        """LightGBM learns which way missing values go."""
        return True

    def settings(self, n: int) -> dict[str, Any]:
        """The parameters handed to LightGBM for a sample of n rows."""
        rate, few = self.learning_rate, n < FEW_ROWS
        if rate is None:
            rate = 0.1 if few else 0.3 if n < MANY_ROWS else 0.5
        own = {
            "learning_rate": rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "extra_trees": few if self.extra_trees is None else self.extra_trees,
            "max_bin": self.max_bin,
        }
        fixed = {
            "metric": "none",
            "verbosity": -1,
            "num_threads": 1,  # folds run side by side instead; spinning threads would fight
            "deterministic": True,
            "force_col_wise": True,
            "feature_pre_filter": False,
        }
        return {**fixed, **own, **self.params}

    def prepare(
        self, features: Features, controls: FloatArray, weights: FloatArray | None
    ) -> BoostingEngine:
        """Bin the inputs once for every fold, half, repeat and target."""
        return BoostingEngine(self, features, controls, weights)


class BoostingEngine:
    """A boosting learner bound to its inputs; the binned data are built once and shared."""

    linear_in_target = False

    def __init__(
        self,
        learner: Boosting,
        features: Features,
        controls: FloatArray,
        weights: FloatArray | None,
    ) -> None:
        self._learner = learner
        self._features = features
        self._projector = Projector.onto(controls, weights)
        self._weights = weights
        self._settings = learner.settings(len(features.values))
        self._made: Any = self._bin()

    def __getstate__(self) -> dict[str, Any]:
        # A LightGBM dataset does not pickle: another process bins the same inputs again.
        return {**self.__dict__, "_made": None}

    @property
    def _binned(self) -> Any:
        with BINNING:
            if self._made is None:
                self._made = self._bin()
            return self._made

    def _bin(self) -> Any:
        import lightgbm

        return lightgbm.Dataset(
            self._features.values,
            label=np.zeros(len(self._features.values), dtype=np.float32),
            categorical_feature=np.flatnonzero(self._features.categorical).tolist(),
            params=self._settings,
        ).construct()

    def fit(self, task: FoldTask) -> FoldFit:
        """Boost each target on each part and predict the rows asked for."""
        outcomes: list[FloatArray] = []
        tuning: list[float] = []
        for j in range(task.targets.shape[1]):
            known = int(tuning[0]) if task.share_tuning and tuning else self._learner.rounds
            predictions, rounds = self._fit_target(task.targets[:, j], task, known)
            outcomes.append(predictions)
            tuning.append(rounds)
        used = np.repeat(np.array(tuning, dtype=float)[:, None], len(task.parts), axis=1)
        return FoldFit(np.stack(outcomes), used)

    def _fit_target(
        self, target: FloatArray, task: FoldTask, rounds: int | None
    ) -> tuple[FloatArray, int]:
        seed = seed_int(task.seed)
        watched = subset(self._binned, task.out)
        if rounds is None:
            halves = task.parts if len(task.parts) == 2 else _random_halves(task.parts[0], seed)
            runs = [self._run(target, rows, seed) for rows in halves]
            patience = round(PATIENCE / self._settings["learning_rate"])
            rounds, predictions = _choose_rounds(runs, watched, self._learner.max_rounds, patience)
            if halves is task.parts:
                return predictions, rounds
        parts = [self._boosted(target, rows, rounds, seed, watched) for rows in task.parts]
        return np.stack(parts), rounds

    def _boosted(
        self, target: FloatArray, rows: IntArray, rounds: int, seed: int, watched: Any
    ) -> FloatArray:
        run = self._run(target, rows, seed)  # freed on return: parts are held one at a time
        run.watch(watched)
        run.advance(rounds)
        return run.predictions()[0]

    def _run(self, target: FloatArray, rows: IntArray, seed: int) -> Run:
        weights = None if self._weights is None else self._weights[rows]
        settings = {**self._settings, "seed": seed}
        controls = self._projector.on(rows)
        return Run(self._binned, rows, target[rows], controls, weights, settings)


def _choose_rounds(
    runs: list[Run], watched: Any, most: int, patience: int, every: int = 5
) -> tuple[int, FloatArray]:
    """Rounds at which two runs predict each other's rows best, and what they predict then.

    Predictions (2, m) are those of the m rows watched.
    """
    first, second = runs
    for run, other in ((first, second), (second, first)):
        run.watch(other.data)
        run.watch(watched)
    best, best_rounds = np.inf, every
    predictions = np.empty(0)
    for done in range(every, max(most, every) + 1, every):
        for run in runs:
            run.advance(every)
        (ahead, first_out), (back, second_out) = first.predictions(), second.predictions()
        error = _profiled_error(second, ahead) + _profiled_error(first, back)
        if error < best:
            best, best_rounds = error, done
            predictions = np.stack([first_out, second_out])
        if done - best_rounds >= patience:
            break
    return best_rounds, predictions


def _profiled_error(run: Run, predicted: FloatArray) -> float:
    """Squared error of predictions for a run's rows once its controls are fitted to the rest."""
    residual = run.target - (predicted - run.controls.project(predicted))
    squares = residual**2 if run.weights is None else run.weights * residual**2
    return float(squares.sum())


def _random_halves(rows: IntArray, seed: int) -> tuple[IntArray, IntArray]:
    order = np.random.default_rng(seed).permutation(rows)
    middle = len(rows) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])
