"""The documentation lists everything public."""

from __future__ import annotations

import importlib
import re
from inspect import ismodule
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
ROOMS = (
    "mlinstruments",
    "mlinstruments.learning",
    "mlinstruments.simulation",
    "mlinstruments.games",
    "mlinstruments.preferences",
    "mlinstruments.preferences.logs",
)
DIRECTIVE = re.compile(
    r"^\.\. (currentmodule|module|auto\w+|py:data):: *([\w.]*)(?:\(\))?$", re.MULTILINE
)


def documented() -> list[Any]:
    """The objects that the directives of api.md name."""
    found, module = [], ""
    for kind, name in DIRECTIVE.findall((DOCS / "api.md").read_text(encoding="utf-8")):
        if kind in ("currentmodule", "module"):
            module = name
        elif kind != "autosummary":
            whole = name if name.startswith("mlinstruments.") else f"{module}.{name}"
            place, _, last = whole.rpartition(".")
            found.append(getattr(importlib.import_module(place), last))
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_documented(room: str) -> None:
    known = {id(thing) for thing in documented()}
    module = importlib.import_module(room)
    things = {name: getattr(module, name) for name in module.__all__}
    missing = {n for n, thing in things.items() if id(thing) not in known and not ismodule(thing)}
    assert missing == set()
