"""What a fit prints: every case says plainly what can be read off it and what cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlinstruments.games import HomoMoralis, default_grid
from mlinstruments.preferences import (
    AllocationChoices,
    ChoiceData,
    PreferenceLogit,
    PreferenceResults,
    simulate_choices,
)
from tests.tolerances import PRINTED

from .people import grid_sets, printed, scaled, simulate

GRID = default_grid()


def fit_kappa(data: ChoiceData, **options: Any) -> PreferenceResults:
    found: PreferenceResults = PreferenceLogit(("kappa",)).fit(data, **options)
    return found


@pytest.fixture(scope="module")
def identified() -> PreferenceResults:
    return PreferenceLogit().fit(
        simulate_choices(GRID, scale=0.1, kappa=0.3, draws=4, subjects=12), clusters="subject"
    )


@pytest.fixture(scope="module")
def weak() -> PreferenceResults:
    """Eight protocols, eight choices each, hardly any reaction: the scale may be zero."""
    found = fit_kappa(simulate_choices(GRID[:8], scale=0.01, draws=8, random_state=11))
    assert found.identification.identified
    assert found.conf_int().loc["lambda", "lower"] < 0
    return found


# ---- identified ---------------------------------------------------------------------------------


def test_estimates_with_t_and_p(identified: PreferenceResults) -> None:
    lines = str(identified).splitlines()
    head = next(line for line in lines if "Estimate" in line)
    assert head.split() == ["Estimate", "Std.", "Err.", "t", "P>|t|", "[0.025", "0.975]"]
    row = next(line for line in lines if line.startswith("kappa")).split()
    t = identified.params["kappa"] / identified.std_errors["kappa"]
    assert float(row[3]) == pytest.approx(t, abs=PRINTED[2])
    pvalue = 2 * stats.t.sf(abs(t), len(np.unique(identified.clusters[0])) - 1)
    assert float(row[4]) == pytest.approx(pvalue, abs=PRINTED[4])
    assert "Identification: yes: rank 4 of 4, condition 5.3" in printed(identified)
    assert "Not identified" not in printed(identified)
    assert "covers 0" not in printed(identified)


def test_the_utility_that_was_fitted_is_printed(identified: PreferenceResults) -> None:
    assert "Utility: (1 - kappa) own + kappa universalised - alpha behind - beta ahead" in printed(
        identified
    )
    data = simulate_choices(GRID, scale=0.1, draws=9)
    assert "Utility: own - beta ahead" in printed(PreferenceLogit(("beta",)).fit(data))
    assert "Utility: own Unit" in printed(PreferenceLogit(()).fit(data))


def test_utility_of_allocations_and_of_ones_own() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(0, 100, (300, 4)), columns=["a", "b", "oa", "ob"])
    table = table.assign(chosen=rng.integers(0, 2, 300), s=1.0)
    choices = AllocationChoices.from_frame(
        table, own=("a", "b"), other=("oa", "ob"), chosen="chosen", characteristics={"w": "s"}
    )
    allocations = printed(PreferenceLogit(()).fit(choices))
    assert "Utility: (1 - x) own + x other, x linear in w" in allocations
    assert "Unit: allocation" in allocations
    assert "beliefs" not in allocations

    class Plain:
        parameters = ("kappa",)

        def regressors(self, protocol: Any, y: Any) -> Any:
            return HomoMoralis(("kappa",)).regressors(protocol, y)

    fit = PreferenceLogit(utility=Plain()).fit(simulate_choices(GRID, scale=0.1, draws=9))
    assert "Utility" not in printed(fit)


def test_without_clusters_choices_are_said_to_be_independent(weak: PreferenceResults) -> None:
    assert "Covariance: robust, choices independent" in printed(weak)


def test_large_counts_are_printed_in_full(identified: PreferenceResults) -> None:
    many = simulate_choices(GRID, scale=0.1, kappa=0.3, draws=20_000)
    assert "Choices: 360000 " in printed(fit_kappa(many))


# ---- a weak scale -------------------------------------------------------------------------------


def test_a_scale_that_may_be_zero_is_pointed_out(weak: PreferenceResults) -> None:
    assert "the 95% interval of lambda covers 0" in printed(weak)
    assert "method='fieller'" in printed(weak)
    # What the note says of Fieller's interval is true.
    assert np.isinf(weak.conf_int(method="fieller").loc["kappa"]).any()


def test_a_scale_alone_has_no_ratios_to_warn_of() -> None:
    fit = PreferenceLogit(()).fit(simulate_choices(GRID[:8], scale=0.01, draws=8, random_state=1))
    assert fit.conf_int().loc["lambda", "lower"] < 0
    assert "covers 0" not in printed(fit)


def test_a_type_of_weak_scale_is_pointed_out() -> None:
    thetas = [scaled(0.15, 0.0)] * 30 + [scaled(0.01, 0.0)] * 10
    mixture = PreferenceLogit(n_types=2, n_starts=6).fit(
        AllocationChoices(simulate(grid_sets(("kappa",)), thetas, seed=1))
    )
    z = mixture.params["lambda"] / mixture.std_errors["lambda"]
    assert z[1] > 1.96 > z[2]
    assert "Type 2: the 95% interval of lambda covers 0" in printed(mixture)
    assert "Type 1: the" not in printed(mixture)


# ---- not identified -----------------------------------------------------------------------------


def unidentified() -> dict[str, PreferenceResults]:
    best = [(p, (0.5,) * p.n_nodes, {p.strategies[0]: 4}) for p in GRID]
    return {
        "rank": PreferenceLogit().fit(simulate_choices(GRID[:1], scale=0.1, draws=30)),
        "separated": PreferenceLogit().fit(ChoiceData.from_counts(best)),
        "negative": fit_kappa(simulate_choices(GRID, scale=-0.1, draws=30)),
        "few": PreferenceLogit().fit(simulate_choices(GRID[:3], scale=0.1)),
    }


def test_what_is_not_identified_prints_a_reason_and_no_table() -> None:
    for name, fit in unidentified().items():
        text = printed(fit)
        assert "Identification: no: " in text, name
        assert f"Not identified: {' '.join(fit.identification.reason.split())}" in text, name
        assert "Estimate" not in text, name
        assert "Covariance" not in text, name
        assert "condition inf" not in text, name


def test_long_sentences_are_wrapped() -> None:
    for name, fit in unidentified().items():
        assert max(map(len, str(fit).splitlines())) <= 88, name
        assert fit._repr_html_().count("<p>") == 1


def test_choices_print_what_there_is() -> None:
    data = simulate_choices(GRID, scale=0.1, kappa=0.3, subjects=12, draws=3)
    text = str(data)
    assert repr(data) == text
    assert len(text.splitlines()) < 20
    assert f"Choices: {data.n_choices:g} Not choices: none" in printed(data)
    per_game = data.n_choices / len({p.game for p in GRID})
    for game in {p.game for p in GRID}:
        n = sum(p.game == game for p in GRID)
        rows = sum(data.protocols[k].game == game for k in data.protocol)
        assert f"{game} {n} {per_game:g} {rows} of {rows}" in printed(data)
    assert "subject 12" in text
    lost = replace(data, excluded={"refusal": 3, "parse_error": 0})
    assert "Not choices: refusal 3" in printed(lost)
    sets = AllocationChoices(data.design())
    assert f"Choices: {data.n_choices:g} Choice sets: {len(sets.sets.z)}" in printed(sets)


# ---- mixtures -----------------------------------------------------------------------------------


def test_a_mixture_explains_its_numbers() -> None:
    data = simulate_choices(GRID, scale=0.1, kappa=0.3, subjects=12, draws=3)
    fit = PreferenceLogit(("kappa",), n_types=2, n_starts=6).fit(data)
    assert "Utility: (1 - kappa) own + kappa universalised Covariance" in printed(fit)
    assert "Standard errors in parentheses." in printed(fit)
    assert "Smaller criteria are better" in printed(fit)
