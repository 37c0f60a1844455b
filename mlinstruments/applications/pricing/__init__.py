"""Price competition: markets, agents that set prices, repeated play and what it shows."""

from .market import Market
from .outcome import Outcome
from .qlearning import price_grid, q_learning
from .qresults import QLearningResults

__all__ = ["Market", "Outcome", "QLearningResults", "price_grid", "q_learning"]
