"""A second opinion on targets: every number in a text recomputed from the game's tree.

Shares nothing with the code that writes targets but the rules of the games: payoffs come from the
tree prompts are told from, not from the paths utilities are computed with; all in exact fractions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import NoReturn

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import Prompt, parse_answer
from mlinstruments.agents.prompts import mover_labels
from mlinstruments.agents.scenes import SCENES, seat
from mlinstruments.games.protocols import Protocol

_NUMBER = r"-?\d+(?:\.\d+)?"
_TERM = rf"{_NUMBER}(?: × {_NUMBER})?"
# A number, or a sum with what it comes to; no full stop belongs to it that ends a sentence.
_SUM = rf"(?:{_TERM}(?: \+ {_TERM})* = )?{_NUMBER}"
# What a line about an option may be: its own payoff, the universalised one, their weighted sum.
_LINE = re.compile(
    rf"I (?P<label>\S+?)(?:, other (?P<other>\S+))?: (?:I get (?P<got>{_NUMBER})"
    rf"|moving first (?P<first>{_SUM}), moving second (?P<second>{_SUM})\. (?P<mean>{_SUM})"
    rf"|(?P<own>{_SUM}))\."
    rf"(?: (?:I (?P<mine>\S+), other (?P<theirs>\S+): I get|Both (?P<both>\S+):)"
    rf" (?P<alike>{_SUM})\. (?P<total>{_SUM})\.)?"
)
_READ = re.compile(r"My payoffs: (?P<cells>[^.]*(?:\.\d[^.]*)*)\.(?: The other: (?P<other>\S+)\.)?")
_DIGITS = re.compile(r"(\S+) (\d), (\S+) (\d): (same|max\(\d, \d\) = \d, \S+ is more)")
_MOST = re.compile(rf"({_NUMBER}) is the most\.")


def check_target(prompt: Prompt, text: str, kappa: float = 0.0) -> None:
    """Raise unless every number in a target, and its decision, is right.

    Parameters
    ----------
    prompt : Prompt
    text : str
        As :func:`.target` writes it.
    kappa : float

    Raises
    ------
    InputError
        Naming the first claim that does not hold.

    Examples
    --------
    >>> from mlinstruments.agents import make_prompt
    >>> from mlinstruments.alignment.verify import check_target
    >>> from mlinstruments.games import Protocol
    >>> prompt = make_prompt(Protocol("matrix", 45, 60, 40, 10, id="hunt"), 0, seen=0)
    >>> lines = ["I A, other B: I get 11.", "I B, other B: I get 40.", "A 11, B 40."]
    >>> check_target(prompt, "\\n".join([*lines, "Decision: B"]))
    Traceback (most recent call last):
    ...
    mlinstruments._core.exceptions.InputError: target of 'hunt:... it is 10.
    """
    weight = Fraction(repr(float(kappa)))
    _, choice = parse_answer(text, prompt)
    right = best_choices(prompt, weight)
    if choice is None or choice not in right or len(right) > 1:
        _fail(prompt, text[-60:], f"the utility chooses {' or '.join(sorted(right))}")
    *lines, decision = text.splitlines()
    if not lines:
        return
    if not lines[0].startswith(("I ", "My payoffs")) or lines[0].startswith("I choose"):
        _check_principle(prompt, lines.pop(0), weight)
    if lines and lines[0].startswith("My payoffs"):
        _check_reading(prompt, lines.pop(0))
    if not lines:
        _fail(prompt, text, "nothing is compared")
    *options, comparison = lines
    labels = [_check_option(prompt, line, weight) for line in options]
    if tuple(labels) != prompt.options or decision != f"Decision: {prompt.label_of(choice)}":
        _fail(prompt, text, f"it must go through {', '.join(prompt.options)} and then decide")
    values = [option_values(prompt, c, weight).total for c in prompt.choices]
    restated, _, compared = comparison.partition(". ")
    _check_restated(prompt, restated, values)
    _check_comparison(prompt, restated, compared, values)


def reasons_hold(prompt: Prompt, text: str | None, kappa: float = 0.0) -> bool:
    """Whether an answer gives a target's reasons, right in every number, and decides by them.

    Parameters
    ----------
    prompt : Prompt
    text : str or None
    kappa : float

    Returns
    -------
    bool
        False where it gives none, or others.

    Examples
    --------
    >>> from mlinstruments.agents import make_prompt
    >>> from mlinstruments.alignment import target
    >>> from mlinstruments.alignment.verify import reasons_hold
    >>> from mlinstruments.games import Protocol
    >>> prompt = make_prompt(Protocol("matrix", 45, 60, 40, 10, id="hunt"), 0, seen=0)
    >>> reasons_hold(prompt, target(prompt)), reasons_hold(prompt, "Decision: B")
    (True, False)
    """
    if text is None or "\n" not in text.strip():
        return False
    try:
        check_target(prompt, text.strip(), kappa)
    except InputError:
        return False
    return True


def _fail(prompt: Prompt, claim: str, truth: str) -> NoReturn:
    raise InputError(f"target of {prompt.id!r}: {claim!r} is wrong, {truth}.")


def _check_principle(prompt: Prompt, line: str, kappa: Fraction) -> None:
    """A sentence of words; the only numbers it may hold are the weights."""
    weights = f"with weights {float(kappa):g} and {float(1 - kappa):g}"
    if re.search(r"\d", line.replace(weights, "")):
        _fail(prompt, line, "nothing in it can be checked")


def _check_reading(prompt: Prompt, line: str) -> None:
    """All ends of the game with what the asked one gets at each, and what was seen."""
    said, sits = _READ.fullmatch(line), seat(prompt.protocol, prompt.node, prompt.seen)
    if said is None:
        _fail(prompt, line, "it is no list of payoffs")
    cells = {}
    for cell in said["cells"].split(", "):
        *labels, value = cell.split(" ")
        cells[tuple(labels)] = value
    first, second = mover_labels(prompt)
    for a, b, pays in SCENES[prompt.protocol.game].ends:
        pair = [first[a], *([] if b is None else [second[b]])]
        mine = sits.moves == "second"
        truth = _exact(getattr(prompt.protocol, pays[1 if mine else 0]))
        value = cells.pop(tuple(pair[::-1] if mine else pair), "none")
        if not re.fullmatch(_NUMBER, value) or Fraction(value) != truth:
            _fail(prompt, line, f"{' '.join(pair)} pays {float(truth):g}")
    seen = None if sits.after is None else first[sits.after]
    if cells or said["other"] != seen:
        _fail(prompt, line, f"the other is seen to play {seen}" if not cells else "one too many")


def _check_option(prompt: Prompt, line: str, kappa: Fraction) -> str:
    """The label a line is about, once all its numbers are right."""
    said = _LINE.fullmatch(line)
    if said is None or said["label"] not in prompt.options:
        _fail(prompt, line, f"it is no line about {' or '.join(prompt.options)}")
    label = said["label"]
    truth = option_values(prompt, prompt.choices[prompt.options.index(label)], kappa)
    for name, value in (
        ("got", _pays(prompt, label, said["other"])),
        ("first", truth.roles[0]),
        ("second", truth.roles[1]),
        ("mean", truth.own),
        ("own", truth.own),
        ("alike", truth.alike),
        ("total", truth.total),
    ):
        if said[name] is not None and (value is None or _sum(said[name]) != {value}):
            known = "there is no such end" if value is None else f"it is {float(value):g}"
            _fail(prompt, f"{line}: {said[name]}", known)
    about = {said["mine"], said["theirs"], said["both"]} - {None}
    if not about <= {label} or (said["total"] is None) != (kappa == 0):
        _fail(prompt, line, f"it must weigh all that counts for {label}")
    return label


def _sum(written: str) -> set[Fraction]:
    """The values of both sides of a sum; one if it is right."""
    *terms, result = written.split(" = ")
    found = {Fraction(result)}
    for side in terms:
        found.add(sum((_product(term) for term in side.split(" + ")), Fraction(0)))
    return found


def _product(term: str) -> Fraction:
    left, _, right = term.partition(" × ")
    return Fraction(left) * Fraction(right or "1")


def _check_restated(prompt: Prompt, line: str, values: Sequence[Fraction]) -> None:
    said = [part.rpartition(" ")[::2] for part in line.split(", ")]
    truth = list(zip(prompt.options, values, strict=True))
    right = all(re.fullmatch(_NUMBER, value) for _, value in said)
    if not right or [(label, Fraction(value)) for label, value in said] != truth:
        _fail(prompt, line, "these are not the options with their numbers")


def _check_comparison(prompt: Prompt, restated: str, line: str, values: Sequence[Fraction]) -> None:
    """The largest of several numbers, or digits of two from the left to the first that differ."""
    most = _MOST.fullmatch(line)
    if most:
        if Fraction(most[1]) != max(values) or (len(values) == 2 and min(values) >= 0):
            _fail(prompt, line, f"the numbers are {restated}, and two are compared by digits")
        return
    if len(values) != 2:
        _fail(prompt, line, "of more than two numbers the largest is named")
    written = [part.rpartition(" ")[2] for part in restated.split(", ")]
    if len({(len(text), text.find(".")) for text in written}) > 1:
        _fail(prompt, restated, "digits of unlike value would stand above each other")
    (a, b), truth = prompt.options, []
    for one, other in zip(*written, strict=True):
        if one != ".":
            larger = f"max({one}, {other}) = {max(one, other)}, {a if one > other else b} is more"
            truth.append((a, one, b, other, "same" if one == other else larger))
        if one != other:
            break
    claims = [_DIGITS.fullmatch(claim) for claim in line.removesuffix(".").split(". ")]
    if not line.endswith(".") or [claim and claim.groups() for claim in claims] != truth:
        _fail(prompt, line, f"the numbers are {restated}")


# ---- the tree -----------------------------------------------------------------------------------


def _pays(prompt: Prompt, mine: str, theirs: str | None) -> Fraction | None:
    """What the asked one gets at the end that two labels lead to."""
    scene = SCENES[prompt.protocol.game]
    second = seat(prompt.protocol, prompt.node, prompt.seen).moves == "second"
    first_labels, second_labels = mover_labels(prompt)
    for a, b, pays in scene.ends:
        labels = (first_labels[a], None if b is None else second_labels[b])
        if labels == ((theirs, mine) if second else (mine, theirs)):
            return _exact(getattr(prompt.protocol, pays[1 if second else 0]))
    return None


def expected(
    protocol: Protocol, first: Sequence[Fraction], second: Sequence[Fraction]
) -> tuple[Fraction, Fraction]:
    """Expected payoffs of the first and the second mover, by walking the tree."""
    scene = SCENES[protocol.game]
    earned = [Fraction(0), Fraction(0)]
    for a, b, pays in scene.ends:
        chance = first[0] if a == 1 else 1 - first[0]
        if b is not None:
            node = 0 if scene.at_once else scene.second[a]
            chance *= second[node] if b == 1 else 1 - second[node]
        for who in (0, 1):
            earned[who] += chance * _exact(getattr(protocol, pays[who]))
    return earned[0], earned[1]


def best_choices(prompt: Prompt, kappa: Fraction) -> set[str]:
    """The choices of a prompt that belong to strategies of greatest utility."""
    utilities = _utilities(prompt, kappa)
    top = max(utilities.values())
    best = {s for s, value in utilities.items() if value == top}
    return best if prompt.node is None else {s[prompt.node] for s in best}


def _utilities(prompt: Prompt, kappa: Fraction) -> dict[str, Fraction]:
    found = {}
    for digits in product("01", repeat=prompt.protocol.n_nodes):
        own, alike, _ = _payoffs(prompt.protocol, prompt.belief or (), "".join(digits))
        found["".join(digits)] = (1 - kappa) * own + kappa * alike
    return found


@lru_cache(maxsize=256)
def _payoffs(
    protocol: Protocol, belief: tuple[float, ...], strategy: str
) -> tuple[Fraction, Fraction, tuple[Fraction, Fraction]]:
    """Own and universalised payoff of a strategy, and what it earns in the two roles."""
    x = [Fraction(int(digit)) for digit in strategy]
    y = [_exact(chance) for chance in belief]
    roles = expected(protocol, x, y)[0], expected(protocol, y, x)[1]
    alike = sum(expected(protocol, x, x), Fraction(0)) / 2
    return sum(roles, Fraction(0)) / 2, alike, roles


@dataclass(frozen=True)
class Values:
    """What counts for an option.

    Parameters
    ----------
    own, alike : Fraction
        Own payoff against the other, and where everybody does the same.
    roles : pair of Fraction
        What it earns moving first and second.
    total : Fraction
        What options are compared by: at kappa = 1/2 twice the utility.
    """

    own: Fraction
    alike: Fraction
    roles: tuple[Fraction, Fraction]
    total: Fraction


def option_values(prompt: Prompt, choice: str, kappa: Fraction) -> Values:
    """What counts for an option; at a node, for the best strategy with that action there."""
    utilities, node = _utilities(prompt, kappa), prompt.node
    fitting = [s for s in utilities if s == choice or (node is not None and s[node] == choice)]
    best = max(fitting, key=utilities.__getitem__)
    own, alike, roles = _payoffs(prompt.protocol, prompt.belief or (), best)
    if kappa == 0:
        own = own if node is None else _in_the_role(prompt, best)
        return Values(own, alike, roles, own)
    total = own + alike if kappa == Fraction(1, 2) else utilities[best]
    return Values(own, alike, roles, total)


def _in_the_role(prompt: Prompt, strategy: str) -> Fraction:
    """What a strategy earns in the role asked about, once what was seen has happened."""
    sits = seat(prompt.protocol, prompt.node, prompt.seen)
    x = [Fraction(int(digit)) for digit in strategy]
    y = [_exact(chance) for chance in prompt.belief or ()]
    if sits.moves == "second":
        after = [Fraction(int(sits.after or 0)), *y[1:]]
        return expected(prompt.protocol, after, x)[1]
    return expected(prompt.protocol, x, y)[0]


def _exact(value: float) -> Fraction:
    return Fraction(repr(float(value)))
