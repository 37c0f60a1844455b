"""Cross-fitted ridge on many small samples at once, or on many targets of one.

The same numbers as a :class:`GramEngine` on each sample, without its cost a call: what is a loop
over cells there is one product of stacked matrices here.

Glossary: S samples of T targets each (S many, T = 1; or S = 1, T many where the inputs are fixed);
n rows, c controls, m columns of the dictionary; P = cells x parts training parts, B blocks of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.grams import CONDITION_LIMIT
from mlinstruments._core.typing import BoolArray, FloatArray, IntArray

from .base import Learner
from .features import Features
from .folds import Split
from .gram import PENALTIES, GramEngine
from .ridge_path import FEW_COLUMNS, path_errors
from .split_blocks import blocks_of

# Below this share of a column's variance left by the controls, or of the target's left by a single
# column, a sample is looked at on its own: checks of the input have something to say about it.
ODD = 1e-6


@dataclass(frozen=True)
class Layout:
    """Splits of like samples with their rows sorted by block.

    Parameters
    ----------
    order : int array, shape (n,) or (S, n)
        Rows in sorted order, of all samples or of each.
    cells, blocks : tuple of slices
        Sorted rows of each cell and of each block.
    belongs : array, shape (P, sides, B)
        One where a block is in a training part and side; one side where nothing is tuned.
    rows : int array, shape (P, sides)
    parts : int
        1, or 2 for halves.
    """

    order: IntArray
    cells: tuple[slice, ...]
    blocks: tuple[slice, ...]
    belongs: FloatArray
    rows: IntArray
    parts: int


def layout_of(splits: list[Split], tuned: bool) -> Layout | None:
    """One layout for a split that all samples share, or for one of each; None where they differ."""
    found = [blocks_of([split], tuned) for split in splits]
    sizes = [np.bincount(blocks.code) for blocks in found]
    training = found[0].training[0]
    alike = all(
        np.array_equal(size, sizes[0])
        and np.array_equal(blocks.cell, found[0].cell)
        and np.array_equal(blocks.training[0], training)
        for size, blocks in zip(sizes, found, strict=True)
    )
    cell = found[0].cell[0]
    if not alike or (np.diff(cell) < 0).any():
        return None
    order = np.stack([np.argsort(blocks.code, kind="stable") for blocks in found])
    cells, parts, sides, B = training.shape
    belongs = training.reshape(cells * parts, sides, B).astype(float)
    return Layout(
        order=order[0] if len(splits) == 1 else order,
        cells=_slices(np.bincount(cell, sizes[0]).astype(np.int64)),
        blocks=_slices(sizes[0]),
        belongs=belongs,
        rows=(belongs @ sizes[0]).astype(np.int64),
        parts=parts,
    )


def _slices(sizes: IntArray) -> tuple[slice, ...]:
    ends = np.cumsum(sizes)
    return tuple(slice(int(e - s), int(e)) for s, e in zip(sizes, ends, strict=True))


def dictionary_of(learner: Learner, W: FloatArray) -> tuple[FloatArray, float | None] | None:
    """A linear learner's dictionary (n, m) of instruments (n, q), and its penalty.

    None for learners that are not ridge on a dictionary.
    """
    engine = learner.prepare(Features.numeric(W), np.ones((len(W), 1)), None)
    return (engine._bound.columns, engine._penalty) if isinstance(engine, GramEngine) else None


@dataclass(frozen=True)
class Stack:
    """Everything about S samples that does not depend on their targets.

    Parameters
    ----------
    base : array, shape (S, n, c + m)
        Sorted rows of controls and dictionary; the dictionary's columns at unit variance.
    gram : array, shape (S, P, sides, c + m, c + m)
        Gram matrices of training parts, or of their sides.
    c : int
    accurate : bool array, shape (S,)
        Whether Gram matrices will do for a sample, whose inputs are nothing odd.
    """

    base: FloatArray
    gram: FloatArray
    c: int
    accurate: BoolArray


def stack(
    dictionary: FloatArray, controls: FloatArray, layout: Layout, penalty: float | None
) -> Stack:
    """Prepare samples for :func:`predict_stack`.

    Parameters
    ----------
    dictionary : array, shape (S, n, m)
    controls : array, shape (S, n, c)
        The first column is a constant of ones.
    layout : Layout
        Whose training parts have at least m rows, and two more than c.
    penalty : float, optional
        None where it is to be chosen.
    """
    S, n, m = dictionary.shape
    c = controls.shape[2]
    base = np.empty((S, n, c + m))
    base[:, :, :c] = _sorted_rows(controls, layout)
    base[:, :, c:] = _sorted_rows(dictionary, layout)
    # A rough mean is enough to keep digits: what is left of it goes with the constant.
    base[:, :, c:] -= base[:, :: max(1, n // 64), c:].mean(axis=1, keepdims=True)
    grams = _block_products(base, base, layout)
    total = grams.sum(axis=1)
    mean = total[:, 0, c:] / n
    variance = np.diagonal(total, axis1=1, axis2=2)[:, c:] / n - mean**2
    with np.errstate(all="ignore"):
        unit = np.concatenate([np.ones((S, c)), 1 / np.sqrt(variance)], axis=1)
    total *= unit[:, :, None] * unit[:, None, :]
    accurate = _plain(total, c, n)
    unit[~accurate] = 1.0
    base[:, :, c:] *= unit[:, None, c:]
    grams *= (unit[:, :, None] * unit[:, None, :])[:, None]
    if penalty is None and m >= FEW_COLUMNS:
        # In the eigenvectors of the whole, Gram matrices of parts are nearly diagonal, and a path
        # of penalties takes a few steps.
        total[~accurate] = np.eye(c + m)
        vectors = np.linalg.eigh(_less_controls(total[:, None], c)[:, 0])[1]
        base[:, :, c:] = base[:, :, c:] @ vectors
        grams = _block_products(base, base, layout)
    P, sides, B = layout.belongs.shape
    k = c + m
    sums = layout.belongs.reshape(-1, B) @ grams.reshape(S, B, k * k)
    if penalty == 0:
        accurate &= _well_conditioned(total, c)
    return Stack(base, sums.reshape(S, P, sides, k, k), c, accurate)


def _sorted_rows(values: FloatArray, layout: Layout) -> FloatArray:
    """Rows of ``values`` (S, n, ...) in sorted order."""
    if layout.order.ndim == 1:
        return values[:, layout.order]
    return values[np.arange(len(values))[:, None], layout.order]


def _block_products(left: FloatArray, right: FloatArray, layout: Layout) -> FloatArray:
    """Products (S, B, k, r) of columns (S, n, k) and (S, n, r) in each block."""
    transposed = np.swapaxes(left, 1, 2)
    return np.stack([transposed[:, :, b] @ right[:, b] for b in layout.blocks], axis=1)


def _plain(total: FloatArray, c: int, n: int) -> BoolArray:
    """Samples whose columns are finite and vary, and which controls neither repeat nor explain."""
    good = np.asarray(np.isfinite(total).all(axis=(1, 2)))
    total[~good] = np.eye(total.shape[1])
    good &= _well_conditioned(total[:, :c, :c], 0)
    total[~good] = np.eye(total.shape[1])
    left = np.diagonal(_less_controls(total[:, None], c)[:, 0], axis1=1, axis2=2)
    return np.asarray(good & (left > ODD * n).all(axis=1))


def _well_conditioned(total: FloatArray, c: int) -> BoolArray:
    gram = _less_controls(total[:, None], c)[:, 0] if c else total
    lengths = np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), 0))
    unit = 1 / np.where(lengths > 0, lengths, 1.0)
    values = np.linalg.eigvalsh(gram * unit[:, :, None] * unit[:, None, :])
    return np.asarray(values[:, 0] * CONDITION_LIMIT > values[:, -1])


def _less_controls(products: FloatArray, c: int) -> FloatArray:
    """Gram matrices (S, P, k, k) of the last columns less their regressions on the first c."""
    return products[..., c:, c:] - np.swapaxes(products[..., :c, c:], -1, -2) @ _slopes(products, c)


def _slopes(products: FloatArray, c: int) -> FloatArray:
    """Coefficients (..., c, k - c) of the last columns on the first c."""
    if c == 1:
        return products[..., :1, 1:] / products[..., :1, :1]
    return np.asarray(np.linalg.solve(products[..., :c, :c], products[..., :c, c:]))


# ---- targets ------------------------------------------------------------------------------------


def predict_stack(
    found: Stack, targets: FloatArray, layout: Layout, penalty: float | None
) -> tuple[FloatArray, FloatArray | None, BoolArray]:
    """Predictions out of fold, less their means in each cell.

    Parameters
    ----------
    found : Stack
    targets : array, shape (S, n, T)
        In sorted order.
    layout : Layout
    penalty : float, optional
        None to choose it in each part for each target.

    Returns
    -------
    mean : array, shape (S, T, n)
        Of the two halves' predictions, or the predictions of whole parts.
    half_difference : array, shape (S, T, n), or None
        None without halves.
    accurate : bool array, shape (S, T)
        Where False, the sample needs an engine of its own.
    """
    base, c = found.base, found.c
    S, n, k = base.shape
    T = targets.shape[2]
    P, sides, B = layout.belongs.shape
    cross = _block_products(base, targets, layout).reshape(S, B, k * T)
    cross = (layout.belongs.reshape(-1, B) @ cross).reshape(S, P, sides, k, T)
    chosen = np.full((S, P, T), np.nan if penalty is None else penalty)
    if penalty is None:
        chosen = _chosen(found.gram, cross, layout, c)
    gram, right = _residual(found.gram.sum(axis=2), cross.sum(axis=2), c)
    shift = layout.rows.sum(axis=1)[:, None] * chosen  # (S, P, T)
    coefficients = _solve(gram, right, shift)
    trace = np.trace(gram, axis1=2, axis2=3)[:, :, None] + (k - c) * shift
    good = np.ones((S, T), dtype=bool)
    if penalty != 0:
        with np.errstate(all="ignore"):
            good = (trace <= CONDITION_LIMIT * shift).all(axis=1)
    accurate = found.accurate[:, None] & good & np.isfinite(coefficients).all(axis=(1, 2))
    mean = np.empty((S, T, n))
    difference = np.empty((S, T, n)) if layout.parts == 2 else None
    by_cell = coefficients.reshape(S, len(layout.cells), layout.parts, k - c, T)
    for cell, rows in enumerate(layout.cells):
        columns = np.swapaxes(base[:, rows, c:], 1, 2)
        columns = columns - columns.mean(axis=2, keepdims=True)
        halves = np.swapaxes(by_cell[:, cell], 2, 3)  # (S, parts, T, m)
        mean[:, :, rows] = halves.mean(axis=1) @ columns
        if difference is not None:
            difference[:, :, rows] = (halves[:, 0] - halves[:, 1]) / 2 @ columns
    return mean, difference, accurate


def _residual(gram: FloatArray, cross: FloatArray, c: int) -> tuple[FloatArray, FloatArray]:
    """Gram matrices (..., m, m) and products with targets (..., m, T) less the controls."""
    slopes = np.swapaxes(_slopes(gram, c), -1, -2)
    return _less_controls(gram, c), cross[..., c:, :] - slopes @ cross[..., :c, :]


def _chosen(gram: FloatArray, cross: FloatArray, layout: Layout, c: int) -> FloatArray:
    """Penalties (S, P, T) at which the sides of a part predict each other best."""
    S, P, sides, k, T = cross.shape
    G, x = _residual(gram, cross, c)
    G, x = G.reshape(S * P, sides, k - c, k - c), x.reshape(S * P, sides, k - c, T)
    rows = np.tile(layout.rows, (S, 1))
    errors = sum(
        path_errors(G[:, a], x[:, a], rows[:, a], G[:, b], x[:, b], PENALTIES)
        for a, b in ((0, 1), (1, 0))
    )
    return np.asarray(PENALTIES[np.argmin(errors, axis=1)].reshape(S, P, T))


def _solve(gram: FloatArray, right: FloatArray, shift: FloatArray) -> FloatArray:
    """(gram + shift I)^-1 right, shape (S, P, m, T), with a shift for each target."""
    if right.shape[3] == 1 or (shift == shift[..., :1]).all():
        penalised = gram + shift[..., :1, None] * np.eye(right.shape[2])
        return np.asarray(np.linalg.solve(penalised, right))
    values, vectors = np.linalg.eigh(gram)
    rotated = np.swapaxes(vectors, 2, 3) @ right
    return np.asarray(vectors @ (rotated / (np.maximum(values, 0)[..., None] + shift[:, :, None])))
