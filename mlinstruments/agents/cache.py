"""Answers kept by what was asked, so that the same question to the same model costs once."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError

from .base import Answer, Failure, Probabilities, Prompt
from .builtin import ScriptedAgent
from .weights import cache_folder


@dataclass(frozen=True)
class CachedAgent:
    """An agent whose answers are kept in files named after the question.

    The name is a hash of the agent's name and settings, the messages, the options and, for drawn
    answers, the seed. Failures are not kept; tokens and cost of a kept answer are 0, since it
    was paid for before. An agent whose settings are those of any other of its kind is refused: one
    with a function for a script, or with a model given as an object.

    Parameters
    ----------
    agent : Agent
    folder : str or Path, optional
        The system's folder for caches by default.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from mlinstruments.agents import CachedAgent, ScriptedAgent, make_prompt
    >>> from mlinstruments.games import Protocol
    >>> prompt = make_prompt(Protocol("tg", 80, 50, 30, 20, id="a"), node=0)
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> agent = CachedAgent(ScriptedAgent({"tg": "11"}), folder)
    >>> [list(agent.answer([prompt], [7]))[0].text for _ in range(3)]
    ['A', 'A', 'A']
    >>> len(list(folder.glob("*/*.json")))
    1
    """

    agent: Any
    folder: str | Path | None = None

    @property
    def name(self) -> str:
        """The agent's."""
        return str(self.agent.name)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The agent's.

        Raises
        ------
        InputError
            Where they do not tell the agent from another one that answers otherwise.
        """
        found: Mapping[str, Any] = self.agent.settings
        _check_told_apart(self.agent, found)
        return found

    def answer(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Iterator[Answer | Failure]:
        """Kept answers, and the agent's where there are none; see :class:`Agent`.

        Parameters
        ----------
        prompts : sequence of Prompt
        seeds : sequence of int

        Returns
        -------
        iterator of Answer or Failure

        Raises
        ------
        InputError
            Where the agent gives none, or its settings do not say which it is.
        """
        if not hasattr(self.agent, "answer"):
            raise InputError(f"{self.name} has no answer: use mode='probabilities'.")
        # The same prompt with the same seed twice is two draws.
        seen: dict[tuple[str, int], int] = {}
        keys = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            turn = seen[prompt.hash, seed] = seen.get((prompt.hash, seed), -1) + 1
            keys.append(self._key(prompt, "answer", seed, turn))

        def ask(missing: list[int]) -> Iterable[Any]:
            return self.agent.answer([prompts[k] for k in missing], [seeds[k] for k in missing])  # type: ignore[no-any-return]

        return self._through(keys, ask, lambda kept: Answer(kept["text"], model=kept["model"]))

    def choice_probabilities(self, prompts: Sequence[Prompt]) -> Iterator[Probabilities | Failure]:
        """Kept probabilities, and the agent's where there are none; see :class:`Agent`.

        Parameters
        ----------
        prompts : sequence of Prompt

        Returns
        -------
        iterator of Probabilities or Failure

        Raises
        ------
        InputError
            Where the agent measures none.
        """
        if not hasattr(self.agent, "choice_probabilities"):
            raise InputError(f"{self.name} has no choice_probabilities: use mode='sample'.")
        keys = [self._key(prompt, "probabilities") for prompt in prompts]

        def ask(missing: list[int]) -> Iterable[Any]:
            return self.agent.choice_probabilities([prompts[k] for k in missing])  # type: ignore[no-any-return]

        return self._through(keys, ask, _probabilities)

    def _key(self, prompt: Prompt, *more: Any) -> str:
        content = [self.name, dict(self.settings), prompt.messages, prompt.options, *more]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _through(
        self,
        keys: Sequence[str],
        ask: Callable[[list[int]], Iterable[Any]],
        restore: Callable[[Any], Any],
    ) -> Iterator[Any]:
        folder = Path(self.folder) if self.folder is not None else cache_folder("answers")
        files = [folder / key[:2] / f"{key}.json" for key in keys]
        kept = [_read(file) for file in files]
        missing = [k for k, found in enumerate(kept) if found is None]
        asked = iter(ask(missing)) if missing else iter(())
        for file, found in zip(files, kept, strict=True):
            if found is not None:
                yield restore(found)
                continue
            made = next(asked, None)
            if made is None:
                return  # too few, which the caller sees
            if not isinstance(made, Failure):
                _write(file, made)
            yield made


def _check_told_apart(agent: Any, settings: Mapping[str, Any]) -> None:
    """Raise where another agent with the same settings would be given this one's answers."""
    if isinstance(agent, ScriptedAgent) and callable(agent.script):
        why = "its script is a function: give the script as a mapping"
    elif settings.get("sha256") == "":
        why = "its model was given as an object, without a checksum: give a folder or file"
    else:
        return
    raise InputError(
        f"answers of {agent.name} cannot be kept, because its settings do not say which agent it"
        f" is; {why}, or play it without CachedAgent."
    )


def _probabilities(kept: Any) -> Probabilities:
    values, censored = np.array(kept["values"]), np.array(kept["censored"], dtype=bool)
    return Probabilities(values, censored, model=kept["model"])


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # never half written, but files may come to harm
        return None


def _write(file: Path, made: Answer | Probabilities) -> None:
    """Write a file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in asdict(made).items()}
    handle, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as content:
        json.dump(plain, content)
    os.replace(name, file)
