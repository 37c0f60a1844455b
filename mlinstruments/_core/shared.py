"""What all tasks need, handed to each worker once instead of with every task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

# Values that take more bytes than this are put into a cluster's memory; smaller ones travel with
# the tasks, where losing a worker loses nothing.
LARGE = 1 << 20


@dataclass(frozen=True)
class Held:
    """A value that travels with tasks; a process that receives it several times keeps the first.

    Arrays inside it of a megabyte or more are memory-mapped by joblib's loky backend, so they are
    written once too. Keeping the first saves what is made from them, such as binned data.
    """

    value: Any
    token: str = field(default_factory=lambda: uuid4().hex)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (self.token, self.value)


@dataclass(frozen=True)
class InRay:
    """A value in ray's object store."""

    reference: Any


# The last value this process received: one at a time, so that memory does not pile up.
_kept: dict[str, Any] = {}


def _received(token: str, value: Any) -> Held:
    first = _kept.get(token)
    if first is None:
        _kept.clear()
        _kept[token] = first = value
    return Held(first, token)


def put(value: Any, backend: Any) -> Any:
    """Place a value where the workers of a joblib backend find it.

    Parameters
    ----------
    value : object
    backend : joblib backend

    Returns
    -------
    handle
        To be given to tasks, which call :func:`get`. Dask gives them the value itself.
    """
    kind = type(backend)
    if kind.__name__ == "DaskDistributedBackend" and _size(value) > LARGE:
        # To all workers: one that is lost, or comes later, finds it at another.
        return backend.client.scatter(value, broadcast=True, hash=False)
    if kind.__module__.partition(".")[0] == "ray":
        import ray

        return InRay(ray.put(value))
    return Held(value)


def get(handle: Any) -> Any:
    """The value behind a handle."""
    if isinstance(handle, Held):
        return handle.value
    if isinstance(handle, InRay):
        import ray

        return ray.get(handle.reference)
    return handle


def _size(value: Any) -> int:
    from cloudpickle import dumps  # dask requires it

    return len(dumps(value))
