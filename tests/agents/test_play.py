"""Runs: what is logged, what is read back, what is estimated from it."""

from __future__ import annotations

import errno
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlinstruments import ChoiceData, PreferenceLogit
from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments.agents import (
    AgentError,
    Answer,
    Failure,
    LogitAgent,
    Probabilities,
    Prompt,
    ScriptedAgent,
    economicus,
    play,
)
from mlinstruments.games import Protocol, default_grid
from mlinstruments.games.utility import choice_probabilities
from tests.tolerances import NEWTON, ROUNDING

TG = Protocol("tg", 80, 50, 30, 20, id="a")
GRID = default_grid()
THETA = {"kappa": 0.3, "beta": 0.2}


def same(one: ChoiceData, two: ChoiceData) -> None:
    assert one.protocols == two.protocols
    for name in ("protocol", "strategy", "count"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(one.beliefs, two.beliefs)
    assert set(one.labels) == set(two.labels)
    assert one.excluded == two.excluded


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("unit", ["node", "strategy"])
@pytest.mark.parametrize("mode", ["sample", "probabilities"])
def test_a_log_is_read_back_as_played(tmp_path: Path, unit: str, mode: str) -> None:
    path = tmp_path / "log.jsonl"
    draws = 3 if mode == "sample" else 1
    played = play(LogitAgent(0.1), GRID[::5], draws, path, mode=mode, unit=unit, belief=0.4)
    same(played.data, ChoiceData.read(path))
    orders = draws if mode == "sample" else 2
    assert played.data.n_choices == pytest.approx(orders * len(GRID[::5]), rel=ROUNDING)
    assert np.nanmin(played.data.beliefs) == np.nanmax(played.data.beliefs) == 0.4
    rows = lines(path)
    wanted = {
        "subject", "model", "temperature", "protocol_id", "game", "T", "R", "P", "S", "draw",
        "option_order", "labels", "belief_1", "status", "prompt_hash", "raw", "settings",
    }  # fmt: skip
    assert all(wanted <= set(row) for row in rows)
    assert ("node" in rows[0]) == (unit == "node")


@pytest.mark.slow
def test_the_log_of_a_logit_agent_gives_its_parameters_back() -> None:
    truth = LogitAgent(0.1, **THETA)
    data = play(truth, GRID, 100, unit="strategy", wordings=("plain", "terse"), belief=0.5).data
    assert data.n_choices == 100 * len(GRID) * 2
    fit = PreferenceLogit(("kappa", "beta")).fit(data)
    for name, value in {"lambda": 0.1, **THETA}.items():
        # 3.5 standard errors: one chance in two thousand for each of three numbers.
        assert abs(fit.params[name] - value) < 3.5 * fit.std_errors[name]
        assert fit.std_errors[name] < 0.25 * value


@pytest.mark.slow
def test_node_by_node_draws_give_them_back_as_well() -> None:
    data = play(LogitAgent(0.1, **THETA), GRID, 150, unit="node").data
    fit = PreferenceLogit(("kappa", "beta"), beliefs="uniform").fit(data)
    for name, value in {"lambda": 0.1, **THETA}.items():
        assert abs(fit.params[name] - value) < 3.5 * fit.std_errors[name]


def test_measured_probabilities_give_them_back_exactly() -> None:
    data = play(LogitAgent(0.1, **THETA), GRID, mode="probabilities", unit="strategy").data
    fit = PreferenceLogit(("kappa", "beta"), beliefs="uniform").fit(data)
    for name, value in {"lambda": 0.1, **THETA}.items():
        assert fit.params[name] == pytest.approx(value, rel=NEWTON)


def test_measured_nodes_multiply() -> None:
    agent = LogitAgent(0.1)
    data = play(agent, [TG], mode="probabilities").data
    p = choice_probabilities(TG, np.full(2, 0.5), 0.1)
    first, second = p[2] + p[3], p[1] + p[3]
    for draw in (0, 1):
        part = data.select(draw=draw)
        expected = [
            (1 - first) * (1 - second),
            (1 - first) * second,
            first * (1 - second),
            first * second,
        ]
        assert part.count[np.argsort(part.strategy)] == pytest.approx(expected, rel=ROUNDING)


def test_both_orders_are_asked_alike(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    play(economicus(), GRID, 4, path, labels=("letters", "digits"))
    count = Counter(
        (r["protocol_id"], r["node"], r["labels"], r["option_order"]) for r in lines(path)
    )
    assert set(count.values()) == {2}
    starts = {(r["protocol_id"], r["node"]): r["order"] for r in lines(path) if r["draw"] == 0}
    assert set(starts.values()) == {0, 1}  # the first order is drawn


def test_an_agent_that_looks_at_labels_is_found_out() -> None:
    first = ScriptedAgent(lambda prompt: prompt.options[0])
    report = play(first, GRID, 2).report
    assert report.first_label_share == 1.0
    assert report.first_label_even == 0.5
    assert "1.000 of choices (0.500 if labels do not matter)" in str(report)
    for unit in ("node", "strategy"):
        fair = play(economicus(), GRID, mode="probabilities", unit=unit).report
        assert fair.first_label_share == pytest.approx(fair.first_label_even, rel=ROUNDING)
    alone = play(economicus(), GRID, 1).report
    assert np.isnan(alone.first_label_share)
    assert "no prompt has choices in both orders" in str(alone)


def test_label_shares_of_plans_are_compared_across_orders() -> None:
    """By hand: 00 chosen always, first in order 1 only."""
    report = play(ScriptedAgent({"tg": "00"}), [TG], 4, unit="strategy").report
    assert (report.first_label_share, report.first_label_even) == (0.5, 0.5)
    first = play(ScriptedAgent(lambda prompt: prompt.options[0]), [TG], 4, unit="strategy").report
    assert (first.first_label_share, first.first_label_even) == (1.0, 0.5)


REPLIES = ["A", "I'm sorry, I can't.", "A or B", "hm", None]


def test_refusals_are_final_and_only_unreadable_answers_are_asked_again(tmp_path: Path) -> None:
    asked: Counter[str | None] = Counter()
    protocols = [Protocol("matrix", 5, 4, 3, 2, id=str(k)) for k in range(len(REPLIES))]

    def script(prompt: Prompt) -> str | None:
        reply = REPLIES[int(prompt.protocol.id)]
        asked[reply] += 1
        return reply

    path = tmp_path / "log.jsonl"
    played = play(ScriptedAgent(script), protocols, 1, path, retries=3)
    assert [asked[reply] for reply in REPLIES] == [1, 1, 1, 4, 1]
    rows = {int(row["protocol_id"]): row for row in lines(path)}
    assert [rows[k]["status"] for k in range(5)] == [
        "ok", "refusal", "ambiguous", "parse_error", "refusal",
    ]  # fmt: skip
    assert [rows[k]["raw"] for k in range(5)] == REPLIES
    assert [rows[k]["tries"] for k in range(5)] == [1, 1, 1, 4, 1]
    assert all(rows[k]["action"] is None for k in range(1, 5))
    assert played.report.statuses == {"ok": 1, "refusal": 2, "ambiguous": 1, "parse_error": 1}
    assert ChoiceData.read(path).excluded == {"refusal": 2, "ambiguous": 1, "parse_error": 1}
    again = play(ScriptedAgent(script), protocols, 1, path, retries=3)
    assert again.report.asked == 0
    assert asked.total() == 8


def test_a_run_of_nothing_but_refusals_still_reports() -> None:
    played = play(ScriptedAgent(lambda prompt: None), [TG], 2)
    assert played.report.statuses["refusal"] == 4
    with pytest.raises(InputError, match="holds no choice"):
        _ = played.data


def test_beliefs_are_elicited_once_and_logged_beside_choices(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    agent = LogitAgent(0.1, belief=0.25)
    played = play(agent, [TG], 4, path, unit="strategy", belief="elicited")
    assert played.data.beliefs[:, :2].tolist() == [[0.25, 0.25]] * 4
    assert "25" not in play(agent, [TG], 1).rows[0]["raw"]
    beliefs = lines(path.with_suffix(".beliefs.jsonl"))
    assert len(beliefs) == 4 * 2
    before = path.with_suffix(".beliefs.jsonl").read_bytes(), path.read_bytes()
    same(play(agent, [TG], 4, path, unit="strategy", belief="elicited").data, played.data)
    assert (path.with_suffix(".beliefs.jsonl").read_bytes(), path.read_bytes()) == before
    measured = play(agent, [TG], mode="probabilities", belief="elicited").data
    assert np.nanmax(measured.beliefs) == np.nanmin(measured.beliefs) == 0.25


class Doubtful:
    """Chooses, and says what it expects unless it is out of order, or not asked nicely."""

    name, settings = "doubtful", {"agent": "doubtful"}

    def __init__(self, fails: Sequence[int] = (), says: Any = "30") -> None:
        self.fails, self.says, self.asked = fails, says, 0

    def answer(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Iterator[Answer | Failure]:
        for prompt in prompts:
            belief = prompt.asks == "belief"
            self.asked += belief
            text = self.says if belief else prompt.options[0]
            broken = belief and self.asked in self.fails
            yield Failure("HTTP 500") if broken else Answer(text, 10, 1, 0.5)


@pytest.mark.parametrize("unit", ["node", "strategy"])
def test_a_choice_waits_for_a_belief_that_failed(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "log.jsonl"
    call: dict[str, Any] = {"draws": 3, "log": path, "unit": unit, "belief": "elicited"}
    left = 2 if unit == "node" else 1
    with pytest.warns(MissingRowsWarning, match="belief: HTTP 500 1"):
        report = play(Doubtful([1]), [TG], **call).report
    assert dict(report.failed) == {
        "belief: HTTP 500": 1,
        "not asked, because its belief had no answer": left,
    }
    assert report.asked == report.planned - left == len(lines(path))
    again = play(Doubtful(), [TG], **call)
    assert (again.report.asked, again.report.failed) == (left, ())
    assert all(row["belief_1"] == row["belief_2"] == 0.3 for row in lines(path))
    assert again.data.beliefs[:, :2].tolist() == [[0.3, 0.3]] * 3
    # Six answers about beliefs are paid for as well.
    assert again.report.beliefs["ok"] == 6
    assert again.report.cost == 0.5 * (6 + again.report.planned)
    assert again.report.prompt_tokens == 10 * (6 + again.report.planned)


def test_refused_beliefs_are_final_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    agent = Doubtful(says=None)
    for asked in (4, 0):
        report = play(agent, [TG], 2, path, unit="strategy", belief="elicited").report
        assert report.beliefs["refusal"] == agent.asked == 4
        assert report.without_belief == 2
        assert report.failed == ()
        assert "refusal 4; 2 choices have none" in str(report)
        assert (report.asked > 0) == (asked > 0)


@pytest.mark.parametrize("unit", ["node", "strategy"])
def test_beliefs_are_elicited_with_the_labels_of_their_choice(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "log.jsonl"
    play(economicus(), GRID[::4], 2, path, unit=unit, belief="elicited")
    choices = {(r["protocol_id"], r.get("node"), r["draw"]): r["order"] for r in lines(path)}
    for row in lines(path.with_suffix(".beliefs.jsonl")):
        node = row["node"] if unit == "node" else None
        assert row["order"] == choices[row["protocol_id"], node, row["draw"]]


def test_a_log_that_cannot_take_the_choices_is_refused_before_beliefs_are_asked(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.jsonl"
    agent = Doubtful()
    play(agent, [TG], 1, path, unit="strategy", belief=0.5)
    for bad in ({"log": path}, {"log": tmp_path / "log.csv"}, {"log": path, "unit": "node"}):
        with pytest.raises(InputError):
            play(agent, [TG], 1, **{"unit": "strategy", "belief": "elicited", **bad})  # type: ignore[arg-type]
    assert agent.asked == 0
    assert not path.with_suffix(".beliefs.jsonl").exists()


def test_second_movers_of_matrix_games_know_what_was_played(tmp_path: Path) -> None:
    # Matching pays: the best reply is what was seen.
    game = [Protocol("matrix", 1, 5, 4, 0, id="m")]
    for seen in (0, 1):
        path = tmp_path / f"after{seen}.jsonl"
        play(economicus(), game, 2, path, seen=seen)
        data = ChoiceData.read(path)
        assert data.strategy.tolist() == [seen, seen]
        assert data.beliefs[:, 0].tolist() == [seen, seen]
    for belief in ("elicited", 0.5, [0.5]):
        with pytest.raises(InputError, match="leave belief out"):
            play(economicus(), game, seen=1, belief=belief)
    with pytest.raises(InputError, match="a game where both move at once"):
        play(economicus(), [TG], seen=1)


# ---- resuming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sample", "probabilities"])
def test_a_log_cut_anywhere_is_completed_without_loss_or_repeat(tmp_path: Path, mode: str) -> None:
    whole = tmp_path / "whole.jsonl"
    draws = 2 if mode == "sample" else 1
    unit = "node" if mode == "sample" else "strategy"
    played = play(LogitAgent(0.1), [TG], draws, whole, mode=mode, unit=unit)
    content = whole.read_bytes()
    ends = [k for k, byte in enumerate(content) if byte == ord("\n")]
    near = {end + shift for end in ends for shift in (-1, 0, 1)}
    for cut in sorted({0, 1, *near, *range(0, len(content), len(content) // 12)}):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(content[:cut])
        again = play(LogitAgent(0.1), [TG], draws, path, mode=mode, unit=unit)
        assert path.read_bytes() == content, cut
        assert again.report.asked + again.report.resumed == played.report.planned


def test_a_last_answer_without_a_line_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    play(LogitAgent(0.1), [TG], 2, path)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert play(LogitAgent(0.1), [TG], 2, path).report.asked == 0
    assert path.read_bytes() == content


def test_draws_and_protocols_can_be_added_to_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    agent = LogitAgent(0.1)
    play(agent, GRID[:2], 2, path)
    more = play(agent, GRID[:3], 4, path)
    assert more.report.asked == 3 * 3 * 4 - 2 * 3 * 2
    assert more.data.n_choices == 12
    fewer = play(agent, GRID[:3], 2, path)
    assert fewer.report.asked == 0
    other = play(economicus(), GRID[:1], 2, path)
    assert other.data.n_choices == 2
    assert ChoiceData.read(path).select(model="economicus").n_choices == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"wordings": ("terse",)}, "made with other prompts"),
        ({"belief": 0.2}, "made with other prompts"),
        ({"seed": 1}, "made with other prompts"),
        ({"unit": "strategy"}, "made with mode 'sample' and unit 'node'"),
        ({"mode": "probabilities", "draws": 1}, "made with mode 'sample'"),
        (
            {"agent": economicus(), "mode": "probabilities", "draws": 1},
            "a log holds answers of one",
        ),
        ({"agent": LogitAgent(0.2)}, "made with settings"),
        ({"protocols": [Protocol("tg", 80, 51, 30, 20, id="a")]}, "made with other prompts"),
    ],
)
def test_a_log_of_other_prompts_is_refused_and_left_alone(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = tmp_path / "log.jsonl"
    call: dict[str, Any] = {"agent": LogitAgent(0.1), "protocols": [TG], "draws": 2, "log": path}
    play(**call)
    before = path.read_bytes()
    with pytest.raises(InputError, match=words):
        play(**{**call, **change})
    assert path.read_bytes() == before


def test_damage_before_the_end_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    play(LogitAgent(0.1), [TG], 2, path)
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(content[0] + b'{"half": \n' + content[1])
    with pytest.raises(InputError, match=r"line 2 is not a JSON object"):
        play(LogitAgent(0.1), [TG], 2, path)
    with pytest.raises(InputError, match=r"must end in .jsonl"):
        play(LogitAgent(0.1), [TG], 2, tmp_path / "log.csv")


@pytest.mark.parametrize("name", ["status", "cost", "order", "prompt_tokens"])
def test_a_row_that_lacks_what_every_row_has_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "log.jsonl"
    play(LogitAgent(0.1), [TG], 2, path)
    edited = [{k: v for k, v in row.items() if k != name} for row in lines(path)[:1]]
    content = "".join(json.dumps(row) + "\n" for row in [*edited, *lines(path)[1:]])
    path.write_text(content)
    with pytest.raises(InputError, match=f"a row without {name}"):
        play(LogitAgent(0.1), [TG], 2, path)
    assert path.read_text() == content


@pytest.mark.parametrize("edit", ["doubled", "removed"])
@pytest.mark.parametrize("mode", ["sample", "probabilities"])
def test_rows_that_were_copied_or_deleted_are_found(tmp_path: Path, mode: str, edit: str) -> None:
    path = tmp_path / "log.jsonl"
    call: dict[str, Any] = {"agent": LogitAgent(0.1), "protocols": [TG], "log": path, "mode": mode}
    play(**call)
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join([whole[0], *whole] if edit == "doubled" else whole[1:]))
    if mode == "sample" and edit == "removed":  # as if it had never been asked
        assert play(**call).report.asked == 1
    else:
        with pytest.raises(InputError, match="rows were copied or deleted"):
            play(**call)


@pytest.mark.parametrize(
    "content",
    [
        b'[{"mine": 1}, {"mine": 2}]', b'{"mine": 1}\nmy notes', b"my notes", b'{"mine": 1}',
        b'{"mine": 1', b'"subject"', b'{"mine": 1, "rows": 3}', b'{"mine": 1}\n{"subject": "x',
    ],
)  # fmt: skip
def test_a_file_that_is_no_log_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError):
        play(LogitAgent(0.1), [TG], 2, path)
    assert path.read_bytes() == content


def test_two_runs_cannot_write_to_one_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"

    def script(prompt: Prompt) -> str:
        with pytest.raises(InputError, match="another run"):
            play(economicus(), [TG], 1, path)
        return "A"

    assert play(ScriptedAgent(script), [TG], 1, path).report.asked == 2


def test_a_file_system_without_locks_is_no_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def none(file: Any, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    assert play(economicus(), [TG], 1, tmp_path / "log.jsonl").report.asked == 2


# ---- failures, censoring, bad agents ------------------------------------------------------------


class Flaky:
    """Fails where it is told to."""

    name, settings = "flaky", {"agent": "flaky"}

    def __init__(self, fails: set[int]) -> None:
        self.fails = fails

    def answer(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Iterator[Answer | Failure]:
        for k, prompt in enumerate(prompts):
            text = Answer(prompt.options[0], 10, 1, 0.5)
            yield Failure("HTTP 500") if k in self.fails else text


def test_failures_are_counted_left_out_of_the_log_and_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with pytest.warns(MissingRowsWarning, match=r"2 of 8 questions had no answer \(HTTP 500 2\)"):
        played = play(Flaky({1, 4}), [TG], 4, path)
    assert played.report.failed == (("HTTP 500", 2),)
    assert len(lines(path)) == played.report.asked == 6
    again = play(Flaky(set()), [TG], 4, path).report
    assert (again.asked, again.resumed, again.failed) == (2, 6, ())
    assert again.cost == 8 * 0.5
    assert again.prompt_tokens == 80
    assert "again" in str(played)


def test_a_run_stops_after_many_failures_in_a_row(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with pytest.raises(AgentError, match=r"3 questions in a row had no answer; the last: HTTP 500"):
        play(Flaky({2, 3, 4}), [TG], 4, path, max_failures=3)
    assert len(lines(path)) == 2


def test_progress_shows_rate_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    class Slow(Flaky):
        def answer(self, prompts: Any, seeds: Any) -> Any:
            for answer in super().answer(prompts, seeds):
                time.sleep(0.02)
                yield answer

    play(Slow(set()), [TG], 15, progress=True)
    shown = capsys.readouterr().err
    assert "flaky" in shown
    assert re.search(r"\d+/30 .*(it/s|s/it), cost=\d", shown)
    play(Flaky(set()), [TG], 15, progress=False)
    assert capsys.readouterr().err == ""


def test_an_agent_that_gives_too_little_is_an_error() -> None:
    class Short(Flaky):
        def answer(self, prompts: Any, seeds: Any) -> Any:
            return [Answer("A")]

    with pytest.raises(AgentError, match="fewer results"):
        play(Short(set()), [TG], 4)


def test_an_agent_that_gives_text_is_told_to_wrap_it() -> None:
    class Bare(Flaky):
        def answer(self, prompts: Any, seeds: Any) -> Any:
            return ["A"] * len(prompts)

    with pytest.raises(InputError, match=r"got str: wrap text as Answer\(text\)"):
        play(Bare(set()), [TG])


class Listed:
    """Sees one label of two, or none."""

    name, settings = "listed", {}

    def __init__(self, values: list[float], censored: list[bool]) -> None:
        self.found = Probabilities(np.array(values), np.array(censored))

    def choice_probabilities(self, prompts: Sequence[Prompt]) -> list[Probabilities]:
        return [self.found] * len(prompts)


def test_censored_labels_are_at_their_bound_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    played = play(Listed([0.3, 0.1], [False, True]), [TG], 1, path, mode="probabilities")
    row = next(r for r in lines(path) if r["place"] == 0)
    assert row["probability"] == pytest.approx(0.75, rel=ROUNDING)
    assert (row["probability_low"], row["probability_high"]) == pytest.approx(
        (0.75, 1), rel=ROUNDING
    )
    other = next(r for r in lines(path) if r["place"] == 1)
    assert (other["probability_low"], other["probability_high"]) == pytest.approx(
        (0, 0.25), rel=ROUNDING
    )
    assert (row["censored"], other["censored"]) == (False, True)
    assert row["mass"] == 0.3
    assert played.report.censored == 4
    assert played.report.mass == pytest.approx(0.3, rel=ROUNDING)
    assert played.report.first_label_share == pytest.approx(0.75, rel=ROUNDING)
    same(played.data, ChoiceData.read(path))


def test_where_no_label_is_listed_there_is_no_choice() -> None:
    played = play(Listed([0.1, 0.1], [True, True]), [TG], mode="probabilities")
    assert played.report.statuses["ambiguous"] == 4
    assert played.report.mass == 0
    assert played.report.censored == 8


def test_prompts_of_which_no_label_is_listed_count_in_mass_and_censored() -> None:
    class Half(Listed):
        def choice_probabilities(self, prompts: Sequence[Prompt]) -> list[Probabilities]:
            none = Probabilities(np.array([0.1, 0.1]), np.array([True, True]))
            return [self.found if k % 2 else none for k, _ in enumerate(prompts)]

    report = play(Half([0.4, 0.05], [False, False]), [TG], mode="probabilities").report
    assert report.mass == pytest.approx(0.225, rel=ROUNDING)
    assert report.censored == 2 * 2


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"mode": "prob"}, "mode must be one of"),
        ({"unit": "nodes"}, "unit must be one of"),
        ({"draws": 0}, "draws must be"),
        ({"retries": -1}, "retries must be"),
        ({"belief": "asked"}, "belief must be one of"),
        ({"mode": "probabilities", "draws": 2}, "needs draws=1"),
        ({"mode": "probabilities", "reply": "reasoned"}, "reply='label'"),
        ({"agent": ScriptedAgent({}), "mode": "probabilities"}, "needs an agent"),
        ({"agent": 3}, "needs an agent"),
        ({"protocols": [TG, TG]}, "id of its own"),
        ({"protocols": TG}, r"give \[protocol\]"),
        ({"protocols": []}, "at least one Protocol; got none"),
        ({"protocols": ["tg"]}, "it has a str, 'tg'"),
        ({"agent": Listed([1, 0], [False] * 2)}, "can be asked with mode='probabilities'"),
        (
            {
                "agent": Listed([1, 0], [False] * 2),
                "mode": "probabilities",
                "belief": "elicited",
            },
            "belief='elicited' needs an agent",
        ),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_asked(
    tmp_path: Path, bad: dict[str, Any], words: str
) -> None:
    def never(prompt: Prompt) -> str:
        raise AssertionError

    call: dict[str, Any] = {"agent": ScriptedAgent(never), "protocols": [TG], "draws": 1}
    with pytest.raises(InputError, match=words):
        play(**{**call, "log": tmp_path / "log.jsonl", **bad})
    assert not list(tmp_path.iterdir())
