"""Any scikit-learn regressor as a first stage linear in the covariates, by backfitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray, IntArray

from .backfitting import BackfittingEngine, ModelTask
from .base import Learner
from .boosting import Boosting
from .features import Features
from .forest import Forest
from .gram import OLS, Ridge, Series
from .kernel import Kernel
from .lasso import Lasso
from .search import is_search, search_groups, seeded_clone
from .stacking import Stack

NAMED: dict[str, type[Any]] = {
    "boosting": Boosting,
    "series": Series,
    "kernel": Kernel,
    "ridge": Ridge,
    "lasso": Lasso,
    "ols": OLS,
    "forest": Forest,
}


def as_learner(learner: Any) -> Learner:
    """Turn what a user passes as ``learner=`` into a :class:`Learner`.

    Parameters
    ----------
    learner : str, Learner, scikit-learn regressor or list of these
        ``"boosting"``, ``"series"``, ``"kernel"``, ``"ridge"``, ``"lasso"``, ``"ols"``,
        ``"forest"``, one of the package's own configurations, anything with scikit-learn's ``fit``
        and ``predict``, or a list to stack.

    Examples
    --------
    >>> as_learner("boosting").label
    'boosting'
    """
    if isinstance(learner, str):
        known: Learner = NAMED[check_choice(learner, "learner", tuple(NAMED))]()
        return known
    if isinstance(learner, list | tuple):
        return Stack(learner)
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

    A search for tuning values (``GridSearchCV`` and the like) is a regressor too: it sees training
    rows alone. Where there are clusters, its folds keep them whole unless its ``cv`` is a splitter
    that takes no groups.

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
        name = type(self.estimator).__name__
        return f"{name} of {type(self.estimator.estimator).__name__}" if self._searches else name

    @property
    def _searches(self) -> bool:
        return is_search(self.estimator)

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
        return self.prepare_clustered(features, controls, weights, ())

    def prepare_clustered(
        self,
        features: Features,
        controls: FloatArray,
        weights: FloatArray | None,
        clusters: tuple[IntArray, ...],
    ) -> BackfittingEngine:
        """The same, with clusters (the first way) whole in a search for tuning values."""
        from sklearn.utils.validation import has_fit_parameter

        fitted = self.estimator.estimator if self._searches else self.estimator
        if weights is not None and not has_fit_parameter(fitted, "sample_weight"):
            raise InputError(
                f"weights were given, but {self.label}.fit takes no sample_weight: choose a"
                " learner that does, such as learner='boosting', or leave weights out."
            )
        first = clusters[0] if clusters else None
        fitter = RegressorFitter(self.estimator, features.dummies(), weights, first)
        return BackfittingEngine(fitter, controls, weights, self.rounds)


@dataclass(frozen=True)
class FittedRegressor:
    """A scikit-learn regressor fitted to some rows of inputs (n, q)."""

    model: Any
    inputs: FloatArray
    rows: IntArray

    def at_training(self) -> FloatArray:
        """Predictions of the rows it was fitted to."""
        return self.predict(self.rows)

    def predict(self, rows: IntArray) -> FloatArray:
        """Predictions of any rows."""
        return np.ravel(self.model.predict(self.inputs[rows])).astype(float)


@dataclass(frozen=True)
class RegressorFitter:
    """Fits clones of a scikit-learn regressor.

    Parameters
    ----------
    estimator : scikit-learn regressor
    inputs : array, shape (n, q)
    weights : array, shape (n,), or None
    clusters : int array, shape (n,), or None
        Groups for the splits of a search for tuning values.
    """

    estimator: Any
    inputs: FloatArray
    weights: FloatArray | None
    clusters: IntArray | None

    def __call__(self, task: ModelTask) -> FittedRegressor:
        """Fit to the rows of a task: no other row is shown to the regressor."""
        model = seeded_clone(self.estimator, task.seed)
        extra = {} if self.weights is None else {"sample_weight": self.weights[task.rows]}
        if is_search(model):
            extra |= search_groups(model, self.clusters, task.rows)
        model.fit(self.inputs[task.rows], task.target, **extra)
        return FittedRegressor(model, self.inputs, task.rows)
