"""Learners linear in a dictionary of W: ridge or least squares with the controls unpenalised.

Everything a penalty needs, its fit and its error on other rows, follows from the Gram matrices of
the residualised dictionary, so a grid of penalties costs one eigendecomposition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import linalg

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.grams import CONDITION_LIMIT
from mlinstruments._core.linalg import RANK_TOLERANCE
from mlinstruments._core.typing import BoolArray, FloatArray, IntArray

from .base import CrossFit, FoldFit, FoldTask, describe
from .bound import BoundDictionary
from .features import Features
from .folds import Split
from .gram_splits import PartFits, PartGrams, basis_of_splits, fit_blocks
from .leave_one_out import leave_one_out
from .ridge_path import ridge_parts
from .series import SeriesDictionary, Untransformed

# Penalties tried where none is given, each relative to the number of training rows.
PENALTIES = np.logspace(-4, 2, 19)
# Eigenvalues below this share of the largest are zero up to rounding.
EIGEN_TOLERANCE = 1e-13


@dataclass(frozen=True)
class Ridge:
    """Ridge regression on the instruments, linear in the covariates, which are not penalised.

    Parameters
    ----------
    penalty : float, optional
        Penalty on standardised columns, relative to the number of training rows. By default
        chosen inside each training part, where either half predicts the other best.

    Examples
    --------
    >>> from mlinstruments.learning import Ridge
    >>> Ridge(penalty=0.1).label
    'ridge(penalty=0.1)'
    """

    penalty: float | None = None

    def __post_init__(self) -> None:
        check_penalty(self.penalty)

    @property
    def label(self) -> str:
        """The learner in words."""
        return describe("ridge", penalty=self.penalty)

    @property
    def takes_missing(self) -> bool:
        """Linear learners need complete rows."""
        return False

    def dictionary(self, features: Features) -> Untransformed:
        """The instruments as they are."""
        return Untransformed(len(features.names))

    def prepare(
        self, features: Features, controls: FloatArray, weights: FloatArray | None
    ) -> GramEngine:
        """Bind to the instruments as they are, categories as indicators."""
        return GramEngine(features.dummies(), controls, weights, self.penalty)


@dataclass(frozen=True)
class OLS:
    """Least squares on the instruments: the first stage of 2SLS, cross-fitted.

    Examples
    --------
    >>> from mlinstruments.learning import OLS
    >>> OLS().label
    'ols'
    """

    penalty: ClassVar[float] = 0.0

    @property
    def label(self) -> str:
        """The learner in words."""
        return "ols"

    @property
    def takes_missing(self) -> bool:
        """Linear learners need complete rows."""
        return False

    def dictionary(self, features: Features) -> Untransformed:
        """The instruments as they are."""
        return Untransformed(len(features.names))

    def prepare(
        self, features: Features, controls: FloatArray, weights: FloatArray | None
    ) -> GramEngine:
        """Bind to the instruments as they are, categories as indicators."""
        return GramEngine(features.dummies(), controls, weights, 0.0)


@dataclass(frozen=True)
class Series:
    """Splines of every instrument and products of pairs, fitted by ridge.

    Parameters
    ----------
    penalty : float, optional
        As for :class:`Ridge`.
    knots : int
        Knots of each cubic spline, at quantiles.
    interactions : bool
        Add products of coarser splines for every pair of instruments.
    max_columns : int
        Columns the products may take; their splines get coarser to fit, and are left out where
        even products of two straight lines do not fit.

    Examples
    --------
    >>> from mlinstruments.learning import Series
    >>> Series(knots=5).label
    'series(knots=5)'
    """

    penalty: float | None = None
    knots: int = 7
    interactions: bool = True
    max_columns: int = 250

    def __post_init__(self) -> None:
        check_penalty(self.penalty)
        if self.knots < 2:
            raise InputError(f"a spline needs at least 2 knots; got {self.knots}.")

    @property
    def label(self) -> str:
        """The learner in words."""
        knots = None if self.knots == 7 else self.knots
        return describe("series", penalty=self.penalty, knots=knots)

    @property
    def takes_missing(self) -> bool:
        """Linear learners need complete rows."""
        return False

    def dictionary(self, features: Features) -> SeriesDictionary:
        """The functions of the instruments, their knots at quantiles of these rows."""
        pair_columns = self.max_columns if self.interactions else 0
        return SeriesDictionary.of(features, self.knots, pair_columns)

    def prepare(
        self, features: Features, controls: FloatArray, weights: FloatArray | None
    ) -> GramEngine:
        """Expand the instruments once for every fold and target."""
        columns = self.dictionary(features).columns(features.values)
        return GramEngine(columns, controls, weights, self.penalty)


class GramEngine:
    """A ridge or least-squares learner bound to a dictionary (n, m), which it standardises.

    Parameters
    ----------
    dictionary : array, shape (n, m)
    controls : array, shape (n, p)
    weights : array, shape (n,), or None
    penalty : float or None
        None to choose it in each training part.
    common_scale : bool
        Keep the relative sizes of the columns.
    """

    linear_in_target = True

    def __init__(
        self,
        dictionary: FloatArray,
        controls: FloatArray,
        weights: FloatArray | None,
        penalty: float | None,
        common_scale: bool = False,
    ) -> None:
        self._bound = BoundDictionary(dictionary, controls, weights, common_scale)
        self._penalty = penalty

    def fit(self, task: FoldTask) -> FoldFit:
        """Solve for each target and part, and predict the rows asked for."""
        out = self._bound.standard(task.out)
        penalties = np.stack([self._penalties(task, rows) for rows in task.parts], axis=1)
        predictions = np.stack(
            [
                out @ self._normal_equations(task.targets, rows).solve(penalties[:, i])
                for i, rows in enumerate(task.parts)
            ]
        )
        return FoldFit(np.moveaxis(predictions, 2, 0), penalties)

    def fit_splits(
        self,
        targets: FloatArray,
        splits: list[Split],
        seeds: list[list[np.random.SeedSequence]],
        share_tuning: bool,
    ) -> CrossFit | None:
        """The same for all cells of splits made of the same blocks, from one pass over the rows."""
        tuned = self._penalty is None
        basis = basis_of_splits(self._bound, targets, splits, tuned, rotated=True)
        if basis is None or (self._penalty == 0 and basis.condition > CONDITION_LIMIT):
            return None

        def solve_parts(parts: PartGrams) -> PartFits:
            return ridge_parts(parts, self._penalty, PENALTIES, share_tuning)

        return fit_blocks(basis, solve_parts, self.fit, targets, seeds, share_tuning)

    def leave_one_out(self, targets: FloatArray) -> tuple[FloatArray, float]:
        """Every row predicted from all others, less the controls, shape (t, n); and the penalty."""
        if self._penalty is None:
            raise InputError(
                "n_folds='loo' needs a given penalty, as in Ridge(penalty=0.1) or OLS(): there are"
                " as many training parts as rows, and in each one would have to be chosen."
            )
        bound = self._bound
        standard = bound.standard(np.arange(len(targets)))
        found = leave_one_out(standard, bound.controls, targets, bound.weights, self._penalty)
        return found, self._penalty

    def _penalties(self, task: FoldTask, rows: IntArray) -> FloatArray:
        m = task.targets.shape[1]
        if self._penalty is not None:
            return np.full(m, self._penalty)
        first, second = (
            self._normal_equations(task.targets, side) for side in self._bound.sides(task, rows)
        )
        errors = first.path_errors(second) + second.path_errors(first)
        chosen = PENALTIES[errors.argmin(axis=0)]
        return np.full(m, chosen[0]) if task.share_tuning else chosen

    def _normal_equations(self, targets: FloatArray, rows: IntArray) -> NormalEquations:
        return NormalEquations(*self._bound.residualised(targets, rows))


class NormalEquations:
    """Ridge solutions on residualised rows, for any number of penalties.

    Parameters
    ----------
    dictionary : array, shape (n, m)
        Residualised on the controls.
    outcome : array, shape (n, t)
        Targets, residualised on the controls.
    """

    def __init__(self, dictionary: FloatArray, outcome: FloatArray) -> None:
        self.rows = len(dictionary)
        self.gram = dictionary.T @ dictionary
        self.cross = dictionary.T @ outcome
        self.squares = np.einsum("ij,ij->j", outcome, outcome)
        self._dictionary = dictionary
        self._outcome = outcome

    def solve(self, penalties: FloatArray) -> FloatArray:
        """Coefficients (m, t), one penalty a target; least squares of least norm where it is 0."""
        if (penalties == 0).all():
            # Squaring the condition number in a Gram matrix would cost half of the digits.
            columns = np.where(self._explained(), 0.0, self._dictionary)
            return np.asarray(linalg.lstsq(columns, self._outcome, cond=RANK_TOLERANCE)[0])
        values, vectors = self._eigen()
        shrunk = values[:, None] + self.rows * penalties[None, :]
        return np.asarray(vectors @ ((vectors.T @ self.cross) / shrunk))

    def path_errors(self, other: NormalEquations) -> FloatArray:
        """Squared error on the rows of ``other`` for every penalty, shape (penalties, t)."""
        values, vectors = self._eigen()
        rotated_cross = vectors.T @ self.cross
        other_gram = vectors.T @ other.gram @ vectors
        other_cross = vectors.T @ other.cross
        errors = np.empty((len(PENALTIES), self.cross.shape[1]))
        for i, penalty in enumerate(PENALTIES):
            b = rotated_cross / (values + self.rows * penalty)[:, None]
            fitted = np.einsum("ij,ij->j", b, other_gram @ b)
            errors[i] = other.squares - 2 * np.einsum("ij,ij->j", b, other_cross) + fitted
        return errors

    def _explained(self) -> BoolArray:
        """Columns of which the controls leave rounding only; they came standardised."""
        lengths = np.linalg.norm(self._dictionary, axis=0)
        return np.asarray(lengths <= RANK_TOLERANCE * np.sqrt(self.rows))

    def _eigen(self) -> tuple[FloatArray, FloatArray]:
        """Eigenvalues and eigenvectors of the Gram matrix that the rows reach."""
        if self.rows >= len(self.gram):
            values, vectors = np.linalg.eigh(self.gram)
            return np.maximum(values, 0), vectors
        # Fewer rows than columns: the same from the smaller matrix of products of rows.
        values, left = np.linalg.eigh(self._dictionary @ self._dictionary.T)
        kept = values > EIGEN_TOLERANCE * values[-1]
        return values[kept], self._dictionary.T @ (left[:, kept] / np.sqrt(values[kept]))


def check_penalty(penalty: float | None) -> None:
    if penalty is not None and not penalty >= 0:
        raise InputError(f"penalty must be 0 or more; got {penalty!r}.")
