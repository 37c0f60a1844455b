"""Language models behind an OpenAI-compatible server, hosted or local, through the openai client.

The client does the retries, with backoff and as Retry-After says; here are the order of requests,
what their answers mean, and the care that no key is written down anywhere.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError

from .base import AgentError, Answer, Failure, Probabilities, Prompt
from .requests import HOSTED, Read, Refused, check_address, check_variable, connected
from .responses import Capabilities, answers_of, capabilities_of, probabilities_of
from .serving import LocalServer, server_at


@dataclass(frozen=True)
class ChatAgent:
    """A chat model on a server that speaks OpenAI's protocol.

    The key is read from the environment when a request is made; it is no attribute, and stands in
    no log, error or repr.

    Parameters
    ----------
    model : str
        As the server calls it.
    base_url : str, optional
        Such as ``http://127.0.0.1:8080/v1``; by default what ``OPENAI_BASE_URL`` says, or OpenAI.
    key_variable : str, optional
        The environment variable that holds the key. By default OPENAI_API_KEY, and then the key is
        sent to OpenAI's own address and to that of ``OPENAI_BASE_URL`` alone; a server given by
        ``base_url`` is sent a key only where its variable is named here.
    temperature : float, optional
        Not sent where None, for models that do not take it.
    max_tokens : int
        Longest answer.
    top_logprobs : int
        How many tokens are listed when probabilities are measured. A label that is not among
        them is censored, not improbable.
    per_call : int
        Draws of one prompt asked for in one request (``n``).
    concurrency : int
        Requests at the same time.
    requests_per_minute : float, optional
        Requests are spaced out to stay below it, also those that are made again.
    timeout : float
        Seconds without a byte after which a request is given up, and for its whole answer, however
        it trickles in; each time it is made.
    max_retries : int
        How often a request is made again after 408, 409, 429, 5xx, a lost connection, a timeout or
        an answer that is no JSON, with growing pauses or those the server asks for.
    prices : (float, float), optional
        Per million tokens read and written, to sum up costs.
    extra : mapping, optional
        More fields of the request's body, such as ``{"cache_prompt": False}``; logged.
    name : str, optional
        What logs call it; the model by default.

    Raises
    ------
    InputError
        For a bad number, or an address with a password in it.

    Examples
    --------
    >>> from mlinstruments.agents import ChatAgent
    >>> agent = ChatAgent("smollm2", base_url="http://127.0.0.1:8080/v1", temperature=1.0)
    >>> agent.name, agent.settings["top_logprobs"]
    ('smollm2', 20)
    """

    model: str
    base_url: str | None = None
    key_variable: str | None = None
    temperature: float | None = None
    max_tokens: int = 512
    top_logprobs: int = 20
    per_call: int = 1
    concurrency: int = 4
    requests_per_minute: float | None = None
    timeout: float = 60.0
    max_retries: int = 5
    prices: tuple[float, float] | None = None
    extra: Mapping[str, Any] | None = None
    name: str = ""
    _server: LocalServer | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, least in (("max_tokens", 1), ("top_logprobs", 2), ("per_call", 1)):
            check_count(getattr(self, name), name, least)
        check_count(self.concurrency, "concurrency", 1)
        check_count(self.max_retries, "max_retries", 0)
        rate = self.requests_per_minute
        if not self.timeout > 0 or (rate is not None and not rate > 0):
            raise InputError(
                "timeout and requests_per_minute must be positive; got"
                f" {self.timeout!r} and {rate!r}."
            )
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature must be at least 0; got {self.temperature!r}.")
        _check_prices(self.prices)
        check_variable(self.key_variable)
        check_address(self.address)
        # Kept, so that settings are the same once the server is gone.
        object.__setattr__(self, "_server", server_at(self.address))
        object.__setattr__(self, "name", self.name or self.model)

    @property
    def address(self) -> str:
        """The server's address."""
        return self.base_url or os.environ.get("OPENAI_BASE_URL") or HOSTED

    @property
    def settings(self) -> dict[str, Any]:
        """What its answers depend on; no key.

        Of a server of :func:`serve_local` they name the weights, not the port, which is another
        one each time.
        """
        names = ("model", "temperature", "max_tokens", "top_logprobs", "per_call")
        own = {name: getattr(self, name) for name in names}
        extra = dict(self.extra or {})
        if self._server is None:
            return {"agent": "chat", "base_url": self.address, **own, "extra": extra}
        served = self._server.identity
        return {"agent": "chat", "base_url": "serve_local", **served, **own, "extra": extra}

    # ---- asking ---------------------------------------------------------------------------------

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the server does of what it is asked for, found out by a request.

        Many local servers take log-probabilities and ``n`` and silently give neither. Only what a
        server says of itself is kept: where it does not answer, the next use asks again.

        Raises
        ------
        AgentError
            Where there is no answer that says so.
        """
        prompt = [{"role": "user", "content": "Answer with A or B and nothing else."}]
        body = {"messages": prompt, **self._limit(1)}
        with connected(self) as call:
            both = self._verdict(call({**body, **self._measuring, "n": 2}, capabilities_of))
            if isinstance(both, Capabilities):
                return both
            # Some servers refuse one of the two, and then the whole request.
            apart = [
                self._verdict(call({**body, **more}, capabilities_of))
                for more in (self._measuring, {"n": 2})
            ]
        known = [found for found in apart if isinstance(found, Capabilities)]
        if not known:
            raise self._silent(both)
        listed = max(found.listed for found in known)
        return Capabilities(listed > 1, listed, any(found.several for found in known))

    def _verdict(self, found: Capabilities | Failure) -> Capabilities | Refused:
        """What a server does, or that it refuses to; anything else says nothing about it."""
        if isinstance(found, Capabilities | Refused):
            return found
        raise self._silent(found)

    def _silent(self, found: Failure) -> AgentError:
        return AgentError(f"{self.name}: no answer to a first request: {found.reason}.")

    def answer(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Iterator[Answer | Failure]:
        """Ask for answers, several at a time; see :class:`Agent`.

        Parameters
        ----------
        prompts : sequence of Prompt
            Equal neighbours are asked for in one request, up to ``per_call``.
        seeds : sequence of int
            Sent along; a server may ignore them.

        Returns
        -------
        iterator of Answer or Failure

        Raises
        ------
        AgentError
            Where the server refuses the request itself, or gives fewer answers than asked for.
        """
        if self.per_call > 1 and prompts and not self.capabilities.several:
            raise AgentError(
                f"{self.name}: the server gives one answer where n = 2 were asked for: use"
                " per_call=1."
            )
        calls = []
        for same, seed in _neighbours(prompts, seeds, self.per_call):
            body = {"messages": same[0].messages, "seed": seed, **self._limit(self.max_tokens)}
            if len(same) > 1:
                body["n"] = len(same)
            calls.append((body, partial(answers_of, size=len(same), prices=self.prices)))
        for (_, read), found in zip(calls, self._stream(calls), strict=True):
            if isinstance(found, Failure):
                again = replace(found, shared=True)
                yield from [found, *[again] * (read.keywords["size"] - 1)]
            else:
                yield from found

    def choice_probabilities(self, prompts: Sequence[Prompt]) -> Iterator[Probabilities | Failure]:
        """Measure how probable each label is as the first token; see :class:`Agent`.

        Parameters
        ----------
        prompts : sequence of Prompt

        Returns
        -------
        iterator of Probabilities or Failure

        Raises
        ------
        AgentError
            Where the server gives no log-probabilities.
        """
        if prompts and not self.capabilities.log_probabilities:
            raise AgentError(
                f"{self.name}: the server gives no log-probabilities though they were asked for:"
                " use mode='sample'."
            )
        yield from self._stream(
            [
                (
                    {"messages": prompt.messages, **self._limit(1), **self._measuring},
                    partial(probabilities_of, options=prompt.options, prices=self.prices),
                )
                for prompt in prompts
            ]
        )

    # ---- requests -------------------------------------------------------------------------------

    @property
    def _measuring(self) -> dict[str, Any]:
        return {"logprobs": True, "top_logprobs": self.top_logprobs}

    def _limit(self, tokens: int) -> dict[str, int]:
        # OpenAI's newer models take only the newer name, and local servers only the older.
        newer = urlsplit(self.address).hostname == urlsplit(HOSTED).hostname
        return {"max_completion_tokens" if newer else "max_tokens": tokens}

    def _stream(self, calls: Sequence[tuple[Mapping[str, Any], Read]]) -> Iterator[Any]:
        """Results in order; no more requests under way than ``concurrency``."""
        waiting: deque[Future[Any]] = deque()
        with connected(self) as call, ThreadPoolExecutor(self.concurrency) as pool:
            try:
                for body, read in calls:
                    waiting.append(pool.submit(call, body, read))
                    if len(waiting) >= self.concurrency:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)


def _check_prices(prices: Any) -> None:
    if prices is None:
        return
    pair = isinstance(prices, list | tuple) and len(prices) == 2
    if not pair or not all(
        isinstance(price, int | float) and 0 <= price < math.inf for price in prices
    ):
        raise InputError(
            "prices must be two numbers of at least 0, per million tokens read and written, such as"
            f" (0.15, 0.60); got {prices!r}."
        )


def _neighbours(
    prompts: Sequence[Prompt], seeds: Sequence[int], most: int
) -> Iterator[tuple[list[Prompt], int]]:
    """Equal neighbours, at most so many together, with the first one's seed."""
    at = 0
    for _, same in groupby(prompts, key=lambda prompt: prompt.hash):
        run = list(same)
        for start in range(0, len(run), most):
            yield run[start : start + most], seeds[at + start]
        at += len(run)
