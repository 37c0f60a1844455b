"""B-splines of one column, evaluated for many rows at a time.

Glossary: t knots, k degree; B_j = (t_{j+k+1} - t_j) (-1)^{k+1} sum_i (x - t_i)_+^k / prod_{l != i}
(t_i - t_l), i from j to j + k + 1: a divided difference of truncated powers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import comb

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mlinstruments._core.typing import FloatArray, IntArray

# Sums of truncated powers lose digits where knots are much closer together than the outermost are:
# EPS times the largest weight, here 2e-11. Beyond it the recursion is used.
LARGEST_WEIGHT = 1e5


@dataclass(frozen=True)
class Spline:
    """B-splines, constant outside the outermost places; the last is left out, as they sum to one.

    Parameters
    ----------
    knots : array, shape (places + 2 degree,)
        The places, increasing, and as many as the degree before and after them.
    degree : int

    References
    ----------
    de Boor (1978), "A Practical Guide to Splines".

    Examples
    --------
    >>> out = np.empty((2, 3))
    >>> Spline.at(np.array([0.0, 1.0, 2.0]), degree=1).fill(np.array([-9.0, 0.25, 2.0]), out)
    >>> out
    array([[1.  , 0.75, 0.  ],
           [0.  , 0.25, 0.  ]])
    """

    knots: FloatArray
    degree: int

    @classmethod
    def at(cls, places: FloatArray, degree: int) -> Spline:
        """With knots at increasing ``places``, continued on either side in steps like the last."""
        steps = np.arange(1, degree + 1)
        before = places[0] - steps[::-1] * (places[1] - places[0])
        after = places[-1] + steps * (places[-1] - places[-2])
        return cls(np.concatenate([before, places, after]), degree)

    @property
    def width(self) -> int:
        """How many there are."""
        return len(self.knots) - self.degree - 2

    @property
    def _places(self) -> FloatArray:
        return self.knots[self.degree : -self.degree]

    def fill(self, values: FloatArray, out: FloatArray) -> None:
        """Write the functions of ``values`` (rows,) to ``out`` (width, rows)."""
        x = np.clip(values, self._places[0], self._places[-1])
        if np.abs(self._weights).max() <= LARGEST_WEIGHT:
            np.matmul(self._weights, self._powers(x), out=out)
        else:
            self._recursion(x, out)

    @cached_property
    def _weights(self) -> FloatArray:
        """Of powers of the scaled column, and of truncated ones at the inner places."""
        low, high, k = self._places[0], self._places[-1], self.degree
        t = (self.knots - low) / (high - low)
        inner = len(self._places) - 2
        own = sliding_window_view(t, k + 2)[: self.width]
        gaps = own[:, :, None] - own[:, None, :] + np.eye(k + 2)
        shares = (own[:, -1:] - own[:, :1]) * (-1) ** (k + 1) / gaps.prod(axis=2)
        # Columns of the truncated powers at t_i; those up to i = k are whole powers between the
        # outermost places, and those beyond the last inner place are zero there.
        truncated = np.zeros((self.width, len(t)))
        rows = np.arange(self.width)
        for i in range(k + 2):
            truncated[rows, rows + i] = shares[:, i]
        powers = np.array(
            [[comb(k, r) * (-x) ** (k - r) for r in range(k + 1)] for x in t[: k + 1]]
        )
        return np.hstack([truncated[:, : k + 1] @ powers, truncated[:, k + 1 : k + 1 + inner]])

    def _powers(self, x: FloatArray) -> FloatArray:
        low, high, k = self._places[0], self._places[-1], self.degree
        u = (x - low) / (high - low)
        inner = (self._places[1:-1] - low) / (high - low)
        powers = np.empty((k + 1 + len(inner), len(x)))
        powers[0] = 1.0
        for r in range(1, k + 1):
            np.multiply(powers[r - 1], u, out=powers[r])
        for row, knot in zip(powers[k + 1 :], inner, strict=True):
            beyond = np.subtract(u, knot)
            np.maximum(beyond, 0.0, out=beyond)
            np.copyto(row, beyond)
            for _ in range(k - 1):
                np.multiply(row, beyond, out=row)
        return powers

    def _recursion(self, x: FloatArray, out: FloatArray) -> None:
        piece = np.searchsorted(self._places[1:-1], x, side="right")
        out[:] = 0.0
        for r, value in enumerate(self._nonzero(x, piece + self.degree)):
            inside = slice(None) if r < self.degree else piece + r < self.width
            out[(piece + r)[inside], np.arange(len(x))[inside]] = value[inside]

    def _nonzero(self, x: FloatArray, interval: IntArray) -> list[FloatArray]:
        """The degree + 1 functions not 0 at x (n,), by the recursion of Cox and de Boor."""
        left = [x - self.knots[interval - j] for j in range(self.degree)]
        right = [self.knots[interval + 1 + j] - x for j in range(self.degree)]
        found = [np.ones_like(x)]
        for j in range(1, self.degree + 1):
            saved, higher = np.zeros_like(x), []
            for r in range(j):
                share = found[r] / (right[r] + left[j - 1 - r])
                higher.append(saved + right[r] * share)
                saved = left[j - 1 - r] * share
            found = [*higher, saved]
        return found
