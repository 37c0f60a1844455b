"""Markets: printed numbers, brute force in decimals, closed forms, first-order conditions."""

from __future__ import annotations

import decimal
from decimal import Decimal

import numpy as np
import pytest
from scipy.special import lambertw

from mlinstruments._core.exceptions import InputError
from mlinstruments.applications.pricing import Market

from ..tolerances import BRUTE_FORCE, CUT_OFF, FIRST_ORDER, PRINTED, ROUNDING

ONE = Market(scale=1)
DIGITS = decimal.Context(prec=40)
DIFFERENT = Market(3, a=(2.0, 2.3, 1.8), a0=0.2, mu=0.4, cost=(1.0, 1.1, 0.9), scale=10)


@pytest.mark.parametrize(
    ("kappa", "price"),
    [
        (0, 1.4729266600),
        (0.25, 1.5829480832),
        (0.5, 1.7105722270),
        (0.75, 1.8293064282),
        (1, 1.9249809190),
    ],
)
def test_symmetric_prices(kappa: float, price: float) -> None:
    assert ONE.equilibrium(kappa).prices == pytest.approx([price, price], abs=PRINTED[10])


@pytest.mark.parametrize(
    ("kappa", "profit"), [(0, 0.2229266600), (0.5, 0.3070481514), (1, 0.3374904595)]
)
def test_symmetric_profits(kappa: float, profit: float) -> None:
    assert ONE.equilibrium(kappa).profits == pytest.approx([profit, profit], abs=PRINTED[10])


def test_asymmetric_weights() -> None:
    prices = ONE.equilibrium((0.5, 0)).prices
    assert prices == pytest.approx([1.6928375, 1.5682851], abs=CUT_OFF)
    assert prices == pytest.approx([1.69283756, 1.56828508], abs=PRINTED[8])
    assert ONE.equilibrium((1, 0)).prices == pytest.approx([1.9249809, 1.6616949], abs=PRINTED[7])


@pytest.mark.parametrize(("kappa", "price"), [(0, 1.3701627), (0.5, 1.6508287), (1, 2.0)])
def test_three_firms(kappa: float, price: float) -> None:
    assert Market(3).equilibrium(kappa).prices == pytest.approx([price] * 3, abs=PRINTED[7])


def test_quantities_and_profits_of_a_hundred_consumers() -> None:
    market = Market()
    assert market.demand([1.5, 1.5]) == pytest.approx([46.83105308] * 2, abs=PRINTED[8])
    assert market.profit([1.5, 1.5]) == pytest.approx([23.41552654] * 2, abs=PRINTED[8])


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("mu", [0.01, 0.25, 3.0])
def test_monopoly_by_the_closed_form(n: int, mu: float) -> None:
    market = Market(n, mu=mu, a=2.0, a0=0.3)
    x = np.log(n) + (2.0 - 0.3 - 1.0) / mu - 1
    w = float(lambertw(np.exp(x)).real)
    expected = 1.0 + mu * (1 + w)
    assert market.monopoly().prices == pytest.approx([expected] * n, rel=ROUNDING)
    assert market.equilibrium(1).prices == pytest.approx([expected] * n, rel=ROUNDING)


def test_monopoly_without_overflow() -> None:
    # W(e^x) solves w + log w = x; here e^x overflows.
    market = Market(2, mu=1e-4, scale=1)
    w = (market.monopoly().prices[0] - 1) / 1e-4 - 1
    x = np.log(2) + 1 / 1e-4 - 1
    assert w + np.log(w) == pytest.approx(x, rel=ROUNDING)
    assert np.isfinite(market.nash().profits).all()


@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.parametrize("kappa", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_symmetric_markup_formula(n: int, kappa: float) -> None:
    found = Market(n, scale=1).equilibrium(kappa)
    p, s = found.prices[0], found.shares[0]
    assert p - 1 == pytest.approx(0.25 / (1 - s * (1 + kappa * (n - 1))), rel=BRUTE_FORCE)


def _utility(
    market: Market, p: Decimal, prices: list[Decimal], firm: int, kappa: Decimal
) -> Decimal:
    """The definition, written anew in decimals."""
    mu, a0 = Decimal(market.mu), Decimal(market.a0)
    a, cost = [[Decimal(v) for v in values] for values in (market.a, market.cost)]  # type: ignore[union-attr]

    def share(profile: list[Decimal]) -> Decimal:
        e = [((aj - pj) / mu).exp(DIGITS) for aj, pj in zip(a, profile, strict=True)]
        return e[firm] / (sum(e) + (a0 / mu).exp(DIGITS))

    moved = [p if j == firm else q for j, q in enumerate(prices)]
    alike = [p] * len(prices)
    return (p - cost[firm]) * ((1 - kappa) * share(moved) + kappa * share(alike))


def _brute_force(market: Market, prices: list[float], firm: int, kappa: float) -> float:
    """The best price by trying 300 and closing in on the best one by thirds, 40 digits."""
    with decimal.localcontext(DIGITS):
        others, weight = [Decimal(p) for p in prices], Decimal(kappa)
        grid = [Decimal(float(p)) for p in np.linspace(0.8, 3.2, 300)]
        values = [_utility(market, p, others, firm, weight) for p in grid]
        best = values.index(max(values))
        low, high = grid[best - 1], grid[best + 1]
        for _ in range(75):  # (2/3)^75 of the first width
            third = (high - low) / 3
            left, right = low + third, high - third
            if _utility(market, left, others, firm, weight) < _utility(
                market, right, others, firm, weight
            ):
                low = left
            else:
                high = right
        return float(low)


@pytest.mark.parametrize("kappa", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("market", [ONE, DIFFERENT], ids=["alike", "different"])
def test_best_response_by_brute_force(market: Market, kappa: float) -> None:
    prices = [1.2, 1.9, 1.5][: market.n_firms]
    for firm in range(market.n_firms):
        found = market.best_response(prices, firm, kappa)
        assert found == pytest.approx(_brute_force(market, prices, firm, kappa), abs=BRUTE_FORCE)


@pytest.mark.parametrize("kappa", [(0.0, 0.0, 0.0), (0.3, 0.3, 0.3), (0.0, 0.5, 1.0)])
def test_equilibria_by_brute_force(kappa: tuple[float, ...]) -> None:
    prices = DIFFERENT.equilibrium(kappa).prices.tolist()
    for firm, weight in enumerate(kappa):
        assert prices[firm] == pytest.approx(
            _brute_force(DIFFERENT, prices, firm, weight), abs=BRUTE_FORCE
        )


def test_best_response_with_two_peaks_takes_the_higher() -> None:
    # A cheap rival: following it is one peak, the price all should charge the other.
    market = Market(2, a=(3.4853, 3.3468), cost=(0.9654, 1.3164), mu=0.1, scale=1)
    leaps = 0
    for rival in np.linspace(1.2, 2.4, 25):
        prices = [rival, 0.0]
        found = market.best_response(prices, 1, 0.5)
        grid = np.linspace(1.4, 3.5, 20_001)
        utility = market.moral_utility(grid, prices, 1, 0.5)
        rises = np.diff(utility) > 0
        leaps += int((rises[:-1] & ~rises[1:]).sum() > 1)
        assert market.moral_utility(found, prices, 1, 0.5) >= utility.max()
    assert leaps > 0  # the case does arise


@pytest.mark.parametrize("kappa", [(0.0, 0.0, 0.0), (0.4, 0.4, 0.4), (0.0, 0.5, 1.0)])
def test_first_order_conditions_by_finite_differences(kappa: tuple[float, ...]) -> None:
    market = Market(3, a=(2.0, 2.3, 1.8), mu=0.4, cost=(1.0, 1.1, 0.9), scale=1)
    prices, h = market.equilibrium(kappa).prices, 1e-5

    def own(p: float, firm: int) -> float:
        moved = prices.copy()
        moved[firm] = p
        return float(market.profit(moved)[firm])

    def alike(p: float, firm: int) -> float:
        return float(market.profit([p] * 3)[firm])

    for firm, k in enumerate(kappa):
        p = prices[firm]
        slopes = [(f(p + h, firm) - f(p - h, firm)) / (2 * h) for f in (own, alike)]
        assert (1 - k) * slopes[0] + k * slopes[1] == pytest.approx(0, abs=FIRST_ORDER)


def test_joint_monopoly_by_finite_differences() -> None:
    market, h = Market(3, a=(2.0, 2.3, 1.8), mu=0.4, cost=(1.0, 1.1, 0.9), scale=1), 1e-5
    prices = market.monopoly().prices
    for firm in range(3):
        step = np.eye(3)[firm] * h
        slope = (market.profit(prices + step).sum() - market.profit(prices - step).sum()) / (2 * h)
        assert slope == pytest.approx(0, abs=FIRST_ORDER)


def test_a_price_for_all_is_not_the_joint_monopoly_of_different_firms() -> None:
    # A Kantian asks what would happen if all charged its price, not its margin.
    market = Market(2, cost=(1.0, 1.2), scale=1)
    kantian, joint = market.equilibrium(1), market.monopoly()
    assert np.diff(joint.prices)[0] == pytest.approx(0.2, rel=ROUNDING)
    assert np.diff(kantian.prices)[0] < 0.1
    assert kantian.profits.sum() < joint.profits.sum()


def test_consumer_surplus_falls_by_the_quantity() -> None:
    h, prices = 1e-5, np.array([1.4, 1.9, 1.6])
    for firm in range(3):
        step = np.eye(3)[firm] * h
        slope = (
            DIFFERENT.consumer_surplus(prices + step) - DIFFERENT.consumer_surplus(prices - step)
        ) / (2 * h)
        assert slope == pytest.approx(-DIFFERENT.demand(prices)[firm], rel=FIRST_ORDER)


def test_conduct() -> None:
    for kappa in (0.0, 0.25, 0.7, 1.0):
        assert ONE.conduct(ONE.equilibrium(kappa).prices) == pytest.approx(
            [kappa] * 2, abs=BRUTE_FORCE
        )
    # Of different firms it is the weight on the others' profits: 1 at the joint monopoly.
    assert DIFFERENT.conduct(DIFFERENT.monopoly().prices) == pytest.approx(
        [1.0] * 3, abs=BRUTE_FORCE
    )
    assert DIFFERENT.conduct(DIFFERENT.nash().prices) == pytest.approx([0.0] * 3, abs=BRUTE_FORCE)
    p, s = 1.6, ONE.shares([1.6, 1.6])[0]
    assert ONE.conduct([p, p])[0] == pytest.approx(((1 - 0.25 / (p - 1)) / s - 1), rel=ROUNDING)
    assert np.isnan(ONE.conduct([1.5, 1.0])[0])  # the other earns nothing
    assert ONE.conduct(np.full((4, 3, 2), 1.5)).shape == (4, 3, 2)


def test_a_conduct_is_not_a_moral_weight_at_different_prices() -> None:
    prices = ONE.equilibrium((0.5, 0.0)).prices
    assert abs(ONE.conduct(prices)[0] - 0.5) > 0.01


def test_no_equilibrium_is_said() -> None:
    market = Market(2, a=(3.4853, 3.3468), cost=(0.9654, 1.3164), mu=0.1)
    with pytest.raises(InputError, match="no equilibrium in pure prices"):
        market.equilibrium((0.0, 0.5))


def test_profit_gain() -> None:
    market = Market()
    assert market.profit_gain(market.nash().profits) == pytest.approx([0, 0], abs=ROUNDING)
    assert market.profit_gain(market.monopoly().profits) == pytest.approx([1, 1], rel=ROUNDING)
    dear = Market(2, cost=(0.5, 1.9))
    assert dear.monopoly().profits[1] < dear.nash().profits[1]
    assert np.isnan(dear.profit_gain(dear.nash().profits)[1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_firms": 0}, "n_firms must be a whole number"),
        ({"cost": (1.0, 2.0, 3.0)}, "cost must be one number or one a firm, 2 here"),
        ({"a": "high"}, "'a' must be numeric"),
        ({"mu": 0.0}, "mu must be positive"),
        ({"mu": (0.1, 0.2)}, "mu must be one finite number"),
        ({"scale": -1.0}, "scale must be positive"),
        ({"cost": float("nan")}, "cost must be finite"),
        ({"a0": float("inf")}, "a0 must be one finite number"),
    ],
)
def test_bad_parameters(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Market(**options)  # type: ignore[arg-type]


def test_bad_calls() -> None:
    for prices in ([1.0], 1.0, [1.0, np.inf], [1.0, 2.0, 3.0]):
        with pytest.raises(InputError, match="prices must be"):
            ONE.demand(prices)
    for kappa in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="kappa must"):
            ONE.equilibrium(kappa)
    with pytest.raises(InputError, match="firm must be 0 to 1"):
        ONE.best_response([1, 1], 2)
    with pytest.raises(InputError, match="conduct needs at least two firms"):
        Market(1).conduct([1.5])


def test_printed() -> None:
    assert "1.472927" in str(Market().nash())
    assert Market().settings["cost"] == [1.0, 1.0]
