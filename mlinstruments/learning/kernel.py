"""Kernel ridge regression by random or landmark features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray

from .base import describe
from .features import Features
from .gram import GramEngine, check_penalty

METHODS = ("nystroem", "fourier")
# Rows whose distances the median is taken of.
DISTANCE_ROWS = 1000


@dataclass(frozen=True)
class Kernel:
    """Ridge regression with a Gaussian kernel of the instruments, approximated by few features.

    Instruments are standardised, categories enter as indicators. The kernel is
    ``exp(-|w - w'|^2 / (2 s^2))`` with bandwidth s; ridge on the features, with one scale for all
    of them, approximates kernel ridge regression that is linear in the covariates.

    Parameters
    ----------
    penalty : float, optional
        As for :class:`Ridge`; features are scaled to a mean variance of one.
    bandwidth : float, optional
        The s above, in standard deviations of the instruments. By default the median distance of
        two rows, among 1000 rows at most; it depends on the instruments alone.
    n_features : int
        Landmarks, or random frequencies. Never more than there are rows.
    method : {"nystroem", "fourier"}
        Kernels at random landmark rows, made orthonormal (Williams and Seeger 2001), or cosines of
        random frequencies (Rahimi and Recht 2007).
    seed : int
        Of the landmarks or frequencies, the same for every fold and repeat.

    References
    ----------
    Rahimi, Recht (2007), "Random Features for Large-Scale Kernel Machines", NeurIPS. Williams,
    Seeger (2001), "Using the Nystroem Method to Speed Up Kernel Machines", NeurIPS.

    Examples
    --------
    >>> from mlinstruments.learning import Kernel
    >>> Kernel(bandwidth=1.5).label
    'kernel(bandwidth=1.5)'
    """

    penalty: float | None = None
    bandwidth: float | None = None
    n_features: int = 100
    method: str = "nystroem"
    seed: int = 0

    def __post_init__(self) -> None:
        check_penalty(self.penalty)
        check_choice(self.method, "method", METHODS)
        check_count(self.n_features, "n_features", 1)
        check_count(self.seed, "seed", 0)
        if self.bandwidth is not None and not 0 < self.bandwidth < np.inf:
            raise InputError(f"bandwidth must be above 0; got {self.bandwidth!r}.")

    @property
    def label(self) -> str:
        """The learner in words."""
        method = None if self.method == "nystroem" else self.method
        return describe("kernel", penalty=self.penalty, bandwidth=self.bandwidth, method=method)

    @property
    def takes_missing(self) -> bool:
        """Linear learners need complete rows."""
        return False

    def prepare(
        self, features: Features, controls: FloatArray, weights: FloatArray | None
    ) -> GramEngine:
        """Make the features once for every fold and target."""
        dictionary = self._features(features.dummies())
        return GramEngine(dictionary, controls, weights, self.penalty, common_scale=True)

    def _features(self, inputs: FloatArray) -> FloatArray:
        from sklearn.kernel_approximation import Nystroem, RBFSampler

        deviation = inputs.std(axis=0)
        standard = (inputs - inputs.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
        bandwidth = self.bandwidth or median_distance(standard, self.seed)
        shared = {
            "gamma": 1 / (2 * bandwidth**2),
            "n_components": min(self.n_features, len(standard)),
            "random_state": self.seed,
        }
        make = Nystroem(**shared) if self.method == "nystroem" else RBFSampler(**shared)
        return np.asarray(make.fit_transform(standard))


def median_distance(standard: FloatArray, seed: int) -> float:
    """The median distance of two different rows (n, q), among 1000 rows drawn at random.

    1 where all rows drawn are the same.

    Examples
    --------
    >>> median_distance(np.array([[0.0], [1.0], [3.0]]), seed=0)
    2.0
    """
    from scipy.spatial.distance import pdist

    rows = standard
    if len(standard) > DISTANCE_ROWS:
        chosen = np.random.default_rng(seed).choice(len(standard), DISTANCE_ROWS, replace=False)
        rows = standard[chosen]
    distances = pdist(rows)
    apart = distances[distances > 0]
    return float(np.median(apart)) if len(apart) else 1.0
