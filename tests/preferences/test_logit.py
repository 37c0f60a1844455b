"""Estimates, covariances and intervals against brute force and statsmodels."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize, stats

from mlinstruments._core.exceptions import AssumptionWarning, InputError, NotIdentifiedError
from mlinstruments.games import HomoMoralis, default_grid
from mlinstruments.games.utility import choice_probabilities
from mlinstruments.preferences import ChoiceData, PreferenceLogit, PreferenceResults
from mlinstruments.preferences.design import Design
from mlinstruments.preferences.identification import is_separated
from mlinstruments.preferences.inference import (
    bootstrap,
    coefficient_covariance,
    delta_covariance,
    fieller,
    reported,
)
from mlinstruments.preferences.likelihood import likelihood, maximise, scores
from mlinstruments.preferences.logit import fit_design
from mlinstruments.preferences.simulate import simulate_choices
from tests.tolerances import DIFFERENCE, NEWTON, OPTIMISER, ROUNDING, SOLVE

GRID = default_grid()


def log(draws: int = 20, subjects: int = 12, seed: int = 0, **theta: float) -> ChoiceData:
    """Choices of a known agent."""
    known = {"scale": 0.08, "kappa": 0.25, "alpha": 0.1, "beta": 0.2, **theta}
    return simulate_choices(GRID, draws=draws, subjects=subjects, random_state=seed, **known)


def redraw(base: ChoiceData, choices: int, seed: int) -> ChoiceData:
    """Counts drawn anew: ``choices`` in each protocol, chances in proportion to counts."""
    rng = np.random.default_rng(seed)
    counts = np.zeros(len(base.count))
    for k in range(len(base.protocols)):
        here = base.protocol == k
        counts[here] = rng.multinomial(choices, base.count[here] / base.count[here].sum())
    return replace(base, count=counts)


def expected(kappa: float = 0.25) -> ChoiceData:
    """Choice probabilities of a known agent."""
    cells = []
    for p in GRID:
        y = np.full(p.n_nodes, 0.5)
        shares = choice_probabilities(p, y, 0.08, kappa)
        cells.append((p, tuple(y), dict(zip(p.strategies, shares, strict=True))))
    return ChoiceData.from_counts(cells)


@pytest.fixture(scope="module")
def data() -> ChoiceData:
    """A log of 12 subjects."""
    return log()


@pytest.fixture(scope="module")
def fit(data: ChoiceData) -> PreferenceResults:
    """Clustered by subject."""
    found: PreferenceResults = PreferenceLogit().fit(data, clusters="subject")
    return found


def by_hand(design: Design, theta: np.ndarray) -> float:
    """Log-likelihood, row by row."""
    total = 0.0
    for c, a, count in zip(design.choice_set, design.action, design.count, strict=True):
        u = design.z[c][design.available[c]] @ theta
        total += count * (design.z[c, a] @ theta - np.log(np.exp(u).sum()))
    return float(total)


# ---- likelihood ---------------------------------------------------------------------------------


def test_likelihood_and_its_derivatives(fit: PreferenceResults) -> None:
    design, theta = fit.design, np.array([0.05, 0.02, 0.01, -0.01])
    here = likelihood(design.z, design.available, design.counts(), theta)
    assert here.value == pytest.approx(by_hand(design, theta))
    step = 1e-6
    for j in range(4):
        e = step * np.eye(4)[j]
        up, down = (
            likelihood(design.z, design.available, design.counts(), theta + s * e) for s in (1, -1)
        )
        slope = (up.value - down.value) / (2 * step)
        assert here.gradient[j] == pytest.approx(slope, rel=DIFFERENCE)
        curvature = (up.gradient - down.gradient) / (2 * step)
        np.testing.assert_allclose(here.hessian[j], curvature, rtol=DIFFERENCE)
    np.testing.assert_allclose(design.count @ scores(design, theta), here.gradient, rtol=ROUNDING)


def test_maximum_against_scipy(fit: PreferenceResults) -> None:
    found = optimize.minimize(
        lambda t: -by_hand(fit.design, t / 50) / 100, np.zeros(4), method="BFGS"
    )
    np.testing.assert_allclose(fit.theta, found.x / 50, rtol=OPTIMISER, atol=1e-6)
    assert fit.loglik >= -100 * found.fun - 1e-6


@pytest.mark.parametrize("start", [None, np.array([0.5, -0.5, 0.3, 0.2]), np.full(4, -1.0)])
def test_maximum_does_not_depend_on_the_start(
    fit: PreferenceResults, start: np.ndarray | None
) -> None:
    design = fit.design
    theta, _ = maximise(design.z, design.available, design.counts(), start)
    np.testing.assert_allclose(theta, fit.theta, rtol=NEWTON)


def test_estimates_are_near_the_truth(fit: PreferenceResults) -> None:
    truth = pd.Series({"lambda": 0.08, "kappa": 0.25, "alpha": 0.1, "beta": 0.2})
    assert (np.abs(fit.params - truth) < 4 * fit.std_errors).all()


@pytest.mark.parametrize("parameters", [(), ("beta",), ("kappa", "beta"), ("alpha", "kappa")])
def test_restricted_fits(data: ChoiceData, parameters: tuple[str, ...]) -> None:
    found = PreferenceLogit(parameters=parameters).fit(data)
    assert found.names == ("lambda", *parameters)
    position = [0] + [1 + ("kappa", "alpha", "beta").index(p) for p in parameters]
    full = data.design(HomoMoralis())
    best = optimize.minimize(
        lambda t: -by_hand(full, np.bincount(position, t / 50, 4)) / 100,
        np.zeros(len(position)),
        method="BFGS",
    )
    assert found.loglik == pytest.approx(-100 * best.fun, abs=1e-5)


# ---- covariances --------------------------------------------------------------------------------


def node_regression(data: ChoiceData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Response, regressors and subject of every single node choice, from the whole strategies."""
    rows = []
    for p, s, count, subject in zip(
        data.protocol, data.strategy, data.count, data.labels["subject"], strict=True
    ):
        protocol = data.protocols[p]
        z = HomoMoralis().regressors(protocol, np.full(protocol.n_nodes, 0.5))
        word = protocol.strategies[s]
        for node in range(protocol.n_nodes):
            pair = [
                protocol.strategies.index(word[:node] + digit + word[node + 1 :]) for digit in "01"
            ]
            row = (int(word[node]), *(z[pair[1]] - z[pair[0]]), subject)
            rows += [row] * int(count)
    table = np.array(rows)
    return table[:, 0], table[:, 1:5], table[:, 5].astype(int)


def test_node_unit_against_statsmodels(data: ChoiceData) -> None:
    found = PreferenceLogit(unit="node").fit(data, clusters="subject")
    y, x, groups = node_regression(data)
    logit = sm.Logit(y, x)
    clustered = logit.fit(disp=0, cov_type="cluster", cov_kwds={"groups": groups})
    assert found.nobs == len(y)
    assert found.loglik == pytest.approx(clustered.llf)
    np.testing.assert_allclose(found.theta, clustered.params, rtol=NEWTON)
    np.testing.assert_allclose(found.theta_cov, clustered.cov_params(), rtol=NEWTON)
    robust = PreferenceLogit(unit="node").fit(data)
    hc1 = logit.fit(disp=0, cov_type="HC1").cov_params()
    hc0 = logit.fit(disp=0, cov_type="HC0").cov_params()
    factor = len(y) / (len(y) - 4)
    np.testing.assert_allclose(robust.theta_cov, hc0 * factor, rtol=NEWTON)
    # statsmodels' HC1 of a likelihood model carries no factor or the same one.
    assert np.allclose(hc1, hc0) or np.allclose(hc1, hc0 * factor)


def test_clustered_covariance_by_brute_force(fit: PreferenceResults) -> None:
    design, theta = fit.design, fit.theta
    here = likelihood(design.z, design.available, design.counts(), theta)
    weighted = scores(design, theta) * design.count[:, None]
    subjects = design.labels["subject"]
    middle = np.zeros((4, 4))
    for subject in np.unique(subjects):
        total = weighted[subjects == subject].sum(axis=0)
        middle += np.outer(total, total)
    n, g = design.n_choices, len(np.unique(subjects))
    bread = np.linalg.inv(here.hessian)
    expected = bread @ middle @ bread * (n - 1) / (n - 4) * g / (g - 1)
    np.testing.assert_allclose(fit.theta_cov, expected, rtol=1e-8)


TWO_WAYS = ("subject", "protocol_id")


def two_way_by_brute_force(fit: PreferenceResults) -> np.ndarray:
    """Sums over subjects and over protocols, less those over both; it may be indefinite."""
    design, m = fit.design, len(fit.names)
    weighted = scores(design, fit.theta) * design.count[:, None]
    subject, protocol = (design.labels[name] for name in TWO_WAYS)
    middle = np.zeros((m, m))
    for sign, keys in ((1, [subject]), (1, [protocol]), (-1, [subject, protocol])):
        sums = pd.DataFrame(weighted).groupby(keys).sum().to_numpy()
        middle += sign * sums.T @ sums
    here = likelihood(design.z, design.available, design.counts(), fit.theta)
    bread = np.linalg.inv(here.hessian)
    n, least = design.n_choices, min(len(np.unique(subject)), len(np.unique(protocol)))
    return np.asarray(bread @ middle @ bread * (n - 1) / (n - m) * least / (least - 1))


def test_two_way_clusters_by_brute_force() -> None:
    found = PreferenceLogit().fit(log(draws=5, seed=3), clusters=TWO_WAYS)
    np.testing.assert_allclose(found.theta_cov, two_way_by_brute_force(found), rtol=SOLVE)


def small_log(seed: int) -> ChoiceData:
    """Four subjects, nine protocols, one choice each: too little for two ways of clustering."""
    return simulate_choices(GRID[::2], scale=0.05, kappa=0.3, subjects=4, random_state=seed)


@pytest.mark.parametrize("names", [("kappa",), ("kappa", "beta"), ("kappa", "alpha", "beta")])
def test_two_way_covariances_are_never_indefinite(names: tuple[str, ...]) -> None:
    indefinite = 0
    for seed in range(8):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = PreferenceLogit(names).fit(small_log(seed), clusters=TWO_WAYS)
        if not found.identification.identified:
            continue
        raw = two_way_by_brute_force(found)
        below = np.linalg.eigvalsh(raw)[0] < 0
        assert any("not positive semi-definite" in str(w.message) for w in caught) == below
        smallest = np.linalg.eigvalsh(found.theta_cov)[0]
        assert smallest > -SOLVE * np.trace(found.theta_cov)
        assert found.std_errors.notna().all()
        if below:  # only added to, in every direction
            added = np.linalg.eigvalsh(found.theta_cov - raw)
            assert added[0] > -SOLVE * added[-1]
            indefinite += 1
        else:
            np.testing.assert_allclose(found.theta_cov, raw, rtol=SOLVE)
    assert indefinite >= 2


@pytest.mark.filterwarnings("ignore:only . clusters")
def test_a_variance_of_nothing_is_no_certainty() -> None:
    """With one coefficient a negative variance has nothing left once it is mended."""
    with pytest.warns(AssumptionWarning, match="not positive semi-definite"):
        found = PreferenceLogit(()).fit(
            simulate_choices(GRID[::4], scale=0.05, kappa=0.3, subjects=4), clusters=TWO_WAYS
        )
    assert found.theta_cov[0, 0] == 0
    assert found.std_errors.isna().all()
    assert found.conf_int().isna().all().all()
    assert "nan" not in str(found)


@pytest.mark.filterwarnings("ignore::mlinstruments._core.exceptions.AssumptionWarning")
def test_no_test_in_a_direction_without_variance() -> None:
    found = PreferenceLogit().fit(small_log(2), clusters=TWO_WAYS)
    values = dict.fromkeys(found.names, 0.0)
    with pytest.raises(InputError, match="cluster one way"):
        found.wald_test(**values)
    with pytest.raises(InputError, match="cluster one way"):
        found.test_equal(found)


def test_the_mended_covariance_does_not_depend_on_units() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AssumptionWarning)
        found = PreferenceLogit().fit(small_log(2), clusters=TWO_WAYS)
        factor = np.array([1.0, 1e4, 1e-3, 1.0])
        other = replace(found.design, z=found.design.z * factor)
        theta = found.theta / factor
        at = likelihood(other.z, other.available, other.counts(), theta)
        again = coefficient_covariance(other, theta, at, found.clusters)
    np.testing.assert_allclose(again * np.outer(factor, factor), found.theta_cov, rtol=SOLVE)


def test_clusters_of_one_choice_are_robust_errors(data: ChoiceData) -> None:
    found = PreferenceLogit().fit(data)
    design = found.design
    rows = np.repeat(np.arange(len(design.count)), design.count.astype(int))
    single = Design(
        design.z, design.available, design.parameters, design.choice_set[rows],
        design.action[rows], np.ones(len(rows)), {}, design.actions,
    )  # fmt: skip
    here = likelihood(design.z, design.available, design.counts(), found.theta)
    clustered = coefficient_covariance(single, found.theta, here, (np.arange(len(rows)),))
    # (n-1)/(n-m) n/(n-1) = n/(n-m)
    np.testing.assert_allclose(clustered, found.theta_cov, rtol=1e-9)


# ---- intervals ----------------------------------------------------------------------------------


def test_delta_covariance_by_numerical_jacobian(fit: PreferenceResults) -> None:
    jacobian = optimize.approx_fprime(fit.theta, reported, 1e-7)
    expected = jacobian @ fit.theta_cov @ jacobian.T
    np.testing.assert_allclose(
        delta_covariance(fit.theta, fit.theta_cov), expected, rtol=1e-4, atol=1e-9
    )
    frame = fit.conf_int(0.9)
    # Twelve subjects: Student's t with 11 degrees of freedom.
    np.testing.assert_allclose(frame["upper"], fit.params + 1.7958848 * fit.std_errors, rtol=1e-6)
    assert fit.to_frame().columns.tolist() == ["parameter", "std_error", "lower", "upper"]


@pytest.mark.parametrize(
    ("theta", "variance", "pieces"),
    [
        ((1.0, 0.3), (0.01, 0.02, 0.003), 1),
        ((0.1, 0.9), (0.01, 0.02, -0.003), 2),
        ((0.1, 0.05), (0.04, 0.09, 0.01), 1),
    ],
)
def test_fieller_is_the_set_of_ratios_not_rejected(
    theta: tuple[float, float], variance: tuple[float, float, float], pieces: int
) -> None:
    covariance = np.array([[variance[0], variance[2]], [variance[2], variance[1]]])
    found = fieller(np.array(theta), covariance, 1, 0.95)
    assert len(found) == pieces
    ratios = np.linspace(-50, 50, 20_001)
    gap = theta[1] - ratios * theta[0]
    spread = variance[1] - 2 * ratios * variance[2] + ratios**2 * variance[0]
    kept = gap**2 <= stats.chi2.ppf(0.95, 1) * spread
    inside = np.any([(low <= ratios) & (ratios <= high) for low, high in found], axis=0)
    # A grid point within 1e-9 of an end may fall on either side.
    near = np.min([np.abs(ratios - e) for pair in found for e in pair], axis=0) < 1e-9
    np.testing.assert_array_equal(kept | near, inside | near)


def test_intervals_without_clusters_are_normal(data: ChoiceData) -> None:
    robust = PreferenceLogit().fit(data)
    assert robust.df == np.inf
    np.testing.assert_allclose(
        robust.conf_int()["lower"], robust.params - 1.959963985 * robust.std_errors, rtol=1e-9
    )
    pieces = fieller(robust.theta, robust.theta_cov, 1, 0.95)
    assert robust.conf_int(method="fieller").loc["kappa"].tolist() == list(pieces[0])


def test_few_clusters_widen_every_interval(data: ChoiceData, fit: PreferenceResults) -> None:
    assert fit.df == 11
    with pytest.warns(AssumptionWarning, match="two-way"):
        both = PreferenceLogit().fit(data, clusters=["subject", "protocol_id"])
    assert both.df == 11
    pieces = fieller(fit.theta, fit.theta_cov, 1, 0.95, df=11)
    assert fit.conf_int(method="fieller").loc["kappa"].tolist() == list(pieces[0])
    # At the ends of Fieller's set theta_1 - r theta_0 is 2.2009852 standard errors from zero.
    for ratio in pieces[0]:
        gap = np.array([-ratio, 1.0, 0.0, 0.0])
        distance = abs(gap @ fit.theta) / np.sqrt(gap @ fit.theta_cov @ gap)
        assert distance == pytest.approx(2.2009852, rel=1e-6)


def test_draws_without_a_maximum_are_missing() -> None:
    """Nearly deterministic choices of six: in some draws some preference explains all of them."""
    design = log(draws=1, subjects=6, scale=2.0, seed=6).design()
    codes = design.cluster_codes(("subject",))[0]
    assert not is_separated(design)
    theta, _ = maximise(design.z, design.available, design.counts())
    found = bootstrap(design, theta, codes, 60, 0)
    drawn = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=60)
    separated = [is_separated(replace(design, count=times[codes] * 1.0)) for times in drawn]
    assert 0 < sum(separated) < 60
    assert np.isnan(found).any(axis=1).tolist() == separated


def test_no_bootstrap_of_two_ways_of_clustering(data: ChoiceData) -> None:
    with pytest.warns(AssumptionWarning, match="two-way"):
        both = PreferenceLogit().fit(data, clusters=["subject", "protocol_id"])
    with pytest.raises(InputError, match=r"one way, .*\(subject, protocol_id\): use method="):
        both.conf_int(method="bootstrap")


def test_fieller_nears_delta_as_the_log_grows() -> None:
    found = PreferenceLogit(parameters=("kappa",)).fit(log(draws=3000, alpha=0, beta=0))
    np.testing.assert_allclose(
        found.conf_int(method="fieller"), found.conf_int(method="delta"), atol=5e-4
    )


def test_bootstrap_by_refitting_resampled_logs(data: ChoiceData, fit: PreferenceResults) -> None:
    draws = 30
    found = fit.conf_int(0.8, method="bootstrap", draws=draws, random_state=5)
    rng = np.random.default_rng(5)
    subjects = data.labels["subject"]
    _, codes = np.unique(subjects, return_inverse=True)
    first = pd.factorize(subjects)[0]
    estimates = []
    for _ in range(draws):
        weights = rng.multinomial(12, np.full(12, 1 / 12))
        again = ChoiceData(
            data.protocols, data.protocol, data.strategy, data.count * weights[first],
            data.beliefs, data.labels, data.excluded,
        )  # fmt: skip
        estimates.append(PreferenceLogit().fit(again).params.to_numpy())
    assert len(np.unique(codes)) == 12
    # Hesterberg's percentiles for twelve subjects: P(Z < -1.3634303 sqrt(12 / 11)), t with 11 df.
    tail = 0.077215058
    assert tail == pytest.approx(stats.norm.cdf(-1.3634303 * np.sqrt(12 / 11)), abs=1e-7)
    expected = np.quantile(estimates, [tail, 1 - tail], axis=0)
    np.testing.assert_allclose(found["lower"], expected[0], rtol=NEWTON, atol=1e-8)
    np.testing.assert_allclose(found["upper"], expected[1], rtol=NEWTON, atol=1e-8)


def test_bootstrap_of_single_choices_is_near_the_delta_interval() -> None:
    found = PreferenceLogit(parameters=("kappa",)).fit(log(draws=10, alpha=0, beta=0))
    wide = found.conf_int(method="bootstrap", draws=400)
    # 400 draws find a 2.5% quantile to about a fifth of a standard error.
    gap = (wide - found.conf_int()).div(found.std_errors, axis=0)
    assert (gap.abs() < 0.5).all().all()


def test_bootstrap_of_single_choices_is_that_of_rows() -> None:
    """Cells are drawn with the chances of their counts: covariance as of rows drawn one by one."""
    data = log(draws=1, subjects=40, alpha=0, beta=0)
    design = data.design(HomoMoralis(("kappa",)))
    theta = maximise(design.z, design.available, design.counts())[0]
    rows = np.arange(len(design.count))
    found, expected = (bootstrap(design, theta, c, 4000, 1) for c in (None, rows))
    # A variance from 4000 draws is known to 2.2%, the ratio of two to 3.2%; four times that.
    ratio = np.nanvar(found, axis=0) / np.nanvar(expected, axis=0)
    np.testing.assert_allclose(ratio, 1, atol=0.13)


def test_bootstrap_draws_without_a_maximum_have_no_estimate() -> None:
    """Few choices of a sure chooser: some draws leave out the one error there is."""
    data = simulate_choices(GRID, scale=0.25, draws=1, random_state=0)
    design = data.design(HomoMoralis(()))
    theta = maximise(design.z, design.available, design.counts())[0]
    found = bootstrap(design, theta, np.arange(len(design.count)), 300, 0)
    rng = np.random.default_rng(0)
    for estimate in found:
        weights = rng.multinomial(len(design.count), np.full(len(design.count), 1 / 18))
        again = replace(design, count=design.count * weights)
        assert np.isnan(estimate).any() == (not fit_design(again).identification.identified)
    assert 0 < np.isnan(found).any(axis=1).sum() < 300


@pytest.mark.parametrize("method", ["delta", "fieller", "bootstrap"])
def test_intervals_cover(method: str) -> None:
    """100 logs, 95% intervals: a coverage of 93% gives fewer hits once in 1e3 (binomial)."""
    base, hits = expected(), 0
    for seed in range(100):
        found = PreferenceLogit(parameters=("kappa",)).fit(redraw(base, 40, seed))
        low, high = found.conf_int(method=method, draws=99).loc["kappa"]
        hits += bool(low <= 0.25 <= high)
    assert hits >= stats.binom.ppf(1e-3, 100, 0.93)


# ---- tests --------------------------------------------------------------------------------------


def test_equality_of_two_agents(fit: PreferenceResults) -> None:
    other = PreferenceLogit().fit(log(seed=9, kappa=0.6), clusters="subject")
    found = fit.test_equal(other, ("kappa", "lambda"))
    gap = (fit.params - other.params)[["kappa", "lambda"]].to_numpy()
    variance = (fit.cov + other.cov).loc[["kappa", "lambda"], ["kappa", "lambda"]].to_numpy()
    assert found.statistic == pytest.approx(gap @ np.linalg.inv(variance) @ gap)
    assert found.pvalue == pytest.approx(stats.chi2.sf(found.statistic, 2))
    assert found.pvalue < 1e-3
    assert found.null == "equal kappa, lambda"
    assert fit.test_equal(other).df == 4
    alone = fit.test_equal(other, ("kappa",)).statistic
    expected = gap[0] ** 2 / variance[0, 0]
    assert alone == pytest.approx(expected)
    assert fit.test_equal(fit).pvalue == 1.0


def test_wald_and_likelihood_ratio_agree_in_a_large_log() -> None:
    made = log(draws=200, kappa=0.02)
    full, less = (PreferenceLogit(parameters=p).fit(made) for p in (("kappa", "beta"), ("beta",)))
    wald, ratio = full.wald_test(kappa=0), full.lr_test(less)
    assert (wald.null, ratio.df) == ("kappa = 0", 1)
    assert wald.statistic == pytest.approx(ratio.statistic, rel=0.1, abs=0.1)
    assert "chi2(1)" in str(wald)


def test_size_of_the_test_of_equality() -> None:
    """100 pairs of like agents, rejected at 5%: more than the binomial bound once in 1e3."""
    base, rejected = expected(), 0
    for seed in range(100):
        one, other = (
            PreferenceLogit(parameters=("kappa",)).fit(redraw(base, 30, 2 * seed + k))
            for k in range(2)
        )
        rejected += one.test_equal(other, ("kappa",)).pvalue < 0.05
    assert rejected <= stats.binom.ppf(0.999, 100, 0.05)


# ---- beliefs and units --------------------------------------------------------------------------


def test_beliefs_of_every_kind() -> None:
    cells = [(p, None, {p.strategies[0]: 3, p.strategies[-1]: 1}) for p in GRID[:1] + GRID[6:7]]
    made = ChoiceData.from_counts(cells)
    spd = made.protocol == 0
    np.testing.assert_array_equal(made.resolved_beliefs("uniform")[spd], 0.5)
    np.testing.assert_array_equal(made.resolved_beliefs("empirical")[spd], 0.25)
    np.testing.assert_array_equal(made.resolved_beliefs("self")[spd], [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(made.resolved_beliefs("subgame_perfect")[spd], 0)
    given = made.resolved_beliefs({"spd": (0.1, 0.2, 0.3), GRID[6].id: (0.4, 0.6)})
    np.testing.assert_array_equal(given[spd], [[0.1, 0.2, 0.3]] * 2)
    np.testing.assert_array_equal(given[~spd], [[0.4, 0.6, np.nan]] * 2)
    with pytest.raises(InputError, match="the log has no beliefs"):
        made.resolved_beliefs("elicited")


def test_empirical_beliefs_after_a_selection(data: ChoiceData) -> None:
    """Protocols nobody of the selection played stay in the list and must do no harm."""
    kept = data.select(protocol_id=GRID[0].id)
    assert np.isfinite(kept.resolved_beliefs("empirical")).all()


def test_node_design_has_a_choice_at_every_node() -> None:
    made = ChoiceData.from_counts(
        [(GRID[0], (0.5, 0.5, 0.5), {"011": 2}), (GRID[6], (0.5, 0.5), {"10": 3})]
    )
    design = made.design(unit="node")
    assert design.n_choices == 2 * 3 + 3 * 2
    seen = {
        (design.actions[c], int(a)): n
        for c, a, n in zip(design.choice_set, design.action, design.count, strict=True)
    }
    assert seen == {
        (("011", "111"), 0): 2, (("001", "011"), 1): 2, (("010", "011"), 1): 2,
        (("00", "10"), 1): 3, (("10", "11"), 0): 3,
    }  # fmt: skip


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parameters": ("kapa",)}, "Did you mean 'kappa'"),
        ({"unit": "nodes"}, "unit must be one of"),
        ({"beliefs": "elicitated"}, "beliefs must be one of"),
        ({"n_types": 0}, "n_types must be a whole number"),
        ({"beliefs": {"spd": (0.5, 0.5)}}, "must be 3 probabilities"),
        ({"beliefs": {"tg": (0.5, 0.5)}}, "names neither protocol"),
    ],
)
def test_options_that_cannot_be(data: ChoiceData, options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        PreferenceLogit(**options).fit(data)  # type: ignore[arg-type]


def test_clusters_that_cannot_be(data: ChoiceData) -> None:
    with pytest.raises(InputError, match="no column 'village' to cluster by"):
        PreferenceLogit().fit(data, clusters="village")
    with pytest.raises(InputError, match="there is one cluster"):
        PreferenceLogit().fit(data.select(subject=1), clusters="subject")
    few = ChoiceData.from_counts(
        [(p, (0.5,) * p.n_nodes, dict.fromkeys(p.strategies, 2)) for p in GRID[::2]]
    )
    with pytest.warns(AssumptionWarning, match="only 9 clusters"):
        PreferenceLogit().fit(few, clusters="protocol_id")


def test_data_of_another_kind() -> None:
    with pytest.raises(InputError, match="fit takes ChoiceData; got DataFrame"):
        PreferenceLogit().fit(pd.DataFrame())  # type: ignore[arg-type]


def test_questions_that_have_no_answer(data: ChoiceData, fit: PreferenceResults) -> None:
    with pytest.raises(InputError, match="level must lie"):
        fit.conf_int(95)
    with pytest.raises(InputError, match="method must be one of"):
        fit.conf_int(method="wald")
    with pytest.raises(InputError, match="'gamma' is not estimated"):
        fit.test_equal(fit, ("gamma",))
    with pytest.raises(InputError, match="fewer parameters"):
        fit.lr_test(fit)
    with pytest.raises(InputError, match="name parameters among"):
        fit.wald_test()
    alone = PreferenceLogit().fit(data.select(protocol_id=GRID[0].id))
    with pytest.raises(NotIdentifiedError, match="no test"):
        fit.test_equal(alone)
    with pytest.raises(NotIdentifiedError, match="no test"):
        alone.lr_test(PreferenceLogit(()).fit(data.select(protocol_id=GRID[0].id)))


def test_probabilities_are_counts_but_cannot_be_drawn_one_by_one() -> None:
    rows = []
    for p, s in product(GRID, range(8)):
        if s < len(p.strategies):
            share = (1 + s) / sum(range(1, 1 + len(p.strategies)))
            rows.append({
                "protocol_id": p.id, "game": p.game, "T": p.T, "R": p.R, "P": p.P, "S": p.S,
                "strategy": p.strategies[s], "probability": share,
                **{f"belief_{j}": 0.5 for j in (1, 2, 3)},
            })  # fmt: skip
    found = PreferenceLogit(parameters=()).fit(ChoiceData.from_frame(pd.DataFrame(rows)))
    assert found.nobs == pytest.approx(18)
    if found.identification.identified:
        with pytest.raises(InputError, match="cannot be drawn one by one"):
            found.conf_int(method="bootstrap")


def test_reading_of_a_fit(fit: PreferenceResults) -> None:
    text = str(fit)
    for word in ("kappa", "Log-likelihood", "rank 4 of 4", "clustered: subject 12"):
        assert word in text
    assert repr(fit) == text
    assert "<table>" in fit._repr_html_()
    assert r"\toprule" in fit.as_latex()
