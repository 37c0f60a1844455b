"""What the responses of a chat server say: answers, probabilities of labels, capabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .base import AgentError, Answer, Failure, Probabilities


@dataclass(frozen=True)
class Capabilities:
    """What a server does of what it is asked for.

    Parameters
    ----------
    log_probabilities : bool
        Whether it lists the most probable tokens.
    listed : int
        How many it listed.
    several : bool
        Whether it gives ``n`` answers to one request.
    """

    log_probabilities: bool
    listed: int
    several: bool


def capabilities_of(response: Any) -> Capabilities | Failure:
    """Read a response to a request with n = 2 and log-probabilities."""
    if response is None:
        return Failure("withheld")
    listed = len(_top(response))
    return Capabilities(listed > 1, listed, len(response.choices) == 2)


def answers_of(
    response: Any, size: int, prices: tuple[float, float] | None
) -> list[Answer | Failure]:
    """The answers of a response; the cost is the first one's.

    Parameters
    ----------
    response : ChatCompletion or None
        None where the server's filter withheld everything.
    size : int
        How many were asked for.
    prices : (float, float) or None

    Raises
    ------
    AgentError
        Where there are fewer.
    """
    if response is None:
        return [Answer(None)] * size
    if len(response.choices) < size:
        raise AgentError(
            f"{response.model}: the server gave {len(response.choices)} answers where {size} were"
            " asked for: use per_call=1."
        )
    read, written, cost = _usage(response, prices)
    made: list[Answer | Failure] = []
    for k, choice in enumerate(response.choices[:size]):
        text = _text(choice)
        first = (read, written, cost) if k == 0 else (0, 0, 0.0)
        made.append(Answer(text, *first, model=str(response.model or "")))
    return made


def _text(choice: Any) -> str | None:
    """What was written; None where refused or withheld."""
    message = choice.message
    if getattr(message, "refusal", None) or choice.finish_reason == "content_filter":
        return None
    return message.content or ""


def probabilities_of(
    response: Any, options: Sequence[str], prices: tuple[float, float] | None
) -> Probabilities | Failure:
    """Probability of each label as the first token, with or without a space before it.

    Parameters
    ----------
    response : ChatCompletion or None
    options : sequence of str
    prices : (float, float) or None

    Returns
    -------
    Probabilities or Failure
        A label that is not listed is censored: it has at most twice the probability of the last
        token listed (with and without a space), and at most what the listed ones leave.
    """
    if response is None:
        return Failure("withheld")
    listed = _top(response)
    if not listed:
        return Failure("no log-probabilities")
    chances = [(token.strip(), math.exp(min(value, 0.0))) for token, value in listed]
    least = min(chance for _, chance in chances)
    rest = max(1 - sum(chance for _, chance in chances), 0.0)
    found = [[chance for token, chance in chances if token == option] for option in options]
    censored = np.array([not matches for matches in found])
    values = np.array([sum(m) if m else min(2 * least, rest) for m in found], dtype=float)
    read, written, cost = _usage(response, prices)
    return Probabilities(values, censored, read, written, cost, str(response.model or ""))


def _top(response: Any) -> list[tuple[str, float]]:
    """Tokens listed for the first place, with log-probabilities.

    Raises
    ------
    ValueError
        Where one is no number, which is no answer at all.
    """
    logprobs = getattr(response.choices[0], "logprobs", None)
    content = getattr(logprobs, "content", None) or []
    top = getattr(content[0], "top_logprobs", None) or [] if content else []
    found = [(entry.token, float(entry.logprob)) for entry in top]
    if any(math.isnan(value) for _, value in found):
        raise ValueError("a log-probability is no number")
    return found


def _usage(response: Any, prices: tuple[float, float] | None) -> tuple[int, int, float]:
    """Tokens read and written, and what they cost."""
    usage = getattr(response, "usage", None)
    read = int(getattr(usage, "prompt_tokens", 0) or 0)
    written = int(getattr(usage, "completion_tokens", 0) or 0)
    cost = (read * prices[0] + written * prices[1]) / 1e6 if prices else 0.0
    return read, written, cost
