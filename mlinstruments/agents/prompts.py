"""Prompts from protocols: a wording, a rendering of the payoffs, labels, and their order.

Every text comes from the files in ``templates``, and depends on nothing but the arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments.games.protocols import Protocol

from . import templates
from .base import Prompt
from .scenes import SCENES, Scene, Seat, seat

REPLIES = ("label", "reasoned")
UNITS = ("node", "strategy")


def make_prompt(
    protocol: Protocol,
    node: int | None = None,
    *,
    wording: str = "plain",
    rendering: str = "sentences",
    labels: str = "letters",
    order: int = 0,
    belief: float | Sequence[float] | None = None,
    seen: int | None = None,
    reply: str = "label",
) -> Prompt:
    """Ask for a choice.

    Parameters
    ----------
    protocol : Protocol
    node : int, optional
        The node to ask about; the whole strategy by default.
    wording, rendering, labels : str
        See :func:`wordings`, :func:`renderings` and :func:`label_sets`.
    order : {0, 1}
        Labels of the two actions of every mover, changed over in 1.
    belief : float or sequence of float, optional
        Probability of a one at each node of the other, stated in the text; one number for all.
    seen : {0, 1}, optional
        In ``matrix`` and ``public_goods``: the other has already played this, and the text says so.
    reply : {"label", "reasoned"}
        Ask for the label alone, or for reasons that end in a line "Decision:".

    Returns
    -------
    Prompt

    Raises
    ------
    InputError
        For an unknown template, node or order, and beliefs that are no probabilities.

    Examples
    --------
    >>> from mlinstruments.agents import make_prompt
    >>> from mlinstruments.games import Protocol
    >>> matrix = Protocol("matrix", 7, 5, 2, 1, id="m")
    >>> prompt = make_prompt(matrix, 0, wording="terse", rendering="bullets", seen=1)
    >>> print(prompt.user)
    Two players, one round.
    <BLANKLINE>
    Both take A or B, the other before you.
    <BLANKLINE>
    Result:
    - you A, other A: you 5, other 5
    - you A, other B: you 1, other 7
    - you B, other A: you 7, other 1
    - you B, other B: you 2, other 2
    <BLANKLINE>
    The other took A.
    <BLANKLINE>
    Your move (A or B)? One word.
    """
    check_choice(reply, "reply", REPLIES)
    told = _stated(protocol, belief)
    text = _text_of(protocol, node, seen, wording, rendering, labels, order)
    plans = text.seat.moves == "both"
    options, choices = text.plans() if plans else text.actions()
    blocks = text.blocks(None if seen is not None else told)
    ask = text.words[("plan_" if plans else "question_") + reply]
    question = [ask.format(options=_either(options))]
    if plans:
        listed = [text.words["plan_head"], *text.plan_lines(options, choices)]
        first = text.words["layout"][0] == "question"
        question = [*question, "\n".join(listed)] if first else ["\n".join(listed), *question]
    return text.prompt(
        blocks | {"question": "\n\n".join(question)},
        options,
        choices,
        belief=told if seen is None else (float(seen),),
        reply=reply,
    )


def belief_prompt(
    protocol: Protocol,
    node: int,
    *,
    wording: str = "plain",
    rendering: str = "sentences",
    labels: str = "letters",
    order: int = 0,
) -> Prompt:
    """Ask for the chance, in percent, that the other plays a one at a node.

    Parameters
    ----------
    protocol : Protocol
    node : int
    wording, rendering, labels : str
    order : {0, 1}
        As in :func:`make_prompt`.

    Returns
    -------
    Prompt
        Without options: the answer is a number, read by :func:`parse_percent`.

    Raises
    ------
    InputError
        As :func:`make_prompt`.

    Examples
    --------
    >>> from mlinstruments.agents import belief_prompt
    >>> from mlinstruments.games import Protocol
    >>> tg = Protocol("tg", 80, 50, 30, 20, id="a")
    >>> belief_prompt(tg, 1, wording="terse").user.splitlines()[-1]
    'The other as player 2 after A: X in how many of 100 cases? One number.'
    """
    asked = seat(protocol, node, None)
    text = _text_of(protocol, None, None, wording, rendering, labels, order)
    kind, x, seen = text.about(node, asked)
    question = text.words[f"ask_{kind}"].format(x=x, seen=seen)
    blocks = text.blocks(None) | {"position": "", "question": question}
    return text.prompt(blocks, (), (), node=node, asks="belief")


def make_prompts(
    protocols: Sequence[Protocol],
    unit: str = "node",
    *,
    wordings: Sequence[str] = ("plain",),
    renderings: Sequence[str] = ("sentences",),
    labels: Sequence[str] = ("letters",),
    orders: Sequence[int] = (0, 1),
    belief: float | Sequence[float] | None = None,
    reply: str = "label",
) -> tuple[Prompt, ...]:
    """Every combination of protocols, nodes, templates and orders.

    Parameters
    ----------
    protocols : sequence of Protocol
    unit : {"node", "strategy"}
        Ask at each node apart, or for whole strategies.
    wordings, renderings, labels, orders : sequence
    belief, reply
        As in :func:`make_prompt`.

    Returns
    -------
    tuple of Prompt
        Protocol by protocol, then by template, order and node.

    Raises
    ------
    InputError
        As :func:`make_prompt`; also where two prompts have one id.

    Examples
    --------
    >>> from mlinstruments.agents import make_prompts
    >>> from mlinstruments.games import default_grid
    >>> len(make_prompts(default_grid(), "strategy"))
    36
    """
    check_choice(unit, "unit", UNITS)
    if isinstance(wordings, str) or isinstance(renderings, str) or isinstance(labels, str):
        raise InputError("wordings, renderings and labels are lists of names, such as ['plain'].")
    made = tuple(
        make_prompt(
            protocol,
            node,
            wording=wording,
            rendering=rendering,
            labels=label_set,
            order=order,
            belief=belief,
            reply=reply,
        )
        for protocol, wording, rendering, label_set, order in product(
            protocols, wordings, renderings, labels, orders
        )
        for node in (range(protocol.n_nodes) if unit == "node" else (None,))
    )
    _refuse_doubles(made)
    return made


def _refuse_doubles(prompts: Sequence[Prompt]) -> None:
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id in seen:
            raise InputError(
                f"two prompts are called {prompt.id!r}: give every protocol an id of its own, and"
                " name each template once."
            )
        seen.add(prompt.id)


# ---- the text -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Text:
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
                p=_number(getattr(self.protocol, ends[a, b][0])),
                q=_number(getattr(self.protocol, ends[a, b][1])),
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
            percent = _number(100 * chance)
            told.append(self.words[f"belief_{kind}"].format(x=x, seen=seen, percent=percent))
        return " ".join(told)


def _text_of(
    protocol: Protocol,
    node: int | None,
    seen: int | None,
    wording: str,
    rendering: str,
    labels: str,
    order: int,
) -> _Text:
    if order not in (0, 1):
        raise InputError(f"order must be 0 or 1; got {order!r}.")
    sits, scene, names = seat(protocol, node, seen), SCENES[protocol.game], templates.labels(labels)
    words, lines = templates.wording(wording), templates.rendering(rendering)
    own, other = (dict(_assigned(names[key], order)) for key in ("own", "other"))
    first, second = (other, own) if sits.moves == "second" else (own, other)
    return _Text(
        protocol,
        scene,
        sits,
        node,
        seen,
        words,
        lines,
        own if scene.same else first,
        own if scene.same else second,
        names["plans"],
        (wording, rendering, labels),
        order,
    )


def _assigned(pair: Sequence[str], order: int) -> Iterator[tuple[int, str]]:
    """Actions in the order of their labels: the one first, or the nought."""
    return zip((1, 0) if order == 0 else (0, 1), pair, strict=True)


def _stated(protocol: Protocol, belief: float | Sequence[float] | None) -> tuple[float, ...] | None:
    if belief is None:
        return None
    values = np.asarray(belief, dtype=float)
    values = np.broadcast_to(values, (protocol.n_nodes,)) if values.ndim == 0 else values
    if values.shape != (protocol.n_nodes,) or not ((values >= 0) & (values <= 1)).all():
        raise InputError(
            f"belief must be one probability, or {protocol.n_nodes} of them for {protocol.game}"
            f" ({', '.join(protocol.rules.nodes)}); got {belief!r}."
        )
    return tuple(float(value) for value in values)


def _either(options: Sequence[str]) -> str:
    return f"{', '.join(options[:-1])} or {options[-1]}"


def _number(value: float) -> str:
    """Digits as short as they are exact: 40, 12.5."""
    return np.format_float_positional(value, trim="-", precision=6)
