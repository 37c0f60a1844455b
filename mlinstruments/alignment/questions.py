"""What an evaluation asks, agent by agent and cell by cell, checked before the first question."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import Agent, Prompt, make_prompts
from mlinstruments.agents.prompts import REPLIES
from mlinstruments.agents.scenes import SCENES
from mlinstruments.games.protocols import Protocol

from .encoding import read_chats
from .examples import MANIFEST
from .sampling import affine_key

# Wordings and renderings that are asked in every combination, by name.
Cells = Mapping[str, tuple[Sequence[str], Sequence[str]]]


@dataclass(frozen=True, eq=False)
class Log:
    """An agent in a cell, told one thing of the other."""

    agent: Any
    cell: str
    told: dict[str, Any]
    shown: dict[str, Any]
    prompts: tuple[Prompt, ...]

    @property
    def file(self) -> str:
        seen = self.told.get("seen")
        ending = "" if seen is None else f".{seen}"
        return f"{_slug(self.agent.name)}.{_slug(self.cell)}{ending}.jsonl"


def logs_of(
    agent: Any, protocols: Sequence[Protocol], cells: Cells, told: Sequence[dict[str, Any]],
    labels: Sequence[str], reply: str,
) -> Iterator[Log]:  # fmt: skip
    """What an agent is asked, with all prompts, so that bad templates are found at once."""
    check_choice(reply, "reply", REPLIES)
    for (cell, (wordings, renderings)), how in product(cells.items(), told):
        shown = {"wordings": wordings, "renderings": renderings, "labels": labels, "reply": reply}
        prompts = make_prompts(protocols, **shown, **how)
        if not prompts:
            raise InputError("labels must be a list of names of label sets, such as ['letters'].")
        yield Log(agent, cell, how, shown, prompts)


def check_agents(base: Any, tuned: Any) -> None:
    for agent, part in ((base, "base"), (tuned, "tuned")):
        if not isinstance(agent, Agent) or not callable(getattr(agent, "answer", None)):
            raise InputError(
                f"{part} must be an agent with name, settings and answer(), such as GreedyAgent;"
                f" got {type(agent).__name__}."
            )
    if base.name == tuned.name:
        raise InputError(f"both agents are called {base.name!r}: give them different names.")
    _check_slugs("agents", (base.name, tuned.name))


def check_cells(cells: Any) -> None:
    needed = "cells must be a mapping of names to (wordings, renderings), such as {'plain':"
    needed += " (['plain'], ['sentences'])}"
    if not isinstance(cells, Mapping) or not cells:
        raise InputError(f"{needed}; got {cells!r}.")
    for name, cell in cells.items():
        pair = isinstance(name, str) and isinstance(cell, Sequence) and len(cell) == 2
        if not pair or any(
            isinstance(part, str) or not isinstance(part, Sequence) or not part for part in cell
        ):
            raise InputError(f"{needed}; got {cell!r} of {name!r}.")
    _check_slugs("cells", tuple(cells))


def _check_slugs(what: str, names: Sequence[str]) -> None:
    """Logs are files called after agents and cells, and two must not share one."""
    known: dict[str, str] = {}
    for name in names:
        # Files that differ in case only are one file on some systems.
        other = known.setdefault(_slug(name).casefold(), name)
        if other != name:
            raise InputError(
                f"{what} {other!r} and {name!r} would share the log of {_slug(name)!r}: give them"
                " names that differ in letters or digits."
            )


def told_of(protocols: Sequence[Protocol], belief: Any) -> list[dict[str, Any]]:
    """What prompts say of the other: each of its actions, or a belief."""
    if not protocols:
        raise InputError("there are no protocols to evaluate on.")
    if isinstance(belief, str):
        raise InputError(
            f"belief must be a probability, or one a node, such as 0.5; got {belief!r}."
        )
    if belief is not None:
        return [{"belief": belief}]
    slow = next((p for p in protocols if not SCENES[p.game].at_once), None)
    if slow is not None:
        raise InputError(
            f"in protocol {slow.id!r} ({slow.game}) one moves first, so that the best choice"
            " depends on what is expected of the other: give belief=, such as 0.5."
        )
    return [{"seen": 0}, {"seen": 1}]


def check_unseen(logs: Sequence[Log], protocols: Sequence[Protocol], folder: Path) -> None:
    """Raise where a prompt or a protocol of a data set is asked about.

    Validation counts as training: the weights kept are those that did best on it.
    """
    files = [folder / "train.jsonl"]
    files += [name for name in (folder / "valid.jsonl",) if name.exists()]
    for file in files:
        trained = {tuple(m["content"] for m in chat[:-1]) for chat in read_chats(file)}
        for prompt in (prompt for log in logs for prompt in log.prompts):
            if tuple(m["content"] for m in prompt.messages) in trained:
                raise InputError(
                    f"prompt {prompt.id!r} stands in {file}: accuracy on it would say nothing."
                    " Evaluate on other protocols."
                )
    known = _trained_keys(folder / MANIFEST)
    for protocol in protocols:
        if affine_key(protocol) in known:
            raise InputError(
                f"protocol {protocol.id!r}, or an affine copy, is in the data set in {folder}:"
                " accuracy on it would not be about new games. Evaluate on other protocols, or give"
                " these as evaluation= to make_dataset, which leaves them out."
            )


def _trained_keys(manifest: Path) -> set[str]:
    """Affine keys of the protocols of a data set, of which older manifests say nothing."""
    if not manifest.exists():
        return set()
    try:
        return set(json.loads(manifest.read_text(encoding="utf-8")).get("protocols", ()))
    except (ValueError, AttributeError, TypeError):
        raise InputError(
            f"{manifest} is no manifest of make_dataset: make the data anew."
        ) from None


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or "_"
