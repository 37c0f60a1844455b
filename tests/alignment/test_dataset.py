"""Data sets: what is in them, what must not be, and the files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import make_prompts, parse_answer
from mlinstruments.alignment import affine_key, best_choice, check_target, make_dataset, matrix_kind
from mlinstruments.alignment.dataset import (
    HELD_OUT,
    HELD_OUT_KINDS,
    assert_split,
)
from mlinstruments.alignment.examples import Dataset, rough_tokens
from mlinstruments.alignment.sampling import ATTEMPTS, _Wanted
from mlinstruments.games import Protocol, default_grid, sample_protocols

EVERY = ("spd", "tg", "ug", "dictator", "public_goods", "matrix")


@pytest.fixture(scope="module")
def moral() -> Dataset:
    return make_dataset("moralis", n=80, n_valid=8, random_state=3)


def test_labels_are_those_of_brute_force(moral: Dataset) -> None:
    for example in (*moral.train, *moral.valid):
        prompt = example.prompt
        kappas = {
            k: best_choice(prompt.protocol, prompt.belief or (), k).choice(0) for k in (0.0, 0.5)
        }
        assert example.choice == kappas[0.5]
        assert parse_answer(example.text, prompt) == ("ok", example.choice)
        assert example.disagree == (kappas[0.0] != kappas[0.5])
        check_target(prompt, example.text, 0.5)
        assert best_choice(prompt.protocol, prompt.belief or (), 0.5).margin(0) >= 0.03


def test_no_prompt_of_one_part_or_of_the_evaluation_is_in_the_other(moral: Dataset) -> None:
    texts = [[e.prompt.user for e in part] for part in (moral.train, moral.valid)]
    assert len({*texts[0], *texts[1]}) == 88
    keys = [{affine_key(e.prompt.protocol) for e in part} for part in (moral.train, moral.valid)]
    held = {affine_key(p) for p in default_grid()}
    assert not keys[0] & keys[1]
    assert not held & (keys[0] | keys[1])
    assert set(moral.manifest["left_out"]) == held
    words = [{e.prompt.wording for e in part} for part in (moral.train, moral.valid)]
    assert words[1] == {"letter"}
    assert not words[0] & {"letter", *HELD_OUT["wordings"]}
    for example in (*moral.train, *moral.valid):
        assert example.prompt.rendering not in HELD_OUT["renderings"]
        assert matrix_kind(example.prompt.protocol) not in HELD_OUT_KINDS


def test_affine_copies_of_evaluation_protocols_are_not_drawn() -> None:
    """With a grid of ten payoffs and all but one trust game among the evaluation protocols."""
    grid = {"low": 10, "high": 40, "step": 10}
    evaluation = [Protocol("tg", 75, 55, 35, 15, id="copy of 40 30 20 10")]
    with pytest.raises(InputError, match="holds too few"):
        make_dataset(n=2, n_valid=2, games=("tg",), evaluation=evaluation, margin=0.0, **grid)
    other = [Protocol("tg", 75, 56, 35, 15, id="no copy")]
    with pytest.raises(InputError, match="holds too few"):  # the one game is in validation already
        make_dataset(n=2, n_valid=2, games=("tg",), evaluation=other, margin=0.0, **grid)
    wider = grid | {"high": 50}
    made = make_dataset(n=2, n_valid=2, games=("tg",), evaluation=other, margin=0.0, **wider)
    assert made.manifest["dropped"].keys() <= {
        "tie",
        "near-tie",
        "evaluation protocol or other part",
        "prompt drawn before",
    }


def test_keys_are_those_of_affine_copies_and_of_renamed_actions() -> None:
    for game in EVERY:
        for p in sample_protocols(game, 5, 0):
            copy = Protocol(game, 3 * p.T + 7, 3 * p.R + 7, 3 * p.P + 7, 3 * p.S + 7)
            assert affine_key(copy) == affine_key(p)
    one = Protocol("matrix", 45, 60, 40, 10)
    renamed = Protocol("matrix", one.S, one.P, one.R, one.T)
    assert affine_key(renamed) == affine_key(one)
    assert affine_key(Protocol("matrix", 45, 60, 40, 15)) != affine_key(one)
    # A public good is the 2x2 game of its payoffs; a sequential game is another game.
    assert affine_key(Protocol("public_goods", 60, 50, 30, 20)) == affine_key(
        Protocol("matrix", 60, 50, 30, 20)
    )
    assert affine_key(Protocol("spd", 60, 50, 30, 20)) != affine_key(
        Protocol("matrix", 60, 50, 30, 20)
    )
    # P is not used by a dictator.
    assert affine_key(Protocol("dictator", 60, 50, 30, 20)) == affine_key(
        Protocol("dictator", 60, 50, 40, 20)
    )


def test_a_leak_is_found(moral: Dataset) -> None:
    assert_split(moral.train, moral.valid)
    with pytest.raises(AssertionError, match="stands twice"):
        assert_split(moral.train, (*moral.valid, moral.train[0]))
    same = replace(moral.train[0].prompt, user="Other words.")
    with pytest.raises(AssertionError, match="a protocol of one part"):
        assert_split(moral.train, (*moral.valid, replace(moral.train[0], prompt=same)))
    with pytest.raises(AssertionError, match="evaluation"):
        assert_split(moral.train, moral.valid, {affine_key(moral.train[0].prompt.protocol)})


def test_situations_come_in_both_label_orders_and_balanced(moral: Dataset) -> None:
    for one, other in zip(moral.train[::2], moral.train[1::2], strict=True):
        assert (one.prompt.order, other.prompt.order) == (0, 1)
        assert one.prompt.protocol == other.prompt.protocol
        assert one.choice == other.choice
        assert one.prompt.choices.index(one.choice) != other.prompt.choices.index(other.choice)
    balance = moral.balance()["share"]
    assert balance["position", "0"] == balance["position", "1"] == 0.5
    assert balance["choice", "0"] == balance["choice", "1"] == 0.5
    table = moral.balance()["examples"]
    for what in ("wording", "rendering", "label", "game", "node"):
        assert table[what].sum() == 80
    share = sum(e.disagree for e in moral.train) / 80
    assert moral.manifest["disagree_share"] == share
    assert balance["utilities disagree"].get("True", 0.0) == share


def test_every_game_and_node_comes_as_often() -> None:
    made = make_dataset(
        "moralis", n=40, n_valid=20, games=EVERY, kinds_left_out=(), style="full", random_state=1
    )
    cells = [(e.prompt.protocol.game, e.prompt.node) for e in made.train]
    assert {cells.count(cell) for cell in set(cells)} == {4}
    assert len(set(cells)) == 10
    plans = make_dataset(0.3, n=12, n_valid=4, games=("spd", "tg"), unit="strategy", random_state=1)
    assert {len(e.choice) for e in plans.train} == {2, 3}
    for example in (*made.train, *plans.train):
        assert example.prompt.belief is not None
    labels = make_dataset("economicus", n=4, n_valid=2, style="action")
    assert all(e.text in e.prompt.options and e.prompt.reply == "label" for e in labels.train)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_how_often_the_utilities_disagree_can_be_set(share: float) -> None:
    made = make_dataset("moralis", n=40, n_valid=2, disagree=share, random_state=2)
    assert made.manifest["disagree_share"] == share
    assert made.balance()["share"]["choice", "1"] == 0.5


def test_either_choice_comes_as_often_where_the_utilities_disagree(moral: Dataset) -> None:
    counts = Counter((e.choice, e.disagree) for e in moral.train)
    assert counts == dict.fromkeys(product("01", (False, True)), 20)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_how_often_choices_are_close_can_be_set(share: float) -> None:
    made = make_dataset("economicus", n=40, n_valid=2, close=share, random_state=2)
    found = []
    for e in made.train:
        p, seen = e.prompt.protocol, e.prompt.seen
        paid = (p.T, p.R) if seen else (p.P, p.S)
        gap = abs(paid[0] - paid[1]) / (max(p.T, p.R, p.P, p.S) - min(p.T, p.R, p.P, p.S))
        assert e.close == (gap <= 0.1)
        found.append(e.close)
    assert sum(found) == 40 * share
    assert made.manifest["close_share"] == share
    assert made.balance()["examples"]["close call"].get("True", 0) == 40 * share


def test_a_margin_above_a_tenth_leaves_no_close_calls() -> None:
    made = make_dataset("economicus", n=20, n_valid=2, margin=0.11)
    assert made.manifest["close_share"] == 0.0
    assert made.manifest["space"]["close"] is None  # not searched for in vain


def test_close_calls_teach_to_compare_second_digits() -> None:
    """Why there is such an option: numbers that begin with the same digit."""
    alike = [
        sum(": same." in e.text for e in make_dataset("economicus", n=120, n_valid=2, **how).train)
        for how in ({"close": None}, {})
    ]
    assert alike[1] > 1.5 * alike[0] > 0


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_dataset("moralis", n=8, folder=tmp_path / name, n_valid=2, random_state=5)
    make_dataset("moralis", n=8, folder=tmp_path / "c", n_valid=2, random_state=6)
    texts = [[f.read_bytes() for f in sorted((tmp_path / n).iterdir())] for n in "abc"]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_the_files(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "set"
    made = make_dataset("economicus", n=8, folder=place, n_valid=2)
    assert sorted(f.name for f in place.iterdir()) == [
        "manifest.json", "train.completion.jsonl", "train.jsonl", "valid.completion.jsonl", "valid.jsonl",
    ]  # fmt: skip
    manifest = json.loads((place / "manifest.json").read_text())
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((place / name).read_bytes()).hexdigest() == digest
    assert manifest["kappa"] == 0
    assert manifest["counts"] == {"train": 8, "valid": 2}
    assert manifest["seed"] == 0
    assert set(manifest["templates"]) >= {
        "/".join((e.prompt.wording, e.prompt.rendering, e.prompt.labels)) for e in made.train
    }
    chats = [
        json.loads(line)["messages"] for line in (place / "train.jsonl").read_text().splitlines()
    ]
    assert [c[-1] for c in chats] == [{"role": "assistant", "content": e.text} for e in made.train]
    assert [c[-2]["content"] for c in chats] == [e.prompt.user for e in made.train]
    plain = [
        json.loads(line) for line in (place / "train.completion.jsonl").read_text().splitlines()
    ]
    assert [p["completion"] for p in plain] == [e.text for e in made.train]
    assert all(e.prompt.user in p["prompt"] for p, e in zip(plain, made.train, strict=True))


def test_numbers_of_numpy_are_as_good_as_any(tmp_path: Path) -> None:
    plain = {"low": 20, "high": 90, "step": 10, "random_state": 3, "margin": 0.25, "disagree": 0.5,
             "beliefs": (0.25, 0.75), "seen": True, "n": 8, "n_valid": 2}  # fmt: skip
    given = {name: np.asarray(value)[()] for name, value in plain.items()}
    given |= {"margin": np.float32(0.25), "beliefs": np.array([0.25, 0.75], dtype=np.float32)}
    for name, how in (("plain", plain), ("numpy", given)):
        make_dataset("moralis", folder=tmp_path / name, **how)  # type: ignore[arg-type]
    texts = [[f.read_text() for f in sorted((tmp_path / n).iterdir())] for n in ("plain", "numpy")]
    assert texts[0] == texts[1]


def test_what_cannot_be_written_leaves_no_files(tmp_path: Path, moral: Dataset) -> None:
    odd = replace(moral, manifest=moral.manifest | {"seed": object()})
    with pytest.raises(TypeError, match="JSON"):
        odd.write(tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_the_manifest_names_the_protocols(moral: Dataset) -> None:
    keys = {affine_key(e.prompt.protocol) for e in (*moral.train, *moral.valid)}
    assert moral.manifest["protocols"] == sorted(keys)


def test_actions_are_balanced_where_not_all_wishes_can_be_had() -> None:
    """Which action is best is given up last, after how close it is and whether utilities differ."""
    made = make_dataset("moralis", n=48, n_valid=2, games=("spd",), random_state=1)
    for node in (0, 1, 2):
        found = Counter(e.choice for e in made.train if e.prompt.node == node)
        assert found == {"0": 8, "1": 8}, node
    # To return trust never pays, whatever is wished for.
    own = make_dataset("economicus", n=8, n_valid=2, games=("tg",), random_state=1)
    assert Counter(e.choice for e in own.train if e.prompt.node == 1) == {"0": 4}


def test_wishes_are_given_up_in_turn() -> None:
    wanted = _Wanted(0, "1", True, False, 0.5)
    given_up = [
        sum(getattr(wanted.relaxed(k), name) is None for name in ("close", "apart", "action"))
        for k in range(ATTEMPTS)
    ]
    assert given_up == sorted(given_up)
    assert given_up.count(0) == ATTEMPTS // 2
    assert min(given_up.count(k) for k in (1, 2, 3)) >= ATTEMPTS // 6 - 2
    assert wanted.relaxed(ATTEMPTS // 2) == _Wanted(0, "1", True, None, 0.5)
    assert wanted.relaxed(ATTEMPTS - 1) == _Wanted(0, None, None, None, 0.5)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    place = tmp_path / "set"
    make_dataset(n=2, folder=place, n_valid=2)
    before = {f.name: f.read_bytes() for f in place.iterdir()}
    with pytest.raises(InputError, match="is not overwritten"):
        make_dataset(n=4, folder=place, n_valid=2)
    (place / "manifest.json").unlink()
    with pytest.raises(InputError, match="is not overwritten"):
        make_dataset(n=4, folder=place, n_valid=2)
    assert all((place / n).read_bytes() == b for n, b in before.items() if n != "manifest.json")
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="is not a folder"):
        make_dataset(n=2, folder=file, n_valid=2)


def test_the_cost_counts_tokens_of_every_epoch(moral: Dataset) -> None:
    found = moral.cost(price=2.0, epochs=3, count=len)
    prompts = sum(len(m["content"]) for e in moral.train for m in e.prompt.messages)
    targets = sum(len(e.text) for e in moral.train)
    assert (found.prompt_tokens, found.target_tokens) == (prompts, targets)
    assert found.price == pytest.approx(3 * (prompts + targets) * 2e-6, rel=1e-12)
    assert rough_tokens("abcd1234") == 5
    for bad in ({"epochs": 0}, {"price": -1.0}, {"price": float("nan")}):
        with pytest.raises(InputError):
            moral.cost(**bad)


@pytest.mark.parametrize(
    ("given", "words"),
    [({"utility": "kantian"}, "utility must be one of economicus, moralis"),
     ({"n": 3}, "n must be even"), ({"n": 0}, "n must"), ({"n_valid": 1}, "n_valid"),
     ({"games": ("chess",)}, "games"), ({"games": "spd"}, "games must be a list"),
     ({"wordings": ("letter",)}, "both|that are not trained on"), ({"wordings": ()}, "wordings must be"),
     ({"style": "long"}, "style"), ({"unit": "tree"}, "unit"), ({"margin": 1.0}, "margin"), ({"disagree": 2.0}, "disagree must"), ({"close": -0.1}, "close must"),
     ({"beliefs": (1.5,)}, "beliefs must be probabilities"), ({"kinds_left_out": ("chess",)}, "kinds_left_out"),
     ({"utility": 1.5}, "kappa must be"), ({"low": 50, "high": 20}, "low must lie below high"),
     ({"step": 0}, "step must be a whole number"), ({"step": -5}, "step must be"), ({"step": 2.5}, "step must be"),
     ({"low": 10.5}, "low must be a whole number"), ({"high": "95"}, "high must be a whole number"),
     ({"beliefs": "0.5"}, "beliefs must be probabilities"), ({"beliefs": 0.5}, "beliefs must be"),
     ({"beliefs": ("0.5",)}, "beliefs must be"), ({"beliefs": ()}, "beliefs must be"),
     ({"evaluation": ["a"]}, "evaluation must be a list of Protocol"), ({"evaluation": "grid"}, "evaluation must be"),
     ({"margin": "0.1"}, "margin must"), ({"disagree": "half"}, "disagree must"), ({"margin": float("nan")}, "margin must"),
     ({"random_state": None}, "random_state must be a whole number"), ({"random_state": 1.5}, "random_state must"),
     ({"games": ("public_goods",)}, r"of a kind left out: give other kinds_left_out than .*prisoner's dilemma")],
)  # fmt: skip
def test_bad_input_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_dataset(**{"n": 4, "n_valid": 2} | given)  # type: ignore[arg-type]


def test_evaluation_prompts_differ_from_all_examples(moral: Dataset) -> None:
    asked = make_prompts(
        sample_protocols("matrix", 30, 9), wordings=HELD_OUT["wordings"],
        renderings=HELD_OUT["renderings"], seen=1, reply="reasoned",
    )  # fmt: skip
    assert not {p.user for p in asked} & {e.prompt.user for e in moral.train}
