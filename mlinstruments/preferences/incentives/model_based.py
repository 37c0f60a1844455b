"""What an identified fit says: the scale, with and without units, and its effect on a choice."""

from __future__ import annotations

import numpy as np
from scipy import stats

from mlinstruments._core.typing import FloatArray

from ..design import Design
from ..results import PreferenceResults
from .binary import binary_choices
from .regret import extremes
from .results import Measure


def model_based(fit: PreferenceResults, design: Design) -> tuple[Measure, ...]:
    """The scale, times the range of own payoff, and the marginal effect, as the fit has them."""
    scale, error = float(fit.params["lambda"]), float(fit.std_errors["lambda"])
    pvalue = 2 * float(stats.norm.sf(scale / error))
    best, worst = extremes(design)
    stakes = float(np.average((best - worst)[design.choice_set], weights=design.count))
    effect, gradient = marginal_effect(design, fit.theta)
    return (
        Measure("lambda", scale, error, pvalue, 0.0),
        Measure("lambda_x_range", scale * stakes, error * stakes, pvalue, 0.0),
        Measure(
            "marginal_effect",
            effect,
            float(np.sqrt(gradient @ fit.theta_cov @ gradient)),
            pvalue,
            0.0,
        ),
    )


def marginal_effect(design: Design, theta: FloatArray) -> tuple[float, FloatArray]:
    """Mean of lambda P (1 - P) over binary choices, and its gradient in theta (m,)."""
    pairs = binary_choices(design)
    weight = design.count[pairs.row] / design.count[pairs.row].sum()
    p = 1 / (1 + np.exp(-pairs.difference @ theta))
    spread = weight * p * (1 - p)
    gradient = theta[0] * (spread * (1 - 2 * p)) @ pairs.difference
    gradient[0] += spread.sum()
    return float(theta[0] * spread.sum()), np.asarray(gradient)
