"""The likelihood of choices by subjects of unobserved types, with gradient and Hessian.

Notation: K types, S subjects, theta (K, m) the coefficients of each type, log_shares (K,), tau
(S, K) posterior probabilities of types. phi stacks theta with K - 1 logits of shares, the last 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray

from .design import Design, used_sets
from .likelihood import likelihood, log_probabilities
from .subjects import subject_codes, unit_regressors


@dataclass(frozen=True, eq=False)
class SubjectCounts:
    """Who chose what how often, on regressors of unit size.

    Parameters
    ----------
    z : array, shape (C, A, m)
        Regressors less their mean in the set, divided by ``size``; used sets only.
    available : bool array, shape (C, A)
    table : sparse matrix, shape (S, C * A)
        Counts by subject and cell.
    size : array, shape (m,)
        What regressors were divided by: theta of the design is theta here over size.
    subjects : array, shape (S,)
        Labels of the subjects.
    """

    z: FloatArray
    available: BoolArray
    table: Any
    size: FloatArray
    subjects: AnyArray

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return int(self.table.shape[0])

    def weighted(self, tau: FloatArray) -> FloatArray:
        """Counts of every type by cell, subjects weighted by tau (S, K); shape (K, C, A)."""
        return np.asarray((self.table.T @ tau).T).reshape(-1, *self.available.shape)


@dataclass(frozen=True)
class Types:
    """A point of the mixture's parameter space.

    Parameters
    ----------
    theta : array, shape (K, m)
    log_shares : array, shape (K,)
    """

    theta: FloatArray
    log_shares: FloatArray

    @property
    def phi(self) -> FloatArray:
        """The free parameters in one vector, (K m + K - 1,)."""
        return np.concatenate([self.theta.ravel(), self.log_shares[:-1] - self.log_shares[-1]])

    @classmethod
    def from_phi(cls, phi: FloatArray, n_types: int) -> Types:
        """The inverse of :attr:`phi`."""
        cut = len(phi) - (n_types - 1)
        logits = np.append(phi[cut:], 0.0)
        top = logits.max()
        return cls(
            phi[:cut].reshape(n_types, -1), logits - top - np.log(np.exp(logits - top).sum())
        )


def subject_counts(design: Design, subject: str) -> SubjectCounts:
    """Count choices by subject on the sets that were used."""
    codes, subjects = subject_codes(design, subject)
    used = used_sets(design)
    number = np.cumsum(used) - 1
    A = design.available.shape[1]
    kept = used[design.choice_set]
    cell = number[design.choice_set[kept]] * A + design.action[kept]
    shape = (len(subjects), int(used.sum()) * A)
    table = sparse.csr_matrix((design.count[kept], (codes[kept], cell)), shape=shape)
    z, size = unit_regressors(design)
    return SubjectCounts(z, design.available[used], table, size, subjects)


def expectation(data: SubjectCounts, types: Types) -> tuple[float, FloatArray]:
    """Observed-data log-likelihood, and posterior probabilities of types (S, K)."""
    log_p = [log_probabilities(data.z, data.available, theta).ravel() for theta in types.theta]
    joint = np.asarray(data.table @ np.array(log_p).T) + types.log_shares
    top = joint.max(axis=1, keepdims=True)
    weights = np.exp(joint - top)
    total = weights.sum(axis=1, keepdims=True)
    return float((top + np.log(total)).sum()), weights / total


def type_scores(data: SubjectCounts, types: Types) -> FloatArray:
    """Score of every subject's choices were it of each type, (S, K, m)."""
    surprises = []
    for theta in types.theta:
        p = np.exp(log_probabilities(data.z, data.available, theta))
        surprises.append(data.z - np.einsum("ca,cam->cm", p, data.z)[:, None, :])
    K, m = types.theta.shape
    flat = np.concatenate([s.reshape(-1, m) for s in surprises], axis=1)
    return np.asarray(data.table @ flat).reshape(-1, K, m)


def complete_scores(scores: FloatArray, log_shares: FloatArray) -> FloatArray:
    """Score in phi of (choices, type) for every subject and type, (S, K, K m + K - 1)."""
    S, K, m = scores.shape
    full = np.zeros((S, K, K * m + K - 1))
    for k in range(K):
        full[:, k, k * m : (k + 1) * m] = scores[:, k]
    full[:, :, K * m :] = np.eye(K)[:, : K - 1] - np.exp(log_shares)[: K - 1]
    return full


def observed_scores(data: SubjectCounts, types: Types, tau: FloatArray) -> FloatArray:
    """Score of every subject in phi, (S, K m + K - 1): the mean of complete scores (Fisher)."""
    full = complete_scores(type_scores(data, types), types.log_shares)
    return np.asarray(np.einsum("sk,skp->sp", tau, full))


def derivatives(
    data: SubjectCounts, types: Types, tau: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Gradient (p,) and Hessian (p, p) of the observed-data log-likelihood in phi.

    The Hessian is the expected one of complete data plus the posterior variance of its score.

    References
    ----------
    Louis (1982), doi:10.1111/j.2517-6161.1982.tb01203.x.
    """
    K, m = types.theta.shape
    full = complete_scores(type_scores(data, types), types.log_shares)
    mean = np.einsum("sk,skp->sp", tau, full)
    stacked = (np.sqrt(tau)[:, :, None] * full).reshape(-1, full.shape[2])
    hessian = stacked.T @ stacked - mean.T @ mean
    for k, counts in enumerate(data.weighted(tau)):
        block = slice(k * m, (k + 1) * m)
        hessian[block, block] += likelihood(data.z, data.available, counts, types.theta[k]).hessian
    share = np.exp(types.log_shares)[: K - 1]
    hessian[K * m :, K * m :] -= data.n_subjects * (np.diag(share) - np.outer(share, share))
    return mean.sum(axis=0), hessian
