"""Designs with known truth, and the Monte Carlo driver that compares estimators on them."""

from . import designs
from .designs import Design, Sample
from .monte_carlo import monte_carlo
from .report import MonteCarloReport

__all__ = ["Design", "MonteCarloReport", "Sample", "designs", "monte_carlo"]
