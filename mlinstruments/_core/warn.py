"""Warnings that point at the user's own line, however deep in the package they arise."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PACKAGE = __name__.partition(".")[0]


_COLLECTED: ContextVar[list[str] | None] = ContextVar("collected", default=None)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect what :func:`warn_user` says in this thread instead of showing it.

    Unlike ``warnings.catch_warnings`` it changes nothing for other threads.

    Examples
    --------
    >>> with collected_warnings() as said:
    ...     warn_user("rows were dropped", UserWarning)
    >>> said
    ['UserWarning: rows were dropped']
    """
    said: list[str] = []
    token = _COLLECTED.set(said)
    try:
        yield said
    finally:
        _COLLECTED.reset(token)


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn, and blame the innermost caller outside the package.

    Parameters
    ----------
    message : str
        What happened, and what to do about it.
    category : type
        Class of the warning.
    """
    said = _COLLECTED.get()
    if said is not None:
        said.append(f"{category.__name__}: {message}")
        return
    level, frame = 1, sys._getframe()
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == PACKAGE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
