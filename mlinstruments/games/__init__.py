"""Canonical games: protocols, payoffs of strategies, utilities linear in their parameters."""

from .protocols import GAMES, Protocol, default_grid, read_grid, sample_protocols
from .solutions import best_replies, quantal_response, subgame_perfect
from .utility import HomoMoralis, Utility, WeightedOther

__all__ = [
    "GAMES",
    "HomoMoralis",
    "Protocol",
    "Utility",
    "WeightedOther",
    "best_replies",
    "default_grid",
    "quantal_response",
    "read_grid",
    "sample_protocols",
    "subgame_perfect",
]
