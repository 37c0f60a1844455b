"""What a run amounted to: answers by status, mass on labels, label share, tokens and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
        Mean probability that an answer begins with a label, 0 where none was listed; NaN where
        answers were written.
    censored : int
        Labels that were not among the tokens a server listed, also where none was.
    prompt_tokens, completion_tokens : int
    cost : float
        In the currency of the prices given.
    seconds : float
        Of this run.
    beliefs : mapping of str to int
        Answers to questions about beliefs by status, where they were elicited. Tokens, cost and
        seconds include theirs.
    without_belief : int
        Answers that are choices and have no belief, because the agent refused to give it or gave
        no number.

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
    beliefs: Mapping[str, int] = field(default_factory=dict)
    without_belief: int = 0

    def __str__(self) -> str:
        return str(self.summary)

    def _repr_html_(self) -> str:
        return self.summary.as_html()

    @property
    def summary(self) -> Table:
        """The report as a table."""
        share, even = self.first_label_share, self.first_label_even
        first = f"{share:.3f} of choices ({even:.3f} if labels do not matter)"
        facts = [
            ("Mode", self.mode),
            ("Questions", f"{self.planned} ({self.asked} asked, {self.resumed} from the log)"),
            ("Answers", _counted(self.statuses)),
            ("First label", first if share == share else "no prompt has choices in both orders"),
        ]
        if self.beliefs:
            lacking = f"; {self.without_belief} choices have none" if self.without_belief else ""
            facts.append(("Beliefs", _counted(self.beliefs) + lacking))
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
    beliefs: Sequence[Row] = (),
) -> PlayReport:
    """Sum up the rows of one agent.

    Parameters
    ----------
    rows : sequence of dict
    agent, mode : str
    counts : (planned, asked, resumed)
    failures : Counter of reasons
    seconds : float
    beliefs : sequence of dict
        Rows of the log of elicited beliefs.
    """
    records = [row for row in rows if row.get("part", 0) == 0]
    good = [row for row in rows if row["status"] == "ok"]
    heads = [row for row in good if row.get("part", 0) == 0]
    share, even = _first_label(good)
    spent = [*records, *beliefs]
    return PlayReport(
        agent,
        mode,
        *counts,
        tuple(failures.most_common()),
        _statuses(records),
        share,
        even,
        _mean(sum(row["mass"] for row in records), records) if mode == "probabilities" else _NAN,
        _censored(rows) if mode == "probabilities" else 0,
        _total(spent, "prompt_tokens"),
        _total(spent, "completion_tokens"),
        float(sum(row["cost"] for row in spent)),
        seconds,
        _statuses(beliefs) if beliefs else {},
        sum(_lacks_belief(row) for row in heads) if beliefs else 0,
    )


_NAN = float("nan")


def _statuses(records: Sequence[Row]) -> dict[str, int]:
    found = Counter(row["status"] for row in records)
    return {name: found.get(name, 0) for name in STATUSES}


def _counted(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in statuses.items() if n) or "none"


def _censored(rows: Sequence[Row]) -> int:
    """Labels that were not listed: those marked, and all of a prompt where none was."""
    return sum(1 if row.get("censored") else _unlisted(row) for row in rows)


def _unlisted(row: Row) -> int:
    return 0 if row["status"] == "ok" else int(row["n_options"])


def _lacks_belief(row: Row) -> bool:
    return any(row[name] is None for name in row if name.startswith("belief_"))


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
