"""Output of OpenAI batches, joined with the requests by custom_id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mlinstruments._core.exceptions import InputError
from mlinstruments.preferences.readers import (
    Faults,
    as_pandas,
    json_objects,
    shown,
)

from .answers import Parser, answered, left_out


def read_openai_batch(
    path: str | Path | Sequence[str | Path], requests: Any, parse: Parser, partial: bool = False
) -> pd.DataFrame:
    """Read the output of an OpenAI batch, chat completions or responses.

    Parameters
    ----------
    path : str or Path, or several
        Output file, and error file where there is one.
    requests : data frame
        One row a request: ``custom_id`` and the columns of a log, such as subject, protocol_id,
        game, T, R, P, S, draw and perhaps node.
    parse : callable
        From the text of an answer to (status, choice). Refusals, and answers the server's filter
        withheld, are counted as such without being parsed.
    partial : bool
        Keep the readable lines of a damaged file, with a warning that counts the others.

    Returns
    -------
    DataFrame
        Requests with ``strategy`` (``action`` where requests have a node), status, raw and model.
        Failed and unanswered requests are left out with a warning that counts them by reason.

    Raises
    ------
    InputError
        Naming the line: a custom_id that is unknown or answered twice.

    Examples
    --------
    >>> import pandas as pd
    >>> import json, pathlib, tempfile
    >>> from mlinstruments.preferences.logs import read_openai_batch
    >>> from mlinstruments.preferences.logs.answers import digits
    >>> body = {"model": "toy", "choices": [{"message": {"content": "10"}}]}
    >>> line = {"custom_id": "r1", "response": {"status_code": 200, "body": body}}
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "batch_output.jsonl"
    >>> _ = path.write_text(json.dumps(line))
    >>> asked = pd.DataFrame([{"custom_id": "r1", "protocol_id": "a", "game": "tg",
    ...                        "T": 80, "R": 50, "P": 30, "S": 20}])
    >>> found = read_openai_batch(path, asked, parse=digits)
    >>> found[["model", "status", "strategy"]].iloc[0].tolist()
    ['toy', 'ok', '10']
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    asked = as_pandas(requests, "requests")
    if "custom_id" not in asked.columns or asked["custom_id"].duplicated().any():
        raise InputError("requests need a column custom_id, different in every row.")
    position = {str(name): row for row, name in enumerate(asked["custom_id"])}
    rows: list[tuple[Any, ...]] = []
    failures: list[str] = []
    seen: dict[str, str] = {}
    for one in paths:
        for number, record in _batch_lines(one, partial):
            name = _checked_id(record, position, seen, f"{one}, line {number}")
            reason = _failure(record)
            if reason:
                failures.append(reason)
                continue
            body = record["response"]["body"]
            rows += [
                (position[name], number, body.get("model"), draw, text)
                for draw, text in enumerate(_texts(body))
            ]
    failures += ["no line in the output"] * (len(asked) - len(seen))
    source = ", ".join(map(str, paths))
    left_out(source, failures, "requests without an answer are")
    return _joined(asked, rows, parse, source)


def _batch_lines(path: str | Path, partial: bool) -> Iterable[tuple[int, dict[str, Any]]]:
    faults = Faults(str(path), partial)
    yield from json_objects(path, faults)
    faults.warn()


def _checked_id(
    record: Mapping[str, Any], known: Mapping[str, int], seen: dict[str, str], place: str
) -> str:
    name = record.get("custom_id")
    if not isinstance(name, str) or name not in known:
        raise InputError(f"{place}: custom_id {shown(name)} is not among the requests.")
    if name in seen:
        raise InputError(f"{place}: custom_id {shown(name)} is also in {seen[name]}.")
    seen[name] = place
    return name


def _failure(record: Mapping[str, Any]) -> str:
    """Why the server gave no answer; empty where it did."""
    response = _mapping(record.get("response"))
    body = _mapping(response.get("body"))
    error = _mapping(record.get("error")) or _mapping(body.get("error"))
    if error or record.get("error") or not body:
        return str(error.get("code") or error.get("type") or "error")
    status = response.get("status_code", 200)
    return "" if status == 200 else f"HTTP {status}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(body: Mapping[str, Any]) -> list[str | None]:
    """The answers of a request: one a choice, None where refused."""
    if body.get("object") == "response":
        return [_response_text(body)]
    return [_chat_text(choice) for choice in body.get("choices", [])]


def _chat_text(choice: Mapping[str, Any]) -> str | None:
    message = choice.get("message") or {}
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        return None
    return message.get("content") or ""


def _response_text(body: Mapping[str, Any]) -> str | None:
    parts = [
        part
        for item in body.get("output", [])
        if item.get("type") == "message"
        for part in item.get("content", [])
    ]
    reason = (body.get("incomplete_details") or {}).get("reason")
    if reason == "content_filter" or any(part.get("type") == "refusal" for part in parts):
        return None
    return "".join(part["text"] for part in parts if part.get("type") == "output_text")


def _joined(
    asked: pd.DataFrame, rows: list[tuple[Any, ...]], parse: Parser, source: str
) -> pd.DataFrame:
    got = pd.DataFrame(rows, columns=["request", "_line", "model", "draw", "raw"])
    table = asked.iloc[got["request"].to_numpy(int)].reset_index(drop=True)
    table["_line"] = got["_line"]
    if "model" not in table.columns:
        table["model"] = got["model"]
    if (got["draw"] > 0).any():  # several answers to one request
        if "draw" in table.columns:
            raise InputError(
                f"{source}: requests with several answers (n > 1) number their draws themselves:"
                " leave out the column draw of requests."
            )
        table["draw"] = got["draw"]
    return answered(table, [row[4] for row in rows], parse, source)
