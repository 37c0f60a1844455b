"""A run in a process of its own, killed again and again, leaves the log of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlinstruments import ChoiceData
from mlinstruments.agents import LogitAgent, play
from mlinstruments.games import default_grid

SCRIPT = """
import sys, time
from mlinstruments.agents import LogitAgent, play
from mlinstruments.games import default_grid

class Slow(LogitAgent):
    def answer(self, prompts, seeds):
        for answer in super().answer(prompts, seeds):
            time.sleep(0.005)
            yield answer

play(Slow(0.1), default_grid()[:6], 20, sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.slow
def test_kill_and_resume(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    total = play(LogitAgent(0.1), default_grid()[:6], 20, whole).report.planned
    kills = 0
    for _ in range(40):
        before = _lines(path)
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], env=dict(os.environ))
        deadline = time.monotonic() + 60
        # Killed once it has written a fifth of the whole, at whatever point that finds it.
        while process.poll() is None and _lines(path) < before + total // 5:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        if process.poll() is not None:
            break
        process.kill()
        process.wait(timeout=10)
        kills += 1
    assert process.returncode == 0
    assert kills >= 3
    # The same records in the same order; the settings are the same agent's.
    assert path.read_bytes() == whole.read_bytes()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == total
    assert ChoiceData.read(path).n_choices == 6 * 20


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
