"""Logit demand and the prices firms choose in it: functions of arrays.

Shares are s_i = exp((a_i - p_i) / mu) / (sum_j exp((a_j - p_j) / mu) + exp(a0 / mu)), margins
m_i = p_i - c_i, profits m_i s_i. A moral firm maximises (1 - kappa) m_i s_i(p_i, p_-i) + kappa
m_i s_i(p_i, ..., p_i): its profit, and its profit if everybody charged its price.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp, wrightomega

from mlinstruments._core.typing import FloatArray

# Points per mu on which a moral firm's objective is searched for its peaks: the objective bends on
# the scale of mu.
POINTS = 64
# Best replies follow each other until prices move by less than this times mu.
SETTLED = 1e-13
ROUNDS = 400


@dataclass(frozen=True, eq=False)
class Demand:
    """Parameters of a market as arrays.

    Parameters
    ----------
    a, cost : array, shape (n,)
    a0, mu : float
    """

    a: FloatArray
    cost: FloatArray
    a0: float
    mu: float


def shares(demand: Demand, prices: FloatArray) -> FloatArray:
    """Shares of the firms, (..., n); what is left to one buys nothing."""
    v = (demand.a - prices) / demand.mu
    top = np.maximum(v.max(axis=-1, keepdims=True), demand.a0 / demand.mu)
    e = np.exp(v - top)
    total = e.sum(axis=-1, keepdims=True) + np.exp(demand.a0 / demand.mu - top)
    return np.asarray(e / total)


def inclusive_value(demand: Demand, prices: FloatArray) -> FloatArray:
    """mu log(sum_j exp((a_j - p_j) / mu) + exp(a0 / mu)), shape (...)."""
    v = (demand.a - prices) / demand.mu
    outside = np.full((*v.shape[:-1], 1), demand.a0 / demand.mu)
    return np.asarray(demand.mu * logsumexp(np.concatenate([v, outside], axis=-1), axis=-1))


def log_rest(demand: Demand, prices: FloatArray, firm: int) -> float:
    """Log of the attractions of all but one firm, nothing included."""
    others = np.delete((demand.a - prices) / demand.mu, firm)
    return float(logsumexp(np.append(others, demand.a0 / demand.mu)))


def peak(log_attraction: FloatArray | float, log_rest: float, mu: float) -> FloatArray:
    """Margin m that maximises m s where s / (1 - s) = exp(log_attraction - m / mu - log_rest).

    The first-order condition m = mu / (1 - s) gives m = mu (1 + W(exp(x - 1))), x the difference of
    the logs; W(exp(x)) is Wright's omega, which does not overflow.
    """
    return np.asarray(mu * (1 + wrightomega(np.asarray(log_attraction) - log_rest - 1)))


def selfish_reply(demand: Demand, prices: FloatArray, firm: int) -> float:
    """Price of a firm that maximises its profit given the others' prices."""
    cost = demand.cost[firm]
    own = (demand.a[firm] - cost) / demand.mu
    return float(cost + peak(own, log_rest(demand, prices, firm), demand.mu))


def universal_price(demand: Demand, firm: int) -> float:
    """Price that maximises a firm's profit if all charge it."""
    cost = demand.cost[firm]
    joint = logsumexp((demand.a - cost) / demand.mu)
    return float(cost + peak(joint, demand.a0 / demand.mu, demand.mu))


def joint_prices(demand: Demand) -> FloatArray:
    """Prices that maximise the sum of profits: one margin for all firms, (n,)."""
    joint = logsumexp((demand.a - demand.cost) / demand.mu)
    return np.asarray(demand.cost + peak(joint, demand.a0 / demand.mu, demand.mu))


def own_slope(demand: Demand, share: FloatArray, margin: FloatArray) -> FloatArray:
    """Derivative of a firm's profit in its own price."""
    return np.asarray(share * (1 - margin * (1 - share) / demand.mu))


def universal_slope(demand: Demand, price: FloatArray, firm: int) -> FloatArray:
    """Derivative of a firm's profit where all charge ``price``, (...), in that price."""
    alike = shares(demand, np.repeat(price[..., None], len(demand.a), axis=-1))
    outside = 1 - alike.sum(axis=-1)
    margin = price - demand.cost[firm]
    return np.asarray(alike[..., firm] * (1 - margin * outside / demand.mu))


def moral_utility(
    demand: Demand, price: FloatArray, prices: FloatArray, firm: int, kappa: float
) -> FloatArray:
    """(1 - kappa) profit + kappa profit if all charged the same, at each price (...)."""
    margin = price - demand.cost[firm]
    own, alike = (shares(demand, profile)[..., firm] for profile in _profiles(price, prices, firm))
    return np.asarray(margin * ((1 - kappa) * own + kappa * alike))


def _profiles(price: FloatArray, prices: FloatArray, firm: int) -> tuple[FloatArray, FloatArray]:
    """Prices (..., n) of all where only the firm moves, and where all move with it."""
    alike = np.repeat(price[..., None], len(prices), axis=-1)
    moved = np.broadcast_to(prices, alike.shape).copy()
    moved[..., firm] = price
    return moved, alike


def moral_reply(demand: Demand, prices: FloatArray, firm: int, kappa: float) -> float:
    """Price that maximises a moral firm's utility: the highest of all its peaks.

    Both parts of utility have one peak, so that the best price lies between the two; their sum may
    have several.
    """
    selfish = selfish_reply(demand, prices, firm)
    if kappa == 0:
        return selfish
    universal = universal_price(demand, firm)
    if kappa == 1:
        return universal
    low, high = sorted((selfish, universal))
    if high - low <= SETTLED * demand.mu:
        return low

    def slope(price: FloatArray) -> FloatArray:
        moved, _ = _profiles(price, prices, firm)
        share, margin = shares(demand, moved)[..., firm], price - demand.cost[firm]
        own = own_slope(demand, share, margin)
        return (1 - kappa) * own + kappa * universal_slope(demand, price, firm)

    count = int(np.ceil(POINTS * (high - low) / demand.mu)) + 2
    grid = np.linspace(low, high, count)
    values = slope(grid)
    values[0], values[-1] = max(values[0], 0.0), min(values[-1], 0.0)  # but for rounding
    peaks = []
    for k in np.flatnonzero((values[:-1] >= 0) & (values[1:] <= 0)):
        if values[k] == 0:
            peaks.append(float(grid[k]))
        elif values[k + 1] == 0:
            peaks.append(float(grid[k + 1]))
        else:
            root = brentq(lambda p: float(slope(np.array(p))), grid[k], grid[k + 1], xtol=1e-15)
            peaks.append(float(root))
    found = np.array(peaks)
    return float(found[moral_utility(demand, found, prices, firm, kappa).argmax()])


def settle(demand: Demand, kappa: FloatArray, start: FloatArray) -> FloatArray | None:
    """Prices (n,) where every firm's is its best reply, by replies in turn; None if they cycle."""
    prices = start.copy()
    step = 1.0
    for done in range(ROUNDS):
        before = prices.copy()
        for firm, weight in enumerate(kappa):
            reply = moral_reply(demand, prices, firm, float(weight))
            prices[firm] += step * (reply - prices[firm])
        if np.abs(prices - before).max() <= SETTLED * max(demand.mu, np.abs(prices).max()):
            return prices
        if done == ROUNDS // 2:
            step = 0.5  # replies that overshoot settle when they go half the way
    return None
