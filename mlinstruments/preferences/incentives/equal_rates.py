"""Whether the actions of a game are as frequent in all its protocols."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from mlinstruments._core.typing import IntArray

from ..design import Design
from .binary import row_games
from .results import EqualRates


def equal_rates(design: Design, protocol: IntArray) -> tuple[EqualRates, ...]:
    """A chi-square for every game; none for choice probabilities, which are no counts."""
    if not np.allclose(design.count, np.round(design.count)):
        return ()  # choice probabilities are not counts of independent choices
    chosen = np.array(
        [design.actions[c][a] for c, a in zip(design.choice_set, design.action, strict=True)]
    )
    # Node designs list a strategy once a node; strategies of several digits in sets of two.
    times = [
        len(names[0]) if len(names) == 2 and len(names[0]) > 1 else 1 for names in design.actions
    ]
    weight = design.count / np.array(times)[design.choice_set]
    table = pd.DataFrame(
        {"game": row_games(design), "protocol": protocol, "chosen": chosen, "weight": weight}
    )
    return tuple(_chi_square(str(game), part) for game, part in table.groupby("game", sort=False))


def _chi_square(game: str, part: pd.DataFrame) -> EqualRates:
    counts = part.pivot_table(
        index="protocol", columns="chosen", values="weight", aggfunc="sum", fill_value=0.0
    ).to_numpy()
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    df = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    if df == 0:
        return EqualRates(game, float("nan"), 0, float("nan"), float("inf"))
    found = stats.chi2_contingency(counts, correction=False)
    return EqualRates(
        game,
        float(found.statistic),
        df,
        float(found.pvalue),
        float(found.expected_freq.min()),
    )
