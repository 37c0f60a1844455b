"""Repeated price competition: any firms, period by period, in a log that can be gone on with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray
from mlinstruments.agents.base import AgentError, Failure
from mlinstruments.agents.journal import Journal, Row, opened
from mlinstruments.agents.plan import seed_of

from ..logs import same_run
from .competition import Competition
from .firms import Firm, Rule
from .market import Market
from .prompted import PromptedFirm, Situation

Forced = Mapping[int, Mapping[int, float]]


def compete(
    market: Market,
    firms: Sequence[Any],
    periods: int = 300,
    memory: int = 100,
    log: str | Path | None = None,
    *,
    sessions: int = 1,
    opening: Sequence[float] | None = None,
    forced: Forced | None = None,
    currencies: Sequence[float] = (1.0,),
    prefixes: Sequence[str] = ("",),
    retries: int = 2,
    random_state: int = 0,
    progress: bool | None = None,
) -> Competition:
    """Let firms set prices period after period.

    All know the prices of all past periods, of which agents that read are shown the last
    ``memory``, beside the plans and insights they wrote themselves. Where an agent refuses, is
    ambiguous or cannot be read after ``retries``, its last price stays: such rows are marked and
    are no choices.

    Parameters
    ----------
    market : Market
    firms : sequence
        One a firm of the market: a :class:`Firm` that follows a rule, a :class:`PromptedFirm`, or
        an agent with ``answer``, which then is run as one.
    periods : int
    memory : int
        Periods shown.
    log : str or Path, optional
        A .jsonl file, made or gone on with; a row a price, written at once. More periods can be
        asked of an old log.
    sessions : int
        Independent repetitions.
    opening : sequence of float, optional
        Prices of period 0, which nobody chose; drawn between Nash and monopoly prices by default.
    forced : mapping of period to {firm: price}, optional
        Prices that are not asked for.
    currencies : sequence of float
        Money is shown to agents that read multiplied by one of these.
    prefixes : sequence of str
        One of these stands before what agents read. Every combination of currency and prefix is
        given to as many sessions as any other, but for one, in random order.
    retries : int
        How often an answer that cannot be read is asked for again.
    random_state : int
        Openings, treatments and all firms' random numbers follow from it.
    progress : bool, optional
        Show a progress bar; None shows it in a terminal.

    Returns
    -------
    Competition

    Raises
    ------
    InputError
        For bad arguments, or a log of another run; before any price is asked for.
    AgentError
        Where an agent gave no answer. The log keeps what there is.

    Examples
    --------
    >>> from mlinstruments.applications.pricing import BestResponseFirm, Market, compete
    >>> run = compete(Market(), [BestResponseFirm(), BestResponseFirm(0.5)], periods=50)
    >>> run.prices[0, -1].round(4)  # the equilibrium of kappa (0, .5)
    array([1.5683, 1.6928])
    """
    for name, value in (("periods", periods), ("memory", memory), ("sessions", sessions)):
        check_count(value, name, 1)
    check_count(retries, "retries", 0)
    players = _players(market, firms)
    start = None if opening is None else market.outcome(opening).prices
    orders = _forced(forced, periods, market)
    treatments = _treatments(currencies, prefixes, sessions, random_state)
    settings = {
        "record": "price competition",
        "market": market.settings,
        "firms": [{"name": p.name, "settings": dict(p.settings)} for p in players],
        "memory": memory,
        "sessions": sessions,
        "opening": None if start is None else start.tolist(),
        "forced": [[t, i, p] for (t, i), p in sorted(orders.items())],
        "currencies": [float(c) for c in currencies],
        "prefixes": list(prefixes),
        "retries": retries,
        "random_state": random_state,
    }
    first = np.array([_opening(market, start, random_state, s) for s in range(sessions)])
    with opened(log) as journal:
        same_run(journal, settings, str(log))
        run = _Run(
            market, players, memory, treatments, orders, retries, random_state, first, periods
        )
        run.go(journal, progress)
        rows = tuple(row for row in journal.rows[1:] if row["period"] <= periods)
    return Competition(market, tuple(p.name for p in players), run.prices, rows)


class _Run:
    """Prices so far, and the loop over periods."""

    def __init__(
        self,
        market: Market,
        firms: Sequence[Any],
        memory: int,
        treatments: Sequence[tuple[float, str]],
        orders: Mapping[tuple[int, int], float],
        retries: int,
        seed: int,
        first: FloatArray,
        periods: int,
    ) -> None:
        self.market, self.firms, self.memory = market, firms, memory
        self.treatments, self.orders = treatments, orders
        self.retries, self.seed, self.periods = retries, seed, periods
        self.sessions = len(first)
        self.prices = np.full((self.sessions, periods + 1, market.n_firms), np.nan)
        self.prices[:, 0] = first
        self.notes: dict[tuple[int, int], tuple[str, str]] = {}
        self.rules: dict[tuple[int, int], Rule] = {
            (s, i): firm.rule(market, i)
            for s, (i, firm) in product(range(self.sessions), enumerate(firms))
            if not isinstance(firm, PromptedFirm)
        }

    def go(self, journal: Journal, progress: bool | None) -> None:
        """Ask for every price that the journal lacks, period by period."""
        from tqdm.auto import tqdm

        for row in journal.rows[1:]:
            if row["period"] <= self.periods:
                self._take(row)
        disable = None if progress is None else not progress
        for t in tqdm(range(1, self.periods + 1), "periods", disable=disable, leave=False):
            missing = np.argwhere(np.isnan(self.prices[:, t]))
            if not len(missing):
                continue
            # All set prices at the same time: nobody sees a price of this period.
            for row in self._asked(t, [(int(s), int(i)) for s, i in missing]):
                journal.write([row])
                self._take(row)

    def _take(self, row: Row) -> None:
        place = (row["session"], row["firm"])
        self.prices[row["session"], row["period"], row["firm"]] = row["price"]
        old = self.notes.get(place, ("", ""))
        new = (row.get("plans"), row.get("insights"))
        self.notes[place] = tuple(o if n is None else n for o, n in zip(old, new, strict=True))  # type: ignore[assignment]

    def _asked(self, t: int, places: Sequence[tuple[int, int]]) -> Iterator[Row]:
        """Rows of a period: forced prices, rules, then agents, all sessions of each at once."""
        waiting: dict[int, list[tuple[int, int]]] = {}
        for s, i in places:
            if (t, i) in self.orders:
                yield {**self._row(t, s, i), "price": self.orders[t, i], "status": "forced"}
            elif (s, i) in self.rules:
                rng = np.random.default_rng(self._seed(t, s, i))
                price = float(self.rules[s, i](self.prices[s, :t], rng))
                if not np.isfinite(price):
                    raise AgentError(f"{self.firms[i].name} gave the price {price!r}.")
                yield {**self._row(t, s, i), "price": price, "status": "ok"}
            else:
                waiting.setdefault(i, []).append((s, i))
        for i, group in waiting.items():
            yield from self._prompted(t, self.firms[i], group)

    def _prompted(
        self, t: int, firm: PromptedFirm, places: Sequence[tuple[int, int]]
    ) -> Iterator[Row]:
        seeds = [self._seed(t, s, i) for s, i in places]
        queries = [
            firm.query(self._situation(t, s, i), seed)
            for (s, i), seed in zip(places, seeds, strict=True)
        ]
        failures = []
        for k, reply in firm.ask(queries, seeds, self.retries):
            s, i = places[k]
            if isinstance(reply, Failure):
                failures.append(f"session {s}: {reply.reason}")
                continue
            row = {**self._row(t, s, i), **reply.row, "prompt_hash": queries[k].hash}
            if queries[k].choices:
                row["option_order"] = " ".join(queries[k].choices)
            if reply.status == "ok":
                money = self.treatments[s][0] if firm.menu is None else 1.0
                row["price"] = reply.value.price / money
                row["plans"], row["insights"] = reply.value.plans, reply.value.insights
            else:
                row["price"], row["carried"] = float(self.prices[s, t - 1, i]), True
            yield row
        if failures:
            raise AgentError(
                f"{firm.name} gave no answer in period {t}, {failures[0]}. What was answered before"
                " stands in the log: run again to go on."
            )

    def _row(self, t: int, s: int, i: int) -> Row:
        currency, prefix = self.treatments[s]
        return {
            "session": s,
            "period": t,
            "firm": i,
            "agent": self.firms[i].name,
            "carried": False,
            "currency": currency,
            "prefix": prefix,
            "seed": self._seed(t, s, i),
        }

    def _situation(self, t: int, s: int, i: int) -> Situation:
        first = max(0, t - self.memory)
        plans, insights = self.notes.get((s, i), ("", ""))
        return Situation(
            self.market, i, self.prices[s, first:t], first, plans, insights, *self.treatments[s]
        )

    def _seed(self, t: int, s: int, i: int) -> int:
        return seed_of(self.seed, s, t, i)


# ---- before anything is asked -------------------------------------------------------------------


def _players(market: Market, firms: Sequence[Any]) -> list[Any]:
    if len(firms) != market.n_firms:
        raise InputError(f"firms must be one a firm, {market.n_firms} here; got {len(firms)}.")
    return [f if isinstance(f, Firm | PromptedFirm) else PromptedFirm(f) for f in firms]


def _forced(forced: Forced | None, periods: int, market: Market) -> dict[tuple[int, int], float]:
    found = {}
    for period, orders in (forced or {}).items():
        for firm, price in orders.items():
            known = period in range(1, periods + 1) and firm in range(market.n_firms)
            if not known or not np.isfinite(price):
                raise InputError(
                    f"forced must give finite prices by period, 1 to {periods}, and firm, 0 to"
                    f" {market.n_firms - 1}; got {{{period!r}: {{{firm!r}: {price!r}}}}}."
                )
            found[int(period), int(firm)] = float(price)
    return found


def _treatments(
    currencies: Sequence[float], prefixes: Sequence[str], sessions: int, seed: int
) -> list[tuple[float, str]]:
    """Currency and prefix of every session: blocks of all combinations, each shuffled."""
    if isinstance(prefixes, str) or not len(prefixes):
        raise InputError(f"prefixes must be a sequence of texts; got {prefixes!r}.")
    money = np.atleast_1d(np.asarray(currencies, dtype=np.float64))
    if not len(money) or not ((money > 0) & np.isfinite(money)).all():
        raise InputError(f"currencies must be positive numbers; got {currencies!r}.")
    every = list(product(money.tolist(), prefixes))
    rng = np.random.default_rng(seed_of(seed, "treatments"))
    order = [k for _ in range(-(-sessions // len(every))) for k in rng.permutation(len(every))]
    return [every[k] for k in order[:sessions]]


def _opening(market: Market, given: FloatArray | None, seed: int, session: int) -> FloatArray:
    if given is not None:
        return given
    rng = np.random.default_rng(seed_of(seed, session, "opening"))
    return rng.uniform(market.nash().prices, market.monopoly().prices)
