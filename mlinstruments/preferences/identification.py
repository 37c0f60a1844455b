"""What a log can say before anything is estimated: rank, separation, and why not.

A parameter is a ratio of coefficients, so it needs the regressors to vary independently inside the
choice sets (rank), choices that are not explained perfectly by some direction (no separation: there
the likelihood has no maximum), and a positive scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlinstruments._core.typing import FloatArray

from .design import Design, centred, used_sets
from .likelihood import Likelihood, maximise, surprises
from .separation import (
    endless_parameters,
    is_explained,
    is_separated,
    rationalising_intervals,
)

RANK_TOLERANCE = 1e-8
# Least eigenvalue of the information, in units of that of random choice, above which a maximum is
# one and no ascent to infinity: there Newton stops where it is 1e-16 or so.
WELL_CONDITIONED = 1e-9


@dataclass(frozen=True)
class Identification:
    """Whether the parameters can be told from the choices.

    Parameters
    ----------
    rank, needed : int
        Rank of the regressors inside the choice sets that were used, and what it must be.
    condition : float
        Condition number of the same, columns scaled to unit length.
    confounded : str
        The combination of parameters the data cannot see, in words; empty at full rank.
    separated : bool
        Some direction of theta explains every choice as a best one, and some strictly.
    intervals : mapping of str to (low, high), or None
        Under separation, the values of each parameter that rationalise every choice with a positive
        scale, taken one at a time; None where no preference of the family does.
    minimised : bool
        Under separation without intervals, whether a negative scale explains every choice: for some
        preference of the family each is a worst one.
    endless : tuple of str
        Under separation where no scale but zero explains every choice, the parameters that explain
        some better and better without end.
    scale_positive : bool or None
        Sign of the estimated scale; None before estimation.
    enough : bool
        Whether there are more choices than coefficients.
    """

    rank: int
    needed: int
    condition: float
    confounded: str
    separated: bool
    intervals: dict[str, tuple[float, float]] | None
    scale_positive: bool | None = None
    enough: bool = True
    minimised: bool = False
    endless: tuple[str, ...] = ()

    @property
    def identified(self) -> bool:
        """Whether preference parameters may be printed."""
        full = self.rank == self.needed
        positive = self.scale_positive is not False
        return self.enough and full and not self.separated and positive

    @property
    def reason(self) -> str:
        """Why not, in words; empty where all is well."""
        if self.rank < self.needed:
            return (
                f"the choice sets vary in {self.rank} directions and {self.needed} are needed:"
                f" {self.confounded} cannot be told apart. Add other games or payoffs, or drop a"
                " parameter."
            )
        if self.separated:
            return self._separation_words()
        if not self.enough:
            return "there are no more choices than coefficients, so nothing says how sure they are."
        if self.scale_positive is False:
            return (
                "choices do not rise with the utility of this family (the scale is not positive),"
                " so ratios to the scale mean nothing."
            )
        return ""

    def _separation_words(self) -> str:
        if self.minimised:
            return (
                "the choices are deterministic the wrong way round, and only a negative scale"
                " explains them: for some preference of this family each is a worst one, and for"
                " none are all of them best ones."
            )
        if self.intervals is None:
            names = _listed(self.endless or ("some combination of parameters",))
            return (
                f"some choices follow {names} without exception, whatever own payoff says: the"
                f" further from zero the better, so that there is no finite estimate of {names}."
            )
        words = (
            "the choices are deterministic: some preference explains every one of them, so the"
            " scale has no finite estimate."
        )
        shown = "; ".join(
            f"{name} in [{low:.4g}, {high:.4g}]" for name, (low, high) in self.intervals.items()
        )
        return f"{words} Values that rationalise every choice: {shown}." if shown else words

    def __str__(self) -> str:
        state = "identified" if self.identified else f"not identified: {self.reason}"
        return f"rank {self.rank} of {self.needed}, condition {self.condition:.3g}; {state}"


def identify(design: Design) -> Identification:
    """Examine regressors and choices, without estimating.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.preferences.design import Design
    >>> z = np.array([[[1.0, 2.0], [0.0, 0.0]]])
    >>> one = Design(z, np.ones((1, 2), bool), ("kappa",), np.array([0]), np.array([0]),
    ...              np.ones(1), {}, (("a", "b"),))
    >>> identify(one).rank
    1
    """
    return examine(design)[0]


def examine(design: Design) -> tuple[Identification, tuple[FloatArray, Likelihood] | None]:
    """:func:`identify`, and the coefficients of greatest likelihood where there are any.

    Maximising comes first: where it settles there is no separation, and no linear program to solve.
    """
    needed = design.z.shape[2]
    spread = centred(design)
    rank, condition, confounded = _rank(
        spread[used_sets(design)].reshape(-1, needed), design.coefficients
    )
    best, separated = None, False
    if rank == needed:
        best = maximise(design.z, design.available, design.counts())
        separated = not _overlaps(design, spread, *best) and is_separated(design)
    intervals = rationalising_intervals(design) if separated else None
    unexplained = separated and intervals is None
    minimised = unexplained and is_explained(design, -1.0)
    endless = endless_parameters(design) if unexplained and not minimised else ()
    report = Identification(
        rank,
        needed,
        condition,
        confounded,
        separated,
        intervals,
        enough=design.n_choices > needed,
        minimised=minimised,
        endless=endless,
    )
    return report, None if separated else best


def _overlaps(design: Design, spread: FloatArray, theta: FloatArray, found: Likelihood) -> bool:
    """Whether theta proves that choices are not separated (where not, they may still not be).

    By Stiemke's lemma they are not if positive multiples of all margins add up to zero. With
    multipliers (count of the chosen) x (probability of the other) the sum is the gradient; it
    becomes zero when each multiplier is changed by the factor 1 - d'x, d the margin, where x solves
    a linear system in the gradient. So it is enough that d'x stays below one.
    """
    counts = design.counts()
    each = counts.sum(axis=1) / design.available.sum(axis=1)
    size = np.sqrt(np.einsum("c,cak,cak->k", each, spread, spread))  # of the information at 0
    if not np.linalg.eigvalsh(found.hessian / -np.outer(size, size))[0] > WELL_CONDITIONED:
        return False
    surprise = surprises(design, theta)
    squares = np.einsum("ca,caj,cak->jk", counts, surprise, surprise) - found.hessian
    shift = design.z @ np.linalg.solve(squares, found.gradient)
    highest = np.where(design.available, shift, -np.inf).max(axis=1)
    lowest = np.where(design.available, shift, np.inf).min(axis=1)
    return bool((highest - lowest).max() < 0.5)


def _rank(spread: FloatArray, names: tuple[str, ...]) -> tuple[int, float, str]:
    lengths = np.linalg.norm(spread, axis=0)
    scaled = spread / np.where(lengths > 0, lengths, 1.0)
    _, values, directions = np.linalg.svd(scaled, full_matrices=False)
    if len(values) < len(names):
        values = np.concatenate([values, np.zeros(len(names) - len(values))])
        directions = np.linalg.svd(scaled, full_matrices=True)[2]
    rank = int((values > RANK_TOLERANCE * max(values[0], 1e-300)).sum()) if values[0] > 0 else 0
    if rank == len(names):
        return rank, float(values[0] / values[-1]), ""
    null = directions[rank:]
    involved = [name for j, name in enumerate(names) if np.abs(null[:, j]).max() > 1e-6]
    return rank, float("inf"), _listed(involved)


def _listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
