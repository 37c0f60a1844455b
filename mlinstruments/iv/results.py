"""What a fit returns: frozen, light, printable, and readable like linearmodels' results."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mlinstruments._core import store
from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.tables import Table, number
from mlinstruments._core.typing import FloatArray

from .anderson_rubin import Moments, TestResult
from .ar_kinds import KINDS, ARKind
from .confidence_set import ConfidenceSet
from .orthogonal import OrthogonalMoments
from .strength import FirstStage, tf_critical


@dataclass(frozen=True, eq=False, repr=False)
class IVResults:
    """A fitted linear model, in linearmodels' words.

    Parameters
    ----------
    method : str
        The estimator in words.
    dependent : str
    exog, endog, instruments : tuple of str
    estimates : array, shape (k,)
        Coefficients, exogenous then endogenous.
    covariance : array, shape (k, k)
    resids : Series
        Residuals on the index of the input, missing in rows that were dropped.
    nobs : int
    cov_label : str
        The covariance in words.
    debiased : bool
        Whether small-sample factors and Student's t are used.
    n_clusters : tuple of int
    cluster_names : tuple of str
    weighted : bool
    ar : tuple of ARKind
        Anderson-Rubin inference; empty for OLS.
    first_stage : FirstStage, optional
        Strength of the instruments; None for OLS.
    kappa : float
        The k-class parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import TSLS
    >>> rng = np.random.default_rng(0)
    >>> z, u = rng.normal(size=(2, 1000))
    >>> res = TSLS().fit(z + 2 * u, np.ones(1000), z + u, z)
    >>> res.nobs, res.params.index.tolist(), bool(res.first_stage.f["endog"] > 100)
    (1000, ['exog', 'endog'], True)
    """

    method: str
    dependent: str
    exog: tuple[str, ...]
    endog: tuple[str, ...]
    instruments: tuple[str, ...]
    estimates: FloatArray
    covariance: FloatArray
    resids: pd.Series
    nobs: int
    cov_label: str
    debiased: bool
    n_clusters: tuple[int, ...]
    cluster_names: tuple[str, ...]
    weighted: bool
    ar: tuple[ARKind, ...]
    first_stage: FirstStage | None
    kappa: float

    # ---- estimates, in linearmodels' names ----------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coefficients, exogenous then endogenous."""
        return self.exog + self.endog

    @cached_property
    def params(self) -> pd.Series:
        """Coefficients."""
        return pd.Series(self.estimates, self.names, name="parameter")

    @cached_property
    def cov(self) -> pd.DataFrame:
        """Covariance of the coefficients."""
        return pd.DataFrame(self.covariance, self.names, self.names)

    @cached_property
    def std_errors(self) -> pd.Series:
        """Standard errors."""
        return pd.Series(np.sqrt(np.diag(self.covariance)), self.names, name="std_error")

    @cached_property
    def tstats(self) -> pd.Series:
        """Ratios of coefficients to standard errors."""
        return (self.params / self.std_errors).rename("tstat")

    @cached_property
    def pvalues(self) -> pd.Series:
        """Two-sided p-values of zero coefficients, not robust to weak identification."""
        tails = 2 * self._reference.sf(np.abs(self.tstats.to_numpy()))
        return pd.Series(tails, self.names, name="pvalue")

    @property
    def df_resid(self) -> int:
        """Rows less coefficients."""
        return self.nobs - len(self.names)

    @property
    def _reference(self) -> Any:
        return stats.t(self.df_resid) if self.debiased else stats.norm()

    # ---- inference ----------------------------------------------------------------------------

    def conf_int(self, level: float = 0.95, method: str = "wald", ar: str | None = None) -> Any:
        """Confidence intervals and sets.

        Parameters
        ----------
        level : float
        method : {"wald", "ar", "tf"}
            ``wald``: estimate plus and minus, for every coefficient. ``ar``: Anderson-Rubin, valid
            however weak the instrument. ``tf``: estimate plus and minus a critical value that grows
            as the first-stage F falls; one endogenous regressor and instrument, 95% only.
        ar : {"corrected", "folds", "split", "orthogonal", "pooled"}, optional
            Kind of Anderson-Rubin set after cross-fitting; "corrected" by default.

        Returns
        -------
        DataFrame with columns lower and upper (wald, tf), or ConfidenceSet (ar)
            A dict of ConfidenceSet by name where several regressors are endogenous.

        Raises
        ------
        InputError
            Where the level is no probability, or there is no such interval for this model.

        References
        ----------
        Anderson and Rubin (1949), doi:10.1214/aoms/1177730090; Lee et al. (2022),
        doi:10.1257/aer.20211063.

        Examples
        --------
        >>> import numpy as np
        >>> from mlinstruments import TSLS
        >>> rng = np.random.default_rng(0)
        >>> z, u = rng.normal(size=(2, 1000))
        >>> res = TSLS().fit(z + 2 * u, np.ones(1000), z + u, z)
        >>> res.conf_int().columns.tolist(), res.conf_int(method="ar").is_bounded
        (['lower', 'upper'], True)
        """
        if not 0 < level < 1:
            raise InputError(f"level must lie between 0 and 1, such as 0.95; got {level!r}.")
        check_choice(method, "method", ("wald", "ar", "tf"))
        if method == "wald":
            width = float(self._reference.ppf((1 + level) / 2)) * self.std_errors
            return pd.DataFrame({"lower": self.params - width, "upper": self.params + width})
        if method == "tf":
            return self._tf_interval(level)
        kind = self._ar_kind(ar)
        sets = {name: kind.confidence_set(level, j) for j, name in enumerate(self.endog)}
        return sets if len(sets) > 1 else sets[self.endog[0]]

    def anderson_rubin(self, value: Any = 0.0, ar: str | None = None) -> TestResult:
        """Test that the endogenous regressors have the coefficients ``value``.

        Parameters
        ----------
        value : float, or one for each endogenous regressor
        ar : str, optional
            Kind, as in :meth:`conf_int`.

        Returns
        -------
        TestResult

        Raises
        ------
        InputError
            Where values are not one finite number each, or the model has no instruments.

        References
        ----------
        Anderson and Rubin (1949), doi:10.1214/aoms/1177730090.

        Examples
        --------
        >>> import numpy as np
        >>> from mlinstruments import TSLS
        >>> rng = np.random.default_rng(0)
        >>> z, u = rng.normal(size=(2, 1000))
        >>> res = TSLS().fit(z + 2 * u, np.ones(1000), z + u, z)
        >>> bool(res.anderson_rubin(0.0).pvalue < 0.01)
        True
        """
        values = np.atleast_1d(np.asarray(value, dtype=float))
        if values.shape == (1,):
            values = np.repeat(values, len(self.endog))
        if values.shape != (len(self.endog),) or not np.isfinite(values).all():
            raise InputError(
                f"value must be one finite number for each of {', '.join(self.endog)};"
                f" got {value!r}."
            )
        return self._ar_kind(ar).test(values, self.endog)

    def _ar_kind(self, name: str | None) -> ARKind:
        if not self.ar:
            raise InputError(f"{self.method} has no instruments, so no Anderson-Rubin test.")
        known = {kind.kind: kind for kind in self.ar}
        if name is None:
            return self.ar[0]
        if len(known) == 1:
            raise InputError(
                f"ar= chooses among kinds after cross-fitting; {self.method} uses its instruments"
                " as they are: leave ar out."
            )
        return known[check_choice(name, "ar", KINDS)]

    def _tf_interval(self, level: float) -> pd.DataFrame:
        if self.first_stage is None or len(self.endog) != 1:
            raise InputError("tF intervals need exactly one endogenous regressor.")
        if self._n_used_instruments != 1:
            raise InputError(
                f"tF intervals need a single instrument; {self.method} uses"
                f" {self._n_used_instruments}: use method='ar'."
            )
        f = float(self.first_stage.f.iloc[0])
        name = self.endog[0]
        critical = tf_critical(f, level) if np.isfinite(f) else float("inf")
        width = critical * float(self.std_errors[name])
        middle = float(self.params[name])
        if not np.isfinite(width) or not np.isfinite(middle):
            middle, width = 0.0, float("inf")
        return pd.DataFrame({"lower": [middle - width], "upper": [middle + width]}, index=[name])

    @property
    def _n_used_instruments(self) -> int:
        return len(self.instruments) if self.first_stage is None else self.first_stage.n_instruments

    # ---- reading ------------------------------------------------------------------------------

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Coefficients, standard errors, test ratios, p-values and Wald limits."""
        interval = self.conf_int(level)
        return pd.DataFrame(
            {
                "parameter": self.params,
                "std_error": self.std_errors,
                "tstat": self.tstats,
                "pvalue": self.pvalues,
                "lower": interval["lower"],
                "upper": interval["upper"],
            }
        )

    @property
    def summary(self) -> Table:
        """The whole table: every coefficient, and what the short print shows."""
        return self._table(self.names)

    def as_latex(self) -> str:
        """The summary for a paper."""
        return self.summary.as_latex()

    def __str__(self) -> str:
        return str(self._table(self.endog))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self._table(self.endog).as_html()

    def _table(self, names: tuple[str, ...]) -> Table:
        ratio = "t" if self.debiased else "z"
        columns = ("", "Estimate", "Std. Err.", ratio, f"P>|{ratio}|", "[0.025", "0.975]")
        frame = self.to_frame()
        rows = tuple((name, *(number(v) for v in frame.loc[name])) for name in names)
        return Table(self._title, self._facts(), columns, rows, self._notes())

    @property
    def _title(self) -> str:
        return f"{self.method}: {self.dependent} on {', '.join(self.endog)}"

    def _facts(self) -> tuple[tuple[str, str], ...]:
        facts = [("Observations", str(self.nobs)), ("Covariance", self.cov_label)]
        if self.n_clusters:
            counts = zip(self.cluster_names, self.n_clusters, strict=True)
            facts.append(("Clusters", ", ".join(f"{name} {n}" for name, n in counts)))
        if self.weighted:
            facts.append(("Weights", "analytic"))
        if self.first_stage is not None:
            facts += self._strength_facts(self.first_stage)
        for name, found in self._ar_sets():
            facts.append((f"AR 95% {name}".strip(), found))
        return tuple(facts)

    def _strength_facts(self, first: FirstStage) -> list[tuple[str, str]]:
        return [
            (f"First-stage F{_suffix(self.endog, name)}", number(f, 2))
            for name, f in first.f.items()
        ]

    def _ar_sets(self) -> list[tuple[str, str]]:
        if not self.ar:
            return []
        try:
            found = self.conf_int(method="ar")
        except InputError as error:
            return [("", str(error))]
        if isinstance(found, ConfidenceSet):
            return [("set", f"{found}   [{found.kind}]")]
        return [(name, f"{one}   [{one.kind}, projection]") for name, one in found.items()]

    def _notes(self) -> tuple[str, ...]:
        return ()

    def plot(self, ax: Any = None) -> Any:
        """Estimates with Wald and Anderson-Rubin intervals (needs the ``plot`` extra).

        Returns
        -------
        matplotlib Axes
        """
        from mlinstruments.plotting import plot_estimates

        return plot_estimates({self.method: self}, ax=ax)

    # ---- other packages -----------------------------------------------------------------------

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        frame = self.to_frame()
        frame.columns = pd.Index(["b", "se", "t", "p", "ci95l", "ci95u"])
        frame.index.name = "Coefficient"
        return frame

    def __maketables_stat__(self, key: str) -> Any:
        if key == "N":
            return self.nobs
        if key == "ar" and self.ar:
            return self._ar_sets()[0][1]
        if key == "fstat_1st" and self.first_stage is not None:
            return float(self.first_stage.f.iloc[0])
        return None

    @property
    def __maketables_depvar__(self) -> str:
        return self.dependent

    @property
    def __maketables_vcov_info__(self) -> dict[str, Any]:
        return {"vcov_type": self.cov_label, "clustervar": list(self.cluster_names) or None}

    @property
    def __maketables_default_stat_keys__(self) -> list[str]:
        return ["N"] if self.first_stage is None else ["N", "fstat_1st", "ar"]

    @property
    def __maketables_stat_labels__(self) -> dict[str, str]:
        return {"ar": "AR 95% set", "fstat_1st": "First-stage F"}

    def save(self, path: str | Path) -> None:
        """Write to one file, without pickle; read it back with :meth:`load`.

        Parameters
        ----------
        path : str or Path

        Examples
        --------
        >>> import numpy as np
        >>> import pathlib, tempfile
        >>> from mlinstruments import OLS, IVResults
        >>> z, d = np.random.default_rng(0).normal(size=(2, 50))
        >>> res = OLS().fit(2 * d, np.ones(50), d, z)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "ols.zip"
        >>> res.save(path)
        >>> IVResults.load(path).method
        'OLS'
        """
        store.save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Any:
        """Read results that :meth:`save` wrote.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        IVResults or MLIVResults

        Raises
        ------
        InputError
            Where the file holds something else.
        """
        kinds = (IVResults, MLIVResults, FirstStage, ARKind, Moments, OrthogonalMoments)
        found = store.load(path, {kind.__name__: kind for kind in kinds})
        if not isinstance(found, cls):
            raise InputError(f"{path} holds {type(found).__name__}, not {cls.__name__}.")
        return found


@dataclass(frozen=True, eq=False, repr=False)
class MLIVResults(IVResults):
    """A fit with learned instruments.

    Parameters
    ----------
    instrument : Series or DataFrame
        The learned instruments on the index of the input, averaged over repeats, orthogonal to the
        covariates; missing in rows that were dropped. With one repeat, handing it to any IV
        program reproduces estimates and standard errors.
    splits : DataFrame
        Estimate, standard error and F of every repeat and endogenous regressor.
    folds : DataFrame
        Cell of every row in each repeat, on the index of the input.
    learner : str
        The learner in words.
    covariates : {"linear", "recentred", "unconstrained"}
    n_folds, n_repeats : int
    control_variate : bool
    weak : str
        Empty, or why no estimate is given.
    """

    instrument: Any
    splits: pd.DataFrame
    folds: pd.DataFrame
    learner: str
    covariates: str
    n_folds: int
    n_repeats: int
    control_variate: bool
    weak: str

    @property
    def _n_used_instruments(self) -> int:
        return len(self.endog)

    def _facts(self) -> tuple[tuple[str, str], ...]:
        constraint = {
            "linear": "linear in covariates",
            "recentred": "g(W, X) - E[g(W, X) | X]",
            "unconstrained": "unconstrained in covariates",
        }[self.covariates]
        learned = f"{self.learner}, {constraint}"
        if self.control_variate:
            learned += ", control variate"
        repeats = "1 repeat" if self.n_repeats == 1 else f"{self.n_repeats} repeats, medians"
        own = (
            ("First stage", learned),
            ("Cross-fitting", f"{self.n_folds} folds x {repeats}"),
        )
        return own + super()._facts() + self._tf_fact()

    def _strength_facts(self, first: FirstStage) -> list[tuple[str, str]]:
        facts = []
        for name, f in first.f.items():
            words = number(f, 2)
            linear = float(first.linear_f[name])
            if np.isfinite(linear):
                q = first.n_instruments
                words += f"   (linear first stage: q x F = {q} x {number(linear, 2)}"
                words += f" = {number(q * linear, 2)})"
            facts.append((f"First-stage F{_suffix(self.endog, name)}", words))
        return facts

    def _tf_fact(self) -> tuple[tuple[str, str], ...]:
        if len(self.endog) != 1:
            return ()
        low, high = self.conf_int(method="tf").iloc[0]
        words = "(-inf, inf)" if np.isinf(low) else f"[{number(low)}, {number(high)}]"
        return (("tF 95% interval", words),)

    def _notes(self) -> tuple[str, ...]:
        return (f"No estimate: {self.weak}",) if self.weak else ()


def _suffix(endog: tuple[str, ...], name: Any) -> str:
    return f" ({name})" if len(endog) > 1 else ""
