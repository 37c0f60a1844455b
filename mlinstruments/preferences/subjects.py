"""Choices by subject: who they are, what they faced, and batches of them to fit side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from mlinstruments._core.arrays import encode_labels, missing_mask
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray, IntArray

from .batched import Batch
from .design import Design, centred, first_rows, used_sets

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
    return codes, labels[first_rows(codes)]


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
    picked : sparse matrix, shape (S, C * A)
        Choices by subject, set and alternative; indices sorted, no zeros.
    """

    z: FloatArray
    available: BoolArray
    size: FloatArray
    picked: Any

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return int(self.picked.shape[0])

    @cached_property
    def totals(self) -> Any:
        """Choices by subject and set, sparse (S, C)."""
        picked, C = self.picked, len(self.z)
        sets = picked.indices // self.z.shape[1]
        new = np.ones(len(sets) + 1, dtype=bool)  # the end counts as a new set
        new[1:-1] = sets[1:] != sets[:-1]
        new[picked.indptr] = True
        begin = np.flatnonzero(new[:-1])
        data = np.add.reduceat(picked.data, begin) if len(begin) else picked.data
        ends = np.cumsum(np.concatenate([[0], new[:-1]]))[picked.indptr]
        return sparse.csr_matrix((data, sets[begin], ends), shape=(self.n_subjects, C))

    @cached_property
    def shared(self) -> bool:
        """Whether subjects have about the same sets, so that one array of them serves all."""
        return len(self.z) <= 2 * int(np.diff(self.totals.indptr).max())


def panel_of(design: Design, codes: IntArray, n_subjects: int) -> Panel:
    """Sum choices by subject; codes (N,) number the subject of every row."""
    used = used_sets(design)
    z, size = unit_regressors(design)
    C, A, _ = z.shape
    choice_set, action, count = design.choice_set, design.action, design.count
    if not used.all():
        choice_set = (np.cumsum(used) - 1)[choice_set]
    if not (count > 0).all():
        kept = count > 0
        choice_set, action, count = choice_set[kept], action[kept], count[kept]
        codes = codes[kept]
    cells = choice_set * A + action
    picked = sparse.csr_matrix((count, (codes, cells)), shape=(n_subjects, C * A))
    picked.sort_indices()
    return Panel(z, design.available[used], size, picked)


def batches(panel: Panel) -> Iterator[tuple[int, int, Batch, FloatArray]]:
    """Blocks of subjects: first, last, their logits, and their counts (C, A, subjects)."""
    C, A, m = panel.z.shape
    slots = None if panel.shared else _slots(panel)
    width = C if slots is None else slots.shape[1]
    step = max(1, BLOCK_CELLS // (width * A))
    z = np.ascontiguousarray(panel.z.transpose(2, 0, 1))[..., None]
    there = panel.available.astype(float)[..., None]
    for first in range(0, panel.n_subjects, step):
        last = min(first + step, panel.n_subjects)
        if slots is None:
            counts = panel.picked[first:last].toarray(order="F").T.reshape(C, A, -1)
            own, open_ = z, there
            chosen = z.reshape(m, C * A) @ counts.reshape(C * A, -1)
        else:
            some = slots[first:last]
            counts = _own_counts(panel, some, first, last)
            own = np.ascontiguousarray(panel.z[some].transpose(3, 1, 2, 0))
            open_ = np.ascontiguousarray(panel.available[some].transpose(1, 2, 0)).astype(float)
            chosen = np.einsum("jcab,cab->jb", own, counts)
        yield first, last, Batch(own, open_, counts.sum(axis=1), chosen), counts


def _slots(panel: Panel) -> IntArray:
    """Sets of every subject (S, G), padded with -1."""
    totals = panel.totals
    widths = np.diff(totals.indptr)
    subject = np.repeat(np.arange(panel.n_subjects), widths)
    slots = np.full((panel.n_subjects, int(widths.max())), -1, dtype=np.int64)
    slots[subject, np.arange(totals.nnz) - totals.indptr[subject]] = totals.indices
    return slots


def _own_counts(panel: Panel, slots: IntArray, first: int, last: int) -> FloatArray:
    """Counts of some subjects on their own sets, (G, A, subjects)."""
    A = panel.z.shape[1]
    picked = panel.picked[first:last]
    subject = np.repeat(np.arange(last - first), np.diff(picked.indptr))
    sets, action = np.divmod(picked.indices, A)
    column = (slots[subject] == sets[:, None]).argmax(axis=1)
    counts = np.zeros((slots.shape[1], A, last - first))
    counts[column, action, subject] = picked.data
    return counts
