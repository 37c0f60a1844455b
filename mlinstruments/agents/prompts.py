"""Prompts from protocols: a wording, a rendering of the payoffs, labels, and their order.

Every text comes from the files in ``templates``, and depends on nothing but the arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments.games.protocols import Protocol

from .base import Prompt
from .scenes import seat
from .text import assigned_labels, either, text_of

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
        For an unknown template, node or order, beliefs that are no probabilities, and a belief
        beside what was seen.

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
    if seen is not None and belief is not None:
        raise InputError(
            f"what was seen is the belief: leave belief out, or seen; got belief={belief!r} and"
            f" seen={seen!r}."
        )
    told = _stated(protocol, belief)
    text = text_of(protocol, node, seen, wording, rendering, labels, order)
    plans = text.seat.moves == "both"
    options, choices = text.plans() if plans else text.actions()
    blocks = text.blocks(told)
    ask = text.words[("plan_" if plans else "question_") + reply]
    question = [ask.format(options=either(options))]
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
    text = text_of(protocol, None, None, wording, rendering, labels, order)
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
    seen: int | None = None,
    reply: str = "label",
) -> tuple[Prompt, ...]:
    """Every combination of protocols, nodes, templates and orders.

    Parameters
    ----------
    protocols : sequence of Protocol
    unit : {"node", "strategy"}
        Ask at each node apart, or for whole strategies.
    wordings, renderings, labels, orders : sequence
    belief, seen, reply
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
            seen=seen,
            reply=reply,
        )
        for protocol, wording, rendering, label_set, order in product(
            protocols, wordings, renderings, labels, orders
        )
        for node in (range(protocol.n_nodes) if unit == "node" else (None,))
    )
    _refuse_doubles(made)
    return made


def mover_labels(prompt: Prompt) -> tuple[dict[int, str], dict[int, str]]:
    """Labels of the first and of the second mover's actions in a prompt, by action.

    Parameters
    ----------
    prompt : Prompt

    Returns
    -------
    first, second : dict of int to str
        In the order of the labels.

    Examples
    --------
    >>> prompt = make_prompt(Protocol("tg", 80, 50, 30, 20, id="a"), node=1)
    >>> mover_labels(prompt)
    ({1: 'X', 0: 'Y'}, {1: 'A', 0: 'B'})
    """
    sits = seat(prompt.protocol, prompt.node, prompt.seen)
    return assigned_labels(prompt.protocol, sits, prompt.labels, prompt.order)


def _refuse_doubles(prompts: Sequence[Prompt]) -> None:
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id in seen:
            raise InputError(
                f"two prompts are called {prompt.id!r}: give every protocol an id of its own, and"
                " name each template once."
            )
        seen.add(prompt.id)


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
