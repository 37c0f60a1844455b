"""The documentation lists everything public, and shows what its code prints.

``python -m tests.test_docs`` writes the present output into the pages.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import doctest
import importlib
import io
import re
import runpy
import warnings
from inspect import isclass, isfunction, ismodule
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mlinstruments._core.exceptions import MissingRowsWarning

from .test_readme import ABSOLUTE, NUMBER, RELATIVE, Block, blocks, shown_and_printed, skeleton

DOCS = Path(__file__).resolve().parents[1] / "docs"
# Pages with code, and how many blocks of output each shows.
PAGES = {
    "exogeneity": 1,
    "strength": 1,
    "intervals": 1,
    "forbidden_regression": 1,
    "instrument": 2,
    "sensitivity": 3,
    "diagnostics": 3,
    "matches": 2,
    "preferences": 5,
    "agents": 3,
    "alignment": 2,
    "pricing": 5,
    "dilemmas": 3,
    "simulation": 1,
    "large_data": 1,
}
QUICK = ("benchmarks/matches_other_programs.py",)
ROOMS = (
    "mlinstruments",
    "mlinstruments.learning",
    "mlinstruments.simulation",
    "mlinstruments.games",
    "mlinstruments.preferences",
    "mlinstruments.preferences.logs",
    "mlinstruments.agents",
    "mlinstruments.alignment",
    "mlinstruments.applications.pricing",
    "mlinstruments.applications.dilemmas",
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


def strangers(source: str) -> set[str]:
    """Names that code uses without making or importing them."""
    used, known = set(), set(dir(builtins))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else known).add(node.id)
        elif isinstance(node, ast.alias):
            known.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            known.add(node.name)
    return used - known


def test_examples_run_when_pasted() -> None:
    finder = doctest.DocTestFinder()
    found = {
        (thing.__module__, test.name): strangers(
            "".join(example.source for example in test.examples)
        )
        for thing in documented()
        if isclass(thing) or isfunction(thing)
        for test in finder.find(thing)
    }
    assert {name: names for name, names in found.items() if names} == {}


def printed_by(page: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Block, str]]:
    """Blocks of output of a page, with what its code prints now, run beside the examples."""
    monkeypatch.chdir(DOCS.parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingRowsWarning)  # the page mentions it
        found = blocks(page.read_text(encoding="utf-8"))
        return shown_and_printed(found) + scripts_shown(found)


def scripts_shown(found: list[Block]) -> list[tuple[Block, str]]:
    """Blocks of output after the command of a benchmark that is quick enough to run here."""
    pairs = []
    for block, following in pairwise(found):
        command = block.contents.strip().removeprefix("python ")
        if command in QUICK and following.language == "text" and following.adjoins:
            script = runpy.run_path(command)
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                script["main"]()
            pairs.append((following, printed.getvalue()))
    return sorted(pairs, key=lambda pair: pair[0].span[0])


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.slow
def test_pages_show_what_their_code_prints(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = printed_by(DOCS / f"{name}.md", monkeypatch)
    assert len(pairs) == PAGES[name]
    for block, printed in pairs:
        assert skeleton(block.contents) == skeleton(printed)
        shown = [float(number) for number in NUMBER.findall(block.contents)]
        now = [float(number) for number in NUMBER.findall(printed)]
        assert shown == pytest.approx(now, rel=RELATIVE, abs=ABSOLUTE)


def test_no_page_with_output_is_forgotten() -> None:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    assert {name for name, text in texts.items() if "\n```text\n" in text} <= set(PAGES)


def test_every_example_is_on_the_page() -> None:
    page = (DOCS / "examples.md").read_text(encoding="utf-8")
    scripts = {path.name for path in (DOCS.parent / "examples").glob("plot_*.py")}
    assert set(re.findall(r"examples/(plot_\w+\.py)", page)) == scripts


def refresh(page: Path) -> None:
    """Write present outputs into a page, the last one first so that places stay right."""
    text = page.read_text(encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        pairs = printed_by(page, monkeypatch)
    for block, printed in sorted(pairs, key=lambda pair: -pair[0].span[0]):
        shown = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
        text = text[: block.span[0]] + shown + text[block.span[1] :]
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for page in PAGES:
        refresh(DOCS / f"{page}.md")
