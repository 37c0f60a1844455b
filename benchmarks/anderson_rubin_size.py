"""Does the Anderson-Rubin test of a learned instrument keep its size, however weak the instrument?

Rejection of the true value at 5%, n = 500, corr(U, V) = .95, for every kind of set, with the median
length of the 95% sets. Ridge has a first stage linear in W, which the others' is not. Each cell is
written as it finishes; --resume keeps those of a run that was stopped.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from mlinstruments import MLIV
from mlinstruments._core.parallel import parallel_map
from mlinstruments.learning import Ridge
from mlinstruments.simulation import designs

OUTPUT = Path(__file__).parent / "output" / "anderson_rubin_size.csv"
N = 500
SEED = 20261123
LEARNERS = {"ridge": Ridge(penalty=10.0), "boosting": "boosting", "series": "series"}
STRENGTHS = {"irrelevant": 0.0, "weak": 0.15, "strong": 0.5}  # standard deviation of f(W)
CELL = ["learner", "errors", "folds", "instruments"]  # columns that name a cell
KINDS = ("corrected", "pooled", "folds", "split", "orthogonal")
DRAWS = 500
# Fewer where the orthogonal set's further fits are dear.
ORTHOGONAL_DRAWS = {"boosting": 200, "ridge": 500, "series": 200}


@dataclass(frozen=True)
class Cell:
    """One learner, number of folds, strength and kind of errors."""

    learner: str
    n_folds: int
    strength: str
    errors: str

    @property
    def design(self) -> designs.Design:
        concentration = N * STRENGTHS[self.strength] ** 2
        linear = self.learner == "ridge"
        return designs.many_weak(N, concentration, self.errors, linear=linear)


@dataclass(frozen=True)
class Draw:
    """What one sample says: for every kind whether it rejects the truth, and its length."""

    rejected: dict[str, bool]
    length: dict[str, float]
    f: float
    cpu: float


def cells() -> list[Cell]:
    """Irrelevant instruments first, where size is most in danger."""
    grid = product(STRENGTHS, LEARNERS, designs.ERRORS, (2, 5))
    return [Cell(learner, folds, strength, errors) for strength, learner, errors, folds in grid]


def one_draw(task: tuple[Cell, int]) -> Draw:
    """Fit one sample; learners and folds are compared on the same samples."""
    cell, index = task
    place = (list(STRENGTHS).index(cell.strength), designs.ERRORS.index(cell.errors), index)
    data_seed, fit_seed = np.random.SeedSequence(SEED, spawn_key=place).spawn(2)
    sample = cell.design.draw(np.random.default_rng(data_seed))
    begun = time.process_time()
    orthogonal = index < ORTHOGONAL_DRAWS[cell.learner]
    model = MLIV(
        LEARNERS[cell.learner],
        n_folds=cell.n_folds,
        orthogonal=orthogonal,
        random_state=fit_seed,
    )
    res = model.fit(sample.y, sample.X, sample.D, sample.W)
    kinds = KINDS if orthogonal else KINDS[:-1]
    return Draw(
        {kind: res.anderson_rubin(sample.truth, ar=kind).pvalue < 0.05 for kind in kinds},
        {kind: res.conf_int(method="ar", ar=kind).length for kind in kinds},
        float(res.first_stage.f.iloc[0]),
        time.process_time() - begun,
    )


def rows(cell: Cell, draws: list[Draw]) -> Iterator[dict[str, object]]:
    """One row for each kind of set."""
    f = float(np.median([draw.f for draw in draws]))
    cpu = sum(draw.cpu for draw in draws)
    for kind in KINDS:
        rejected = [draw.rejected[kind] for draw in draws if kind in draw.rejected]
        lengths = [draw.length[kind] for draw in draws if kind in draw.length]
        rate = float(np.mean(rejected))
        yield {
            "learner": cell.learner,
            "errors": cell.errors,
            "folds": cell.n_folds,
            "instruments": cell.strength,
            "kind": kind,
            "draws": len(rejected),
            "rejection": round(rate, 4),
            "mc_se": round(float(np.sqrt(rate * (1 - rate) / len(rejected))), 4),
            "median_length": round(float(np.median(lengths)), 3),
            "bounded": round(float(np.isfinite(lengths).mean()), 3),
            "median_f": round(f, 2),
            "cpu_seconds": round(cpu, 1),
        }


def report(table: pd.DataFrame) -> str:
    """A row for each cell: F, then rejection rate and median length of every kind."""
    lines = [
        "| learner | errors | K | instruments | F | " + " | ".join(KINDS) + " |",
        "|---" * (5 + len(KINDS)) + "|",
    ]
    for key, group in table.sort_values(CELL, kind="stable").groupby(CELL, sort=False):
        of = group.set_index("kind")
        values = [
            f"{of.loc[kind, 'rejection']:.3f} ({length(of.loc[kind, 'median_length'])})"
            for kind in KINDS
        ]
        words = [*map(str, key), f"{of['median_f'].iloc[0]:.1f}", *values]
        lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines)


def length(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "∞"


def finished(output: Path) -> list[dict[str, object]]:
    """Rows of an earlier run, whole cells only."""
    if not output.exists():
        return []
    with output.open(newline="") as file:
        found: list[dict[str, object]] = list(csv.DictReader(file))
    return found[: len(found) - len(found) % len(KINDS)]


def main(quick: bool = False, n_jobs: int = 2, resume: bool = False) -> pd.DataFrame:
    """Run every cell, or two of them with 20 draws."""
    chosen, output = cells(), OUTPUT
    if quick:
        chosen = [Cell("boosting", 2, "irrelevant", "homoskedastic")]
        chosen += [Cell("ridge", 5, "strong", "sign")]
        output = OUTPUT.with_stem(OUTPUT.stem + "_quick")
    output.parent.mkdir(exist_ok=True)
    found = finished(output) if resume else []
    with joblib.parallel_config("loky", n_jobs=n_jobs):
        done = {tuple(str(row[name]) for name in CELL) for row in found}
        for cell in chosen:
            if (cell.learner, cell.errors, str(cell.n_folds), cell.strength) in done:
                continue
            tasks = [(cell, index) for index in range(20 if quick else DRAWS)]
            found += rows(cell, parallel_map(one_draw, tasks, progress=False))
            pd.DataFrame(found).to_csv(output, index=False)
    table = pd.read_csv(output)
    print("Rejection rate of the truth at 5% (median length of the 95% set):\n")
    print(report(table))
    worst = table[table["kind"] == "corrected"]["rejection"].max()
    print(f"\nLargest size of the corrected test: {worst:.3f}")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two cells, 20 draws")
    parser.add_argument("--resume", action="store_true", help="keep the cells already done")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    main(given.quick, given.jobs, given.resume)
