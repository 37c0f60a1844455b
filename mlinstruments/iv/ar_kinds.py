"""The kinds of Anderson-Rubin inference after cross-fitting, behind one pair of functions.

Each kind is a small bundle of moments, computed at the fit, so that tests and sets at any value and
level need no data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mlinstruments._core.arrays import check_choice, encode_labels
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.hypotheses import TestResult
from mlinstruments._core.linalg import residuals
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments._core.typing import FloatArray, IntArray

from . import anderson_rubin as ar
from . import orthogonal
from .anderson_rubin import Moments
from .confidence_set import ConfidenceSet
from .orthogonal import OrthogonalMoments

KINDS = ("corrected", "folds", "split", "orthogonal", "pooled")
WORDS = {
    "corrected": "AR, corrected for cross-fitting",
    "folds": "AR, intersection over folds",
    "split": "AR, one fold estimates",
    "orthogonal": "AR, orthogonal first stage (constant effects)",
    "pooled": "AR, pooled (needs a first stage far from irrelevant)",
    "instruments": "AR, the instruments as they are",
    "sup-score": "AR, sup-score over single instruments",
    "partialled": "AR, covariates partialled out by learners",
}


@dataclass(frozen=True)
class ARKind:
    """One kind of Anderson-Rubin inference.

    Parameters
    ----------
    kind : str
    parts : tuple of Moments
        One, or one for each fold; empty where the kind is not available.
    directions : OrthogonalMoments, optional
        For ``"orthogonal"``.
    refusal : str
        Why the kind is not available, and the remedy.
    """

    kind: str
    parts: tuple[Moments, ...] = ()
    directions: OrthogonalMoments | None = None
    refusal: str = ""

    @property
    def joint_only(self) -> bool:
        """Whether there are tests but no sets: projections exist for up to two coefficients.

        Parts with fewer instruments than coefficients rule out values jointly, none by itself.
        """
        return self._too_few_instruments or any(part.n_endog > 2 for part in self.parts)

    @property
    def _too_few_instruments(self) -> bool:
        return any(part.df < part.n_endog for part in self.parts)

    def test(self, value: FloatArray, names: tuple[str, ...]) -> TestResult:
        """Test the coefficients of ``names``; folds are combined by Bonferroni."""
        self._require()
        if self.directions is not None:
            return orthogonal.test(self.directions, value, names)
        results = [ar.test(part, value, names) for part in self.parts]
        least = min(results, key=lambda result: result.pvalue)
        return replace(least, pvalue=min(1.0, len(results) * least.pvalue))

    def confidence_set(self, level: float, coordinate: int = 0) -> ConfidenceSet:
        """The set for one coefficient; a projection where there are several."""
        self._require()
        if self._too_few_instruments:
            raise InputError(
                f"{WORDS[self.kind]}: there are no sets for one of several coefficients; use"
                " anderson_rubin(value) for joint tests."
            )
        question = (level, coordinate)
        if question not in self._answers:
            self._answers[question] = self._invert(level, coordinate)
        return self._answers[question]

    @cached_property
    def _answers(self) -> dict[tuple[float, int], ConfidenceSet]:
        """Sets by level and coordinate, kept because a projection takes a fifth of a second."""
        return {}

    def _invert(self, level: float, coordinate: int) -> ConfidenceSet:
        words = WORDS[self.kind]
        if self.directions is not None:
            return orthogonal.confidence_set(self.directions, level, words)
        part_level = 1 - (1 - level) / len(self.parts)
        sets = [_set(part, coordinate, part_level, words) for part in self.parts]
        joined = sets[0]
        for other in sets[1:]:
            joined = joined.intersect(other)
        return replace(joined, level=level)

    def _require(self) -> None:
        if self.refusal:
            raise InputError(f"ar={self.kind!r} is not available: {self.refusal}")


def _set(moments: Moments, coordinate: int, level: float, words: str) -> ConfidenceSet:
    if moments.m_d.shape[1] == 1:
        return ar.confidence_set(moments, level, words)
    return ar.projection(moments, coordinate, level, words)


def chosen_kind(kinds: tuple[ARKind, ...], name: str | None, method: str) -> ARKind:
    """The kind called ``name``, by default the first; ``method`` is the estimator, for errors."""
    if not kinds:
        raise InputError(f"{method} has no instruments, so no Anderson-Rubin test.")
    if name is None:
        return kinds[0]
    if len(kinds) == 1:
        raise InputError(
            f"ar= chooses among kinds after cross-fitting; {method} uses its instruments"
            " as they are: leave ar out."
        )
    check_choice(name, "ar", KINDS)
    return next(kind for kind in kinds if kind.kind == name)


def by_fold_moments(
    z: FloatArray,
    y: FloatArray,
    D: FloatArray,
    X: FloatArray,
    cell: IntArray,
    spec: CovarianceSpec,
    weights: FloatArray | None,
) -> tuple[Moments, ...] | str:
    """Moments of every cell with covariates partialled out inside it, or why that cannot be.

    Given the rows outside it a cell's instrument is fixed, so each cell's test is exact.
    """
    if spec.kind == "kernel":
        return "a kernel covariance needs neighbouring rows in one fold; use 'corrected'."
    found = []
    for k in range(int(cell.max()) + 1):
        rows = np.flatnonzero(cell == k)
        if len(rows) <= X.shape[1] + D.shape[1] + 1:
            return (
                f"fold {k} has {len(rows)} rows for {X.shape[1]} covariates; use fewer"
                " folds or 'corrected'."
            )
        inside = _inside(spec, rows)
        if inside is None:
            return f"fold {k} holds a single cluster; use fewer folds or 'corrected'."
        w = None if weights is None else weights[rows]
        found.append(_moments_inside(z[rows], y[rows], D[rows], X[rows], inside, w))
    return tuple(found)


def _moments_inside(
    z: FloatArray,
    y: FloatArray,
    D: FloatArray,
    X: FloatArray,
    spec: CovarianceSpec,
    weights: FloatArray | None,
) -> Moments:
    # The fold's own mean goes too, as it does from the pooled instrument.
    exog = np.column_stack([np.ones(len(X)), X])
    cleaned = residuals(np.column_stack([z, y, D]), exog, weights)
    if weights is not None:
        cleaned = cleaned * np.sqrt(weights)[:, None]
    q = z.shape[1]
    return ar.moments(cleaned[:, :q], cleaned[:, q], cleaned[:, q + 1 :], spec, X.shape[1])


def _inside(spec: CovarianceSpec, rows: IntArray) -> CovarianceSpec | None:
    """The covariance among some rows; None where they form a single cluster."""
    if spec.kind != "clustered":
        return spec
    codes = tuple(encode_labels(c[rows]) for c in spec.clusters)
    if min(int(c.max()) for c in codes) == 0:
        return None
    return replace(spec, clusters=codes)


def orthogonal_moments(
    z: FloatArray,
    y: FloatArray,
    d: FloatArray,
    directions: FloatArray,
    spec: CovarianceSpec,
    n_exog: int,
) -> OrthogonalMoments:
    """Bundle direction instruments z (n, G) with variables, all with covariates partialled out."""
    both = np.column_stack([d, y])
    # The instrument in use is one combination of the G, so small-sample factors count one.
    base = ar.moments(z, y, d[:, None], spec, n_exog + 1 - z.shape[1])
    return OrthogonalMoments(base, directions, both.T @ both)
