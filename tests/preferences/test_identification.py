"""What a log can and cannot say: rank, condition, separation, sign of the scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlinstruments._core.exceptions import NotIdentifiedError
from mlinstruments.games import HomoMoralis, Protocol, best_replies, default_grid, sample_protocols
from mlinstruments.games.utility import utility_values
from mlinstruments.preferences import (
    ChoiceData,
    PreferenceLogit,
    identification,
    simulate_choices,
)
from mlinstruments.preferences.design import Design, centred
from mlinstruments.preferences.identification import identify
from mlinstruments.preferences.separation import is_separated, rationalising_intervals

from .people import printed

GRID = default_grid()
ALL = ("kappa", "alpha", "beta")


def every_strategy(protocols: tuple[Protocol, ...]) -> ChoiceData:
    """Each strategy chosen once against a belief of one half."""
    return ChoiceData.from_counts(
        [(p, (0.5,) * p.n_nodes, dict.fromkeys(p.strategies, 1)) for p in protocols]
    )


def best_player(
    protocols: tuple[Protocol, ...], parameters: tuple[float, float, float], sign: float = 1.0
) -> ChoiceData:
    """Always the strategy of greatest (or with sign -1 least) utility."""
    cells = []
    for p in protocols:
        u = sign * utility_values(p, np.full(p.n_nodes, 0.5), *parameters)
        cells.append((p, (0.5,) * p.n_nodes, {p.strategies[int(u.argmax())]: 5}))
    return ChoiceData.from_counts(cells)


# ---- rank ---------------------------------------------------------------------------------------


def test_the_whole_grid_identifies_everything() -> None:
    report = identify(every_strategy(GRID).design())
    assert (report.rank, report.needed) == (4, 4)
    assert report.identified
    assert report.reason == ""
    assert report.confounded == ""


def test_condition_of_the_grid_in_points_and_with_columns_of_unit_length() -> None:
    """7.8 in points; the report scales columns, so that it does not depend on units."""
    design = every_strategy(GRID).design()
    spread = centred(design).reshape(-1, 4)
    assert np.linalg.cond(spread) == pytest.approx(7.8, abs=0.05)
    unit = spread / np.linalg.norm(spread, axis=0)
    assert identify(design).condition == pytest.approx(np.linalg.cond(unit))
    assert identify(replace(design, z=design.z * [1, 1e6, 1, 1])).condition == pytest.approx(
        np.linalg.cond(unit)
    )


@pytest.mark.parametrize("protocol", GRID, ids=lambda p: p.id)
def test_one_protocol_alone_never_identifies_everything(protocol: Protocol) -> None:
    report = identify(every_strategy((protocol,)).design())
    assert report.rank <= 3
    assert not report.identified
    assert "cannot be told apart" in report.reason


def test_dictator_protocols_never_leave_the_dictator_behind() -> None:
    """T > R > S: alpha does not enter at all, and kappa is scale plus beta."""
    report = identify(every_strategy(sample_protocols("dictator", 12)).design())
    assert (report.rank, report.needed) == (2, 4)
    assert report.confounded == "lambda, kappa, alpha and beta"


def test_general_dictators_confound_kappa_alpha_and_beta() -> None:
    """Allocations on both sides of equality: other = own + behind - ahead, rank 3 of 4."""
    rng = np.random.default_rng(0)
    own, other = rng.uniform(0, 100, size=(2, 30, 2))
    z = np.stack(
        [own, other, -np.maximum(other - own, 0), -np.maximum(own - other, 0)], axis=-1
    )  # half of it all, which changes no rank
    names = (("0", "1"),) * 30
    sets = np.arange(30)
    design = Design(z, np.ones((30, 2), bool), ALL, sets, sets % 2, np.ones(30), {}, names)
    report = identify(design)
    assert (report.rank, report.needed) == (3, 4)
    assert "kappa, alpha and beta" in report.confounded
    assert report.condition == np.inf


def test_a_regressor_that_never_varies_is_named() -> None:
    ultimatum = Protocol("ug", 70, 50, 10, 30, id="a")
    design = every_strategy((ultimatum,)).design(HomoMoralis(()))
    design = replace(design, z=np.pad(design.z, ((0, 0), (0, 0), (0, 1))), parameters=("kappa",))
    assert identify(design).confounded == "kappa"


def test_without_identification_nothing_is_printed() -> None:
    fit = PreferenceLogit().fit(every_strategy(GRID[:1]))
    assert fit.params.isna().all()
    assert fit.std_errors.isna().all()
    assert "Not identified" in printed(fit)
    for method in ("delta", "fieller", "bootstrap"):
        with pytest.raises(NotIdentifiedError, match="cannot be told apart"):
            fit.conf_int(method=method)


# ---- separation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [0.0, 0.15, 0.3, 0.45, 0.7, 0.9])
def test_the_interval_of_a_deterministic_agent_contains_its_kappa(kappa: float) -> None:
    data = best_player(GRID, (kappa, 0.0, 0.0))
    fit = PreferenceLogit(parameters=("kappa",)).fit(data)
    report = fit.identification
    assert report.separated
    assert report.intervals is not None
    low, high = report.intervals["kappa"]
    assert low - 1e-9 <= kappa <= high + 1e-9
    assert fit.params.isna().all()
    assert "kappa in [" in printed(fit)


@pytest.mark.parametrize("kappa", [0.05, 0.25, 0.35, 0.6])
def test_values_inside_the_interval_rationalise_and_values_outside_do_not(kappa: float) -> None:
    data = best_player(GRID, (kappa, 0.0, 0.0))
    intervals = rationalising_intervals(data.design(HomoMoralis(("kappa",))))
    assert intervals is not None
    low, high = intervals["kappa"]
    chosen = {p.id: p.strategies[s] for p, s in zip(GRID, data.strategy, strict=True)}

    def rationalised(value: float) -> bool:
        return all(chosen[p.id] in best_replies(p, np.full(p.n_nodes, 0.5), value) for p in GRID)

    inside = np.linspace(max(low, -1), min(high, 2), 7)
    assert all(rationalised(v) for v in inside)
    assert not any(rationalised(v) for v in (low - 1e-3, high + 1e-3) if np.isfinite(v))


def test_intervals_with_three_parameters_contain_the_truth() -> None:
    truth = (0.25, 0.1, 0.2)
    report = identify(best_player(GRID, truth).design())
    assert report.separated
    assert report.intervals is not None
    for name, value in zip(ALL, truth, strict=True):
        low, high = report.intervals[name]
        assert low <= value <= high


def test_an_agent_who_errs_once_is_not_separated() -> None:
    cells = [
        (p, (0.5,) * p.n_nodes, {p.strategies[0]: 5, p.strategies[-1]: 1, p.strategies[1]: 2})
        for p in GRID
    ]
    design = ChoiceData.from_counts(cells).design()
    assert not is_separated(design)
    assert identify(design).identified


@pytest.mark.parametrize("names", [(), ("kappa",), ALL])
def test_an_agent_who_minimises_is_said_to_do_so(names: tuple[str, ...]) -> None:
    fit = PreferenceLogit(parameters=names).fit(best_player(GRID, (0.0, 0.0, 0.0), sign=-1.0))
    report = fit.identification
    assert report.separated
    assert report.intervals is None
    assert report.minimised
    assert fit.params.isna().all()
    assert "each is a worst one" in report.reason
    assert "only a negative scale" in printed(fit)
    assert "some preference explains every one of them" not in printed(fit)


@pytest.mark.parametrize("names", [(), ("kappa",), ALL])
def test_an_agent_who_maximises_is_not(names: tuple[str, ...]) -> None:
    report = identify(best_player(GRID, (0.0, 0.0, 0.0)).design(HomoMoralis(names)))
    assert report.separated
    assert not report.minimised
    assert list(report.intervals or {}) == list(names)
    assert "some preference explains every one of them" in report.reason
    assert ("Values that rationalise" in report.reason) == bool(names)


def test_choices_that_neither_maximise_nor_minimise_but_are_separated() -> None:
    """The second set is chosen from one way only; what the scale is the first set tells."""
    z = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])
    sets, action = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 0])
    names = (("a", "b"),) * 2
    design = Design(z, np.ones((2, 2), bool), ("w",), sets, action, np.ones(4), {}, names)
    report = identify(design)
    assert report.separated
    assert report.intervals is None
    assert not report.minimised
    assert "no finite estimate of w" in report.reason
    assert "deterministic" not in report.reason


def test_individual_minimisers_of_payoffs_are_not_rationalised() -> None:
    data = best_player(GRID, (0.0, 0.0, 0.0), sign=-1.0)
    fits = PreferenceLogit(parameters=()).individuals(data)
    assert fits["status"].tolist() == ["separated"]
    assert fits["rationalised"].tolist() == [False]


@pytest.mark.parametrize("seed", range(6))
def test_a_maximum_found_says_the_same_as_the_linear_program(seed: int) -> None:
    """Separation is ruled out by the maximum where it can be; the linear program always decides."""
    rng = np.random.default_rng(seed)
    verdicts = []
    for _ in range(40):
        chosen = rng.choice(18, rng.integers(2, 19), replace=False)
        names = [(), ("kappa",), ("kappa", "beta"), ALL][rng.integers(4)]
        data = simulate_choices(
            [GRID[i] for i in chosen], 10 ** rng.uniform(-2, 0.3), *rng.uniform(0, 0.5, 3),
            draws=int(rng.choice([1, 2, 5, 50])), random_state=rng,
        )  # fmt: skip
        design = data.design(HomoMoralis(names))
        report = identify(design)
        if report.rank == report.needed:
            verdicts.append((report.separated, is_separated(design)))
    assert len(set(verdicts)) == 2  # both kinds were drawn
    assert all(found == program for found, program in verdicts)


def test_separation_is_seen_whatever_the_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """One regressor alone, so that the information is as well conditioned as can be."""
    for unit in (1e-4, 1.0, 1e4):
        design = best_player(GRID, (0.0, 0.0, 0.0)).design(HomoMoralis(()))
        assert identify(replace(design, z=design.z * unit)).separated
    monkeypatch.setattr(identification, "is_separated", pytest.fail)  # not needed where all is well
    assert identify(simulate_choices(GRID, 0.1, draws=20).design()).identified


# ---- sign of the scale --------------------------------------------------------------------------


def test_a_scale_that_is_not_positive_prints_no_kappa() -> None:
    data = simulate_choices(GRID, scale=-0.1, draws=60, random_state=1)
    fit = PreferenceLogit(parameters=("kappa",)).fit(data)
    assert fit.identification.scale_positive is False
    assert fit.params.isna().all()
    assert "the scale is not positive" in printed(fit)
    with pytest.raises(NotIdentifiedError, match="scale is not positive"):
        fit.wald_test(kappa=0)


def test_report_in_words() -> None:
    assert str(identify(every_strategy(GRID).design())).startswith("rank 4 of 4, condition 5.3")
    alone = str(identify(every_strategy(GRID[:1]).design()))
    assert "not identified" in alone
