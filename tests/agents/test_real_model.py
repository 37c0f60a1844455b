"""A real model of 135 million parameters, served and in process: plumbing, not judgement.

Runs where xllamacpp, openai and the packaged weights are installed (and torch, transformers and
gguf for the second half): CONTRIBUTING says how.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlinstruments import ChoiceData
from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import (
    Answer,
    ChatAgent,
    LocalAgent,
    LocalServer,
    Probabilities,
    make_prompt,
    make_prompts,
    packaged_model,
    play,
    serve_local,
)
from mlinstruments.games import Protocol
from tests.tolerances import FLOAT32_LOGITS, ROUNDING, RUNTIMES

GRID = [Protocol("matrix", 70, 50, 30, 10, id="m"), Protocol("tg", 80, 50, 30, 20, id="t")]
SHORT = {"wordings": ("terse",), "renderings": ("bullets",)}


def weights() -> Path:
    try:
        return packaged_model()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    pytest.importorskip("openai")
    pytest.importorskip("xllamacpp")
    weights()
    with serve_local(parallel=2, threads=1) as started:
        yield started


def test_served_probabilities(server: LocalServer, tmp_path: Path) -> None:
    agent = ChatAgent(server.model, base_url=server.base_url, concurrency=1)
    assert agent.capabilities.log_probabilities
    assert agent.capabilities.several
    path = tmp_path / "log.jsonl"
    played = play(agent, GRID, log=path, mode="probabilities", **SHORT)
    assert played.report.asked == 6
    data = ChoiceData.read(path)
    assert data.n_choices == pytest.approx(4, rel=ROUNDING)
    for row in played.rows:
        assert 0 < row["mass"] <= 1
        assert 0 <= row["probability_low"] <= row["probability"] <= row["probability_high"] <= 1
    # The same prompts again, in the other order: the same numbers, with the prompt cache off.
    prompts = make_prompts(GRID, **SHORT)
    again = list(agent.choice_probabilities(prompts[::-1]))[::-1]
    before = {}
    for row in played.rows:
        before.setdefault(row["prompt_hash"], []).append(row["probability"])
    for prompt, found in zip(prompts, again, strict=True):
        assert isinstance(found, Probabilities)
        assert found.shares.tolist() == before[prompt.hash]


def test_served_answers(server: LocalServer) -> None:
    agent = ChatAgent(
        server.model, base_url=server.base_url, temperature=1.0, max_tokens=8, per_call=2
    )
    prompt = make_prompt(GRID[0], 0, wording="terse", rendering="bullets")
    found = list(agent.answer([prompt] * 4, range(4)))
    assert all(isinstance(answer, Answer) and answer.text for answer in found)
    again = list(agent.answer([prompt] * 4, range(4)))
    assert [a.text for a in found] == [a.text for a in again]  # type: ignore[union-attr]


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUX")
    for model in (path, tmp_path / "none.gguf"):
        with pytest.raises(InputError, match="neither a GGUF file"), serve_local(model):
            pass
        with pytest.raises(InputError, match="neither a GGUF file"):
            _ = LocalAgent(model).settings


@pytest.fixture(scope="module")
def local() -> LocalAgent:
    for name in ("torch", "transformers", "gguf", "platformdirs"):
        pytest.importorskip(name)
    weights()
    return LocalAgent(max_tokens=4)


def test_probabilities_in_process_are_those_of_the_tokens(local: LocalAgent) -> None:
    torch = pytest.importorskip("torch")
    prompts = [
        make_prompt(GRID[0], 0, wording="terse", rendering="bullets", labels=labels)
        for labels in ("letters", "words")
    ]
    letters, words = local.choice_probabilities(prompts)
    model, tokenizer = local._loaded
    # By hand: the whole distribution of what may come first.
    text = tokenizer.apply_chat_template(
        prompts[0].messages, tokenize=False, add_generation_prompt=True
    )
    read = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        p = torch.softmax(model(read).logits[0, -1].double(), -1)
    expected = [
        sum(float(p[i]) for i in range(len(p)) if tokenizer.decode([i]) in (label, f" {label}"))
        for label in ("A", "B")
    ]
    assert letters.values == pytest.approx(expected, rel=FLOAT32_LOGITS)
    for found in (letters, words):
        assert 0 < found.mass <= 1
        assert (found.values > 0).all()
    again = next(local.choice_probabilities(prompts))
    np.testing.assert_array_equal(again.values, letters.values)


def test_answers_in_process_follow_their_seeds(local: LocalAgent) -> None:
    torch = pytest.importorskip("torch")
    prompt = make_prompt(GRID[0], 0, wording="terse", rendering="bullets")
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    one = [a.text for a in local.answer([prompt] * 3, [1, 2, 3])]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [a.text for a in local.answer([prompt] * 3, [1, 2, 3])] == one
    assert len(set(one)) > 1
    assert len(local.settings["sha256"]) == 64


def test_served_and_in_process_agree(server: LocalServer, local: LocalAgent) -> None:
    prompt = make_prompt(GRID[0], 0, wording="terse", rendering="bullets")
    chat = ChatAgent(server.model, base_url=server.base_url, top_logprobs=20)
    (there,) = chat.choice_probabilities([prompt])
    (here,) = local.choice_probabilities([prompt])
    assert isinstance(there, Probabilities)
    seen = ~there.censored
    assert np.abs(there.values - here.values)[seen].max() < RUNTIMES
    assert seen.any()
