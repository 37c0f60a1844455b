"""The loop that asks: questions in, rows of a log out, one by one."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mlinstruments._core.exceptions import InputError

from .base import Agent, AgentError, Answer, Failure, Probabilities, Prompt
from .journal import Row
from .parsing import parse_answer
from .plan import Question, seed_of

MODES = ("sample", "probabilities")
PAYOFFS = ("T", "R", "P", "S")


@dataclass(frozen=True)
class Asking:
    """How questions are asked.

    Parameters
    ----------
    agent : Agent
    mode : {"sample", "probabilities"}
    subject : str
    retries, max_failures : int
    progress : bool or None
        As in :func:`play`.
    """

    agent: Any
    mode: str
    subject: str
    retries: int
    max_failures: int
    progress: bool | None

    def sampling(self) -> Asking:
        """The same, drawing answers."""
        return replace(self, mode="sample")

    @cached_property
    def settings(self) -> Any:
        """The agent's settings as a log gives them back."""
        try:
            return json.loads(json.dumps(dict(self.agent.settings), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"settings of {self.agent.name} must be plain JSON values: {error}."
            ) from None

    @property
    def same(self) -> dict[str, Any]:
        """What all rows of a log have alike."""
        return {"mode": self.mode, "settings": self.settings}


def ask(asking: Asking, questions: Sequence[Question]) -> Iterator[tuple[Question, list[Row], str]]:
    """Ask, again where an answer cannot be read.

    Parameters
    ----------
    asking : Asking
    questions : sequence of Question

    Yields
    ------
    (Question, rows, reason)
        The rows of its record, or why there was no answer.

    Raises
    ------
    AgentError
        After ``max_failures`` in a row; a request for several answers is one.
    """
    from tqdm.auto import tqdm

    many = len(questions) >= 20
    disable = (None if many else True) if asking.progress is None else not asking.progress
    cost, in_a_row = 0.0, 0
    with tqdm(total=len(questions), desc=asking.agent.name, disable=disable, leave=False) as bar:
        for question, rows, failure in _rounds(asking, questions):
            bar.update()
            reason = "" if failure is None else failure.reason
            in_a_row = 0 if failure is None else in_a_row + (not failure.shared)
            cost += sum(row["cost"] for row in rows)
            if cost:
                bar.set_postfix(cost=f"{cost:.4g}", refresh=False)
            yield question, rows, reason
            if in_a_row >= asking.max_failures:
                raise AgentError(
                    f"{asking.agent.name}: {in_a_row} questions in a row had no answer; the last:"
                    f" {reason}. What was answered before stands in the log: run again to go on."
                )


def _rounds(
    asking: Asking, questions: Sequence[Question]
) -> Iterator[tuple[Question, list[Row], Failure | None]]:
    if asking.mode == "probabilities":
        prompts = [question.prompt for question in questions]
        results = asking.agent.choice_probabilities(prompts)
        for question, found in paired(asking.agent, questions, results):
            if isinstance(found, Failure):
                yield question, [], found
            else:
                yield question, _measured_rows(asking, question, found), None
        return
    pending = deque((question, Answer(None)) for question in questions)
    for attempt in range(asking.retries + 1):
        again: list[tuple[Question, Answer]] = []
        seeds = [_again(question, attempt) for question, _ in pending]
        results = asking.agent.answer([question.prompt for question, _ in pending], seeds)
        for (question, spent), found in paired(asking.agent, list(pending), results):
            if isinstance(found, Failure):
                yield question, [], found
                continue
            total = with_spent(found, spent)
            status, choice = parse_answer(found.text, question.prompt)
            if status == "parse_error" and attempt < asking.retries:
                again.append((question, total))
            else:
                row = _answer_row(asking, question, total, status, choice)
                yield question, [{**row, "tries": attempt + 1}], None
        if not again:
            return
        pending = deque(again)


def _again(question: Question, attempt: int) -> int:
    return seed_of(question.seed, attempt) if attempt else question.seed


def paired(agent: Agent, asked: Sequence[Any], results: Iterable[Any]) -> Iterator[Any]:
    """Questions with their results, which must be as many."""
    given = iter(results)
    nothing = object()
    try:
        for question in asked:
            found = next(given, nothing)
            if found is nothing:
                raise AgentError(f"{agent.name} gave fewer results than it was asked for.")
            if not isinstance(found, Answer | Probabilities | Failure):
                raise InputError(
                    f"{agent.name} must give Answer, Probabilities or Failure; got"
                    f" {type(found).__name__}: wrap text as Answer(text)."
                )
            yield question, found
    finally:  # connections of a generator are closed now, not when it is collected
        getattr(given, "close", lambda: None)()


def with_spent(answer: Answer, before: Answer) -> Answer:
    """An answer with the tokens and the cost of the tries before it."""
    return replace(
        answer,
        prompt_tokens=answer.prompt_tokens + before.prompt_tokens,
        completion_tokens=answer.completion_tokens + before.completion_tokens,
        cost=answer.cost + before.cost,
    )


# ---- rows ---------------------------------------------------------------------------------------


def question_columns(question: Question) -> Row:
    """What a log says of a question, whoever is asked."""
    prompt, protocol = question.prompt, question.prompt.protocol
    row: Row = {
        "protocol_id": protocol.id,
        "game": protocol.game,
        **{name: getattr(protocol, name) for name in PAYOFFS},
        "draw": question.draw,
        "template": prompt.template,
        "wording": prompt.wording,
        "rendering": prompt.rendering,
        "labels": prompt.labels,
        "order": prompt.order,
        "option_order": " ".join(prompt.choices),
        "n_options": len(prompt.options),
        "prompt_hash": prompt.hash,
        "template_hash": prompt.template_hash,
        "seed": question.seed,
    }
    if prompt.node is not None:
        row["node"] = prompt.node
    for j, value in enumerate(prompt.belief or (), start=1):
        row[f"belief_{j}"] = value
    return row


def _row(asking: Asking, question: Question, found: Answer | Probabilities) -> Row:
    return {
        "subject": asking.subject,
        "model": asking.agent.name,
        "served_model": found.model,
        "temperature": asking.settings.get("temperature"),
        "mode": asking.mode,
        **question_columns(question),
        "settings": asking.settings,
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.completion_tokens,
        "cost": found.cost,
    }


def choice_columns(
    options: Sequence[str], choices: Sequence[str], node: int | None, choice: str | None
) -> Row:
    """The choice in the words of a log, and the label and the place it was shown at."""
    place = None if choice is None else choices.index(choice)
    label = None if place is None else options[place]
    if node is None:
        return {"strategy": choice, "label": label, "place": place}
    action = None if choice is None else int(choice)
    return {"action": action, "label": label, "place": place}


def _chosen(prompt: Prompt, choice: str | None) -> Row:
    return choice_columns(prompt.options, prompt.choices, prompt.node, choice)


def _answer_row(
    asking: Asking, question: Question, answer: Answer, status: str, choice: str | None
) -> Row:
    row = {**_row(asking, question, answer), "status": status, "raw": answer.text}
    if question.prompt.asks == "belief":
        return {**row, "belief": None if choice is None else float(choice)}
    return {**row, **_chosen(question.prompt, choice)}


def _measured_rows(asking: Asking, question: Question, found: Probabilities) -> list[Row]:
    """A row an option; one row without a choice where no label was among the tokens listed."""
    prompt, row = question.prompt, _row(asking, question, found)
    if not found.measured:
        none = {"status": "ambiguous", "raw": None, "mass": 0.0, "rows": 1, "part": 0}
        return [{**row, **none, **_chosen(prompt, None), "probability": None}]
    low, high = found.bounds
    shared = {"status": "ok", "raw": None, "mass": found.mass, "rows": len(prompt.choices)}
    return [
        {
            **row,
            **shared,
            "part": k,
            **_chosen(prompt, choice),
            "probability": float(found.shares[k]),
            "probability_low": float(low[k]),
            "probability_high": float(high[k]),
            "censored": bool(found.censored[k]),
        }
        for k, choice in enumerate(prompt.choices)
    ]
