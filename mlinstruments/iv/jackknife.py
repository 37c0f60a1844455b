"""Jackknife IV: JIVE, IJIVE and UJIVE, which predict each row's treatment without that row.

Glossary: C the covariates and Z the instruments given C; Q_C, Q orthonormal bases of C and of Z;
h_C, h the leverages, squared lengths of their rows; M_C D what C leaves of D, M D what C and Z do.
All of it with rows scaled by root weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import Annihilator, orthonormal_basis
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments._core.typing import FloatArray, IntArray

from .data import IVData
from .estimate import kclass
from .learn import root_weighted
from .results import IVResults
from .same_call import Comparator, numeric_instruments, over_identified

LEAVE_OUT = ("row", "cluster")
# A row (cluster) that keeps less than this share of its own error determines a coefficient alone.
ALONE = 1e-8


@dataclass(frozen=True)
class FirstStageFit:
    """The first stage of D on C and Z, rows scaled by root weights.

    Parameters
    ----------
    D : array, shape (n, d)
        The treatments.
    covariates : array, shape (n, p)
        Q_C.
    instruments : array, shape (n, q)
        Q, orthogonal to Q_C.
    groups : int array, shape (n,), or None
        Rows that are left out together; None leaves out one at a time.
    """

    D: FloatArray
    covariates: FloatArray
    instruments: FloatArray
    groups: IntArray | None

    @property
    def without_covariates(self) -> FloatArray:
        """M_C D."""
        return np.asarray(self.D - self.covariates @ (self.covariates.T @ self.D))

    @property
    def resids(self) -> FloatArray:
        """M D."""
        rest = self.without_covariates
        return np.asarray(rest - self.instruments @ (self.instruments.T @ rest))


def leave_out_errors(
    resids: FloatArray, basis: FloatArray, groups: IntArray | None = None
) -> FloatArray:
    """Errors of predicting each row by least squares on all rows but its own, or its group.

    Without group g the coefficients change so that its errors are (I - Q_g Q_g')^-1 times its
    residuals; for a single row that is the residual over one minus the leverage.

    Parameters
    ----------
    resids : array, shape (n, d)
        Residuals of the regression on all rows.
    basis : array, shape (n, r)
        Orthonormal columns that span its regressors.
    groups : int array, shape (n,), optional
        Group numbers from 0.

    Returns
    -------
    array, shape (n, d)

    Raises
    ------
    InputError
        Where a row (group) alone determines a coefficient, so that nothing is known without it.

    Examples
    --------
    >>> mean = np.full((3, 1), 3**-0.5)
    >>> leave_out_errors(np.array([[-1.0], [0.0], [1.0]]), mean)  # of 0, 1, 2 from their means
    array([[-1.5],
           [ 0. ],
           [ 1.5]])
    """
    if groups is None:
        kept = 1 - np.einsum("ij,ij->i", basis, basis)
        _require_others(int((kept < ALONE).sum()), "row")
        return np.asarray(resids / kept[:, None])
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    errors, alone = np.empty_like(resids), 0
    for rows in members:
        u, s, _ = np.linalg.svd(basis[rows], full_matrices=False)
        kept = 1 - s**2
        alone += int(kept.min(initial=1.0) < ALONE)
        share = s**2 / np.maximum(kept, ALONE)
        errors[rows] = resids[rows] + u @ (share[:, None] * (u.T @ resids[rows]))
    _require_others(alone, "cluster")
    return errors


def jive(first: FirstStageFit) -> FloatArray:
    """Predictions (n, d) of D from C and Z on the other rows: D - M D / (1 - h_C - h)."""
    both = np.hstack([first.covariates, first.instruments])
    return first.D - leave_out_errors(first.resids, both, first.groups)


def ijive(first: FirstStageFit) -> FloatArray:
    """Predictions (n, d) of M_C D from Z on the other rows: M_C D - M D / (1 - h)."""
    errors = leave_out_errors(first.resids, first.instruments, first.groups)
    return first.without_covariates - errors


def ujive(first: FirstStageFit) -> FloatArray:
    """What Z adds (n, d) to predictions from other rows: M_C D / (1 - h_C) - M D / (1 - h_C - h).

    z = G D, where the weights of own errors, the diagonal of G, are zero. Partialling C out of z
    keeps their sum zero, since G' applied to C has no trace: M C = M_C C = 0.
    """
    both = np.hstack([first.covariates, first.instruments])
    base = leave_out_errors(first.without_covariates, first.covariates, first.groups)
    return base - leave_out_errors(first.resids, both, first.groups)


def jackknife_results(
    data: IVData,
    spec: CovarianceSpec,
    method: str,
    construct: Callable[[FirstStageFit], FloatArray],
    leave_out: str,
) -> IVResults:
    """IV of the outcome on D and the covariates, with the instruments that ``construct`` makes."""
    groups = _groups(data, leave_out)
    instruments = numeric_instruments(data)
    outside = Annihilator.of(data.X, data.weights)
    rest = orthonormal_basis(root_weighted(outside.residualise(instruments), data))
    first = FirstStageFit(root_weighted(data.D, data), outside.basis, rest, groups)
    z = construct(first)
    z = z if outside.root is None else z / outside.root[:, None]
    fit = replace(kclass(data.y, data.X, data.D, z, spec, data.weights), kappa=float("nan"))
    return over_identified(data, fit, method, f"leave one {leave_out} out", instruments)


def _groups(data: IVData, leave_out: str) -> IntArray | None:
    if leave_out == "row":
        return None
    if len(data.clusters) != 1:
        ways = "none were given" if not data.clusters else "there are two ways of clustering"
        raise InputError(
            f"leave_out='cluster' leaves out one way of clusters, and {ways}: pass clusters= with"
            " one column, or use leave_out='row'."
        )
    return data.clusters[0]


def _require_others(alone: int, unit: str) -> None:
    if alone:
        raise InputError(
            f"{alone} {unit}{'s' if alone > 1 else ''} alone determine{'s' * (alone == 1)} a"
            " coefficient of the first stage (leverage one), so that nothing predicts the treatment"
            f" there without {'them' if alone > 1 else 'it'}: drop or merge covariates, instruments"
            f" or categories that vary in one {unit} only."
        )


class _Jackknife(Comparator):
    """IV with an instrument made of predictions that leave rows out; subclasses say which."""

    _construct: Callable[[FirstStageFit], FloatArray]

    def __init__(self, leave_out: str = "row") -> None:
        self.leave_out = leave_out

    def _check_settings(self) -> None:
        check_choice(self.leave_out, "leave_out", LEAVE_OUT)

    def _fit(self, data: IVData, spec: CovarianceSpec) -> IVResults:
        return jackknife_results(data, spec, type(self).__name__, self._construct, self.leave_out)


class JIVE(_Jackknife):
    """Jackknife IV: each row's instrument is its treatment as predicted from all other rows.

    JIVE1 of Angrist, Imbens and Krueger, in closed form by leverages. The instrument owes nothing
    to the row's own error, so that many instruments do not pull the estimate towards least squares;
    many covariates do, which :class:`IJIVE` and :class:`UJIVE` repair. The weaker the instruments,
    the larger its dispersion.

    Standard errors are the sandwich of IV with the constructed instrument z, C partialled out:
    (sum z D)^-1 (sum z^2 e^2) (sum z D)^-1 and its homoskedastic, clustered and kernel forms, as in
    the source. They are for first stages strong beside the number of instruments.

    Parameters
    ----------
    leave_out : {"row", "cluster"}
        What the prediction for a row leaves out. With errors that are related within clusters,
        leaving out the row alone keeps the bias that others of its cluster carry.

    References
    ----------
    Angrist, Imbens, Krueger (1999), "Jackknife Instrumental Variables Estimation", Journal of
    Applied Econometrics 14(1), 57-67. By clusters: Frandsen, Leslie, McIntyre, "Cluster Jackknife
    Instrumental Variables Estimation".

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import JIVE
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(500, 20))
    >>> u, v = rng.normal(size=(2, 500))
    >>> d = z[:, 0] + u + v
    >>> res = JIVE().fit(d + u, np.ones(500), d, z)
    >>> bool(abs(res.params["endog"] - 1) < 3 * res.std_errors["endog"])
    True
    """

    _construct = staticmethod(jive)


class IJIVE(_Jackknife):
    """Improved jackknife IV: covariates are partialled out before rows are left out.

    The instrument is the residualised treatment as predicted by the residualised instruments on all
    other rows. Many covariates bias it less than :class:`JIVE`, though not nothing: residuals on
    the covariates keep a little of every row. Standard errors as there.

    Parameters
    ----------
    leave_out : {"row", "cluster"}
        As in :class:`JIVE`.

    References
    ----------
    Ackerberg, Devereux (2009), "Improved JIVE Estimators for Overidentified Linear Models with and
    without Heteroskedasticity", doi:10.1162/rest.91.2.351.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import IJIVE
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(500, 20))
    >>> u, v = rng.normal(size=(2, 500))
    >>> d = z[:, 0] + u + v
    >>> res = IJIVE().fit(d + u, np.ones(500), d, z)
    >>> bool(abs(res.params["endog"] - 1) < 3 * res.std_errors["endog"])
    True
    """

    _construct = staticmethod(ijive)


class UJIVE(_Jackknife):
    """Unbiased jackknife IV: what the instruments add to the leave-one-out prediction.

    The instrument is the treatment predicted from instruments and covariates on all other rows,
    less its prediction from the covariates on all other rows: many instruments and many covariates
    leave no bias where cov(U, V) is constant. Standard errors as in :class:`JIVE`.

    Parameters
    ----------
    leave_out : {"row", "cluster"}
        As in :class:`JIVE`.

    Notes
    -----
    The instrument z is Kolesar's; the estimate solves the IV equations with z and the covariates,
    so that adding X'c to the outcome changes nothing but the coefficients of X. Kolesar's
    z'Y / z'D, without covariates in the outcome, is the same number wherever z is orthogonal to
    them, as where both are cells (judges within courts); elsewhere it moves with the level of Y.

    References
    ----------
    Kolesar (2013), "Estimation in an Instrumental Variables Model with Treatment Effect
    Heterogeneity", working paper.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import UJIVE
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(500, 20))
    >>> u, v = rng.normal(size=(2, 500))
    >>> d = z[:, 0] + u + v
    >>> res = UJIVE().fit(d + u, np.ones(500), d, z)
    >>> bool(abs(res.params["endog"] - 1) < 3 * res.std_errors["endog"])
    True
    """

    _construct = staticmethod(ujive)
