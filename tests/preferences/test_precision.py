"""Expected standard errors against simulation, exchange against enumeration."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.games import HomoMoralis, Protocol, default_grid, sample_protocols
from mlinstruments.games.utility import choice_probabilities
from mlinstruments.preferences import ChoiceData, PreferenceLogit
from mlinstruments.preferences.inference import hessian_covariance
from mlinstruments.preferences.likelihood import likelihood
from mlinstruments.preferences.precision import (
    information,
    informative_grid,
    precision,
    reported_covariance,
)

GRID = default_grid()
THETA = {"lambda": 0.1, "kappa": 0.25, "alpha": 0.1, "beta": 0.2}
CANDIDATES = (
    *sample_protocols("spd", 4, 1), *sample_protocols("tg", 4, 2), *sample_protocols("ug", 4, 3)
)  # fmt: skip


def expected_log(times: float) -> ChoiceData:
    """Counts in proportion to their probabilities, so that the estimate is the truth."""
    cells = []
    for p in GRID:
        y = np.full(p.n_nodes, 0.5)
        share = choice_probabilities(p, y, 0.1, 0.25, 0.1, 0.2)
        cells.append((p, tuple(y), dict(zip(p.strategies, times * share, strict=True))))
    return ChoiceData.from_counts(cells)


def score(chosen: tuple[Protocol, ...], criterion: str) -> float:
    """What the search maximises."""
    theta = 0.1 * np.array([1, 0.25, 0.1, 0.2])
    total = information(chosen, theta).sum(axis=0)
    if criterion == "D":
        sign, value = np.linalg.slogdet(total)
        return float(value) if sign > 0 else -np.inf
    covariance = reported_covariance(total, theta, ("kappa", "alpha", "beta"))
    return -float(covariance[1, 1])


# ---- precision ----------------------------------------------------------------------------------


def test_expected_errors_are_those_of_an_expected_log() -> None:
    fit = PreferenceLogit().fit(expected_log(50.0))
    np.testing.assert_allclose(fit.params, [0.1, 0.25, 0.1, 0.2], rtol=1e-6)
    design = fit.design
    found = likelihood(design.z, design.available, design.counts(), fit.theta)
    errors = np.sqrt(np.diag(replace(fit, theta_cov=hessian_covariance(found)).cov))
    table = precision(GRID, THETA, subjects=50)
    np.testing.assert_allclose(table.loc[50, list(fit.names)], errors, rtol=1e-5)


def test_expected_errors_are_what_simulated_estimates_scatter_by() -> None:
    rng = np.random.default_rng(0)
    base = expected_log(1.0)
    estimates = []
    for _ in range(100):
        counts = np.concatenate(
            [rng.multinomial(300, base.count[base.protocol == k]) for k in range(18)]
        )
        made = replace(base, count=counts.astype(float))
        estimates.append(PreferenceLogit().fit(made).params.to_numpy())
    table = precision(GRID, THETA, subjects=300)
    ratio = np.std(estimates, axis=0) / table.loc[300, ["lambda", "kappa", "alpha", "beta"]]
    # A standard deviation from 100 draws is within 3 / sqrt(200) = 21% but once in 400.
    np.testing.assert_allclose(ratio, 1.0, atol=0.22)


def test_illustrative_grid() -> None:
    """Orders of magnitude to print where a log is small: kappa .2, beliefs that differ."""
    table = precision(GRID, {"lambda": 0.1, "kappa": 0.2}, (1, 10, 60), belief="varied")
    np.testing.assert_allclose(table["kappa"], [0.31, 0.10, 0.04], atol=0.005)
    assert table["choices"].tolist() == [18, 180, 1080]
    at_half = precision(GRID, {"lambda": 0.1}, (1, 10, 100))
    np.testing.assert_allclose(at_half["kappa"], [0.325, 0.103, 0.0325], atol=0.0005)


def test_varied_beliefs_are_the_mean_over_uniform_ones() -> None:
    theta = 0.1 * np.array([1, 0.25, 0.1, 0.2])
    protocol = GRID[6]
    midpoints = (np.arange(40) + 0.5) / 40
    total = np.zeros((4, 4))
    for y in product(midpoints, repeat=2):
        z = HomoMoralis().regressors(protocol, np.array(y))
        p = choice_probabilities(protocol, np.array(y), 0.1, 0.25, 0.1, 0.2)
        total += (z.T * p) @ z - np.outer(p @ z, p @ z)
    # Midpoints of cells of 1/40 err by a few parts in 40^2.
    found = information([protocol], theta, "varied")[0]
    np.testing.assert_allclose(found, total / 1600, atol=2e-3 * total.max() / 1600)


def test_errors_fall_with_the_root_of_choices_and_rise_with_the_design_effect() -> None:
    one, four = precision(GRID, THETA, (1, 4))[["kappa", "beta"]].to_numpy()
    np.testing.assert_allclose(one, 2 * four)
    np.testing.assert_allclose(precision(GRID, THETA, 1, draws=4)[["kappa", "beta"]], [four])
    clustered = precision(GRID, THETA, 5, draws=2, intraclass=0.1)
    free = precision(GRID, THETA, 5, draws=2)
    assert clustered["design_effect"].iloc[0] == pytest.approx(1 + 35 * 0.1)
    assert clustered["kappa"].iloc[0] == pytest.approx(free["kappa"].iloc[0] * np.sqrt(4.5))
    # Wholly dependent choices: a subject is one choice.
    alone = precision(GRID, THETA, 36, draws=1, intraclass=1.0)["kappa"].iloc[0]
    assert alone == pytest.approx(precision(GRID, THETA, 2)["kappa"].iloc[0])


def test_fewer_parameters_are_estimated_better() -> None:
    full, less = (precision(GRID, THETA, parameters=p) for p in (("kappa", "beta"), ("kappa",)))
    assert less["kappa"].iloc[0] < full["kappa"].iloc[0]
    assert less.columns.tolist() == ["choices", "design_effect", "lambda", "kappa"]


def test_protocols_that_do_not_identify() -> None:
    assert np.isinf(precision(GRID[:1], THETA)[["lambda", "kappa"]].to_numpy()).all()
    dictators = sample_protocols("dictator", 5)
    assert np.isinf(precision(dictators, THETA)["alpha"].iloc[0])
    assert np.isfinite(precision(dictators, THETA, parameters=("kappa",))["kappa"].iloc[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"theta": {"kappa": 0.3}}, "positive 'lambda'"),
        ({"theta": {"lambda": 0.1, "kapa": 0.3}}, "Did you mean 'kappa'"),
        ({"subjects": 0}, "subjects must be a whole number"),
        ({"draws": 0.5}, "draws must be a whole number"),
        ({"belief": 1.5}, "belief must be a probability"),
        ({"belief": "uniform"}, "belief must be one of"),
        ({"intraclass": 2}, "intraclass must lie"),
        ({"protocols": ()}, "protocols is empty"),
        ({"parameters": ("gamma",)}, "parameter must be one of"),
    ],
)
def test_bad_input(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        precision(**{"protocols": GRID, "theta": THETA, **options})  # type: ignore[arg-type]


# ---- informative grids --------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["D", "kappa"])
@pytest.mark.parametrize("n", [3, 4, 6, 12])
def test_exchange_finds_what_enumeration_finds(criterion: str, n: int) -> None:
    found = informative_grid(CANDIDATES, n, THETA, criterion)
    best = max(score(chosen, criterion) for chosen in combinations(CANDIDATES, n))
    assert score(found, criterion) == pytest.approx(best, rel=1e-9)
    assert len({p.id for p in found}) == n
    assert list(found) == [p for p in CANDIDATES if p in found]


def test_a_searched_grid_beats_random_ones() -> None:
    candidates = tuple(p for g in ("spd", "tg", "ug") for p in sample_protocols(g, 40))
    found = informative_grid(candidates, 18, THETA, "kappa", n_starts=2)
    error = precision(found, THETA)["kappa"].iloc[0]
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = [candidates[i] for i in rng.choice(120, 18, replace=False)]
        assert error < precision(drawn, THETA)["kappa"].iloc[0]


def test_a_start_that_is_best_already_is_kept() -> None:
    best = informative_grid(CANDIDATES, 5, THETA)
    assert informative_grid(CANDIDATES, 5, THETA, start=best, n_starts=1) == best


def test_the_seed_decides() -> None:
    first = informative_grid(CANDIDATES, 5, THETA, random_state=3)
    assert first == informative_grid(CANDIDATES, 5, THETA, random_state=3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 13}, "there are 12 candidates"),
        ({"criterion": "A"}, "criterion must be one of"),
        ({"criterion": "kappa", "parameters": ("beta",)}, "needs kappa among"),
        ({"n": 1}, "raise n"),
        ({"candidates": sample_protocols("dictator", 12)}, "identify lambda, kappa, alpha, beta"),
        ({"n_starts": 0}, "n_starts must be"),
        ({"start": CANDIDATES[:4]}, "5 different protocols"),
        ({"start": GRID[:5]}, "one of the candidates"),
    ],
)
def test_searches_that_cannot_be(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        informative_grid(**{"candidates": CANDIDATES, "n": 5, "theta": THETA, **options})  # type: ignore[arg-type]
