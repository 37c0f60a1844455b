"""What is kept of a tuning run in its folder, and whether its data set is what it says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mlinstruments._core.exceptions import InputError

from .examples import FILES, MANIFEST
from .training import write_whole

SETTINGS, RESULT, MERGED = "settings.json", "result.json", "merged"
COMPLETIONS = tuple(name for name in FILES if name.endswith(".completion.jsonl"))


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """What :func:`finetune` returns.

    Parameters
    ----------
    folder : Path
    settings : dict
        What the numbers depend on.
    history : DataFrame
        One row a step: loss; where validated: valid_loss, valid_exact and valid_decided (see
        :class:`.Quality`), NaN elsewhere.
    best_step : int
        Steps after which the weights kept were reached.
    seconds : float
        Of training and validation, over all runs it took.
    """

    folder: Path
    settings: dict[str, Any]
    history: pd.DataFrame
    best_step: int
    seconds: float

    @property
    def merged(self) -> Path:
        """Folder of the tuned model, adapters merged in, with its tokenizer."""
        return self.folder / MERGED


def group_size(source: Path, examples: int, batch: int) -> int:
    """How many examples stay together: those of one situation."""
    group = int(_manifest(source).get("group", 1))
    if examples % group or batch % group:
        raise InputError(
            f"batch={batch} and the {examples} examples must be multiples of {group}: the label"
            " orders of a situation stay together."
        )
    if batch > examples:
        raise InputError(f"batch={batch} is more than the {examples} examples there are.")
    return group


def _manifest(source: Path) -> dict[str, Any]:
    """What is said of a data set that this package made, and still holds; nothing of others."""
    path = source / MANIFEST
    again = "make it again with make_dataset, in another folder."
    if not path.exists():
        if any((source / name).exists() for name in COMPLETIONS):
            raise InputError(f"{source} holds a data set without {MANIFEST}, not whole: {again}")
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path} is no JSON: {again}") from None
    for name, known in found.get("sha256", {}).items():
        if name not in COMPLETIONS and known != _file_sum(source / name):
            raise InputError(
                f"{source / name} is not the file that {MANIFEST} speaks of: {again} Or remove"
                f" {MANIFEST} and the files {' and '.join(COMPLETIONS)}, if the order of examples"
                " does not matter."
            )
    return found


def _file_sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(chats: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(chats, sort_keys=True).encode()).hexdigest()


def begin(place: Path, settings: dict[str, Any]) -> None:
    """Note the settings of a run, or see that they are those of the run that is gone on with."""
    path = place / SETTINGS
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != settings:
            raise InputError(
                f"{place} holds a run with other settings, not finished: give it the same arguments"
                " to go on with it, or choose another folder."
            )
        return
    place.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(settings, indent=1).encode())


def finished(place: Path, settings: dict[str, Any]) -> FinetuneResult | None:
    """The result of a run that was finished here, if it was the same."""
    path = place / RESULT
    if not path.exists():
        return None
    notes = json.loads(path.read_text(encoding="utf-8"))
    if notes["settings"] != settings:
        raise InputError(
            f"{place} holds a model tuned with other settings: choose another folder, or remove"
            " it yourself."
        )
    if not (place / MERGED / "config.json").exists():
        raise InputError(
            f"{place} holds the result of a run whose model, {MERGED}/, is gone: remove {RESULT} to"
            " tune it again, or put the model back."
        )
    return result_of(place, notes)


def result_of(place: Path, notes: dict[str, Any]) -> FinetuneResult:
    history = pd.DataFrame(notes["history"]).set_index("step")
    return FinetuneResult(
        place, notes["settings"], history, int(notes["best_step"]), float(notes["seconds"])
    )
