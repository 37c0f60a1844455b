"""Preferences from game choices: data, likelihood, identification, types, incentives."""

from .choices import AllocationChoices, ChoiceData
from .logit import PreferenceLogit
from .results import PreferenceResults
from .simulate import simulate_choices

__all__ = [
    "AllocationChoices",
    "ChoiceData",
    "PreferenceLogit",
    "PreferenceResults",
    "simulate_choices",
]
