"""Firms run by agents that read and write: what they are shown, and how their answer is read."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray
from mlinstruments.agents.ask import paired
from mlinstruments.agents.base import Answer, Failure
from mlinstruments.agents.parsing import LabelParser, refuses, without_thoughts

from ..asking import Query, Reply, ask_queries, check_answers
from .market import Market

_NUMBER = r"(?<![\w.,])(-?\d+(?:[.,]\d+)?)(?![\w]|[.,]\d)"
_MARKS = r"[^\w\n.-]*"
# "Price: 1.5" on a line decides; else "I will charge 1.5"; else a number alone on the last line.
_DECIDES = (
    re.compile(rf"^\W*(?:my\s+)?price\b{_MARKS}[:=]{_MARKS}{_NUMBER}", re.I | re.M),
    re.compile(
        r"\bI(?:'ll|’ll|\s+will|\s+would|\s+am\s+going\s+to)?\s+(?:charge|set|choose|price)\s+"
        rf"(?:(?:a|my|the|our)\s+)?(?:price\s+)?(?:(?:at|to|of|is)\s+)?{_MARKS}{_NUMBER}(?!\s*%)",
        re.I,
    ),
)
_ALONE = re.compile(rf"{_MARKS}{_NUMBER}[^\w\n%]*")
_ANY = re.compile(_NUMBER)
_NOTES = {
    name: re.compile(
        rf"^\W*{name}s?\b[ \t*]*:(.*?)(?=^\W*(?:plans?|insights?|(?:my\s+)?price)\b[ \t*]*[:=]|\Z)",
        re.I | re.M | re.S,
    )
    for name in ("plan", "insight")
}


@dataclass(frozen=True)
class Offer:
    """What a firm answered.

    Parameters
    ----------
    price : float
        As written, in the currency shown.
    plans, insights : str or None
        None where it wrote none, and keeps what it had.
    """

    price: float
    plans: str | None = None
    insights: str | None = None


def parse_offer(text: str | None) -> tuple[str, Offer | None]:
    """Status of an answer, and its price, plans and insights.

    A line "Price: 1.5" decides; without one "I will charge 1.5" does, or a number alone on the last
    line. Numbers that are only mentioned do not count.

    Parameters
    ----------
    text : str or None
        None where the answer was withheld: a refusal.

    Returns
    -------
    status : {"ok", "refusal", "ambiguous", "parse_error"}
    offer : Offer or None

    Examples
    --------
    >>> from mlinstruments.applications.pricing.prompted import parse_offer
    >>> parse_offer("Plans: stay high.\\nInsights: sales fall by half at 2.\\nPrice: 1.75")
    ('ok', Offer(price=1.75, plans='stay high.', insights='sales fall by half at 2.'))
    >>> parse_offer("Between 1.5 and 1.8.")[0], parse_offer("Price: low")[0]
    ('ambiguous', 'parse_error')
    """
    if text is None:
        return "refusal", None
    text = without_thoughts(text)
    found: set[float] = set()
    for pattern in _DECIDES:
        found = found or {_value(match[1]) for match in pattern.finditer(text)}
    last = _ALONE.fullmatch(text.strip().splitlines()[-1]) if text.strip() else None
    if not found and last:
        found = {_value(last[1])}
    if not found and refuses(text):
        return "refusal", None
    if len(found) > 1 or (not found and _ANY.search(text)):
        return "ambiguous", None
    if not found or (price := found.pop()) < 0:
        return "parse_error", None
    notes = {name: (m[1].strip() if (m := p.search(text)) else None) for name, p in _NOTES.items()}
    return "ok", Offer(price, notes["plan"], notes["insight"])


def _value(written: str) -> float:
    return float(written.replace(",", "."))


@dataclass(frozen=True)
class Situation:
    """What a firm knows when it sets a price.

    Parameters
    ----------
    market : Market
    firm : int
    prices : array, shape (t, n)
        Of the periods it is shown, oldest first.
    first : int
        The period of the first of them.
    plans, insights : str
        What it wrote last.
    currency : float
        All money is shown multiplied by this.
    prefix : str
        Stands before everything else.
    """

    market: Market
    firm: int
    prices: FloatArray
    first: int
    plans: str
    insights: str
    currency: float
    prefix: str


@dataclass(frozen=True, eq=False)
class PromptedFirm:
    """A firm run by an agent that reads texts: its market, the last periods, its own notes.

    Parameters
    ----------
    agent : Agent
        Such as :class:`mlinstruments.agents.ChatAgent` or ``LocalAgent``.
    menu : sequence of float, optional
        Prices to choose one from by its letter, up to 26 of them, for models that do not write
        numbers well; such a firm keeps no plans and insights. By default it may write any price.
    shuffled : bool
        Menus are in random order, anew for every prompt, since models favour letters and places;
        False keeps the order given.
    measure : bool
        With a menu, measure how probable each letter is and draw from that.
    name : str, optional
        The agent's by default.

    Raises
    ------
    InputError
        Where the agent cannot do what is asked, or the menu is none.

    Examples
    --------
    An agent that writes what a script says:

    >>> from mlinstruments.agents import ScriptedAgent
    >>> from mlinstruments.applications.pricing import Market, PromptedFirm, compete
    >>> agent = ScriptedAgent(lambda prompt: "Plans: none.\\nPrice: 1.6")
    >>> run = compete(Market(), [PromptedFirm(agent), PromptedFirm(agent)], periods=2)
    >>> run.prices[0, 1:].tolist()
    [[1.6, 1.6], [1.6, 1.6]]
    """

    agent: Any
    menu: Sequence[float] | None = None
    shuffled: bool = True
    measure: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if self.measure:
            if self.menu is None or not callable(getattr(self.agent, "choice_probabilities", None)):
                raise InputError("measure=True needs a menu and an agent with probabilities.")
        else:
            check_answers(self.agent, "a firm")
        if self.menu is not None:
            menu = np.asarray(self.menu, dtype=np.float64)
            if menu.ndim != 1 or not 2 <= len(np.unique(menu)) == len(menu) <= 26:
                raise InputError(f"menu must be 2 to 26 different prices; got {self.menu!r}.")
        object.__setattr__(self, "name", self.name or self.agent.name)

    @property
    def settings(self) -> dict[str, Any]:
        """The agent's, and how it is asked."""
        menu = None if self.menu is None else [float(p) for p in self.menu]
        own = {"firm": "prompted", "menu": menu, "measure": self.measure, "shuffled": self.shuffled}
        return {**own, "agent": self.agent.name, "agent_settings": dict(self.agent.settings)}

    def query(self, situation: Situation, seed: int) -> Query:
        """The text shown."""
        text = _text(situation)
        if self.menu is None:
            return Query(_system(situation), text + WRITE)
        prices = [float(price) for price in self.menu]
        if self.shuffled:
            prices = np.random.default_rng(seed).permutation(prices).tolist()
        letters = tuple(string.ascii_uppercase[: len(prices)])
        lines = [
            f"{letter}: {price * situation.currency:.4g}"
            for letter, price in zip(letters, prices, strict=True)
        ]
        ask = "\nPrices you can choose:\n" + "\n".join(lines) + "\nReply with one letter only."
        return Query(_system(situation), text + ask, letters, tuple(map(repr, prices)))

    def ask(
        self, queries: Sequence[Query], seeds: Sequence[int], retries: int
    ) -> Iterator[tuple[int, Reply | Failure]]:
        """Answers as :class:`Offer`; prices of a menu are in the market's own currency."""
        if self.measure:
            results = self.agent.choice_probabilities(queries)
            for k, found in paired(self.agent, list(range(len(queries))), results):
                yield (
                    k,
                    found if isinstance(found, Failure) else _drawn(found, queries[k], seeds[k]),
                )
        else:
            yield from ask_queries(self.agent, queries, seeds, _read, retries)


def _read(text: str | None, query: Query) -> tuple[str, Offer | None]:
    if not query.options:
        return parse_offer(text)
    status, choice = LabelParser(query.options, query.choices)(text)
    return status, None if choice is None else Offer(float(choice))


def _drawn(found: Any, query: Query, seed: int) -> Reply:
    """A price drawn from measured probabilities."""
    spent = Answer(None, found.prompt_tokens, found.completion_tokens, found.cost, found.model)
    if not found.measured:
        return Reply("ambiguous", None, spent, 1)
    k = np.random.default_rng(seed).choice(len(query.choices), p=found.shares)
    text = Answer(query.options[k], *(spent.prompt_tokens, spent.completion_tokens, spent.cost))
    return Reply("ok", Offer(float(query.choices[k])), text, 1)


# ---- the texts ----------------------------------------------------------------------------------

WRITE = """
Reply in this form:
Plans: what you intend to do in the next periods, a note to yourself
Insights: what you have learnt about the market so far, a note to yourself
Price: your price for the next period, a number
If no price can be read, your last price stays."""

SAME_TIME = (
    " Every period all set their prices at the same time; then customers buy from the firm they"
    " prefer, or from nobody."
)
MARKET = (  # by the number of others
    "Your firm is the only one in its market. Every period you set your price; then customers buy"
    " from you, or from nobody.",
    "In your market one other firm sells a similar product." + SAME_TIME,
    "In your market {n} other firms sell a similar product." + SAME_TIME,
)


def _system(s: Situation) -> str:
    role = "You set the price of one product for a firm. Your aim is the firm's long-run profit."
    return f"{s.prefix}\n{role}" if s.prefix else role


def _text(s: Situation) -> str:
    money, others = s.currency, s.market.n_firms - 1
    cost = s.market.cost[s.firm] * money  # type: ignore[index]  # one a firm by now
    lines = [
        MARKET[min(others, 2)].format(n=others),
        f"A unit costs you {cost:.4g}. Your profit is (price - {cost:.4g}) x quantity sold.",
        "",
        "Your plans so far: " + (s.plans or "none"),
        "Your insights so far: " + (s.insights or "none"),
        "",
        "Past periods, the latest last:",
    ]
    sold, earned = s.market.demand(s.prices)[:, s.firm], s.market.profit(s.prices)[:, s.firm]
    for t, prices in enumerate(s.prices):
        theirs = "".join(f", other price {p * money:.4g}" for p in np.delete(prices, s.firm))
        lines.append(
            f"period {s.first + t}: your price {prices[s.firm] * money:.4g}{theirs},"
            f" you sold {sold[t]:.4g}, your profit {earned[t] * money:.4g}"
        )
    return "\n".join(lines)
