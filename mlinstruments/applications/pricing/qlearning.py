"""Q-learning firms of Calvano, Calzolari, Denicolo and Pastorello (2020): the front door."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import InputError, MissingExtraError
from mlinstruments._core.typing import FloatArray, IntArray

from .market import Market
from .qengine import Learners, Learning, joint_actions
from .qresults import QLearningResults

# Sessions whose tables fit into so many bytes run together.
BATCH_BYTES = 2**28
ENGINES = ("auto", "numpy", "numba")


def price_grid(market: Market, n_prices: int = 15, spread: float = 0.1) -> FloatArray:
    """Equally spaced prices from somewhat below the Nash price to somewhat above the monopoly's.

    Parameters
    ----------
    market : Market
    n_prices : int
    spread : float
        How far beyond them, as a share of their distance.

    Returns
    -------
    array, shape (n_prices,)
        The same for all firms: from the lowest Nash to the highest monopoly price.

    Examples
    --------
    >>> from mlinstruments.applications.pricing import Market, price_grid
    >>> price_grid(Market(), n_prices=3).round(4)
    array([1.4277, 1.699 , 1.9702])
    """
    check_count(n_prices, "n_prices", 2)
    if not spread >= 0:
        raise InputError(f"spread must be at least 0; got {spread!r}.")
    low, high = market.nash().prices.min(), market.monopoly().prices.max()
    beyond = spread * (high - low)
    return np.linspace(low - beyond, high + beyond, n_prices)


def q_learning(
    market: Market | None = None,
    sessions: int = 100,
    *,
    alpha: float = 0.15,
    beta: float = 4e-6,
    discount: float = 0.95,
    n_prices: int = 15,
    spread: float = 0.1,
    stable: int = 100_000,
    max_periods: int = 10_000_000,
    random_state: int = 0,
    engine: str = "auto",
    progress: bool | None = None,
) -> QLearningResults:
    """Let Q-learning firms price against each other until their strategies stand still.

    A firm knows the last prices of all. It keeps a value for every price in every such state, takes
    the best one but for explorations of chance exp(-beta t), and moves the value towards profit
    plus discounted value of what follows at rate alpha. Values start at those of rivals who choose
    at random for ever. All sessions advance together.

    Parameters
    ----------
    market : Market, optional
    sessions : int
        Independent repetitions; session k is the same whatever the number of sessions.
    alpha : float
        Learning rate, above 0 and at most 1.
    beta : float
        Decay of exploration, a period. The default takes about a million periods.
    discount : float
        Below 1.
    n_prices, spread :
        See :func:`price_grid`.
    stable : int
        A session has converged when no firm's best price in any state has changed for so many
        periods; looked at every 512 periods.
    max_periods : int
        Sessions that have not converged by then are reported as such.
    random_state : int
    engine : {"auto", "numpy", "numba"}
        ``numpy`` advances all sessions together, ``numba`` one after the other in compiled code, to
        the same results and several times faster once compiled (two seconds). ``auto`` takes numba
        where it is installed.
    progress : bool, optional
        Show a progress bar; None shows it in a terminal.

    Returns
    -------
    QLearningResults

    Raises
    ------
    InputError
        Where a parameter is out of range, or the tables of one session do not fit.
    MissingExtraError
        Where numba is asked for and is not installed.

    References
    ----------
    Calvano, Calzolari, Denicolo, Pastorello (2020), doi:10.1257/aer.20190623.

    Examples
    --------
    Quick learners on a coarse grid:

    >>> from mlinstruments.applications.pricing import Market, q_learning
    >>> found = q_learning(Market(), sessions=20, beta=2e-3, n_prices=6, stable=2000)
    >>> bool(found.converged.all()), bool(0 < found.gain.mean() < 1)
    (True, True)
    """
    market = market or Market()
    check_count(sessions, "sessions", 1)
    check_count(stable, "stable", 1)
    check_count(max_periods, "max_periods", 1)
    learning = check_learning(alpha, beta, discount)
    check_count(n_prices, "n_prices", 2)
    compiled = _compiled(engine)
    size = 8 * market.n_firms * n_prices ** (market.n_firms + 1)
    if size > BATCH_BYTES:
        raise InputError(
            f"{market.n_firms} firms with {n_prices} prices need tables of {size / 1e9:.1f} GB a"
            " session: take fewer prices."
        )
    grid = price_grid(market, n_prices, spread)
    profits = market.profit(grid[joint_actions(n_prices, market.n_firms)])
    seeds = np.random.SeedSequence(random_state).spawn(sessions)
    batch = max(1, BATCH_BYTES // size)
    parts = [
        _run(
            profits, n_prices, learning, seeds[k : k + batch], stable, max_periods, compiled,
            progress,
        )
        for k in range(0, sessions, batch)
    ]  # fmt: skip
    strategies, states, periods, converged = (
        np.concatenate(columns) for columns in zip(*parts, strict=True)
    )
    return QLearningResults(
        market, grid, learning, stable, strategies, states, periods, converged.astype(bool)
    )


def check_learning(alpha: float, beta: float, discount: float) -> Learning:
    """Parameters of learning, or an error that names the one out of range."""
    if not 0 < alpha <= 1:
        raise InputError(f"alpha must be above 0 and at most 1; got {alpha!r}.")
    if not 0 < beta < np.inf:
        raise InputError(f"beta must be positive; got {beta!r}.")
    if not 0 <= discount < 1:
        raise InputError(f"discount must be at least 0 and below 1; got {discount!r}.")
    return Learning(float(alpha), float(beta), float(discount))


def _compiled(engine: str) -> bool:
    """Whether to take compiled code."""
    check_choice(engine, "engine", ENGINES)
    there = find_spec("numba") is not None
    if engine == "numba" and not there:
        raise MissingExtraError("numba", "numba")
    return there and engine != "numpy"


def _run(
    profits: FloatArray,
    m: int,
    learning: Learning,
    seeds: list[Any],
    stable: int,
    max_periods: int,
    compiled: bool,
    progress: bool | None,
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Strategies, last states, periods and convergence of some sessions."""
    from tqdm.auto import tqdm

    k, n = profits.shape
    s = len(seeds)
    generators = [np.random.default_rng(seed) for seed in seeds]
    learners = Learners(profits, m, learning, generators, compiled)
    strategies = np.empty((s, n, k), dtype=np.int64)
    states, periods, converged = (np.zeros(s, dtype=np.int64) for _ in range(3))
    left = np.arange(s)
    disable = None if progress is None else not progress
    with tqdm(total=s, desc="sessions converged", disable=disable, leave=False) as bar:
        while len(left) and learners.period < max_periods:
            learners.run()
            bar.set_postfix(period=learners.period, refresh=False)
            done = learners.period - 1 - learners.last_change >= stable
            ends = done | (learners.period >= max_periods)
            if not ends.any():
                bar.update(0)
                continue
            at = left[ends]
            strategies[at], states[at] = learners.strategies[ends], learners.state[ends]
            periods[at], converged[at] = learners.period, done[ends]
            learners.keep(~ends)
            left = left[~ends]
            bar.update(int(done.sum()))
    return strategies, states, periods, converged
