"""Examples for fine-tuning: what they are, what they cost, how they are balanced and written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import Prompt

FILES = ("train.jsonl", "valid.jsonl", "train.completion.jsonl", "valid.completion.jsonl")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Example:
    """A prompt and what the utility answers.

    Parameters
    ----------
    prompt : Prompt
    text : str
        The target.
    choice : str
        What it decides, one of ``prompt.choices``.
    disagree : bool
        Whether homo economicus and homo moralis (kappa 1/2) choose differently.
    close : bool
        Whether the choice is better than the next by at most a tenth of the payoff range.
    """

    prompt: Prompt
    text: str
    choice: str
    disagree: bool
    close: bool

    @property
    def messages(self) -> list[dict[str, str]]:
        """Chat messages, the target last."""
        return [*self.prompt.messages, {"role": "assistant", "content": self.text}]


@dataclass(frozen=True)
class Cost:
    """What training would take, without training.

    Parameters
    ----------
    examples, epochs : int
    prompt_tokens, target_tokens : int
        Of one epoch.
    price : float
        Of all epochs, in the currency of the price given.
    """

    examples: int
    epochs: int
    prompt_tokens: int
    target_tokens: int
    price: float


@dataclass(frozen=True, eq=False)
class Dataset:
    """What :func:`make_dataset` returns.

    Parameters
    ----------
    train, valid : tuple of Example
        Two by two the same situation with the labels changed over.
    manifest : dict
        All that is needed to make it again: seed, grid, kappa, templates and their hashes, counts,
        the affine keys of the protocols left out and of those in it.
    """

    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    manifest: dict[str, Any]

    def balance(self) -> pd.DataFrame:
        """Share of the training examples by game, node, action, label, position and template.

        Returns
        -------
        DataFrame
            Index: what, value; columns: examples, share.
        """
        return balance_of(self.train)

    def cost(
        self,
        price: float = 0.0,
        epochs: int = 1,
        count: Callable[[str], int] | None = None,
    ) -> Cost:
        """What training would take, by tokens.

        Parameters
        ----------
        price : float
            For a million tokens trained on.
        epochs : int
        count : callable, optional
            Tokens of a text; by default a token for every four characters and one for every digit,
            which is rough.

        Returns
        -------
        Cost

        Examples
        --------
        >>> from mlinstruments.alignment import make_dataset
        >>> data = make_dataset("economicus", n=4, n_valid=2, wordings=["plain"])
        >>> round(data.cost(price=3.0, epochs=2, count=lambda text: 100).price, 6)
        0.0048
        """
        check_count(epochs, "epochs", 1)
        if not np.isfinite(price) or price < 0:
            raise InputError(f"price must be a price for a million tokens; got {price!r}.")
        tokens = count or rough_tokens
        prompts = sum(sum(tokens(m["content"]) for m in e.prompt.messages) for e in self.train)
        targets = sum(tokens(e.text) for e in self.train)
        total = (prompts + targets) * epochs
        return Cost(len(self.train), epochs, prompts, targets, price * total / 1e6)

    def write(self, folder: str | Path) -> Path:
        """Write chat and prompt/completion files and the manifest.

        Parameters
        ----------
        folder : str or Path
            Made if need be.

        Returns
        -------
        Path
            The folder: ``train.jsonl``, ``valid.jsonl`` (chat ``messages``),
            ``train.completion.jsonl``, ``valid.completion.jsonl`` (``prompt``, ``completion``),
            ``manifest.json`` (last, so that a folder with a manifest is whole).

        Raises
        ------
        InputError
            Where any of these files is there already.
        """
        place = check_empty(folder)
        parts = {"train": self.train, "valid": self.valid}
        # All texts before the first file, so that what cannot be written leaves none.
        texts = {}
        for name in FILES:
            part, *form = name.removesuffix(".jsonl").split(".")
            lines = [_completion(e) if form else {"messages": e.messages} for e in parts[part]]
            texts[name] = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
        manifest = self.manifest | {"sha256": sums}
        texts[MANIFEST] = json.dumps(manifest, indent=1, ensure_ascii=False)
        place.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with open(place / name, "x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        return place


def balance_of(examples: Sequence[Example]) -> pd.DataFrame:
    """Counts and shares of examples; see :meth:`Dataset.balance`."""
    rows = []
    for e in examples:
        position = e.prompt.choices.index(e.choice)
        rows.append(
            {
                "game": e.prompt.protocol.game,
                "node": "all" if e.prompt.node is None else str(e.prompt.node),
                "choice": e.choice,
                "label": e.prompt.options[position],
                "position": str(position),
                "wording": e.prompt.wording,
                "rendering": e.prompt.rendering,
                "utilities disagree": str(e.disagree),
                "close call": str(e.close),
            }
        )
    frame = pd.DataFrame(rows)
    counts = {
        (column, value): count
        for column in frame
        for value, count in frame[column].value_counts().sort_index().items()
    }
    index = pd.MultiIndex.from_tuples(list(counts), names=["what", "value"])
    found = pd.DataFrame({"examples": list(counts.values())}, index=index)
    return found.assign(share=found["examples"] / len(frame))


def _completion(example: Example) -> dict[str, str]:
    prompt = "\n\n".join(message["content"] for message in example.prompt.messages)
    return {"prompt": prompt, "completion": example.text}


def check_empty(folder: str | Path) -> Path:
    """The folder, if no data set is in it."""
    place = Path(folder)
    there = next((name for name in (*FILES, MANIFEST) if (place / name).exists()), None)
    if there is not None:
        raise InputError(
            f"{place / there} is there already and is not overwritten: choose another folder, or"
            " remove the old data set yourself."
        )
    if place.exists() and not place.is_dir():
        raise InputError(f"{place} is not a folder.")
    return place


def rough_tokens(text: str) -> int:
    """A token for every four characters, and one for every digit.

    Examples
    --------
    >>> rough_tokens("I get 34.")
    4
    """
    digits = sum(character.isdigit() for character in text)
    return digits + -(-(len(text) - digits) // 4)
