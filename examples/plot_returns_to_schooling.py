"""
Returns to schooling, with and without a learned instrument
===========================================================

What does a year of schooling do to wages? Two classic data sets answer, each with the instruments
of its textbook treatment, by OLS, 2SLS, LIML and MLIV.

**Card (1995)**: men in the United States, 1976. The instruments say whether a college was near the
home they grew up in: ``nearc4`` alone, then ``nearc2`` (two-year) and ``nearc4`` (four-year).
These are yes-or-no variables. With one of them there is nothing to learn: any function of it is a
straight line, and MLIV is 2SLS with a noisier instrument. With two there are four cells, one more
than a linear first stage can describe.

**Mroz (1987)**: married women who work, 1975. The instruments are the years of schooling of mother
and father, with nine values each. Here a curved first stage could do better than a straight line.

What to look at is the first-stage F of MLIV, and beside it q x F of the linear first stage: where
learning found something that the line missed, the first is larger than the second. On Card's data
it never is, and the plain methods are the ones to report. On Mroz's data both learners, boosted
trees and smooth curves, find a bend: the parents' years beyond the seventh move the daughter's
schooling, the first seven hardly do. The gain in the standard error is small even so. The learner
is a choice to make before looking at the estimates, as the instruments are.

Run ``python examples/plot_returns_to_schooling.py``; add ``--quick`` for a single random split.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
from linearmodels.datasets import card, mroz

from mlinstruments import LIML, MLIV, OLS, TSLS, IVResults, MLIVResults, compare
from mlinstruments.plotting import plot_estimates

OUTPUT = Path(__file__).resolve().parent / "output"
REGIONS = " + ".join(f"reg66{i}" for i in range(2, 10))
CARD = f"lwage ~ 1 + exper + expersq + black + smsa + south + smsa66 + {REGIONS} + "

# %%
# The three specifications
# ------------------------


def specifications() -> dict[str, tuple[str, pd.DataFrame]]:
    """A formula and the data for each title."""
    women = mroz.load()
    working = women[women["inlf"] == 1]
    return {
        "Card: near a four-year college": (CARD + "[educ ~ nearc4]", card.load()),
        "Card: near a two-year, near a four-year college": (
            CARD + "[educ ~ nearc2 + nearc4]",
            card.load(),
        ),
        "Mroz: schooling of mother and father": (
            "lwage ~ 1 + exper + expersq + [educ ~ motheduc + fatheduc]",
            working,
        ),
    }


def fit_all(formula: str, data: pd.DataFrame, n_repeats: int) -> dict[str, IVResults]:
    """The five fits. Repeats average out the luck of one random split into folds."""
    boosting = MLIV(learner="boosting", n_repeats=n_repeats, random_state=0)
    series = MLIV(learner="series", n_repeats=n_repeats, random_state=0)
    return {
        "OLS": OLS().fit_formula(formula, data),
        "2SLS": TSLS().fit_formula(formula, data),
        "LIML": LIML().fit_formula(formula, data),
        "MLIV, boosting": boosting.fit_formula(formula, data),
        "MLIV, series": series.fit_formula(formula, data),
    }


# %%
# What learning gained
# --------------------


def gain(name: str, result: IVResults) -> str:
    """The learned F beside the F of the same instruments taken linearly."""
    first = result.first_stage
    assert first is not None
    f, linear = float(first.f["educ"]), first.n_instruments * float(first.linear_f["educ"])
    verdict = "a gain" if f > linear else "no gain"
    return f"{name}: learned F = {f:.1f} against q x F = {linear:.1f} of the linear one, {verdict}"


# %%
# All of it, printed and drawn
# ----------------------------


def draw(fits: dict[str, dict[str, IVResults]], path: Path) -> None:
    """One panel for each specification, on a common axis."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(fits), figsize=(8, 3.2 * len(fits)), layout="constrained")
    last: Any = panels[-1]
    for ax, (title, results) in zip(panels, fits.items(), strict=True):
        plot_estimates(results, ax=ax)
        ax.set_title(title, loc="left", fontsize="medium", fontweight="bold")
        if ax is not last:  # one legend and one label serve all panels
            ax.get_legend().remove()
            ax.set_xlabel("")
    limits = [ax.get_xlim() for ax in panels]
    for ax in panels:
        ax.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
    last.set_xlabel("Log points of the wage for one more year of schooling")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(quick: bool = False) -> None:
    """Print every table and save the picture."""
    fits = {}
    for title, (formula, data) in specifications().items():
        results = fit_all(formula, data, n_repeats=1 if quick else 5)
        fits[title] = results
        learned = {name: res for name, res in results.items() if isinstance(res, MLIVResults)}
        print(f"\n\n{title}\n{'#' * len(title)}\n")
        print(compare(results))
        for name, res in learned.items():
            print(f"\n{res}\n{gain(name, res)}")
    path = OUTPUT / "returns_to_schooling.png"
    draw(fits, path)
    print(f"\nPicture: {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Returns to schooling, five ways.")
    parser.add_argument("--quick", action="store_true", help="one random split instead of five")
    main(parser.parse_args().quick)
