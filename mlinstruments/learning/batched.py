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
from .gram import OLS, PENALTIES, GramEngine, Ridge, Series
from .ridge_path import FEW_COLUMNS, path_errors
from .split_blocks import blocks_of

# Below this share of a column's variance left by the controls, or of the target's left by a single
# column, a sample is looked at on its own: checks of the input have something to say about it.
ODD = 1e-6
# Means whose square is this many times the variance cost digits in a Gram matrix.
FAR = 100.0


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

    None for learners that are not ridge on standardised columns.
    """
    if type(learner) not in (Ridge, OLS, Series):
        return None
    engine = learner.prepare(Features.numeric(W), np.ones((len(W), 1)), None)
    assert isinstance(engine, GramEngine)
    return engine._bound.columns, engine._penalty


@dataclass(frozen=True)
class Stack:
    """Everything about S samples that does not depend on their targets.

    Parameters
    ----------
    phi : array, shape (S, n, m)
        Sorted rows of the dictionary.
    controls : array, shape (S, n, c)
        Sorted rows of the controls.
    unit : array, shape (S, m)
        What columns of ``phi`` are multiplied by to have unit variance.
    mean, variance : array, shape (S, m)
        Of the columns in these units.
    gram : Products
        Of training parts, or of their sides, in these units: (S, P, sides, ., .) each.
    accurate : bool array, shape (S,)
        Whether Gram matrices will do for a sample, whose inputs are nothing odd.
    """

    phi: FloatArray
    controls: FloatArray
    unit: FloatArray
    mean: FloatArray
    variance: FloatArray
    gram: Products
    accurate: BoolArray


@dataclass(frozen=True)
class Products:
    """Cross-products of dictionary and controls: pp (..., m, m), pc (..., m, c), cc (..., c, c)."""

    pp: FloatArray
    pc: FloatArray
    cc: FloatArray

    def summed(self, axis: int) -> Products:
        """Over one of the leading axes."""
        if self.pp.shape[axis] == 1:
            return Products(*(v.squeeze(axis) for v in (self.pp, self.pc, self.cc)))
        return Products(*(v.sum(axis=axis) for v in (self.pp, self.pc, self.cc)))

    def of_parts(self, layout: Layout) -> Products:
        """Sums over the blocks (axis 1) of every training part and side."""
        return Products(*(_part_sums(v, layout) for v in (self.pp, self.pc, self.cc)))

    def slopes(self) -> FloatArray:
        """Regression of the dictionary on the controls, transposed: (..., m, c)."""
        if self.cc.shape[-1] == 1:
            return self.pc / self.cc
        return np.swapaxes(np.linalg.solve(self.cc, np.swapaxes(self.pc, -1, -2)), -1, -2)

    def residual(self) -> FloatArray:
        """Gram matrices (..., m, m) of the dictionary less its regression on the controls."""
        return np.asarray(self.pp - self.slopes() @ np.swapaxes(self.pc, -1, -2))


def stack(
    dictionaries: list[FloatArray],
    controls: list[FloatArray],
    layout: Layout,
    penalty: float | None,
) -> Stack:
    """Prepare samples for :func:`predict_stack`.

    Parameters
    ----------
    dictionaries : list of S arrays, each (n, m)
    controls : list of S arrays, each (n, c)
        The first column is a constant of ones.
    layout : Layout
        Whose training parts have at least m rows, and two more than c.
    penalty : float, optional
        None where it is to be chosen.
    """
    phi, others = _gathered(dictionaries, layout), _gathered(controls, layout)
    n, m = phi.shape[1:]
    blocks = _products(phi, others, layout)
    total = blocks.summed(1)
    mean, variance = _moments(total, n)
    if (mean**2 > FAR * variance).any():
        # Digits are lost where a mean is far from zero. A shift changes the constant only.
        phi -= phi.mean(axis=1, keepdims=True)
        blocks = _products(phi, others, layout)
        total = blocks.summed(1)
        mean, variance = _moments(total, n)
    accurate = np.asarray((np.isfinite(variance) & (variance > 0)).all(axis=1))
    unit = 1 / np.sqrt(np.where(accurate[:, None], variance, 1.0))
    accurate &= _plain(_scaled(total, unit), n, accurate)
    if penalty == 0:
        accurate &= _well_conditioned(_where(accurate, _scaled(total, unit).residual()))
    if penalty is None and m >= FEW_COLUMNS:
        # In the eigenvectors of the whole, Gram matrices of parts are nearly diagonal, and a path
        # of penalties takes a few steps.
        gram = _where(accurate, _scaled(total, unit).residual())
        phi = (phi * unit[:, None]) @ np.linalg.eigh(gram)[1]
        unit = np.ones_like(unit)
        blocks = _products(phi, others, layout)
        mean, variance = _moments(blocks.summed(1), n)
    parts = _safe(_scaled(blocks, unit).of_parts(layout), accurate)
    return Stack(phi, others, unit, unit * mean, unit**2 * variance, parts, accurate)


def _gathered(columns: list[FloatArray], layout: Layout) -> FloatArray:
    """Columns (n, k) of S samples, rows sorted, shape (S, n, k)."""
    orders = np.broadcast_to(layout.order, (len(columns), len(columns[0])))
    found = np.empty((len(columns), *columns[0].shape))
    for place, values, order in zip(found, columns, orders, strict=True):
        values.take(order, axis=0, out=place, mode="clip")
    return found


def _products(phi: FloatArray, controls: FloatArray, layout: Layout) -> Products:
    return Products(
        block_products(phi, phi, layout),
        block_products(phi, controls, layout),
        block_products(controls, controls, layout),
    )


def block_products(left: FloatArray, right: FloatArray, layout: Layout) -> FloatArray:
    """Products (S, B, k, r) of columns (S, n, k) and (S, n, r) in each block."""
    found = np.empty((len(left), len(layout.blocks), left.shape[2], right.shape[2]))
    transposed = np.swapaxes(left, 1, 2)
    for b, rows in enumerate(layout.blocks):
        np.matmul(transposed[:, :, rows], right[:, rows], out=found[:, b])
    return found


def _part_sums(products: FloatArray, layout: Layout) -> FloatArray:
    """Sums (S, P, sides, k, r) of products (S, B, k, r) of blocks."""
    S, B, k, r = products.shape
    P, sides, _ = layout.belongs.shape
    sums = layout.belongs.reshape(-1, B) @ products.reshape(S, B, k * r)
    return np.asarray(sums.reshape(S, P, sides, k, r))


def _moments(total: Products, n: int) -> tuple[FloatArray, FloatArray]:
    mean = total.pc[..., 0] / n
    return mean, np.diagonal(total.pp, axis1=-2, axis2=-1) / n - mean**2


def _scaled(products: Products, unit: FloatArray) -> Products:
    """With dictionary columns (S, m) in other units."""
    each = unit.reshape(len(unit), *[1] * (products.pp.ndim - 3), -1)
    return Products(
        products.pp * (each[..., :, None] * each[..., None, :]),
        products.pc * each[..., :, None],
        products.cc,
    )


def _plain(total: Products, n: int, finite: BoolArray) -> BoolArray:
    """Samples of finite columns that controls neither repeat nor explain."""
    good = finite & np.isfinite(total.cc).all(axis=(1, 2))
    good &= _well_conditioned(_where(good, total.cc))
    safe = Products(total.pp, total.pc, _where(good, total.cc))
    left = np.diagonal(safe.residual(), axis1=1, axis2=2)
    return np.asarray(good & (left > ODD * n).all(axis=1))


def _safe(parts: Products, good: BoolArray) -> Products:
    """Products (S, P, sides, ., .) that can be solved for samples that are no good as well."""
    if good.all():
        return parts
    kept = good[:, None, None, None, None]
    pp, cc = (np.where(kept, v, np.eye(v.shape[-1])) for v in (parts.pp, parts.cc))
    return Products(pp, np.where(kept, parts.pc, 0.0), cc)


def _where(good: BoolArray, matrices: FloatArray) -> FloatArray:
    """Matrices (S, k, k), the identity where they are no good."""
    if good.all():
        return matrices
    return np.where(good[:, None, None], matrices, np.eye(matrices.shape[1]))


def _well_conditioned(gram: FloatArray) -> BoolArray:
    if gram.shape[1] == 1:
        return np.asarray(gram[:, 0, 0] > 0)
    lengths = np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), 0))
    unit = 1 / np.where(lengths > 0, lengths, 1.0)
    values = np.linalg.eigvalsh(gram * unit[:, :, None] * unit[:, None, :])
    return np.asarray(values[:, 0] * CONDITION_LIMIT > values[:, -1])


# ---- targets ------------------------------------------------------------------------------------


def predict_stack(
    found: Stack, targets: FloatArray, layout: Layout, penalty: float | None
) -> tuple[FloatArray, FloatArray | None, BoolArray]:
    """Predictions out of fold, less their means in each cell.

    Parameters
    ----------
    found : Stack
    targets : array, shape (S, T, n)
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
    S, T, _ = targets.shape
    m = found.phi.shape[2]
    columns = np.swapaxes(targets, 1, 2)
    with_phi = block_products(found.phi, columns, layout) * found.unit[:, None, :, None]
    with_controls = block_products(found.controls, columns, layout)
    known = _repeated(found, with_phi.sum(axis=1), with_controls.sum(axis=1)[:, 0], targets)
    with_phi, with_controls = _part_sums(with_phi, layout), _part_sums(with_controls, layout)
    if penalty is None:
        chosen = _chosen(found.gram, with_phi, with_controls, layout)
    else:
        chosen = np.full((S, len(layout.rows), T), penalty)
    whole = found.gram.summed(2)
    gram = whole.residual()
    right = with_phi.sum(axis=2) - whole.slopes() @ with_controls.sum(axis=2)
    shift = layout.rows.sum(axis=1)[:, None] * chosen  # (S, P, T)
    # The trace bounds the largest eigenvalue, and the shift the least.
    trace = np.trace(gram, axis1=2, axis2=3)[:, :, None] + m * shift
    accurate = found.accurate[:, None] & ~known
    if penalty != 0:
        accurate &= (trace <= CONDITION_LIMIT * shift).all(axis=1)
    coefficients = _solve(gram, right, shift) * found.unit[:, None, :, None]
    accurate &= np.isfinite(coefficients).all(axis=(1, 2))
    shape = (S, len(layout.cells), layout.parts, m, T)
    mean, difference = _predicted(found.phi, coefficients.reshape(shape), layout)
    return mean, difference, accurate


def _repeated(
    found: Stack, with_phi: FloatArray, sums: FloatArray, targets: FloatArray
) -> BoolArray:
    """Targets (S, T) that a single column of the dictionary determines.

    ``with_phi`` (S, m, T) are products with the dictionary, ``sums`` (S, T) those of targets.
    """
    n = targets.shape[2]
    squares = np.einsum("stn,stn->st", targets, targets)
    variance = squares / n - (sums / n) ** 2
    with np.errstate(all="ignore"):
        covariance = (with_phi - found.mean[:, :, None] * sums[:, None]) / n
        share = (covariance**2 / found.variance[:, :, None]).max(axis=1) / variance
    # Written so that what is not a number counts as determined.
    return np.asarray(~(share < 1 - ODD) | ~(variance > ODD**2 * squares / n))


def _predicted(
    phi: FloatArray, coefficients: FloatArray, layout: Layout
) -> tuple[FloatArray, FloatArray | None]:
    """Mean and half the difference of the parts' predictions (S, T, n), centred in each cell."""
    S, _, parts, m, T = coefficients.shape
    both = np.empty((S, parts * T, phi.shape[1]))
    for cell, rows in enumerate(layout.cells):
        b = coefficients[:, cell]
        if parts == 2:
            b = np.stack([(b[:, 0] + b[:, 1]) / 2, (b[:, 0] - b[:, 1]) / 2], axis=1)
        b = np.swapaxes(b, 2, 3).reshape(S, parts * T, m)
        found = b @ np.swapaxes(phi[:, rows], 1, 2)
        np.subtract(found, found.mean(axis=2, keepdims=True), out=both[:, :, rows])
    return both[:, :T], both[:, T:] if parts == 2 else None


def _chosen(
    gram: Products, with_phi: FloatArray, with_controls: FloatArray, layout: Layout
) -> FloatArray:
    """Penalties (S, P, T) at which the sides of a part predict each other best."""
    S, P, sides, m, T = with_phi.shape
    G = gram.residual().reshape(S * P, sides, m, m)
    x = (with_phi - gram.slopes() @ with_controls).reshape(S * P, sides, m, T)
    rows = np.tile(layout.rows, (S, 1))
    errors = sum(
        path_errors(G[:, a], x[:, a], rows[:, a], G[:, b], x[:, b], PENALTIES)
        for a, b in ((0, 1), (1, 0))
    )
    return np.asarray(PENALTIES[np.argmin(errors, axis=1)].reshape(S, P, T))


def _solve(gram: FloatArray, right: FloatArray, shift: FloatArray) -> FloatArray:
    """(gram + shift I)^-1 right, shape (S, P, m, T), with a shift for each target."""
    if right.shape[3] == 1 or (shift == shift[..., :1]).all():
        penalised = gram.copy()
        np.einsum("spmm->spm", penalised)[...] += shift[..., :1]
        return np.asarray(np.linalg.solve(penalised, right))
    values, vectors = np.linalg.eigh(gram)
    rotated = np.swapaxes(vectors, 2, 3) @ right
    return np.asarray(vectors @ (rotated / (np.maximum(values, 0)[..., None] + shift[:, :, None])))
