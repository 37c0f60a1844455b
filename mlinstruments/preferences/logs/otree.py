"""CSV exports of oTree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mlinstruments._core.exceptions import InputError
from mlinstruments.preferences.readers import (
    read_table,
    shown,
    where,
)

from .answers import add_protocols, as_text, require


def read_otree(
    path: str | Path,
    app: str,
    fields: Sequence[str],
    protocols: Any,
    protocol: str | Mapping[int, str] = "protocol",
    beliefs: Sequence[str] = (),
    codes: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Read a CSV file exported by oTree: all apps, wide, or one app.

    Parameters
    ----------
    path : str or Path
    app : str
        Name of the app.
    fields : sequence of str
        Player fields with the action at each node, in the nodes' order.
    protocols : sequence of Protocol or data frame
    protocol : str or mapping
        Player field with the protocol's id, or the id by round.
    beliefs : sequence of str
        Player fields with the believed probability of a one at each node of the other.
    codes : mapping of str to int, optional
        What stands for 0 and 1 in the file; by default 0 and 1, also False and True.

    Returns
    -------
    DataFrame
        One row a participant, round and node: ``subject`` (participant.code), ``session``,
        ``draw`` (the round), node, action (missing where the field was left blank) and beliefs.

    Raises
    ------
    InputError
        Naming a column that is missing, or the line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from mlinstruments.games import Protocol
    >>> from mlinstruments.preferences.logs import read_otree
    >>> columns = "participant.code,session.code,tg.1.player.trust,tg.1.player.reciprocate"
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "all_apps_wide.csv"
    >>> _ = path.write_text(columns + "\\nann,s1,1,0\\n")
    >>> protocols = [Protocol("tg", 80, 50, 30, 20, id="a")]
    >>> found = read_otree(path, "tg", ["trust", "reciprocate"], protocols, {1: "a"})
    >>> found[["subject", "node", "action"]].to_numpy().tolist()
    [['ann', 0, 1], ['ann', 1, 0]]
    """
    wide = read_table(path, text=True)
    needed = [*fields, *beliefs, *([protocol] if isinstance(protocol, str) else [])]
    frames = [
        _round_rows(wide[rows], number, stem, needed, str(path))
        for number, stem, rows in _rounds(wide, app, str(path))
    ]
    players = pd.concat(frames)
    given = players[protocol] if isinstance(protocol, str) else players["draw"].map(dict(protocol))
    base = players[["subject", "session", "draw", "_line"]].assign(protocol_id=given)
    for j, name in enumerate(beliefs, start=1):
        base[f"belief_{j}"] = _numbers(players, name, str(path))
    # A round no one reached names no protocol and holds no answer.
    reached = (base["protocol_id"].notna() | players[list(fields)].notna().any(axis=1)).to_numpy()
    table = add_protocols(base[reached], protocols, str(path))
    chosen = players[reached]
    meaning = {"0": 0, "1": 1, "False": 0, "True": 1} if codes is None else dict(codes)
    return pd.concat(
        [
            table.assign(node=j, action=_actions(chosen, name, meaning, str(path)))
            for j, name in enumerate(fields)
        ],
        ignore_index=True,
    )


def _rounds(wide: pd.DataFrame, app: str, source: str) -> list[tuple[Any, str, Any]]:
    """Round, prefix of its player columns, and rows that hold it."""
    if "subsession.round_number" in wide.columns:
        rounds = wide["subsession.round_number"].astype(int)
        return [(number, "player.", (rounds == number).to_numpy()) for number in rounds.unique()]
    start = f"{app}."
    numbers = {
        str(c).removeprefix(start).partition(".")[0]
        for c in wide.columns
        if str(c).startswith(start) and ".player." in str(c)
    }
    everyone = [True] * len(wide)
    found = [(int(n), f"{app}.{n}.player.", everyone) for n in numbers if n.isdigit()]
    if not found:
        raise InputError(f"{source} has no columns {app}.<round>.player.*: name an app in it.")
    return sorted(found)


def _round_rows(
    rows: pd.DataFrame, number: Any, stem: str, fields: list[str], source: str
) -> pd.DataFrame:
    require(rows, ["participant.code", "session.code", *(stem + name for name in fields)], source)
    columns = {name: rows[stem + name] for name in fields}
    return pd.DataFrame(
        {
            **columns,
            "subject": rows["participant.code"],
            "session": rows["session.code"],
            "draw": number,
            "_line": rows["_line"],
        }
    )


def _numbers(players: pd.DataFrame, name: str, source: str) -> Any:
    numbers = pd.to_numeric(players[name], errors="coerce")
    bad = (numbers.isna() & players[name].notna()).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        value = shown(players[name].iloc[row])
        raise InputError(f"{source}, {where(players, row)}: {name} must be a number; got {value}.")
    return numbers


def _actions(
    players: pd.DataFrame, name: str, meaning: Mapping[str, int], source: str
) -> list[int | None]:
    made: list[int | None] = []
    for row, value in enumerate(players[name]):
        text = None if pd.isna(value) else as_text(value)
        if text is not None and text not in meaning:
            raise InputError(
                f"{source}, {where(players, row)}: {name} is {shown(value)}; it must be one of"
                f" {', '.join(meaning)} (argument codes)."
            )
        made.append(None if text is None else meaning[text])
    return made
