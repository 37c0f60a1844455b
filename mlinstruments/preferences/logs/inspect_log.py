"""Logs of inspect_ai."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from mlinstruments._core.exceptions import InputError, MissingExtraError
from mlinstruments.preferences.readers import (
    shown,
)

from .answers import Parser, add_protocols, answered, left_out


def read_inspect(path: Any, parse: Parser, protocols: Any = None) -> pd.DataFrame:
    """Read a log of inspect_ai, .eval or .json.

    Parameters
    ----------
    path : str, Path or EvalLog
    parse : callable
        From the text of an answer to (status, choice).
    protocols : sequence of Protocol or data frame, optional
        Joined on the samples' metadata ``protocol_id``; not needed where metadata also has game
        and payoffs.

    Returns
    -------
    DataFrame
        One row a sample and epoch: the sample's metadata, ``draw`` (the epoch), ``model``,
        ``temperature`` where set, ``sample``, ``task``, status, strategy (action where metadata
        has a node) and raw. Samples that ended in an error are left out with a warning that
        counts them.

    Raises
    ------
    InputError
        Where the log holds no samples, or a sample names no known protocol.
    MissingExtraError
        Where inspect_ai is not installed.

    Examples
    --------
    Answers that are bare digits, of a log whose samples' metadata name the protocol:

    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences.logs import read_inspect
    >>> from mlinstruments.preferences.logs.answers import digits
    >>> read_inspect("log.eval", parse=digits, protocols=default_grid())  # doctest: +SKIP
    """
    log, source = _inspect_log(path)
    if not log.samples:
        raise InputError(f"{source} holds no samples (status {log.status}).")
    failed = [s for s in log.samples if s.error is not None or not s.output.choices]
    reasons = (_sample_error(s) for s in failed)
    left_out(source, reasons, "samples without an answer are")
    absent = {id(s) for s in failed}
    kept = [s for s in log.samples if id(s) not in absent]
    if not kept:
        raise InputError(f"{source} holds no answer: every sample ended in an error.")
    table = pd.DataFrame([_sample_row(log, sample) for sample in kept])
    texts = [
        None if s.output.stop_reason == "content_filter" else s.output.completion for s in kept
    ]
    return answered(add_protocols(table, protocols, source), texts, parse, source)


def _inspect_log(path: Any) -> tuple[Any, str]:
    if hasattr(path, "samples"):
        return path, str(getattr(path, "location", "") or "inspect log")
    try:
        from inspect_ai.log import read_eval_log  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise MissingExtraError("inspect_ai", "inspect") from None
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        return read_eval_log(str(path)), str(path)
    except Exception as error:
        raise InputError(f"{path} is not a whole inspect_ai log: {shown(error, 200)}.") from None


def _sample_error(sample: Any) -> str:
    if sample.error is None:
        return "no output"
    return str(sample.error.message).partition("\n")[0][:60] or "error"


def _sample_row(log: Any, sample: Any) -> dict[str, Any]:
    fields = sample.metadata.items()
    plain = {k: v for k, v in fields if v is None or isinstance(v, str | int | float)}
    row = {"model": log.eval.model, "task": log.eval.task, "sample": sample.id}
    configs = (log.plan.config, log.eval.model_generate_config)  # of the run, of the model
    temperature = next((c.temperature for c in configs if c.temperature is not None), None)
    if temperature is not None:
        row["temperature"] = temperature
    return {**row, "draw": sample.epoch, **plain}
