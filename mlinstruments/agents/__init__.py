"""Agents that play: prompts, answers, built-in agents, language models, and their logs."""

from .base import Agent, AgentError, Answer, Failure, Probabilities, Prompt
from .builtin import LogitAgent, ScriptedAgent, economicus, moralis, uniform
from .parsing import LabelParser, parse_answer, parse_percent
from .play import Played, play
from .prompts import belief_prompt, make_prompt, make_prompts
from .report import PlayReport
from .templates import label_sets, renderings, template_hash, wordings

__all__ = [
    "Agent",
    "AgentError",
    "Answer",
    "Failure",
    "LabelParser",
    "LogitAgent",
    "PlayReport",
    "Played",
    "Probabilities",
    "Prompt",
    "ScriptedAgent",
    "belief_prompt",
    "economicus",
    "label_sets",
    "make_prompt",
    "make_prompts",
    "moralis",
    "parse_answer",
    "parse_percent",
    "play",
    "renderings",
    "template_hash",
    "uniform",
    "wordings",
]
