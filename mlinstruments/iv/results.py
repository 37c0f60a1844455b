"""What every fit returns: frozen, light, printable, and readable like linearmodels' results."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import special, stats

from mlinstruments._core import store
from mlinstruments._core.arrays import check_choice, check_level
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.hypotheses import TestResult
from mlinstruments._core.tables import Printed, Table
from mlinstruments._core.typing import FloatArray

from .anderson_rubin import Moments
from .ar_kinds import ARKind, chosen_kind
from .diagnostics import Diagnostics, diagnostics
from .direct_effects import DirectEffectLine, DirectEffectMoments
from .fixed_effects import Absorbed
from .joint_strength import JointStrength
from .orthogonal import OrthogonalMoments
from .strength import FirstStage, tf_interval
from .summary import (
    JOINT_ONLY,
    Fact,
    absorbed_facts,
    ar_facts,
    coefficient_columns,
    coefficient_rows,
    overid_fact,
    sample_facts,
    strength_facts,
)


@dataclass(frozen=True)
class NotHeld:
    """Stands in a result for what it does not hold; asking for it raises the reason.

    Parameters
    ----------
    reason : str
    """

    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class IVResults(Printed):
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
    absorbed : Absorbed
        Effects taken out of all variables; none of them are among the coefficients.
    ar : tuple of ARKind
        Anderson-Rubin inference; empty for OLS.
    first_stage : FirstStage, optional
        Strength of the instruments; None for OLS.
    kappa : float
        The k-class parameter; missing where the estimator is of another kind.
    learner : str
        How the first stage was fitted, in words; empty for OLS.
    weak : str
        Empty, or why no estimate is given.
    overid : TestResult, optional
        Hansen's J test that all instruments are valid (Sargan's with ``cov_type="unadjusted"``),
        with more instruments than endogenous regressors.
    direct_effects : DirectEffectMoments, optional
        What :func:`mlinstruments.exclusion_bounds` needs, where it is kept.

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
    absorbed: Absorbed
    ar: tuple[ARKind, ...]
    first_stage: FirstStage | None
    kappa: float
    learner: str
    weak: str
    overid: TestResult | None
    direct_effects: DirectEffectMoments | None = field(default=None, kw_only=True)
    _learned: ClassVar[bool] = False

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if isinstance(value, NotHeld):
            raise InputError(f"{name} {value.reason}")
        return value

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
        ratios = np.abs(self.tstats.to_numpy())
        tails = 2 * (stats.t.sf(ratios, self.df_resid) if self.debiased else stats.norm.sf(ratios))
        return pd.Series(tails, self.names, name="pvalue")

    @property
    def df_resid(self) -> int:
        """Rows less coefficients and absorbed degrees of freedom."""
        return self.nobs - len(self.names) - self.absorbed.df

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
        check_level(level)
        check_choice(method, "method", ("wald", "ar", "tf"))
        if method == "wald":
            lower, upper = wald_limits(self, level)
            return pd.DataFrame({"lower": lower, "upper": upper}, index=list(self.names))
        if method == "tf":
            return self._tf_interval(level)
        kind = chosen_kind(self.ar, ar, self.method)
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
        values = _null_values(value, self.endog)
        return chosen_kind(self.ar, ar, self.method).test(values, self.endog)

    def _tf_interval(self, level: float) -> pd.DataFrame:
        if self.first_stage is None or len(self.endog) != 1:
            raise InputError("tF intervals need exactly one endogenous regressor.")
        q = 1 if self._learned else self.first_stage.n_instruments
        if q != 1:
            raise InputError(
                f"tF intervals need a single instrument; {self.method} uses {q}: use method='ar'."
            )
        if not abs(self.kappa - 1) < 1e-6:
            raise InputError(
                f"tF intervals are for the t ratio of 2SLS, not of {self.method}: use method='ar'."
            )
        f, name = float(self.first_stage.f.iloc[0]), self.endog[0]
        low, high = tf_interval(f, float(self.params[name]), float(self.std_errors[name]), level)
        return pd.DataFrame({"lower": [low], "upper": [high]}, index=[name])

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

    @property
    def _shown(self) -> Table:
        return self._table(self.endog)

    def _table(self, names: tuple[str, ...]) -> Table:
        title = f"{self.method}: {self.dependent} on {', '.join(self.endog)}"
        rows = coefficient_rows(self.to_frame(), names)
        columns = coefficient_columns(self.debiased)
        return Table(title, tuple(self._facts()), columns, rows, self._notes())

    def _facts(self) -> list[Fact]:
        clusters = dict(zip(self.cluster_names, self.n_clusters, strict=True))
        facts = sample_facts(self.nobs, self.cov_label, clusters, self.weighted)
        facts += absorbed_facts(self.absorbed)
        if self.learner not in ("", "linear") and not self._learned:
            facts.append(("First stage", self.learner))
        if self.first_stage is not None:
            facts += strength_facts(self.first_stage, self._learned)
        if self.overid is not None:
            facts.append(overid_fact(self.overid))
        return facts + self._ar_facts()

    @property
    def _joint_only(self) -> bool:
        """Whether Anderson-Rubin tests have no sets for single coefficients."""
        return bool(self.ar) and self.ar[0].joint_only

    def _ar_facts(self) -> list[Fact]:
        if not self.ar:
            return []
        if self._joint_only:
            return [("AR 95%", f"{JOINT_ONLY}, by anderson_rubin(value)")]
        return ar_facts(self.conf_int(method="ar"))

    def _notes(self) -> tuple[str, ...]:
        return (f"No estimate: {self.weak}",) if self.weak else ()

    def diagnostics(self) -> Diagnostics:
        """Strength, set and tests in one table, with what each means and what to do.

        Returns
        -------
        Diagnostics
            Prints as a table; ``to_frame()`` has the meanings and the advice.

        Raises
        ------
        InputError
            Of OLS, which uses no instruments.

        Examples
        --------
        >>> import numpy as np
        >>> from mlinstruments import TSLS
        >>> rng = np.random.default_rng(0)
        >>> z, u = rng.normal(size=(2, 1000))
        >>> res = TSLS().fit(z + 2 * u, np.ones(1000), z + u, z)
        >>> res.diagnostics().to_frame()["verdict"].to_dict()
        {'First-stage F': 'fine', 'Rank test': 'fine', 'AR set length': 'fine'}
        """
        return diagnostics(self)

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
            return self._ar_facts()[0][1]
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
        results: tuple[type[Any], ...] = (IVResults, *IVResults.__subclasses__())
        parts: tuple[type[Any], ...] = (
            Absorbed,
            FirstStage,
            JointStrength,
            TestResult,
            ARKind,
            Moments,
            OrthogonalMoments,
            NotHeld,
            DirectEffectLine,
            DirectEffectMoments,
        )
        found = store.load(path, {kind.__name__: kind for kind in results + parts})
        if not isinstance(found, cls):
            raise InputError(f"{path} holds {type(found).__name__}, not {cls.__name__}.")
        return found


def wald_limits(res: IVResults, level: float) -> tuple[FloatArray, FloatArray]:
    """Lower and upper ends of the Wald intervals, each (k,)."""
    tail = (1 + level) / 2
    critical = special.stdtrit(res.df_resid, tail) if res.debiased else special.ndtri(tail)
    width = critical * np.sqrt(np.diag(res.covariance))
    return res.estimates - width, res.estimates + width


def _null_values(value: Any, endog: tuple[str, ...]) -> FloatArray:
    """One number for each endogenous regressor (d,), or an error."""
    values = np.atleast_1d(np.asarray(value, dtype=float))
    if values.shape == (1,):
        values = np.repeat(values, len(endog))
    if values.shape != (len(endog),) or not np.isfinite(values).all():
        raise InputError(
            f"value must be one finite number for each of {', '.join(endog)}; got {value!r}."
        )
    return values
