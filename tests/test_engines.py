"""The same numbers from every engine; a cluster may lose a worker while it runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

from mlinstruments import MLIV, TSLS
from mlinstruments.learning import Boosting, Ridge
from mlinstruments.simulation import Design, designs, monte_carlo
from tests.designs import strong

distributed = pytest.importorskip("distributed")

DESIGN = designs.many_weak(n=100, concentration=40, linear=True)
ESTIMATORS = {
    "2SLS": TSLS(),
    "ridge": MLIV(learner=Ridge(0.1), n_folds=2, random_state=None),
    "boosting": MLIV(learner=Boosting(rounds=3), n_folds=2),
}


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each; dask starts another where one is lost."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as found,
        distributed.Client(found) as client,
    ):
        yield client


def workers(client):
    return [info["pid"] for info in client.run(lambda: {"pid": os.getpid()}).values()]


def run(replications=24, **settings):
    return monte_carlo(DESIGN, ESTIMATORS, replications, random_state=7, **settings).draws


def test_dask_gives_the_numbers_of_one_process(cluster):
    with joblib.parallel_config("dask"):
        found = run()
    pd.testing.assert_frame_equal(found, run(), check_exact=True)


@pytest.mark.parametrize("learner", [Boosting(rounds=5), Ridge(0.1)], ids=["boosting", "ridge"])
@pytest.mark.parametrize("backend", ["threading", "loky", "dask"])
def test_a_fit_is_the_same_wherever_its_folds_are(cluster, learner, backend):
    data = strong().data
    model = MLIV(learner=learner, n_folds=3, n_repeats=2)
    with joblib.parallel_config(backend, n_jobs=2):
        found = model.fit(*data)
    pd.testing.assert_series_equal(found.instrument, model.fit(*data).instrument, check_exact=True)


class Leaves:
    """An estimator that says where it ran, and takes its time."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __call__(self, sample):
        time.sleep(0.03)
        with open(Path(self.folder) / str(os.getpid()), "a") as file:
            file.write("x")
        return {"estimate": float(sample.D.mean())}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_worker_killed_while_it_runs_costs_nothing_but_time(cluster, tmp_path):
    before = workers(cluster)

    def kill():
        victim = tmp_path / str(before[0])
        while not victim.exists() or victim.stat().st_size < 3:
            time.sleep(0.01)
        os.kill(before[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    estimators = {**ESTIMATORS, "slow": Leaves(tmp_path)}
    with joblib.parallel_config("dask"):
        found = monte_carlo(DESIGN, estimators, 60, random_state=7)
    killer.join(10)
    assert not killer.is_alive()
    assert before[0] not in workers(cluster)
    plain = monte_carlo(DESIGN, estimators, 60, random_state=7)
    pd.testing.assert_frame_equal(found.draws, plain.draws, check_exact=True)
    assert (found.draws["failure"] == "").all()
    assert len({int(path.name) for path in tmp_path.iterdir()}) >= 3  # both workers, then this


class Heavy:
    """A sampler with two megabytes of instruments, which counts how often it is unpacked."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.W = np.random.default_rng(0).normal(size=(300, 900))

    def __setstate__(self, state):
        self.__dict__.update(state)
        with open(Path(self.folder) / f"unpacked {os.getpid()}", "a") as file:
            file.write("x")

    def __call__(self, rng):
        time.sleep(0.02)
        sample = designs.many_weak(300, 60, linear=True).draw(rng)
        return type(sample)(sample.y, sample.X, sample.D, self.W[:, :3], sample.oracle, 1.0)


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_large_designs_are_put_on_a_worker_once(cluster, backend, tmp_path):
    design = Design("heavy", "", 300, 1.0, Heavy(tmp_path))
    with joblib.parallel_config(backend, n_jobs=2):
        found = monte_carlo(design, {"2SLS": TSLS()}, 40)
    assert (found.draws["failure"] == "").all()
    unpacked = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert len(unpacked) >= 2
    if backend == "dask":  # scattered: once a worker, however many tasks it does
        assert set(unpacked.values()) == {1}
