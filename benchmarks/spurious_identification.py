"""Does a first stage linear in the covariates keep a covariate from posing as an instrument?

The design `spurious`: the constrained first stage (the default) against an unconstrained one, by
forest and boosting, with an irrelevant and a relevant instrument.
"""

from __future__ import annotations

import argparse
import time
import warnings
from itertools import product
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor

from mlinstruments import MLIV
from mlinstruments._core.exceptions import AssumptionWarning
from mlinstruments._core.parallel import parallel_map
from mlinstruments.simulation import designs

OUTPUT = Path(__file__).parent / "output" / "spurious_identification.csv"
N = 1000
SEED = 20261123
LEARNERS = {
    "forest": RandomForestRegressor(n_estimators=50, min_samples_leaf=5),
    "boosting": "boosting",
}
MODES = ("linear", "unconstrained")
STRENGTHS = (0.0, 0.5)

Task = tuple[str, float, int]


def one_draw(task: Task) -> list[dict[str, object]]:
    """One sample, with and without the constraint."""
    learner, strength, index = task
    place = (STRENGTHS.index(strength), index)
    data_seed, fit_seed = np.random.SeedSequence(SEED, spawn_key=place).spawn(2)
    sample = designs.spurious(n=N, strength=strength).draw(np.random.default_rng(data_seed))
    found: list[dict[str, object]] = []
    for mode in MODES:
        begun = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AssumptionWarning)  # the warning is the point
            model = MLIV(LEARNERS[learner], covariates=mode, random_state=fit_seed)
            res = model.fit(sample.y, sample.X, sample.D, sample.W)
        low, high = res.conf_int().loc["endog"]
        found.append(
            {
                "learner": learner,
                "strength": strength,
                "covariates": mode,
                "f": float(res.first_stage.f.iloc[0]),
                "estimate": float(res.params["endog"]),
                "given": bool(np.isfinite(res.params["endog"])),
                "wald_rejects": bool(low > sample.truth or high < sample.truth),
                "ar_rejects": res.anderson_rubin(sample.truth).pvalue < 0.05,
                "cpu": time.process_time() - begun,
            }
        )
    return found


def summarise(draws: pd.DataFrame) -> pd.DataFrame:
    """Medians and rates by learner, strength and mode."""
    groups = draws.groupby(["learner", "strength", "covariates"], sort=False)
    return groups.agg(
        draws=("f", "size"),
        median_f=("f", "median"),
        median_estimate=("estimate", "median"),
        estimate_given=("given", "mean"),
        wald_size=("wald_rejects", "mean"),
        ar_size=("ar_rejects", "mean"),
        cpu_minutes=("cpu", lambda values: values.sum() / 60),
    ).round(3)


def check(table: pd.DataFrame) -> list[str]:
    """What must hold of the medians."""
    failures = []
    for learner in LEARNERS:
        if not table.loc[(learner, 0.0, "linear"), "median_f"] < 5:
            failures.append(f"{learner}: constrained F is not below 5 at strength 0")
        if not table.loc[(learner, 0.0, "unconstrained"), "median_f"] > 300:
            failures.append(f"{learner}: unconstrained F is not above 300 at strength 0")
        if not abs(table.loc[(learner, 0.5, "linear"), "median_estimate"]) < 0.06:
            failures.append(f"{learner}: constrained estimate is not within .06 at strength .5")
    return failures


def main(quick: bool = False, n_jobs: int = 2) -> pd.DataFrame:
    """50 draws, or 2 of boosting."""
    names, replications = (["boosting"], 2) if quick else (list(LEARNERS), 50)
    tasks = list(product(names, STRENGTHS, range(replications)))
    with joblib.parallel_config("loky", n_jobs=n_jobs):
        found = parallel_map(one_draw, tasks, progress=False)
    draws = pd.DataFrame([row for rows in found for row in rows])
    OUTPUT.parent.mkdir(exist_ok=True)
    draws.to_csv(OUTPUT.with_stem(OUTPUT.stem + "_quick") if quick else OUTPUT, index=False)
    table = summarise(draws)
    print(table.to_string())
    if not quick:
        print("\n".join(check(table)) or "\nAll hold: F < 5, F > 300, |estimate| < .06.")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="boosting alone, 2 draws")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    main(given.quick, given.jobs)
