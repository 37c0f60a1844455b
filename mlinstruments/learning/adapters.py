"""Any scikit-learn regressor as a first stage linear in the covariates, by backfitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray, IntArray

from .base import FoldFit, FoldTask, Learner, seed_int
from .boosting import Boosting
from .features import Features
from .gram import OLS, Ridge, Series
from .kernel import Kernel
from .lasso import Lasso

NAMED: dict[str, type[Any]] = {
    "boosting": Boosting,
    "series": Series,
    "kernel": Kernel,
    "ridge": Ridge,
    "lasso": Lasso,
    "ols": OLS,
}


def as_learner(learner: Any) -> Learner:
    """Turn what a user passes as ``learner=`` into a :class:`Learner`.

    Parameters
    ----------
    learner : str, Learner or scikit-learn regressor
        ``"boosting"``, ``"series"``, ``"kernel"``, ``"ridge"``, ``"lasso"``, ``"ols"``, one of the
        package's own configurations, or anything with scikit-learn's ``fit`` and ``predict``.

    Examples
    --------
    >>> as_learner("boosting").label
    'boosting'
    """
    if isinstance(learner, str):
        known: Learner = NAMED[check_choice(learner, "learner", tuple(NAMED))]()
        return known
    if isinstance(learner, type):
        raise InputError(f"learner is the class {learner.__name__}: pass an instance of it.")
    if isinstance(learner, Learner):
        return learner
    if not (hasattr(learner, "fit") and hasattr(learner, "predict")):
        raise InputError(
            f"learner must be one of {', '.join(map(repr, NAMED))} or a scikit-learn regressor;"
            f" got {learner!r}."
        )
    return SklearnLearner(learner)


@dataclass(frozen=True)
class SklearnLearner:
    """A scikit-learn regressor of W, combined with a linear part in X by backfitting.

    The regressor is cloned for every fit and its ``random_state`` parameters that are None are
    seeded. Each round fits it on D - X'l and then l by least squares on D - f(W). Where W and X
    are closely related and the regressor follows its training data closely, few rounds leave f
    short of its optimum: that costs precision of the instrument, not its validity.

    Parameters
    ----------
    estimator : scikit-learn regressor
        Left untouched.
    rounds : int
        Backfitting rounds; one is enough where a constant is the only covariate.

    Raises
    ------
    InputError
        Where the regressor cannot be cloned, or is a classifier.

    References
    ----------
    Buja, Hastie, Tibshirani (1989), doi:10.1214/aos/1176347115.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> from mlinstruments.learning import SklearnLearner
    >>> SklearnLearner(RandomForestRegressor(min_samples_leaf=5), rounds=2).label
    'RandomForestRegressor'
    """

    estimator: Any
    rounds: int = 5

    def __post_init__(self) -> None:
        from sklearn.base import clone, is_classifier

        try:
            clone(self.estimator)
        except TypeError as error:
            raise InputError(
                f"learner {type(self.estimator).__name__} cannot be cloned for every fold: it needs"
                f" scikit-learn's get_params and set_params ({error})."
            ) from None
        if hasattr(self.estimator, "__sklearn_tags__") and is_classifier(self.estimator):
            raise InputError(
                f"learner {type(self.estimator).__name__} is a classifier: use its regressor"
                " (a regressor of a binary treatment learns the propensity)."
            )

    @property
    def label(self) -> str:
        """The learner in words."""
        return type(self.estimator).__name__

    @property
    def takes_missing(self) -> bool:
        """What the regressor's scikit-learn tags say."""
        from sklearn.utils import get_tags

        try:
            return bool(get_tags(self.estimator).input_tags.allow_nan)
        except (AttributeError, TypeError, ValueError):
            return False  # not built on BaseEstimator: assume the stricter case

    def prepare(
        self, features: Features, controls: FloatArray, weights: FloatArray | None
    ) -> BackfittingEngine:
        """Bind to the instruments, categories as indicators."""
        from sklearn.utils.validation import has_fit_parameter

        if weights is not None and not has_fit_parameter(self.estimator, "sample_weight"):
            raise InputError(
                f"weights were given, but {self.label}.fit takes no sample_weight: choose a"
                " learner that does, such as learner='boosting', or leave weights out."
            )
        return BackfittingEngine(self, features.dummies(), controls, weights)


class BackfittingEngine:
    """A scikit-learn regressor bound to its inputs."""

    linear_in_target = False

    def __init__(
        self,
        learner: SklearnLearner,
        inputs: FloatArray,
        controls: FloatArray,
        weights: FloatArray | None,
    ) -> None:
        self._learner = learner
        self._inputs = inputs
        self._controls = controls
        self._weights = weights

    def fit(self, task: FoldTask) -> FoldFit:
        """Backfit each target on each part and predict the rows asked for."""
        predictions = [
            [self._fit_part(task.targets[:, j], rows, task) for rows in task.parts]
            for j in range(task.targets.shape[1])
        ]
        shape = (len(predictions), len(task.parts))
        return FoldFit(np.array(predictions), np.full(shape, np.nan))

    def _fit_part(self, target: FloatArray, rows: IntArray, task: FoldTask) -> FloatArray:
        inputs, controls, outcome = self._inputs[rows], self._controls[rows], target[rows]
        weights = None if self._weights is None else self._weights[rows]
        constant_only = controls.shape[1] == 0 or bool(np.all(controls == controls[0]))
        linear = np.zeros(len(rows))
        if not constant_only:
            linear = _fitted(controls, outcome, weights)
        for _ in range(1 if constant_only else self._learner.rounds):
            model = seeded_clone(self._learner.estimator, seed_int(task.seed))
            extra = {} if weights is None else {"sample_weight": weights}
            model.fit(inputs, outcome - linear, **extra)
            if constant_only:
                break
            updated = _fitted(controls, outcome - np.ravel(model.predict(inputs)), weights)
            moved = float(np.abs(updated - linear).max())
            linear = updated
            if moved <= 1e-6 * float(np.std(outcome)):
                break
        return np.ravel(model.predict(self._inputs[task.out])).astype(float)


def seeded_clone(estimator: Any, seed: int) -> Any:
    """A fresh copy whose unset ``random_state`` parameters, nested ones too, are ``seed``."""
    from sklearn.base import clone

    model = clone(estimator)
    unset = {
        name: seed
        for name, value in model.get_params(deep=True).items()
        if (name == "random_state" or name.endswith("__random_state")) and value is None
    }
    return model.set_params(**unset) if unset else model


def _fitted(controls: FloatArray, outcome: FloatArray, weights: FloatArray | None) -> FloatArray:
    root = np.ones(len(outcome)) if weights is None else np.sqrt(weights)
    coefficients = linalg.lstsq(controls * root[:, None], outcome * root)[0]
    return np.asarray(controls @ coefficients)
