"""scikit-learn's searches as learners: training rows alone, clusters whole, seeded."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from mlinstruments import MLIV
from mlinstruments._core.exceptions import InputError
from mlinstruments.learning import SklearnLearner
from tests.designs import DESIGNS

SEEN: list[frozenset[int]] = []


class Watching(RegressorMixin, BaseEstimator):
    """Notes which rows (their first input is their number) it is fitted to."""

    def __init__(self, depth=1):
        self.depth = depth

    def fit(self, X, y):
        """Note the rows."""
        SEEN.append(frozenset(X[:, 0].astype(int)))
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        """Something that varies."""
        return self.mean_ + self.depth * X[:, 1]


@pytest.mark.parametrize("cv", [None, 3, GroupKFold(4)], ids=str)
def test_a_search_sees_training_rows_and_keeps_clusters_whole(cv):
    y, X, D, W = DESIGNS[1].data
    numbered = W[["w2"]].assign(w2=W["w2"])
    numbered.insert(0, "row", np.arange(240.0))
    firm = DESIGNS[1].firm
    SEEN.clear()
    search = GridSearchCV(Watching(), {"depth": [1, 2]}, cv=cv)
    res = MLIV(search, n_folds=3, split_half=False).fit(y, X, D, numbered, clusters=firm)
    folds = res.folds["repeat 0"].to_numpy()
    firms = {f: frozenset(np.flatnonzero(firm == f)) for f in set(firm)}
    assert len(SEEN) > 30
    inner = 0
    for rows in SEEN:
        training = [k for k in range(3) if not rows & set(np.flatnonzero(folds == k))]
        assert len(training) >= 1  # some fold is held out of every fit
        assert all(members <= rows or not members & rows for members in firms.values())
        inner += len(rows) < (folds != training[0]).sum()
    assert inner > 0


def test_a_splitter_without_groups_is_left_alone():
    search = GridSearchCV(DecisionTreeRegressor(), {"max_depth": [1, 3]}, cv=KFold(2))
    res = MLIV(search, n_folds=3).fit(*DESIGNS[1].data, clusters=DESIGNS[1].firm)
    assert np.isfinite(res.params).all()


@pytest.mark.parametrize(
    "cv", [KFold(2, shuffle=True), ShuffleSplit(2), 2], ids=["shuffled", "drawn", "number"]
)
def test_searches_are_seeded(cv):
    search = RandomizedSearchCV(
        RandomForestRegressor(3), {"max_depth": [1, 2, 3, 4, 5, 6]}, n_iter=2, cv=cv
    )
    fits = [MLIV(search, n_folds=2).fit(*DESIGNS[1].data) for _ in range(2)]
    np.testing.assert_array_equal(fits[0].instrument, fits[1].instrument)
    assert search.cv is cv
    assert getattr(cv, "random_state", None) is None


def test_weights_reach_the_estimator_of_a_search():
    design = DESIGNS[1]
    search = GridSearchCV(DecisionTreeRegressor(max_depth=3), {"min_samples_leaf": [5, 9]}, cv=2)
    plain, weighted = (
        MLIV(search, n_folds=3).fit(*design.data, weights=w) for w in (None, design.weights)
    )
    assert (plain.instrument != weighted.instrument).any()
    neighbours = GridSearchCV(KNeighborsRegressor(), {"n_neighbors": [3, 5]})
    with pytest.raises(
        InputError, match=r"GridSearchCV of KNeighborsRegressor\.fit takes no sample"
    ):
        MLIV(neighbours).fit(*design.data, weights=design.weights)


def test_labels_name_both():
    search = GridSearchCV(DecisionTreeRegressor(), {"max_depth": [1]})
    assert SklearnLearner(search).label == "GridSearchCV of DecisionTreeRegressor"
