"""Confidence sets that allow for direct effects of the instruments: what they hold and show."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.tables import Printed, Table, number

from . import direct_effects as numbers
from .anderson_rubin import Moments
from .confidence_set import INF, ConfidenceSet
from .direct_effects import DirectEffectLine

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SEVERAL = (
    "Anderson-Rubin sets are for one unknown direct effect: fix those of the other instruments,"
    " as in {'z2': (0.0, 0.0)}."
)


@dataclass(frozen=True, eq=False, repr=False)
class ExclusionBounds(Printed):
    """Confidence sets that allow for direct effects of the instruments on the outcome.

    Parameters
    ----------
    endog : str
        The endogenous regressor.
    low, high : Series
        Direct effects allowed for, by instrument, in units of the outcome for one of the
        instrument.
    level : float
        Confidence level.
    spread : Series
        Standard deviation of each instrument given the covariates, to judge direct effects by.
    line : DirectEffectLine
        Estimate and standard error as functions of the direct effects.
    critical : float
        Critical value of the Wald and local intervals.
    weak : str
        Empty, or why there is no estimate: Wald and local intervals are then the whole line.
    moments : Moments
        For Anderson-Rubin sets.
    """

    endog: str
    low: pd.Series
    high: pd.Series
    level: float
    spread: pd.Series
    line: DirectEffectLine
    critical: float
    weak: str
    moments: Moments

    @cached_property
    def wald(self) -> ConfidenceSet:
        """Union of the Wald intervals over all direct effects allowed for."""
        return self.wald_at(1.0)

    @cached_property
    def local(self) -> ConfidenceSet:
        """Local-to-zero interval for normal direct effects, 95% of them in the range allowed for.

        They are independent with the middle of the range for a mean and a quarter of its length
        for a standard deviation.
        """
        return self.local_at(1.0)

    @cached_property
    def ar(self) -> ConfidenceSet | None:
        """Union of the Anderson-Rubin sets, valid however weak the instruments.

        None where several instruments have unknown direct effects.
        """
        return self.ar_at(1.0)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Ends of all sets at shares 0, 1/4, ..., 1 of the range of direct effects.

        Of an Anderson-Rubin set that is no interval the smallest interval that holds it.
        """
        rows = {share: self._ends(share) for share in SHARES}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("share")

    def _ends(self, share: float) -> dict[str, float]:
        found = {"wald": self.wald_at(share), "local": self.local_at(share)}
        ar = self.ar_at(share)
        hulls = {kind: one.hull for kind, one in found.items()}
        hulls["ar"] = (float("nan"), float("nan")) if ar is None else ar.hull
        return {
            f"{kind}_{side}": end
            for kind, hull in hulls.items()
            for side, end in zip(("lower", "upper"), hull, strict=True)
        }

    def wald_at(self, share: float) -> ConfidenceSet:
        """Union of the Wald intervals over a share of the range.

        Parameters
        ----------
        share : float
            Both ends of the range are multiplied by it.
        """
        low, high = self._range(share)
        ends = numbers.wald_union(self.line, low, high, self.critical)
        return self._interval(ends, "union of Wald intervals")

    def local_at(self, share: float) -> ConfidenceSet:
        """Local-to-zero interval for a share of the range.

        Parameters
        ----------
        share : float
        """
        low, high = self._range(share)
        ends = numbers.local_interval(self.line, (low + high) / 2, (high - low) / 4, self.critical)
        return self._interval(ends, "local to zero")

    def ar_at(self, share: float) -> ConfidenceSet | None:
        """Union of the Anderson-Rubin sets over a share of the range.

        Parameters
        ----------
        share : float
        """
        low, high = self._range(share)
        if int((low < high).sum()) > 1:
            return None
        moments, j = numbers.along(self.moments, low, high)
        ends = float(low[j]), float(high[j])
        return numbers.ar_union(moments, *ends, self.level, "union of AR sets")

    def breakdown(self, value: float = 0.0) -> pd.Series:
        """Share of the range at which the sets reach a value: above 1 they leave it out.

        Parameters
        ----------
        value : float
            Of the coefficient, such as 0 for no effect.

        Returns
        -------
        Series
            For ``wald`` and ``ar``; infinite where no multiple of the range does it, missing where
            there is no such set.

        Raises
        ------
        InputError
            Where 0 is not among the direct effects allowed for: shares of them are not nested then.

        Examples
        --------
        >>> import numpy as np
        >>> from mlinstruments import TSLS, exclusion_bounds
        >>> rng = np.random.default_rng(0)
        >>> z, u = rng.normal(size=(2, 1000))
        >>> res = TSLS(direct_effects=True).fit(z + 2 * u, np.ones(1000), z + u, z)
        >>> bool(exclusion_bounds(res, 0.1).breakdown()["wald"] > 5)
        True
        """
        if (self.low > 0).any() or (self.high < 0).any():
            raise InputError(
                "breakdown asks how far direct effects must be from 0, so the range must hold 0;"
                f" it is {self._words()}."
            )
        low, high = self._range(1.0)
        wald = 0.0
        if not self.weak:
            wald = numbers.wald_breakdown(self.line, low, high, self.critical, value)
        ar = float("nan")
        if self.ar is not None:
            moments, j = numbers.along(self.moments, low, high)
            ar = numbers.ar_breakdown(moments, float(low[j]), float(high[j]), self.level, value)
        return pd.Series({"wald": wald, "ar": ar}, name=f"{self.endog} = {value:g}")

    @property
    def summary(self) -> Table:
        """All sets at shares of the range."""
        share = f"{100 * self.level:g}%"
        single = len(self.low) == 1
        facts = (
            ("Direct effect", self._words()),
            ("Spread", ", ".join(f"{number(s)} ({name})" for name, s in self.spread.items())),
        )
        heads = (
            "Direct effect" if single else "Share",
            f"Union of Wald {share}",
            f"Local to zero {share}",
            f"Union of AR {share}",
        )
        rows = tuple(self._row(share, single) for share in SHARES)
        notes = ["Direct effect: on the outcome, of one unit of the instrument. Spread: its sd."]
        notes += [SEVERAL] if self.ar is None else []
        notes += [f"No estimate: {self.weak}"] if self.weak else []
        title = f"Bounds on {self.endog} where instruments may act on their own"
        return Table(title, facts, heads, rows, tuple(notes))

    def plot(self, ax: Any = None) -> Any:
        """All sets against the share of the range (needs the ``plot`` extra).

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib Axes
        """
        from .sensitivity_plot import plot_exclusion_bounds

        return plot_exclusion_bounds(self, ax)

    def _range(self, share: float) -> tuple[Any, Any]:
        return share * self.low.to_numpy() + 0.0, share * self.high.to_numpy() + 0.0  # no -0.0

    def _interval(self, ends: tuple[float, float], kind: str) -> ConfidenceSet:
        return ConfidenceSet(((-INF, INF) if self.weak else ends,), self.level, kind)

    def _row(self, share: float, single: bool) -> tuple[str, ...]:
        low, high = self._range(share)
        first = f"{low[0]:.4g} to {high[0]:.4g}" if single else f"{share:g}"
        sets = (self.wald_at(share), self.local_at(share), self.ar_at(share))
        return first, *("-" if one is None else str(one) for one in sets)

    def _words(self) -> str:
        ranges = zip(self.low.index, self.low, self.high, strict=True)
        return ", ".join(f"{low:.4g} to {high:.4g} ({name})" for name, low, high in ranges)
