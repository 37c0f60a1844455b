"""Functions of the instruments that an efficient instrument is made of, learned on training parts.

Notation: x (n, r) covariates that vary, q (n,) squared pilot residuals times weights; for each part
xhat = E[x | W], s2 = E[q | W], xbar = E[x q | W] / s2. Arrays that end in (parts, n) or
(parts, n, r) hold one function for each training part, NaN in rows that were not asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlinstruments._core.typing import BoolArray, FloatArray, IntArray
from mlinstruments.learning.base import Engine, FoldTask

Parts = tuple[IntArray, ...]

# A learned variance is no smaller than this share of its mean: weights stay within twenty times
# the average, however far below zero a learner of squares may go.
FLOOR = 0.05
# Added to squares, in units of their mean, before logarithms: a residual of zero is no news.
LOG_SHIFT = 1e-3
VARIANCES = ("constant", "level", "log")


@dataclass(frozen=True)
class Conditional:
    """What was learned on each training part.

    Parameters
    ----------
    xhat : array, shape (parts, n, r)
        E[x | W].
    s2 : array, shape (parts, n)
        E[q | W], positive.
    xbar : array, shape (parts, n, r)
        E[x q | W] / s2.
    """

    xhat: FloatArray
    s2: FloatArray
    xbar: FloatArray


@dataclass(frozen=True)
class Choices:
    """How the variance is learned.

    Parameters
    ----------
    variance : {"constant", "level", "log"}
        Not at all, from squares, or from logarithms of squares.
    skewed : bool array, shape (r,)
        Whether xbar is learned apart from xhat, which it equals unless the variance depends on
        the covariate too.
    """

    variance: str
    skewed: BoolArray


@dataclass(frozen=True)
class Source:
    """A learner of functions of W with a constant, on some rows.

    Parameters
    ----------
    engine : Engine
        Bound to the instruments and a constant.
    weights : array, shape (n,), or None
    used : int array
        Rows at which functions are wanted: training parts and what is held out.
    seed : SeedSequence
    tune : int array, shape (n,), or None
        Sides on which learners choose tuning values.
    """

    engine: Engine
    weights: FloatArray | None
    used: IntArray
    seed: np.random.SeedSequence
    tune: IntArray | None = None

    def predict(self, engine: Engine, targets: FloatArray, parts: Parts) -> FloatArray:
        """What an engine predicts for the rows wanted, shape (parts, used, m)."""
        task = FoldTask(targets, parts, self.used, self.seed, tune=self.tune)
        return np.moveaxis(engine.fit(task).predictions, 0, 2)

    def learn(self, targets: FloatArray, parts: Parts) -> FloatArray:
        """E[target | W] for each part, shape (parts, n, m), of ``targets`` (n, m)."""
        n, m = targets.shape
        found = np.full((len(parts), n, m), np.nan)
        if m == 0:
            return found
        found[:, self.used] = self.predict(self.engine, targets, parts)
        for values, rows in zip(found, parts, strict=True):
            # Engines leave out what controls explain, here a constant.
            mass = None if self.weights is None else self.weights[rows]
            values += np.average(targets[rows] - values[rows], axis=0, weights=mass)
        return found


def own(values: FloatArray, parts: Parts) -> FloatArray:
    """Each part's rows of its own function: (parts, n, ...) to (n, ...), 0 elsewhere."""
    joined = np.zeros(values.shape[1:])
    for part, rows in zip(values, parts, strict=True):
        joined[rows] = part[rows]
    return joined


def learn_conditional(
    source: Source, x: FloatArray, q: FloatArray, parts: Parts, choices: Choices
) -> Conditional:
    """Learn the functions on each part, the way ``choices`` says."""
    xhat = source.learn(x, parts)
    s2 = _variance(source, q, parts, choices.variance)
    xbar = xhat.copy()
    skewed = np.flatnonzero(choices.skewed)
    # In units of the variance, so that rows of large variance do not drown the others.
    shares = (q / np.where(own(s2, parts) > 0, own(s2, parts), 1.0))[:, None]
    tilts = (x[:, skewed] - own(xhat, parts)[:, skewed]) * shares
    xbar[:, :, skewed] += source.learn(tilts, parts)
    return Conditional(xhat, s2, xbar)


def choose(
    source: Source, x: FloatArray, q: FloatArray, sides: Parts
) -> tuple[Choices, Conditional]:
    """What predicts best from each of two sides to the other, and what was learned on them.

    Variances are judged by the Gaussian likelihood of the residuals, xbar by squared error
    weighted with q, of which it is the minimum.
    """
    r, (first, second) = x.shape[1], sides
    crossed = (second, first)
    variances = {kind: _variance(source, q, sides, kind) for kind in VARIANCES}
    likelihood = {
        kind: sum(
            float(np.sum(_mass(source, rows) * (np.log(s2[rows]) + q[rows] / s2[rows])))
            for s2, rows in zip(variances[kind], crossed, strict=True)
        )
        for kind in VARIANCES
    }
    best = min(VARIANCES, key=lambda kind: likelihood[kind])
    choices = Choices(best, np.ones(r, dtype=bool))
    learned = learn_conditional(source, x, q, sides, choices)
    errors = [
        sum(
            np.sum((_mass(source, rows) * q[rows])[:, None] * (x - part)[rows] ** 2, axis=0)
            for part, rows in zip(values, crossed, strict=True)
        )
        for values in (learned.xbar, learned.xhat)
    ]
    skewed = np.asarray(errors[0] < errors[1])
    xbar = np.where(skewed, learned.xbar, learned.xhat)
    return replace(choices, skewed=skewed), replace(learned, xbar=xbar)


def _variance(source: Source, q: FloatArray, parts: Parts, kind: str) -> FloatArray:
    """E[q | W] for each part, shape (parts, n), at least a share of its mean."""
    means = np.array([np.average(q[rows], weights=_mass(source, rows)) for rows in parts])
    if kind == "constant":
        found = np.full((len(parts), len(q)), np.nan)
        found[:, source.used] = means[:, None]
        return found
    if kind == "level":
        return np.maximum(source.learn(q[:, None], parts)[:, :, 0], FLOOR * means[:, None])
    logs = np.zeros(len(q))
    for rows, mean in zip(parts, means, strict=True):
        logs[rows] = np.log(q[rows] / mean + LOG_SHIFT)
    found = np.exp(source.learn(logs[:, None], parts)[:, :, 0])
    for values, rows, mean in zip(found, parts, means, strict=True):
        values *= np.average(q[rows] / values[rows], weights=_mass(source, rows))
        np.maximum(values, FLOOR * mean, out=values)
    return found


def _mass(source: Source, rows: IntArray) -> FloatArray:
    return np.ones(len(rows)) if source.weights is None else source.weights[rows]
