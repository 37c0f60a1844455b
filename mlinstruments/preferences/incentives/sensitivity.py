"""The measures together: with a fit, or straight from choices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mlinstruments._core.typing import IntArray

from ..choices import AllocationChoices, ChoiceData
from ..design import Design
from ..results import PreferenceResults
from .binary import binary_choices, row_clusters, row_games, row_protocols
from .equal_rates import equal_rates
from .model_based import model_based
from .regret import replies
from .results import MODEL_BASED, IncentiveSensitivity, Measure
from .slopes import action_shares, rank_correlation, slope_of_share


def incentive_sensitivity(fit: PreferenceResults) -> IncentiveSensitivity:
    """How choices react to incentives, by several measures that need not agree.

    Model-based, where the fit is identified: the scale lambda; lambda times the range of expected
    own payoff in a choice set (mean over choices), free of units; and the mean derivative of a
    binary choice probability in the own-payoff gap, which is lambda P (1 - P), so lambda / 4 at
    even odds. Their standard errors are those of the fit.

    Model-free: the slope of the share of an action on its own-payoff gap, weighted least squares
    over cells of protocol, belief and node, with an intercept for each node of each game, clustered
    by protocol with t(protocols - 1) p-values, or by what the fit is clustered by where that is one
    thing and coarser; Spearman's correlation of the same over protocols
    and nodes, whose p-value takes them as independent; the share of choices that maximise expected
    own payoff; the expected own payoff forgone over the range in the set, 0 best and 1 worst (sets
    without a range left out); and chi-squares of equal action rates across the protocols of a game.

    Parameters
    ----------
    fit : PreferenceResults

    Returns
    -------
    IncentiveSensitivity

    Examples
    --------
    >>> from mlinstruments import PreferenceLogit
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import incentive_sensitivity, simulate_choices
    >>> data = simulate_choices(default_grid(), scale=0.1, draws=50)
    >>> found = incentive_sensitivity(PreferenceLogit(parameters=()).fit(data))
    >>> bool(0 < found["marginal_effect"].estimate < found["lambda"].estimate / 4)
    True
    """
    coarser = _coarser(fit)
    design = _condensed(fit.design, coarser)
    free = _model_free(design)
    if coarser is not None and fit.cluster_names != ("protocol",):
        free = replace(free, clustered_by=f"groups of equal {fit.cluster_names[0]}")
    if not fit.identification.identified:
        return replace(free, reason=fit.identification.reason)
    modelled = model_based(fit, design)
    return replace(free, measures=modelled + free.measures[len(MODEL_BASED) :], reason="")


def incentive_sensitivity_of(
    data: ChoiceData | AllocationChoices, beliefs: Any = "elicited"
) -> IncentiveSensitivity:
    """The model-free measures of :func:`.incentive_sensitivity`, straight from choices.

    Parameters
    ----------
    data : ChoiceData or AllocationChoices
    beliefs : str or mapping
        What choosers expect of the other, as in :class:`.PreferenceLogit`.

    Examples
    --------
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import simulate_choices
    >>> from mlinstruments.preferences.incentives import incentive_sensitivity_of
    >>> found = incentive_sensitivity_of(simulate_choices(default_grid(), scale=0.5, draws=50))
    >>> bool(found["best_response_rate"].estimate > found["best_response_rate"].at_random)
    True
    """
    return _model_free(_condensed(data.design(beliefs=beliefs)))


def _model_free(design: Design) -> IncentiveSensitivity:
    protocol = row_protocols(design)
    cluster = row_clusters(design)
    cells = action_shares(design, binary_choices(design), protocol, cluster)
    measures = (
        *(Measure(name, float("nan")) for name in MODEL_BASED),
        slope_of_share(cells),
        rank_correlation(cells),
        *replies(design, cluster),
    )
    reason = "no model was fitted."
    return IncentiveSensitivity(
        measures, equal_rates(design, protocol), reason, len(np.unique(cluster))
    )


def _coarser(fit: PreferenceResults) -> IntArray | None:
    """Clusters of a fit, (N,), where protocols lie whole in them; None where they are not that."""
    if len(fit.clusters) != 1:
        return None
    protocol, cluster = row_protocols(fit.design), fit.clusters[0]
    n_protocols, n_clusters = len(np.unique(protocol)), len(np.unique(cluster))
    nested = len(np.unique(np.stack([protocol, cluster]), axis=1).T) == n_protocols
    return cluster if nested and n_clusters < n_protocols else None


def _condensed(design: Design, cluster: IntArray | None = None) -> Design:
    """One row for each protocol, choice set and action chosen, so that long logs cost nothing."""
    C, A = design.available.shape
    protocol = row_protocols(design)
    code = (protocol * C + design.choice_set) * A + design.action
    _, first, cell = np.unique(code, return_index=True, return_inverse=True)
    count = np.bincount(cell, design.count).astype(np.float64)
    labels = {"protocol_id": protocol[first], "game": row_games(design)[first]}
    if cluster is not None:
        labels["cluster"] = cluster[first]
    kept = replace(
        design,
        choice_set=design.choice_set[first],
        action=design.action[first],
        count=count,
        labels=labels,
    )
    return kept.restricted(count > 0)
