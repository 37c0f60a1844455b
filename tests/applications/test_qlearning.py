"""Q-learning: bit by bit beside a plain loop, convergence, limit cycles, deviations."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.lib.plain_q_learning import plain_q_learning
from mlinstruments._core.exceptions import InputError, MissingExtraError
from mlinstruments.applications.pricing import Market, price_grid, q_learning
from mlinstruments.applications.pricing.qengine import Learners, Learning, joint_actions

from ..tolerances import ROUNDING

QUICK = {"beta": 2e-3, "n_prices": 6, "stable": 2000}


@pytest.mark.parametrize("compiled", [False, True], ids=["numpy", "numba"])
@pytest.mark.parametrize("arrays", [False, True], ids=["lists", "arrays"])
@pytest.mark.parametrize(
    ("n", "m", "cost"),
    [(2, 5, 1.0), (2, 7, (1.0, 1.2)), (3, 4, 1.0)],
    ids=["two", "unlike", "three"],
)
def test_equals_a_plain_loop_to_the_bit(
    n: int, m: int, cost: object, arrays: bool, compiled: bool
) -> None:
    market = Market(n, cost=cost)  # type: ignore[arg-type]
    profits = market.profit(price_grid(market, m)[joint_actions(m, n)])
    learning, seeds = Learning(0.2, 2e-3, 0.9), np.random.SeedSequence(3).spawn(4)
    found = Learners(profits, m, learning, [np.random.default_rng(s) for s in seeds], compiled)
    for _ in range(6):
        found.run()
    for k, seed in enumerate(seeds):
        tables, state, *_ = plain_q_learning(
            profits,
            m,
            0.2,
            2e-3,
            0.9,
            np.random.default_rng(seed),
            10**9,
            found.period,
            arrays=arrays,
        )
        assert np.array_equal(found.tables[k], np.array(tables))
        assert np.array_equal(found.strategies[k], np.array(tables).argmax(axis=-1))
        assert found.state[k] == state


def test_sessions_end_where_a_plain_loop_does() -> None:
    market, learning = Market(), (0.15, 2e-3, 0.95)
    found = q_learning(market, 5, **QUICK, max_periods=8192, random_state=1)  # type: ignore[arg-type]
    profits = market.profit(found.grid[joint_actions(6, 2)])
    ends = set()
    for k, seed in enumerate(np.random.SeedSequence(1).spawn(5)):
        tables, state, periods, converged = plain_q_learning(
            profits, 6, *learning, np.random.default_rng(seed), 2000, 8192
        )
        assert (found.state[k], found.periods[k], found.converged[k]) == (state, periods, converged)
        assert np.array_equal(found.strategies[k], np.array(tables).argmax(axis=-1))
        ends.add(periods)
    assert len(ends) > 1  # sessions do end at different times, and others run on


def test_a_session_does_not_depend_on_how_many_there_are() -> None:
    few, many = (q_learning(sessions=s, **QUICK) for s in (2, 9))  # type: ignore[arg-type]
    assert np.array_equal(few.strategies, many.strategies[:2])
    assert np.array_equal(few.periods, many.periods[:2])


def test_engines_end_alike() -> None:
    """Whatever session has ended and been dropped, periods of the last change included."""
    ends = [q_learning(sessions=9, engine=e, **QUICK) for e in ("numpy", "numba", "auto")]  # type: ignore[arg-type]
    for other in ends[1:]:
        assert np.array_equal(ends[0].strategies, other.strategies)
        assert np.array_equal(ends[0].periods, other.periods)
        assert np.array_equal(ends[0].state, other.state)
    assert len(set(ends[0].periods)) > 1


def test_numba_asked_for_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlinstruments.applications.pricing.qlearning.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"mlinstruments\[numba\]"):
        q_learning(sessions=2, engine="numba")
    with pytest.raises(InputError, match="engine"):
        q_learning(sessions=2, engine="cython")
    assert q_learning(sessions=2, **QUICK).converged.all()  # type: ignore[arg-type]


def test_sessions_that_did_not_converge_are_said() -> None:
    found = q_learning(sessions=3, beta=1e-6, n_prices=4, stable=5000, max_periods=1024)
    assert not found.converged.any()
    assert found.periods.tolist() == [1024] * 3
    assert "0 converged" in str(found)
    assert "No session converged" in str(found)
    with pytest.raises(InputError, match="no session converged"):
        found.deviation()


def test_limit_cycle_by_walking() -> None:
    found = q_learning(sessions=12, **QUICK)  # type: ignore[arg-type]
    lengths = []
    for s in range(12):
        state, seen, path = int(found.state[s]), {}, []
        while state not in seen:
            seen[state] = len(path)
            actions = found.strategies[s, :, state]
            path.append(found.grid[actions])
            state = int(actions[0] * 6 + actions[1])
        cycle = np.array(path[seen[state] :])
        lengths.append(len(cycle))
        assert found.prices[s] == pytest.approx(cycle.mean(axis=0), rel=ROUNDING)
        assert found.profits[s] == pytest.approx(
            found.market.profit(cycle).mean(axis=0), rel=ROUNDING
        )
    assert found.cycle_length.tolist() == lengths


@pytest.mark.slow
def test_prices_above_nash_and_below_monopoly() -> None:
    found = q_learning(sessions=40, **QUICK)  # type: ignore[arg-type]
    prices = found.prices.mean(axis=1)
    error = prices.std(ddof=1) / np.sqrt(40)
    nash, joint = found.market.nash().prices[0], found.market.monopoly().prices[0]
    # Far beyond chance: more than five standard errors from either.
    assert nash + 5 * error < prices.mean() < joint - 5 * error
    assert 0 < found.gain.mean() < 1


def test_deviation_starts_from_the_cycle_and_pays_at_once() -> None:
    found = q_learning(sessions=30, **QUICK)  # type: ignore[arg-type]
    path = found.deviation(firm=1, after=5)
    assert path.loc[-1, "profit"] == 0.0
    assert path.loc[0, "profit"] >= 0.0  # the best price against what the other charges
    # The other cannot know yet: its price is what it would have been.
    calm = found.deviation(firm=1, price=float(path.loc[0, "others"]), after=1)
    assert path.loc[0, "others"] == pytest.approx(calm.loc[0, "others"], rel=ROUNDING)
    forced = found.deviation(firm=0, price=found.grid[0], after=2)
    assert forced.loc[0, "deviator"] == pytest.approx(found.grid[0], rel=ROUNDING)
    assert forced.loc[0, "deviator_se"] == pytest.approx(0, abs=ROUNDING)


def test_grid() -> None:
    market = Market()
    grid, gap = price_grid(market), market.monopoly().prices[0] - market.nash().prices[0]
    assert len(grid) == 15
    assert grid[[0, -1]] == pytest.approx(
        [market.nash().prices[0] - 0.1 * gap, market.monopoly().prices[0] + 0.1 * gap], rel=ROUNDING
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"beta": -1.0}, "beta must be positive"),
        ({"discount": 1.0}, "discount must be at least 0"),
        ({"sessions": 0}, "sessions must be a whole number"),
        ({"n_prices": 1}, "n_prices must be"),
        ({"spread": -0.1}, "spread must be"),
        ({"stable": 0}, "stable must be"),
        ({"market": Market(6), "n_prices": 15}, "take fewer prices"),
    ],
)
def test_bad_options(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        q_learning(**options)  # type: ignore[arg-type]


def test_bad_deviations() -> None:
    found = q_learning(sessions=2, **QUICK)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="firm must be 0 to 1"):
        found.deviation(firm=2)
    with pytest.raises(InputError, match="after must be"):
        found.deviation(after=0)
