"""
When the covariates pose as an instrument
=========================================

A learner that predicts the treatment from instruments *and* covariates may find a strong first
stage in data where the instrument does nothing. This example makes such data and counts.

All of X, W, e and v are independent standard normal, and

    D = (X^2 - 1) + pi (W^2 - 1) / sqrt(2) + 0.6 e + 0.8 v,
    Y = 0 * D + e + (X^2 - 1) / sqrt(2).

The effect of D is zero. The regression controls for a constant and X, as one would in 2SLS. The
square of X moves both D and Y: it is not in the regression, and being no instrument it must stay
out of the first stage too.

- ``covariates="linear"``, the default: the first stage is f(W) + X'l. It can bend in W, but only in
  W; the square of X has no way in.
- ``covariates="unconstrained"``: the first stage is g(W, X). It learns X^2, which predicts D very
  well, and serves it as an instrument. With pi = 0 the instrument W is irrelevant and nothing can
  be learned about the effect; the unconstrained fit nevertheless reports an enormous F, a small
  standard error, and rejects the true value every time.

A large first-stage F is no protection: here it is the symptom. The constrained fit reports the tiny
F that an irrelevant instrument deserves, and gives no estimate at all where its predictions do not
rise with D, in about half of the draws. Where it does give one, the Wald test is not to be trusted
at such an F; the Anderson-Rubin test is.

Run ``python examples/plot_spurious_identification.py``; add ``--quick`` for fewer draws.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor

from mlinstruments import MLIV, MLIVResults
from mlinstruments.learning.adapters import SklearnLearner
from mlinstruments.plotting import plot_estimates

OUTPUT = Path(__file__).resolve().parent / "output"
# Where the truth is rejected every time a few draws tell as much as many.
FULL_DRAWS = {
    ("forest", "unconstrained"): 10,
    ("forest", "linear"): 10,
    ("boosting", "unconstrained"): 20,
    ("boosting", "linear"): 200,
}
QUICK_DRAWS = {kind: max(1, draws // 20) for kind, draws in FULL_DRAWS.items()}

# %%
# The data and the four ways to fit them
# --------------------------------------


def simulate(pi: float, n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Outcome, exogenous regressors (constant and X), treatment, instrument; the effect is 0."""
    X, W, e, v = rng.normal(size=(4, n))
    D = (X**2 - 1) + pi * (W**2 - 1) / np.sqrt(2) + 0.6 * e + 0.8 * v
    Y = e + (X**2 - 1) / np.sqrt(2)
    return Y, np.column_stack([np.ones(n), X]), D, W


def learner(name: str) -> Any:
    """A forest from scikit-learn, or the package's own boosted trees."""
    if name == "forest":
        forest = RandomForestRegressor(n_estimators=20, min_samples_leaf=5, max_samples=0.7)
        # A forest alone would do as learner=; two rounds of backfitting instead of five save time,
        # and are enough here, where the covariate and the instrument are independent.
        return SklearnLearner(forest, rounds=2)
    return "boosting"


def fit(name: str, covariates: str, data: tuple[np.ndarray, ...]) -> MLIVResults:
    """One fit; the warning that an unconstrained first stage gives is known here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MLIV(learner=learner(name), covariates=covariates, random_state=0).fit(*data)


# %%
# How often is the truth rejected?
# --------------------------------


def repeat(name: str, covariates: str, pi: float, draws: int, n: int) -> dict[str, Any]:
    """Fit many draws; a fit that refuses to give an estimate rejects nothing."""
    fits = [
        fit(name, covariates, simulate(pi, n, np.random.default_rng(seed))) for seed in range(draws)
    ]
    estimates = np.array([res.params["endog"] for res in fits])
    t = np.array([res.tstats["endog"] for res in fits])
    rejected = [0.0 not in res.conf_int(method="ar") for res in fits]
    return {
        "pi": pi,
        "learner": name,
        "covariates": covariates,
        "median F": np.median([float(res.first_stage.f.iloc[0]) for res in fits]),
        "median estimate": np.nanmedian(estimates) if np.isfinite(estimates).any() else np.nan,
        "no estimate": np.isnan(estimates).mean(),
        "Wald size": (np.abs(t) > 1.96).mean(),
        "AR size": np.mean(rejected),
        "draws": draws,
    }


def table(draws: dict[tuple[str, str], int], n: int) -> pd.DataFrame:
    """All combinations, one a row."""
    return pd.DataFrame(
        repeat(name, covariates, pi, count, n)
        for pi in (0.0, 0.5)
        for (name, covariates), count in draws.items()
    )


def show(found: pd.DataFrame, n: int) -> None:
    """Print the table; the truth is 0 and a test of it should reject in 5% of draws."""
    print(f"True effect 0, n = {n}. Sizes: shares of draws in which a 5% test rejects the truth.\n")
    formats = {
        "pi": "{:.1f}",
        "median F": "{:.1f}",
        "median estimate": "{:.3f}",
        "no estimate": "{:.2f}",
        "Wald size": "{:.2f}",
        "AR size": "{:.2f}",
    }
    print(found.to_string(index=False, formatters={k: v.format for k, v in formats.items()}))


# %%
# One draw, drawn
# ---------------


def draw(n: int, path: Path) -> None:
    """Estimates and intervals of the two kinds of first stage, in the first draw of each design."""
    import matplotlib.pyplot as plt

    fits = {
        f"pi = {pi:g}, {covariates}": fit(
            "boosting", covariates, simulate(pi, n, np.random.default_rng(0))
        )
        for pi in (0.0, 0.5)
        for covariates in ("unconstrained", "linear")
    }
    ax = plot_estimates(fits)
    title = "One draw each; with pi = 0 the instrument is irrelevant"
    ax.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    ax.set_xlabel("Estimated effect (the truth is 0)")
    path.parent.mkdir(parents=True, exist_ok=True)
    ax.figure.savefig(path, dpi=150)
    plt.close(ax.figure)


def main(quick: bool = False, n: int = 1000) -> None:
    """Print the table and save the picture."""
    show(table(QUICK_DRAWS if quick else FULL_DRAWS, n), n)
    path = OUTPUT / "spurious_identification.png"
    draw(n, path)
    print(f"\nPicture: {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Spurious identification by non-linear covariates."
    )
    parser.add_argument("--quick", action="store_true", help="fewer draws")
    parser.add_argument("--n", type=int, default=1000, help="rows in each draw")
    arguments = parser.parse_args()
    main(arguments.quick, arguments.n)
