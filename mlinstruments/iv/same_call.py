"""What all estimators but MLIV share: the call, the instruments as numbers, the results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from mlinstruments._core.exceptions import InputError, MissingExtraError
from mlinstruments._core.factor import triangular_factor
from mlinstruments._core.hypotheses import TestResult
from mlinstruments._core.linalg import dependent_columns
from mlinstruments._core.sandwich import CovarianceSpec, covariance_spec, moment_meat
from mlinstruments._core.typing import FloatArray

from . import anderson_rubin as ar
from . import strength
from .ar_kinds import ARKind
from .data import IVData
from .estimate import LinearFit, Variables, second_stage
from .fixed_effects import Absorbed, check_options
from .joint_strength import FirstStages, JointStrength, joint_strength
from .learn import partialled
from .results import IVResults
from .specification import over_identification
from .strength import FirstStage


class Comparator(BaseEstimator):  # type: ignore[misc]
    """An estimator called like :class:`mlinstruments.MLIV`; subclasses say what to estimate."""

    # Whether the estimator is the same on variables from which effects were taken out.
    _absorbs = False

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
        absorb: Any = None,
    ) -> IVResults:
        """Fit on arrays or columns of any data frame library.

        Parameters
        ----------
        dependent, exog, endog, instruments
            In linearmodels' order, as in :meth:`mlinstruments.MLIV.fit`.
        weights, clusters, cov_type, debiased, bandwidth, absorb
            As in :meth:`mlinstruments.MLIV.fit`; ``absorb`` by OLS and the k-class alone.

        Returns
        -------
        IVResults

        Raises
        ------
        InputError
            Where an input cannot be used; the message says how to mend it.
        """
        self._check(absorb)
        data = IVData.from_arrays(
            dependent, exog, endog, instruments, weights, clusters, False, absorb
        )
        return self._fit(data.within, _spec(data, cov_type, debiased, bandwidth))

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
        absorb: Any = None,
    ) -> IVResults:
        """Fit a formula in linearmodels' dialect, ``"y ~ 1 + x + [d ~ z1 + z2]"``.

        Parameters
        ----------
        formula, data
            As in :meth:`mlinstruments.MLIV.fit_formula`.
        weights, clusters, cov_type, debiased, bandwidth, absorb
            As in :meth:`mlinstruments.MLIV.fit_formula`; ``absorb`` by OLS and the k-class alone.

        Returns
        -------
        IVResults

        Raises
        ------
        InputError
            Where an input cannot be used; the message says how to mend it.
        """
        self._check(absorb)
        read = IVData.from_formula(formula, data, weights, clusters, False, absorb=absorb)
        return self._fit(read.within, _spec(read, cov_type, debiased, bandwidth))

    def _check(self, absorb: Any) -> None:
        if absorb is not None and not self._absorbs:
            raise InputError(
                f"{type(self).__name__} does not absorb effects: put dummies of the groups into"
                " exog, or use OLS, TSLS, LIML, Fuller or MLIV."
            )
        self._check_settings()

    def _check_settings(self) -> None:
        """Raise where an option cannot be used, before any data are read."""

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        raise NotImplementedError


def _spec(
    data: IVData, cov_type: str | None, debiased: bool, bandwidth: int | None
) -> CovarianceSpec:
    spec = covariance_spec(cov_type, debiased, bandwidth, data.clusters, data.df_absorbed)
    if data.absorbed is not None:
        check_options({}, spec)
    return spec


def read_inputs(
    data: tuple[Any, ...], weights: Any, clusters: Any, takes_missing: bool, absorb: Any = None
) -> IVData:
    """The four inputs of ``fit``, or the two of ``fit_formula``, that stand after a model."""
    by_formula = len(data) == 2 and isinstance(data[0], str)
    if not by_formula and len(data) != 4:
        raise InputError(
            "after the model give dependent, exog, endog, instruments as to fit(), or formula, data"
            f" as to fit_formula(); got {len(data)} inputs."
        )
    read: Any = IVData.from_formula if by_formula else IVData.from_arrays
    found: IVData = read(*data, weights, clusters, takes_missing, absorb=absorb)
    return found


def ivmodels_tests() -> Any:
    """The tests of the package ivmodels, an extra."""
    try:
        from ivmodels import tests
    except ImportError as error:
        raise MissingExtraError("ivmodels", "ivmodels") from error
    return tests


def numeric_instruments(data: IVData) -> FloatArray:
    """Independent columns of instruments (n, q), categories as indicators; at least as many as D.

    Columns that the covariates and other instruments determine are left out.
    """
    return _instruments_and_factor(data)[0]


def _instruments_and_factor(data: IVData) -> tuple[FloatArray, FloatArray | None]:
    """Independent instruments (n, q), and rows with the inner products of [X, D, Z, y] if known."""
    p, d = data.n_exog, data.n_endog
    instruments, known = data.demeaned(data.W.dummies(drop_first=True)), data.factor
    few = (
        triangular_factor([data.X, instruments])
        if known is None
        else np.delete(known[:, :-1], np.arange(p, p + d), axis=1)
    )
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
    instruments, factor = _instruments_and_factor(data)
    variables = Variables(data.y, [data.X], data.D, instruments, data.weights)
    found = second_stage(variables, spec, kappa, variables.reduce(factor), fuller=fuller)
    z, D = found.partialled.z, found.partialled.v[:, 1:]
    first = _first_stage(found.first_stage_f(), z, D, found.joint_strength(data.endog))
    kinds = (ARKind("instruments", (found.moments(),)),)
    overid = found.over_identification()
    return results(data, found.fit(), method, "linear", kinds, first, overid)


def over_identified(
    data: IVData,
    fit: LinearFit,
    method: str,
    learner: str,
    instruments: FloatArray,
    kind: str = "instruments",
) -> IVResults:
    """Results whose first-stage F and Anderson-Rubin sets are those of instruments (n, q)."""
    z = partialled(instruments, data)
    y, D = partialled(data.y, data), partialled(data.D, data)
    moments = ar.moments(z, y, D, fit.spec, data.n_exog)
    first = linear_strength(z, D, data, fit.spec)
    overid = None
    if z.shape[1] > D.shape[1]:
        e = y - D @ fit.params[data.n_exog :]
        S = moment_meat(z, e[:, None], fit.spec, data.n_exog + z.shape[1])
        overid = over_identification(z, np.column_stack([y, D]), S)
    return results(data, fit, method, learner, (ARKind(kind, (moments,)),), first, overid)


def linear_strength(z: FloatArray, D: FloatArray, data: IVData, spec: CovarianceSpec) -> FirstStage:
    """Strength of instruments (n, q) taken linearly, covariates and weights partialled out."""
    f = [strength.robust_f(z, d, spec, data.n_exog) for d in D.T]
    stage = FirstStages.of_rows(z, D, spec, data.n_exog)
    return _first_stage(f, z, D, joint_strength(stage, spec, data.endog))


def _first_stage(
    f: list[float], z: FloatArray, D: FloatArray, together: tuple[JointStrength, float]
) -> FirstStage:
    """Of rows (or few rows with their inner products) of instruments and endogenous regressors."""
    joint, effective = together

    def series(values: list[float], name: str) -> pd.Series:
        return pd.Series(values, joint.conditional_f.index, name=name)

    missing = [float("nan")] * len(f)
    return FirstStage(
        f=series(f, "f"),
        effective_f=series([effective] * len(f), "effective_f"),
        partial_r2=series([strength.partial_r2(z, d) for d in D.T], "partial_r2"),
        calibration=series(missing, "calibration"),
        reliability=series(missing, "reliability"),
        linear_f=series(f, "linear_f"),
        n_instruments=z.shape[1],
        by_fold=pd.DataFrame(columns=strength.BY_FOLD),
        joint=joint,
    )


def results(
    data: IVData,
    fit: LinearFit,
    method: str,
    learner: str,
    kinds: tuple[ARKind, ...],
    first: FirstStage | None,
    overid: TestResult | None = None,
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
        absorbed=Absorbed.of(data.absorbed),
        ar=kinds,
        first_stage=first,
        kappa=fit.kappa,
        learner=learner,
        weak="",
        overid=overid,
    )
