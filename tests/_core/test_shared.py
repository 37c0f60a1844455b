"""What all tasks share reaches each process once, and is the same thing to every task there."""

from __future__ import annotations

import os
import pickle

import joblib
import numpy as np
import pytest

from mlinstruments._core.parallel import parallel_map
from mlinstruments._core.shared import Held, get, put


class Counted:
    """Knows how often it was made use of in this process."""

    def __init__(self):
        self.values = np.arange(300_000.0)  # more than joblib's megabyte
        self.uses = 0


def use(shared, task):
    shared.uses += 1
    return task, os.getpid(), shared.uses, float(shared.values[-1])


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_every_task_of_a_process_finds_the_same_object(backend):
    shared = Counted()
    with joblib.parallel_config(backend, n_jobs=2):
        found = parallel_map(use, range(8), shared=shared)
    assert [task for task, *_ in found] == list(range(8))
    assert {last for *_, last in found} == {299_999.0}
    for pid in {pid for _, pid, *_ in found}:
        uses = sorted(count for _, where, count, _ in found if where == pid)
        assert uses == list(range(1, len(uses) + 1))
    assert shared.uses == (0 if backend == "loky" else 8)


def test_another_value_takes_the_place_of_the_first():
    one, two = Held(np.zeros(2)), Held(np.ones(2))
    first, again = (pickle.loads(pickle.dumps(one)) for _ in range(2))
    assert first.value is again.value
    assert pickle.loads(pickle.dumps(two)).value.tolist() == [1.0, 1.0]
    assert pickle.loads(pickle.dumps(one)).value is not first.value


def test_a_handle_gives_its_value_back():
    backend = joblib.parallel.get_active_backend()[0]
    assert get(put("value", backend)) == "value"
    assert get("a value that dask has put in place of its handle").startswith("a value")
