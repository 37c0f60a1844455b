"""Individual fits: the same numbers as one by one, and every reason for having none."""

from __future__ import annotations

import time
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.games import default_grid
from mlinstruments.games.utility import utility_values
from mlinstruments.preferences import AllocationChoices, ChoiceData, PreferenceLogit
from mlinstruments.preferences.batched import solve
from mlinstruments.preferences.design import Design
from mlinstruments.preferences.individuals import individual_fits
from mlinstruments.preferences.inference import (
    coefficient_covariance,
    delta_covariance,
    reported,
)
from mlinstruments.preferences.likelihood import likelihood
from tests.tolerances import POLISHED

from .people import bruhin_fehr_schunk, grid_sets, scaled, simulate, with_rows

NAMES = ["lambda", "kappa", "alpha", "beta"]
# About 0.1 s on a quiet core; the bound allows for one shared with others.
SECONDS_FOR_10_000 = 0.5


def _one_by_one(design: Design, subject: str = "subject") -> pd.DataFrame:
    """PreferenceLogit on each subject's rows, its last Newton step taken."""
    rows = {}
    for label in pd.unique(design.labels[subject]):
        own = design.restricted(design.labels[subject] == label)
        fit = PreferenceLogit().fit(AllocationChoices(own))
        m = len(fit.names)
        rows[label] = np.full(2 * m + 1, np.nan)
        if fit.identification.identified:
            at = likelihood(own.z, own.available, own.counts(), fit.theta)
            theta = fit.theta + np.linalg.solve(-at.hessian, at.gradient)
            at = likelihood(own.z, own.available, own.counts(), theta)
            covariance = delta_covariance(theta, coefficient_covariance(own, theta, at, ()))
            rows[label] = np.r_[reported(theta), np.sqrt(np.diag(covariance)), at.value]
    return pd.DataFrame(rows).T


def _assert_equal(fits: pd.DataFrame, expected: pd.DataFrame) -> None:
    numeric = fits.columns[: expected.shape[1]]
    np.testing.assert_allclose(fits[numeric], expected, rtol=POLISHED, atol=1e-12)


def _with_own_sets(design: Design, n: int) -> Design:
    """Every subject's sets a little different, as with elicited beliefs."""
    rng = np.random.default_rng(0)
    C = len(design.z)
    z = np.tile(design.z, (n, 1, 1)) * rng.uniform(0.9, 1.1, (n * C, 1, design.z.shape[2]))
    return replace(
        design,
        z=z,
        available=np.tile(design.available, (n, 1)),
        actions=design.actions * n,
        choice_set=design.choice_set + C * design.labels["subject"],
    )


@pytest.fixture(scope="module")
def people() -> Design:
    return simulate(grid_sets(), [scaled(0.1, 0.3, 0.1, 0.2)] * 40, seed=2)


def test_equal_to_one_by_one(people):
    fits = individual_fits(people)
    assert (fits["status"] == "estimated").sum() > 20
    assert fits["status"].isin(["estimated", "scale not positive"]).all()
    _assert_equal(fits, _one_by_one(people))


def test_equal_where_everybody_has_own_sets(people):
    own = _with_own_sets(people, 40)
    fits = individual_fits(own)
    assert (fits["status"] == "estimated").sum() > 20
    _assert_equal(fits, _one_by_one(own))


def test_equal_with_unequal_numbers_of_choices(people):
    rng = np.random.default_rng(4)
    kept = rng.random(len(people.count)) < np.linspace(0.6, 1.0, 40)[people.labels["subject"]]
    some = people.restricted(kept)
    count = rng.integers(1, 4, kept.sum()).astype(float)
    some = replace(some, count=count)
    _assert_equal(individual_fits(some), _one_by_one(some))
    own = replace(_with_own_sets(people, 40).restricted(kept), count=count)
    _assert_equal(individual_fits(own), _one_by_one(own))


def test_real_people_equal_one_by_one():
    design = bruhin_fehr_schunk().design()
    fits = individual_fits(design, "sid")
    assert len(fits) == 160
    _assert_equal(fits, _one_by_one(design, "sid"))
    counts = fits["status"].value_counts()
    assert counts.to_dict() == {"estimated": 121, "separated": 39}
    assert fits["rationalised"].notna().sum() == 39


def test_blocks_change_nothing(people, monkeypatch):
    whole = individual_fits(people)
    monkeypatch.setattr("mlinstruments.preferences.subjects.BLOCK_CELLS", 7 * 18 * 8)
    split = individual_fits(people)
    np.testing.assert_allclose(split[NAMES], whole[NAMES], rtol=POLISHED)
    assert split["status"].tolist() == whole["status"].tolist()


# ---- reasons for having no estimate -------------------------------------------------------------


def _utility_maximiser(sets: Design, *parameters: float) -> np.ndarray:
    u = np.where(sets.available, sets.z @ scaled(1.0, *parameters), -np.inf)
    return u.argmax(axis=1)


def _strange_people() -> Design:
    """Subjects: a usual one, too few choices, one game only, rational, perverse, contrary, torn."""
    sets = grid_sets()
    usual = simulate(sets, [scaled(0.05, 0.3, 0.1, 0.2)], draws=5, seed=3)
    C = len(sets.z)
    everything = np.arange(C)
    best = _utility_maximiser(sets, 0.31, 0.13, 0.22)
    worst = np.where(sets.available, sets.z @ scaled(1.0, 0.31, 0.13, 0.22), np.inf).argmin(axis=1)
    contrary = simulate(sets, [-scaled(0.05, 0.3, 0.1, 0.2)], draws=5, seed=3)
    torn_set = int(np.flatnonzero(np.sort(sets.z[..., 0], axis=1)[:, -1] > 0)[0])
    parts = [
        ("usual", usual.choice_set, usual.action, usual.count),
        ("few", everything[:4], best[:4], np.ones(4)),
        ("one game", np.zeros(8, int), np.arange(8), np.ones(8)),
        ("rational", everything, best, np.ones(C)),
        ("perverse", everything, worst, np.ones(C)),
        ("contrary", contrary.choice_set, contrary.action, contrary.count),
        # Rational but for one choice, made both ways.
        (
            "nearly",
            np.r_[everything, torn_set],
            np.r_[best, (best[torn_set] + 1) % 2],
            np.ones(C + 1),
        ),
    ]
    names = np.concatenate([np.repeat(name, len(c)) for name, c, _, _ in parts])
    columns = [np.concatenate([part[k] for part in parts]) for k in (1, 2, 3)]
    return with_rows(sets, names, *columns)


def test_every_reason_is_given():
    design = _strange_people()
    fits = individual_fits(design)
    status = fits["status"]
    assert status["usual"] == "estimated"
    assert status["few"] == "too few choices: 4 for 4 coefficients"
    assert status["one game"].startswith("rank 3 of 4: ")
    assert status["one game"].endswith("cannot be told apart")
    assert status["rational"] == "separated"
    assert status["perverse"] == "separated"
    assert status["contrary"] == "scale not positive"
    assert fits.loc["rational", "rationalised"]
    assert not fits.loc["perverse", "rationalised"]
    assert fits["rationalised"].notna().tolist() == (status == "separated").tolist()
    gone = fits.drop(index=[s for s in fits.index if status[s] == "estimated"])
    assert gone[[*NAMES, *(f"{n}_se" for n in NAMES), "loglik"]].isna().all().all()
    assert fits["choices"].tolist() == [90, 4, 8, 18, 18, 90, 19]


def test_reasons_agree_with_the_identification_report():
    design = _strange_people()
    fits = individual_fits(design)
    for name in ("one game", "rational", "perverse", "contrary", "nearly"):
        own = design.restricted(design.labels["subject"] == name)
        report = PreferenceLogit().fit(AllocationChoices(own)).identification
        assert (fits.loc[name, "status"] == "separated") == report.separated
        assert (fits.loc[name, "status"] == "estimated") == report.identified
        if report.separated:
            assert fits.loc[name, "rationalised"] == (report.intervals is not None)


def test_quasi_separation_needs_linear_programming():
    # The second parameter is told by one set only, where it was chosen: infinite, though the
    # scale is not.
    z = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])
    sets = Design(
        z,
        np.ones((2, 2), bool),
        ("kappa",),
        np.zeros(0, int),
        np.zeros(0, int),
        np.zeros(0),
        {},
        (("a", "b"),) * 2,
    )
    subject = np.repeat(["quasi", "plain"], 4)
    chosen_from = np.array([0, 0, 0, 1] * 2)
    action = np.array([0, 0, 1, 0, 0, 0, 1, 0])
    design = with_rows(sets, np.append(subject, "plain"), np.r_[chosen_from, 1], np.r_[action, 1])
    fits = individual_fits(design)
    assert fits.loc["quasi", "status"] == "separated"
    assert fits.loc["quasi", "rationalised"] is pd.NA or not fits.loc["quasi", "rationalised"]
    assert fits.loc["plain", "status"] == "estimated"
    assert fits.loc["plain", "lambda"] == pytest.approx(np.log(2))


@pytest.mark.parametrize(("slip", "estimated"), [(0, 0), (2, 1)])
def test_steep_company_makes_no_maximum(slip: int, estimated: int) -> None:
    """Newton starts where all together are best described: there rounding ends every slope.

    All maximise one utility; the first subject slips once, where its loss is least, or where no
    other preference explains it.
    """
    utilities = [utility_values(p, np.full(p.n_nodes, 0.5), kappa=0.3) for p in default_grid()]
    order = np.argsort([np.sort(u)[-1] - np.sort(u)[-2] for u in utilities])
    rows = []
    for subject in range(5):
        for k, (protocol, u) in enumerate(zip(default_grid(), utilities, strict=True)):
            slips = subject == 0 and k == order[slip]
            chosen = protocol.strategies[np.argsort(u)[-2 if slips else -1]]
            named = {**asdict(protocol), "protocol_id": protocol.id}
            rows.append({**named, "subject": subject, "strategy": chosen})
    choices = ChoiceData.from_frame(rows)
    fits = PreferenceLogit(("kappa",), beliefs="uniform").individuals(choices)
    separated = ["separated"] * (5 - estimated)
    assert fits["status"].tolist() == ["estimated"] * estimated + separated


def test_missing_subjects_are_named(people):
    with pytest.raises(InputError, match="no column 'person' that tells subjects apart"):
        individual_fits(people, "person")


def test_front_door(people):
    fits = PreferenceLogit().individuals(AllocationChoices(people))
    assert fits.index.name == "subject"
    assert list(fits.columns) == [
        *NAMES,
        *(f"{n}_se" for n in NAMES),
        "loglik",
        "choices",
        "rationalised",
        "status",
    ]


def test_solve_equals_numpy():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((50, 5, 5))
    matrix, right = root @ root.transpose(0, 2, 1), rng.standard_normal((50, 5, 3))
    found = solve(matrix.transpose(1, 2, 0), right.transpose(1, 2, 0)).transpose(2, 0, 1)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-6, atol=1e-8)


def test_ten_thousand_subjects_in_no_time():
    sets = grid_sets()
    rng = np.random.default_rng(0)
    u = sets.z @ scaled(0.1, 0.3, 0.1, 0.2)
    noise = rng.gumbel(size=(10_000, *u.shape))
    action = np.where(sets.available, u + noise, -np.inf).argmax(axis=2)
    subject, choice_set = np.divmod(np.arange(action.size), action.shape[1])
    design = with_rows(sets, subject, choice_set, action.ravel())
    began = time.process_time()
    fits = individual_fits(design)
    assert time.process_time() - began < SECONDS_FOR_10_000
    assert len(fits) == 10_000
    estimated = fits[fits["status"] == "estimated"]
    assert len(estimated) > 8_000
    assert estimated["kappa"].median() == pytest.approx(0.3, abs=0.05)
