"""What the models of one cell predict for inputs that are no rows of the data."""

from __future__ import annotations

import numpy as np

from mlinstruments._core.typing import FloatArray

from .base import FoldTask, Learner
from .crossfit import cell_seeds_of
from .features import Features
from .folds import Split


def predict_elsewhere(
    learner: Learner,
    features: Features,
    controls: FloatArray,
    weights: FloatArray | None,
    target: FloatArray,
    split: Split,
    seed: np.random.SeedSequence,
    cell: int,
    inputs: FloatArray,
) -> FloatArray:
    """Learn a target outside a cell, as cross-fitting does, and predict rows of it and others.

    No models are kept by a fit, and engines predict rows that they are bound to: so the learner is
    bound to the data with ``inputs`` below them, which no training part holds. Bins and knots are
    then placed by both; inputs distributed as the data's leave them nearly where they were.

    Parameters
    ----------
    learner : Learner
    features : Features
        Inputs (n, q) of the data.
    controls : array, shape (n, p)
    weights : array, shape (n,), optional
    target : array, shape (n,)
    split : Split
    seed : SeedSequence
        Of the split, as for :func:`mlinstruments.learning.crossfit.cross_fit`.
    cell : int
        Which cell is left out.
    inputs : array, shape (m, q)
        Where to predict as well.

    Returns
    -------
    array, shape (n + m,)
        f(W) for all rows and inputs, the mean of the training parts. Only for the rows of the cell
        and for ``inputs`` it is out of sample.
    """
    n, m = features.values.shape[0], len(inputs)
    below = np.arange(m) % n  # any row's controls and weights: they are not used
    stacked = Features(np.vstack([features.values, inputs]), features.categorical, features.names)
    engine = learner.prepare(
        stacked,
        np.vstack([controls, controls[below]]),
        None if weights is None else np.concatenate([weights, weights[below]]),
    )
    task = FoldTask(
        np.concatenate([target, target[below]])[:, None],
        split.training(cell),
        np.arange(n + m),
        cell_seeds_of(split, seed)[cell],
        tune=None if split.tune is None else np.concatenate([split.tune, split.tune[below]]),
    )
    predictions: FloatArray = engine.fit(task).predictions[0].mean(axis=0)
    return predictions
