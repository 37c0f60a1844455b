"""Cross-fitting: arrays in, out-of-fold predictions out; knows nothing of outcomes or tests."""

from .adapters import SklearnLearner
from .boosting import Boosting
from .forest import Forest
from .gram import OLS, Ridge, Series
from .kernel import Kernel
from .lasso import Lasso
from .stacking import Stack

__all__ = [
    "OLS",
    "Boosting",
    "Forest",
    "Kernel",
    "Lasso",
    "Ridge",
    "Series",
    "SklearnLearner",
    "Stack",
]
