"""OLS, 2SLS and LIML with the same call and the same results as MLIV."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import dependent_columns
from mlinstruments._core.sandwich import CovarianceSpec, covariance_spec
from mlinstruments._core.typing import FloatArray

from . import anderson_rubin as ar
from . import strength
from .ar_kinds import ARKind
from .data import IVData
from .direct_effects import DirectEffectMoments, direct_effect_moments
from .estimate import kclass
from .learn import partialled
from .results import IVResults
from .strength import FirstStage


class _KClass(BaseEstimator):  # type: ignore[misc]
    """What the comparators share: reading the data and building results."""

    _label: str
    _kappa: float | None  # None: LIML's own
    _uses_instruments = True

    def fit(
        self,
        dependent: Any,
        exog: Any,
        endog: Any,
        instruments: Any,
        *,
        weights: Any = None,
        clusters: Any = None,
        cov_type: str | None = None,
        debiased: bool = False,
        bandwidth: int | None = None,
    ) -> IVResults:
        """Fit on arrays or columns of any data frame library.

        Parameters
        ----------
        dependent, exog, endog, instruments
            In linearmodels' order, as in :meth:`mlinstruments.MLIV.fit`.
        weights, clusters, cov_type, debiased, bandwidth
            As in :meth:`mlinstruments.MLIV.fit`.

        Returns
        -------
        IVResults

        Raises
        ------
        InputError
            Where an input cannot be used; the message says how to mend it.
        """
        data = IVData.from_arrays(
            dependent, exog, endog, instruments, weights, clusters, takes_missing=False
        )
        return self._fit(data, covariance_spec(cov_type, debiased, bandwidth, data.clusters))

    def fit_formula(
        self,
        formula: str,
        data: Any,
        *,
        weights: Any = None,
        clusters: Any = None,
        cov_type: str | None = None,
        debiased: bool = False,
        bandwidth: int | None = None,
    ) -> IVResults:
        """Fit a formula in linearmodels' dialect, ``"y ~ 1 + x + [d ~ z1 + z2]"``.

        Parameters
        ----------
        formula, data
            As in :meth:`mlinstruments.MLIV.fit_formula`.
        weights, clusters, cov_type, debiased, bandwidth
            As in :meth:`mlinstruments.MLIV.fit_formula`.

        Returns
        -------
        IVResults

        Raises
        ------
        InputError
            Where an input cannot be used; the message says how to mend it.
        """
        read = IVData.from_formula(formula, data, weights, clusters, takes_missing=False)
        return self._fit(read, covariance_spec(cov_type, debiased, bandwidth, read.clusters))

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        if not self._uses_instruments:
            none = np.empty((data.nobs, 0))
            regressors = np.hstack([data.X, data.D])
            fit = kclass(data.y, regressors, none, none, spec, data.weights, 0.0)
            return _results(data, fit, self._label, (), None)
        instruments = _numeric_instruments(data)
        fit = kclass(data.y, data.X, data.D, instruments, spec, data.weights, self._kappa)
        z = partialled(instruments, data)
        y, D = partialled(data.y, data), partialled(data.D, data)
        moments = ar.moments(z, y, D, fit.spec, data.n_exog)
        first = _first_stage(z, D, data, fit.spec)
        return _results(data, fit, self._label, (ARKind("instruments", (moments,)),), first)


class OLS(_KClass):
    """Least squares of the outcome on exogenous and endogenous regressors: no instruments used.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import OLS
    >>> rng = np.random.default_rng(0)
    >>> z, d = rng.normal(size=(2, 100))
    >>> res = OLS().fit(2 * d, np.ones(100), d, z)
    >>> round(float(res.params["endog"]), 6)
    2.0
    """

    _label = "OLS"
    _kappa = 0.0
    _uses_instruments = False


class TSLS(_KClass):
    """Two-stage least squares with the instruments as they are, categories as indicators.

    Parameters
    ----------
    direct_effects : bool
        Also keep the moments that :func:`mlinstruments.exclusion_bounds` needs.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import TSLS
    >>> rng = np.random.default_rng(0)
    >>> z, u = rng.normal(size=(2, 1000))
    >>> d = z + u
    >>> res = TSLS().fit(d + u, np.ones(1000), d, z)
    >>> 1.0 in res.conf_int(method="ar")
    True
    """

    _label = "2SLS"
    _kappa = 1.0

    def __init__(self, direct_effects: bool = False) -> None:
        self.direct_effects = direct_effects

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        res = super()._fit(data, spec)
        if not self.direct_effects:
            return res
        return replace(res, direct_effects=_direct_effects(data, spec))


class LIML(_KClass):
    """Limited-information maximum likelihood.

    The k-class estimator whose k is the smallest root: nearly unbiased with many instruments, where
    2SLS leans towards least squares. ``res.kappa`` is that k.

    References
    ----------
    Anderson and Rubin (1949), doi:10.1214/aoms/1177730090.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import LIML
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(1000, 2))
    >>> u, v = rng.normal(size=(2, 1000))
    >>> d = z.sum(axis=1) + u + v
    >>> res = LIML().fit(d + u, np.ones(1000), d, z)
    >>> bool(res.kappa >= 1)
    True
    """

    _label = "LIML"
    _kappa = None


def _direct_effects(data: IVData, spec: CovarianceSpec) -> DirectEffectMoments:
    """Moments for bounds without the exclusion restriction."""
    if data.n_endog > 1:
        raise InputError(
            f"direct_effects=True is for one endogenous regressor; there are {data.n_endog}."
        )
    z = _numeric_instruments(data)
    if data.W.categorical.any() or z.shape[1] < len(data.instruments):
        raise InputError(
            "direct_effects=True needs numeric instruments, none a combination of others and the"
            " covariates: make indicators of categories and leave one out."
        )
    if spec.kind == "kernel":  # with the bandwidth of the fit
        spec = kclass(data.y, data.X, data.D, z, spec, data.weights).spec
    y, d = partialled(data.y, data), partialled(data.D, data)[:, 0]
    z = partialled(z, data)
    return direct_effect_moments(z, y, d, spec, data.n_exog, data.instruments)


def _numeric_instruments(data: IVData) -> FloatArray:
    instruments = data.W.dummies(drop_first=True)
    p = data.n_exog
    surplus = [j - p for j in dependent_columns(np.hstack([data.X, instruments])) if j >= p]
    instruments = np.delete(instruments, surplus, axis=1)
    if instruments.shape[1] < data.n_endog:
        raise InputError(
            f"{data.n_endog} endogenous regressors need as many instruments; there are"
            f" {instruments.shape[1]} independent ones: {', '.join(data.instruments)}."
        )
    return instruments


def _first_stage(z: FloatArray, D: FloatArray, data: IVData, spec: CovarianceSpec) -> FirstStage:
    def series(values: list[float], name: str) -> pd.Series:
        return pd.Series(values, data.endog, name=name)

    f = [strength.robust_f(z, d, spec, data.n_exog) for d in D.T]
    missing = [float("nan")] * len(f)
    exact = len(f) == 1 and z.shape[1] == 1
    return FirstStage(
        f=series(f, "f"),
        effective_f=series(f if exact else missing, "effective_f"),
        partial_r2=series([strength.partial_r2(z, d) for d in D.T], "partial_r2"),
        calibration=series(missing, "calibration"),
        reliability=series(missing, "reliability"),
        linear_f=series(f, "linear_f"),
        n_instruments=z.shape[1],
        by_fold=pd.DataFrame(columns=strength.BY_FOLD),
    )


def _results(
    data: IVData, fit: Any, label: str, kinds: tuple[ARKind, ...], first: FirstStage | None
) -> IVResults:
    return IVResults(
        method=label,
        dependent=data.dependent,
        exog=data.exog,
        endog=data.endog,
        instruments=data.instruments,
        estimates=fit.params,
        covariance=fit.cov,
        resids=data.on_input_index(fit.resids, "residual"),
        nobs=data.nobs,
        cov_label=fit.spec.label,
        debiased=fit.spec.debiased,
        n_clusters=fit.spec.n_clusters,
        cluster_names=data.cluster_names,
        weighted=data.weights is not None,
        ar=kinds,
        first_stage=first,
        kappa=fit.kappa,
    )
