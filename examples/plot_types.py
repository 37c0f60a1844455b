"""
How many types of people are there?
===================================

A simulated population in which two thirds of subjects maximise their own payoff, more or less, and
one third gives the universalised payoff a weight of one half. Each subject plays the 18
illustrative protocols twice. Mixtures of one, two and three types are fitted, each from many
starts, since the likelihood of a mixture has local maxima.

Criteria may disagree: AIC and BIC ask whether another type improves the fit enough, ICL and NEC
also whether subjects can be told apart. The picture shows the second: how surely each subject
belongs to a type.

Run ``python examples/plot_types.py``; ``--quick`` takes fewer subjects and starts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments.games import HomoMoralis, default_grid
from mlinstruments.games.utility import choice_probabilities
from mlinstruments.preferences import ChoiceData, PreferenceLogit
from mlinstruments.preferences.mixture import fit_mixture
from mlinstruments.preferences.plots import plot_posteriors

OUTPUT = Path(__file__).resolve().parent / "output"
# Share of subjects, scale, kappa.
TYPES = ((2 / 3, 0.15, 0.0), (1 / 3, 0.10, 0.5))

# %%
# A population of two types
# -------------------------


def population(subjects: int, draws: int, seed: int) -> tuple[ChoiceData, np.ndarray]:
    """Choices, and which type each subject truly is."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(len(TYPES), size=subjects, p=[share for share, *_ in TYPES])
    rows = []
    for protocol in default_grid():
        y = np.full(protocol.n_nodes, 0.5)
        chances = [choice_probabilities(protocol, y, scale, kappa) for _, scale, kappa in TYPES]
        counts = np.array([rng.multinomial(draws, chances[kind]) for kind in truth])
        subject, strategy = np.nonzero(counts)
        rows.append(
            pd.DataFrame(
                {
                    "subject": subject,
                    "protocol_id": protocol.id,
                    "game": protocol.game,
                    **{name: getattr(protocol, name) for name in "TRPS"},
                    "strategy": np.array(protocol.strategies)[strategy],
                    "count": counts[subject, strategy],
                }
            )
        )
    return ChoiceData.from_frame(pd.concat(rows, ignore_index=True)), truth


# %%
# One, two, three types
# ---------------------


def fit_types(data: ChoiceData, n_types: int, n_starts: int) -> Any:
    """A mixture; beliefs of one half, as the subjects have."""
    if n_types == 1:  # as a mixture, so that its criteria can be compared
        return fit_mixture(data.design(HomoMoralis(("kappa",)), beliefs="uniform"), 1)
    model = PreferenceLogit(("kappa",), n_types, beliefs="uniform", n_starts=n_starts)
    return model.fit(data, clusters="subject")


def agreement(mixture: Any, truth: np.ndarray) -> float:
    """Share of subjects whose most probable type is the one they are; both are sorted by share."""
    found = mixture.posteriors.sort_index().to_numpy().argmax(axis=1)
    return float((found == truth).mean())


def main(quick: bool = False) -> None:
    """Print the fits and their criteria, and save the picture."""
    import matplotlib.pyplot as plt

    data, truth = population(subjects=60 if quick else 150, draws=2, seed=1)
    starts = 5 if quick else 30
    rows, mixtures = {}, {}
    for k in (1, 2, 3):
        begin = time.perf_counter()
        fit = fit_types(data, k, starts)
        title = "1 type" if k == 1 else f"{k} types"
        print(f"\n--- {title}, {time.perf_counter() - begin:.1f} s\n{fit}")
        mixtures[k] = fit
        rows[k] = {name: getattr(fit, name) for name in ("loglik", "aic", "bic", "icl", "nec")}
    print("\nCriteria (smaller is better but for the log-likelihood)")
    print(pd.DataFrame.from_dict(rows, orient="index").round(2).rename_axis("types"))
    print(f"\nTwo types: {agreement(mixtures[2], truth):.1%} of subjects put where they belong")

    OUTPUT.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(2, 1, figsize=(7.5, 5.2), layout="constrained")
    for ax, k in zip(axes, (2, 3), strict=True):
        plot_posteriors(mixtures[k], ax=ax).set_title(f"{k} types", fontsize="medium")
    figure.savefig(OUTPUT / "types.png", dpi=150)
    plt.close(figure)
    print(f"\nPicture: {OUTPUT}/types.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Mixtures of one, two and three types.")
    parser.add_argument("--quick", action="store_true", help="60 subjects and 5 starts")
    main(parser.parse_args().quick)
