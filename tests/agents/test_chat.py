"""Chat models, through the real client, against a server that misbehaves on 127.0.0.1."""

from __future__ import annotations

import json
import math
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlinstruments import ChoiceData
from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments.agents import (
    AgentError,
    Answer,
    ChatAgent,
    Failure,
    Probabilities,
    make_prompt,
    play,
)
from mlinstruments.games import Protocol
from tests.tolerances import ROUNDING

from .loopback import TOKENS, Loopback, loopback

pytest.importorskip("openai")

KEY = "sk-not-to-be-seen-0123456789"
MATRIX = [Protocol("matrix", 5, 4, 3, 2, id=f"m{k}") for k in range(4)]
PROMPTS = [make_prompt(protocol, 0) for protocol in MATRIX]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def agent(server: Loopback, **more: Any) -> ChatAgent:
    quick: dict[str, Any] = {"timeout": 5.0, "max_retries": 2, "concurrency": 1, **more}
    return ChatAgent("toy", base_url=server.url, **quick)


def texts(found: list[Any]) -> list[str | None]:
    return [answer.text for answer in found]


def test_answers_come_in_order_with_tokens_and_cost() -> None:
    with loopback(reply=lambda body: body["messages"][-1]["content"][:7]) as server:
        chat = agent(server, concurrency=3, prices=(2.0, 10.0), temperature=0.7, max_tokens=9)
        prompts = [make_prompt(MATRIX[0], 0, wording=w) for w in ("plain", "terse", "manual")] * 3
        found = list(chat.answer(prompts, range(9)))
        assert texts(found) == ["Two par", "Two pla", "FORM 1."] * 3
        assert found[0] == Answer("Two par", 50, 2, (50 * 2 + 2 * 10) / 1e6, "toy-1")
        body = next(b for b in server.bodies if b["seed"] == 4)
        assert body["messages"] == prompts[4].messages
        assert (body["temperature"], body["max_tokens"], body["model"]) == (0.7, 9, "toy")


@pytest.mark.parametrize(
    "plan",
    [
        ("429 0.1",), ("429 0.1", "429 0.1"), ("500",), ("503", "500"), ("malformed",), ("half",),
        ("empty",), ("strange",), ("half", "malformed"), ("408",),
    ],
)  # fmt: skip
def test_what_passes_is_tried_again(plan: tuple[str, ...]) -> None:
    with loopback(*plan) as server:
        assert texts(list(agent(server).answer(PROMPTS, range(4)))) == ["A"] * 4
        assert len(server.bodies) == 4 + len(plan)


def test_retry_after_is_honoured() -> None:
    with loopback("429 1.2") as server:
        list(agent(server).answer(PROMPTS[:1], [0]))
        # The client's own first pause is at most half a second.
        assert server.times[1] - server.times[0] > 1.1


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("500", "HTTP 500"), ("429 0.05", "HTTP 429"), ("malformed", "malformed answer"),
        ("half", "connection lost"), ("400", "HTTP 400"), ("empty", "malformed answer"),
    ],
)  # fmt: skip
def test_what_does_not_pass_is_a_failure_and_the_others_are_asked(step: str, reason: str) -> None:
    times = 1 if step == "400" else 2
    with loopback(*[step] * times) as server:
        one, *others = agent(server, max_retries=1).answer(PROMPTS, range(4))
        assert isinstance(one, Failure)
        assert one.reason.startswith(reason)
        assert KEY not in one.reason
        assert texts(others) == ["A"] * 3


def test_a_server_that_hangs_is_given_up_in_time() -> None:
    with loopback("hang", "hang") as server:
        started = time.monotonic()
        one, *others = agent(server, timeout=0.3, max_retries=1).answer(PROMPTS, range(4))
        assert one == Failure("timeout")
        assert texts(others) == ["A"] * 3
        assert time.monotonic() - started < 5


def test_a_server_that_is_not_there_is_a_failure() -> None:
    chat = ChatAgent("toy", base_url="http://127.0.0.1:9/v1", max_retries=0, timeout=2)
    (found,) = chat.answer(PROMPTS[:1], [0])
    assert isinstance(found, Failure)
    assert found.reason.startswith("no connection to http://127.0.0.1:9/v1: ")


def test_an_answer_that_trickles_in_is_given_up_in_time() -> None:
    with loopback("drip") as server:
        started = time.monotonic()
        assert list(agent(server, timeout=0.3, max_retries=0).answer(PROMPTS[:1], [0])) == [
            Failure("timeout")
        ]
        assert time.monotonic() - started < 3


def test_an_error_that_is_sent_as_an_answer_is_repeated() -> None:
    with loopback("said", "ok", "said") as server:
        chat = agent(server, max_retries=1, key_variable="OPENAI_API_KEY")
        assert texts(list(chat.answer(PROMPTS[:1], [0]))) == ["A"]
        (found,) = agent(server, max_retries=0).answer(PROMPTS[:1], [0])
        assert isinstance(found, Failure)
        assert found.reason.startswith("HTTP 200 with an error: the model is loading")


def test_a_log_probability_that_is_no_number_is_no_answer() -> None:
    with loopback("ok", "nan") as server:
        found = list(agent(server, max_retries=0).choice_probabilities(PROMPTS[:2]))
        assert isinstance(found[0], Failure)
        assert found[0].reason == "malformed answer"
        assert isinstance(found[1], Probabilities)


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_errors_that_every_request_would_meet_stop_at_once(status: str) -> None:
    with loopback(*[status] * 9) as server:
        with pytest.raises(AgentError, match=f"toy: HTTP {status} from {server.url}") as caught:
            list(agent(server).answer(PROMPTS, range(4)))
        assert len(server.bodies) == 1
        assert KEY not in str(caught.value)
        assert caught.value.__context__ is None  # the original error holds the headers


def test_the_key_is_sent_and_stands_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with loopback("500", "401") as server:
        chat = agent(server, key_variable="OPENAI_API_KEY")
        with pytest.raises(AgentError) as caught:
            play(chat, MATRIX, 1, path)
        assert server.keys == {f"Bearer {KEY}"}
        play(chat, MATRIX, 1, path)
    for shown in (repr(chat), str(chat.settings), repr(caught.value), path.read_text()):
        assert KEY not in shown
    assert KEY.encode() not in pickle.dumps(chat)
    assert pickle.loads(pickle.dumps(chat)) == chat


def test_refusals_and_filters_are_refusals() -> None:
    with loopback(reply=lambda body: None) as server:
        assert texts(list(agent(server).answer(PROMPTS[:1], [0]))) == [None]
    with loopback("filtered") as server:
        assert texts(list(agent(server).answer(PROMPTS[:2], [0, 1]))) == [None, "A"]


def test_openai_s_key_goes_to_openai_or_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with loopback("401") as server:
        with pytest.raises(AgentError, match="no key was sent: name its variable by key_variable"):
            list(agent(server).answer(PROMPTS[:1], [0]))
        assert server.keys == {"Bearer none"}
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        quick: dict[str, Any] = {"max_retries": 0, "timeout": 5.0}
        list(ChatAgent("toy", **quick).answer(PROMPTS[:1], [0]))
        assert server.keys == {"Bearer none", f"Bearer {KEY}"}
        monkeypatch.setenv("OTHER", "another-key")
        list(agent(server, key_variable="OTHER").answer(PROMPTS[:1], [0]))
        assert "Bearer another-key" in server.keys


@pytest.mark.parametrize("key", [f"{KEY}\n", f"\u201c{KEY}\u201d", f"{KEY} "])
def test_keys_that_no_request_can_carry_are_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match="the key in OPENAI_API_KEY has a space") as caught:
        list(ChatAgent("toy").answer(PROMPTS[:1], [0]))
    assert KEY not in str(caught.value)


def test_short_keys_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY", "t")
    with loopback("400") as server:
        (found,) = agent(server, key_variable="TOY").answer(PROMPTS[:1], [0])
        assert isinstance(found, Failure)
        assert "Incorrect key t: refused" in found.reason


# ---- play ---------------------------------------------------------------------------------------


def test_a_run_through_trouble_loses_and_repeats_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    plan = ["429 0.05", "500", "ok", "malformed", "half", "400", "hang", "ok", "filtered"]
    with loopback(*plan) as server:
        chat = agent(server, concurrency=3, timeout=1.0, max_retries=3)
        started = time.monotonic()
        with pytest.warns(MissingRowsWarning, match=r"1 of 12 questions .*HTTP 400"):
            played = play(chat, MATRIX, 3, path)
        assert time.monotonic() - started < 30
        assert played.report.asked == 11
        assert played.report.statuses == {"ok": 10, "refusal": 1, "ambiguous": 0, "parse_error": 0}
        again = play(chat, MATRIX, 3, path)
    assert (again.report.asked, again.report.resumed) == (1, 11)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({(row["protocol_id"], row["draw"]) for row in rows}) == len(rows) == 12
    data = ChoiceData.read(path)
    assert data.n_choices == 11
    assert data.excluded == {"refusal": 1}
    assert set(data.labels["served_model"]) == {"toy-1"}


def test_a_server_that_is_down_stops_the_run_with_the_log_intact(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with loopback("ok", "ok", *["500"] * 50) as server:
        chat = agent(server, max_retries=0)
        with pytest.raises(AgentError, match="5 questions in a row had no answer"):
            play(chat, MATRIX, 4, path)
        assert len(path.read_text().splitlines()) == 2


# ---- measuring and capabilities -----------------------------------------------------------------


def test_probabilities_are_those_of_labels_as_first_tokens(tmp_path: Path) -> None:
    with loopback() as server:
        chat = agent(server, top_logprobs=5)
        found = list(chat.choice_probabilities(PROMPTS[:1]))
        assert isinstance(found[0], Probabilities)
        assert found[0].values == pytest.approx([0.4, 0.05], rel=ROUNDING)
        assert not found[0].censored.any()
        path = tmp_path / "log.jsonl"
        report = play(chat, MATRIX, log=path, mode="probabilities").report
        assert report.mass == pytest.approx(0.45, rel=ROUNDING)
        assert report.first_label_share == pytest.approx(0.4 / 0.45, rel=ROUNDING)
        assert report.prompt_tokens == 50 * 8
        # Every action is first once, so that a liking for the first label is none for an action.
        data = ChoiceData.read(path)
        ones = data.count[data.strategy == 1].sum() / data.count.sum()
        assert ones == pytest.approx(0.5, rel=ROUNDING)
        body = server.bodies[-1]
        assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 5, 1)


def test_labels_that_are_not_listed_are_censored() -> None:
    with loopback() as server:
        (found,) = agent(server, top_logprobs=3).choice_probabilities(PROMPTS[:1])
        # Listed: The .4, A .3, and one of " A" and I, .1 each.
        assert found.censored.tolist() == [False, True]
        rest = 1 - 0.4 - 0.3 - 0.1
        assert found.values[1] == pytest.approx(min(2 * 0.1, rest), rel=ROUNDING)
        (found,) = agent(server, top_logprobs=6).choice_probabilities(
            [make_prompt(MATRIX[0], 0, labels="late")]
        )
        left = 1 - sum(sorted(TOKENS.values())[1:])
        assert found.values == pytest.approx([0.02, min(0.04, left)], rel=ROUNDING)
        assert found.mass == pytest.approx(0.02, rel=ROUNDING)


def test_servers_that_ignore_what_they_are_asked_are_found_out() -> None:
    with loopback(log_probabilities=False) as server:
        chat = agent(server)
        with pytest.raises(AgentError, match="gives no log-probabilities"):
            list(chat.choice_probabilities(PROMPTS))
        assert len(server.bodies) == 1
        assert chat.capabilities.several
    with loopback(several=False) as server:
        chat = agent(server, per_call=2)
        with pytest.raises(AgentError, match="use per_call=1"):
            list(chat.answer([PROMPTS[0]] * 2, [0, 1]))
        assert chat.capabilities.log_probabilities
    for passing in (("500",), ("400", "500"), ("filtered",), ("malformed",)):
        with loopback(*passing) as server:  # which says nothing of what it can do
            chat = agent(server, max_retries=0)
            with pytest.raises(AgentError, match=r"no answer to a first request: (HTTP 5|w|mal)"):
                list(chat.choice_probabilities(PROMPTS))
            assert chat.capabilities.log_probabilities
    with loopback("400", "ok", "400") as server:  # refuses n, and says so
        found = agent(server, max_retries=0).capabilities
        assert (found.log_probabilities, found.several) == (True, False)


def test_draws_of_one_prompt_are_asked_for_at_once() -> None:
    with loopback() as server:
        chat = agent(server, per_call=4, prices=(1.0, 1.0))
        played = play(chat, MATRIX[:1], 12)
        sizes = [body.get("n", 1) for body in server.bodies[1:]]  # after the probe
        assert sizes == [4, 2, 4, 2]
        assert played.report.asked == 12
        assert played.report.prompt_tokens == 4 * 50
        assert played.report.cost == pytest.approx((4 * 50 + 12 * 2) / 1e6, rel=ROUNDING)


def test_a_request_for_several_answers_fails_once(tmp_path: Path) -> None:
    with loopback("ok", "500", "ok", "500") as server:  # after the probe
        chat = agent(server, per_call=3, max_retries=0)
        with pytest.warns(MissingRowsWarning, match=r"6 of 12 questions had no answer \(HTTP 500"):
            report = play(chat, MATRIX[:2], 6, max_failures=2).report
        assert report.asked == 6


def test_requests_that_are_made_again_keep_to_the_rate() -> None:
    with loopback("429 0.01", "429 0.01") as server:
        chat = agent(server, requests_per_minute=60 / 0.3, max_retries=3)
        assert texts(list(chat.answer(PROMPTS[:1], [0]))) == ["A"]
        # The clock's own grain is a few milliseconds.
        assert np.diff(server.times).min() > 0.3 - 0.02


def test_requests_keep_to_concurrency_and_rate() -> None:
    with loopback(delay=0.05) as server:
        list(agent(server, concurrency=3).answer(PROMPTS * 4, range(16)))
        assert server.most_at_once == 3
    with loopback() as server:
        list(agent(server, concurrency=4, requests_per_minute=600).answer(PROMPTS * 2, range(8)))
        # Eight requests, a tenth of a second apart; the clock's own grain is a few milliseconds.
        assert np.diff(sorted(server.times)).sum() > 7 * 0.1 - 0.02


# ---- arguments ----------------------------------------------------------------------------------


def test_without_a_key_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="the environment has no OPENAI_API_KEY"):
        list(ChatAgent("gpt-toy").answer(PROMPTS, range(4)))
    with loopback() as server:
        assert texts(list(agent(server).answer(PROMPTS[:1], [0]))) == ["A"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"base_url": "http://user:word@127.0.0.1/v1"}, "no user, password or query"),
        ({"base_url": "http://127.0.0.1/v1?key=1"}, "no user, password or query"),
        ({"base_url": "127.0.0.1:80"}, "must begin with http"),
        ({"base_url": KEY}, "must begin with http.*got other text"),
        ({"base_url": "http://127.0.0.1:99999/v1"}, "Port out of range"),
        ({"base_url": "http://127.0.0.1:abc/v1"}, "Port could not be cast"),
        ({"base_url": "http://127.0.0.1/v 1"}, "no spaces"),
        ({"key_variable": KEY}, "not the key"),
        ({"prices": 0.6}, "prices must be two numbers"),
        ({"prices": (0.15,)}, "prices must be two numbers"),
        ({"prices": (0.15, math.nan)}, "prices must be two numbers"),
        ({"temperature": -3}, "temperature must be at least 0"),
        ({"temperature": math.nan}, "temperature must be at least 0"),
        ({"timeout": 0}, "must be positive"),
        ({"timeout": math.nan}, "must be positive"),
        ({"requests_per_minute": 0}, "must be positive"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"max_tokens": 0}, "max_tokens must be"),
        ({"per_call": 0}, "per_call must be"),
        ({"max_retries": -1}, "max_retries must be"),
    ],
)
def test_bad_arguments_are_refused(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        ChatAgent("toy", **bad)
    assert "word" not in str(caught.value).replace("password", "")
    assert KEY not in str(caught.value)


def test_a_key_among_the_settings_is_refused() -> None:
    chat = ChatAgent("toy", base_url="http://127.0.0.1:9/v1", extra={"password": KEY})
    with pytest.raises(InputError, match="stands among the settings") as caught:
        list(chat.answer(PROMPTS[:1], [0]))
    assert KEY not in str(caught.value)
