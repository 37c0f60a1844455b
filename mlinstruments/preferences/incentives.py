"""How choices react to incentives: five families of measures, with and without a model.

The **own-payoff gap** of a binary choice is the expected own payoff of one action less that of the
other, in points, given the beliefs and over both roles. A binary choice is one node of a strategy,
the chooser's own other nodes as chosen: own payoffs are additive over nodes, so that the gap does
not depend on them. With choice sets of two allocations it is the set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mlinstruments._core.sandwich import CovarianceSpec, meat
from mlinstruments._core.tables import Printed, Table, number
from mlinstruments._core.typing import AnyArray, BoolArray, FloatArray, IntArray

from .choices import AllocationChoices, ChoiceData
from .design import Design
from .results import PreferenceResults

# Expected own payoffs closer than this share of their range are ties.
TIE = 1e-9
# Pearson's chi-square is poor where fewer are expected in a cell.
LEAST_EXPECTED = 5.0
LABELS = {
    "lambda": "Scale lambda, 1 / points",
    "lambda_x_range": "lambda x range of own payoff",
    "marginal_effect": "Mean dP / d(own-payoff gap)",
    "slope": "Slope of action share on gap",
    "spearman": "Spearman's rho, share and gap",
    "best_response_rate": "Best-response rate",
    "regret": "Normalised regret",
}
MODEL_BASED = ("lambda", "lambda_x_range", "marginal_effect")


@dataclass(frozen=True)
class Measure:
    """One number with what is known about it; NaN for what is not.

    Parameters
    ----------
    name : str
    estimate, std_error : float
    pvalue : float
        Of no reaction, two-sided (zero slope, scale or rho).
    at_random : float
        What uniformly random choice would give.
    """

    name: str
    estimate: float
    std_error: float = float("nan")
    pvalue: float = float("nan")
    at_random: float = float("nan")


@dataclass(frozen=True)
class EqualRates:
    """Pearson's chi-square that the actions of a game are as frequent in all its protocols.

    Parameters
    ----------
    game : str
    statistic, pvalue : float
        NaN where there is one protocol only, or one action.
    df : int
    least_expected : float
        Smallest expected count.
    """

    game: str
    statistic: float
    df: int
    pvalue: float
    least_expected: float


@dataclass(frozen=True, eq=False, repr=False)
class IncentiveSensitivity(Printed):
    """What :func:`incentive_sensitivity` returns.

    Parameters
    ----------
    measures : tuple of Measure
        lambda, lambda_x_range, marginal_effect (NaN without an identified fit); slope, spearman,
        best_response_rate, regret.
    equal_rates : tuple of EqualRates
        One a game.
    reason : str
        Why there are no model-based measures; empty where there are.
    n_protocols : int
        Clusters of the standard errors of the model-free measures.
    """

    measures: tuple[Measure, ...]
    equal_rates: tuple[EqualRates, ...]
    reason: str
    n_protocols: int

    def __getitem__(self, name: str) -> Measure:
        """A measure by name."""
        return next(m for m in self.measures if m.name == name)

    def to_frame(self) -> pd.DataFrame:
        """One row a measure: estimate, std_error, pvalue, df, at_random."""
        rows: dict[str, dict[str, float]] = {
            m.name: {
                "estimate": m.estimate,
                "std_error": m.std_error,
                "pvalue": m.pvalue,
                "df": np.nan,
                "at_random": m.at_random,
            }
            for m in self.measures
        }
        for test in self.equal_rates:
            rows[f"equal_rates[{test.game}]"] = {
                "estimate": test.statistic,
                "std_error": np.nan,
                "pvalue": test.pvalue,
                "df": test.df,
                "at_random": np.nan,
            }
        return pd.DataFrame.from_dict(rows, orient="index")

    @property
    def summary(self) -> Table:
        """The measures, and why some are missing."""
        rows = [
            (LABELS[m.name], *map(number, (m.estimate, m.std_error, m.pvalue, m.at_random)))
            for m in self.measures
        ]
        rows += [
            (
                f"Equal rates, {t.game}: chi2({t.df})",
                number(t.statistic),
                "-",
                number(t.pvalue),
                "-",
            )
            for t in self.equal_rates
        ]
        columns = ("", "Estimate", "Std. Err.", "p", "At random")
        return Table("Incentive sensitivity", (), columns, tuple(rows), tuple(self._notes()))

    def _notes(self) -> Iterator[str]:
        if self.reason:
            yield f"Model-based measures: none, {self.reason}"
        yield (
            "Gap: expected own payoff of one action less the other's, in points. Regret: 0 best,"
            " 1 worst."
        )
        yield f"Model-free standard errors are clustered by {self.n_protocols} protocols."
        if self.equal_rates:
            yield "Chi-squares take every choice as independent evidence; repeated draws are not."
        sparse = [t.game for t in self.equal_rates if t.least_expected < LEAST_EXPECTED]
        if sparse:
            yield f"Few choices for a chi-square (fewer than 5 expected): {', '.join(sparse)}."


# ---- front doors --------------------------------------------------------------------------------


def incentive_sensitivity(fit: PreferenceResults) -> IncentiveSensitivity:
    """How choices react to incentives, by several measures that need not agree.

    Model-based, where the fit is identified: the scale lambda; lambda times the range of expected
    own payoff in a choice set (mean over choices), free of units; and the mean derivative of a
    binary choice probability in the own-payoff gap, which is lambda P (1 - P), so lambda / 4 at
    even odds. Their standard errors are those of the fit.

    Model-free: the slope of the share of an action on its own-payoff gap, weighted least squares
    over cells of protocol, belief and node, with an intercept for each node of each game, clustered
    by protocol with t(protocols - 1) p-values; Spearman's correlation of the same over protocols
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
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import PreferenceLogit, simulate_choices
    >>> data = simulate_choices(default_grid(), scale=0.1, draws=50)
    >>> found = incentive_sensitivity(PreferenceLogit(parameters=()).fit(data))
    >>> bool(0 < found["marginal_effect"].estimate < found["lambda"].estimate / 4)
    True
    """
    design = _condensed(fit.design)
    free = _model_free(design)
    if not fit.identification.identified:
        return replace(free, reason=fit.identification.reason)
    modelled = _model_based(fit, design)
    return replace(free, measures=modelled + free.measures[len(MODEL_BASED) :], reason="")


def incentive_sensitivity_of(
    data: ChoiceData | AllocationChoices, beliefs: Any = "elicited"
) -> IncentiveSensitivity:
    """The model-free measures of :func:`incentive_sensitivity`, straight from choices.

    Parameters
    ----------
    data : ChoiceData or AllocationChoices
    beliefs : str or mapping
        What choosers expect of the other, as in :class:`PreferenceLogit`.

    Examples
    --------
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import simulate_choices
    >>> found = incentive_sensitivity_of(simulate_choices(default_grid(), scale=0.5, draws=50))
    >>> bool(found["best_response_rate"].estimate > found["best_response_rate"].at_random)
    True
    """
    return _model_free(_condensed(data.design(beliefs=beliefs)))


def _model_free(design: Design) -> IncentiveSensitivity:
    protocol = row_protocols(design)
    pairs = binary_choices(design)
    cells = _cells(design, pairs, protocol)
    measures = (
        *(Measure(name, float("nan")) for name in MODEL_BASED),
        _slope(cells),
        _spearman(cells),
        *_replies(design, protocol),
    )
    reason = "no model was fitted."
    return IncentiveSensitivity(
        measures, _equal_rates(design, protocol), reason, len(np.unique(protocol))
    )


# ---- binary choices -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BinaryChoices:
    """Choices between two alternatives that differ at one node.

    Parameters
    ----------
    row : int array, shape (B,)
        Row of the design each comes from.
    difference : array, shape (B, m)
        Regressors of the action (a 1 at the node) less those of its alternative; the first is the
        own-payoff gap.
    taken : bool array, shape (B,)
        Whether the action was chosen.
    node : int array, shape (B,)
        Position of the node.
    """

    row: IntArray
    difference: FloatArray
    taken: BoolArray
    node: IntArray


def binary_choices(design: Design) -> BinaryChoices:
    """The binary choices of a design: all nodes of every strategy chosen.

    Returns
    -------
    BinaryChoices
    """
    C = len(design.z)
    twin = [_neighbours(names) for names in design.actions]
    most = max(len(found) for found in twin)
    table = np.full((C, most, 4), -1, dtype=np.int64)  # lower, upper, node, 1 where there is a pair
    for c, found in enumerate(twin):
        for slot, pair in enumerate(found):
            table[c, slot] = *pair, 1
    lower, upper, node, real = np.moveaxis(table[design.choice_set], -1, 0)
    action = design.action[:, None]
    row, k = np.nonzero((real > 0) & ((action == lower) | (action == upper)))
    sets, one = design.choice_set[row], upper[row, k]
    difference = design.z[sets, one] - design.z[sets, lower[row, k]]
    return BinaryChoices(row, difference, design.action[row] == one, node[row, k])


def _neighbours(names: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """Pairs (lower, upper, node) of alternatives whose names differ in one digit."""
    found = []
    for i, a in enumerate(names):
        for j in range(i + 1, len(names)):
            differing = [n for n, (p, q) in enumerate(zip(a, names[j], strict=True)) if p != q]
            if len(differing) == 1:
                found.append((i, j, differing[0]))
    return found


def row_protocols(design: Design) -> IntArray:
    """Protocol of every row, (N,); the choice set where the data have no protocols."""
    if "protocol_id" in design.labels:
        return design.cluster_codes(("protocol_id",))[0]
    return np.unique(design.choice_set, return_inverse=True)[1].astype(np.int64)


def _games(design: Design) -> AnyArray:
    if "game" in design.labels:
        return np.asarray(design.labels["game"])
    return np.full(len(design.count), "all")


def _condensed(design: Design) -> Design:
    """One row for each protocol, choice set and action chosen, so that long logs cost nothing."""
    C, A = design.available.shape
    protocol = row_protocols(design)
    code = (protocol * C + design.choice_set) * A + design.action
    _, first, cell = np.unique(code, return_index=True, return_inverse=True)
    count = np.bincount(cell, design.count).astype(np.float64)
    labels = {"protocol_id": protocol[first], "game": _games(design)[first]}
    kept = replace(
        design,
        choice_set=design.choice_set[first],
        action=design.action[first],
        count=count,
        labels=labels,
    )
    return kept.restricted(count > 0)


# ---- measures -----------------------------------------------------------------------------------


def _model_based(fit: PreferenceResults, design: Design) -> tuple[Measure, ...]:
    scale, error = float(fit.params["lambda"]), float(fit.std_errors["lambda"])
    pvalue = 2 * float(stats.norm.sf(scale / error))
    best, worst = _extremes(design)
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


def _cells(design: Design, pairs: BinaryChoices, protocol: IntArray) -> pd.DataFrame:
    """Share of the action and its gap by protocol, belief and node of a game."""
    weight = design.count[pairs.row]
    gap = pairs.difference[:, 0]
    table = pd.DataFrame(
        {
            "protocol": protocol[pairs.row],
            "game": _games(design)[pairs.row],
            "node": pairs.node,
            # Beliefs enter through the gap alone; rounded, so that sums in another order are alike.
            "cell": np.round(gap, 9),
            "weight": weight,
            "taken": weight * pairs.taken,
        }
    )
    keys = ["protocol", "game", "node", "cell"]
    cells = table.groupby(keys, as_index=False).sum()
    return cells.assign(share=cells["taken"] / cells["weight"]).rename(columns={"cell": "gap"})


def _slope(cells: pd.DataFrame) -> Measure:
    node = cells.groupby(["game", "node"]).ngroup().to_numpy()
    weight, gap = cells["weight"].to_numpy(), cells["gap"].to_numpy()
    share = cells["share"].to_numpy()
    gap = gap - _means(gap, weight, node)
    share = share - _means(share, weight, node)
    codes = np.unique(cells["protocol"], return_inverse=True)[1].astype(np.int64)
    n_clusters, n_coefficients = int(codes.max()) + 1, int(node.max()) + 2
    total = float(weight @ gap**2)
    if n_clusters < 2 or len(gap) <= n_coefficients or total <= TIE * weight.sum():
        return Measure("slope", float("nan"), at_random=0.0)
    slope = float(weight * gap @ share) / total
    scores = (weight * gap * (share - slope * gap))[:, None]
    spec = CovarianceSpec("clustered", debiased=True, clusters=(codes,))
    error = float(np.sqrt(meat(scores, spec, n_coefficients)[0, 0])) / total
    if error <= TIE * abs(slope):
        return Measure("slope", slope, error, at_random=0.0)
    pvalue = 2 * float(stats.t.sf(abs(slope) / error, n_clusters - 1)) if error > 0 else np.nan
    return Measure("slope", slope, error, pvalue, 0.0)


def _means(values: FloatArray, weight: FloatArray, group: IntArray) -> FloatArray:
    return np.asarray((np.bincount(group, weight * values) / np.bincount(group, weight))[group])


def _spearman(cells: pd.DataFrame) -> Measure:
    cells = cells.assign(total=cells["weight"] * cells["gap"])
    merged = cells.groupby(["protocol", "game", "node"])[["weight", "taken", "total"]].sum()
    share, gap = (merged[name] / merged["weight"] for name in ("taken", "total"))
    if len(merged) < 3 or np.ptp(share) == 0 or np.ptp(gap) == 0:
        return Measure("spearman", float("nan"), at_random=0.0)
    found = stats.spearmanr(share, gap)
    return Measure("spearman", float(found.statistic), np.nan, float(found.pvalue), 0.0)


def _extremes(design: Design) -> tuple[FloatArray, FloatArray]:
    """Largest and smallest expected own payoff of every choice set."""
    own = design.z[:, :, 0]
    best = np.where(design.available, own, -np.inf).max(axis=1)
    worst = np.where(design.available, own, np.inf).min(axis=1)
    return np.asarray(best), np.asarray(worst)


def _replies(design: Design, protocol: IntArray) -> tuple[Measure, Measure]:
    """Best-response rate and regret over its range, by set and alternative."""
    best, worst = _extremes(design)
    span = best - worst
    staked = span > 0
    regret = (best[:, None] - design.z[:, :, 0]) / np.where(staked, span, 1.0)[:, None]
    is_best = (regret <= TIE) & design.available
    regret = np.where(design.available, regret, 0.0)
    available = design.available.sum(axis=1)
    kept = staked[design.choice_set]
    sets, weight = design.choice_set[kept], design.count[kept]
    made = []
    for name, values in (("best_response_rate", is_best), ("regret", regret)):
        chance = values.sum(axis=1) / available
        if not kept.any():
            made.append(Measure(name, float("nan")))
            continue
        chosen = np.asarray(values[sets, design.action[kept]], dtype=float)
        mean, error = _clustered_mean(chosen, weight, protocol[kept])
        made.append(
            Measure(name, mean, error, at_random=float(np.average(chance[sets], weights=weight)))
        )
    return made[0], made[1]


def _clustered_mean(
    values: FloatArray, weight: FloatArray, protocol: IntArray
) -> tuple[float, float]:
    mean = float(np.average(values, weights=weight))
    codes = np.unique(protocol, return_inverse=True)[1].astype(np.int64)
    clusters = int(codes.max()) + 1
    if clusters < 2:
        return mean, float("nan")
    scores = (weight * (values - mean))[:, None]
    raw = meat(scores, CovarianceSpec("clustered", clusters=(codes,)), 1)[0, 0]
    return mean, float(np.sqrt(raw * clusters / (clusters - 1)) / weight.sum())


# ---- equal rates --------------------------------------------------------------------------------


def _equal_rates(design: Design, protocol: IntArray) -> tuple[EqualRates, ...]:
    if not np.allclose(design.count, np.round(design.count)):
        return ()  # choice probabilities are not counts of independent choices
    chosen = np.array(
        [design.actions[c][a] for c, a in zip(design.choice_set, design.action, strict=True)]
    )
    # Node designs list a strategy once a node; strategies of several digits in sets of two.
    times = [
        len(names[0]) if len(names) == 2 and len(names[0]) > 1 else 1 for names in design.actions
    ]
    weight = design.count / np.array(times)[design.choice_set]
    table = pd.DataFrame(
        {"game": _games(design), "protocol": protocol, "chosen": chosen, "weight": weight}
    )
    return tuple(_chi_square(str(game), part) for game, part in table.groupby("game", sort=False))


def _chi_square(game: str, part: pd.DataFrame) -> EqualRates:
    counts = part.pivot_table(
        index="protocol", columns="chosen", values="weight", aggfunc="sum", fill_value=0.0
    ).to_numpy()
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    df = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    if df == 0:
        return EqualRates(game, float("nan"), 0, float("nan"), float("inf"))
    found = stats.chi2_contingency(counts, correction=False)
    return EqualRates(
        game,
        float(found.statistic),
        df,
        float(found.pvalue),
        float(found.expected_freq.min()),
    )
