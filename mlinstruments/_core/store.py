"""Saving frozen dataclasses to one file without pickle: arrays in npz, the rest in JSON."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .exceptions import InputError


def save(value: Any, path: str | Path) -> None:
    """Write a dataclass of numbers, strings, arrays, pandas objects and other such dataclasses.

    Parameters
    ----------
    value : dataclass
    path : str or Path
        Written as it is named; an existing file is replaced.
    """
    arrays: dict[str, Any] = {}
    tree = _encode(value, arrays)
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, tree=np.array(json.dumps(tree)), **arrays)


def load(path: str | Path, classes: Mapping[str, type[Any]]) -> Any:
    """Read what :func:`save` wrote; only the given classes are ever built.

    Parameters
    ----------
    path : str or Path
    classes : mapping
        Class names to classes.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            arrays = {
                name.removesuffix(".npy"): _array(archive, name) for name in archive.namelist()
            }
        return _decode(json.loads(str(arrays["tree"])), arrays, classes)
    except (KeyError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a file saved by this package: {error}") from error


def _array(archive: zipfile.ZipFile, name: str) -> Any:
    with archive.open(name) as stored:
        return np.lib.format.read_array(stored, allow_pickle=False)


def _encode(value: Any, arrays: dict[str, Any]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"array": _keep(value, arrays)}
    if isinstance(value, pd.RangeIndex):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, pd.Index):
        return {"index": _keep(_plain(value), arrays), "name": value.name}
    if isinstance(value, pd.Series):
        parts = {"index": value.index, "values": _plain(value), "name": value.name}
        return {"series": _encode(parts, arrays)}
    if isinstance(value, pd.DataFrame):
        columns = {str(name): _plain(value[name]) for name in value.columns}
        return {"frame": _encode({"index": value.index, "columns": columns}, arrays)}
    if isinstance(value, Mapping):
        return {"map": {key: _encode(item, arrays) for key, item in value.items()}}
    if isinstance(value, tuple | list):
        return [_encode(item, arrays) for item in value]
    if is_dataclass(value):
        # As held, without what asking for it may add to or refuse.
        held = {f.name: object.__getattribute__(value, f.name) for f in fields(value)}
        content = {name: _encode(item, arrays) for name, item in held.items()}
        return {"class": type(value).__name__, "fields": content}
    raise InputError(f"a {type(value).__name__} cannot be saved.")


def _plain(values: Any) -> Any:
    array = np.asarray(values)
    if array.dtype.kind == "O":
        if not all(isinstance(item, str) for item in array):
            raise InputError(
                "labels that mix types, or that are tuples, cannot be saved: fit on data with"
                " a plain index (reset_index())."
            )
        array = array.astype(str)
    return array


def _keep(array: Any, arrays: dict[str, Any]) -> str:
    name = f"a{len(arrays)}"
    arrays[name] = array
    return name


def _decode(tree: Any, arrays: dict[str, Any], classes: Mapping[str, type[Any]]) -> Any:
    def inner(node: Any) -> Any:
        return _decode(node, arrays, classes)

    if isinstance(tree, list):
        return tuple(inner(item) for item in tree)
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return arrays[tree["array"]]
    if "range" in tree:
        return pd.RangeIndex(*tree["range"])
    if "index" in tree:
        return pd.Index(arrays[tree["index"]], name=tree["name"])
    if "series" in tree:
        parts = inner(tree["series"])
        return pd.Series(parts["values"], parts["index"], name=parts["name"])
    if "frame" in tree:
        parts = inner(tree["frame"])
        return pd.DataFrame(parts["columns"], index=parts["index"])
    if "map" in tree:
        return {key: inner(item) for key, item in tree["map"].items()}
    made = {name: inner(item) for name, item in tree["fields"].items()}
    return classes[tree["class"]](**made)
