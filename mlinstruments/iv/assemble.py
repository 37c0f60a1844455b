"""From learned instruments to results: estimates, medians over repeats, strength, AR moments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments._core.typing import BoolArray, FloatArray
from mlinstruments.learning.base import StackedEngine
from mlinstruments.learning.folds import Split

from . import anderson_rubin as ar
from . import strength
from .anderson_rubin import Moments
from .ar_kinds import ARKind, by_fold_moments, orthogonal_moments
from .data import IVData
from .direct_effects import DirectEffectMoments, direct_effect_moments
from .estimate import LinearFit, SecondStage, Variables, kclass, second_stage
from .first_stage import gathered, learner_weights, repeat_rows
from .fixed_effects import Absorbed
from .instrument import LearnedInstruments
from .learn import DirectionInstruments, FirstStagePlan, partialled, root_weighted
from .mliv_results import MLIVResults
from .reduced import Partialled
from .strength import FirstStage


@dataclass(frozen=True)
class RepeatFit:
    """One repeat: what its instruments imply, and its IV fit, or why there is none."""

    stage: SecondStage
    fit: LinearFit | None
    weak: str


def assemble(
    data: IVData,
    learned: LearnedInstruments,
    plan: FirstStagePlan,
    spec: CovarianceSpec,
    settings: dict[str, Any],
    orthogonal: DirectionInstruments | None,
) -> MLIVResults:
    """Everything a result holds, from instruments of every repeat.

    ``orthogonal`` holds those of the directions, where they were asked for.
    """
    data = data.within  # from here on effects are gone from everything but the count of parameters
    fits = fit_repeats(data, learned, spec)
    params, cov = combine(fits, data)
    spec = next((f.fit.spec for f in fits if f.fit is not None), fits[0].stage.sums.spec)
    first, splits = first_stage(data, learned, plan.splits, spec, fits)
    if isinstance(plan.engine, StackedEngine) and learned.learner_weights is not None:
        table = learner_weights(learned.learner_weights, plan.engine.names, data.endog)
        first = replace(first, learner_weights=table)
    resids = data.y - data.X @ params[: data.n_exog] - data.D @ params[data.n_exog :]
    return MLIVResults(
        method="MLIV",
        dependent=data.dependent,
        exog=data.exog,
        endog=data.endog,
        instruments=data.instruments,
        estimates=params,
        covariance=cov,
        resids=data.on_input_index(resids, "residual"),
        nobs=data.nobs,
        cov_label=spec.label,
        debiased=spec.debiased,
        n_clusters=spec.n_clusters,
        cluster_names=data.cluster_names,
        weighted=data.weights is not None,
        absorbed=Absorbed.of(data.absorbed),
        ar=ar_kinds(data, learned, plan, spec, fits, orthogonal),
        first_stage=first,
        kappa=1.0,
        instrument=_instrument(data, learned),
        splits=splits,
        folds=data.on_input_index(
            np.column_stack([split.cell for split in plan.splits]).astype(float),
            tuple(f"repeat {r}" for r in range(len(plan.splits))),
        ),
        weak=weak_reason(fits),
        overid=None,
        direct_effects=_direct_effects(data, learned, spec),
        **settings,
    )


def _instrument(data: IVData, learned: LearnedInstruments) -> pd.Series | pd.DataFrame:
    z, regressors = learned.z.mean(axis=0), data.endog
    if learned.exog is not None:
        z, regressors = np.hstack([learned.exog.mean(axis=0), z]), data.exog + data.endog
    names = tuple(f"instrument for {name}" for name in regressors)
    if len(names) == 1:
        return data.on_input_index(z[:, 0], names[0])
    return data.on_input_index(z, names)


def _direct_effects(
    data: IVData, learned: LearnedInstruments, spec: CovarianceSpec
) -> DirectEffectMoments | None:
    """Moments of a single average instrument for bounds without the exclusion restriction.

    They take a pass over the rows of their own, which is little beside the learning.
    """
    if data.n_endog > 1:
        return None
    noise = learned.noise
    noises = None if noise is None else np.where(learned.varies[:, None, :], noise, 0.0)
    y, d = partialled(np.column_stack([data.y, data.D]), data).T
    return direct_effect_moments(
        root_weighted(learned.z.mean(axis=0), data),
        y,
        d,
        spec,
        data.n_exog,
        (f"instrument for {data.endog[0]}",),
        None if noises is None else [root_weighted(one, data) for one in noises],
        learned=True,
    )


def _resolved(spec: CovarianceSpec, data: IVData, z: FloatArray) -> CovarianceSpec:
    """A kernel's bandwidth where there is no estimate to choose it from."""
    if spec.kind != "kernel":
        return spec
    return spec.resolve(z * partialled(data.y, data)[:, None])


# ---- estimates ----------------------------------------------------------------------------------


def fit_repeats(data: IVData, learned: LearnedInstruments, spec: CovarianceSpec) -> list[RepeatFit]:
    """Just-identified IV with the instruments of every repeat.

    A single repeat's noise enters its sums, for the corrected Anderson-Rubin set.
    """
    data = data.within
    noise = _noises(learned) if len(learned.z) == 1 else []
    fits = []
    for r, (z, varies) in enumerate(zip(learned.z, learned.varies, strict=True)):
        variables = _variables(data, z)
        reduced = variables.reduce()
        weak = why_weak(Partialled.of(reduced), varies, data.endog)
        used = _resolved(spec, data, z) if weak else spec
        stage = second_stage(variables, used, 1.0, reduced, not weak, noise)
        fit = (
            None
            if weak
            else stage.fit()
            if learned.exog is None
            else _whole(data, learned, r, spec)
        )
        fits.append(RepeatFit(stage, fit, weak))
    return fits


def _whole(
    data: IVData, learned: LearnedInstruments, repeat: int, spec: CovarianceSpec
) -> LinearFit:
    """The fit where covariates have instruments of their own: all regressors are endogenous."""
    none, regressors = np.empty((data.nobs, 0)), np.hstack([data.X, data.D])
    every = np.hstack([learned.exog[repeat], learned.z[repeat]])  # type: ignore[index]
    return kclass(data.y, none, regressors, every, spec, data.weights)


def _variables(data: IVData, z: FloatArray) -> Variables:
    return Variables(data.y, [data.X], data.D, z, data.weights)


def _noises(learned: LearnedInstruments) -> list[FloatArray]:
    """The noise (n, d) of every repeat, 0 for instruments that do not vary."""
    if learned.noise is None:
        return []
    return [
        noise if varies.all() else np.where(varies, noise, 0.0)
        for noise, varies in zip(learned.noise, learned.varies, strict=True)
    ]


def why_weak(few: Partialled, varies: BoolArray, endog: tuple[str, ...]) -> str:
    """Why instruments give no estimate; empty where they do."""
    for j, name in enumerate(endog):
        if not varies[j]:
            return f"the learner found nothing in the instruments that predicts {name}."
        if not strength.slope(few.z[:, j], few.v[:, 1 + j]) > 0:
            return (
                f"out of fold, predictions of {name} do not rise with {name} (slope not positive):"
                " the first stage has learned noise."
            )
    scaled = few.z / np.linalg.norm(few.z, axis=0)
    if np.linalg.svd(scaled, compute_uv=False)[-1] < 1e-8:
        return "the learned instruments are linearly dependent."
    return ""


def weak_reason(fits: list[RepeatFit]) -> str:
    """Why there is no estimate: empty unless at least half of the repeats have none."""
    reasons = [f.weak for f in fits if f.weak]
    return reasons[0] if 2 * len(reasons) >= len(fits) and reasons else ""


def combine(fits: list[RepeatFit], data: IVData) -> tuple[FloatArray, FloatArray]:
    """Median over repeats; the covariance adds each repeat's distance from the median.

    The matrix is that of the repeat in the middle by the norm of its endogenous block (the mean
    of the two middle ones for an even number), so with one endogenous regressor its variance is
    the median of var_r + (tau_r - tau)^2.
    """
    p, k = data.n_exog, data.n_exog + data.n_endog
    found = [f.fit for f in fits if f.fit is not None]
    if weak_reason(fits):
        return np.full(k, np.nan), np.full((k, k), np.nan)
    estimates = np.stack([fit.params for fit in found])
    centre = np.median(estimates, axis=0)
    shifted = [fit.cov + np.outer(fit.params - centre, fit.params - centre) for fit in found]
    sizes = [float(np.linalg.norm(matrix[p:, p:], 2)) for matrix in shifted]
    order = np.argsort(sizes, kind="stable")
    middle = order[(len(order) - 1) // 2 : len(order) // 2 + 1]
    return centre, np.mean([shifted[i] for i in middle], axis=0)


def median_estimate(
    data: IVData, learned: LearnedInstruments, spec: CovarianceSpec
) -> FloatArray | None:
    """Coefficients (d,) of the endogenous regressors, or None where they are too weak."""
    params, _ = combine(fit_repeats(data, learned, spec), data)
    tau = params[data.n_exog :]
    return tau if np.isfinite(tau).all() else None


# ---- strength -----------------------------------------------------------------------------------


def first_stage(
    data: IVData,
    learned: LearnedInstruments,
    splits: list[Split],
    spec: CovarianceSpec,
    fits: list[RepeatFit],
) -> tuple[FirstStage, pd.DataFrame]:
    """Strength over repeats, and the table of repeats."""
    D = partialled(data.D, data)
    root = None if data.weights is None else np.sqrt(data.weights)
    rows, folds, joint, own = [], [], [], slice(data.n_exog, None)
    for r, (z, repeat) in enumerate(zip(learned.z, fits, strict=True)):
        few, fit, f = repeat.stage.partialled, repeat.fit, repeat.stage.first_stage_f()
        noise = None if learned.noise is None else root_weighted(learned.noise[r], data)
        found = None if fit is None else (fit.params[own], np.sqrt(np.diag(fit.cov))[own])
        rows += repeat_rows(r, data.endog, few, f, found, noise)
        joint.append(repeat.stage.joint_strength(data.endog)[0])
        if splits[r].loo:  # a row says nothing of a slope
            continue
        z = root_weighted(z, data)
        for j, name in enumerate(data.endog):
            folds += strength.by_fold(z[:, j], D[:, j], root, splits[r].cell, r, name)
    return gathered(rows, joint, folds, *_linear_strength(data, spec))


def _linear_strength(data: IVData, spec: CovarianceSpec) -> tuple[list[float], int]:
    instruments = data.W.dummies(drop_first=True)
    if data.W.has_missing:
        return [float("nan")] * data.n_endog, instruments.shape[1]
    instruments = data.demeaned(instruments)
    found = [
        strength.linear_first_stage(instruments, d, data.X, spec, data.weights) for d in data.D.T
    ]
    return [f for f, _ in found], found[0][1]


# ---- Anderson-Rubin -----------------------------------------------------------------------------


def ar_kinds(
    data: IVData,
    learned: LearnedInstruments,
    plan: FirstStagePlan,
    spec: CovarianceSpec,
    fits: list[RepeatFit],
    orthogonal: DirectionInstruments | None,
) -> tuple[ARKind, ...]:
    """Moments of every kind of Anderson-Rubin inference, the default kind first."""
    noises, stage = _noises(learned), fits[0].stage
    if len(fits) > 1:
        average = _variables(data, learned.z.mean(axis=0))
        stage = second_stage(average, spec, estimate=False, noise=noises)
    return (
        *whole_sample_kinds(stage, [_products(noise, data) for noise in noises]),
        *_fold_kinds(data, learned, plan, spec),
        _orthogonal_kind(data, spec, orthogonal),
    )


def whole_sample_kinds(stage: SecondStage, squares: list[FloatArray]) -> tuple[ARKind, ARKind]:
    """The corrected and the pooled kind; ``squares`` are products (d, d) of each noise.

    Where predictions fall as the treatment rises they are noise, and may be so systematically: a
    slope learned without a fold leans against the fold's own. The whole line is safe.
    """
    pooled, few = stage.moments(), stage.partialled
    corrected = _corrected(stage, squares)
    if any(not strength.slope(z, d) > 0 for z, d in zip(few.z.T, few.v.T[1:], strict=True)):
        pooled, corrected = ar.silent(pooled), ar.silent(corrected)
    return ARKind("corrected", (corrected,)), ARKind("pooled", (pooled,))


def _corrected(stage: SecondStage, squares: list[FloatArray]) -> Moments:
    """Moments with what the instrument owes to its noise; ``squares`` are the noises' products."""
    meats = stage.noise_meats(squares)
    if not meats:
        # No halves to measure the noise by: take all of the instrument for noise.
        return stage.moments(factor=2.0)
    # The averaged instrument is no noisier than one repeat's on average.
    return ar.average_noise([stage.moments(noise) for noise in meats], stage.moments())


def _products(noise: FloatArray, data: IVData) -> FloatArray:
    rooted = root_weighted(noise, data)
    return np.asarray(rooted.T @ rooted)


def _fold_kinds(
    data: IVData, learned: LearnedInstruments, plan: FirstStagePlan, spec: CovarianceSpec
) -> tuple[ARKind, ARKind]:
    if len(plan.splits) > 1:
        refusal = "it works with n_repeats=1; use 'corrected', which averages over repeats."
        return ARKind("folds", refusal=refusal), ARKind("split", refusal=refusal)
    if plan.splits[0].n_cells == 1:
        refusal = "out-of-bag predictions have no folds; use 'corrected'."
        return ARKind("folds", refusal=refusal), ARKind("split", refusal=refusal)
    z, cell = learned.z[0] if learned.inside is None else learned.inside[0], plan.splits[0].cell
    if np.isnan(z).any():
        refusal = "a fold has too few rows for its covariates; use fewer folds or 'corrected'."
        return ARKind("folds", refusal=refusal), ARKind("split", refusal=refusal)
    groups = () if data.absorbed is None else data.absorbed.groups
    found = by_fold_moments(z, data.y, data.D, data.X, cell, spec, data.weights, groups)
    if isinstance(found, str):
        return ARKind("folds", refusal=found), ARKind("split", refusal=found)
    return ARKind("folds", found), ARKind("split", found[:1])


def _orthogonal_kind(
    data: IVData,
    spec: CovarianceSpec,
    trained: DirectionInstruments | None,
) -> ARKind:
    if trained is None:
        return ARKind("orthogonal", refusal="ask for it at the fit: MLIV(orthogonal=True).")
    y, D = partialled(data.y, data), partialled(data.D, data)
    z = root_weighted(trained.learned.z[0], data)
    found = orthogonal_moments(z, y, D[:, 0], trained.directions, spec, data.n_exog)
    return ARKind("orthogonal", directions=found)
