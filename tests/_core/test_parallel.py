"""Seeds that depend on nothing but the random state, and a map that keeps its order."""

from __future__ import annotations

import time

import joblib
import numpy as np
import pytest

from mlinstruments._core.parallel import parallel_map, spawn_seeds


def states(seeds):
    return [tuple(seed.generate_state(4)) for seed in seeds]


def draw(seed):
    return float(np.random.default_rng(seed).normal())


def late_first(k):
    time.sleep(0.02 * (3 - k))
    return k, draw(np.random.SeedSequence(k))


@pytest.mark.parametrize("random_state", [0, 7, np.random.SeedSequence(3, spawn_key=(1,))])
def test_the_same_random_state_gives_the_same_seeds(random_state):
    first = states(spawn_seeds(random_state, 3))
    assert first == states(spawn_seeds(random_state, 3))  # spawn() counts; this must not
    assert len(set(first)) == 3
    assert states(spawn_seeds(random_state, 5))[:3] == first  # more tasks change no earlier one


def test_other_random_states_give_other_seeds():
    sequences = [np.random.SeedSequence(0, spawn_key=(k,)) for k in (0, 1)]
    found = [states(spawn_seeds(s, 1))[0] for s in (0, 1, *sequences)]
    assert len(set(found)) == 4


def test_a_generator_moves_on_and_none_is_fresh():
    generator = np.random.default_rng(0)
    first, second = (states(spawn_seeds(generator, 2)) for _ in range(2))
    assert first != second
    assert first == states(spawn_seeds(np.random.default_rng(0), 2))
    assert states(spawn_seeds(None, 1)) != states(spawn_seeds(None, 1))


def test_results_come_in_the_order_of_tasks():
    assert [k for k, _ in parallel_map(late_first, range(4), n_jobs=4)] == [0, 1, 2, 3]


def test_backends_agree_to_the_bit():
    seeds = spawn_seeds(11, 4)
    sequential = parallel_map(draw, seeds)
    assert sequential == [draw(seed) for seed in seeds]
    for backend in ("threading", "loky"):
        with joblib.parallel_config(backend=backend, n_jobs=2):
            assert parallel_map(draw, seeds) == sequential


def test_tasks_may_be_a_generator_and_none_at_all():
    assert parallel_map(abs, (k for k in (-1, -2))) == [1, 2]
    assert parallel_map(abs, []) == []


def test_errors_of_a_task_reach_the_caller():
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda k: 1 / k, [1, 0], n_jobs=2)


def test_progress_is_shown_on_request_only(capsys):
    parallel_map(abs, range(30))
    assert capsys.readouterr().err == ""  # not a terminal
    parallel_map(abs, range(2), progress=True, description="first stage")
    assert "first stage" in capsys.readouterr().err
    parallel_map(abs, range(30), progress=False)
    assert capsys.readouterr().err == ""
