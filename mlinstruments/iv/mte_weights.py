"""Whose effect an instrument identifies: its weights on marginal treatment effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import least_squares, residuals
from mlinstruments._core.typing import FloatArray

from .data import IVData

# Steps of the weights between 0 and 1 in tables and pictures.
STEPS = 100
# Negative weights of less than this share of all are rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class MTEWeights:
    """Weights that IV with one instrument puts on marginal treatment effects.

    Parameters
    ----------
    table : DataFrame
        Columns ``u``, middles of a hundred equal steps of the resistance to treatment from 0 to 1,
        ``weight``, the mean weight over a step, and ``treated``, the share of rows whose propensity
        is above ``u``. The mean of ``weight`` is ``total``.
    negative : float
        Mass of negative weights, as a positive number: 0 means an average with weights that are
        none of them negative.
    total : float
        What the weights sum to: 1 if propensities are right on average.
    propensity : Series
        Propensity of every row used.
    outside : float
        Share of rows whose propensity was below 0 or above 1 and was set there.
    """

    table: pd.DataFrame
    negative: float
    total: float
    propensity: pd.Series
    outside: float

    def plot(self, ax: Any = None) -> Any:
        """The weights by resistance to treatment (needs the ``plot`` extra).

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        matplotlib Axes
        """
        from .explain_plot import plot_mte_weights

        return plot_mte_weights(self, ax)


def mte_weights(
    exog: Any, endog: Any, instrument: Any, weights: Any = None, propensity: Any = None
) -> MTEWeights:
    r"""Weights on marginal treatment effects of IV with a binary treatment and one instrument.

    People take the treatment where their propensity :math:`P(W, X)` exceeds their resistance
    :math:`u`, uniform on [0, 1], and the marginal treatment effect :math:`MTE(u)` is the mean
    effect at resistance u. With the part :math:`\tilde z` of the instrument that covariates do not
    explain, IV identifies

    .. math:: \int_0^1 \omega(u)\, MTE(u)\, du, \qquad
        \omega(u) = \frac{E[\tilde z\, 1\{P > u\}]}{E[\tilde z D]} .

    Parameters
    ----------
    exog : array or frame, shape (n, p), or None
        Covariates, with the constant.
    endog : array or Series, shape (n,)
        Treatment, 0 or 1.
    instrument : array or Series, shape (n,)
        A learned instrument, ``res.instrument``, or any other.
    weights : array, shape (n,), optional
        Analytic weights.
    propensity : array or Series, shape (n,), optional
        Probability of treatment given instruments and covariates. By default the least-squares
        prediction of ``endog`` from covariates and instrument, within 0 and 1.

    Returns
    -------
    MTEWeights

    Raises
    ------
    InputError
        Where the treatment is not binary or the instrument does not predict it.

    Notes
    -----
    The formula needs that the instrument moves everybody's treatment in one direction at a given P
    (monotonicity, through the propensity), that E[Y(0) | W, X] is linear in X, and that the
    marginal effect does not depend on X. If the instrument is the propensity itself and there are
    no covariates, weights are proportional to E[(P - EP) 1{P > u}] and never negative; for another
    function of the instruments they may be, as for linear 2SLS where the propensity is not
    monotone in its fitted values.

    References
    ----------
    Heckman and Vytlacil (2005), doi:10.1111/j.1468-0262.2005.00594.x; Heckman, Urzua and Vytlacil
    (2006), doi:10.1162/rest.88.3.389.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import mte_weights
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(0.2, 0.8, 5000)
    >>> d = (rng.random(5000) < p).astype(float)
    >>> found = mte_weights(np.ones(5000), d, p)
    >>> found.negative, round(found.total, 6)
    (0.0, 1.0)
    """
    given = {"propensity": propensity} if propensity is not None else {}
    frame = _columns(endog, instrument, given)
    # IVData checks and cleans; the outcome plays no part, so the treatment stands in for it.
    inputs = frame[[name for name in frame.columns if name != "endog"]]
    data = IVData.from_arrays(
        frame["endog"].rename("treatment"), exog, frame["endog"], inputs, weights,
        takes_missing=False,
    )  # fmt: skip
    D = data.D[:, 0]
    if not np.isin(D, (0.0, 1.0)).all():
        raise InputError(
            "endog must be 0 or 1: weights on marginal treatment effects are those of a binary"
            f" treatment; it holds {D[~np.isin(D, (0.0, 1.0))][0]:g}."
        )
    z = data.W.values[:, 0]
    chances = data.W.values[:, 1] if propensity is not None else _predicted(data, z)
    inside = np.clip(chances, 0.0, 1.0)
    mass = np.ones(data.nobs) if data.weights is None else data.weights
    scores = mass * residuals(z, data.X, data.weights)
    found = float(scores @ D)
    if not abs(found) > 1e-12 * float(np.abs(scores) @ D):
        raise InputError("the instrument does not predict endog given exog: IV has no weights.")
    table = _table(scores / found, inside, mass / mass.sum())
    series = data.on_input_index(inside, "propensity")
    negative = float(np.maximum(-table["weight"], 0.0).mean())
    if negative < ROUNDING * float(table["weight"].abs().mean()):
        negative = 0.0
    total = float(scores @ inside) / found
    return MTEWeights(table, negative, total, series, float((chances != inside).mean()))


def _columns(endog: Any, instrument: Any, given: dict[str, Any]) -> pd.DataFrame:
    """Columns side by side; pandas aligns those that have an index."""
    parts = {"endog": endog, "instrument": instrument, **given}
    lengths = {name: len(np.ravel(np.asarray(part))) for name, part in parts.items()}
    if len(set(lengths.values())) > 1:
        words = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise InputError(f"every input must describe the same rows: {words}.")
    index = next((p.index for p in parts.values() if isinstance(p, pd.Series | pd.DataFrame)), None)
    return pd.DataFrame(
        {name: np.ravel(np.asarray(part, dtype=float)) for name, part in parts.items()}, index
    )


def _predicted(data: IVData, z: FloatArray) -> FloatArray:
    """Least squares of the treatment on covariates and instrument."""
    both = np.column_stack([data.X, z])
    root = np.ones(data.nobs) if data.weights is None else np.sqrt(data.weights)
    found = least_squares(both * root[:, None], data.D[:, 0] * root)
    return np.asarray(both @ found)


def _table(scores: FloatArray, chances: FloatArray, mass: FloatArray) -> pd.DataFrame:
    """Mean weight in equal steps of u, exactly: a row counts for the part of a step below its P."""
    edges = np.linspace(0.0, 1.0, STEPS + 1)
    step = np.minimum((chances * STEPS).astype(int), STEPS - 1)
    part = chances * STEPS - step  # of its own step; all of those before
    whole = np.bincount(step, scores, STEPS)[::-1].cumsum()[::-1]
    above = np.append(whole[1:], 0.0)
    middles = (edges[1:] + edges[:-1]) / 2
    order = np.argsort(chances, kind="stable")
    below = np.searchsorted(chances[order], middles, side="right")
    heaped = np.append(0.0, mass[order].cumsum())
    return pd.DataFrame(
        {
            "u": middles,
            "weight": above + np.bincount(step, scores * part, STEPS),
            "treated": 1.0 - heaped[below],
        }
    )
