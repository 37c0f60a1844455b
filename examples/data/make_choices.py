"""Make ``choices.jsonl``: answers of three artificial agents of known preferences, node by node.

- ``moralis``: logit with scale .1 and kappa .3, what the fit should find;
- ``economicus``: logit with scale .25 and kappa .02, close to a payoff maximiser;
- ``random``: answers with a coin, so that there are no preferences to find.

Each plays the 18 illustrative protocols 15 times, believing that others do either with probability
one half. One answer in a hundred is a refusal. Run ``python examples/data/make_choices.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mlinstruments.games import Protocol, default_grid
from mlinstruments.games.utility import choice_probabilities

LOG = Path(__file__).with_name("choices.jsonl")
AGENTS = {"moralis": (0.1, 0.3), "economicus": (0.25, 0.02), "random": (0.0, 0.0)}
DRAWS = 15
REFUSALS = 0.01


def answers(
    model: str, protocol: Protocol, draw: int, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """One strategy, a line a node."""
    scale, kappa = AGENTS[model]
    p = choice_probabilities(protocol, np.full(protocol.n_nodes, 0.5), scale, kappa)
    strategy = protocol.strategies[rng.choice(len(p), p=p)]
    for node, digit in enumerate(strategy):
        refused = bool(rng.uniform() < REFUSALS)
        yield {
            "subject": model,
            "model": model,
            "temperature": 1.0,
            "protocol_id": protocol.id,
            "game": protocol.game,
            "T": protocol.T,
            "R": protocol.R,
            "P": protocol.P,
            "S": protocol.S,
            "node": node,
            "action": None if refused else int(digit),
            "draw": draw,
            "status": "refusal" if refused else "ok",
            **{f"belief_{j + 1}": 0.5 for j in range(protocol.n_nodes)},
        }


def main() -> None:
    """Write the log."""
    rng = np.random.default_rng(2026)
    with open(LOG, "w", encoding="utf-8") as file:
        for model in AGENTS:
            for draw in range(DRAWS):
                for protocol in default_grid():
                    for answer in answers(model, protocol, draw, rng):
                        file.write(json.dumps(answer, separators=(",", ":")) + "\n")
    print(f"{LOG}: {LOG.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
