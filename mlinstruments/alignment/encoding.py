"""Chat examples as tokens, and which of them the loss is taken over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlinstruments._core.exceptions import InputError

IGNORED = -100  # what torch's cross entropy leaves out
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Encoded:
    """Tokens of one example.

    Parameters
    ----------
    prompt : tuple of int
        Up to where the assistant begins.
    completion : tuple of int
        The answer and the token that ends the turn: what the loss is taken over.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]


def encode(tokenizer: Any, messages: Sequence[dict[str, str]]) -> Encoded:
    """Tokens of a chat whose last message is the assistant's.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        With a chat template.
    messages : sequence of dict

    Returns
    -------
    Encoded

    Raises
    ------
    InputError
        Where the template does not end the assistant's turn with the token at which generation
        stops, or tokens do not spell the answer: the loss would then teach something else.
    """
    prompt = tokenizer.apply_chat_template(
        list(messages[:-1]), tokenize=False, add_generation_prompt=True
    )
    whole = tokenizer.apply_chat_template(list(messages), tokenize=False)
    answer, end = messages[-1]["content"], tokenizer.eos_token
    if not whole.startswith(prompt + answer):
        raise InputError(
            "the chat template of this tokenizer does not put the answer right behind the prompt:"
            " give a model whose template keeps the two as they are."
        )
    if not end or not whole[len(prompt + answer) :].startswith(end):
        raise InputError(
            f"the chat template does not end the assistant's turn with {end!r}, at which generation"
            " stops: a model tuned on it would never stop. Set tokenizer.eos_token to the token"
            " that ends a turn."
        )
    tokens = [
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer + end)
    ]
    made = Encoded(tuple(tokens[0]), tuple(tokens[1]))
    spelled = tokenizer.decode(made.completion[:-1], skip_special_tokens=False)
    if spelled != answer or made.completion[-1] != tokenizer.eos_token_id:
        raise InputError(f"tokens of {answer[:60]!r} spell {spelled[:60]!r}: the mask is wrong.")
    return made


def read_chats(path: str | Path) -> list[list[dict[str, str]]]:
    """Chats of a JSONL file, each checked.

    Parameters
    ----------
    path : str or Path
        Lines with ``messages``, the assistant's last.

    Returns
    -------
    list of lists of messages

    Raises
    ------
    InputError
        Naming the line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from mlinstruments.alignment.encoding import read_chats
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "train.jsonl"
    >>> _ = path.write_text('{"messages": [{"role": "user", "content": "A or B?"}]}')
    >>> read_chats(path)
    Traceback (most recent call last):
    ...
    mlinstruments._core.exceptions.InputError: ... the last message must be the assistant's.
    """
    place = Path(path)
    if not place.is_file():
        raise InputError(f"there is no file {place}: make one with make_dataset(folder=...).")
    found = []
    for number, line in enumerate(place.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            found.append(_chat(line, f"{place}, line {number}"))
    if not found:
        raise InputError(f"{place} holds no examples.")
    return found


def _chat(line: str, where: str) -> list[dict[str, str]]:
    try:
        messages = json.loads(line)["messages"]
        roles = [message["role"] for message in messages]
        texts = [message["content"] for message in messages]
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{where}: expected {{'messages': [{{'role', 'content'}}, ..]}}."
        ) from None
    if len(roles) < 2 or roles[-1] != "assistant":
        raise InputError(f"{where}: the last message must be the assistant's.")
    if not set(roles) <= set(ROLES) or not all(isinstance(t, str) and t for t in texts):
        raise InputError(f"{where}: roles are {', '.join(ROLES)} and contents are text.")
    return [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]


def tensors(batch: Sequence[Encoded], pad: int, device: Any) -> tuple[Any, Any, Any]:
    """Tokens, attention and labels of a batch, padded on the right.

    Returns
    -------
    tuple of three long tensors, shape (examples, longest)
        Labels are ``IGNORED`` outside completions.
    """
    import torch

    length = max(len(e.prompt) + len(e.completion) for e in batch)
    ids = torch.full((len(batch), length), pad)
    attention, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, example in enumerate(batch):
        begin, end = len(example.prompt), len(example.prompt) + len(example.completion)
        ids[row, :end] = torch.tensor(example.prompt + example.completion)
        attention[row, :end] = 1
        labels[row, begin:end] = torch.tensor(example.completion)
    return ids.to(device), attention.to(device), labels.to(device)
