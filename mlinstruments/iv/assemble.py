"""From learned instruments to results: estimates, medians over repeats, strength, AR moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments._core.typing import FloatArray
from mlinstruments.learning.folds import Split

from . import anderson_rubin as ar
from . import strength
from .anderson_rubin import Moments
from .ar_kinds import ARKind, by_fold_moments, orthogonal_moments
from .data import IVData
from .estimate import LinearFit, kclass
from .instrument import LearnedInstruments
from .joint_strength import joint_strength, median_joint
from .learn import DirectionInstruments, FirstStagePlan, partialled, root_weighted
from .mliv_results import MLIVResults
from .strength import FirstStage


@dataclass(frozen=True)
class RepeatFit:
    """One repeat: its IV fit, or why there is none."""

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
    fits = fit_repeats(data, learned, spec)
    params, cov = combine(fits, data)
    used = next((f.fit.spec for f in fits if f.fit is not None), spec)
    spec = used if used.bandwidth is not None else _resolved(spec, data, learned)
    first, splits = first_stage(data, learned, plan.splits, spec, fits)
    resids = data.y - data.X @ params[: data.n_exog] - data.D @ params[data.n_exog :]
    average = learned.z.mean(axis=0)
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
        ar=ar_kinds(data, learned, plan, spec, orthogonal),
        first_stage=first,
        kappa=1.0,
        instrument=_instrument(data, average),
        splits=splits,
        folds=data.on_input_index(
            np.column_stack([split.cell for split in plan.splits]).astype(float),
            tuple(f"repeat {r}" for r in range(len(plan.splits))),
        ),
        weak=weak_reason(fits),
        overid=None,
        **settings,
    )


def _instrument(data: IVData, z: FloatArray) -> pd.Series | pd.DataFrame:
    names = tuple(f"instrument for {name}" for name in data.endog)
    if len(names) == 1:
        return data.on_input_index(z[:, 0], names[0])
    return data.on_input_index(z, names)


def _resolved(spec: CovarianceSpec, data: IVData, learned: LearnedInstruments) -> CovarianceSpec:
    """A kernel's bandwidth where no repeat has an estimate to choose it from."""
    if spec.kind != "kernel":
        return spec
    return spec.resolve(learned.z.mean(axis=0) * partialled(data.y, data)[:, None])


# ---- estimates ----------------------------------------------------------------------------------


def fit_repeats(data: IVData, learned: LearnedInstruments, spec: CovarianceSpec) -> list[RepeatFit]:
    """Just-identified IV with the instruments of every repeat."""
    D = partialled(data.D, data)
    fits = []
    for z, varies in zip(learned.z, learned.varies, strict=True):
        weak = _why_weak(root_weighted(z, data), D, varies, data.endog)
        fit = None if weak else kclass(data.y, data.X, data.D, z, spec, data.weights)
        fits.append(RepeatFit(fit, weak))
    return fits


def _why_weak(z: FloatArray, D: FloatArray, varies: FloatArray, endog: tuple[str, ...]) -> str:
    for j, name in enumerate(endog):
        if not varies[j]:
            return f"the learner found nothing in the instruments that predicts {name}."
        if strength.slope(z[:, j], D[:, j]) <= 0:
            return (
                f"out of fold, predictions of {name} do not rise with {name} (slope not positive):"
                " the first stage has learned noise."
            )
    scaled = z / np.linalg.norm(z, axis=0)
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
    rows, folds, joint = [], [], []
    for r, z in enumerate(learned.z):
        z = root_weighted(z, data)
        rises = all(strength.slope(z[:, j], D[:, j]) > 0 for j in range(data.n_endog))
        # Predictions that do not rise with a treatment are noise, however large their square.
        joint.append(joint_strength(z * rises, D, spec, data.n_exog, data.endog)[0])
        noise = None if learned.noise is None else root_weighted(learned.noise[r], data)
        fit = fits[r].fit
        for j, name in enumerate(data.endog):
            own = None if noise is None else noise[:, j]
            position = data.n_exog + j
            calibration = strength.slope(z[:, j], D[:, j])
            f = strength.robust_f(z, D[:, j], spec, data.n_exog) if calibration > 0 else 0.0
            rows.append(
                {
                    "repeat": r,
                    "endog": name,
                    "estimate": np.nan if fit is None else fit.params[position],
                    "std_error": np.nan if fit is None else np.sqrt(fit.cov[position, position]),
                    "f": f,
                    "partial_r2": strength.partial_r2(z, D[:, j]),
                    "calibration": calibration,
                    "reliability": strength.reliability(z[:, j], own),
                }
            )
            if not splits[r].loo:  # a row says nothing of a slope
                folds += strength.by_fold(z[:, j], D[:, j], root, splits[r].cell, r, name)
    table = pd.DataFrame(rows)
    medians = table.groupby("endog", sort=False)[
        ["f", "partial_r2", "calibration", "reliability"]
    ].median()
    linear, q = _linear_strength(data, spec)
    single = data.n_endog == 1
    return (
        FirstStage(
            f=medians["f"],
            effective_f=medians["f"].rename("effective_f") * (1.0 if single else np.nan),
            partial_r2=medians["partial_r2"],
            calibration=medians["calibration"],
            reliability=medians["reliability"],
            linear_f=pd.Series(linear, data.endog, name="linear_f"),
            n_instruments=q,
            by_fold=pd.DataFrame(folds, columns=strength.BY_FOLD),
            joint=median_joint(joint),
        ),
        table,
    )


def _linear_strength(data: IVData, spec: CovarianceSpec) -> tuple[list[float], int]:
    instruments = data.W.dummies(drop_first=True)
    if data.W.has_missing:
        return [float("nan")] * data.n_endog, instruments.shape[1]
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
    orthogonal: DirectionInstruments | None,
) -> tuple[ARKind, ...]:
    """Moments of every kind of Anderson-Rubin inference, the default kind first."""
    z = root_weighted(learned.z.mean(axis=0), data)
    y, D = partialled(data.y, data), partialled(data.D, data)
    pooled = ar.moments(z, y, D, spec, data.n_exog)
    corrected = _corrected(data, learned, z, y, D, spec)
    if any(not strength.slope(z[:, j], D[:, j]) > 0 for j in range(data.n_endog)):
        # Predictions that fall as the treatment rises are noise, and may be so systematically: a
        # slope learned without a fold leans against the fold's own. The whole line is safe.
        pooled, corrected = ar.silent(pooled), ar.silent(corrected)
    return (
        ARKind("corrected", (corrected,)),
        ARKind("pooled", (pooled,)),
        *_fold_kinds(data, learned, plan, spec),
        _orthogonal_kind(data, spec, y, D, orthogonal),
    )


def _corrected(
    data: IVData,
    learned: LearnedInstruments,
    z: FloatArray,
    y: FloatArray,
    D: FloatArray,
    spec: CovarianceSpec,
) -> Moments:
    if learned.noise is None:
        # No halves to measure the noise by: take all of the instrument for noise.
        return ar.moments(z, y, D, spec, data.n_exog, factor=2.0)
    many = [
        ar.moments(z, y, D, spec, data.n_exog, noise=root_weighted(noise, data))
        for noise in np.where(learned.varies[:, None, :], learned.noise, 0.0)
    ]
    # The averaged instrument is no noisier than one repeat's on average.
    return ar.average_noise(many, many[0])


def _fold_kinds(
    data: IVData, learned: LearnedInstruments, plan: FirstStagePlan, spec: CovarianceSpec
) -> tuple[ARKind, ARKind]:
    if len(plan.splits) > 1:
        refusal = "it works with n_repeats=1; use 'corrected', which averages over repeats."
        return ARKind("folds", refusal=refusal), ARKind("split", refusal=refusal)
    cell = plan.splits[0].cell
    found = by_fold_moments(learned.z[0], data.y, data.D, data.X, cell, spec, data.weights)
    if isinstance(found, str):
        return ARKind("folds", refusal=found), ARKind("split", refusal=found)
    return ARKind("folds", found), ARKind("split", found[:1])


def _orthogonal_kind(
    data: IVData,
    spec: CovarianceSpec,
    y: FloatArray,
    D: FloatArray,
    trained: DirectionInstruments | None,
) -> ARKind:
    if trained is None:
        return ARKind("orthogonal", refusal="ask for it at the fit: MLIV(orthogonal=True).")
    z = root_weighted(trained.learned.z[0], data)
    found = orthogonal_moments(z, y, D[:, 0], trained.directions, spec, data.n_exog)
    return ARKind("orthogonal", directions=found)
