"""The designs hold what their descriptions promise, by their moments in large samples."""

import dataclasses
import pickle

import numpy as np
import pytest

from mlinstruments import OLS, TSLS
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import residuals
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
    "normal": designs.many_normal(LARGE, concentration=0.1 * LARGE, q=8),
    "variance": designs.heteroskedastic(LARGE),
    "controls": designs.many_controls(LARGE, p=6, q=4),
    "clustered": designs.clustered(LARGE // 20, 20),
    "appellate": designs.appellate(20, 100, 1000, 10),
}


def draw(name):
    return DESIGNS[name].draw(np.random.default_rng(20261123))


def errors(sample):
    return sample.y - sample.truth * sample.D, sample.D - sample.oracle


def given_exog(sample):
    """Both errors once the covariates' linear part is taken out."""
    return (residuals(error, sample.X) for error in errors(sample))


@pytest.mark.parametrize("name", DESIGNS)
def test_shapes_and_constant(name):
    sample = draw(name)
    assert sample.y.shape == sample.D.shape == sample.oracle.shape == (LARGE,)
    assert sample.W.shape[0] == sample.X.shape[0] == DESIGNS[name].n == LARGE
    assert (sample.X[:, 0] == 1).all()
    assert np.linalg.matrix_rank(sample.X) == sample.X.shape[1]
    assert sample.truth == DESIGNS[name].truth


@pytest.mark.parametrize("name", DESIGNS)
def test_errors_have_mean_zero_in_bins_of_every_instrument(name):
    sample = draw(name)
    structural, first = given_exog(sample)
    if name == "spurious":  # X enters the first stage; it is independent of W
        first = errors(sample)[1] - (sample.X[:, 1] ** 2 - 1)
    rows = np.arange(LARGE) if sample.clusters is None else sample.clusters
    for w in sample.W.T:
        bins = np.unique(
            np.searchsorted(np.quantile(w, np.linspace(0.1, 0.9, 9)), w), return_inverse=True
        )[1]
        for error in (structural, first):
            for b in range(bins.max() + 1):
                inside = error * (bins == b)
                spread = np.sqrt((np.bincount(rows, inside) ** 2).sum())
                # 4.5 standard errors: about 1e-5 for each of some 600 means
                assert abs(inside.sum()) < 4.5 * spread


@pytest.mark.parametrize("name", DESIGNS)
def test_oracle_instrument_recovers_the_truth(name):
    sample = draw(name)
    clusters = sample.clusters
    res = TSLS().fit(sample.y, sample.X, sample.D, sample.oracle, clusters=clusters)
    assert abs(res.params["endog"] - sample.truth) < 4 * res.std_errors["endog"]
    assert res.std_errors["endog"] < (0.04 if name == "appellate" else 0.02)  # D is binary there
    assert res.first_stage.f["endog"] > 1000


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


def test_many_normal_instruments_are_equally_strong():
    sample = draw("normal")
    structural, first = errors(sample)
    assert np.corrcoef(structural, first)[0, 1] == pytest.approx(0.95, abs=0.002)
    np.testing.assert_allclose(np.cov(sample.W.T), np.eye(8), atol=0.02)
    np.testing.assert_allclose(np.corrcoef(sample.W.T, sample.oracle)[-1, :-1], 8**-0.5, atol=0.01)
    assert sample.oracle.var() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("concentration", [0.0, 20.0, 200.0])
def test_concentration_is_what_the_first_stage_f_says(concentration):
    design = designs.many_normal(1000, concentration)
    found = []
    for seed in range(60):
        sample = design.draw(np.random.default_rng(seed))
        res = TSLS().fit(sample.y, sample.X, sample.D, sample.W, cov_type="unadjusted")
        found.append(20 * res.first_stage.f["endog"])
    # q F is about non-central chi2(20): mean 20 + mu2, variance 40 + 4 mu2; four standard errors
    error = np.sqrt((40 + 4 * concentration) / 60)
    assert abs(np.mean(found) - 20 - concentration) < 4 * error


def test_heteroskedastic_variance_is_exponential_in_the_instrument():
    sample = draw("variance")
    structural, _ = errors(sample)
    w, x = sample.W[:, 0], sample.X[:, 1]
    for centre in (-1.5, 0.0, 1.5):
        near = np.abs(w - centre) < 0.05
        assert structural[near].var() == pytest.approx(np.exp(1.2 * centre), rel=0.05)
        assert x[near].mean() == pytest.approx(centre**2 - 4 / 3, abs=0.08)
    first = sample.D - sample.oracle - 0.7 * x
    assert first.var() == pytest.approx(1, abs=0.02)
    at_zero = np.abs(w) < 0.1
    assert np.corrcoef(structural[at_zero], first[at_zero])[0, 1] == pytest.approx(0.6, abs=0.03)
    flat = designs.heteroskedastic(LARGE, slope=0.0).draw(np.random.default_rng(0))
    assert errors(flat)[0].var() == pytest.approx(1, abs=0.02)


def sd_with(design, instruments, draws=400):
    """Standard deviation of just-identified estimates with instruments made of a sample."""
    found = []
    for seed in range(draws):
        sample = design.draw(np.random.default_rng(seed))
        both = np.column_stack([sample.X, sample.D])
        Z = instruments(sample)
        found.append(np.linalg.solve(Z.T @ both, Z.T @ sample.y)[-1])
    return np.std(found)


def test_heteroskedastic_optimal_instruments_beat_f_and_f_beats_a_line():
    """Chamberlain's instruments, known here: E[T | W] / s2(W) + A (X - E[X | W])."""

    def line(s):
        return np.column_stack([s.X, s.W])

    def oracle(s):
        return np.column_stack([s.X, s.oracle])

    def optimal(s):
        w = s.W[:, 0]
        mean = w**2 - 4 / 3
        T = np.column_stack([np.ones_like(w), mean, s.oracle + 0.7 * mean])
        # A = E[T X0'] / E[U^2 X0^2]: of (1, X, D), with E[X0^2] = E[exp(.6 W)]
        A = np.array([0.0, 1.0, 0.7]) * (np.sinh(1.2) / 1.2) / (np.sinh(3.6) / 3.6)
        return T / np.exp(1.2 * w)[:, None] + np.outer(s.X[:, 1] - mean, A)

    design = designs.heteroskedastic(1000)
    linear, f, best = (sd_with(design, z) for z in (line, oracle, optimal))
    # Sandwich formula at the population for f: the root of E[z^2 U^2] / n over E[z D].
    sample = draw("variance")
    z = residuals(sample.oracle, sample.X)
    U = residuals(errors(sample)[0], sample.X)
    expected = np.sqrt((z**2 @ U**2) / LARGE / 1000) / (z @ sample.D / LARGE)
    assert f == pytest.approx(expected, rel=4 / np.sqrt(2 * 400))  # four standard errors
    assert best < 0.85 * f < 0.85 * 0.7 * linear


def test_many_controls_has_the_covariance_of_its_formulas():
    sample = draw("controls")
    p, q = 6, 4
    j = np.arange(1.0, p + 1)
    b, d = 1 / j**2, 1 / j[:q] ** 2
    S = 0.5 ** np.abs(j[:, None] - j)
    # Everything is linear in (X, what is new in W, U, V).
    base = np.zeros((p + q + 2, p + q + 2))
    base[:p, :p] = S
    base[p : p + q, p : p + q] = 0.25 * np.eye(q)
    base[-2:, -2:] = [[1, 0.6], [0.6, 1]]
    W = np.hstack([np.eye(q, p), np.eye(q), np.zeros((q, 2))])
    D = np.concatenate([b, np.zeros(q), [0, 1]]) + d @ W
    y = D + np.concatenate([b, np.zeros(q), [1, 0]])
    rows = np.vstack([y, D, np.eye(p, p + q + 2), W])
    expected = rows @ base @ rows.T
    found = np.cov(np.column_stack([sample.y, sample.D, sample.X[:, 1:], sample.W]).T)
    # An entry has standard error sqrt((s_ii s_jj + s_ij^2) / n); five of them for each of 78.
    errors_of = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / LARGE)
    assert (np.abs(found - expected) < 5 * errors_of).all()


def test_many_controls_is_doubleml_s():
    """Opt-in: runs where DoubleML is installed."""
    doubleml = pytest.importorskip("doubleml.plm.datasets")
    np.random.seed(1)  # noqa: NPY002 - DoubleML draws from the global state
    x, y, d, z = doubleml.make_pliv_CHS2015(
        40_000, alpha=0.5, dim_x=6, dim_z=4, return_type="array"
    )
    theirs = np.cov(np.column_stack([y, d, x, z]).T)
    sample = designs.many_controls(40_000, p=6, q=4, truth=0.5).draw(np.random.default_rng(2))
    ours = np.cov(np.column_stack([sample.y, sample.D, sample.X[:, 1:], sample.W]).T)
    error = np.sqrt(2 * (np.outer(np.diag(ours), np.diag(ours)) + ours**2) / 40_000)
    assert (np.abs(ours - theirs) < 5 * error).all()


def test_errors_of_groups_are_correlated_and_instruments_are_theirs():
    sample = draw("clustered")
    sizes = np.bincount(sample.clusters)
    assert set(sizes) == {10, 30}
    first = np.unique(sample.clusters, return_index=True)[1]
    np.testing.assert_array_equal(sample.W, np.repeat(sample.W[first], sizes, axis=0))
    pairs = first[:, None] + [0, 1]
    for error in errors(sample):
        assert error.var() == pytest.approx(1, abs=0.02)
        assert np.corrcoef(*error[pairs].T)[0, 1] == pytest.approx(0.3, abs=0.04)
    structural, v = errors(sample)
    assert np.corrcoef(structural, v)[0, 1] == pytest.approx(0.7, abs=0.01)


def test_robust_errors_that_ignore_groups_are_too_small():
    sample = draw("clustered")
    data = (sample.y, sample.X, sample.D, sample.oracle)
    naive = TSLS().fit(*data).std_errors["endog"]
    grouped = TSLS().fit(*data, clusters=sample.clusters).std_errors["endog"]
    # z is constant in groups: 1 + .3 (E[m^2] / E[m] - 1) with groups of m = 10 or 30
    assert (grouped / naive) ** 2 == pytest.approx(1 + 0.3 * (500 / 20 - 1), rel=0.06)


@pytest.mark.slow
def test_panels_are_three_judges_drawn_at_random_within_circuits():
    sample = draw("appellate")
    counts, experience = sample.W[:, :4], sample.W[:, 4]
    assert set(np.unique(counts)) == {0.0, 1.0, 2.0, 3.0}
    assert 0 < experience.min() < experience.max() < 1
    assert set(sample.D) == {0.0, 1.0}
    assert len(np.unique(sample.clusters)) == 20 * 100
    assert (np.bincount(sample.clusters) == 100).all()
    # Cases of a panel share everything about it.
    panels = sample.W.reshape(-1, 10, 5)
    assert (panels == panels[:, :1]).all()
    assert len(np.unique(panels[:1000, 0], axis=0)) > 200  # of 455 panels of three from 15
    # The chance of a reversal is the oracle's plus effects of circuit and year, given X.
    for low, high in ((-0.24, -0.1), (-0.1, 0.1), (0.1, 0.24)):
        some = (sample.oracle > low) & (sample.oracle <= high)
        gap = residuals(sample.D - sample.oracle, sample.X)[some].mean()
        assert abs(gap) < 4.5 * 0.5 / np.sqrt(some.sum())
    lines = residuals(sample.oracle, np.column_stack([sample.X, sample.W]))
    assert lines.var() > 0.8 * residuals(sample.oracle, sample.X).var()


def test_sentences_are_correlated_with_reversals_beyond_their_effect():
    sample = draw("appellate")
    found = OLS().fit(sample.y, sample.X, sample.D, sample.W).params["endog"]
    assert found > sample.truth + 0.5


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
        (lambda: designs.many_normal(q=0), "q "),
        (lambda: designs.many_normal(correlation=-2), "correlation"),
        (lambda: designs.many_normal(concentration=float("inf")), "concentration"),
        (lambda: designs.heteroskedastic(n=0), "n "),
        (lambda: designs.many_controls(p=3, q=4), "q must be at most p"),
        (lambda: designs.clustered(groups=1), "groups"),
        (lambda: designs.clustered(size=1), "size"),
        (lambda: designs.clustered(share=1.1), "share"),
        (lambda: designs.appellate(panels=5), "panels"),
        (lambda: designs.appellate(strength=2.0), "strength"),
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
