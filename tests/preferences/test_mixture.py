"""Finite mixtures: real people, known types, invariances, derivatives, types without numbers."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from mlinstruments._core.exceptions import AssumptionWarning, InputError
from mlinstruments.preferences import AllocationChoices, PreferenceLogit
from mlinstruments.preferences.design import Design
from mlinstruments.preferences.mixture import fit_mixture
from mlinstruments.preferences.mixture_likelihood import (
    Types,
    derivatives,
    expectation,
    observed_scores,
    subject_counts,
)
from mlinstruments.preferences.mixture_search import climb, em, random_starts
from tests.tolerances import DIFFERENCE, MIXTURE, ROUNDING, SOLVE

from .people import bruhin_fehr_schunk, grid_sets, permuted, printed, scaled, simulate

SECONDS_FOR_THREE_TYPES = 20.0

# Two types, on 40 and 60 percent of subjects.
SELFISH = scaled(0.15, 0.0, 0.05, 0.0)
MORAL = scaled(0.08, 0.6, 0.1, 0.3)


@pytest.fixture(scope="module")
def two_types() -> Design:
    return simulate(grid_sets(), [SELFISH] * 80 + [MORAL] * 120, draws=2, seed=1)


@pytest.fixture(scope="module")
def real() -> AllocationChoices:
    return bruhin_fehr_schunk()


# ---- real people --------------------------------------------------------------------------------


def test_one_type_reproduces_the_published_table(real):
    fit = fit_mixture(real.design(), 1, subject="sid")
    assert (fit.n_subjects, fit.nobs) == (160, 18720)
    assert fit.loglik == pytest.approx(-5472.314188, abs=5e-7)
    names = ["alpha", "beta", "gamma", "delta", "lambda"]
    # Half a unit of the last printed digit.
    expected = [0.083453, 0.260540, 0.071724, -0.041688, 0.015574]
    errors = [0.014809, 0.018787, 0.013506, 0.011308, 0.000736]
    np.testing.assert_allclose(fit.params.loc[1, names], expected, atol=5.1e-7)
    np.testing.assert_allclose(fit.std_errors.loc[1, names], errors, atol=5.1e-7)


def test_two_types_pass_the_published_local_optimum(real):
    fit = PreferenceLogit(n_types=2).fit(real, clusters="sid")
    assert fit.loglik == pytest.approx(-4807.943905, abs=5e-6)
    assert fit.n_starts == 30
    assert fit.n_starts_best >= 3
    assert np.isclose(fit.local_optima["loglik"], -4920.7627, atol=1e-3).any()
    np.testing.assert_allclose(fit.shares, [0.5082, 0.4918], atol=5e-5)


def test_three_types_their_criteria_and_time(real):
    design = real.design()
    began = time.process_time()
    fit = fit_mixture(design, 3, 30, 0, "sid")
    assert time.process_time() - began < SECONDS_FOR_THREE_TYPES
    assert fit.loglik == pytest.approx(-4202.708154, abs=5e-6)
    np.testing.assert_allclose(fit.shares, [0.4739, 0.4048, 0.1213], atol=5e-5)
    tau = fit.posteriors.to_numpy()
    entropy = -sum(p * np.log(p) for p in tau.ravel() if p > 0)
    # 3 x 5 coefficients and 2 shares.
    assert fit.aic == pytest.approx(2 * 17 + 2 * 4202.708154)
    assert fit.bic == pytest.approx(17 * np.log(160) + 2 * 4202.708154)
    assert fit.entropy == pytest.approx(entropy)
    assert fit.icl == pytest.approx(fit.bic + 2 * entropy)
    assert fit.nec == pytest.approx(entropy / (5472.314188 - 4202.708154))


# ---- known types --------------------------------------------------------------------------------


def test_recovers_types_and_shares(two_types):
    fit = fit_mixture(two_types, 2)
    truth = np.array([[0.08, 0.6, 0.1, 0.3], [0.15, 0.0, 0.05, 0.0]])
    z = (fit.params.to_numpy() - truth) / fit.std_errors.to_numpy()
    assert np.abs(z).max() < 3.5  # eight normal deviates: exceeded once in 270 seeds
    share_z = (fit.shares - [0.6, 0.4]) / fit.share_std_errors
    assert np.abs(share_z).max() < 3.5
    who = fit.posteriors.to_numpy().argmax(axis=1)
    assert (who == np.repeat([1, 0], [80, 120])).mean() > 0.9
    assert fit.posteriors.index.tolist() == list(range(200))


@pytest.mark.slow
def test_standard_errors_match_the_spread_of_estimates():
    found, errors = [], []
    sets = grid_sets(("kappa",))
    for seed in range(60):
        kind = np.random.default_rng(seed).random(60) < 0.4
        thetas = [scaled(0.15, 0.0) if k else scaled(0.15, 0.8) for k in kind]
        fit = fit_mixture(simulate(sets, thetas, draws=2, seed=seed), 2, n_starts=6)
        found.append([*fit.params["kappa"], fit.shares[1]])
        errors.append([*fit.std_errors["kappa"], fit.share_std_errors[1]])
    kept = np.array(found)[:, 0] > 0.4  # the larger share is that of kappa = 0.8 in most draws
    spread = np.array(found)[kept].std(axis=0, ddof=1)
    ratio = np.median(np.array(errors)[kept], axis=0) / spread
    # A standard deviation from 40 or more draws has relative error 1 / sqrt(80) = 0.11; thrice it.
    # Shares are cut off at one half by the sorting, which narrows their spread.
    assert kept.sum() >= 40
    np.testing.assert_allclose(ratio[:2], 1.0, atol=0.35)
    assert 0.65 < ratio[2] < 1.6


def test_one_type_is_preference_logit(two_types):
    one = fit_mixture(two_types, 1)
    fit = PreferenceLogit().fit(AllocationChoices(two_types), clusters="subject")
    np.testing.assert_allclose(one.params.loc[1], fit.params, rtol=MIXTURE)
    np.testing.assert_allclose(one.std_errors.loc[1], fit.std_errors, rtol=MIXTURE)
    assert one.loglik == pytest.approx(fit.loglik, rel=1e-12)
    assert (one.entropy, one.nec) == (0.0, 1.0)


# ---- invariances --------------------------------------------------------------------------------


def _assert_same(a, b, errors: bool = True):
    np.testing.assert_allclose(a.params, b.params, rtol=MIXTURE, atol=MIXTURE)
    np.testing.assert_allclose(a.shares, b.shares, rtol=MIXTURE)
    if errors:
        np.testing.assert_allclose(a.std_errors, b.std_errors, rtol=10 * MIXTURE)


def test_order_of_rows_and_names_of_subjects_do_not_matter(two_types):
    fit = fit_mixture(two_types, 2)
    named = np.array([f"s{s}" for s in two_types.labels["subject"]])
    other = fit_mixture(permuted(replace(two_types, labels={"id": named})), 2, subject="id")
    _assert_same(fit, other)
    assert other.loglik == pytest.approx(fit.loglik, rel=1e-12)
    np.testing.assert_allclose(other.posteriors.loc["s7"], fit.posteriors.loc[7], atol=MIXTURE)


def test_units_of_payoffs_only_change_the_scale(two_types):
    fit = fit_mixture(two_types, 2)
    other = fit_mixture(replace(two_types, z=two_types.z * 1000), 2)
    assert other.loglik == pytest.approx(fit.loglik, rel=1e-12)
    np.testing.assert_allclose(other.params["lambda"] * 1000, fit.params["lambda"], rtol=MIXTURE)
    np.testing.assert_allclose(other.params["kappa"], fit.params["kappa"], atol=MIXTURE)


THIRD = scaled(0.2, 0.3, 0.0, 0.5)
ORDERS = list(permutations(range(3)))


@pytest.fixture(scope="module")
def three_types() -> Design:
    return simulate(grid_sets(), [SELFISH] * 60 + [MORAL] * 90 + [THIRD] * 40, draws=2, seed=2)


def _in_order(types: Types, order: tuple[int, ...]) -> Types:
    return Types(types.theta[list(order)], types.log_shares[list(order)])


@pytest.mark.parametrize("order", ORDERS)
def test_likelihood_and_posteriors_permute_with_types(three_types, order):
    data = subject_counts(three_types, "subject")
    theta = np.random.default_rng(0).normal(size=(3, 4))
    types = Types(theta, np.log([0.5, 0.3, 0.2]))
    value, tau = expectation(data, types)
    other, moved = expectation(data, _in_order(types, order))
    assert other == pytest.approx(value, rel=ROUNDING)
    np.testing.assert_allclose(moved, tau[:, order], rtol=SOLVE, atol=ROUNDING)
    # Gradients in theta are those of the same types; in shares a last type is always the base.
    one, two = (
        derivatives(data, at, expectation(data, at)[1])[0][:12].reshape(3, 4)
        for at in (types, _in_order(types, order))
    )
    np.testing.assert_allclose(two, one[list(order)], rtol=SOLVE, atol=SOLVE)


@pytest.mark.parametrize("order", ORDERS[1:])
def test_starts_with_types_in_another_order_end_in_the_same_fit(three_types, order, monkeypatch):
    """Estimates, errors, log-likelihood, posteriors and what the search found, sorted by share."""
    fit = fit_mixture(three_types, 3, 6)
    search = "mlinstruments.preferences.mixture_search.random_starts"
    monkeypatch.setattr(
        search, lambda *args: [_in_order(start, order) for start in random_starts(*args)]
    )
    other = fit_mixture(three_types, 3, 6)
    assert fit.shares.is_monotonic_decreasing
    assert other.loglik == pytest.approx(fit.loglik, rel=ROUNDING)
    _assert_same(fit, other)
    np.testing.assert_allclose(other.share_std_errors, fit.share_std_errors, rtol=10 * MIXTURE)
    np.testing.assert_allclose(other.posteriors, fit.posteriors, atol=MIXTURE)
    np.testing.assert_allclose(other.local_optima, fit.local_optima, rtol=10 * MIXTURE)
    for criterion in ("aic", "bic", "icl", "nec"):
        assert getattr(other, criterion) == pytest.approx(getattr(fit, criterion), rel=MIXTURE)
    assert [r.rank for r in other.identifications] == [r.rank for r in fit.identifications]


def test_labels_posteriors_and_estimates_belong_together(three_types):
    """Type 1 has the largest share, and its posteriors are highest where its parameters fit."""
    fit = fit_mixture(three_types, 3, 6)
    kinds = np.repeat([SELFISH, MORAL, THIRD], [60, 90, 40], axis=0)  # of every subject
    for k in fit.shares.index:
        members = fit.posteriors[k].to_numpy() > 0.9
        true = kinds[members].mean(axis=0)
        assert fit.shares[k] == pytest.approx(fit.posteriors[k].mean(), abs=MIXTURE)
        error = fit.params.loc[k, "kappa"] - true[1] / true[0]
        assert np.abs(error) < 4 * fit.std_errors.loc[k, "kappa"]  # once in 5,000 seeds


@pytest.mark.parametrize("m", [2, 5])
def test_subjects_copied_leave_estimates_alone(two_types, m):
    fit = fit_mixture(two_types, 2)
    rows = np.tile(np.arange(len(two_types.count)), m)
    copied = two_types.restricted(rows)
    copy = np.repeat(np.arange(m), len(two_types.count))
    copied = replace(copied, labels={"subject": copied.labels["subject"] + 1000 * copy})
    other = fit_mixture(copied, 2)
    _assert_same(fit, other, errors=False)
    assert other.loglik == pytest.approx(m * fit.loglik, rel=1e-10)
    # The factors are of other counts; without them the variance falls by m.
    S, p, n = 200, 9, two_types.n_choices
    factor = (n - 1) / (n - p) * S / (S - 1)
    copied_factor = (m * n - 1) / (m * n - p) * m * S / (m * S - 1)
    expected = fit.std_errors * np.sqrt(copied_factor / factor / m)
    np.testing.assert_allclose(other.std_errors, expected, rtol=10 * MIXTURE)


def test_counts_equal_rows(two_types):
    single = two_types.restricted(
        np.repeat(np.arange(len(two_types.count)), two_types.count.astype(int))
    )
    single = replace(single, count=np.ones(len(single.count)))
    _assert_same(fit_mixture(two_types, 2), fit_mixture(single, 2))


def test_rows_of_one_type_duplicated_leave_estimates_alone(two_types):
    tripled = replace(two_types, count=3 * two_types.count)
    _assert_same(fit_mixture(two_types, 1), fit_mixture(tripled, 1), errors=False)


# ---- derivatives --------------------------------------------------------------------------------


def _value(data, phi, n_types):
    return expectation(data, Types.from_phi(phi, n_types))[0]


@pytest.mark.parametrize("n_types", [1, 2, 3])
def test_gradient_and_hessian_against_differences(two_types, n_types):
    data = subject_counts(two_types, "subject")
    rng = np.random.default_rng(n_types)
    phi = rng.standard_normal(4 * n_types + n_types - 1)
    types = Types.from_phi(phi, n_types)
    np.testing.assert_allclose(types.phi, phi, atol=1e-13)
    gradient, hessian = derivatives(data, types, expectation(data, types)[1])
    h = 1e-5
    for j, unit in enumerate(np.eye(len(phi)) * h):
        above, below = phi + unit, phi - unit
        slope = (_value(data, above, n_types) - _value(data, below, n_types)) / (2 * h)
        assert slope == pytest.approx(gradient[j], rel=DIFFERENCE, abs=DIFFERENCE * 100)
        ends = [Types.from_phi(end, n_types) for end in (above, below)]
        first, second = (derivatives(data, t, expectation(data, t)[1])[0] for t in ends)
        np.testing.assert_allclose((first - second) / (2 * h), hessian[j], rtol=1e-4, atol=1e-2)


def test_scores_sum_to_the_gradient_and_vanish_at_the_maximum(two_types):
    data = subject_counts(two_types, "subject")
    start = random_starts(data, 2, 2, np.random.default_rng(0))[1]
    found = climb(data, em(data, start).types)
    _, tau = expectation(data, found.types)
    scores = observed_scores(data, found.types, tau)
    gradient, hessian = derivatives(data, found.types, tau)
    np.testing.assert_allclose(scores.sum(axis=0), gradient, atol=1e-8)
    step = np.linalg.solve(-hessian, gradient)
    assert float(gradient @ step) < 1e-10
    assert np.linalg.eigvalsh(hessian)[-1] < 0


def test_em_never_loses(two_types):
    data = subject_counts(two_types, "subject")
    for start in random_starts(data, 3, 4, np.random.default_rng(3)):
        values = [em(data, start, iterations=n, tolerance=-np.inf).loglik for n in range(6)]
        assert (np.diff(values) > -1e-9).all()


# ---- types without numbers ----------------------------------------------------------------------


def test_a_deterministic_type_prints_no_parameters():
    sure = simulate(grid_sets(), [scaled(500.0, 0.3, 0.13, 0.21)] * 20, seed=0)
    noisy = simulate(grid_sets(), [scaled(0.05, 0.0, 0.0, 0.0)] * 40, draws=2, seed=1)
    both = replace(
        sure,
        **{
            name: np.concatenate([getattr(noisy, name), getattr(sure, name)])
            for name in ("choice_set", "action", "count")
        },
        labels={"subject": np.r_[noisy.labels["subject"], 100 + sure.labels["subject"]]},
    )
    fit = fit_mixture(both, 2)
    assert fit.params.loc[1].notna().all()
    assert fit.std_errors.loc[1].notna().all()
    assert fit.params.loc[2].isna().all()
    assert fit.std_errors.loc[2].isna().all()
    assert fit.identifications[1].separated
    assert "Type 2 not identified: the choices are deterministic" in printed(fit)
    low, high = fit.identifications[1].intervals["kappa"]
    assert low <= 0.3 <= high
    assert fit.shares[2] == pytest.approx(1 / 3, abs=1e-6)


def test_a_type_against_its_utility_prints_no_parameters():
    thetas = [scaled(0.15, 0.0, 0.0, 0.0)] * 60 + [-scaled(0.1, 0.0, 0.0, 0.0)] * 40
    fit = fit_mixture(simulate(grid_sets(), thetas, draws=2), 2)
    assert fit.params.loc[1].notna().all()
    assert fit.params.loc[2].isna().all()
    assert fit.identifications[1].scale_positive is False
    assert "the scale is not positive" in printed(fit)


def test_confounded_parameters_are_named(two_types):
    z = two_types.z.copy()
    z[..., 3] = z[..., 1] + z[..., 2]
    fit = fit_mixture(replace(two_types, z=z), 2)
    assert fit.params.isna().all().all()
    assert "kappa, alpha and beta cannot be told apart" in printed(fit)
    assert np.isfinite(fit.loglik)


def test_more_types_than_there_are_do_not_break():
    alike = simulate(grid_sets(("kappa",)), [scaled(0.1, 0.3)] * 12, draws=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AssumptionWarning)
        fit = fit_mixture(alike, 4)
    assert fit.shares.sum() == pytest.approx(1.0)
    assert fit.loglik >= fit_mixture(alike, 1).loglik - 1e-6


# ---- the front door -----------------------------------------------------------------------------


def test_few_starts_warn(two_types):
    with pytest.warns(AssumptionWarning, match="only 1 of 1 starts"):
        fit_mixture(two_types, 2, n_starts=1)


def test_summary_shows_everything(two_types):
    fit = PreferenceLogit(n_types=2, n_starts=8).fit(AllocationChoices(two_types))
    text = str(fit)
    for word in ("Mixture of 2 types", "share", "lambda", "kappa", "ICL, NEC", "of 8 starts"):
        assert word in text
    assert list(fit.params.columns) == ["lambda", "kappa", "alpha", "beta"]
    assert fit.shares.is_monotonic_decreasing
    assert fit.local_optima["starts"].sum() == 8
    assert r"\toprule" in fit.as_latex()
    assert "<table>" in fit._repr_html_()
    np.testing.assert_allclose(fit.posteriors.sum(axis=1), 1.0)


def test_same_seed_same_numbers(two_types):
    one, two = (fit_mixture(two_types, 2, 6, random_state=5) for _ in range(2))
    np.testing.assert_array_equal(one.params, two.params)


def test_mistakes_are_named(two_types):
    data = AllocationChoices(two_types)
    with pytest.raises(InputError, match="no column 'sid' that tells subjects apart"):
        PreferenceLogit(n_types=2).fit(data, clusters="sid")
    with pytest.raises(InputError, match="names the one column"):
        PreferenceLogit(n_types=2).fit(data, clusters=["a", "b"])
    alone = replace(two_types, labels={"subject": np.zeros(len(two_types.count))})
    with pytest.raises(InputError, match="1 value of 'subject' for 2 types"):
        fit_mixture(alone, 2)
    unnamed = two_types.labels["subject"].astype(float)
    unnamed[3] = np.nan
    with pytest.raises(InputError, match="missing in 1 rows, the first row 3"):
        fit_mixture(replace(two_types, labels={"subject": unnamed}), 2)
    with pytest.raises(InputError, match="n_starts"):
        fit_mixture(two_types, 2, n_starts=0)
