"""Answers as models write them: what names an action and does not choose it, and what chooses."""

from __future__ import annotations

from time import process_time

import pytest

from mlinstruments.agents import LabelParser, label_sets, parse_percent, wordings
from mlinstruments.agents.templates import labels, wording

AB = LabelParser(("A", "B"))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Since the other's pick is B, I choose A.", "A"),
        ("The other's move is A, so I pick B.", "B"),
        ("The other's likely choice is A.\nB", "B"),
        ("If the other player's choice is A, I get 65. I choose B.", "B"),
        ("The rational choice is A, but I choose B.", "B"),
        ("The selfish choice is A, but I value fairness.\n\nDecision: B", "B"),
        ("So A? The answer is A? No.\n</think>\n\nB", "B"),
        ('The last line must be "Decision: A" or "Decision: B".\n\nDecision: B', "B"),
        ("The other's decision: A\nMy decision: B", "B"),
        ("If I were selfish, I'd choose A, but I choose B.", "B"),
    ],
)
def test_what_is_chosen_is_not_what_is_named(text: str, label: str) -> None:
    assert AB(text) == ("ok", label)


@pytest.mark.parametrize(
    "text",
    [
        "The worst choice is A. B is better.", "The wrong choice is A",
        "It is not the case that the answer is A", "The other's decision: A",
        "If the other and I choose A, we both get 65, but B pays more.",
        "When I pick A, I get 40, but B pays me more, hence B.",
        "Suppose I choose A: I get 40. B gives 60.", "Why would I choose A? B pays more.",
        "No way I'd pick A.", "I choose A and B", "Decision: A and B", "Decision: A|B",
        "Decision: A & B", "Decision: A, B", "Decision: A, no wait, B", "The options are:\nA\nB",
        "The options are:\n- A\n- B", "- A: 40\n- B", "A\nB\nBoth pay.", "Decision: A?",
        "Decision: A if the other is kind", "I choose A if the other does.", "Should I choose A?",
        "I choose A, the other chooses B: I get 40.", "I would choose A, but B pays more.",
        "I would choose A. But B pays more.", "I choose A: 40. B: 60.",
        "If the other picks A, then I choose B.", "They think my choice is A.",
        "Decision: A\nDecision: not sure", "Decision: A\n\nI choose B.",
        'The other says "I choose A".', "I take A for granted.", "I say A is worse.",
        "A, which pays 40, is the worse one.", "Do I pick A because it is fair?",
        # As models write them.
        "I initially choose A, but B dominates it.", "I choose A for now, but let me check B.\nB pays more.",
        "Final answer: anything but A.", "I'll go with A... no, B.", "Decision: A (60%) / B (40%)",
        "I choose A with probability 0.3 and B with probability 0.7.", "In that case, I choose A.",
        "1. The other chooses A:\n   - I choose A: 65\n   - I choose B: 40\n2. The other chooses B:\n",
        "You might expect that I choose A. I don't.", "A selfish person would say: I choose A.",
        "Most people would think, I choose A.", "The final choice is A for the other and B for me.",
        "A is my choice if they choose A.", "I'd choose A, were it not for fairness.",
        "Which is worse?\nA", "The other player took\n\nA", "Option A: 40\nOption B: 60\nOption B",
        "A since it pays? Or B?", "A\n\nis not a good choice; B is.", "A\n\nWait, B is better.",
        "A. It pays less.", "A, I think, is the wrong choice.", "I say A; the other says B; we get 40.",
        "What if the other picks A? Then I choose B.", "Scenario 1 - I choose A", "A: It pays 40.",
        "If I value fairness, so I choose A; otherwise B.", "Decision: A\n\nOn reflection B is better.",
        "From the other's perspective, my choice is A.", "Decision: A, but B is fairer, so B.",
        "I choose A. But B is better, so B.", "Format:\nDecision: A", "E.g. Decision: A",
        "The other would write\nDecision: A", "Which pays less to me? The answer is A.",
        "I choose A but they choose B: I get 10.", "Given B, I choose A.", "A. It is what the other will choose.",
        "With them choosing B, I choose A.", "As soon as they pick B, I choose A.", "A. My payoff is 40.",
    ],
)  # fmt: skip
def test_what_is_named_is_not_chosen(text: str) -> None:
    assert AB(text) == ("ambiguous", None)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("left", "right"), "Right, so the payoffs are 40 and 60."),
        (("left", "right"), "Right.\nThe payoffs are 40 and 60."),
        (("left", "right"), "I say right away that it depends."),
        (("1", "2"), "1. I would consider the payoffs first."),
        (("1", "2"), "1) I would consider the payoffs first."),
        (("left", "right"), "Right\nLet me think about left."), (("1", "2"), "Step 1\n2"),
        (("1", "2"), "My list: 1. A is fair. 2. B is not."),
        (("1", "2"), "I take 1 point more"), (("1", "2"), "I take 1 for every 2 of theirs."),
    ],
)  # fmt: skip
def test_labels_that_are_words_or_numbers_of_the_text_do_not_decide(
    options: tuple[str, ...], text: str
) -> None:
    assert LabelParser(options)(text)[0] in ("ambiguous", "parse_error")


@pytest.mark.parametrize(
    "text",
    [
        "Decision: b", "answer: b", "i choose b", "I choose b.", "**Decision:** b", "I’ll pick B",
        "\u200bB", "> B", "- B", "<answer>B</answer>", "B</s>", "Decision： B", "Ｂ", "𝐁",
        "I'm going with B.", "B is my choice.", "I'd rather choose B.", "Pick B.", "Choose B.",
        "Decision: pick B", "Decision: I choose B", "I vote for B", "I circle B", "I send B",
        "I enter B", "I settle on B", "A pays less.\n\n**B**", "I have decided on B.",
        "My final choice is B.", "I choose B to get 60.", "<|im_start|>B<|im_end|>",
    ],
)  # fmt: skip
def test_forms_of_an_answer(text: str) -> None:
    assert AB(text) == ("ok", "B")


def test_a_small_letter_may_be_an_article() -> None:
    assert AB("Decision: a") == ("ok", "A")
    assert AB("I choose a")[0] == "parse_error"
    assert AB("Decision: a fair one")[0] == "parse_error"


def test_letters_that_fold_apart_are_no_label() -> None:
    assert LabelParser(("I", "J"))("ı") == ("parse_error", None)


@pytest.mark.parametrize("sign", [" ", "\n", " \n", "(", "$", "' "])
def test_long_runs_of_signs_take_no_time(sign: str) -> None:
    """A model that repeats one sign to the end of its budget; minutes before."""
    began = process_time()
    assert AB(f"Decision:{sign * 4000}x")[0] == "parse_error"
    assert process_time() - began < 5


def test_labels_may_be_wide_themselves() -> None:
    assert LabelParser(("Ａ", "Ｂ"))("Decision: Ｂ") == ("ok", "Ｂ")


@pytest.mark.parametrize("label_set", label_sets())
@pytest.mark.parametrize("name", wordings())
def test_the_words_of_a_template_are_understood(name: str, label_set: str) -> None:
    """Or the share of answers that cannot be read would depend on the wording."""
    words, shown = wording(name), labels(label_set)
    verb, parse = words["verb"], LabelParser(tuple(shown["own"]))
    for label in shown["own"]:
        for form in ("I {v} {x}", "I {v} {x}.", "Decision: {v} {x}", "I will {v} {x}.", "{V} {x}."):
            text = form.format(v=verb, V=verb.capitalize(), x=label)
            assert parse(text) == ("ok", label), text
        assert parse(f"If I {verb} {label}, it is over.")[0] == "ambiguous"
    parse = LabelParser(tuple(shown["plans"]))
    parts = words["plan_first"].format(x=shown["own"][0])
    for plan in shown["plans"]:
        line = words["plan_line"]
        short = line.split("{parts}")[0].format(plan=plan).strip(" :-=,")
        short = short.removesuffix(", that is").removesuffix(" is").removesuffix(" means")
        for text in (short, line.format(plan=plan, parts=parts)):
            assert parse(text) == ("ok", plan), text
            assert parse(f"So.\nDecision: {text}") == ("ok", plan), text


@pytest.mark.parametrize(
    "text",
    [
        "20-40%", "between 20 and 40%", "20 to 40 percent", "20–40 %", "20% to 40%", "30 or 40%",
        "I am 90% sure it is 50", "It is 100% up to them, so 50.", "I'm 100% certain.", "1,000",
        "between 20 and 40 out of 100", "at least 40%", "more than 50 percent", "not 50%",
        "35 of 100 points", "30±5%", "40% or less", "The payoff is 20% higher in A.",
    ],
)  # fmt: skip
def test_ranges_bounds_and_degrees_are_no_probability(text: str) -> None:
    assert parse_percent(text) == ("ambiguous", None)


@pytest.mark.parametrize(
    "text",
    [
        "35 out of 100", "35 of 100 cases", "35/100", "35 in 100", "In 35 of 100 cases.",
        "About 35 times out of 100", "A pays 40 and B pays 60, so 35%", "> 35", "３５%",
        "It may be 35.\n</think>35", "On a scale from 0 to 100, 35%",
    ],
)  # fmt: skip
def test_forms_of_a_probability(text: str) -> None:
    assert parse_percent(text) == ("ok", 0.35)
