"""Designs with a known truth, for simulation studies of estimators and tests."""

from . import designs
from .designs import Design, Sample

__all__ = ["Design", "Sample", "designs"]
