"""The README's code runs, and prints what the README shows.

``python tests/test_readme.py`` writes the present output into the README, that of its examples
included.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
# Boosted trees follow rounding errors of the platform's linear algebra: a split may go the other
# way. Half a percent allows for that in estimates, errors and ends of sets, not for a change of
# method.
RELATIVE, ABSOLUTE = 0.005, 0.0005


@dataclass(frozen=True)
class Block:
    """A fenced block and where its contents lie in the README."""

    language: str
    contents: str
    span: tuple[int, int]
    adjoins: bool  # whether it directly follows the block before it


def blocks(text: str) -> list[Block]:
    found, end = [], 0
    for match in FENCED.finditer(text):
        adjoins = text[end : match.start()].strip() == ""
        found.append(Block(match[1], match[2], match.span(2), adjoins))
        end = match.end()
    return found


def run(code: str, namespace: dict[str, Any]) -> str:
    """Execute and return what is printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(README), "exec"), namespace)
    return printed.getvalue()


def shown_and_printed(found: list[Block]) -> list[tuple[Block, str]]:
    """Every block of output after a block of Python, with what that prints now."""
    namespace: dict[str, Any] = {}
    pairs = []
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block.language != "python":
            continue
        printed = run(block.contents, namespace)
        if following is not None and following.language == "text" and following.adjoins:
            pairs.append((following, printed))
        else:
            assert printed == "", f"the README does not show what this prints: {printed}"
    return pairs


def skeleton(text: str) -> list[str]:
    """Words without numbers, rules and spacing, which the width of numbers moves."""
    return NUMBER.sub("#", re.sub(r"[=-]{3,}", "", text)).split()


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Block, str]]:
    pytest.importorskip("matplotlib").use("Agg")
    return shown_and_printed(blocks(README.read_text(encoding="utf-8")))


def test_the_output_shown_is_the_output(pairs: list[tuple[Block, str]]) -> None:
    assert len(pairs) == 4
    for block, printed in pairs:
        assert skeleton(block.contents) == skeleton(printed)
        shown = [float(number) for number in NUMBER.findall(block.contents)]
        now = [float(number) for number in NUMBER.findall(printed)]
        assert shown == pytest.approx(now, rel=RELATIVE, abs=ABSOLUTE)


def test_two_commands_install_and_run() -> None:
    text = README.read_text(encoding="utf-8")
    section = text[text.index("## Install and run") : text.index("## A first example")]
    commands = [block.contents.strip() for block in blocks(section) if block.language == "bash"]
    assert commands == [
        "python -m pip install -e '.[plot]' && python examples/plot_returns_to_schooling.py",
        "python -m pip install -e '.[test]' && python -m pytest -n 2",
    ]


def test_links_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", text) if not t.startswith(("http", "#"))]
    assert targets
    assert [t for t in targets if not (README.parent / t).exists()] == []
    anchors = {
        re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-")
        for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def refresh() -> None:
    """Write present outputs into the README, the last one first so that places stay right."""
    import matplotlib as mpl

    mpl.use("Agg")
    text = README.read_text(encoding="utf-8")
    found = blocks(text)
    outputs = shown_and_printed(found)
    for block, following in pairwise(found):
        if block.language == "bash" and following.language == "text" and following.adjoins:
            command = [sys.executable, *block.contents.split()[1:]]
            done = subprocess.run(
                command, cwd=README.parent, check=True, capture_output=True, text=True
            )
            kept = [line for line in done.stdout.splitlines() if not line.startswith("Picture:")]
            outputs.append((following, "\n".join(kept).strip() + "\n"))
    for block, printed in sorted(outputs, key=lambda pair: -pair[0].span[0]):
        text = text[: block.span[0]] + printed + text[block.span[1] :]
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    refresh()
