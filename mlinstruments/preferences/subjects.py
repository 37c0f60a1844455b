"""Choices by subject: who they are, what they faced, and batches of them to fit side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from mlinstruments._core.arrays import encode_labels, missing_mask
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray, IntArray

from .batched import Batch
from .design import Design, centred, used_sets

# Alternatives of one batch: its numbers should stay in the processor's cache.
BLOCK_CELLS = 200_000


def subject_codes(design: Design, subject: str) -> tuple[IntArray, AnyArray]:
    """Number of the subject of every row (N,), and the subjects' labels (S,).

    Raises
    ------
    InputError
        Where there is no such column, or it has missing entries.
    """
    if subject not in design.labels:
        there = ", ".join(sorted(design.labels)) or "none"
        raise InputError(
            f"no column {subject!r} that tells subjects apart; there are {there}. Name it:"
            " clusters= of fit with several types, subject= of individuals."
        )
    labels = np.asarray(design.labels[subject])
    missing = missing_mask(labels)
    if missing.any():
        raise InputError(
            f"column {subject!r} is missing in {int(missing.sum())} rows, the first row"
            f" {int(np.argmax(missing))}: give every choice its subject, or drop such rows."
        )
    codes = encode_labels(labels)
    return codes, labels[np.unique(codes, return_index=True)[1]]


def unit_regressors(design: Design) -> tuple[FloatArray, FloatArray]:
    """Regressors of the used sets, centred and of unit size (C, A, m), and the sizes (m,)."""
    spread = centred(design)[used_sets(design)]
    size = np.sqrt((spread**2).mean(axis=(0, 1)))
    size = np.where(size > 0, size, 1.0)
    return spread / size, size


@dataclass(frozen=True, eq=False)
class Panel:
    """Choices by subject, with regressors centred and of unit size.

    Parameters
    ----------
    z : array, shape (C, A, m)
    available : bool array, shape (C, A)
    size : array, shape (m,)
    codes : int array, shape (N,)
        Subject of every row.
    row_set, row_action : int array, shape (N,)
    count : array, shape (N,)
    totals : sparse matrix, shape (S, C)
        Choices by subject and set.
    chosen : array, shape (S, m)
        Sum of the regressors of what was chosen.
    """

    z: FloatArray
    available: BoolArray
    size: FloatArray
    codes: IntArray
    row_set: IntArray
    row_action: IntArray
    count: FloatArray
    totals: Any
    chosen: FloatArray

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return len(self.chosen)

    @property
    def shared(self) -> bool:
        """Whether subjects have about the same sets, so that one array of them serves all."""
        return len(self.z) <= 2 * int(np.diff(self.totals.indptr).max())


def panel_of(design: Design, codes: IntArray, n_subjects: int) -> Panel:
    """Sum choices by subject; codes (N,) number the subject of every row."""
    used = used_sets(design)
    kept = design.count > 0
    row_set, action = (np.cumsum(used) - 1)[design.choice_set[kept]], design.action[kept]
    z, size = unit_regressors(design)
    C, A, m = z.shape
    count, codes = design.count[kept], codes[kept]
    totals = sparse.csr_matrix((count, (codes, row_set)), shape=(n_subjects, C))
    totals.sort_indices()
    picked = sparse.csr_matrix((count, (codes, row_set * A + action)), shape=(n_subjects, C * A))
    return Panel(
        z,
        design.available[used],
        size,
        codes,
        row_set,
        action,
        count,
        totals,
        np.asarray(picked @ z.reshape(C * A, m)),
    )


def slots_of(panel: Panel) -> tuple[IntArray | None, IntArray]:
    """Sets of every subject (S, G), padded; None where shared. And the column of every row."""
    if panel.shared:
        return None, panel.row_set
    totals = panel.totals
    widths = np.diff(totals.indptr)
    subject = np.repeat(np.arange(panel.n_subjects), widths)
    column = np.arange(totals.nnz) - totals.indptr[subject]
    slots = np.full((panel.n_subjects, int(widths.max())), -1, dtype=np.int64)
    slots[subject, column] = totals.indices
    keys = subject * len(panel.z) + totals.indices
    place = np.searchsorted(keys, panel.codes * len(panel.z) + panel.row_set)
    return slots, np.asarray(column[place], dtype=np.int64)


def batches(panel: Panel, slots: IntArray | None) -> Iterator[tuple[int, int, Batch]]:
    """Blocks of subjects, (first, last, their logits)."""
    C, A, _ = panel.z.shape
    width = C if slots is None else slots.shape[1]
    step = max(1, BLOCK_CELLS // (width * A))
    z = np.ascontiguousarray(panel.z.transpose(2, 0, 1))[..., None]
    open_ = panel.available.astype(float)[..., None]
    for first in range(0, panel.n_subjects, step):
        last = min(first + step, panel.n_subjects)
        totals = panel.totals[first:last]
        chosen = np.ascontiguousarray(panel.chosen[first:last].T)
        if slots is None:
            dense = np.ascontiguousarray(totals.toarray().T)
            yield first, last, Batch(z, open_, dense, chosen)
        else:
            yield first, last, _own_sets(panel, slots[first:last], totals, chosen)


def _own_sets(panel: Panel, slots: IntArray, totals: Any, chosen: FloatArray) -> Batch:
    there = slots >= 0
    dense = np.zeros(slots.shape)
    dense[there] = totals.data
    return Batch(
        np.ascontiguousarray(panel.z[slots].transpose(3, 1, 2, 0)),
        np.ascontiguousarray(panel.available[slots].transpose(1, 2, 0)).astype(float),
        np.ascontiguousarray(dense.T),
        chosen,
    )
