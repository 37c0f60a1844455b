"""The same training by trl's SFTTrainer, for those who want its integrations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlinstruments._core.exceptions import InputError

from .encoding import IGNORED
from .training import Schedule

# What trl calls the numbers of a history.
NAMES = {"loss": "loss", "eval_loss": "valid_loss", "eval_mean_token_accuracy": "valid_tokens"}

Chat = Sequence[dict[str, str]]


def train_with_trl(
    model: Any,
    tokenizer: Any,
    train: Sequence[Chat],
    valid: Sequence[Chat],
    schedule: Schedule,
    folder: Path,
    settings: dict[str, Any],
    progress: bool,
) -> dict[str, Any]:
    """Train the adapters of a model; it then holds the best weights.

    Parameters
    ----------
    model : peft model
    tokenizer : transformers tokenizer
    train, valid : sequence of chats
    schedule : Schedule
        Which examples a step takes; batches are those of the other loop.
    folder : Path
        Of trl's checkpoints; training goes on from the last of them.
    settings : dict
    progress : bool

    Returns
    -------
    dict
        history, best_step and seconds.
    """
    import datasets
    from transformers import EarlyStoppingCallback
    from transformers.trainer_utils import get_last_checkpoint
    from trl import SFTConfig, SFTTrainer

    def rows(chats: Sequence[Chat]) -> Any:
        return datasets.Dataset.from_list(
            [{"prompt": list(chat[:-1]), "completion": list(chat[-1:])} for chat in chats]
        )

    order = [i for step in range(schedule.steps) for i in schedule.batch(step)]
    every = settings["validate_every"]
    config = SFTConfig(
        output_dir=str(folder),
        max_steps=schedule.steps,
        per_device_train_batch_size=settings["batch"],
        train_sampling_strategy="sequential",  # the order is that of the schedule
        learning_rate=schedule.lr,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=schedule.warmup,
        weight_decay=0.0,
        completion_only_loss=True,
        max_length=None,
        bf16=settings["bfloat16"],
        use_cpu=model.device.type == "cpu",
        gradient_checkpointing=False,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=every,
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        disable_tqdm=not progress,
        report_to="none",
        seed=schedule.seed,
        pad_token=tokenizer.pad_token or tokenizer.eos_token,
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=rows([train[i] for i in order]),
        eval_dataset=rows(valid),
        processing_class=tokenizer,
        callbacks=[EarlyStoppingCallback(settings["patience"])],
    )
    check_mask(trainer.train_dataset[0], train[order[0]][-1]["content"], tokenizer)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    state = trainer.state
    lines: dict[int, dict[str, Any]] = {}
    for entry in state.log_history:
        found = {name: entry[key] for key, name in NAMES.items() if key in entry}
        if found:
            lines.setdefault(entry["step"], {"step": entry["step"]}).update(found)
    seconds = next(e["train_runtime"] for e in state.log_history[::-1] if "train_runtime" in e)
    best = Path(state.best_model_checkpoint or f"-{state.global_step}").name.rpartition("-")[2]
    return {"history": list(lines.values()), "best_step": int(best), "seconds": float(seconds)}


def check_mask(row: dict[str, Any], answer: str, tokenizer: Any) -> None:
    """Raise unless the loss is taken over the answer and the end of its turn alone.

    Parameters
    ----------
    row : dict
        With ``labels``.
    answer : str
    tokenizer : transformers tokenizer
    """
    used = [token for token in row["labels"] if token != IGNORED]
    kept = tokenizer.decode(used, skip_special_tokens=False)
    if kept.rstrip("\n") != answer + tokenizer.eos_token:
        raise InputError(
            f"trl would train on {kept[:80]!r} where the answer is {answer[:60]!r}: use"
            " trainer='loop'."
        )
