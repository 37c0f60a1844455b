"""How fast is MLIV beside other estimators that learn from instruments?

EconML's OrthoIV with a learned projection on the instruments, and DoubleML's partially linear IV
model with 20 instruments, both with LightGBM's regressor at its defaults, five folds, one thread.
MLIV is timed twice: as it comes (halves for the corrected Anderson-Rubin set, its own preset), and
with the very settings of the others' regressor (100 trees of 31 leaves) without halves. The three
estimate the same coefficient under different assumptions; estimates are printed beside the ratios.

Needs an environment of its own: ``pip install mlinstruments econml DoubleML``. A library that is
not installed is left out, and said to be.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from lib.side_by_side import Ratio, save, side_by_side
from lightgbm import LGBMRegressor

from mlinstruments import MLIV
from mlinstruments.learning import Boosting
from mlinstruments.simulation import Sample

FOLDS = 5
DEFAULTS = Boosting(
    rounds=100, learning_rate=0.1, num_leaves=31, min_data_in_leaf=20, extra_trees=False,
    max_bin=255,
)  # fmt: skip


def sample(n: int, instruments: int = 20, seed: int = 0) -> Sample:
    """Nine covariates and a constant, a non-linear first stage in three of the instruments."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.standard_normal((n, 9))])
    W = rng.standard_normal((n, instruments))
    u = rng.standard_normal(n)
    mu = np.cos(W[:, 0]) + 0.5 * np.sign(W[:, 1] * W[:, 2])
    D = mu + X[:, 1] / 2 + 0.7 * u + rng.standard_normal(n)
    return Sample(D + X[:, 2] + u, X, D, W, 1.0, mu)


def regressor() -> LGBMRegressor:
    return LGBMRegressor(n_jobs=1, verbosity=-1)


def ours(data: Sample, learner: Any, **options: Any) -> float:
    model = MLIV(learner, n_folds=FOLDS, progress=False, random_state=1, **options)
    return float(model.fit(data.y, data.X, data.D, data.W).params.iloc[-1])


def ortho_iv(data: Sample) -> float:
    from econml.iv.dml import OrthoIV

    model = OrthoIV(
        model_y_xw=regressor(),
        model_t_xw=regressor(),
        model_t_xwz=regressor(),
        projection=True,
        cv=FOLDS,
        random_state=1,
    )
    model.fit(data.y, data.D, Z=data.W, W=data.X[:, 1:], inference="auto")
    return float(model.intercept_)


def pliv(data: Sample) -> float:
    from doubleml import DoubleMLData, DoubleMLPLIV

    names = [f"x{j}" for j in range(1, data.X.shape[1])]
    instruments = [f"w{j}" for j in range(data.W.shape[1])]
    frame = pd.DataFrame(
        np.column_stack([data.y, data.D, data.X[:, 1:], data.W]),
        columns=["y", "d", *names, *instruments],
    )
    held = DoubleMLData(frame, "y", "d", x_cols=names, z_cols=instruments)
    model = DoubleMLPLIV(held, regressor(), regressor(), regressor(), n_folds=FOLDS)
    return float(model.fit().coef[0])


def main(quick: bool = False) -> list[Ratio]:
    """Time each pair, print and save the table."""
    warnings.filterwarnings("ignore", module="(sklearn|doubleml|econml)")
    peers: dict[str, tuple[str, Callable[[Sample], float], float]] = {
        "EconML OrthoIV(projection=True)": ("econml", ortho_iv, 4.0),
        "DoubleML PLIV": ("doubleml", pliv, 20.0),
    }
    rows = []
    for name, (module, theirs, target) in peers.items():
        if find_spec(module) is None:
            print(f"{module} is not installed: {name} is left out.")
            continue
        for n in (300,) if quick else (1_000, 10_000):
            data = sample(n)
            ways: dict[str, Callable[[], float]] = {
                "as it comes": lambda data=data: ours(data, "boosting"),
                "the same settings": lambda data=data: ours(data, DEFAULTS, split_half=False),
            }
            for way, mine in ways.items():
                rows.append(
                    side_by_side(
                        f"T4: {name}, n = {n:,}, {way}",
                        mine,
                        lambda data=data, theirs=theirs: theirs(data),
                        repeats=2 if quick else 5 if n < 10_000 else 3,
                        at_least=target if way == "as it comes" else None,
                        note=f"estimates {mine():.3f} and {theirs(data):.3f}, true 1",
                    )
                )
    if rows:
        print(f"\n{save('against_peers', rows, quick).read_text()}")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="300 rows, two pairs")
    main(parser.parse_args().quick)
