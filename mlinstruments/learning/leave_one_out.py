"""Leaving out one row at a time, in closed form: what n refits would predict.

Glossary: P the dictionary and C the controls, P~ = P less its regression on C; h_i the leverage of
row i in the fit on (P, C) and g_i that on C alone, b the coefficients on all rows and e the
residuals. Without row i the coefficients are b - A^-1 P~_i e_i / (1 - h_i), A = P~'P~ + penalty,
and P_i less its own regression on C without row i is P~_i / (1 - g_i).
"""

from __future__ import annotations

import numpy as np

from mlinstruments._core.linalg import Annihilator, orthonormal_basis, residuals
from mlinstruments._core.typing import FloatArray

# A row that keeps less than this of its own error is alone in explaining a column, and what is left
# without it has lower rank: it is refitted.
ALONE = 1e-6


def leave_one_out(
    dictionary: FloatArray,
    controls: FloatArray,
    targets: FloatArray,
    weights: FloatArray | None,
    penalty: float,
) -> FloatArray:
    """f(W) of every row from all others, less the regression on the controls without that row.

    With penalty 0 this is the instrument of UJIVE, the difference of two predictions that leave the
    row out: on instruments and controls, and on controls alone. Folds of one row cannot be centred;
    taking off what the controls predict plays that part.

    Parameters
    ----------
    dictionary : array, shape (n, m)
        Standardised.
    controls : array, shape (n, p)
    targets : array, shape (n, t)
    weights : array, shape (n,), or None
    penalty : float
        Relative to the n - 1 rows of a training part.

    Returns
    -------
    array, shape (t, n)

    References
    ----------
    Kolesar (2013), "Estimation in an instrumental variables model with treatment effect
    heterogeneity" (UJIVE).
    """
    root = np.ones(len(targets)) if weights is None else np.sqrt(weights)
    outside = Annihilator.of(controls, weights)
    left = root[:, None] * outside.residualise(dictionary)
    outcome = root[:, None] * outside.residualise(targets)
    factor = _factor(left, penalty)
    fitted = factor @ (factor.T @ outcome)
    own = np.einsum("ij,ij->i", factor, factor)[:, None]
    on_controls = np.einsum("ij,ij->i", outside.basis, outside.basis)[:, None]
    kept = 1 - own - on_controls
    alone = (kept <= ALONE)[:, 0]
    kept[alone] = 1.0
    errors = outcome - fitted
    found = (fitted - own * errors / kept) / np.where(alone, 1.0, 1 - on_controls[:, 0])[:, None]
    found /= root[:, None]
    for i in np.flatnonzero(alone):
        found[i] = refitted(dictionary, controls, targets, weights, penalty, int(i))
    return np.asarray(found.T)


def _factor(left: FloatArray, penalty: float) -> FloatArray:
    """F (n, r) with F F' = left (left'left + (n - 1) penalty I)^-1 left'."""
    if penalty == 0:
        # Columns that the controls explain are rounding, which an orthonormal basis would blow up.
        return orthonormal_basis(left[:, np.linalg.norm(left, axis=0) > 1e-9 * np.sqrt(len(left))])
    values, vectors = np.linalg.eigh(left.T @ left)
    shrunk = np.maximum(values, 0) + (len(left) - 1) * penalty
    return np.asarray(left @ (vectors / np.sqrt(shrunk)))


def refitted(
    dictionary: FloatArray,
    controls: FloatArray,
    targets: FloatArray,
    weights: FloatArray | None,
    penalty: float,
    row: int,
) -> FloatArray:
    """What :func:`leave_one_out` gives for one row, from a fit without it, shape (t,)."""
    others = np.delete(np.arange(len(targets)), row)
    w = None if weights is None else weights[others]
    root = np.ones(len(others)) if w is None else np.sqrt(w)
    outside = Annihilator.of(controls[others], w)
    left = root[:, None] * outside.residualise(dictionary[others])
    outcome = root[:, None] * outside.residualise(targets[others])
    values, vectors = np.linalg.eigh(left.T @ left)
    shrunk = np.maximum(values, 0) + len(others) * penalty
    used = shrunk > 1e-12 * max(float(shrunk[-1]), np.finfo(float).tiny)
    inverse = (vectors[:, used] / shrunk[used]) @ vectors[:, used].T
    f = dictionary @ (inverse @ (left.T @ outcome))
    # The regression of f on the controls without the row, taken off where the row is.
    explained = f[others] - residuals(f[others], controls[others], w)
    slopes = np.linalg.lstsq(controls[others], explained, rcond=None)[0]
    return np.asarray(f[row] - controls[row] @ slopes)
