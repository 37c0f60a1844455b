"""Finite mixtures: subjects of a few types, each with its own scale and preferences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import AssumptionWarning, InputError
from mlinstruments._core.typing import FloatArray
from mlinstruments._core.warn import warn_user

from .design import Design, used_sets
from .identification import Identification, identify
from .likelihood import maximise
from .mixture_likelihood import (
    SubjectCounts,
    Types,
    derivatives,
    expectation,
    observed_scores,
    subject_counts,
)
from .mixture_results import MixtureResults
from .mixture_search import Optimum, same_optimum, search

FEW_STARTS = 3
# Weighted choices below this are of subjects who are not of the type.
NEGLIGIBLE = 1e-6


def fit_mixture(
    design: Design,
    n_types: int,
    n_starts: int = 30,
    random_state: Any = 0,
    subject: str = "subject",
) -> MixtureResults:
    """Fit a finite mixture of conditional logits: every subject is of one unobserved type.

    Each random start is followed by EM, whose maximisation steps are concave, and then by Newton on
    the likelihood itself. Standard errors are clustered by subject.

    Parameters
    ----------
    design : Design
    n_types : int
    n_starts : int
        Random starts; fewer than 30 are asking for a local optimum.
    random_state : int or Generator
    subject : str
        Label of the design that tells subjects apart.

    Returns
    -------
    MixtureResults

    Raises
    ------
    InputError
        Where there is no such label, or there are no more subjects than types.

    Warns
    -----
    AssumptionWarning
        Where fewer than 3 starts reached the best likelihood: there may be a better one.

    References
    ----------
    McLachlan and Peel (2000), "Finite Mixture Models", doi:10.1002/0471721182.

    Examples
    --------
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import simulate_choices
    >>> data = simulate_choices(default_grid(), scale=0.1, kappa=0.3, subjects=20)
    >>> fit = fit_mixture(data.design(), n_types=1)
    >>> fit.n_subjects, fit.params.shape
    (20, (1, 4))
    """
    check_count(n_types, "n_types", 1)
    check_count(n_starts, "n_starts", 1)
    data = subject_counts(design, subject)
    _check_subjects(data, n_types, subject)
    optima = search(data, n_types, n_starts, np.random.default_rng(random_state))
    best = optima[0]
    _warn_if_rare(optima, n_types)
    _, tau = expectation(data, best.types)
    covariance = _covariance(data, best.types, tau, design.n_choices)
    return MixtureResults(
        theta=best.types.theta / data.size,
        share_values=np.exp(best.types.log_shares),
        covariance=_reported_covariance(data, best.types, covariance),
        loglik=best.loglik,
        loglik_one=_one_type(data),
        tau=tau,
        identifications=_identifications(design, data, best.types, tau),
        optima=tuple((end.loglik, np.exp(end.types.log_shares)) for end in optima),
        names=design.coefficients,
        subject=subject,
        subjects=data.subjects,
        nobs=design.n_choices,
        utility=design.utility,
    )


def _check_subjects(data: SubjectCounts, n_types: int, subject: str) -> None:
    if data.n_subjects <= max(n_types, 1):
        raise InputError(
            f"{data.n_subjects} value{'s' if data.n_subjects > 1 else ''} of {subject!r} for"
            f" {n_types} type{'s' if n_types > 1 else ''}: a mixture needs more subjects than"
            " types. Name the column of subjects, or fit fewer types."
        )


def _warn_if_rare(optima: list[Optimum], n_types: int) -> None:
    reached = sum(same_optimum(end.loglik, optima[0].loglik) for end in optima)
    if n_types > 1 and reached < FEW_STARTS:
        warn_user(
            f"only {reached} of {len(optima)} starts reached the best log-likelihood"
            f" {optima[0].loglik:.3f}: there may be a better one. Raise n_starts, or fit fewer"
            " types.",
            AssumptionWarning,
        )


def _one_type(data: SubjectCounts) -> float:
    pooled = data.weighted(np.ones((data.n_subjects, 1)))[0]
    return maximise(data.z, data.available, pooled)[1].value


def _covariance(data: SubjectCounts, types: Types, tau: FloatArray, n: float) -> FloatArray:
    """Sandwich of phi clustered by subject, with the factors of one type: (N-1)/(N-p), S/(S-1)."""
    scores = observed_scores(data, types, tau)
    bread = np.linalg.pinv(-derivatives(data, types, tau)[1], hermitian=True)
    S, p = scores.shape
    factor = (n - 1) / max(n - p, 1.0) * S / (S - 1)
    return np.asarray(bread @ (scores.T @ scores) @ bread * factor)


def _reported_covariance(data: SubjectCounts, types: Types, covariance: FloatArray) -> FloatArray:
    """Covariance of every type's scale and ratios, then of all K shares (delta method)."""
    K, m = types.theta.shape
    share = np.exp(types.log_shares)
    jacobian = np.zeros((K * m + K, K * m + K - 1))
    for k, theta in enumerate(types.theta / data.size):
        block = slice(k * m, (k + 1) * m)
        jacobian[block, block] = _ratio_jacobian(theta) / data.size
    jacobian[K * m :, K * m :] = (np.diag(share) - np.outer(share, share))[:, : K - 1]
    return np.asarray(jacobian @ covariance @ jacobian.T)


def _ratio_jacobian(theta: FloatArray) -> FloatArray:
    """Derivatives of (theta_0, theta_k / theta_0) in theta."""
    jacobian = np.diag(np.append(1.0, np.full(len(theta) - 1, 1 / theta[0])))
    jacobian[1:, 0] = -theta[1:] / theta[0] ** 2
    return jacobian


def _identifications(
    design: Design, data: SubjectCounts, types: Types, tau: FloatArray
) -> tuple[Identification, ...]:
    """The identification report of each type, on the choices of those who may be of it."""
    reports = []
    for theta, counts in zip(types.theta, data.weighted(tau), strict=True):
        report = identify(_of_type(design, counts))
        reports.append(replace(report, scale_positive=bool(theta[0] > 0)))
    return tuple(reports)


def _of_type(design: Design, counts: FloatArray) -> Design:
    """The used choice sets with the weighted counts (C, A) of a type, less negligible ones."""
    used = used_sets(design)
    choice_set, action = np.nonzero(counts > NEGLIGIBLE)
    return replace(
        design,
        z=design.z[used],
        available=design.available[used],
        actions=tuple(a for a, kept in zip(design.actions, used, strict=True) if kept),
        choice_set=choice_set.astype(np.int64),
        action=action.astype(np.int64),
        count=counts[choice_set, action],
        labels={},
    )
