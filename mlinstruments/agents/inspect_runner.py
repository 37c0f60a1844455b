"""inspect-ai as the runner: a task of the same prompts, and its log as a log of play."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import InputError, MissingExtraError
from mlinstruments.games.protocols import Protocol
from mlinstruments.preferences.logs import read_inspect

from .ask import choice_columns, question_columns
from .journal import Row, opened
from .parsing import LabelParser
from .plan import choice_questions
from .play import Played
from .prompts import UNITS
from .report import report_of


def inspect_task(
    protocols: Sequence[Protocol],
    draws: int = 1,
    *,
    unit: str = "node",
    wordings: Sequence[str] = ("plain",),
    renderings: Sequence[str] = ("sentences",),
    labels: Sequence[str] = ("letters",),
    belief: float | Sequence[float] | None = None,
    seen: int | None = None,
    reply: str = "label",
    seed: int = 0,
) -> Any:
    """A task of inspect-ai with the questions of :func:`play`, one sample a question.

    Run it by ``inspect_ai.eval(task, model=...)`` and take the log up by :func:`from_inspect`.

    Parameters
    ----------
    protocols, draws, unit, wordings, renderings, labels, belief, seen, reply, seed
        As in :func:`play`; draws are samples of their own, so leave inspect's epochs at 1.

    Returns
    -------
    inspect_ai.Task

    Raises
    ------
    MissingExtraError
        Where inspect-ai is not installed.

    Examples
    --------
    >>> from mlinstruments.agents import inspect_task
    >>> from mlinstruments.games import default_grid
    >>> len(inspect_task(default_grid(), draws=2).dataset)  # doctest: +SKIP
    84
    """
    check_choice(unit, "unit", UNITS)
    check_count(draws, "draws", 1)
    try:
        from inspect_ai import Task
        from inspect_ai.dataset import MemoryDataset, Sample
        from inspect_ai.model import ChatMessageSystem, ChatMessageUser
        from inspect_ai.solver import generate
    except ImportError:
        raise MissingExtraError("inspect_ai", "inspect") from None
    roles = {"system": ChatMessageSystem, "user": ChatMessageUser}
    options = {
        "wordings": wordings,
        "renderings": renderings,
        "labels": labels,
        "belief": belief,
        "seen": seen,
        "reply": reply,
    }
    samples = [
        Sample(
            input=[roles[m["role"]](content=m["content"]) for m in question.prompt.messages],
            id=f"{question.prompt.id}:{question.draw}",
            metadata={
                **question_columns(question),
                "options": json.dumps(question.prompt.options),
            },
        )
        for question in choice_questions(protocols, unit, draws, seed, options)
    ]
    return Task(dataset=MemoryDataset(samples), solver=generate(), name="play")


def from_inspect(log: Any, save: str | Path | None = None) -> Played:
    """Read a log of :func:`inspect_task`, and write it as a log of play.

    Parameters
    ----------
    log : str, Path or EvalLog
    save : str or Path, optional
        A .jsonl file that does not exist yet or is empty.

    Returns
    -------
    Played

    Raises
    ------
    InputError
        Where the log is empty, of another task, was run in several epochs, or ``save`` holds
        something.
    MissingExtraError
        Where inspect-ai is not installed.

    Warns
    -----
    MissingRowsWarning
        Where samples ended in an error; it counts them.

    Examples
    --------
    >>> from mlinstruments.agents import from_inspect
    >>> from_inspect("logs/play.eval", save="choices.jsonl").data  # doctest: +SKIP
    """
    table = read_inspect(log, parse=lambda text: ("ok", text))
    if not len(table):
        raise InputError("the log holds no answer: run the task, and give the log of that.")
    if "options" not in table.columns:
        raise InputError("the log is not of inspect_task: its samples name no options.")
    if table["sample"].duplicated().any():
        raise InputError("the log has several epochs; ask for draws in inspect_task instead.")
    rows = [_row(dict(record)) for record in table.to_dict("records")]
    with opened(save) as journal:
        if journal.rows:
            raise InputError(f"{save} holds a log already: give another file.")
        for row in rows:
            journal.write([row])
    report = report_of(rows, rows[0]["model"], "sample", (len(rows), len(rows), 0), Counter(), 0.0)
    return Played(report, tuple(rows))


def _row(record: dict[str, Any]) -> Row:
    """A row of play from a sample: its answer read anew, with the labels it was asked with."""
    # A table has a cell in every column; games of fewer nodes have none of the later beliefs.
    record = {k: v for k, v in record.items() if not (isinstance(v, float) and math.isnan(v))}
    options = tuple(json.loads(record.pop("options")))
    choices = tuple(record["option_order"].split(" "))
    text = record["raw"] if record["status"] == "ok" else None
    status, choice = LabelParser(options, choices)(text)
    node = record.get("node")
    kept = {k: v for k, v in record.items() if k not in ("sample", "task", "action", "strategy")}
    return {
        "temperature": None,
        **kept,
        "subject": record["model"],
        "served_model": record["model"],
        "mode": "sample",
        "settings": {"agent": "inspect"},
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost": 0.0,
        "tries": 1,
        "status": status,
        "raw": text,
        **choice_columns(options, choices, node, choice),
    }
