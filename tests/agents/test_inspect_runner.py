"""inspect-ai runs the questions of play, and its log becomes a log of play."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlinstruments import ChoiceData
from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import ScriptedAgent, from_inspect, inspect_task, play
from mlinstruments.games import Protocol

from .loopback import loopback

pytest.importorskip("openai")
inspect_ai = pytest.importorskip("inspect_ai")
# Streams that inspect-ai leaves open to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

GRID = [Protocol("tg", 80, 50, 30, 20, id="t"), Protocol("spd", 90, 65, 25, 10, id="s")]
REPLIES = ("A", "Decision: B", "I'm sorry, I can't choose.", "A or B")


def reply(text: str) -> str:
    """Says one thing or another, by the text alone."""
    return REPLIES[sum(text.encode()) % len(REPLIES)]


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **how: Any) -> Any:
    monkeypatch.setenv("TOY_API_KEY", "none")
    with warnings.catch_warnings(), loopback(reply=lambda b: reply(user(b))) as server:
        warnings.simplefilter("ignore")  # of other packages
        (log,) = inspect_ai.eval(
            inspect_task(GRID, 3, **how),
            model="openai-api/toy/toy",
            model_base_url=server.url,
            log_dir=str(tmp_path),
            display="none",
        )
    return log


def user(body: dict[str, Any]) -> str:
    """The text of a request's last message."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def test_the_log_is_that_of_play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = run(tmp_path, monkeypatch, labels=("letters", "late"))
    path = tmp_path / "log.jsonl"
    found = from_inspect(log, path)
    agent = ScriptedAgent(lambda prompt: reply(prompt.user))
    expected = play(agent, GRID, 3, labels=("letters", "late"), retries=0)
    assert found.report.statuses == expected.report.statuses
    assert found.report.statuses["refusal"] > 0
    names = ("protocol_id", "node", "draw", "template", "status", "action", "raw", "prompt_hash")

    def facts(rows: Any) -> set[str]:
        return {json.dumps([row[name] for name in names]) for row in rows}

    assert facts(found.rows) == facts(expected.rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # strategies that lack a node
        read = ChoiceData.read(path)
        np.testing.assert_array_equal(np.sort(read.strategy), np.sort(expected.data.strategy))
    with pytest.raises(InputError, match="holds a log already"):
        from_inspect(log, path)


def test_logs_of_other_tasks_are_refused(tmp_path: Path) -> None:
    fixture = Path(__file__).parents[1] / "preferences" / "fixtures" / "inspect.eval"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a sample of it failed
        with pytest.raises(InputError, match="not of inspect_task"):
            from_inspect(fixture)
