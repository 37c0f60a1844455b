"""Logs of inspect-ai as logs of play, where inspect-ai need not be installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlinstruments import ChoiceData
from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import from_inspect, inspect_runner
from mlinstruments.agents.ask import question_columns
from mlinstruments.agents.plan import choice_questions
from mlinstruments.games import Protocol

GRID = [Protocol("matrix", 5, 4, 3, 2, id="m"), Protocol("tg", 80, 50, 30, 20, id="t")]


def table() -> pd.DataFrame:
    """What the reader of preferences makes of a log, a row a sample."""
    rows = []
    for question in choice_questions(GRID, "strategy", 2, 0, {"belief": 0.4}):
        options = question.prompt.options
        row: dict[str, Any] = {**question_columns(question), "options": json.dumps(options)}
        rows.append({**row, "sample": len(rows), "model": "toy", "raw": options[0]})
    return pd.DataFrame(rows).assign(status="ok", task="play", strategy=None)


def test_games_of_fewer_nodes_have_no_later_beliefs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert table()["belief_2"].isna().any()
    monkeypatch.setattr(inspect_runner, "read_inspect", lambda log, parse: table())
    path = tmp_path / "log.jsonl"
    found = from_inspect("log.eval", path)
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert kept == list(found.rows)
    assert {r["game"]: sum(n.startswith("belief_") for n in r) for r in kept} == {
        "matrix": 1,
        "tg": 2,
    }
    assert ChoiceData.read(path).n_choices == 4


def test_a_log_without_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_runner, "read_inspect", lambda log, parse: table().iloc[:0])
    with pytest.raises(InputError, match="holds no answer"):
        from_inspect("log.eval")
