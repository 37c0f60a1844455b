"""What do boosting's learning rates cost and gain at each sample size?

CPU seconds of MLIV and error of its learned first stage, both over those of plain LightGBM at its
defaults in five folds, trained on D without its linear part. Medians over samples of two designs:
cos(W1) + sign(W2 W3) / 2 with ten instruments and ten columns of X, and the design `nonlinear`. The
preset of `mlinstruments.learning.Boosting` follows this table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from lib.side_by_side import OUTPUT, cpu
from tree_engine import error, fit, plain, sample

from mlinstruments.learning import Boosting
from mlinstruments.simulation import Sample, designs

SIZES = (1_000, 3_000, 10_000, 50_000)
RATES = (0.1, 0.2, 0.3, 0.5)
SAMPLES = 2


def samples(n: int, seed: int) -> Iterator[tuple[str, Sample]]:
    yield "ten instruments", sample(n, 10, seed=seed)
    yield "nonlinear", designs.nonlinear(n=n).draw(np.random.default_rng(seed))


def one(data: Sample, learner: Boosting) -> tuple[float, float]:
    """Time and error of MLIV over those of plain LightGBM."""
    linear = data.X @ np.linalg.lstsq(data.X, data.D - data.oracle, rcond=None)[0]
    theirs = plain(replace(data, D=data.D - linear), 100, {})
    seconds = cpu(lambda: fit(data, learner)) / cpu(lambda: plain(data, 100, {}))
    return seconds, error(fit(data, learner).instrument, data) / error(theirs, data)


def main(quick: bool = False) -> pd.DataFrame:
    """Every size and rate, thresholds chosen or random."""
    rows = []
    for n in (500,) if quick else SIZES:
        for seed in range(1 if quick else SAMPLES):
            for design, data in samples(n, seed):
                for random in (True, False) if n <= 3_000 else (False,):
                    for rate in RATES:
                        learner = Boosting(learning_rate=rate, extra_trees=random)
                        seconds, rmse = one(data, learner)
                        rows.append((n, design, random, rate, seconds, rmse))
    names = ["n", "design", "extra_trees", "learning_rate", "time", "rmse"]
    table = pd.DataFrame(rows, columns=names).groupby(names[:4]).median().unstack()
    OUTPUT.mkdir(exist_ok=True)
    table.to_csv(OUTPUT / f"boosting_preset{'_quick' if quick else ''}.csv")
    print(table.round(2).to_string())
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one sample of 500 rows")
    main(parser.parse_args().quick)
