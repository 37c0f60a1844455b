"""From data to learned instruments: which inputs, which targets, which splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import has_constant, residuals
from mlinstruments._core.typing import FloatArray
from mlinstruments.learning.base import ClusteredLearner, Engine, Learner, LeaveOneOutEngine
from mlinstruments.learning.crossfit import cross_fit
from mlinstruments.learning.features import Features
from mlinstruments.learning.folds import Split

from .data import IVData
from .instrument import LearnedInstruments, build_instruments
from .orthogonal import target_directions

# Directions of the plane of (treatment, outcome) that a non-linear learner is trained along.
N_DIRECTIONS = 8
COVARIATES = ("linear", "recentred", "unconstrained")


@dataclass(frozen=True)
class FirstStagePlan:
    """A learner bound to the data, and how rows are split for it.

    Parameters
    ----------
    engine : Engine
    recentre : Engine or None
        Learner of the covariates alone, for ``covariates="recentred"``.
    splits : list of Split
    seeds : list of SeedSequence
    interact_controls : bool
    n_jobs : int or None
    progress : bool or None
    """

    engine: Engine
    recentre: Engine | None
    splits: list[Split]
    seeds: list[np.random.SeedSequence]
    interact_controls: bool
    n_jobs: int | None
    progress: bool | None


def bind(
    learner: Learner, data: IVData, covariates: str, loo: bool = False
) -> tuple[Engine, Engine | None]:
    """Bind a learner to the instruments, as the assumed exogeneity allows.

    ``linear``: f(W) with X profiled out, so that X enters the first stage linearly only.
    ``recentred`` and ``unconstrained``: g(W, X), in the first case less E[g | X], learned too.
    """
    constant = np.ones((data.nobs, 1))
    if covariates == "linear":
        controls = data.X if has_constant(data.X) else np.hstack([constant, data.X])
        return _checked(_prepared(learner, data.W, controls, data), learner, loo), None
    exog = exog_features(data)
    engine = _checked(_prepared(learner, data.W.joined(exog), constant, data), learner, loo)
    if covariates == "unconstrained" or not exog.names:
        return engine, None
    return engine, _prepared(learner, exog, constant, data)


def _prepared(learner: Learner, inputs: Features, controls: FloatArray, data: IVData) -> Engine:
    if isinstance(learner, ClusteredLearner):
        return learner.prepare_clustered(inputs, controls, data.weights, data.clusters)
    return learner.prepare(inputs, controls, data.weights)


def _checked(engine: Engine, learner: Learner, loo: bool) -> Engine:
    if loo and not isinstance(engine, LeaveOneOutEngine):
        raise InputError(
            "n_folds='loo' needs a learner that leaves rows out in closed form, such as 'ols' or"
            f" Ridge(penalty=0.1); {learner.label} would be fitted once for each row. Give n_folds"
            " a number."
        )
    return engine


def exog_features(data: IVData) -> Features:
    """The covariates that vary, as inputs of a learner."""
    varying = np.ptp(data.X, axis=0) > 0
    names = tuple(name for name, kept in zip(data.exog, varying, strict=True) if kept)
    return Features(data.X[:, varying], np.zeros(len(names), dtype=bool), names)


def learn_instruments(
    data: IVData, targets: FloatArray, plan: FirstStagePlan, share_tuning: bool = False
) -> LearnedInstruments:
    """Cross-fit ``targets`` (n, m) and turn the predictions into instruments (repeats, n, m)."""
    fitted = cross_fit(
        plan.engine,
        targets,
        plan.splits,
        plan.seeds,
        share_tuning,
        plan.recentre,
        plan.n_jobs,
        plan.progress,
    )
    return build_instruments(
        fitted.predictions,
        plan.splits,
        data.X,
        targets.std(axis=0),
        data.weights,
        plan.interact_controls,
    )


@dataclass(frozen=True)
class DirectionInstruments:
    """Instruments trained along directions of the plane of (treatment, outcome).

    Parameters
    ----------
    learned : LearnedInstruments
        One for each direction.
    directions : array, shape (G, 2)
        Weights of (treatment, outcome) in each target.
    """

    learned: LearnedInstruments
    directions: FloatArray


def learn_with_directions(
    data: IVData, plan: FirstStagePlan
) -> tuple[LearnedInstruments, DirectionInstruments]:
    """The instruments of one treatment, and those that the orthogonal set needs.

    A learner linear in its target needs the outcome besides the treatment, which it takes in the
    same pass; any other is trained along directions between them.
    """
    both = np.column_stack([data.D[:, 0], data.y])
    if plan.engine.linear_in_target:
        learned = learn_instruments(data, both, plan, share_tuning=True)
        return learned.of_targets(slice(0, 1)), DirectionInstruments(learned, np.eye(2))
    d, y = partialled(data.D, data)[:, 0], partialled(data.y, data)
    directions = target_directions(N_DIRECTIONS, d, y)
    learned = learn_instruments(data, both @ directions.T, plan)
    return learn_instruments(data, data.D, plan), DirectionInstruments(learned, directions)


def partialled(values: FloatArray, data: IVData) -> FloatArray:
    """Residuals of ``values`` (n,) or (n, m) on the covariates, scaled by root weights.

    After this, formulas for unweighted data without covariates apply.
    """
    return root_weighted(residuals(values, data.X, data.weights), data)


def root_weighted(values: FloatArray, data: IVData) -> FloatArray:
    """``values`` (n,) or (n, m) times the square roots of the weights."""
    if data.weights is None:
        return values
    root = np.sqrt(data.weights)
    return values * (root if values.ndim == 1 else root[:, None])


def control_variate_targets(data: IVData, pilot: FloatArray) -> FloatArray:
    """D - rho e with e the residual at a pilot estimate (d,), each D regressed on it.

    At the truth E[e | W] = 0, so the function learned is the same and its noise is smaller by the
    factor 1 - corr(U, V)^2: what LIML is to 2SLS. Leans on constant effects.
    """
    e = residuals(data.y - data.D @ pilot, data.X, data.weights)
    weighted = e if data.weights is None else data.weights * e
    rho = (weighted @ data.D) / float(weighted @ e)
    return np.asarray(data.D - np.outer(e, rho))
