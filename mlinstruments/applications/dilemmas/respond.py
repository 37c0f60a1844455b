"""Respondents of known preferences: what the whole pipeline is tested with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents.base import Answer

from ..asking import Query
from .theory import moral_gain

# Gains are of order one: what rounding leaves of a tie.
ROUNDING = 1e-12


@dataclass(frozen=True)
class MoralRespondent:
    """Answers by (1 - kappa) own + kappa universalised chance to survive.

    The answer is 100 times the probability of a logit between the two cars. Whom a question makes
    of the one who answers is stated in ``docs/dilemmas.md``.

    Parameters
    ----------
    kappa : float
        From 0 to 1.
    scale : float
        lambda; ``inf`` answers 0 or 100, and 50 where both cars are as good.
    name : str
        What logs call it; by default after the kappa.

    Raises
    ------
    InputError
        Where kappa or scale is out of range.

    Examples
    --------
    >>> from mlinstruments.applications.dilemmas import (
    ...     Dilemma, MoralRespondent, dilemma_query)
    >>> queries = [dilemma_query(Dilemma(n, "passenger", "alone", "buy")) for n in (2, 5, 10)]
    >>> [a.text for a in MoralRespondent(0.6).answer(queries, [0, 0, 0])]  # thresholds .75, .6, .55
    ['0', '50', '100']
    """

    kappa: float
    scale: float = np.inf
    name: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.kappa <= 1:
            raise InputError(f"kappa must lie between 0 and 1; got {self.kappa!r}.")
        if not self.scale > 0:
            raise InputError(f"scale must be positive; got {self.scale!r}.")
        object.__setattr__(self, "name", self.name or f"moralis {self.kappa:g}")

    @property
    def settings(self) -> dict[str, Any]:
        """Its parameters; the scale as text where it is infinite, which JSON lacks."""
        scale: float | str = "inf" if np.isinf(self.scale) else self.scale
        return {"agent": "moral respondent", "kappa": self.kappa, "scale": scale}

    def answer(self, prompts: Sequence[Query], seeds: Sequence[int]) -> Iterator[Answer]:
        """A number from 0 to 100 a prompt.

        Parameters
        ----------
        prompts : sequence of Query
        seeds : sequence of int
            Not needed: the probability itself is the answer.

        Returns
        -------
        iterator of Answer
        """
        for prompt in prompts:
            facts = dict(prompt.facts)
            gain = float(
                moral_gain(
                    self.kappa,
                    facts["pedestrians"],
                    facts["passengers"],
                    facts["question"],
                    facts["perspective"],
                )
            )
            yield Answer(f"{100 * self._chance(gain):.12g}")

    def _chance(self, gain: float) -> float:
        """Probability of the car that saves pedestrians."""
        if abs(gain) < ROUNDING:  # both are as good
            return 0.5
        return float(gain > 0) if np.isinf(self.scale) else float(expit(self.scale * gain))
