"""What the numbers beside an estimate say of it: how much, meaning what, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.hypotheses import TestResult
from mlinstruments._core.tables import Printed, Table, number

if TYPE_CHECKING:
    from .mliv_results import MLIVResults
    from .results import IVResults

FINE, LOOK = "fine", "look"
# An F below this is weak by the old rule of thumb; above the other, tF says that 1.96 will do.
WEAK_F, SAFE_F = 10.0, 104.7
J_MEANING = "whether all instruments imply the same coefficients (Hansen, Sargan)."
J_ADVICE = "Some are invalid, or they weight different effects: defend each by itself."


@dataclass(frozen=True)
class Diagnostic:
    """One number and how to read it.

    Parameters
    ----------
    name : str
    statistic : float
    pvalue : float
        Missing where the number is no test.
    verdict : {"fine", "look"}
    meaning : str
        What is asked.
    advice : str
        What to do where the verdict is "look".
    """

    name: str
    statistic: float
    pvalue: float
    verdict: str
    meaning: str
    advice: str


@dataclass(frozen=True, eq=False, repr=False)
class Diagnostics(Printed):
    """What the numbers beside an estimate say of it.

    Parameters
    ----------
    title : str
    rows : tuple of Diagnostic
    """

    title: str
    rows: tuple[Diagnostic, ...]

    @property
    def summary(self) -> Table:
        """The numbers with their verdicts; below them what they mean, and what to do."""
        body = tuple(
            (row.name, number(row.statistic, 3), number(row.pvalue, 3), row.verdict)
            for row in self.rows
        )
        notes = tuple(
            f"{row.name}: {row.meaning}{' ' + row.advice if row.verdict == LOOK else ''}"
            for row in self.rows
        )
        return Table(self.title, (), ("", "Statistic", "p-value", "Verdict"), body, notes)

    def to_frame(self) -> pd.DataFrame:
        """A row for each number, with its meaning and the advice."""
        columns = ["statistic", "pvalue", "verdict", "meaning", "advice"]
        values = [[getattr(row, name) for name in columns] for row in self.rows]
        return pd.DataFrame(values, [row.name for row in self.rows], columns)


def diagnostics(res: IVResults) -> Diagnostics:
    """All that a result holds; :meth:`IVResults.diagnostics` is the way to call it."""
    if res.first_stage is None:
        raise InputError(f"{res.method} uses no instruments: there is nothing to diagnose.")
    rows = [*_strength(res), *_learned(res), *_set(res)]
    if res.overid is not None:
        rows.append(of_test("J test", res.overid, J_MEANING, J_ADVICE))
    return Diagnostics(f"Diagnostics of {res.method}: {res.dependent}", tuple(rows))


def of_test(name: str, test: TestResult, meaning: str, advice: str) -> Diagnostic:
    """A test whose rejection at 5% asks for a look."""
    verdict = LOOK if test.pvalue < 0.05 else FINE
    return Diagnostic(name, test.statistic, test.pvalue, verdict, meaning, advice)


def _plain(name: str, value: float, look: bool, meaning: str, advice: str) -> Diagnostic:
    return Diagnostic(name, value, float("nan"), LOOK if look else FINE, meaning, advice)


def _strength(res: IVResults) -> Iterator[Diagnostic]:
    first = res.first_stage
    assert first is not None
    several = len(res.endog) > 1
    for name in res.endog:
        which = f" ({name})" if several else ""
        f, linear = float(first.f[name]), float(first.linear_f[name])
        single = res._learned or first.n_instruments == 1
        yield _plain(
            f"First-stage F{which}",
            f,
            not f >= (SAFE_F if single else WEAK_F),
            f"how surely the instruments predict {name}, in the covariance of the fit.",
            "Below 10 it is weak"
            + (", and below 105 an interval of 1.96 standard errors may cover too rarely" * single)
            + ": report the Anderson-Rubin set.",
        )
        if res._learned and np.isfinite(linear):
            yield _plain(
                f"q x linear F{which}",
                first.n_instruments * linear,
                f < first.n_instruments * linear,
                "the same of the instruments taken linearly, times their number.",
                "They carry as much without learning: compare with TSLS, LIML or UJIVE.",
            )
        if several:
            given = float(first.joint.conditional_f[name])
            yield _plain(
                f"Conditional F{which}",
                given,
                not given >= WEAK_F,
                f"how surely they predict {name} given the other endogenous regressors.",
                f"The coefficient of {name} is not known apart from the others': use joint"
                " Anderson-Rubin tests, or more instruments.",
            )
    test = first.joint.rank_test
    meaning = "whether the instruments identify all coefficients at all (Kleibergen-Paap)."
    advice = "They do not, as far as the data tell: no estimate here deserves its standard error."
    verdict = FINE if test.pvalue < 0.05 else LOOK
    yield Diagnostic("Rank test", test.statistic, test.pvalue, verdict, meaning, advice)
    if not several and first.n_instruments > 1 and not res._learned:
        critical = float(first.joint.effective_critical[0.10])
        effective = float(first.effective_f.iloc[0])
        yield _plain(
            "Effective F",
            effective,
            not effective > critical,
            f"its 5% critical value is {number(critical, 1)}, for a bias of 2SLS above a tenth of"
            " the worst case.",
            "Such a bias cannot be ruled out: compare with LIML and JIVE.",
        )


def _learned(res: IVResults) -> Iterator[Diagnostic]:
    """What only a learned first stage has: calibration, reliability, folds, repeats."""
    if not res._learned:
        return
    first = res.first_stage
    assert first is not None
    for name in res.endog:
        which = f" ({name})" if len(res.endog) > 1 else ""
        slope, reliability = float(first.calibration[name]), float(first.reliability[name])
        yield _plain(
            f"Calibration{which}",
            slope,
            not 0.5 < slope < 2,
            f"slope of {name} on its prediction out of fold; 1 where predictions are calibrated.",
            "Predictions are too bold (below 1) or too timid (above): valid, but tune the learner.",
        )
        if np.isfinite(reliability):
            yield _plain(
                f"Reliability{which}",
                reliability,
                reliability < 0.5,
                "share of the instrument's variance that is signal, from two halves.",
                "Most of it is noise of the first stage: use ar='corrected', and a steadier"
                " learner.",
            )
        folds = first.by_fold[first.by_fold["endog"] == name]
        if len(folds):
            wrong = int((~(folds["slope"] > 0)).sum())
            yield _plain(
                f"Folds falling{which}",
                wrong,
                wrong > 0,
                f"folds, of {len(folds)}, in which {name} does not rise with its prediction.",
                "There is little to learn, or it differs between parts of the data.",
            )
    yield from _repeats(res)  # type: ignore[arg-type]


def _repeats(res: MLIVResults) -> Iterator[Diagnostic]:
    if res.n_repeats == 1:
        return
    for name, group in res.splits.groupby("endog", sort=False):
        which = f" ({name})" if len(res.endog) > 1 else ""
        spread = float(group["estimate"].std() / group["std_error"].median())
        yield _plain(
            f"Spread{which}",
            spread,
            not spread < 0.5,
            "standard deviation of the estimate over repeats, in standard errors.",
            "The partition decides too much: raise n_repeats.",
        )


def _set(res: IVResults) -> Iterator[Diagnostic]:
    """Whether the 95% Anderson-Rubin set has ends."""
    if not res.ar or res._joint_only:
        return
    found = res.conf_int(method="ar")
    for name, one in (found if isinstance(found, dict) else {res.endog[0]: found}).items():
        which = f" ({name})" if len(res.endog) > 1 else ""
        yield _plain(
            f"AR set length{which}",
            one.length,
            not one.is_bounded or one.is_empty,
            "length of the 95% Anderson-Rubin set, which no weakness of instruments invalidates.",
            "No value fits: the instruments contradict each other."
            if one.is_empty
            else "It is unbounded: these data do not tell.",
        )
