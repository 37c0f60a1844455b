"""IVData: the same arrays from every library, rows dropped and realigned, formulas read."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from linearmodels.iv import IV2SLS

from mlinstruments._core.exceptions import AssumptionWarning, InputError, MissingRowsWarning
from mlinstruments.iv.data import IVData

N = 60
PARTS = {
    "dependent": ["y"],
    "exog": ["const", "x"],
    "endog": ["d"],
    "instruments": ["z", "court", "flag"],
    "weights": ["w"],
    "clusters": ["firm", "year"],
}


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "y": rng.normal(size=N),
            "const": 1,
            "x": rng.normal(size=N),
            "d": rng.normal(size=N),
            "z": rng.normal(size=N),
            "court": rng.choice(["north", "east", "south"], N),
            "flag": rng.random(N) < 0.5,
            "w": rng.uniform(1, 2, N),
            "firm": rng.choice(list("fgh"), N),
            "year": rng.integers(1990, 1994, N),
        }
    )


def parts(frame, convert=lambda piece: piece):
    return {role: convert(frame[columns]) for role, columns in PARTS.items()}


def assert_same(left: IVData, right: IVData) -> None:
    for name in ("y", "D", "X", "kept"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    np.testing.assert_array_equal(left.W.values, right.W.values)
    np.testing.assert_array_equal(left.W.categorical, right.W.categorical)
    for one, other in zip(left.clusters, right.clusters, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (left.weights is None) == (right.weights is None)
    if left.weights is not None:
        np.testing.assert_array_equal(left.weights, right.weights)


# ---- reading ---------------------------------------------------------------------------------


def test_what_arrays_hold(frame):
    data = IVData.from_arrays(**parts(frame))
    np.testing.assert_array_equal(data.y, frame["y"])
    np.testing.assert_array_equal(data.X, frame[["const", "x"]].astype(float))
    np.testing.assert_array_equal(data.D[:, 0], frame["d"])
    np.testing.assert_array_equal(data.W.values[:, 0], frame["z"])
    court = frame["court"].map({"east": 0.0, "north": 1.0, "south": 2.0})
    np.testing.assert_array_equal(data.W.values[:, 1], court)
    np.testing.assert_array_equal(data.W.values[:, 2], frame["flag"].astype(float))
    assert data.W.categorical.tolist() == [False, True, False]
    np.testing.assert_allclose(data.weights, frame["w"] / frame["w"].mean(), rtol=1e-15)
    np.testing.assert_array_equal(data.clusters[0], pd.factorize(frame["firm"])[0])
    np.testing.assert_array_equal(data.clusters[1], pd.factorize(frame["year"])[0])
    assert (data.dependent, data.exog, data.endog) == ("y", ("const", "x"), ("d",))
    assert (data.instruments, data.cluster_names) == (("z", "court", "flag"), ("firm", "year"))
    assert (data.nobs, data.n_endog, data.n_exog) == (N, 1, 2)
    assert data.W.values.dtype == data.X.dtype == np.float64
    assert data.clusters[0].dtype == np.int64


def numpy_objects(piece):
    return piece.to_numpy(dtype=object)


LIBRARIES = {
    "numpy": numpy_objects,
    "lists": lambda piece: (
        piece.iloc[:, 0].tolist() if piece.shape[1] == 1 else numpy_objects(piece)
    ),
    "polars": pl.from_pandas,
    "pyarrow": lambda piece: pa.Table.from_pandas(piece, preserve_index=False),
    "record batch": lambda piece: pa.RecordBatch.from_pandas(piece, preserve_index=False),
    "pandas nullable": lambda piece: piece.convert_dtypes(),
    "pandas pyarrow": lambda piece: piece.convert_dtypes(dtype_backend="pyarrow"),
    "polars columns": lambda piece: (
        pl.from_pandas(piece.iloc[:, 0]) if piece.shape[1] == 1 else pl.from_pandas(piece)
    ),
    "arrow columns": lambda piece: (
        pa.array(piece.iloc[:, 0]) if piece.shape[1] == 1 else pa.Table.from_pandas(piece)
    ),
}


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_gives_the_same_arrays(frame, library, missing):
    frame["flag"] = frame["flag"].astype(float)  # booleans have no missing value in numpy
    if missing:
        frame.loc[3, "y"] = frame.loc[4, "x"] = frame.loc[6, "z"] = np.nan
        frame.loc[5, ["firm"]] = frame.loc[7, ["court"]] = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingRowsWarning)
        expected = IVData.from_arrays(**parts(frame))
        given = IVData.from_arrays(**parts(frame, LIBRARIES[library]))
    assert expected.nobs == N - 3 * missing
    assert np.isnan(expected.W.values[:, :2]).sum() == 2 * missing
    assert_same(given, expected)


@pytest.mark.parametrize(
    "typed",
    [
        pd.Categorical(["b", None, "a", "b"] * 5),
        pl.Series(["b", None, "a", "b"] * 5, dtype=pl.Categorical),
        pl.Series(["b", None, "a", "b"] * 5),
        pa.chunked_array([pa.array(["b", None, "a", "b"] * 5).dictionary_encode()]),
        pa.array(["b", None, "a", "b"] * 5),
        np.array(["b", None, "a", "b"] * 5, dtype=object),
        ["b", None, "a", "b"] * 5,
        ["b", np.nan, "a", "b"] * 5,
    ],
    ids=lambda typed: type(typed).__module__ + "." + type(typed).__name__,
)
def test_category_codes_are_sorted_and_missing_is_nan(typed):
    y, d = np.random.default_rng(0).normal(size=(2, 20))
    typed = pd.Series(typed) if isinstance(typed, pd.Categorical) else typed
    data = IVData.from_arrays(y, np.ones(20), d, typed)
    np.testing.assert_array_equal(data.W.values[:, 0], [1, np.nan, 0, 1] * 5)
    assert data.W.categorical.tolist() == [True]


@pytest.mark.parametrize(
    "declared",
    [
        pd.Series(pd.Categorical(["low", "mid", "high", None] * 5, ["low", "mid", "high"])),
        pd.Series(pd.Categorical(["low", "mid", "high", None] * 5, ["low", "mid", "high"], True)),
        pl.Series(["low", "mid", "high", None] * 5, dtype=pl.Enum(["low", "mid", "high"])),
    ],
    ids=["category", "ordered", "enum"],
)
def test_declared_order_of_categories_is_kept(declared):
    y, d = np.random.default_rng(0).normal(size=(2, 20))
    data = IVData.from_arrays(y, np.ones(20), d, declared)
    np.testing.assert_array_equal(data.W.values[:, 0], [0, 1, 2, np.nan] * 5)


def test_category_codes_ignore_row_order_and_dropped_rows(frame):
    shuffled = frame.sample(frac=1, random_state=1)
    codes = IVData.from_arrays(**parts(frame)).W.values[:, 1]
    again = IVData.from_arrays(**parts(shuffled)).W.values[:, 1]
    np.testing.assert_array_equal(again, codes[shuffled.index])
    frame.loc[frame["court"] == "north", "y"] = np.nan
    with pytest.warns(MissingRowsWarning):
        left = IVData.from_arrays(**parts(frame))
    expected = (frame["court"][left.kept] == "south").astype(float)
    np.testing.assert_array_equal(left.W.values[:, 1], expected)


def test_booleans_stored_as_objects_are_categories_among_instruments_and_numbers_elsewhere():
    y, d = np.random.default_rng(0).normal(size=(2, 20))
    flag = np.array([True, None, False, False] * 5, dtype=object)
    w = IVData.from_arrays(y, np.ones(20), d, flag).W
    np.testing.assert_array_equal(w.values[:, 0], [1, np.nan, 0, 0] * 5)
    assert w.categorical.tolist() == [True]
    with pytest.warns(MissingRowsWarning, match=r"Dropped 5 of 20 .*: endog \(5\)"):
        data = IVData.from_arrays(y, np.ones(20), flag, d)
    np.testing.assert_array_equal(data.D[:, 0], [1, 0, 0] * 5)


def test_masked_arrays_keep_their_mask(frame):
    masked = np.ma.masked_array(frame["x"].to_numpy(), mask=np.arange(N) == 2)
    exog = np.ma.column_stack([np.ones(N), masked])
    with pytest.warns(MissingRowsWarning, match=r"exog\.1 \(1\)"):
        data = IVData.from_arrays(frame["y"], exog, frame["d"], frame["z"])
    np.testing.assert_array_equal(np.flatnonzero(~data.kept), [2])


def test_default_names_are_those_of_linearmodels():
    rng = np.random.default_rng(0)
    y, x, d, z = (rng.normal(size=(N, m)) for m in (1, 2, 1, 2))
    expected = IV2SLS(y, x, d, z)
    for convert in (np.asarray, pd.DataFrame, pl.DataFrame):
        with pytest.warns(AssumptionWarning, match="no constant"):
            data = IVData.from_arrays(*map(convert, (y, x, d, z)))
        assert data.dependent == expected.dependent.cols[0]
        assert list(data.exog) == expected.exog.cols == ["exog.0", "exog.1"]
        assert list(data.endog) == expected.endog.cols == ["endog"]
        assert list(data.instruments) == expected.instruments.cols
    two = IVData.from_arrays(y, np.ones(N), np.hstack([d, x]), z, clusters=np.arange(N) % 4)
    assert (two.exog, two.endog) == (("exog",), ("endog.0", "endog.1", "endog.2"))
    assert two.cluster_names == ("clusters",)


def test_complete_float_arrays_are_not_copied():
    rng = np.random.default_rng(0)
    y, d, x, w = rng.normal(size=N), rng.normal(size=N), np.ones((N, 1)), rng.normal(size=(N, 3))
    data = IVData.from_arrays(y, x, d, w)
    for mine, theirs in ((data.y, y), (data.D, d), (data.X, x), (data.W.values, w)):
        assert np.shares_memory(mine, theirs)


def test_input_is_never_changed(frame):
    frame.loc[3, "y"] = np.nan
    arrays = {role: piece.to_numpy() for role, piece in parts(frame).items()}
    before = {role: piece.copy() for role, piece in arrays.items()}
    copy = frame.copy()
    with pytest.warns(MissingRowsWarning):
        IVData.from_arrays(**arrays)
    with pytest.warns(MissingRowsWarning):
        IVData.from_arrays(**parts(frame))
    pd.testing.assert_frame_equal(frame, copy)
    for role, piece in arrays.items():
        np.testing.assert_array_equal(piece, before[role])


@pytest.mark.parametrize(
    "labels",
    [
        [("a", 1), ("b", 2), ("a", 1), ("c", 3)] * 5,
        pd.Series([("a", 1), ("b", 2), ("a", 1), ("c", 3)] * 5),
        np.array(["2020-01-02", "2019-01-01", "2020-01-02", "2021-01-01"] * 5, "datetime64[D]"),
        pl.Series(["u", "a", "u", "b"] * 5, dtype=pl.Categorical),
        pa.array(["u", "a", "u", "b"] * 5).dictionary_encode(),
        np.array([[9.5], [1], [9.5], [4]] * 5),
        pd.Series(["u", "a", "u", "b"] * 5, dtype="category"),
    ],
    ids=["tuples", "series of tuples", "dates", "polars", "arrow", "column", "pandas"],
)
def test_clusters_of_any_label_type(labels):
    y, d, z = np.random.default_rng(0).normal(size=(3, 20))
    data = IVData.from_arrays(y, np.ones(20), d, z, clusters=labels)
    np.testing.assert_array_equal(data.clusters, [[0, 1, 0, 2] * 5])


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(["u", None, "u", "b"] * 5).dictionary_encode(),
        pl.Series(["u", None, "u", "b"] * 5),
        pd.Series(pd.to_datetime(["2020", None, "2020", "2019"] * 5)),
        [2.5, np.nan, 2.5, 1.0] * 5,
    ],
    ids=["arrow dictionary", "polars", "dates", "floats"],
)
def test_missing_clusters_are_dropped(labels):
    y, d, z = np.random.default_rng(0).normal(size=(3, 20))
    with pytest.warns(MissingRowsWarning, match=r"Dropped 5 of 20 .*: clusters \(5\)"):
        data = IVData.from_arrays(y, np.ones(20), d, z, clusters=labels)
    np.testing.assert_array_equal(data.clusters, [[0, 0, 1] * 5])


# ---- missing rows ----------------------------------------------------------------------------


@pytest.fixture
def holed(frame) -> pd.DataFrame:
    """Rows 0-6 miss y, x, d, w, firm, year, z; row 7 misses court; row 0 misses x as well."""
    frame["year"] = frame["year"].astype(float)
    for row, column in enumerate(["y", "x", "d", "w", "firm", "year", "z", "court"]):
        frame.loc[row, column] = None
    frame.loc[0, "x"] = np.nan
    return frame.set_index(pd.Index([f"row {i}" for i in range(N)]))


@pytest.mark.parametrize("takes_missing", [True, False])
def test_missing_rows_go_and_all_else_is_realigned(holed, takes_missing):
    gone = 6 if takes_missing else 8
    left = holed.iloc[gone:]
    with pytest.warns(MissingRowsWarning, match=f"Dropped {gone} of 60 rows") as caught:
        data = IVData.from_arrays(**parts(holed), takes_missing=takes_missing)
    assert len(caught) == 1
    for variable in ("y (1)", "x (2)", "d (1)", "w (1)", "firm (1)", "year (1)"):
        assert variable in str(caught[0].message)
    assert ("z (1), court (1)" in str(caught[0].message)) is not takes_missing
    assert_same(IVData.from_arrays(**parts(left)), restricted(data, gone))
    np.testing.assert_array_equal(np.flatnonzero(~data.kept), np.arange(gone))
    assert data.weights.mean() == pytest.approx(1, rel=1e-15)
    assert [codes[0] for codes in data.clusters] == [0, 0]


def restricted(data: IVData, gone: int) -> IVData:
    from dataclasses import replace

    return replace(data, kept=data.kept[gone:])


def test_instruments_stay_missing_where_the_learner_takes_them(holed):
    with pytest.warns(MissingRowsWarning):
        data = IVData.from_arrays(**parts(holed))
    np.testing.assert_array_equal(np.argwhere(np.isnan(data.W.values)), [[0, 0], [1, 1]])


def test_results_return_to_the_rows_of_the_input(holed):
    with pytest.warns(MissingRowsWarning):
        data = IVData.from_arrays(**parts(holed))
    series = data.on_input_index(data.y, "resid")
    pd.testing.assert_series_equal(series.iloc[6:], holed["y"].iloc[6:], check_names=False)
    assert (series.name, series.iloc[:6].isna().all()) == ("resid", True)
    table = data.on_input_index(np.column_stack([data.y, data.D]), ("a", "b"))
    assert list(table.columns) == ["a", "b"]
    np.testing.assert_array_equal(table.loc["row 9"], holed.loc["row 9", ["y", "d"]].astype(float))
    assert table.index.equals(holed.index)


def test_index_is_a_range_without_pandas(frame):
    data = IVData.from_arrays(**parts(frame, pl.from_pandas))
    assert data.index.equals(pd.RangeIndex(N))


def test_the_warning_points_at_the_caller(holed):
    with pytest.warns(MissingRowsWarning) as caught:
        IVData.from_arrays(**parts(holed))
    assert caught[0].filename == __file__


def test_warnings_from_deeper_down_point_at_the_caller_too(holed):
    with pytest.warns() as caught:
        IVData.from_formula("y ~ [d ~ z]", holed)
    assert [w.category for w in caught] == [MissingRowsWarning, AssumptionWarning]
    assert {w.filename for w in caught} == {__file__}


# ---- formulas --------------------------------------------------------------------------------


def counted(caught) -> set[str]:
    (warning,) = caught
    return set(str(warning.message).rstrip(".").replace(": ", ", ").split(", "))


FORMULA = "y ~ 1 + x + [d ~ z + court + flag]"


@pytest.mark.parametrize("takes_missing", [True, False])
@pytest.mark.parametrize("convert", [lambda f: f, pl.from_pandas, pa.Table.from_pandas])
def test_formula_equals_arrays(holed, convert, takes_missing):
    frame = convert(holed)
    with pytest.warns(MissingRowsWarning) as by_arrays:
        expected = IVData.from_arrays(**parts(holed), takes_missing=takes_missing)
    with pytest.warns(MissingRowsWarning) as by_formula:
        data = IVData.from_formula(FORMULA, frame, "w", ["firm", "year"], takes_missing)
    assert_same(data, expected)
    assert counted(by_formula) == counted(by_arrays)
    assert data.exog == ("Intercept", "x")
    assert (data.dependent, data.endog, data.instruments) == ("y", ("d",), ("z", "court", "flag"))
    assert data.cluster_names == ("firm", "year")


def test_formula_takes_weights_and_clusters_as_arrays(holed):
    with pytest.warns(MissingRowsWarning):
        named = IVData.from_formula(FORMULA, holed, weights="w", clusters="firm")
    with pytest.warns(MissingRowsWarning):
        given = IVData.from_formula(FORMULA, holed, holed["w"].to_numpy(), holed["firm"].tolist())
    assert_same(named, given)
    assert named.index.equals(holed.index)


@pytest.mark.parametrize("convert", [lambda f: f, pl.from_pandas, pa.Table.from_pandas])
def test_formula_without_weights_or_clusters(frame, convert):
    data = IVData.from_formula(FORMULA, convert(frame))
    assert (data.weights, data.clusters, data.cluster_names) == (None, (), ())
    np.testing.assert_array_equal(data.y, frame["y"])


def test_formula_index_survives(holed):
    with pytest.warns(MissingRowsWarning):
        data = IVData.from_formula(FORMULA, holed.set_axis(["same"] * N), "w", ["firm", "year"])
    assert data.index.tolist() == ["same"] * N
    np.testing.assert_array_equal(np.flatnonzero(~data.kept), np.arange(6))


def test_transformations(frame):
    frame["level"] = np.exp(frame["x"])
    frame["price"] = np.exp(frame["z"])
    data = IVData.from_formula(
        "y ~ 1 + np.log(level) + C(court) + x:flag + [I(d**2) ~ np.log(price) + z:x + firm]", frame
    )
    assert data.exog == (
        "Intercept",
        "np.log(level)",
        "C(court)[T.north]",
        "C(court)[T.south]",
        "x:flag",
    )
    np.testing.assert_allclose(data.X[:, 1], frame["x"], rtol=1e-12)
    np.testing.assert_array_equal(data.X[:, 2], frame["court"] == "north")
    np.testing.assert_array_equal(data.X[:, 4], frame["x"] * frame["flag"])
    np.testing.assert_array_equal(data.D[:, 0], frame["d"] ** 2)
    by_name = dict(zip(data.instruments, data.W.values.T, strict=True))
    np.testing.assert_allclose(by_name["np.log(price)"], frame["z"], rtol=1e-12)
    np.testing.assert_array_equal(by_name["z:x"], frame["z"] * frame["x"])
    np.testing.assert_array_equal(by_name["firm"], frame["firm"].map({"f": 0, "g": 1, "h": 2}))
    assert [n for n, c in zip(data.instruments, data.W.categorical, strict=True) if c] == ["firm"]


def test_formula_matches_linearmodels_matrices(frame):
    formula = "y ~ 1 + x + C(court) + [d ~ z + I(z**2)]"
    theirs = IV2SLS.from_formula(formula, frame)
    mine = IVData.from_formula(formula, frame)
    np.testing.assert_array_equal(mine.X, theirs.exog.ndarray)
    np.testing.assert_array_equal(mine.W.values, theirs.instruments.ndarray)
    assert list(mine.exog) == theirs.exog.cols
    assert list(mine.instruments) == theirs.instruments.cols


@pytest.mark.parametrize("formula", ["y ~ x + [d ~ z]", "y ~ [d ~ z] + x", "y ~ 0 + x + [d ~ z]"])
def test_no_constant_is_implied(frame, formula):
    with pytest.warns(AssumptionWarning, match=r"'1 \+'"):
        data = IVData.from_formula(formula, frame)
    assert data.exog == ("x",)


def test_regressors_may_follow_the_block(frame):
    data = IVData.from_formula("y ~ 1 + [d ~ z] + x", frame)
    assert data.exog == ("Intercept", "x")


def test_no_exog_at_all(frame):
    with pytest.warns(AssumptionWarning, match="no constant"):
        data = IVData.from_formula("y ~ [d ~ z]", frame)
    with pytest.warns(AssumptionWarning, match="no constant"):
        same = IVData.from_arrays(frame["y"], None, frame["d"], frame["z"])
    assert data.X.shape == same.X.shape == (N, 0)
    assert_same(data, same)


def test_a_constant_may_be_spread_over_dummies(frame):
    data = IVData.from_formula("y ~ C(court) + [d ~ z]", frame)  # a warning would be an error
    np.testing.assert_array_equal(data.X.sum(axis=1), 1)


def test_whole_numbers_of_any_type_name_their_dummies_alike(frame):
    formula = "y ~ 1 + C(year) + flag + [d ~ z]"
    names = IVData.from_formula(formula, frame).exog
    assert names == ("Intercept", *(f"C(year)[T.{year}]" for year in (1991, 1992, 1993)), "flag")
    for backend in ("numpy_nullable", "pyarrow"):
        typed = frame.convert_dtypes(dtype_backend=backend)
        assert IVData.from_formula(formula, typed).exog == names
    for convert in (pl.from_pandas, pa.Table.from_pandas):
        assert IVData.from_formula(formula, convert(frame)).exog == names


def test_missing_categories_do_not_become_the_base_level(frame):
    frame.loc[:4, "court"] = None
    with pytest.warns(MissingRowsWarning, match=r"Dropped 5 of 60 .*: court \(5\)"):
        data = IVData.from_formula("y ~ 1 + C(court) + [d ~ z]", frame)
    expected = pd.get_dummies(frame["court"].iloc[5:], drop_first=True)
    np.testing.assert_array_equal(data.X[:, 1:], expected.astype(float))


def test_transformed_instruments_are_missing_where_their_column_is(frame):
    frame = frame.rename(columns={"court": "the court"})
    frame.loc[:4, "the court"] = None
    data = IVData.from_formula("y ~ 1 + [d ~ z + C(`the court`)]", frame)
    assert data.nobs == N
    np.testing.assert_array_equal(np.isnan(data.W.values[:, 1:]).all(axis=1), np.arange(N) < 5)
    assert not np.isnan(data.W.values[5:]).any()


def test_transforms_that_learn_from_data_see_only_complete_rows(frame):
    frame.loc[:4, "y"] = np.nan
    frame.loc[5, "x"] = np.nan
    with pytest.warns(MissingRowsWarning, match=r"Dropped 6 of 60"):
        data = IVData.from_formula("y ~ 1 + center(x) + [d ~ z]", frame)
    left = frame["x"].iloc[6:]
    np.testing.assert_allclose(data.X[:, 1], left - left.mean(), rtol=1e-12, atol=1e-15)


def test_values_a_transformation_makes_missing_are_counted(frame):
    frame["level"] = np.where(np.arange(N) < 3, np.nan, frame["x"] + 10)
    frame.loc[5, "y"] = np.nan
    formula = "y ~ 1 + blank(level) + [d ~ z]"
    context = {"blank": lambda column: column.where(column > column.min())}
    with pytest.warns(MissingRowsWarning, match="Dropped 5 of 60") as caught:
        data = IVData.from_formula(formula, frame, context=context)
    for counted in ("level (3)", "y (1)", "blank(level) (1)"):
        assert counted in str(caught[0].message)
    assert data.nobs == N - 5


def test_unobserved_categories_make_no_dummy(frame):
    frame["court"] = pd.Categorical(frame["court"], ["nowhere", "north", "south", "east"])
    data = IVData.from_formula("y ~ 1 + C(court) + [d ~ z]", frame)
    assert data.exog == ("Intercept", "C(court)[T.south]", "C(court)[T.east]")


def test_numbers_stored_as_objects_are_not_categories(frame):
    from decimal import Decimal

    frame["price"] = [Decimal(i) for i in range(N)]
    frame["flag"] = frame["flag"].astype(object)
    data = IVData.from_formula("y ~ 1 + price + flag + [d ~ z]", frame)
    assert data.exog == ("Intercept", "price", "flag")
    np.testing.assert_array_equal(data.X[:, 1], np.arange(N))


def test_categorical_treatment_has_a_base_level_beside_a_constant(frame):
    frame["kind"] = np.random.default_rng(3).choice(list("abc"), N)
    data = IVData.from_formula("y ~ 1 + [C(kind) ~ z + x]", frame)
    assert data.endog == ("C(kind)[T.b]", "C(kind)[T.c]")


# ---- what the checks let pass ----------------------------------------------------------------


def test_sparse_and_nearly_collinear_instruments_are_let_through(frame):
    rng = np.random.default_rng(5)
    rare = np.where(np.arange(N) < 4, frame["d"], np.nan)  # four values say nothing
    present = np.where(np.arange(N) % 2, 1.0, np.nan)  # that it is missing carries information
    close = frame["x"] + 1e-6 * rng.normal(size=N)
    noisy = frame["d"] + 1e-3 * rng.normal(size=N)
    instruments = np.column_stack([rare, present, close, noisy])
    data = IVData.from_arrays(frame["y"], frame[["const", "x"]], frame["d"], instruments)
    np.testing.assert_array_equal(data.W.values, instruments)


def test_large_levels_are_not_mistaken_for_constants(frame):
    stamp = 1.6e9 + 60 * np.arange(N)
    exog = np.column_stack([np.ones(N), stamp])
    data = IVData.from_arrays(frame["y"], exog, frame["d"], frame["z"])
    assert data.n_exog == 2


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)
