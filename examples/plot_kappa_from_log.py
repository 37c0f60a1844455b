"""
Preferences of language-model agents from their log
===================================================

``examples/data/choices.jsonl`` is a log such as an experiment with language models leaves: one line
an answer, some of them refusals. The three agents in it are artificial (see ``make_choices.py``
beside it), so that we know what should come out: ``moralis`` weighs the universalised payoff with
kappa .3, ``economicus`` maximises its own payoff but for small errors, ``random`` flips coins.

Each agent is fitted on its own. Draws of one prompt repeat themselves, so standard errors are
clustered by protocol. Estimates scatter: with some 270 strategies each, kappa of the first comes
out above its true value, about where its 95% intervals end. A coin flipper has no preferences:
where its estimated scale is not positive, as in this log, no kappa is printed; where it is positive
by luck, the result says so and the Fieller interval is nearly always the whole line.

The model-free measures need no such care and are given for all three. A strategy with a refused
node is no choice: the line "Not choices" counts an agent's refusals and the strategies they broke.

Run ``python examples/plot_kappa_from_log.py``; ``--quick`` takes fewer bootstrap draws.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from mlinstruments._core.exceptions import MissingRowsWarning
from mlinstruments.preferences import ChoiceData, PreferenceLogit, PreferenceResults
from mlinstruments.preferences.plots import plot_choice_curve, plot_preferences

HERE = Path(__file__).resolve().parent
LOG = HERE / "data" / "choices.jsonl"
OUTPUT = HERE / "output"
AGENTS = ("moralis", "economicus", "random")
PARAMETERS = ("kappa", "beta")
# What make_choices.py gave the agents that have preferences.
TRUTH = {
    "moralis": {"lambda": 0.1, "kappa": 0.3, "beta": 0.0},
    "economicus": {"lambda": 0.25, "kappa": 0.02, "beta": 0.0},
}

# %%
# Read and fit
# ------------


def read_log() -> ChoiceData:
    """Whole strategies; a strategy with a refused node is left out, and counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingRowsWarning)  # counted below, agent by agent
        return ChoiceData.read(LOG)


def fit_agents(data: ChoiceData) -> dict[str, PreferenceResults]:
    """One fit an agent, clustered by protocol."""
    model = PreferenceLogit(parameters=PARAMETERS)
    return {name: model.fit(data.select(model=name), clusters="protocol_id") for name in AGENTS}


# %%
# What they say
# -------------


def print_intervals(fits: dict[str, PreferenceResults], draws: int) -> None:
    """Three intervals for kappa, which should agree where the scale is clear of zero."""
    print("\nkappa, 95% intervals")
    for name, fit in fits.items():
        if not fit.identification.identified:
            print(f"  {name}: none, {fit.identification.reason}")
            continue
        for method in ("delta", "fieller", "bootstrap"):
            low, high = fit.conf_int(method=method, draws=draws).loc["kappa"]
            print(f"  {name:<11} {method:<10} [{low:7.3f}, {high:7.3f}]")


def mark_truth(axes: Any) -> None:
    """A diamond where the estimate should be, below the interval."""
    for ax, parameter in zip(axes, ("lambda", *PARAMETERS), strict=True):
        for row, name in enumerate(AGENTS):
            if name in TRUTH:
                place = (TRUTH[name][parameter], -row - 0.22)
                (mark,) = ax.plot(*place, "D", color="#D55E00", markersize=5, clip_on=False)
    axes[0].figure.legend([mark], ["truth"], frameon=False, fontsize="small", loc="lower right")


def main(quick: bool = False) -> None:
    """Print fits, measures and a test, and save two pictures."""
    import matplotlib.pyplot as plt

    answers = pd.read_json(LOG, lines=True)
    print("Answers by status\n", pd.crosstab(answers["model"], answers["status"]), sep="")
    fits = fit_agents(read_log())
    for name, fit in fits.items():
        print(f"\n--- {name}\n{fit}\n\n{fit.incentive_sensitivity()}")
    print_intervals(fits, draws=99 if quick else 999)
    print("\nThe same kappa? The same everything?")
    for names in (("kappa",), None):
        print(f"  {fits['moralis'].test_equal(fits['economicus'], names)}")

    OUTPUT.mkdir(parents=True, exist_ok=True)
    axes = plot_preferences(fits)
    mark_truth(axes)
    axes[0].figure.savefig(OUTPUT / "kappa_from_log.png", dpi=150)
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.8), sharey=True, layout="constrained")
    for ax, (name, fit) in zip(panels, fits.items(), strict=True):
        plot_choice_curve(fit, ax=ax).set_title(name, fontsize="medium")
    for ax in panels[1:]:  # one axis label and one legend serve all panels
        ax.set_ylabel("")
        ax.get_legend().remove()
    figure.savefig(OUTPUT / "choice_curves.png", dpi=150)
    plt.close("all")
    print(f"\nPictures: {OUTPUT}/kappa_from_log.png, choice_curves.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Preferences of three agents from a log.")
    parser.add_argument("--quick", action="store_true", help="99 bootstrap draws, not 999")
    main(parser.parse_args().quick)
