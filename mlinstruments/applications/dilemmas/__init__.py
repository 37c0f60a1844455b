"""Dilemmas of self-driving cars: a factorial of texts, answers from 0 to 100, and theory."""

from .answers import DilemmaAnswers
from .design import Dilemma, DilemmaDesign
from .elicit import elicit
from .moral_machine import MarginalEffects, marginal_effects, read_moral_machine
from .plots import plot_answers, plot_marginal_effects, plot_threshold
from .render import dilemma_query, parse_rating
from .respond import MoralRespondent
from .theory import threshold

__all__ = [
    "Dilemma",
    "DilemmaAnswers",
    "DilemmaDesign",
    "MarginalEffects",
    "MoralRespondent",
    "dilemma_query",
    "elicit",
    "marginal_effects",
    "parse_rating",
    "plot_answers",
    "plot_marginal_effects",
    "plot_threshold",
    "read_moral_machine",
    "threshold",
]
