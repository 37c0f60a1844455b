"""scikit-learn's searches for tuning values, as learners: seeded, and with clusters whole."""

from __future__ import annotations

from copy import copy
from typing import Any

from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.typing import IntArray


def is_search(estimator: Any) -> bool:
    """Whether a regressor is a search such as ``GridSearchCV``."""
    return hasattr(estimator, "cv") and hasattr(estimator, "estimator")


def search_groups(search: Any, clusters: IntArray | None, rows: IntArray) -> dict[str, Any]:
    """Arguments of ``fit`` that keep clusters whole in a search, whose ``cv`` is set if a number.

    A number of folds becomes as many folds of whole clusters; splitters of groups are given the
    clusters, and other splitters are left to their own devices.
    """
    from sklearn.model_selection import GroupKFold

    if clusters is None:
        return {}
    groups = encode_labels(clusters[rows])
    if search.cv is None or isinstance(search.cv, int):
        folds = min(search.cv or 5, int(groups.max()) + 1)
        search.set_params(cv=GroupKFold(folds))
    return {"groups": groups} if "Group" in type(search.cv).__name__ else {}


def seeded_clone(estimator: Any, seed: int) -> Any:
    """A fresh copy whose unset ``random_state`` parameters, nested ones too, are ``seed``."""
    from sklearn.base import clone

    model = clone(estimator)
    unset = {
        name: seed
        for name, value in model.get_params(deep=True).items()
        if (name == "random_state" or name.endswith("__random_state")) and value is None
    }
    model = model.set_params(**unset) if unset else model
    splitter: Any = getattr(model, "cv", None)
    if is_search(model) and getattr(splitter, "random_state", seed) is None:
        seeded = copy(splitter)
        seeded.random_state = seed
        model.set_params(cv=seeded)
    return model
