"""The most probable answer of a model, fast where a target says what it may be.

Greedy generation writes one token after another. Where the answer is guessed, one pass over prompt
and guess tells which of its tokens the model would have written; only what differs is generated.
A tuned model mostly writes its target, so that most answers cost one pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import AssumptionWarning, InputError
from mlinstruments._core.typing import FloatArray
from mlinstruments.agents import Answer, Prompt
from mlinstruments.agents.local import label_tokens
from mlinstruments.agents.weights import (
    PRECISIONS,
    checksum,
    libraries,
    load,
    low_precision,
    model_folder,
)

from .encoding import Encoded
from .labels import utility_weight
from .render import STYLES, target
from .training import completion_logits, side_by_side

DECISION = "Decision:"
# Batches that are read before what differs from guesses is generated: a token for one answer takes
# as long as a token for each of many.
WINDOW = 4
# Tokens of the longest answer.
SHORT, LONG = 200, 300


@dataclass(frozen=True, eq=False)
class GreedyAgent:
    """A causal language model in this process at temperature 0, several prompts at a time.

    What it writes is what :class:`mlinstruments.agents.LocalAgent` writes at temperature 0, but for
    tokens that tie to seven digits; in bfloat16, to two or three.

    Parameters
    ----------
    model : str or Path, optional
        Folder of a model, or a GGUF file; the packaged SmolLM2 by default.
    name : str
        What logs call it.
    guess : {"economicus", "moralis"} or float, optional
        The utility, or its kappa, whose targets the answers are likely to be, which makes it faster
        and changes nothing else but how long answers may be by default.
    style : {"full", "short", "action"}
        Of these targets.
    forced : bool
        Answer prompts that ask for a bare label with the most probable of their labels, whatever
        else is more probable. A base model may never write a label of its own accord; the mass on
        labels says how far it was forced.
    max_tokens : int, optional
        Longest answer. By default 200, and 300 where ``guess`` is above 0: those targets add up,
        and have about 200. Warns where a guess is longer: it could not be written to its end.
    batch : int
        Prompts at a time.
    device : str
    precision : {"float32", "bfloat16", "auto"}
        Of weights and products. ``auto``: bfloat16 where the device multiplies in it, which takes
        about half as long.

    Examples
    --------
    >>> from mlinstruments.alignment import GreedyAgent
    >>> agent = GreedyAgent(name="base")  # reads no weights before it is asked
    >>> agent.name
    'base'
    """

    model: str | Path | None = None
    name: str = "greedy"
    guess: str | float | None = None
    style: str = "short"
    forced: bool = False
    max_tokens: int | None = None
    batch: int = 16
    device: str = "cpu"
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_choice(self.precision, "precision", PRECISIONS)
        check_choice(self.style, "style", STYLES)
        if self.guess is not None:
            utility_weight(self.guess)
        if self.max_tokens is not None:
            check_count(self.max_tokens, "max_tokens", 1)
        check_count(self.batch, "batch", 1)

    @cached_property
    def _folder(self) -> Path:
        return model_folder(self.model)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return load(self._folder, self.device, self._low)

    @cached_property
    def _low(self) -> bool:
        return low_precision(self.precision, self.device)

    @cached_property
    def _most(self) -> int:
        """Tokens of the longest answer."""
        adds_up = self.guess is not None and utility_weight(self.guess) > 0
        return self.max_tokens or (LONG if adds_up else SHORT)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What its answers depend on."""
        return {
            "agent": "greedy",
            "sha256": checksum(self._folder),
            "dtype": "bfloat16" if self._low else "float32",
            "temperature": 0.0,
            "max_tokens": self._most,
            "device": self.device,
            **({"forced": True} if self.forced else {}),
        }

    def answer(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Iterator[Answer]:
        """The most probable answers.

        Parameters
        ----------
        prompts : sequence of Prompt
        seeds : sequence of int
            Not needed: nothing is drawn.

        Returns
        -------
        iterator of Answer
        """
        _, tokenizer = self._loaded
        for begin in range(0, len(prompts), WINDOW * self.batch):
            part = prompts[begin : begin + WINDOW * self.batch]
            if self.forced and all(prompt.reply == "label" for prompt in part):
                p = self.decision_probabilities(part, [""] * len(part))
                yield from (
                    Answer(prompt.options[int(row.argmax())])
                    for prompt, row in zip(part, p, strict=True)
                )
                continue
            read = [_prompt_tokens(tokenizer, prompt) for prompt in part]
            written = self._accepted(read, [self._guess(prompt) for prompt in part])
            self._go_on(read, written)
            for known, new in zip(read, written, strict=True):
                text = tokenizer.decode(new, skip_special_tokens=True)
                yield Answer(text, len(known), len(new))

    def _guess(self, prompt: Prompt) -> list[int]:
        if self.guess is None:
            return []
        _, tokenizer = self._loaded
        try:
            text = target(prompt, utility_weight(self.guess), self.style) + tokenizer.eos_token
        except InputError:  # no belief stated, or a tie: there is nothing to guess
            return []
        tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(tokens) > self._most:
            warnings.warn(
                f"{self.name}: a target has {len(tokens)} tokens, and answers end after"
                f" {self._most}: give more max_tokens, or decisions are cut off.",
                AssumptionWarning,
                stacklevel=2,
            )
        return tokens[: self._most]

    def _batches(self, chosen: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
        """Positions in batches of about one length, so that little is padded."""
        order = sorted(chosen, key=lambda k: lengths[k])
        return [order[begin : begin + self.batch] for begin in range(0, len(order), self.batch)]

    def _accepted(self, read: Sequence[list[int]], guesses: Sequence[list[int]]) -> list[list[int]]:
        """How far the model would have written a guess, and its own token where it would not."""
        torch, _ = libraries()
        model, tokenizer = self._loaded
        written: list[list[int]] = [[] for _ in read]
        guessed = [k for k, guess in enumerate(guesses) if guess]
        lengths = [len(known) + len(guess) for known, guess in zip(read, guesses, strict=True)]
        batches = self._batches(guessed, lengths)

        def own_tokens(batch: list[int]) -> list[list[int]]:
            encoded = [Encoded(tuple(read[k]), tuple(guesses[k])) for k in batch]
            with torch.inference_mode():
                logits, _ = completion_logits(model, encoded, tokenizer.eos_token_id, low=False)
            parts = logits.argmax(-1).split([len(guesses[k]) for k in batch])
            return [part.tolist() for part in parts]

        with side_by_side(self.device) as each:
            found = each(own_tokens, batches)
        for batch, chosen in zip(batches, found, strict=True):
            for k, own in zip(batch, chosen, strict=True):
                same = [a == b for a, b in zip(own, guesses[k], strict=True)]
                first = same.index(False) + 1 if False in same else len(same)
                written[k] = own[:first]
        return written

    def _go_on(self, read: Sequence[list[int]], written: list[list[int]]) -> None:
        """Generate what is missing, in place."""
        end = self._loaded[1].eos_token_id
        left = [
            k for k, new in enumerate(written)
            if len(new) < self._most and (not new or new[-1] != end)
        ]  # fmt: skip
        lengths = [len(known) + len(new) for known, new in zip(read, written, strict=True)]
        for batch in self._batches(left, lengths):
            most = max(self._most - len(written[k]) for k in batch)
            made = self._generated([read[k] + written[k] for k in batch], most)
            for k, new in zip(batch, made, strict=True):
                stop = new.index(end) + 1 if end in new else len(new)
                written[k] = (written[k] + new[:stop])[: self._most]

    def _generated(self, begun: Sequence[list[int]], most: int) -> list[list[int]]:
        """What the model writes behind each, at most so many tokens, and padding behind its end."""
        torch, _ = libraries()
        model, tokenizer = self._loaded
        end, length = tokenizer.eos_token_id, max(map(len, begun))
        ids = torch.full((len(begun), length), end, device=self.device)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(begun):
            ids[row, length - len(tokens) :] = torch.tensor(tokens)
            mask[row, length - len(tokens) :] = 1
        with torch.inference_mode():
            made = model.generate(
                ids, attention_mask=mask, max_new_tokens=most, do_sample=False, pad_token_id=end
            )
        found: list[list[int]] = made[:, length:].tolist()
        return found

    def decision_probabilities(
        self, prompts: Sequence[Prompt], texts: Sequence[str | None]
    ) -> FloatArray:
        """Probability of each label where the decision is written, after the model's own reasons.

        Parameters
        ----------
        prompts : sequence of Prompt
            All with as many options.
        texts : sequence of str
            What it wrote; up to its last "Decision:", or all of it and "Decision:" on a new line.
            Of a prompt that asks for a bare label nothing: the label begins the answer.

        Returns
        -------
        array, shape (prompts, options)
            Rows sum to the mass on labels. Of labels of several tokens, that of the first, and of
            as many more as tell the labels of a prompt apart.

        Raises
        ------
        InputError
            Where the tokens of one label are the first of another's, so that nothing tells whether
            the first has been written.
        """
        torch, _ = libraries()
        model, tokenizer = self._loaded
        ways = {options: told_apart(tokenizer, options) for options in {p.options for p in prompts}}
        found = []
        for begin in range(0, len(prompts), self.batch):
            part = list(zip(prompts, texts, strict=True))[begin : begin + self.batch]
            batch = []
            for prompt, text in part:
                begun = _undecided(text or "") if prompt.reply == "reasoned" else ""
                before = tokenizer(begun, add_special_tokens=False)["input_ids"]
                # One token more, whose own logits are those looked up.
                tokens = tuple(_prompt_tokens(tokenizer, prompt) + before)
                batch.append(Encoded(tokens, (tokenizer.eos_token_id,)))
            longer = [
                (row, way)
                for row, (prompt, _) in enumerate(part)
                for way in {w for label in ways[prompt.options] for w in label if len(w) > 1}
            ]
            rest = self._behind([Encoded(batch[row].prompt, way) for row, way in longer])
            known = dict(zip(longer, rest, strict=True))
            with torch.inference_mode():
                logits, _ = completion_logits(model, batch, tokenizer.eos_token_id, low=False)
            p = torch.softmax(logits.double(), -1)
            for row, (prompt, _) in enumerate(part):
                found.append([
                    sum(float(p[row, way[0]]) * known.get((row, way), 1.0) for way in label)
                    for label in ways[prompt.options]
                ])  # fmt: skip
        return np.array(found)

    def _behind(self, begun: Sequence[Encoded]) -> list[float]:
        """Probability of the tokens of each behind its first one."""
        torch, _ = libraries()
        model, tokenizer = self._loaded
        found: list[float] = []
        for begin in range(0, len(begun), self.batch):
            batch = begun[begin : begin + self.batch]
            with torch.inference_mode():
                logits, tokens = completion_logits(model, batch, tokenizer.eos_token_id, low=False)
            logs = torch.log_softmax(logits.double(), -1).gather(1, tokens[:, None])[:, 0]
            parts = logs.split([len(e.completion) for e in batch])
            found += [float(part[1:].sum().exp()) for part in parts]
        return found


def told_apart(tokenizer: Any, options: Sequence[str]) -> list[set[tuple[int, ...]]]:
    """The beginnings, in tokens, by which each label is known from the others.

    Parameters
    ----------
    tokenizer : tokenizer of transformers
    options : sequence of str

    Returns
    -------
    list of set of tuple of int
        Of each label, alone and after a space; as short as they can be.

    Raises
    ------
    InputError
        Where the tokens of one are the first of another's.
    """
    written = [[tuple(way) for way in label_tokens(tokenizer, option)] for option in options]
    found: list[set[tuple[int, ...]]] = []
    for own, ways in enumerate(written):
        others = [way for k, label in enumerate(written) if k != own for way in label]
        found.append({_beginning(way, others) for way in ways})
        if () in found[-1]:
            raise InputError(
                f"the tokens of {options[own]!r} are also those another of {options!r} begins with:"
                " what is probable cannot be told. Use other labels, such as 'letters'."
            )
    return found


def _beginning(way: tuple[int, ...], others: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shortest beginning that no other has; empty where all of it is one of theirs."""
    for length in range(1, len(way) + 1):
        if all(other[:length] != way[:length] for other in others):
            return way[:length]
    return ()


def _undecided(text: str) -> str:
    head, marked, _ = text.rpartition(DECISION)
    return head + marked if marked else (text + "\n" if text else "") + DECISION


def _prompt_tokens(tokenizer: Any, prompt: Prompt) -> list[int]:
    text = tokenizer.apply_chat_template(
        prompt.messages, tokenize=False, add_generation_prompt=True
    )
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens
