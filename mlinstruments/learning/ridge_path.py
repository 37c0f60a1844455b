"""Ridge coefficients of many Gram matrices at many penalties.

Glossary: G (m, m) Gram matrix of the residualised dictionary on some rows, c (m, t) its products
with the targets; b = (G + rows * penalty * I)^-1 c.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from mlinstruments._core.grams import CONDITION_LIMIT
from mlinstruments._core.typing import BoolArray, FloatArray, IntArray

from .gram_splits import PartFits, PartGrams

# Below this many columns an eigendecomposition is cheaper than iterating.
FEW_COLUMNS = 48
# Relative error, in the norm of the preconditioner, at which a column counts as solved: ample to
# compare penalties, which is all that the path is for. Penalties whose errors differ by less than
# the second number are compared again without iterating.
SOLVED, TIED = 1e-9, 1e-7
# An eigendecomposition costs what some thirty iterations do, so that slower systems take that.
MOST_ITERATIONS = 30
# Doubles worked on at a time: vectors of several systems that stay in the cache of one core.
CACHED = 16_384


def ridge_parts(
    parts: PartGrams, penalty: float | None, penalties: FloatArray, share_tuning: bool
) -> PartFits:
    """Ridge on training parts.

    Parameters
    ----------
    parts : PartGrams
    penalty : float, optional
        None to choose among ``penalties`` (L,) where either side predicts the other best.
    penalties : array, shape (L,)
    share_tuning : bool
        Choose on the first target, for all.
    """
    P, _, t = parts.cross.shape
    chosen = np.full((P, t), penalty, dtype=float)
    if parts.sides is not None:
        tried = slice(0, 1 if share_tuning else t)
        errors = _errors_between_sides(parts.sides, tried, penalties, exact=False)
        least, second = np.sort(errors, axis=1)[:, :2].swapaxes(0, 1)
        close = np.flatnonzero((second - least <= TIED * np.abs(least)).any(axis=1))
        if len(close):
            both = np.concatenate([[2 * i, 2 * i + 1] for i in close])
            sides = parts.sides.at(both)
            errors[close] = _errors_between_sides(sides, tried, penalties, exact=True)
        chosen[:] = penalties[errors.argmin(axis=1)]
    found, accurate = np.zeros_like(parts.cross), np.ones(P, dtype=bool)
    for i in range(P):
        b = solve(parts.gram[i], parts.cross[i], int(parts.rows[i]), chosen[i])
        accurate[i] = b is not None
        if b is not None:
            found[i] = b
    return PartFits(found, chosen, accurate)


def _errors_between_sides(
    sides: PartGrams, tried: slice, penalties: FloatArray, exact: bool
) -> FloatArray:
    """Squared errors of either side on the other, added: (P, L, t) for 2 P sides."""
    other = np.arange(len(sides.rows)) ^ 1
    cross = sides.cross[..., tried]
    errors = path_errors(
        sides.gram, cross, sides.rows, sides.gram[other], cross[other], penalties, exact
    )
    return np.asarray(errors.reshape(-1, 2, *errors.shape[1:]).sum(axis=1))


def path_errors(
    gram: FloatArray,
    cross: FloatArray,
    rows: IntArray,
    other_gram: FloatArray,
    other_cross: FloatArray,
    penalties: FloatArray,
    exact: bool = False,
) -> FloatArray:
    """Squared error on other rows at every penalty, less the squares of the targets themselves.

    Parameters
    ----------
    gram, other_gram : arrays, shape (S, m, m)
        Of the rows trained on and of those predicted.
    cross, other_cross : arrays, shape (S, m, t)
    rows : int array, shape (S,)
        How many are trained on.
    penalties : array, shape (L,)
    exact : bool
        Do not iterate.

    Returns
    -------
    array, shape (S, L, t)
    """
    S, m, t = cross.shape
    L = len(penalties)
    errors = np.empty((S, L, t))
    step = max(1, CACHED // (m * L * t))
    for start in range(0, S, step):
        s = slice(start, start + step)
        b = path(gram[s], cross[s], rows[s], penalties, exact)
        fitted = np.einsum("smk,smk->sk", b, other_gram[s] @ b).reshape(-1, L, t)
        right = np.einsum("smlt,smt->slt", b.reshape(-1, m, L, t), other_cross[s])
        errors[s] = fitted - 2 * right
    return errors


def path(
    gram: FloatArray,
    cross: FloatArray,
    rows: IntArray,
    penalties: FloatArray,
    exact: bool = False,
) -> FloatArray:
    """Coefficients (S, m, L * t) at penalties (L,) above 0, targets varying fastest.

    Conjugate gradients settle within a few steps where a Gram matrix is nearly diagonal, as those
    of random parts of the rows are in the eigenvectors of the whole; others are decomposed.
    """
    _, m, t = cross.shape
    shift = np.repeat(rows[:, None] * penalties[None, :], t, axis=1)  # (S, L * t)
    right = np.tile(cross, (1, 1, len(penalties)))
    if exact or m < FEW_COLUMNS:
        return _by_eigenvectors(gram, right, shift)
    found, settled = _conjugate_gradients(gram, right, shift)
    if not settled.all():
        late = ~settled
        found[late] = _by_eigenvectors(gram[late], right[late], shift[late])
    return found


def _by_eigenvectors(gram: FloatArray, right: FloatArray, shift: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(gram)
    rotated = np.swapaxes(vectors, 1, 2) @ right
    return np.asarray(vectors @ (rotated / (np.maximum(values, 0)[:, :, None] + shift[:, None])))


def _conjugate_gradients(
    gram: FloatArray, right: FloatArray, shift: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Solutions (S, m, k) of (gram + shift I) x = right, and which systems (S,) settled.

    A column that is solved stands still, so that no column's answer depends on another's.
    """
    shift = shift[:, None]
    diagonal = np.diagonal(gram, axis1=1, axis2=2)[:, :, None]
    inverse = 1 / (diagonal + shift)
    x, left = np.zeros_like(right), right.copy()
    scaled = inverse * left
    direction = scaled.copy()
    size = _inner(left, scaled)
    goal = SOLVED**2 * size
    for _ in range(MOST_ITERATIONS):
        moving = size > goal
        if not moving.any():
            break
        applied = gram @ direction
        applied += shift * direction
        bend = _inner(direction, applied)
        length = np.where(moving, size / np.where(moving, bend, 1.0), 0.0)[:, None]
        x += length * direction
        left -= length * applied
        np.multiply(inverse, left, out=scaled)
        new = _inner(left, scaled)
        direction *= np.where(moving, new / np.where(moving, size, 1.0), 0.0)[:, None]
        direction += scaled
        size = np.where(moving, new, size)
    return x, np.asarray((size <= goal).all(axis=1))


def _inner(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("smk,smk->sk", a, b))


def solve(
    gram: FloatArray, cross: FloatArray, rows: int, penalties: FloatArray
) -> FloatArray | None:
    """Coefficients (m, t) with a penalty (t,) for each target; None where digits would be lost.

    Parameters
    ----------
    gram : array, shape (m, m)
        In the units of the penalty: its condition number counts as it is.
    cross : array, shape (m, t)
    rows : int
    penalties : array, shape (t,)
    """
    found = np.empty_like(cross)
    for penalty in np.unique(penalties):
        shifted = gram.copy()
        shifted.flat[:: len(gram) + 1] += rows * penalty
        factor, fault = lapack.dpotrf(shifted, lower=1, clean=0)
        # The trace bounds the largest eigenvalue, and often nothing finer is needed.
        if fault or float(shifted.trace()) > CONDITION_LIMIT * rows * penalty:
            norm = float(np.abs(shifted).sum(axis=0).max())
            if fault or CONDITION_LIMIT * lapack.dpocon(factor, norm, uplo="L")[0] < 1:
                return None
        mine = penalties == penalty
        found[:, mine] = lapack.dpotrs(factor, cross[:, mine], lower=1)[0]
    return found
