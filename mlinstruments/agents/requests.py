"""Requests through the openai client: retries, pace, timeouts, and no key in anything they leave.

The client makes a request again after 408, 409, 429, 5xx, a lost connection or a timeout, with
growing pauses or those the server asks for; here the same is done for answers that are no JSON.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlinstruments._core.exceptions import InputError, MissingExtraError

from .base import AgentError, Failure

if TYPE_CHECKING:
    from .chat import ChatAgent

HOSTED = "https://api.openai.com/v1"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Errors that every other request would meet as well.
FATAL = (401, 403, 404, 405)
WITHHELD = ("content_filter", "content_policy_violation")
# From a response, None where it was withheld, to what it says.
Read = Callable[[Any], Any]


@contextmanager
def connected(agent: ChatAgent) -> Iterator[Callable[[Mapping[str, Any], Read], Any]]:
    """A function that makes requests of an agent's server, from any thread.

    Parameters
    ----------
    agent : ChatAgent

    Returns
    -------
    context manager of callable
        From the body of a request and a reader of its response to what the reader returns, or a
        :class:`Failure`.

    Raises
    ------
    InputError
        Where there is no key for a server that needs one.
    MissingExtraError
        Where openai is not installed.
    """
    try:
        import openai
    except ImportError:
        raise MissingExtraError("openai", "chat") from None
    key = _key(agent)
    # A proxy has no business with this machine's own servers.
    local = urlsplit(agent.address).hostname in LOOPBACK
    with openai.OpenAI(
        api_key=key or "none",
        base_url=agent.address,
        timeout=agent.timeout,
        max_retries=agent.max_retries,
        http_client=openai.DefaultHttpxClient(trust_env=False) if local else None,
    ) as client:
        yield _Caller(agent, openai, client.chat.completions.create, key, _Pace(agent)).call


def check_address(address: str) -> None:
    """Raise unless an address is one, without secrets: it is logged."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"base_url must begin with http:// or https://; got {address[:40]!r}.")
    if parts.password or parts.username or parts.query:
        raise InputError(
            "base_url must hold no user, password or query, because it is logged: put the key"
            " into an environment variable and name it by key_variable."
        )


def _key(agent: ChatAgent) -> str:
    key = os.environ.get(agent.key_variable, "")
    if not key and agent.address == HOSTED:
        raise InputError(
            f"the environment has no {agent.key_variable}: set it to the key of {HOSTED}, or give"
            " base_url of a server that needs none."
        )
    if key and key in json.dumps(agent.settings):
        raise InputError("the key stands among the settings, which are logged: take it out.")
    return key


@dataclass(frozen=True, repr=False)
class _Caller:
    """One connection."""

    agent: ChatAgent
    openai: Any
    create: Callable[..., Any]
    key: str
    pace: _Pace

    def call(self, body: Mapping[str, Any], read: Read) -> Any:
        request = {"model": self.agent.model, **body, "extra_body": self.agent.extra}
        if self.agent.temperature is not None:
            request["temperature"] = self.agent.temperature
        found: Any = None
        for attempt in range(self.agent.max_retries + 1):
            self.pace.wait()
            found = self._once(request, read)
            if not isinstance(found, _Malformed):
                break
            if attempt < self.agent.max_retries:
                time.sleep(min(0.5 * 2**attempt, 8.0))
        # Not raised where it is met: the original error carries the request's headers.
        if isinstance(found, _Fatal):
            raise AgentError(f"{self.agent.name}: {found.reason}")
        return found

    def _once(self, request: Mapping[str, Any], read: Read) -> Any:
        api = self.openai
        try:
            return read(_checked(self.create(**request)))
        except api.APIStatusError as error:
            if str(error.code) in WITHHELD:
                return read(None)
            words = f"HTTP {error.status_code}: {error.message}"
            reason = (words.replace(self.key, "***") if self.key else words)[:160]
            return _Fatal(reason) if error.status_code in FATAL else Failure(reason)
        except api.APITimeoutError:
            return Failure("timeout")
        except api.APIConnectionError:
            return Failure("connection lost")
        except (api.APIError, ValueError, AttributeError, TypeError, IndexError):
            return _Malformed("malformed answer")


class _Fatal(Failure):
    """Every other request would fail as well."""


class _Malformed(Failure):
    """To be tried again."""


def _checked(response: Any) -> Any:
    """The response, if it has answers; the client takes any JSON for one."""
    for choice in response.choices:
        content = choice.message.content
        if content is not None and not isinstance(content, str):
            raise ValueError
    if not response.choices:
        raise ValueError
    return response


class _Pace:
    """Spaces requests out."""

    def __init__(self, agent: ChatAgent) -> None:
        rate = agent.requests_per_minute
        self._gap = 60 / rate if rate else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until the next request may go."""
        if not self._gap:
            return
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._gap
        time.sleep(at - now)
