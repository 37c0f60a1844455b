"""How often choices maximise expected own payoff, and how much they forgo."""

from __future__ import annotations

import numpy as np

from mlinstruments._core.sandwich import CovarianceSpec, meat
from mlinstruments._core.typing import FloatArray, IntArray

from ..design import Design
from .results import Measure

# Expected own payoffs closer than this share of their range are ties.
TIE = 1e-9


def extremes(design: Design) -> tuple[FloatArray, FloatArray]:
    """Largest and smallest expected own payoff of every choice set."""
    own = design.z[:, :, 0]
    best = np.where(design.available, own, -np.inf).max(axis=1)
    worst = np.where(design.available, own, np.inf).min(axis=1)
    return np.asarray(best), np.asarray(worst)


def replies(design: Design, cluster: IntArray) -> tuple[Measure, Measure]:
    """Best-response rate and regret over its range, by set and alternative."""
    best, worst = extremes(design)
    span = best - worst
    staked = span > 0
    regret = (best[:, None] - design.z[:, :, 0]) / np.where(staked, span, 1.0)[:, None]
    is_best = (regret <= TIE) & design.available
    regret = np.where(design.available, regret, 0.0)
    available = design.available.sum(axis=1)
    kept = staked[design.choice_set]
    sets, weight = design.choice_set[kept], design.count[kept]
    made = []
    for name, values in (("best_response_rate", is_best), ("regret", regret)):
        chance = values.sum(axis=1) / available
        if not kept.any():
            made.append(Measure(name, float("nan")))
            continue
        chosen = np.asarray(values[sets, design.action[kept]], dtype=float)
        mean, error = _clustered_mean(chosen, weight, cluster[kept])
        made.append(
            Measure(name, mean, error, at_random=float(np.average(chance[sets], weights=weight)))
        )
    return made[0], made[1]


def _clustered_mean(
    values: FloatArray, weight: FloatArray, cluster: IntArray
) -> tuple[float, float]:
    mean = float(np.average(values, weights=weight))
    codes = np.unique(cluster, return_inverse=True)[1].astype(np.int64)
    clusters = int(codes.max()) + 1
    if clusters < 2:
        return mean, float("nan")
    scores = (weight * (values - mean))[:, None]
    raw = meat(scores, CovarianceSpec("clustered", clusters=(codes,)), 1)[0, 0]
    return mean, float(np.sqrt(raw * clusters / (clusters - 1)) / weight.sum())
