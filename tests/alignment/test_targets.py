"""Derivations: right numbers, found right by a second evaluator that finds wrong ones wrong."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import belief_prompt, label_sets, make_prompt, renderings, wordings
from mlinstruments.agents.base import Prompt
from mlinstruments.alignment import best_choice, target
from mlinstruments.alignment.arithmetic import number
from mlinstruments.alignment.render import STYLES
from mlinstruments.alignment.tree import expected
from mlinstruments.alignment.verify import check_target, reasons_hold
from mlinstruments.games import GAMES, Protocol, sample_protocols
from mlinstruments.games.payoffs import payoff

HUNT = Protocol("matrix", 45, 60, 40, 10, id="hunt")


def prompts(seed: int = 0, each: int = 4) -> list[Prompt]:
    """Prompts about every game and node, and whole strategies, in turning templates."""
    rng, made = np.random.default_rng(seed), []
    names = [(w, r) for w in wordings() for r in renderings()]
    for game in GAMES:
        for protocol in sample_protocols(game, each, seed):
            nodes = [*range(protocol.n_nodes), *([None] if protocol.n_nodes > 1 else [])]
            for node in nodes:
                wording, rendering = names[len(made) % len(names)]
                belief = [
                    float(b) for b in rng.choice([0.0, 0.1, 0.25, 0.5, 0.9, 1.0], protocol.n_nodes)
                ]
                seen = (
                    int(rng.integers(2))
                    if game in ("matrix", "public_goods") and rng.random() < 0.5
                    else None
                )
                made.append(
                    make_prompt(
                        protocol, node, wording=wording, rendering=rendering,
                        labels=label_sets()[len(made) % len(label_sets())], order=len(made) % 2,
                        belief=None if seen is not None else belief, seen=seen, reply="reasoned",
                    )
                )  # fmt: skip
    return made


def untied(prompt: Prompt, kappa: float) -> bool:
    label = best_choice(prompt.protocol, prompt.belief or (), kappa)
    return label.choice(prompt.node) is not None


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kappa", [0.0, 0.5, 0.25, 0.3, 0.75, 1.0])
def test_every_number_is_found_right_by_a_second_evaluator(kappa: float, style: str) -> None:
    checked = 0
    for seed in (0, 1):
        for prompt in prompts(seed, each=8):
            if untied(prompt, kappa):
                text = target(prompt, kappa, style)
                check_target(prompt, text, kappa)
                assert reasons_hold(prompt, text, kappa) == (style != "action")
                checked += 1
    assert checked > 120


@pytest.mark.parametrize("kappa", [0.0, 0.5, 0.3])
def test_a_wrong_number_anywhere_is_found(kappa: float) -> None:
    """Every number of every target, off by one, one at a time."""
    for prompt in prompts(each=1):
        if not untied(prompt, kappa):
            continue
        text = target(prompt, kappa, "full")
        body = text.rindex("\n")  # the label of the decision is checked below
        for match in re.finditer(r"\d+(?:\.\d+)?", text[:body]):
            before, after = text[: match.start()], text[match.end() :]
            if after.startswith((":", ", other")) or re.search(r"(other|other:|Both|I) $", before):
                continue  # a digit that is a label
            if before.rsplit("\n", 1)[-1].startswith("My payoffs") and after[0] == " ":
                continue  # likewise
            wrong = before + number(Fraction(match[0]) + 1) + after
            with pytest.raises(InputError, match="is wrong"):
                check_target(prompt, wrong, kappa)


@pytest.mark.parametrize(
    "said",
    [
        "A 070, B 080. A 0, B 0: same. A 7, B 8: max(7, 8) = 8, A is more.",  # the wrong one
        "A 070, B 080. A 7, B 8: max(7, 8) = 8, B is more.",  # a digit left out
        "A 070, B 080. A 0, B 0: same.",  # not to the end
        "A 070, B 080. A 0, B 0: same. A 7, B 8: same.",
        "A 070, B 080. A 0, B 0: same. A 7, B 8: max(7, 8) = 8, B is more. A 0, B 0: same.",
        "A 070, B 080. B 0, A 0: same. B 8, A 7: max(8, 7) = 8, B is more.",
        "A 70, B 080. A 7, B 0: max(7, 0) = 7, A is more.",  # digits of unlike value
        "A 070, B 80. A 0, B 8: max(0, 8) = 8, B is more.",
        "A 70, B 90. A 7, B 9: max(7, 9) = 9, B is more.",  # another number
        "A 070, B 080. A 0, B 0: same. A 7, B 8: max(7, 8) = 7, B is more.",
        "A 070, B 080. A 0, B 0: same. A 7, B 8: max(7, 9) = 8, B is more.",
        "A 070, B 080. A 0, B 0: same. A 7, B 8: B is more.",
        "A 070, B 080. 80 is the most.",  # two numbers are compared by digits
        "A 070, B 080. A 0, B 0: same. A 7, B 8: max(7, 8) = 8, B is more",
    ],
)
def test_digits_that_do_not_follow_are_found(said: str) -> None:
    prompt = make_prompt(HUNT, 0, seen=0, reply="reasoned")
    good = target(prompt, 0.5)
    right = "A 070, B 080. A 0, B 0: same. A 7, B 8: max(7, 8) = 8, B is more."
    assert right in good
    with pytest.raises(InputError, match="is wrong"):
        check_target(prompt, good.replace(right, said), 0.5)


def test_of_more_than_two_numbers_the_largest_is_named() -> None:
    several = [p for p in prompts(each=1) if len(p.options) > 2 and untied(p, 0.5)]
    assert several
    good = target(several[0], 0.5)
    claim = re.search(r"\S+ is the most\.", good)
    assert claim is not None
    with pytest.raises(InputError, match="the largest is named"):
        check_target(several[0], good.replace(claim[0], "A 1, B 0: max(1, 0) = 1, A is more."), 0.5)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 0.3])
def test_whatever_a_model_writes_is_judged(kappa: float) -> None:
    rng, judged = np.random.default_rng(11), 0
    for prompt in prompts(seed=2, each=2):
        if not untied(prompt, kappa):
            continue
        text = target(prompt, kappa, "full")
        assert reasons_hold(prompt, text + "\n", kappa)
        lines = text.split("\n")
        for _ in range(25):
            place, kept = int(rng.integers(len(text))), int(rng.integers(len(lines)))
            said = {
                "lost": text[:place] + text[place + 1 :],
                "twice": text[:place] + text[place] + text[place:],
                "changed": text[:place] + str(rng.choice(list("019 .,:=AB\n"))) + text[place + 1 :],
                "cut": text[:place],
                "line lost": "\n".join(lines[:kept] + lines[kept + 1 :]),
                "lines only": "\n".join(lines[kept:]),
            }
            for how, other in said.items():
                held = reasons_hold(prompt, other, kappa)  # raises nothing, whatever it reads
                if re.findall(r"[\d.]+", other) != re.findall(r"[\d.]+", text) and how in (
                    "lost", "twice", "changed", "cut",
                ):  # fmt: skip
                    assert not held or same_numbers(other, text), (how, other)
                judged += 1
    for nothing in (None, "", " ", "\n", "Decision: A", "I choose.\nDecision: A"):
        assert not reasons_hold(prompts()[0], nothing, kappa)
    assert judged > 2000


def same_numbers(one: str, other: str) -> bool:
    """Whether two texts hold numbers of one value, such as 7 and 07."""
    values = [[float(n) for n in re.findall(r"\d+(?:\.\d+)?", text)] for text in (one, other)]
    return values[0] == values[1]


def test_a_wrong_decision_is_found() -> None:
    for prompt in prompts(each=1):
        if untied(prompt, 0.5):
            text = target(prompt, 0.5)
            said = text.rsplit(": ", 1)[1]
            for option in prompt.options:
                if option != said:
                    with pytest.raises(InputError, match="the utility chooses"):
                        check_target(prompt, text.rsplit(": ", 1)[0] + f": {option}", 0.5)


def test_payoffs_attributed_to_the_wrong_option_are_found() -> None:
    prompt = make_prompt(HUNT, 0, seen=0, reply="reasoned")
    good = target(prompt)
    check_target(prompt, good)
    swapped = good.replace("I A, other B", "I C, other B").replace("I B, other B", "I A, other B")
    with pytest.raises(InputError):
        check_target(prompt, swapped.replace("I C, other B", "I B, other B"))
    with pytest.raises(InputError, match="must go through A, B"):
        check_target(
            prompt,
            "I B, other B: I get 40.\nA 10, B 40. A 1, B 4: max(1, 4) = 4, B is more.\nDecision: B",
        )
    with pytest.raises(InputError, match="nothing in it can be checked"):
        check_target(prompt, "It is about 40 points.\n" + good)


@pytest.mark.parametrize(
    ("kappa", "right", "said"),
    [
        (0.0, "I A, other B: I get 10.", "I A, other A: I get 60."),  # a cell not reached
        (0.0, "I B, other B: I get 40.", "I B, other A: I get 45."),
        (0.0, "I A, other B: I get 10.", "I A: 10."),
        (0.0, "I A, other B: I get 10.", "I A, other B: 10."),
        (0.0, "I A, other B: I get 10.", "I A: moving first 10, moving second 10. 10."),
        (0.0, "My payoffs: A A 60,", "My payoffs: A A 99, A A 60,"),
        (0.5, "I A, other B: I get 10. I A", "I A, other A: I get 60. I A"),
        (0.5, "I A, other A: I get 60. 10 +", "I A, other A: I get 20 + 40 = 60. 10 +"),
        (0.5, "I A, other A: I get 60. 10 +", "Both A: 60. 10 +"),
        (0.5, "10 + 60: 0 + 0 = 00, 1 + 6 = 07, 07 + 0 = 07: 070", "35 + 35: 5 + 5 = 10, 3 + 3 = 06, 06 + 1 = 07: 070"),  # of numbers that were not read
        (0.5, "10 + 60: 0 + 0 = 00, 1 + 6 = 07, 07 + 0 = 07: 070", "10 + 60 = 070"),
        (0.5, "10 + 60: 0 + 0 = 00, 1 + 6 = 07, 07 + 0 = 07: 070", "1 × 10 + 1 × 60 = 070"),
        (0.5, "0 + 0 = 00, 1 + 6 = 07, 07 + 0 = 07", "1 + 6 = 07, 0 + 0 = 00, 00 + 0 = 00"),
        (0.5, "0 + 0 = 00, 1 + 6 = 07, 07 + 0 = 07", "0 + 0 = 00, 1 + 6 = 07"),
        (0.5, "07 + 0 = 07", "07 + 1 = 07"),
        (0.5, "07 + 0 = 07", "7 + 0 = 7"),
        (0.5, "10 + 60: 0 + 0 = 00, 1 + 6 = 07, 07 + 0 = 07: 070", "070"),
        (0.3, "0.7 × 10 + 0.3 × 60 = 25", "0.3 × 10 + 0.7 × 60 = 25"),
        (0.3, "0.7 × 10 + 0.3 × 60 = 25", "0.5 × 10 + 0.5 × 40 = 25"),
        (0.3, "0.7 × 10 + 0.3 × 60 = 25", "7 + 18 = 25"),
    ],
)  # fmt: skip
def test_right_numbers_from_elsewhere_are_found(kappa: float, right: str, said: str) -> None:
    prompt = make_prompt(HUNT, 0, seen=0, reply="reasoned")
    good = target(prompt, kappa)
    assert right in good
    assert not reasons_hold(prompt, good.replace(right, said), kappa)


def test_expectations_add_up_the_ends_that_may_come() -> None:
    prompt = make_prompt(HUNT, 0, belief=0.25, reply="reasoned")
    good, right = target(prompt), "I A: 0.25 × 60 + 0.75 × 10 = 22.5."
    assert right in good
    for said in ("I A: 0.5 × 45 = 22.5.", "I A: 22.5.", "I A: 12.5 + 10 = 22.5.",
                 "I A, other A: 0.25 × 60 + 0.75 × 10 = 22.5."):  # fmt: skip
        assert not reasons_hold(prompt, good.replace(right, said))
    spd = Protocol("spd", 90, 65, 25, 10, id="spd")
    prompt = make_prompt(spd, 0, belief=(0.5, 0.75, 0.25), reply="reasoned")
    good = target(prompt, 0.5)
    sums = set(re.findall(r"0\.5 × [\d.]+ \+ 0\.5 × [\d.]+ = ([\d.]+\d)", good))
    assert len(sums) > 2
    for value in sums:
        half = f"0.5 × {value} + 0.5 × {value} = {value}"
        other = re.sub(rf"0\.5 × [\d.]+ \+ 0\.5 × [\d.]+ = {re.escape(value)}\b", half, good)
        assert other == good or not reasons_hold(prompt, other, 0.5)


def test_a_decision_alone_is_a_label_and_nothing_else() -> None:
    prompt = make_prompt(HUNT, 0, seen=0, reply="reasoned")
    for alone in ("B", "Decision: B"):
        check_target(prompt, alone)
    for more in ("I A, other B: I get 99. I B, other B: I get 1. Decision: B", "Option B", "B."):
        with pytest.raises(InputError, match="a label and nothing else"):
            check_target(prompt, more)


def test_the_principle_is_that_of_the_utility() -> None:
    prompt = make_prompt(HUNT, 0, seen=0, reply="reasoned")
    kappas = (0.0, 0.25, 0.5, 1.0)
    said = {kappa: target(prompt, kappa, "full").partition("\n")[0] for kappa in kappas}
    for kappa in kappas:
        for other in kappas:
            text = f"{said[other]}\n{target(prompt, kappa)}"
            assert reasons_hold(prompt, text, kappa) == (kappa == other)
    # Weights as they are, all digits of them.
    text = target(prompt, 0.1234567, "full")
    assert "with weights 0.1234567 and 0.8765433." in text
    check_target(prompt, text, 0.1234567)


def test_prompts_without_a_target_and_weights_that_are_none_are_refused() -> None:
    prompt = make_prompt(HUNT, 0, seen=0, reply="reasoned")
    for check in (check_target, reasons_hold):
        with pytest.raises(InputError, match="states no belief"):
            check(make_prompt(HUNT, 0), "A")
        with pytest.raises(InputError, match="asks for a belief"):
            check(belief_prompt(HUNT, 0), "50")
        for kappa in (float("nan"), 1.5):
            with pytest.raises(InputError, match="kappa must be"):
                check(prompt, "A", kappa)


def test_the_tree_and_the_paths_agree() -> None:
    rng = np.random.default_rng(1)
    for game in GAMES:
        for protocol in sample_protocols(game, 5, 2):
            x, y = (rng.integers(0, 11, protocol.n_nodes) / 10 for _ in range(2))
            exact = [[Fraction(repr(float(v))) for v in z] for z in (x, y)]
            first = expected(protocol, exact[0], exact[1])[0]
            second = expected(protocol, exact[1], exact[0])[1]
            assert float((first + second) / 2) == pytest.approx(
                float(payoff(protocol, x, y)), rel=1e-12
            )


def test_targets_read_as_they_should() -> None:
    prompt = make_prompt(HUNT, 0, belief=0.25, order=1, reply="reasoned")
    # 0.25 * 45 + 0.75 * 40 = 41.25 where the other may cooperate; 0.25 * 60 + 0.75 * 10 = 22.5.
    assert target(prompt).splitlines() == [
        "My payoffs: A A 40, A B 45, B A 10, B B 60.",
        "I A: 0.25 × 45 + 0.75 × 40 = 41.25.",
        "I B: 0.25 × 60 + 0.75 × 10 = 22.5.",
        "A 41.25, B 22.50. A 4, B 2: max(4, 2) = 4, A is more.",
        "Decision: A",
    ]
    assert target(prompt, 0.5).splitlines()[2] == (
        "I B: 0.25 × 60 + 0.75 × 10 = 22.5. I B, other B: I get 60. 22.5 + 60 = 082.5."
    )
    assert target(prompt, 0.5, "action") == "B"


@pytest.mark.parametrize(
    ("payoffs", "sums"),
    [
        ((45, 60, 40, 15), ("15 + 60: 5 + 0 = 05, 1 + 6 = 07, 07 + 0 = 07: 075", "40 + 40: 0 + 0 = 00, 4 + 4 = 08, 08 + 0 = 08: 080")),
        ((90, 95, 60, 85), ("85 + 95: 5 + 5 = 10, 8 + 9 = 17, 17 + 1 = 18: 180", "60 + 60: 0 + 0 = 00, 6 + 6 = 12, 12 + 0 = 12: 120")),
        ((9, 105, 4, 7), ("7 + 105: 7 + 5 = 12, 0 + 0 = 00, 00 + 1 = 01, 0 + 1 = 01, 01 + 0 = 01: 112", "4 + 4: 4 + 4 = 08: 008")),
        ((45, 60.5, 40, 15), ("15 + 60.5 = 075.5", "40 + 40: 0 + 0 = 00, 4 + 4 = 08, 08 + 0 = 08: 080")),
        ((45, 60, -40, 15), ("15 + 60: 5 + 0 = 05, 1 + 6 = 07, 07 + 0 = 07: 075", "-40 + -40 = -80")),
    ],
)  # fmt: skip
def test_whole_numbers_are_added_up_in_columns(
    payoffs: tuple[float, ...], sums: tuple[str, str]
) -> None:
    protocol = Protocol("matrix", *payoffs, id="hunt")
    text = target(make_prompt(protocol, 0, seen=0, reply="reasoned"), 0.5)
    assert all(f"{said}.\n" in text for said in sums)


def test_at_equal_weights_the_sum_is_twice_the_utility() -> None:
    for prompt in prompts(each=2):
        if untied(prompt, 0.5):
            label = best_choice(prompt.protocol, prompt.belief or (), 0.5)
            top = max(
                float(n)
                for n in re.findall(r"[=:] (-?[\d.]+)\.$", target(prompt, 0.5), re.MULTILINE)
            )
            assert top == pytest.approx(2 * label.utility.max(), rel=1e-12)


def test_what_has_no_answer_is_refused() -> None:
    with pytest.raises(InputError, match="states no belief"):
        target(make_prompt(HUNT, 0))
    with pytest.raises(InputError, match="asks for a belief"):
        target(belief_prompt(HUNT, 0))
    tie = Protocol("matrix", 60, 60, 40, 10, id="tie")
    with pytest.raises(InputError, match="equally good"):
        target(make_prompt(tie, 0, seen=1))
    with pytest.raises(InputError, match="round numbers"):
        target(make_prompt(HUNT, 0, belief=1 / 3), 0.5)
    with pytest.raises(InputError, match="style"):
        target(make_prompt(HUNT, 0, seen=1), 0.5, "long")
