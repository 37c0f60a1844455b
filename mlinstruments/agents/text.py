"""The sentences of a prompt, filled in for a protocol, a seat, labels and their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments.games.protocols import Protocol

from . import templates
from .base import Prompt
from .scenes import SCENES, Scene, Seat, seat


@dataclass(frozen=True)
class Text:
    """The parts of a prompt, filled in."""

    protocol: Protocol
    scene: Scene
    seat: Seat
    node: int | None
    seen: int | None
    words: dict[str, Any]
    lines: dict[str, Any]
    first: dict[int, str]  # labels by action
    second: dict[int, str]
    plan_names: list[str]
    names: tuple[str, str, str]
    order: int

    def prompt(
        self, blocks: dict[str, str], options: Sequence[str], choices: Sequence[str], **more: Any
    ) -> Prompt:
        wording, rendering, labels = self.names
        given: dict[str, Any] = {"node": self.node, "seen": self.seen, **more}
        user = "\n\n".join(blocks[b] for b in self.words["layout"] if blocks[b])
        return Prompt(
            self.words["system"],
            user,
            tuple(options),
            tuple(choices),
            self.protocol,
            wording=wording,
            rendering=rendering,
            labels=labels,
            order=self.order,
            template_hash=templates.template_hash(*self.names),
            **given,
        )

    def actions(self) -> tuple[list[str], list[str]]:
        """Labels of the asked mover, as shown, and the actions they stand for."""
        mine = self.second if self.seat.moves == "second" else self.first
        return list(mine.values()), [str(action) for action in mine]

    def plans(self) -> tuple[list[str], list[str]]:
        """Names of whole strategies, as shown, and the strategies."""
        second = list(self.scene.second.values())
        pairs = [list(self.second if n in second else self.first) for n in range(self.nodes)]
        strategies = ["".join(map(str, digits)) for digits in product(*pairs)]
        return self.plan_names[: len(strategies)], strategies

    @property
    def nodes(self) -> int:
        return self.protocol.n_nodes

    def plan_lines(self, names: Sequence[str], strategies: Sequence[str]) -> list[str]:
        made = []
        for name, strategy in zip(names, strategies, strict=True):
            parts = [self.words["plan_first"].format(x=self.first[int(strategy[0])])]
            parts += [
                self.words["plan_second"].format(
                    seen=self.first[after], x=self.second[int(strategy[node])]
                )
                for after, node in self._second_nodes()
            ]
            made.append(self.words["plan_line"].format(plan=name, parts=", ".join(parts)))
        return made

    def _second_nodes(self) -> list[tuple[int, int]]:
        """The first mover's actions in the order of labels, with the node after each."""
        return [
            (after, self.scene.second[after]) for after in self.first if after in self.scene.second
        ]

    def blocks(self, belief: tuple[float, ...] | None) -> dict[str, str]:
        sequential = not self.scene.at_once
        return {
            "opening": self.words["opening"],
            "moves": self._moves(),
            "roles": self.words["roles"] if sequential else "",
            "payoffs": self._payoffs(),
            "position": self._position(),
            "belief": self._belief(belief),
        }

    def _moves(self) -> str:
        labels = dict(zip(("a1", "a2"), self.first.values(), strict=True))
        if self.scene.at_once:
            return str(self.words["both_move" if self.seen is None else "in_turn"]).format(**labels)
        labels |= zip(("b1", "b2"), self.second.values(), strict=True)
        after = list(self.scene.second)
        kind = ("second_waits", "second_moves_after", "second_moves")[len(after)]
        if len(after) == 1:
            labels |= {"on": self.first[after[0]], "off": self.first[1 - after[0]]}
        return " ".join(self.words[key].format(**labels) for key in ("first_moves", kind))

    def _position(self) -> str:
        if self.seat.after is not None:
            seen = self.first[self.seat.after]
            key = "position_seen" if self.scene.at_once else "position_second"
            return str(self.words[key]).format(seen=seen)
        if self.scene.at_once:
            return ""
        return str(self.words["position_plan" if self.seat.moves == "both" else "position_first"])

    def _payoffs(self) -> str:
        lines = self.lines[self.seat.moves]
        style = {name: self.words[name] for name in ("unit", "verb", "verbs")}
        ends = {(a, b): pays for a, b, pays in self.scene.ends}
        written = [
            lines["alone" if b is None else "line"].format(
                a=self.first[a],
                b=self.second.get(b, "") if b is not None else "",
                p=number(getattr(self.protocol, ends[a, b][0])),
                q=number(getattr(self.protocol, ends[a, b][1])),
                **style,
            )
            for a in self.first
            for b in (*self.second, None)
            if (a, b) in ends
        ]
        columns = lines.get("columns", "").format(**style)
        head = self.lines["head"].format(payoffs=self.words["payoffs"], columns=columns)
        return str(head + self.lines["join"].join(written) + self.lines["foot"])

    def about(self, node: int, asked: Seat) -> tuple[str, str, str]:
        """Which sentence speaks of a node of the other, the label of its one, and what was seen."""
        if self.scene.at_once:
            return "same", self.first[1], ""
        if asked.moves == "second" and asked.after is not None:
            return "second", self.second[1], self.first[asked.after]
        return "first", self.first[1], ""

    def _belief(self, belief: tuple[float, ...] | None) -> str:
        told = []
        for node, chance in enumerate(belief or ()):
            kind, x, seen = self.about(node, seat(self.protocol, node, None))
            percent = number(100 * chance)
            told.append(self.words[f"belief_{kind}"].format(x=x, seen=seen, percent=percent))
        return " ".join(told)


def text_of(
    protocol: Protocol,
    node: int | None,
    seen: int | None,
    wording: str,
    rendering: str,
    labels: str,
    order: int,
) -> Text:
    if order not in (0, 1):
        raise InputError(f"order must be 0 or 1; got {order!r}.")
    sits, scene, names = seat(protocol, node, seen), SCENES[protocol.game], templates.labels(labels)
    words, lines = templates.wording(wording), templates.rendering(rendering)
    first, second = assigned_labels(protocol, sits, labels, order)
    return Text(
        protocol,
        scene,
        sits,
        node,
        seen,
        words,
        lines,
        first,
        second,
        names["plans"],
        (wording, rendering, labels),
        order,
    )


def assigned_labels(
    protocol: Protocol, sits: Seat, labels: str, order: int
) -> tuple[dict[int, str], dict[int, str]]:
    """Labels of the first and of the second mover's actions, by action."""
    names = templates.labels(labels)
    own, other = (dict(_assigned(names[key], order)) for key in ("own", "other"))
    if SCENES[protocol.game].same:
        return own, own
    return (other, own) if sits.moves == "second" else (own, other)


def _assigned(pair: Sequence[str], order: int) -> Iterator[tuple[int, str]]:
    """Actions in the order of their labels: the one first, or the nought."""
    return zip((1, 0) if order == 0 else (0, 1), pair, strict=True)


def either(options: Sequence[str]) -> str:
    """Labels to choose from: A, B or E."""
    return f"{', '.join(options[:-1])} or {options[-1]}"


def number(value: float) -> str:
    """Digits as short as they are exact: 40, 12.5."""
    return np.format_float_positional(value, trim="-", precision=6)
