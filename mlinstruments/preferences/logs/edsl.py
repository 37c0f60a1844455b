"""Results of EDSL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mlinstruments.preferences.readers import (
    as_pandas,
    read_table,
)

from .answers import Parser, add_protocols, answered, as_text, digits, left_out, require


def read_edsl(
    results: Any,
    answers: str | Sequence[str],
    protocols: Any = None,
    parse: Parser = digits,
    protocol: str = "scenario.protocol_id",
) -> pd.DataFrame:
    """Read Results of EDSL.

    Parameters
    ----------
    results : Results, data frame, or path of a CSV file
        With EDSL's columns such as ``answer.*`` and ``scenario.*``.
    answers : str or sequence of str
        Name of the question that asks for a strategy, or of one question a node, in their order.
    protocols : sequence of Protocol or data frame, optional
        Not needed where scenarios have game and payoffs.
    parse : callable
        From an answer as text to (status, choice); by default bare digits.
    protocol : str
        Column with the protocol's id.

    Returns
    -------
    DataFrame
        With ``subject`` (the agent), ``model``, ``temperature``, ``draw`` (the iteration) and
        the scenario's fields. Questions the model server never answered are left out with a
        warning that counts them; answers EDSL did not accept are parse errors.

    Raises
    ------
    InputError
        Naming a column that is missing, or the row.

    Examples
    --------
    >>> import pandas as pd
    >>> from mlinstruments.games import Protocol
    >>> from mlinstruments.preferences.logs import read_edsl
    >>> results = pd.DataFrame({"scenario.protocol_id": ["a"], "agent.agent_name": ["ann"],
    ...                         "model.model": ["toy"], "answer.choice": ["01"]})
    >>> found = read_edsl(results, "choice", [Protocol("tg", 80, 50, 30, 20, id="a")])
    >>> found[["subject", "model", "status", "strategy"]].iloc[0].tolist()
    ['ann', 'toy', 'ok', '01']
    """
    table, source = _edsl_table(results)
    asked = [answers] if isinstance(answers, str) else list(answers)
    require(table, [protocol, *(f"answer.{name}" for name in asked)], source)
    base = _edsl_base(table, protocol)
    frames = []
    for node, name in enumerate(asked):
        one = base if isinstance(answers, str) else base.assign(node=node)
        given = table[f"answer.{name}"]
        wrote = table.get(f"generated_tokens.{name}_generated_tokens", given).notna()
        kept = (given.notna() | wrote).to_numpy()
        left_out(source, ["no answer"] * int((~kept).sum()), f"answers to {name} are")
        texts = ["" if pd.isna(value) else as_text(value) for value in given[kept]]
        frames.append(answered(one[kept], texts, parse, source))
    joined = pd.concat(frames).sort_index(kind="stable")
    return add_protocols(joined, protocols, source).reset_index(drop=True)


def _edsl_table(results: Any) -> tuple[pd.DataFrame, str]:
    if isinstance(results, str | Path):
        return read_table(results, text=True), str(results)
    # EDSL's own Results have a survey; data frames of other libraries may also have to_pandas.
    found = results.to_pandas() if hasattr(results, "survey") else results
    return as_pandas(found, "results"), "results"


def _edsl_base(table: pd.DataFrame, protocol: str) -> pd.DataFrame:
    known = {
        "model.model": "model",
        "model.temperature": "temperature",
        "iteration.iteration": "draw",
    }
    base = table[[c for c in (*known, "_line") if c in table.columns]].rename(columns=known)
    for column in table.columns:
        name = str(column).removeprefix("scenario.")
        if name != column and name != "scenario_index":
            base[name] = table[column]
    for name in {"temperature", "draw"} & set(base.columns):
        base[name] = pd.to_numeric(base[name])
    base["protocol_id"] = table[protocol]
    return base.assign(subject=_edsl_subject(table))


def _edsl_subject(table: pd.DataFrame) -> Any:
    """Agents' names; EDSL makes up a new name a row for agents without one, then their number."""
    names, numbers = table.get("agent.agent_name"), table.get("agent.agent_index")
    if names is None:
        return 0 if numbers is None else numbers
    if numbers is not None and numbers.nunique() < names.nunique():
        return numbers
    return names
