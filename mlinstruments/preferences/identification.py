"""What a log can say before anything is estimated: rank, separation, and why not.

A parameter is a ratio of coefficients, so it needs the regressors to vary independently inside the
choice sets (rank), choices that are not explained perfectly by some direction (no separation: there
the likelihood has no maximum), and a positive scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from mlinstruments._core.typing import FloatArray

from .design import Design, centred, used_sets
from .likelihood import Likelihood, maximise, surprises

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
        words = (
            "the choices are deterministic: some preference explains every one of them, so the"
            " scale has no finite estimate."
        )
        if not self.intervals:
            return words
        shown = "; ".join(
            f"{name} in [{low:.4g}, {high:.4g}]" for name, (low, high) in self.intervals.items()
        )
        return f"{words} Values that rationalise every choice: {shown}."

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
    separated, intervals, best = False, None, None
    if rank == needed:
        best = maximise(design.z, design.available, design.counts())
        separated = not _overlaps(design, spread, *best) and is_separated(design)
        if separated:
            intervals = rationalising_intervals(design)
    enough = design.n_choices > needed
    report = Identification(
        rank, needed, condition, confounded, separated, intervals, enough=enough
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
    return (
        rank,
        float("inf"),
        " and ".join([", ".join(involved[:-1]), involved[-1]])
        if len(involved) > 1
        else involved[0],
    )


def _margins(design: Design) -> FloatArray:
    """z of what was chosen less z of every available alternative not chosen, one row a pair."""
    c, a = np.nonzero(design.counts() > 0)
    others = design.available[c]
    others[np.arange(len(c)), a] = False
    return np.asarray((design.z[c, a][:, None, :] - design.z[c])[others])


def is_separated(design: Design) -> bool:
    """Whether some theta makes every choice a best one and some strictly (linear programming).

    References
    ----------
    Albert and Anderson (1984), doi:10.1093/biomet/71.1.1.
    """
    margins = _margins(design)
    size = np.abs(margins).max(axis=0)
    margins = margins / np.where(size > 0, size, 1.0)
    total = margins.sum(axis=0)
    m = margins.shape[1]
    found = linprog(-total, A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=[(-1, 1)] * m)
    return bool(found.status == 0 and -found.fun > 1e-7)


def rationalising_intervals(design: Design) -> dict[str, tuple[float, float]] | None:
    """Range of each parameter, the others free, over theta with scale 1 that explain every choice.

    Returns
    -------
    mapping of parameter to (low, high), or None where no such theta exists
    """
    margins = _margins(design)
    m = margins.shape[1]
    bounds = [(1.0, 1.0)] + [(None, None)] * (m - 1)
    found: dict[str, tuple[float, float]] = {}
    for j, name in enumerate(design.parameters, start=1):
        ends = []
        for sign in (1.0, -1.0):
            cost = np.zeros(m)
            cost[j] = sign
            solved = linprog(cost, A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=bounds)
            if solved.status == 2:
                return None
            ends.append(sign * solved.fun if solved.status == 0 else -sign * np.inf)
        found[name] = (float(ends[0]), float(ends[1]))
    return found
