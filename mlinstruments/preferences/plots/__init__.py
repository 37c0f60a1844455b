"""Pictures of preferences (the ``plot`` extra)."""

from .choice_curve import ChoiceBins, choice_bins, plot_choice_curve
from .intervals import plot_preferences
from .posteriors import plot_posteriors, posterior_order

__all__ = [
    "ChoiceBins",
    "choice_bins",
    "plot_choice_curve",
    "plot_posteriors",
    "plot_preferences",
    "posterior_order",
]
