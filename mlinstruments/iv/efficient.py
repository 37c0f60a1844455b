"""Chamberlain's instruments for E[U | W] = 0 and E[X U] = 0 where the variance of U varies with W.

Notation, beside that of :mod:`mlinstruments.iv.conditional`: T = (1, x, D), X0 = x - xbar.
The optimal instruments are E[T | W] / s2 + A X0, A = E[T X0'] (E[q X0 X0'])^-1, linear in x and
not in W. Instruments may be recombined as long as every row is recombined alike, which leaves

    c(W) = (1 - xhat'm) / s2,   x + h(W), h = B xhat / s2 - xbar,   z(W) = E[D - x'l | W] / s2,

where (m, l) = (E[X0 x'])^-1 E[X0 (1, D)] and B = E[q X0 X0'] (E[x X0'])^-1: one instrument for the
constant, one for each covariate, one for each endogenous regressor. With a constant variance they
are 1, x and f(W): the default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import dependent_columns, has_constant, least_squares, residuals
from mlinstruments._core.parallel import parallel_map
from mlinstruments._core.typing import FloatArray, IntArray
from mlinstruments.learning.base import Engine
from mlinstruments.learning.crossfit import cell_seeds_of
from mlinstruments.learning.folds import Split, random_split

from . import strength
from .conditional import Conditional, Parts, Source, choose, learn_conditional, own
from .data import IVData
from .instrument import CONSTANT_TOLERANCE, LearnedInstruments, centre_within
from .learn import FirstStagePlan

# Weights must leave this share of the rows in effect, and so many for each coefficient: else the
# estimate rests on the few rows whose variance was learned to be least.
LEAST_SHARE, LEAST_ROWS = 0.2, 5
# Above this condition number covariates are functions of the instruments, to all purposes.
WORST_CONDITION = 1e8


@dataclass(frozen=True)
class Problem:
    """Data of a fit with efficient instruments.

    Parameters
    ----------
    profiled, plain : Engine
        The learner bound to W with the covariates as controls, and with a constant alone.
    x : array, shape (n, r)
        Covariates but for the constant, standardised and independent.
    data : IVData
    """

    profiled: Engine
    plain: Engine
    x: FloatArray
    data: IVData


@dataclass(frozen=True)
class CellInstruments:
    """Instruments of the rows of a cell; or why there are none.

    Parameters
    ----------
    exog : array, shape (parts, m, 1 + r)
        For the constant and the covariates.
    endog : array, shape (parts, m, d)
    refusal : str
    """

    exog: FloatArray
    endog: FloatArray
    refusal: str = ""


def learn_efficient(data: IVData, plan: FirstStagePlan) -> LearnedInstruments | str:
    """Cross-fit the efficient instruments, or say why the data do not allow it.

    Everything is learned in the training part of a cell: pilot residuals, by two-fold cross-fitting
    of the default instrument inside it, the conditional moments and the coefficients m, l and B.

    Raises
    ------
    InputError
        Where the covariates hold no constant.
    """
    if not has_constant(data.X):
        raise InputError(
            "efficient=True needs a constant in exog: E[U | W] = 0 makes it a moment of its own."
        )
    assert plan.plain is not None
    problem = Problem(plan.engine, plan.plain, varying_covariates(data), data)
    places = [(r, cell) for r, split in enumerate(plan.splits) for cell in range(split.n_cells)]
    seeds = [cell_seeds_of(split, s) for split, s in zip(plan.splits, plan.seeds, strict=True)]

    def run(place: tuple[int, int]) -> CellInstruments:
        r, cell = place
        return _cell(problem, plan.splits[r], cell, seeds[r][cell])

    found = parallel_map(run, places, plan.n_jobs, plan.progress, "first stage")
    for (r, cell), one in zip(places, found, strict=True):
        if one.refusal:
            return f"in fold {cell} of repeat {r} {one.refusal}"
    repeats = [
        _joined(
            problem, split, [c for place, c in zip(places, found, strict=True) if place[0] == r]
        )
        for r, split in enumerate(plan.splits)
    ]
    kept = [one for one in repeats if not isinstance(one, str)]
    if len(kept) < len(repeats):
        return next(one for one in repeats if isinstance(one, str))
    return _stacked(kept, data)


def varying_covariates(data: IVData) -> FloatArray:
    """Standardised columns that with a constant span the covariates, shape (n, p - 1)."""
    w = data.weights
    centred = data.X - np.average(data.X, axis=0, weights=w)
    lengths = np.sqrt(np.average(centred**2, axis=0, weights=w))
    kept = np.flatnonzero(lengths > 1e-12 * np.abs(data.X).max(axis=0))
    scaled = centred[:, kept] / lengths[kept]
    return np.delete(scaled, dependent_columns(scaled), axis=1)


# ---- one cell -----------------------------------------------------------------------------------


def _cell(
    problem: Problem, split: Split, cell: int, seed: np.random.SeedSequence
) -> CellInstruments:
    parts, out = split.training(cell), split.held_out(cell)
    sides = parts if len(parts) == 2 else _inner_halves(parts[0], split, seed)
    used, weights = np.union1d(np.concatenate(parts), out), problem.data.weights
    source = Source(problem.plain, weights, used, seed, split.tune)
    u = pilot_residuals(problem, source, sides)
    q = u**2 if weights is None else weights * u**2
    if q.max() <= (CONSTANT_TOLERANCE * problem.data.y.std()) ** 2:
        return _refused("the pilot leaves no residuals.")
    choices, learned = choose(source, problem.x, q, sides)
    if sides is not parts:
        learned = learn_conditional(source, problem.x, q, parts, choices)
    return instruments(source, problem, q, learned, parts, out)


def _inner_halves(rows: IntArray, split: Split, seed: np.random.SeedSequence) -> Parts:
    """Two halves of a training part: the sides of the split, which keep clusters whole."""
    tune = split.tune
    side = random_split(len(rows), 2, (), seed, halves=False).cell if tune is None else tune[rows]
    return rows[side == 0], rows[side == 1]


def pilot_residuals(problem: Problem, source: Source, sides: Parts) -> FloatArray:
    """Residuals (n,) in the rows of two sides, each side's instrument learned on the other.

    Of least squares where the pilot instrument does not predict. Zero in other rows.
    """
    data = problem.data
    predicted = np.zeros((len(sides), *data.D.shape))
    predicted[:, source.used] = source.predict(problem.profiled, data.D, sides)
    z = own(predicted[::-1], sides)
    rows = np.sort(np.concatenate(sides))
    side = np.isin(rows, sides[1]).astype(np.int64)
    w = None if data.weights is None else data.weights[rows]
    root = 1.0 if w is None else np.sqrt(w)[:, None]
    centred = centre_within(z[rows], side, w)
    both = np.column_stack([centred, data.D[rows], data.y[rows]])
    both = root * residuals(both, data.X[rows], w)
    z, D, y = np.split(both, [data.n_endog, 2 * data.n_endog], axis=1)
    slopes = [strength.slope(a, b) for a, b in zip(z.T, D.T, strict=True)]
    weak = not all(slope > 0 for slope in slopes) or np.linalg.cond(z.T @ D) > WORST_CONDITION
    tau = np.linalg.lstsq(D, y, rcond=None)[0] if weak else np.linalg.solve(z.T @ D, z.T @ y)
    u = np.zeros(data.nobs)
    u[rows] = ((y - D @ tau) / root)[:, 0]
    return u


def instruments(
    source: Source,
    problem: Problem,
    q: FloatArray,
    learned: Conditional,
    parts: Parts,
    out: IntArray,
) -> CellInstruments:
    """Instruments of the rows ``out`` from what was learned on each part.

    Parameters
    ----------
    source : Source
    problem : Problem
    q : array, shape (n,)
    learned : Conditional
    parts : tuple of int arrays
        Training rows.
    out : int array, shape (m,)
    """
    x, D, weights = problem.x, problem.data.D, problem.data.weights
    mass = np.ones(len(q)) if weights is None else weights
    solved, rests = [], np.zeros_like(D)
    for i, rows in enumerate(parts):
        w, x0 = mass[rows, None], x[rows] - learned.xbar[i, rows]
        cross = (w * x0).T @ x[rows]
        if x.shape[1] and np.linalg.cond(cross) > WORST_CONDITION:
            return _refused(
                "covariates are functions of the instruments, or too many for its rows."
            )
        effect = 1 / learned.s2[i, rows]
        effective = (w[:, 0] @ effect) ** 2 / (w[:, 0] @ effect**2)
        needed = max(LEAST_SHARE * w.sum(), LEAST_ROWS * (1 + x.shape[1] + D.shape[1]))
        if not effective >= needed:  # nan too
            return _refused(
                f"the variance weights leave {effective:.0f} of {len(rows)} training rows in"
                f" effect; at least {needed:.0f} are needed."
            )
        m_l = np.linalg.solve(cross, (w * x0).T @ np.column_stack([np.ones(len(rows)), D[rows]]))
        turned = np.linalg.solve(cross, (w * q[rows, None] * x0).T @ x0)
        solved.append((m_l[:, 0], turned, float(np.average(effect, weights=w[:, 0]))))
        rests[rows] = D[rows] - x[rows] @ m_l[:, 1:]
    f = source.learn(rests, parts)
    exog, endog = [], []
    for i, (m, turned, mean) in enumerate(solved):
        xhat, s2 = learned.xhat[i, out], learned.s2[i, out, None]
        c = (1 - xhat @ m)[:, None] / (mean * s2)
        h = xhat @ turned / s2 - learned.xbar[i, out]
        z = f[i, out] / (mean * s2)
        # Without this, levels of f in the folds lean against the folds' own means of D.
        level, total = mass[out] @ z, float(mass[out] @ c[:, 0])
        if not abs(total) > 1e-6 * float(mass[out] @ (1 / (mean * s2[:, 0]))):
            return _refused("nothing identifies the constant.")
        exog.append(np.hstack([c, x[out] + h]))
        endog.append(z - c * (level / total))
    return CellInstruments(np.stack(exog), np.stack(endog))


def _refused(reason: str) -> CellInstruments:
    nothing = np.empty((0, 0, 0))
    return CellInstruments(nothing, nothing, reason)


# ---- all cells of a repeat ----------------------------------------------------------------------


def _joined(
    problem: Problem, split: Split, cells: list[CellInstruments]
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray] | str:
    """Instruments of covariates (n, 1 + r) and of D, whole, by half difference and inside cells."""
    n, parts = len(problem.x), len(cells[0].exog)
    exog = np.empty((n, 1 + problem.x.shape[1]))
    endog, noise = np.empty((2, n, problem.data.n_endog))
    for cell, found in enumerate(cells):
        rows = split.held_out(cell)
        exog[rows], endog[rows] = found.exog.mean(axis=0), found.endog.mean(axis=0)
        noise[rows] = (found.endog[0] - found.endog[-1]) / 2
    regressors = np.column_stack([np.ones(n), problem.x])
    weights, everyone = problem.data.weights, np.arange(n)
    exog = exog @ least_squares(regressors, problem.data.X)  # one for each column as it was given
    cleaned = _cleaned(np.hstack([endog, noise]), exog, regressors, weights, everyone)
    if cleaned is None:
        return "the instruments of the covariates are collinear."
    inside = np.full_like(endog, np.nan)
    for cell in range(split.n_cells):
        rows = split.held_out(cell)
        one = _cleaned(endog, exog, regressors, weights, rows)
        if one is not None:
            inside[rows] = one
    whole, half = np.split(cleaned, 2, axis=1)
    return exog, whole, (half if parts == 2 else np.full_like(half, np.nan)), inside


def _cleaned(
    values: FloatArray,
    exog: FloatArray,
    regressors: FloatArray,
    weights: FloatArray | None,
    rows: IntArray,
) -> FloatArray | None:
    """``values`` less a combination of ``exog``, orthogonal to the regressors; among some rows.

    What estimating the covariates' coefficients with their own instruments makes of an instrument.
    None where those do not identify the coefficients.
    """
    left = regressors[rows] if weights is None else weights[rows, None] * regressors[rows]
    cross = left.T @ exog[rows]
    lengths = np.abs(cross).max(axis=0)
    if len(rows) <= len(cross) or not (lengths > 0).all():
        return None
    if np.linalg.cond(cross / lengths) > WORST_CONDITION:
        return None
    return np.asarray(values[rows] - exog[rows] @ np.linalg.solve(cross, left.T @ values[rows]))


def _stacked(
    repeats: list[tuple[FloatArray, FloatArray, FloatArray, FloatArray]], data: IVData
) -> LearnedInstruments:
    exog, z, noise, inside = (np.stack(arrays) for arrays in zip(*repeats, strict=True))
    varies = np.sqrt((z**2).mean(axis=1)) > CONSTANT_TOLERANCE * data.D.std(axis=0)
    z = np.where(varies[:, None, :], z, 0.0)
    halves = None if np.isnan(noise).any() else noise
    return LearnedInstruments(z, halves, varies, exog, inside)
