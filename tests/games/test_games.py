"""Payoffs against game trees walked node by node, order of payoffs, grids, solutions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinstruments._core.exceptions import InputError
from mlinstruments.games import (
    GAMES,
    HomoMoralis,
    Protocol,
    WeightedOther,
    best_replies,
    default_grid,
    quantal_response,
    read_grid,
    sample_protocols,
    subgame_perfect,
)
from mlinstruments.games.payoffs import ahead, behind, payoff
from mlinstruments.games.utility import utility_values
from tests.tolerances import FIXED_POINT, ROUNDING

EXAMPLES = [
    *default_grid()[::4],
    Protocol("dictator", 90, 50, 0, 10, id="dictator"),
    Protocol("public_goods", 70, 60, 40, 30, id="public"),
    Protocol("matrix", 20, 70, 30, 5, id="stag hunt"),
    Protocol("matrix", 90, 60, 5, 30, id="chicken"),
]
BY_NAME = {"argvalues": EXAMPLES, "ids": [p.id for p in EXAMPLES]}


# ---- the trees, walked --------------------------------------------------------------------------

Payoffs = tuple[float, float]
# A tree: payoffs of (first mover, second mover), or (player, node of the strategy, if 1, if 0).
Tree = tuple[float, float] | tuple[int, int, "Tree", "Tree"]


def tree(p: Protocol) -> Tree:
    """Rules in extensive form, players 0 and 1; written from the table of outcomes."""
    T, R, P, S = p.T, p.R, p.P, p.S
    if p.game == "spd":
        return (0, 0, (1, 1, (R, R), (S, T)), (1, 2, (T, S), (P, P)))
    if p.game == "tg":
        return (0, 0, (1, 1, (R, R), (S, T)), (P, P))
    if p.game == "ug":
        return (0, 0, (R, R), (1, 1, (T, S), (P, P)))
    if p.game == "dictator":
        return (0, 0, (R, R), (T, S))
    return (0, 0, (1, 0, (R, R), (S, T)), (1, 0, (T, S), (P, P)))


def leaves(
    node: Tree, strategies: tuple[np.ndarray, np.ndarray]
) -> Iterator[tuple[float, Payoffs]]:
    """Every leaf with its probability."""
    if len(node) == 2:
        yield 1.0, node
        return
    player, position, yes, no = node
    p = float(strategies[player][position])
    for weight, branch in ((p, yes), (1 - p, no)):
        for probability, found in leaves(branch, strategies):
            yield weight * probability, found


def walked(p: Protocol, x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Own payoff, shortfall and lead of x against y over both roles."""
    totals = np.zeros(3)
    for probability, (own, other) in leaves(tree(p), (x, y)):
        totals += probability / 2 * np.array([own, max(other - own, 0), max(own - other, 0)])
    for probability, (other, own) in leaves(tree(p), (y, x)):
        totals += probability / 2 * np.array([own, max(other - own, 0), max(own - other, 0)])
    return tuple(totals)


@pytest.mark.parametrize("protocol", **BY_NAME)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_payoffs_are_those_of_the_tree(protocol: Protocol, data: st.DataObject) -> None:
    draw = st.lists(st.floats(0, 1), min_size=protocol.n_nodes, max_size=protocol.n_nodes)
    x, y = np.array(data.draw(draw)), np.array(data.draw(draw))
    found = [float(f(protocol, x, y)) for f in (payoff, behind, ahead)]
    np.testing.assert_allclose(found, walked(protocol, x, y), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("protocol", **BY_NAME)
def test_regressors_of_every_pure_strategy(protocol: Protocol) -> None:
    y = np.linspace(0.2, 0.7, protocol.n_nodes)
    z = HomoMoralis().regressors(protocol, y)
    for row, strategy in zip(z, protocol.strategies, strict=True):
        x = np.array([float(digit) for digit in strategy])
        own, short, lead = walked(protocol, x, y)
        everyone = walked(protocol, x, x)[0]
        np.testing.assert_allclose(row, [own, everyone - own, -short, -lead], atol=1e-10)


def test_strategies_broadcast() -> None:
    protocol = EXAMPLES[0]
    x, y = np.random.default_rng(0).uniform(size=(2, 5, protocol.n_nodes))
    one_by_one = [float(payoff(protocol, a, b)) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(payoff(protocol, x, y), one_by_one, rtol=ROUNDING)


# ---- protocols and grids ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("game", "payoffs", "order"),
    [
        ("spd", (60, 65, 25, 10), "T > R > P > S"),
        ("spd", (90, 65, 10, 10), "T > R > P > S"),
        ("tg", (80, 50, 20, 30), "T > R > P > S"),
        ("ug", (80, 50, 30, 10), "T > R > S > P"),
        ("dictator", (80, 50, 0, 60), "T > R > S"),
    ],
)
def test_payoffs_out_of_order(game: str, payoffs: tuple[float, ...], order: str) -> None:
    with pytest.raises(InputError, match=order):
        Protocol(game, *payoffs, id="a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tgg", 80, 50, 30, 20), "Did you mean 'tg'"),
        (("matrix", 80, float("nan"), 30, 20), "finite"),
        (("public_goods", 80, 60, 40, 30), "T - R = P - S; got 20 and 10"),
    ],
)
def test_protocols_that_cannot_be(arguments: tuple[object, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Protocol(*arguments)  # type: ignore[arg-type]


def test_pure_strategies() -> None:
    assert [len(p.strategies) for p in default_grid()] == [8] * 6 + [4] * 12
    assert EXAMPLES[0].strategies[:3] == ("000", "001", "010")
    np.testing.assert_array_equal(EXAMPLES[0].pure()[6], [1, 1, 0])


def test_grid_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "grid.csv"
    lines = ["protocol_id,game,T,R,P,S"]
    lines += [f"{p.id},{p.game},{p.T:g},{p.R:g},{p.P:g},{p.S:g}" for p in default_grid()]
    path.write_text("\n".join(lines))
    assert read_grid(path) == default_grid()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("protocol_id,game,T,R,P\na,tg,80,50,30", "line 2: no column 'S'"),
        ("protocol_id,game,T,R,P,S\na,tg,80,50,30,20\na,tg,90,50,30,10", "'a' stands on two lines"),
        ("protocol_id,game,T,R,P,S\na,tg,80,x,30,20", "line 2: .*'x'"),
        ("protocol_id,game,T,R,P,S\na,tg,80,50,30,20\nb,tg,80,90,30,20", "line 3: .*T > R"),
    ],
)
def test_grids_that_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "grid.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_grid(path)


@pytest.mark.parametrize("game", list(GAMES))
def test_sampled_protocols(game: str) -> None:
    made = sample_protocols(game, 20, random_state=1)
    assert len({(p.T, p.R, p.P, p.S) for p in made}) == 20
    assert made == sample_protocols(game, 20, random_state=1)
    assert made != sample_protocols(game, 20, random_state=2)
    assert all(0 <= value <= 90 for p in made for value in (p.T, p.R, p.P, p.S))


def test_a_grid_too_small_to_sample_from() -> None:
    with pytest.raises(InputError, match="only 1 different tg protocols"):
        sample_protocols("tg", 2, low=10, high=40, step=10)


# ---- utilities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", **BY_NAME)
def test_utility_is_that_of_homo_moralis(protocol: Protocol) -> None:
    y = np.full(protocol.n_nodes, 0.4)
    kappa, alpha, beta = 0.3, 0.1, 0.2
    found = utility_values(protocol, y, kappa, alpha, beta)
    for u, strategy in zip(found, protocol.strategies, strict=True):
        x = np.array([float(digit) for digit in strategy])
        own, short, lead = walked(protocol, x, y)
        expected = (
            (1 - kappa) * own + kappa * walked(protocol, x, x)[0] - alpha * short - beta * lead
        )
        assert u == pytest.approx(expected, abs=1e-10)


def test_parameters_of_a_utility() -> None:
    assert HomoMoralis(("beta",)).regressors(EXAMPLES[0], np.full(3, 0.5)).shape == (8, 2)
    with pytest.raises(InputError, match="parameter must be one of"):
        HomoMoralis(("gamma",))
    with pytest.raises(InputError, match="named twice"):
        HomoMoralis(("kappa", "kappa"))


def test_weighted_other_needs_columns() -> None:
    with pytest.raises(InputError, match=r"AllocationChoices\.from_frame"):
        WeightedOther().regressors(EXAMPLES[0], np.full(3, 0.5))
    own, other = np.array([[10.0, 4.0]]), np.array([[2.0, 6.0]])
    z = WeightedOther(("w",)).columns(own, other, {"w": np.ones((1, 2))})
    weight = 0.3
    np.testing.assert_allclose(z @ [1, weight], (1 - weight) * own + weight * other)


# ---- solutions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", **BY_NAME)
@pytest.mark.parametrize("kappa", [0.0, 0.37, 1.0])
def test_best_replies_are_found_by_trying_all(protocol: Protocol, kappa: float) -> None:
    y = np.linspace(0.31, 0.64, protocol.n_nodes)
    utilities = {}
    for digits in product("01", repeat=protocol.n_nodes):
        x = np.array([float(digit) for digit in digits])
        own, everyone = walked(protocol, x, y)[0], walked(protocol, x, x)[0]
        utilities["".join(digits)] = (1 - kappa) * own + kappa * everyone
    best = max(utilities.values())
    expected = tuple(s for s, u in utilities.items() if u >= best - 1e-9 * protocol.T)
    assert best_replies(protocol, y, kappa) == expected


@pytest.mark.parametrize(
    ("kappa", "best"),
    [(0, "000"), (0.1, "000"), (0.2, "001"), (0.4, "001"), (0.5, "110"), (0.8, "110")],
)
def test_published_labels_of_a_dilemma(kappa: float, best: str) -> None:
    assert best_replies(Protocol("spd", 90, 65, 25, 10), np.full(3, 0.5), kappa) == (best,)


def test_reciprocity_starts_at_the_derived_kappa() -> None:
    """k* = y1 (T-R)/2 / [y1 (T-R)/2 + R - (S+T)/2]."""
    trust, belief = Protocol("tg", 90, 60, 30, 10), np.array([0.5, 0.5])
    threshold = 0.5 * 15 / (0.5 * 15 + 60 - 50)
    assert threshold == pytest.approx(0.4285714286, abs=0.5e-10)
    for kappa, reciprocates in ((threshold - 1e-6, "0"), (threshold + 1e-6, "1")):
        u = utility_values(trust, belief, kappa)
        assert trust.strategies[2 + int(u[3] > u[2])][1] == reciprocates


@pytest.mark.parametrize("kappa", np.linspace(0, 1, 11))
def test_rejecting_an_ultimatum_is_never_best(kappa: float) -> None:
    for protocol in default_grid()[12:]:
        for y in product((0.0, 0.3, 0.9), repeat=2):
            assert all(s[1] == "1" or s == "10" for s in best_replies(protocol, np.array(y), kappa))


def backwards(node: Tree) -> tuple[Payoffs, dict[tuple[int, int], float]]:
    """Value of a tree and play by (player, node), solved from the leaves."""
    if len(node) == 2:
        return node, {}
    player, position, yes, no = node
    (value_yes, play_yes), (value_no, play_no) = backwards(yes), backwards(no)
    better = value_yes[player] > value_no[player]
    play = {**play_yes, **play_no, (player, position): float(better)}
    return (value_yes if better else value_no), play


@pytest.mark.parametrize("protocol", default_grid(), ids=lambda p: p.id)
def test_subgame_perfect_play(protocol: Protocol) -> None:
    play = {position: p for (_, position), p in backwards(tree(protocol))[1].items()}
    expected = [play[j] for j in range(protocol.n_nodes)]
    np.testing.assert_array_equal(subgame_perfect(protocol), expected)


def test_subgame_perfection_of_simultaneous_games() -> None:
    np.testing.assert_array_equal(subgame_perfect(Protocol("matrix", 90, 60, 30, 10)), [0])
    np.testing.assert_array_equal(subgame_perfect(Protocol("matrix", 20, 60, 10, 30)), [1])
    with pytest.raises(InputError, match="no dominant action"):
        subgame_perfect(Protocol("matrix", 20, 70, 30, 5))


@pytest.mark.parametrize("protocol", **BY_NAME)
@pytest.mark.parametrize("theta", [(0.0, 0.0, 0.0), (0.25, 0.1, 0.2)])
def test_quantal_response_is_a_fixed_point(protocol: Protocol, theta: tuple[float, ...]) -> None:
    scale = 0.05
    p = quantal_response(protocol, scale, *theta)
    utilities = [
        sum(
            w * utility_values(protocol, y, *theta)[i]
            for w, y in zip(p, protocol.pure(), strict=True)
        )
        for i in range(len(p))
    ]
    expected = np.exp(scale * np.array(utilities))
    np.testing.assert_allclose(p, expected / expected.sum(), atol=FIXED_POINT)


@pytest.mark.parametrize("protocol", **BY_NAME)
def test_quantal_response_against_gambit(protocol: Protocol) -> None:
    """The symmetric game over pure strategies, principal branch of the logit correspondence."""
    gambit = pytest.importorskip("pygambit")
    pure = protocol.pure()
    own = np.array([[float(payoff(protocol, x, y)) for y in pure] for x in pure])
    game = gambit.Game.from_arrays(own, own.T)
    scale = 0.02
    profile = gambit.qre.logit_solve_lambda(game, lam=scale)[0].profile
    first = next(iter(game.players))
    reached = [float(profile[strategy]) for strategy in first.strategies]
    # Gambit traces the branch to about 1e-8 in its own parameter.
    np.testing.assert_allclose(quantal_response(protocol, scale), reached, atol=1e-6)


def test_quantal_response_that_does_not_settle() -> None:
    chicken = Protocol("matrix", 90, 60, 5, 30)
    with pytest.raises(InputError, match="did not settle"):
        quantal_response(chicken, 100.0, iterations=50)
