"""Tests of an over-identified model that hold however weak its instruments: AR, LM and CLR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_level
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.sandwich import covariance_spec
from mlinstruments._core.tables import Printed, Table, number
from mlinstruments._core.typing import FloatArray

from .comparators import TSLS
from .confidence_set import ConfidenceSet
from .data import IVData
from .results import IVResults
from .same_call import ivmodels_tests, numeric_instruments, read_inputs

# Names of ivmodels' functions, less their endings.
HOMOSKEDASTIC = {"lm": "lagrange_multiplier", "clr": "conditional_likelihood_ratio"}
# How near ends of sets are found, in standard deviations of y over those of the treatment.
ENDS = 1e-8
LABELS = {
    "ar": "Anderson-Rubin, {}",
    "lm": "LM, homoskedastic",
    "clr": "Conditional LR, homoskedastic",
}


@dataclass(frozen=True, eq=False, repr=False)
class WeakInstrumentTests(Printed):
    """Three tests of the coefficients of the endogenous regressors, and the values they accept.

    Parameters
    ----------
    endog : tuple of str
    value : Series
        The tested coefficients, by name.
    tests : DataFrame
        Statistic and p-value of "ar", "lm" and "clr" (rows).
    sets : dict of method to dict of name to ConfidenceSet
        Of each coefficient by itself; "ar" is missing where its sets are only joint.
    results : IVResults
        2SLS, which the Anderson-Rubin test is of.
    """

    endog: tuple[str, ...]
    value: pd.Series
    tests: pd.DataFrame
    sets: Mapping[str, Mapping[str, ConfidenceSet]]
    results: IVResults

    @property
    def summary(self) -> Table:
        """One line a method, with its set for every coefficient."""
        labels = {m: LABELS[m].format(self.results.cov_label) for m in self.tests.index}
        rows = []
        for method, label in labels.items():
            test = self.tests.loc[method]
            sets = [str(self.sets[method][name]) for name in self.sets.get(method, {})]
            cells = (label, number(test["statistic"], 3), number(test["pvalue"]))
            rows.append(cells + tuple(sets or ["only jointly"] * len(self.endog)))
        level = next(iter(self.sets["lm"].values())).level
        heads = tuple(f"{100 * level:g}% set of {name}" for name in self.endog)
        tested = ", ".join(f"{name} = {number(v)}" for name, v in self.value.items())
        notes = (
            "LM and conditional LR take errors to be homoskedastic and independent, and have more"
            " power than Anderson-Rubin where that is so and instruments are many. LM may accept"
            " values far from the estimate, where the likelihood is flat: prefer conditional LR.",
        )
        return Table(
            f"Tests of {tested}: {self.results.dependent}",
            (),
            ("", "Statistic", "p-value", *heads),
            tuple(rows),
            notes,
        )

    def to_frame(self) -> pd.DataFrame:
        """Statistic, p-value, and a column for the set of each coefficient."""
        frame = self.tests.copy()
        for name in self.endog:
            frame[f"set of {name}"] = [self.sets.get(m, {}).get(name) for m in frame.index]
        return frame


def weak_instrument_tests(
    *data: Any,
    value: Any = 0.0,
    level: float = 0.95,
    weights: Any = None,
    clusters: Any = None,
    cov_type: str | None = None,
    debiased: bool = False,
    bandwidth: int | None = None,
) -> WeakInstrumentTests:
    """Anderson-Rubin, LM and conditional LR tests of a model with its instruments as they are.

    Parameters
    ----------
    *data
        ``dependent, exog, endog, instruments`` as in :meth:`TSLS.fit`, or a formula and a data
        frame as in :meth:`TSLS.fit_formula`.
    value : float, sequence of floats, or mapping of names to floats
        Coefficients of the endogenous regressors to be tested, jointly.
    level : float
        Of the sets.
    weights : array, shape (n,), optional
        Analytic weights.
    clusters, cov_type, debiased, bandwidth
        As in :meth:`TSLS.fit`, for the Anderson-Rubin test. LM and conditional LR take errors to
        be homoskedastic whatever is given here, and say so.

    Returns
    -------
    WeakInstrumentTests

    Raises
    ------
    InputError
        Where the data or the value cannot be used, or instruments are as many as endogenous
        regressors: then all three tests are one.
    MissingExtraError
        Without the package ivmodels (``pip install 'mlinstruments[ivmodels]'``).

    Notes
    -----
    LM and conditional LR are those of ivmodels. With several endogenous regressors their sets for
    one coefficient leave the others unrestricted, at their LIML estimates given it.

    References
    ----------
    Kleibergen (2002), doi:10.1111/1468-0262.00353; Moreira (2003), doi:10.1111/1468-0262.00438.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import weak_instrument_tests
    >>> rng = np.random.default_rng(0)
    >>> z, u = rng.normal(size=(400, 3)), rng.normal(size=400)
    >>> d = 0.3 * z.sum(axis=1) + u + rng.normal(size=400)
    >>> found = weak_instrument_tests(d + u, np.ones(400), d, z, value=1.0)
    >>> 1.0 in found.sets["clr"]["endog"], bool(found.tests.loc["clr", "pvalue"] > 0.05)
    (True, True)
    """
    check_level(level)
    tests = ivmodels_tests()
    read = read_inputs(data, weights, clusters, takes_missing=False)
    tested = _tested(value, read.endog)
    columns = _columns(read)
    if columns.Z.shape[1] == len(tested):
        raise InputError(
            f"LM and conditional LR need more instruments than the {len(tested)} endogenous"
            " regressors; with as many they are the Anderson-Rubin test: use"
            " TSLS().fit(...).conf_int(method='ar')."
        )
    spec = covariance_spec(cov_type, debiased, bandwidth, read.clusters)
    res = TSLS()._fit(read, spec)
    own = res.anderson_rubin(tested if len(tested) > 1 else tested[0])
    sets: dict[str, dict[str, ConfidenceSet]] = {}
    if not res._joint_only:
        found = res.conf_int(level, method="ar")
        sets["ar"] = found if isinstance(found, dict) else {read.endog[0]: found}
    rows = {"ar": (own.statistic, own.pvalue)}
    for method, function in HOMOSKEDASTIC.items():
        statistic, pvalue = getattr(tests, f"{function}_test")(
            **columns.of(range(len(tested))), beta=columns.scaled(tested), fit_intercept=False
        )
        rows[method] = (float(statistic), float(pvalue))
        inverse = getattr(tests, f"inverse_{function}_test")
        sets[method] = {
            name: columns.unscaled(
                inverse(
                    **columns.of([j]), alpha=1 - level, fit_intercept=False, tol=ENDS
                ).boundaries,
                j,
                level,
                LABELS[method],
            )
            for j, name in enumerate(read.endog)
        }
    table = pd.DataFrame(rows, index=["statistic", "pvalue"]).T
    return WeakInstrumentTests(
        read.endog, pd.Series(tested, list(read.endog), name="value"), table, sets, res
    )


def _tested(value: Any, endog: tuple[str, ...]) -> FloatArray:
    if isinstance(value, Mapping):
        if set(value) != set(endog):
            raise InputError(f"value needs {', '.join(endog)}; got {', '.join(map(str, value))}.")
        value = [value[name] for name in endog]
    found = np.atleast_1d(np.asarray(value, dtype=float))
    if found.shape == (1,):
        found = np.repeat(found, len(endog))
    if found.shape != (len(endog),) or not np.isfinite(found).all():
        raise InputError(
            f"value must be a finite number for each of {', '.join(endog)}; got {value!r}."
        )
    return found


@dataclass(frozen=True)
class _Columns:
    """What ivmodels is given: root-weighted, and of unit variance as it searches on a fixed grid.

    Parameters
    ----------
    y : array, shape (n,)
    D : array, shape (n, d)
    X : array, shape (n, p)
    Z : array, shape (n, q)
    units : array, shape (d,)
        Of a coefficient: the scale of y over that of its column of D.
    """

    y: FloatArray
    D: FloatArray
    X: FloatArray
    Z: FloatArray
    units: FloatArray

    def of(self, tested: Any) -> dict[str, Any]:
        """Arguments for a test of these coefficients, the others left unrestricted."""
        others = np.delete(self.D, list(tested), axis=1)
        found = {"Z": self.Z, "X": self.D[:, list(tested)], "y": self.y, "C": self.X}
        return found | ({"W": others} if others.shape[1] else {})

    def scaled(self, value: FloatArray) -> FloatArray:
        """Coefficients in these columns' units."""
        return np.asarray(value / self.units)

    def unscaled(self, found: Any, j: int, level: float, kind: str) -> ConfidenceSet:
        """Intervals in the units of the data."""
        ends = [(float(a) * self.units[j], float(b) * self.units[j]) for a, b in sorted(found)]
        return ConfidenceSet(tuple((float(a), float(b)) for a, b in ends), level, kind)


def _columns(data: IVData) -> _Columns:
    root = np.ones(data.nobs) if data.weights is None else np.sqrt(data.weights)
    y, D, X, Z = (
        root[:, None] * values
        for values in (data.y[:, None], data.D, data.X, numeric_instruments(data))
    )
    scale = data.y.std(), data.D.std(axis=0)
    return _Columns(y[:, 0] / scale[0], D / scale[1], X, Z, scale[0] / scale[1])
