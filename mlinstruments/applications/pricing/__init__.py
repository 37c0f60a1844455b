"""Price competition: markets, agents that set prices, repeated play and what it shows."""

from .market import Market
from .outcome import Outcome

__all__ = ["Market", "Outcome"]
