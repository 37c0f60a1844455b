"""Targets: a derivation in numbers and the decision it leads to, in words that can be checked.

Every sentence that carries a number has one of a few forms, which :mod:`.verify` reads again:
``I A, other B: I get 34.``, ``I A: I get 34.``, ``A 079, B 071.``,
``34 + 45: 4 + 5 = 09, 3 + 4 = 07, 07 + 0 = 07: 079.``, ``0.5 × 60 + 0.5 × 15 = 37.5.`` (any),
``A 7, B 7: same.``, ``A 9, B 1: max(9, 1) = 9, A is more.`` and ``79 is the most.`` Numbers are
exact decimals: nothing is rounded.

Two whole numbers are compared digit by digit, written with as many digits each. To say at once
which of two numbers of several digits is larger is what small models fail at: tuned on "34 is more
than 27.", they copied payoffs and added them up without an error, and then wrote the smaller first.

The derivation of homo moralis at kappa = 1/2 compares own + alike, twice the utility, so that whole
payoffs stay whole numbers, and adds them up in columns, two digits first and then what is carried:
tuned on sums written at once a small model wrote 20 + 75 = 105, and on 4 + 1 + 1 = 06 it wrote 09.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import Prompt
from mlinstruments.agents.prompts import mover_labels
from mlinstruments.agents.scenes import SCENES, seat
from mlinstruments.games.payoffs import PATHS

from .arithmetic import SUM_DIGITS, added_up, aligned, exact, expectation, number
from .labels import Label, best_choice, check_kappa

STYLES = ("full", "short", "action")
HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Option:
    """One of the options with the sentences that lead to its number.

    Parameters
    ----------
    label : str
    text : str
        The sentences, on one line.
    value : Fraction
        What is compared.
    """

    label: str
    text: str
    value: Fraction


def target(prompt: Prompt, kappa: float = 0.0, style: str = "short") -> str:
    """What the utility would answer to a prompt.

    Parameters
    ----------
    prompt : Prompt
        About a choice, with beliefs stated in it (or the other's action seen).
    kappa : float
        0 is homo economicus.
    style : {"full", "short", "action"}
        ``short``: a line for each option that copies the payoffs that count from the prompt and
        adds them up, a comparison, the decision. ``full``: the same under a sentence that says
        what is compared and why. ``action``: the label alone.

    Returns
    -------
    str

    Raises
    ------
    InputError
        Where the prompt states no belief, choices tie, or numbers have no exact short decimals.

    Examples
    --------
    >>> from mlinstruments.agents import make_prompt
    >>> from mlinstruments.alignment import target
    >>> from mlinstruments.games import Protocol
    >>> hunt = Protocol("matrix", 45, 60, 40, 10, id="hunt")
    >>> prompt = make_prompt(hunt, 0, seen=0, reply="reasoned")
    >>> print(target(prompt))
    My payoffs: A A 60, A B 10, B A 45, B B 40. The other: B.
    I A, other B: I get 10.
    I B, other B: I get 40.
    A 10, B 40. A 1, B 4: max(1, 4) = 4, B is more.
    Decision: B
    >>> print(target(prompt, kappa=0.5))
    My payoffs: A A 60, A B 10, B A 45, B B 40. The other: B.
    I A, other B: I get 10. I A, other A: I get 60. 10 + 60: 0 + 0 = 00, 1 + 6 = 07,
    07 + 0 = 07: 070.
    I B, other B: I get 40. I B, other B: I get 40. 40 + 40: 0 + 0 = 00, 4 + 4 = 08,
    08 + 0 = 08: 080.
    A 070, B 080. A 0, B 0: same. A 7, B 8: max(7, 8) = 8, B is more.
    Decision: B
    """
    check_choice(style, "style", STYLES)
    label = label_of(prompt, kappa)
    decided = prompt.label_of(decision(prompt, label))
    if style == "action":
        return decided
    options = _options(prompt, label)
    lines = [*_reading(prompt), *(option.text for option in options)]
    lines.append(_comparison(options, SUM_DIGITS if label.kappa == HALF else 1))
    lines.append(f"Decision: {decided}")
    return "\n".join([_principle(label.kappa), *lines] if style == "full" else lines)


def label_of(prompt: Prompt, kappa: float) -> Label:
    """What is best in the situation of a prompt.

    Raises
    ------
    InputError
        Where it asks for a belief, or states none.
    """
    if prompt.asks != "choice":
        raise InputError(f"prompt {prompt.id!r} asks for a belief: a utility does not answer it.")
    if prompt.belief is None:
        raise InputError(
            f"prompt {prompt.id!r} states no belief about the other, on which the best choice"
            " depends: make it with belief=, or with seen= in games where both move at once."
        )
    return best_choice(prompt.protocol, prompt.belief, check_kappa(kappa))


def decision(prompt: Prompt, label: Label) -> str:
    """The choice of ``prompt.choices`` that is best.

    Raises
    ------
    InputError
        Where choices tie.
    """
    chosen = label.choice(prompt.node)
    if chosen is None:
        raise InputError(
            f"prompt {prompt.id!r}: {' and '.join(label.best)} are equally good, so there is no"
            " one right answer."
        )
    return chosen


def _comparison(options: Sequence[Option], least: int) -> str:
    """Numbers, which stand lines apart, are restated side by side before they are compared."""
    labels, values = [o.label for o in options], [o.value for o in options]
    if len(options) > 2 or min(values) < 0:
        restated = _side_by_side(labels, [number(value) for value in values])
        return f"{restated}. {number(max(values))} is the most."
    written = aligned(values, least)
    said = [_side_by_side(labels, written) + "."]
    for digits in zip(*written, strict=True):
        if digits[0] != digits[1]:
            more = labels[int(digits[1] > digits[0])]
            one, other = digits
            larger = f"max({one}, {other}) = {max(digits)}"
            said.append(f"{_side_by_side(labels, digits)}: {larger}, {more} is more.")
            break
        if digits[0] != ".":
            said.append(f"{_side_by_side(labels, digits)}: same.")
    return " ".join(said)


def _side_by_side(labels: Sequence[str], written: Sequence[str]) -> str:
    return ", ".join(f"{label} {text}" for label, text in zip(labels, written, strict=True))


def _principle(kappa: float) -> str:
    if kappa == 0:
        return "I choose what can be expected to pay me most."
    if kappa == 1:
        return "I choose what would pay me most if everybody chose the same."
    named = f"with weights {number(exact(kappa))} and {number(1 - exact(kappa))}"
    weights = "with equal weights" if kappa == 0.5 else named
    return (
        "I choose by two numbers: what I would get if everybody chose the same as I, and what I"
        f" can expect to get, {weights}."
    )


def _reading(prompt: Prompt) -> list[str]:
    """The payoffs that count in one form, in the order of the prompt, and what the other does.

    Copying in order is what small models do reliably, whatever the rendering; the lines below then
    look payoffs up in a text that is always of the same form.
    """
    sits, scene = seat(prompt.protocol, prompt.node, prompt.seen), SCENES[prompt.protocol.game]
    if sits.moves == "both":
        return []
    mine = 1 if sits.moves == "second" else 0
    labels, ends = mover_labels(prompt), {(a, b): pays for a, b, pays in scene.ends}
    read = []
    for a in labels[0]:
        for b in (*labels[1], None):
            if (a, b) in ends:
                said = [labels[0][a], *([] if b is None else [labels[1][b]])]
                value = number(exact(getattr(prompt.protocol, ends[a, b][mine])))
                read.append(" ".join([*(said[::-1] if mine else said), value]))
    known = [] if sits.after is None else [f"The other: {labels[0][sits.after]}."]
    return [" ".join([f"My payoffs: {', '.join(read)}.", *known])]


# ---- options ------------------------------------------------------------------------------------


def _options(prompt: Prompt, label: Label) -> list[Option]:
    """The derivation of every option, in the order shown."""
    kappa, belief = exact(label.kappa), [exact(b) for b in label.belief]
    writer = _Writer(prompt, belief, kappa)
    simple = SCENES[prompt.protocol.game].at_once or (kappa == 0 and prompt.node is not None)
    made = []
    for name, choice in zip(prompt.options, prompt.choices, strict=True):
        if simple:
            made.append(writer.at_one_node(name, int(choice)))
        else:
            made.append(writer.in_both_roles(name, _strategy(prompt, label, choice)))
    return made


def _strategy(prompt: Prompt, label: Label, choice: str) -> str:
    """The whole strategy an option stands for: at a node, the best one with that action there."""
    if prompt.node is None or prompt.protocol.n_nodes == 1:
        return choice
    names = prompt.protocol.strategies
    rank = dict(zip(names, label.utility.tolist(), strict=True))
    return max((s for s in names if s[prompt.node] == choice), key=rank.__getitem__)


@dataclass(frozen=True)
class _Writer:
    prompt: Prompt
    belief: list[Fraction]
    kappa: Fraction

    def pay(self, name: str) -> Fraction:
        return exact(getattr(self.prompt.protocol, name))

    def at_one_node(self, name: str, action: int) -> Option:
        """Sentences about one action, the rest of the game being given."""
        own_text, own = self._own(name, action)
        if self.kappa == 0:
            return Option(name, own_text, own)
        alike = self.pay("R" if action == 1 else "P")
        alike_text = f"I {name}, other {name}: I get {number(alike)}."
        sum_text, total = self._weighed(own, alike)
        return Option(name, f"{own_text} {alike_text} {sum_text}", total)

    def _own(self, name: str, action: int) -> tuple[str, Fraction]:
        """What an action pays against the other's move, or against what is expected of it."""
        scene, sits = (
            SCENES[self.prompt.protocol.game],
            seat(self.prompt.protocol, self.prompt.node, self.prompt.seen),
        )
        first, second = mover_labels(self.prompt)
        if sits.moves == "second":
            ends = {b: pays[1] for a, b, pays in scene.ends if a == sits.after}
            seen = first[int(sits.after or 0)]
            return self._got(f"I {name}, other {seen}", self.pay(ends[action]))
        ends = {b: pays[0] for a, b, pays in scene.ends if a == action}
        if None in ends:
            return self._got(f"I {name}", self.pay(ends[None]))
        chance = self.belief[0] if scene.at_once else self.belief[scene.second[action]]
        if chance in (0, 1):
            other = second[int(chance)]
            return self._got(f"I {name}, other {other}", self.pay(ends[int(chance)]))
        text, value = expectation([(chance, self.pay(ends[1])), (1 - chance, self.pay(ends[0]))])
        return f"I {name}: {text}.", value

    @staticmethod
    def _got(who: str, value: Fraction) -> tuple[str, Fraction]:
        return f"{who}: I get {number(value)}.", value

    def in_both_roles(self, name: str, strategy: str) -> Option:
        """Sentences about a whole strategy, each position coming up half the time."""
        x = [Fraction(int(digit)) for digit in strategy]
        first, second = self._role(x, self.belief, 0), self._role(self.belief, x, 1)
        own_text, own = expectation([(HALF, first[1]), (HALF, second[1])])
        text = f"I {name}: moving first {first[0]}, moving second {second[0]}. {own_text}."
        if self.kappa == 0:
            return Option(name, text, own)
        # Where both play x, one earns the first payoff of the end they reach, one the second.
        alike = [self._role(x, x, who)[1] for who in (0, 1)]
        alike_text, value = expectation([(HALF, alike[0]), (HALF, alike[1])])
        sum_text, total = self._weighed(own, value)
        return Option(name, f"{text} Both {name}: {alike_text}. {sum_text}", total)

    def _role(
        self, first: Sequence[Fraction], second: Sequence[Fraction], who: int
    ) -> tuple[str, Fraction]:
        """Expected payoff of the first (0) or the second mover (1)."""
        paths = PATHS[self.prompt.protocol.game](first, second)  # type: ignore[arg-type]
        # The paths of a game are sums and products, of fractions as of arrays.
        ends = [(Fraction(str(chance)), self.pay(pays[who])) for chance, pays in paths]
        return expectation([(chance, pay) for chance, pay in ends if chance != 0])

    def _weighed(self, own: Fraction, alike: Fraction) -> tuple[str, Fraction]:
        if self.kappa == HALF:
            return added_up(own, alike), own + alike
        text, value = expectation([(1 - self.kappa, own), (self.kappa, alike)])
        return f"{text}.", value
