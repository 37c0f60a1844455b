"""The tests of a model with learned instruments, from its data: one call, one table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.hypotheses import TestResult
from mlinstruments._core.linalg import least_squares
from mlinstruments._core.parallel import spawn_seeds
from mlinstruments._core.sandwich import CovarianceSpec, covariance_spec
from mlinstruments._core.tables import Printed, Table
from mlinstruments._core.typing import FloatArray

from .data import IVData
from .diagnostics import FINE, LOOK, Diagnostic, Diagnostics, of_test
from .learn import partialled, root_weighted
from .mliv import MLIV
from .mliv_results import MLIVResults
from .same_call import ivmodels_tests, numeric_instruments, read_inputs
from .specification import contrast, curvature, curved_terms

NO_CONTRAST = TestResult(float("nan"), float("nan"), 0, "both estimates have one limit")
WELL_SPECIFIED = "some linear model in endog and exog has E[U | W, X] = 0"
NOT_ASKED = TestResult(float("nan"), float("nan"), 0, WELL_SPECIFIED)


@dataclass(frozen=True, eq=False, repr=False)
class SpecificationTests(Printed):
    """A fit, and tests of what it assumes.

    Parameters
    ----------
    results : MLIVResults
    hausman : TestResult
        That MLIV and 2SLS with the same instruments have one limit. Missing where there is no
        estimate, where instruments have missing values, or where the two are the same.
    curvature : TestResult
        That the learned instrument is unrelated to squares and products of the covariates, given
        the covariates. Missing where covariates have none.
    residual_prediction : TestResult
        That no function of instruments and covariates predicts the residuals of the linear model.
        Missing unless ``n_residual_splits`` was given.
    placebo : DataFrame
        First-stage F of every endogenous regressor (columns) with the rows of the instruments
        permuted (rows); empty where none were asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import MLIV, specification_tests
    >>> rng = np.random.default_rng(0)
    >>> w, x, u = rng.normal(size=(3, 500))
    >>> d = w + np.cos(2 * w) + x + u
    >>> data = (d + x + u, np.column_stack([np.ones(500), x]), d, w)
    >>> found = specification_tests(MLIV(learner="series"), *data)
    >>> bool(found.hausman.pvalue > 0.05), bool(found.curvature.pvalue > 0.05)
    (True, True)
    """

    results: MLIVResults
    hausman: TestResult
    curvature: TestResult
    residual_prediction: TestResult
    placebo: pd.DataFrame

    @property
    def diagnostics(self) -> Diagnostics:
        """The diagnostics of the fit, then these tests."""
        rows = [
            of_test(
                "Hausman",
                self.hausman,
                "whether MLIV and 2SLS with the same instruments estimate one thing.",
                "E[U | W] = 0 fails, so that curved functions of the instruments are not excluded,"
                " or effects differ and are weighted differently: report both.",
            ),
            of_test(
                "Curved covariates",
                self.curvature,
                "whether the learned instrument moves with squares and products of covariates.",
                "Then a bend of the outcome in the covariates, left out of the model, would pass"
                " for an effect: add such terms to exog, or compare covariates='recentred'.",
            ),
        ]
        if self.residual_prediction.df:
            rows.append(
                of_test(
                    "Residual prediction",
                    self.residual_prediction,
                    "whether a forest in instruments and covariates predicts residuals of 2SLS.",
                    "Then no linear model with these instruments has E[U | W, X] = 0: a bend in the"
                    " covariates is left out (add it to exog, or take covariates='recentred'), or"
                    " instruments act on the outcome directly.",
                )
            )
        rows += self._placebo_rows()
        before = self.results.diagnostics()
        return Diagnostics(before.title, (*before.rows, *rows))

    def _placebo_rows(self) -> list[Diagnostic]:
        rows = []
        for name, placebo in self.placebo.items():
            own = float(self.results.first_stage.f[name])  # type: ignore[union-attr]
            pvalue = (1 + int((placebo >= own).sum())) / (1 + len(placebo))
            rows.append(
                Diagnostic(
                    "Placebo F" + (f" ({name})" if self.placebo.shape[1] > 1 else ""),
                    float(placebo.mean()),
                    pvalue,
                    FINE if pvalue <= max(0.05, 1 / (1 + len(placebo))) else LOOK,
                    f"mean F in {len(placebo)} permutations of the instruments' rows; the p-value"
                    " is how often they reach the F of the fit.",
                    f"Chance finds instruments for {name} as strong as these.",
                )
            )
        return rows

    @property
    def summary(self) -> Table:
        """All diagnostics in one table."""
        return self.diagnostics.summary


def specification_tests(
    model: MLIV,
    *data: Any,
    weights: Any = None,
    clusters: Any = None,
    cov_type: str | None = None,
    debiased: bool = False,
    bandwidth: int | None = None,
    folds: Any = None,
    absorb: Any = None,
    n_permutations: int = 0,
    n_residual_splits: int = 0,
) -> SpecificationTests:
    """Fit a model and test what it assumes.

    Parameters
    ----------
    model : MLIV
    *data
        What ``model.fit`` is given, in its order, or a formula and a data frame as for
        ``model.fit_formula``.
    weights, clusters, cov_type, debiased, bandwidth, folds, absorb
        As in :meth:`MLIV.fit`.
    n_permutations : int
        Fits with the rows of the instruments permuted, for a placebo; each costs what the fit does.

    n_residual_splits : int
        Splits of the data for the residual prediction test, 0 for none; 50 is usual. It needs the
        package ivmodels (``pip install 'mlinstruments[ivmodels]'``), and neither weights nor
        clusters nor absorbed effects, which it does not know.

    Returns
    -------
    SpecificationTests
        Holds the fit; prints all diagnostics in one table.

    Raises
    ------
    InputError
        Where the data cannot be used, or the model is no MLIV, or tests do not go with options.
    MissingExtraError
        Where ``n_residual_splits`` is given and ivmodels is not installed.

    Notes
    -----
    **Hausman**: MLIV less 2SLS with the instruments as they are, over the variance of the
    difference from the influence of every row (or cluster) on both. A rejection says that
    E[U | W] = 0 fails or that effects vary. **Curved covariates**: the Wald test of squares and
    products of the covariates (thirty at most) in the regression of the learned instrument on the
    covariates and these, a RESET test of the instrument. **Placebo**: the learned F where the
    instruments are unrelated to everything; it should be near 1, and is 0 where predictions fall as
    the treatment rises. **Residual prediction**: a forest is fitted to 2SLS residuals of one part
    and weights those of the other; the p-value is twice the median over splits, which is
    conservative. Repeats enter the first two through the averaged instrument.

    References
    ----------
    Hausman (1978), doi:10.2307/1913827; Ramsey (1969), doi:10.1111/j.2517-6161.1969.tb00796.x;
    Scheidegger, Londschien, Buehlmann (2025), arXiv:2506.12771.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import MLIV, specification_tests
    >>> rng = np.random.default_rng(0)
    >>> w, u = rng.normal(size=(2, 400))
    >>> d = w + u
    >>> model = MLIV(learner="ols")
    >>> found = specification_tests(model, d + u, np.ones(400), d, w, n_permutations=3)
    >>> found.placebo.shape, bool((found.placebo["endog"] < 10).all())
    ((3, 1), True)
    """
    if not isinstance(model, MLIV):
        raise InputError(f"specification_tests needs an MLIV; got {type(model).__name__}.")
    if model.efficient:
        raise InputError(
            "specification_tests compares with 2SLS and with the covariates as their own"
            " instruments; efficient=True replaces both: test the model with efficient=False."
        )
    check_count(n_permutations, "n_permutations", 0)
    check_count(n_residual_splits, "n_residual_splits", 0)
    if n_residual_splits:
        ivmodels_tests()  # before any learner runs
    learner = model._check_settings()
    read = read_inputs(data, weights, clusters, learner.takes_missing, absorb)
    spec = covariance_spec(cov_type, debiased, bandwidth, read.clusters, read.df_absorbed)
    if n_residual_splits:
        _check_residual_prediction(read, spec)
    res = model._fit(read, learner, spec, folds)
    z = np.asarray(res.instrument, dtype=float).reshape(len(read.kept), -1)[read.kept]
    placebo = []
    rng = np.random.default_rng(spawn_seeds(model.random_state, model.n_repeats + 1)[-1])
    for _ in range(n_permutations):
        shuffled = replace(read.W, values=read.W.values[rng.permutation(read.nobs)])
        fit = model._fit(replace(read, W=shuffled), learner, spec, folds)
        assert fit.first_stage is not None
        placebo.append(fit.first_stage.f)
    table = pd.DataFrame([list(f) for f in placebo], columns=list(read.endog) if placebo else [])
    hausman = _hausman(read, z, spec, res.weak)
    predicted = _residual_prediction(read, spec, n_residual_splits)
    return SpecificationTests(res, hausman, _curvature(read, z, spec), predicted, table)


def _hausman(data: IVData, z: FloatArray, spec: CovarianceSpec, weak: str) -> TestResult:
    """The contrast of IV with learned instruments z (n, d) and 2SLS."""
    if weak or data.W.has_missing:
        return NO_CONTRAST
    Z = partialled(numeric_instruments(data.within), data)
    y, D = partialled(data.y, data), partialled(data.D, data)
    pairs, estimates = [], []
    for one in (root_weighted(z, data), Z @ least_squares(Z, D)):
        tau = np.linalg.solve(one.T @ D, one.T @ y)
        pairs.append((one, y - D @ tau))
        estimates.append(tau)
    difference = estimates[0] - estimates[1]
    learned, linear = pairs
    return contrast(difference, learned, linear, D, spec, data.n_exog + data.n_endog)


def _check_residual_prediction(data: IVData, spec: CovarianceSpec) -> None:
    reasons = {
        "weights": data.weights is not None,
        "clusters": bool(data.clusters),
        "absorbed effects": data.absorbed is not None,
        "a kernel covariance": spec.kind == "kernel",
        "missing instruments": data.W.has_missing,
    }
    for name, given in reasons.items():
        if given:
            raise InputError(
                f"the residual prediction test does not know {name}: leave n_residual_splits at 0."
            )


def _residual_prediction(data: IVData, spec: CovarianceSpec, splits: int) -> TestResult:
    if splits == 0:
        return NOT_ASKED
    test, robust = ivmodels_tests().residual_prediction_test, spec.kind != "unadjusted"
    Z = numeric_instruments(data)
    found = np.array(
        [
            test(Z, data.D, data.y, C=data.X, robust=robust, fit_intercept=False, seed=seed)
            for seed in range(splits)
        ]
    )
    statistic, pvalue = np.median(found, axis=0)
    return TestResult(float(statistic), min(1.0, 2 * float(pvalue)), 1, WELL_SPECIFIED)


def _curvature(data: IVData, z: FloatArray, spec: CovarianceSpec) -> TestResult:
    terms = partialled(curved_terms(data.X), data)
    return curvature(root_weighted(z, data), terms, spec, data.n_exog)
