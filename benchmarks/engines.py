"""Does a simulation give one table on every engine, and what does each engine cost?

One process, two processes (loky), two dask workers and two ray workers run the same replications;
engines whose package is not installed are left out. A second table puts a design with large fixed
arrays on each engine, where handing them out once is what counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import joblib
import numpy as np
import pandas as pd

from mlinstruments import MLIV, TSLS
from mlinstruments.learning import Ridge
from mlinstruments.simulation import Design, Sample, designs, monte_carlo

SEED = 20261123
WORKERS = 2


@contextmanager
def one_process() -> Iterator[None]:
    """The process itself."""
    with joblib.parallel_config("sequential"):
        yield


@contextmanager
def processes() -> Iterator[None]:
    """joblib's own processes."""
    with joblib.parallel_config("loky", n_jobs=WORKERS):
        yield


@contextmanager
def dask() -> Iterator[None]:
    """A dask cluster of this machine."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config("dask"):
        yield


@contextmanager
def ray() -> Iterator[None]:
    """A ray instance of this machine."""
    import ray as package
    from ray.util.joblib import register_ray

    package.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        with joblib.parallel_config("ray", n_jobs=WORKERS):
            yield
    finally:
        package.shutdown()


ENGINES: dict[str, tuple[Callable[[], Any], str]] = {
    "one process": (one_process, "joblib"),
    "two processes": (processes, "joblib"),
    "dask, two workers": (dask, "distributed"),
    "ray, two workers": (ray, "ray"),
}


class FixedInstruments:
    """Instruments drawn once and held; errors drawn anew."""

    def __init__(self, n: int, q: int) -> None:
        self.W = np.random.default_rng(SEED).standard_normal((n, q))

    def __call__(self, rng: np.random.Generator) -> Sample:
        n = len(self.W)
        f = 0.3 * self.W[:, :3].sum(axis=1)
        U, e = rng.standard_normal((2, n))
        D = f + 0.7 * U + e
        # Two instruments only: the rest is cargo.
        return Sample(D + U, np.ones((n, 1)), D, self.W[:, :2], f, 1.0)


def tasks(quick: bool) -> dict[str, tuple[Any, dict[str, Any], int]]:
    """What is run: a small design, and one whose arrays take 160 MB (quick: 2 MB)."""
    n, q = (1000, 250) if quick else (20_000, 1000)
    large = Design(
        f"fixed(n={n}, q={q})", "Large fixed instruments.", n, 1.0, FixedInstruments(n, q)
    )
    small = designs.many_weak(n=300, concentration=60, linear=True)
    ridge = MLIV(learner=Ridge(0.1), random_state=None)
    return {
        "small": (small, {"2SLS": TSLS(), "ridge": ridge}, 40 if quick else 1000),
        "large": (large, {"2SLS": TSLS()}, 20 if quick else 200),
    }


def main(quick: bool = False) -> pd.DataFrame:
    """Time every engine, and stop where one gives another table."""
    rows = []
    first: dict[str, pd.DataFrame] = {}
    for engine, (start, package) in ENGINES.items():
        if find_spec(package) is None:
            print(f"{engine}: left out, {package} is not installed")
            continue
        with ExitStack() as stack:
            begun = time.perf_counter()
            stack.enter_context(start())
            started = time.perf_counter() - begun
            for name, (design, estimators, replications) in tasks(quick).items():
                warm = monte_carlo(design, estimators, 8, random_state=1)
                assert warm.failures.empty
                begun = time.perf_counter()
                report = monte_carlo(design, estimators, replications, random_state=SEED)
                seconds = time.perf_counter() - begun
                kept = first.setdefault(name, report.draws)
                pd.testing.assert_frame_equal(report.draws, kept, check_exact=True)
                rows.append({"task": name, "engine": engine, "start": started, "seconds": seconds})
    table = pd.DataFrame(rows)
    alone = table[table["engine"] == "one process"].set_index("task")["seconds"]
    table["speed-up"] = table["task"].map(alone) / table["seconds"]
    print("Same draws to the last bit on every engine. Wall seconds:\n")
    print(table.round(2).to_string(index=False))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40 and 20 replications")
    main(parser.parse_args().quick)
