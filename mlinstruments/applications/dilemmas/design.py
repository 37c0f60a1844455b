"""The factorial of dilemmas: every combination, or a balanced fraction of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray

PEDESTRIANS = (1, 2, 5, 10, 100)
PERSPECTIVES = ("passenger", "pedestrian", "observer")
COMPANIONS = ("alone", "family", "child")
QUESTIONS = ("morality", "buy", "others_buy", "regulate")
# Fractions drawn, of which the one that tells main effects best apart is kept.
TRIES = 200


@dataclass(frozen=True)
class Dilemma:
    """A car that can save its passengers or the pedestrians, and a question about it.

    Parameters
    ----------
    pedestrians : int
    perspective : {"passenger", "pedestrian", "observer"}
        Whom the one who answers is to be.
    companion : {"alone", "family", "child"}
        Who is in the car beside the passenger.
    question : {"morality", "buy", "others_buy", "regulate"}
        How moral self-sacrifice is, whether to buy such a car, whether others should, whether the
        law should demand it.

    Raises
    ------
    InputError
        For a level that is none.

    Examples
    --------
    >>> from mlinstruments.applications.dilemmas import Dilemma
    >>> dilemma = Dilemma(10, "passenger", "child", "buy")
    >>> dilemma.scenario, dilemma.passengers
    ('10-passenger-child', 2)
    """

    pedestrians: int
    perspective: str
    companion: str
    question: str

    def __post_init__(self) -> None:
        check_count(self.pedestrians, "pedestrians", 1)
        check_choice(self.perspective, "perspective", PERSPECTIVES)
        check_choice(self.companion, "companion", COMPANIONS)
        check_choice(self.question, "question", QUESTIONS)

    @property
    def scenario(self) -> str:
        """All but the question: what answers are clustered by."""
        return f"{self.pedestrians}-{self.perspective}-{self.companion}"

    @property
    def passengers(self) -> int:
        """People in the car."""
        return 1 if self.companion == "alone" else 2


@dataclass(frozen=True)
class DilemmaDesign:
    """Dilemmas to be asked about; build it with :meth:`full` or :meth:`fraction`.

    Parameters
    ----------
    dilemmas : tuple of Dilemma

    Examples
    --------
    >>> from mlinstruments.applications.dilemmas import DilemmaDesign
    >>> len(DilemmaDesign.full().dilemmas)  # 5 x 3 x 3 x 4
    180
    """

    dilemmas: tuple[Dilemma, ...]

    def __post_init__(self) -> None:
        if not self.dilemmas or len(set(self.dilemmas)) < len(self.dilemmas):
            raise InputError("a design needs dilemmas, each once.")

    @classmethod
    def full(
        cls,
        pedestrians: Sequence[int] = PEDESTRIANS,
        perspectives: Sequence[str] = PERSPECTIVES,
        companions: Sequence[str] = COMPANIONS,
        questions: Sequence[str] = QUESTIONS,
    ) -> DilemmaDesign:
        """Every combination.

        Parameters
        ----------
        pedestrians : sequence of int
        perspectives, companions, questions : sequence of str

        Returns
        -------
        DilemmaDesign

        Examples
        --------
        >>> from mlinstruments.applications.dilemmas import DilemmaDesign
        >>> design = DilemmaDesign.full((1, 2), ("passenger",), ("alone",), ("buy",))
        >>> [d.pedestrians for d in design.dilemmas]
        [1, 2]
        """
        levels = (pedestrians, perspectives, companions, questions)
        return cls(tuple(Dilemma(*cell) for cell in product(*levels)))

    @classmethod
    def fraction(
        cls,
        runs: int,
        pedestrians: Sequence[int] = PEDESTRIANS,
        perspectives: Sequence[str] = PERSPECTIVES,
        companions: Sequence[str] = COMPANIONS,
        questions: Sequence[str] = QUESTIONS,
        random_state: int = 0,
    ) -> DilemmaDesign:
        """Some combinations: levels equally often, but for one, and main effects told well apart.

        Of 200 balanced draws the one of largest determinant of the main effects' information.

        Parameters
        ----------
        runs : int
            Dilemmas; at least as many as main effects have coefficients.
        pedestrians, perspectives, companions, questions :
            As in :meth:`full`.
        random_state : int

        Returns
        -------
        DilemmaDesign

        Raises
        ------
        InputError
            Where runs are too few, or as many as the full design has.

        Examples
        --------
        >>> from mlinstruments.applications.dilemmas import DilemmaDesign
        >>> design = DilemmaDesign.fraction(36)
        >>> design.frame["question"].value_counts().tolist()
        [9, 9, 9, 9]
        """
        levels: list[Sequence[Any]] = [pedestrians, perspectives, companions, questions]
        every = cls.full(*levels)
        least = 1 + sum(len(level) - 1 for level in levels)
        check_count(runs, "runs", least)
        if runs >= len(every.dilemmas):
            raise InputError(
                f"runs must be below {len(every.dilemmas)}, all there are: use full(); got {runs}."
            )
        rng = np.random.default_rng(random_state)
        best, value = None, -np.inf
        for _ in range(TRIES):
            columns = [rng.permutation(_balanced(rng, len(level), runs)) for level in levels]
            cells = np.stack(columns, axis=1)
            if not _separate(rng, cells, [len(level) for level in levels]):
                continue
            x = _main_effects(cells, [len(level) for level in levels])
            sign, found = np.linalg.slogdet(x.T @ x)
            if sign > 0 and found > value:
                best, value = cells, found
        if best is None:
            raise InputError(
                f"no balanced fraction of {runs} runs was found: take fewer, or full()."
            )
        chosen = best[np.lexsort(best.T[::-1])]
        return cls(
            tuple(
                Dilemma(*(level[k] for level, k in zip(levels, cell, strict=True)))
                for cell in chosen.tolist()
            )
        )

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row a dilemma."""
        rows = [
            (d.scenario, d.pedestrians, d.perspective, d.companion, d.question)
            for d in self.dilemmas
        ]
        names = ["scenario", "pedestrians", "perspective", "companion", "question"]
        return pd.DataFrame(rows, columns=names)


def _balanced(rng: np.random.Generator, levels: int, runs: int) -> Any:
    """Each level as often as any other, but for one."""
    order = rng.permutation(levels)
    return np.resize(order, runs)


def _separate(rng: np.random.Generator, cells: Any, levels: Sequence[int]) -> bool:
    """Swap levels between runs, in place, until no run repeats another; balance is kept."""
    runs, factors = cells.shape
    codes = [int(c) for c in np.ravel_multi_index(cells.T, tuple(levels))]
    places = [int(np.prod(levels[j + 1 :])) for j in range(factors)]
    count = Counter(codes)
    repeated = [k for k, code in enumerate(codes) if count[code] > 1]
    for _ in range(200 * runs):
        if not repeated:
            return True
        k, other, j = repeated[-1], int(rng.integers(runs)), int(rng.integers(factors))
        if count[codes[k]] == 1:  # its double has moved
            repeated.pop()
            continue
        gap = int(cells[other, j] - cells[k, j]) * places[j]
        new = codes[k] + gap, codes[other] - gap
        if gap and new[0] != new[1] and not count[new[0]] and not count[new[1]]:
            for run, code in zip((k, other), new, strict=True):
                count[codes[run]] -= 1
                count[code] += 1
                codes[run] = code
            cells[[k, other], j] = cells[[other, k], j]
    return not repeated


def _main_effects(cells: Any, levels: Sequence[int]) -> FloatArray:
    """Intercept and a dummy for every level but the first."""
    columns = [np.ones(len(cells))]
    for j, count in enumerate(levels):
        columns += [(cells[:, j] == k).astype(float) for k in range(1, count)]
    return np.stack(columns, axis=1)
