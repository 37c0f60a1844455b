"""Which interval of kappa keeps its promise where the scale of choice is weak?

One agent plays the 18 illustrative protocols, once to a hundred times each, choosing nearly at
random to fairly surely. Counted are fits that give an estimate, and, among
intervals that are given, those that contain the truth. Delta, Fieller, percentile bootstrap.

Run ``python benchmarks/preference_intervals.py [--kappa 0.3] [--quick]``.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from mlinstruments import PreferenceLogit
from mlinstruments._core.exceptions import NotIdentifiedError
from mlinstruments.games import default_grid
from mlinstruments.preferences import PreferenceResults, simulate_choices

OUTPUT = Path(__file__).parent / "output"
SEED = 20261123
SCALES = (0.01, 0.03, 0.1)
ROUNDS = (1, 10, 100)
METHODS = ("delta", "fieller", "bootstrap")


def one_draw(
    kappa: float, scale: float, rounds: int, index: int, bootstrap_draws: int
) -> dict[str, float]:
    """One log, its fit, and the three intervals of kappa."""
    place = (SCALES.index(scale), ROUNDS.index(rounds), index)
    rng = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=place))
    data = simulate_choices(default_grid(), scale, kappa, draws=rounds, random_state=rng)
    fit: PreferenceResults = PreferenceLogit(("kappa",)).fit(data)
    found = {"given": float(fit.identification.identified)}
    if fit.identification.identified:
        found["t"] = float(fit.params["lambda"] / fit.std_errors["lambda"])
        for method in METHODS:
            found |= interval(fit, kappa, method, bootstrap_draws)
    return found


def interval(fit: PreferenceResults, kappa: float, method: str, draws: int) -> dict[str, float]:
    """Whether the truth is inside, and the length; NaN where there is no interval."""
    try:
        low, high = fit.conf_int(method=method, draws=draws).loc["kappa"]
    except NotIdentifiedError:
        return {method: np.nan, f"{method} length": np.nan}
    return {method: float(low <= kappa <= high), f"{method} length": float(high - low)}


def cell(
    kappa: float, scale: float, rounds: int, draws: int, bootstrap_draws: int
) -> dict[str, float]:
    """Shares and medians over draws."""
    found = pd.DataFrame([one_draw(kappa, scale, rounds, i, bootstrap_draws) for i in range(draws)])
    row = {"lambda": scale, "choices": 18 * rounds, "draws": draws, "given": found["given"].mean()}
    if "t" in found:
        row["median t"] = found["t"].median()
        for method in METHODS:
            row[method] = found[method].mean()
            row[f"{method} length"] = found[f"{method} length"].median()
        row["no bootstrap"] = found.loc[found["given"] > 0, "bootstrap"].isna().mean()
    return row


def main(quick: bool = False, kappa: float = 0.3) -> None:
    """Print and save the table."""
    draws, resampled = (2, 20) if quick else (500, 199)
    cells = product(SCALES, ROUNDS)
    rows = [cell(kappa, scale, rounds, draws, resampled) for scale, rounds in cells]
    table = pd.DataFrame(rows)
    print(f"kappa = {kappa:g}, 95% intervals: coverage where given, and median length\n")
    print(table.round(3).to_string(index=False))
    if not quick:
        OUTPUT.mkdir(exist_ok=True)
        table.to_csv(OUTPUT / f"preference_intervals_{kappa:g}.csv", index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Coverage of three intervals of kappa.")
    parser.add_argument("--quick", action="store_true", help="2 draws a cell, not 500")
    parser.add_argument("--kappa", type=float, default=0.3, help="the truth")
    arguments = parser.parse_args()
    main(arguments.quick, arguments.kappa)
