"""A table of inputs that cannot be used: each error names the variable and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LogisticRegression

from mlinstruments import MLIV
from mlinstruments._core.exceptions import InputError
from mlinstruments.iv.data import IVData

N = 40
RNG = np.random.default_rng(0)
Y, X1, X2, D1, D2, Z1, Z2 = RNG.normal(size=(7, N))
ONES = np.ones(N)
EXOG = pd.DataFrame({"const": ONES, "x1": X1, "x2": X2})
ENDOG = pd.DataFrame({"d1": D1, "d2": D2})
INSTRUMENTS = pd.DataFrame({"z1": Z1, "z2": Z2, "z3": Z1 * Z2})
LABELS = ["a", "b"] * (N // 2)


def changed(values: Any, row: int, value: Any) -> np.ndarray:
    out = np.array(values)
    out[row] = value
    return out


def holed(values: np.ndarray, rows: slice) -> np.ndarray:
    return changed(values, rows, np.nan)


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    # lengths, shapes, emptiness
    "short exog": ({"exog": EXOG[:-1]}, ["dependent has 40", "exog has 39", "same rows"]),
    "short weights": ({"weights": ONES[1:]}, ["weights has 39", "same rows"]),
    "short clusters": ({"clusters": np.arange(N - 1)}, ["clusters has 39", "same rows"]),
    "transposed instruments": (
        {"instruments": np.vstack([Z1, Z2])},
        ["instruments has 2", "same rows"],
    ),
    "empty": (
        {"dependent": [], "exog": None, "endog": [], "instruments": []},
        ["dependent", "empty", "no rows"],
    ),
    "no dependent": ({"dependent": None}, ["dependent is None", "pass"]),
    "two dependents": ({"dependent": ENDOG}, ["dependent has 2 columns", "exactly one"]),
    "two weights": ({"weights": np.column_stack([ONES, ONES])}, ["weights has 2", "exactly one"]),
    "no endog": ({"endog": None}, ["endog", "at least one"]),
    "no endog columns": ({"endog": np.empty((N, 0))}, ["endog", "at least one"]),
    "no instruments": ({"instruments": None}, ["instruments", "at least one"]),
    "no instrument columns": ({"instruments": INSTRUMENTS[[]]}, ["instruments", "at least one"]),
    "three dimensions": (
        {"endog": np.ones((N, 1, 1))},
        ["endog has 3 dimensions", "pass a column"],
    ),
    "a scalar": ({"dependent": 1.0}, ["dependent has 0 dimensions", "pass a column"]),
    "a dict": ({"exog": {"x": X1}}, ["exog has 0 dimensions", "data frame"]),
    "ragged": (
        {"exog": [[1.0, 2.0], [1.0]] * (N // 2)},
        ["exog", "different lengths", "rectangle"],
    ),
    "lazy": ({"exog": pl.LazyFrame({"x": X1})}, ["exog", ".collect()"]),
    "sparse": ({"instruments": csr_array(INSTRUMENTS)}, ["instruments", "sparse", ".toarray()"]),
    "too few rows": (
        {
            "dependent": Y[:4],
            "exog": EXOG.to_numpy()[:4],
            "endog": D1[:4],
            "instruments": Z1[:4],
        },
        ["too few rows", "4 for 4", "more rows"],
    ),
    # types
    "text dependent": ({"dependent": LABELS}, ["'dependent'", "'a'", "Convert"]),
    "text exog": ({"exog": EXOG.assign(race=LABELS)}, ["'race'", "exog", "'a'", "C(name)"]),
    "text endog": ({"endog": pd.Series(LABELS, name="school")}, ["'school'", "endog", "dummy"]),
    "numbers as text": (
        {"exog": pd.DataFrame({"const": ONES, "age": ["31", "32"] * (N // 2)})},
        ["'age'", "'31'", "Convert"],
    ),
    "categories of numbers": (
        {"exog": EXOG.assign(region=pd.Categorical([3, 7] * (N // 2)))},
        ["'region'", "dummy"],
    ),
    "polars categories": (
        {"endog": pl.Series("school", LABELS, dtype=pl.Categorical)},
        ["'school'", "dummy"],
    ),
    "mixed objects": (
        {"endog": np.array([1.5, "n/a"] * (N // 2), dtype=object)},
        ["'endog'", "'n/a'", "Convert"],
    ),
    "dates": (
        {"exog": EXOG.assign(born=pd.date_range("2020", periods=N))},
        ["'born'", "dates", "years"],
    ),
    "polars dates among instruments": (
        {"instruments": pl.DataFrame({"born": pd.date_range("2020", periods=N).to_numpy()})},
        ["'born'", "dates", "years"],
    ),
    "date objects": (
        {"instruments": pd.Series(pd.date_range("2020", periods=N).date, name="born")},
        ["'born'", "dates", "years"],
    ),
    "complex": ({"endog": D1 + 1j}, ["'endog'", "numeric", "Convert"]),
    "lists": ({"instruments": pl.Series("path", [[1, 2]] * N)}, ["'path'", "lists", "one value"]),
    "unorderable": (
        {"clusters": pd.Series([{"a": 1}] * N, name="firm")},
        ["'firm'", "labels", "compared"],
    ),
    # values
    "infinite dependent": (
        {"dependent": changed(Y, 3, np.inf)},
        ["'dependent'", "infinite", "row 3", "remove or recode"],
    ),
    "infinite exog": (
        {"exog": EXOG.assign(x2=changed(X2, 5, -np.inf))},
        ["'x2'", "infinite", "row 5"],
    ),
    "infinite endog after a missing row": (
        {"endog": changed(changed(D1, 0, np.nan), 7, np.inf)},
        ["'endog'", "infinite", "row 7"],
    ),
    "infinite instrument": (
        {"instruments": changed(Z1, 9, np.inf)},
        ["'instruments'", "infinite", "row 9"],
    ),
    "negative weight": ({"weights": changed(ONES, 2, -1)}, ["weights", "positive", "row 2"]),
    "zero weight": ({"weights": changed(ONES, 2, 0)}, ["weights", "row 2 holds 0", "Drop"]),
    "infinite weight": ({"weights": changed(ONES, 2, np.inf)}, ["'weights'", "infinite"]),
    "missing endog": (
        {"endog": ENDOG.assign(d2=np.nan)},
        ["'d2'", "every value is missing", "Leave it out"],
    ),
    "missing instrument": (
        {"instruments": INSTRUMENTS.assign(z2=None)},
        ["'z2'", "every value is missing", "Leave it out"],
    ),
    "no complete row": (
        {"dependent": holed(Y, slice(0, 20)), "endog": holed(D1, slice(20, None))},
        ["no row is complete", "dependent (20)", "endog (20)", "Leave out"],
    ),
    # names
    "exog name twice": (
        {"exog": pd.DataFrame(np.column_stack([ONES, X1]), columns=["x", "x"])},
        ["exog", "two columns of one name", "rename"],
    ),
    "name in exog and instruments": (
        {"instruments": pd.Series(Z1, name="x1")},
        ["'x1'", "exog and instruments", "rename or leave out"],
    ),
    "name in endog and instruments": (
        {"instruments": INSTRUMENTS.rename(columns={"z1": "d"}), "endog": pd.Series(D1, name="d")},
        ["'d'", "endog and instruments", "rename or leave out"],
    ),
    # clusters
    "one cluster": (
        {"clusters": pd.Series(["a"] * N, name="firm")},
        ["'firm'", "only one cluster", "finer"],
    ),
    "one cluster of two ways": (
        {"clusters": pd.DataFrame({"firm": LABELS, "year": 2020})},
        ["'year'", "only one cluster"],
    ),
    "one cluster left": (
        {"clusters": ["a", None] * (N // 2), "endog": D1},
        ["'clusters'", "only one cluster"],
    ),
    "three ways": (
        {"clusters": RNG.integers(0, 5, (N, 3))},
        ["clusters has 3 columns", "one or two"],
    ),
    "list of clusterings": (
        {"clusters": [np.arange(N) % 4, np.arange(N) % 5]},
        ["clusters", "two-column array or frame"],
    ),
    # identification
    "constant dependent": ({"dependent": ONES}, ["'dependent'", "constant", "nothing to explain"]),
    "constant endog": ({"endog": ENDOG.assign(d2=3.0)}, ["'d2'", "constant"]),
    "collinear exog": (
        {"exog": EXOG.assign(total=X1 + 2 * X2)},
        ["'total'", "'x1', 'x2'", "collinear", "Drop"],
    ),
    "two constants": ({"exog": EXOG.assign(two=2.0)}, ["'two'", "'const'", "collinear", "Drop"]),
    "zero exog": ({"exog": EXOG.assign(nil=0.0)}, ["'nil'", "collinear", "Drop"]),
    "endog in exog": (
        {"endog": pd.Series(3 * X1 - 1, name="school")},
        ["'school'", "'const', 'x1'", "exog", "one of the two"],
    ),
    "collinear endog": (
        {"endog": ENDOG.assign(both=D1 + D2)},
        ["'both'", "'d1', 'd2'", "collinear", "Drop"],
    ),
    "endog collinear given exog": (
        {"endog": pd.DataFrame({"d1": D1, "shifted": D1 + X1})},
        ["'shifted'", "'x1', 'd1'", "collinear"],
    ),
    "constant instrument": (
        {"instruments": INSTRUMENTS.assign(z2=0.1)},
        ["'z2'", "constant", "Leave it out"],
    ),
    "one category": (
        {"instruments": INSTRUMENTS.assign(court="north")},
        ["'court'", "constant", "Leave it out"],
    ),
    "instrument constant where all else is known": (
        {
            "endog": holed(D1, slice(0, 10)),
            "instruments": INSTRUMENTS.assign(late=(np.arange(N) >= 10) * 1.0),
        },
        ["'late'", "constant in the rows used"],
    ),
    "instrument is endog": (
        {"instruments": INSTRUMENTS.assign(copy=D1)},
        ["'copy'", "'endog'", "Leave it out"],
    ),
    "instrument is affine in endog": (
        {"endog": ENDOG, "instruments": INSTRUMENTS.assign(copy=1e4 - 1e-3 * D2)},
        ["'copy'", "'d2'", "affine", "Leave it out"],
    ),
    "incomplete copy of endog": (
        {"instruments": INSTRUMENTS.assign(copy=holed(2 * D1 + 1, slice(3, 9)))},
        ["'copy'", "'endog'", "Leave it out"],
    ),
    "exog among instruments": (
        {"instruments": INSTRUMENTS.assign(copy=X1)},
        ["'copy'", "'x1'", "exog", "smuggle", "one of the two"],
    ),
    "instrument in the span of exog": (
        {"instruments": INSTRUMENTS.assign(mix=X1 - 5 * X2 + 2)},
        ["'mix'", "'const', 'x1', 'x2'", "smuggle"],
    ),
    "incomplete copy of exog": (
        {"instruments": INSTRUMENTS.assign(copy=holed(X2, slice(3, 9)))},
        ["'copy'", "'x2'", "smuggle"],
    ),
    "exog among many instruments": (
        {"instruments": np.column_stack([RNG.normal(size=(N, 70)), X2])},
        ["'instruments.70'", "'x2'", "smuggle"],
    ),
    # indexes
    "indexes differ": (
        {"dependent": pd.Series(Y, name="y"), "instruments": INSTRUMENTS.iloc[::-1]},
        ["dependent and instruments", "index", "align", "reset_index"],
    ),
    "weights index differs": (
        {"weights": pd.Series(ONES, index=np.arange(N) + 1)},
        ["exog and weights", "index", "align", "reset_index"],
    ),
}


@pytest.mark.filterwarnings("ignore::mlinstruments._core.exceptions.MissingRowsWarning")
@pytest.mark.parametrize("case", BAD)
def test_bad_arrays(case):
    bad, words = BAD[case]
    good = {"dependent": Y, "exog": EXOG, "endog": D1, "instruments": INSTRUMENTS}
    with pytest.raises(InputError) as caught:
        IVData.from_arrays(**{**good, **bad})
    for word in words:
        assert word in str(caught.value)


def test_the_good_input_is_good():
    IVData.from_arrays(Y, EXOG, D1, INSTRUMENTS, weights=ONES, clusters=LABELS)
    IVData.from_arrays(Y, EXOG, ENDOG, INSTRUMENTS)


FRAME = pd.DataFrame(
    {"wage": Y, "exper": X1, "educ": D1, "nearc": Z1, "dist": Z2, "race": LABELS, "w": ONES}
).assign(born=pd.date_range("2020", periods=N), gone=np.nan)

BAD_FORMULA: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "no block": ("wage ~ 1 + exper", {}, ["no [endogenous ~ instruments]", "lwage ~ 1"]),
    "two blocks": ("wage ~ 1 + [educ ~ nearc] + [exper ~ dist]", {}, ["more than one", "lwage ~"]),
    "no tilde inside": ("wage ~ 1 + [educ + nearc]", {}, ["block needs a ~", "lwage ~ 1"]),
    "no dependent": ("1 + [educ ~ nearc]", {}, ["one dependent variable", "lwage ~ 1"]),
    "unbalanced": ("wage ~ 1 + [educ ~ nearc", {}, ["not understood", "lwage ~ 1"]),
    "not a string": (3, {}, ["formula 3", "lwage ~ 1"]),  # type: ignore[dict-item]
    "two operators": ("wage ~ 1 + * + [educ ~ nearc]", {}, ["in exog", "cannot be evaluated"]),
    "two parts": ("wage ~ 1 + [educ ~ nearc | dist]", {}, ["instruments", "join terms with +"]),
    "wildcard": ("wage ~ 1 + [educ ~ .]", {}, ["'.'", "instruments", "cannot be evaluated"]),
    "misspelt exog": ("wage ~ 1 + expr + [educ ~ nearc]", {}, ["'expr'", "exog", "'exper'"]),
    "misspelt inside a call": (
        "wage ~ 1 + np.exp(expre) + [educ ~ nearc]",
        {},
        ["'expre'", "Did you mean 'exper'"],
    ),
    "misspelt in backticks": (
        "wage ~ 1 + np.exp(`expre`) + [educ ~ nearc]",
        {},
        ["'expre'", "Did you mean 'exper'"],
    ),
    "misspelt inside a stateful call": (
        "wage ~ 1 + center(expre) + [educ ~ nearc]",
        {},
        ["'expre'", "Did you mean 'exper'"],
    ),
    "misspelt instrument": ("wage ~ 1 + [educ ~ near]", {}, ["'near'", "instruments", "'nearc'"]),
    "unlike any column": ("wage ~ 1 + [educ ~ qqqq]", {}, ["'qqqq'", "columns are", "wage"]),
    "misspelt weights": (
        "wage ~ 1 + [educ ~ nearc]",
        {"weights": "wag"},
        ["'wag'", "weights", "'wage'"],
    ),
    "misspelt clusters": (
        "wage ~ 1 + [educ ~ nearc]",
        {"clusters": ["race", "rase"]},
        ["'rase'", "clusters", "'race'"],
    ),
    "three clusterings": (
        "wage ~ 1 + [educ ~ nearc]",
        {"clusters": ["race", "exper", "w"]},
        ["clusters has 3 columns", "one or two"],
    ),
    "one clustering twice": (
        "wage ~ 1 + [educ ~ nearc]",
        {"clusters": ["race", "race"]},
        ["clusters", "'race' twice"],
    ),
    "unknown function": (
        "wage ~ 1 + foo(exper) + [educ ~ nearc]",
        {},
        ["foo", "exog", "cannot be evaluated"],
    ),
    "text dependent": ("race ~ 1 + [educ ~ nearc]", {}, ["dependent has 2 columns", "one"]),
    "dates": ("wage ~ 1 + born + [educ ~ nearc]", {}, ["born", "exog"]),
    "logarithm of zero": (
        "wage ~ 1 + np.exp(1e6 * exper) + [educ ~ nearc]",
        {},
        ["np.exp", "infinite", "remove or recode"],
    ),
    "all missing": (
        "wage ~ 1 + gone + [educ ~ nearc]",
        {},
        ["'gone'", "every value is missing", "Leave it out"],
    ),
    "in exog and instruments": (
        "wage ~ 1 + exper + [educ ~ nearc + exper]",
        {},
        ["'exper'", "exog and instruments"],
    ),
    "transformed endog as instrument": (
        "wage ~ 1 + exper + [educ ~ nearc + I(2*educ)]",
        {},
        ["I(2 * educ)", "'educ'", "Leave it out"],
    ),
    "constant instrument": ("wage ~ 1 + [educ ~ nearc + w]", {}, ["'w'", "constant"]),
    "weights of another length": (
        "wage ~ 1 + [educ ~ nearc]",
        {"weights": np.ones(3)},
        ["data has 40", "weights has 3"],
    ),
    "weights of another index": (
        "wage ~ 1 + [educ ~ nearc]",
        {"weights": pd.Series(ONES, np.arange(N) + 1)},
        ["data and weights", "index", "reset_index"],
    ),
}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("case", BAD_FORMULA)
def test_bad_formulas(case):
    formula, arguments, words = BAD_FORMULA[case]
    with pytest.raises(InputError) as caught:
        IVData.from_formula(formula, FRAME, **arguments)
    for word in words:
        assert word in str(caught.value)


BAD_FRAME: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "array": (FRAME[["wage"]].to_numpy, ["data must be", "ndarray"]),
    "lazy": (lambda: pl.LazyFrame({"wage": Y}), ["data must be", ".collect()"]),
    "name twice": (
        lambda: pd.concat([FRAME, FRAME[["w"]]], axis=1),
        ["data has two columns of one name", "rename"],
    ),
}


@pytest.mark.parametrize("case", BAD_FRAME)
def test_bad_frames(case):
    make, words = BAD_FRAME[case]
    with pytest.raises(InputError) as caught:
        IVData.from_formula("wage ~ 1 + [educ ~ nearc]", make())
    for word in words:
        assert word in str(caught.value)


# ---- the front door: refused before any learner runs -----------------------------------------


class NeverFitted(RegressorMixin, BaseEstimator):
    """A learner whose first fit fails the test."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NeverFitted:
        raise AssertionError("a learner ran on input that cannot be used")

    def predict(self, X: Any) -> Any:
        raise AssertionError("a learner ran on input that cannot be used")


class Unweighted(NeverFitted):
    """The same without weights."""

    def fit(self, X: Any, y: Any) -> Unweighted:
        raise AssertionError("a learner ran on input that cannot be used")


EMPTY = {"dependent": [], "exog": np.empty((0, 1)), "endog": [], "instruments": []}
FIVE = {
    "dependent": Y[:5],
    "exog": ONES[:5],
    "endog": D1[:5],
    "instruments": INSTRUMENTS[:5],
}

# settings of MLIV, arguments of fit, words of the error
BAD_FITS: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    # shapes
    "shapes differ": ({}, {"instruments": INSTRUMENTS[:-3]}, ["instruments has 37", "same rows"]),
    "empty": ({}, EMPTY, ["dependent", "empty", "no rows"]),
    "fewer rows than folds": ({"n_folds": 6}, FIVE, ["6 folds", "there are 5", "lower n_folds"]),
    "training parts too small": (
        {"n_folds": 2},
        FIVE,
        ["training part has", "covariates", "more rows", "split_half=False"],
    ),
    "wrong dtype": (
        {},
        {"endog": pd.Series(LABELS, name="educ")},
        ["'educ'", "numeric", "Convert"],
    ),
    "nothing but NaN": (
        {},
        {"endog": pd.Series(np.nan, range(N), name="educ")},
        ["'educ'", "every value is missing"],
    ),
    "infinite": (
        {},
        {"instruments": INSTRUMENTS.assign(z1=changed(Z1, 4, np.inf))},
        ["'z1'", "infinite", "row 4", "remove"],
    ),
    # columns that cannot do their part
    "constant instrument": (
        {},
        {"instruments": INSTRUMENTS.assign(z2=7.0)},
        ["'z2'", "constant", "Leave it out"],
    ),
    "instrument is the treatment": (
        {},
        {"instruments": INSTRUMENTS.assign(copy=D1)},
        ["'copy'", "'endog'", "Leave it out"],
    ),
    "column in X and W": (
        {},
        {"instruments": INSTRUMENTS.assign(copy=X1)},
        ["'copy'", "'x1'", "Keep it in one"],
    ),
    "name in X and W": (
        {},
        {"instruments": INSTRUMENTS.rename(columns={"z1": "x1"})},
        ["'x1'", "exog and instruments", "rename"],
    ),
    "collinear exog": ({}, {"exog": EXOG.assign(sum=X1 + X2)}, ["'sum'", "collinear", "Drop"]),
    # weights and clusters
    "negative weights": ({}, {"weights": changed(ONES, 5, -2)}, ["weights", "row 5", "positive"]),
    "zero weight": ({}, {"weights": changed(ONES, 5, 0)}, ["weights", "row 5", "Drop"]),
    "weights the learner cannot take": (
        {"learner": Unweighted()},
        {"weights": ONES + (np.arange(N) > 3)},
        ["weights", "Unweighted", "sample_weight", "leave weights out"],
    ),
    "one cluster": ({}, {"clusters": pd.Series(["a"] * N, name="firm")}, ["'firm'", "only one"]),
    "clusters fewer than folds": (
        {"n_folds": 5},
        {"clusters": np.arange(N) % 4},
        ["5 folds", "clusters", "there are 4", "lower n_folds"],
    ),
    "clusters fewer than folds in one way": (
        {"n_folds": 5},
        {"clusters": np.column_stack([np.arange(N) % 9, np.arange(N) % 4])},
        ["5 folds", "clusters", "there are 4"],
    ),
    # settings
    "misspelt learner": ({"learner": "bosting"}, {}, ["learner", "Did you mean 'boosting'"]),
    "a class for a learner": ({"learner": NeverFitted}, {}, ["NeverFitted", "instance"]),
    "a classifier": ({"learner": LogisticRegression()}, {}, ["classifier", "regressor"]),
    "a number for a learner": ({"learner": 3}, {}, ["learner", "scikit-learn"]),
    "misspelt covariates": ({"covariates": "lineer"}, {}, ["covariates", "'linear'"]),
    "one fold": ({"n_folds": 1}, {}, ["n_folds", "at least 2", "1"]),
    "half a fold": ({"n_folds": 2.5}, {}, ["n_folds", "whole number", "2.5"]),
    "no repeats": ({"n_repeats": 0}, {}, ["n_repeats", "at least 1"]),
    "folds of wrong length": ({}, {"folds": np.arange(9) % 3}, ["folds", "40 rows", "(9,)"]),
    "a single fold": ({}, {"folds": np.zeros(N)}, ["folds", "at least two"]),
    "folds that cut a cluster": (
        {},
        {"folds": np.arange(N) % 2, "clusters": np.arange(N) // 4},
        ["folds splits a cluster", "one fold"],
    ),
    "folds with a missing label": (
        {},
        {"folds": changed(np.arange(N) % 2 * 1.0, 3, np.nan)},
        ["folds", "missing", "row 3"],
    ),
    # covariances
    "misspelt cov_type": ({}, {"cov_type": "robst"}, ["cov_type", "Did you mean 'robust'"]),
    "clusters and robust": (
        {},
        {"cov_type": "robust", "clusters": np.arange(N) % 20},
        ["clusters", "cov_type='robust'", "leave cov_type out"],
    ),
    "clustered without clusters": ({}, {"cov_type": "clustered"}, ["clusters="]),
    "bandwidth without kernel": ({}, {"bandwidth": 3}, ["bandwidth", "cov_type='kernel'"]),
    "negative bandwidth": (
        {},
        {"cov_type": "kernel", "bandwidth": -2},
        ["bandwidth", "-2"],
    ),
    "bandwidth of half a lag": (
        {},
        {"cov_type": "kernel", "bandwidth": 1.5},
        ["bandwidth", "whole number", "1.5"],
    ),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_bad_fits(case):
    settings, bad, words = BAD_FITS[case]
    good = {"dependent": Y, "exog": EXOG, "endog": D1, "instruments": INSTRUMENTS}
    with pytest.raises(InputError) as caught:
        MLIV(**{"learner": NeverFitted(), "n_folds": 3, **settings}).fit(**{**good, **bad})
    for word in words:
        assert word in str(caught.value)


BAD_FITS_OF_FORMULAS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "unknown column": ("wage ~ 1 + exper + [educ ~ nerc]", {}, ["'nerc'", "Did you mean 'nearc'"]),
    "unknown clusters": (
        "wage ~ 1 + exper + [educ ~ nearc]",
        {"clusters": "rce"},
        ["'rce'", "clusters", "Did you mean 'race'"],
    ),
    "unknown weights": (
        "wage ~ 1 + exper + [educ ~ nearc]",
        {"weights": "weight"},
        ["'weight'", "weights"],
    ),
    "no block": ("wage ~ 1 + exper + educ", {}, ["[endogenous ~ instruments]"]),
    "folds of another length": (
        "wage ~ 1 + exper + [educ ~ nearc]",
        {"folds": [0, 1]},
        ["folds", "40 rows"],
    ),
}


@pytest.mark.parametrize("case", BAD_FITS_OF_FORMULAS)
def test_bad_fits_of_formulas(case):
    formula, options, words = BAD_FITS_OF_FORMULAS[case]
    with pytest.raises(InputError) as caught:
        MLIV(NeverFitted(), n_folds=3).fit_formula(formula, FRAME, **options)
    for word in words:
        assert word in str(caught.value)


def test_the_good_fit_reaches_the_learner():
    with pytest.raises(AssertionError, match="a learner ran"):
        MLIV(NeverFitted(), n_folds=3).fit(Y, EXOG, D1, INSTRUMENTS)
    with pytest.raises(AssertionError, match="a learner ran"):
        MLIV(NeverFitted(), n_folds=3).fit_formula("wage ~ 1 + exper + [educ ~ nearc]", FRAME)
