"""How choices react to incentives: five families of measures, with and without a model.

The **own-payoff gap** of a binary choice is the expected own payoff of one action less that of the
other, in points, given the beliefs and over both roles. A binary choice is one node of a strategy,
the chooser's own other nodes as chosen: own payoffs are additive over nodes, so that the gap does
not depend on them. With choice sets of two allocations it is the set.
"""

from .binary import BinaryChoices, binary_choices, row_protocols
from .model_based import marginal_effect
from .results import EqualRates, IncentiveSensitivity, Measure
from .sensitivity import incentive_sensitivity, incentive_sensitivity_of

__all__ = [
    "BinaryChoices",
    "EqualRates",
    "IncentiveSensitivity",
    "Measure",
    "binary_choices",
    "incentive_sensitivity",
    "incentive_sensitivity_of",
    "marginal_effect",
    "row_protocols",
]
