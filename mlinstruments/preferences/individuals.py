"""Every subject's own preferences, or the reason why there are none: all subjects at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray, IntArray

from .batched import Batch, evaluate, information_left, newton, solve, squared_scores, utilities
from .design import Design, used_sets
from .identification import Identification, identify
from .likelihood import maximise
from .subjects import Panel, batches, panel_of, subject_codes

ESTIMATED = "estimated"
# Ratio of eigenvalues above which regressors certainly have full rank.
WELL_CONDITIONED = 1e-10
# Share of the information of random choice, as a determinant, above which a maximum is certainly
# one and no ascent to infinity.
CERTAIN = 1e-9
# Utilities from which nobody's Newton starts, lest it start beyond what rounding leaves of a slope.
STEEP = 20.0


@dataclass(frozen=True, eq=False)
class Estimates:
    """What Newton found for every subject, in units of the design.

    Parameters
    ----------
    theta : array, shape (m, S)
    information, meat : array, shape (m, m, S)
        Minus the Hessian, and the sum of squared scores.
    loglik : array, shape (S,)
    converged, certain, explained : bool array, shape (S,)
        Whether Newton settled, whether certainly at a maximum, and, where not, whether theta makes
        every choice the one best.
    """

    theta: FloatArray
    information: FloatArray
    meat: FloatArray
    loglik: FloatArray
    converged: BoolArray
    certain: BoolArray
    explained: BoolArray


def individual_fits(design: Design, subject: str = "subject") -> pd.DataFrame:
    """Estimate every subject on its own, with robust standard errors, as PreferenceLogit does.

    Subjects without estimates stay in the table; ``status`` says in words why. In this order:

    - too few choices: no more than there are coefficients;
    - rank: the subject's choice sets do not tell the parameters apart;
    - separated: some preference explains every choice, so the scale has no finite estimate;
      ``rationalised`` says whether one of positive scale does (its range: ``identify``);
    - no convergence of Newton's method;
    - scale not positive: choices do not rise with utility.

    Parameters
    ----------
    design : Design
    subject : str
        Label of the design that tells subjects apart.

    Returns
    -------
    DataFrame, one row a subject
        Scale and parameters, their standard errors (``_se``), ``loglik``, ``choices``,
        ``rationalised`` (missing unless separated) and ``status``.

    Raises
    ------
    InputError
        Where there is no such label.

    Examples
    --------
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import individual_fits, simulate_choices
    >>> data = simulate_choices(default_grid(), scale=0.1, kappa=0.3, subjects=3, draws=20)
    >>> individual_fits(data.design())["status"].tolist()
    ['estimated', 'estimated', 'estimated']
    """
    codes, subjects = subject_codes(design, subject)
    panel = panel_of(design, codes, len(subjects))
    found = _estimate(panel, design)
    choices = np.asarray(panel.picked.sum(axis=1)).ravel()
    status, rationalised = _verdicts(design, panel, found, choices)
    frame = _numbers(design, found, choices, np.asarray(status == ESTIMATED))
    frame["rationalised"] = rationalised
    frame["status"] = status
    return frame.set_index(pd.Index(subjects, name=subject))


# ---- estimation ---------------------------------------------------------------------------------


def _estimate(panel: Panel, design: Design) -> Estimates:
    S, m = panel.n_subjects, len(panel.size)
    found = Estimates(
        np.zeros((m, S)),
        np.zeros((m, m, S)),
        np.zeros((m, m, S)),
        np.zeros(S),
        np.zeros(S, dtype=bool),
        np.zeros(S, dtype=bool),
        np.zeros(S, dtype=bool),
    )
    everybody = maximise(design.z, design.available, design.counts())[0] * panel.size
    steep = not np.abs(everybody) @ np.abs(panel.z).max(axis=(0, 1)) < STEEP
    start = None if steep else everybody
    for first, last, batch, counts in batches(panel):
        _estimate_block(panel, batch, counts, start, slice(first, last), found)
    return found


def _estimate_block(
    panel: Panel,
    batch: Batch,
    counts: FloatArray,
    start: FloatArray | None,
    block: slice,
    out: Estimates,
) -> None:
    fit = newton(batch, start)
    at = evaluate(batch, fit.theta)
    size = panel.size[:, None]
    out.theta[:, block] = fit.theta / size
    out.information[..., block] = at.information * size[:, None] * size
    out.meat[..., block] = squared_scores(batch, at, counts) * size[:, None] * size
    out.loglik[block] = at.value
    out.converged[block] = fit.converged
    out.certain[block] = fit.converged & (information_left(batch, at) > CERTAIN)
    rest = np.flatnonzero(~out.certain[block])
    if len(rest):
        explained = _explained(batch.take(rest), fit.theta[:, rest], counts[..., rest])
        out.explained[block.start + rest] = explained


def _explained(batch: Batch, theta: FloatArray, counts: FloatArray) -> BoolArray:
    """Whether theta makes every choice strictly the best of its set: a proof of separation."""
    u = np.where(batch.available > 0, utilities(batch, theta), -np.inf)
    best = u.max(axis=1, keepdims=True)
    tied = (u >= best - 1e-9 * (1 + np.abs(best))).sum(axis=1, keepdims=True) > 1
    wrong = (counts > 0) & ((u < best) | tied)
    return np.asarray(~wrong.any(axis=(0, 1)))


# ---- verdicts -----------------------------------------------------------------------------------


def _verdicts(
    design: Design, panel: Panel, found: Estimates, choices: FloatArray
) -> tuple[AnyArray, Any]:
    """Status of every subject in words, and whether separated choices can be rationalised."""
    m = len(panel.size)
    scale = found.theta[0]
    status = np.full(panel.n_subjects, ESTIMATED, dtype=object)
    status[scale <= 0] = "scale not positive"
    rationalised = pd.array([pd.NA] * panel.n_subjects, dtype="boolean")
    few, deficient = choices <= m, _maybe_deficient(panel)
    doubtful = ~few & (~found.certain | deficient)
    certain = doubtful & ~deficient & found.explained & (scale > 0)
    status[certain] = "separated"
    rationalised[certain] = True
    for s, report in _reports(panel, design, np.flatnonzero(doubtful & ~certain)):
        status[s] = _words(report, bool(found.converged[s]), str(status[s]))
        if report.separated:
            rationalised[s] = report.intervals is not None
    for s in np.flatnonzero(few).tolist():
        status[s] = f"too few choices: {choices[s]:g} for {m} coefficients"
    return status, rationalised


def _words(report: Identification, converged: bool, otherwise: str) -> str:
    if report.rank < report.needed:
        return f"rank {report.rank} of {report.needed}: {report.confounded} cannot be told apart"
    if report.separated:
        return "separated"
    return otherwise if converged else "no convergence"


def _maybe_deficient(panel: Panel) -> BoolArray:
    """Subjects whose sets may not have full rank, to be examined exactly, (S,)."""
    C, _, m = panel.z.shape
    gram = np.einsum("caj,cak->cjk", panel.z, panel.z).reshape(C, m * m)
    if panel.totals.nnz == panel.n_subjects * C:  # everybody faced every set
        return np.repeat(_deficient(gram.sum(axis=0)[None], m), panel.n_subjects)
    faced = sparse.csr_matrix(
        (np.ones(panel.totals.nnz), panel.totals.indices, panel.totals.indptr),
        shape=panel.totals.shape,
    )
    return _deficient(np.asarray(faced @ gram), m)


def _deficient(gram: FloatArray, m: int) -> BoolArray:
    stacked = gram.reshape(-1, m, m)
    length = np.sqrt(np.einsum("sjj->sj", stacked))
    flat = (length <= 0).any(axis=1)
    length = np.where(length > 0, length, 1.0)
    values = np.linalg.eigvalsh(stacked / (length[:, :, None] * length[:, None, :]))
    return np.asarray(flat | (values[:, 0] <= WELL_CONDITIONED * values[:, -1]))


def _reports(
    panel: Panel, design: Design, subjects: IntArray
) -> Iterator[tuple[int, Identification]]:
    """The identification report of some subjects, each on its own sets alone."""
    used = np.flatnonzero(used_sets(design))
    A = panel.z.shape[1]
    for s in subjects.tolist():
        row = slice(*panel.picked.indptr[s : s + 2])
        sets, position = np.unique(panel.picked.indices[row] // A, return_inverse=True)
        own = replace(
            design,
            z=design.z[used[sets]],
            available=design.available[used[sets]],
            actions=tuple(design.actions[c] for c in used[sets]),
            choice_set=position.astype(np.int64).ravel(),
            action=(panel.picked.indices[row] % A).astype(np.int64),
            count=panel.picked.data[row],
            labels={},
        )
        yield s, identify(own)


# ---- the table ----------------------------------------------------------------------------------


def _numbers(
    design: Design, found: Estimates, choices: FloatArray, estimated: BoolArray
) -> pd.DataFrame:
    names = design.coefficients
    m = len(names)
    values = np.full((2 * m, len(choices)), np.nan)
    theta = found.theta[:, estimated]
    values[0, estimated] = theta[0]
    values[1:m, estimated] = theta[1:] / theta[0]
    factor = choices[estimated] / (choices[estimated] - m)
    variance = _ratio_variances(
        theta, found.information[..., estimated], found.meat[..., estimated]
    )
    values[m:, estimated] = np.sqrt(variance * factor)
    frame = pd.DataFrame(values.T, columns=[*names, *(f"{name}_se" for name in names)])
    frame["loglik"] = np.where(estimated, found.loglik, np.nan)
    frame["choices"] = choices
    return frame


def _ratio_variances(theta: FloatArray, information: FloatArray, meat: FloatArray) -> FloatArray:
    """Diagonal of the sandwich of (theta_0, theta_k / theta_0), delta method, (m, S)."""
    m, S = theta.shape
    # Derivatives of reported coefficient k, [:, k].
    jacobian = np.zeros((m, m, S))
    jacobian[0, 0] = 1.0
    jacobian[0, 1:] = -theta[1:] / theta[0] ** 2
    jacobian[range(1, m), range(1, m)] = 1 / theta[0]
    # Units differ by orders of magnitude: solve in units of the information's diagonal.
    size = np.sqrt(np.einsum("jjs->js", information))
    scaled = information / (size[:, None] * size)
    influence = solve(scaled, jacobian / size[:, None]) / size[:, None]
    product = np.einsum("jks,jis->iks", influence, meat)
    return np.asarray((product * influence).sum(axis=0))
