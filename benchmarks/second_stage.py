"""How long does 2SLS take on a million rows, with everything one reads off it, and in what memory?

n = 1e6, 10 covariates with the constant, one endogenous regressor, one instrument, from the call a
user makes on arrays, checks included. Ours: coefficients, HC1, first-stage F and the Anderson-Rubin
set. linearmodels and pyfixest: coefficients and HC1. ivmodels: coefficients and its (homoskedastic)
Anderson-Rubin set. Packages that are not installed are left out. Memory: the peak of a process of
its own less its size just before the fit, over the size of the input.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from lib.memory import memory, peak, reset_peak
from lib.side_by_side import Ratio, save, side_by_side

N, QUICK_N = 1_000_000, 20_000
LEAST = {"linearmodels": 50.0, "pyfixest": 20.0, "ivmodels": 5.0}
MOST_MEMORY = 0.05

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def data(n: int) -> Arrays:
    """Outcome, covariates with the constant first, treatment, instrument; all float64."""
    rng = np.random.default_rng(0)
    exog = rng.standard_normal((n, 10))
    exog[:, 0] = 1.0
    instrument, u = rng.standard_normal((2, n))
    treatment = instrument + 0.5 * exog[:, 1] + 0.7 * u + rng.standard_normal(n)
    return treatment + exog.sum(axis=1) + u, exog, treatment, instrument


def ours(arrays: Arrays) -> Callable[[], float]:
    from mlinstruments import TSLS

    def run() -> float:
        res = TSLS().fit(*arrays, debiased=True)
        res.conf_int(method="ar")
        return float(res.params["endog"])

    return run


def linearmodels(arrays: Arrays) -> Callable[[], float]:
    from linearmodels.iv import IV2SLS

    return lambda: float(IV2SLS(*arrays).fit(cov_type="robust", debiased=True).params["endog"])


def pyfixest(arrays: Arrays) -> Callable[[], float]:
    import pandas as pd
    import pyfixest as pf

    y, exog, d, z = arrays
    names = [f"x{j}" for j in range(1, exog.shape[1])]
    frame = pd.DataFrame(exog[:, 1:], columns=names).assign(y=y, d=d, z=z)
    formula = f"y ~ {' + '.join(names)} | d ~ z"
    return lambda: float(pf.feols(formula, frame, vcov="HC1").coef()["d"])


def ivmodels(arrays: Arrays) -> Callable[[], float]:
    from ivmodels import KClass
    from ivmodels.tests import inverse_anderson_rubin_test

    y, exog, d, z = arrays
    parts: dict[str, Any] = {"Z": z[:, None], "X": d[:, None], "y": y, "C": exog[:, 1:]}

    def run() -> float:
        model = KClass("tsls").fit(**parts)
        inverse_anderson_rubin_test(**parts, alpha=0.05)
        return float(model.coef_[0])

    return run


WAYS = {"ours": ours, "linearmodels": linearmodels, "pyfixest": pyfixest, "ivmodels": ivmodels}


def run_alone(name: str, n: int) -> dict[str, float]:
    """Memory of one fit; imports and a small fit come first, so that only the data count."""
    WAYS[name](tuple(array[:2000] for array in data(2000)))()  # type: ignore[arg-type]
    arrays = data(n)
    size = sum(array.nbytes for array in arrays)
    run = WAYS[name](arrays)
    reset_peak()
    before = memory()
    run()
    return {"ratio": (peak() - before) / size}


def in_fresh_process(name: str, n: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--only", name, "--rows", str(n)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(quick: bool = False) -> list[Ratio]:
    """Ratios of CPU time, theirs over ours, and extra memory of each."""
    n = QUICK_N if quick else N
    arrays = data(n)
    mine, rows = ours(arrays), []
    installed = [name for name in LEAST if find_spec(name) is not None]
    for name in LEAST:
        if name not in installed:
            print(f"{name} is not installed: left out")
            continue
        theirs = WAYS[name](arrays)
        assert abs(mine() - theirs()) < 1e-8  # the same numbers
        task = f"2SLS + HC1 + AR, n = {n:,}, over {name}"
        least = None if quick else LEAST[name]
        rows.append(side_by_side(task, mine, theirs, 3 if quick else 5, at_least=least))
    residuals = 1 / 13  # of 13 columns of the input; the result holds them
    print(f"the residuals, which the result holds, are {residuals:.3f} of the input")
    for name in ["ours", *installed]:
        found = in_fresh_process(name, n)
        words = f"extra memory of {name}: {found['ratio']:.3f} x input"
        if name == "ours":
            words += (
                f", beside the residuals {found['ratio'] - residuals:.3f} (limit {MOST_MEMORY})"
            )
        print(words)
    save("second_stage", rows, quick)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_N:,} rows")
    parser.add_argument("--only", choices=tuple(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=N, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(run_alone(given.only, given.rows)))
    else:
        main(given.quick)
