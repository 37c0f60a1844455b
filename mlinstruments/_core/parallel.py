"""One map over independent tasks: joblib with any backend, seeds spawned, progress shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from operator import add
from typing import Any, TypeVar

import numpy as np

Task = TypeVar("Task")
Result = TypeVar("Result")


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
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    n_jobs: int | None = None,
    progress: bool | None = None,
    description: str = "",
) -> list[Result]:
    """Apply ``function`` to every task and return results in task order.

    Threads by default; ``joblib.parallel_config(backend=...)`` around the call chooses any other
    registered backend. The results do not depend on the backend or on ``n_jobs``.

    Parameters
    ----------
    function : callable
        Called with one task.
    tasks : iterable
        The tasks.
    n_jobs : int, optional
        Workers, as joblib counts them; None means one unless a joblib context says otherwise.
    progress : bool, optional
        Show a progress bar; None shows one in a terminal when there are many tasks.
    description : str
        Text before the bar.

    Examples
    --------
    >>> parallel_map(abs, [-1, 2])
    [1, 2]
    """
    return list(_results(function, tasks, n_jobs, progress, description))


def parallel_sum(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
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
    return reduce(add, _results(function, tasks, n_jobs, progress, description))


def _results(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    n_jobs: int | None,
    progress: bool | None,
    description: str,
) -> Iterator[Result]:
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    listed = list(tasks)
    # disable=None lets tqdm be silent where the output is not a terminal.
    disable = (None if len(listed) >= 20 else True) if progress is None else not progress
    workers = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    results = workers(delayed(function)(task) for task in listed)
    yield from tqdm(results, total=len(listed), desc=description, disable=disable, leave=False)
