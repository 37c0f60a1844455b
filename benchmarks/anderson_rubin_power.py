"""What do the kinds of Anderson-Rubin test reject, and how often, as instruments weaken to nothing?

Rejection at 5% of values around the truth, n = 500, corr(U, V) = .95, first stage by series,
concentration from 200 down to 0, where a test should reject 5% whatever the value. All kinds from
the same fits. Writes a table and a picture.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from mlinstruments import MLIV
from mlinstruments.simulation import Sample, designs, monte_carlo

OUTPUT = Path(__file__).parent / "output"
KINDS = ("corrected", "pooled", "folds", "split", "orthogonal")
CONCENTRATIONS = (0.0, 20.0, 60.0, 200.0)
GAPS = (-2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0)
REPLICATIONS = 400


@dataclass(frozen=True)
class EveryKind:
    """One fit, the p-values of every kind at every value."""

    learner: str
    truth: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        model = MLIV(self.learner, orthogonal=True, random_state=int(rng.integers(2**31)))
        res = model.fit(sample.y, sample.X, sample.D, sample.W)
        found = {"estimate": float(res.params["endog"]), "f": float(res.first_stage.f.iloc[0])}
        for kind in KINDS:
            for gap in GAPS:
                found[f"{kind}|{gap}"] = res.anderson_rubin(self.truth + gap, ar=kind).pvalue
        return found


def rejections(draws: pd.DataFrame, concentration: float) -> list[dict[str, Any]]:
    """Shares of p-values below .05, with their Monte Carlo standard errors."""
    rows = []
    for kind in KINDS:
        for gap in GAPS:
            p = draws[f"{kind}|{gap}"].dropna()
            share = float((p < 0.05).mean())
            error = float(np.sqrt(share * (1 - share) / len(p)))
            rows.append(
                {
                    "concentration": concentration,
                    "kind": kind,
                    "gap": gap,
                    "rejection": share,
                    "mc_se": error,
                    "median_f": float(draws["f"].median()),
                    "replications": len(p),
                }
            )
    return rows


def draw(table: pd.DataFrame) -> Any:
    """One panel for each concentration."""
    import matplotlib.pyplot as plt

    strengths = sorted(table["concentration"].unique())
    figure, axes = plt.subplots(
        1, len(strengths), figsize=(3.0 * len(strengths), 3.2), layout="constrained", sharey=True
    )
    for ax, strength in zip(np.atleast_1d(axes), strengths, strict=True):
        part = table[table["concentration"] == strength]
        for kind in KINDS:
            line = part[part["kind"] == kind].sort_values("gap")
            ax.plot(line["gap"], line["rejection"], marker="o", ms=3, lw=1, label=kind)
        ax.axhline(0.05, color="0.6", ls=":")
        ax.set(xlabel="value tested less the truth", ylim=(-0.02, 1.02))
        ax.set_title(f"concentration {strength:g}", fontsize="medium")
        ax.spines[["top", "right"]].set_visible(False)
    np.atleast_1d(axes)[0].set_ylabel("rejection at 5%")
    np.atleast_1d(axes)[0].legend(frameon=False, fontsize="small")
    return figure


def main(quick: bool = False, n_jobs: int = 2) -> pd.DataFrame:
    """Run every concentration, print, and save table and picture."""
    rows: list[dict[str, Any]] = []
    stem = f"anderson_rubin_power{'_quick' if quick else ''}"
    OUTPUT.mkdir(exist_ok=True)
    with joblib.parallel_config("loky", n_jobs=n_jobs):
        for concentration in CONCENTRATIONS[-1:] if quick else CONCENTRATIONS:
            design = designs.many_weak(200 if quick else 500, concentration)
            estimator = EveryKind("ridge" if quick else "series", design.truth)
            report = monte_carlo(
                design,
                {"series": estimator},
                8 if quick else REPLICATIONS,
                random_state=20261123,
                n_jobs=n_jobs,
                checkpoint=None if quick else OUTPUT / f"{stem}_{concentration:g}",
            )
            rows += rejections(report.draws, concentration)
    table = pd.DataFrame(rows)
    table.to_csv(OUTPUT / f"{stem}.csv", index=False)
    draw(table).savefig(OUTPUT / f"{stem}.png", dpi=150)
    shown = table.pivot_table("rejection", ["concentration", "kind"], "gap", sort=False)
    print(shown.round(3).to_string())
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 rows, 8 replications")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    main(given.quick, given.jobs)
