"""The fast path: many replications of a linear learner's MLIV at once, with a loop's numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlinstruments._core.parallel import spawn_seeds
from mlinstruments._core.typing import FloatArray
from mlinstruments.iv.confidence_set import INF, ConfidenceSet
from mlinstruments.iv.mliv import MLIV
from mlinstruments.learning.adapters import as_learner
from mlinstruments.learning.batched import (
    ODD,
    Layout,
    Stack,
    dictionary_of,
    layout_of,
    predict_stack,
    stack,
)
from mlinstruments.learning.folds import random_split

from .rows import Row, read_set_of
from .second_stage import SecondStage, second_stage

# Settings of MLIV that may differ from their defaults on this path.
FREE = ("learner", "n_folds", "split_half", "random_state", "n_jobs", "progress")
# Doubles of the inputs worked on at a time, and samples at most, with inputs of their own and with
# inputs that all share. A chunk is the same whatever the number of replications or workers, since
# products of matrices may round differently where there are more of them.
CHUNK_DOUBLES, CHUNK_SAMPLES, CHUNK_HELD = 1 << 20, 32, 128


def takes(estimator: Any) -> bool:
    """Whether an estimator is an MLIV this path knows in full."""
    if type(estimator) is not MLIV or not isinstance(estimator.n_folds, int):
        return False
    given, default = estimator.get_params(deep=False), MLIV().get_params(deep=False)
    if any(given[name] != default[name] for name in given if name not in FREE):
        return False
    try:
        learner = as_learner(estimator.learner)
    except ValueError:
        return False  # the loop says what is wrong
    few = np.random.default_rng(0).uniform(size=(20, 1))
    return dictionary_of(learner, few) is not None


def chunk_size(one: Any, two: Any) -> int:
    """Replications of a chunk, from the first two samples."""
    n, q = np.shape(one.W)
    if one.W is two.W and one.X is two.X:
        return int(np.clip(CHUNK_DOUBLES // (2 * n), 1, CHUNK_HELD))
    doubles = n * (q + np.shape(one.X)[1] + 2)
    return int(np.clip(CHUNK_DOUBLES // doubles, 1, CHUNK_SAMPLES))


def fit_batch(
    estimator: MLIV,
    samples: list[Any],
    seeds: list[np.random.SeedSequence],
    truth: float,
    level: float,
) -> list[Row | None]:
    """Rows of the table, None for samples that need a fit of their own.

    Parameters
    ----------
    estimator : MLIV
        One that :func:`takes` accepts.
    samples : list of samples
    seeds : list of SeedSequence
        Used where the estimator has none of its own.
    truth, level : float
    """
    found: list[Row | None] = [None] * len(samples)
    alike = [i for i, sample in enumerate(samples) if _usable(sample, samples[0])]
    for group in _groups(estimator, samples, alike):
        chosen = [samples[i] for i in group]
        prepared = _prepared(estimator, chosen, [seeds[i] for i in group])
        if prepared is None:
            break
        for i, row in zip(group, _rows(prepared, chosen, truth, level), strict=True):
            found[i] = row
    return found


def _usable(sample: Any, first: Any) -> bool:
    """Plain float arrays of the first sample's shape, a constant first, rows independent."""
    if getattr(sample, "clusters", None) is not None:
        return False
    for name, ndim in (("y", 1), ("X", 2), ("D", 1), ("W", 2)):
        values = getattr(sample, name)
        if not (isinstance(values, np.ndarray) and values.dtype == float and values.ndim == ndim):
            return False
        if values.shape != np.shape(getattr(first, name)):
            return False
    return bool(sample.X.shape[1] > 0 and (sample.X[:, 0] == 1).all())


def _groups(estimator: MLIV, samples: list[Any], alike: list[int]) -> list[list[int]]:
    """Samples to work on together: all with the same inputs, others as a core's cache holds."""
    if not alike or _fixed(estimator, [samples[i] for i in alike]):
        return [alike] if alike else []
    n = len(samples[alike[0]].y)
    found = dictionary_of(as_learner(estimator.learner), samples[alike[0]].W)
    width = 1 if found is None else found[0].shape[1]
    step = int(np.clip(CHUNK_DOUBLES // (n * width), 1, CHUNK_SAMPLES))
    return [alike[start : start + step] for start in range(0, len(alike), step)]


def _fixed(estimator: MLIV, samples: list[Any]) -> bool:
    """Whether all that a first stage is fitted on, but the treatment, is the same."""
    first = samples[0]
    same = all(sample.W is first.W and sample.X is first.X for sample in samples)
    return same and estimator.random_state is not None


# ---- numbers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Prepared:
    """What does not depend on outcomes and treatments.

    Parameters
    ----------
    layout : Layout
    stack : Stack
    inverse : array, shape (S, c, c)
        Of the covariates' Gram matrix.
    penalty : float or None
    as_is : bool
        Whether the dictionary is the instruments themselves, which the stack checks.
    """

    layout: Layout
    stack: Stack
    inverse: FloatArray
    penalty: float | None
    as_is: bool


# The last one made of fixed inputs, after what it was made of: settings, W, X.
_last: tuple[str, Any, Any, _Prepared | None] | None = None


def _prepared(
    estimator: MLIV, samples: list[Any], seeds: list[np.random.SeedSequence]
) -> _Prepared | None:
    global _last
    if not _fixed(estimator, samples):
        return _prepare(estimator, samples, seeds)
    first, last = samples[0], _last  # threads may put others in its place
    settings = repr(estimator.get_params(deep=False))
    if last is None or last[0] != settings or last[1] is not first.W or last[2] is not first.X:
        made = _prepare(estimator, samples[:1], seeds[:1])
        _last = last = settings, first.W, first.X, made
    return last[3]


def _prepare(
    estimator: MLIV, samples: list[Any], seeds: list[np.random.SeedSequence]
) -> _Prepared | None:
    n, c = samples[0].X.shape
    if isinstance(estimator.n_folds, str) or n < 2 * estimator.n_folds:
        return None  # for the loop, which says what is wrong if anything is
    own = estimator.random_state is not None
    splits = [
        random_split(n, estimator.n_folds, (), spawn_seeds(source, 1)[0], estimator.split_half)
        for source in ([estimator.random_state] if own else seeds)
    ]
    learner = as_learner(estimator.learner)
    first = dictionary_of(learner, samples[0].W)
    if first is None:
        return None
    columns, penalty = [first[0]], first[1]
    layout = layout_of(splits, penalty is None)
    if layout is None or layout.rows.sum(axis=1).min() < max(columns[0].shape[1], c + 2):
        return None
    others = (dictionary_of(learner, sample.W) for sample in samples[1:])
    columns += [found[0] for found in others if found is not None]
    if len({found.shape for found in columns}) > 1:
        return None
    made = stack(columns, [sample.X for sample in samples], layout, penalty)
    gram = np.swapaxes(made.controls, 1, 2) @ made.controls
    inverse = np.linalg.pinv(np.where(np.isfinite(gram), gram, 0.0), hermitian=True)
    return _Prepared(layout, made, np.asarray(inverse), penalty, columns[0] is samples[0].W)


def _rows(prepared: _Prepared, samples: list[Any], truth: float, level: float) -> list[Row | None]:
    S = len(prepared.stack.phi)
    y, d = (_sorted([getattr(sample, name) for sample in samples], S, prepared) for name in "yD")
    z, noise, accurate = predict_stack(prepared.stack, d, prepared.layout, prepared.penalty)
    y, d = _partialled(y, prepared), _partialled(d, prepared)
    z = _partialled(z, prepared, centred=True)
    noise = None if noise is None else _partialled(noise, prepared, centred=True)
    numbers = second_stage(z, noise, y, d, truth, level)
    clear = numbers.clear & accurate.ravel() & np.isfinite(y).all(axis=1)
    if not prepared.as_is:
        clear &= np.array([not _repeats(sample.W, sample.D) for sample in samples])
    return [_row(numbers, i, level) if ok else None for i, ok in enumerate(clear)]


def _repeats(W: FloatArray, d: FloatArray) -> bool:
    """Whether one instrument is, but for rounding, an affine function of the treatment."""
    w, d = W - W.mean(axis=0), d - d.mean()
    shares = (w.T @ d) ** 2 / ((w**2).sum(axis=0) * (d @ d))
    return not bool((shares < 1 - ODD).all())


def _sorted(columns: list[FloatArray], S: int, prepared: _Prepared) -> FloatArray:
    """Columns (n,) as (S, T, n) in sorted order: S samples of one, or T of one sample."""
    order = prepared.layout.order
    stacked = np.stack(columns)
    if order.ndim == 1:
        stacked = stacked.take(order, axis=1)
    else:
        stacked = np.take_along_axis(stacked, order, axis=1)
    return stacked.reshape(S, len(columns) // S, -1)


def _partialled(values: FloatArray, prepared: _Prepared, centred: bool = False) -> FloatArray:
    """Residuals of (S, T, n) on the covariates, as (S T, n)."""
    S, T, n = values.shape
    exog, left = prepared.stack.controls, values
    if exog.shape[2] == 1:
        left = values if centred else values - values.mean(axis=2, keepdims=True)
    else:
        left = values - ((values @ exog) @ prepared.inverse) @ np.swapaxes(exog, 1, 2)
    return np.asarray(left.reshape(S * T, n))


def _row(numbers: SecondStage, i: int, level: float) -> Row:
    low, high = (float(end) for end in numbers.ends[i])
    if np.isnan(low):
        pieces: tuple[tuple[float, float], ...] = ((-INF, INF),)
    elif numbers.outside[i]:
        pieces = ((-INF, low), (high, INF))
    else:
        pieces = ((low, high),)
    return {
        "estimate": float(numbers.estimate[i]),
        "std_error": float(numbers.std_error[i]),
        "wald_lower": float(numbers.lower[i]),
        "wald_upper": float(numbers.upper[i]),
        "ar_pvalue": float(numbers.pvalue[i]),
        "f": float(numbers.f[i]),
        **read_set_of(ConfidenceSet(pieces, level, "")),
    }
