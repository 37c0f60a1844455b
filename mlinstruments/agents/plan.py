"""The questions of a run, in order, and whether a log can take their answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlinstruments._core.exceptions import InputError
from mlinstruments.games.protocols import Protocol
from mlinstruments.preferences.readers import shown

from .base import Prompt
from .journal import KEY, Key, Row, key_of
from .prompts import belief_prompt, make_prompts

Nodes = Sequence[int | None]


@dataclass(frozen=True)
class Question:
    """A prompt to be asked once.

    Parameters
    ----------
    prompt : Prompt
    draw : int
    seed : int
        The same at all nodes of a draw.
    """

    prompt: Prompt
    draw: int
    seed: int

    @property
    def key(self) -> Key:
        """What its record in a log is found by."""
        return (self.prompt.protocol.id, self.prompt.node, self.prompt.template, self.draw)


def seed_of(*parts: Any) -> int:
    """A seed of 31 bits from anything that can be printed, the same on every machine.

    Examples
    --------
    >>> seed_of(0, "a") == seed_of(0, "a"), seed_of(0, "a") == seed_of(0, "b")
    (True, False)
    """
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def choice_questions(
    protocols: Sequence[Protocol],
    unit: str,
    draws: int,
    seed: int,
    options: Mapping[str, Any],
) -> tuple[Question, ...]:
    """Draws of every prompt, labels in both orders equally often, the first one at random.

    Parameters
    ----------
    protocols : sequence of Protocol
    unit : {"node", "strategy"}
    draws : int
        Even numbers balance the orders within a prompt.
    seed : int
    options : mapping
        Keyword arguments of :func:`make_prompts`.

    Returns
    -------
    tuple of Question
        Draws of one prompt stand together, so that an agent may ask for them at once.
    """
    made = make_prompts(protocols, unit, **options)
    pairs: dict[tuple[Any, ...], dict[int, Prompt]] = {}
    for prompt in made:
        name = (prompt.protocol.id, prompt.template, prompt.node)
        pairs.setdefault(name, {})[prompt.order] = prompt
    questions = []
    for name, orders in pairs.items():
        start = seed_of(seed, "order", *name) % 2
        both = [(draw, (draw + start) % 2) for draw in range(draws)]
        for draw, order in sorted(both, key=lambda pair: pair[1]):
            prompt = orders[order]
            drawn = seed_of(seed, prompt.protocol.id, prompt.template, draw)
            questions.append(Question(prompt, draw, drawn))
    return tuple(questions)


def measurements(
    protocols: Sequence[Protocol], unit: str, options: Mapping[str, Any]
) -> tuple[Question, ...]:
    """Every prompt in both orders; the order is the draw.

    Parameters
    ----------
    protocols : sequence of Protocol
    unit : {"node", "strategy"}
    options : mapping
        Keyword arguments of :func:`make_prompts`.
    """
    return tuple(Question(p, p.order, 0) for p in make_prompts(protocols, unit, **options))


def belief_questions(choices: Sequence[Question], seed: int) -> tuple[Question, ...]:
    """A question about every node of the other for every draw, with labels as in the choice.

    Parameters
    ----------
    choices : sequence of Question
        Where nodes are asked apart, the belief about a node has the labels of the choice there.
    seed : int

    Returns
    -------
    tuple of Question
    """
    # In the order of protocols, templates and draws, whatever order labels have in a draw.
    together: dict[tuple[str, ...], dict[int, dict[int | None, Prompt]]] = {}
    for question in choices:
        asked = question.prompt
        name = (asked.protocol.id, asked.wording, asked.rendering, asked.labels)
        together.setdefault(name, {}).setdefault(question.draw, {})[asked.node] = asked
    questions = []
    for draws in together.values():
        for draw in sorted(draws):
            for node in range(next(iter(draws[draw].values())).protocol.n_nodes):
                like = draws[draw].get(node) or draws[draw][None]
                prompt = _belief_prompt(like, node)
                drawn = seed_of(seed, "belief", prompt.protocol.id, prompt.template, draw)
                questions.append(Question(prompt, draw, drawn))
    return tuple(questions)


def _belief_prompt(like: Prompt, node: int) -> Prompt:
    """Ask what is expected at a node, in the words and labels of a choice."""
    return belief_prompt(
        like.protocol,
        node,
        wording=like.wording,
        rendering=like.rendering,
        labels=like.labels,
        order=like.order,
    )


def check_kind(rows: Iterable[Row], mode: str, unit: str, source: str) -> None:
    """Raise where a log holds answers of another kind, of whichever agent, or was damaged.

    Parameters
    ----------
    rows : iterable of dict
    mode, unit : str
        Of the run that is to be added.
    source : str
        What to call the log in errors.

    Raises
    ------
    InputError
    """
    rows = list(rows)
    for row in rows:
        found = row.get("mode"), "node" if "node" in row else "strategy"
        if found != (mode, unit):
            raise InputError(
                f"{source} was made with mode {found[0]!r} and unit {found[1]!r}, and this run has"
                f" {mode!r} and {unit!r}: a log holds answers of one kind; write to another."
            )
    check_records(rows, source)


# What sums over a log take from every row.
NEEDED = (*KEY, "status", "cost", "prompt_tokens", "completion_tokens", "order", "option_order")


def check_records(rows: Iterable[Row], source: str) -> None:
    """Raise where rows of play were taken out of a log, or put in twice.

    Parameters
    ----------
    rows : iterable of dict
    source : str
        What to call the log in errors.

    Raises
    ------
    InputError
    """
    have: dict[Key, list[Row]] = {}
    for row in rows:
        # Whole strategies have no node.
        lacking = [name for name in NEEDED if name not in row and name != "node"]
        if lacking:
            raise InputError(
                f"{source} has a row without {', '.join(lacking)} (protocol"
                f" {shown(row.get('protocol_id'))}): it was edited; mend it, or write to another"
                " log."
            )
        have.setdefault((*key_of(row), row.get("model"), row.get("subject")), []).append(row)
    for parts in have.values():
        size = parts[0].get("rows", 1)
        if len(parts) != size or {row.get("part", 0) for row in parts} != set(range(size)):
            raise InputError(
                f"{source} has {len(parts)} rows of protocol"
                f" {shown(parts[0]['protocol_id'])}, template {shown(parts[0]['template'])}, draw"
                f" {shown(parts[0]['draw'])}, and a whole answer has {size}: rows were copied or"
                " deleted; delete all of them to have it asked again, or write to another log."
            )


def unanswered(
    questions: Sequence[Question], rows: Iterable[Row], same: Mapping[str, Any], source: str
) -> tuple[Question, ...]:
    """Questions a log has no record of.

    Parameters
    ----------
    questions : sequence of Question
    rows : iterable of dict
        Of the log, of this agent and subject.
    same : mapping
        What every row must have: mode and settings.
    source : str
        What to call the log in errors.

    Returns
    -------
    tuple of Question

    Raises
    ------
    InputError
        Where the log was made with other prompts, or another way.
    """
    hashes = {question.key: question.prompt.hash for question in questions}
    known = set(hashes.values())
    done = set()
    for row in rows:
        for name, value in same.items():
            if row.get(name) != value:
                raise InputError(
                    f"{source} was made with {name} {shown(row.get(name), 200)}, and this run has"
                    f" {shown(value, 200)}: give the agent another name, or write to another log."
                )
        found = row.get("prompt_hash")
        if found not in known or hashes.get(key_of(row), found) != found:
            raise InputError(
                f"{source} was made with other prompts: protocol {shown(row.get('protocol_id'))},"
                f" template {shown(row.get('template'))}, prompt_hash {shown(found)}. Write to"
                " another log; or pass the protocols, templates, beliefs and seed of that run, and"
                " what is to be added to them."
            )
        done.add(key_of(row))
    return tuple(question for question in questions if question.key not in done)
