"""What does a learned instrument gain where the first stage is non-linear, and is it honest?

The design `nonlinear` (OLS biased by .53, linear first stage empty), n = 1000, at full and half
signal: OLS, 2SLS, LIML, MLIV by boosting and series with and without the control variate, and the
oracle instrument. Then effects that vary with the instruments, tau(W) = 1 + cos(2 pi W1): each
instrument z estimates an average of its own, E[z f tau] / E[z f], that its sets must cover.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from mlinstruments import LIML, MLIV, OLS, TSLS
from mlinstruments._core.exceptions import WeakInstrumentWarning
from mlinstruments._core.parallel import parallel_map
from mlinstruments.simulation import Sample, designs

OUTPUT = Path(__file__).parent / "output" / "nonlinear_first_stage.csv"
N = 1000
SEED = 20261123
SIGNALS = (1.0, 0.5)
DESIGNS = ((1.0, "constant"), (0.5, "constant"), (1.0, "varying"))
CLASSICAL = {"OLS": OLS(), "2SLS": TSLS(), "LIML": LIML()}
LEARNED: dict[str, dict[str, Any]] = {
    "boosting": {"learner": "boosting"},
    "boosting, control variate": {"learner": "boosting", "control_variate": True},
    "series": {"learner": "series"},
    "series, control variate": {"learner": "series", "control_variate": True},
}

Task = tuple[float, str, int]


def one_draw(task: Task) -> list[dict[str, object]]:
    """All estimators on one sample; constant and varying effects share their errors."""
    signal, effects, index = task
    place = (SIGNALS.index(signal), index)
    data_seed, fit_seed = np.random.SeedSequence(SEED, spawn_key=place).spawn(2)
    sample = designs.nonlinear(n=N, signal=signal).draw(np.random.default_rng(data_seed))
    tau = np.full(N, sample.truth)
    if effects == "varying":
        tau = tau + np.cos(2 * np.pi * sample.W[:, 0])
    y = sample.y + (tau - sample.truth) * sample.D
    rows = [
        {"signal": signal, "effects": effects, "estimator": name, **judged}
        for name, judged in estimates(sample, y, tau, fit_seed)
    ]
    return rows


def estimates(
    sample: Sample, y: np.ndarray, tau: np.ndarray, seed: np.random.SeedSequence
) -> list[tuple[str, dict[str, object]]]:
    """Name and judgement of each estimator; OLS, 2SLS and LIML where tau is constant only."""
    found = []
    if np.ptp(tau) == 0:
        for name, model in CLASSICAL.items():
            begun = time.process_time()
            res = model.fit(y, sample.X, sample.D, sample.W)
            found.append((name, judge(res, sample.truth, begun)))
    for name, settings in LEARNED.items():
        begun = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeakInstrumentWarning)  # counted in "given"
            res = MLIV(**settings, random_state=seed).fit(y, sample.X, sample.D, sample.W)
        target = own_average(np.asarray(res.instrument), sample.oracle, tau)
        found.append((name, judge(res, target, begun)))
    begun = time.process_time()
    res = TSLS().fit(y, sample.X, sample.D, sample.oracle)
    target = own_average(sample.oracle - sample.oracle.mean(), sample.oracle, tau)
    found.append(("oracle instrument", judge(res, target, begun)))
    return found


def own_average(z: np.ndarray, f: np.ndarray, tau: np.ndarray) -> float:
    """What an instrument z with mean zero estimates: E[z D tau] / E[z D] given W."""
    if np.ptp(tau) == 0 or z @ f == 0:
        return float(tau.mean())
    return float(z @ (f * tau) / (z @ f))


def judge(res: Any, target: float, begun: float) -> dict[str, object]:
    """Error and coverage of ``target``, and of the plain average effect 1."""
    estimate = float(res.params["endog"])
    low, high = res.conf_int().loc["endog"]
    ar = None if res.first_stage is None else res.conf_int(method="ar")
    return {
        "estimate": estimate,
        "target": target,
        "error": estimate - target,
        "wald": float(low <= target <= high) if np.isfinite(estimate) else np.nan,
        "ar": np.nan if ar is None else float(target in ar),
        "ar_of_plain_average": np.nan if ar is None else float(1.0 in ar),
        "length": np.nan if ar is None else ar.length,
        "f": np.nan if ar is None else float(res.first_stage.f.iloc[0]),
        "cpu": time.process_time() - begun,
    }


def summarise(draws: pd.DataFrame) -> pd.DataFrame:
    """One row for each design and estimator."""
    groups = draws.groupby(["effects", "signal", "estimator"], sort=False)
    return groups.agg(
        draws=("error", "size"),
        given=("error", lambda e: e.notna().mean()),
        target=("target", "median"),
        median_bias=("error", "median"),
        sd=("estimate", "std"),
        rmse=("error", lambda e: np.sqrt((e**2).mean())),
        wald=("wald", "mean"),
        ar=("ar", "mean"),
        ar_of_plain_average=("ar_of_plain_average", "mean"),
        median_length=("length", "median"),
        median_f=("f", "median"),
        cpu_minutes=("cpu", lambda values: values.sum() / 60),
    ).round(3)


def main(quick: bool = False, n_jobs: int = 2, replications: int = 500) -> pd.DataFrame:
    """500 draws of each design, or 2."""
    replications = 2 if quick else replications
    output = OUTPUT.with_stem(OUTPUT.stem + "_quick") if quick else OUTPUT
    output.parent.mkdir(exist_ok=True)
    found: list[dict[str, object]] = []
    with joblib.parallel_config("loky", n_jobs=n_jobs):
        for signal, effects in DESIGNS:
            tasks = [(signal, effects, index) for index in range(replications)]
            found += [row for rows in parallel_map(one_draw, tasks, progress=False) for row in rows]
            pd.DataFrame(found).to_csv(output, index=False)
    table = summarise(pd.DataFrame(found))
    print(table.to_string())
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 draws")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--draws", type=int, default=500)
    given = parser.parse_args()
    main(given.quick, given.jobs, given.draws)
