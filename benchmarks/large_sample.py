"""How much memory and time does a million rows take?

n = 1e6, 10 covariates, 5 instruments, boosting with 50 rounds. Memory: the peak of the process less
its size just before the fit, over the size of the input arrays; limit 1.5. Time: over 5 plain
LightGBM fits with the same rounds on the training parts. Each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np
from lib.memory import memory, peak, reset_peak

LIMIT = 1.5
N, QUICK_N = 1_000_000, 20_000
ROUNDS, FOLDS = 50, 5


def data(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, covariates with the constant first, treatment, instruments; all float64."""
    rng = np.random.default_rng(0)
    exog = rng.standard_normal((n, 10))
    exog[:, 0] = 1.0
    instruments = rng.standard_normal((n, 5))
    u = rng.standard_normal(n)
    treatment = np.cos(instruments[:, 0]) + 0.5 * exog[:, 1] + 0.7 * u + rng.standard_normal(n)
    return treatment + exog.sum(axis=1) + u, exog, treatment, instruments


def run_ours(n: int) -> dict[str, float]:
    """Fit once; imports and a small fit come first, so that only the data count."""
    from mlinstruments import MLIV
    from mlinstruments.learning import Boosting

    model = MLIV(Boosting(rounds=ROUNDS), n_folds=FOLDS)
    model.fit(*(array[:500] for array in data(500)))
    arrays = data(n)
    size = sum(array.nbytes for array in arrays)
    reset_peak()
    before = memory()
    begun, cpu = time.perf_counter(), time.process_time()
    res = model.fit(*arrays)
    return {
        "ratio": (peak() - before) / size,
        "input_mb": size / 2**20,
        "extra_mb": (peak() - before) / 2**20,
        "wall": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu,
        "estimate": float(res.params["endog"]),
        "f": float(res.first_stage.f.iloc[0]),
    }


def run_plain(n: int) -> dict[str, float]:
    """What the learner alone costs: Dataset, train and predict on each training part."""
    import lightgbm

    from mlinstruments.learning import Boosting

    settings = {**Boosting().settings(n), "objective": "regression"}
    _, _, treatment, instruments = data(n)
    fold = np.random.default_rng(1).permutation(n) % FOLDS
    begun, cpu = time.perf_counter(), time.process_time()
    for k in range(FOLDS):
        part = fold != k
        training = lightgbm.Dataset(instruments[part], treatment[part])
        booster = lightgbm.train(settings, training, num_boost_round=ROUNDS)
        booster.predict(instruments[~part], num_threads=1)
    return {"wall": time.perf_counter() - begun, "cpu": time.process_time() - cpu}


def in_fresh_process(name: str, n: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--only", name, "--rows", str(n)]
    found: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found


def main(quick: bool = False) -> dict[str, float]:
    """A million rows, or 20,000."""
    n = QUICK_N if quick else N
    plain, ours = in_fresh_process("plain", n), in_fresh_process("ours", n)
    print(f"n = {n:,}; estimate {ours['estimate']:.4f}, F {ours['f']:.0f}")
    print(
        f"extra memory {ours['extra_mb']:.0f} MB over {ours['input_mb']:.0f} MB of input:"
        f" {ours['ratio']:.2f} x (limit {LIMIT})"
    )
    print(f"CPU time over {FOLDS} plain LightGBM fits: {ours['cpu'] / plain['cpu']:.2f} x")
    print(f"CPU seconds: {ours['cpu']:.1f} against {plain['cpu']:.1f}")
    if not quick and ours["ratio"] > LIMIT:
        print(f"memory is above the limit of {LIMIT}")
    return ours


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_N:,} rows")
    parser.add_argument("--only", choices=("ours", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=N, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps({"ours": run_ours, "plain": run_plain}[given.only](given.rows)))
    else:
        main(given.quick)
