"""A server for a local model, on this machine's loopback address, for as long as it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError, MissingExtraError

from .weights import check_gguf, packaged_model


@dataclass(frozen=True)
class LocalServer:
    """Where a model is served.

    Parameters
    ----------
    base_url : str
        For :class:`ChatAgent`.
    model : str
        The name of the file.
    """

    base_url: str
    model: str


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
    try:
        yield LocalServer(f"{server.listening_address}/v1", path.stem)
    finally:
        del server  # which stops it
