"""What all estimators but MLIV share: the call, the instruments as numbers, the results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.factor import triangular_factor
from mlinstruments._core.linalg import dependent_columns
from mlinstruments._core.sandwich import CovarianceSpec, covariance_spec
from mlinstruments._core.typing import FloatArray

from . import strength
from .ar_kinds import ARKind
from .data import IVData
from .estimate import LinearFit, SecondStage, Variables, second_stage
from .results import IVResults
from .strength import FirstStage


class Comparator(BaseEstimator):  # type: ignore[misc]
    """An estimator called like :class:`mlinstruments.MLIV`; subclasses say what to estimate."""

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
        self._check_settings()
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
        self._check_settings()
        read = IVData.from_formula(formula, data, weights, clusters, takes_missing=False)
        return self._fit(read, covariance_spec(cov_type, debiased, bandwidth, read.clusters))

    def _check_settings(self) -> None:
        """Raise where an option cannot be used, before any data are read."""

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        raise NotImplementedError


def numeric_instruments(data: IVData) -> FloatArray:
    """Independent columns of instruments (n, q), categories as indicators; at least as many as D.

    Columns that the covariates and other instruments determine are left out.
    """
    return _independent(data)[0]


def _independent(data: IVData) -> tuple[FloatArray, FloatArray | None]:
    """The same, and few rows with the inner products of [X, D, Z, y] where they are known."""
    p, d, known = data.n_exog, data.n_endog, data.factor
    instruments = data.W.dummies(drop_first=True)
    if known is None:
        few = triangular_factor([data.X, instruments])
    else:
        few = np.delete(known[:, :-1], np.arange(p, p + d), axis=1)
    surplus = [j - p for j in dependent_columns(few) if j >= p]
    if surplus:
        instruments = np.delete(instruments, surplus, axis=1)
        known = None if known is None else np.delete(known, [p + d + j for j in surplus], axis=1)
    if instruments.shape[1] < d:
        raise InputError(
            f"{d} endogenous regressors need as many instruments; there are"
            f" {instruments.shape[1]} independent ones: {', '.join(data.instruments)}."
        )
    return instruments, known


def kclass_results(
    data: IVData, spec: CovarianceSpec, method: str, kappa: float | None, fuller: float = 0.0
) -> IVResults:
    """The k-class with all instruments; ``kappa`` None is LIML's."""
    instruments, known = _independent(data)
    variables = Variables(data.y, [data.X], data.D, instruments, data.weights)
    found = second_stage(variables, spec, kappa, variables.reduce(known), fuller=fuller)
    return _with_strength(data, found.fit(), found, method, "linear", "instruments")


def over_identified(
    data: IVData,
    fit: LinearFit,
    method: str,
    learner: str,
    instruments: FloatArray,
    kind: str = "instruments",
) -> IVResults:
    """Results whose first-stage F and Anderson-Rubin sets are those of instruments (n, q)."""
    variables = Variables(data.y, [data.X], data.D, instruments, data.weights)
    found = second_stage(variables, fit.spec, estimate=False)
    return _with_strength(data, fit, found, method, learner, kind)


def _with_strength(
    data: IVData, fit: LinearFit, found: SecondStage, method: str, learner: str, kind: str
) -> IVResults:
    few = found.partialled
    first = _strength(few.z, few.v[:, 1:], found.first_stage_f(), data)
    return results(data, fit, method, learner, (ARKind(kind, (found.moments(),)),), first)


def linear_strength(z: FloatArray, D: FloatArray, data: IVData, spec: CovarianceSpec) -> FirstStage:
    """Strength of instruments (n, q) taken linearly, covariates and weights partialled out."""
    f = [strength.robust_f(z, d, spec, data.n_exog) for d in D.T]
    return _strength(z, D, f, data)


def _strength(z: FloatArray, D: FloatArray, f: list[float], data: IVData) -> FirstStage:
    """The same, its F known, from any rows z (r, q) and D (r, d) with the right inner products."""

    def series(values: list[float], name: str) -> pd.Series:
        return pd.Series(values, data.endog, name=name)

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


def results(
    data: IVData,
    fit: LinearFit,
    method: str,
    learner: str,
    kinds: tuple[ARKind, ...],
    first: FirstStage | None,
) -> IVResults:
    """A fit with the names and labels of its data."""
    return IVResults(
        method=method,
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
        learner=learner,
        weak="",
    )
