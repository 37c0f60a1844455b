"""What a fit of preferences returns: estimates with honest intervals, or the reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mlinstruments._core.arrays import check_choice, check_count, check_level
from mlinstruments._core.exceptions import InputError, NotIdentifiedError
from mlinstruments._core.hypotheses import TestResult, null_words
from mlinstruments._core.tables import Printed, Table
from mlinstruments._core.typing import FloatArray, IntArray

from .design import Design
from .excluded import Excluded
from .identification import Identification
from .inference import (
    bootstrap,
    critical_value,
    delta_covariance,
    fieller,
    percentile,
    reported,
    wald_statistic,
)
from .summary import summary


@dataclass(frozen=True, eq=False, repr=False)
class PreferenceResults(Printed):
    """Estimates of one type.

    Parameters
    ----------
    theta : array, shape (m,)
        Coefficients of the regressors: lambda (1, parameters); NaN where not identified.
    theta_cov : array, shape (m, m)
    loglik, loglik_null : float
        At the estimate, and of choosing at random.
    identification : Identification
    design : Design
        The choice sets and counts, for intervals and measures computed on demand.
    clusters : tuple of int arrays
    cluster_names : tuple of str
    unit, beliefs : str
        What the choice was over, and what was believed.
    excluded : Excluded
        Answers that were not choices: a mapping from reason to count.

    Examples
    --------
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import PreferenceLogit, simulate_choices
    >>> data = simulate_choices(default_grid(), scale=0.1, kappa=0.3, draws=100)
    >>> fit = PreferenceLogit(("kappa",)).fit(data)
    >>> fit.params.index.tolist(), fit.nobs, fit.identification.identified
    (['lambda', 'kappa'], 1800.0, True)
    """

    theta: FloatArray
    theta_cov: FloatArray
    loglik: float
    loglik_null: float
    identification: Identification
    design: Design
    clusters: tuple[IntArray, ...]
    cluster_names: tuple[str, ...]
    unit: str
    beliefs: str
    excluded: Excluded

    @property
    def names(self) -> tuple[str, ...]:
        """The scale lambda, then the parameters."""
        return self.design.coefficients

    @property
    def nobs(self) -> float:
        """Choices counted."""
        return self.design.n_choices

    @property
    def df(self) -> float:
        """Degrees of freedom of intervals: clusters less one, those of the fewer; else infinite."""
        return min((float(code.max()) for code in self.clusters), default=np.inf)

    @cached_property
    def params(self) -> pd.Series:
        """Scale (1 / points) and preference parameters; NaN where not identified."""
        values = reported(self.theta) if self.identification.identified else self._nothing
        return pd.Series(values, self.names, name="parameter")

    @cached_property
    def cov(self) -> pd.DataFrame:
        """Covariance of the parameters by the delta method."""
        if not self.identification.identified:
            values = np.full((len(self.names), len(self.names)), np.nan)
        else:
            values = delta_covariance(self.theta, self.theta_cov)
        return pd.DataFrame(values, self.names, self.names)

    @cached_property
    def std_errors(self) -> pd.Series:
        """Standard errors by the delta method; missing where no variance is left."""
        variances = np.diag(self.cov)
        errors = np.sqrt(np.where(variances > 0, variances, np.nan))
        return pd.Series(errors, self.names, name="std_error")

    @property
    def _nothing(self) -> FloatArray:
        return np.full(len(self.names), np.nan)

    def conf_int(
        self,
        level: float = 0.95,
        method: str = "delta",
        draws: int = 999,
        random_state: Any = 0,
    ) -> pd.DataFrame:
        """Confidence intervals; with C clusters from Student's t with C - 1 degrees of freedom.

        Parameters
        ----------
        level : float
        method : {"delta", "fieller", "bootstrap"}
            ``delta``: estimate plus and minus. ``fieller``: for ratios, right also where the scale
            is weak; unbounded where it must be (two rays are reported as the whole line).
            ``bootstrap``: percentiles over draws of whole clusters, of single choices without;
            with few clusters further out, as Student's t is.
        draws : int
            Bootstrap draws.
        random_state : int

        Returns
        -------
        DataFrame with columns lower and upper

        Raises
        ------
        NotIdentifiedError
            Where the parameters are not identified, or too few bootstrap draws have an estimate;
            the message says why.
        InputError
            Where the level is no probability, there are choice probabilities to bootstrap and no
            clusters, or clusters of two ways.

        References
        ----------
        Fieller (1954), doi:10.1111/j.2517-6161.1954.tb00159.x.

        Examples
        --------
        >>> from mlinstruments.games import default_grid
        >>> from mlinstruments.preferences import PreferenceLogit, simulate_choices
        >>> data = simulate_choices(default_grid(), scale=0.1, kappa=0.3, draws=100)
        >>> fit = PreferenceLogit(("kappa",)).fit(data)
        >>> low, high = fit.conf_int(method="fieller").loc["kappa"]
        >>> bool(low < fit.params["kappa"] < high)
        True
        """
        check_choice(method, "method", ("delta", "fieller", "bootstrap"))
        check_level(level)
        if not self.identification.identified:
            raise NotIdentifiedError(f"no interval: {self.identification.reason}")
        if method == "bootstrap":
            return self._bootstrap_interval(level, check_count(draws, "draws", 2), random_state)
        critical = critical_value(level, self.df)
        lower = (self.params - critical * self.std_errors).to_numpy(copy=True)
        upper = (self.params + critical * self.std_errors).to_numpy(copy=True)
        if method == "fieller":
            for k in range(1, len(self.names)):
                pieces = fieller(self.theta, self.theta_cov, k, level, self.df)
                lower[k], upper[k] = pieces[0][0], pieces[-1][1]
        return pd.DataFrame({"lower": lower, "upper": upper}, index=list(self.names))

    def _bootstrap_interval(self, level: float, draws: int, random_state: Any) -> pd.DataFrame:
        if len(self.clusters) > 1:
            raise InputError(
                f"a bootstrap draws whole clusters one way, and this fit has two"
                f" ({', '.join(self.cluster_names)}): use method='fieller' or 'delta', or fit with"
                " one of the two."
            )
        clusters = self.clusters[0] if self.clusters else None
        if clusters is None and not np.allclose(np.round(self.design.count), self.design.count):
            raise InputError(
                "choice probabilities cannot be drawn one by one: name clusters in fit()."
            )
        found = bootstrap(self.design, self.theta, clusters, draws, random_state)
        kept = found[np.isfinite(found).all(axis=1)]
        if len(kept) < 0.9 * draws:
            raise NotIdentifiedError(
                f"{draws - len(kept)} of {draws} bootstrap draws have no estimate: the log is too"
                " small for bootstrap intervals; use method='fieller'."
            )
        values = np.column_stack([kept[:, :1], kept[:, 1:] / kept[:, :1]])
        n = self.nobs if clusters is None else float(clusters.max()) + 1
        tail = percentile(level, n)
        ends = np.quantile(values, [tail, 1 - tail], axis=0)
        return pd.DataFrame({"lower": ends[0], "upper": ends[1]}, index=list(self.names))

    def test_equal(
        self, other: PreferenceResults, names: tuple[str, ...] | None = None
    ) -> TestResult:
        """Wald test that two independent fits have equal parameters.

        Parameters
        ----------
        other : PreferenceResults
            From other choices: before and after tuning, or another agent.
        names : tuple of str, optional
            Which parameters, lambda included by default.

        Returns
        -------
        TestResult

        Raises
        ------
        InputError
            Where a parameter is not estimated in both fits.
        NotIdentifiedError
            Where one of the fits is not identified.

        Examples
        --------
        >>> from mlinstruments.games import default_grid
        >>> from mlinstruments.preferences import PreferenceLogit, simulate_choices
        >>> model = PreferenceLogit(("kappa",))
        >>> before, after = (
        ...     model.fit(simulate_choices(default_grid(), 0.1, kappa, draws=100))
        ...     for kappa in (0.0, 0.5))
        >>> bool(before.test_equal(after, ("kappa",)).pvalue < 0.01)
        True
        """
        names = tuple(self.names) if names is None else names
        unknown = [n for n in names if n not in self.names or n not in other.names]
        if unknown:
            raise InputError(f"{unknown[0]!r} is not estimated in both fits.")
        for fit in (self, other):
            if not fit.identification.identified:
                raise NotIdentifiedError(f"no test: {fit.identification.reason}")
        gap = (self.params[list(names)] - other.params[list(names)]).to_numpy()
        chosen = list(names)
        variance = (self.cov.loc[chosen, chosen] + other.cov.loc[chosen, chosen]).to_numpy()
        return _wald(gap, variance, f"equal {', '.join(names)}")

    def lr_test(self, restricted: PreferenceResults) -> TestResult:
        """Likelihood-ratio test of a fit with fewer parameters on the same choices.

        Valid where choices are independent; otherwise use :meth:`wald_test`.

        Parameters
        ----------
        restricted : PreferenceResults

        Returns
        -------
        TestResult

        Raises
        ------
        InputError
            Where the other fit is not of fewer parameters on as many choices.

        Examples
        --------
        >>> from mlinstruments.games import default_grid
        >>> from mlinstruments.preferences import PreferenceLogit, simulate_choices
        >>> data = simulate_choices(default_grid(), scale=0.1, kappa=0.5, draws=100)
        >>> full, payoffs = (PreferenceLogit(names).fit(data) for names in (("kappa",), ()))
        >>> test = full.lr_test(payoffs)
        >>> test.null, test.df, bool(test.pvalue < 0.01)
        ('kappa = 0', 1, True)
        """
        if not set(restricted.names) < set(self.names) or restricted.nobs != self.nobs:
            raise InputError("lr_test needs a fit of fewer parameters on the same choices.")
        for fit in (self, restricted):
            if not fit.identification.identified:
                raise NotIdentifiedError(f"no test: {fit.identification.reason}")
        df = len(self.names) - len(restricted.names)
        statistic = 2 * (self.loglik - restricted.loglik)
        dropped = [name for name in self.names if name not in restricted.names]
        return _chi_squared(statistic, df, null_words(dropped, [0.0] * len(dropped)))

    def wald_test(self, **values: float) -> TestResult:
        """Wald test of given values, robust or clustered as the fit.

        The p-value is that of chi-squared, also with few clusters.

        Parameters
        ----------
        **values : float
            Value of each parameter tested: ``fit.wald_test(kappa=0)``.

        Returns
        -------
        TestResult

        Raises
        ------
        InputError
            Where no parameter, or an unknown one, is named.
        NotIdentifiedError
            Where the parameters are not identified.

        Examples
        --------
        >>> from mlinstruments.games import default_grid
        >>> from mlinstruments.preferences import PreferenceLogit, simulate_choices
        >>> data = simulate_choices(default_grid(), scale=0.1, kappa=0.5, draws=100)
        >>> bool(PreferenceLogit(("kappa",)).fit(data).wald_test(kappa=0).pvalue < 0.01)
        True
        """
        names = list(values)
        if not names or any(n not in self.names for n in names):
            raise InputError(f"name parameters among {', '.join(self.names)}.")
        if not self.identification.identified:
            raise NotIdentifiedError(f"no test: {self.identification.reason}")
        gap = self.params[names].to_numpy() - np.array(list(values.values()))
        variance = self.cov.loc[names, names].to_numpy()
        return _wald(gap, variance, null_words(names, values.values()))

    def incentive_sensitivity(self) -> Any:
        """The measures of how choices react to incentives, in one table.

        Returns
        -------
        IncentiveSensitivity
            See :func:`mlinstruments.preferences.incentive_sensitivity`.
        """
        from .incentives import incentive_sensitivity

        return incentive_sensitivity(self)

    # ---- reading ------------------------------------------------------------------------------

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Estimates, standard errors and delta-method limits."""
        limits = (
            self.conf_int(level)
            if self.identification.identified
            else pd.DataFrame({"lower": self._nothing, "upper": self._nothing}, list(self.names))
        )
        return pd.DataFrame(
            {
                "parameter": self.params,
                "std_error": self.std_errors,
                "lower": limits["lower"],
                "upper": limits["upper"],
            }
        )

    @property
    def summary(self) -> Table:
        """Estimates, or why there are none, with what the log can and cannot say."""
        return summary(self)

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        frame = self.to_frame()
        ratio = frame["parameter"] / frame["std_error"]
        return pd.DataFrame(
            {
                "b": frame["parameter"],
                "se": frame["std_error"],
                "t": ratio,
                "p": 2 * stats.t.sf(np.abs(ratio), self.df),
                "ci95l": frame["lower"],
                "ci95u": frame["upper"],
            }
        ).rename_axis("Coefficient")

    def __maketables_stat__(self, key: str) -> Any:
        return {"N": self.nobs, "ll": self.loglik}.get(key)

    @property
    def __maketables_depvar__(self) -> str:
        return "choice"

    @property
    def __maketables_vcov_info__(self) -> dict[str, Any]:
        kind = "clustered" if self.clusters else "robust"
        return {"vcov_type": kind, "clustervar": list(self.cluster_names) or None}


def _wald(gap: FloatArray, variance: FloatArray, null: str) -> TestResult:
    """Test that ``gap`` (k,), of covariance ``variance`` (k, k), is zero."""
    return _chi_squared(wald_statistic(gap, variance), len(gap), null)


def _chi_squared(statistic: float, df: int, null: str) -> TestResult:
    return TestResult(statistic, float(stats.chi2.sf(statistic, df)), df, null)
