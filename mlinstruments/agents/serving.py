"""A server for a local model, on this machine's loopback address, for as long as it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError, MissingExtraError

from .weights import check_gguf, checksum, packaged_model


@dataclass(frozen=True)
class LocalServer:
    """Where a model is served.

    Parameters
    ----------
    base_url : str
        For :class:`ChatAgent`.
    model : str
        The name of the file.
    sha256 : str
        Of the file.
    cache_prompt : bool
        Whether prompts reuse what they have in common.
    """

    base_url: str
    model: str
    sha256: str = ""
    cache_prompt: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """What answers depend on, the same whatever port it is served on."""
        return {"sha256": self.sha256, "cache_prompt": self.cache_prompt}


# Servers that run now, by address.
_RUNNING: dict[str, LocalServer] = {}


def server_at(base_url: str) -> LocalServer | None:
    """The server of :func:`serve_local` at an address, while it runs."""
    return _RUNNING.get(base_url)


@contextmanager
def serve_local(
    model: str | Path | None = None,
    *,
    parallel: int = 2,
    context: int = 2048,
    threads: int | None = None,
    cache_prompt: bool = False,
) -> Iterator[LocalServer]:
    """Serve a GGUF file by llama.cpp (xllamacpp) on 127.0.0.1, until the block ends.

    Parameters
    ----------
    model : str or Path, optional
        A GGUF file; the packaged SmolLM2 by default.
    parallel : int
        Requests at the same time, and the largest ``per_call``.
    context : int
        Tokens of prompt and answer, for each request.
    threads : int, optional
        All processors by default.
    cache_prompt : bool
        Reuse what prompts have in common: faster, but then probabilities depend a little on what
        was asked before.

    Returns
    -------
    context manager of LocalServer

    Raises
    ------
    InputError
        Where there is no such file, or the model does not load.
    MissingExtraError
        Where xllamacpp is not installed.

    Examples
    --------
    >>> from mlinstruments.agents import ChatAgent, serve_local
    >>> with serve_local() as server:  # doctest: +SKIP
    ...     print(ChatAgent(server.model, base_url=server.base_url).capabilities)
    Capabilities(log_probabilities=True, listed=20, several=True)
    """
    check_count(parallel, "parallel", 1)
    check_count(context, "context", 16)
    if threads is not None:
        check_count(threads, "threads", 1)
    path = packaged_model() if model is None else Path(model)
    if path.is_dir():
        raise InputError(
            f"serve_local needs a GGUF file; {path} is a folder: give a .gguf file, or run the"
            " folder in process by LocalAgent."
        )
    check_gguf(path)
    try:
        import xllamacpp
    except ImportError:
        raise MissingExtraError("xllamacpp", "local") from None
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0  # any that is free
    settings.n_parallel = parallel
    settings.n_ctx = context * parallel
    settings.cache_prompt = cache_prompt
    settings.ui = False
    settings.verbosity = 0
    if threads is not None:
        settings.cpuparams.n_threads = threads
        settings.cpuparams_batch.n_threads = threads
    try:
        server = xllamacpp.Server(settings)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be served: {error}") from None
    address = f"{server.listening_address}/v1"
    try:
        _RUNNING[address] = LocalServer(address, path.stem, checksum(path), cache_prompt)
        yield _RUNNING[address]
    finally:
        _RUNNING.pop(address, None)
        del server  # which stops it
