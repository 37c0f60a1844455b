"""Answers: what counts as a choice, and what never does."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import LabelParser, make_prompt, parse_answer, parse_percent
from mlinstruments.games import Protocol
from mlinstruments.preferences.excluded import STATUSES
from mlinstruments.preferences.logs.answers import answered

AB = LabelParser(("A", "B"), ("1", "0"))
TG = Protocol("tg", 80, 50, 30, 20, id="a")


@pytest.mark.parametrize(
    "text",
    [
        "A", "a.", "(A)", "**A**", "Option A", "`A`", "[A]", "Answer: A", "The answer is A.", "A!",
        "**Decision:** A", "Decision: **Option A**", "Decision:\nA", "decision=A", "$\\boxed{A}$",
        "B pays 40 and A pays 60, which is more.\nDecision: A", "I think so.\nA", "A\n\nIt pays.",
        "A, because it pays more than B", "A. It pays more.", "I would not pick B. I pick A.",
        "I'll go with option A because of B", "If I choose B I get 40, so I choose A",
        "If I choose B I get 4; if I choose A I get 5. Decision: A", "My choice: A", "I choose A, not B",
        "I'm sorry for the delay. My answer is A.", "<think>I choose B.\nDecision: B</think>\nA",
    ],
)  # fmt: skip
def test_choices(text: str) -> None:
    assert AB(text) == ("ok", "1")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", "parse_error"), (" \n ", "parse_error"), ("I choose Apple", "parse_error"),
        ("Decision: Ask me later", "parse_error"), ("42", "parse_error"), ("\ud83d", "parse_error"),
        ("I would choose a higher amount", "parse_error"),
        ("A or B", "ambiguous"), ("A, B", "ambiguous"), ("A: 40. B: 60.", "ambiguous"),
        ("Decision: A\nDecision: B", "ambiguous"), ("I choose A or B", "ambiguous"),
        ("Decision: A/B", "ambiguous"), ("Final answer: A or B?", "ambiguous"), ("A\nB", "ambiguous"),
        ("A higher payoff is good.", "ambiguous"), ("Decision: not A", "ambiguous"),
        ("I choose A\nB", "ambiguous"), ("A\nbut then I pick B", "ambiguous"),
        ("<think>Decision: A", "parse_error"),
        ("I'm sorry, I can't choose A or B.", "refusal"), ("I cannot choose A", "refusal"),
        ("As an AI, I have no preference.", "refusal"), ("I must decline.", "refusal"),
        ("I won’t do this", "refusal"),
    ],
)  # fmt: skip
def test_answers_that_are_no_choice(text: str, status: str) -> None:
    assert AB(text) == (status, None)


def test_an_answer_withheld_is_a_refusal() -> None:
    assert AB(None) == ("refusal", None)
    assert parse_percent(None) == ("refusal", None)


def test_labels_within_numbers_are_not_labels() -> None:
    parse = LabelParser(("1", "2", "10"))
    assert parse("Decision: 10") == ("ok", "10")
    assert parse("I pick 2, since 10 is less") == ("ok", "2")
    assert parse("Decision: 1.5")[0] != "ok"
    assert parse("10%")[0] == "parse_error"


def test_words_may_be_written_in_any_case() -> None:
    parse = LabelParser(("left", "right"))
    assert parse("I choose Left.") == ("ok", "left")
    assert parse("RIGHT") == ("ok", "right")
    assert parse("Decision: upright")[0] != "ok"


LABELS = st.sampled_from([("A", "B"), ("X", "Y"), ("1", "2"), ("left", "right"), ("J", "K", "Q")])


@given(st.text(), LABELS)
def test_any_text_has_a_status(text: str, labels: tuple[str, ...]) -> None:
    status, choice = LabelParser(labels)(text)
    assert status in STATUSES
    assert (choice in labels) if status == "ok" else choice is None


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"])), LABELS, st.data())
def test_reasons_before_a_decision_do_not_matter(
    reasons: str, labels: tuple[str, ...], data: st.DataObject
) -> None:
    label = data.draw(st.sampled_from(labels))
    reasons = reasons.replace("<", "(")
    text = reasons.replace(":", ";").replace("=", "-").replace("is", "us") + f"\nDecision: {label}"
    assert LabelParser(labels)(text) == ("ok", label)


@given(LABELS, st.data(), st.integers(1, 99), st.integers(1, 99))
def test_mentions_do_not_decide(
    labels: tuple[str, ...], data: st.DataObject, p: int, q: int
) -> None:
    one, other = data.draw(st.permutations(labels))[:2]
    text = f"With {one} you would get {100 + p} and with {other} you would get {100 + q}."
    assert LabelParser(labels)(text) == ("ambiguous", None)


@given(
    st.sampled_from(["{0}", "Decision: {0}", "I pick {0}, not {1}", "{0} or {1}", "{0}\n{1}"]),
    LABELS,
)
def test_renaming_labels_changes_nothing_else(form: str, labels: tuple[str, ...]) -> None:
    status, choice = AB(form.format("A", "B"))
    renamed = LabelParser(labels[:2], ("1", "0"))(form.format(*labels[:2]))
    assert renamed == (status, choice)


def test_readers_of_logs_take_it() -> None:
    table = pd.DataFrame({"node": [0, 0, 0]})
    found = answered(table, ["A", None, "hm"], AB, "log")
    assert found["status"].tolist() == ["ok", "refusal", "parse_error"]
    assert found["action"].isna().tolist() == [False, True, True]
    assert found["action"].iloc[0] == "1"


@pytest.mark.parametrize("options", [("A",), ("A", "a"), ("A", "")])
def test_labels_must_differ(options: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="two or more labels"):
        LabelParser(options)
    with pytest.raises(InputError, match="one entry for each"):
        LabelParser(("A", "B"), ("1",))


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("node", [None, 0, 1])
def test_answers_to_prompts_are_their_choices(node: int | None, order: int) -> None:
    prompt = make_prompt(TG, node, order=order)
    for label, choice in zip(prompt.options, prompt.choices, strict=True):
        assert parse_answer(f"So.\nDecision: {label}", prompt) == ("ok", choice)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50", ("ok", 0.5)), ("50%", ("ok", 0.5)), ("About 30 percent of 100.", ("ok", 0.3)),
        ("0", ("ok", 0.0)), ("<think>20 or 30?</think>25", ("ok", 0.25)), ("100", ("ok", 1.0)), ("12.5 %", ("ok", 0.125)), ("0.5%", ("ok", 0.005)),
        ("0.5", ("ambiguous", None)), ("20-40", ("ambiguous", None)), ("350", ("parse_error", None)),
        ("-5", ("parse_error", None)), ("half", ("parse_error", None)),
        ("I cannot say", ("refusal", None)),
        ("I would say about 40.", ("ok", 0.4)), ("My rating: **40**", ("ok", 0.4)), ("40 because few would.", ("ok", 0.4)),
        ("It depends.\n\n40", ("ok", 0.4)), ("40, I think", ("ok", 0.4)), ("Answer = 40", ("ok", 0.4)),
        # Numbers that are mentioned, not answered.
        ("100 people may die", ("ambiguous", None)), ("The 0 means definitely not", ("ambiguous", None)),
        ("My payoffs: swerve -> 0, no sw", ("ambiguous", None)), ("My payoffs: car1: max(0, ", ("ambiguous", None)),
        ("My payoffs: 0, car", ("ambiguous", None)), ("Saver: I get 10", ("ambiguous", None)),
        ("it is 100 people", ("ambiguous", None)), ("I cannot weigh the lives of 5", ("refusal", None)),
    ],
)  # fmt: skip
def test_percentages(text: str, expected: tuple[str, float | None]) -> None:
    assert parse_percent(text) == expected


@given(st.text())
def test_any_text_has_a_status_as_percentage(text: str) -> None:
    status, chance = parse_percent(text)
    assert status in STATUSES
    assert (chance is not None and 0 <= chance <= 1) if status == "ok" else chance is None
