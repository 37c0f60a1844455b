"""Fixed effects of one or two groupings taken out of columns, without their dummies.

One way is a matter of group means. With two, the means of the larger way are substituted out and
what is left is a system in the groups of the smaller way, singular once for each connected part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg, sparse

from .exceptions import InputError
from .linalg import RANK_TOLERANCE, orthonormal_basis
from .typing import AnyArray, FloatArray, IntArray

Groups = tuple[IntArray, ...]  # group of each row, from 0 without gaps; one array a way

# Up to so many groups in the smaller way the system is solved by its inverse, beyond by iteration.
DENSE = 500
# Eigenvalues of the system, scaled to lie between 0 and 1, below which they are zeros.
NULL = 1e-10
# Of a sum of rows, relative to the sum of their sizes.
ROUNDING = 1e-14


@dataclass(frozen=True)
class GroupEffects:
    """Takes group effects out of columns, under weights.

    Parameters
    ----------
    groups : tuple of int arrays, each (n,)
        One or two ways.
    weights : array, shape (n,), or None

    Examples
    --------
    >>> effects = GroupEffects((np.array([0, 0, 1]),), None)
    >>> effects.residualise(np.array([1.0, 3.0, 5.0])).tolist(), effects.rank
    ([-1.0, 1.0, 0.0], 2)
    """

    groups: Groups
    weights: FloatArray | None

    @property
    def rank(self) -> int:
        """Degrees of freedom that the effects take: groups, less one for each redundancy."""
        counts = [int(codes.max()) + 1 for codes in self.groups]
        if len(counts) == 1:
            return counts[0]
        return sum(counts) - int(sparse.csgraph.connected_components(self._graph())[0])

    def residualise(self, values: FloatArray) -> FloatArray:
        """Residuals of ``values`` (n,) or (n, m) on the effects."""
        left = self._once(values)
        # What rounding, or stopping an iteration, left of the effects goes the second time.
        return left if len(self.groups) == 1 else self._once(left)

    def columns(self, values: FloatArray) -> FloatArray:
        """As :meth:`residualise` for ``values`` (n, m), with what is only rounding set to zero."""
        left = self.residualise(values)
        lengths = np.linalg.norm(left, axis=0)
        return np.where(lengths <= RANK_TOLERANCE * np.linalg.norm(values, axis=0), 0.0, left)

    # ---- one way, and what two are made of ----------------------------------------------------

    @cached_property
    def _order(self) -> tuple[int, ...]:
        """The way with more groups first."""
        counts = [int(codes.max()) for codes in self.groups]
        return tuple(int(i) for i in np.argsort(counts)[::-1])

    @cached_property
    def _sums(self) -> list[sparse.csr_array]:
        """Matrices (groups, n) that add up the weighted rows of each group."""
        n = len(self.groups[0])
        mass = np.ones(n) if self.weights is None else self.weights
        made = []
        for way in self._order:
            codes = self.groups[way]
            made.append(sparse.csr_array((mass, (codes, np.arange(n)))))
        return made

    @cached_property
    def _masses(self) -> list[FloatArray]:
        return [np.asarray(sums.sum(axis=1)).ravel() for sums in self._sums]

    def _once(self, values: FloatArray) -> FloatArray:
        first = self.groups[self._order[0]]
        totals = self._sums[0] @ values
        if len(self.groups) == 1:
            return np.asarray(values - _over(totals, self._masses[0])[first])
        means = _over(totals, self._masses[0])
        right = self._sums[1] @ values - self._cross.T @ means
        effects = self._solve(right, ROUNDING * (self._sums[1] @ np.abs(values)).max(axis=0))
        means -= _over(self._cross @ effects, self._masses[0])
        return np.asarray(values - means[first] - effects[self.groups[self._order[1]]])

    # ---- two ways -----------------------------------------------------------------------------

    def _graph(self) -> sparse.csr_array:
        cross = self._cross
        return sparse.csr_array(sparse.block_array([[None, cross], [cross.T, None]]))

    @cached_property
    def _cross(self) -> sparse.csr_array:
        """Mass in each pair of groups (larger way, smaller way)."""
        a, b = (self.groups[way] for way in self._order)
        mass = np.ones(len(a)) if self.weights is None else self.weights
        return sparse.csr_array(sparse.coo_array((mass, (a, b))))

    @cached_property
    def _inverse(self) -> FloatArray | None:
        """Inverse of the system in the smaller way, on the space it is not singular on."""
        if len(self._masses[1]) > DENSE:
            return None
        scale = np.sqrt(self._masses[1])
        between = (self._cross.T @ (self._cross / self._masses[0][:, None])).toarray()
        scaled = np.diag(self._masses[1]) - between
        scaled /= np.outer(scale, scale)
        return np.asarray(linalg.pinvh(scaled, rtol=0.0, atol=NULL) / np.outer(scale, scale))

    def _solve(self, right: FloatArray, rounding: FloatArray) -> FloatArray:
        """Effects of the smaller way (groups, m), of sums that are zero below ``rounding`` (m,)."""
        if self._inverse is not None:
            return np.asarray(self._inverse @ right)
        from scipy.sparse.linalg import LinearOperator, cg

        mass, size = self._masses[1], len(self._masses[1])

        def apply(effects: FloatArray) -> FloatArray:
            between = self._cross.T @ _over(self._cross @ effects, self._masses[0])
            return np.asarray(mass * effects - between)

        system = LinearOperator((size, size), matvec=apply)
        halved = LinearOperator((size, size), matvec=lambda v: v / mass)
        columns = right[:, None] if right.ndim == 1 else right
        solved = [
            cg(system, column, rtol=1e-12, atol=least, maxiter=10 * size, M=halved)
            for column, least in zip(columns.T, np.atleast_1d(rounding), strict=True)
        ]
        if any(left for _, left in solved):
            raise InputError(
                "the absorbed groups are too loosely connected to tell their effects apart in"
                f" {10 * size} iterations: absorb one way, or put dummies of the other into exog."
            )
        return np.column_stack([found for found, _ in solved]).reshape(right.shape)


def _over(totals: FloatArray, mass: FloatArray) -> FloatArray:
    return np.asarray(totals / (mass if totals.ndim == 1 else mass[:, None]))


def renumbered(groups: Groups, rows: IntArray) -> Groups:
    """Groups of some rows, from 0 without gaps."""
    return tuple(
        np.unique(codes[rows], return_inverse=True)[1].astype(np.int64) for codes in groups
    )


@dataclass(frozen=True)
class Within:
    """Removes from columns what regressors and group effects explain, among some rows.

    Has the methods that :class:`~mlinstruments._core.linalg.Annihilator` and
    :class:`~mlinstruments._core.projection.Part` have.

    Parameters
    ----------
    effects : GroupEffects
    basis : array, shape (m, r)
        Orthonormal columns spanning the (weighted) regressors less their group effects.
    root : array, shape (m,), or None
        Square roots of the weights.
    """

    effects: GroupEffects
    basis: FloatArray
    root: FloatArray | None
    only_a_mean = False

    @classmethod
    def of(
        cls,
        regressors: FloatArray,
        groups: Groups,
        weights: FloatArray | None = None,
        rows: IntArray | None = None,
    ) -> Within:
        """Build from regressors (n, p), groups and weights of all rows, for ``rows`` of them."""
        if rows is not None:
            regressors, groups = regressors[rows], renumbered(groups, rows)
            weights = None if weights is None else weights[rows]
        effects = GroupEffects(groups, weights)
        root = None if weights is None else np.sqrt(weights)
        basis = orthonormal_basis(effects.columns(regressors), root)
        return cls(effects, basis, root)

    def residualise(self, values: FloatArray) -> FloatArray:
        """Residuals of ``values`` (m,) or (m, t)."""
        left = self.effects.residualise(values)
        if self.root is None:
            return left - self.basis @ (self.basis.T @ left)
        root = self.root if values.ndim == 1 else self.root[:, None]
        return left - (self.basis @ (self.basis.T @ (root * left))) / root

    def columns(self, values: FloatArray) -> FloatArray:
        """As :meth:`residualise` for ``values`` (m, t), with what is only rounding set to zero."""
        left = self.residualise(values)
        lengths = np.linalg.norm(left, axis=0)
        return np.where(lengths <= RANK_TOLERANCE * np.linalg.norm(values, axis=0), 0.0, left)

    def project(self, values: AnyArray) -> AnyArray:
        """What is removed of ``values`` (m,), in 32-bit floats."""
        doubles = values.astype(np.float64)
        return (doubles - self.residualise(doubles)).astype(np.float32)
