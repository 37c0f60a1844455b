"""One map over independent tasks: joblib with any backend, seeds spawned, progress shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from operator import add
from typing import Any, TypeVar

import numpy as np

from .shared import get, put

Result = TypeVar("Result")

# Tasks a worker gets at once where a backend hands results back in whole lists only.
ROUND = 8


def spawn_seeds(random_state: Any, n: int) -> list[np.random.SeedSequence]:
    """Independent seeds for ``n`` tasks from one ``random_state``.

    Parameters
    ----------
    random_state : int, numpy SeedSequence, Generator or None
        The one source of randomness; None draws fresh entropy.
    n : int
        How many seeds.

    Examples
    --------
    >>> a, b = spawn_seeds(0, 2)
    >>> a.generate_state(1) == spawn_seeds(0, 2)[0].generate_state(1)
    array([ True])
    """
    if isinstance(random_state, np.random.SeedSequence):
        # Rebuilt, because spawn() counts on the object and a second fit would see other seeds.
        source = np.random.SeedSequence(random_state.entropy, spawn_key=random_state.spawn_key)
    elif isinstance(random_state, np.random.Generator):
        source = np.random.SeedSequence(random_state.integers(0, 2**63, 4).tolist())
    else:
        source = np.random.SeedSequence(random_state)
    return source.spawn(n)


def parallel_map(
    function: Callable[..., Result],
    tasks: Iterable[Any],
    n_jobs: int | None = None,
    progress: bool | None = None,
    description: str = "",
    shared: Any = None,
) -> list[Result]:
    """Apply ``function`` to every task and return results in task order.

    Threads by default; ``joblib.parallel_config(backend=...)`` around the call chooses any other
    registered backend. The results do not depend on the backend or on ``n_jobs``.

    Parameters
    ----------
    function : callable
        Called with one task, or with ``shared`` and one task.
    tasks : iterable
        The tasks.
    n_jobs : int, optional
        Workers, as joblib counts them; None means one unless a joblib context says otherwise.
    progress : bool, optional
        Show a progress bar; None shows one in a terminal when there are many tasks.
    description : str
        Text before the bar.
    shared : object, optional
        What all tasks need: large data above all. Workers get it once.

    Examples
    --------
    >>> parallel_map(abs, [-1, 2])
    [1, 2]
    >>> parallel_map(pow, [0, 3], shared=2)
    [1, 8]
    """
    listed = list(tasks)
    results = parallel_stream(function, listed, n_jobs, shared=shared)
    return list(_shown(results, len(listed), progress, description))


def parallel_sum(
    function: Callable[..., Result],
    tasks: Iterable[Any],
    n_jobs: int | None = None,
    progress: bool | None = None,
    description: str = "",
) -> Result:
    """The sum (``+``) of ``function`` of every task, added up in task order as results come in.

    Parameters
    ----------
    function, tasks, n_jobs, progress, description
        As for :func:`parallel_map`; at least one task. Few results are held at a time.

    Examples
    --------
    >>> parallel_sum(abs, [-1, 2])
    3
    """
    listed = list(tasks)
    results = parallel_stream(function, listed, n_jobs)
    return reduce(add, _shown(results, len(listed), progress, description))


def _shown(
    results: Iterator[Result], total: int, progress: bool | None, description: str
) -> Iterator[Result]:
    from tqdm.auto import tqdm

    # disable=None lets tqdm be silent where the output is not a terminal.
    disable = (None if total >= 20 else True) if progress is None else not progress
    yield from tqdm(results, total=total, desc=description, disable=disable, leave=False)


def parallel_stream(
    function: Callable[..., Result],
    tasks: Iterable[Any],
    n_jobs: int | None = None,
    prefer: str = "threads",
    shared: Any = None,
) -> Iterator[Result]:
    """Results in task order, each as soon as it and all before it are there.

    Parameters
    ----------
    function, tasks, n_jobs, shared
        As for :func:`parallel_map`.
    prefer : {"threads", "processes"}
        Where ``joblib.parallel_config`` has not chosen a backend.

    Examples
    --------
    >>> list(parallel_stream(abs, [-1, 2]))
    [1, 2]
    """
    from joblib import Parallel, delayed, effective_n_jobs
    from joblib.parallel import get_active_backend

    if shared is None:
        calls = [delayed(function)(task) for task in tasks]
    else:
        handle = put(shared, get_active_backend(prefer=prefer)[0])
        calls = [delayed(_with_shared)(function, handle, task) for task in tasks]
    try:
        workers = Parallel(n_jobs=n_jobs, prefer=prefer, return_as="generator")
    except ValueError:  # a backend such as ray's, which hands back whole lists
        workers = Parallel(n_jobs=n_jobs, prefer=prefer)
        size = ROUND * effective_n_jobs(n_jobs)
        for start in range(0, len(calls), size):
            yield from workers(calls[start : start + size])
    else:
        yield from workers(calls)


def _with_shared(function: Callable[..., Result], handle: Any, task: Any) -> Result:
    return function(get(handle), task)
