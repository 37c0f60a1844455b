"""What goes wrong when a prediction of the treatment replaces it, instead of instrumenting it?

Y = D + X + U and D = f(W) + X/2 + V, true effect 1, corr(U, V) = .7; X is related to W and f is the
wave and sign of the design `nonlinear`. D is predicted by a forest on the rows it was trained on,
and out of fold by boosting, tuned and stopped far too early. Each prediction is used both ways.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor

from mlinstruments import MLIV, OLS, TSLS, IVResults
from mlinstruments._core.parallel import parallel_map
from mlinstruments.learning import Boosting
from mlinstruments.simulation import designs

OUTPUT = Path(__file__).parent / "output" / "forbidden_regression.csv"
N, SEED, TRUTH = 1000, 20261123, 1.0
FOREST = RandomForestRegressor(n_estimators=100, min_samples_leaf=5, random_state=0)


def sample(seed: np.random.SeedSequence) -> tuple[np.ndarray, ...]:
    """y, X, D, W of one draw."""
    rng = np.random.default_rng(seed)
    drawn = designs.nonlinear(n=N).draw(rng)
    x = drawn.W[:, 0] + 0.5 * rng.standard_normal(N)
    D = drawn.D + 0.5 * x
    y = drawn.y - drawn.truth * drawn.D + TRUTH * D + x
    return y, np.column_stack([np.ones(N), x]), D, drawn.W


def one_draw(index: int) -> list[dict[str, object]]:
    """Every use of every prediction."""
    data_seed, fit_seed = np.random.SeedSequence(SEED, spawn_key=(index,)).spawn(2)
    y, X, D, W = sample(data_seed)
    predictions = {"forest, its own training rows": FOREST.fit(W, D).predict(W)}
    for name, learner in (("tuned", Boosting()), ("stopped early", Boosting(rounds=20))):
        res = MLIV(learner=learner, random_state=fit_seed).fit(y, X, D, W)
        predictions[f"boosting, {name}, out of fold"] = res.instrument.to_numpy()
    rows = [judge("", "none: OLS on D", OLS().fit(y, X, D, W))]
    for name, predicted in predictions.items():
        rows.append(judge(name, "regressor", OLS().fit(y, X, predicted, W)))
        rows.append(judge(name, "instrument", TSLS().fit(y, X, D, predicted)))
    return rows


def judge(prediction: str, use: str, res: IVResults) -> dict[str, object]:
    """Estimate and coverage."""
    low, high = res.conf_int().iloc[-1]
    covered = float(low <= TRUTH <= high)
    estimate = float(res.params.iloc[-1])
    return {"prediction": prediction, "use": use, "estimate": estimate, "covered": covered}


def main(quick: bool = False, n_jobs: int = 2, replications: int = 100) -> pd.DataFrame:
    """100 draws, or 2."""
    tasks = range(2 if quick else replications)
    with joblib.parallel_config("loky", n_jobs=n_jobs):
        found = [row for rows in parallel_map(one_draw, tasks, progress=False) for row in rows]
    draws = pd.DataFrame(found)
    if not quick:
        OUTPUT.parent.mkdir(exist_ok=True)
        draws.to_csv(OUTPUT, index=False)
    table = draws.groupby(["prediction", "use"], sort=False).agg(
        median=("estimate", "median"), sd=("estimate", "std"), coverage=("covered", "mean")
    )
    print(f"True effect {TRUTH:g}, n = {N}, {len(tasks)} draws.\n")
    print(table.round(2).reset_index().to_string(index=False))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 draws")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    main(given.quick, given.jobs)
