"""What options are worth, by walking the tree that prompts are told from, in exact fractions.

Shares nothing with :mod:`.labels` and :mod:`.render` but the rules of the games: they compute
utilities from paths, and what they write is checked against this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product

from mlinstruments.agents import Prompt
from mlinstruments.agents.prompts import mover_labels
from mlinstruments.agents.scenes import SCENES, seat
from mlinstruments.games.protocols import Protocol

HALF = Fraction(1, 2)


def ends_met(prompt: Prompt, action: int) -> list[tuple[Fraction, Fraction, str | None]]:
    """Chance, own payoff and the other's label of every end an action of the asked one may meet."""
    scene = SCENES[prompt.protocol.game]
    sits = seat(prompt.protocol, prompt.node, prompt.seen)
    first, second = mover_labels(prompt)
    y = [exact(chance) for chance in prompt.belief or ()]
    met: list[tuple[Fraction, Fraction, str | None]] = []
    for a, b, pays in scene.ends:
        mine, chance, other = a, Fraction(1), None if b is None else second[b]
        who = 1 if sits.moves == "second" else 0
        if who:
            if a != sits.after or b is None:
                continue
            mine, other = b, first[a]
        elif b is not None:
            one = y[0 if scene.at_once else scene.second[a]]
            chance = one if b == 1 else 1 - one
        if mine == action and chance:
            met.append((chance, exact(getattr(prompt.protocol, pays[who])), other))
    return met


def expected(
    protocol: Protocol, first: Sequence[Fraction], second: Sequence[Fraction]
) -> tuple[Fraction, Fraction]:
    """Expected payoffs of the first and the second mover, by walking the tree."""
    sums = [
        sum((chance * pay for chance, pay in terms(protocol, first, second, who)), Fraction(0))
        for who in (0, 1)
    ]
    return sums[0], sums[1]


def terms(
    protocol: Protocol, first: Sequence[Fraction], second: Sequence[Fraction], who: int
) -> list[tuple[Fraction, Fraction]]:
    """Chance and payoff of the first (0) or the second mover (1) at every end that can come."""
    scene, found = SCENES[protocol.game], []
    for a, b, pays in scene.ends:
        chance = first[0] if a == 1 else 1 - first[0]
        if b is not None:
            node = 0 if scene.at_once else scene.second[a]
            chance *= second[node] if b == 1 else 1 - second[node]
        if chance:
            found.append((chance, exact(getattr(protocol, pays[who]))))
    return found


def best_choices(prompt: Prompt, kappa: Fraction) -> set[str]:
    """The choices of a prompt that belong to strategies of greatest utility."""
    utilities = _utilities(prompt, kappa)
    top = max(utilities.values())
    best = {s for s, value in utilities.items() if value == top}
    return best if prompt.node is None else {s[prompt.node] for s in best}


def _utilities(prompt: Prompt, kappa: Fraction) -> dict[str, Fraction]:
    found = {}
    for digits in product("01", repeat=prompt.protocol.n_nodes):
        own, alike, _, _ = _payoffs(prompt.protocol, prompt.belief or (), "".join(digits))
        found["".join(digits)] = (1 - kappa) * own + kappa * alike
    return found


@lru_cache(maxsize=256)
def _payoffs(
    protocol: Protocol, belief: tuple[float, ...], strategy: str
) -> tuple[Fraction, Fraction, tuple[Fraction, Fraction], tuple[Fraction, Fraction]]:
    """Own and universalised payoff of a strategy, and what it earns so in the two roles."""
    x = [Fraction(int(digit)) for digit in strategy]
    y = [exact(chance) for chance in belief]
    roles = expected(protocol, x, y)[0], expected(protocol, y, x)[1]
    alike = expected(protocol, x, x)
    return sum(roles, Fraction(0)) / 2, sum(alike, Fraction(0)) / 2, roles, alike


@dataclass(frozen=True)
class Values:
    """What counts for an option.

    Parameters
    ----------
    strategy : str
        The whole strategy it stands for.
    own, alike : Fraction
        Own payoff against the other, and where everybody does the same.
    roles, alike_roles : pair of Fraction
        What it earns moving first and second, and where everybody does the same.
    total : Fraction
        What options are compared by: at kappa = 1/2 twice the utility.
    """

    strategy: str
    own: Fraction
    alike: Fraction
    roles: tuple[Fraction, Fraction]
    alike_roles: tuple[Fraction, Fraction]
    total: Fraction


def option_values(prompt: Prompt, choice: str, kappa: Fraction) -> Values:
    """What counts for an option; at a node, for the best strategy with that action there."""
    utilities, node = _utilities(prompt, kappa), prompt.node
    fitting = [s for s in utilities if s == choice or (node is not None and s[node] == choice)]
    best = max(fitting, key=utilities.__getitem__)
    own, alike, roles, shared = _payoffs(prompt.protocol, prompt.belief or (), best)
    if kappa == 0:
        own = own if node is None else _in_the_role(prompt, best)
        return Values(best, own, alike, roles, shared, own)
    total = own + alike if kappa == HALF else utilities[best]
    return Values(best, own, alike, roles, shared, total)


def _in_the_role(prompt: Prompt, strategy: str) -> Fraction:
    """What a strategy earns in the role asked about, once what was seen has happened."""
    sits = seat(prompt.protocol, prompt.node, prompt.seen)
    x = [Fraction(int(digit)) for digit in strategy]
    y = [exact(chance) for chance in prompt.belief or ()]
    if sits.moves == "second":
        after = [Fraction(int(sits.after or 0)), *y[1:]]
        return expected(prompt.protocol, after, x)[1]
    return expected(prompt.protocol, x, y)[0]


def exact(value: float) -> Fraction:
    """The shortest decimal that is this double, as a fraction."""
    return Fraction(repr(float(value)))
