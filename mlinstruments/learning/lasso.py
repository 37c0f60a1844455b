"""Lasso and post-lasso on the instruments, linear in the covariates, which are not penalised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.grams import CONDITION_LIMIT
from mlinstruments._core.typing import FloatArray, IntArray

from .base import CrossFit, FoldFit, FoldTask, describe
from .bound import BoundDictionary
from .features import Features
from .folds import Split
from .gram_splits import PartFits, PartGrams, basis_of_splits, fit_blocks
from .lasso_path import (
    exact,
    paths,
    plugin_loadings,
    plugin_strength,
    refit,
    strongest,
)

# Penalties tried by "cv", as shares of the least one that selects nothing: the first is a hair
# above it, so that it is not left to rounding whether that selects a column.
SHARES = (1 + 1e-6) * np.logspace(0, -3, 100)
# Rounds in which loadings and residuals are made from each other, and when they count as settled.
ROUNDS, SETTLED = 15, 1e-6


@dataclass(frozen=True)
class Lasso:
    """Lasso on the instruments, linear in the covariates, which are not penalised.

    By default the post-lasso of Belloni, Chen, Chernozhukov and Hansen (2012): a penalty known in
    advance, loadings that allow for heteroskedasticity (and for clusters, where the fit has them),
    and least squares on the columns it selects. Where it selects nothing the predictions are
    constant, and the fit says that there is no estimate.

    Parameters
    ----------
    penalty : "plugin", "cv" or float
        ``"plugin"``: 2 c sqrt(n) Phi^-1(1 - gamma / (2 m)) for m columns, times the loadings.
        ``"cv"``: chosen inside each training part, where either half predicts the other best.
        A number: the penalty of scikit-learn's ``Lasso``, which minimises (squared error) / (2 n) +
        penalty (sum of absolute coefficients), on standardised columns.
    post : bool, optional
        Refit the selected columns by least squares; by default with ``"plugin"`` only.
    c, gamma : float, optional
        Of the plug-in penalty; gamma is .1 / log(n) by default.

    References
    ----------
    Belloni, Chen, Chernozhukov, Hansen (2012), "Sparse Models and Methods for Optimal Instruments
    With an Application to Eminent Domain", doi:10.3982/ECTA9626. Clusters: Belloni, Chernozhukov,
    Hansen, Kozbur (2016), doi:10.1080/07350015.2015.1102733.

    Examples
    --------
    >>> from mlinstruments.learning import Lasso
    >>> Lasso(penalty="cv").label
    'lasso(penalty=cv)'
    """

    penalty: float | str = "plugin"
    post: bool | None = None
    c: float = 1.1
    gamma: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.penalty, str):
            known = self.penalty in ("plugin", "cv")
        else:
            known = 0 < self.penalty < np.inf
        if not known:
            raise InputError(
                f"penalty must be 'plugin', 'cv' or a number above 0; got {self.penalty!r}."
            )
        if not 0 < self.c < np.inf:
            raise InputError(f"c must be above 0; got {self.c!r}.")
        if self.gamma is not None and not 0 < self.gamma < 1:
            raise InputError(f"gamma must lie between 0 and 1; got {self.gamma!r}.")

    @property
    def label(self) -> str:
        """The learner in words."""
        penalty = None if self.penalty == "plugin" else self.penalty
        return describe("post-lasso" if self.refits else "lasso", penalty=penalty)

    @property
    def refits(self) -> bool:
        """Whether selected columns are refitted."""
        return self.penalty == "plugin" if self.post is None else self.post

    @property
    def takes_missing(self) -> bool:
        """Linear learners need complete rows."""
        return False

    def prepare(
        self, features: Features, controls: FloatArray, weights: FloatArray | None
    ) -> LassoEngine:
        """Bind to the instruments as they are, categories as indicators."""
        return self.prepare_clustered(features, controls, weights, ())

    def prepare_clustered(
        self,
        features: Features,
        controls: FloatArray,
        weights: FloatArray | None,
        clusters: tuple[IntArray, ...],
    ) -> LassoEngine:
        """The same with loadings that allow for none, one or two ways of clustering."""
        return LassoEngine(self, features.dummies(), controls, weights, clusters)


class LassoEngine:
    """A lasso bound to a dictionary (n, m), which it standardises.

    Parameters
    ----------
    learner : Lasso
    dictionary : array, shape (n, m)
    controls : array, shape (n, p)
    weights : array, shape (n,), or None
    clusters : tuple of int arrays, each (n,)
    """

    linear_in_target = False

    def __init__(
        self,
        learner: Lasso,
        dictionary: FloatArray,
        controls: FloatArray,
        weights: FloatArray | None,
        clusters: tuple[IntArray, ...],
    ) -> None:
        self._learner = learner
        self._bound = BoundDictionary(dictionary, controls, weights)
        self._clusters = clusters

    def fit(self, task: FoldTask) -> FoldFit:
        """Solve for each target and part, and predict the rows asked for."""
        out = self._bound.standard(task.out)
        fits = [self._fit_part(task, rows) for rows in task.parts]
        predictions = np.stack([out @ b for b, _ in fits])
        return FoldFit(np.moveaxis(predictions, 2, 0), np.stack([v for _, v in fits], axis=1))

    def fit_splits(
        self,
        targets: FloatArray,
        splits: list[Split],
        seeds: list[list[np.random.SeedSequence]],
        share_tuning: bool,
    ) -> CrossFit | None:
        """The same for all cells of splits made of the same blocks, from one pass over the rows.

        None for the plug-in penalty, whose loadings need the rows.
        """
        learner = self._learner
        if learner.penalty == "plugin":
            return None
        tuned = learner.penalty == "cv"
        basis = basis_of_splits(self._bound, targets, splits, tuned, rotated=False)
        if basis is None or basis.condition > CONDITION_LIMIT:
            return None

        def solve_parts(parts: PartGrams) -> PartFits:
            return lasso_parts(parts, learner.penalty, learner.refits, share_tuning)

        return fit_blocks(basis, solve_parts, self.fit, targets, seeds, share_tuning)

    def _fit_part(self, task: FoldTask, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        left, outcome = self._bound.residualised(task.targets, rows)
        if self._learner.penalty == "plugin":
            clusters = tuple(codes[rows] for codes in self._clusters)
            fits = [plugin(left, y, clusters, self._learner) for y in outcome.T]
            return np.column_stack([b for b, _ in fits]), np.array([v for _, v in fits])
        sides = None
        if self._learner.penalty == "cv":
            both = [
                self._bound.residualised(task.targets, s) for s in self._bound.sides(task, rows)
            ]
            sides = _stacked(both, None)
        parts = _stacked([(left, outcome)], sides)
        found = lasso_parts(parts, self._learner.penalty, self._learner.refits, task.share_tuning)
        return found.coefficients[0], found.tuning[0]


def _stacked(parts: list[tuple[FloatArray, FloatArray]], sides: PartGrams | None) -> PartGrams:
    """Gram matrices of residualised rows."""
    return PartGrams(
        np.stack([left.T @ left for left, _ in parts]),
        np.stack([left.T @ outcome for left, outcome in parts]),
        np.stack([(outcome**2).sum(axis=0) for _, outcome in parts]),
        np.array([len(left) for left, _ in parts]),
        sides,
    )


def lasso_parts(
    parts: PartGrams, penalty: float | str, refits: bool, share_tuning: bool
) -> PartFits:
    """Lasso on training parts with a given penalty, or one chosen on their sides.

    Parameters
    ----------
    parts : PartGrams
    penalty : "cv" or float
        In units of :class:`Lasso`.
    refits : bool
        Least squares on the columns selected.
    share_tuning : bool
        Choose on the first target, for all.
    """
    P, m, t = parts.cross.shape
    found, tuning = np.zeros((P, m, t)), np.zeros((P, t))
    equal = np.ones(m)
    for i in range(P):
        gram, n = parts.gram[i], int(parts.rows[i])
        for j in range(t):
            cross, square = parts.cross[i, :, j], float(parts.squares[i, j])
            if penalty != "cv":
                tuning[i, j] = float(penalty)
            elif j > 0 and share_tuning:
                tuning[i, j] = tuning[i, 0]
            else:
                tuning[i, j] = _chosen(parts, i, j, strongest(cross, equal) / n * SHARES)
            strengths = np.array([n * tuning[i, j]])
            b = paths(gram, cross, square, equal, strengths)[:, 0]
            chosen = np.flatnonzero(b)
            found[i, :, j] = (
                refit(gram, cross, chosen)
                if refits
                else exact(gram, cross, b, equal, float(strengths[0]))
            )
    return PartFits(found, tuning, np.ones(P, dtype=bool))


def _chosen(parts: PartGrams, i: int, j: int, penalties: FloatArray) -> float:
    """The penalty at which either side of part i predicts target j on the other side best."""
    assert parts.sides is not None
    sides, errors = parts.sides, np.zeros(len(penalties))
    for mine, other in ((2 * i, 2 * i + 1), (2 * i + 1, 2 * i)):
        cross, square = sides.cross[mine, :, j], float(sides.squares[mine, j])
        strengths = penalties * int(sides.rows[mine])
        b = paths(sides.gram[mine], cross, square, np.ones(len(cross)), strengths)
        fitted = np.einsum("ml,ml->l", b, sides.gram[other] @ b)
        errors += fitted - 2 * b.T @ sides.cross[other, :, j]
    return float(penalties[errors.argmin()])


def plugin(
    left: FloatArray, outcome: FloatArray, clusters: tuple[IntArray, ...], learner: Lasso
) -> tuple[FloatArray, float]:
    """Coefficients (m,) with the plug-in penalty on residualised rows, and the penalty per row.

    Loadings start from the outcome itself and are made again from the residuals of least squares
    on the columns selected, until they settle.
    """
    n, m = left.shape
    gram, cross, square = left.T @ left, left.T @ outcome, float(outcome @ outcome)
    strength = plugin_strength(n, m, learner.c, learner.gamma)
    loadings = plugin_loadings(left, outcome, clusters)
    for _ in range(ROUNDS):
        b = paths(gram, cross, square, loadings, np.array([strength]))[:, 0]
        post = refit(gram, cross, np.flatnonzero(b))
        updated = plugin_loadings(left, outcome - left @ post, clusters)
        moved = float(np.abs(updated - loadings).max(initial=0))
        loadings, before = updated, loadings
        if moved <= SETTLED * float(before.max(initial=0)):
            break
    if not learner.refits:
        b = paths(gram, cross, square, loadings, np.array([strength]))[:, 0]
        post = exact(gram, cross, b, loadings, strength)
    return post, strength / n
