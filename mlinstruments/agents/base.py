"""What is shown to an agent, what it gives back, and what an agent is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, runtime_checkable
from typing import Protocol as TypingProtocol

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import BoolArray, FloatArray
from mlinstruments.games.protocols import Protocol

Messages = list[dict[str, str]]


class AgentError(RuntimeError):
    """An agent could not be asked; what it had answered before stands in the log."""


@dataclass(frozen=True)
class Prompt:
    """A question about a protocol as an agent sees it.

    Parameters
    ----------
    system, user : str
        The text; ``system`` may be empty.
    options : tuple of str
        Labels in the order shown; empty where a number is asked for.
    choices : tuple of str
        What each option stands for: digits, one at a node (``"0"``, ``"1"``) or one a node for a
        whole strategy (``"110"``).
    protocol : Protocol
    node : int or None
        The node asked about; None for the whole strategy.
    belief : tuple of float or None
        The probabilities of a one at each node of the other that the text states.
    seen : int or None
        The other's action that the text reports in a 2x2 game, moving second.
    asks : {"choice", "belief"}
        A choice, or the chance that the other plays a one at ``node``.
    reply : {"label", "reasoned"}
        Whether the text asks for a bare label or for reasons and then a decision.
    wording, rendering, labels : str
        Names of the templates the text is made of.
    order : {0, 1}
        Which of the two assignments of labels to actions.
    template_hash : str
        SHA-256 of these templates.

    Raises
    ------
    InputError
        Where options and choices do not pair up or repeat.

    Examples
    --------
    >>> from mlinstruments.agents import make_prompt
    >>> from mlinstruments.games import Protocol
    >>> prompt = make_prompt(Protocol("tg", 80, 50, 30, 20, id="a"), node=0)
    >>> prompt.options, prompt.choices
    (('A', 'B'), ('1', '0'))
    """

    system: str
    user: str
    options: tuple[str, ...]
    choices: tuple[str, ...]
    protocol: Protocol
    node: int | None = None
    belief: tuple[float, ...] | None = None
    seen: int | None = None
    asks: str = "choice"
    reply: str = "label"
    wording: str = ""
    rendering: str = ""
    labels: str = ""
    order: int = 0
    template_hash: str = ""

    def __post_init__(self) -> None:
        pairs = len(self.options) == len(self.choices)
        if not pairs or len(set(self.options)) < len(self.options):
            raise InputError(
                f"options {self.options!r} must be different labels, one for each of the choices"
                f" {self.choices!r}."
            )

    @property
    def messages(self) -> Messages:
        """Chat messages: system, where there is one, and user."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.user}]

    @property
    def template(self) -> str:
        """Wording, rendering, labels, reply and what was seen: what a log calls the template."""
        seen = () if self.seen is None else (f"after{self.seen}",)
        return "/".join((self.wording, self.rendering, self.labels, self.reply, *seen))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the text and of what the options stand for."""
        content = [self.system, self.user, self.options, self.choices]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def id(self) -> str:
        """A readable name, different for every prompt about a grid of protocols."""
        node = "all" if self.node is None else str(self.node)
        parts = (self.protocol.id, self.asks, node, self.template, str(self.order))
        return ":".join(parts)

    def label_of(self, choice: str) -> str:
        """The label that stands for a choice.

        Parameters
        ----------
        choice : str
            One of ``choices``.

        Returns
        -------
        str
        """
        if choice not in self.choices:
            raise InputError(f"choice {choice!r} is not offered; there are {self.choices!r}.")
        return self.options[self.choices.index(choice)]


@dataclass(frozen=True)
class Answer:
    """What an agent wrote.

    Parameters
    ----------
    text : str or None
        None where the server withheld it, which counts as a refusal.
    prompt_tokens, completion_tokens : int
        0 where nothing was counted.
    cost : float
        In the currency of the prices given; 0 without prices.
    model : str
        As the server names it; empty where the agent's name is all there is.
    """

    text: str | None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    model: str = ""


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Probability that an answer begins with each label.

    Parameters
    ----------
    values : array, shape (options,)
        As the agent gives them: they sum to the mass on labels, at most 1. A censored label has
        the largest probability it can have.
    censored : bool array, shape (options,)
        Labels below the least probable token the server listed.
    prompt_tokens, completion_tokens : int
    cost : float
    model : str
        As in :class:`Answer`.
    """

    values: FloatArray
    censored: BoolArray
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    model: str = ""

    @property
    def mass(self) -> float:
        """Probability that is known to lie on labels: without the censored ones."""
        return float(self.values[~self.censored].sum())

    @property
    def measured(self) -> bool:
        """Whether any label was seen."""
        return not bool(self.censored.all()) and self.mass > 0

    @property
    def shares(self) -> FloatArray:
        """Probabilities among the labels, (options,); censored ones at their bound."""
        return np.asarray(self.values / self.values.sum())

    @property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Least and largest share of each label that the censored ones leave possible."""
        least = np.where(self.censored, 0.0, self.values)
        low = least / (least + self.values.sum() - self.values)
        high = self.values / (self.values + least.sum() - least)
        # Where nothing is censored the three are one number, rounding apart.
        return np.minimum(low, self.shares), np.maximum(high, self.shares)


@dataclass(frozen=True)
class Failure:
    """No answer was had, and the prompt may be asked again.

    Parameters
    ----------
    reason : str
    shared : bool
        Whether it is the failure before it over again: that of one request for several answers,
        which counts once where failures in a row end a run.
    """

    reason: str
    shared: bool = False


@runtime_checkable
class Agent(TypingProtocol):
    """What :func:`mlinstruments.agents.play` asks.

    Any object with ``name`` and ``settings``, and at least one of the methods
    ``answer(prompts, seeds)`` and ``choice_probabilities(prompts)``; nothing need be inherited.
    Both give an iterable with one entry a prompt, in the prompts' order, which may be made one by
    one: :class:`Answer` or :class:`Failure` of ``answer``, :class:`Probabilities` or
    :class:`Failure` of ``choice_probabilities``. ``seeds`` are one integer a prompt; the nodes of
    one draw of a protocol share theirs.

    Examples
    --------
    >>> from mlinstruments.agents import Agent, Answer
    >>> class First:
    ...     name, settings = "first", {}
    ...
    ...     def answer(self, prompts, seeds):
    ...         return [Answer(prompt.options[0]) for prompt in prompts]
    >>> isinstance(First(), Agent)
    True
    """

    @property
    def name(self) -> str:
        """What logs call it."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What its answers depend on, logged with every one; plain JSON values, no secrets."""
        ...


class Answers(TypingProtocol):
    """The method of agents that write answers."""

    def answer(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Iterable[Answer | Failure]:
        """One answer or failure a prompt."""
        ...


class Measures(TypingProtocol):
    """The method of agents whose probabilities can be had."""

    def choice_probabilities(self, prompts: Sequence[Prompt]) -> Iterable[Probabilities | Failure]:
        """One entry a prompt."""
        ...
