"""Situations to make examples of: protocols drawn, near-ties and evaluation games left out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import cycle, product
from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import Prompt, make_prompt
from mlinstruments.agents.scenes import SCENES
from mlinstruments.games.protocols import Protocol, sample_protocols

from .labels import UTILITIES, Label, best_choice, matrix_kind

# Draws for one example before the search is given up; all wishes are kept for half of them, and
# then given up in turn.
ATTEMPTS = 2000
# A close call: the best choice is better by at most this share of the payoff range.
CLOSE = 0.1


def affine_key(protocol: Protocol) -> str:
    """SHA-256 of a game that is the same for all its affine copies.

    Payoffs times a positive number plus a constant leave every choice as it is. In 2x2 games so
    does calling the first action the second.

    Parameters
    ----------
    protocol : Protocol

    Returns
    -------
    str

    Examples
    --------
    >>> from mlinstruments.alignment import affine_key
    >>> from mlinstruments.games import Protocol
    >>> one, copy = Protocol("tg", 80, 50, 30, 20), Protocol("tg", 165, 105, 65, 45)
    >>> affine_key(one) == affine_key(copy)
    True
    >>> affine_key(one) == affine_key(Protocol("tg", 80, 55, 30, 20))
    False
    """
    at_once = SCENES[protocol.game].at_once
    names = protocol.rules.order or "TRPS"
    forms = [_normalised(protocol, names)]
    if at_once:
        forms = [_normalised(protocol, "TRPS"), _normalised(protocol, "SPRT")]
    text = json.dumps(["2x2" if at_once else protocol.game, min(forms)])
    return hashlib.sha256(text.encode()).hexdigest()


def _normalised(protocol: Protocol, names: str) -> list[str]:
    values = [Fraction(repr(float(getattr(protocol, name)))) for name in names]
    low, span = min(values), max(values) - min(values)
    return [str((value - low) / span) if span else "0" for value in values]


@dataclass(frozen=True)
class Space:
    """What protocols, beliefs and templates examples are drawn from.

    Parameters
    ----------
    games : tuple of str
    unit : {"node", "strategy"}
    wordings, renderings, labels : tuple of str
    beliefs : tuple of float
        Stated chances, drawn for every node of the other.
    seen : bool
        In games where both move at once: tell what the other has played, instead of a chance.
    low, high, step : int
        The payoff grid.
    margin : float
        Least gap of utility between choices, as a share of the payoff range.
    kinds_left_out : tuple of str
        2x2 games of these kinds are not drawn.
    reply : {"label", "reasoned"}
    disagree : float or None
        Share of situations in which homo economicus and homo moralis (kappa 1/2) choose
        differently; None takes them as they come.
    close : float or None
        Share of close calls; None takes them as they come.
    """

    games: tuple[str, ...]
    unit: str
    wordings: tuple[str, ...]
    renderings: tuple[str, ...]
    labels: tuple[str, ...]
    beliefs: tuple[float, ...]
    seen: bool
    low: int
    high: int
    step: int
    margin: float
    kinds_left_out: tuple[str, ...]
    reply: str
    disagree: float | None
    close: float | None

    def cells(self) -> list[tuple[str, int | None]]:
        """Games and nodes asked about."""
        if self.unit == "strategy":
            return [(game, None) for game in self.games]
        return [(game, node) for game in self.games for node in _nodes(game)]


def _nodes(game: str) -> range:
    return range(1 + len(SCENES[game].second))


@dataclass
class Drawn:
    """What has been used up while drawing.

    Parameters
    ----------
    keys : set of str
        Affine keys that may not come again in the other part.
    texts : set of str
        Rendered prompts.
    dropped : Counter
        Draws left out, by reason.
    """

    keys: set[str] = field(default_factory=set)
    texts: set[tuple[str, str]] = field(default_factory=set)
    dropped: Counter[str] = field(default_factory=Counter)


def draw_pairs(
    space: Space,
    n: int,
    kappa: float,
    rng: np.random.Generator,
    refused: Collection[str],
    use: Drawn,
) -> Iterator[tuple[Prompt, Prompt]]:
    """Situations in both assignments of labels, balanced over games, nodes and best actions.

    Either best action comes as often where the utilities disagree as where they agree.

    Parameters
    ----------
    space : Space
    n : int
        How many pairs.
    kappa : float
        Of the utility whose choices are balanced.
    rng : Generator
    refused : collection of str
        Affine keys of protocols that must not be drawn.
    use : Drawn
        Taken note of as pairs are made.

    Yields
    ------
    pair of Prompt
        Label orders 0 and 1.

    Raises
    ------
    InputError
        Where the grid holds too few such protocols.
    """
    cells = space.cells()
    names = list(product(space.wordings, space.renderings, space.labels))
    # Every combination of templates once before any comes twice.
    shuffled = (names[i] for _ in cycle([0]) for i in rng.permutation(len(names)))
    calls = rng.permutation(n)
    for number in range(n):
        game, node = cells[number % len(cells)]
        turn, action = divmod(number // len(cells), 2)
        wanted = str(action) if node is not None else None
        # Half a step apart, the two actions add up to the share whatever the number of turns.
        apart = _spread(turn, space.disagree, start=action / 2)
        fits = _Wanted(node, wanted, apart, _spread(int(calls[number]), space.close), kappa)
        yield _draw_pair(space, game, fits, next(shuffled), rng, refused, use)


def _spread(number: int, share: float | None, start: float = 0.0) -> bool | None:
    """Whether a situation is one of a share of them, evenly spread; None where any will do."""
    if share is None:
        return None
    return int((number + 1) * share + start) > int(number * share + start)


@dataclass(frozen=True)
class _Wanted:
    """What is looked for: an action at a node, whether the utilities differ, and by how much."""

    node: int | None
    action: str | None
    apart: bool | None
    close: bool | None
    kappa: float

    def by(self, protocol: Protocol, y: tuple[float, ...]) -> bool:
        """Whether a situation is that."""
        label = best_choice(protocol, y, self.kappa)
        if self.action not in (None, label.choice(self.node)):
            return False
        if self.close not in (None, is_close(label, self.node)):
            return False
        return self.apart is None or utilities_disagree(protocol, y, self.node) == self.apart

    def relaxed(self, attempt: int) -> _Wanted:
        """What is still looked for after so many draws: first not how close, last which action.

        In some games one action is always best, or the utilities never differ; what is balanced
        there must not be lost with what cannot be had.
        """
        if attempt < ATTEMPTS // 2:
            return self
        part = (attempt - ATTEMPTS // 2) // (ATTEMPTS // 6 + 1)
        apart = self.apart if part < 1 else None
        return replace(self, close=None, apart=apart, action=self.action if part < 2 else None)


def is_close(label: Label, node: int | None) -> bool:
    """Whether the best choice is better than the next by at most ``CLOSE`` of the payoff range.

    Parameters
    ----------
    label : Label
    node : int or None

    Returns
    -------
    bool
    """
    return label.margin(node) <= CLOSE


def utilities_disagree(protocol: Protocol, y: tuple[float, ...], node: int | None) -> bool:
    """Whether the utilities that have names choose differently; a tie is a choice of its own.

    Parameters
    ----------
    protocol : Protocol
    y : tuple of float
        Beliefs.
    node : int or None

    Returns
    -------
    bool
    """
    return len({best_choice(protocol, y, k).choice(node) for k in UTILITIES.values()}) > 1


def _draw_pair(
    space: Space, game: str, wanted: _Wanted, names: Sequence[str], rng: np.random.Generator,
    refused: Collection[str], use: Drawn,
) -> tuple[Prompt, Prompt]:  # fmt: skip
    node, before = wanted.node, use.dropped.copy()
    for attempt in range(ATTEMPTS):
        protocol = sample_protocols(game, 1, rng, space.low, space.high, space.step)[0]
        key = affine_key(protocol)
        y, seen = _belief(space, protocol, rng)
        reason = _unfit(space, protocol, y, wanted.kappa, node, key in refused)
        if reason:
            use.dropped[reason] += 1
            continue
        if not wanted.relaxed(attempt).by(protocol, y):
            continue
        pair = tuple(
            make_prompt(
                protocol, node, wording=names[0], rendering=names[1], labels=names[2],
                order=order, belief=None if seen is not None else y, seen=seen, reply=space.reply,
            )
            for order in (0, 1)
        )  # fmt: skip
        if any((p.system, p.user) in use.texts for p in pair):
            use.dropped["prompt drawn before"] += 1
            continue
        use.keys.add(key)
        use.texts.update((p.system, p.user) for p in pair)
        return pair[0], pair[1]
    place = game if node is None else f"{game}, node {node}"
    kinds = use.dropped["kind left out"] - before["kind left out"]
    if kinds > ATTEMPTS // 2:
        raise InputError(
            f"{kinds} of {ATTEMPTS} protocols of {place} were of a kind left out: give other"
            f" kinds_left_out than {list(space.kinds_left_out)}, such as [], or leave {game} out of"
            " games."
        )
    raise InputError(
        f"the grid from {space.low} to {space.high} in steps of {space.step} holds too few"
        f" protocols of {place} that may be used: widen it, lower margin={space.margin:g}, or ask"
        " for fewer examples."
    )


def _belief(
    space: Space, protocol: Protocol, rng: np.random.Generator
) -> tuple[tuple[float, ...], int | None]:
    """Beliefs about every node, and the action seen."""
    if space.seen and SCENES[protocol.game].at_once:
        seen = int(rng.integers(2))
        return (float(seen),), seen
    drawn: Any = rng.choice(np.asarray(space.beliefs), protocol.n_nodes)
    return tuple(float(chance) for chance in drawn), None


def _unfit(
    space: Space, protocol: Protocol, y: tuple[float, ...], kappa: float, node: int | None,
    refused: bool,
) -> str:  # fmt: skip
    """Why a situation is not used; empty where it is."""
    if refused:
        return "evaluation protocol or other part"
    if protocol.game in ("matrix", "public_goods"):
        if len({protocol.T, protocol.R, protocol.P, protocol.S}) == 1:
            return "tie"
        if matrix_kind(protocol) in space.kinds_left_out:
            return "kind left out"
    label = best_choice(protocol, y, kappa)
    if label.choice(node) is None:
        return "tie"
    return "near-tie" if label.margin(node) < space.margin else ""
