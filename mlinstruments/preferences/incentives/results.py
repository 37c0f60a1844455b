"""What the measures of incentive sensitivity are returned in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlinstruments._core.tables import Printed, Table, number

from ..summary import fixed

# Pearson's chi-square is poor where fewer are expected in a cell.
LEAST_EXPECTED = 5.0
LABELS = {
    "lambda": "Scale lambda, 1 / points",
    "lambda_x_range": "lambda x range of own payoff",
    "marginal_effect": "Mean dP / d(own-payoff gap)",
    "slope": "Slope of action share on gap",
    "spearman": "Spearman's rho, share and gap",
    "best_response_rate": "Best-response rate",
    "regret": "Normalised regret",
}
MODEL_BASED = ("lambda", "lambda_x_range", "marginal_effect")


@dataclass(frozen=True)
class Measure:
    """One number with what is known about it; NaN for what is not.

    Parameters
    ----------
    name : str
    estimate, std_error : float
    pvalue : float
        Of no reaction, two-sided (zero slope, scale or rho).
    at_random : float
        What uniformly random choice would give.
    """

    name: str
    estimate: float
    std_error: float = float("nan")
    pvalue: float = float("nan")
    at_random: float = float("nan")


@dataclass(frozen=True)
class EqualRates:
    """Pearson's chi-square that the actions of a game are as frequent in all its protocols.

    Parameters
    ----------
    game : str
    statistic, pvalue : float
        NaN where there is one protocol only, or one action.
    df : int
    least_expected : float
        Smallest expected count.
    """

    game: str
    statistic: float
    df: int
    pvalue: float
    least_expected: float


@dataclass(frozen=True, eq=False, repr=False)
class IncentiveSensitivity(Printed):
    """What :func:`.incentive_sensitivity` returns.

    Parameters
    ----------
    measures : tuple of Measure
        lambda, lambda_x_range, marginal_effect (NaN without an identified fit); slope, spearman,
        best_response_rate, regret.
    equal_rates : tuple of EqualRates
        One a game.
    reason : str
        Why there are no model-based measures; empty where there are.
    n_protocols : int
        Clusters of the standard errors of the model-free measures: protocols, or the coarser
        clusters of the fit.
    clustered_by : str
        What these are, in the plural.
    """

    measures: tuple[Measure, ...]
    equal_rates: tuple[EqualRates, ...]
    reason: str
    n_protocols: int
    clustered_by: str = "protocols"

    def __getitem__(self, name: str) -> Measure:
        """A measure by name."""
        return next(m for m in self.measures if m.name == name)

    def to_frame(self) -> pd.DataFrame:
        """One row a measure: estimate, std_error, pvalue, df, at_random."""
        rows: dict[str, dict[str, float]] = {
            m.name: {
                "estimate": m.estimate,
                "std_error": m.std_error,
                "pvalue": m.pvalue,
                "df": np.nan,
                "at_random": m.at_random,
            }
            for m in self.measures
        }
        for test in self.equal_rates:
            rows[f"equal_rates[{test.game}]"] = {
                "estimate": test.statistic,
                "std_error": np.nan,
                "pvalue": test.pvalue,
                "df": test.df,
                "at_random": np.nan,
            }
        return pd.DataFrame.from_dict(rows, orient="index")

    @property
    def summary(self) -> Table:
        """The measures, and why some are missing."""
        rows = [
            (
                LABELS[m.name],
                number(m.estimate),
                number(m.std_error),
                fixed(m.pvalue, 4),
                number(m.at_random),
            )
            for m in self.measures
        ]
        rows += [
            (
                f"Equal rates, {t.game}: chi2({t.df})",
                number(t.statistic),
                "-",
                fixed(t.pvalue, 4),
                "-",
            )
            for t in self.equal_rates
        ]
        columns = ("", "Estimate", "Std. Err.", "p", "At random")
        return Table("Incentive sensitivity", (), columns, tuple(rows), tuple(self._notes()))

    def _notes(self) -> Iterator[str]:
        if self.reason:
            yield f"Model-based measures: none, {self.reason}"
        yield "Gap: expected own payoff of one action less the other's, in points."
        yield "Regret: 0 best, 1 worst."
        clusters = f"{self.n_protocols} {self.clustered_by}"
        yield f"Model-free standard errors are clustered by {clusters}."
        if self.equal_rates:
            yield "Chi-squares take every choice as independent evidence; repeated draws are not."
        sparse = [t.game for t in self.equal_rates if t.least_expected < LEAST_EXPECTED]
        if sparse:
            yield f"Few choices for a chi-square (fewer than 5 expected): {', '.join(sparse)}."
