"""Logs of other programs: fixtures those programs wrote (fixtures/README.md)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import polars as pl
import pytest

from mlinstruments._core.exceptions import InputError, MissingExtraError, MissingRowsWarning
from mlinstruments.games.protocols import Protocol
from mlinstruments.preferences import ChoiceData
from mlinstruments.preferences.logs import (
    read_edsl,
    read_inspect,
    read_openai_batch,
    read_otree,
)

FIXTURES = Path(__file__).parent / "fixtures"
BATCH = [FIXTURES / "batch_output.jsonl", FIXTURES / "batch_errors.jsonl"]
PROTOCOLS = [Protocol("tg", 80, 50, 30, 20, id="tg_1"), Protocol("tg", 90, 60, 40, 10, id="tg_2")]
GRID = pd.DataFrame(
    [{"protocol_id": p.id, **{k: getattr(p, k) for k in ("game", *"TRPS")}} for p in PROTOCOLS]
)


def parse(text: str) -> tuple[str, str | None]:
    if text.startswith("I choose "):
        return "ok", text.removeprefix("I choose ")
    return ("refusal" if "not play" in text else "parse_error"), None


def chosen(data: ChoiceData) -> list[tuple[str, str]]:
    return [
        (data.protocols[p].id, data.protocols[p].strategies[s])
        for p, s in zip(data.protocol, data.strategy, strict=True)
    ]


# ---- OpenAI batches -----------------------------------------------------------------------------


def requests() -> pd.DataFrame:
    ids = [(f"{p}-{draw}", p, draw) for p in ("tg_1", "tg_2") for draw in range(3)]
    asked = pd.DataFrame(ids, columns=["custom_id", "protocol_id", "draw"])
    return asked.merge(GRID).assign(subject="s1")


def test_openai_batch():
    with pytest.warns(
        MissingRowsWarning,
        match=r"2 requests without an answer are left out \(rate_limit_exceeded 1, batch_expired 1",
    ):
        table = read_openai_batch(BATCH, requests(), parse)
    data = ChoiceData.from_frame(table)
    assert chosen(data) == [("tg_2", "01"), ("tg_1", "11")]
    assert data.excluded == {"refusal": 1, "parse_error": 1}
    assert set(data.labels["model"]) == {"toy-1"}
    assert data.labels["custom_id"].tolist() == ["tg_2-0", "tg_1-0"]


def test_openai_batch_without_its_error_file():
    with pytest.warns(MissingRowsWarning, match="no line in the output 1"):
        read_openai_batch(BATCH[0], pl.from_pandas(requests()), parse)


def test_openai_batch_by_node():
    asked = requests().assign(node=[0, 1, 0, 0, 1, 1], draw=0)

    def first_digit(text):
        status, strategy = parse(text)
        return status, strategy and int(strategy[0])

    with pytest.warns(MissingRowsWarning):
        table = read_openai_batch(BATCH, asked, first_digit)
    assert table["action"].tolist()[:2] == [0, 1]
    assert "strategy" not in table


def test_openai_batch_with_unknown_and_repeated_ids(tmp_path):
    with pytest.raises(
        InputError, match=r"batch_output.jsonl, line 2: custom_id 'tg_1-0' is not among"
    ):
        read_openai_batch(BATCH, requests().iloc[3:], parse)
    path = tmp_path / "out.jsonl"
    path.write_text(BATCH[0].read_text() * 2)
    with pytest.raises(InputError, match=r"out.jsonl, line 6: .* is also in .*out.jsonl, line 1"):
        read_openai_batch(path, requests(), parse)
    with pytest.raises(InputError, match="custom_id, different in every row"):
        read_openai_batch(path, pd.concat([requests()] * 2), parse)


def test_openai_batch_cut_off(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text(BATCH[0].read_text()[:-20])
    with pytest.raises(InputError, match=r"out.jsonl, line 5: the line is cut off"):
        read_openai_batch(path, requests(), parse)
    with pytest.warns(MissingRowsWarning) as caught:
        assert len(read_openai_batch(path, requests(), parse, partial=True)) == 4
    assert len(caught) == 2


def test_openai_batch_with_several_answers(tmp_path):
    record = json.loads(BATCH[0].read_text().splitlines()[0])
    record["response"]["body"]["choices"] *= 2
    path = tmp_path / "out.jsonl"
    path.write_text(json.dumps(record))
    asked = requests().query("custom_id == 'tg_2-0'")
    table = read_openai_batch(path, asked.drop(columns="draw"), parse)
    assert table["draw"].tolist() == [0, 1]
    assert ChoiceData.from_frame(table).n_choices == 2
    with pytest.raises(InputError, match="leave out the column draw"):
        read_openai_batch(path, asked, parse)


@pytest.mark.parametrize("got", [None, "01", ("fine", "01"), ("ok",)])
@pytest.mark.filterwarnings("ignore::mlinstruments._core.exceptions.MissingRowsWarning")
def test_parse_that_returns_something_else(got):
    with pytest.raises(InputError, match=r"line 1: parse must return \(status, choice\)"):
        read_openai_batch(BATCH, requests(), lambda text: got)


# ---- inspect_ai ---------------------------------------------------------------------------------


def check_inspect(path) -> None:
    with pytest.warns(MissingRowsWarning, match=r"1 samples without an answer .*connection lost"):
        table = read_inspect(path, parse, PROTOCOLS)
    data = ChoiceData.from_frame(table)
    assert chosen(data) == [("tg_1", "11"), ("tg_2", "01")]
    assert data.excluded == {"refusal": 1}
    assert set(table["model"]) == {"mockllm/model"}
    assert table["draw"].tolist() == [1, 1, 2]
    assert table["sample"].tolist() == ["tg_1-x", "tg_2-x", "tg_1-x"]
    assert set(table["temperature"]) == {0.7}


def test_inspect_reads_the_real_log(tmp_path):
    pytest.importorskip("inspect_ai")
    check_inspect(FIXTURES / "inspect.eval")
    damaged = tmp_path / "log.eval"
    damaged.write_bytes((FIXTURES / "inspect.eval").read_bytes()[:3000])
    with pytest.raises(InputError, match=r"log.eval is not a whole inspect_ai log"):
        read_inspect(damaged, parse, PROTOCOLS)


def fake_log() -> SimpleNamespace:
    """The parts of an EvalLog the reader uses, with the values of inspect.eval."""
    unset = SimpleNamespace(temperature=None)
    eval_ = SimpleNamespace(model="mockllm/model", task="task", model_generate_config=unset)
    plan = SimpleNamespace(config=SimpleNamespace(temperature=0.7))

    def sample(name, epoch, text, stop="stop", error=None):
        output = SimpleNamespace(choices=[] if error else [1], completion=text, stop_reason=stop)
        return SimpleNamespace(
            id=f"{name}-x",
            epoch=epoch,
            metadata={"protocol_id": name, "tree": {}},
            output=output,
            error=error,
        )

    samples = [
        sample("tg_1", 1, "I choose 11"),
        sample("tg_2", 1, "I choose 01"),
        sample("tg_1", 2, "", "content_filter"),
        sample("tg_2", 2, "", error=SimpleNamespace(message="connection lost")),
    ]
    return SimpleNamespace(
        eval=eval_, plan=plan, samples=samples, status="success", location="x.eval"
    )


def test_inspect_log_in_memory():
    check_inspect(fake_log())


def test_inspect_log_without_samples():
    log = fake_log()
    log.samples, log.status = None, "error"
    with pytest.raises(InputError, match=r"x.eval holds no samples \(status error\)"):
        read_inspect(log, parse)


def test_inspect_log_of_other_protocols():
    with (
        pytest.warns(MissingRowsWarning),
        pytest.raises(InputError, match=r"x.eval, row 1: protocol_id 'tg_2' is not among"),
    ):
        read_inspect(fake_log(), parse, PROTOCOLS[:1])


def test_inspect_ai_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(MissingExtraError, match=r"mlinstruments\[inspect\]"):
        read_inspect(FIXTURES / "inspect.eval", parse, PROTOCOLS)


# ---- EDSL ---------------------------------------------------------------------------------------


def either(text: str) -> tuple[str, str | None]:
    return ("ok", text) if text.isdigit() else parse(text)


def test_edsl_csv():
    table = read_edsl(FIXTURES / "edsl.csv", "choice", GRID, parse=either)
    data = ChoiceData.from_frame(table)
    assert chosen(data) == [("tg_1", "11")] * 2 + [("tg_1", "01")] * 2 + [("tg_2", "01")] * 2
    assert data.excluded == {"refusal": 2}
    assert data.labels["temperature"].tolist() == [0, 0, 1, 1, 1, 1]
    assert data.labels["draw"].tolist() == [0, 1] * 3
    assert set(data.labels["subject"]) == {"0"}  # unnamed agents are one


def test_edsl_results_in_memory():
    frame = pd.read_csv(FIXTURES / "edsl.csv", dtype={"answer.choice": str})
    results = SimpleNamespace(survey=None, to_pandas=lambda: frame)
    tables = [
        read_edsl(given, "choice", PROTOCOLS, parse=either)
        for given in (results, frame, pl.from_pandas(frame), FIXTURES / "edsl.csv")
    ]
    for table in tables:
        assert chosen(ChoiceData.from_frame(table)) == chosen(ChoiceData.from_frame(tables[0]))


def test_edsl_answers_that_never_came():
    frame = pd.read_csv(FIXTURES / "edsl.csv", dtype={"answer.choice": str})
    frame.loc[2, ["answer.choice", "generated_tokens.choice_generated_tokens"]] = None
    frame.loc[3, "answer.choice"] = None  # EDSL did not accept what the model wrote
    with pytest.warns(MissingRowsWarning, match=r"1 answers to choice are left out \(no answer 1"):
        table = read_edsl(frame, "choice", PROTOCOLS)
    assert ChoiceData.from_frame(table).excluded == {"parse_error": 5}


def test_edsl_one_question_a_node():
    frame = pd.DataFrame(
        {
            "scenario.protocol_id": ["tg_1", "tg_2", "tg_2"],
            "agent.agent_name": ["ann", "ann", "bob"],
            "answer.first": [1, 0, 1],
            "answer.second": [0, None, 1],
            "generated_tokens.second_generated_tokens": ["0", "dunno", "1"],
        }
    )
    table = read_edsl(frame, ["first", "second"], PROTOCOLS)
    with pytest.warns(MissingRowsWarning, match="1 of 3 strategies"):
        data = ChoiceData.from_frame(table)
    assert chosen(data) == [("tg_1", "10"), ("tg_2", "11")]
    assert data.excluded == {"parse_error": 1, "incomplete": 1}
    assert data.labels["subject"].tolist() == ["ann", "bob"]


def test_edsl_columns_missing():
    with pytest.raises(InputError, match=r"edsl.csv has no column 'answer.other'; there are"):
        read_edsl(FIXTURES / "edsl.csv", "other", PROTOCOLS)


# ---- oTree --------------------------------------------------------------------------------------

FIELDS = ["trust", "reciprocate"]
PLAYED = [("tg_1", "00"), ("tg_1", "11"), ("tg_1", "01"), ("tg_2", "11"), ("tg_2", "01")]


@pytest.mark.parametrize("name", ["otree_wide.csv", "otree_app.csv"])
@pytest.mark.parametrize("protocol", ["protocol", {1: "tg_1", 2: "tg_2"}])
def test_otree(name, protocol):
    table = read_otree(FIXTURES / name, "tg", FIELDS, PROTOCOLS, protocol)
    with pytest.warns(MissingRowsWarning, match="1 of 6 strategies lack an action"):
        data = ChoiceData.from_frame(table)
    assert chosen(data) == PLAYED
    assert data.excluded == {"incomplete": 1}
    assert data.labels["draw"].tolist() == [1, 1, 1, 2, 2]
    assert len(set(data.labels["subject"])) == 3
    assert len(set(data.labels["session"])) == 1


def test_otree_beliefs():
    table = read_otree(
        FIXTURES / "otree_wide.csv", "tg", FIELDS, PROTOCOLS, beliefs=["belief", "belief"]
    )
    with pytest.warns(MissingRowsWarning):
        assert (ChoiceData.from_frame(table).beliefs[:, :2] == 0.25).all()


def test_otree_rounds_no_one_reached(tmp_path):
    frame = pd.read_csv(FIXTURES / "otree_wide.csv", dtype=str)
    frame[[c for c in frame if c.startswith("tg.2.player.")]] = None
    frame.to_csv(tmp_path / "log.csv", index=False)
    table = read_otree(tmp_path / "log.csv", "tg", FIELDS, PROTOCOLS)
    assert chosen(ChoiceData.from_frame(table)) == PLAYED[:3]


def test_otree_codes(tmp_path):
    frame = pd.read_csv(FIXTURES / "otree_wide.csv", dtype=str)
    names = [f"tg.{r}.player.{f}" for r in (1, 2) for f in FIELDS]
    frame[names] = frame[names].replace({"0": "D", "1": "C"})
    frame.to_csv(tmp_path / "log.csv", index=False)
    with pytest.raises(InputError, match=r"log.csv, line 2: trust is 'D'; it must be one of 0, 1"):
        read_otree(tmp_path / "log.csv", "tg", FIELDS, PROTOCOLS)
    table = read_otree(tmp_path / "log.csv", "tg", FIELDS, PROTOCOLS, codes={"C": 1, "D": 0})
    with pytest.warns(MissingRowsWarning):
        assert chosen(ChoiceData.from_frame(table)) == PLAYED


@pytest.mark.parametrize(
    ("app", "fields", "words"),
    [
        ("pd", FIELDS, r"has no columns pd.<round>.player"),
        ("tg", ["trust", "return"], r"has no column 'tg.1.player.return'"),
    ],
)
def test_otree_names_that_are_not_there(app, fields, words):
    with pytest.raises(InputError, match=rf"otree_wide.csv {words}"):
        read_otree(FIXTURES / "otree_wide.csv", app, fields, PROTOCOLS)


def test_otree_unknown_protocol():
    with pytest.raises(InputError, match=r"line 2: protocol_id 'tg_2' is not among"):
        read_otree(FIXTURES / "otree_wide.csv", "tg", FIELDS, PROTOCOLS[:1])


def test_otree_belief_that_is_no_number():
    with pytest.raises(InputError, match=r"line 2: protocol must be a number; got 'tg_1'"):
        read_otree(FIXTURES / "otree_wide.csv", "tg", FIELDS, PROTOCOLS, beliefs=["protocol"])
