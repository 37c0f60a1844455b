"""Designs with a known truth: each function returns a frozen :class:`Design` that draws samples."""

from .base import Design, Sample
from .shapes import nonlinear, spurious
from .weak import ERRORS, many_normal, many_weak

__all__ = ["ERRORS", "Design", "Sample", "many_normal", "many_weak", "nonlinear", "spurious"]
