"""Repeated play: equilibria reached, notes kept, treatments balanced, kills survived."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import AgentError, Answer, Failure, Probabilities, ScriptedAgent
from mlinstruments.applications.pricing import (
    BestResponseFirm,
    LearntFirm,
    LogitFirm,
    Market,
    PromptedFirm,
    QLearningFirm,
    ScriptedFirm,
    TitForTatFirm,
    compete,
    price_grid,
    q_learning,
)
from mlinstruments.applications.pricing.prompted import parse_offer

from ..tolerances import BRUTE_FORCE, ROUNDING
from . import paced

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kappa", [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0)])
def test_best_responses_settle_in_the_equilibrium(kappa: tuple[float, float]) -> None:
    market = Market()
    run = compete(market, [BestResponseFirm(k) for k in kappa], periods=300)
    assert run.prices[0, -1] == pytest.approx(market.equilibrium(kappa).prices, abs=BRUTE_FORCE)
    assert run.last()["gain"].to_numpy() == pytest.approx(
        market.profit_gain(market.equilibrium(kappa).profits), abs=BRUTE_FORCE
    )


def test_openings_lie_between_nash_and_monopoly_and_can_be_given() -> None:
    market, firms = Market(), [ScriptedFirm(1.5), ScriptedFirm(1.6)]
    run = compete(market, firms, periods=2, sessions=20)
    first = run.prices[:, 0]
    assert (first > market.nash().prices).all()
    assert (first < market.monopoly().prices).all()
    assert len(np.unique(first)) == 40
    given = compete(market, firms, periods=2, sessions=2, opening=[1.1, 1.2])
    assert given.prices[:, 0].tolist() == [[1.1, 1.2]] * 2


def test_tit_for_tat_copies_the_lowest_rival() -> None:
    firms = [TitForTatFirm(), ScriptedFirm([1.9, 1.4, 1.8]), ScriptedFirm([1.7, 1.6, 1.75])]
    run = compete(Market(3), firms, periods=4)
    first = Market(3).monopoly().prices[0]
    assert run.prices[0, 1:, 0].tolist() == [first, 1.7, 1.4, 1.75]


def test_scripted_functions_see_all_prices() -> None:
    seen: list[tuple[int, ...]] = []

    def raised(prices: Any) -> float:
        seen.append(prices.shape)
        return float(prices[-1].max()) + 0.1

    run = compete(
        Market(), [ScriptedFirm(raised), ScriptedFirm(1.5)], periods=3, opening=[1.5, 1.5]
    )
    assert run.prices[0, :, 0] == pytest.approx([1.5, 1.6, 1.7, 1.8], rel=ROUNDING)
    assert seen == [(1, 2), (2, 2), (3, 2)]
    assert "raised" in str(ScriptedFirm(raised).settings)


def test_logit_shares() -> None:
    market, rivals = Market(scale=1), [ScriptedFirm(1.6)]
    run = compete(
        market, [LogitFirm(30.0, 0.4, n_prices=5), *rivals], periods=4000, opening=[1.5, 1.6]
    )
    grid = price_grid(market, 5)
    utility = market.moral_utility(grid, [0.0, 1.6], 0, 0.4)
    p = np.exp(30 * utility) / np.exp(30 * utility).sum()
    shares = (run.prices[0, 1:, 0][:, None] == grid).mean(axis=0)
    # Five standard errors of a share of 4000 independent draws.
    assert (np.abs(shares - p) < 5 * np.sqrt(p * (1 - p) / 4000)).all()


def test_q_learning_firm_by_a_plain_table() -> None:
    firm = QLearningFirm(alpha=0.3, beta=0.05, discount=0.9, n_prices=4)
    market = Market()
    run = compete(market, [firm, BestResponseFirm()], periods=80)
    grid = price_grid(market, 4)
    near = np.abs(run.prices[0][..., None] - grid).argmin(axis=-1)
    values = [np.mean([market.profit([p, q])[0] for q in grid]) / 0.1 for p in grid]
    table = {(a, b): list(values) for a in range(4) for b in range(4)}
    seeds = {row["period"]: row["seed"] for row in run.rows if row["firm"] == 0}
    for t in range(1, 81):
        state = tuple(near[t - 1])
        draw, chance = np.random.default_rng(seeds[t]).random(), np.exp(-0.05 * (t - 1))
        greedy = int(np.argmax(table[state]))
        expected = min(int(draw / chance * 4), 3) if draw < chance else greedy
        assert run.prices[0, t, 0] == grid[expected]
        earned = market.profit(run.prices[0, t])[0]
        best = max(table[tuple(near[t])])
        table[state][expected] = 0.7 * table[state][expected] + 0.3 * (earned + 0.9 * best)


def test_learnt_firms_walk_the_limit_cycle() -> None:
    learnt = q_learning(sessions=3, beta=2e-3, n_prices=6, stable=2000)
    actions = np.unravel_index(learnt.state[1], (6, 6))
    run = compete(
        learnt.market, [LearntFirm(learnt, 1), LearntFirm(learnt, 1)], periods=72,
        opening=learnt.grid[list(actions)],
    )  # fmt: skip
    cycle = int(learnt.cycle_length[1])
    assert run.prices[0, -cycle:].mean(axis=0) == pytest.approx(learnt.prices[1], rel=ROUNDING)
    with pytest.raises(InputError, match="of the market it was learnt in"):
        compete(Market(mu=0.3), [LearntFirm(learnt), LearntFirm(learnt)])
    with pytest.raises(InputError, match="session must be 0 to 2"):
        LearntFirm(learnt, 3)
    other = q_learning(sessions=1, beta=1e-6, n_prices=4, stable=5000, max_periods=512)
    with pytest.raises(InputError, match="did not converge"):
        LearntFirm(other)


# ---- agents that read and write -----------------------------------------------------------------


def test_notes_are_kept_and_shown() -> None:
    writer = paced.Writer()
    run = paced.run(None, writer=writer)
    prompts = [p.user for p in writer.asked]
    assert prompts[0].count("none") == 2
    first = next(
        row for row in run.rows if row["firm"] == 0 and row["period"] == 1 and row["session"] == 0
    )
    later = prompts[paced.SESSIONS]  # session 0 in period 2
    assert f"Your plans so far: {first['plans']}" in later
    assert f"Your insights so far: {first['insights']}" in later


def test_a_firm_that_writes_no_notes_keeps_the_old_ones() -> None:
    texts: list[str] = []

    def script(prompt: Any) -> str:
        texts.append(prompt.user)
        return "Plans: wait\nPrice: 1.5" if len(texts) == 1 else "Price: 1.6"

    compete(Market(), [ScriptedAgent(script), ScriptedFirm(1.5)], periods=3)
    assert all("Your plans so far: wait" in text for text in texts[1:])
    assert "Your insights so far: none" in texts[2]


@pytest.mark.parametrize(
    ("n", "words"), [(1, "is the only one"), (2, "one other firm sells"), (3, "2 other firms sell")]
)
def test_texts_by_number_of_firms(n: int, words: str) -> None:
    writer = paced.Writer()
    compete(Market(n), [writer, *[ScriptedFirm(1.5)] * (n - 1)], periods=1)
    text = writer.asked[0].user
    assert words in text
    assert text.count("other price") == n - 1


def test_memory_limits_what_is_shown() -> None:
    writer = paced.Writer()
    compete(Market(), [writer, BestResponseFirm()], periods=9, memory=4)
    lines = [line for line in writer.asked[-1].user.splitlines() if line.startswith("period")]
    assert [line.split(":")[0] for line in lines] == [
        "period 5",
        "period 6",
        "period 7",
        "period 8",
    ]
    assert (
        len([line for line in writer.asked[1].user.splitlines() if line.startswith("period")]) == 2
    )


def test_currency_scales_what_is_shown_and_read_and_nothing_else() -> None:
    texts: dict[float, list[str]] = {}
    for money in (1.0, 10.0):
        texts[money] = []

        def script(prompt: Any, money: float = money) -> str:
            texts[money].append(prompt.user)
            return f"Price: {1.5 * money}"

        run = compete(
            Market(), [ScriptedAgent(script), ScriptedFirm(1.6)], periods=2,
            opening=[1.5, 1.5], currencies=(money,),
        )  # fmt: skip
        assert run.prices[0, 1:].tolist() == [[1.5, 1.6]] * 2
    assert "your price 1.5, other price 1.5, you sold 46.83, your profit 23.42" in texts[1.0][0]
    assert "your price 15, other price 15, you sold 46.83, your profit 234.2" in texts[10.0][0]
    assert "costs you 10." in texts[10.0][0]


def test_treatments_are_balanced_random_and_logged() -> None:
    firms = [ScriptedFirm(1.5), ScriptedFirm(1.5)]
    options: dict[str, Any] = {
        "periods": 1,
        "currencies": (1.0, 3.2, 10.0),
        "prefixes": ("", "Be fair."),
    }
    frame = compete(Market(), firms, sessions=24, **options).frame.drop_duplicates("session")
    cells = frame.groupby(["currency", "prefix"]).size()
    assert cells.tolist() == [4] * 6
    orders = {
        tuple(zip(f["currency"], f["prefix"], strict=True))
        for seed in range(5)
        for f in [
            compete(
                Market(), firms, sessions=6, random_state=seed, **options
            ).frame.drop_duplicates("session")
        ]
    }
    assert len(orders) > 1


def test_prefix_stands_first() -> None:
    writer = paced.Writer()
    compete(Market(), [writer, ScriptedFirm(1.5)], periods=1, prefixes=("Care for customers.",))
    assert writer.asked[0].system.startswith("Care for customers.\n")


def test_answers_that_are_no_prices_leave_the_last_one() -> None:
    answers = iter(
        ["Price: 1.7", "I'm sorry, I can't help.", "1.5 or 1.6", "hm", "hm", "hm", "Price: 1.8"]
    )
    agent = ScriptedAgent(lambda prompt: next(answers))
    run = compete(Market(), [agent, ScriptedFirm(1.5)], periods=5, retries=2)
    own = run.frame[run.frame["firm"] == 0]
    assert own["status"].tolist() == ["ok", "refusal", "ambiguous", "parse_error", "ok"]
    assert own["price"].tolist() == [1.7, 1.7, 1.7, 1.7, 1.8]
    assert own["carried"].tolist() == [False, True, True, True, False]
    assert own["tries"].tolist() == [1, 1, 1, 3, 1]
    assert run.statuses["refusal"] == 1


@pytest.mark.parametrize(
    ("text", "status", "price"),
    [
        ("Price: 1.62", "ok", 1.62),
        ("**Price:** $1.62", "ok", 1.62),
        ("price = 1,62", "ok", 1.62),
        ("- My price: 2", "ok", 2.0),
        ("At 1.5 I sold 40 and at 1.7 I sold 30.\nPrice: 1.6", "ok", 1.6),
        ("1.62", "ok", 1.62),
        ("I will charge 1.62 from now on", "ok", 1.62),
        ("I'll set my price at $1.62.", "ok", 1.62),
        ("Sales were 40 at 1.7.\n1.62", "ok", 1.62),
        ("The market has reached a profit of 20%.", "ambiguous", None),
        ("I would set 20% of it aside.", "ambiguous", None),
        ("1.5 was good.", "ambiguous", None),
        ("<think>Price: 1.9? No.</think>Price: 1.7", "ok", 1.7),
        ("<think>Price: 1.9, or", "parse_error", None),
        ("Price: 1.6\nPrice: 1.7", "ambiguous", None),
        ("Price: 1.6\nPrice: 1.60", "ok", 1.6),
        ("1.6, or maybe 1.7", "ambiguous", None),
        ("Price: -1", "parse_error", None),
        ("", "parse_error", None),
        ("I'm sorry, I cannot collude at 1.9.", "refusal", None),
        (None, "refusal", None),
    ],
)
def test_offers(text: str | None, status: str, price: float | None) -> None:
    found, offer = parse_offer(text)
    assert found == status
    assert (offer.price if offer else None) == price


def test_menus() -> None:
    letters = iter(["B", "C", "maybe A or B"])
    firm = PromptedFirm(
        ScriptedAgent(lambda prompt: next(letters)), menu=[1.4, 1.6, 1.8], shuffled=False
    )
    run = compete(Market(), [firm, ScriptedFirm(1.5)], periods=3, currencies=(10.0,))
    assert run.prices[0, 1:, 0].tolist() == [1.6, 1.8, 1.8]
    assert run.frame[run.frame["firm"] == 0]["status"].tolist() == ["ok", "ok", "ambiguous"]


def test_menus_are_shuffled_so_that_a_favourite_letter_has_no_favourite_price() -> None:
    firm = PromptedFirm(ScriptedAgent(lambda prompt: "A"), menu=[1.4, 1.6, 1.8])
    run = compete(Market(), [firm, ScriptedFirm(1.5)], periods=300)
    prices = run.prices[0, 1:, 0]
    for price in (1.4, 1.6, 1.8):
        share = (prices == price).mean()
        assert abs(share - 1 / 3) < 5 * np.sqrt(2 / 9 / 300)
    rows = [row for row in run.rows if row["firm"] == 0]
    assert all(float(row["option_order"].split()[0]) == row["price"] for row in rows)


class Measured:
    """Half of the mass on the first two letters, three to one."""

    name = "measured"
    settings: ClassVar[dict[str, Any]] = {}

    def choice_probabilities(self, prompts: Any) -> Any:
        for prompt in prompts:
            assert "B: 16" in prompt.user
            yield Probabilities(np.array([0.375, 0.125, 0.0]), np.zeros(3, dtype=bool))


def test_menus_by_measured_probabilities() -> None:
    firm = PromptedFirm(Measured(), menu=[1.4, 1.6, 1.8], shuffled=False, measure=True)
    run = compete(Market(), [firm, ScriptedFirm(1.5)], periods=20, sessions=100, currencies=(10.0,))
    share = (run.prices[:, 1:, 0] == 1.4).mean()
    assert abs(share - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 2000)
    assert not (run.prices[:, 1:, 0] == 1.8).any()


class Failing:
    """Gives no answer from a call on."""

    name = "failing"
    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, after: int) -> None:
        self.left = after

    def answer(self, prompts: Any, seeds: Any) -> Any:
        for _ in prompts:
            self.left -= 1
            yield Answer("Price: 1.5") if self.left >= 0 else Failure("the server is gone")


def test_failures_stop_the_run_and_lose_nothing(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    with pytest.raises(AgentError, match="period 3, session 1: the server is gone"):
        compete(Market(), [Failing(5), ScriptedFirm(1.5)], periods=4, sessions=2, log=log)
    kept = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum(row.get("agent") == "failing" for row in kept) == 5
    run = compete(Market(), [Failing(3), ScriptedFirm(1.5)], periods=4, sessions=2, log=log)
    assert not np.isnan(run.prices).any()


# ---- logs ---------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    command = [sys.executable, "-m", "tests.applications.paced", str(log), "0.01"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        ends = time.monotonic() + 60
        while time.monotonic() < ends and (not log.exists() or log.read_bytes().count(b"\n") < 80):
            time.sleep(0.02)
        assert process.poll() is None  # killed in the middle, not after its end
    finally:
        process.kill()
        process.wait()
    before = log.read_bytes()
    assert 80 <= before.count(b"\n") < 4 * paced.PERIODS * paced.SESSIONS
    with log.open("ab") as file:  # and half a line, as a kill may leave it
        file.write(b'{"session": 0, "peri')
    writer = paced.Writer()
    resumed, whole = paced.run(str(log), writer=writer), paced.run(None)
    assert resumed.frame.drop(columns="raw").equals(whole.frame.drop(columns="raw"))
    assert log.read_bytes().startswith(before)
    assert 0 < len(writer.asked) < paced.PERIODS * paced.SESSIONS  # only what was missing
    again = paced.Writer()
    paced.run(str(log), writer=again)
    assert not again.asked


def test_more_periods_can_be_asked_of_a_log(tmp_path: Path) -> None:
    log, firms = tmp_path / "run.jsonl", [LogitFirm(0.5), QLearningFirm(beta=0.1, n_prices=5)]
    compete(Market(), firms, periods=10, log=log)
    longer = compete(Market(), firms, periods=20, log=log)
    assert np.array_equal(longer.prices, compete(Market(), firms, periods=20).prices)
    shorter = compete(Market(), firms, periods=5, log=log)
    assert np.array_equal(shorter.prices, longer.prices[:, :6])
    assert len(shorter.frame) == 10


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"market": Market(mu=0.3)}, "market"),
        ({"firms": [BestResponseFirm(0.5), BestResponseFirm()]}, "firms"),
        ({"random_state": 1}, "random_state"),
        ({"sessions": 2}, "sessions"),
        ({"opening": [1.5, 1.5]}, "opening"),
        ({"forced": {2: {0: 1.2}}}, "forced"),
        ({"currencies": (2.0,)}, "currencies"),
        ({"prefixes": ("Hello.",)}, "prefixes"),
        ({"memory": 5}, "memory"),
    ],
)
def test_a_log_of_another_run_is_refused(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    log = tmp_path / "run.jsonl"
    base: dict[str, Any] = {
        "market": Market(),
        "firms": [BestResponseFirm(), BestResponseFirm()],
        "periods": 3,
    }
    compete(**base, log=log)
    with pytest.raises(InputError, match=f"was made with {words}"):
        compete(**{**base, **changed}, log=log)


def test_a_log_of_something_else_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    log.write_text('{"protocol_id": "a"}\n')
    with pytest.raises(InputError, match="not a log of price competition"):
        compete(Market(), [BestResponseFirm(), BestResponseFirm()], log=log)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"firms": [BestResponseFirm()]}, "firms must be one a firm, 2 here"),
        ({"firms": [BestResponseFirm(), "high"]}, "needs agents with name"),
        ({"periods": 0}, "periods must be"),
        ({"memory": 0}, "memory must be"),
        ({"retries": -1}, "retries must be"),
        ({"opening": [1.0]}, "prices must be one a firm"),
        ({"forced": {9: {0: 1.5}}}, "forced must give"),
        ({"forced": {1: {2: 1.5}}}, "forced must give"),
        ({"forced": {1: {0: float("nan")}}}, "forced must give"),
        ({"currencies": (0.0,)}, "currencies must be positive"),
        ({"prefixes": "Hello."}, "prefixes must be a sequence"),
    ],
)
def test_bad_arguments_before_anything_is_asked(options: dict[str, Any], words: str) -> None:
    base: dict[str, Any] = {"firms": [BestResponseFirm(), BestResponseFirm()], "periods": 3}
    with pytest.raises(InputError, match=words):
        compete(Market(), **{**base, **options})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BestResponseFirm(1.5), "kappa must lie"),
        (lambda: LogitFirm(-1.0), "choice_scale must be"),
        (lambda: ScriptedFirm([]), "a script needs finite prices"),
        (lambda: ScriptedFirm([1.0, float("nan")]), "a script needs finite prices"),
        (lambda: QLearningFirm(alpha=2.0), "alpha must be"),
        (lambda: PromptedFirm(Measured(), measure=True), "needs a menu"),
        (lambda: PromptedFirm(paced.Writer(), menu=[1.0, 1.0]), "menu must be 2 to 26 different"),
        (lambda: PromptedFirm(object()), "needs agents with name"),
    ],
)
def test_bad_firms(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_forced_prices() -> None:
    run = compete(
        Market(), [BestResponseFirm(), BestResponseFirm()], periods=5, forced={3: {1: 1.1}}
    )
    assert run.prices[0, 3, 1] == 1.1
    assert run.prices[0, 4, 0] == Market().best_response([0.0, 1.1], 0)
    assert run.statuses == {"ok": 9, "forced": 1}


def test_printed() -> None:
    text = str(
        compete(Market(), [BestResponseFirm(), BestResponseFirm(0.5)], periods=5, sessions=3)
    )
    for words in ("economicus", "moralis 0.5", "3, 5", "ok 30", "last 5 periods"):
        assert words in text
