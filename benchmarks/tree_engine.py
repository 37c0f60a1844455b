"""What does MLIV by boosting cost beside plain LightGBM, fold by fold?

The plain way trains and predicts on every fold anew, ``lightgbm.train`` on a ``Dataset`` of its
own, without covariates, halves, weights or second stage. MLIV is timed as a user calls it, from
arrays to results. One thread; CPU seconds; pairs in turn. The first stage is
cos(W1) + sign(W2 W3) / 2. Targets are for the full sizes, not for those of --quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
from lib.side_by_side import Ratio, save, side_by_side

from mlinstruments import MLIV
from mlinstruments.learning import Boosting
from mlinstruments.simulation import Sample, designs

FOLDS = 5
# A user's own settings: LightGBM's defaults, named.
USER: dict[str, Any] = {
    "num_leaves": 31, "learning_rate": 0.1, "min_data_in_leaf": 20, "max_bin": 255,
}  # fmt: skip
QUIET = {"objective": "regression", "num_threads": 1, "verbosity": -1}


def sample(n: int, controls: int, instruments: int = 10, seed: int = 0) -> Sample:
    """Rows with ``controls`` columns of X, a constant among them."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.standard_normal((n, controls - 1))])
    W = rng.standard_normal((n, instruments))
    u = rng.standard_normal(n)
    mu = np.cos(W[:, 0]) + 0.5 * np.sign(W[:, 1] * W[:, 2])
    D = mu + X[:, 1:].sum(axis=1) / 3 + 0.7 * u + rng.standard_normal(n)
    return Sample(D + u, X, D, W, 1.0, mu)


def plain(data: Sample, rounds: int, settings: dict[str, Any]) -> np.ndarray:
    """Out-of-fold predictions of D by a fresh LightGBM on every fold."""
    fold = np.random.default_rng(1).permutation(len(data.y)) % FOLDS
    predicted = np.empty(len(data.y))
    for k in range(FOLDS):
        rows = fold != k
        training = lightgbm.Dataset(data.W[rows], data.D[rows])
        booster = lightgbm.train({**QUIET, **settings}, training, rounds)
        predicted[~rows] = booster.predict(data.W[~rows], num_threads=1)
    return predicted


def fit(data: Sample, learner: Boosting | str, **options: Any) -> Any:
    """MLIV as a user calls it."""
    model = MLIV(learner, n_folds=FOLDS, progress=False, random_state=1, **options)
    return model.fit(data.y, data.X, data.D, data.W)


def with_the_users_settings(quick: bool) -> list[Ratio]:
    """T1: the same rounds, rows and settings."""
    sizes = [(1_000, 20, 0.90)] if quick else [(10_000, 200, 0.90), (100_000, 60, 0.75)]
    rows = []
    for n, rounds, target in sizes:
        for controls in (1, 10):
            data = sample(n, controls)
            learner = Boosting(rounds, extra_trees=False, **USER)
            task = f"T1: user's settings, n = {n:,}, {rounds} trees, {controls} columns of X"
            rows.append(
                side_by_side(
                    task,
                    lambda data=data, learner=learner: fit(data, learner, split_half=False),
                    lambda data=data, rounds=rounds: plain(data, rounds, USER),
                    repeats=2 if quick else 9 if n <= 10_000 else 5,
                    at_most=target,
                )
            )
    return rows


def with_the_preset(quick: bool) -> list[Ratio]:
    """T2: the package's default against LightGBM's, with the error of both."""
    sizes = [(1_000, 0.45)] if quick else [(1_000, 0.45), (10_000, 0.45), (100_000, 0.65)]
    rows = []
    for n, target in sizes:
        for name, data in (
            ("10 columns of X", sample(n, 10)),
            ("design nonlinear", designs.nonlinear(n=n).draw(np.random.default_rng(0))),
        ):
            found = side_by_side(
                f"T2: preset, n = {n:,}, {name}",
                lambda data=data: fit(data, "boosting"),
                lambda data=data: plain(data, 100, {}),
                repeats=2 if quick else 7 if n <= 10_000 else 3,
                at_most=target,
            )
            rows.append(replace(found, note=f"rmse {relative_error(data):.2f} of the other's"))
    return rows


def relative_error(data: Sample) -> float:
    """Error of the learned f(W) over that of plain LightGBM on the same D less its linear part."""
    linear = data.X @ np.linalg.lstsq(data.X, data.D - data.oracle, rcond=None)[0]
    theirs = plain(replace(data, D=data.D - linear), 100, {})
    ours = fit(data, "boosting").instrument
    return error(ours, data) / error(theirs, data)


def error(predicted: np.ndarray, data: Sample) -> float:
    """Root mean squared error for mu once the covariates are fitted to the rest."""
    gap = data.oracle - np.asarray(predicted).ravel()
    return float(np.std(gap - data.X @ np.linalg.lstsq(data.X, gap, rcond=None)[0]))


def own_parts(quick: bool) -> list[Ratio]:
    """T3: what the package adds to LightGBM's own calls on the same binned data."""
    n, rounds = (1_000, 20) if quick else (10_000, 200)
    rows = []
    for controls in (1, 10):
        data = sample(n, controls)
        learner = Boosting(rounds, extra_trees=False, **USER)
        rows.append(
            side_by_side(
                f"T3: all of MLIV over LightGBM's own calls, {controls} columns of X",
                lambda data=data, learner=learner: fit(data, learner, split_half=False),
                lambda data=data, learner=learner: bare(data, learner, rounds),
                repeats=2 if quick else 9,
                at_most=1.03,
                note="their objective is the built-in one, without covariates",
            )
        )
    return rows


def bare(data: Sample, learner: Boosting, rounds: int) -> None:
    """The calls of LightGBM that MLIV makes, its own squared error in place of the profiled one."""
    settings = {**learner.settings(len(data.y)), "objective": "regression"}
    binned = lightgbm.Dataset(data.W, data.D, params=settings).construct()
    fold = np.random.default_rng(1).permutation(len(data.y)) % FOLDS
    for k in range(FOLDS):
        training = binned.subset(np.flatnonzero(fold != k))
        booster = lightgbm.Booster(settings, training)
        booster.add_valid(binned.subset(np.flatnonzero(fold == k)), "held out")
        for _ in range(rounds):
            booster.update()
        booster.eval_valid(lambda scores, _: ("read", float(scores[0]), True))


def confidence_sets(quick: bool) -> list[Ratio]:
    """T9: halves and the corrected set, and the orthogonal set, over one plain cross-fit."""
    n = 500 if quick else 10_000
    data = sample(n, 10)
    rows = []
    for learner, most in (("boosting", 10.0), ("series", 2.0), ("ridge", 2.0)):
        for task, ours, target in _sets(data, learner, most):
            rows.append(
                side_by_side(
                    f"T9: {learner}, {task}",
                    ours,
                    lambda learner=learner: fit(data, learner, split_half=False),
                    repeats=2 if quick else 5,
                    at_most=target,
                )
            )
    return rows


def _sets(data: Sample, learner: str, most: float) -> list[tuple[str, Callable[[], Any], float]]:
    return [
        (
            "default fit with its corrected set",
            lambda: fit(data, learner).conf_int(method="ar"),
            1.3,
        ),
        (
            "orthogonal set",
            lambda: fit(data, learner, orthogonal=True).conf_int(method="ar", ar="orthogonal"),
            most,
        ),
    ]


def main(quick: bool = False) -> list[Ratio]:
    """Time every part, print and save the table."""
    rows = with_the_users_settings(quick)
    rows += with_the_preset(quick)
    rows += own_parts(quick)
    rows += confidence_sets(quick)
    print(f"\n{save('tree_engine', rows, quick).read_text()}")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small samples, two pairs")
    main(parser.parse_args().quick)
