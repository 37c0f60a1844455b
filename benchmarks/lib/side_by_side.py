"""Two ways to do one thing, timed in turn in one process, and the ratios of their times.

CPU seconds of a shared machine wander by tens of percent from one minute to the next. So the two
ways alternate, each pair gives a ratio, and the median of the ratios is reported with their range.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

OUTPUT = Path(__file__).resolve().parents[1] / "output"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "lightgbm", "linearmodels", "DoubleML", "econml",
             "pyfixest", "ivmodels", "statsmodels")  # fmt: skip


@dataclass(frozen=True)
class Ratio:
    """One comparison.

    Parameters
    ----------
    task : str
    ours, other : float
        Median CPU seconds.
    ratio, low, high : float
        Median, least and largest over pairs; ours / other where the target is an upper limit,
        other / ours where it is a lower one or there is none.
    repeats : int
    target : str
        Empty where there is none.
    met : bool or None
        None where there is no target.
    note : str
    """

    task: str
    ours: float
    other: float
    ratio: float
    low: float
    high: float
    repeats: int
    target: str = ""
    met: bool | None = None
    note: str = ""


def cpu(function: Callable[[], Any], inner: int = 1) -> float:
    """CPU seconds of one call, all threads of this process; the mean of ``inner`` calls."""
    begun = time.process_time()
    for _ in range(inner):
        function()
    return (time.process_time() - begun) / inner


def side_by_side(
    task: str,
    ours: Callable[[], Any],
    other: Callable[[], Any],
    repeats: int = 5,
    at_most: float | None = None,
    at_least: float | None = None,
    inner: tuple[int, int] = (1, 1),
    note: str = "",
) -> Ratio:
    """Time ``ours`` and ``other`` in turn, after one call of each that is not counted.

    Parameters
    ----------
    task : str
    ours, other : callable
    repeats : int
        Pairs timed.
    at_most, at_least : float, optional
        Target for ours / other, or for other / ours.
    inner : tuple of int
        Calls in one timing of ours and of the other, where one is too short to time.
    note : str
    """
    cpu(ours), cpu(other)
    seconds = np.array([[cpu(ours, inner[0]), cpu(other, inner[1])] for _ in range(repeats)])
    upper = at_most is not None
    ratios = seconds[:, 0] / seconds[:, 1] if upper else seconds[:, 1] / seconds[:, 0]
    ratio = float(np.median(ratios))
    target, met = "", None
    if at_most is not None:
        target, met = f"<= {at_most:g}", ratio <= at_most
    elif at_least is not None:
        target, met = f">= {at_least:g}", ratio >= at_least
    mine, theirs = np.median(seconds, axis=0)
    found = Ratio(
        task, float(mine), float(theirs), ratio, float(ratios.min()), float(ratios.max()),
        repeats, target, met, note,
    )  # fmt: skip
    print(line(found), flush=True)
    return found


def line(row: Ratio) -> str:
    """A row of the table."""
    met = "" if row.met is None else "yes" if row.met else "no"
    return (
        f"| {row.task} | {row.ratio:.3g} ({row.low:.3g} to {row.high:.3g}) | {row.target} | {met} |"
        f" {row.ours:.3g} | {row.other:.3g} | {row.repeats} | {row.note} |"
    )


HEADER = (
    "| task | ratio (range) | target | met | ours, s | other, s | pairs | note |\n"
    "|---|---|---|---|---|---|---|---|"
)


def save(name: str, rows: Sequence[Ratio], quick: bool = False) -> Path:
    """Write the table and its JSON to ``output/``, with the date and the versions."""
    OUTPUT.mkdir(exist_ok=True)
    stem = f"{name}_quick" if quick else name
    record = {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "versions": _versions(),
        "rows": [asdict(row) for row in rows],
    }
    (OUTPUT / f"{stem}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    table = "\n".join([HEADER, *map(line, rows)]) + "\n"
    path = OUTPUT / f"{stem}.md"
    path.write_text(table, encoding="utf-8")
    return path


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
