"""
Random panels of judges
=======================

A case before an appellate court is heard by three judges drawn at random from those of the circuit.
Who they are moves the decision and has nothing to do with the case: judges are instruments, and
what they are worth depends on combinations of their traits that nobody knows in advance. A
Democratic majority may decide one way with a woman on the panel and another way without; experience
may matter in the middle of a career and not at its ends.

The data here are simulated (``designs.appellate``), so the truth is known. In each of 12 circuits
and 10 years there are 30 panels with two cases each. D is a reversal, whose chance a panel moves by
the two combinations above; Y is the sentence, which a reversal lowers by 1. Long sentences are the
ones that get reversed, so least squares hides most of the effect. Circuits and years are
covariates, and errors are correlated within circuit-years, which are the clusters of folds,
standard errors and tests alike.

Traits move reversals hardly at all in a straight line: 2SLS and LIML have a weak first stage where
a learned one is strong. The explanation of the first stage shows why. The numbers of Democrats and
of women matter most, yet their curves are nearly flat: it is their combination that matters. LIML
and JIVE with all squares and products of traits come close, though their Anderson-Rubin set, which
must serve twenty instruments, is nearly three times as long.

Run ``python examples/plot_appellate_courts.py``; add ``--quick`` for a single random split.
"""

from __future__ import annotations

import argparse
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor

from mlinstruments import (
    JIVE,
    LIML,
    MLIV,
    OLS,
    TSLS,
    FirstStageExplanation,
    IVResults,
    compare,
    explain_first_stage,
)
from mlinstruments.plotting import plot_estimates
from mlinstruments.simulation import designs

OUTPUT = Path(__file__).resolve().parent / "output"
TRAITS = ["democrats", "women", "minority", "prosecutors", "experience"]

# %%
# The cases
# ---------


def cases(seed: int = 7) -> tuple[pd.Series, pd.DataFrame, pd.Series, pd.DataFrame, pd.Series]:
    """Sentence, circuits and years, reversal, traits of the panel, circuit-year."""
    drawn = designs.appellate().draw(np.random.default_rng(seed))
    names = ["const", *(f"x{k}" for k in range(1, drawn.X.shape[1]))]
    return (
        pd.Series(drawn.y, name="sentence"),
        pd.DataFrame(drawn.X, columns=names),
        pd.Series(drawn.D, name="reversal"),
        pd.DataFrame(drawn.W, columns=TRAITS),
        pd.Series(drawn.clusters, name="circuit-year"),
    )


def products(W: pd.DataFrame) -> pd.DataFrame:
    """The traits with their squares and products."""
    pairs = combinations_with_replacement(W.columns, 2)
    return W.join(pd.DataFrame({f"{a} x {b}": W[a] * W[b] for a, b in pairs}))


# %%
# Classical and learned instruments
# ---------------------------------


def fit_all(n_repeats: int) -> dict[str, IVResults]:
    """Least squares, 2SLS and LIML on traits, LIML and JIVE on products, and three learners."""
    y, X, d, W, group = cases()
    forest = RandomForestRegressor(n_estimators=100, min_samples_leaf=20, max_features=0.5)
    learners: dict[str, Any] = {"boosting": "boosting", "series": "series", "forest": forest}
    fits: dict[str, IVResults] = {
        "OLS": OLS().fit(y, X, d, W, clusters=group),
        "2SLS": TSLS().fit(y, X, d, W, clusters=group),
        "LIML": LIML().fit(y, X, d, W, clusters=group),
        "LIML, products": LIML().fit(y, X, d, products(W), clusters=group),
        "JIVE, products": JIVE(leave_out="cluster").fit(y, X, d, products(W), clusters=group),
    }
    for name, learner in learners.items():
        model = MLIV(learner=learner, n_repeats=n_repeats, random_state=0)
        fits[f"MLIV, {name}"] = model.fit(y, X, d, W, clusters=group)
    return fits


# %%
# What the panels' traits do
# --------------------------


def explained() -> FirstStageExplanation:
    """The first stage of the boosted instrument, taken apart before looking at any estimate."""
    y, X, d, W, group = cases()
    return explain_first_stage(MLIV(random_state=0), y, X, d, W, clusters=group)


# %%
# All of it, printed and drawn
# ----------------------------


def draw(fits: dict[str, IVResults], path: Path) -> None:
    """Estimates with Wald intervals and Anderson-Rubin sets, and the truth."""
    import matplotlib.pyplot as plt

    ax = plot_estimates(fits)
    ax.axvline(-1.0, color="black", linewidth=1, zorder=1)
    ax.annotate("truth", (-1.0, 1.01), xycoords=("data", "axes fraction"), ha="center")
    ax.set_xlabel("Effect of a reversal on the sentence")
    path.parent.mkdir(parents=True, exist_ok=True)
    ax.figure.savefig(path, dpi=150)
    plt.close(ax.figure)


def main(quick: bool = False) -> None:
    """Print the tables and save the pictures."""
    first = explained()
    print(first)
    fits = fit_all(n_repeats=1 if quick else 5)
    learned = {name: res for name, res in fits.items() if name.startswith("MLIV")}
    classical = {name: res for name, res in fits.items() if name not in learned}
    print(f"\nTrue effect: -1\n\n{compare(classical)}\n\n{compare(learned)}")
    draw(fits, OUTPUT / "appellate_courts.png")
    figure = first.plot(most=4)
    figure.savefig(OUTPUT / "appellate_first_stage.png", dpi=150)
    print(f"\nPictures: {OUTPUT / 'appellate_courts.png'}, appellate_first_stage.png beside it")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Random panels of judges as instruments.")
    parser.add_argument("--quick", action="store_true", help="one random split instead of five")
    main(parser.parse_args().quick)
