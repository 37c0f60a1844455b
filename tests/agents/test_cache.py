"""Kept answers: the same question costs once, another question is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import (
    Answer,
    CachedAgent,
    Failure,
    LogitAgent,
    Probabilities,
    Prompt,
    ScriptedAgent,
    make_prompt,
    play,
)
from mlinstruments.games import Protocol, default_grid

PROMPTS = [make_prompt(protocol, 0) for protocol in default_grid()[:3]]


class Counting:
    """Answers with what it was asked for the how-manieth time."""

    def __init__(self, **settings: Any) -> None:
        self.name, self.settings, self.asked = "counting", settings, 0

    def answer(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Iterator[Answer | Failure]:
        for seed in seeds:
            self.asked += 1
            yield Failure("HTTP 500") if seed == 13 else Answer(f"{self.asked}", 10, 1, 0.5)

    def choice_probabilities(self, prompts: Sequence[Prompt]) -> Iterator[Probabilities]:
        for _ in prompts:
            self.asked += 1
            yield Probabilities(np.array([0.1, 0.2]), np.array([False, True]), 10)


def texts(agent: CachedAgent, seeds: Sequence[int]) -> list[str | None]:
    return [getattr(a, "text", "failed") for a in agent.answer(PROMPTS, seeds)]


def test_only_new_questions_are_asked(tmp_path: Path) -> None:
    inner = Counting()
    agent = CachedAgent(inner, tmp_path)
    assert texts(agent, [1, 2, 3]) == ["1", "2", "3"]
    assert texts(agent, [1, 5, 3]) == ["1", "4", "3"]
    assert texts(agent, [5, 2, 5]) == ["5", "2", "6"]
    kept = next(iter(CachedAgent(Counting(), tmp_path).answer(PROMPTS[:1], [1])))
    assert kept == Answer("1")  # paid for before
    assert texts(CachedAgent(Counting(temperature=1), tmp_path), [1, 2, 3]) == ["1", "2", "3"]


def test_failures_are_not_kept(tmp_path: Path) -> None:
    inner = Counting()
    agent = CachedAgent(inner, tmp_path)
    assert texts(agent, [1, 13, 2]) == ["1", "failed", "3"]
    assert texts(agent, [1, 13, 2]) == ["1", "failed", "3"]
    assert inner.asked == 4


def test_draws_with_one_seed_stay_apart(tmp_path: Path) -> None:
    agent = CachedAgent(Counting(), tmp_path)
    for _ in range(2):
        assert [a.text for a in agent.answer([PROMPTS[0]] * 3, [1, 1, 1])] == ["1", "2", "3"]  # type: ignore[union-attr]


def test_probabilities_are_kept_with_their_marks(tmp_path: Path) -> None:
    inner = Counting()
    agent = CachedAgent(inner, tmp_path)
    for _ in range(2):
        for found in agent.choice_probabilities(PROMPTS):
            assert isinstance(found, Probabilities)
            assert found.values.tolist() == [0.1, 0.2]
            assert found.censored.tolist() == [False, True]
    assert inner.asked == 3
    agent = CachedAgent(ScriptedAgent({}), tmp_path)
    with pytest.raises(InputError, match="has no choice_probabilities"):
        agent.choice_probabilities(PROMPTS)


def test_a_damaged_file_is_asked_for_again(tmp_path: Path) -> None:
    agent = CachedAgent(Counting(), tmp_path)
    assert texts(agent, [1, 2, 3]) == ["1", "2", "3"]
    next(tmp_path.glob("*/*.json")).write_text("{")
    assert len(set(texts(agent, [1, 2, 3])) - {"1", "2", "3"}) == 1


def test_play_takes_it_for_the_agent(tmp_path: Path) -> None:
    protocols = [Protocol("tg", 80, 50, 30, 20, id="a")]
    plain = play(LogitAgent(0.1), protocols, 5)
    for _ in range(2):
        cached = play(CachedAgent(LogitAgent(0.1), tmp_path), protocols, 5)
        np.testing.assert_array_equal(cached.data.strategy, plain.data.strategy)


def test_agents_that_settings_do_not_tell_apart_are_refused(tmp_path: Path) -> None:
    scripted = CachedAgent(ScriptedAgent(lambda prompt: "A"), tmp_path)
    with pytest.raises(InputError, match="its script is a function"):
        scripted.answer(PROMPTS, [1, 2, 3])
    given = CachedAgent(Counting(sha256=""), tmp_path)
    with pytest.raises(InputError, match="its model was given as an object"):
        given.choice_probabilities(PROMPTS)
    with pytest.raises(InputError, match="its script is a function"):
        play(scripted, [Protocol("tg", 80, 50, 30, 20, id="a")], log=tmp_path / "log.jsonl")
    assert not list(tmp_path.glob("*/*.json"))
    assert texts(CachedAgent(Counting(sha256="1"), tmp_path), [1, 2, 3]) == ["1", "2", "3"]
