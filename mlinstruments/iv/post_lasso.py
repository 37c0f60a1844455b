"""Post-lasso IV: instruments selected by the lasso, on all rows, make the first stage."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mlinstruments._core.linalg import SINGULAR_TOLERANCE, unit_length
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments._core.typing import FloatArray
from mlinstruments.learning.lasso import Lasso, plugin

from . import anderson_rubin as ar
from .ar_kinds import ARKind
from .data import IVData
from .estimate import LinearFit, kclass
from .learn import partialled
from .results import IVResults
from .same_call import Comparator, linear_strength, results

# A column that keeps less than this share of its length beside the covariates is rounding.
EXPLAINED = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class PostLassoResults(IVResults):
    """A fit with instruments selected by the lasso.

    Parameters
    ----------
    selected : DataFrame
        True where an instrument (a row; categories have one for each level but the first) is
        selected for an endogenous regressor (a column).
    """

    selected: pd.DataFrame


class PostLassoIV(Comparator):
    """IV with the instruments that the lasso selects: for many instruments of which few matter.

    The lasso of each endogenous regressor on all instruments, covariates partialled out, has the
    plug-in penalty and loadings of Belloni, Chen, Chernozhukov and Hansen; least squares on the
    selected instruments makes the optimal instrument. With one endogenous regressor this is 2SLS
    with the selected instruments. There may be more instruments than rows. Loadings allow for
    heteroskedasticity and, where clusters are given, for them.

    Where nothing is selected there is no estimate, and the results say so. The first-stage F is
    that of the selected instruments and owes something to their selection. Anderson-Rubin tests use
    every instrument by itself at Bonferroni's level (a sup-score test) and so do not depend on the
    selection.

    Standard errors are the sandwich of IV with the fitted instrument, as in the source: selection
    does not enter to first order where few instruments matter.

    Parameters
    ----------
    c : float
        Factor of the penalty 2 c sqrt(n) Phi^-1(1 - gamma / (2 q)) of q instruments.
    gamma : float, optional
        About the probability of selecting an irrelevant instrument; .1 / log(n) by default.

    References
    ----------
    Belloni, Chen, Chernozhukov, Hansen (2012), "Sparse Models and Methods for Optimal Instruments
    With an Application to Eminent Domain", doi:10.3982/ECTA9626.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import PostLassoIV
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(200, 300))
    >>> u, v = rng.normal(size=(2, 200))
    >>> d = z[:, 0] + z[:, 7] + u + v
    >>> res = PostLassoIV().fit(d + u, np.ones(200), d, z)
    >>> np.flatnonzero(res.selected["endog"])
    array([0, 7])
    >>> 1.0 in res.conf_int(method="ar")
    True
    """

    def __init__(self, c: float = 1.1, gamma: float | None = None) -> None:
        self.c = c
        self.gamma = gamma

    def _check_settings(self) -> None:
        Lasso(c=self.c, gamma=self.gamma)

    def _fit(self, data: IVData, spec: CovarianceSpec) -> PostLassoResults:
        instruments = data.W.dummies(drop_first=True)
        left = _varying(partialled(unit_length(instruments)[0], data))
        D = partialled(data.D, data)
        coefficients = post_lasso(left, D, data, Lasso(c=self.c, gamma=self.gamma))
        selected = coefficients != 0
        weak = weak_reason(left @ coefficients, selected, data.endog)
        if weak:
            fit = without_estimate(data, spec)
        else:
            z = _in_units_of_rows(left @ coefficients, data)
            fit = kclass(data.y, data.X, data.D, z, spec, data.weights)
            fit = replace(fit, kappa=float("nan"))  # tF is for an instrument that is given
        union = left[:, selected.any(axis=1)]
        first = linear_strength(union if union.shape[1] else left[:, :1] * 0, D, data, fit.spec)
        first = replace(first, n_instruments=union.shape[1])
        words = f"post-lasso, {union.shape[1]} of {left.shape[1]} instruments"
        base = results(
            data, fit, "Post-lasso IV", words, (sup_score(left, D, data, fit.spec),), first
        )
        names = list(data.W.dummy_names(drop_first=True))
        table = pd.DataFrame(selected, names, list(data.endog))
        return PostLassoResults(**vars(replace(base, weak=weak)), selected=table)


def post_lasso(left: FloatArray, D: FloatArray, data: IVData, learner: Lasso) -> FloatArray:
    """Least-squares coefficients (q, d) on the instruments selected, 0 for the others.

    Parameters
    ----------
    left : array, shape (n, q)
        Instruments, covariates and weights partialled out.
    D : array, shape (n, d)
        Treatments, likewise.
    data : IVData
        For its clusters.
    learner : Lasso
    """
    return np.column_stack([plugin(left, d, data.clusters, learner)[0] for d in D.T])


def weak_reason(z: FloatArray, selected: FloatArray, endog: tuple[str, ...]) -> str:
    """Why constructed instruments (n, d) give no estimate, or nothing."""
    nothing = [name for j, name in enumerate(endog) if not selected[:, j].any()]
    if nothing:
        return f"the lasso selects no instrument for {', '.join(nothing)}."
    smallest = np.linalg.svd(unit_length(z)[0], compute_uv=False)[-1]
    if smallest < np.sqrt(SINGULAR_TOLERANCE):
        return "the lasso selects too few instruments to tell the endogenous regressors apart."
    return ""


def without_estimate(data: IVData, spec: CovarianceSpec) -> LinearFit:
    """Missing coefficients, with a kernel's bandwidth chosen as least squares would."""
    if spec.kind == "kernel":
        nothing = np.empty((data.nobs, 0))
        regressors = np.hstack([data.X, data.D])
        spec = kclass(data.y, regressors, nothing, nothing, spec, data.weights, 0.0).spec
    k, missing = data.n_exog + data.n_endog, float("nan")
    return LinearFit(
        np.full(k, missing), np.full((k, k), missing), np.full(data.nobs, missing), missing, spec
    )


def sup_score(left: FloatArray, D: FloatArray, data: IVData, spec: CovarianceSpec) -> ARKind:
    """Anderson-Rubin inference from every instrument (n, q) by itself, joined by Bonferroni."""
    y = partialled(data.y, data)
    varying = left[:, (left**2).sum(axis=0) > 0]
    parts = [ar.moments(z[:, None], y, D, spec, data.n_exog) for z in varying.T]
    return ARKind("sup-score", tuple(parts))


def _varying(left: FloatArray) -> FloatArray:
    """Columns of unit length less the covariates; those that the covariates explain are zero."""
    lengths = np.linalg.norm(left, axis=0)
    return np.where(lengths > EXPLAINED, left, 0.0)


def _in_units_of_rows(values: FloatArray, data: IVData) -> FloatArray:
    """Undo the root weights of ``values`` (n, m)."""
    return values if data.weights is None else values / np.sqrt(data.weights)[:, None]
