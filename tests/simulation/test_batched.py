"""Many replications at once give the numbers of a loop, and the runner may choose either."""

from __future__ import annotations

import importlib

import numpy as np
import pandas as pd
import pytest

from mlinstruments import MLIV, TSLS
from mlinstruments.learning import Boosting, Ridge, Series
from mlinstruments.simulation import Design, Sample, batched, designs, monte_carlo
from mlinstruments.simulation.rows import NUMBERS
from tests.tolerances import BATCHED

LINEAR = designs.many_weak(n=160, concentration=60, linear=True)
DESIGNS = {
    "strong": LINEAR,
    "irrelevant": designs.many_normal(n=160, concentration=0, q=4),
    "curved": designs.nonlinear(n=203),
    "covariate": designs.heteroskedastic(n=160),
    "held": LINEAR.hold(4),
    "held covariate": designs.spurious(n=160, strength=1.0).hold(),
}
LEARNERS = {
    "ridge": Ridge(0.1), "tuned ridge": "ridge", "ols": "ols",
    "series": Series(penalty=0.01, knots=4, interactions=False),
    "tuned series": Series(knots=4, interactions=False),
}  # fmt: skip


@pytest.fixture
def one_by_one(monkeypatch):
    """Runs with no estimator taken at once."""

    def run(*args, **settings):
        with monkeypatch.context() as patch:
            patch.setattr(batched, "takes", lambda estimator: False)
            return monte_carlo(*args, **settings)

    return run


def counted(monkeypatch):
    """How many samples were done at once, and how many were handed back."""
    counts = {"at once": 0, "alone": 0}
    original = batched.fit_batch

    def fit_batch(*args):
        found = original(*args)
        counts["alone"] += sum(row is None for row in found)
        counts["at once"] += sum(row is not None for row in found)
        return found

    monkeypatch.setattr(batched, "fit_batch", fit_batch)
    return counts


def agree(fast, slow):
    for name in NUMBERS:
        one, two = fast.draws[name].to_numpy(), slow.draws[name].to_numpy()
        finite = np.isfinite(two)
        np.testing.assert_array_equal(one[~finite], two[~finite], err_msg=name)
        np.testing.assert_allclose(
            one[finite], two[finite], rtol=BATCHED, atol=BATCHED, err_msg=name
        )
    assert (fast.draws["failure"] == slow.draws["failure"]).all()
    assert (fast.draws["ar_set"].str.count(";") == slow.draws["ar_set"].str.count(";")).all()


@pytest.mark.parametrize(
    ("split_half", "random_state"), [(True, 3), (False, None)], ids=["halves", "whole"]
)
@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("name", DESIGNS)
def test_every_number_is_the_loops(
    name, learner, split_half, random_state, one_by_one, monkeypatch
):
    model = MLIV(LEARNERS[learner], split_half=split_half, random_state=random_state, n_folds=4)
    estimators = {"at once": model, "2SLS": TSLS()}
    counts = counted(monkeypatch)
    fast = monte_carlo(DESIGNS[name], estimators, 7, random_state=1, level=0.9)
    assert counts["alone"] == 0
    assert counts["at once"] >= 7
    agree(fast, one_by_one(DESIGNS[name], estimators, 7, random_state=1, level=0.9))


def test_shapes_of_sets_and_refusals_are_the_loops(one_by_one):
    design = designs.many_weak(n=120, concentration=8, linear=True, q=3)
    estimators = {"ridge": MLIV(Ridge(0.1), n_folds=2)}
    fast, slow = (run(design, estimators, 150) for run in (monte_carlo, one_by_one))
    agree(fast, slow)
    draws = fast.draws
    assert draws["estimate"].isna().any()
    assert (draws["ar_set"] == "-inf,inf").any()
    assert (draws["ar_set"].str.count(";") == 1).any()
    assert np.isfinite(draws["ar_length"]).any()


@pytest.mark.parametrize("design", [LINEAR, LINEAR.hold()], ids=["redrawn", "held"])
def test_a_replication_does_not_depend_on_its_company(design):
    estimators = {"ridge": MLIV(Ridge(0.1)), "2SLS": TSLS()}
    whole = monte_carlo(design, estimators, 45)
    for replications in (1, 2, 33):
        part = monte_carlo(design, estimators, replications)
        expected = whole.draws.iloc[: 2 * replications]
        pd.testing.assert_frame_equal(part.draws, expected, check_exact=True)
    twice = monte_carlo(design, estimators, 45, n_jobs=2)
    pd.testing.assert_frame_equal(twice.draws, whole.draws, check_exact=True)


def test_chunks_are_cut_where_other_estimators_are_slow(monkeypatch):
    runner = importlib.import_module("mlinstruments.simulation.monte_carlo")
    estimators = {"ridge": MLIV(Ridge(0.1)), "2SLS": TSLS()}
    whole = monte_carlo(LINEAR, estimators, 20)
    batches = []
    original = runner.run_batch

    def run_batch(plan, pieces):
        batches.extend(pieces)
        return original(plan, pieces)

    monkeypatch.setattr(runner, "run_batch", run_batch)
    monkeypatch.setattr(runner, "PIECE_SECONDS", 0.0)
    cut = monte_carlo(LINEAR, estimators, 20)
    assert batches == [[i] for i in range(20)]
    pd.testing.assert_frame_equal(cut.draws, whole.draws, check_exact=True)


def test_a_checkpoint_in_the_middle_of_a_chunk_goes_on_to_the_bit(tmp_path):
    estimators = {"ridge": MLIV(Ridge(0.1))}
    for replications in (5, 50):
        found = monte_carlo(LINEAR, estimators, replications, checkpoint=tmp_path / "mc")
    pd.testing.assert_frame_equal(
        found.draws, monte_carlo(LINEAR, estimators, 50).draws, check_exact=True
    )


def sometimes(change):
    """A design one draw in three of which is changed."""

    def sampler(rng):
        sample = LINEAR.draw(rng)
        if rng.random() > 1 / 3:
            return sample
        parts = {name: getattr(sample, name) for name in ("y", "X", "D", "W")}
        parts = {**parts, **change(sample)}
        return Sample(**parts, oracle=sample.oracle, truth=1.0)

    return Design("sometimes odd", "", 160, 1.0, sampler)


ODD = {
    "constant instrument": lambda s: {"W": np.column_stack([s.W[:, 1:], np.ones(160)])},
    "treatment among instruments": lambda s: {"W": np.column_stack([s.W[:, 1:], 2 * s.D + 1])},
    "constant treatment": lambda s: {"D": np.ones(160)},
    "constant outcome": lambda s: {"y": np.full(160, 2.0)},
    "infinite outcome": lambda s: {"y": np.where(np.arange(160) == 3, np.inf, s.y)},
    "missing treatment": lambda s: {"D": np.where(np.arange(160) == 3, np.nan, s.D)},
    "integers": lambda s: {"W": (10 * s.W).astype(int)},
    "fewer rows": lambda s: {name: getattr(s, name)[:120] for name in ("y", "X", "D", "W")},
    "no constant": lambda s: {"X": s.W[:, :1] ** 3},
    "an exact fit": lambda s: {"y": 3 * s.D + 1},
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ODD)
def test_odd_samples_end_as_in_a_loop(name, one_by_one):
    estimators = {
        "ridge": MLIV(Ridge(0.1), n_folds=2),
        "series": MLIV(LEARNERS["series"], n_folds=2),
    }
    fast, slow = (run(sometimes(ODD[name]), estimators, 12) for run in (monte_carlo, one_by_one))
    agree(fast, slow)


@pytest.mark.parametrize(
    "estimator",
    [
        TSLS(),
        MLIV(),
        MLIV(Boosting(rounds=3)),
        MLIV("ridge", covariates="recentred"),
        MLIV("ridge", control_variate=True),
        MLIV("ridge", n_repeats=2),
        MLIV("ridge", orthogonal=True),
        MLIV("ridge", interact_controls=True),
        MLIV("nothing"),
        MLIV("kernel"),
        MLIV("lasso"),
        MLIV("ols", n_folds="loo"),
        type("Mine", (MLIV,), {})("ridge"),
        len,
    ],
    ids=range(14),
)
def test_other_estimators_are_fitted_one_by_one(estimator):
    assert not batched.takes(estimator)


def test_more_columns_than_rows_are_fitted_one_by_one(one_by_one, monkeypatch):
    design = designs.many_normal(n=60, concentration=20, q=40)
    estimators = {"ridge": MLIV(Ridge(0.1), n_folds=2)}
    counts = counted(monkeypatch)
    fast = monte_carlo(design, estimators, 4)
    assert counts["at once"] == 0
    agree(fast, one_by_one(design, estimators, 4))


def test_held_inputs_are_the_same_in_every_sample():
    design = designs.appellate(circuits=3, years=2, panels=10).hold(5)
    one, two = (design.draw(np.random.default_rng(seed)) for seed in (0, 1))
    assert one.W is two.W
    assert one.X is two.X
    assert (one.y != two.y).any()
    assert design.name.endswith("inputs held(5)")
    other = designs.appellate(circuits=3, years=2, panels=10).hold(6)
    assert (other.draw(np.random.default_rng(0)).W != one.W).any()
