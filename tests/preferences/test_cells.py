"""Choice sets of a log: rows that share one, regressors, and binary choices at nodes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import pytest

from mlinstruments.games import HomoMoralis, Protocol, default_grid, sample_protocols
from mlinstruments.preferences import ChoiceData, PreferenceLogit, simulate_choices
from mlinstruments.preferences.cells import cells, node_design, regressors

# Sums of eight products of numbers below 100, in another order.
ROUNDING = 1e-12
GRID = default_grid()
EVERY_GAME = (
    *GRID,
    *(p for game in ("dictator", "public_goods", "matrix") for p in sample_protocols(game, 4)),
)


def believing(n: int, seed: int = 0, digits: int = 1) -> ChoiceData:
    """Choices at random against elicited beliefs that often coincide."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        p = EVERY_GAME[rng.integers(len(EVERY_GAME))]
        beliefs = {f"belief_{j + 1}": round(rng.uniform(), digits) for j in range(p.n_nodes)}
        payoffs = {name: getattr(p, name) for name in "TRPS"}
        chosen = p.strategies[rng.integers(len(p.strategies))]
        row = {"protocol_id": p.id, "game": p.game, "subject": i % 7, "strategy": chosen}
        rows.append(row | payoffs | beliefs)
    return ChoiceData.from_frame(pd.DataFrame(rows))


@pytest.mark.parametrize("digits", [0, 1, 3])
def test_cells_are_pairs_of_protocol_and_belief_by_first_appearance(digits: int) -> None:
    data = believing(300, digits=digits)
    found, first = cells(data.protocol, data.beliefs)
    seen: dict[tuple[float, ...], int] = {}
    filled = np.nan_to_num(data.beliefs, nan=-1.0)
    expected = [
        seen.setdefault((float(p), *map(float, y)), len(seen))
        for p, y in zip(data.protocol, filled, strict=True)
    ]
    assert found.tolist() == expected
    assert first.tolist() == [expected.index(k) for k in range(len(seen))]


def test_one_belief_a_protocol_is_one_cell_each_also_after_a_selection() -> None:
    data = simulate_choices(GRID, 0.1, draws=30)
    kept = data.select(game="tg")
    found, first = cells(kept.protocol, kept.beliefs)
    assert len(first) == 6
    assert (kept.protocol[first][found] == kept.protocol).all()
    design = kept.design()
    assert design.z.shape == (6, 4, 4)
    assert design.available.all()


@pytest.mark.parametrize("parameters", [(), ("beta", "kappa"), ("kappa", "alpha", "beta")])
def test_regressors_of_many_protocols_are_those_of_each(parameters: tuple[str, ...]) -> None:
    utility = HomoMoralis(parameters)
    rng = np.random.default_rng(1)
    of = rng.integers(len(EVERY_GAME), size=60)
    beliefs = rng.uniform(size=(60, 3))
    z, available = regressors(utility, EVERY_GAME, of, beliefs)
    for i, y, own, there in zip(of, beliefs, z, available, strict=True):
        p = EVERY_GAME[i]
        expected = utility.regressors(p, y[: p.n_nodes])
        np.testing.assert_allclose(own[: len(expected)], expected, atol=100 * ROUNDING)
        assert (own[len(expected) :] == 0).all()
        assert there.sum() == len(expected)


@dataclass(frozen=True)
class Own:
    """A user's utility: nothing but the own payoff and a liking for ones."""

    parameters: tuple[str, ...] = ("ones",)

    def regressors(self, protocol: Protocol, y: np.ndarray) -> np.ndarray:
        z = HomoMoralis(()).regressors(protocol, y)
        ones = np.broadcast_to(protocol.pure().sum(axis=1), z.shape[:-1])
        return np.stack([z[..., 0], ones], axis=-1)


def test_a_utility_of_the_user_is_asked_protocol_by_protocol() -> None:
    design = believing(200).design(Own())
    plain = believing(200).design(HomoMoralis(()))
    np.testing.assert_allclose(design.z[..., :1], plain.z, atol=100 * ROUNDING)
    ones = [sum(map(int, s)) for s in design.actions[0]]
    assert design.z[0, : len(ones), 1].tolist() == ones


def test_nodes_as_binary_choices_one_by_one() -> None:
    whole = believing(150).design()
    node = node_design(whole)
    expected = set()
    for c, names in enumerate(whole.actions):
        for (k, s), j in product(enumerate(names), range(len(names[0]))):
            if s[j] == "0":
                other = names.index(s[:j] + "1" + s[j + 1 :])
                expected.add((s, names[other], *whole.z[c, [k, other]].ravel().tolist()))
    found = [(*names, *z.ravel().tolist()) for names, z in zip(node.actions, node.z, strict=True)]
    assert set(found) == expected
    assert node.available.all()
    # Every row: its strategy is the alternative taken of a pair that differs from it in one node.
    rows = [len(whole.actions[c][0]) for c in whole.choice_set]
    assert len(node.action) == sum(rows)
    taken = [node.actions[c][a] for c, a in zip(node.choice_set, node.action, strict=True)]
    by_subject = pd.Series(taken).groupby(node.labels["subject"]).apply(sorted)
    strategies = [whole.actions[c][a] for c, a in zip(whole.choice_set, whole.action, strict=True)]
    repeated = pd.DataFrame({"s": strategies, "subject": whole.labels["subject"]})
    repeated = repeated.loc[np.repeat(repeated.index, rows)]
    assert by_subject.tolist() == repeated.groupby("subject")["s"].apply(sorted).tolist()


def test_labels_of_nodes_are_looked_up_when_asked_for() -> None:
    node = believing(50).design(unit="node")
    assert set(node.labels) == {"protocol_id", "game", "subject"}
    assert len(node.labels) == 3
    assert len(node.labels["game"]) == len(node.action)
    with pytest.raises(KeyError):
        node.labels["nobody"]


def test_counts_are_computed_once_and_cannot_be_written() -> None:
    design = simulate_choices(GRID, 0.1, draws=10).design()
    counts = design.counts()
    assert counts is design.counts()
    with pytest.raises(ValueError, match="read-only"):
        counts[0, 0] = 5
    assert design.restricted(design.count > 1).counts().sum() < counts.sum()


def test_a_log_of_rows_is_its_counts() -> None:
    """One row a choice or one a cell: the same cells, estimates and errors."""
    rows = simulate_choices(GRID, 0.1, 0.2, subjects=40, random_state=3)
    table = pd.DataFrame({"protocol": rows.protocol, "strategy": rows.strategy, "n": rows.count})
    summed = table.groupby(["protocol", "strategy"], as_index=False)["n"].sum()
    cells_ = [
        (
            p,
            (0.5,) * p.n_nodes,
            {p.strategies[s]: n for s, n in zip(own["strategy"], own["n"], strict=True)},
        )
        for i, p in enumerate(rows.protocols)
        for own in [summed[summed["protocol"] == i]]
    ]
    a, b = PreferenceLogit().fit(rows), PreferenceLogit().fit(ChoiceData.from_counts(cells_))
    np.testing.assert_allclose(a.params, b.params, rtol=1e-10)
    np.testing.assert_allclose(a.std_errors, b.std_errors, rtol=1e-10)
