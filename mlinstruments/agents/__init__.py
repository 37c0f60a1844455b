"""Agents that play: prompts, answers, built-in agents, language models, and their logs."""

from .base import Agent, AgentError, Answer, Failure, Probabilities, Prompt
from .builtin import LogitAgent, ScriptedAgent, economicus, moralis, uniform
from .cache import CachedAgent
from .chat import ChatAgent
from .inspect_runner import from_inspect, inspect_task
from .local import LocalAgent
from .parsing import LabelParser, parse_answer, parse_percent
from .play import Played, play
from .prompts import belief_prompt, make_prompt, make_prompts
from .report import PlayReport
from .responses import Capabilities
from .serving import LocalServer, serve_local
from .templates import label_sets, renderings, template_hash, wordings
from .weights import packaged_model

__all__ = [
    "Agent",
    "AgentError",
    "Answer",
    "CachedAgent",
    "Capabilities",
    "ChatAgent",
    "Failure",
    "LabelParser",
    "LocalAgent",
    "LocalServer",
    "LogitAgent",
    "PlayReport",
    "Played",
    "Probabilities",
    "Prompt",
    "ScriptedAgent",
    "belief_prompt",
    "economicus",
    "from_inspect",
    "inspect_task",
    "label_sets",
    "make_prompt",
    "make_prompts",
    "moralis",
    "packaged_model",
    "parse_answer",
    "parse_percent",
    "play",
    "renderings",
    "serve_local",
    "template_hash",
    "uniform",
    "wordings",
]
