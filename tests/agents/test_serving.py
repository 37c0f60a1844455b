"""Servers of this package: what logs call them, without a model."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import CachedAgent, ChatAgent, play, serve_local
from mlinstruments.games import Protocol

from .loopback import Loopback, loopback

pytest.importorskip("openai")

MATRIX = [Protocol("matrix", 5, 4, 3, 2, id="m")]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "toy.gguf"
    path.write_bytes(b"GGUF and no more")
    return path


def stand_in(monkeypatch: pytest.MonkeyPatch, server: Loopback) -> None:
    """Let a server of tests be what llama.cpp's would be."""
    made = SimpleNamespace(
        CommonParams=lambda: SimpleNamespace(model=SimpleNamespace()),
        Server=lambda settings: SimpleNamespace(listening_address=server.url.removesuffix("/v1")),
    )
    monkeypatch.setitem(sys.modules, "xllamacpp", made)


def test_a_run_goes_on_whatever_port_the_model_is_served_on(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, urls = tmp_path / "log.jsonl", []
    for draws, asked in ((1, 1), (2, 1)):
        with loopback() as server:
            stand_in(monkeypatch, server)
            with serve_local(weights) as served:
                urls.append(served.base_url)
                chat = ChatAgent(served.model, base_url=served.base_url)
                report = play(CachedAgent(chat, tmp_path / "kept"), MATRIX, draws, log).report
            assert (report.asked, len(server.bodies)) == (asked, asked)
            assert chat.settings["base_url"] == "serve_local"  # also when it is gone
            with serve_local(weights) as served:  # every answer is kept by now
                chat = ChatAgent(served.model, base_url=served.base_url)
                assert play(CachedAgent(chat, tmp_path / "kept"), MATRIX, draws).report.asked
            assert len(server.bodies) == asked
    assert urls[0] != urls[1]


def test_other_weights_and_a_prompt_cache_are_other_settings(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loopback() as server:
        stand_in(monkeypatch, server)
        found = []
        for content, cache in ((b"GGUF 1", False), (b"GGUF 1", True), (b"GGUF 2", False)):
            weights.write_bytes(content)
            with serve_local(weights, cache_prompt=cache) as served:
                found.append(ChatAgent("toy", base_url=served.base_url).settings)
        assert found[0] != found[1] != found[2] != found[0]
        assert ChatAgent("toy", base_url=server.url).settings["base_url"] == server.url


def test_a_folder_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs a GGUF file; .* is a folder"):
        serve_local(tmp_path).__enter__()
