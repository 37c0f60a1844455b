"""Tune a language model on a data set, on the spot: LoRA, checkpoints, early stop, merged model."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments.agents.weights import PRECISIONS, checksum, load, low_precision, model_folder

from .encoding import Encoded, encode, read_chats
from .runs import MERGED, RESULT, FinetuneResult, begin, digest, finished, group_size, result_of
from .training import (
    Quality,
    Schedule,
    Trainer,
    add_lora,
    quality,
    require,
    write_whole,
)

CHECKPOINT, TRL = "checkpoint.pt", "trl"
TRAINERS = ("loop", "trl")


def finetune(
    data: str | Path,
    folder: str | Path,
    model: str | Path | None = None,
    *,
    steps: int = 150,
    batch: int = 4,
    rank: int = 16,
    lr: float = 1e-3,
    warmup: int = 10,
    precision: str = "auto",
    validate_every: int = 25,
    patience: int = 3,
    checkpoint_every: int = 10,
    seed: int = 0,
    device: str | None = None,
    trainer: str = "loop",
    progress: bool = True,
) -> FinetuneResult:
    """LoRA fine-tuning in this process, by the cross-entropy of completions alone.

    The mask covers the answer and the token that ends the turn, which is checked for every example.
    The two label orders of a situation stand in one batch. Every ``validate_every`` steps the
    validation part, whose wordings are not trained on, is measured without generating; the weights
    of least validation loss are kept, and training stops where it has not fallen ``patience`` times
    in a row. A run that was killed goes on from its last checkpoint to the same numbers: give it
    the same arguments again.

    Parameters
    ----------
    data : str or Path
        Folder with ``train.jsonl`` and ``valid.jsonl``, such as :func:`make_dataset` writes.
    folder : str or Path
        Where checkpoints and the tuned model go.
    model : str or Path, optional
        The folder of a causal language model with a chat template, or a GGUF file; the packaged
        SmolLM2 by default. Nothing is fetched from a network.
    steps : int
        At most.
    batch : int
        Examples in a step, whole groups of label orders.
    rank : int
        Of the adapters on all linear layers; their scale is 2.
    lr : float
        Highest learning rate: reached in ``warmup`` steps, then half a cosine down to a tenth.
    warmup : int
        0 for none.
    precision : {"auto", "float32", "bfloat16"}
        Of matrix products; weights and gradients of adapters are float32 in any case. ``auto``:
        bfloat16 where the processor multiplies in it.
    validate_every, patience, checkpoint_every : int
        In steps, in validations, in steps.
    seed : int
        Of adapters and the order of examples.
    device : str, optional
        Where to train; a GPU if there is one.
    trainer : {"loop", "trl"}
        ``trl`` trains on the same batches by trl's ``SFTTrainer``, which needs trl and datasets
        installed. It keeps checkpoints at validations, ``checkpoint_every`` is not its own, and a
        resumed run has its numbers but for what trl itself does not restore.
    progress : bool
        Show a progress bar.

    Returns
    -------
    FinetuneResult

    Raises
    ------
    MissingExtraError
        Where torch, transformers or peft is missing.
    InputError
        Where the data cannot be used, or the folder holds a run with other settings.

    References
    ----------
    Hu et al. (2022), LoRA, arXiv:2106.09685.
    """
    counts = {
        "steps": steps, "batch": batch, "rank": rank, "validate_every": validate_every,
        "patience": patience, "checkpoint_every": checkpoint_every,
    }  # fmt: skip
    counts = {name: check_count(value, name, 1) for name, value in counts.items()}
    counts |= {"warmup": check_count(warmup, "warmup", 0), "seed": check_count(seed, "seed", 0)}
    checkpoint_every = counts.pop("checkpoint_every")  # of which no number depends
    check_choice(precision, "precision", PRECISIONS)
    check_choice(trainer, "trainer", TRAINERS)
    if not 0 < lr < float("inf"):
        raise InputError(f"lr must be positive; got {lr!r}.")
    source, place = Path(data), Path(folder)
    if place.exists() and not place.is_dir():
        raise InputError(f"{place} is not a folder: name one that is, or that is to be made.")
    chats = {part: read_chats(source / f"{part}.jsonl") for part in ("train", "valid")}
    group = group_size(source, len(chats["train"]), counts["batch"])
    require("torch", "transformers", "peft")
    if trainer == "trl":
        require("trl", "datasets", extra="trl")
    source_model = model_folder(model)
    low = low_precision(precision, _device(device))
    settings = counts | {
        "data": digest(chats), "group": group, "model": checksum(source_model), "lr": float(lr),
        "bfloat16": low, "trainer": trainer,
    }  # fmt: skip
    done = finished(place, settings)
    if done is not None:
        return done
    loaded, tokenizer = load_model(source_model, device)
    examples = {p: [encode(tokenizer, chat) for chat in chats[p]] for p in chats}
    begin(place, settings)
    schedule = Schedule(
        len(chats["train"]) // group, group, counts["batch"] // group, counts["steps"],
        counts["warmup"], float(lr), counts["seed"],
    )  # fmt: skip
    adapted = add_lora(loaded, counts["rank"], counts["seed"])
    if trainer == "trl":
        from .with_trl import train_with_trl

        notes = train_with_trl(
            adapted, tokenizer, chats["train"], chats["valid"], schedule, place / TRL, settings,
            progress,
        )  # fmt: skip
    else:
        pad = tokenizer.pad_token_id
        pad = tokenizer.eos_token_id if pad is None else pad
        loop = Trainer(adapted, examples["train"], schedule, pad, low)
        notes = _train(
            loop, examples["valid"], place / CHECKPOINT, settings, checkpoint_every, progress
        )
    save_merged(adapted, tokenizer, place / MERGED)
    kept = {key: notes[key] for key in ("history", "best_step", "seconds")} | {"settings": settings}
    write_whole(place / RESULT, json.dumps(kept, indent=1).encode())
    # Last: a run that is killed before goes on from them.
    (place / CHECKPOINT).unlink(missing_ok=True)
    shutil.rmtree(place / TRL, ignore_errors=True)
    return result_of(place, kept)


def _train(
    trainer: Trainer, valid: list[Encoded], checkpoint: Path, settings: dict[str, Any],
    checkpoint_every: int, progress: bool,
) -> dict[str, Any]:  # fmt: skip
    """All steps that are left; the trainer then holds the best weights."""
    notes: dict[str, Any] = {
        "settings": settings, "history": [], "step": 0, "best_step": 0, "best_loss": float("inf"),
        "misses": 0, "seconds": 0.0, "best": trainer.weights(),
    }  # fmt: skip
    if checkpoint.exists():
        notes = trainer.load(checkpoint)
    steps, every = settings["steps"], settings["validate_every"]
    with tqdm(total=steps, initial=notes["step"], unit="step", disable=not progress) as bar:
        while notes["step"] < steps and notes["misses"] < settings["patience"]:
            started = time.perf_counter()
            step = notes["step"]
            row = {"step": step + 1, "loss": trainer.step(step)}
            if (step + 1) % every == 0 or step + 1 == steps:
                found = quality(trainer.model.eval(), valid, trainer.pad, trainer.low)
                row |= {f"valid_{name}": value for name, value in asdict(found).items()}
                _judge(notes, found, trainer, step + 1)
            notes["history"].append(row)
            notes["step"] = step + 1
            notes["seconds"] += time.perf_counter() - started
            if (step + 1) % checkpoint_every == 0:
                trainer.save(checkpoint, notes)
            bar.set_postfix({k: f"{v:.3g}" for k, v in row.items() if k != "step"})
            bar.update()
    trainer.save(checkpoint, notes)
    trainer.load_weights(notes["best"])
    return notes


def _judge(notes: dict[str, Any], found: Quality, trainer: Trainer, step: int) -> None:
    """Keep the weights where validation loss has fallen, else count a miss."""
    if found.loss < notes["best_loss"]:
        notes |= {"best_loss": found.loss, "best_step": step, "misses": 0}
        notes["best"] = trainer.weights()
    else:
        notes["misses"] += 1


# ---- models -------------------------------------------------------------------------------------


def load_model(folder: Path, device: str | None = None) -> tuple[Any, Any]:
    """A model in float32 and its tokenizer.

    Parameters
    ----------
    folder : Path
    device : str, optional
        By default a GPU if there is one.

    Returns
    -------
    tuple
        Model and tokenizer of transformers.

    Raises
    ------
    InputError
        Where it has no chat template.
    """
    loaded, tokenizer = load(folder, _device(device))
    if not tokenizer.chat_template:
        raise InputError(f"{folder} has no chat template: give an instruction-tuned model.")
    return loaded, tokenizer


def save_merged(model: Any, tokenizer: Any, folder: Path) -> Path:
    """Merge adapters into the weights and save them whole or not at all; ends the training.

    Parameters
    ----------
    model : peft model
    tokenizer : transformers tokenizer
    folder : Path

    Returns
    -------
    Path
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    merged = model.merge_and_unload()
    merged.save_pretrained(part)
    tokenizer.save_pretrained(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    return folder


def _device(device: str | None) -> str:
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")
