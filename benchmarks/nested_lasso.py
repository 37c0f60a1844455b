"""What does a cross-fitted lasso with its penalty chosen inside each training part cost?

n = 100,000 rows, 100 instruments of which ten matter, K = 10 folds, 100 penalties. One Gram pass is
W'W. scikit-learn's LassoCV is timed on one training part, with the two inner folds ours uses and
with its default of five; its ratio times K is that of the whole.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from gram_engine import data
from lib.side_by_side import Ratio, save, side_by_side
from sklearn.linear_model import LassoCV

from mlinstruments._core.parallel import spawn_seeds
from mlinstruments.learning import Lasso
from mlinstruments.learning.crossfit import cross_fit
from mlinstruments.learning.features import Features
from mlinstruments.learning.folds import random_split

FOLDS = 10


def ours(W: np.ndarray, d: np.ndarray, halves: bool = False) -> None:
    """Everything from the matrix to out-of-fold predictions, splits included."""
    seeds = spawn_seeds(0, 1)
    splits = [random_split(len(d), FOLDS, (), seeds[0], halves)]
    engine = Lasso("cv").prepare(Features.numeric(W), np.ones((len(d), 1)), None)
    cross_fit(engine, d[:, None], splits, seeds)


def main(quick: bool = False) -> list[Ratio]:
    """All rows; ``quick`` with 5,000 rows and 20 instruments."""
    n, p, pairs = (5_000, 20, 1) if quick else (100_000, 100, 5)
    _, d, W = data(n, p)
    part = np.arange(n) % FOLDS > 0
    one_fold = [partial(LassoCV(cv=cv).fit, W[part], d[part]) for cv in (2, 5)]
    one_pass = lambda: W.T @ W  # noqa: E731
    note = f"one of {FOLDS} folds: times {FOLDS} is the whole"
    rows = [
        side_by_side("nested lasso / a Gram pass", partial(ours, W, d), one_pass, pairs,
                     at_most=4, inner=(1, 5)),
        side_by_side("the same on two halves / a Gram pass", partial(ours, W, d, True), one_pass,
                     pairs, at_most=4, inner=(1, 5)),
        side_by_side("LassoCV(cv=2), one fold / nested lasso", partial(ours, W, d), one_fold[0],
                     min(pairs, 3), at_least=40 / FOLDS, note=note),
        side_by_side("LassoCV(cv=5), one fold / nested lasso", partial(ours, W, d), one_fold[1],
                     min(pairs, 3), at_least=40 / FOLDS, note=note),
    ]  # fmt: skip
    save("nested_lasso", rows, quick)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5,000 rows")
    main(parser.parse_args().quick)
