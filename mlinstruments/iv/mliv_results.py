"""What a fit of MLIV returns: the results of any fit, and how its instrument was learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from .results import IVResults
from .summary import Fact, learning_facts, tf_facts


@dataclass(frozen=True, eq=False, repr=False)
class MLIVResults(IVResults):
    """A fit with learned instruments.

    Parameters
    ----------
    instrument : Series or DataFrame
        The learned instruments on the index of the input, averaged over repeats, orthogonal to the
        covariates; missing in rows that were dropped. With one repeat, handing it to any IV
        program reproduces estimates and standard errors.
    splits : DataFrame
        Estimate, standard error and F of every repeat and endogenous regressor.
    folds : DataFrame
        Cell of every row in each repeat, on the index of the input.
    covariates : {"linear", "recentred", "unconstrained"}
    n_folds, n_repeats : int
    control_variate : bool
    """

    instrument: Any
    splits: pd.DataFrame
    folds: pd.DataFrame
    covariates: str
    n_folds: int
    n_repeats: int
    control_variate: bool
    _learned: ClassVar[bool] = True

    def _facts(self) -> list[Fact]:
        how = learning_facts(
            self.learner,
            self.covariates,
            self.control_variate,
            self.n_folds,
            self.n_repeats,
            self.nobs,
        )
        return how + super()._facts() + self._tf_facts()

    def _tf_facts(self) -> list[Fact]:
        if len(self.endog) != 1:
            return []
        return tf_facts(*self.conf_int(method="tf").iloc[0])
