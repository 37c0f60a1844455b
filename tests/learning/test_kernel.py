"""Kernel ridge by features against kernel ridge itself."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from mlinstruments._core.exceptions import InputError
from mlinstruments.learning import Kernel
from mlinstruments.learning.base import FoldTask
from mlinstruments.learning.features import Features
from mlinstruments.learning.kernel import median_distance
from tests.tolerances import SOLVE

N = 200
RNG = np.random.default_rng(3)
W = RNG.normal([0, 50], [1, 20], (N, 2))
D = (np.sin(2 * W[:, 0]) + np.cos(W[:, 1] / 20) + 0.3 * RNG.normal(size=N))[:, None]
TRAIN, OUT = np.arange(150), np.arange(150, N)
SEED = np.random.SeedSequence(1)
STANDARD = (W - W.mean(axis=0)) / W.std(axis=0)


def predicted(learner, w=W, controls=None):
    ones = np.ones((N, 1)) if controls is None else controls
    engine = learner.prepare(Features.numeric(w), ones, None)
    return engine.fit(FoldTask(D, (TRAIN,), OUT, SEED)).predictions[0, 0]


def centred_kernel_ridge(bandwidth, penalty):
    """Kernel ridge with a constant that is not penalised: the kernel centred on training rows."""
    gamma = 1 / (2 * bandwidth**2)
    distances = ((STANDARD[:, None] - STANDARD[None]) ** 2).sum(axis=2)
    K = np.exp(-gamma * distances)
    # One scale for all features: their mean variance, over as many as there are rows, is one.
    scale = (np.diag(K).sum() - K.sum() / N) / N / N
    inside = K[np.ix_(TRAIN, TRAIN)]
    centred = inside - inside.mean(axis=0) - inside.mean(axis=1)[:, None] + inside.mean()
    across = K[np.ix_(OUT, TRAIN)] - inside.mean(axis=0)
    across = across - across.mean(axis=1)[:, None]
    model = KernelRidge(alpha=len(TRAIN) * penalty * scale, kernel="precomputed")
    return model.fit(centred, D[TRAIN, 0] - D[TRAIN, 0].mean()).predict(across)


@pytest.mark.parametrize("penalty", [0.01, 0.5])
@pytest.mark.parametrize("bandwidth", [0.5, 2.0])
def test_as_many_landmarks_as_rows_are_kernel_ridge(bandwidth, penalty):
    found = predicted(Kernel(penalty, bandwidth, n_features=N))
    expected = centred_kernel_ridge(bandwidth, penalty)
    # Features of rows that nearly coincide have eigenvalues that the landmarks cut off at 1e-12.
    np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=1e-6)


@pytest.mark.parametrize("method", ["nystroem", "fourier"])
def test_few_features_come_close(method):
    count = {"nystroem": 60, "fourier": 2000}[method]
    exact = predicted(Kernel(0.01, 1.0, n_features=N))
    # Random frequencies are bounded by n_features <= n, so widen the sample for them.
    learner = Kernel(0.01 * (N / count if method == "nystroem" else 1), 1.0, count, method)
    found = predicted(learner)
    assert np.corrcoef(found, exact)[0, 1] > 0.95


def test_the_bandwidth_is_the_median_distance():
    distances = [np.linalg.norm(a - b) for i, a in enumerate(STANDARD) for b in STANDARD[:i]]
    assert median_distance(STANDARD, 0) == pytest.approx(np.median(distances))
    found = predicted(Kernel(0.1))
    np.testing.assert_array_equal(found, predicted(Kernel(0.1, float(np.median(distances)))))
    assert median_distance(np.ones((5, 2)), 0) == 1.0
    many = RNG.normal(size=(3000, 2))
    assert 1.4 < median_distance(many, 0) < 1.9  # sqrt(2) times the median of a Rayleigh, 1.18
    assert median_distance(many, 0) != median_distance(many, 1)


def test_units_of_instruments_do_not_matter_and_seeds_do():
    base = predicted(Kernel(0.1, n_features=30))
    np.testing.assert_allclose(
        predicted(Kernel(0.1, n_features=30), W * [1e3, 1e-4]), base, atol=SOLVE
    )
    assert np.abs(predicted(Kernel(0.1, n_features=30, seed=1)) - base).max() > 1e-6


def test_what_is_linear_in_the_covariates_is_theirs():
    x = np.column_stack([np.ones(N), RNG.normal(size=N)])
    base = predicted(Kernel(), controls=x)
    engine = Kernel().prepare(Features.numeric(W), x, None)
    shifted = D + (x @ [2.0, -7.0])[:, None]
    found = engine.fit(FoldTask(shifted, (TRAIN,), OUT, SEED)).predictions[0, 0]
    np.testing.assert_allclose(found, base, atol=SOLVE)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bandwidth": 0}, "bandwidth must be above 0"),
        ({"bandwidth": float("nan")}, "bandwidth must be above 0"),
        ({"n_features": 0}, "n_features"),
        ({"method": "fourrier"}, "Did you mean 'fourier'"),
        ({"penalty": -1}, "penalty must be 0 or more"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(InputError, match=words):
        Kernel(**settings)
