"""LoRA training step by step: whole groups in a batch, checkpoints that go on to equal numbers."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError, MissingExtraError

from .encoding import IGNORED, Encoded, tensors


def require(*packages: str, extra: str = "finetune") -> None:
    """Raise unless the packages of an extra that are needed are there."""
    import importlib.util

    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra)


@dataclass(frozen=True)
class Schedule:
    """Which examples a step takes, and at what learning rate.

    Parameters
    ----------
    groups : int
        Groups of examples that stay together, such as the two label orders of a situation.
    size : int
        Examples in a group.
    per_step : int
        Groups in a step.
    steps, warmup : int
    lr : float
    seed : int
    """

    groups: int
    size: int
    per_step: int
    steps: int
    warmup: int
    lr: float
    seed: int

    def batch(self, step: int) -> list[int]:
        """Positions of the examples of a step; every group comes once before any comes again."""
        chosen = []
        for k in range(step * self.per_step, (step + 1) * self.per_step):
            epoch, place = divmod(k, self.groups)
            order = np.random.default_rng([self.seed, epoch]).permutation(self.groups)
            chosen.append(int(order[place]))
        return [g * self.size + j for g in chosen for j in range(self.size)]

    def rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to a tenth."""
        rising = min(1.0, (step + 1) / max(self.warmup, 1))
        falling = 0.1 + 0.45 * (1 + math.cos(math.pi * step / self.steps))
        return self.lr * rising * falling


@dataclass(frozen=True)
class Quality:
    """How a model does on examples, measured without generating.

    Parameters
    ----------
    loss : float
        Mean over the tokens of completions.
    exact : float
        Share of completions of which every token is the most probable one given those before it:
        the share that greedy generation would write word for word.
    decided : float
        Mean probability of the last token before the end of the turn: of the label decided on.
    """

    loss: float
    exact: float
    decided: float


def add_lora(model: Any, rank: int, seed: int) -> Any:
    """The model with low-rank adapters on all linear layers, nothing else trained."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(model, config)


def completion_logits(model: Any, batch: Sequence[Encoded], pad: int, low: bool) -> tuple[Any, Any]:
    """Logits at the tokens of completions only, (tokens, vocabulary), and the tokens.

    Parameters
    ----------
    model : torch module
        A causal language model of transformers, adapted or not.
    batch : sequence of Encoded
    pad : int
    low : bool
        Whether matrix products are taken in bfloat16.
    """
    import torch

    device = next(model.parameters()).device
    ids, attention, labels = tensors(batch, pad, device)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=low):
        hidden = inner.get_decoder()(input_ids=ids, attention_mask=attention).last_hidden_state
        kept = labels[:, 1:] != IGNORED
        logits = inner.get_output_embeddings()(hidden[:, :-1][kept])
    return logits.float(), labels[:, 1:][kept]


def quality(model: Any, examples: Sequence[Encoded], pad: int, low: bool, size: int = 8) -> Quality:
    """How a model does on examples; see :class:`Quality`."""
    import torch

    losses, exact, decided = [], [], []
    with torch.inference_mode():
        for begin in range(0, len(examples), size):
            batch = examples[begin : begin + size]
            logits, tokens = completion_logits(model, batch, pad, low)
            logs = torch.log_softmax(logits, -1)
            own = logs.gather(1, tokens[:, None])[:, 0]
            right = logs.argmax(-1) == tokens
            losses.append(own)
            for part in torch.arange(len(tokens)).split([len(e.completion) for e in batch]):
                exact.append(bool(right[part].all()))
                decided.append(float(own[part[-2]].exp()) if len(part) > 1 else float("nan"))
    return Quality(-float(torch.cat(losses).mean()), float(np.mean(exact)), float(np.mean(decided)))


@contextmanager
def side_by_side(device: Any) -> Iterator[Callable[..., list[Any]]]:
    """A ``map`` that gives each part a core of its own, where torch would share out every product.

    The products of a small model are short, and little else is shared out. Numbers do not depend
    on how many cores there are. On other devices parts go one after the other.
    """
    import torch

    if torch.device(device).type != "cpu":
        yield lambda function, parts: list(map(function, parts))
        return
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores) as pool:
            yield lambda function, parts: list(pool.map(function, parts))
    finally:
        torch.set_num_threads(cores)


class Trainer:
    """A model in training: one optimiser, stepped in order.

    Parameters
    ----------
    model : torch module
        With adapters.
    examples : sequence of Encoded
    schedule : Schedule
    pad : int
    low : bool
        Whether matrix products are taken in bfloat16.
    """

    def __init__(
        self, model: Any, examples: Sequence[Encoded], schedule: Schedule, pad: int, low: bool
    ) -> None:
        import torch

        self.model, self.examples, self.schedule = model, examples, schedule
        self.pad, self.low = pad, low
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.device = next(model.parameters()).device
        self.optimiser = torch.optim.AdamW(self.trained.values(), lr=schedule.lr, weight_decay=0.0)

    def step(self, number: int) -> float:
        """Take a step; returns the loss before it."""
        import torch

        self.model.train()
        batch = [self.examples[i] for i in self.schedule.batch(number)]
        loss = self._differentiate(batch)
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(number)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return loss

    def _differentiate(self, batch: Sequence[Encoded]) -> float:
        """Set gradients of the mean loss over a batch's tokens; returns that loss.

        On a processor group by group, which are of one length each, so that little is padded.
        """
        import torch

        size = self.schedule.size if self.device.type == "cpu" else len(batch)
        parts = [batch[begin : begin + size] for begin in range(0, len(batch), size)]
        count = sum(len(example.completion) for example in batch)
        values = list(self.trained.values())

        def part_of(part: Sequence[Encoded]) -> tuple[float, Sequence[Any]]:
            logits, tokens = completion_logits(self.model, part, self.pad, self.low)
            loss = torch.nn.functional.cross_entropy(logits, tokens, reduction="sum") / count
            return float(loss.detach()), torch.autograd.grad(loss, values)

        with side_by_side(self.device) as each:
            found = each(part_of, parts)
        loss = math.fsum(loss for loss, _ in found)
        if not math.isfinite(loss):
            raise InputError(
                f"the loss is {loss}, so that nothing can be learned from here on: give a smaller"
                f" lr than {self.schedule.lr:g}, or another model."
            )
        for k, value in enumerate(values):
            value.grad = sum((grads[k] for _, grads in found[1:]), start=found[0][1][k])
        return loss

    def weights(self) -> dict[str, Any]:
        """A copy of the trained parameters."""
        return {name: value.detach().clone() for name, value in self.trained.items()}

    def load_weights(self, weights: dict[str, Any]) -> None:
        """Put trained parameters back."""
        import torch

        with torch.no_grad():
            for name, value in self.trained.items():
                value.copy_(weights[name])

    def save(self, path: Path, notes: dict[str, Any]) -> None:
        """Write a checkpoint whole or not at all."""
        import torch

        state = {
            "notes": notes,
            "weights": self.weights(),
            "optimiser": self.optimiser.state_dict(),
        }
        content = io.BytesIO()
        torch.save(state, content)
        data = content.getvalue()
        write_whole(path, hashlib.sha256(data).digest() + data)

    def load(self, path: Path) -> dict[str, Any]:
        """Go back to a checkpoint; returns the notes kept with it.

        Raises
        ------
        InputError
            Where the file is not what was written.
        """
        import torch

        data = path.read_bytes()
        size = hashlib.sha256().digest_size
        if hashlib.sha256(data[size:]).digest() != data[:size]:
            raise InputError(f"{path} is damaged: remove it to begin the training again.")
        state = torch.load(io.BytesIO(data[size:]), weights_only=True)
        self.load_weights(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        notes: dict[str, Any] = state["notes"]
        return notes


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whatever ends the process or the machine."""
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
