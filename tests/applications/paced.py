"""A run of price competition to be killed: ``python -m tests.applications.paced LOG PAUSE``."""

from __future__ import annotations

import sys
import time
from typing import Any, ClassVar

from mlinstruments.agents import Answer
from mlinstruments.applications.pricing import (
    BestResponseFirm,
    Competition,
    LogitFirm,
    Market,
    PromptedFirm,
    QLearningFirm,
    compete,
)

PERIODS, SESSIONS = 25, 3


class Writer:
    """Answers with a price and notes that depend on what it is shown and on its seed."""

    name = "writer"
    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.asked: list[Any] = []

    def answer(self, prompts: Any, seeds: Any) -> Any:
        for prompt, seed in zip(prompts, seeds, strict=True):
            time.sleep(self.pause)
            self.asked.append(prompt)
            price = 1.4 + (seed % 1000) / 2000
            yield Answer(
                f"Plans: plan {seed}\nInsights: read {len(prompt.user)}\nPrice: {price:.4f}"
            )


def run(log: str | None, pause: float = 0.0, writer: Writer | None = None) -> Competition:
    """All kinds of firms with memory, together."""
    firms = [
        PromptedFirm(writer or Writer(pause)),
        QLearningFirm(beta=0.05, n_prices=5),
        LogitFirm(0.3, 0.5),
        BestResponseFirm(),
    ]
    return compete(
        Market(4), firms, PERIODS, 10, log,
        sessions=SESSIONS, currencies=(1.0, 10.0), prefixes=("", "Be brief."), random_state=5,
    )  # fmt: skip


if __name__ == "__main__":
    run(sys.argv[1], float(sys.argv[2]))
