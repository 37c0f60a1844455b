"""Numbers derived once by hand and brute force, outside this package, to the digits printed."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments.games import HomoMoralis, Protocol, default_grid
from mlinstruments.games.payoffs import ahead, behind, payoff
from mlinstruments.games.utility import choice_probabilities, utility_values
from mlinstruments.preferences import ChoiceData, PreferenceLogit
from mlinstruments.preferences.inference import delta_covariance, hessian_covariance
from mlinstruments.preferences.likelihood import likelihood, null_log_likelihood
from mlinstruments.preferences.results import PreferenceResults
from tests.preferences.people import bruhin_fehr_schunk
from tests.tolerances import MAXIMUM, PRINTED, ROUNDING

SPD = Protocol("spd", 90, 65, 25, 10, id="spd")
TG = Protocol("tg", 80, 50, 30, 20, id="tg")
UG = Protocol("ug", 70, 50, 10, 30, id="ug")
HALF = np.full(3, 0.5)

PROBABILITIES = [
    (SPD, (0, 0, 0), ".2822151290 .1939634325 .1510588731 .1038211440 .1038211440 .0713551592"
     " .0555714538 .0381936644"),
    (SPD, (0.25, 0, 0), ".1454080002 .2050581476 .0909940014 .1283221098 .1283221098 .0968626103"
     " .1168386106 .0881944103"),
    (SPD, (1, 0, 0), ".0062528812 .0761756871 .0062528812 .0761756871 .0761756871 .0761756871"
     " .3413957445 .3413957445"),
    (SPD, (0.25, 0.1, 0.2), ".1207872665 .1394604252 .1127621655 .1301946802 .1301946802"
     " .0804616658 .1768462782 .1092928384"),
    (TG, (0.25, 0.1, 0.2), ".2084471436 .1603221937 .3568036039 .2744270587"),
    (UG, (0.25, 0.1, 0.2), ".0634145063 .2269415833 .3063390950 .4033048154"),
]  # fmt: skip

# game, T, R, P, S, belief, counts by strategy 000, 001, ...
COUNTS = """
spd 90 65 25 10 | .5 .6 .3 | 21 20 21 20 32 20 41 25
spd 90 65 25 10 | .2 .3 .1 | 30 21 30 21 30 14 38 17
spd 80 75 30 20 | .5 .6 .3 | 15 15 18 18 27 19 51 36
spd 80 75 30 20 | .2 .3 .1 | 23 18 25 20 27 16 45 26
tg 80 50 30 20 | .6 .5 | 47 38 64 51
tg 80 50 30 20 | .3 .8 | 35 31 70 63
tg 90 60 30 10 | .6 .5 | 44 40 56 60
tg 90 60 30 10 | .3 .8 | 29 27 68 76
ug 60 50 10 40 | .4 .9 | 22 68 42 69
ug 60 50 10 40 | .7 .5 | 18 44 61 78
ug 80 50 10 20 | .4 .9 | 34 62 53 51
ug 80 50 10 20 | .7 .5 | 23 42 68 67
"""

Cell = tuple[Protocol, tuple[float, ...], dict[str, float]]


def read_cells(scale: float = 1.0, shift: float = 0.0, times: float = 1.0) -> list[Cell]:
    """The counts above, payoffs times ``scale`` plus ``shift``, counts times ``times``."""
    cells = []
    for line in COUNTS.strip().splitlines():
        rules, belief, counts = (part.split() for part in line.split("|"))
        payoffs = [scale * float(v) + shift for v in rules[1:]]
        protocol = Protocol(rules[0], *payoffs, id="_".join(rules))
        chosen = dict(zip(protocol.strategies, (times * float(v) for v in counts), strict=True))
        cells.append((protocol, tuple(float(v) for v in belief), chosen))
    return cells


def fit_cells(
    parameters: tuple[str, ...] = ("kappa", "alpha", "beta"), **changes: float
) -> PreferenceResults:
    """Fit the counts."""
    data = ChoiceData.from_counts(read_cells(**changes))
    fit: PreferenceResults = PreferenceLogit(parameters=parameters).fit(data)
    return fit


@pytest.fixture(scope="module")
def fit() -> PreferenceResults:
    """All three parameters on the 2,401 choices."""
    return fit_cells()


# ---- probabilities, design, derivatives ---------------------------------------------------------


@pytest.mark.parametrize(("protocol", "theta", "printed"), PROBABILITIES)
def test_choice_probabilities(
    protocol: Protocol, theta: tuple[float, float, float], printed: str
) -> None:
    found = choice_probabilities(protocol, HALF[: protocol.n_nodes], 0.1, *theta)
    np.testing.assert_allclose(found, [float(v) for v in printed.split()], atol=PRINTED[10])


def test_design_rows() -> None:
    z = HomoMoralis().regressors(SPD, HALF)
    np.testing.assert_array_equal(z[SPD.strategies.index("110")], [41.25, 23.75, -20, 0])
    np.testing.assert_array_equal(z[SPD.strategies.index("000")], [57.5, -32.5, 0, -40])


def test_log_likelihood_and_gradient() -> None:
    z = HomoMoralis().regressors(SPD, np.array([0.3, 0.7, 0.2]))[None]
    counts = np.zeros((1, 8))
    counts[0, SPD.strategies.index("110")] = 1
    found = likelihood(z, np.ones((1, 8), bool), counts, np.array([0.08, 0.02, 0.01, 0.015]))
    assert found.value == pytest.approx(-1.3949908700, abs=PRINTED[10])
    printed = [2.0083349309, 11.3806504737, 7.2175100013, 8.0634456745]
    np.testing.assert_allclose(found.gradient, printed, atol=PRINTED[10])


def test_null_log_likelihood_of_the_grid() -> None:
    available = np.zeros((18, 8), bool)
    for row, protocol in zip(available, default_grid(), strict=True):
        row[: len(protocol.strategies)] = True
    counts = np.zeros((18, 8))
    counts[:, 0] = 1
    found = null_log_likelihood(available, counts)
    assert found == pytest.approx(-29.1121815835, abs=PRINTED[10])


# ---- the fit ------------------------------------------------------------------------------------


def test_fit_of_2401_choices(fit: PreferenceResults) -> None:
    assert fit.nobs == 2401
    assert fit.loglik == pytest.approx(-3739.469401857, abs=PRINTED[9])
    printed = [0.0795147851, 0.2045850410, 0.1532531099, 0.2463737365]
    np.testing.assert_allclose(fit.params, printed, atol=PRINTED[10])


def test_standard_errors_of_the_inverse_hessian(fit: PreferenceResults) -> None:
    design = fit.design
    found = likelihood(design.z, design.available, design.counts(), fit.theta)
    covariance = delta_covariance(fit.theta, hessian_covariance(found))
    printed = [0.0065275463, 0.0424498956, 0.0430474992, 0.0450293985]
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), printed, atol=PRINTED[10])


def test_restricted_fit_and_likelihood_ratio(fit: PreferenceResults) -> None:
    restricted = fit_cells(("alpha", "beta"))
    assert restricted.loglik == pytest.approx(-3756.986931990, abs=PRINTED[9])
    found = fit.lr_test(restricted)
    assert found.statistic == pytest.approx(35.03506, abs=0.50001e-5)
    assert found.df == 1
    assert found.null == "kappa = 0"


def test_real_people() -> None:
    """Bruhin, Fehr and Schunk (2019), session 1: the published one-type table."""
    data = bruhin_fehr_schunk()
    found = PreferenceLogit().fit(data, clusters="sid")
    assert len(np.unique(data.sets.labels["sid"])) == 160
    assert found.nobs == 18_720
    assert found.loglik == pytest.approx(-5472.314188, abs=PRINTED[6])
    assert found.names == ("lambda", "alpha", "beta", "gamma", "delta")
    printed = [0.015574, 0.083453, 0.260540, 0.071724, -0.041688]
    np.testing.assert_allclose(found.params, printed, atol=PRINTED[6])
    printed = [0.000736, 0.014809, 0.018787, 0.013506, 0.011308]
    np.testing.assert_allclose(found.std_errors, printed, atol=PRINTED[6])


# ---- invariances --------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", default_grid(), ids=lambda p: p.id)
def test_choice_is_uniform_at_scale_zero(protocol: Protocol) -> None:
    p = choice_probabilities(protocol, HALF[: protocol.n_nodes], 0.0, 0.3, 0.1, 0.2)
    np.testing.assert_allclose(p, 1 / len(protocol.strategies), atol=ROUNDING)


def test_payoffs_times_a_constant_divide_the_scale(fit: PreferenceResults) -> None:
    scaled = fit_cells(scale=7.0)
    assert scaled.params["lambda"] == pytest.approx(fit.params["lambda"] / 7, rel=MAXIMUM)
    np.testing.assert_allclose(scaled.params.iloc[1:], fit.params.iloc[1:], rtol=MAXIMUM)
    np.testing.assert_allclose(scaled.std_errors.iloc[1:], fit.std_errors.iloc[1:], rtol=MAXIMUM)
    assert scaled.loglik == pytest.approx(fit.loglik, rel=ROUNDING)


def test_a_constant_added_to_payoffs_changes_nothing(fit: PreferenceResults) -> None:
    shifted = fit_cells(shift=1000.0)
    np.testing.assert_allclose(shifted.params, fit.params, rtol=MAXIMUM)
    np.testing.assert_allclose(shifted.std_errors, fit.std_errors, rtol=MAXIMUM)


@pytest.mark.parametrize("protocol", default_grid(), ids=lambda p: p.id)
def test_a_kantian_does_not_care_about_beliefs(protocol: Protocol) -> None:
    one, other = np.full(protocol.n_nodes, 0.2), np.linspace(0.3, 0.9, protocol.n_nodes)
    np.testing.assert_allclose(
        utility_values(protocol, one, kappa=1.0),
        utility_values(protocol, other, kappa=1.0),
        rtol=ROUNDING,
    )


def test_the_order_of_cells_changes_nothing(fit: PreferenceResults) -> None:
    cells = read_cells()
    again = PreferenceLogit().fit(ChoiceData.from_counts(cells[::-1]))
    np.testing.assert_allclose(again.params, fit.params, rtol=MAXIMUM)
    np.testing.assert_allclose(again.std_errors, fit.std_errors, rtol=MAXIMUM)


def test_grouped_counts_are_rows(fit: PreferenceResults) -> None:
    rows = [
        (protocol, belief, {strategy: 1.0})
        for protocol, belief, counts in read_cells()
        for strategy, count in counts.items()
        for _ in range(int(count))
    ]
    single = PreferenceLogit().fit(ChoiceData.from_counts(rows))
    assert len(single.design.count) == 2401
    np.testing.assert_allclose(single.params, fit.params, rtol=ROUNDING)
    np.testing.assert_allclose(single.std_errors, fit.std_errors, rtol=ROUNDING)


@pytest.mark.parametrize("times", [2, 10])
def test_duplicated_rows_change_clustered_errors_by_the_factor_only(times: int) -> None:
    fits = []
    for made in (read_cells(), read_cells(times=float(times))):
        data = ChoiceData.from_counts(made)
        with pytest.warns(UserWarning, match="only 6 clusters"):
            fits.append(PreferenceLogit().fit(data, clusters="protocol_id"))
    once, repeated = fits
    n, p = 2401, 4
    factor = ((n * times - 1) / (n * times - p)) / ((n - 1) / (n - p))
    np.testing.assert_allclose(repeated.params, once.params, rtol=MAXIMUM)
    np.testing.assert_allclose(repeated.cov, once.cov * factor, rtol=MAXIMUM)


# ---- payoffs by hand ----------------------------------------------------------------------------


def test_payoffs_of_the_reference_rows() -> None:
    x = np.array([1.0, 1.0, 0.0])
    assert float(payoff(SPD, x, HALF)) == 41.25
    assert float(behind(SPD, x, HALF)) == 20.0
    assert float(ahead(SPD, x, HALF)) == 0.0
