"""A run on disk: finished replications in parquet parts, each written whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import InputError, MissingExtraError

# Readers of parquet folders leave out files whose names begin like this.
SETTINGS = "_settings.json"
UNFINISHED = "_unfinished-"
Settings = dict[str, Any]


class Checkpoint:
    """A folder of parts; each part holds all rows of some replications.

    Parameters
    ----------
    path : str or Path
        The folder; made if it does not exist.
    settings : dict
        What the numbers depend on, as JSON. A folder of other settings is refused.
    """

    def __init__(self, path: str | Path, settings: Settings) -> None:
        _require_pyarrow()
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"checkpoint {self.path} is a file: name a folder, or a new one.")
        kept = read_settings(self.path)
        if kept is not None:
            _require_same(kept, settings, self.path)
        elif self.path.exists() and any(self.path.iterdir()):
            raise InputError(
                f"checkpoint {self.path} holds files but no {SETTINGS}: name an empty or new"
                " folder."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        for left in self.path.glob(f"{UNFINISHED}*"):
            left.unlink()
        if kept is None:
            text = json.dumps(settings, indent=1)
            self._write(SETTINGS, lambda place: place.write_text(text, encoding="utf-8"))

    def read(self) -> pd.DataFrame:
        """Rows of every finished replication, an empty table at first."""
        parts = [_read_part(path) for path in sorted(self.path.glob("part-*.parquet"))]
        if not parts:
            return pd.DataFrame()
        return pd.concat(parts, ignore_index=True).drop_duplicates(["replication", "estimator"])

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Write the rows of some replications as a new part."""
        if not rows:
            return
        frame = pd.DataFrame(rows)
        first, last = int(frame["replication"].min()), int(frame["replication"].max())
        name = f"part-{first:08d}-{last:08d}.parquet"
        self._write(name, lambda place: frame.to_parquet(place, engine="pyarrow", index=False))

    def _write(self, name: str, write: Any) -> None:
        # A name appears only when what it names is on the disk whole.
        place = self.path / f"{UNFINISHED}{os.getpid()}-{name}"
        write(place)
        with place.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(place, self.path / name)


def read_settings(path: str | Path) -> Settings | None:
    """Settings of an earlier run in a folder, None where there was none."""
    file = Path(path) / SETTINGS
    if not file.is_file():
        return None
    found: Settings = json.loads(file.read_text(encoding="utf-8"))
    return found


def _read_part(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, engine="pyarrow")
    except Exception as error:
        raise InputError(
            f"{path} cannot be read ({error}): delete it, and its replications will run again."
        ) from error


def _require_same(kept: Settings, wanted: Settings, path: Path) -> None:
    different = [
        f"{name}: {_shown(kept, wanted, name)}"
        for name in dict.fromkeys([*kept, *wanted])
        if kept.get(name) != wanted.get(name)
    ]
    if different:
        raise InputError(
            f"checkpoint {path} is of a run with other settings. {' '.join(different)} Repeat the"
            " settings of that run, or name another folder."
        )


def _shown(kept: Settings, wanted: Settings, name: str) -> str:
    one, two = kept.get(name), wanted.get(name)
    if isinstance(one, dict) and isinstance(two, dict):
        inner = [f"{k}: {_shown(one, two, k)}" for k in {**one, **two} if one.get(k) != two.get(k)]
        return " ".join(inner)
    return f"{_or_none(one)} there, {_or_none(two)} here."


def _or_none(value: Any) -> str:
    return "none" if value is None else str(value)


# ---- what a run depends on, in words ------------------------------------------------------------


def describe(value: Any) -> str:
    """A text that differs where estimators, designs or functions do, and not from run to run.

    Functions are told apart by their code, arrays by their contents.

    Examples
    --------
    >>> from mlinstruments import MLIV
    >>> describe(MLIV(n_folds=2)) == describe(MLIV(n_folds=3))
    False
    >>> describe({"a": (1, None)})
    "{'a': (1, None)}"
    """
    if isinstance(value, np.ndarray):
        return f"array{value.shape}#{_digest(value.dtype.str.encode() + value.tobytes())}"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key!r}: {describe(item)}" for key, item in value.items())
        return f"{{{inside}}}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(describe, value))})"
    if isinstance(value, partial):
        return f"partial({describe((value.func, *value.args))}, {describe(value.keywords)})"
    if isinstance(value, MethodType):
        return describe((value.__func__, value.__self__))
    if isinstance(value, FunctionType):
        return _describe_function(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _call(value, {f.name: getattr(value, f.name) for f in fields(value)})
    if hasattr(value, "get_params") and not isinstance(value, type):
        return _call(value, value.get_params(deep=False))
    if repr(value) == object.__repr__(value):
        return _call(value, getattr(value, "__dict__", {}))
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _call(value: Any, parameters: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{name}={describe(item)}" for name, item in parameters.items())
    return f"{type(value).__name__}({inside})"


def _describe_function(function: FunctionType) -> str:
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    inside = [*cells, *(function.__defaults__ or ())]
    held = f" with {describe(inside)}" if inside else ""
    code = _digest(_code(function.__code__))
    return f"{function.__module__}.{function.__qualname__}#{code}{held}"


def _code(code: CodeType) -> bytes:
    return b"|".join([code.co_code, repr(code.co_names).encode(), *map(_constant, code.co_consts)])


def _constant(value: Any) -> bytes:
    if isinstance(value, CodeType):
        return _code(value)
    # A set's order changes from run to run.
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value).encode()


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:12]


def _require_pyarrow() -> None:
    if find_spec("pyarrow") is None:
        raise MissingExtraError("pyarrow", "parquet")
