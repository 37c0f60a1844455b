"""Prompts: every combination renders, says what the game says, and nothing it must not."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import (
    Prompt,
    belief_prompt,
    label_sets,
    make_prompt,
    make_prompts,
    renderings,
    template_hash,
    wordings,
)
from mlinstruments.agents import templates as files
from mlinstruments.agents.scenes import SCENES
from mlinstruments.games import Protocol
from mlinstruments.games.payoffs import PATHS

# Payoffs that share no digit string with one another or with labels, so that each is told apart.
GRID = {
    "spd": Protocol("spd", 97, 68, 41, 15, id="s"),
    "tg": Protocol("tg", 97, 68, 41, 15, id="t"),
    "ug": Protocol("ug", 97, 68, 15, 41, id="u"),
    "dictator": Protocol("dictator", 97, 68, 15, 41, id="d"),
    "public_goods": Protocol("public_goods", 97, 68, 44, 15, id="p"),
    "matrix": Protocol("matrix", 41, 15, 97, 68, id="m"),
}
# Every wording in every rendering; all labels in both orders take turns in each of either.
TURNS = list(product(label_sets(), (0, 1)))
EVERY = [
    (wording, rendering, *TURNS[(5 * i + j) % len(TURNS)])
    for i, wording in enumerate(wordings())
    for j, rendering in enumerate(renderings())
]
FORBIDDEN = re.compile(
    r"cooperat|defect|dilemma|trust|betray|ultimatum|dictator|public good|prisoner|game|fair\b"
    r"|moral|ethic|selfish|altruis|generous|reciproc|opponent|partner|punish|reward|tempt|sucker"
    r"|should|ought|right thing|kind\b|honest|share|split|accept|reject|offer\b|propos",
    re.IGNORECASE,
)


def every(game: str) -> list[Prompt]:
    protocol = GRID[game]
    return [
        make_prompt(protocol, node, wording=w, rendering=r, labels=s, order=o, belief=0.5)
        for w, r, s, o in EVERY
        for node in (None, *range(protocol.n_nodes))
    ]


def test_there_are_several_of_everything() -> None:
    assert len(wordings()) >= 6
    assert len(renderings()) >= 4
    assert len(label_sets()) >= 4


def test_all_wordings_have_the_same_sentences() -> None:
    keys = {name: set(files.wording(name)) for name in wordings()}
    assert len({frozenset(found) for found in keys.values()}) == 1


def test_texts_are_neutral() -> None:
    for name in wordings():
        words = files.wording(name)
        for key, sentence in words.items():
            if key != "layout":
                found = FORBIDDEN.search(sentence)
                assert found is None, (name, key, found)
    for game in GRID:
        for prompt in every(game):
            assert FORBIDDEN.search(prompt.user) is None


@pytest.mark.parametrize("game", list(GRID))
def test_no_placeholder_is_left_and_ids_and_hashes_differ(game: str) -> None:
    made = every(game)
    assert not [p.id for p in made if re.search(r"[{}]|  |\n\n\n|None", p.user)]
    assert len({p.id for p in made}) == len(made)
    texts = {(p.system, p.user, p.options, p.choices) for p in made}
    assert len({p.hash for p in made}) == len(texts)
    assert {p.template_hash for p in made} == {template_hash(*t[:3]) for t in EVERY}


@pytest.mark.parametrize("game", list(GRID))
def test_the_scene_is_the_tree_that_payoffs_are_computed_from(game: str) -> None:
    scene, protocol = SCENES[game], GRID[game]
    second = dict(scene.second) or {0: 0, 1: 0}
    for pure in product((0, 1), repeat=protocol.n_nodes):
        for other in product((0, 1), repeat=protocol.n_nodes):
            chances = PATHS[game](pure, other)  # type: ignore[arg-type]
            expected = next(pays for chance, pays in chances if chance == 1)
            a = pure[0]
            b = other[second[a]] if a in second and not _alone(game) else None
            assert {(x, y): pays for x, y, pays in scene.ends}[a, b] == expected


def _alone(game: str) -> bool:
    return all(b is None for _, b, _ in SCENES[game].ends)


def outcome(prompt: Prompt, mine: str, other: str | None) -> tuple[float, float]:
    """Own and other's payoff as the bullets of a prompt have them."""
    for line in prompt.user.splitlines():
        match = re.fullmatch(r"- (.*): you ([\d.]+), other ([\d.]+)", line)
        if match:
            said = dict(part.split(" ") for part in match[1].split(", "))
            if said.get("you") == mine and said.get("other") == other:
                return float(match[2]), float(match[3])
    raise AssertionError((mine, other, prompt.user))


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("wording", wordings())
def test_payoffs_told_are_those_of_the_choices(wording: str, order: int) -> None:
    tg = make_prompt(GRID["tg"], 1, wording=wording, rendering="bullets", order=order)
    seen = "X" if order == 0 else "Y"
    assert outcome(tg, tg.label_of("1"), seen) == (68, 68)
    assert outcome(tg, tg.label_of("0"), seen) == (97, 15)
    first = make_prompt(GRID["spd"], 0, wording=wording, rendering="bullets", order=order)
    one, nought = first.label_of("1"), first.label_of("0")
    told = [outcome(first, a, b) for a, b in product((one, nought), repeat=2)]
    assert told == [(68, 68), (15, 97), (97, 15), (41, 41)]
    late = make_prompt(GRID["spd"], 2, wording=wording, rendering="bullets", order=order)
    assert outcome(late, late.label_of("1"), late.label_of("0")) == (15, 97)
    seen_ = make_prompt(
        GRID["matrix"], 0, wording=wording, rendering="bullets", order=order, seen=0
    )
    assert outcome(seen_, seen_.label_of("1"), seen_.label_of("0")) == (68, 41)
    assert seen_.belief == (0.0,)


@pytest.mark.parametrize("game", list(GRID))
def test_every_rendering_names_every_payoff_as_often_as_it_occurs(game: str) -> None:
    ends = SCENES[game].ends
    for prompt in every(game):
        for letter in "TRPS":
            number = f"{getattr(GRID[game], letter):g}"
            times = sum(pays.count(letter) for _, _, pays in ends)
            found = re.findall(rf"(?<![\d.]){number}(?!\d|\.\d)", prompt.user)
            assert len(found) == times, (prompt.id, letter)


@pytest.mark.parametrize("game", list(GRID))
def test_the_two_orders_exchange_labels(game: str) -> None:
    for node in range(GRID[game].n_nodes):
        a, b = (make_prompt(GRID[game], node, order=order) for order in (0, 1))
        assert a.options == b.options
        assert a.choices == b.choices[::-1]
    whole = [make_prompt(GRID[game], order=order) for order in (0, 1)]
    assert set(whole[0].choices) == set(whole[1].choices) == set(GRID[game].strategies)
    assert whole[0].choices == whole[1].choices[::-1]


def test_plans_say_what_their_strategy_does() -> None:
    prompt = make_prompt(GRID["ug"], wording="terse", order=1)
    lines = dict(re.findall(r"\[(\d)\] (.*)", prompt.user))
    plan = lines[prompt.label_of("10")]  # 1 is the first mover's ending action
    assert plan == "player 1: B, player 2 after A: X"


def test_beliefs_are_stated_node_by_node() -> None:
    prompt = make_prompt(GRID["tg"], 0, wording="terse", belief=(0.25, 0.125))
    assert "other as player 1: A in 25 of 100" in prompt.user
    assert "other as player 2 after A: X in 12.5 of 100" in prompt.user
    assert prompt.belief == (0.25, 0.125)
    assert "of 100" not in make_prompt(GRID["tg"], 0, wording="terse").user
    asked = belief_prompt(GRID["tg"], 1, wording="terse", order=1)
    assert "as player 2 after B: Y in how many" in asked.user
    assert asked.options == ()
    assert asked.asks == "belief"


def test_make_prompts_is_the_product() -> None:
    made = make_prompts(list(GRID.values())[:2], wordings=wordings()[:2], labels=("digits",))
    assert len(made) == (3 + 2) * 2 * 2
    assert (
        make_prompts(list(GRID.values())[:2], wordings=wordings()[:2], labels=("digits",)) == made
    )


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"wording": "plane"}, "Did you mean 'plain'"),
        ({"rendering": "tables"}, "Did you mean 'table'"),
        ({"labels": "x"}, "labels must be one of"),
        ({"order": 2}, "order must be 0 or 1"),
        ({"belief": 1.5}, "belief must be one probability, or 2"),
        ({"belief": (0.5,)}, "belief must be one probability, or 2"),
        ({"seen": 1}, "seen must be the other's action"),
        ({"node": 2}, "node must be 0 to 1"),
        ({"reply": "yes"}, "reply must be one of"),
    ],
)
def test_bad_arguments_are_refused(bad: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_prompt(GRID["tg"], **bad)  # type: ignore[arg-type]


def test_protocols_without_names_are_refused() -> None:
    with pytest.raises(InputError, match="id of its own"):
        make_prompts([Protocol("tg", 97, 68, 41, 15), Protocol("tg", 90, 68, 41, 15)])
    with pytest.raises(InputError, match="lists of names"):
        make_prompts([GRID["tg"]], wordings="plain")


@given(st.sampled_from(EVERY), st.sampled_from(list(GRID)), st.floats(0, 1))
def test_rendering_is_deterministic(
    template: tuple[str, str, str, int], game: str, belief: float
) -> None:
    w, r, s, o = template
    one, two = (
        make_prompt(GRID[game], wording=w, rendering=r, labels=s, order=o, belief=belief)
        for _ in range(2)
    )
    assert one == two
    assert one.hash == two.hash
    assert one.messages[-1] == {"role": "user", "content": one.user}
