"""Price competition: markets, agents that set prices, repeated play and what it shows."""

from .analysis import deviations, impulse_response, regress_prices
from .compete import compete
from .competition import Competition
from .firms import BestResponseFirm, Firm, LogitFirm, ScriptedFirm, TitForTatFirm
from .market import Market
from .outcome import Outcome
from .plots import plot_gains, plot_prices, plot_response
from .prompted import PromptedFirm
from .qfirms import LearntFirm, QLearningFirm
from .qlearning import price_grid, q_learning
from .qresults import QLearningResults

__all__ = [
    "BestResponseFirm",
    "Competition",
    "Firm",
    "LearntFirm",
    "LogitFirm",
    "Market",
    "Outcome",
    "PromptedFirm",
    "QLearningFirm",
    "QLearningResults",
    "ScriptedFirm",
    "TitForTatFirm",
    "compete",
    "deviations",
    "impulse_response",
    "plot_gains",
    "plot_prices",
    "plot_response",
    "price_grid",
    "q_learning",
    "regress_prices",
]
