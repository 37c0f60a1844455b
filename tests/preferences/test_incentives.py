"""Measures of incentive sensitivity, each against a direct computation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize, stats

from mlinstruments.games import Protocol, default_grid
from mlinstruments.games.payoffs import payoff
from mlinstruments.preferences import (
    AllocationChoices,
    ChoiceData,
    PreferenceLogit,
    simulate_choices,
)
from mlinstruments.preferences.incentives import (
    IncentiveSensitivity,
    incentive_sensitivity,
    incentive_sensitivity_of,
    marginal_effect,
)
from mlinstruments.preferences.results import PreferenceResults
from tests.tolerances import ROUNDING

from .people import printed

GRID = default_grid()


@pytest.fixture(scope="module")
def data() -> ChoiceData:
    """Many choices of a known agent."""
    return simulate_choices(GRID, scale=0.1, kappa=0.25, draws=60, random_state=4)


@pytest.fixture(scope="module")
def fit(data: ChoiceData) -> PreferenceResults:
    """Clustered by protocol."""
    found: PreferenceResults = PreferenceLogit().fit(data, clusters="protocol_id")
    return found


@pytest.fixture(scope="module")
def found(fit: PreferenceResults) -> IncentiveSensitivity:
    """Every measure."""
    return incentive_sensitivity(fit)


def node_rows(data: ChoiceData) -> pd.DataFrame:
    """Every node choice with its own-payoff gap, straight from the payoffs."""
    rows = []
    for p, s, count in zip(data.protocol, data.strategy, data.count, strict=True):
        protocol = data.protocols[p]
        y = np.full(protocol.n_nodes, 0.5)
        x = protocol.pure()[s]
        for node in range(protocol.n_nodes):
            one, zero = x.copy(), x.copy()
            one[node], zero[node] = 1, 0
            gap = float(payoff(protocol, one, y) - payoff(protocol, zero, y))
            title = (protocol.id, protocol.game, node, gap)
            rows.append((*title, int(protocol.strategies[s][node]), count))
    return pd.DataFrame(rows, columns=["protocol", "game", "node", "gap", "taken", "count"])


# ---- with a model -------------------------------------------------------------------------------


def test_scale_and_range(fit: PreferenceResults, found: IncentiveSensitivity) -> None:
    assert found["lambda"].estimate == fit.params["lambda"]
    assert found["lambda"].std_error == fit.std_errors["lambda"]
    spans = []
    for p in GRID:
        own = payoff(p, p.pure(), np.full(p.n_nodes, 0.5))
        spans.append(own.max() - own.min())
    expected = fit.params["lambda"] * np.mean(spans)  # as many choices in each
    assert found["lambda_x_range"].estimate == pytest.approx(expected)


def test_marginal_effect(
    data: ChoiceData, fit: PreferenceResults, found: IncentiveSensitivity
) -> None:
    """Mean of lambda P (1 - P), P the probability of a node's action given the other nodes."""
    node = data.design(unit="node")
    difference = (node.z[:, 1] - node.z[:, 0])[node.choice_set]
    p = 1 / (1 + np.exp(-difference @ fit.theta))
    expected = np.average(fit.theta[0] * p * (1 - p), weights=node.count)
    assert found["marginal_effect"].estimate == pytest.approx(expected)
    value, gradient = marginal_effect(fit.design, fit.theta)
    assert value == pytest.approx(expected)
    slope = optimize.approx_fprime(
        fit.theta, lambda t: marginal_effect(fit.design, np.asarray(t))[0], 1e-8
    )
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)
    error = np.sqrt(gradient @ fit.theta_cov @ gradient)
    assert found["marginal_effect"].std_error == pytest.approx(error)


def test_marginal_effect_at_even_odds_is_a_quarter_of_lambda() -> None:
    table = pd.DataFrame(
        {"a": [10.0, 10.0, 8.0], "b": [10.0, 10.0, 8.0], "chosen": [0, 1, 1], "s": [1.0, 2.0, 1.0]}
    ).assign(o=[1.0, 2.0, 3.0])
    choices = AllocationChoices.from_frame(
        table, own=("a", "b"), other=("o", "o"), chosen="chosen", characteristics={"w": "s"}
    )
    value, _ = marginal_effect(choices.sets, np.array([0.2, 0.0]))
    assert value == pytest.approx(0.05)


def test_strategies_and_nodes_give_the_same_model_free_slope(
    data: ChoiceData, found: IncentiveSensitivity
) -> None:
    node = PreferenceLogit(unit="node").fit(data, clusters="protocol_id").incentive_sensitivity()
    for name in ("slope", "spearman"):
        assert node[name].estimate == pytest.approx(found[name].estimate)
    assert node["slope"].std_error == pytest.approx(found["slope"].std_error)
    for a, b in zip(node.equal_rates, found.equal_rates, strict=True):
        assert (a.game, a.df) == (b.game, b.df)
        assert a.statistic == pytest.approx(b.statistic)


# ---- without a model ----------------------------------------------------------------------------


def slope_of_statsmodels(data: ChoiceData, cluster: dict[str, int] | None = None) -> Any:
    """Weighted least squares of the share on the gap, clustered by protocol or by groups of it."""
    rows = node_rows(data)
    rows["made"] = rows["count"] * rows["taken"]
    cells = rows.groupby(["protocol", "game", "node", "gap"], as_index=False)[
        ["count", "made"]
    ].sum()
    dummies = pd.get_dummies(cells["game"] + cells["node"].astype(str), dtype=float)
    x = np.column_stack([cells["gap"], dummies])
    model = sm.WLS(cells["made"] / cells["count"], x, weights=cells["count"])
    groups = pd.factorize(cells["protocol"].map(cluster) if cluster else cells["protocol"])[0]
    return model.fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)


def test_slope_is_that_of_statsmodels(data: ChoiceData, found: IncentiveSensitivity) -> None:
    expected = slope_of_statsmodels(data)
    assert found["slope"].estimate == pytest.approx(expected.params.iloc[0])
    assert found["slope"].std_error == pytest.approx(expected.bse.iloc[0])
    assert found["slope"].pvalue == pytest.approx(expected.pvalues.iloc[0])


def test_spearman_is_that_of_scipy(data: ChoiceData, found: IncentiveSensitivity) -> None:
    rows = node_rows(data)
    rows["made"] = rows["count"] * rows["taken"]
    cells = rows.groupby(["protocol", "node", "gap"], as_index=False)[["count", "made"]].sum()
    expected = stats.spearmanr(cells["gap"].round(9), cells["made"] / cells["count"])
    assert found["spearman"].estimate == pytest.approx(expected.statistic)
    assert found["spearman"].pvalue == pytest.approx(expected.pvalue)


def test_best_replies_and_regret(data: ChoiceData, found: IncentiveSensitivity) -> None:
    best, regret, chance, even = [], [], [], []
    for p, s in zip(data.protocol, data.strategy, strict=True):
        protocol = data.protocols[p]
        own = payoff(protocol, protocol.pure(), np.full(protocol.n_nodes, 0.5))
        best.append(own[s] == own.max())
        regret.append((own.max() - own[s]) / (own.max() - own.min()))
        chance.append(np.mean(own == own.max()))
        even.append(np.mean((own.max() - own) / (own.max() - own.min())))
    for name, values, random in (
        ("best_response_rate", best, chance),
        ("regret", regret, even),
    ):
        assert found[name].estimate == pytest.approx(np.average(values, weights=data.count))
        assert found[name].at_random == pytest.approx(np.average(random, weights=data.count))
        rows = np.repeat(np.arange(len(data.count)), data.count.astype(int))
        ols = sm.OLS(np.asarray(values, float)[rows], np.ones(len(rows))).fit(
            cov_type="cluster",
            cov_kwds={"groups": data.protocol[rows], "use_correction": False},
        )
        factor = np.sqrt(18 / 17)
        assert found[name].std_error == pytest.approx(ols.bse[0] * factor)


def test_chi_squares_are_those_of_scipy(data: ChoiceData, found: IncentiveSensitivity) -> None:
    assert [t.game for t in found.equal_rates] == ["spd", "tg", "ug"]
    for k, test in enumerate(found.equal_rates):
        counts = np.zeros((6, 8 if k == 0 else 4))
        for p, s, count in zip(data.protocol, data.strategy, data.count, strict=True):
            if p // 6 == k:
                counts[p % 6, s] += count
        expected = stats.chi2_contingency(counts, correction=False)
        assert test.statistic == pytest.approx(expected.statistic)
        assert test.df == expected.dof
        assert test.pvalue == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(("sign", "rate", "regret"), [(1, 1.0, 0.0), (-1, 0.0, 1.0)])
def test_best_and_worst_players(sign: int, rate: float, regret: float) -> None:
    cells = []
    for p in GRID:
        own = sign * payoff(p, p.pure(), np.full(p.n_nodes, 0.5))
        cells.append((p, (0.5,) * p.n_nodes, {p.strategies[int(own.argmax())]: 3}))
    made = incentive_sensitivity_of(ChoiceData.from_counts(cells))
    assert made["best_response_rate"].estimate == rate
    assert made["regret"].estimate == pytest.approx(regret, abs=ROUNDING)


@pytest.mark.slow
def test_a_random_agent_is_rarely_called_sensitive() -> None:
    """100 random logs at 5%. Few clusters push a clustered test a little over its level: to 8%."""
    rng = np.random.default_rng(0)
    base = ChoiceData.from_counts(
        [(p, (0.5,) * p.n_nodes, dict.fromkeys(p.strategies, 1)) for p in GRID]
    )
    sizes = [len(p.strategies) for p in GRID]
    rejected = 0
    for _ in range(100):
        counts = np.concatenate([rng.multinomial(40, np.full(k, 1 / k)) for k in sizes])
        made = incentive_sensitivity_of(replace(base, count=counts.astype(float)))
        rejected += made["slope"].pvalue < 0.05
    assert rejected <= stats.binom.ppf(0.999, 100, 0.08)


def test_every_measure_rises_with_the_scale() -> None:
    weak, strong = (
        incentive_sensitivity(PreferenceLogit(parameters=()).fit(
            simulate_choices(GRID, scale=scale, draws=100)
        ))
        for scale in (0.02, 0.2)
    )  # fmt: skip
    for name in ("lambda", "lambda_x_range", "marginal_effect", "slope", "best_response_rate"):
        assert strong[name].estimate > weak[name].estimate
    assert strong["regret"].estimate < weak["regret"].estimate


def test_points_of_another_size() -> None:
    """Ten times the points: lambda, slope and marginal effect a tenth, the others as before."""
    one = simulate_choices(GRID, scale=0.1, draws=30)
    tens = tuple(Protocol(p.game, 10 * p.T, 10 * p.R, 10 * p.P, 10 * p.S, id=p.id) for p in GRID)
    ten = ChoiceData(
        tens, one.protocol, one.strategy, one.count, one.beliefs, one.labels, one.excluded
    )
    a, b = (
        PreferenceLogit(("kappa",)).fit(d).incentive_sensitivity().to_frame() for d in (one, ten)
    )
    for name in ("lambda", "marginal_effect", "slope"):
        assert a.loc[name, "estimate"] == pytest.approx(10 * b.loc[name, "estimate"], rel=1e-6)
    for name in ("lambda_x_range", "spearman", "best_response_rate", "regret"):
        assert a.loc[name, "estimate"] == pytest.approx(b.loc[name, "estimate"], rel=1e-6)


# ---- where there is little to say ---------------------------------------------------------------


def test_without_identification_the_model_free_ones_remain() -> None:
    deterministic = ChoiceData.from_counts(
        [(p, (0.5,) * p.n_nodes, {p.strategies[0]: 4}) for p in GRID]
    )
    made = PreferenceLogit().fit(deterministic).incentive_sensitivity()
    for name in ("lambda", "lambda_x_range", "marginal_effect"):
        assert np.isnan(made[name].estimate)
    assert np.isfinite(made["regret"].estimate)
    assert np.isnan(made["spearman"].estimate)  # every share is zero
    assert "deterministic" in made.reason
    assert "Model-based measures: none" in printed(made)


def test_a_negative_scale_says_so() -> None:
    data = simulate_choices(GRID, scale=-0.1, draws=60)
    made = PreferenceLogit(parameters=()).fit(data).incentive_sensitivity()
    assert np.isnan(made["lambda"].estimate)
    assert "not positive" in made.reason
    assert made["slope"].estimate < 0
    assert made["regret"].estimate > 0.5


def test_one_protocol_has_no_slope() -> None:
    made = incentive_sensitivity_of(simulate_choices(GRID[:1], scale=0.1, draws=60))
    assert np.isnan(made["slope"].estimate)
    assert np.isnan(made["regret"].std_error)
    assert made.equal_rates[0].df == 0
    assert np.isnan(made.equal_rates[0].pvalue)


def test_allocations_have_no_protocols() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(0, 100, size=(200, 4)), columns=["a", "b", "oa", "ob"])
    table["chosen"] = (table["b"] > table["a"]).astype(int)
    table["one"] = 1.0
    choices = AllocationChoices.from_frame(
        table, own=("a", "b"), other=("oa", "ob"), chosen="chosen", characteristics={"w": "one"}
    )
    made = incentive_sensitivity_of(choices)
    assert made["best_response_rate"].estimate == 1.0
    assert made["slope"].estimate > 0
    assert made["slope"].pvalue < 1e-6
    assert made.n_protocols == 200


def test_coarser_clusters_of_the_fit_are_those_of_the_measures(
    data: ChoiceData, found: IncentiveSensitivity
) -> None:
    pair = {p.id: k % 12 for k, p in enumerate(data.protocols)}
    groups = {"pair": np.array([pair[data.protocols[p].id] for p in data.protocol]),
              "part": np.arange(len(data.protocol)) % 12}  # fmt: skip
    labelled = replace(data, labels={**data.labels, **groups})
    paired = incentive_sensitivity(PreferenceLogit().fit(labelled, clusters="pair"))
    assert paired.n_protocols == len(set(pair.values())) < found.n_protocols
    assert f"clustered by {paired.n_protocols} groups of equal pair." in str(paired)
    expected = slope_of_statsmodels(data, pair)
    assert paired["slope"].estimate == found["slope"].estimate
    assert paired["slope"].std_error == pytest.approx(expected.bse.iloc[0])
    assert paired["slope"].pvalue == pytest.approx(expected.pvalues.iloc[0])
    for name in ("best_response_rate", "regret"):
        assert paired[name].estimate == found[name].estimate
        assert paired[name].std_error != pytest.approx(found[name].std_error)
    # Clusters that cut protocols in parts leave the protocols.
    cut = incentive_sensitivity(PreferenceLogit().fit(labelled, clusters="part"))
    assert cut.n_protocols == found.n_protocols
    assert cut["slope"] == found["slope"]


def test_probabilities_have_no_chi_square(data: ChoiceData) -> None:
    shares = ChoiceData(
        data.protocols, data.protocol, data.strategy, data.count / 60, data.beliefs,
        data.labels, data.excluded,
    )  # fmt: skip
    made = incentive_sensitivity_of(shares)
    assert made.equal_rates == ()
    assert made["slope"].estimate == pytest.approx(incentive_sensitivity_of(data)["slope"].estimate)


def test_reading(found: IncentiveSensitivity) -> None:
    frame = found.to_frame()
    assert frame.columns.tolist() == ["estimate", "std_error", "pvalue", "df", "at_random"]
    assert frame.index[0] == "lambda"
    assert frame.index[-1] == "equal_rates[ug]"
    text = printed(found)
    for word in ("Best-response rate", "own-payoff gap", "clustered by 18 protocols", "chi2(35)"):
        assert word in text
    assert repr(found) == str(found)
    assert "<table>" in found._repr_html_()
