"""What an evaluation found: accuracy, preferences, and tests, before and after tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.tables import Printed, Table
from mlinstruments._core.typing import AnyArray, FloatArray
from mlinstruments.preferences import PreferenceResults

TESTED = ("kappa", "lambda")
CHOICES = "choices"
# Protocols up to which all ways to change agents over are tried, and ways drawn of more.
EXACT, DRAWN = 14, 9999


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Printed):
    """What :func:`evaluate` returns.

    Parameters
    ----------
    kappa : float
        Of the utility answers are held against.
    agents : tuple of str
        Base and tuned.
    rows : DataFrame
        One row an answer: agent, cell, kind of game, protocol, template, order, place of the label
        chosen, action, status; ``right``: 1 where it is the utility's choice (an answer that is no
        choice is not), NaN where both actions are equally good; ``universal``: 1 where it is the
        action that gains by counting what it would pay if everybody did the same
        (:func:`.universal_action`), NaN where neither does or none was chosen; ``reasons``: 1 where
        they are those of a target, right in every number, NaN where none were asked for; and where
        the agent tells them the mass on labels and the share of the first in it, of some answers.
    fits : dict of str to PreferenceResults or None
        kappa and lambda of each agent, clustered by protocol where choices are of several; None
        where no answer is a choice.
    tests : DataFrame
        Index: kappa, lambda (Wald), choices (:func:`exchange_test`, which needs no estimate: agents
        without an error have none); columns: statistic, pvalue, note (why there is no test).
    """

    kappa: float
    agents: tuple[str, str]
    rows: pd.DataFrame
    fits: dict[str, PreferenceResults | None]
    tests: pd.DataFrame

    def accuracy(self, by: str | Sequence[str] = ("cell", "kind")) -> pd.DataFrame:
        """Share of answers that are the utility's choice, and what else is worth knowing of them.

        Parameters
        ----------
        by : str or sequence of str
            Columns of ``rows`` to split by, beside the agent; empty for all answers together. Rows
            without a value are a group of their own.

        Returns
        -------
        DataFrame
            accuracy, std_error (clustered by protocol), reasons (share with reasons that are right
            in every number; a choice may be right by luck, they are not), action_rate (of the first
            action, C), first_label (share of the label shown first), mass (mean probability on
            labels, NaN where not known), answered (share that is a choice), answers, protocols
            (those with a best choice: the clusters).

        Raises
        ------
        InputError
            For a column that is not there.
        """
        by = [by] if isinstance(by, str) else list(by)
        known = [name for name in self.rows.columns if name != "agent"]
        unknown = [name for name in by if name not in known]
        if unknown or len(set(by)) < len(by):
            raise InputError(
                f"by must be columns of rows, each once; got {by!r}. There are {', '.join(known)}."
            )
        columns = ["agent", *by]
        groups = list(self.rows.groupby(columns, sort=False, dropna=False))
        index = pd.MultiIndex.from_tuples([name for name, _ in groups], names=columns)
        found = pd.DataFrame([_scores(frame) for _, frame in groups], index)
        return (
            found.sort_index()
            if by
            else found.set_axis(pd.Index([n for (n,) in index], name="agent"))
        )

    @property
    def summary(self) -> Table:
        """Accuracy by cell, preferences before and after, and tests."""
        found = self.accuracy(())
        facts = [("Utility", f"kappa {self.kappa:g}"), ("Answers", str(len(self.rows)))]
        for name in self.agents:
            line = found.loc[name]
            facts.append(
                (name, f"accuracy {line['accuracy']:.3f} ({line['std_error']:.3f}),"
                       f" first label {line['first_label']:.3f}, answered {line['answered']:.3f}")
            )  # fmt: skip
        cells = self.accuracy()
        rows = [
            (*map(str, index), f"{line['accuracy']:.3f}", f"{line['std_error']:.3f}",
             "-" if np.isnan(line["reasons"]) else f"{line['reasons']:.3f}",
             f"{line['action_rate']:.3f}", f"{line['answers']:.0f}")
            for index, line in cells.iterrows()
        ]  # fmt: skip
        columns = (
            "Agent", "Cell", "Game", "Accuracy", "Std. Err.", "Reasons", "Action rate", "Answers",
        )  # fmt: skip
        notes = [preference_words(name, self.fits[name]) for name in self.agents]
        notes += [equality_words(name, line) for name, line in self.tests.iterrows()]
        return Table("Base against tuned", tuple(facts), columns, tuple(rows), tuple(notes))

    def write(self, path: str | Path) -> Path:
        """Write one HTML file with tables and pictures, which needs no other file.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        Path

        Raises
        ------
        InputError
            Where the folder is not there.
        MissingExtraError
            Where matplotlib is not installed.
        """
        from .report import html_report

        place = Path(path)
        if not place.parent.is_dir():
            raise InputError(
                f"there is no folder {place.parent} to write {place.name} to: make it."
            )
        place.write_text(html_report(self), encoding="utf-8")
        return place


def _scores(frame: pd.DataFrame) -> dict[str, float]:
    judged = frame[frame["right"].notna()]
    mean, error = clustered_mean(judged["right"].to_numpy(), judged["protocol_id"].to_numpy())
    ok = frame[frame["status"] == "ok"]
    return {
        "accuracy": mean,
        "std_error": error,
        "reasons": float(judged["reasons"].mean()),
        "action_rate": float((ok["action"] == 1).mean()),
        "first_label": float((ok["place"] == 0).mean()),
        "mass": float(frame["mass"].mean()),
        "answered": len(ok) / len(frame),
        "answers": len(frame),
        "protocols": judged["protocol_id"].nunique(),
    }


def clustered_mean(values: FloatArray, clusters: AnyArray) -> tuple[float, float]:
    """Mean and its standard error robust to dependence within clusters.

    Parameters
    ----------
    values : array, shape (N,)
    clusters : array, shape (N,)

    Returns
    -------
    mean, std_error : float
        The error is NaN with one cluster; factor C / (C - 1).

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.alignment.evaluation import clustered_mean
    >>> clustered_mean(np.array([1.0, 1.0, 0.0, 0.0]), np.array([1, 1, 2, 2]))
    (0.5, 0.5)
    """
    if not len(values):
        return float("nan"), float("nan")
    mean, n = float(values.mean()), len(values)
    code = pd.factorize(clusters)[0]
    C = int(code.max()) + 1
    if C < 2:
        return mean, float("nan")
    sums = np.bincount(code, values - mean)
    return mean, float(np.sqrt(C / (C - 1) * (sums**2).sum()) / n)


def exchange_test(one: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float]:
    """Test that two agents choose alike, by changing them over in whole protocols.

    If they do, each protocol might as well have had their names the other way round. Compared is
    how far they differ in the share of choices that count what it would pay if everybody did the
    same, with all ways to change names over. Answers about one protocol may depend on each other
    in any way, and agents that never err, for which no scale can be estimated, are told apart too.

    Parameters
    ----------
    one, other : DataFrame
        Of each agent ``protocol_id`` and ``universal``, as in ``rows`` of :class:`Evaluation`.

    Returns
    -------
    statistic, pvalue : float
        The mean difference over protocols, first less second agent, and the two-sided p-value:
        exact up to 14 protocols, of 9,999 random ways with more. NaN where no protocol was answered
        by both.

    References
    ----------
    Fisher (1935), The Design of Experiments, section 21.

    Examples
    --------
    >>> import pandas as pd
    >>> from mlinstruments.alignment.evaluation import exchange_test
    >>> rows = pd.DataFrame({"protocol_id": list("abcde"), "universal": 1.0})
    >>> exchange_test(rows, rows.assign(universal=0.0))
    (1.0, 0.0625)
    """
    shares = [rows.groupby("protocol_id")["universal"].mean() for rows in (one, other)]
    gap = (shares[0] - shares[1]).dropna().to_numpy()
    if not len(gap):
        return float("nan"), float("nan")
    if len(gap) <= EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=len(gap))))
    else:
        drawn = np.random.default_rng(0).choice([1.0, -1.0], (DRAWN, len(gap)))
        signs = np.vstack([np.ones(len(gap)), drawn])
    sums = np.abs(signs @ gap)
    return float(gap.mean()), float((sums >= sums[0] * (1 - 1e-9)).mean())


def preference_words(name: str, fit: PreferenceResults | None, level: float = 0.95) -> str:
    """kappa and lambda of an agent in one sentence, or the values that explain every choice."""
    if fit is None:
        return f"{name}: no answer is a choice."
    if fit.identification.identified:
        limits = fit.conf_int(level, "fieller")
        parts = [
            f"{p} {fit.params[p]:.3g} [{limits.loc[p, 'lower']:.3g}, {limits.loc[p, 'upper']:.3g}]"
            for p in TESTED
        ]
        return f"{name}: {', '.join(parts)}."
    intervals = fit.identification.intervals
    if intervals and "kappa" in intervals:
        low, high = intervals["kappa"]
        return (
            f"{name}: every choice is a best one for kappa in [{low:.3g}, {high:.3g}]; lambda has"
            " no finite estimate."
        )
    return f"{name}: no kappa, {fit.identification.reason}"


def equality_words(name: Any, line: pd.Series) -> str:
    """A test of equal parameters, or of equal choices, in one sentence."""
    if line["note"]:
        return f"Equal {name}: {line['note']}"
    if name == CHOICES:
        return (
            f"Equal {name}: the share that counts what everybody's doing the same would pay differs"
            f" by {line['statistic']:.3f}, p {line['pvalue']:.2g} with agents changed over in whole"
            " protocols."
        )
    return f"Equal {name}: chi2(1) {line['statistic']:.2f}, p {line['pvalue']:.2g}."
