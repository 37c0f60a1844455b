"""The designs hold what their descriptions promise, by their moments in large samples."""

import dataclasses
import pickle

import numpy as np
import pytest

from mlinstruments import OLS, TSLS
from mlinstruments._core.exceptions import InputError
from mlinstruments.simulation import designs

LARGE = 200_000
DESIGNS = {
    "nonlinear": designs.nonlinear(LARGE),
    "nonlinear, half signal": designs.nonlinear(LARGE, signal=0.5),
    "spurious": designs.spurious(LARGE, strength=0.5),
    "homoskedastic": designs.many_weak(LARGE, concentration=0.1 * LARGE),
    "heteroskedastic": designs.many_weak(
        LARGE, concentration=0.1 * LARGE, errors="heteroskedastic"
    ),
    "sign": designs.many_weak(LARGE, concentration=0.1 * LARGE, errors="sign", q=8),
    "linear": designs.many_weak(LARGE, concentration=0.1 * LARGE, linear=True),
}


def draw(name):
    return DESIGNS[name].draw(np.random.default_rng(20261123))


def errors(sample):
    return sample.y - sample.truth * sample.D, sample.D - sample.oracle


@pytest.mark.parametrize("name", DESIGNS)
def test_shapes_and_constant(name):
    sample = draw(name)
    assert sample.y.shape == sample.D.shape == sample.oracle.shape == (LARGE,)
    assert sample.W.shape[0] == sample.X.shape[0] == DESIGNS[name].n == LARGE
    assert (sample.X[:, 0] == 1).all()
    assert sample.truth == DESIGNS[name].truth


@pytest.mark.parametrize("name", DESIGNS)
def test_errors_have_mean_zero_in_bins_of_every_instrument(name):
    sample = draw(name)
    structural, first = errors(sample)
    if name == "spurious":  # X enters the first stage; it is independent of W
        first = first - (sample.X[:, 1] ** 2 - 1)
    for w in sample.W.T:
        bins = np.searchsorted(np.quantile(w, np.linspace(0.1, 0.9, 9)), w)
        for error in (structural, first):
            for b in range(10):
                inside = error[bins == b]
                # 4.5 standard errors: about 1e-5 for each of some 400 means
                assert abs(inside.mean()) < 4.5 * inside.std() / np.sqrt(len(inside))


@pytest.mark.parametrize("name", DESIGNS)
def test_oracle_instrument_recovers_the_truth(name):
    sample = draw(name)
    res = TSLS().fit(sample.y, sample.X, sample.D, sample.oracle)
    assert abs(res.params["endog"] - sample.truth) < 4 * res.std_errors["endog"]
    assert res.std_errors["endog"] < 0.02


@pytest.mark.parametrize("name", ["nonlinear", "homoskedastic", "heteroskedastic", "sign"])
def test_no_instrument_is_linearly_relevant(name):
    sample = draw(name)
    correlations = np.corrcoef(sample.W.T, sample.D)[-1, :-1]
    assert np.abs(correlations).max() < 4.5 / np.sqrt(LARGE)


def test_ols_bias_of_nonlinear():
    sample = draw("nonlinear")
    bias = OLS().fit(sample.y, sample.X, sample.D, sample.W).params["endog"] - 1
    # cov(U, V) / var(D) = .7 / (1 + 2 x .16)
    assert bias == pytest.approx(0.7 / 1.32, abs=0.005)


def test_nonlinear_error_correlation_and_signal():
    for name, signal in (("nonlinear", 1.0), ("nonlinear, half signal", 0.5)):
        sample = draw(name)
        assert np.corrcoef(*errors(sample))[0, 1] == pytest.approx(0.7, abs=0.005)
        assert sample.oracle.var() == pytest.approx(0.32 * signal**2, rel=0.01)


def test_spurious_covariate_is_uncorrelated_but_not_independent():
    sample = draw("spurious")
    structural, _ = errors(sample)
    x = sample.X[:, 1]
    assert abs(np.mean(x * structural)) < 0.02
    assert np.mean((x**2 - 1) * structural) == pytest.approx(np.sqrt(2), abs=0.05)
    assert sample.oracle.std() == pytest.approx(0.5, abs=0.01)
    # An instrument made of X^2 would be biased by E[(X^2-1) U] / E[(X^2-1) D] = sqrt2 / 2.
    res = TSLS().fit(sample.y, sample.X, sample.D, x**2)
    assert res.params["endog"] == pytest.approx(1 / np.sqrt(2), abs=0.02)


@pytest.mark.parametrize("kind", designs.ERRORS)
def test_many_weak_errors(kind):
    sample = draw(kind)
    structural, first = errors(sample)
    positive = sample.W[:, 0] > 0
    side = -1 if kind == "sign" else 1
    above = np.corrcoef(structural[positive], first[positive])[0, 1]
    below = np.corrcoef(structural[~positive], first[~positive])[0, 1]
    assert above == pytest.approx(0.95, abs=0.005)
    assert below == pytest.approx(side * 0.95, abs=0.005)
    assert structural.var() == pytest.approx(1, abs=0.02)
    assert first.var() == pytest.approx(1, abs=0.02)
    ratio = structural[positive].std() / structural[~positive].std()
    assert (ratio > 1.5) == (kind == "heteroskedastic")
    assert sample.oracle.var() == pytest.approx(0.1, rel=0.02)


def test_a_linear_first_stage_is_the_sum_of_three_instruments():
    sample = draw("linear")
    correlations = np.corrcoef(sample.W.T, sample.oracle)[-1, :-1]
    np.testing.assert_allclose(correlations, [3**-0.5] * 3 + [0, 0], atol=0.01)
    assert sample.oracle.var() == pytest.approx(0.1, rel=0.02)


def test_many_weak_without_concentration_has_no_first_stage():
    sample = designs.many_weak().draw(np.random.default_rng(0))
    assert (sample.oracle == 0).all()
    assert sample.y.shape == (500,)


@pytest.mark.parametrize("name", DESIGNS)
def test_designs_are_frozen_reproducible_and_pickle(name):
    small = dataclasses.replace(DESIGNS[name], name="renamed")
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.n = 3
    again = pickle.loads(pickle.dumps(DESIGNS[name]))
    np.testing.assert_array_equal(
        again.draw(np.random.default_rng(1)).y, DESIGNS[name].draw(np.random.default_rng(1)).y
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: designs.nonlinear(n=0), "n "),
        (lambda: designs.spurious(n=-1), "n "),
        (lambda: designs.many_weak(q=2), "q "),
        (lambda: designs.many_weak(errors="odd"), "errors"),
        (lambda: designs.many_weak(correlation=1.5), "correlation"),
        (lambda: designs.many_weak(concentration=-1.0), "concentration"),
        (lambda: designs.many_weak(concentration=float("nan")), "concentration"),
    ],
)
def test_bad_settings_say_what_is_wrong(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_design_says_what_it_is():
    design = designs.many_weak(n=300, concentration=20, errors="sign")
    assert design.name == (
        "many_weak(n=300, concentration=20, errors='sign', correlation=0.95, q=5, linear=False)"
    )
    assert design.description.endswith(".")
