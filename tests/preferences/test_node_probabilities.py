"""Probabilities of both actions at every node become probabilities of whole strategies."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlinstruments import ChoiceData
from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from tests.tolerances import ROUNDING

SPD = {"protocol_id": "s", "game": "spd", "T": 90, "R": 65, "P": 25, "S": 10}
TG = {"protocol_id": "t", "game": "tg", "T": 80, "R": 50, "P": 30, "S": 20}


def rows(protocol: dict[str, Any], ones: list[float], **more: Any) -> list[dict[str, Any]]:
    return [
        {**protocol, **more, "node": j, "action": a, "probability": p if a else 1 - p}
        for j, p in enumerate(ones)
        for a in (1, 0)
    ]


def test_strategies_have_the_product_of_their_nodes() -> None:
    spd, tg = [0.9, 0.2, 0.6], [0.3, 0.7]
    frame = rows(SPD, spd, draw=0) + rows(TG, tg, draw=0) + rows(SPD, [0.5] * 3, draw=1)
    shuffled = pd.DataFrame(frame).sample(frac=1, random_state=0)
    data = ChoiceData.from_frame(shuffled)
    assert data.n_choices == pytest.approx(3, rel=ROUNDING)
    for name, draw, ones in (("s", 0, spd), ("t", 0, tg), ("s", 1, [0.5] * 3)):
        part = data.select(protocol_id=name, draw=draw)
        found = {
            part.protocols[i].strategies[k]: c
            for i, k, c in zip(part.protocol, part.strategy, part.count, strict=True)
        }
        for digits in product((0, 1), repeat=len(ones)):
            expected = np.prod([p if d else 1 - p for p, d in zip(ones, digits, strict=True)])
            assert found["".join(map(str, digits))] == pytest.approx(expected, rel=ROUNDING)


def test_a_node_without_both_probabilities_is_left_out_and_counted() -> None:
    frame = rows(TG, [0.3, 0.7], draw=0) + rows(TG, [0.3, 0.7], draw=1)[:3]
    with pytest.warns(MissingRowsWarning, match="1 of 2 strategies lack"):
        data = ChoiceData.from_frame(frame)
    assert data.n_choices == pytest.approx(1, rel=ROUNDING)
    assert data.excluded == {"incomplete": 1}


def test_an_action_given_twice_is_refused() -> None:
    frame = rows(TG, [0.3, 0.7])
    with pytest.raises(InputError, match=r"row 4.*node 1, action 0 is also in row 3"):
        ChoiceData.from_frame([*frame, frame[3]])


def test_one_probability_a_strategy_is_still_its_weight() -> None:
    frame = [{**TG, "node": j, "action": j, "probability": 0.25} for j in (0, 1)]
    data = ChoiceData.from_frame(frame)
    assert data.count.tolist() == [0.25]
    assert data.protocols[0].strategies[data.strategy[0]] == "01"


def test_a_negative_probability_is_refused() -> None:
    frame = rows(TG, [0.3, -0.7])
    with pytest.raises(InputError, match=r"row 2: probability must lie between 0 and 1; got -0.7"):
        ChoiceData.from_frame(frame)
