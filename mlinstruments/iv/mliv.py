"""MLIV: linear IV with a learned, cross-fitted instrument. The front door; no numerics here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.base import BaseEstimator

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import AssumptionWarning, InputError, WeakInstrumentWarning
from mlinstruments._core.parallel import spawn_seeds
from mlinstruments._core.sandwich import CovarianceSpec, covariance_spec
from mlinstruments._core.typing import FloatArray
from mlinstruments._core.warn import warn_user
from mlinstruments.learning.adapters import as_learner
from mlinstruments.learning.base import Learner

from .assemble import assemble, median_estimate
from .data import IVData
from .instrument import LearnedInstruments
from .learn import (
    COVARIATES,
    FirstStagePlan,
    bind,
    control_variate_targets,
    learn_instruments,
    learn_with_directions,
)
from .mliv_results import MLIVResults
from .partition import LOO, check_leave_one_out, make_splits
from .source import Roles


class MLIV(BaseEstimator):  # type: ignore[misc]
    """Instrumental variables with a machine-learned first stage that is linear in the covariates.

    The excluded instruments W are turned into one instrument for each endogenous regressor by a
    learner of D = f(W) + X'l, trained out of fold. The learned instrument then replaces W in
    just-identified linear IV, so that estimate and standard errors read like those of 2SLS and a
    poor learner costs precision, never validity.

    Parameters
    ----------
    learner : str, learner or scikit-learn regressor
        ``"boosting"`` (LightGBM with the covariates profiled out), ``"series"``, ``"kernel"``,
        ``"ridge"``, ``"lasso"``, ``"ols"``, a configured
        :class:`~mlinstruments.learning.Boosting` or the like, or any scikit-learn regressor.
    covariates : {"linear", "recentred", "unconstrained"}
        What the first stage may do with X, and so what is assumed. ``"linear"``: E[U|W] = 0 and
        E[XU] = 0, as for 2SLS. ``"recentred"``: g(W, X) - E[g(W, X) | X], which needs E[U|W,X] = 0.
        ``"unconstrained"``: g(W, X), which also needs Y to be exactly linear in X.
    control_variate : bool
        Train on D less its regression on a pilot residual: a less noisy first stage where effects
        are constant, as LIML against 2SLS.
    n_folds : int or "loo"
        Folds of cross-fitting, 2 or more. ``"loo"`` leaves out one row at a time, in closed form,
        for learners linear in a dictionary with a given penalty (``"ols"``, ``Ridge(penalty=.1)``):
        with ``"ols"`` the instrument is that of UJIVE. It trains no halves, so that the corrected
        Anderson-Rubin set takes the whole instrument for noise (critical value doubled).
    n_repeats : int
        Random partitions; estimates are combined by medians.
    repeat_blocks : int, optional
        Deal rows (clusters) once to so many random blocks, of which every repeat makes its folds
        and halves; at least 4 x n_folds. ``"series"``, ``"ridge"``, ``"ols"`` and the like then
        read the data once for all repeats. By default every repeat deals the rows anew.
    split_half : bool
        Train on two random halves of each training part and average. For trees that makes a better
        instrument than one fit, and the agreement of the halves is what sharpens the corrected
        Anderson-Rubin set: without them its critical value is doubled.
    interact_controls : bool
        Partial the covariates out of the instrument fold by fold.
    orthogonal : bool
        Also train the directions that ``conf_int(method="ar", ar="orthogonal")`` needs.
    random_state : int, SeedSequence, Generator or None
        The one source of randomness; the answer does not depend on ``n_jobs``.
    n_jobs : int, optional
        Workers, as joblib counts them.
    progress : bool, optional
        Show a progress bar; by default for long jobs in a terminal.

    References
    ----------
    Chen, Chen, Lewis (2020), "Mostly Harmless Machine Learning: Learning Optimal Instruments in
    Linear IV Models", arXiv:2011.06158.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import MLIV
    >>> rng = np.random.default_rng(0)
    >>> w = rng.uniform(-1, 1, (500, 2))
    >>> u = rng.normal(size=500)
    >>> d = np.cos(3 * w[:, 0]) + 0.5 * u + rng.normal(size=500)
    >>> y = 1.0 * d + u
    >>> res = MLIV(learner="series", random_state=0).fit(y, np.ones(500), d, w)
    >>> bool(0.8 < res.params["endog"] < 1.2)
    True
    >>> 1.0 in res.conf_int(method="ar")
    True
    """

    def __init__(
        self,
        learner: Any = "boosting",
        covariates: str = "linear",
        control_variate: bool = False,
        n_folds: int | str = 5,
        n_repeats: int = 1,
        repeat_blocks: int | None = None,
        split_half: bool = True,
        interact_controls: bool = False,
        orthogonal: bool = False,
        random_state: Any = 0,
        n_jobs: int | None = None,
        progress: bool | None = None,
    ) -> None:
        self.learner = learner
        self.covariates = covariates
        self.control_variate = control_variate
        self.n_folds = n_folds
        self.n_repeats = n_repeats
        self.repeat_blocks = repeat_blocks
        self.split_half = split_half
        self.interact_controls = interact_controls
        self.orthogonal = orthogonal
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.progress = progress

    def fit(
        self,
        dependent: Any,
        exog: Any,
        endog: Any,
        instruments: Any,
        *,
        weights: Any = None,
        clusters: Any = None,
        cov_type: str | None = None,
        debiased: bool = False,
        bandwidth: int | None = None,
        folds: Any = None,
    ) -> MLIVResults:
        """Fit on arrays or columns of any data frame library, in linearmodels' order.

        Parameters
        ----------
        dependent : array or Series, shape (n,)
        exog : array or frame, shape (n, p), or None
            Exogenous regressors; include the constant.
        endog : array or frame, shape (n,) or (n, d)
        instruments : array or frame, shape (n,) or (n, q)
            Excluded instruments, numeric or categorical.
        weights : array, shape (n,), optional
            Analytic weights.
        clusters : array or frame, shape (n,) or (n, 2), optional
            Labels of any type; kept whole in folds and used in every standard error and test.
        cov_type : {"unadjusted", "robust", "clustered", "kernel"}, optional
            Robust by default, clustered where clusters are given.
        debiased : bool
            Small-sample factors and Student's t.
        bandwidth : int, optional
            Lags of the Bartlett kernel.
        folds : array, shape (n,), optional
            Your own partition instead of a random one.

        Returns
        -------
        MLIVResults

        Raises
        ------
        InputError
            Where an input cannot be used, before any learner runs.

        Warns
        -----
        MissingRowsWarning
            Where rows with missing values were dropped; it counts them.
        AssumptionWarning
            With ``covariates="unconstrained"``.
        """
        learner = self._check_settings()
        data = IVData.from_arrays(
            dependent, exog, endog, instruments, weights, clusters, learner.takes_missing
        )
        spec = covariance_spec(cov_type, debiased, bandwidth, data.clusters)
        return self._fit(data, learner, spec, folds)

    def fit_formula(
        self,
        formula: str,
        data: Any,
        *,
        weights: Any = None,
        clusters: Any = None,
        cov_type: str | None = None,
        debiased: bool = False,
        bandwidth: int | None = None,
        folds: Any = None,
    ) -> MLIVResults:
        """Fit a formula in linearmodels' dialect, ``"y ~ 1 + x + [d ~ z1 + z2]"``.

        Parameters
        ----------
        formula : str
            No constant is added: write ``1 +``.
        data : data frame
            pandas, polars or pyarrow.
        weights, clusters : column name(s) or as in :meth:`fit`
        cov_type, debiased, bandwidth, folds
            As in :meth:`fit`.

        Returns
        -------
        MLIVResults

        Raises
        ------
        InputError
            Where the formula or a column cannot be used, before any learner runs.

        Examples
        --------
        >>> from linearmodels.datasets import mroz
        >>> from mlinstruments import MLIV
        >>> data = mroz.load().dropna(subset=["lwage"])
        >>> formula = "lwage ~ 1 + exper + [educ ~ motheduc + fatheduc]"
        >>> res = MLIV(learner="series", random_state=0).fit_formula(formula, data)
        >>> res.nobs, res.endog
        (428, ('educ',))
        """
        learner = self._check_settings()
        read = IVData.from_formula(formula, data, weights, clusters, learner.takes_missing)
        spec = covariance_spec(cov_type, debiased, bandwidth, read.clusters)
        return self._fit(read, learner, spec, folds)

    def fit_dataset(
        self,
        source: Any,
        dependent: str,
        exog: str | Sequence[str],
        endog: str | Sequence[str],
        instruments: str | Sequence[str],
        *,
        weights: str | None = None,
        clusters: str | None = None,
        cov_type: str | None = None,
        debiased: bool = False,
    ) -> MLIVResults:
        """Fit on parquet files larger than memory, in two passes over their rows.

        For learners that need only sums over rows: ``"series"``, ``"ridge"`` and ``"ols"``, with
        ``covariates="linear"`` and one repeat. Memory does not grow with the rows (with clusters it
        grows with their number). Within ``joblib.parallel_config(backend="dask")``, or any other
        backend registered with joblib, the same sums are made by the workers of a cluster.

        Parameters
        ----------
        source : str, Path, list of these, or pyarrow.dataset.Dataset
            Parquet files or a folder of them. Every worker must be able to read them.
        dependent : str
            Name of a column; all are numbers.
        exog, endog, instruments : str or list of str
            Names of columns; ``exog`` without the constant, which is always included, as ``const``,
            and may be empty.
        weights : str, optional
            Column of analytic weights.
        clusters : str, optional
            Column of labels of any type, hashed; kept whole in folds and used in every standard
            error and test.
        cov_type : {"unadjusted", "robust", "clustered"}, optional
            As for :meth:`fit`.
        debiased : bool
            As for :meth:`fit`.

        Returns
        -------
        MLIVResults
            Residuals, instrument and folds, which have an entry for each row, are not held, and
            asking for them raises the reason; Anderson-Rubin sets are "corrected" and "pooled".

        Raises
        ------
        InputError
            Where an option, a column or a value cannot be used.

        Warns
        -----
        MissingRowsWarning
            Where rows with missing values were dropped; it counts them.

        Notes
        -----
        Each row is dealt to a fold, a half and a side on its own, at random, by ``random_state``
        and its place in the files (a cluster by its label), so that folds differ a little in size.
        Knots of series are at quantiles of a sample: the first rows of up to 32 row groups drawn
        along the files, 20,000 in all. Rows sorted by an instrument within a row group make it a
        poor one, which costs precision, never validity. Given folds and knots, the numbers are
        those of :meth:`fit`.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> import pandas as pd
        >>> from mlinstruments import MLIV
        >>> rng = np.random.default_rng(0)
        >>> frame = pd.DataFrame(rng.normal(size=(4000, 3)), columns=["w", "x", "u"])
        >>> frame["d"] = np.cos(frame["w"]) + frame["x"] + frame["u"] + rng.normal(size=4000)
        >>> frame["y"] = frame["d"] + frame["x"] + frame["u"]
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.parquet"
        >>> frame.to_parquet(path)
        >>> res = MLIV("series").fit_dataset(path, "y", ["x"], "d", ["w"])
        >>> res.nobs, 1.0 in res.conf_int(method="ar")
        (4000, True)
        """
        from . import dataset

        roles = Roles(
            dependent, _names(exog), _names(endog), _names(instruments), weights, clusters
        )
        learner, options = self._check_settings(), self.get_params(deep=False)
        return dataset.fit_dataset(source, roles, learner, options, cov_type, debiased)

    def _check_settings(self) -> Learner:
        check_choice(self.covariates, "covariates", COVARIATES)
        if isinstance(self.n_folds, str) and self.n_folds != LOO:
            raise InputError(
                f"n_folds must be a whole number of at least 2, or {LOO!r}; got {self.n_folds!r}."
            )
        if self.n_folds != LOO:
            check_count(self.n_folds, "n_folds", 2)
        check_count(self.n_repeats, "n_repeats", 1)
        if self.repeat_blocks is not None:
            check_count(self.repeat_blocks, "repeat_blocks", 1)
        if self.orthogonal and self.n_repeats > 1:
            raise InputError("orthogonal=True works with n_repeats=1; use ar='corrected' instead.")
        if self.orthogonal and self.control_variate:
            raise InputError(
                "orthogonal=True already trains on D less a regression on the residual, at every"
                " value of the coefficient: leave control_variate out."
            )
        if self.covariates == "unconstrained":
            warn_user(
                "covariates='unconstrained' is valid only if the outcome is exactly linear in the"
                " covariates and E[U | W, X] = 0: otherwise non-linearity in X poses as an"
                " instrument. Prefer 'linear' or 'recentred'.",
                AssumptionWarning,
            )
        return as_learner(self.learner)

    def _fit(self, data: IVData, learner: Learner, spec: CovarianceSpec, folds: Any) -> MLIVResults:
        if self.orthogonal and data.n_endog > 1:
            raise InputError("orthogonal=True needs a single endogenous regressor.")
        plan = self._plan(data, learner, folds)
        directions = None
        if self.orthogonal:
            learned, directions = learn_with_directions(data, plan)
        else:
            learned = learn_instruments(data, data.D, plan)
        pilot = self._pilot(data, learned, spec)
        if pilot is not None:
            learned = learn_instruments(data, control_variate_targets(data, pilot), plan)
        own = folds is not None or self.n_folds == LOO
        settings = {
            "learner": learner.label,
            "covariates": self.covariates,
            "n_folds": plan.splits[0].n_cells if own else self.n_folds,
            "n_repeats": self.n_repeats,
            "control_variate": pilot is not None,
        }
        return assemble(data, learned, plan, spec, settings, directions)

    def _pilot(
        self, data: IVData, learned: LearnedInstruments, spec: CovarianceSpec
    ) -> FloatArray | None:
        """The estimate (d,) a control variate starts from; None where none is used."""
        if not self.control_variate:
            return None
        pilot = median_estimate(data, learned, spec)
        if pilot is None:
            warn_user(
                "control_variate=True was not used: the pilot first stage is too weak for an"
                " estimate.",
                WeakInstrumentWarning,
            )
        return pilot

    def _plan(self, data: IVData, learner: Learner, folds: Any) -> FirstStagePlan:
        seeds = spawn_seeds(self.random_state, self.n_repeats)
        splits = make_splits(data, seeds, self.n_folds, self.repeat_blocks, self.split_half, folds)
        if splits[0].loo:
            check_leave_one_out(self.covariates, self.interact_controls)
        engine, recentre = bind(learner, data, self.covariates, splits[0].loo)
        return FirstStagePlan(
            engine, recentre, splits, seeds, self.interact_controls, self.n_jobs, self.progress
        )


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
