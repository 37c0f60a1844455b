"""scikit-learn regressors: never altered, always seeded, refused where they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mlinstruments._core.exceptions import InputError
from mlinstruments.learning import OLS, Boosting, Ridge, Series, SklearnLearner
from mlinstruments.learning.adapters import as_learner, seeded_clone
from mlinstruments.learning.base import FoldTask
from mlinstruments.learning.features import Features
from tests.tolerances import BACKFITTING, SOLVE

N = 150
RNG = np.random.default_rng(6)
W = RNG.normal(size=(N, 2))
X = np.column_stack([np.ones(N), 0.5 * W[:, 0] + RNG.normal(size=N)])
D = W @ [1.0, -2.0] + 3 * X[:, 1] + RNG.normal(size=N)
WEIGHTS = RNG.uniform(0.3, 2, N)
TRAIN, OUT = np.arange(100), np.arange(100, N)
SEED = np.random.SeedSequence(3)


def predicted(learner, target=D, weights=None, controls=X, seed=SEED, features=None):
    features = Features.numeric(W) if features is None else features
    engine = as_learner(learner).prepare(features, controls, weights)
    return engine.fit(FoldTask(target[:, None], (TRAIN,), OUT, seed)).predictions[0, 0]


# ---- backfitting -----------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_backfitting_a_linear_learner_is_least_squares(weights):
    found = predicted(SklearnLearner(LinearRegression(), rounds=100), weights=weights)
    expected = predicted("ols", weights=weights)
    centred = [values - values.mean() for values in (found, expected)]
    np.testing.assert_allclose(*centred, atol=10 * BACKFITTING * np.std(D))


def test_more_rounds_come_closer():
    expected = predicted("ols")
    errors = [
        np.std(predicted(SklearnLearner(LinearRegression(), rounds=r)) - expected)
        for r in (1, 2, 4)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_backfitting_by_hand():
    tree = DecisionTreeRegressor(max_depth=2, random_state=0)
    linear = X[TRAIN] @ np.linalg.lstsq(X[TRAIN], D[TRAIN], rcond=None)[0]
    for _ in range(3):
        model = clone(tree).fit(W[TRAIN], D[TRAIN] - linear)
        rest = D[TRAIN] - model.predict(W[TRAIN])
        linear = X[TRAIN] @ np.linalg.lstsq(X[TRAIN], rest, rcond=None)[0]
    found = predicted(SklearnLearner(tree, rounds=3))
    np.testing.assert_allclose(found, model.predict(W[OUT]), rtol=SOLVE)


class Counter(LinearRegression):
    """Counts fits on the class, since clones are what is fitted."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        type(self).fits += 1
        return super().fit(X, y, sample_weight)


def test_a_constant_alone_needs_one_fit():
    Counter.fits = 0
    found = predicted(SklearnLearner(Counter()), controls=np.ones((N, 1)))
    assert Counter.fits == 1
    expected = LinearRegression().fit(W[TRAIN], D[TRAIN]).predict(W[OUT])
    np.testing.assert_allclose(found, expected, rtol=SOLVE)
    predicted(SklearnLearner(Counter(), rounds=4))
    assert Counter.fits == 1 + 4


# ---- the estimator given is left alone -------------------------------------------------------


def test_the_estimator_is_never_fitted_or_changed():
    forest = RandomForestRegressor(5)
    before = {**vars(forest)}
    predicted(forest)
    assert vars(forest) == before
    assert not hasattr(forest, "estimators_")


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomForestRegressor(5),
        lambda: make_pipeline(StandardScaler(), RandomForestRegressor(5)),
    ],
    ids=["forest", "pipeline"],
)
def test_unset_random_states_are_seeded_nested_ones_too(make):
    first, again = predicted(make()), predicted(make())
    np.testing.assert_array_equal(first, again)
    other = predicted(make(), seed=np.random.SeedSequence(4))
    assert (other != first).any()


def test_a_random_state_that_was_set_is_kept():
    forest = RandomForestRegressor(5, random_state=7)
    first = predicted(forest)
    np.testing.assert_array_equal(first, predicted(forest, seed=np.random.SeedSequence(4)))
    assert seeded_clone(forest, 3).random_state == 7
    nested = seeded_clone(make_pipeline(RandomForestRegressor()), 3)
    assert nested.get_params()["randomforestregressor__random_state"] == 3


def test_categories_become_indicators():
    codes = RNG.integers(0, 3, N).astype(float)
    features = Features(codes[:, None], np.array([True]), ("court",))
    target = np.array([5.0, -1.0, 3.0])[codes.astype(int)]
    found = predicted(LinearRegression(), target, controls=np.ones((N, 1)), features=features)
    np.testing.assert_allclose(found, target[OUT], atol=SOLVE)


def test_predictions_of_two_dimensions_are_flattened():
    class Column(LinearRegression):
        def predict(self, X):
            return super().predict(X)[:, None]

    np.testing.assert_allclose(predicted(Column()), predicted(LinearRegression()), rtol=SOLVE)


# ---- what may be passed ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"), {"boosting": Boosting, "series": Series, "ridge": Ridge, "ols": OLS}.items()
)
def test_names(name, kind):
    assert as_learner(name) == kind()


def test_configurations_pass_through_and_regressors_are_wrapped():
    learner = Ridge(0.3)
    assert as_learner(learner) is learner
    wrapped = as_learner(DummyRegressor())
    assert isinstance(wrapped, SklearnLearner)
    assert wrapped.label == "DummyRegressor"


class Bare:
    """Fits and predicts, but cannot be cloned."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))


class Duck(Bare):
    """Fits, predicts and can be cloned, without scikit-learn's base class."""

    def get_params(self, deep=True):
        return {}

    def predict(self, X):
        return X[:, 0]


@pytest.mark.parametrize(
    ("learner", "expected"),
    [
        (HistGradientBoostingRegressor(), True),
        (LinearRegression(), False),
        (make_pipeline(StandardScaler(), LinearRegression()), False),
        pytest.param(Duck(), False, id="a duck"),
        ("boosting", True),
        ("series", False),
        ("ridge", False),
        ("ols", False),
    ],
    ids=str,
)
def test_takes_missing_is_what_the_tags_say(learner, expected):
    assert as_learner(learner).takes_missing is expected


REFUSED = {
    "misspelt": (lambda: as_learner("bosting"), ["learner", "Did you mean 'boosting'"]),
    "class": (lambda: as_learner(RandomForestRegressor), ["class", "instance"]),
    "own class": (lambda: as_learner(Ridge), ["class Ridge", "instance"]),
    "none": (lambda: as_learner(None), ["learner", "'boosting'", "scikit-learn"]),
    "classifier": (
        lambda: as_learner(LogisticRegression()),
        ["LogisticRegression", "classifier", "regressor"],
    ),
    "classifier in a pipeline": (
        lambda: as_learner(make_pipeline(StandardScaler(), LogisticRegression())),
        ["classifier", "regressor"],
    ),
    "weights not taken": (
        lambda: predicted(KNeighborsRegressor(), weights=WEIGHTS),
        ["KNeighborsRegressor", "sample_weight", "leave weights out"],
    ),
    "not to be cloned": (lambda: as_learner(Bare()), ["learner", "Bare", "get_params"]),
    "weights not taken by a duck": (
        lambda: predicted(Duck(), weights=WEIGHTS),
        ["Duck", "sample_weight"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_regressors_without_scikit_learns_base_class_are_accepted():
    np.testing.assert_array_equal(predicted(Duck(), controls=np.ones((N, 1))), W[OUT, 0])
