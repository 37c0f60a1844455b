"""What a fit shows, saves and hands to other packages."""

from __future__ import annotations

import dataclasses
import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS
from scipy import stats

from mlinstruments import LIML, MLIV, OLS, TSLS, IVResults, MLIVResults, compare
from mlinstruments._core.exceptions import InputError
from mlinstruments.iv import anderson_rubin
from mlinstruments.iv.confidence_set import ConfidenceSet
from tests.designs import FAST, strong
from tests.tolerances import IDENTITY, SOLVE

DESIGNS = {d: strong(n=200, d=d, seed=20 + d) for d in (1, 2)}


@pytest.fixture(scope="module")
def learned():
    design = DESIGNS[1]
    model = MLIV(FAST, n_folds=3, orthogonal=True)
    return model.fit(*design.data, clusters=design.clusters["one"], weights=design.weights)


@pytest.fixture(scope="module")
def fitted(learned):
    one, two = DESIGNS[1], DESIGNS[2]
    return {
        "MLIV": learned,
        "two endogenous": MLIV(FAST, n_folds=3, n_repeats=3).fit(*two.data, debiased=True),
        "2SLS": TSLS().fit(*one.data, cov_type="kernel", bandwidth=3),
        "LIML": LIML().fit(*one.data),
        "OLS": OLS().fit(*one.data, debiased=True),
    }


MODELS = ["MLIV", "two endogenous", "2SLS", "LIML", "OLS"]


def table_row(text, name):
    """Cells of the row of the body that starts with a name."""
    line = next(line for line in text.splitlines() if re.match(rf"{name}\s+-?[\d.]", line))
    return line.split()[1:]


@pytest.mark.parametrize("name", MODELS)
def test_summary_shows_every_coefficient_and_print_the_endogenous(fitted, name):
    res = fitted[name]
    frame = res.to_frame()
    short, long = str(res), str(res.summary)
    for coefficient in res.params.index:
        cells = table_row(long, coefficient)
        assert cells[0] == f"{res.params[coefficient]:.4f}"
        assert cells[1] == f"{res.std_errors[coefficient]:.4f}"
        assert cells[-2:] == [f"{frame.loc[coefficient, e]:.4f}" for e in ("lower", "upper")]
        if coefficient in res.endog:
            assert table_row(short, coefficient) == cells
        else:
            assert re.search(rf"^{coefficient}\s", short, re.M) is None
    assert f"{res.method}: y on {', '.join(res.endog)}" in short
    assert re.search(rf"Observations:\s+{res.nobs}$", short, re.M)
    assert re.search(rf"Covariance:\s+{re.escape(res.cov_label)}$", short, re.M)
    assert ("P>|t|" in short) == res.debiased
    assert repr(res) == short


def test_print_of_a_learned_instrument(learned):
    text = str(learned)
    facts = dict(line.split(":", 1) for line in text.splitlines()[2:] if ":" in line)
    facts = {key: value.strip() for key, value in facts.items()}
    assert facts["First stage"] == "series(penalty=0.05), linear in covariates"
    assert facts["Cross-fitting"] == "3 folds x 1 repeat"
    assert facts["Clusters"] == "firm 25"
    assert facts["Weights"] == "analytic"
    f, linear = learned.first_stage.f["d1"], learned.first_stage.linear_f["d1"]
    assert facts["First-stage F"].startswith(f"{f:.2f}")
    assert f"q x F = 3 x {linear:.2f} = {3 * linear:.2f}" in facts["First-stage F"]
    low, high = learned.conf_int(method="ar").hull
    assert facts["AR 95% set"].startswith(f"[{low:.4f}, {high:.4f}]")
    assert "corrected for cross-fitting" in facts["AR 95% set"]
    low, high = learned.conf_int(method="tf").loc["d1"]
    assert facts["tF 95% interval"] == f"[{low:.4f}, {high:.4f}]"


def test_print_of_two_endogenous_regressors(fitted):
    res, text = fitted["two endogenous"], str(fitted["two endogenous"])
    sets = res.conf_int(method="ar")
    assert set(sets) == {"d1", "d2"}
    for name, found in sets.items():
        assert f"First-stage F ({name}):" in text
        assert re.search(rf"AR 95% {name}:\s+{re.escape(str(found))}", text)
    assert "3 folds x 3 repeats, medians" in text
    assert "tF" not in text


@pytest.mark.parametrize("name", MODELS)
def test_to_frame_is_made_of_the_parts(fitted, name):
    res = fitted[name]
    frame = res.to_frame(0.9)
    reference = stats.t(res.nobs - len(res.params)) if res.debiased else stats.norm
    np.testing.assert_array_equal(frame["parameter"], res.params)
    np.testing.assert_allclose(frame["std_error"] ** 2, np.diag(res.cov), rtol=IDENTITY)
    np.testing.assert_allclose(frame["tstat"], res.params / res.std_errors, rtol=IDENTITY)
    tails = 2 * reference.sf(np.abs(frame["tstat"]))
    np.testing.assert_allclose(frame["pvalue"], tails, rtol=IDENTITY)
    width = reference.ppf(0.95) * res.std_errors
    np.testing.assert_allclose(frame["upper"] - frame["parameter"], width, rtol=1e-7)
    np.testing.assert_allclose(frame["parameter"] - frame["lower"], width, rtol=1e-7)
    assert list(res.cov.index) == list(res.cov.columns) == list(res.params.index)


@pytest.mark.parametrize("debiased", [False, True])
def test_pvalues_and_limits_use_the_degrees_of_freedom_of_linearmodels(debiased):
    design = DESIGNS[1].taken(np.arange(40))
    found = TSLS().fit(*design.data, debiased=debiased)
    expected = IV2SLS(*design.data).fit(cov_type="robust", debiased=debiased)
    order = list(found.params.index)
    # Old releases of linearmodels take p-values as one less a probability: exact to rounding.
    np.testing.assert_allclose(found.pvalues, expected.pvalues[order], rtol=1e-6, atol=1e-14)
    limits = expected.conf_int(0.8).loc[order]
    np.testing.assert_allclose(found.conf_int(0.8), limits, rtol=SOLVE)
    assert found.df_resid == 37


class Tags(HTMLParser):
    """Insists that tags close in order."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.text = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("name", MODELS)
def test_html_holds_the_numbers(fitted, name):
    res = fitted[name]
    reader = Tags()
    reader.feed(res._repr_html_())
    assert reader.open == []
    for coefficient in res.endog:
        assert coefficient in reader.text
        assert f"{res.params[coefficient]:.4f}" in reader.text


@pytest.mark.parametrize("name", MODELS)
def test_latex_is_balanced_and_escaped(fitted, name):
    text = fitted[name].as_latex()
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    for environment in re.findall(r"\\begin\{(\w+)\}", text):
        assert text.count(rf"\end{{{environment}}}") == text.count(rf"\begin{{{environment}}}")
    assert re.search(r"(?<!\\)[%#$_]", bare) is None
    for coefficient in fitted[name].params.index:
        assert f"\n{coefficient} & {fitted[name].params[coefficient]:.4f} & " in text


# ---- saving ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_saved_results_answer_alike(fitted, name, tmp_path):
    res, path = fitted[name], tmp_path / "fit.mliv"
    res.save(path)
    back = IVResults.load(path)
    assert type(back) is type(res)
    assert str(back.summary) == str(res.summary)
    pd.testing.assert_frame_equal(back.to_frame(), res.to_frame(), check_exact=True)
    pd.testing.assert_frame_equal(back.cov, res.cov, check_exact=True)
    pd.testing.assert_series_equal(back.resids, res.resids, check_exact=True)
    for kind in res.ar:
        if kind.refusal:
            with pytest.raises(InputError, match=re.escape(kind.refusal)):
                back.conf_int(method="ar", ar=kind.kind)
            continue
        chosen = None if len(res.ar) == 1 else kind.kind
        if len(res.endog) == 1 or kind.kind == "corrected":  # projections of two take .2 s each
            for level in (0.8, 0.95) if len(res.endog) == 1 else (0.8,):
                sets = [r.conf_int(level, "ar", chosen) for r in (res, back)]
                assert sets[0] == sets[1]
        tests = [r.anderson_rubin(0.3, chosen) for r in (res, back)]
        assert tests[0] == tests[1]
    if isinstance(res, MLIVResults):
        for attribute in ("splits", "folds"):
            one, other = (getattr(r, attribute) for r in (res, back))
            pd.testing.assert_frame_equal(one, other, check_exact=True)
        np.testing.assert_array_equal(back.instrument, res.instrument)
        pd.testing.assert_frame_equal(back.first_stage.to_frame(), res.first_stage.to_frame())
        if len(res.endog) == 1:
            pd.testing.assert_frame_equal(back.conf_int(method="tf"), res.conf_int(method="tf"))


def test_saved_results_keep_the_index_of_the_input(tmp_path):
    y, X, D, W = (part.set_axis([f"row {i}" for i in range(200)]) for part in DESIGNS[1].data)
    y["row 7"] = np.nan
    with pytest.warns(UserWarning, match="Dropped 1"):
        res = MLIV("ols", n_folds=2).fit(y, X, D, W)
    res.save(tmp_path / "fit")
    back = MLIVResults.load(tmp_path / "fit")
    assert list(back.instrument.index) == list(y.index)
    np.testing.assert_array_equal(back.instrument, res.instrument)


def test_results_of_another_kind_are_refused(fitted, tmp_path):
    fitted["OLS"].save(tmp_path / "fit")
    with pytest.raises(InputError, match="holds IVResults, not MLIVResults"):
        MLIVResults.load(tmp_path / "fit")


# ---- conf_int and anderson_rubin -------------------------------------------------------------

WRONG = {
    "level of one": ({"level": 1.0}, "MLIV", ["level", "between 0 and 1"]),
    "level in percent": ({"level": 95}, "MLIV", ["level", "0.95", "95"]),
    "level nan": ({"level": float("nan")}, "MLIV", ["level", "between 0 and 1"]),
    "method misspelt": ({"method": "wld"}, "MLIV", ["method", "Did you mean 'wald'"]),
    "kind misspelt": (
        {"method": "ar", "ar": "orthogonl"},
        "MLIV",
        ["ar", "Did you mean 'orthogonal'"],
    ),
    "a kind for 2sls": ({"method": "ar", "ar": "folds"}, "2SLS", ["2SLS", "leave ar out"]),
    "ar of ols": ({"method": "ar"}, "OLS", ["OLS", "no instruments"]),
    "tf at another level": ({"method": "tf", "level": 0.9}, "MLIV", ["tF", "0.95", "0.9"]),
    "tf of two": ({"method": "tf"}, "two endogenous", ["exactly one endogenous"]),
    "tf of ols": ({"method": "tf"}, "OLS", ["tF", "endogenous"]),
    "tf of many instruments": (
        {"method": "tf"},
        "2SLS",
        ["single instrument", "2SLS uses 3", "method='ar'"],
    ),
    "folds over repeats": (
        {"method": "ar", "ar": "folds"},
        "two endogenous",
        ["n_repeats=1", "'corrected'"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_questions_are_refused(fitted, case):
    options, name, words = WRONG[case]
    with pytest.raises(InputError) as caught:
        fitted[name].conf_int(**options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, [0.0, 1.0], [[0.0]]])
def test_null_values_are_checked(learned, value):
    with pytest.raises(InputError, match="one finite number for each of d1"):
        learned.anderson_rubin(value)


def test_one_null_value_stands_for_all(fitted):
    res = fitted["two endogenous"]
    assert res.anderson_rubin(0.5) == res.anderson_rubin([0.5, 0.5])
    assert res.anderson_rubin([0.5, 1]).null == "d1 = 0.5, d2 = 1"
    assert res.anderson_rubin([0.5, 1]) != res.anderson_rubin([1, 0.5])


def test_a_just_identified_tf_interval_is_that_of_the_instrument():
    y, X, D, W = DESIGNS[1].data
    blurred = W["w1"] + 0.8 * np.random.default_rng(0).normal(size=200)
    res = TSLS().fit(y, X, D, blurred)
    assert 4 < res.first_stage.f["d1"] < 100  # wider than Wald, and bounded
    low, high = res.conf_int(method="tf").loc["d1"]
    wald = res.conf_int().loc["d1"]
    assert (low + high) / 2 == pytest.approx(res.params["d1"], rel=IDENTITY)
    assert high - low > 1.01 * (wald["upper"] - wald["lower"])


def test_a_set_is_computed_once_per_result(monkeypatch):
    res = MLIV(FAST, n_folds=3).fit(*DESIGNS[2].data)
    asked = []

    def counted(moments, coordinate, level, kind):
        asked.append((coordinate, level))
        return ConfidenceSet(((0.0, 1.0),), level, kind)

    monkeypatch.setattr(anderson_rubin, "projection", counted)
    shown = str(res), res._repr_html_(), str(res.summary), str(compare({"a": res}))
    assert asked == [(0, 0.95), (1, 0.95)]
    found = res.conf_int(method="ar")
    found.clear()  # the caller's own
    assert set(res.conf_int(method="ar")) == {"d1", "d2"}
    assert res.conf_int(0.9, method="ar")["d1"].level == 0.9
    res.conf_int(method="ar", ar="pooled")
    assert asked[2:] == [(0, 0.9), (1, 0.9), (0, 0.95), (1, 0.95)]
    again = pickle.loads(pickle.dumps(res))
    assert (str(again), again._repr_html_()) == shown[:2]
    other = dataclasses.replace(res, ar=res.ar[1:])
    assert other.conf_int(method="ar")["d1"].kind != res.conf_int(method="ar")["d1"].kind


def test_what_was_asked_is_not_saved(fitted, tmp_path):
    res = dataclasses.replace(fitted["MLIV"], ar=fitted["MLIV"].ar[:1])
    contents = []
    for name in ("before", "after"):
        res.save(tmp_path / name)
        with np.load(tmp_path / name) as file:
            contents.append({key: file[key].tobytes() for key in file.files})
        res.conf_int(method="ar")
    assert contents[0] == contents[1]


# ---- side by side ----------------------------------------------------------------------------


def test_compare_shows_every_model(fitted):
    names = ["OLS", "2SLS", "LIML", "MLIV"]
    table = compare({name: fitted[name] for name in names})
    assert table.columns == ("", *names)
    rows = dict(zip([row[0] for row in table.rows], table.rows, strict=False))
    for j, name in enumerate(names, 1):
        res = fitted[name]
        position = [row[0] for row in table.rows].index("d1")
        assert table.rows[position][j] == f"{res.params['d1']:.4f}"
        assert table.rows[position + 1][j] == f"({res.std_errors['d1']:.4f})"
        assert rows["Covariance"][j] == res.cov_label
        assert rows["Observations"][j] == "200"
        ar = "" if name == "OLS" else str(res.conf_int(method="ar"))
        assert rows["AR 95% d1"][j] == ar
        f = "" if name == "OLS" else f"{res.first_stage.f['d1']:.2f}"
        assert rows["First-stage F d1"][j] == f
    assert rows["First stage"][1:] == ("", "linear", "linear", "series(penalty=0.05)")
    assert "x" not in rows
    everything = compare({"2SLS": fitted["2SLS"]}, all_coefficients=True)
    shown = {row[0]: row[1] for row in everything.rows}
    assert shown["x"] == f"{fitted['2SLS'].params['x']:.4f}"
    assert r"\toprule" in table.as_latex()


def test_compare_lines_up_models_with_other_regressors(fitted):
    table = compare({"one": fitted["2SLS"], "two": fitted["two endogenous"]})
    rows = {row[0]: row[1:] for row in table.rows if row[0]}
    assert rows["d2"] == ("", f"{fitted['two endogenous'].params['d2']:.4f}")
    assert rows["AR 95% d2"][0] == ""


def test_compare_shows_no_number_for_no_estimate():
    from sklearn.dummy import DummyRegressor

    weak = MLIV(DummyRegressor()).fit(*DESIGNS[1].data)
    rows = {row[0]: row[1] for row in compare({"weak": weak}).rows if row[0]}
    assert rows["d1"] == "-"
    assert rows["AR 95% d1"] == "whole line"


@pytest.mark.parametrize("given", [{}, {"a": 3}])
def test_compare_refuses_what_is_no_result(given):
    with pytest.raises(InputError, match="compare"):
        compare(given)


# ---- maketables ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # of another package's making
def test_maketables_reads_the_results(fitted):
    maketables = pytest.importorskip("maketables")
    table = maketables.ETable([fitted["MLIV"], fitted["2SLS"], fitted["OLS"]])
    frame = table.df if hasattr(table, "df") else table.make(type="df")
    text = frame.to_string()
    for name in ("MLIV", "2SLS", "OLS"):
        assert f"{fitted[name].params['d1']:.3f}" in text
        assert f"{fitted[name].std_errors['d1']:.3f}" in text
    assert "200" in text
    assert f"{fitted['MLIV'].first_stage.f['d1']:.3f}"[:4] in text
    assert str(fitted["MLIV"].conf_int(method="ar"))[:8] in text
