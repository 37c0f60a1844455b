"""Two-step and iterated GMM, which linearmodels computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import unit_length
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments._core.typing import FloatArray

from .data import IVData
from .estimate import LinearFit, kclass
from .results import IVResults
from .same_call import Comparator, numeric_instruments, over_identified


class GMM(Comparator):
    """Efficient linear GMM: 2SLS first, then instruments weighted by the inverse of their variance.

    More precise than 2SLS where there are more instruments than endogenous regressors and errors
    are heteroskedastic or clustered; biased like it where instruments are many or weak. The same
    covariance (``cov_type``, ``clusters``) weights the moments and makes the standard errors
    (D'Z S^-1 Z'D)^-1, in linearmodels' sandwich form. One way of clustering only.

    Parameters
    ----------
    steps : int
        Rounds of estimation: 1 is 2SLS, 2 the two-step estimator, more iterate the weights.

    References
    ----------
    Hansen (1982), "Large Sample Properties of Generalized Method of Moments Estimators",
    doi:10.2307/1912775.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import GMM
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(500, 3))
    >>> u, v = rng.normal(size=(2, 500))
    >>> u = u * np.exp(z[:, 0] / 2)
    >>> d = z.sum(axis=1) + u + v
    >>> res = GMM().fit(d + u, np.ones(500), d, z)
    >>> bool(abs(res.params["endog"] - 1) < 3 * res.std_errors["endog"])
    True
    """

    def __init__(self, steps: int = 2) -> None:
        self.steps = steps

    def _check_settings(self) -> None:
        check_count(self.steps, "steps", 1)

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        if len(spec.clusters) > 1:
            raise InputError(
                "GMM weights its moments by one way of clustering; there are two: give one, or use"
                " TSLS, whose standard errors take both."
            )
        instruments = numeric_instruments(data)
        fit, minimum = gmm(data, instruments, spec, self.steps)
        found = over_identified(data, fit, "GMM", "linear", instruments)
        if found.overid is None or self.steps == 1:
            return found
        # From the second step on GMM minimises its own J, weighted as it weights.
        pvalue = float(stats.chi2.sf(minimum, found.overid.df))
        return replace(found, overid=replace(found.overid, statistic=minimum, pvalue=pvalue))


def gmm(
    data: IVData, instruments: FloatArray, spec: CovarianceSpec, steps: int
) -> tuple[LinearFit, float]:
    """GMM with instruments (n, q), by linearmodels, on columns of unit length; and its J.

    Raises
    ------
    InputError
        Where the variance of the moments has no inverse.
    """
    from linearmodels.iv import IVGMM

    if spec.kind == "kernel":  # one bandwidth, that of 2SLS, for weights and covariance
        spec = kclass(data.y, data.X, data.D, instruments, spec, data.weights).spec
    moments = data.n_exog + instruments.shape[1]
    for clusters in spec.n_clusters:
        if clusters < moments:  # the variance of the moments then has no inverse, but for rounding
            raise InputError(
                f"GMM with {moments} instruments and covariates needs as many clusters; there are"
                f" {clusters}: fewer moments than clusters, or TSLS, whose weights need no inverse."
            )
    X, of_x = unit_length(data.X)
    D, of_d = unit_length(data.D)
    words = _words(spec)
    try:
        model = IVGMM(
            data.y,
            X if X.shape[1] else None,
            D,
            unit_length(instruments)[0],
            weights=data.weights,
            weight_type=spec.kind,
            debiased=spec.debiased,
            **words,
        )
        found = model.fit(
            iter_limit=steps, tol=0.0, cov_type=spec.kind, debiased=spec.debiased, **words
        )
        cov = np.asarray(found.cov, dtype=np.float64)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise InputError(
            "GMM needs the variance of its moments to have an inverse: fewer instruments and"
            f" covariates than rows, and than clusters if there are any ({error}). Use TSLS."
        ) from None
    lengths = np.concatenate([of_x, of_d])
    params = np.asarray(found.params, dtype=np.float64) / lengths
    resids = data.y - np.hstack([data.X, data.D]) @ params
    cov = cov / np.outer(lengths, lengths)
    return LinearFit(params, cov, resids, float("nan"), spec), float(found.j_stat.stat)


def _words(spec: CovarianceSpec) -> dict[str, Any]:
    """A covariance in linearmodels' words."""
    if spec.kind == "clustered":
        return {"clusters": spec.clusters[0]}
    if spec.kind == "kernel":
        return {"kernel": "bartlett", "bandwidth": spec.bandwidth}
    return {}
