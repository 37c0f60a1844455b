"""Greedy answers: the same with a guess, without one, in batches, and by transformers itself."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from mlinstruments._core.exceptions import AssumptionWarning, InputError
from mlinstruments.agents import LocalAgent, Prompt, make_prompt
from mlinstruments.alignment import GreedyAgent, finetune, make_dataset, target
from mlinstruments.alignment.greedy import _prompt_tokens, told_apart
from mlinstruments.games import Protocol

from .tiny import tiny_model

torch = pytest.importorskip("torch", reason="the finetune extra is not installed")
pytest.importorskip("transformers", reason="the finetune extra is not installed")
pytest.importorskip("peft", reason="the finetune extra is not installed")
# Of those packages about each other.
pytestmark = pytest.mark.filterwarnings("ignore")

PROMPTS = [
    make_prompt(Protocol("matrix", 45, 60, 40, 10, id="m"), 0, wording=w, seen=seen, order=o, reply="reasoned")
    for w in ("plain", "terse") for seen in (0, 1) for o in (0, 1)
]  # fmt: skip


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes some of a target: tuned a little, on two situations."""
    place = tmp_path_factory.mktemp("greedy")
    make_dataset("economicus", n=4, folder=place / "data", n_valid=2)
    base = tiny_model(place / "base")
    return finetune(
        place / "data", place / "run", base, steps=60, batch=4, rank=16, lr=3e-2, warmup=1,
        validate_every=60, precision="float32", progress=False,
    ).merged  # fmt: skip


def texts(agent: object) -> list[str | None]:
    return [answer.text for answer in agent.answer(PROMPTS, [0] * len(PROMPTS))]  # type: ignore[attr-defined]


def test_guessing_and_batches_change_nothing(tuned: Path) -> None:
    alone = texts(LocalAgent(tuned, temperature=0.0, max_tokens=40))
    for guess in (None, 0.0, 0.5):
        for batch in (1, 3, 16):
            assert texts(GreedyAgent(tuned, guess=guess, batch=batch, max_tokens=40)) == alone


def test_targets_that_are_longer_than_answers_may_be_are_said(tuned: Path) -> None:
    agents = [GreedyAgent(tuned, guess=g) for g in (None, "economicus", "moralis")]
    assert [agent.settings["max_tokens"] for agent in agents] == [200, 200, 300]
    with pytest.warns(AssumptionWarning, match=r"a target has \d+ tokens.*end after 20"):
        texts(GreedyAgent(tuned, guess=0.0, max_tokens=20))
    with warnings.catch_warnings():
        warnings.simplefilter("error", AssumptionWarning)
        GreedyAgent(tuned, guess=0.0, max_tokens=2000)._guess(PROMPTS[0])


def test_bfloat16_is_the_same_model_to_fewer_digits(tuned: Path) -> None:
    exact, low = GreedyAgent(tuned), GreedyAgent(tuned, precision="bfloat16")
    written = ["Decision: A"] * len(PROMPTS)
    p = [agent.decision_probabilities(PROMPTS, written) for agent in (exact, low)]
    assert 0 < np.abs(p[0] - p[1]).max() < 0.05
    assert [a.settings["dtype"] for a in (exact, low)] == ["float32", "bfloat16"]
    assert low._loaded[0].dtype == torch.bfloat16
    with pytest.raises(InputError, match="precision"):
        GreedyAgent(tuned, precision="float16")


@pytest.mark.parametrize("wrong_at", [0, 1, 5, 39, None])
def test_a_guess_wrong_somewhere_changes_nothing(
    tuned: Path, wrong_at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = GreedyAgent(tuned, batch=3, max_tokens=40)
    tokenizer = agent._loaded[1]
    alone = texts(agent)
    own = {p.hash: tokenizer(t)["input_ids"] for p, t in zip(PROMPTS, alone, strict=True)}

    def guess(self: GreedyAgent, prompt: Prompt) -> list[int]:
        tokens = list(own[prompt.hash])
        if wrong_at is not None:
            tokens[wrong_at] = (tokens[wrong_at] + 1) % 100
        return tokens

    monkeypatch.setattr(GreedyAgent, "_guess", guess)
    read = [_prompt_tokens(tokenizer, prompt) for prompt in PROMPTS]
    accepted = agent._accepted(read, [guess(agent, prompt) for prompt in PROMPTS])
    # Up to the first wrong token, and the right one in its place.
    assert [len(new) for new in accepted] == [40 if wrong_at is None else wrong_at + 1] * len(
        PROMPTS
    )
    assert texts(agent) == alone


def test_a_model_that_writes_the_guess_is_not_asked_to_generate(
    tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = GreedyAgent(tuned, guess=0.0)
    end = agent._loaded[1].eos_token
    guesses = [agent._guess(prompt) for prompt in PROMPTS]
    assert agent._loaded[1].decode(guesses[0]) == target(PROMPTS[0]) + end
    monkeypatch.setattr(
        GreedyAgent, "_accepted", lambda self, read, given: [list(g) for g in given]
    )
    monkeypatch.setattr(agent._loaded[0], "generate", None)
    assert texts(agent) == [target(prompt) for prompt in PROMPTS]


def test_what_differs_from_guesses_in_several_batches_is_generated_together(
    tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = GreedyAgent(tuned, batch=3, max_tokens=40)
    model, tokenizer = agent._loaded
    alone = texts(agent)
    own = {p.hash: tokenizer(t)["input_ids"] for p, t in zip(PROMPTS, alone, strict=True)}
    for prompt in (PROMPTS[0], PROMPTS[7]):
        own[prompt.hash][5] = (own[prompt.hash][5] + 1) % 100
    monkeypatch.setattr(GreedyAgent, "_guess", lambda self, prompt: own[prompt.hash])
    calls = []
    generate = model.generate
    monkeypatch.setattr(
        model, "generate", lambda ids, **k: calls.append(len(ids)) or generate(ids, **k)
    )
    assert texts(agent) == alone
    assert calls == [2]


def test_a_forced_agent_takes_the_most_probable_label(tuned: Path) -> None:
    agent = GreedyAgent(tuned, forced=True, batch=3)
    bare = [
        make_prompt(p.protocol, 0, wording=p.wording, seen=p.seen, order=p.order) for p in PROMPTS
    ]
    p = agent.decision_probabilities(bare, [""] * len(bare))
    found = [answer.text for answer in agent.answer(bare, [0] * len(bare))]
    assert found == [
        prompt.options[int(row[1] > row[0])] for prompt, row in zip(bare, p, strict=True)
    ]
    # Prompts that ask for reasons are answered freely.
    assert texts(agent) == texts(GreedyAgent(tuned))


def after(model: object, tokens: list[int]) -> object:
    """Probabilities of the token behind some."""
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0, -1].double()  # type: ignore[operator]
    return torch.softmax(logits, -1)


def test_label_probabilities_are_those_of_the_next_tokens(tuned: Path) -> None:
    agent = GreedyAgent(tuned, batch=3)
    model, tokenizer = agent._loaded
    written = ["I get 3.\nDecision: A", "", "Decision: A or\nDecision: B", None] * 2
    found = agent.decision_probabilities(PROMPTS, written)
    ends = ["I get 3.\nDecision:", "Decision:", "Decision: A or\nDecision:", "Decision:"] * 2
    space = tokenizer(" ")["input_ids"][0]  # a token a character: " A" begins with a space
    for row, (prompt, end) in enumerate(zip(PROMPTS, ends, strict=True)):
        text = tokenizer.apply_chat_template(
            prompt.messages, tokenize=False, add_generation_prompt=True
        )
        tokens = tokenizer(text + end)["input_ids"]
        first, second = after(model, tokens), after(model, [*tokens, space])
        for column, option in enumerate(prompt.options):
            label = tokenizer(option)["input_ids"][0]
            # The space is that of both labels, and counts for the one that comes behind it.
            expected = float(first[label] + first[space] * second[label])  # type: ignore[index]
            # Padding changes float32 sums in their last digits.
            assert found[row, column] == pytest.approx(expected, rel=1e-4)
    assert np.all(found > 0)
    assert np.all(found.sum(axis=1) <= 1)


class Words:
    """A tokenizer with some words; other text is one token a character."""

    def __init__(self, **words: list[int]) -> None:
        self.words = words

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        name = text.replace(" ", "_")
        return {"input_ids": self.words.get(name, [100 + ord(c) for c in text])}


def test_labels_are_told_apart_by_as_few_tokens_as_can_be() -> None:
    # "1" alone and behind a space, as in the vocabulary of SmolLM2.
    digits = Words(**{"1": [33], "2": [34], "_1": [216, 33], "_2": [216, 34]})
    assert told_apart(digits, ("1", "2")) == [{(33,), (216, 33)}, {(34,), (216, 34)}]
    # Where the first tokens differ they are enough.
    plain = Words(red=[1, 2, 3], blue=[4, 2], _red=[1, 5], _blue=[6])
    assert told_apart(plain, ("red", "blue")) == [{(1,)}, {(4,), (6,)}]
    with pytest.raises(InputError, match="tokens of 'red' are also those another of"):
        told_apart(Words(red=[1], redder=[1, 2], _red=[3], _redder=[4]), ("red", "redder"))


@pytest.mark.parametrize(
    ("given", "words"),
    [({"style": "nope"}, "style must be one of"), ({"guess": 7}, "kappa must be a number"),
     ({"guess": "kantian"}, "utility must be one of")],
)  # fmt: skip
def test_a_guess_that_is_none_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        GreedyAgent(**given)  # type: ignore[arg-type]


def test_a_guess_by_name_is_that_by_weight(tuned: Path) -> None:
    guesses = [GreedyAgent(tuned, guess=g)._guess(PROMPTS[0]) for g in ("moralis", 0.5, 0)]
    assert guesses[0] == guesses[1] != guesses[2]
    assert all(guesses)
