"""Choice sets with their regressors, and who chose what from them how often.

Everything an estimator of preferences sees: it knows neither games nor logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mlinstruments._core.arrays import encode_labels, missing_mask
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Design:
    """Choices among alternatives described by regressors.

    Parameters
    ----------
    z : array, shape (C, A, m)
        Regressors of every alternative of every choice set; the first is the own payoff. Zero
        where a set has fewer than A alternatives.
    available : bool array, shape (C, A)
    parameters : tuple of str
        Names of the regressors after the first.
    choice_set, action : int array, shape (N,)
        Which set a row chose from, and what.
    count : array, shape (N,)
        How often, not necessarily whole numbers (probabilities are counts too).
    labels : mapping of str to array (N,)
        Groups rows may be clustered by.
    actions : tuple of tuple of str
        Names of the alternatives of every set.
    utility : str
        The utility in words, for tables; may be empty.
    """

    z: FloatArray
    available: BoolArray
    parameters: tuple[str, ...]
    choice_set: IntArray
    action: IntArray
    count: FloatArray
    labels: Mapping[str, AnyArray]
    actions: tuple[tuple[str, ...], ...]
    utility: str = ""

    @property
    def n_choices(self) -> float:
        """Total count."""
        return float(self.count.sum())

    @property
    def coefficients(self) -> tuple[str, ...]:
        """Names of the reported coefficients: the scale, then the parameters."""
        return ("lambda", *self.parameters)

    def counts(self) -> FloatArray:
        """Choices by set and alternative, (C, A), read-only: sufficient for the likelihood."""
        return self._counts

    @property
    def cell(self) -> IntArray:
        """Position of what every row chose among all alternatives of all sets, (N,)."""
        return np.asarray(self.choice_set * self.available.shape[1] + self.action)

    @cached_property
    def _counts(self) -> FloatArray:
        flat = np.bincount(self.cell, self.count, self.available.size)
        counts: FloatArray = np.asarray(flat, dtype=np.float64).reshape(self.available.shape)
        counts.flags.writeable = False
        return counts

    def restricted(self, rows: BoolArray) -> Design:
        """Only some rows (N,), with every choice set kept."""
        return replace(
            self,
            choice_set=self.choice_set[rows],
            action=self.action[rows],
            count=self.count[rows],
            labels={name: values[rows] for name, values in self.labels.items()},
        )

    def cluster_codes(self, names: tuple[str, ...]) -> tuple[IntArray, ...]:
        """Numbers of the groups named, (N,) each."""
        missing = [name for name in names if name not in self.labels]
        if missing:
            raise InputError(
                f"no column {missing[0]!r} to cluster by; there are"
                f" {', '.join(sorted(self.labels)) or 'none'}."
            )
        for name in names:
            gone = missing_mask(self.labels[name])
            if gone.any():
                raise InputError(
                    f"{name!r}, which choices are clustered by, is missing in {int(gone.sum())}"
                    " rows: fill it in or drop those rows."
                )
        return tuple(encode_labels(self.labels[name]) for name in names)


def centred(design: Design) -> FloatArray:
    """Regressors less their mean over the alternatives of the set, padding zero, (C, A, m)."""
    mask = design.available[:, :, None]
    mean = design.z.sum(axis=1, keepdims=True) / mask.sum(axis=1, keepdims=True)
    return np.where(mask, design.z - mean, 0.0)


def used_sets(design: Design) -> BoolArray:
    """Which sets anybody chose from, (C,)."""
    return np.asarray(design.counts().sum(axis=1) > 0)


def first_rows(codes: IntArray) -> IntArray:
    """The first row of each of the codes 0, 1, ..., all of which occur.

    Examples
    --------
    >>> first_rows(np.array([0, 0, 1, 0, 2, 1]))
    array([0, 2, 4])
    """
    first = np.empty(int(codes.max()) + 1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # what is written last stays
    return first
