"""A chat server of the standard library that misbehaves on request, on 127.0.0.1 only."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What each token has of the first place, of which the most probable are listed.
TOKENS = {"A": 0.3, " A": 0.1, "B": 0.05, "The": 0.4, "I": 0.1, "X": 0.02, "Y": 0.01}


@dataclass
class Loopback:
    """The server's script and what it was asked.

    Parameters
    ----------
    plan : deque of str
        What to do with the next requests; answers properly where it is empty.
    reply : callable
        From the body of a request to the text of an answer.
    """

    url: str = ""
    plan: deque[str] = field(default_factory=deque)
    reply: Callable[[dict[str, Any]], str | None] = lambda body: "A"
    log_probabilities: bool = True
    several: bool = True
    tokens: dict[str, float] = field(default_factory=lambda: dict(TOKENS))
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    times: list[float] = field(default_factory=list)
    most_at_once: int = 0
    at_once: int = 0
    delay: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        n = body.get("n", 1) if self.several else 1
        choices = []
        for k in range(n):
            text = self.reply(body)
            message = {
                "role": "assistant",
                "content": text,
                "refusal": None if text is not None else "No.",
            }
            logprobs = None
            if body.get("logprobs") and self.log_probabilities:
                order = sorted(self.tokens, key=lambda t: -self.tokens[t])[: body["top_logprobs"]]
                top = [
                    {"token": t, "logprob": math.log(self.tokens[t]), "bytes": None} for t in order
                ]
                logprobs = {"content": [{**top[0], "top_logprobs": top}], "refusal": None}
            choices.append(
                {"index": k, "message": message, "finish_reason": "stop", "logprobs": logprobs}
            )
        return {
            "id": "x", "object": "chat.completion", "created": 0, "model": "toy-1",
            "choices": choices,
            "usage": {"prompt_tokens": 50, "completion_tokens": 2 * n, "total_tokens": 50 + 2 * n},
        }  # fmt: skip


def _handler(state: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            """Nothing: tests read what pytest captures."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.bodies.append(body)
                state.keys.add(self.headers.get("Authorization", ""))
                state.times.append(time.monotonic())
                step = state.plan.popleft() if state.plan else "ok"
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            try:
                time.sleep(state.delay)
                self.behave(step, body)
            except (BrokenPipeError, ConnectionResetError):
                pass
            finally:
                with state.lock:
                    state.at_once -= 1

        def behave(self, step: str, body: dict[str, Any]) -> None:
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            whole = json.dumps(state.completion(body)).encode()
            if step == "hang":
                time.sleep(3)
                self.close_connection = True
            elif step == "half":
                self.head(200, len(whole))
                self.wfile.write(whole[: len(whole) // 2])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            elif step == "drip":
                self.head(200, len(whole))
                self.close_connection = True
                for byte in whole:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(0.05)
            elif step == "said":
                words = f"the model is loading, key {key}"
                self.send(200, json.dumps({"error": {"message": words}}).encode())
            elif step == "nan":
                self.send(200, whole.replace(b'"logprob": -', b'"logprob": NaN, "was": -'))
            elif step == "malformed":
                self.send(200, b'{"choices": [')
            elif step == "empty":
                self.send(200, b'{"choices": []}')
            elif step == "strange":
                self.send(200, b'{"choices": [{"message": {"content": 7}}]}')
            elif step == "filtered":
                self.send(400, b'{"error": {"message": "no", "code": "content_filter"}}')
            elif step.startswith("429"):
                self.send(429, b'{"error": {"message": "slow down"}}', {"Retry-After": step[4:]})
            elif step.isdigit():
                words = f"Incorrect key {key}: refused"
                self.send(int(step), json.dumps({"error": {"message": words}}).encode())
            else:
                self.send(200, whole)

        def head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(length))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()

        def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.head(status, len(content), headers)
            self.wfile.write(content)

    return Handler


@contextmanager
def loopback(*plan: str, **state: Any) -> Iterator[Loopback]:
    """A server that follows a plan, stopped at the end."""
    made = Loopback(plan=deque(plan), **state)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
