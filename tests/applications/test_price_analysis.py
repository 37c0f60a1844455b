"""Analyses of prices: deviations, responses to a cut, regressions, choices that identify kappa."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from mlinstruments import ChoiceData, PreferenceLogit
from mlinstruments._core.exceptions import AssumptionWarning, InputError, NotIdentifiedError
from mlinstruments.applications.pricing import (
    BestResponseFirm,
    Competition,
    LogitFirm,
    Market,
    ScriptedFirm,
    TitForTatFirm,
    compete,
    deviations,
    impulse_response,
    price_grid,
    regress_prices,
)
from mlinstruments.applications.regression import clustered_ols

from ..tolerances import IDENTITY, OPTIMISER, ROUNDING, SIX_DIGITS

PAIR = [BestResponseFirm(), BestResponseFirm()]


def scripts(*prices: list[float], forced: dict[int, dict[int, float]] | None = None) -> Competition:
    """A run of scripted firms."""
    firms = [ScriptedFirm(p) for p in prices]
    return compete(
        Market(len(prices)), firms, len(prices[0]), opening=[2.5] * len(prices), forced=forced
    )


# ---- last periods -------------------------------------------------------------------------------


def test_last_periods_by_hand() -> None:
    run = scripts([1.5, 1.6, 1.7, 1.8], [1.5, 1.5, 1.6, 1.6])
    found = run.last(2)
    assert found["price"].tolist() == pytest.approx([1.75, 1.6], rel=ROUNDING)
    profits = [Market().profit(p) for p in ([1.7, 1.6], [1.8, 1.6])]
    mean = np.mean(profits, axis=0)
    assert found["profit"].to_numpy() == pytest.approx(mean, rel=ROUNDING)
    nash, joint = Market().nash().profits, Market().monopoly().profits
    assert found["gain"].to_numpy() == pytest.approx((mean - nash) / (joint - nash), rel=ROUNDING)
    assert found["conduct"].to_numpy() == pytest.approx(Market().conduct([1.75, 1.6]), rel=ROUNDING)
    assert run.last(99)["price"].tolist() == pytest.approx([1.65, 1.55], rel=ROUNDING)
    assert (
        Competition(Market(1), ("one",), np.full((1, 3, 1), 1.5), ()).last()["conduct"].isna().all()
    )


# ---- deviations ---------------------------------------------------------------------------------


def test_a_cut_that_is_punished_and_forgiven() -> None:
    own = [1.9, 1.9, 1.5, 1.7, 1.9, 1.9, 1.9, 1.9]
    other = [1.9, 1.9, 1.9, 1.9, 1.4, 1.9, 1.9, 1.9]
    found = deviations(scripts(own, other), window=3)
    # The other's fall to 1.4 undercuts 1.7 and is a deviation as well.
    assert found["period"].tolist() == [3, 5]
    first = found.iloc[0]
    assert (first["firm"], first["punished"], first["delay"], first["regained"]) == (
        0,
        True,
        2,
        True,
    )
    assert (first["cut"], first["response"]) == pytest.approx((0.4, 0.5), rel=IDENTITY)


@pytest.mark.parametrize(
    ("own", "other", "count"),
    [
        ([1.9, 1.9, 1.87, 1.9, 1.9, 1.9, 1.9, 1.9], [1.9] * 8, 0),  # too small
        ([1.9, 1.9, 1.8, 1.9, 1.9, 1.9, 1.9, 1.9], [1.7] * 8, 0),  # undercuts nobody
        ([1.9, 1.9, 1.6, 1.6, 1.6, 1.6, 1.6, 1.6], [1.7] * 8, 1),
        ([1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.6, 1.6], [1.9] * 8, 0),  # its window is not over
        ([1.6] * 8, [1.9] * 8, 0),  # fell from what nobody chose
    ],
)
def test_what_is_a_deviation(own: list[float], other: list[float], count: int) -> None:
    found = deviations(scripts(own, other))
    assert len(found) == count
    assert not found["punished"].any()
    assert not found["regained"].any()


def test_forced_deviations_are_marked() -> None:
    run = compete(
        Market(3), [TitForTatFirm()] * 3, periods=20, forced={10: {1: 1.5}}, opening=[1.9] * 3
    )
    found = deviations(run, window=4)
    first = found.iloc[0]
    assert (first["period"], first["firm"], first["forced"], first["delay"]) == (10, 1, True, 1)
    assert not found.iloc[1:]["forced"].any()


def test_bad_deviations() -> None:
    run = scripts([1.5, 1.5], [1.5, 1.5])
    with pytest.raises(InputError, match="cut must be positive"):
        deviations(run, cut=0.0)
    with pytest.raises(InputError, match="window must be"):
        deviations(run, window=0)
    alone = compete(Market(1), [ScriptedFirm(1.5)], 3)
    with pytest.raises(InputError, match="at least two firms"):
        deviations(alone)


# ---- impulse response ---------------------------------------------------------------------------


def test_response_of_best_replies_by_hand() -> None:
    market = Market()
    found = impulse_response(market, PAIR, firm=1, price=1.2, at=80, after=3)
    nash = market.nash().prices[0]
    reply = market.best_response([0.0, 1.2], 0)
    assert found["deviator"].tolist()[:3] == pytest.approx([nash, 1.2, nash], abs=IDENTITY)
    assert found["others"].tolist()[:3] == pytest.approx([nash, nash, reply], abs=IDENTITY)
    assert found.loc[0, "deviator_response"] == pytest.approx(1.2 - nash, abs=IDENTITY)
    assert found.loc[2, "deviator"] == pytest.approx(
        market.best_response([reply, 0.0], 1), abs=IDENTITY
    )
    gain = market.profit([nash, 1.2])[1] - market.profit([nash, nash])[1]
    assert found.loc[0, "profit"] == pytest.approx(gain, rel=IDENTITY)
    assert found["profit_se"].isna().all()  # one session


def test_response_of_random_firms_starts_at_the_cut(tmp_path: Path) -> None:
    firms = [LogitFirm(0.3), LogitFirm(0.3)]
    found = impulse_response(
        Market(), firms, at=10, after=4, sessions=8, log=tmp_path / "run.jsonl"
    )
    # Same random numbers: before the cut nothing differs, and the other cannot know in period 0.
    assert found.loc[-1, ["deviator_response", "others_response"]].tolist() == [0.0, 0.0]
    assert found.loc[0, "others_response"] == 0.0
    assert found.loc[0, "deviator_se"] == pytest.approx(0, abs=ROUNDING)
    assert found.loc[1:, "others_response"].abs().sum() > 0
    assert {p.name for p in tmp_path.iterdir()} == {"run.jsonl", "run.forced.jsonl"}


def test_bad_responses() -> None:
    for options, words in (
        ({"firm": 2}, "firm must be one of"),
        ({"at": 0}, "at must be"),
        ({"after": 0}, "after must be"),
        ({"forced": {}}, "sets periods and forced"),
        ({"periods": 5}, "sets periods and forced"),
    ):
        with pytest.raises(InputError, match=words):
            impulse_response(Market(), PAIR, **options)  # type: ignore[arg-type]


# ---- regressions --------------------------------------------------------------------------------


def test_regression_on_last_prices_by_least_squares() -> None:
    run = compete(Market(), [LogitFirm(0.5), LogitFirm(0.5)], periods=30, sessions=12)
    fit = regress_prices(run, after=5)
    y, own, other = (
        np.concatenate([run.prices[:, 6 - lag : 31 - lag, k].ravel() for k in pair])
        for lag, pair in ((0, (0, 1)), (1, (0, 1)), (1, (1, 0)))
    )
    x = np.column_stack([np.ones(len(y)), own, other])
    assert fit.params.to_numpy() == pytest.approx(
        np.linalg.lstsq(x, y, rcond=None)[0], rel=IDENTITY
    )
    assert (fit.n_clusters, fit.fit.nobs) == (12, 600)
    assert "session 12" in str(fit)


def test_treatments_in_regressions() -> None:
    firms = [ScriptedFirm(lambda p: 1.5 + 0.1 * len(p) / 20), ScriptedFirm(1.5)]
    run = compete(
        Market(), firms, periods=20, sessions=20, currencies=(1.0, 10.0), prefixes=("", "x")
    )
    fit = regress_prices(run, "price ~ np.log(currency) + C(prefix)")
    assert fit.params.iloc[1:].abs().max() < 1e-12  # scripts do not read


def test_carried_and_forced_prices_are_no_choices() -> None:
    run = compete(Market(), PAIR, periods=12, sessions=12, forced={5: {0: 1.2}})
    assert regress_prices(run, "price ~ others_last").fit.nobs == 12 * (24 - 1)


def test_bad_regressions() -> None:
    data = pd.DataFrame({"y": [1.0, 2, 3, 4], "x": [1.0, 2, 3, 5], "g": [0, 0, 1, 1], "one": 1.0})
    for formula, clusters, words in (
        ("y ~ x", "h", "no column 'h'"),
        ("y ~ z", "g", "cannot be used"),
        ("y ~ x + one", "g", "collinear"),
        ("y ~ x", "one", "at least two clusters"),
    ):
        with pytest.raises(InputError, match=words):
            clustered_ols(formula, data, clusters)
    with pytest.raises(InputError, match="missing in some rows"):
        clustered_ols("y ~ x", data.assign(g=[0, None, 1, 1]), "g")
    with pytest.warns(AssumptionWarning, match="only 2 clusters"):
        clustered_ols("y ~ x", data, "g")


# ---- prices as choices --------------------------------------------------------------------------


def announced(
    kappa: float, n: int, scale: float = 60.0, seed: int = 0
) -> tuple[Market, np.ndarray, np.ndarray]:
    """Prices set once against announced random prices of two rivals."""
    market, rng = Market(3, cost=(1.0, 1.1, 0.9), mu=0.3, scale=1), np.random.default_rng(seed)
    known = np.column_stack([np.zeros(n), rng.uniform(1.0, 2.2, (n, 2))])
    grid = price_grid(market)
    prices = []
    for row in known:
        u = scale * market.moral_utility(grid, row, 0, kappa)
        p = np.exp(u - u.max())
        prices.append(rng.choice(grid, p=p / p.sum()))
    return market, np.array(prices), known


@pytest.mark.parametrize("kappa", [0.0, 0.5, 0.9])
def test_kappa_from_announced_prices(kappa: float) -> None:
    market, prices, known = announced(kappa, 1500)
    data = ChoiceData.from_prices(market, prices, known, grid=price_grid(market))
    fit = PreferenceLogit().fit(data)
    assert abs(fit.params["kappa"] - kappa) < 4 * fit.std_errors["kappa"]
    assert abs(fit.params["lambda"] - 60.0) < 4 * fit.std_errors["lambda"]
    assert fit.std_errors["kappa"] < 0.1


def test_likelihood_by_brute_force() -> None:
    market, prices, known = announced(0.5, 200)
    grid = price_grid(market)
    fit = PreferenceLogit().fit(ChoiceData.from_prices(market, prices, known, grid=grid))

    def loss(theta: np.ndarray) -> float:
        total = 0.0
        for price, row in zip(prices, known, strict=True):
            u = theta[0] * market.moral_utility(grid, row, 0, float(np.clip(theta[1], 0, 1)))
            total += u[np.abs(grid - price).argmin()] - np.log(np.exp(u - u.max()).sum()) - u.max()
        return -total

    found = minimize(
        loss, [40.0, 0.4], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}
    )
    assert fit.params.to_numpy() == pytest.approx(found.x, rel=OPTIMISER)
    assert fit.loglik == pytest.approx(-found.fun, rel=IDENTITY)


def test_firms_and_labels() -> None:
    market = Market()
    known, firm = [[0.0, 1.4], [1.7, 0.0], [0.0, 1.8]], [0, 1, 0]
    data = market.choices([1.6, 1.7, 1.65], known, firm, {"session": [1, 1, 2]})
    assert sorted(data.sets.labels) == ["firm", "session"]
    menu = np.array([float(name) for name in data.sets.actions[0]])
    row = data.sets.z[data.sets.choice_set[1]]
    own = [market.profit([1.7, p])[1] for p in menu]
    alike = [market.profit([p, p])[1] for p in menu]
    # Names of prices have six digits.
    assert row[:, 0] == pytest.approx(own, rel=SIX_DIGITS)
    assert row.sum(axis=1) == pytest.approx(alike, rel=SIX_DIGITS)


def test_symmetric_prices_are_refused_with_the_reason() -> None:
    market = Market()
    p = market.equilibrium(0.5).prices
    for prices, known in (
        ([p[0]] * 50, np.tile(p, (50, 1))),  # settled
        (np.linspace(1.5, 1.9, 9), np.tile(np.linspace(1.5, 1.9, 9)[:, None], 2)),  # in step
    ):
        with pytest.raises(NotIdentifiedError, match="identify conduct, not morality"):
            ChoiceData.from_prices(market, prices, known)
    run = compete(market, [BestResponseFirm(0.5), BestResponseFirm(0.5)], periods=300)
    with pytest.raises(NotIdentifiedError, match="identify conduct, not morality"):
        run.choices(after=200)
    with pytest.raises(NotIdentifiedError, match="single firm"):
        Market(1).choices([1.5], [[0.0]])


def test_choices_of_a_repeated_game_are_told_to_be_of_myopic_firms() -> None:
    run = compete(
        Market(scale=1), [LogitFirm(60.0, 0.5), LogitFirm(60.0, 0.5)], periods=200, sessions=4
    )
    with pytest.warns(AssumptionWarning, match="looked no further than the period"):
        data = run.choices(grid=price_grid(run.market))
    fit = PreferenceLogit().fit(data)  # and so they are here
    assert abs(fit.params["kappa"] - 0.5) < 4 * fit.std_errors["kappa"]
    assert data.n_choices == 1600


def test_bad_choices() -> None:
    market, known = Market(), [[0.0, 1.4], [0.0, 1.8]]
    for arguments, words in (
        (([1.5], known), "one a choice"),
        (([1.5, 1.6], [[1.4], [1.8]]), "one a choice and firm"),
        (([1.5, np.nan], known), "must be finite"),
        (([1.5, 1.6], known, 2), "firm must be 0 to 1"),
        (([1.5, 1.6], known, 0, None, [1.7]), "grid must be"),
        (([1.5, 2.6], known, 0, None, [1.4, 1.6, 1.8]), "price 2.6 is off the grid"),
        (([1.5, 1.6], known, 0, {"session": [1]}), "'session' must have one entry"),
    ):
        with pytest.raises(InputError, match=words):
            market.choices(*arguments)
