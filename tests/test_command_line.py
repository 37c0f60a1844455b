"""The commands do what the functions do, and say what is wrong in one line."""

from __future__ import annotations

import json
import shlex

import pytest

from mlinstruments import ChoiceData, PreferenceLogit, agents, alignment
from mlinstruments.__main__ import _parser, main
from mlinstruments.agents import Failure, LogitAgent, economicus

from .test_readme import README, blocks

SERVED = "chat --model NAME --base-url http://127.0.0.1:8080/v1"


def test_play_then_fit_is_the_fit_of_the_log(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    play = [
        "play",
        "logit",
        "--kappa",
        "0.3",
        "--log",
        str(log),
        "--draws",
        "20",
        "--belief",
        "0.5",
    ]
    assert main([*play, "--unit", "strategy", "--games", "spd", "tg"]) == 0
    assert "Questions:   240" in capsys.readouterr().out
    assert main(["fit", str(log), "--parameters", "kappa", "--clusters", "protocol_id"]) == 0
    printed = capsys.readouterr().out
    data = ChoiceData.read(log)
    fit = PreferenceLogit(("kappa",)).fit(data, clusters=["protocol_id"])
    assert data.n_choices == 240
    assert str(fit) in printed
    assert str(data) in printed
    assert "Best-response rate" in printed


def test_a_second_run_goes_on_with_the_log(tmp_path, capsys):
    log = str(tmp_path / "log.jsonl")
    assert main(["play", "economicus", "--log", log, "--games", "tg", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["play", "economicus", "--log", log, "--games", "tg", "--draws", "2"]) == 0
    assert "(12 asked, 12 from the log)" in capsys.readouterr().out


def test_built_in_agents_take_a_name(tmp_path):
    log = tmp_path / "log.jsonl"
    for kind in ("economicus", "logit"):
        arguments = ["play", kind, "--name", f"my {kind}", "--games", "tg", "--quiet"]
        assert main([*arguments, "--log", str(log)]) == 0
    assert set(ChoiceData.read(log).labels["model"]) == {"my economicus", "my logit"}


@pytest.mark.parametrize(("given", "used"), [("0", 0.0), ("0.7", 0.7), (None, 1.0)])
def test_the_temperature_of_a_local_model_is_the_one_given(given, used, tmp_path, monkeypatch):
    seen = []

    def stand_in(model, temperature, name):
        seen.append(temperature)
        return economicus()

    monkeypatch.setattr(agents, "LocalAgent", stand_in)
    more = [] if given is None else ["--temperature", given]
    arguments = ["play", "local", "--games", "tg", "--quiet", "--log", str(tmp_path / "log.jsonl")]
    assert main([*arguments, *more]) == 0
    assert seen == [used]


def test_an_agent_that_fails_is_one_line_and_exit_status_1(tmp_path, capsys, monkeypatch):
    class Broken:
        name, settings = "broken", {}

        def answer(self, prompts, seeds):
            return [Failure("HTTP 500")] * len(prompts)

    monkeypatch.setattr(agents, "LocalAgent", lambda *args, **more: Broken())
    assert main(["play", "local", "--quiet", "--log", str(tmp_path / "log.jsonl")]) == 1
    assert capsys.readouterr().err.startswith("error: broken: 5 questions in a row")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("protocol_id,game,T,R,P,S\nté,tg,80,50,30,20\n".encode("latin-1"), "is not UTF-8 text"),
        (b"protocol_id,game,T,R,P,S\n", "has a header and no protocol"),
    ],
)
def test_grids_that_are_none_are_refused(content, words, tmp_path, capsys):
    grid = tmp_path / "grid.csv"
    grid.write_bytes(content)
    arguments = ["play", "moralis", "--grid", str(grid), "--log", str(tmp_path / "log.jsonl")]
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_the_lines_of_the_readme(tmp_path, capsys, monkeypatch):
    """With a built-in agent for the served one; what needs a model is parsed."""
    monkeypatch.chdir(tmp_path)
    (block,) = (b for b in blocks(README.read_text(encoding="utf-8")) if " play " in b.contents)
    lines = block.contents.replace("\\\n", " ").replace(SERVED, "logit").strip().splitlines()
    commands = [shlex.split(line)[3:] for line in lines]
    assert [command[0] for command in commands] == [
        "play", "fit", "dataset", "finetune", "report",
    ]  # fmt: skip
    for command in commands[:2]:
        assert main(command) == 0, capsys.readouterr().err
    assert "kappa" in capsys.readouterr().out
    for command in commands[2:]:
        _parser().parse_args(command)


def test_a_mixture_from_the_shell(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    for name, kappa in (("low", "0.0"), ("high", "0.9")):
        arguments = ["play", "logit", "--kappa", kappa, "--subject", name, "--log", str(log)]
        for part in range(4):
            more = ["--subject", f"{name} {part}", "--draws", "5", "--unit", "strategy"]
            assert main([*arguments, *more, "--quiet", "--belief", "0.5"]) == 0
    assert main(["fit", str(log), "--types", "2", "--parameters", "kappa"]) == 0
    fit = PreferenceLogit(("kappa",), n_types=2).fit(ChoiceData.read(log))
    assert str(fit) in capsys.readouterr().out


def test_dataset_writes_or_only_tells_the_cost(tmp_path, capsys):
    assert main(["dataset", "moralis", "--n", "20"]) == 0
    assert "Cost(examples=20" in capsys.readouterr().out
    folder = tmp_path / "data"
    assert main(["dataset", "0.5", str(folder), "--n", "20"]) == 0
    lines = (folder / "train.jsonl").read_text().splitlines()
    assert len(lines) == 20
    assert json.loads(lines[0])["messages"][-1]["role"] == "assistant"
    assert json.loads((folder / "manifest.json").read_text())["kappa"] == 0.5


def test_report_is_the_evaluation_of_both_models(tmp_path, capsys, monkeypatch):
    def stand_in(model, name, guess=None):
        assert guess == (0.0 if name == "tuned" else None)
        return economicus() if name == "tuned" else LogitAgent(0.0, name="base")

    monkeypatch.setattr(alignment, "GreedyAgent", stand_in)
    arguments = ["report", "somewhere", str(tmp_path), "--games", "tg", "--belief", "0.5"]
    assert main([*arguments, "--utility", "economicus"]) == 0
    assert "accuracy 1.000" in capsys.readouterr().out
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "nowhere.jsonl"], "No such file"),
        (["play", "chat", "--log", "x.jsonl"], "chat needs --model"),
        (["play", "moralis", "--model", "m", "--log", "x.jsonl"], "moralis is built in"),
        (["play", "moralis", "--games", "chess", "--log", "x.jsonl"], "no protocol of chess"),
        (["play", "moralis", "--mode", "guess", "--log", "x.jsonl"], "mode"),
        (["play", "moralis", "--kappa", "7", "--log", "x.jsonl"], "between 0 and 1"),
        (["play", "logit", "--kappa", "nan", "--log", "x.jsonl"], "between 0 and 1"),
        (["play", "economicus", "--kappa", "0.9", "--log", "x.jsonl"], "--kappa is for moralis"),
        (["play", "moralis", "--scale", "7", "--log", "x.jsonl"], "--scale is for logit"),
        (["play", "local", "--scale", "7", "--log", "x.jsonl"], "local does not take it"),
        (["play", "uniform", "--base-url", "nonsense", "--log", "x.jsonl"], "--base-url is for"),
        (["play", "logit", "--temperature", "0", "--log", "x.jsonl"], "--temperature is for"),
        (
            ["play", "chat", "--model", "m", "--base-url", "http://a:b/v1", "--log", "x.jsonl"],
            "Port could not be cast",
        ),
        (["dataset", "kant"], "kant"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_exit_status_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert words in said
    assert not list(tmp_path.iterdir())
