"""A second opinion on targets: every number in a text recomputed from the game's tree.

Shares nothing with the code that writes targets but the rules of the games: payoffs come from the
tree prompts are told from, not from the paths utilities are computed with; all in exact fractions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import NoReturn

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import Prompt, parse_answer
from mlinstruments.agents.prompts import mover_labels
from mlinstruments.agents.scenes import SCENES, seat

from .labels import check_kappa
from .tree import HALF, Values, best_choices, ends_met, exact, option_values, terms

_NUMBER = r"-?\d+(?:\.\d+)?"
_TERM = rf"{_NUMBER}(?: × {_NUMBER})?"
# A number, or a sum with what it comes to; no full stop belongs to it that ends a sentence.
_SUM = rf"(?:{_TERM}(?: \+ {_TERM})* = )?{_NUMBER}"
# A sum of two whole numbers in columns, the one on the right first, each with what it carries.
_COLUMNS = r"\d+ \+ \d+: [\d +=,]+: \d+"
# What a line about an option may be: its own payoff, the universalised one, their weighted sum.
_LINE = re.compile(
    rf"I (?P<label>\S+?)(?:, other (?P<other>\S+))?: (?:I get (?P<got>{_NUMBER})"
    rf"|moving first (?P<first>{_SUM}), moving second (?P<second>{_SUM})\. (?P<mean>{_SUM})"
    rf"|(?P<own>{_SUM}))\."
    rf"(?: (?:I (?P<mine>\S+), other (?P<theirs>\S+): I get|Both (?P<both>\S+):)"
    rf" (?P<alike>{_SUM})\. (?P<total>{_SUM}|{_COLUMNS})\.)?"
)
_READ = re.compile(r"My payoffs: (?P<cells>[^.]*(?:\.\d[^.]*)*)\.(?: The other: (?P<other>\S+)\.)?")
_DIGITS = re.compile(r"(\S+) (\d), (\S+) (\d): (same|max\(\d, \d\) = \d, \S+ is more)")
_MOST = re.compile(rf"({_NUMBER}) is the most\.")
# What a target in full begins with, by kappa; between these two weights are named.
_PRINCIPLES = {
    Fraction(0): "I choose what can be expected to pay me most.",
    Fraction(1): "I choose what would pay me most if everybody chose the same.",
}
_BOTH = (
    "I choose by two numbers: what I would get if everybody chose the same as I, and what I can"
    " expect to get, with {weights}."
)
# A factor, None where there is none, and what it multiplies.
Term = tuple[Fraction | None, Fraction]


def check_target(prompt: Prompt, text: str, kappa: float = 0.0) -> None:
    """Raise unless every number in a target, what it is said to be, and the decision are right.

    Parameters
    ----------
    prompt : Prompt
        About a choice, with beliefs stated in it (or the other's action seen).
    text : str
        As :func:`.target` writes it: a derivation, or the decision alone.
    kappa : float

    Raises
    ------
    InputError
        Naming the first claim that does not hold; also for prompts that have no target.

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
    weight = _weight(prompt, kappa)
    _, choice = parse_answer(text, prompt)
    right = best_choices(prompt, weight)
    if choice is None or choice not in right or len(right) > 1:
        _fail(prompt, text[-60:], f"the utility chooses {' or '.join(sorted(right))}")
    *lines, decision = text.splitlines()
    if not lines:
        if decision not in (prompt.label_of(choice), f"Decision: {prompt.label_of(choice)}"):
            _fail(prompt, text, "a decision without reasons is a label and nothing else")
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

    Raises
    ------
    InputError
        Where the prompt asks for a belief or states none, and for a kappa that is no weight.

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
    _weight(prompt, kappa)  # bad input is no wrong answer
    if text is None or "\n" not in text.strip():
        return False
    try:
        check_target(prompt, text.strip(), kappa)
    except InputError:
        return False
    return True


def _weight(prompt: Prompt, kappa: float) -> Fraction:
    """kappa, exactly, if the prompt is one that a utility answers."""
    if prompt.asks != "choice" or prompt.belief is None:
        why = "asks for a belief" if prompt.asks != "choice" else "states no belief about the other"
        raise InputError(
            f"prompt {prompt.id!r} {why}: there is no target to check. Make it with make_prompt and"
            " belief=, or with seen= in games where both move at once."
        )
    return exact(check_kappa(kappa))


def _fail(prompt: Prompt, claim: str, truth: str) -> NoReturn:
    raise InputError(f"target of {prompt.id!r}: {claim!r} is wrong, {truth}.")


def _check_principle(prompt: Prompt, line: str, kappa: Fraction) -> None:
    """The sentence of this utility, word by word."""
    weights = f"weights {_plain(kappa)} and {_plain(1 - kappa)}"
    both = _BOTH.format(weights="equal weights" if kappa == HALF else weights)
    right = _PRINCIPLES.get(kappa, both)
    if line != right:
        _fail(prompt, line, f"nothing in it can be checked; the utility says {right!r}")


def _plain(value: Fraction) -> str:
    """A decimal number with all its digits."""
    return format(Decimal(value.numerator) / Decimal(value.denominator), "f")


def _check_reading(prompt: Prompt, line: str) -> None:
    """All ends of the game with what the asked one gets at each, and what was seen."""
    said, sits = _READ.fullmatch(line), seat(prompt.protocol, prompt.node, prompt.seen)
    if said is None:
        _fail(prompt, line, "it is no list of payoffs")
    cells = {}
    for cell in said["cells"].split(", "):
        *labels, value = cell.split(" ")
        if tuple(labels) in cells:
            _fail(prompt, line, f"{' '.join(labels)} stands in it twice")
        cells[tuple(labels)] = value
    first, second = mover_labels(prompt)
    for a, b, pays in SCENES[prompt.protocol.game].ends:
        pair = [first[a], *([] if b is None else [second[b]])]
        mine = sits.moves == "second"
        truth = exact(getattr(prompt.protocol, pays[1 if mine else 0]))
        value = cells.pop(tuple(pair[::-1] if mine else pair), "none")
        if not re.fullmatch(_NUMBER, value) or Fraction(value) != truth:
            _fail(prompt, line, f"{' '.join(pair)} pays {float(truth):g}")
    seen = None if sits.after is None else first[sits.after]
    if cells or said["other"] != seen:
        _fail(prompt, line, f"the other is seen to play {seen}" if not cells else "one too many")


def _check_option(prompt: Prompt, line: str, kappa: Fraction) -> str:
    """The label a line is about, once all its numbers are right and come from where they must."""
    said = _LINE.fullmatch(line)
    if said is None or said["label"] not in prompt.options:
        _fail(prompt, line, f"it is no line about {' or '.join(prompt.options)}")
    label = said["label"]
    choice = prompt.choices[prompt.options.index(label)]
    truth = option_values(prompt, choice, kappa)
    if (said["total"] is None) != (kappa == 0):
        _fail(prompt, line, f"it must weigh all that counts for {label}")
    at_once = SCENES[prompt.protocol.game].at_once
    if at_once or (kappa == 0 and prompt.node is not None):
        _check_own(prompt, line, said, int(choice))
    else:
        _check_roles(prompt, line, said, truth)
    if kappa != 0:
        told = (label, label, None) if at_once else (None, None, label)
        if (said["mine"], said["theirs"], said["both"]) != told:
            _fail(prompt, line, f"it must say what {label} pays where both choose it")
        alike = [(Fraction(1), truth.alike)] if at_once else [(HALF, v) for v in truth.alike_roles]
        _check_sum(prompt, line, said["alike"], alike)
        whole = [v.denominator == 1 and v >= 0 for v in (truth.own, truth.alike)]
        if kappa == HALF and all(whole):
            _check_columns(prompt, line, said["total"], int(truth.own), int(truth.alike))
        else:
            _check_sum(prompt, line, said["total"], _weighed(truth, kappa))
    return label


def _check_own(prompt: Prompt, line: str, said: re.Match[str], action: int) -> None:
    """What an action pays: at the end it leads to for certain, or at those that are expected."""
    ends = ends_met(prompt, action)
    chance, pay, other = ends[0]
    if said["got" if len(ends) == 1 else "own"] is None:
        _fail(prompt, line, "it must say 'I get' where one end is certain, and add up elsewhere")
    if said["other"] != (other if len(ends) == 1 else None):
        _fail(prompt, line, f"the other plays {other}" if len(ends) == 1 else "nothing is certain")
    if len(ends) == 1:
        _check_sum(prompt, line, said["got"], [(chance, pay)])
    else:
        _check_sum(prompt, line, said["own"], [(chance, pay) for chance, pay, _ in ends])


def _check_roles(prompt: Prompt, line: str, said: re.Match[str], truth: Values) -> None:
    """What a strategy pays moving first, moving second, and on average."""
    if said["mean"] is None or said["other"] is not None:
        _fail(prompt, line, "it must say what moving first and moving second pay")
    x = [Fraction(int(digit)) for digit in truth.strategy]
    y = [exact(chance) for chance in prompt.belief or ()]
    _check_sum(prompt, line, said["first"], terms(prompt.protocol, x, y, 0))
    _check_sum(prompt, line, said["second"], terms(prompt.protocol, y, x, 1))
    _check_sum(prompt, line, said["mean"], [(HALF, value) for value in truth.roles])


def _weighed(truth: Values, kappa: Fraction) -> list[Term]:
    """What is added up to what options are compared by."""
    if kappa == HALF:
        return [(None, truth.own), (None, truth.alike)]
    return [(1 - kappa, truth.own), (kappa, truth.alike)]


def _check_sum(prompt: Prompt, line: str, written: str, added_up: Sequence[Term]) -> None:
    """That what is written adds up just these terms, in any order, and what it comes to."""
    *sums, result = written.split(" = ")
    value = sum((pay if factor is None else factor * pay for factor, pay in added_up), Fraction(0))
    if Fraction(result) != value:
        _fail(prompt, f"{line}: {written}", f"it is {float(value):g}")
    if len(added_up) == 1:
        if sums:
            _fail(prompt, f"{line}: {written}", "it is one number, and no sum")
        return
    added = Counter(_term(part) for side in sums for part in side.split(" + "))
    if added != Counter(added_up):
        _fail(prompt, f"{line}: {written}", "it must add up the numbers that count, and no others")


def _check_columns(prompt: Prompt, line: str, written: str, own: int, alike: int) -> None:
    """Own and universalised payoff in columns: what each place comes to with what the last left."""
    columns = []
    for place in range(len(str(max(own, alike)))):
        below, unit = 10**place, 10 ** (place + 1)
        carry = (own % below + alike % below) // below
        a, b = own % unit // below, alike % unit // below
        columns.append(f"{a} + {b} = {a + b:0>2}")
        if place:
            columns.append(f"{a + b:0>2} + {carry} = {a + b + carry:0>2}")
    right = f"{own} + {alike}: {', '.join(columns)}: {own + alike:0>3}"
    if written != right:
        _fail(prompt, f"{line}: {written}", f"in columns it is {right!r}")


def _term(written: str) -> Term:
    left, product_of, right = written.partition(" × ")
    return (Fraction(left), Fraction(right)) if product_of else (None, Fraction(left))


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
