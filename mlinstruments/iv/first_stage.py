"""The strength of learned instruments, over repeats, as the tables a result holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.typing import FloatArray

from . import strength
from .joint_strength import JointStrength, median_joint
from .reduced import Partialled
from .strength import FirstStage


def repeat_rows(
    repeat: int,
    endog: tuple[str, ...],
    few: Partialled,
    f: list[float],
    fit: tuple[FloatArray, FloatArray] | None,
    noise: FloatArray | None,
) -> list[dict[str, Any]]:
    """Rows of the table of repeats: one for each endogenous regressor.

    Parameters
    ----------
    repeat : int
    endog : tuple of str
    few : Partialled
        Instruments and treatments with the covariates partialled out.
    f : list of float
        Robust F of the instruments for each treatment.
    fit : pair of arrays, shapes (d,), or None
        Estimates and standard errors of ``endog``.
    noise : array, shape (r, d), or None
        Rows with the squares of the instruments' noise.
    """
    table = []
    for j, name in enumerate(endog):
        calibration = strength.slope(few.z[:, j], few.v[:, 1 + j])
        table.append(
            {
                "repeat": repeat,
                "endog": name,
                "estimate": np.nan if fit is None else fit[0][j],
                "std_error": np.nan if fit is None else fit[1][j],
                "f": f[j] if calibration > 0 else 0.0,
                "partial_r2": strength.partial_r2(few.z, few.v[:, 1 + j]),
                "calibration": calibration,
                "reliability": strength.reliability(
                    few.z[:, j], None if noise is None else noise[:, j]
                ),
            }
        )
    return table


def gathered(
    rows: list[dict[str, Any]],
    joint: list[JointStrength],
    by_fold: list[dict[str, object]],
    linear: list[float],
    q: int,
) -> tuple[FirstStage, pd.DataFrame]:
    """Medians over repeats, and the table of repeats.

    Parameters
    ----------
    rows : list
        From :func:`repeat_rows`, all repeats in turn.
    joint : list of JointStrength
        Of every repeat.
    by_fold : list
        Rows of the table of folds.
    linear : list of float
        F of the linear first stage for each endogenous regressor.
    q : int
        Its instruments.
    """
    table = pd.DataFrame(rows)
    endog = joint[0].conditional_f.index
    medians = table.groupby("endog", sort=False)[
        ["f", "partial_r2", "calibration", "reliability"]
    ].median()
    strengths = FirstStage(
        f=medians["f"],
        effective_f=medians["f"].rename("effective_f") * (1.0 if len(endog) == 1 else np.nan),
        partial_r2=medians["partial_r2"],
        calibration=medians["calibration"],
        reliability=medians["reliability"],
        linear_f=pd.Series(linear, endog, name="linear_f"),
        n_instruments=q,
        by_fold=pd.DataFrame(by_fold, columns=strength.BY_FOLD),
        joint=median_joint(joint, rises=table.groupby("repeat")["calibration"].min() > 0),
    )
    return strengths, table


def learner_weights(
    weights: FloatArray, names: tuple[str, ...], endog: tuple[str, ...]
) -> pd.DataFrame:
    """Weights (repeats, cells, d, parts, learners) of a stack as a table, one row a fit."""
    repeats, cells, _, parts, _ = weights.shape
    index = pd.MultiIndex.from_product(
        [range(repeats), range(cells), endog, range(parts)],
        names=["repeat", "fold", "endog", "part"],
    )
    frame = pd.DataFrame(weights.reshape(-1, len(names)), index, list(names))
    return frame.dropna().reset_index()
