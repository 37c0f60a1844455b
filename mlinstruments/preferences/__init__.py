"""Preferences from game choices: data, likelihood, identification, types, incentives."""

from .choices import AllocationChoices, ChoiceData
from .incentives import incentive_sensitivity
from .individuals import individual_fits
from .logit import PreferenceLogit
from .mixture_results import MixtureResults
from .precision import informative_grid, precision
from .results import PreferenceResults
from .simulate import simulate_choices

__all__ = [
    "AllocationChoices",
    "ChoiceData",
    "MixtureResults",
    "PreferenceLogit",
    "PreferenceResults",
    "incentive_sensitivity",
    "individual_fits",
    "informative_grid",
    "precision",
    "simulate_choices",
]
