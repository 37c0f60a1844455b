"""Fine-tuning: the mask, the batches, falling loss, and runs that go on after a kill."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.alignment import finetune, make_dataset
from mlinstruments.alignment.encoding import encode, read_chats, tensors
from mlinstruments.alignment.finetune import load_model
from mlinstruments.alignment.training import Quality, Schedule, Trainer, add_lora

from .tiny import TEMPLATE, tiny_model, tiny_tokenizer

torch = pytest.importorskip("torch", reason="the finetune extra is not installed")
pytest.importorskip("transformers", reason="the finetune extra is not installed")
pytest.importorskip("peft", reason="the finetune extra is not installed")
# Of those packages about each other.
pytestmark = pytest.mark.filterwarnings("ignore")

CHAT = [
    {"role": "user", "content": "Take A or B."},
    {"role": "assistant", "content": "34 is more than 21.\nDecision: A"},
]
FAST = {"steps": 6, "batch": 4, "rank": 2, "validate_every": 3, "checkpoint_every": 1,
        "precision": "float32", "progress": False, "lr": 1e-2, "warmup": 1}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data") / "set"
    make_dataset("economicus", n=16, folder=place, n_valid=4)
    return place


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def test_the_mask_covers_the_answer_and_the_end_of_the_turn() -> None:
    tokenizer = tiny_tokenizer()
    made = encode(tokenizer, CHAT)
    ids, attention, labels = tensors(
        [made, encode(tokenizer, [*CHAT[:1], {"role": "assistant", "content": "B"}])], 0, "cpu"
    )
    for row, answer in enumerate((CHAT[1]["content"], "B")):
        kept = ids[row][labels[row] != -100].tolist()
        assert tokenizer.decode(kept) == answer + "<|im_end|>"
        assert kept == labels[row][labels[row] != -100].tolist()
        before = ids[row][: int((labels[row] != -100).nonzero()[0])].tolist()
        assert tokenizer.decode(before).endswith("<|im_start|>assistant\n")
        # The padding has the number of the end of a turn and must not be learnt.
        assert int(attention[row].sum()) == len(before) + len(kept)


def test_templates_that_would_teach_something_else_are_refused() -> None:
    with pytest.raises(InputError, match="does not end the assistant's turn"):
        encode(tiny_tokenizer(TEMPLATE.replace("<|im_end|>\n", "\n")), CHAT)
    with pytest.raises(InputError, match="right behind the prompt"):
        encode(
            tiny_tokenizer(
                TEMPLATE.replace("{{ message['content'] }}", "> {{ message['content'] }}")
            ),
            CHAT,
        )


def test_batches_hold_whole_situations_and_every_one_before_any_again() -> None:
    schedule = Schedule(groups=5, size=2, per_step=3, steps=10, warmup=2, lr=1.0, seed=3)
    batches = [schedule.batch(step) for step in range(10)]
    for batch in batches:
        assert len(batch) == 6
        assert {i // 2 for i in batch} == {i // 2 for i in batch[::2]}
        assert all(batch[k + 1] == batch[k] + 1 and batch[k] % 2 == 0 for k in range(0, 6, 2))
    order = [i // 2 for batch in batches for i in batch[::2]]
    for epoch in range(6):
        assert sorted(order[epoch * 5 : epoch * 5 + 5]) == list(range(5))
    rates = [schedule.rate(step) for step in range(10)]
    assert rates[0] < rates[1] <= 1.0
    assert np.all(np.diff(rates[1:]) < 0)
    assert rates[-1] > 0.1


def test_groups_side_by_side_have_the_gradient_of_the_whole_batch(data: Path, model: Path) -> None:
    loaded, tokenizer = load_model(model, "cpu")
    adapted = add_lora(loaded, 2, 0)
    chats = read_chats(data / "train.jsonl")[:6]
    chats[2][-1] = chats[3][-1] = {"role": "assistant", "content": "B"}  # groups of unequal weight
    examples = [encode(tokenizer, chat) for chat in chats]
    schedule = Schedule(groups=3, size=2, per_step=3, steps=1, warmup=1, lr=1e-2, seed=0)
    trainer = Trainer(adapted, examples, schedule, tokenizer.eos_token_id, low=False)
    with torch.no_grad():
        for value in trainer.trained.values():  # those that begin at 0 would hide the others
            value.add_(0.1)
    ids, attention, labels = tensors(examples, tokenizer.eos_token_id, "cpu")
    logits = adapted(input_ids=ids, attention_mask=attention).logits[:, :-1].flatten(0, 1)
    whole = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=-100)
    expected = torch.autograd.grad(whole, list(trainer.trained.values()))
    cores, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert trainer._differentiate(examples) == pytest.approx(
                float(whole.detach()), rel=1e-5
            )
            assert torch.get_num_threads() == threads
            found.append([value.grad.clone() for value in trainer.trained.values()])
    finally:
        torch.set_num_threads(cores)
    for one, two, grad in zip(*found, expected, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(one, grad, rtol=1e-3, atol=1e-6)
    assert max(float(grad.abs().max()) for grad in expected) > 1e-3


def test_loss_falls_and_the_tuned_model_is_what_was_trained(
    data: Path, model: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mlinstruments.alignment.training import quality

    result = finetune(
        data,
        tmp_path / "run",
        model,
        **FAST | {"steps": 30, "validate_every": 10, "rank": 16, "lr": 5e-2},
    )
    losses = result.history["loss"]
    assert losses.iloc[-3:].mean() < losses.iloc[:3].mean() - 0.5
    assert result.best_step in (10, 20, 30)
    tokenizer = AutoTokenizer.from_pretrained(result.merged)
    merged = AutoModelForCausalLM.from_pretrained(result.merged, dtype=torch.float32).eval()
    valid = [encode(tokenizer, chat) for chat in read_chats(data / "valid.jsonl")]
    found = quality(merged, valid, tokenizer.pad_token_id, False)
    best = result.history.loc[result.best_step]
    # The merged weights are sums rounded to float32: the loss moves by less than 1e-4.
    assert found.loss == pytest.approx(best["valid_loss"], abs=1e-4)
    # Adapters do nothing before the first step, so training began at the loss of the base model.
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    train = [encode(tokenizer, chat) for chat in read_chats(data / "train.jsonl")]
    first = [train[i] for i in Schedule(8, 2, 2, 30, 1, 5e-2, 0).batch(0)]
    assert quality(base, first, 0, False).loss == pytest.approx(losses.iloc[0], abs=1e-4)


def test_a_killed_run_goes_on_to_the_same_numbers(data: Path, model: Path, tmp_path: Path) -> None:
    whole = finetune(data, tmp_path / "whole", model, **FAST)
    script = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from mlinstruments.alignment import finetune\n"
        f"finetune({str(data)!r}, {str(tmp_path / 'killed')!r}, {str(model)!r}, **{FAST | {'steps': 6}!r})\n"
    )
    slow = "from mlinstruments.alignment import training\nimport time\n" + (
        "old = training.Trainer.step\n"
        "def step(self, number):\n    time.sleep(0.5)\n    return old(self, number)\n"
        "training.Trainer.step = step\n"
    )
    process = subprocess.Popen([sys.executable, "-c", slow + script], env=dict(os.environ))
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    limit = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    process.kill()
    process.wait(30)
    assert checkpoint.exists()
    assert not (tmp_path / "killed" / "result.json").exists()
    again = finetune(data, tmp_path / "killed", model, **FAST)
    np.testing.assert_array_equal(again.history.to_numpy(), whole.history.to_numpy())
    one, other = ((r.merged / "model.safetensors").read_bytes() for r in (whole, again))
    assert one == other
    # A finished run is not run again.
    stamp = os.stat(whole.merged / "model.safetensors").st_mtime_ns
    assert finetune(data, tmp_path / "whole", model, **FAST).best_step == whole.best_step
    assert os.stat(whole.merged / "model.safetensors").st_mtime_ns == stamp
    with pytest.raises(InputError, match="tuned with other settings"):
        finetune(data, tmp_path / "whole", model, **FAST | {"seed": 1})


def test_a_run_with_other_settings_is_not_gone_on_with(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(data, model, tmp_path / "run", monkeypatch)
    for other in ({"seed": 1}, {"trainer": "loop", "lr": 2e-2}):
        with pytest.raises(InputError, match="a run with other settings, not finished"):
            finetune(data, tmp_path / "run", model, **FAST | other)
    done = finetune(data, tmp_path / "run", model, **FAST)
    assert len(done.history) == 6


def interrupted(data: Path, model: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was ended after its last checkpoint."""
    module = importlib.import_module("mlinstruments.alignment.finetune")
    with monkeypatch.context() as patched:
        patched.setattr(module, "save_merged", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finetune(data, place, model, **FAST)
    return place / "checkpoint.pt"


@pytest.mark.parametrize("damage", ["bit", "half", "nothing"])
def test_a_damaged_checkpoint_is_refused(
    damage: str, data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = interrupted(data, model, tmp_path / "run", monkeypatch)
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    left = {"bit": content, "half": content[: len(content) // 2], "nothing": b""}
    checkpoint.write_bytes(left[damage])
    with pytest.raises(InputError, match=r"checkpoint.pt is damaged: remove it"):
        finetune(data, tmp_path / "run", model, **FAST)
    checkpoint.unlink()
    assert len(finetune(data, tmp_path / "run", model, **FAST).history) == 6


def test_a_model_with_another_template_is_another_model(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(tmp_path / "model")
    interrupted(data, model, tmp_path / "run", monkeypatch)
    template = model / "chat_template.jinja"
    template.write_text("{{ '' }}" + template.read_text())
    with pytest.raises(InputError, match="a run with other settings"):
        finetune(data, tmp_path / "run", model, **FAST)


def test_data_sets_that_are_not_what_they_say_are_refused(model: Path, tmp_path: Path) -> None:
    place = make_dataset("economicus", n=16, folder=tmp_path / "set", n_valid=4).write(
        tmp_path / "copy"
    )
    train, manifest = place / "train.jsonl", place / "manifest.json"
    known = train.read_text()
    lines = known.splitlines(keepends=True)
    train.write_text("".join([*lines[1:], lines[0]]))  # label orders of a situation stand apart
    with pytest.raises(InputError, match=r"train.jsonl is not the file that manifest.json speaks"):
        finetune(place, tmp_path / "run", model, **FAST)
    train.write_text(known)
    whole = manifest.read_text()
    manifest.write_text(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"manifest.json is no JSON"):
        finetune(place, tmp_path / "run", model, **FAST)
    manifest.unlink()
    with pytest.raises(InputError, match=r"without manifest.json, not whole"):
        finetune(place, tmp_path / "run", model, **FAST)


def test_a_result_whose_model_is_gone_is_no_result(data: Path, model: Path, tmp_path: Path) -> None:
    import shutil

    done = finetune(data, tmp_path / "run", model, **FAST)
    shutil.rmtree(done.merged)
    with pytest.raises(InputError, match=r"merged/, is gone: remove result.json"):
        finetune(data, tmp_path / "run", model, **FAST)


def test_a_rate_at_which_nothing_is_learned_is_said(
    data: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"the loss is nan.*a smaller lr than 1e\+30"):
        finetune(data, tmp_path / "run", model, **FAST | {"lr": 1e30})


def test_training_stops_where_validation_no_longer_improves(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("mlinstruments.alignment.finetune")
    losses = iter([3.0, 2.0, 2.5, 1.5, 1.6, 1.7, 1.0])
    monkeypatch.setattr(module, "quality", lambda *_: Quality(next(losses), 0.0, 0.0))
    result = finetune(
        data, tmp_path / "run", model, **FAST | {"steps": 20, "validate_every": 1, "patience": 2}
    )
    assert len(result.history) == 6
    assert result.best_step == 4


def test_trl_trains_on_the_same_batches(data: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="the trl extra is not installed")
    loop = finetune(data, tmp_path / "loop", model, **FAST)
    made = finetune(data, tmp_path / "trl", model, **FAST | {"trainer": "trl"})
    # The losses of the first step are those of the base model on the same batch; trl also takes
    # the line break behind the end of the turn, one token of about a hundred.
    assert made.history["loss"].iloc[0] == pytest.approx(loop.history["loss"].iloc[0], rel=0.02)
    assert len(made.history) == 6
    assert made.best_step in (3, 6)
    assert (made.merged / "model.safetensors").exists()
    assert not (tmp_path / "trl" / "trl").exists()
    again = finetune(data, tmp_path / "trl", model, **FAST | {"trainer": "trl"})
    assert again.best_step == made.best_step
    with pytest.raises(InputError, match="other settings"):
        finetune(data, tmp_path / "trl", model, **FAST)


def test_bad_input_is_refused_before_any_model_is_loaded(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        finetune(tmp_path, tmp_path / "run", "none")
    with pytest.raises(InputError, match="multiples of 2"):
        finetune(data, tmp_path / "run", "none", batch=3)
    with pytest.raises(InputError, match="precision"):
        finetune(data, tmp_path / "run", "none", precision="half")
    with pytest.raises(InputError, match="lr must be positive"):
        finetune(data, tmp_path / "run", "none", lr=0)
    with pytest.raises(InputError, match="lr must be positive; got inf"):
        finetune(data, tmp_path / "run", "none", lr=float("inf"))
    with pytest.raises(InputError, match="seed must be a whole number of at least 0; got -1"):
        finetune(data, tmp_path / "run", "none", seed=-1)
    with pytest.raises(InputError, match="warmup must be a whole number of at least 0"):
        finetune(data, tmp_path / "run", "none", warmup=-5)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        finetune(data, tmp_path / "file", "none")
    with pytest.raises(InputError, match="neither a GGUF file nor a folder"):
        finetune(data, tmp_path / "run", tmp_path / "none")
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "train.jsonl").write_text(json.dumps({"messages": CHAT}) + "\n{}\n")
    with pytest.raises(InputError, match="line 2: expected"):
        finetune(bad, tmp_path / "run", "none")


@pytest.mark.parametrize("missing", ["torch", "peft"])
def test_a_missing_package_names_the_extra(
    missing: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    with pytest.raises(ImportError, match=r"mlinstruments\[finetune\]"):
        finetune(data, tmp_path / "run", "none")
