"""What a Monte Carlo run returns: every draw, statistics with their errors, tables, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.tables import Printed, Table, number
from mlinstruments._core.typing import BoolArray, FloatArray

from . import statistics
from .replicate import replication_seed
from .rows import read_set

# Statistics in the order of the table, with their words and digits.
STATISTICS = {
    "median_bias": ("Median bias", 4),
    "sd": ("SD", 4),
    "rmse": ("RMSE", 4),
    "wald_coverage": ("Wald coverage", 3),
    "wald_length": ("Wald median length", 3),
    "wald_rejection": ("Wald rejects the truth", 3),
    "ar_coverage": ("AR coverage", 3),
    "ar_length": ("AR median length", 3),
    "ar_bounded": ("AR bounded", 3),
    "ar_rejection": ("AR rejects the truth", 3),
    "f": ("First-stage F, median", 2),
}
# Values of a power curve when none are asked for, and its reach in median lengths of intervals.
N_VALUES, REACH = 41, 1.5


@dataclass(frozen=True, eq=False, repr=False)
class MonteCarloReport(Printed):
    """Estimators on many samples of one design.

    Parameters
    ----------
    name, description : str
        Of the design.
    truth : float
        The coefficient that is estimated.
    estimators : tuple of str
    replications : int
    level : float
        Of intervals and sets.
    entropy : str
    spawn_key : tuple of int
        Of the seed whose children the replications are.
    draws : DataFrame
        One row for each replication and estimator: estimate, standard error, ends of the Wald
        interval, the Anderson-Rubin p-value of the truth, ends and length of the Anderson-Rubin
        set and the set itself in text, first-stage F, numbers a function returned, and in
        ``failure`` why there are none. Missing where an estimator gives no such number.

    Examples
    --------
    >>> from mlinstruments import TSLS
    >>> from mlinstruments.simulation import designs, monte_carlo
    >>> report = monte_carlo(designs.many_weak(n=200), {"2SLS": TSLS()}, replications=10)
    >>> report.replications, report.failures.empty
    (10, True)
    """

    name: str
    description: str
    truth: float
    estimators: tuple[str, ...]
    replications: int
    level: float
    entropy: str
    spawn_key: tuple[int, ...]
    draws: pd.DataFrame

    @cached_property
    def statistics(self) -> pd.DataFrame:
        """Statistics by (estimator, statistic): value, mc_se, and the replications they rest on.

        ``median_bias``, ``sd``, ``rmse``, ``wald_coverage`` and ``wald_length`` rest on
        replications with an estimate; rejections of the truth on all that did not fail, where an
        estimator that gives no estimate does not reject. ``f`` is a median. Standard errors:
        medians by order statistics, shares binomial, the others by the delta method.
        """
        rows = [
            (name, statistic, *found)
            for name in self.estimators
            for statistic, found in _statistics(self._of(name), self.truth, self.level).items()
        ]
        columns = ["estimator", "statistic", "value", "mc_se", "replications"]
        frame = pd.DataFrame(rows, columns=columns)
        return frame.set_index(["estimator", "statistic"])

    def power(self, values: Iterable[float] | None = None) -> pd.DataFrame:
        """How often each test rejects that the coefficient has a value.

        From the intervals and sets of the run, at its level: nothing is fitted again.

        Parameters
        ----------
        values : iterable of float, optional
            By default 41 around the truth, one and a half median lengths to each side.

        Returns
        -------
        DataFrame
            Columns estimator, test ("wald" or "ar"), value, rejection, mc_se.

        Examples
        --------
        >>> from mlinstruments import TSLS
        >>> from mlinstruments.simulation import designs, monte_carlo
        >>> design = designs.many_weak(n=300, concentration=200, linear=True)
        >>> report = monte_carlo(design, {"2SLS": TSLS()}, replications=20)
        >>> power = report.power([1.0, 3.0])
        >>> power[power["test"] == "ar"]["rejection"].tolist()[-1]
        1.0
        """
        wanted = self._values() if values is None else np.asarray(list(values), dtype=float)
        if wanted.size == 0 or not np.isfinite(wanted).all():
            raise InputError(f"values must be finite numbers, at least one; got {values!r}.")
        rows = []
        for name in self.estimators:
            for test, rejects in (("wald", _wald_rejects), ("ar", _ar_rejects)):
                found = rejects(self._of(name), wanted)
                if found is not None:
                    shares = [statistics.share(column) for column in found.T]
                    rows += [(name, test, v, *s) for v, s in zip(wanted, shares, strict=True)]
        return pd.DataFrame(rows, columns=["estimator", "test", "value", "rejection", "mc_se"])

    @property
    def failures(self) -> pd.DataFrame:
        """Replications that failed: replication, estimator and message; :meth:`seed` draws them."""
        failed = self.draws["failure"] != ""
        return self.draws.loc[failed, ["replication", "estimator", "failure"]].reset_index(
            drop=True
        )

    def seed(self, replication: int) -> np.random.SeedSequence:
        """The seed from which a replication's sample was drawn.

        Parameters
        ----------
        replication : int

        Returns
        -------
        numpy.random.SeedSequence

        Examples
        --------
        >>> import numpy as np
        >>> from mlinstruments import OLS
        >>> from mlinstruments.simulation import designs, monte_carlo
        >>> design = designs.nonlinear(n=100)
        >>> report = monte_carlo(design, {"OLS": OLS()}, replications=3)
        >>> sample = design.draw(np.random.default_rng(report.seed(2)))
        >>> res = OLS().fit(sample.y, sample.X, sample.D, sample.W)
        >>> bool(res.params["endog"] == report.draws["estimate"].iloc[2])
        True
        """
        check_count(replication, "replication", 0)
        root = np.random.SeedSequence(int(self.entropy), spawn_key=self.spawn_key)
        return replication_seed(root, replication)

    @property
    def summary(self) -> Table:
        """Statistics, one column an estimator, Monte Carlo standard errors in parentheses."""
        facts = (
            ("Truth", f"{self.truth:g}"),
            ("Replications", str(self.replications)),
            ("Level", f"{self.level:g}"),
            ("Seed", _seed_words(self.entropy, self.spawn_key)),
        )
        columns = ("", *self.estimators)
        title = f"Monte Carlo: {self.name}"
        return Table(title, facts, columns, tuple(self._rows()), tuple(self._notes()))

    def plot(self, values: Iterable[float] | None = None, axes: Any = None) -> Any:
        """Draw sampling distributions and power curves (needs the ``plot`` extra).

        Parameters
        ----------
        values : iterable of float, optional
            Of the power curves, as for :meth:`power`.
        axes : two matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        array of two matplotlib Axes
        """
        from .plot import plot_report

        return plot_report(self, values, axes)

    def _of(self, name: str) -> pd.DataFrame:
        """Rows of an estimator that did not fail."""
        kept = (self.draws["estimator"] == name) & (self.draws["failure"] == "")
        return self.draws[kept]

    def _values(self) -> FloatArray:
        found = self.statistics["value"].unstack("statistic")
        lengths = found[["wald_length", "ar_length"]].to_numpy(dtype=float)
        lengths = lengths[np.isfinite(lengths) & (lengths > 0)]
        reach = REACH * float(np.median(lengths)) if lengths.size else 1.0
        return self.truth + reach * np.linspace(-1, 1, N_VALUES)

    def _rows(self) -> Iterable[tuple[str, ...]]:
        found = self.statistics
        for statistic, (words, digits) in STATISTICS.items():
            cells = [found.loc[(name, statistic)] for name in self.estimators]
            if all(np.isnan(cell["value"]) for cell in cells):
                continue
            yield (words, *(_cell(cell["value"], digits) for cell in cells))
            yield ("", *(_error_cell(cell["mc_se"], digits) for cell in cells))

    def _notes(self) -> Iterable[str]:
        if self.description:
            yield self.description
        yield "Monte Carlo standard errors in parentheses."
        for name in self.estimators:
            rows = self._of(name)
            none = int(rows["estimate"].isna().sum())
            if none:
                yield (
                    f"{name}: no estimate in {none} of {len(rows)} replications; they count as not"
                    " rejecting, and not in bias, SD, RMSE, Wald coverage and length."
                )
        for name in self.estimators:
            warned = self._of(name)["warnings"]
            warned = warned[warned != ""]
            if len(warned):
                first = str(warned.iloc[0]).partition("\n")[0]
                yield f"{name}: warned in {len(warned)} replications, first {_short(first)}"
        for name, group in self.failures.groupby("estimator", sort=False):
            first = group.iloc[0]
            yield (
                f"{name}: {len(group)} of {self.replications} replications failed, the first was"
                f" {first['replication']}: {_short(first['failure'])}"
            )


# ---- numbers ------------------------------------------------------------------------------------


def _statistics(
    rows: pd.DataFrame, truth: float, level: float
) -> dict[str, tuple[float, float, int]]:
    """Value, standard error and number of replications of every statistic of one estimator."""
    estimate = rows["estimate"].to_numpy()
    errors = estimate[np.isfinite(estimate)] - truth
    low, high = rows["wald_lower"].to_numpy(), rows["wald_upper"].to_numpy()
    given = ~(np.isnan(low) | np.isnan(high))
    covered = (low <= truth) & (truth <= high)
    pvalue, length = rows["ar_pvalue"].to_numpy(), rows["ar_length"].to_numpy()
    f = rows["f"].to_numpy()
    tested, sets = ~np.isnan(pvalue), ~np.isnan(length)
    rejected = pvalue[tested] < 1 - level
    inside = _ar_rejects(rows, np.array([truth]))
    no_interval = rows.iloc[:0] if not given.any() else rows  # no test where there is never one
    wald_rejected = (given & ~covered)[: len(no_interval)]

    def of(
        statistic: Callable[[Any], tuple[float, float]], values: Any
    ) -> tuple[float, float, int]:
        return (*statistic(values), len(values))

    return {
        "median_bias": of(statistics.median, errors),
        "sd": of(statistics.sd, errors),
        "rmse": of(statistics.rmse, errors),
        "wald_coverage": of(statistics.share, covered[given]),
        "wald_length": of(statistics.median, (high - low)[given]),
        "wald_rejection": of(statistics.share, wald_rejected),
        "ar_coverage": of(statistics.share, [] if inside is None else ~inside[:, 0]),
        "ar_length": of(statistics.median, length[sets]),
        "ar_bounded": of(statistics.share, np.isfinite(length[sets])),
        "ar_rejection": of(statistics.share, rejected),
        "f": of(statistics.median, f[~np.isnan(f)]),
    }


def _wald_rejects(rows: pd.DataFrame, values: FloatArray) -> BoolArray | None:
    """Whether each interval leaves each value out (R, values); None where there is none at all."""
    low, high = rows["wald_lower"].to_numpy()[:, None], rows["wald_upper"].to_numpy()[:, None]
    if np.isnan(low).all():
        return None
    return np.asarray((values < low) | (values > high))


def _ar_rejects(rows: pd.DataFrame, values: FloatArray) -> BoolArray | None:
    """Whether each set leaves each value out (R, values); rows without a set do not count."""
    sets = [read_set(text) for text in rows["ar_set"] if text]
    if not sets:
        return None
    found = np.ones((len(sets), len(values)), dtype=bool)
    for row, intervals in zip(found, sets, strict=True):
        for low, high in intervals:
            row &= ~((low <= values) & (values <= high))
    return found


# ---- words --------------------------------------------------------------------------------------


def _cell(value: float, digits: int) -> str:
    return "" if np.isnan(value) else number(value, digits)


def _error_cell(error: float, digits: int) -> str:
    return "" if np.isnan(error) else f"({number(error, digits)})"


def _seed_words(entropy: str, spawn_key: tuple[int, ...]) -> str:
    return entropy if not spawn_key else f"{entropy}, spawn key {spawn_key}"


def _short(message: str, most: int = 150) -> str:
    line = " ".join(message.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
