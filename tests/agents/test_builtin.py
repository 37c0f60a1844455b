"""Built-in agents against the closed forms of the games."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import (
    Agent,
    LogitAgent,
    ScriptedAgent,
    economicus,
    make_prompt,
    moralis,
    uniform,
)
from mlinstruments.games import Protocol, best_replies, default_grid
from mlinstruments.games.utility import choice_probabilities
from tests.tolerances import ROUNDING

SPD = Protocol("spd", 90, 65, 25, 10, id="s")


def test_they_are_agents() -> None:
    for agent in (LogitAgent(0.1), economicus(), moralis(), uniform(), ScriptedAgent({})):
        assert isinstance(agent, Agent)


@pytest.mark.parametrize("order", [0, 1])
def test_logit_probabilities_are_those_of_the_model(order: int) -> None:
    agent = LogitAgent(0.1, 0.25, 0.1, 0.2)
    p = choice_probabilities(SPD, np.full(3, 0.3), 0.1, 0.25, 0.1, 0.2)
    prompt = make_prompt(SPD, belief=0.3, order=order)
    found = next(agent.choice_probabilities([prompt]))
    expected = [p[SPD.strategies.index(choice)] for choice in prompt.choices]
    assert found.values == pytest.approx(expected, rel=ROUNDING)
    assert found.mass == pytest.approx(1, rel=ROUNDING)
    for node in range(3):
        prompt = make_prompt(SPD, node, belief=0.3, order=order)
        values = next(agent.choice_probabilities([prompt])).values
        one = sum(p[k] for k, s in enumerate(SPD.strategies) if s[node] == "1")
        assert values[prompt.choices.index("1")] == pytest.approx(one, rel=ROUNDING)


def test_the_nodes_of_a_draw_are_one_strategy() -> None:
    agent = LogitAgent(0.05)
    for seed in range(50):
        whole = make_prompt(SPD)
        (drawn,) = agent.answer([whole], [seed])
        strategy = whole.choices[whole.options.index(str(drawn.text))]
        prompts = [make_prompt(SPD, node, order=node % 2) for node in range(3)]
        answers = agent.answer(prompts, [seed] * 3)
        digits = [
            p.choices[p.options.index(str(a.text))] for p, a in zip(prompts, answers, strict=True)
        ]
        assert "".join(digits) == strategy


@pytest.mark.parametrize("kappa", [0.0, 0.5])
def test_maximisers_play_best_replies_and_split_ties(kappa: float) -> None:
    agent = economicus() if kappa == 0 else moralis(kappa)
    for protocol in (*default_grid(), Protocol("matrix", 5, 5, 2, 2, id="tie")):
        best = best_replies(protocol, np.full(protocol.n_nodes, 0.5), kappa)
        prompt = make_prompt(protocol)
        found = next(agent.choice_probabilities([prompt])).values
        for choice, p in zip(prompt.choices, found, strict=True):
            assert p == pytest.approx((choice in best) / len(best), rel=ROUNDING)


def test_infinite_scale_is_the_limit() -> None:
    prompt = make_prompt(SPD, belief=0.5)
    far = next(LogitAgent(1e3, 0.5).choice_probabilities([prompt])).values
    limit = next(LogitAgent(math.inf, 0.5).choice_probabilities([prompt])).values
    assert far == pytest.approx(limit, abs=ROUNDING)


def test_scripts_play_their_strategy_by_protocol_then_game() -> None:
    agent = ScriptedAgent({"spd": "100", "s": "011"})
    other = Protocol("spd", 90, 65, 25, 10, id="z")
    for protocol, strategy in ((SPD, "011"), (other, "100")):
        prompts = [make_prompt(protocol, node, order=1, reply="reasoned") for node in range(3)]
        texts = [str(a.text) for a in agent.answer(prompts, [0, 0, 0])]
        digits = [p.choices[p.options.index(t[-1])] for p, t in zip(prompts, texts, strict=True)]
        assert "".join(digits) == strategy
    with pytest.raises(InputError, match="needs one of 00, 01, 10, 11 for protocol 't'"):
        list(agent.answer([make_prompt(Protocol("tg", 80, 50, 30, 20, id="t"))], [0]))


@pytest.mark.parametrize("bad", [{"scale": -1}, {"scale": math.nan}, {"scale": 1, "belief": 2}])
def test_bad_parameters_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="scale must be"):
        LogitAgent(**bad)
