"""How do the costs of MLIV grow with rows, folds, repeats and instruments?

CPU seconds of a fit, default options but for what varies, over those at the base: n = 10,000
rows, 10 columns of X, K = 5 folds, R = 1 repeat, q = 10 instruments. Dotted: growth in proportion.
Writes a table and a picture.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from lib.side_by_side import OUTPUT, cpu
from tree_engine import sample

from mlinstruments import MLIV

LEARNERS = ("boosting", "series", "ridge")
BASE = {"rows": 10_000, "folds": 5, "repeats": 1, "instruments": 10}
GRID = {
    "rows": (1_000, 3_000, 10_000, 30_000, 100_000, 300_000),
    "folds": (2, 5, 10, 20),
    "repeats": (1, 2, 5, 10, 20),
    "instruments": (3, 10, 30, 100),
}
QUICK = {"rows": (300, 600), "folds": (2, 5), "repeats": (1, 2), "instruments": (3, 6)}


@dataclass(frozen=True)
class Point:
    """One fit of the grid."""

    learner: str
    varied: str
    value: int
    seconds: float
    relative: float


def seconds(learner: str, setting: dict[str, int], repeats: int) -> float:
    """Median CPU seconds of a fit."""
    data = sample(setting["rows"], 10, setting["instruments"])
    model: Any = MLIV(
        learner,
        n_folds=setting["folds"],
        n_repeats=setting["repeats"],
        progress=False,
        random_state=1,
    )
    return float(
        np.median([cpu(lambda: model.fit(data.y, data.X, data.D, data.W)) for _ in range(repeats)])
    )


def measure(quick: bool) -> list[Point]:
    """Every learner along every line of the grid; the base is timed beside each line."""
    points = []
    base = {**BASE, "rows": 600, "instruments": 3} if quick else BASE
    for learner in LEARNERS:
        for varied, values in (QUICK if quick else GRID).items():
            least = seconds(learner, base, 1 if quick else 3)
            for value in values:
                taken = seconds(learner, {**base, varied: value}, 1 if quick else 3)
                points.append(Point(learner, varied, value, taken, taken / least))
                print(f"{learner:<9} {varied:<12} {value:>7}  {taken / least:8.2f}", flush=True)
    return points


def draw(table: pd.DataFrame, base: dict[str, int]) -> Any:
    """One panel for each of what varies, on logarithmic axes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained", sharey=True)
    for ax, (varied, part) in zip(axes, table.groupby("varied", sort=False), strict=True):
        for learner, marker in zip(LEARNERS, "osd", strict=True):
            line = part[part["learner"] == learner]
            ax.plot(line["value"], line["relative"], marker=marker, ms=4, label=learner)
        ends = np.array([part["value"].min(), part["value"].max()], dtype=float)
        ax.plot(ends, ends / base[varied], ":", color="0.6", label="in proportion")
        ax.set(xscale="log", yscale="log", xlabel=varied)
        ax.set_xticks(sorted(set(part["value"])), [f"{v:,}" for v in sorted(set(part["value"]))])
        ax.tick_params(axis="x", labelsize="x-small", which="major")
        ax.minorticks_off()
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("CPU time over that of the base")
    axes[0].legend(frameon=False, fontsize="small")
    return figure


def main(quick: bool = False) -> pd.DataFrame:
    """Measure, print, and save table and picture."""
    base = {**BASE, "rows": 600, "instruments": 3} if quick else BASE
    table = pd.DataFrame(measure(quick))
    OUTPUT.mkdir(exist_ok=True)
    stem = f"cost_growth{'_quick' if quick else ''}"
    table.to_csv(OUTPUT / f"{stem}.csv", index=False)
    draw(table, base).savefig(OUTPUT / f"{stem}.png", dpi=150)
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few hundred rows")
    main(parser.parse_args().quick)
