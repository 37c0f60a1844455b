"""How many replications of a small simulation a second, against loops people write?

Samples are drawn beforehand, except in the last rows, and each comparison computes the same first
stage: as many ridge fits on as many rows by scikit-learn, then the estimate and its robust standard
error by hand. Ours adds F, the corrected Anderson-Rubin test and the ends of its set.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from lib.side_by_side import Ratio, save, side_by_side

from mlinstruments import MLIV
from mlinstruments.learning import Boosting, Ridge, Series
from mlinstruments.learning.batched import dictionary_of
from mlinstruments.simulation import batched, designs, monte_carlo

N, FOLDS, SEED = 1000, 5, 20261123
RIDGE, SERIES = Ridge(0.1), Series(penalty=0.01)


def by_hand(z: Any, sample: Any) -> tuple[float, float]:
    """Estimate and robust standard error with one instrument and a constant."""
    z, y, d = (v - v.mean() for v in (z, sample.y, sample.D))
    estimate = (z @ sample.y) / (z @ sample.D)
    return estimate, np.sqrt((z * (y - estimate * d)) @ (z * (y - estimate * d))) / abs(z @ d)


def loop(sample: Any, columns: Any, penalty: float, halves: bool) -> tuple[float, float]:
    """Cross-fitting with scikit-learn's ridge."""
    from sklearn.linear_model import Ridge as Peer

    rows = np.arange(N)
    fold, half = rows % FOLDS, (rows // FOLDS) % 2
    z = np.zeros(N)
    for k in range(FOLDS):
        out = fold == k
        for part in (0, 1) if halves else (None,):
            training = ~out if part is None else ~out & (half == part)
            model = Peer(alpha=penalty * training.sum())
            predicted = model.fit(columns[training], sample.D[training]).predict(columns[out])
            z[out] += predicted - predicted.mean()
    return by_hand(z, sample)


def boosting_loop(sample: Any) -> tuple[float, float]:
    """Cross-fitting with LightGBM's regressor as it comes, one thread."""
    import lightgbm

    z = np.zeros(N)
    for k in range(FOLDS):
        out = np.arange(N) % FOLDS == k
        model = lightgbm.LGBMRegressor(n_jobs=1, verbosity=-1)
        predicted = model.fit(sample.W[~out], sample.D[~out]).predict(sample.W[out])
        z[out] = predicted - predicted.mean()
    return by_hand(z, sample)


def draws(design: Any, replications: int) -> list[Any]:
    return [design.draw(np.random.default_rng(i)) for i in range(replications)]


def ridge_row(
    name: str, design: Any, learner: Any, halves: bool, target: float | None, quick: bool
) -> Ratio:
    """A chunk of samples at once against a loop over the same samples."""
    model = MLIV(learner, n_folds=FOLDS, split_half=halves)
    samples = draws(design, batched.chunk_size(*draws(design, 2)))
    samples = samples[:8] if quick else samples
    seeds = [np.random.SeedSequence(SEED)] * len(samples)
    held = dictionary_of(learner, samples[0].W) if samples[0].W is samples[1].W else None

    def ours() -> list[Any]:
        return batched.fit_batch(model, samples, seeds, design.truth, 0.95)

    def others() -> None:
        for sample in samples:
            columns, penalty = held or dictionary_of(learner, sample.W) or (sample.W, 0.0)
            loop(sample, columns, float(penalty or 0.0), halves)

    assert all(row is not None for row in ours())
    note = f"{len(samples)} samples"
    pairs = 2 if quick else 7
    return side_by_side(name, ours, others, pairs, at_least=target, inner=(5, 1), note=note)


def whole_row(name: str, design: Any, quick: bool) -> Ratio:
    """A whole run, draws and table included, against a loop that draws as well."""
    replications = 64 if quick else 256
    estimators = {"ridge": MLIV(RIDGE, n_folds=FOLDS)}

    def others() -> None:
        for sample in draws(design, replications):
            loop(sample, sample.W, 0.1, halves=True)

    def ours() -> Any:
        return monte_carlo(design, estimators, replications, progress=False)

    return side_by_side(name, ours, others, 2 if quick else 5, note=f"{replications} replications")


def boosting_row(name: str, learner: Any, target: float | None, quick: bool) -> Ratio:
    """One fit of MLIV with everything against a loop over folds."""
    (sample,) = draws(designs.nonlinear(N), 1)
    model = MLIV(learner, n_folds=FOLDS)

    def ours() -> Any:
        return model.fit(sample.y, sample.X, sample.D, sample.W)

    pairs = 2 if quick else 15
    return side_by_side(name, ours, lambda: boosting_loop(sample), pairs, at_least=target)


def main(quick: bool = False) -> list[Ratio]:
    """Every comparison; ratios are of CPU times for the same samples."""
    weak, curved = designs.many_normal(N, concentration=60, q=20), designs.nonlinear(N)
    rows = [
        ridge_row("ridge, 20 instruments, halves", weak, RIDGE, True, 40, quick),
        ridge_row("ridge, 20 instruments, whole parts", weak, RIDGE, False, 40, quick),
        ridge_row("ridge, instruments held, halves", weak.hold(), RIDGE, True, 300, quick),
        ridge_row("ridge, instruments held, whole parts", weak.hold(), RIDGE, False, 300, quick),
        ridge_row("series, halves", curved, SERIES, True, 40, quick),
        ridge_row("series, instruments held, halves", curved.hold(), SERIES, True, 300, quick),
        whole_row("whole run, ridge", weak, quick),
        whole_row("whole run, ridge, instruments held", weak.hold(), quick),
        boosting_row("boosting, default", "boosting", 4, quick),
        boosting_row("boosting, 40 rounds given", Boosting(rounds=40), 4, quick),
    ]
    print(f"\nSaved to {save('monte_carlo_speed', rows, quick)}")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="eight samples, two pairs")
    main(parser.parse_args().quick)
