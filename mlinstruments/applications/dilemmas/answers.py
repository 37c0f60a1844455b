"""Answers to dilemmas: cell means, the gap between buying and praising, regressions, choices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mlinstruments._core.exceptions import InputError, NotIdentifiedError
from mlinstruments._core.hypotheses import TestResult
from mlinstruments._core.tables import Printed, Table, number
from mlinstruments.preferences.allocations import AllocationChoices

from ..regression import Regression, clustered_ols
from .theory import kappa_between

FACTORS = ("pedestrians", "perspective", "companion", "question", "order")
CARS = ("protects passengers", "saves pedestrians")


@dataclass(frozen=True, eq=False, repr=False)
class DilemmaAnswers(Printed):
    """Answers of one agent.

    Parameters
    ----------
    name : str
    rows : tuple of dict
        The log: one an answer.

    Examples
    --------
    >>> from mlinstruments.applications.dilemmas import MoralRespondent, elicit
    >>> answers = elicit(MoralRespondent(0.6, scale=5), draws=1)
    >>> bool(answers.gap().params["buys"] < 0)  # praises more than it buys
    True
    """

    name: str
    rows: tuple[dict[str, Any], ...]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row an answer; ``answer`` is missing where the status is not ok."""
        return pd.DataFrame(list(self.rows)).astype({"answer": "float64"})

    @property
    def ok(self) -> pd.DataFrame:
        """Rows that are numbers, with ``log_n`` of the pedestrians.

        Raises
        ------
        InputError
            Where there is none.
        """
        found = self.frame[self.frame["status"] == "ok"].reset_index(drop=True)
        if found.empty:
            counts = ", ".join(f"{k} {v}" for k, v in sorted(self.statuses.items()))
            raise InputError(f"{self.name} gave no number: {counts or 'no answers'}.")
        return found.assign(log_n=np.log(found["pedestrians"]))

    @property
    def statuses(self) -> dict[str, int]:
        """Answers by status."""
        return dict(Counter(row["status"] for row in self.rows))

    def cell_means(self, by: Sequence[str] = FACTORS[:4]) -> pd.DataFrame:
        """Means by cell.

        Parameters
        ----------
        by : sequence of str
            Among pedestrians, perspective, companion, question, order.

        Returns
        -------
        DataFrame
            ``mean``, ``sd``, ``count`` of numbers and ``not_ok`` of other answers, by cell.

        Raises
        ------
        InputError
            For another column.
        """
        names = [by] if isinstance(by, str) else list(by)
        unknown = [name for name in names if name not in FACTORS]
        if unknown or not names:
            raise InputError(f"by must be among {', '.join(FACTORS)}; got {by!r}.")
        grouped = self.frame.groupby(names)["answer"]
        table = grouped.agg(mean="mean", sd="std", count="count")
        table["not_ok"] = grouped.size() - table["count"]
        return table

    def gap(self, by: str | None = None) -> Regression:
        """What the respondent would buy less what it calls moral.

        Parameters
        ----------
        by : str, optional
            One of the factors: a gap for each of its levels.

        Returns
        -------
        Regression
            Of answers on ``buys``, 1 for the question about buying and 0 for the one about
            morality, clustered by scenario; ``buys`` is the difference of means.

        Raises
        ------
        InputError
            Where one of the two questions has no answers.
        """
        rows = self.ok[self.ok["question"].isin(["buy", "morality"])].copy()
        if rows["question"].nunique() < 2:
            raise InputError("the gap needs answers to both questions, 'buy' and 'morality'.")
        rows["buys"] = (rows["question"] == "buy").astype(float)
        if by is None:
            return clustered_ols("answer ~ buys", rows, "scenario")
        if by not in FACTORS[:3] + FACTORS[4:]:
            raise InputError(f"by must be one of {', '.join(FACTORS[:3])} or order; got {by!r}.")
        return clustered_ols(f"answer ~ 0 + C({by}) + C({by}):buys", rows, "scenario")

    def slopes(self) -> Regression:
        """Slopes in the log of the number of pedestrians, one a question, clustered by scenario."""
        return clustered_ols("answer ~ 0 + C(question) + C(question):log_n", self.ok, "scenario")

    def regress(
        self, formula: str = "answer ~ log_n + C(perspective) + C(companion) + C(question)"
    ) -> Regression:
        """Least squares clustered by scenario.

        Parameters
        ----------
        formula : str
            Columns are those of the log, and ``log_n``.

        Returns
        -------
        Regression
        """
        return clustered_ols(formula, self.ok, "scenario")

    def order_effects(self) -> tuple[Regression, TestResult]:
        """What describing the other car first does to the answers, question by question.

        Returns
        -------
        Regression
            Of answers on questions and, for each, on the order, clustered by scenario.
        TestResult
            That no question has such an effect; the p-value is that of chi-squared.

        Raises
        ------
        InputError
            Where only one order was asked.
        """
        rows = self.ok
        if rows["order"].nunique() < 2:
            raise InputError("order effects need answers in both orders.")
        fit = clustered_ols("answer ~ 0 + C(question) + C(question):order", rows, "scenario")
        names = [name for name in fit.params.index if name.endswith(":order")]
        gap = fit.params[names].to_numpy()
        variance = fit.fit.cov_params().loc[names, names].to_numpy()
        df = len(names)
        # Where answers do not depend on the order at all, there is no variance either.
        statistic = float(gap @ np.linalg.pinv(variance) @ gap)
        pvalue = float(stats.chi2.sf(statistic, df))
        return fit, TestResult(statistic, pvalue, df, "no effect of the order")

    @property
    def switching(self) -> pd.DataFrame:
        """From how many pedestrians on a passenger buys the car that saves them.

        Returns
        -------
        DataFrame, a row a companion
            Of mean answers of passengers to the question about buying: ``last_no``, the largest
            number with a mean below 50, and ``first_yes``, the smallest one with a mean of 50 or
            more, NaN where there is none; ``monotone``, whether all below ``first_yes`` are no and
            all from it on yes; and the kappas of a moral respondent that would answer so, from
            ``kappa_low`` (included) to ``kappa_high``, missing where answers are not monotone.
        """
        rows = self.ok
        rows = rows[(rows["question"] == "buy") & (rows["perspective"] == "passenger")]
        table = []
        for companion, group in rows.groupby("companion"):
            means = group.groupby("pedestrians")["answer"].mean()
            yes = means.index[means >= 50]
            no = means.index[means < 50]
            first = int(yes.min()) if len(yes) else None
            last = int(no.max()) if len(no) else None
            monotone = first is None or last is None or last < first
            low, high = (
                kappa_between(last, first, int(group["passengers"].iloc[0]))
                if monotone
                else (np.nan, np.nan)
            )
            table.append((companion, last, first, monotone, low, high))
        names = ["companion", "last_no", "first_yes", "monotone", "kappa_low", "kappa_high"]
        return pd.DataFrame(table, columns=names)

    def choices(self, companions: Sequence[str] = ("alone",)) -> AllocationChoices:
        """Answers of passengers about buying, as choices that a moral weight can be estimated from.

        An answer of 70 counts as .7 of a choice for the car that saves pedestrians and .3 of one
        for the other. Own payoffs are the passenger's chance to survive; see :func:`threshold`.

        Parameters
        ----------
        companions : sequence of str
            Whom the passenger may have along; care for them is no part of the own payoff.

        Returns
        -------
        AllocationChoices
            For ``PreferenceLogit().fit``, with ``scenario`` and ``draw`` to cluster by.

        Raises
        ------
        NotIdentifiedError
            Where there are no such answers, or all are about one ratio of pedestrians to
            passengers.
        """
        rows = self.ok
        asked = (rows["question"] == "buy") & (rows["perspective"] == "passenger")
        rows = rows[asked & rows["companion"].isin(companions)]
        if rows.empty:
            raise NotIdentifiedError(
                "no passenger was asked about buying. Praise, wishes for others and laws cost the"
                " one who answers nothing that is known, so that they identify no kappa."
            )
        n, m = (rows[name].to_numpy(dtype=np.float64) for name in ("pedestrians", "passengers"))
        if len(np.unique(n / m)) < 2:
            raise NotIdentifiedError(
                "all answers are about the same ratio of pedestrians to passengers: they say on"
                " which side of one threshold kappa lies, no more. Ask about several numbers."
            )
        own = np.column_stack([np.ones(len(rows)), np.zeros(len(rows))])
        universal = np.column_stack([m / (n + m), n / (n + m)])
        share = rows["answer"].to_numpy() / 100
        labels = {name: np.tile(rows[name].to_numpy(), 2) for name in ("scenario", "draw", "order")}
        return AllocationChoices.from_payoffs(
            np.tile(own, (2, 1)),
            np.tile(universal, (2, 1)),
            np.repeat([0, 1], len(rows)),
            labels,
            np.concatenate([1 - share, share]),
            CARS,
        )

    @property
    def summary(self) -> Table:
        """Means by question and number of pedestrians."""
        counts = ", ".join(f"{status} {n}" for status, n in sorted(self.statuses.items()))
        facts = (("Answers", counts),)
        title = f"Dilemmas: {self.name}"
        if "ok" not in self.statuses:
            return Table(title, facts, notes=("No answer is a number.",))
        means = self.cell_means(("question", "pedestrians"))["mean"].unstack()
        rows = tuple(
            (str(question), *(number(v, 1) for v in row))
            for question, row in zip(means.index, means.to_numpy(), strict=True)
        )
        return Table(title, facts, ("pedestrians", *map(str, means.columns)), rows)
