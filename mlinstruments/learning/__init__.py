"""Cross-fitting: arrays in, out-of-fold predictions out; knows nothing of outcomes or tests."""

from .adapters import SklearnLearner
from .boosting import Boosting
from .gram import OLS, Ridge, Series

__all__ = ["OLS", "Boosting", "Ridge", "Series", "SklearnLearner"]
