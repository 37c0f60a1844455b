"""What utilities choose, against formulas."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.alignment import best_choice, matrix_kind
from mlinstruments.alignment.labels import universal_action
from mlinstruments.games import Protocol, best_replies, default_grid, sample_protocols

SPD = Protocol("spd", 90, 65, 25, 10, id="s")


@pytest.mark.parametrize(
    ("kappa", "best"),
    [(0.0, "000"), (0.1, "000"), (0.2, "001"), (0.3, "001"), (0.4, "001"), (0.5, "110"), (0.8, "110")],
)  # fmt: skip
def test_labels_of_a_prisoners_dilemma(kappa: float, best: str) -> None:
    assert best_choice(SPD, 0.5, kappa).best == (best,)


def reciprocation_threshold(p: Protocol, y1: float) -> float:
    """kappa above which a trusted homo moralis who trusts reciprocates."""
    gain = y1 * (p.T - p.R) / 2
    return gain / (gain + p.R - (p.S + p.T) / 2)


def test_the_threshold_of_the_notes() -> None:
    assert reciprocation_threshold(Protocol("tg", 90, 60, 30, 10), 0.5) == pytest.approx(
        3 / 7, rel=1e-12
    )


@pytest.mark.parametrize(
    "protocol", [p for p in default_grid() if p.game == "tg"], ids=lambda p: p.id
)
@pytest.mark.parametrize("y1", [0.2, 0.5, 1.0])
def test_reciprocation_turns_at_its_threshold(protocol: Protocol, y1: float) -> None:
    threshold = reciprocation_threshold(protocol, y1)
    names = protocol.strategies
    for kappa, reciprocates in ((threshold - 0.01, False), (threshold + 0.01, True)):
        if kappa > 1:  # R = (S + T) / 2: only a Kantian is indifferent
            continue
        label = best_choice(protocol, (y1, 0.5), kappa)
        trusting = [label.utility[names.index(s)] for s in ("11", "10")]
        assert (trusting[0] > trusting[1]) == reciprocates
    at = best_choice(protocol, (y1, 0.5), threshold)
    gap = at.utility[names.index("11")] - at.utility[names.index("10")]
    assert abs(gap) < 1e-9 * (protocol.T - protocol.S)


def test_an_unequal_offer_is_never_rejected() -> None:
    grid = [p for p in default_grid() if p.game == "ug"] + list(sample_protocols("ug", 30, 1))
    rng = np.random.default_rng(0)
    for protocol in grid:
        for kappa in np.linspace(0, 1, 11):
            label = best_choice(protocol, rng.uniform(0.05, 0.95, 2), float(kappa))
            assert any(s[1] == "1" for s in label.best)
            # Rejecting is at most as good as accepting; equal only where it never comes up.
            assert label.choice(1) != "0"


def test_labels_agree_with_the_best_replies_of_the_games() -> None:
    rng = np.random.default_rng(2)
    for game in ("spd", "tg", "ug", "dictator", "public_goods", "matrix"):
        for protocol in sample_protocols(game, 10, 3):
            y, kappa = rng.uniform(size=protocol.n_nodes), float(rng.uniform())
            if matrix_constant(protocol):
                continue
            assert best_choice(protocol, y, kappa).best == best_replies(protocol, y, kappa)


def matrix_constant(protocol: Protocol) -> bool:
    return protocol.game == "matrix" and len({protocol.T, protocol.R, protocol.P, protocol.S}) == 1


def test_ties_are_recorded() -> None:
    label = best_choice(Protocol("tg", 80, 50, 30, 20), (0.0, 0.5))
    # Trusting pays (50 + 20)/2 = 35 > 30; whether one would reciprocate never matters.
    assert label.best == ("10", "11")
    assert label.tied
    assert label.choice() is None
    assert label.choice(0) == "1"
    assert label.choice(1) is None
    assert label.margin(1) == 0
    assert label.margin(0) == pytest.approx(
        2.5 / 60, rel=1e-12
    )  # half of 35 - 30, of a range of 60
    assert label.margin() == 0


def test_utility_is_the_weighted_sum() -> None:
    label = best_choice(SPD, 0.5, 0.25)
    # 110 of the reference design: own 41.25, universalised 65.
    assert label.own[6] == pytest.approx(41.25, rel=1e-12)
    assert label.alike[6] == pytest.approx(65, rel=1e-12)
    assert label.utility[6] == pytest.approx(0.75 * 41.25 + 0.25 * 65, rel=1e-12)


@pytest.mark.parametrize(
    ("payoffs", "kind"),
    [((70, 50, 30, 10), "prisoner's dilemma"), ((10, 30, 50, 70), "prisoner's dilemma"),
     ((70, 90, 40, 10), "stag hunt"), ((10, 40, 90, 70), "stag hunt"), ((40, 90, 40, 10), "stag hunt"),
     ((90, 70, 10, 40), "chicken"), ((60, 90, 10, 40), "harmony"), ((40, 10, 70, 90), "chicken"),
     ((50, 50, 50, 10), "other")],
)  # fmt: skip
def test_kinds_of_games(payoffs: tuple[float, ...], kind: str) -> None:
    assert matrix_kind(Protocol("matrix", *payoffs)) == kind


@pytest.mark.parametrize("kappa", [-0.1, 1.1, float("nan"), True, "0.5"])
def test_kappa_is_a_weight(kappa: float) -> None:
    with pytest.raises(InputError, match="kappa must be a number between 0 and 1"):
        best_choice(SPD, 0.5, kappa)


def test_beliefs_are_probabilities() -> None:
    with pytest.raises(InputError, match="belief must be one probability, or 3"):
        best_choice(SPD, (0.5, 0.5))
    with pytest.raises(InputError, match="belief"):
        best_choice(SPD, 1.5)
    with pytest.raises(InputError, match="all payoffs are equal"):
        best_choice(Protocol("matrix", 5, 5, 5, 5), 0.5)


def test_the_universal_action_by_its_formula() -> None:
    """In 2x2 games: whether both doing it gains more than doing it alone, against the other."""
    found = set()
    for game in sample_protocols("matrix", 60, 8):
        for y in (0.0, 0.4, 1.0):
            alone = y * (game.R - game.T) + (1 - y) * (game.S - game.P)
            gain = (game.R - game.P) - alone
            expected = None if abs(gain) < 1e-9 else int(gain > 0)
            assert universal_action(game, y, 0) == expected
            found.add(expected)
    assert {0, 1} <= found


def test_in_a_dilemma_cooperation_is_the_universal_action() -> None:
    spd, hunt = Protocol("matrix", 90, 65, 25, 10), Protocol("matrix", 45, 60, 40, 10)
    assert [universal_action(g, y, 0) for g in (spd, hunt) for y in (0.0, 1.0)] == [1] * 4
    # The same game with its actions renamed.
    assert universal_action(Protocol("matrix", 10, 25, 65, 90), 0.0, 0) == 0
