"""Partially linear IV: covariates enter through cross-fitted regressions rather than linearly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.parallel import spawn_seeds
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments._core.typing import FloatArray
from mlinstruments.learning.adapters import as_learner
from mlinstruments.learning.base import Learner
from mlinstruments.learning.crossfit import cross_fit
from mlinstruments.learning.folds import Split, random_split

from .data import IVData
from .estimate import kclass
from .instrument import centre_within
from .learn import exog_features
from .results import IVResults
from .same_call import Comparator, numeric_instruments, over_identified

ROLES = ("dependent", "endog", "instruments")


class PLIV(Comparator):
    """Double machine learning of the partially linear IV model Y = D tau + g(X) + U.

    Regressions of the outcome, the endogenous regressors and the instruments on the covariates are
    learned out of fold; tau is 2SLS on their residuals. The learning serves the covariates: the
    instruments are used linearly, so that a first stage that is not linear in them is missed, where
    :class:`MLIV` learns it. Coefficients of covariates are not estimated.

    Standard errors are the sandwich of IV on the residuals, which for one instrument is that of the
    orthogonal score psi = (Y - l(X) - tau (D - r(X))) (Z - m(X)), sum psi^2 / (sum (D - r) (Z -
    m))^2, and its homoskedastic, clustered and kernel forms. They need nuisances whose errors
    shrink faster than n^(-1/4), and E[U | Z, X] = 0.

    Parameters
    ----------
    learner : str, learner or scikit-learn regressor, or a mapping of roles to these
        As in :class:`MLIV`; a mapping names one each for ``"dependent"``, ``"endog"`` and
        ``"instruments"``.
    n_folds : int
        Folds of cross-fitting, 2 or more; clusters stay whole.
    n_repeats : int
        Random partitions. Residuals are averaged over them before tau is estimated.
    random_state : int, SeedSequence, Generator or None
        The one source of randomness.
    n_jobs : int, optional
        Workers, as joblib counts them.
    progress : bool, optional
        Show a progress bar.

    Notes
    -----
    Residuals are centred within folds, as learned instruments are in :class:`MLIV`: the package's
    learners predict up to a constant. With several instruments the residuals of each are used by
    2SLS, and the Anderson-Rubin set is that of the residuals.

    References
    ----------
    Chernozhukov, Chetverikov, Demirer, Duflo, Hansen, Newey, Robins (2018), "Double/Debiased
    Machine Learning for Treatment and Structural Parameters", doi:10.1111/ectj.12097.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import PLIV
    >>> rng = np.random.default_rng(0)
    >>> x, z, u = rng.normal(size=(3, 1000))
    >>> z = z + np.sin(x)
    >>> d = z + u + x**2
    >>> y = 0.5 * d + u - np.cos(x)
    >>> exog = np.column_stack([np.ones(1000), x])
    >>> res = PLIV(learner="series").fit(y, exog, d, z)
    >>> res.params.index.tolist(), bool(abs(res.params["endog"] - 0.5) < 0.1)
    (['endog'], True)
    """

    def __init__(
        self,
        learner: Any = "boosting",
        n_folds: int = 5,
        n_repeats: int = 1,
        random_state: Any = 0,
        n_jobs: int | None = None,
        progress: bool | None = None,
    ) -> None:
        self.learner = learner
        self.n_folds = n_folds
        self.n_repeats = n_repeats
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.progress = progress

    def _check_settings(self) -> None:
        check_count(self.n_folds, "n_folds", 2)
        check_count(self.n_repeats, "n_repeats", 1)
        self._learners()

    def _learners(self) -> dict[str, Learner]:
        """The learner of each role."""
        if not isinstance(self.learner, Mapping):
            return dict.fromkeys(ROLES, as_learner(self.learner))
        if set(self.learner) != set(ROLES):
            raise InputError(
                f"learner, where it is a mapping, needs the keys {', '.join(map(repr, ROLES))};"
                f" it has {', '.join(map(repr, self.learner))}."
            )
        return {role: as_learner(self.learner[role]) for role in ROLES}

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        if not exog_features(data).names:
            raise InputError(
                "PLIV learns how variables depend on the covariates, and exog has none that varies:"
                " give some, or use TSLS."
            )
        learners = self._learners()
        seeds = spawn_seeds(self.random_state, self.n_repeats)
        splits = [
            random_split(data.nobs, self.n_folds, data.clusters, seed, halves=False)
            for seed in seeds
        ]
        targets = {
            "dependent": data.y[:, None],
            "endog": data.D,
            "instruments": numeric_instruments(data),
        }
        rest = {
            role: self._residuals(values, learners[role], data, splits, seeds)
            for role, values in targets.items()
        }
        words = " / ".join(dict.fromkeys(learners[role].label for role in ROLES))
        learner = f"linear, covariates by {words}"
        return residual_results(data, rest, spec, learner)

    def _residuals(
        self,
        targets: FloatArray,
        learner: Learner,
        data: IVData,
        splits: list[Split],
        seeds: list[np.random.SeedSequence],
    ) -> FloatArray:
        """Out-of-fold residuals (n, m) of ``targets`` on the covariates, averaged over repeats."""
        constant = np.ones((data.nobs, 1))
        engine = learner.prepare(exog_features(data), constant, data.weights)
        fitted = cross_fit(
            engine, targets, splits, seeds, n_jobs=self.n_jobs, progress=self.progress
        )
        each = [
            centre_within(targets - predictions[:, 0].T, split.cell, data.weights)
            for predictions, split in zip(fitted.predictions, splits, strict=True)
        ]
        return np.asarray(np.mean(each, axis=0))


def residual_results(
    data: IVData, rest: Mapping[str, FloatArray], spec: CovarianceSpec, learner: str
) -> IVResults:
    """2SLS on residuals: ``rest`` holds those of outcome (n, 1), treatments and instruments."""
    y, D, Z = rest["dependent"][:, 0], rest["endog"], rest["instruments"]
    without = replace(data, y=y, D=D, X=np.empty((data.nobs, 0)), exog=())
    fit = kclass(y, without.X, D, Z, spec, data.weights)
    return over_identified(without, fit, "PLIV", learner, Z, kind="partialled")
