"""OLS and the k-class with all instruments: 2SLS, LIML, Fuller."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.sandwich import CovarianceSpec

from .data import IVData
from .direct_effects import DirectEffectMoments, direct_effect_moments
from .estimate import Variables, kclass, second_stage
from .learn import partialled
from .results import IVResults
from .same_call import Comparator, kclass_results, numeric_instruments, results


class OLS(Comparator):
    """Least squares of the outcome on exogenous and endogenous regressors: no instruments used.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import OLS
    >>> rng = np.random.default_rng(0)
    >>> z, d = rng.normal(size=(2, 100))
    >>> res = OLS().fit(2 * d, np.ones(100), d, z)
    >>> round(float(res.params["endog"]), 6)
    2.0
    """

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        none = np.empty((data.nobs, 0))
        variables = Variables(data.y, [data.X, data.D], none, none, data.weights)
        fit = second_stage(variables, spec, 0.0).fit()
        return results(data, fit, "OLS", "", (), None)


class TSLS(Comparator):
    """Two-stage least squares with the instruments as they are, categories as indicators.

    Parameters
    ----------
    direct_effects : bool
        Also keep the moments that :func:`mlinstruments.exclusion_bounds` needs.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import TSLS
    >>> rng = np.random.default_rng(0)
    >>> z, u = rng.normal(size=(2, 1000))
    >>> d = z + u
    >>> res = TSLS().fit(d + u, np.ones(1000), d, z)
    >>> 1.0 in res.conf_int(method="ar")
    True
    """

    def __init__(self, direct_effects: bool = False) -> None:
        self.direct_effects = direct_effects

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        res = kclass_results(data, spec, "2SLS", 1.0)
        if not self.direct_effects:
            return res
        return replace(res, direct_effects=_direct_effects(data, spec))


def _direct_effects(data: IVData, spec: CovarianceSpec) -> DirectEffectMoments:
    """Moments for bounds without the exclusion restriction."""
    if data.n_endog > 1:
        raise InputError(
            f"direct_effects=True is for one endogenous regressor; there are {data.n_endog}."
        )
    z = numeric_instruments(data)
    if data.W.categorical.any() or z.shape[1] < len(data.instruments):
        raise InputError(
            "direct_effects=True needs numeric instruments, none a combination of others and the"
            " covariates: make indicators of categories and leave one out."
        )
    if spec.kind == "kernel":  # with the bandwidth of the fit
        spec = kclass(data.y, data.X, data.D, z, spec, data.weights).spec
    y, d = partialled(np.column_stack([data.y, data.D]), data).T
    return direct_effect_moments(partialled(z, data), y, d, spec, data.n_exog, data.instruments)


class LIML(Comparator):
    """Limited-information maximum likelihood.

    The k-class estimator whose k is the smallest root: nearly unbiased with many instruments, where
    2SLS leans towards least squares. ``res.kappa`` is that k.

    References
    ----------
    Anderson and Rubin (1949), doi:10.1214/aoms/1177730090.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import LIML
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(1000, 2))
    >>> u, v = rng.normal(size=(2, 1000))
    >>> d = z.sum(axis=1) + u + v
    >>> res = LIML().fit(d + u, np.ones(1000), d, z)
    >>> bool(res.kappa >= 1)
    True
    """

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        return kclass_results(data, spec, "LIML", None)


class Fuller(Comparator):
    """LIML with k lowered by alpha over the degrees of freedom, so that moments exist.

    Where instruments are weak LIML has a few wild draws; Fuller's estimator gives them up for a
    little bias towards least squares. Standard errors are those of the k-class.

    Parameters
    ----------
    alpha : float
        Positive; 1 makes the estimator nearly unbiased, 4 has the smaller mean squared error.
        ``res.kappa`` is LIML's k less alpha / (n - p - q), of p covariates and q instruments.

    References
    ----------
    Fuller (1977), "Some Properties of a Modification of the Limited Information Estimator",
    doi:10.2307/1912683.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import LIML, Fuller
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(200, 2))
    >>> u, v = rng.normal(size=(2, 200))
    >>> d = z.sum(axis=1) + u + v
    >>> data = (d + u, np.ones(200), d, z)
    >>> round((LIML().fit(*data).kappa - Fuller().fit(*data).kappa) * (200 - 3), 6)
    1.0
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def _check_settings(self) -> None:
        number = isinstance(self.alpha, int | float | np.number) and not isinstance(
            self.alpha, bool
        )
        if not number or not 0 < self.alpha < np.inf:
            raise InputError(
                f"alpha must be a positive number, such as 1 or 4; got {self.alpha!r}. LIML() has"
                " alpha 0."
            )

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        return kclass_results(data, spec, f"Fuller({self.alpha:g})", None, float(self.alpha))
