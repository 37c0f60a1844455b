"""What repeated prices show: deviations and punishments, responses to a cut, regressions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError

from ..regression import Regression, clustered_ols
from .compete import compete
from .competition import Competition
from .market import Market


def deviations(run: Competition, cut: float = 0.05, window: int = 5) -> pd.DataFrame:
    """Price cuts, and what the others did after them.

    A deviation is a fall of a firm's own price by at least ``cut`` from one period to the next that
    undercuts every other firm's price of the period before. A punishment is a fall of the others'
    lowest price by at least ``cut`` below where it stood before, within ``window`` periods.

    Parameters
    ----------
    run : Competition
    cut : float
        In units of money.
    window : int
        Periods after the deviation that are looked at.

    Returns
    -------
    DataFrame, one row a deviation
        ``session``, ``period``, ``firm``, ``agent``, ``cut``, ``forced``; ``response``, the largest
        fall of the others' lowest price within the window (negative where it only rose);
        ``punished``; ``delay``, periods until then, and ``regained``, whether the deviator's price
        was back within ``cut`` of its old level by the end of the window. Deviations whose window
        the run does not hold whole are left out.

    Raises
    ------
    InputError
        Where there is one firm, or cut or window are not positive.

    Examples
    --------
    >>> from mlinstruments.applications.pricing import (
    ...     Market, ScriptedFirm, TitForTatFirm, compete, deviations)
    >>> firms = [ScriptedFirm([1.9, 1.9, 1.6, 1.9]), TitForTatFirm()]
    >>> found = deviations(compete(Market(), firms, periods=9))
    >>> found[["period", "firm", "punished", "delay"]].to_numpy().tolist()
    [[3, 0, True, 1]]
    """
    check_count(window, "window", 1)
    if not cut > 0:
        raise InputError(f"cut must be positive; got {cut!r}.")
    if run.market.n_firms < 2:
        raise InputError("deviations need at least two firms; there is one.")
    forced = {
        (row["session"], row["period"], row["firm"])
        for row in run.rows
        if row["status"] == "forced"
    }
    rows = []
    _, periods, n = run.prices.shape
    for firm in range(n):
        own = run.prices[:, :, firm]
        others = np.delete(run.prices, firm, axis=2).min(axis=2)
        # Period 0 was chosen by nobody: a fall from it is none.
        fall = own[:, 1:-1] - own[:, 2:]
        found = (fall >= cut) & (own[:, 2:] < others[:, 1:-1])
        for session, k in np.argwhere(found):
            t = int(k) + 2
            if t + window >= periods:
                continue
            falls = others[session, t - 1] - others[session, t + 1 : t + 1 + window]
            back = own[session, t + 1 : t + 1 + window] >= own[session, t - 1] - cut
            punished = bool((falls >= cut).any())
            rows.append(
                {
                    "session": int(session),
                    "period": t,
                    "firm": firm,
                    "agent": run.names[firm],
                    "cut": float(own[session, t - 1] - own[session, t]),
                    "forced": (int(session), t, firm) in forced,
                    "response": float(falls.max()),
                    "punished": punished,
                    "delay": int((falls >= cut).argmax()) + 1 if punished else pd.NA,
                    "regained": bool(back[-1]),
                }
            )
    names = ["session", "period", "firm", "agent", "cut", "forced", "response", "punished"]
    table = pd.DataFrame(rows, columns=[*names, "delay", "regained"])
    return table.sort_values(["session", "period", "firm"], ignore_index=True)


def impulse_response(
    market: Market,
    firms: Sequence[Any],
    firm: int = 0,
    price: float | None = None,
    at: int = 200,
    after: int = 30,
    log: str | Path | None = None,
    **options: Any,
) -> pd.DataFrame:
    """How prices meet a cut that one firm is made to take for one period.

    Two runs with the same random numbers, with and without the forced price; the response is their
    difference.

    Parameters
    ----------
    market, firms :
        As in :func:`compete`.
    firm : int
        Who is forced.
    price : float, optional
        By default the best one against what the others charge in that period of the run without,
        on average over sessions.
    at : int
        Period of the cut.
    after : int
        Periods after it.
    log : str or Path, optional
        Of the run without the cut; the other's is kept beside it as ``<log>.forced.jsonl``.
    **options
        Of :func:`compete`, such as ``sessions``.

    Returns
    -------
    DataFrame, by period from the one before the cut
        Means over sessions: ``deviator`` and ``others``, prices in the run with the cut;
        ``deviator_response`` and ``others_response``, less those in the run without; ``profit``,
        what the deviator gains on it; and standard errors over sessions, ``_se``.

    Raises
    ------
    InputError
        As :func:`compete`.

    Examples
    --------
    >>> from mlinstruments.applications.pricing import Market, TitForTatFirm, impulse_response
    >>> found = impulse_response(
    ...     Market(), [TitForTatFirm(), TitForTatFirm()], price=1.5, at=5, after=3)
    >>> found["others_response"].round(3).tolist()
    [0.0, 0.0, -0.425, 0.0, -0.425]
    """
    check_count(at, "at", 1)
    check_count(after, "after", 1)
    n = market.n_firms
    if firm not in range(n) or n < 2:
        raise InputError(f"firm must be one of at least two, 0 to {n - 1}; got {firm!r}.")
    if {"forced", "periods"} & set(options):
        raise InputError("impulse_response sets periods and forced itself: leave them out.")
    periods = at + after
    second = None if log is None else Path(log).with_suffix(".forced.jsonl")
    calm = compete(market, firms, periods, log=log, **options)
    if price is None:
        price = market.best_response(calm.prices[:, at].mean(axis=0), firm)
    shaken = compete(
        market, firms, periods, log=second, forced={at: {firm: float(price)}}, **options
    )
    window = slice(at - 1, None)
    profits = [market.profit(run.prices[:, window])[..., firm] for run in (shaken, calm)]
    own = [run.prices[:, window, firm] for run in (shaken, calm)]
    others = [np.delete(run.prices[:, window], firm, axis=2).mean(axis=2) for run in (shaken, calm)]
    columns = {
        "deviator": own[0],
        "others": others[0],
        "deviator_response": own[0] - own[1],
        "others_response": others[0] - others[1],
        "profit": profits[0] - profits[1],
    }
    table = pd.DataFrame(index=pd.RangeIndex(-1, after + 1, name="period"))
    for name, values in columns.items():
        table[name] = values.mean(axis=0)
    for name, values in columns.items():
        table[f"{name}_se"] = pd.DataFrame(values).sem().to_numpy()
    return table


def regress_prices(
    run: Competition,
    formula: str = "price ~ own_last + others_last",
    after: int = 0,
    clusters: str = "session",
) -> Regression:
    """Least squares of prices on what was charged before, clustered by session.

    Parameters
    ----------
    run : Competition
    formula : str
        Columns are those of ``run.frame``, and ``own_last`` and ``others_last``, the firm's price
        and the mean of the others' one period before. Any formula of patsy, with treatments such as
        ``C(prefix)`` and ``np.log(currency)``.
    after : int
        Periods left out at the beginning.
    clusters : str

    Returns
    -------
    Regression
        Over prices that were chosen; those carried over or forced are left out.

    Raises
    ------
    InputError
        Where the formula cannot be used, or there is one session.

    Examples
    --------
    >>> from mlinstruments.applications.pricing import (
    ...     LogitFirm, Market, compete, regress_prices)
    >>> run = compete(Market(), [LogitFirm(0.5), LogitFirm(0.5)], periods=40, sessions=12)
    >>> regress_prices(run).params.index.tolist()
    ['Intercept', 'own_last', 'others_last']
    """
    return clustered_ols(formula, price_table(run, after), clusters)


def price_table(run: Competition, after: int = 0) -> pd.DataFrame:
    """Chosen prices with the prices of the period before, one row each."""
    check_count(after, "after", 0)
    frame = run.frame.copy()
    place = tuple(frame[name].to_numpy() for name in ("session", "period", "firm"))
    before = (place[0], place[1] - 1, place[2])
    n = run.market.n_firms
    frame["own_last"] = run.prices[before]
    total = run.prices.sum(axis=2, keepdims=True) - run.prices
    frame["others_last"] = total[before] / (n - 1) if n > 1 else np.nan
    chosen = (frame["status"] == "ok") & (frame["period"] > after)
    return frame[chosen].reset_index(drop=True)
