"""The lasso from a Gram matrix: paths of penalties, exact solutions, and plug-in loadings.

Glossary: G (m, m) Gram matrix of the residualised dictionary, c (m,) its products with the target,
s the target's square, l (m,) loadings. b minimises (s - 2 c'b + b'G b) / 2 + strength sum_j l_j
|b_j|.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import linalg, stats

from mlinstruments._core.grams import CONDITION_LIMIT, STEP, condition
from mlinstruments._core.linalg import least_squares
from mlinstruments._core.typing import FloatArray, IntArray

# Coordinate descent stops at a duality gap below this share of the target's square: enough to
# compare penalties, and enough to settle which columns are selected by one of them.
PATH_GAP, GAP = 1e-7, 1e-12
SWEEPS = 10_000
# A column with less than this share of the longest column's length is rounding.
PRESENT = 1e-9


def paths(
    gram: FloatArray, cross: FloatArray, square: float, loadings: FloatArray, strengths: FloatArray
) -> FloatArray:
    """Lasso coefficients at falling strengths (L,), shape (m, L), by coordinate descent.

    A column that the controls explain, and so has no length, gets coefficient 0.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lasso_path

    found = np.zeros((len(cross), len(strengths)))
    lengths = np.sqrt(np.maximum(np.diag(gram), 0))
    kept = (lengths > PRESENT * lengths.max(initial=0)) & (loadings > 0)
    if not (kept.any() and square > 0):
        return found
    unit = 1 / loadings[kept]
    inside = gram[np.ix_(kept, kept)] * unit[:, None] * unit
    toward = cross[kept] * unit
    # A few rows with the same products stand for the data, which the solver asks for.
    rows = _root(np.block([[inside, toward[:, None]], [toward[None, :], np.array([[square]])]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # rounding; solved for afterwards
        solved = lasso_path(
            np.asfortranarray(rows[:, :-1]),
            np.ascontiguousarray(rows[:, -1]),
            alphas=strengths / len(rows),
            precompute=np.ascontiguousarray(rows[:, :-1].T @ rows[:, :-1]),
            Xy=np.ascontiguousarray(rows[:, :-1].T @ rows[:, -1]),
            tol=PATH_GAP if len(strengths) > 1 else GAP,
            max_iter=SWEEPS,
            check_input=False,  # else the Gram matrix is checked again at every strength
        )[1]
    found[kept] = solved * unit[:, None]
    return found


def _root(products: FloatArray) -> FloatArray:
    """Rows (k, k) whose Gram matrix this is."""
    try:
        return np.asarray(np.linalg.cholesky(products).T)
    except np.linalg.LinAlgError:  # collinear columns
        pass
    values, vectors = np.linalg.eigh(products)
    return np.asarray(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)


def strongest(cross: FloatArray, loadings: FloatArray) -> float:
    """The least strength at which nothing is selected."""
    used = loadings > 0
    return float((np.abs(cross[used]) / loadings[used]).max(initial=0.0))


def exact(
    gram: FloatArray, cross: FloatArray, b: FloatArray, loadings: FloatArray, strength: float
) -> FloatArray:
    """Coefficients (m,) solved for, given which are not 0 in ``b`` (m,) and their signs."""
    chosen = np.flatnonzero(b)
    pulled = cross[chosen] - strength * loadings[chosen] * np.sign(b[chosen])
    return _on(gram, pulled, chosen, len(b))


def refit(gram: FloatArray, cross: FloatArray, chosen: IntArray) -> FloatArray:
    """Least squares (m,) on the chosen columns, 0 elsewhere; of least norm if collinear."""
    return _on(gram, cross[chosen], chosen, len(cross))


def _on(gram: FloatArray, right: FloatArray, chosen: IntArray, m: int) -> FloatArray:
    found = np.zeros(m)
    if len(chosen) == 0:
        return found
    inside = gram[np.ix_(chosen, chosen)]
    if condition(inside) <= CONDITION_LIMIT:
        found[chosen] = linalg.solve(inside, right, assume_a="pos")
    else:
        found[chosen] = least_squares(inside, right)
    return found


def plugin_strength(n: int, m: int, c: float, gamma: float | None) -> float:
    """Half of 2 c sqrt(n) Phi^-1(1 - gamma / (2 m)), gamma = .1 / log(n) by default.

    Half, since the loss here is half the sum of squares.

    References
    ----------
    Belloni, Chen, Chernozhukov, Hansen (2012), doi:10.3982/ECTA9626.

    Examples
    --------
    >>> round(2 * plugin_strength(100, 50, 1.1, 0.05), 3)
    72.392
    """
    level = 0.1 / np.log(max(n, 3)) if gamma is None else gamma
    return float(c * np.sqrt(n) * stats.norm.ppf(1 - level / (2 * m)))


def plugin_loadings(
    left: FloatArray, errors: FloatArray, clusters: tuple[IntArray, ...]
) -> FloatArray:
    """Standard deviations (m,) of the scores of the columns ``left`` (n, m) with ``errors`` (n,).

    sqrt(mean of x_j^2 e^2), or with clusters sqrt(sum over clusters of (sum of x_j e)^2 / n); two
    ways add up less their intersection, and never to less than either.
    """
    n = len(errors)
    if not clusters:
        squares = np.zeros(left.shape[1])
        for start in range(0, n, STEP):  # without a copy of all columns
            squares += errors[start : start + STEP] ** 2 @ left[start : start + STEP] ** 2
        return np.sqrt(squares / n)
    scores = left * errors[:, None]
    ways = [_squared_sums(scores, codes) for codes in clusters]
    if len(ways) == 1:
        return np.asarray(np.sqrt(ways[0] / n))
    both = clusters[0] * (int(clusters[1].max()) + 1) + clusters[1]
    joint = ways[0] + ways[1] - _squared_sums(scores, both)
    return np.asarray(np.sqrt(np.maximum(joint, np.maximum(*ways)) / n))


def _squared_sums(scores: FloatArray, codes: IntArray) -> FloatArray:
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return np.asarray((np.add.reduceat(scores[order], starts, axis=0) ** 2).sum(axis=0))
