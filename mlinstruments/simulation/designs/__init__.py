"""Designs with a known truth: each function returns a frozen :class:`Design` that draws samples."""

from .base import Design, Sample
from .grouped import appellate, clustered
from .heteroskedastic import heteroskedastic
from .many_controls import many_controls
from .shapes import nonlinear, spurious
from .weak import ERRORS, many_normal, many_weak

__all__ = [
    "ERRORS",
    "Design",
    "Sample",
    "appellate",
    "clustered",
    "heteroskedastic",
    "many_controls",
    "many_normal",
    "many_weak",
    "nonlinear",
    "spurious",
]
