"""The commands do what the functions do, and say what is wrong in one line."""

from __future__ import annotations

import json

import pytest

from mlinstruments import ChoiceData, PreferenceLogit, alignment
from mlinstruments.__main__ import main
from mlinstruments.agents import LogitAgent, economicus


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
