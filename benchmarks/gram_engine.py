"""What does cross-fitting a ridge first stage cost, in passes over the data and beside DoubleML?

n = 100,000 rows, 100 instruments, K = 10 folds, 19 penalties chosen inside each training part. One
Gram pass is W'W, one product of the matrix with itself, which any fit needs at the least. Rows of
100 repeats use ``repeat_blocks=40``; DoubleML is timed on one split and its ratio is per split.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from lib.side_by_side import Ratio, save, side_by_side

from mlinstruments import MLIV
from mlinstruments._core.parallel import spawn_seeds
from mlinstruments.learning import Ridge
from mlinstruments.learning.crossfit import cross_fit
from mlinstruments.learning.features import Features
from mlinstruments.learning.folds import block_splits, random_split

FOLDS, BLOCKS = 10, 40


def data(n: int, p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, treatment and instruments."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((n, p))
    u = rng.standard_normal(n)
    d = W[:, :10].sum(axis=1) + u + 3 * rng.standard_normal(n)
    return d + u, d, W


def ours(
    W: np.ndarray,
    d: np.ndarray,
    repeats: int = 1,
    halves: bool = False,
    penalty: float | None = None,
) -> None:
    """Everything from the matrix to out-of-fold predictions, splits included."""
    n, seeds = len(d), spawn_seeds(0, repeats)
    if repeats > 1:
        splits = block_splits(n, FOLDS, (), seeds, BLOCKS, halves)
    else:
        splits = [random_split(n, FOLDS, (), seed, halves) for seed in seeds]
    engine = Ridge(penalty).prepare(Features.numeric(W), np.ones((n, 1)), None)
    cross_fit(engine, d.reshape(n, -1), splits, seeds, share_tuning=True)


def double_ml(y: np.ndarray, d: np.ndarray, W: np.ndarray) -> Callable[[], Any] | None:
    """Partially linear IV with 100 controls, ridge with one given penalty, one split."""
    try:
        from doubleml import DoubleMLData, DoubleMLPLIV
    except ImportError:
        print("DoubleML is not installed: its rows are skipped")
        return None
    from sklearn.linear_model import Ridge as SklearnRidge

    z = W[:, 0] + np.random.default_rng(1).standard_normal(len(d))
    frame = DoubleMLData.from_arrays(W, y, d, z)

    def fit() -> Any:
        learners = {name: SklearnRidge() for name in ("ml_l", "ml_m", "ml_r")}
        return DoubleMLPLIV(frame, **learners, n_folds=FOLDS).fit()

    return fit


def main(quick: bool = False) -> list[Ratio]:
    """All rows; ``quick`` with 5,000 rows, 20 instruments and 3 repeats."""
    n, p, R, pairs = (5_000, 20, 3, 1) if quick else (100_000, 100, 100, 5)
    y, d, W = data(n, p)
    one_pass = lambda: W.T @ W  # noqa: E731
    few = {"repeats": min(pairs, 3), "inner": (1, 20)}
    rows = [
        side_by_side("one split, nested penalty / a Gram pass", partial(ours, W, d), one_pass,
                     pairs, at_most=2.5, inner=(1, 5)),
        side_by_side("the same on two halves / a Gram pass", partial(ours, W, d, halves=True),
                     one_pass, pairs, at_most=2.5, inner=(1, 5)),
        side_by_side(f"{R} splits, nested penalties / a Gram pass", partial(ours, W, d, R),
                     one_pass, at_most=15, **few),
        side_by_side(f"{R} splits, given penalty / a Gram pass",
                     partial(ours, W, d, R, penalty=0.1), one_pass, at_most=15, **few),
        side_by_side(f"{R} splits, nested, on two halves / a Gram pass",
                     partial(ours, W, d, R, True), one_pass, at_most=15, **few),
    ]  # fmt: skip
    peer = double_ml(y, d, W)
    if peer is not None:
        few = {"repeats": min(pairs, 3), "at_least": 500 / 100, "note": f"times {R} is per split"}
        given = partial(ours, W, d, R, penalty=0.1)
        rows += [
            side_by_side("DoubleML, one split / one split, nested penalty", partial(ours, W, d),
                         peer, min(pairs, 3), at_least=30),
            side_by_side(f"DoubleML, one split / {R} splits, given penalty", given, peer, **few),
            side_by_side(f"DoubleML, one split / {R} splits, nested penalties",
                         partial(ours, W, d, R), peer, **few),
        ]  # fmt: skip
    rows.append(
        side_by_side(
            "cross-fit of the directions of the orthogonal set / plain cross-fit",
            partial(ours, W, np.column_stack([d, y])),
            partial(ours, W, d),
            pairs,
            at_most=2,
        )
    )
    fits = [
        partial(MLIV(Ridge(), orthogonal=wanted).fit, y, np.ones(n), d, W)
        for wanted in (True, False)
    ]
    rows.append(
        side_by_side("fit with its orthogonal set / without", *fits, min(pairs, 3), at_most=2)
    )
    save("gram_engine", rows, quick)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5,000 rows")
    main(parser.parse_args().quick)
