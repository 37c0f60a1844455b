"""Split-sample IV: one half of the rows fits the first stage, the other estimates."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.factor import triangular_factor
from mlinstruments._core.linalg import dependent_columns, least_squares
from mlinstruments._core.parallel import spawn_seeds
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments._core.typing import FloatArray, IntArray
from mlinstruments.learning.folds import random_split

from .data import IVData
from .estimate import kclass
from .results import IVResults
from .same_call import Comparator, numeric_instruments, over_identified


class SplitSampleIV(Comparator):
    """Split-sample IV: a first stage fitted on one random half makes the other half's instrument.

    The linear first stage of one half predicts the treatments of the other, which alone estimates:
    just-identified IV with the predictions as instruments (not as regressors, which would bias the
    estimate towards zero). Given the first half the instrument is fixed, so the Anderson-Rubin set
    is exact however many or weak the instruments are; the price is half of the rows.

    Results are of the estimating half: ``nobs`` counts its rows, and residuals of the others are
    missing. Clusters stay in one half; with two ways of clustering each part is about a quarter of
    the rows, which share no cluster. Standard errors are those of IV in that half.

    Parameters
    ----------
    random_state : int, SeedSequence, Generator or None
        Decides the halves.

    References
    ----------
    Angrist, Krueger (1995), "Split-Sample Instrumental Variables Estimates of the Return to
    Schooling", doi:10.1080/07350015.1995.10524597.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import SplitSampleIV
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(600, 3))
    >>> u, v = rng.normal(size=(2, 600))
    >>> d = z[:, 0] + u + v
    >>> res = SplitSampleIV().fit(d + u, np.ones(600), d, z)
    >>> res.nobs, 1.0 in res.conf_int(method="ar")
    (300, True)
    """

    def __init__(self, random_state: Any = 0) -> None:
        self.random_state = random_state

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        seed = spawn_seeds(self.random_state, 1)[0]
        split = random_split(data.nobs, 2, data.clusters, seed, halves=False)
        (train,), rows = split.training(0), split.held_out(0)
        predictions = _predictions(data, numeric_instruments(data), train)[rows]
        half = data.taken(rows)
        _require_estimable(half, predictions)
        spec = CovarianceSpec(spec.kind, spec.debiased, half.clusters, spec.bandwidth)
        fit = kclass(half.y, half.X, half.D, predictions, spec, half.weights)
        learner = "linear, on the other half"
        return over_identified(half, fit, "Split-sample IV", learner, predictions, kind="split")


def _predictions(data: IVData, instruments: FloatArray, train: IntArray) -> FloatArray:
    """Treatments (n, d) as least squares on some rows predicts them."""
    regressors = np.hstack([data.X, instruments])
    weights = None if data.weights is None else data.weights[train]
    factor = triangular_factor([regressors[train], data.D[train]], weights)
    k = regressors.shape[1]
    return np.asarray(regressors @ least_squares(factor[:, :k], factor[:, k:]))


def _require_estimable(half: IVData, predictions: FloatArray) -> None:
    surplus = dependent_columns(np.hstack([half.X, predictions]))
    if surplus:
        names = [*half.exog, *(f"the prediction of {name}" for name in half.endog)]
        raise InputError(
            f"in the half of {half.nobs} rows that estimates, {names[surplus[0]]} is a combination"
            " of other regressors: use more rows, fewer covariates, or another random_state."
        )
