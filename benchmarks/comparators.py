"""Are the comparators centred, and are their standard errors right, with twenty instruments?

Twenty instruments of which three matter, heteroskedastic errors, corr(U, V) = .7, n = 500: median
bias, standard deviation over draws beside the median standard error, and how often the t test at 5%
rejects the truth. PLIV is asked where covariates enter non-linearly; beside it DoubleML on the same
folds and learner, where it is installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from mlinstruments import (
    GMM,
    IJIVE,
    JIVE,
    LIML,
    OLS,
    PLIV,
    TSLS,
    UJIVE,
    Fuller,
    PostLassoIV,
    SplitSampleIV,
)
from mlinstruments._core.parallel import parallel_map, spawn_seeds
from mlinstruments.learning.folds import random_split
from mlinstruments.simulation import designs

OUTPUT = Path(__file__).parent / "output" / "comparators.csv"
SEED, N, Q, DRAWS = 20261123, 500, 20, 500
CONCENTRATIONS = {"strong": 1000.0, "moderate": 100.0}
LINEAR: dict[str, Callable[[int], Any]] = {
    "OLS": lambda _: OLS(),
    "2SLS": lambda _: TSLS(),
    "GMM": lambda _: GMM(),
    "LIML": lambda _: LIML(),
    "Fuller": lambda _: Fuller(),
    "JIVE": lambda _: JIVE(),
    "IJIVE": lambda _: IJIVE(),
    "UJIVE": lambda _: UJIVE(),
    "Split-sample IV": SplitSampleIV,
    "Post-lasso IV": lambda _: PostLassoIV(),
}
CURVED: dict[str, Callable[[int], Any]] = {
    "2SLS": lambda _: TSLS(),
    "PLIV": lambda seed: PLIV("series", random_state=seed),
}


@dataclass(frozen=True)
class Task:
    """One sample of one design."""

    design: str
    index: int

    @property
    def rng(self) -> np.random.Generator:
        place = [*CONCENTRATIONS, "covariates"].index(self.design)
        return np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(place, self.index)))


def curved(rng: np.random.Generator) -> tuple[Any, ...]:
    """One instrument; covariates that bend outcome, treatment and instrument."""
    x = rng.normal(size=(N, 2))
    e, u, v = rng.normal(size=(3, N))
    z = np.sin(2 * x[:, 0]) + e
    d = 0.7 * z + x[:, 1] ** 2 + 0.7 * u + v
    y = d + 2 * np.sin(2 * x[:, 0]) + x[:, 1] ** 2 + u
    return y, np.column_stack([np.ones(N), x]), d, z


def one_draw(task: Task) -> list[dict[str, Any]]:
    """Every estimator on one sample."""
    if task.design == "covariates":
        data, models = curved(task.rng), CURVED
    else:
        design = designs.many_weak(
            N, CONCENTRATIONS[task.design], "heteroskedastic", 0.7, Q, linear=True
        )
        sample = design.draw(task.rng)
        data, models = (sample.y, sample.X, sample.D, sample.W), LINEAR
    rows = []
    for name, model in models.items():
        begun = time.process_time()
        res = model(task.index).fit(*data)
        taken = time.process_time() - begun
        estimate, error = float(res.params["endog"]), float(res.std_errors["endog"])
        f = float(res.first_stage.f.iloc[0]) if res.first_stage is not None else float("nan")
        rows.append(
            {
                "design": task.design,
                "estimator": name,
                "estimate": estimate,
                "error": error,
                "f": f,
                "ms": 1000 * taken,
            }
        )
    return rows


def report(draws: pd.DataFrame) -> pd.DataFrame:
    """A row for each design and estimator; the truth is 1."""
    found = []
    for (design, name), group in draws.groupby(["design", "estimator"], sort=False):
        known = group.dropna(subset="estimate")
        size = float((np.abs(known["estimate"] - 1) > 1.959964 * known["error"]).mean())
        found.append(
            {
                "design": design,
                "estimator": name,
                "median F": round(float(group["f"].median()), 1),
                "median bias": round(float(known["estimate"].median() - 1), 4),
                "sd": round(float(known["estimate"].std()), 4),
                "median SE": round(float(known["error"].median()), 4),
                "size": round(size, 3),
                "size mc se": round(float(np.sqrt(size * (1 - size) / len(known))), 3),
                "no estimate": len(group) - len(known),
                "ms": round(float(group["ms"].median()), 1),
            }
        )
    return pd.DataFrame(found)


def beside_doubleml() -> None:
    """PLIV and DoubleML's on one sample, with the same folds and learner."""
    try:
        import doubleml
    except ImportError:
        print("\nDoubleML is not installed: PLIV is not compared with it.")
        return
    from sklearn.ensemble import RandomForestRegressor

    y, X, d, z = curved(np.random.default_rng(SEED))
    forest = RandomForestRegressor(100, min_samples_leaf=5, random_state=0)
    data = doubleml.DoubleMLData.from_arrays(X[:, 1:], y, d, z=z)
    theirs = doubleml.DoubleMLPLIV(data, forest, forest, forest, n_folds=5)
    split = random_split(N, 5, (), spawn_seeds(0, 1)[0], halves=False)
    folds = [(split.training(k)[0], split.held_out(k)) for k in range(5)]
    theirs.set_sample_splitting([folds])
    theirs.fit()
    ours = PLIV(forest).fit(y, X, d, z)
    print(
        f"\nPLIV {ours.params['endog']:.4f} ({ours.std_errors['endog']:.4f}), DoubleML"
        f" {theirs.coef[0]:.4f} ({theirs.se[0]:.4f}): same folds, but residuals are centred in ours"
    )


def main(quick: bool = False, n_jobs: int = 2) -> pd.DataFrame:
    """Run every design, or ten draws of each."""
    output = OUTPUT.with_stem(OUTPUT.stem + "_quick") if quick else OUTPUT
    output.parent.mkdir(exist_ok=True)
    draws = 10 if quick else DRAWS
    tasks = [
        Task(name, index) for name in (*CONCENTRATIONS, "covariates") for index in range(draws)
    ]
    with joblib.parallel_config("loky", n_jobs=n_jobs):
        found = parallel_map(one_draw, tasks, progress=False)
    table = report(pd.DataFrame([row for rows in found for row in rows]))
    table.to_csv(output, index=False)
    print(table.to_string(index=False))
    beside_doubleml()
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten draws")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    main(given.quick, given.jobs)
