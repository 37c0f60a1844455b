"""Least squares with clustered standard errors, by statsmodels, as one printed table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_level
from mlinstruments._core.exceptions import AssumptionWarning, InputError
from mlinstruments._core.tables import Printed, Table, number
from mlinstruments._core.warn import warn_user
from mlinstruments.preferences.logit import FEW_CLUSTERS


@dataclass(frozen=True, eq=False, repr=False)
class Regression(Printed):
    """Least squares, clustered.

    Parameters
    ----------
    formula : str
    fit : RegressionResultsWrapper
        As statsmodels has it: everything else can be asked of it.
    clusters : str
    n_clusters : int

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from mlinstruments.applications.regression import clustered_ols
    >>> rng = np.random.default_rng(0)
    >>> data = pd.DataFrame({"x": rng.normal(size=300), "g": np.repeat(np.arange(30), 10)})
    >>> data["y"] = 2 * data["x"] + rng.normal(size=300)
    >>> fit = clustered_ols("y ~ x", data, "g")
    >>> abs(float(fit.params["x"]) - 2) < 5 * float(fit.std_errors["x"])
    True
    """

    formula: str
    fit: Any
    clusters: str
    n_clusters: int

    @property
    def params(self) -> pd.Series:
        """Coefficients."""
        return self.fit.params.rename("parameter")

    @property
    def std_errors(self) -> pd.Series:
        """Clustered, with the small-sample factor of statsmodels."""
        return self.fit.bse.rename("std_error")

    @property
    def pvalues(self) -> pd.Series:
        """From Student's t with as many degrees of freedom as clusters less one."""
        return self.fit.pvalues.rename("pvalue")

    def conf_int(self, level: float = 0.95) -> pd.DataFrame:
        """Confidence intervals from the same t."""
        check_level(level)
        return self.fit.conf_int(1 - level).set_axis(["lower", "upper"], axis=1)

    @property
    def summary(self) -> Table:
        """Coefficients with clustered standard errors."""
        limits = self.conf_int()
        rows = tuple(
            (
                str(name),
                number(self.params[name]),
                number(self.std_errors[name]),
                number(self.pvalues[name]),
                number(limits.loc[name, "lower"]),
                number(limits.loc[name, "upper"]),
            )
            for name in self.params.index
        )
        facts = (
            ("Formula", self.formula),
            ("Rows", f"{int(self.fit.nobs)}"),
            ("Clustered", f"{self.clusters} {self.n_clusters}"),
        )
        heads = ("", "Estimate", "Std. Err.", "P>|t|", "[0.025", "0.975]")
        return Table("Least squares", facts, heads, rows)


def clustered_ols(
    formula: str, data: pd.DataFrame, clusters: str, weights: Any = None
) -> Regression:
    """Regress, with standard errors that allow for any dependence within clusters.

    Parameters
    ----------
    formula : str
        As statsmodels and patsy take it.
    data : DataFrame
    clusters : str
        Column.
    weights : array, optional
        Analytic weights, one a row.

    Returns
    -------
    Regression

    Raises
    ------
    InputError
        Where a column is missing, the formula cannot be used, there is one cluster, or regressors
        are collinear.

    Warns
    -----
    AssumptionWarning
        Below 10 clusters.
    """
    import statsmodels.formula.api as smf

    if clusters not in data.columns:
        raise InputError(f"no column {clusters!r} to cluster by; there are {', '.join(data)}.")
    codes = pd.factorize(data[clusters])[0]
    if (codes < 0).any():
        raise InputError(f"{clusters!r}, which rows are clustered by, is missing in some rows.")
    n_clusters = int(codes.max()) + 1 if len(codes) else 0
    if n_clusters < 2:
        raise InputError(
            f"clusters={clusters!r}: standard errors need at least two clusters; there is"
            f" {n_clusters or 'none'}."
        )
    try:
        model = (
            smf.ols(formula, data, missing="raise")
            if weights is None
            else smf.wls(formula, data, weights=np.asarray(weights), missing="raise")
        )
    except Exception as error:  # patsy's and statsmodels' own errors, of many kinds
        raise InputError(f"formula {formula!r} cannot be used: {error}") from error
    if np.linalg.matrix_rank(model.exog) < model.exog.shape[1]:
        raise InputError(
            f"formula {formula!r}: regressors are collinear in these data; leave out those that do"
            " not vary or repeat others."
        )
    if n_clusters < FEW_CLUSTERS:
        warn_user(
            f"only {n_clusters} clusters in {clusters!r}: clustered standard errors are unreliable"
            f" below {FEW_CLUSTERS}.",
            AssumptionWarning,
        )
    fit = model.fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    return Regression(formula, fit, clusters, n_clusters)
