"""Language models in this process through transformers, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError

from .base import Answer, Probabilities, Prompt
from .weights import checksum, libraries, load, model_folder


@dataclass(frozen=True, eq=False)
class LocalAgent:
    """A causal language model run in this process, one prompt at a time, in float32.

    Lower precision makes many probabilities tie. Nothing is fetched from a network.

    Parameters
    ----------
    model : str, Path or model, optional
        A folder of a model, a GGUF file (converted once and kept in the system's cache folder), or
        a model of transformers with its ``tokenizer``; the packaged SmolLM2 by default.
    tokenizer : tokenizer, optional
        Of a model given as an object.
    temperature : float
        Of answers; 0 takes the most probable token each time.
    max_tokens : int
        Longest answer.
    device : str
        As torch names it.
    name : str, optional
        What logs call it; the name of the file or folder by default.

    Raises
    ------
    InputError
        For a bad number, or a model object without tokenizer or name.

    Examples
    --------
    >>> from mlinstruments.agents import LocalAgent, play
    >>> from mlinstruments.games import default_grid
    >>> played = play(LocalAgent(), default_grid(), mode="probabilities")  # doctest: +SKIP
    """

    model: Any = None
    tokenizer: Any = field(default=None, repr=False)
    temperature: float = 1.0
    max_tokens: int = 256
    device: str = "cpu"
    name: str = ""

    def __post_init__(self) -> None:
        check_count(self.max_tokens, "max_tokens", 1)
        if not self.temperature >= 0:
            raise InputError(f"temperature must be at least 0; got {self.temperature!r}.")
        if not self._given:
            found = Path(self.model).name if self.model is not None else "SmolLM2-135M-Instruct"
            object.__setattr__(self, "name", self.name or found)
        elif self.tokenizer is None or not self.name:
            raise InputError("a model object needs its tokenizer and a name for logs.")

    @property
    def _given(self) -> bool:
        """Whether the model is an object."""
        return self.model is not None and not isinstance(self.model, str | Path)

    @cached_property
    def _folder(self) -> Path:
        return model_folder(self.model)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        if self._given:
            return self.model.to(self.device).eval(), self.tokenizer
        return load(self._folder, self.device)

    @cached_property
    def _checksum(self) -> str:
        return "" if self._given else checksum(self._folder)

    @property
    def settings(self) -> dict[str, Any]:
        """What its answers depend on; for a model from a file, with its checksum."""
        return {
            "agent": "local",
            "model": self.name,
            "sha256": self._checksum,
            "dtype": "float32",
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "device": self.device,
        }

    def answer(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Iterator[Answer]:
        """Write answers, sampled from the whole distribution; see :class:`Agent`.

        Parameters
        ----------
        prompts : sequence of Prompt
        seeds : sequence of int

        Returns
        -------
        iterator of Answer
        """
        torch, _ = libraries()
        model, tokenizer = self._loaded
        how: dict[str, Any] = {"do_sample": False}
        if self.temperature > 0:
            how = {"do_sample": True, "temperature": self.temperature, "top_k": 0, "top_p": 1.0}
        for prompt, seed in zip(prompts, seeds, strict=True):
            read = self._tokens(prompt)
            # The user's own stream of random numbers is left as it was.
            with torch.no_grad(), torch.random.fork_rng():
                torch.manual_seed(seed)
                made = model.generate(
                    read,
                    attention_mask=torch.ones_like(read),
                    max_new_tokens=self.max_tokens,
                    pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
                    **how,
                )
            new = made[0, read.shape[1] :]
            text = tokenizer.decode(new, skip_special_tokens=True)
            yield Answer(text, read.shape[1], len(new))

    def choice_probabilities(self, prompts: Sequence[Prompt]) -> Iterator[Probabilities]:
        """Probability that an answer begins with each label; see :class:`Agent`.

        Of labels of several tokens it is the product over their tokens. With and without a space
        before it, a label is the same.

        Parameters
        ----------
        prompts : sequence of Prompt

        Returns
        -------
        iterator of Probabilities
            Nothing is censored.
        """
        torch, _ = libraries()
        model, tokenizer = self._loaded
        for prompt in prompts:
            read = self._tokens(prompt)
            written = [label_tokens(tokenizer, option) for option in prompt.options]
            with torch.no_grad():
                first = torch.log_softmax(model(read, logits_to_keep=1).logits[0, -1].double(), -1)
                values = [
                    sum(
                        float(torch.exp(first[way[0]] + _rest(torch, model, read, way)))
                        for way in ways
                    )
                    for ways in written
                ]
            spent = read.shape[1]
            yield Probabilities(np.array(values), np.zeros(len(values), dtype=bool), spent)

    def _tokens(self, prompt: Prompt) -> Any:
        """The prompt up to where the answer begins, (1, tokens)."""
        torch, _ = libraries()
        _, tokenizer = self._loaded
        if not tokenizer.chat_template:
            raise InputError(f"{self.name} has no chat template: it is no model to be asked.")
        text = tokenizer.apply_chat_template(
            prompt.messages, tokenize=False, add_generation_prompt=True
        )
        found = tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor([found], device=self.device)


def label_tokens(tokenizer: Any, label: str) -> list[list[int]]:
    """The ways a label is written as tokens: alone, and after a space.

    Parameters
    ----------
    tokenizer : tokenizer of transformers
    label : str

    Returns
    -------
    list of list of int
        Each once.
    """
    ways = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (label, f" {label}")]
    return [way for k, way in enumerate(ways) if way not in ways[:k]]


def _rest(torch: Any, model: Any, read: Any, way: Sequence[int]) -> Any:
    """Log-probability of the tokens of a label after its first one."""
    if len(way) == 1:
        return 0.0
    whole = torch.cat([read, torch.tensor([list(way)], device=read.device)], dim=1)
    logits = model(whole, logits_to_keep=len(way)).logits[0, :-1].double()
    chosen = torch.tensor(list(way[1:]), device=read.device)
    return torch.log_softmax(logits, -1).gather(1, chosen[:, None]).sum()
