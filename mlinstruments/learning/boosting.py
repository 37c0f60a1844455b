"""Boosted trees with the controls profiled out: LightGBM on the objective ||M_X (D - h(W))||^2.

The gradient at h is M_X (h - D), M_X the annihilator of the training rows' controls, so that one
boosting run learns f in f(W) + X'l without ever letting a tree see X.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import Annihilator
from mlinstruments._core.typing import AnyArray, FloatArray, IntArray

from .base import FoldFit, FoldTask, describe, seed_int
from .features import Features

# How often in a row a round may find no split before the fit counts as finished.
REDRAWS = 20
# Set by the package: a user's value would silently change what is estimated.
RESERVED = ("objective", "num_threads", "n_jobs", "nthread", "num_iterations", "n_estimators")


@dataclass(frozen=True)
class Boosting:
    """Gradient boosted trees, linear in the covariates by construction.

    Parameters
    ----------
    rounds : int, optional
        Boosting rounds. By default chosen inside each training part, up to ``max_rounds``, where
        the profiled error of either half on the other is least.
    learning_rate, num_leaves, min_data_in_leaf, extra_trees, max_bin
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
    learning_rate: float = 0.1
    num_leaves: int = 8
    min_data_in_leaf: int = 20
    extra_trees: bool = True
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

    @property
    def label(self) -> str:
        """The learner in words."""
        return describe("boosting", rounds=self.rounds)

    @property
    def takes_missing(self) -> bool:
        """LightGBM learns which way missing values go."""
        return True

    def settings(self) -> dict[str, Any]:
        """The parameters handed to LightGBM."""
        own = {
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "extra_trees": self.extra_trees,
            "max_bin": self.max_bin,
        }
        fixed = {
            "objective": "none",
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
        self._controls = controls
        self._weights = weights
        self._binned = self._bin()

    def __getstate__(self) -> dict[str, Any]:
        # A LightGBM dataset does not pickle: another process bins the same inputs again.
        return {key: value for key, value in self.__dict__.items() if key != "_binned"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._binned = self._bin()

    def _bin(self) -> Any:
        import lightgbm

        return lightgbm.Dataset(
            self._features.values,
            label=np.zeros(len(self._features.values), dtype=np.float32),
            categorical_feature=np.flatnonzero(self._features.categorical).tolist(),
            params=self._learner.settings(),
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
        inputs = self._features.values[task.out]
        if rounds is None:
            halves = task.parts if len(task.parts) == 2 else _random_halves(task.parts[0], seed)
            runs = [self._run(target, rows, seed) for rows in halves]
            rounds = _choose_rounds(runs, self._learner.max_rounds)
            if halves is task.parts:
                return np.stack([run.predict(inputs, rounds) for run in runs]), rounds
        parts = [self._boosted(target, rows, rounds, seed, inputs) for rows in task.parts]
        return np.stack(parts), rounds

    def _boosted(
        self, target: FloatArray, rows: IntArray, rounds: int, seed: int, inputs: FloatArray
    ) -> FloatArray:
        run = self._run(target, rows, seed)  # freed on return: parts are held one at a time
        run.advance(rounds)
        return run.predict(inputs, rounds)

    def _run(self, target: FloatArray, rows: IntArray, seed: int) -> _Run:
        weights = None if self._weights is None else self._weights[rows]
        return _Run(
            self._binned,
            rows,
            target,
            Annihilator.of(self._controls, self._weights, rows),
            weights,
            {**self._learner.settings(), "seed": seed},
        )


class _Run:
    """One boosting run on some rows, advanced round by round."""

    def __init__(
        self,
        binned: Any,
        rows: IntArray,
        target: FloatArray,
        controls: Annihilator,
        weights: FloatArray | None,
        settings: dict[str, Any],
    ) -> None:
        import lightgbm

        self.rows = rows
        self.controls = controls
        self.weights = weights
        self.data = _subset(binned, rows)
        self._target = controls.residualise(target[rows])
        self._scale = float(np.std(self._target)) or 1.0
        self._hessian = np.ones(len(rows), np.float32) if weights is None else weights
        self.booster = lightgbm.Booster(settings, self.data)

    def _gradient(self, scores: FloatArray, _: Any) -> tuple[FloatArray, AnyArray]:
        # Scores are on the scale of a unit-variance target, so that parameters such as
        # min_gain_to_split or lambda_l1 mean the same whatever the units of the treatment.
        gradient = self.controls.residualise(scores) - self._target / self._scale
        return (gradient if self.weights is None else self.weights * gradient), self._hessian

    def advance(self, rounds: int) -> None:
        """Add rounds. A random threshold that finds no split is drawn again, a few times."""
        for _ in range(rounds):
            if not any(not self.booster.update(fobj=self._gradient) for _ in range(REDRAWS)):
                return

    def validate_on(self, other: _Run) -> None:
        """Keep scores of another run's rows up to date, to measure the error there."""
        self.booster.add_valid(other.data, "other")

    def error_on(self, other: _Run) -> float:
        """Profiled squared error on the rows of another run, given by :meth:`validate_on`."""
        caught: list[FloatArray] = []

        def catch(scores: FloatArray, _: Any) -> tuple[str, float, bool]:
            caught.append(scores)
            return "caught", 0.0, False

        self.booster.eval_valid(catch)
        residual = other._target - self._scale * other.controls.residualise(caught[0])
        squares = residual**2 if other.weights is None else other.weights * residual**2
        return float(squares.sum())

    def predict(self, inputs: FloatArray, rounds: int) -> FloatArray:
        """f(W) for rows of inputs, shape (len(inputs),)."""
        if self.booster.current_iteration() == 0:
            return np.zeros(len(inputs))
        scores = self.booster.predict(inputs, num_iteration=rounds, num_threads=1)
        return self._scale * np.asarray(scores)


def _choose_rounds(runs: list[_Run], most: int, every: int = 5, patience: int = 6) -> int:
    """Rounds at which two runs predict each other's rows best; both runs are advanced past it."""
    first, second = runs
    first.validate_on(second)
    second.validate_on(first)
    best, best_rounds, since = np.inf, every, 0
    for done in range(every, max(most, every) + 1, every):
        for run in runs:
            run.advance(every)
        error = first.error_on(second) + second.error_on(first)
        if error < best:
            best, best_rounds, since = error, done, 0
        else:
            since += 1
        if since >= patience:
            break
    return best_rounds


def _subset(binned: Any, rows: IntArray) -> Any:
    """Some rows of a binned dataset; rows must be in order.

    ``Dataset.subset`` sorts its rows as a list of Python objects, some hundred bytes a row.
    """
    part = binned.subset([0])
    part.used_indices = rows.astype(np.int32)
    return part


def _random_halves(rows: IntArray, seed: int) -> tuple[IntArray, IntArray]:
    order = np.random.default_rng(seed).permutation(rows)
    middle = len(rows) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])
