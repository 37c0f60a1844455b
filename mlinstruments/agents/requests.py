"""Requests through the openai client: retries, pace, timeouts, and no key in anything they leave.

The client makes a request again after 408, 409, 429, 5xx, a lost connection or a timeout, with
growing pauses or those the server asks for; here the same is done for answers that are no JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import re
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
VARIABLE = "OPENAI_API_KEY"
# Shorter ones are no secrets, and would be found in any text.
SHORTEST_KEY = 8
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Errors that every other request would meet as well.
FATAL = (401, 403, 404, 405)
# What a server answers that does not take a field of the request.
REFUSED = (400, 422)
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
        Where there is no key for a server that needs one, or none that can be sent.
    MissingExtraError
        Where openai is not installed.
    """
    try:
        import openai
    except ImportError:
        raise MissingExtraError("openai", "chat") from None
    key = _key(agent)
    try:
        made = openai.OpenAI(
            api_key=key or "none",
            base_url=agent.address,
            timeout=agent.timeout,
            max_retries=agent.max_retries,
            http_client=_http(agent),
        )
    except _httpx().InvalidURL as error:
        raise InputError(f"base_url {agent.address!r} is no address: {error}.") from None
    with made as client:
        yield _Caller(agent, openai, client.chat.completions.create, key).call


def _httpx() -> Any:
    """The package that openai makes its requests by: httpx, and httpx2 of newer versions."""
    import openai

    (base, *_) = openai.DefaultHttpxClient.__bases__
    return importlib.import_module(base.__module__.partition(".")[0])


def _http(agent: ChatAgent) -> Any:
    """A client of httpx that paces every request and gives each a time to be answered in."""
    import openai

    httpx = _httpx()
    pace = _Pace(agent)

    def begin(request: Any) -> None:
        pace.wait()
        request.extensions = {**request.extensions, "end": time.monotonic() + agent.timeout}

    def begun(response: Any) -> None:
        # httpx itself knows only how long a pause may be.
        whole, end = response.iter_raw, response.request.extensions["end"]
        response.iter_raw = lambda *size, **more: until(whole(*size, **more), end)

    def until(parts: Iterator[bytes], end: float) -> Iterator[bytes]:
        for part in parts:
            if time.monotonic() > end:
                raise httpx.ReadTimeout("the answer is not whole in time")
            yield part

    # A proxy has no business with this machine's own servers.
    local = urlsplit(agent.address).hostname in LOOPBACK
    hooks = {"request": [begin], "response": [begun]}
    return openai.DefaultHttpxClient(trust_env=not local, event_hooks=hooks)


def check_address(address: str) -> None:
    """Raise unless an address is one, without secrets: it is logged."""
    # Text without :// may be a key in the wrong place, and is not repeated.
    given = repr(address[:40]) if "://" in address and "@" not in address else "other text"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"base_url is no address: {error}; got {given}.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InputError(f"base_url must begin with http:// or https://; got {given}.")
    if not re.fullmatch(r"[!-~]+", address):
        raise InputError(f"base_url must hold no spaces and no letters beyond ASCII; got {given}.")
    if parts.password or parts.username or parts.query:
        raise InputError(
            "base_url must hold no user, password or query, because it is logged: put the key"
            " into an environment variable and name it by key_variable."
        )


def check_variable(name: str | None) -> None:
    """Raise unless a name may be that of an environment variable; it may be a key by mistake."""
    if name is not None and not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise InputError(
            "key_variable is the name of the environment variable that holds the key, such as"
            " 'MY_API_KEY', not the key; what was given is no such name, and is not shown."
        )


def _key(agent: ChatAgent) -> str:
    """The key to send; empty where there is none, or none for this server."""
    variable = agent.key_variable or VARIABLE
    key = os.environ.get(variable, "")
    if len(key) >= SHORTEST_KEY and key in json.dumps(agent.settings):
        raise InputError("the key stands among the settings, which are logged: take it out.")
    if agent.key_variable is None and not _openai_s(agent.address):
        return ""
    if not key and agent.address == HOSTED:
        raise InputError(
            f"the environment has no {variable}: set it to the key of {HOSTED}, or give"
            " base_url of a server that needs none."
        )
    if not re.fullmatch(r"[!-~]*", key):
        raise InputError(
            f"the key in {variable} has a space, a line's end, or a letter or quote beyond ASCII,"
            " which no request can carry: set it anew."
        )
    return key


def _openai_s(address: str) -> bool:
    """Whether OpenAI's own variables speak of a server."""
    known = (HOSTED, os.environ.get("OPENAI_BASE_URL") or HOSTED)
    return _origin(address) in map(_origin, known)


def _origin(address: str) -> tuple[Any, ...]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port


@dataclass(frozen=True, repr=False)
class _Caller:
    """One connection."""

    agent: ChatAgent
    openai: Any
    create: Callable[..., Any]
    key: str

    def call(self, body: Mapping[str, Any], read: Read) -> Any:
        request = {"model": self.agent.model, **body, "extra_body": self.agent.extra}
        if self.agent.temperature is not None:
            request["temperature"] = self.agent.temperature
        found: Any = None
        for attempt in range(self.agent.max_retries + 1):
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
            return self._told(error.status_code, error.message)
        except api.APITimeoutError:
            return Failure("timeout")
        except api.APIConnectionError as error:
            return Failure(self._unconnected(error.__cause__))
        except _Told as error:
            return _Malformed(self._shown(f"HTTP 200 with an error: {error}"))
        except (api.APIError, ValueError, AttributeError, TypeError, IndexError):
            return _Malformed("malformed answer")

    def _told(self, status: int, words: str) -> Failure:
        """What a server says is wrong."""
        if status in REFUSED:
            return Refused(self._shown(f"HTTP {status}: {words}"))
        if status not in FATAL:
            return Failure(self._shown(f"HTTP {status}: {words}"))
        keyless = status == 401 and not self.key
        more = " (no key was sent: name its variable by key_variable)" if keyless else ""
        return _Fatal(self._shown(f"HTTP {status} from {self.agent.address}{more}: {words}", 240))

    def _unconnected(self, cause: BaseException | None) -> str:
        # Of other errors the text may hold the request's headers.
        if type(cause).__name__ == "ConnectError":
            return self._shown(f"no connection to {self.agent.address}: {cause}")
        return f"connection lost: {self.agent.address}"

    def _shown(self, words: str, most: int = 160) -> str:
        secret = len(self.key) >= SHORTEST_KEY
        return (words.replace(self.key, "***") if secret else words)[:most]


class Refused(Failure):
    """The server does not take the request as it is."""


class _Fatal(Failure):
    """Every other request would fail as well."""


class _Malformed(Failure):
    """To be tried again."""


class _Told(Exception):
    """A server says what is wrong in a response that claims to be an answer."""


def _checked(response: Any) -> Any:
    """The response, if it has answers; the client takes any JSON for one."""
    error = getattr(response, "error", None)
    if error:
        raise _Told(error.get("message") or error if isinstance(error, dict) else error)
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
