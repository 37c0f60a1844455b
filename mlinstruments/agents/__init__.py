"""Agents that play: prompts, answers, built-in agents, language models, and their logs."""

from .base import Agent, AgentError, Answer, Failure, Probabilities, Prompt
from .parsing import LabelParser, parse_answer, parse_percent
from .prompts import belief_prompt, make_prompt, make_prompts
from .templates import label_sets, renderings, template_hash, wordings

__all__ = [
    "Agent",
    "AgentError",
    "Answer",
    "Failure",
    "LabelParser",
    "Probabilities",
    "Prompt",
    "belief_prompt",
    "label_sets",
    "make_prompt",
    "make_prompts",
    "parse_answer",
    "parse_percent",
    "renderings",
    "template_hash",
    "wordings",
]
