"""Choices of people, simulated and real, for the tests of mixtures and individual fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlinstruments.games import HomoMoralis, default_grid
from mlinstruments.preferences.choices import AllocationChoices
from mlinstruments.preferences.design import Design
from mlinstruments.preferences.likelihood import log_probabilities

# Data that are not part of the project lie beside it: <repository>/../shared/data.
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def printed(result: Any) -> str:
    """What a result prints, on one line: notes may be broken anywhere."""
    return " ".join(str(result).split())


def grid_sets(names: tuple[str, ...] = ("kappa", "alpha", "beta")) -> Design:
    """The 18 protocols at even beliefs, without choices."""
    protocols = default_grid()
    model = HomoMoralis(names)
    blocks = [model.regressors(p, np.full(p.n_nodes, 0.5)) for p in protocols]
    most = max(map(len, blocks))
    z = np.zeros((len(blocks), most, 1 + len(names)))
    available = np.zeros((len(blocks), most), dtype=bool)
    for c, block in enumerate(blocks):
        z[c, : len(block)] = block
        available[c, : len(block)] = True
    empty = np.zeros(0, dtype=np.int64)
    actions = tuple(p.strategies for p in protocols)
    return Design(z, available, names, empty, empty, np.zeros(0), {}, actions)


def with_rows(
    sets: Design, subject: Any, choice_set: Any, action: Any, count: Any = None
) -> Design:
    """The same sets with choices."""
    subject = np.asarray(subject)
    return replace(
        sets,
        choice_set=np.asarray(choice_set, dtype=np.int64),
        action=np.asarray(action, dtype=np.int64),
        count=np.ones(len(subject)) if count is None else np.asarray(count, dtype=float),
        labels={"subject": subject},
    )


def simulate(sets: Design, thetas: Sequence[Any], draws: int = 1, seed: int = 0) -> Design:
    """One subject a theta = lambda (1, parameters), each choosing from every set some times."""
    rng = np.random.default_rng(seed)
    rows = []
    for s, theta in enumerate(thetas):
        p = np.exp(log_probabilities(sets.z, sets.available, np.asarray(theta)))
        for c, chances in enumerate(p):
            counts = rng.multinomial(draws, chances / chances.sum())
            rows += [(s, c, a, n) for a, n in enumerate(counts) if n]
    return with_rows(sets, *np.array(rows).T)


def scaled(scale: float, *parameters: float) -> np.ndarray[Any, Any]:
    """theta from the scale and the parameters."""
    return scale * np.array([1.0, *parameters])


def permuted(design: Design, seed: int = 0) -> Design:
    """The same rows in another order."""
    return design.restricted(np.random.default_rng(seed).permutation(len(design.count)))


def bruhin_fehr_schunk() -> AllocationChoices:
    """160 subjects, 117 binary dictator and reciprocity games (2019, doi:10.1093/jeea/jvy018)."""
    if not (DATA / "bfs_session1.csv").exists():
        pytest.skip(
            f"the data of Bruhin, Fehr and Schunk are not at {DATA}; their licence is"
            " unclear, so they are not part of the project"
        )
    frame = pd.read_csv(DATA / "bfs_session1.csv")
    dropped = pd.read_csv(DATA / "bfs_dropped_subjects.csv", header=None)[0]
    return AllocationChoices.from_frame(
        frame[~frame["sid"].isin(dropped)],
        own=["self_y", "self_x"],
        other=["other_y", "other_x"],
        chosen="choice_x",
        characteristics={
            "alpha": ["s_y", "s_x"],
            "beta": ["r_y", "r_x"],
            "gamma": "q",
            "delta": "v",
        },
        labels=["sid"],
    )
