"""Choices of an agent of known preferences, to test with and to plan by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments.games.protocols import Protocol
from mlinstruments.games.utility import choice_probabilities

from .choices import ChoiceData
from .columns import PAYOFFS


def simulate_choices(
    protocols: Sequence[Protocol],
    scale: float,
    kappa: float = 0.0,
    alpha: float = 0.0,
    beta: float = 0.0,
    draws: int = 1,
    subjects: int = 1,
    belief: float = 0.5,
    random_state: Any = 0,
) -> ChoiceData:
    """Log of subjects who each play every protocol a number of times.

    Parameters
    ----------
    protocols : sequence of Protocol
    scale : float
        1 / points; 0 chooses at random.
    kappa, alpha, beta : float
    draws, subjects : int
        Choices of one subject in one protocol, and subjects.
    belief : float
        Believed probability of a one at every node; recorded as elicited.
    random_state : int or Generator

    Returns
    -------
    ChoiceData

    Examples
    --------
    >>> from mlinstruments.games import Protocol
    >>> from mlinstruments.preferences import simulate_choices
    >>> simulate_choices([Protocol("tg", 80, 50, 30, 20, id="a")], scale=0.1, draws=5).n_choices
    5.0
    """
    rng = np.random.default_rng(random_state)
    frames = []
    for protocol in protocols:
        y = np.full(protocol.n_nodes, belief)
        p = choice_probabilities(protocol, y, scale, kappa, alpha, beta)
        counts = rng.multinomial(draws, p, size=subjects)
        subject, strategy = np.nonzero(counts)
        frame = pd.DataFrame(
            {
                "subject": subject,
                "protocol_id": protocol.id,
                "game": protocol.game,
                **{name: getattr(protocol, name) for name in PAYOFFS},
                "strategy": [protocol.strategies[s] for s in strategy],
                "count": counts[subject, strategy],
            }
        )
        for j in range(protocol.n_nodes):
            frame[f"belief_{j + 1}"] = belief
        frames.append(frame)
    return ChoiceData.from_frame(pd.concat(frames, ignore_index=True), "simulated choices")
