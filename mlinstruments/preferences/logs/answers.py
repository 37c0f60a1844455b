"""What every reader of answers shares: parsing, protocols, counting what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments._core.warn import warn_user
from mlinstruments.games.protocols import Protocol, protocols_from_rows
from mlinstruments.preferences.columns import PAYOFFS
from mlinstruments.preferences.excluded import STATUSES
from mlinstruments.preferences.readers import as_pandas, shown, where

Parser = Callable[[str], tuple[str, Any]]


def digits(text: str) -> tuple[str, str | None]:
    """Status and choice of an answer that is nothing but digits 0 and 1.

    Examples
    --------
    >>> digits(" 01 "), digits("I choose 01")
    (('ok', '01'), ('parse_error', None))
    """
    bare = text.strip()
    good = bare != "" and set(bare) <= {"0", "1"}
    return ("ok", bare) if good else ("parse_error", None)


def add_protocols(table: pd.DataFrame, protocols: Any, source: str) -> pd.DataFrame:
    """Add game and payoffs to rows that name their protocol.

    Parameters
    ----------
    table : DataFrame
        With ``protocol_id``.
    protocols : sequence of Protocol, or data frame, or None
        A frame has columns protocol_id, game, T, R, P, S. None where the table has them.
    source : str
        What to call the table in errors.

    Returns
    -------
    DataFrame

    Raises
    ------
    InputError
        Where a row names no protocol or an unknown one.

    Examples
    --------
    >>> rows = pd.DataFrame({"protocol_id": ["a"], "strategy": ["01"]})
    >>> add_protocols(rows, [Protocol("tg", 80, 50, 30, 20, id="a")], "log")["T"].tolist()
    [80]
    """
    if "protocol_id" not in table.columns:
        raise InputError(f"{source} names no protocol: there is no protocol_id.")
    if protocols is None:
        return table
    known = {p.id: p for p in _protocols(protocols)}
    ids = table["protocol_id"].astype(str)
    unknown = ~ids.isin(list(known))
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        raise InputError(
            f"{source}, {where(table, row)}: protocol_id"
            f" {shown(table['protocol_id'].iloc[row])} is not among the protocols given."
        )
    added = {
        name: ids.map({i: getattr(p, name) for i, p in known.items()})
        for name in ("game", *PAYOFFS)
    }
    return table.assign(protocol_id=ids, **added)


def _protocols(given: Any) -> Sequence[Protocol]:
    if isinstance(given, list | tuple) and all(isinstance(p, Protocol) for p in given):
        return given
    return protocols_from_rows(as_pandas(given, "protocols").to_dict("records"), "protocols")


def answered(
    table: pd.DataFrame, texts: Iterable[str | None], parse: Parser, source: str
) -> pd.DataFrame:
    """Add raw, status and the choice read from each text; a missing text is a refusal.

    Parameters
    ----------
    table : DataFrame
        The choice becomes ``action`` where there is a column ``node``, else ``strategy``.
    texts : iterable of str or None
    parse : callable
        From text to (status, choice).
    source : str
        What to call the table in errors.
    """
    raw = list(texts)
    read = [("refusal", None) if text is None else parse(text) for text in raw]
    for row, got in enumerate(read):
        if not (isinstance(got, tuple) and len(got) == 2 and got[0] in STATUSES):
            raise InputError(
                f"{source}, {where(table, row)}: parse must return (status, choice) with a status"
                f" of {', '.join(STATUSES)}; got {shown(got)}."
            )
    choice = "action" if "node" in table.columns else "strategy"
    return table.assign(
        **{"status": [status for status, _ in read], choice: [made for _, made in read]}, raw=raw
    )


def left_out(source: str, reasons: Iterable[str], what: str) -> None:
    counted = Counter(reasons)
    if counted:
        words = ", ".join(f"{reason} {n}" for reason, n in counted.most_common(5))
        warn_user(
            f"{source}: {counted.total()} {what} left out ({words}).",
            MissingRowsWarning,
        )


def require(table: pd.DataFrame, names: Sequence[str], source: str) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        near = ", ".join(str(c) for c in table.columns if not str(c).startswith("_"))
        raise InputError(f"{source} has no column {missing[0]!r}; there are {shown(near, 300)}.")


def as_text(value: Any) -> str:
    """An answer as text; whole numbers without the decimals a column with gaps gives them."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
