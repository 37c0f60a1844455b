"""A run that is stopped, however, goes on to exactly the numbers of one that was not."""

import functools
import importlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from mlinstruments import MLIV, OLS, TSLS
from mlinstruments._core.exceptions import InputError, MissingExtraError
from mlinstruments.learning import Ridge
from mlinstruments.simulation import Design, designs, monte_carlo
from mlinstruments.simulation.checkpoint import SETTINGS, UNFINISHED, describe

DESIGN = designs.many_weak(n=100, concentration=40, linear=True)
PAIR = {"OLS": OLS(), "2SLS": TSLS()}
runner = importlib.import_module("mlinstruments.simulation.monte_carlo")


def equal(one, two):
    pd.testing.assert_frame_equal(one.draws, two.draws, check_exact=True)


CALLS = []


@pytest.fixture
def calls():
    CALLS.clear()
    return CALLS


def counted(sample):
    CALLS.append(1)
    return {"estimate": float(sample.D.mean()), "odd": 0.1 + 0.2}


# ---- going on -----------------------------------------------------------------------------------


def test_a_second_call_runs_nothing_and_gives_the_same(tmp_path, calls):
    run = functools.partial(monte_carlo, DESIGN, checkpoint=tmp_path / "mc.parquet")
    first = run({"mean": counted}, 5)
    assert len(calls) == 5
    second = run({"mean": counted}, 5)
    assert len(calls) == 5
    equal(first, second)
    equal(first, monte_carlo(DESIGN, {"mean": counted}, 5))


def test_more_replications_go_on_and_fewer_read_what_is_there(tmp_path, calls):
    for replications, new in ((4, 4), (9, 5), (3, 0)):
        calls.clear()
        found = monte_carlo(DESIGN, {"mean": counted}, replications, checkpoint=tmp_path / "mc")
        assert len(calls) == new
        equal(found, monte_carlo(DESIGN, {"mean": counted}, replications))


def test_all_columns_survive_the_disk(tmp_path):
    estimators = {**PAIR, "series": MLIV(learner=Ridge(0.1), n_folds=2), "mean": counted}
    plain = monte_carlo(DESIGN, estimators, 6)
    monte_carlo(DESIGN, estimators, 3, checkpoint=tmp_path / "mc")
    equal(plain, monte_carlo(DESIGN, estimators, 6, checkpoint=tmp_path / "mc"))


def stops(sample):
    CALLS.append(1)
    if len(CALLS) == 3:
        raise KeyboardInterrupt
    return {"estimate": float(sample.D.mean())}


def test_an_interruption_loses_nothing_that_was_finished(tmp_path, calls):
    with pytest.raises(KeyboardInterrupt):
        monte_carlo(DESIGN, {"x": stops}, 8, checkpoint=tmp_path / "mc")
    kept = pd.read_parquet(tmp_path / "mc")  # the folder is a parquet data set
    assert kept["replication"].tolist() == [0, 1]


SCRIPT = """
import importlib, sys, time
from mlinstruments import MLIV, TSLS
from mlinstruments.learning import Ridge
from mlinstruments.simulation import designs, monte_carlo

runner = importlib.import_module("mlinstruments.simulation.monte_carlo")
runner.PART_SECONDS = 0.05
runner.batched.CHUNK_SAMPLES = 8

def slow(sample):
    time.sleep(0.01)
    return {"estimate": float(sample.D.mean())}

design = designs.many_weak(n=100, concentration=40, linear=True)
ridge = MLIV(learner=Ridge(0.1), n_folds=2, random_state=None)
estimators = {"2SLS": TSLS(), "ridge": ridge, "slow": slow}
checkpoint = sys.argv[1] if sys.argv[1:] else None
report = monte_carlo(design, estimators, 150, random_state=11, checkpoint=checkpoint)
report.draws.to_parquet(sys.stdout.buffer)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_bit(tmp_path):
    script, folder = tmp_path / "run.py", tmp_path / "mc.parquet"
    script.write_text(SCRIPT)
    out = tmp_path / "out.parquet"
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob("part-*"))) < 3:
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    kept = pd.read_parquet(folder)
    assert 0 < len(kept) < 450
    before = {path: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    (folder / f"{UNFINISHED}1-part-00000140-00000149.parquet").write_bytes(b"half a par")
    for place, arguments in ((out, []), (tmp_path / "resumed.parquet", [str(folder)])):
        with place.open("wb") as file:
            subprocess.run([sys.executable, str(script), *arguments], stdout=file, check=True)
    whole, resumed = pd.read_parquet(out), pd.read_parquet(tmp_path / "resumed.parquet")
    assert len(whole) == 450
    pd.testing.assert_frame_equal(whole, resumed, check_exact=True)
    # What was on the disk was not run again, and the half-written part is gone.
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(folder.glob(f"{UNFINISHED}*"))
    assert len(pd.read_parquet(folder)) == 450


def test_a_run_without_seed_goes_on_with_the_one_it_drew(tmp_path):
    first = monte_carlo(DESIGN, PAIR, 2, random_state=None, checkpoint=tmp_path / "mc")
    second = monte_carlo(DESIGN, PAIR, 4, random_state=None, checkpoint=tmp_path / "mc")
    pd.testing.assert_frame_equal(first.draws, second.draws.iloc[:4], check_exact=True)
    equal(second, monte_carlo(DESIGN, PAIR, 4, random_state=int(first.entropy)))


def test_parts_are_written_as_time_passes(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "PART_SECONDS", 0.0)
    monte_carlo(DESIGN, PAIR, 3, checkpoint=tmp_path / "mc")
    assert len(list((tmp_path / "mc").glob("part-*"))) == 3
    assert len(pd.read_parquet(tmp_path / "mc")) == 6


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"design": designs.many_weak(n=101, concentration=40, linear=True)}, "design: .*n=101"),
        ({"estimators": {"OLS": OLS()}}, "estimators: 2SLS: TSLS.* there, none here"),
        ({"estimators": {**PAIR, "2SLS": OLS()}}, "estimators: 2SLS: .*TSLS.* there, .*OLS"),
        ({"random_state": 1}, "entropy: 0 there, 1 here"),
        ({"random_state": np.random.SeedSequence(0, spawn_key=(1,))}, r"spawn_key: \[\] there"),
        ({"level": 0.9}, r"level: 0.95 there, 0.9 here"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, change, words):
    given = {"design": DESIGN, "estimators": PAIR, "replications": 2, "checkpoint": tmp_path / "mc"}
    monte_carlo(**given)
    with pytest.raises(InputError, match=words):
        monte_carlo(**{**given, **change})
    assert len(pd.read_parquet(tmp_path / "mc")) == 4


def test_other_folders_and_files_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        monte_carlo(DESIGN, PAIR, 1, checkpoint=tmp_path / "file")
    with pytest.raises(InputError, match=f"no {SETTINGS}"):
        monte_carlo(DESIGN, PAIR, 1, checkpoint=tmp_path)


def test_a_damaged_part_is_named(tmp_path):
    monte_carlo(DESIGN, PAIR, 2, checkpoint=tmp_path / "mc")
    (part,) = (tmp_path / "mc").glob("part-*")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(InputError, match=f"{part.name} cannot be read.*delete it"):
        monte_carlo(DESIGN, PAIR, 2, checkpoint=tmp_path / "mc")
    part.unlink()
    equal(monte_carlo(DESIGN, PAIR, 2, checkpoint=tmp_path / "mc"), monte_carlo(DESIGN, PAIR, 2))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch, calls):
    monkeypatch.setattr("mlinstruments.simulation.checkpoint.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"mlinstruments\[parquet\]"):
        monte_carlo(DESIGN, {"x": counted}, 1, checkpoint=tmp_path / "mc")
    assert calls == []
    monte_carlo(DESIGN, {"x": counted}, 1)  # needed for checkpoints alone


# ---- what tells runs apart ----------------------------------------------------------------------


def make(k):
    return lambda sample: {"estimate": k}


def with_set(x):
    return x in {"a", "b", "c", "d"}


class Plain:
    def __init__(self, k):
        self.k = k

    def method(self, sample):
        return {"estimate": self.k}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (make(1), make(2)),
        (lambda s: s + 1, lambda s: s + 2),
        (lambda s, k=1: s, lambda s, k=2: s),
        (functools.partial(make, 1), functools.partial(make, 2)),
        (np.arange(2000.0), np.append(np.arange(1999.0), 0.0)),
        (Plain(1), Plain(2)),
        (Plain(1).method, Plain(2).method),
        (MLIV(learner=Ridge(0.1)), MLIV(learner=Ridge(0.2))),
        (designs.nonlinear(10), designs.nonlinear(11)),
        (Design("a", "", 1, 1.0, make(1)), Design("a", "", 1, 1.0, make(2))),
    ],
    ids=range(10),
)
def test_what_differs_is_described_differently(one, two):
    assert describe(one) != describe(two)


@pytest.mark.slow
def test_descriptions_do_not_change_from_run_to_run():
    things = (
        "[make(1), with_set, Plain(1), Plain(1).method, MLIV(), designs.nonlinear(5), object()]"
    )
    code = (
        "from tests.simulation.test_checkpoint import *;"
        f"print([describe(thing) for thing in {things}])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert "0x" not in found.pop()
