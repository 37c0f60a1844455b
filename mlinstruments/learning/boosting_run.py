"""One boosting run: LightGBM told round by round which way the profiled error falls.

A round of the preset takes some hundred microseconds, so the Python between two rounds counts.
Scores and gradients therefore go to and from LightGBM's own memory by two calls of its documented
C interface. ``Booster.update(fobj=...)`` does the same with more care: tests compare the two.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from mlinstruments._core.projection import Part
from mlinstruments._core.typing import AnyArray, FloatArray, IntArray

# How often in a row a round may find no split before the fit counts as finished.
REDRAWS = 20
_FLOATS = ctypes.POINTER(ctypes.c_float)
_DOUBLES = ctypes.POINTER(ctypes.c_double)


class Run:
    """A boosting run on some rows, advanced round by round.

    Parameters
    ----------
    binned : lightgbm.Dataset
        All rows.
    rows : int array, shape (m,)
        Training rows, in order.
    target : array, shape (m,)
    controls : Part
        Projects on the controls of these rows.
    weights : array, shape (m,), or None
    settings : mapping
        LightGBM's parameters but for the objective.
    """

    def __init__(
        self,
        binned: Any,
        rows: IntArray,
        target: FloatArray,
        controls: Part,
        weights: FloatArray | None,
        settings: dict[str, Any],
    ) -> None:
        import lightgbm

        self.controls = controls
        self.weights = weights
        self.target = controls.residualise(target)
        # The label has unit variance, so that parameters such as min_gain_to_split or lambda_l1
        # mean the same whatever the units of the treatment.
        self.scale = float(np.std(self.target)) or 1.0
        self.data = subset(binned, rows).construct()
        label = (self.target / self.scale).astype(np.float32)
        self.data.set_field("label", label)
        if weights is not None:
            self.data.set_field("weight", weights)
        # Leaves' means take a constant out by themselves: LightGBM's own squared error will do,
        # whose histograms are cheaper than those of an objective with any hessian.
        own = controls.only_a_mean
        settings = {**settings, "objective": "regression" if own else "none"}
        self.booster = lightgbm.Booster({**settings, "boost_from_average": False}, self.data)
        self._watched: list[Any] = []
        self._buffers = None if own else _Buffers(label, weights)

    def advance(self, rounds: int) -> None:
        """Add rounds. A random threshold that finds no split is drawn again, a few times."""
        for _ in range(rounds):
            if not any(self._grow() for _ in range(REDRAWS)):
                return

    def _grow(self) -> bool:
        """Add a tree, and say whether it has a split."""
        finished = ctypes.c_int(0)
        if self._buffers is None:
            _call("LGBM_BoosterUpdateOneIter", self.booster._handle, ctypes.byref(finished))
        else:
            held = self._buffers
            _read_scores(self.booster, 0, held.scores, held.at_scores)
            self._write_gradient(held.scores, held.gradient)
            _call(
                "LGBM_BoosterUpdateOneIterCustom",
                self.booster._handle,
                held.at_gradient,
                held.at_hessian,
                ctypes.byref(finished),
            )
        return finished.value == 0

    def _write_gradient(self, scores: FloatArray, gradient: AnyArray) -> None:
        """The gradient of the profiled squared error: weights M_X (scores - label)."""
        assert self._buffers is not None
        np.copyto(gradient, scores, casting="same_kind")
        gradient -= self.controls.project(gradient)
        gradient -= self._buffers.label
        if self.weights is not None:
            gradient *= self._buffers.hessian

    def watch(self, data: Any) -> None:
        """Keep predictions of the rows of ``data`` up to date from now on."""
        self.booster.add_valid(data, f"watched {len(self._watched)}")
        self._watched.append(data)

    def predictions(self) -> list[FloatArray]:
        """f(W) for each set watched, in order."""
        found = []
        for position, data in enumerate(self._watched, start=1):
            scores = np.empty(data.num_data())
            _read_scores(self.booster, position, scores, scores.ctypes.data_as(_DOUBLES))
            found.append(self.scale * scores)
        return found


class _Buffers:
    """Memory that scores and gradients pass through, the same every round."""

    def __init__(self, label: AnyArray, weights: FloatArray | None) -> None:
        m = len(label)
        self.label = label
        self.scores = np.empty(m)
        self.gradient = np.empty(m, np.float32)
        self.hessian = np.ones(m, np.float32) if weights is None else weights.astype(np.float32)
        self.at_scores = self.scores.ctypes.data_as(_DOUBLES)
        self.at_gradient = self.gradient.ctypes.data_as(_FLOATS)
        self.at_hessian = self.hessian.ctypes.data_as(_FLOATS)


def subset(binned: Any, rows: IntArray) -> Any:
    """Some rows of a binned dataset; rows must be in order.

    ``Dataset.subset`` sorts its rows as a list of Python objects, some hundred bytes a row.
    """
    part = binned.subset([0])
    part.used_indices = rows.astype(np.int32)
    return part


# ---- LightGBM's C interface ---------------------------------------------------------------------


def _call(name: str, *arguments: Any) -> None:
    """Call a function of the C interface; raise what it reports."""
    from lightgbm import basic

    basic._safe_call(getattr(basic._LIB, name)(*arguments))


def _read_scores(booster: Any, position: int, scores: FloatArray, pointer: Any) -> None:
    """Write scores of the training rows (0) or a watched set (1, 2, ...) where ``pointer`` says."""
    length = ctypes.c_int64(0)
    _call("LGBM_BoosterGetPredict", booster._handle, position, ctypes.byref(length), pointer)
    if length.value != len(scores):
        raise RuntimeError(f"LightGBM holds {length.value} scores, not {len(scores)}.")
