"""Saved dataclasses come back equal, from files without pickle; other files are refused."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlinstruments._core import store
from mlinstruments._core.exceptions import InputError


@dataclass(frozen=True)
class Inner:
    """A nested dataclass."""

    values: Any
    label: str = ""


@dataclass(frozen=True)
class Outer:
    """One field of each kind that results hold."""

    number: float
    count: int
    flag: bool
    nothing: None
    words: tuple[str, ...]
    array: Any
    series: pd.Series
    frame: pd.DataFrame
    index: pd.Index
    mapping: dict[str, Any]
    inner: tuple[Inner, ...]


CLASSES = {"Inner": Inner, "Outer": Outer}


def example() -> Outer:
    rng = np.random.default_rng(0)
    return Outer(
        number=float("inf"),
        count=3,
        flag=True,
        nothing=None,
        words=("é", '"quoted"', ""),
        array=rng.normal(size=(2, 3)),
        series=pd.Series([1.5, np.nan], ["a", "b"], name="resid"),
        frame=pd.DataFrame({"x": [1, 2], "y": ["p", "q"]}, index=[10, 20]),
        index=pd.Index(np.array(["2020-01-01", "2020-02-01"], dtype="datetime64[ns]"), name="day"),
        mapping={"a": np.float64(2.5), "b": [1, 2]},
        inner=(Inner(np.arange(3), "i"), Inner(np.array(["u", "vv"]))),
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "saved.mliv"


def test_round_trip(path):
    value = example()
    store.save(value, path)
    back = store.load(path, CLASSES)
    assert type(back) is Outer
    for name in ("number", "count", "flag", "nothing", "words"):
        assert getattr(back, name) == getattr(value, name)
    np.testing.assert_array_equal(back.array, value.array)
    pd.testing.assert_series_equal(back.series, value.series)
    pd.testing.assert_frame_equal(back.frame, value.frame)
    pd.testing.assert_index_equal(back.index, value.index, exact=False)
    assert back.mapping == {"a": 2.5, "b": (1, 2)}
    for one, other in zip(back.inner, value.inner, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert one.label == other.label


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 0.1, -0.0, 5e-324, 1.7e308])
def test_every_float_comes_back_to_the_bit(path, number):
    store.save(Inner(number), path)
    back = store.load(path, CLASSES).values
    np.testing.assert_array_equal(back, number)
    assert np.signbit(back) == np.signbit(number)


INDEXES = {
    "range": pd.RangeIndex(3, 12, 3),
    "labels": pd.Index(["b", "a", "c"], name="who"),
    "numbers": pd.Index([5, 1, 3]),
    "dates": pd.Index(np.array(["2020-05-01", "2020-05-03", "2021-01-01"], dtype="datetime64[ns]")),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_indexes(path, kind):
    store.save(Inner(pd.Series([1.0, 2.0, 3.0], INDEXES[kind], name="x")), path)
    back = store.load(path, CLASSES).values
    pd.testing.assert_index_equal(back.index, INDEXES[kind], exact="equiv")
    assert back.tolist() == [1.0, 2.0, 3.0]


def test_files_hold_no_pickle(path):
    store.save(example(), path)
    with np.load(path, allow_pickle=False) as stored:
        assert all(stored[name].dtype.kind != "O" for name in stored.files)
    with zipfile.ZipFile(path) as archive:
        assert {name[-4:] for name in archive.namelist()} == {".npy"}


def test_the_path_is_kept_and_replaced(tmp_path):
    path = tmp_path / "no suffix"
    store.save(Inner(1), path)
    store.save(Inner(2), str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["no suffix"]
    assert store.load(path, CLASSES).values == 2


def foreign_npz(path):
    with open(path, "wb") as file:
        np.savez(file, x=np.ones(3))


def pickled(path):
    path.write_bytes(pickle.dumps(example()))


def pickled_array(path):
    with open(path, "wb") as file:
        np.savez(file, tree=np.array([{"a": 1}], dtype=object))


def plain_array(path):
    with open(path, "wb") as file:
        np.save(file, np.ones(3))


def other_json(path):
    with open(path, "wb") as file:
        np.savez(file, tree=np.array('{"something": "else"}'))


def truncated(path):
    store.save(example(), path)
    path.write_bytes(path.read_bytes()[:200])


def of_another_version(path):
    """A class of a known name with other fields, as another version would have."""
    other = dataclass(frozen=True)(type("Inner", (), {"__annotations__": {"gone": Any}}))
    store.save(other(1.0), path)


FOREIGN = {
    "truncated": truncated,
    "of another version": of_another_version,
    "text": lambda path: path.write_text("estimate,1.0"),
    "empty": lambda path: path.write_bytes(b""),
    "another npz": foreign_npz,
    "a pickle": pickled,
    "an npz with a pickle inside": pickled_array,
    "an npy": plain_array,
    "an npz of another tree": other_json,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_refused(path, kind):
    FOREIGN[kind](path)
    with pytest.raises(InputError, match="not a file saved by this package"):
        store.load(path, CLASSES)


def test_classes_not_named_are_never_built(path):
    store.save(example(), path)
    with pytest.raises(InputError, match="not a file saved"):
        store.load(path, {"Inner": Inner})


def test_a_missing_file_is_said_to_be_missing(path):
    with pytest.raises(FileNotFoundError):
        store.load(path, CLASSES)


CANNOT = {
    "function": lambda: Inner(print),
    "mixed labels": lambda: Inner(pd.Series([1.0, 2.0], ["a", 1])),
    "tuple labels": lambda: Inner(pd.Series([1.0], pd.MultiIndex.from_tuples([("a", 1)]))),
}


@pytest.mark.parametrize("kind", CANNOT)
def test_what_cannot_be_saved_is_named(path, kind):
    with pytest.raises(InputError, match=r"cannot be saved"):
        store.save(CANNOT[kind](), path)
    assert not path.exists()


def test_fields_are_all_kept(path):
    store.save(example(), path)
    back = store.load(path, CLASSES)
    assert {f.name for f in fields(back)} == {f.name for f in fields(Outer)}
