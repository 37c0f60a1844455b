"""Answers that are no choices: counted, and selected along with the choices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments.preferences import ChoiceData, PreferenceLogit

TG = {"protocol_id": "a", "game": "tg", "T": 80, "R": 50, "P": 30, "S": 20}
UG = {"protocol_id": "b", "game": "ug", "T": 70, "R": 50, "P": 10, "S": 30}


def answer(model: str, status: str = "ok", game: dict[str, Any] = TG, **more: Any) -> dict:
    return {**game, "model": model, "status": status, "strategy": "01", **more}


ROWS = [
    *(answer("base", game=game) for game in (TG, UG) for _ in range(3)),
    *(answer("tuned", game=game) for game in (TG, UG) for _ in range(4)),
    *(answer("base", "refusal", UG, strategy=None) for _ in range(2)),
    answer("base", "parse_error", strategy=None),
    answer("tuned", "refusal", strategy=None),
    answer("silent", "refusal", strategy=None),
]


@pytest.fixture
def data() -> ChoiceData:
    return ChoiceData.from_frame(pd.DataFrame(ROWS))


def test_the_whole_log(data):
    assert data.excluded == {"refusal": 4, "parse_error": 1}
    assert data.excluded["refusal"] == 4
    assert dict(data.excluded) == {"refusal": 4, "parse_error": 1}
    assert str(data.excluded) == "refusal 4, parse_error 1"
    assert data.excluded.unattributed == {}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"model": "base"}, {"refusal": 2, "parse_error": 1}),
        ({"model": "tuned"}, {"refusal": 1}),
        ({"game": "tg"}, {"refusal": 2, "parse_error": 1}),
        ({"protocol_id": "b"}, {"refusal": 2}),
        ({"model": "base", "game": "tg"}, {"parse_error": 1}),
        ({"model": "tuned", "game": "ug"}, {}),
        ({}, {"refusal": 4, "parse_error": 1}),
    ],
)
def test_counts_follow_the_selection(data, selection, expected):
    assert data.select(**selection).excluded == expected
    one_by_one = data
    for name, value in selection.items():
        one_by_one = one_by_one.select(**{name: value})
    assert one_by_one.excluded == expected


def test_counts_follow_a_selection_by_subject(data):
    named = ChoiceData.from_frame([dict(row, subject=row["model"]) for row in ROWS])
    assert named.select(subject="tuned").excluded == {"refusal": 1}
    # Without the column all choices are one subject's, and so are the refusals.
    assert data.select(subject=0).excluded == data.excluded


def test_a_selection_without_a_choice_says_what_there_was(data):
    with pytest.raises(
        InputError, match=r"no choice has model='silent', only answers that are none: refusal 1"
    ):
        data.select(model="silent")
    with pytest.raises(InputError, match=r"no choice has model='other'\.$"):
        data.select(model="other")


def test_parts_add_up_to_the_whole(data):
    parts = [data.select(model=name).excluded for name in ("base", "tuned")]
    total = {k: sum(part.get(k, 0) for part in parts) for k in data.excluded}
    assert total == {"refusal": 3, "parse_error": 1}  # and one refusal of a model without choices


# ---- what cannot be attributed ------------------------------------------------------------------


def test_answers_without_the_label_are_not_attributed():
    rows = [*ROWS, answer(None, "refusal", strategy=None), answer(None, "refusal", UG)]
    data = ChoiceData.from_frame(pd.DataFrame(rows))
    assert data.excluded == {"refusal": 6, "parse_error": 1}
    base = data.select(model="base")
    assert base.excluded == {"refusal": 2, "parse_error": 1}
    assert base.excluded.unattributed == {"refusal": 2}
    assert str(base.excluded) == (
        "refusal 2, parse_error 1; perhaps also, of which the log does not say whose: refusal 2"
    )
    # What a second label rules out is ruled out, in either order.
    for data_of_base in (base.select(game="ug"), data.select(game="ug").select(model="base")):
        assert data_of_base.excluded == {"refusal": 2}
        assert data_of_base.excluded.unattributed == {"refusal": 1}


def test_bare_counts_are_never_attributed(data):
    counted = replace(data, excluded={"refusal": 5})
    assert counted.excluded == {"refusal": 5}
    part = counted.select(model="base")
    assert part.excluded == {}
    assert part.excluded.unattributed == {"refusal": 5}
    assert str(part.excluded).startswith("none known; perhaps also")


# ---- nodes and counts ---------------------------------------------------------------------------


def nodes() -> list[dict]:
    rows = []
    for model in ("base", "tuned"):
        for draw in range(3):
            for node in range(2):
                given = (model, draw, node) != ("base", 1, 1)
                status = "ok" if given else "refusal"
                action = node if given else None
                rows.append({**TG, "model": model, "draw": draw, "node": node, "action": action,
                             "status": status, "option_order": node})  # fmt: skip
    rows[-1]["action"] = None
    return rows


def test_incomplete_strategies_follow_the_selection():
    with pytest.warns(MissingRowsWarning, match="2 of 6 strategies lack"):
        data = ChoiceData.from_frame(nodes())
    assert data.excluded == {"refusal": 1, "incomplete": 2}
    assert data.select(model="base").excluded == {"refusal": 1, "incomplete": 1}
    assert data.select(model="tuned").excluded == {"incomplete": 1}
    assert data.select(draw=0).excluded == {}
    assert str(data.excluded) == "refusal 1; strategies that lack a node 2"


def test_counts_of_excluded_answers_are_counted():
    rows = [dict(row, count=5) for row in ROWS]
    rows[-1]["count"] = None
    data = ChoiceData.from_frame(pd.DataFrame(rows))
    assert data.excluded == {"refusal": 16, "parse_error": 5}


def test_columns_with_gaps_of_any_library():
    rows = [dict(row, wave=1 if row["model"] == "base" else None) for row in ROWS]
    for frame in (pd.DataFrame(rows), pd.DataFrame(rows).convert_dtypes()):
        data = ChoiceData.from_frame(frame)
        part = data.select(wave=1)
        assert part.n_choices == 6
        assert part.excluded == {"refusal": 2, "parse_error": 1}
        assert part.excluded.unattributed == {"refusal": 2}


# ---- in print -----------------------------------------------------------------------------------


def test_the_summary_counts_its_own_part(data):
    model = PreferenceLogit((), beliefs="uniform")
    assert "Not choices:    refusal 1\n" in str(model.fit(data.select(model="tuned")))
    assert "Not choices:    refusal 4, parse_error 1\n" in str(model.fit(data))
    assert "Not choices" not in str(model.fit(data.select(model="tuned", game="ug")))
    mixed = replace(data, excluded={"refusal": 5}).select(model="tuned")
    assert "none known; perhaps also" in str(model.fit(mixed))
