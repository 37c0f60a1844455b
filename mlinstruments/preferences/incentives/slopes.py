"""How the share of an action moves with its own-payoff gap, without a model."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from mlinstruments._core.sandwich import CovarianceSpec, meat
from mlinstruments._core.typing import FloatArray, IntArray

from ..design import Design
from .binary import BinaryChoices, row_games
from .regret import TIE
from .results import Measure


def action_shares(
    design: Design, pairs: BinaryChoices, protocol: IntArray, cluster: IntArray
) -> pd.DataFrame:
    """Share of the action and its gap by protocol, belief and node of a game."""
    weight = design.count[pairs.row]
    gap = pairs.difference[:, 0]
    table = pd.DataFrame(
        {
            "protocol": protocol[pairs.row],
            "game": row_games(design)[pairs.row],
            "node": pairs.node,
            # Beliefs enter through the gap alone; rounded, so that sums in another order are alike.
            "cell": np.round(gap, 9),
            "weight": weight,
            "taken": weight * pairs.taken,
        }
    )
    keys = ["protocol", "game", "node", "cell"]
    cells = table.groupby(keys, as_index=False).sum()
    clustered = pd.Series(cluster, protocol).groupby(level=0).first()  # a protocol lies in one
    return cells.assign(
        share=cells["taken"] / cells["weight"], cluster=cells["protocol"].map(clustered)
    ).rename(columns={"cell": "gap"})


def slope_of_share(cells: pd.DataFrame) -> Measure:
    """Weighted least squares of :func:`action_shares` on their gaps, clustered."""
    node = cells.groupby(["game", "node"]).ngroup().to_numpy()
    weight, gap = cells["weight"].to_numpy(), cells["gap"].to_numpy()
    share = cells["share"].to_numpy()
    gap = gap - _means(gap, weight, node)
    share = share - _means(share, weight, node)
    codes = np.unique(cells["cluster"], return_inverse=True)[1].astype(np.int64)
    n_clusters, n_coefficients = int(codes.max()) + 1, int(node.max()) + 2
    total = float(weight @ gap**2)
    if n_clusters < 2 or len(gap) <= n_coefficients or total <= TIE * weight.sum():
        return Measure("slope", float("nan"), at_random=0.0)
    slope = float(weight * gap @ share) / total
    scores = (weight * gap * (share - slope * gap))[:, None]
    spec = CovarianceSpec("clustered", debiased=True, clusters=(codes,))
    error = float(np.sqrt(meat(scores, spec, n_coefficients)[0, 0])) / total
    if error <= TIE * abs(slope):
        return Measure("slope", slope, error, at_random=0.0)
    pvalue = 2 * float(stats.t.sf(abs(slope) / error, n_clusters - 1)) if error > 0 else np.nan
    return Measure("slope", slope, error, pvalue, 0.0)


def _means(values: FloatArray, weight: FloatArray, group: IntArray) -> FloatArray:
    return np.asarray((np.bincount(group, weight * values) / np.bincount(group, weight))[group])


def rank_correlation(cells: pd.DataFrame) -> Measure:
    """Spearman's rho of :func:`action_shares` and their gaps, over protocols and nodes."""
    cells = cells.assign(total=cells["weight"] * cells["gap"])
    merged = cells.groupby(["protocol", "game", "node"])[["weight", "taken", "total"]].sum()
    share, gap = (merged[name] / merged["weight"] for name in ("taken", "total"))
    if len(merged) < 3 or np.ptp(share) == 0 or np.ptp(gap) == 0:
        return Measure("spearman", float("nan"), at_random=0.0)
    found = stats.spearmanr(share, gap)
    return Measure("spearman", float(found.statistic), np.nan, float(found.pvalue), 0.0)
