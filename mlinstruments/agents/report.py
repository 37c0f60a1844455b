"""What a run amounted to: answers by status, mass on labels, label share, tokens and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlinstruments._core.tables import Table
from mlinstruments.preferences.excluded import STATUSES

from .journal import Row


@dataclass(frozen=True)
class PlayReport:
    """What a run amounted to; counts are of the whole log of this agent unless they say otherwise.

    Parameters
    ----------
    agent : str
    mode : {"sample", "probabilities"}
    planned : int
        Questions of the plan.
    asked : int
        Questions answered in this run.
    resumed : int
        Questions the log had answers to.
    failed : tuple of (reason, int)
        Questions of this run without an answer; they are asked when it is run again.
    statuses : mapping of str to int
        Answers by status.
    first_label_share : float
        Share of the label shown first, of choices or of probability, where there are answers to
        both orders of a prompt; NaN where there are to none.
    first_label_even : float
        What it would be if the same actions were chosen in either order, whatever their labels:
        one half where there are two options.
    mass : float
        Mean probability that an answer begins with a label; NaN where answers were written.
    censored : int
        Labels that were not among the tokens a server listed.
    prompt_tokens, completion_tokens : int
    cost : float
        In the currency of the prices given.
    seconds : float
        Of this run.

    Examples
    --------
    >>> from mlinstruments.agents import LogitAgent, play
    >>> from mlinstruments.games import default_grid
    >>> report = play(LogitAgent(0.1), default_grid(), draws=2).report
    >>> report.planned, report.statuses["ok"]
    (84, 84)
    """

    agent: str
    mode: str
    planned: int
    asked: int
    resumed: int
    failed: tuple[tuple[str, int], ...]
    statuses: Mapping[str, int]
    first_label_share: float
    first_label_even: float
    mass: float
    censored: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    seconds: float

    def __str__(self) -> str:
        return str(self.summary)

    def _repr_html_(self) -> str:
        return self.summary.as_html()

    @property
    def summary(self) -> Table:
        """The report as a table."""
        status = ", ".join(f"{name} {n}" for name, n in self.statuses.items() if n)
        share, even = self.first_label_share, self.first_label_even
        first = f"{share:.3f} of choices ({even:.3f} if labels do not matter)"
        facts = [
            ("Mode", self.mode),
            ("Questions", f"{self.planned} ({self.asked} asked, {self.resumed} from the log)"),
            ("Answers", status or "none"),
            ("First label", first if share == share else "no prompt has choices in both orders"),
        ]
        if self.mode == "probabilities":
            facts.append(("Mass", f"{self.mass:.3f} on labels, {self.censored} labels censored"))
        if self.prompt_tokens or self.completion_tokens:
            tokens = f"{self.prompt_tokens} read, {self.completion_tokens} written"
            facts.append(("Tokens", f"{tokens}, cost {self.cost:.4g}"))
        failed = ", ".join(f"{reason} {n}" for reason, n in self.failed)
        notes = (f"Without an answer, to be asked again: {failed}.",) if failed else ()
        return Table(f"Play of {self.agent}", tuple(facts), notes=notes)


def report_of(
    rows: Sequence[Row],
    agent: str,
    mode: str,
    counts: tuple[int, int, int],
    failures: Counter[str],
    seconds: float,
) -> PlayReport:
    """Sum up the rows of one agent.

    Parameters
    ----------
    rows : sequence of dict
    agent, mode : str
    counts : (planned, asked, resumed)
    failures : Counter of reasons
    seconds : float
    """
    records = [row for row in rows if row.get("part", 0) == 0]
    good = [row for row in rows if row["status"] == "ok"]
    heads = [row for row in good if row.get("part", 0) == 0]
    share, even = _first_label(good)
    statuses = Counter(row["status"] for row in records)
    return PlayReport(
        agent,
        mode,
        *counts,
        tuple(failures.most_common()),
        {name: statuses.get(name, 0) for name in STATUSES},
        share,
        even,
        _mean(sum(row["mass"] for row in heads), heads) if mode == "probabilities" else _NAN,
        sum(bool(row.get("censored")) for row in good),
        _total(records, "prompt_tokens"),
        _total(records, "completion_tokens"),
        float(sum(row["cost"] for row in records)),
        seconds,
    )


_NAN = float("nan")


def _first_label(good: Sequence[Row]) -> tuple[float, float]:
    """Share of the label shown first, and what it would be without regard to labels."""
    # By prompt and order: how often each choice was made, and how many answers there were.
    made: dict[Any, dict[int, Counter[str]]] = {}
    asked: Counter[Any] = Counter()
    firsts = {}
    for row in good:
        prompt, order = (row["protocol_id"], row.get("node"), row["template"]), row["order"]
        choices = row["option_order"].split()
        counts = made.setdefault(prompt, {}).setdefault(order, Counter())
        counts[choices[row["place"]]] += row.get("probability", 1)
        asked[prompt, order] += row.get("part", 0) == 0
        firsts[prompt, order] = choices[0]
    shares, evens = [], []
    for prompt, orders in made.items():
        if len(orders) == 2:
            for order, counts in orders.items():
                first, n = firsts[prompt, order], asked[prompt, order]
                other = 1 - order
                elsewhere = orders[other][first] / asked[prompt, other]
                shares.append(counts[first] / n)
                evens.append((counts[first] / n + elsewhere) / 2)
    return _mean(sum(shares), shares), _mean(sum(evens), evens)


def _mean(total: float, rows: Sequence[Any]) -> float:
    return total / len(rows) if rows else _NAN


def _total(rows: Sequence[Row], name: str) -> int:
    return int(sum(row[name] for row in rows))
