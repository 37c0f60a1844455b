"""What does weighting the instrument by the error's variance gain, and do its intervals cover?

W ~ U(-2, 2), X = W^2 - 4/3 + exp(.3 W) N, Var(U | W) = exp(1.2 W), Y = D + U and
D = s (sin 2W + .5 W) + .7 X + V,
with s the strength of the instrument and corr(U, V | W) = .6, or .95 where it is weak.
"""

from __future__ import annotations

import argparse
import warnings
from itertools import product
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from mlinstruments import MLIV, TSLS
from mlinstruments._core.exceptions import FallbackWarning
from mlinstruments._core.parallel import parallel_map
from mlinstruments._core.typing import FloatArray

OUTPUT = Path(__file__).parent / "output" / "efficient_instrument.csv"
N = 1000
SEED = 20261123
# Strength of the instrument and correlation of the errors.
STRENGTHS = {"strong": (1.0, 0.6), "weak": (0.15, 0.95), "irrelevant": (0.0, 0.95)}
LEARNERS = ("series", "boosting")

Task = tuple[str, str, int]


def draw(strength: str, rng: np.random.Generator) -> tuple[FloatArray, ...]:
    """Outcome, covariates, treatment, instrument and the function f(W)."""
    scale, rho = STRENGTHS[strength]
    w = rng.uniform(-2, 2, N)
    x = w**2 - 4 / 3 + np.exp(0.3 * w) * rng.standard_normal(N)
    e = rng.standard_normal(N)
    v = rho * e + np.sqrt(1 - rho**2) * rng.standard_normal(N)
    f = scale * (np.sin(2 * w) + 0.5 * w)
    d = f + 0.7 * x + v
    return d + np.exp(0.6 * w) * e, np.column_stack([np.ones(N), x]), d, w, f


def optimal(w: FloatArray, x: FloatArray, f: FloatArray) -> FloatArray:
    """The optimal instruments of the constant, x and D, all functions of W known.

    X and U are independent given W, so xbar = E[X | W] = W^2 - 4/3 and E[X0 X'] = E[exp(.6 W)],
    E[U^2 X0^2] = E[exp(1.8 W)], over W uniform on (-2, 2).
    """
    xhat, s2 = w**2 - 4 / 3, np.exp(1.2 * w)
    mean_06, mean_18 = (np.sinh(2 * a) / (2 * a) for a in (0.6, 1.8))
    h = (mean_18 / mean_06) * xhat / s2 - xhat
    return np.column_stack([1 / s2, x + h, f / s2])


def one_draw(task: Task) -> list[dict[str, object]]:
    """One sample: the default and the efficient instrument, learned and known."""
    learner, strength, index = task
    place = (list(STRENGTHS).index(strength), index)
    data_seed, fit_seed = np.random.SeedSequence(SEED, spawn_key=place).spawn(2)
    y, X, D, w, f = draw(strength, np.random.default_rng(data_seed))
    found = []
    for name in ("default", "efficient"):
        model = MLIV(learner, efficient=name == "efficient", random_state=fit_seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FallbackWarning)  # counted below
            res = model.fit(y, X, D, w)
        low, high = res.conf_int().loc["endog"]
        ar = res.conf_int(method="ar")
        found.append(
            {
                "learner": learner,
                "strength": strength,
                "instrument": name,
                "estimate": float(res.params["endog"]),
                "covered": bool(low <= 1 <= high) if np.isfinite(low) else np.nan,
                "ar_covered": 1.0 in ar,
                "pooled_covered": 1.0 in res.conf_int(method="ar", ar="pooled"),
                "ar_length": ar.length,
                "f": float(res.first_stage.f.iloc[0]),
                "used": res.efficient,
            }
        )
    if strength == "strong":
        Z = optimal(w, X[:, 1], f)
        known = {
            "default, f known": TSLS().fit(y, X, D, f).params["endog"],
            "efficient, all known": np.linalg.solve(Z.T @ np.column_stack([X, D]), Z.T @ y)[2],
        }
        same = {"learner": learner, "strength": strength}
        found += [{**same, "instrument": k, "estimate": float(v)} for k, v in known.items()]
    return found


def report(draws: pd.DataFrame) -> str:
    """Bias, spread, coverage and lengths by design and instrument."""
    groups = draws.groupby(["strength", "learner", "instrument"], sort=False)
    table = pd.DataFrame(
        {
            "draws": groups.size(),
            "bias": groups["estimate"].median() - 1,
            "sd": groups["estimate"].std(),
            "F": groups["f"].median(),
            "coverage": groups["covered"].mean(),
            "AR corrected": groups["ar_covered"].mean(),
            "AR pooled": groups["pooled_covered"].mean(),
            "AR length": groups["ar_length"].median(),
            "used": groups["used"].mean(),
        }
    )
    return table.astype(float).round(4).to_string()


def main(
    quick: bool = False, draws: int = 300, jobs: int = 1, learners: tuple[str, ...] = LEARNERS
) -> None:
    """Draw, print and save."""
    draws = 3 if quick else draws
    learners = learners[:1] if quick else learners
    tasks = list(product(learners, STRENGTHS, range(draws)))
    with joblib.parallel_config(backend="loky" if jobs > 1 else "sequential", n_jobs=jobs):
        rows = parallel_map(one_draw, tasks, progress=not quick, description="draws")
    table = pd.DataFrame([row for one in rows for row in one])
    print(report(table))
    if not quick:
        OUTPUT.parent.mkdir(exist_ok=True)
        table.to_csv(OUTPUT, index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=LEARNERS)
    arguments = parser.parse_args()
    main(arguments.quick, arguments.draws, arguments.jobs, tuple(arguments.learners))
