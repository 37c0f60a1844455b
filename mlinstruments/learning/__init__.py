"""Cross-fitting: arrays in, out-of-fold predictions out; knows nothing of outcomes or tests."""

from .adapters import SklearnLearner
from .boosting import Boosting
from .gram import OLS, Ridge, Series
from .kernel import Kernel
from .lasso import Lasso

__all__ = ["OLS", "Boosting", "Kernel", "Lasso", "Ridge", "Series", "SklearnLearner"]
