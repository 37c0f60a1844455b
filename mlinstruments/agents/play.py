"""Let an agent play protocols, and keep every answer.

A run is a plan of questions, a log that says which of them are answered, and a loop that asks the
others. Everything about a question follows from the arguments, so that a run taken up again asks
exactly what is missing.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments._core.warn import warn_user
from mlinstruments.games.protocols import Protocol
from mlinstruments.preferences.choices import ChoiceData
from mlinstruments.preferences.readers import shown

from .ask import MODES, Asking, ask
from .base import Agent
from .journal import Journal, Row, opened
from .plan import (
    Question,
    belief_questions,
    check_kind,
    check_records,
    choice_questions,
    measurements,
    unanswered,
)
from .report import PlayReport, report_of

# Why a choice was left for the next run: asked now, it would stand in the log without its belief.
NOT_ASKED = "not asked, because its belief had no answer"


@dataclass(frozen=True, eq=False)
class Played:
    """What a run left behind.

    Parameters
    ----------
    report : PlayReport
    rows : tuple of dict
        The log of this agent, one row a choice, or one an option with its probability.

    Examples
    --------
    >>> from mlinstruments.agents import economicus, play
    >>> from mlinstruments.games import Protocol
    >>> played = play(economicus(), [Protocol("tg", 90, 60, 30, 10, id="a")], unit="strategy")
    >>> played.data.protocols[0].strategies[played.data.strategy[0]]
    '10'
    """

    report: PlayReport
    rows: tuple[Row, ...]

    @cached_property
    def data(self) -> ChoiceData:
        """The choices, as ``ChoiceData.read`` has them from the log.

        Raises
        ------
        InputError
            Where no answer is a choice.
        """
        # As text, which is how a reader of the log has them.
        plain = [{**row, "settings": json.dumps(row["settings"])} for row in self.rows]
        return ChoiceData.from_frame(pd.DataFrame(plain), f"play of {self.report.agent}")

    def __str__(self) -> str:
        return str(self.report)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def play(
    agent: Agent,
    protocols: Sequence[Protocol],
    draws: int = 1,
    log: str | Path | None = None,
    *,
    mode: str = "sample",
    unit: str = "node",
    wordings: Sequence[str] = ("plain",),
    renderings: Sequence[str] = ("sentences",),
    labels: Sequence[str] = ("letters",),
    belief: float | Sequence[float] | str | None = None,
    seen: int | None = None,
    reply: str = "label",
    subject: str | None = None,
    seed: int = 0,
    retries: int = 2,
    max_failures: int = 5,
    progress: bool | None = None,
) -> Played:
    """Ask an agent for its choices, write each to a log as it comes, and go on where a log ends.

    Refusals and ambiguous answers are final and counted, never recoded as a choice; answers that
    cannot be read at all are asked for again. A log that was made with other prompts, or with other
    settings of the same agent, is refused.

    Parameters
    ----------
    agent : Agent
        One of the built-in agents, :class:`ChatAgent`, :class:`LocalAgent`, or any object with the
        methods of :class:`Agent`.
    protocols : sequence of Protocol
        With ids that differ.
    draws : int
        Choices for every protocol and template, with labels in both orders in turn. With
        ``mode="probabilities"`` each order is measured once, and is called the draw.
    log : str or Path, optional
        A .jsonl file, made or gone on with; ``ChoiceData.read`` reads it. Without one, answers are
        kept in memory alone.
    mode : {"sample", "probabilities"}
        Draw answers, or measure how probable each label is as the beginning of an answer.
    unit : {"node", "strategy"}
        Ask at every node apart, or for whole strategies.
    wordings, renderings, labels : sequence of str
        Templates; every combination is asked. See :func:`wordings`, :func:`renderings` and
        :func:`label_sets`.
    belief : float, sequence of float, or "elicited", optional
        Probabilities of a one at the nodes of the other that prompts state; or ask the agent for
        them, in prompts of their own, and log them beside its choices. Their answers are kept in
        a second log, ``<log>.beliefs.jsonl``. A choice is asked for when the questions about its
        beliefs are answered; an answer that is a refusal or unreadable is final, and the choice
        then has no belief, which the report counts.
    seen : {0, 1}, optional
        In 2x2 games: what the other has played, told to the agent, which then moves second. It is
        the belief, so that none is given, and part of the template's name.
    reply : {"label", "reasoned"}
        What prompts ask for; see :func:`make_prompt`.
    subject : str, optional
        Whom the log calls the chooser; the agent's name by default.
    seed : int
        Orders of labels and the agent's own randomness follow from it.
    retries : int
        How often an answer that cannot be read is asked for again.
    max_failures : int
        The run stops after so many questions in a row without an answer; those of one request
        count once.
    progress : bool, optional
        Show progress, rate and cost; None shows them in a terminal where there is much to ask.

    Returns
    -------
    Played
        ``data`` (a :class:`.ChoiceData`) and ``report``.

    Raises
    ------
    InputError
        For bad arguments, and a log that cannot take these answers; before anything is asked.
    AgentError
        Where ``max_failures`` questions in a row had no answer. The log keeps the others.

    Warns
    -----
    MissingRowsWarning
        Where questions had no answer; it counts them by reason.

    Examples
    --------
    A kill between two answers loses nothing; here the second call only reads the log.

    >>> import pathlib, tempfile
    >>> from mlinstruments import ChoiceData
    >>> from mlinstruments.agents import moralis, play
    >>> from mlinstruments.games import Protocol
    >>> log = pathlib.Path(tempfile.mkdtemp()) / "choices.jsonl"
    >>> protocols = [Protocol("tg", 90, 60, 30, 10, id="a")]
    >>> played = play(moralis(), protocols, draws=3, log=log)
    >>> played.report.asked, play(moralis(), protocols, draws=3, log=log).report.asked
    (6, 0)
    >>> data = ChoiceData.read(log)
    >>> [data.protocols[0].strategies[s] for s in data.strategy]
    ['11', '11', '11']
    """
    check_choice(mode, "mode", MODES)
    check_count(draws, "draws", 1)
    check_count(retries, "retries", 0)
    check_count(max_failures, "max_failures", 1)
    if mode == "probabilities":
        _check_measured(draws, reply)
    _check_agent(agent, mode)
    protocols = _checked(protocols)
    elicited = isinstance(belief, str)
    if isinstance(belief, str):
        check_choice(belief, "belief", ("elicited",))
        if seen is not None:
            raise InputError("what was seen is the belief: leave belief out, or seen.")
        if mode != "sample":
            _check_agent(agent, "sample", "belief='elicited'")
    options: dict[str, Any] = {"wordings": wordings, "renderings": renderings}
    options |= {"labels": labels, "belief": None if elicited else belief}
    options |= {"seen": seen, "reply": reply}
    if mode == "probabilities":
        questions = measurements(protocols, unit, options)
    else:
        questions = choice_questions(protocols, unit, draws, seed, options)
    asking = Asking(agent, mode, subject or agent.name, retries, max_failures, progress)
    started = time.monotonic()
    with opened(log) as journal:
        check_kind(journal.rows, mode, unit, str(log))
        missing = unanswered(questions, _own(journal, asking), asking.same, str(log))
        # Only now that the log can take the choices are beliefs paid for.
        stated = _elicited(asking.sampling(), questions, seed, log) if elicited else _Stated()
        failures = Counter({f"belief: {reason}": n for reason, n in stated.failures.items()})
        ready = tuple(q for q in missing if not elicited or stated.complete(q))
        if len(ready) < len(missing):
            failures[NOT_ASKED] = len(missing) - len(ready)
        asked = 0
        for question, rows, reason in ask(asking, ready):
            if reason:
                failures[reason] += 1
            else:
                asked += 1
                added = stated.columns.get(_place(question), {})
                journal.write([{**row, **added} for row in rows])
        own = tuple(_own(journal, asking))
    if failures:
        words = ", ".join(f"{reason} {n}" for reason, n in failures.most_common(5))
        warn_user(
            f"{failures.total()} of {len(missing) + stated.missing} questions had no answer"
            f" ({words}): run again to ask them.",
            MissingRowsWarning,
        )
    counts = (len(questions), asked, len(questions) - len(missing))
    seconds = time.monotonic() - started
    report = report_of(own, agent.name, mode, counts, failures, seconds, stated.rows)
    return Played(report, own)


METHODS = {"sample": "answer", "probabilities": "choice_probabilities"}


def _check_agent(agent: Any, mode: str, what: str = "") -> None:
    method = METHODS[mode]
    if isinstance(agent, Agent) and callable(getattr(agent, method, None)):
        return
    able = [m for m in METHODS if callable(getattr(agent, METHODS[m], None))]
    instead = f", which can be asked with mode={able[0]!r}" if able and not what else ""
    raise InputError(
        f"{what or f'mode={mode!r}'} needs an agent with name, settings and {method}(); got"
        f" {type(agent).__name__}{instead}."
    )


def _checked(protocols: Any) -> tuple[Protocol, ...]:
    """A list of protocols."""
    if isinstance(protocols, Protocol):
        raise InputError("protocols must be a list of Protocol; got one: give [protocol].")
    found = tuple(protocols)
    other = next((p for p in found if not isinstance(p, Protocol)), None)
    if other is not None:
        raise InputError(
            "protocols must be a list of Protocol; it has a"
            f" {type(other).__name__}, {shown(other)}."
        )
    if not found:
        raise InputError("protocols must hold at least one Protocol; got none.")
    return found


def _check_measured(draws: int, reply: str) -> None:
    if draws != 1 or reply != "label":
        raise InputError(
            "mode='probabilities' measures every prompt once in each order of labels, at the"
            f" beginning of the answer: it needs draws=1 and reply='label'; got {draws} and"
            f" {reply!r}."
        )


def _own(journal: Journal, asking: Asking) -> Iterator[Row]:
    """The rows of this agent and subject."""
    for row in journal.rows:
        if (row.get("model"), row.get("subject")) == (asking.agent.name, asking.subject):
            yield row


def _place(question: Question) -> tuple[Any, ...]:
    return question.prompt.protocol.id, question.prompt.template.rpartition("/")[0], question.draw


@dataclass(frozen=True)
class _Stated:
    """What the agent has said of the other.

    Parameters
    ----------
    columns : mapping
        belief_1, ... by protocol, template and draw; None where the answer is no number.
    failures : Counter of reasons
    missing : int
        Questions that this run had to ask.
    rows : tuple of dict
        The log of beliefs.
    """

    columns: Mapping[tuple[Any, ...], Row] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    rows: tuple[Row, ...] = ()

    def complete(self, question: Question) -> bool:
        """Whether all beliefs that go with a choice have been asked for and answered."""
        known = self.columns.get(_place(question), {})
        return len(known) == question.prompt.protocol.n_nodes


def _elicited(
    asking: Asking, choices: Sequence[Question], seed: int, log: str | Path | None
) -> _Stated:
    """Ask for the beliefs that go with choices."""
    path = None if log is None else Path(log).with_suffix(".beliefs.jsonl")
    columns: dict[tuple[Any, ...], Row] = {}
    failures: Counter[str] = Counter()
    with opened(path) as journal:
        check_records(journal.rows, str(path))
        missing = unanswered(
            belief_questions(choices, seed), _own(journal, asking), asking.same, str(path)
        )
        for _, rows, reason in ask(asking, missing):
            if reason:
                failures[reason] += 1
            else:
                journal.write(rows)
        own = tuple(_own(journal, asking))
    for row in own:
        place = row["protocol_id"], row["template"].rpartition("/")[0], row["draw"]
        given = row["belief"] if row["status"] == "ok" else None
        columns.setdefault(place, {})[f"belief_{row['node'] + 1}"] = given
    return _Stated(columns, failures, len(missing), own)
