"""AR, LM and conditional LR tests: formulas by hand, sets that turn round, size with weak instruments."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlinstruments import LIML, TSLS, weak_instrument_tests
from mlinstruments._core.exceptions import InputError, MissingExtraError
from tests.designs import DESIGNS
from tests.tolerances import ROUNDING, SOLVE

# Six instruments, so that three treatments too are over-identified.
ONE, TWO, THREE = (
    replace(one, W=one.W.join((one.W**2).add_suffix(" squared"))) for one in DESIGNS.values()
)


def partialled(design, weights=None):
    """Outcome, treatments and instruments without covariates, root-weighted; degrees of freedom."""
    root = np.ones(len(design.y)) if weights is None else np.sqrt(weights)
    X = root[:, None] * design.X.to_numpy()
    Q = np.linalg.qr(X)[0]
    parts = (design.y.to_numpy()[:, None], design.D.to_numpy(), design.W.to_numpy())
    y, D, Z = (v - Q @ (Q.T @ v) for v in (root[:, None] * part for part in parts))
    return y[:, 0], D, Z, len(y) - X.shape[1] - Z.shape[1]


def by_hand(design, beta, weights=None):
    """Statistics of LM (Kleibergen) and LR (Moreira), and what the latter is conditional on."""
    y, D, Z, df = partialled(design, weights)
    Q = np.linalg.qr(Z)[0]
    e = y - D @ beta
    left = np.column_stack([e, D])
    noise = (left.T @ left - (Q.T @ left).T @ (Q.T @ left)) / df
    fitted = Q.T @ D - np.outer(Q.T @ e, noise[0, 1:] / noise[0, 0])
    basis = np.linalg.qr(fitted)[0]
    ar = float((Q.T @ e) @ (Q.T @ e)) / noise[0, 0]
    lm = float(np.sum((basis.T @ Q.T @ e) ** 2)) / noise[0, 0]
    rank = noise[1, 1] - noise[0, 1] ** 2 / noise[0, 0]
    s = float(fitted[:, 0] @ fitted[:, 0]) / rank
    lr = 0.5 * (ar - s + np.sqrt((ar + s) ** 2 - 4 * s * (ar - lm)))
    return lm, lr, s


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("design", [ONE, TWO, THREE], ids=["d=1", "d=2", "d=3"])
def test_lm_is_kleibergens(design, weighted):
    beta = np.array([0.8, -0.3, 0.1])[: design.D.shape[1]]
    weights = design.weights if weighted else None
    found = weak_instrument_tests(*design.data, value=beta, weights=weights)
    lm = by_hand(design, beta, weights)[0]
    assert found.tests.loc["lm", "statistic"] == pytest.approx(lm, rel=SOLVE)
    assert found.tests.loc["lm", "pvalue"] == pytest.approx(stats.chi2.sf(lm, len(beta)), rel=SOLVE)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_conditional_lr_is_moreiras(weighted):
    weights = ONE.weights if weighted else None
    _, lr, s = by_hand(ONE, np.array([0.85]), weights)
    found = weak_instrument_tests(*ONE.data, value=0.85, weights=weights).tests.loc["clr"]
    assert found["statistic"] == pytest.approx(lr, rel=1e-6)
    rng = np.random.default_rng(0)
    a, b = rng.chisquare(1, 400_000), rng.chisquare(5, 400_000)
    draws = 0.5 * (a + b - s + np.sqrt((a + b + s) ** 2 - 4 * s * b))
    expected = float((draws > lr).mean())
    assert 0.01 < expected < 0.99
    assert found["pvalue"] == pytest.approx(expected, abs=4 * np.sqrt(0.25 / len(draws)))


@pytest.mark.parametrize("options", [{}, {"clusters": ONE.firm}, {"weights": ONE.weights}], ids=str)
def test_anderson_rubin_is_that_of_2sls(options):
    found = weak_instrument_tests(*ONE.data, value=0.9, level=0.9, debiased=True, **options)
    res = TSLS().fit(*ONE.data, debiased=True, **options)
    assert found.tests.loc["ar", "pvalue"] == res.anderson_rubin(0.9).pvalue
    assert found.sets["ar"]["d1"].intervals == res.conf_int(0.9, method="ar").intervals
    assert f"Anderson-Rubin, {res.cov_label}" in str(found)


@pytest.mark.parametrize("method", ["lm", "clr"])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e7])
def test_ends_of_sets_are_where_tests_turn(method, scale):
    y, X, D, W = ONE.data
    found = weak_instrument_tests(y * scale, X, D, W).sets[method]["d1"]
    assert LIML().fit(y * scale, X, D, W).params["d1"] in found
    assert found.is_bounded
    assert found.kind.endswith("homoskedastic")
    ends = np.ravel(found.intervals)
    for end in ends:
        tested = weak_instrument_tests(y * scale, X, D, W, value=end)
        assert tested.tests.loc[method, "pvalue"] == pytest.approx(0.05, abs=1e-5)
    wider = weak_instrument_tests(y * scale, X, D, W, level=0.99).sets[method]["d1"]
    assert wider.hull[0] < found.hull[0] < found.hull[1] < wider.hull[1]


def test_each_of_several_coefficients_has_a_set():
    found = weak_instrument_tests(*TWO.data, value={"d2": -0.5, "d1": 1.0})
    assert found.value.to_dict() == {"d1": 1.0, "d2": -0.5}
    estimates = LIML().fit(*TWO.data).params
    for method in ("ar", "lm", "clr"):
        assert all(estimates[name] in found.sets[method][name] for name in ("d1", "d2"))
    three = weak_instrument_tests(*THREE.data)
    assert "ar" not in three.sets
    assert len(three.sets["clr"]) == 3
    assert "only jointly" in str(three)


@pytest.mark.slow
def test_irrelevant_instruments_say_nothing_and_keep_the_size():
    rng = np.random.default_rng(1)
    rejected = np.zeros(3)
    for _ in range(200):
        Z = rng.normal(size=(100, 4))
        u = rng.normal(size=100)
        d = 0.05 * Z[:, 0] + u + 0.2 * rng.normal(size=100)
        found = weak_instrument_tests(
            d + u, np.ones(100), d, Z, value=1.0, cov_type="unadjusted", debiased=True
        )
        rejected += found.tests["pvalue"].to_numpy() < 0.05
    assert (rejected <= 21).all()  # 99.9% of binomial(200, .05)
    assert not found.sets["clr"]["endog"].is_bounded


def test_formulas_labels_and_categories():
    frame = ONE.X.join(ONE.D).join(ONE.W).assign(y=ONE.y)
    frame["court"] = pd.Categorical(np.array(list("abcd"))[np.arange(len(frame)) % 4])
    arrays = weak_instrument_tests(*ONE.data, value=0.5)
    instruments = " + ".join(f"`{name}`" for name in ONE.W)
    formula = weak_instrument_tests(f"y ~ 1 + x + [d1 ~ {instruments}]", frame, value=0.5)
    np.testing.assert_allclose(formula.tests, arrays.tests, rtol=ROUNDING)
    y, X, D, W = ONE.data
    courts = pd.get_dummies(frame["court"], drop_first=True, dtype=float)
    with_dummies = weak_instrument_tests(y, X, D, W.join(courts))
    with_labels = weak_instrument_tests(y, X, D, W.assign(court=frame["court"]))
    np.testing.assert_allclose(with_labels.tests, with_dummies.tests, rtol=SOLVE)
    assert list(formula.to_frame().columns) == ["statistic", "pvalue", "set of d1"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1.0, 2.0, 3.0], "a finite number for each of d1, d2"),
        (np.inf, "a finite number"),
        ({"d1": 1.0}, "value needs d1, d2; got d1"),
    ],
)
def test_values_it_refuses(value, words):
    with pytest.raises(InputError, match=words):
        weak_instrument_tests(*TWO.data, value=value)


def test_what_it_needs(monkeypatch):
    with pytest.raises(InputError, match="level"):
        weak_instrument_tests(*ONE.data, level=95)
    with pytest.raises(InputError, match="need more instruments than the 2 endogenous"):
        weak_instrument_tests(*TWO.data[:3], TWO.W[["w1", "w2"]])
    with pytest.raises(InputError, match="2 endogenous regressors need as many instruments"):
        weak_instrument_tests(*TWO.data[:3], TWO.W[["w1"]])
    monkeypatch.setitem(sys.modules, "ivmodels", None)
    with pytest.raises(MissingExtraError, match=r"mlinstruments\[ivmodels\]"):
        weak_instrument_tests(*ONE.data)
