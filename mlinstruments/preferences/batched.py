"""Newton's method on very many small conditional logits at once, in plain numpy.

Notation: B logits side by side in the last axis, so that every operation runs over contiguous
memory; C choice sets of up to A alternatives, m regressors z, theta (m, B).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray

MAX_STEPS = 30
# A log-likelihood so near its maximum is at it after one more step, for all that doubles can tell.
SETTLED = 1e-10
# exp overflows soon after.
SAFE_EXPONENT = 600.0


@dataclass(frozen=True, eq=False)
class Batch:
    """Logits to fit; only totals by set and sums of chosen regressors matter.

    Parameters
    ----------
    z : array, shape (m, C, A, B), or (m, C, A, 1) where all logits have the same sets
        Zero on average in every set, and zero where there is no alternative.
    available : array of 0 and 1, shape (C, A, B) or (C, A, 1)
    totals : array, shape (C, B)
        Choices from every set.
    chosen : array, shape (m, B)
        Sum of the regressors of what was chosen.
    """

    z: FloatArray
    available: FloatArray
    totals: FloatArray
    chosen: FloatArray

    @property
    def shared(self) -> bool:
        """Whether all logits have the same sets."""
        return bool(self.z.shape[3] == 1)

    @cached_property
    def products(self) -> FloatArray:
        """Products of two regressors where sets are shared, (m (m + 1) / 2, C * A)."""
        j, k = np.tril_indices(len(self.z))
        flat = self.z.reshape(len(self.z), -1)
        return np.asarray(flat[j] * flat[k])

    @cached_property
    def powers(self) -> FloatArray:
        """1 and z of every available alternative where sets are shared, (C, 1 + m, A)."""
        stacked = np.concatenate([self.available[None], self.z])[..., 0]
        return np.ascontiguousarray(stacked.transpose(1, 0, 2))

    @cached_property
    def reach(self) -> FloatArray:
        """Greatest absolute value of each regressor, (m,)."""
        return np.asarray(np.abs(self.z).max(axis=(1, 2, 3)))

    def take(self, which: AnyArray) -> Batch:
        """Some of the logits."""
        small = replace(self, totals=self.totals[:, which], chosen=self.chosen[:, which])
        if self.shared:
            return small
        return replace(small, z=self.z[..., which], available=self.available[..., which])


@dataclass(frozen=True, eq=False)
class BatchValue:
    """Log-likelihoods and derivatives at theta.

    Parameters
    ----------
    value : array, shape (B,)
    gradient : array, shape (m, B)
    information : array, shape (m, m, B)
        Minus the Hessian.
    mean : array, shape (C, m, B)
        Mean of z under the model, times the choices from the set.
    """

    value: FloatArray
    gradient: FloatArray
    information: FloatArray
    mean: FloatArray


@dataclass(frozen=True, eq=False)
class BatchFit:
    """Where Newton ended.

    Parameters
    ----------
    theta : array, shape (m, B)
    converged : bool array, shape (B,)
    """

    theta: FloatArray
    converged: BoolArray


def evaluate(batch: Batch, theta: FloatArray) -> BatchValue:
    """Log-likelihood of every logit at its own theta (m, B)."""
    u = utilities(batch, theta)
    top = np.zeros((len(u), 1))
    if float((np.abs(theta).T @ batch.reach).max(initial=0.0)) > SAFE_EXPONENT:
        top = u.max(axis=1)  # at least 0, the mean over the set, so that padding does not matter
        u -= top[:, None, :]
    weight = np.exp(u, out=u)
    sums = _moments(batch, weight)
    ratio = batch.totals / sums[:, 0]
    mean = sums[:, 1:] * ratio[:, None, :]
    weight *= ratio[:, None, :]
    levels = (batch.totals * (top + np.log(sums[:, 0]))).sum(axis=0)
    value = (theta * batch.chosen).sum(axis=0) - levels
    gradient = batch.chosen - mean.sum(axis=0)
    return BatchValue(value, gradient, _information(batch, weight, mean), mean)


def utilities(batch: Batch, theta: FloatArray) -> FloatArray:
    """Utility of every alternative, (C, A, B)."""
    m, C, A, _ = batch.z.shape
    if batch.shared:
        return np.asarray(batch.z.reshape(m, C * A).T @ theta).reshape(C, A, -1)
    return np.asarray(np.einsum("jcab,jb->cab", batch.z, theta))


def _moments(batch: Batch, weight: FloatArray) -> FloatArray:
    """Sums over alternatives of weight (C, A, B) times 1 and z, (C, 1 + m, B)."""
    if batch.shared:
        return np.asarray(np.matmul(batch.powers, weight))
    parts = [np.einsum("cab,cab->cb", part, weight) for part in (batch.available, *batch.z)]
    return np.stack(parts, axis=1)


def _information(batch: Batch, weight: FloatArray, mean: FloatArray) -> FloatArray:
    """Sums over sets of the variance of z times the choices from the set, (m, m, B)."""
    m, B = len(batch.z), weight.shape[2]
    flat = weight.reshape(-1, B)
    inverse = 1 / np.where(batch.totals > 0, batch.totals, 1.0)
    second = batch.products @ flat if batch.shared else _own_products(batch.z, flat)
    found = np.empty((m, m, B))
    for second_jk, j, k in zip(second, *np.tril_indices(m), strict=True):
        between = np.einsum("cb,cb,cb->b", mean[:, j], mean[:, k], inverse)
        found[j, k] = found[k, j] = second_jk - between
    return found


def _own_products(z: FloatArray, flat: FloatArray) -> list[FloatArray]:
    m, B = len(z), flat.shape[1]
    columns = z.reshape(m, -1, B)
    pairs = zip(*np.tril_indices(m), strict=True)
    return [np.einsum("nb,nb,nb->b", columns[j], columns[k], flat) for j, k in pairs]


def squared_scores(batch: Batch, at: BatchValue, counts: FloatArray) -> FloatArray:
    """Sums over choices of outer products of their scores, (m, m, B).

    Parameters
    ----------
    batch : Batch
    at : BatchValue
    counts : array, shape (C, A, B)
        Of which the batch holds the sums.
    """
    m, B = batch.chosen.shape
    flat = counts.reshape(-1, B)
    if batch.shared:
        second = batch.products @ flat
        chosen = np.matmul(batch.powers[:, 1:], counts)
    else:
        second = np.stack(_own_products(batch.z, flat))
        chosen = np.stack([np.einsum("cab,cab->cb", part, counts) for part in batch.z], axis=1)
    mean = at.mean / np.where(batch.totals > 0, batch.totals, 1.0)[:, None, :]
    rest = at.mean - chosen
    found = np.empty((m, m, B))
    for second_jk, j, k in zip(second, *np.tril_indices(m), strict=True):
        cross = np.einsum("cb,cb->b", rest[:, j], mean[:, k])
        cross -= np.einsum("cb,cb->b", mean[:, j], chosen[:, k])
        found[j, k] = found[k, j] = second_jk + cross
    return found


def solve(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """Solve matrix (m, m, B) x = right (m, ..., B), matrices positive semi-definite.

    By Cholesky's recursion down the small axis, all B at once. A vanishing pivot is kept above
    zero, so that Newton has a step where the likelihood is flat.

    Examples
    --------
    >>> solve(np.array([[[2.0]]]), np.array([[4.0]]))
    array([[2.]])
    """
    m = len(matrix)
    lower, pivot = _factors(matrix)
    x = right.copy()
    for i in range(m):
        for k in range(i):
            x[i] -= lower[i, k] * x[k]
    for i in reversed(range(m)):
        x[i] /= pivot[i]
        for k in range(i + 1, m):
            x[i] -= lower[k, i] * x[k]
    return x


def _factors(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cholesky's factor (m, m, B), its diagonal of ones left out, and the pivots (m, B)."""
    m = len(matrix)
    lower = np.zeros_like(matrix)
    pivot = np.zeros((m, matrix.shape[2]))
    for j in range(m):
        rest = matrix[j, j] - (lower[j, :j] ** 2 * pivot[:j]).sum(axis=0)
        pivot[j] = np.maximum(rest, 1e-14 * matrix[j, j] + 1e-300)
        for i in range(j + 1, m):
            lower[i, j] = matrix[i, j] - (lower[i, :j] * lower[j, :j] * pivot[:j]).sum(axis=0)
            lower[i, j] /= pivot[j]
    return lower, pivot


def information_left(batch: Batch, at: BatchValue) -> FloatArray:
    """Determinant of the information in units of that of random choice, (B,).

    It vanishes on the way to infinity, and where rounding takes infinity for a maximum.
    """
    ratio = _factors(at.information)[1] / _factors(_information_at_random(batch))[1]
    return np.asarray(ratio.prod(axis=0))


def _information_at_random(batch: Batch) -> FloatArray:
    m, C, A, _ = batch.z.shape
    if not batch.shared:
        return evaluate(batch, np.zeros(batch.chosen.shape)).information
    each = batch.products.reshape(-1, C, A).sum(axis=2) / batch.available[..., 0].sum(axis=1)
    found = np.empty((m, m, batch.totals.shape[1]))
    for values, j, k in zip(each @ batch.totals, *np.tril_indices(m), strict=True):
        found[j, k] = found[k, j] = values
    return found


def newton(batch: Batch, start: FloatArray | None = None) -> BatchFit:
    """Maximise every log-likelihood from zero or ``start`` (m,), halving steps that do not gain."""
    m, B = batch.chosen.shape
    found = BatchFit(np.zeros((m, B)), np.zeros(B, dtype=bool))
    rest = np.arange(B)
    theta, factor = np.zeros((m, B)), np.ones(B)
    if start is not None:
        theta += start[:, None]
    here = evaluate(batch, theta)
    step = solve(here.information, here.gradient)
    decrement = (here.gradient * step).sum(axis=0)
    for _ in range(MAX_STEPS):
        trial = theta + factor * step
        there = evaluate(batch, trial)
        gained = there.value >= here.value - 1e-12 * (1 + np.abs(here.value))
        theta = np.where(gained, trial, theta)
        here = _chosen(gained, there, here)
        factor = np.where(gained, 1.0, factor / 2)
        step = solve(here.information, here.gradient)
        # Twice what a full step can still gain; squared by each step near a maximum, and divided by
        # no more than e or so on the way to infinity.
        before, decrement = decrement, (here.gradient * step).sum(axis=0)
        near = (decrement <= SETTLED) & (decrement <= 0.01 * before)
        done = gained & (near | (decrement <= 1e-16 * np.maximum(1.0, np.abs(here.value))))
        found.theta[:, rest] = theta + np.where(done, step, 0.0)
        found.converged[rest] = done
        if done.all():
            break
        if done.mean() > 0.3:
            go = ~done
            batch, rest, here = batch.take(go), rest[go], _kept(here, go)
            theta, step, factor = theta[:, go], step[:, go], factor[go]
            decrement = decrement[go]
    return found


def _chosen(which: BoolArray, a: BatchValue, b: BatchValue) -> BatchValue:
    if which.all():
        return a
    return BatchValue(
        np.where(which, a.value, b.value),
        np.where(which, a.gradient, b.gradient),
        np.where(which, a.information, b.information),
        a.mean,  # not used before the last evaluation
    )


def _kept(at: BatchValue, which: BoolArray) -> BatchValue:
    return BatchValue(
        at.value[which], at.gradient[:, which], at.information[..., which], at.mean[..., which]
    )
