"""Questions to agents that are not about protocols: texts in, parsed answers out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents.ask import paired, with_spent
from mlinstruments.agents.base import Answer, Failure, Messages
from mlinstruments.agents.plan import seed_of


@dataclass(frozen=True)
class Query:
    """A text shown to an agent: what agents need of a prompt.

    Parameters
    ----------
    system, user : str
        ``system`` may be empty.
    options, choices : tuple of str
        Labels and what they stand for, where a label is asked for.
    facts : tuple of (name, value)
        What the text is about, for agents that compute their answer.

    Examples
    --------
    >>> from mlinstruments.applications.asking import Query
    >>> Query("", "How much?").messages
    [{'role': 'user', 'content': 'How much?'}]
    """

    system: str
    user: str
    options: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    facts: tuple[tuple[str, Any], ...] = ()

    @property
    def messages(self) -> Messages:
        """Chat messages: system, where there is one, and user."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.user}]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the text and of what the options stand for."""
        content = [self.system, self.user, self.options, self.choices]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


# From an answer's text and what it answers to its status and value, None unless the status is ok.
Parse = Callable[[str | None, Query], tuple[str, Any]]


@dataclass(frozen=True)
class Reply:
    """A parsed answer.

    Parameters
    ----------
    status : {"ok", "refusal", "ambiguous", "parse_error"}
    value : Any
        None unless the status is ok.
    answer : Answer
        The last text, with tokens and cost of all tries.
    tries : int
    """

    status: str
    value: Any
    answer: Answer
    tries: int

    @property
    def row(self) -> dict[str, Any]:
        """What a log says of it beside the value."""
        return {
            "status": self.status,
            "raw": self.answer.text,
            "tries": self.tries,
            "served_model": self.answer.model,
            "prompt_tokens": self.answer.prompt_tokens,
            "completion_tokens": self.answer.completion_tokens,
            "cost": self.answer.cost,
        }


def ask_queries(
    agent: Any, queries: Sequence[Query], seeds: Sequence[int], parse: Parse, retries: int = 2
) -> Iterator[tuple[int, Reply | Failure]]:
    """Ask, and again where an answer cannot be read; refusals and ambiguous answers are final.

    Parameters
    ----------
    agent : Agent
        With ``answer``.
    queries : sequence of Query
    seeds : sequence of int
    parse : callable
    retries : int

    Yields
    ------
    (position, Reply or Failure)
        As answers come; those asked again come later.

    Raises
    ------
    AgentError
        Where the agent gives too few results, or cannot be asked at all.
    """
    pending = [(k, Answer(None)) for k in range(len(queries))]
    for attempt in range(retries + 1):
        again = []
        drawn = [seed_of(seeds[k], attempt) if attempt else seeds[k] for k, _ in pending]
        results = agent.answer([queries[k] for k, _ in pending], drawn)
        for (k, before), found in paired(agent, pending, results):
            if isinstance(found, Failure):
                yield k, found
                continue
            total = with_spent(found, before)
            status, value = parse(found.text, queries[k])
            if status == "parse_error" and attempt < retries:
                again.append((k, total))
            else:
                yield k, Reply(status, value, total, attempt + 1)
        if not again:
            return
        pending = again


def check_answers(agent: Any, what: str) -> None:
    """Raise unless an object has a name, settings and ``answer``."""
    if not (hasattr(agent, "name") and callable(getattr(agent, "answer", None))):
        raise InputError(
            f"{what} needs agents with name, settings and answer(prompts, seeds), such as"
            f" ChatAgent or LocalAgent; got {type(agent).__name__}."
        )
