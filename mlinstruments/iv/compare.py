"""Several results side by side: one column a model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.tables import Table, number

from .confidence_set import ConfidenceSet
from .results import IVResults
from .summary import JOINT_ONLY


def compare(results: Mapping[str, IVResults], all_coefficients: bool = False) -> Table:
    """Estimates, standard errors, Anderson-Rubin sets and first stages side by side.

    Parameters
    ----------
    results : mapping of name to results
        In the order of the columns.
    all_coefficients : bool
        Also show the exogenous regressors.

    Returns
    -------
    Table
        Prints as text, renders as HTML in a notebook, and has ``as_latex()``.

    Raises
    ------
    InputError
        Where there is no result, or something that is none.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import OLS, TSLS, compare
    >>> rng = np.random.default_rng(0)
    >>> z, u = rng.normal(size=(2, 200))
    >>> data = (z + 2 * u, np.ones(200), z + u, z)
    >>> table = compare({"OLS": OLS().fit(*data), "2SLS": TSLS().fit(*data)})
    >>> table.columns
    ('', 'OLS', '2SLS')
    """
    check_results(results, "compare")
    models = list(results.values())
    rows: list[tuple[str, ...]] = []
    for name in _coefficients(models, all_coefficients):
        rows.append((name, *(_estimate(res, name) for res in models)))
        rows.append(("", *(_error(res, name) for res in models)))
    for name in dict.fromkeys(name for res in models for name in res.endog):
        rows.append((f"AR 95% {name}", *(_set(res, name) for res in models)))
        rows.append((f"First-stage F {name}", *(_f(res, name) for res in models)))
    rows.append(("Observations", *(str(res.nobs) for res in models)))
    rows.append(("Covariance", *(res.cov_label for res in models)))
    rows.append(("First stage", *(res.learner for res in models)))
    dependents = ", ".join(dict.fromkeys(res.dependent for res in models))
    notes = ("Standard errors in parentheses.",)
    return Table(f"Dependent: {dependents}", (), ("", *results), tuple(rows), notes)


def check_results(results: Mapping[str, IVResults], asker: str) -> None:
    """Raise unless there is something to show, and results only; ``asker`` is a function's name."""
    if not results:
        raise InputError(f"{asker} needs at least one result: {asker}({{'2SLS': res}}).")
    for name, res in results.items():
        if not isinstance(res, IVResults):
            raise InputError(f"{asker} shows results of fit(); {name!r} is a {type(res).__name__}.")


def _coefficients(models: list[IVResults], everything: bool) -> list[str]:
    names = [name for res in models for name in res.endog]
    if everything:
        names += [name for res in models for name in res.exog]
    return list(dict.fromkeys(names))


def _estimate(res: IVResults, name: str) -> str:
    return number(float(res.params[name])) if name in res.params.index else ""


def _error(res: IVResults, name: str) -> str:
    if name not in res.params.index:
        return ""
    error = float(res.std_errors[name])
    return f"({number(error)})" if np.isfinite(error) else "(-)"


def _set(res: IVResults, name: str) -> str:
    if not res.ar or name not in res.endog:
        return ""
    if res._joint_only:
        return JOINT_ONLY
    found = res.conf_int(method="ar")
    chosen = found if isinstance(found, ConfidenceSet) else found[name]
    return "whole line" if chosen.is_whole_line else str(chosen)


def _f(res: IVResults, name: str) -> str:
    if res.first_stage is None or name not in res.first_stage.f.index:
        return ""
    return number(float(res.first_stage.f[name]), 2)
