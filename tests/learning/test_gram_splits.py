"""All cells at once from Gram matrices of blocks, against one fit a cell from its rows."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments._core.parallel import spawn_seeds
from mlinstruments.learning import OLS, Kernel, Lasso, Ridge, Series
from mlinstruments.learning.base import FoldTask
from mlinstruments.learning.crossfit import cell_seeds_of, cross_fit
from mlinstruments.learning.features import Features
from mlinstruments.learning.folds import Split, block_splits, given_split, random_split
from mlinstruments.learning.gram import GramEngine
from mlinstruments.learning.ridge_path import FEW_COLUMNS, path, path_errors, solve
from tests.tolerances import GRAM_PATHS, SOLVE

N = 600
RNG = np.random.default_rng(11)
W = RNG.normal([0, 50, 0], [1, 20, 1e-3], (N, 3))
X = np.column_stack([np.ones(N), 1e3 + RNG.normal(size=N) + W[:, 0], RNG.normal(size=N)])
D = np.column_stack([np.sin(W[:, 0]) + W[:, 1] / 20 + X[:, 2], 7 + RNG.normal(size=N)])
D[:, 0] += RNG.normal(size=N)
WEIGHTS = RNG.uniform(0.3, 2, N)
FIRM, YEAR = RNG.integers(0, 60, N), RNG.integers(0, 30, N)
LEARNERS = {
    "ridge": Ridge(),
    "ridge(0.1)": Ridge(0.1),
    "ols": OLS(),
    "series": Series(knots=4, interactions=False),
    "series(0.01)": Series(penalty=0.01, knots=4),
    "kernel": Kernel(n_features=15),
    "lasso, nested": Lasso("cv"),
    "lasso, nested, refit": Lasso("cv", post=True),
    "lasso(0.1)": Lasso(0.1),
}


def splits_of(kind, seeds, halves=True):
    if kind == "blocks":
        return block_splits(N, 4, (), seeds, 24, halves)
    if kind == "clustered blocks":
        return block_splits(N, 4, (FIRM,), seeds, 20, halves)
    if kind == "given":
        return [given_split(np.arange(N) % 3, (), seed, halves) for seed in seeds]
    clusters = {"rows": (), "clusters": (FIRM,), "two ways": (FIRM, YEAR)}[kind]
    return [random_split(N, 4, clusters, seed, halves) for seed in seeds]


def cell_by_cell(engine, targets, splits, seeds, share_tuning=False):
    parts = len(splits[0].training(0))
    predictions = np.full((len(splits), targets.shape[1], parts, len(targets)), np.nan)
    tuning = []
    for r, split in enumerate(splits):
        for cell, seed in enumerate(cell_seeds_of(split, seeds[r])):
            task = FoldTask.of_cell(targets, split, cell, seed, share_tuning)
            fit = engine.fit(task)
            predictions[r][:, :, task.out] = fit.predictions
            tuning.append(fit.tuning)
    return predictions, np.array(tuning)


def assert_paths_agree(engine, splits, seeds, targets=D, share_tuning=False):
    """Predictions of both within 1e-10 of the spread of the target; returns them."""
    all_seeds = [cell_seeds_of(split, seed) for split, seed in zip(splits, seeds, strict=True)]
    found = engine.fit_splits(targets, splits, all_seeds, share_tuning)
    expected, tuning = cell_by_cell(engine, targets, splits, seeds, share_tuning)
    kept = found.tuning.reshape(-1, *found.tuning.shape[2:])
    np.testing.assert_allclose(kept[~np.isnan(kept[:, 0, 0])], tuning, rtol=GRAM_PATHS)
    for j, spread in enumerate(targets.std(axis=0)):
        np.testing.assert_allclose(
            found.predictions[:, j], expected[:, j], rtol=0, atol=GRAM_PATHS * spread
        )
    return found


KINDS = ["rows", "clusters", "two ways", "given", "blocks", "clustered blocks"]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LEARNERS)
def test_all_cells_at_once_are_the_cells_one_by_one(name, kind, weights, monkeypatch):
    engine = LEARNERS[name].prepare(Features.numeric(W), X, weights)
    together = "blocks" in kind
    seeds = spawn_seeds(1, 3 if together else 1)
    splits = splits_of(kind, seeds)
    found = assert_paths_agree(engine, splits, seeds)
    assert found.predictions.shape == (len(splits), 2, 1 if kind == "two ways" else 2, N)
    # Nor does it fall back on the rows of a cell.
    monkeypatch.setattr(type(engine), "fit", None)
    again = cross_fit(engine, D, splits, seeds)
    np.testing.assert_array_equal(again.predictions, found.predictions)
    np.testing.assert_array_equal(again.tuning, found.tuning)


@pytest.mark.parametrize("kind", ["rows", "blocks"])
@pytest.mark.parametrize("options", [{"halves": False}, {"share_tuning": True}], ids=str)
def test_whole_training_parts_and_shared_penalties(kind, options):
    engine = Ridge().prepare(Features.numeric(W), X, None)
    seeds = spawn_seeds(2, 2 if kind == "blocks" else 1)
    splits = splits_of(kind, seeds, options.pop("halves", True))
    found = assert_paths_agree(engine, splits, seeds, **options)
    if options:
        np.testing.assert_array_equal(found.tuning[:, :, 0], found.tuning[:, :, 1])


def test_many_columns_take_the_iterative_path():
    w = RNG.normal(size=(3000, FEW_COLUMNS + 10))
    x = np.column_stack([np.ones(3000), RNG.normal(size=3000)])
    d = w[:, :5] @ np.ones((5, 2)) + RNG.normal(size=(3000, 2)) * [5, 50]
    engine = Ridge().prepare(Features.numeric(w), x, None)
    seeds = spawn_seeds(3, 1)
    assert_paths_agree(engine, [random_split(3000, 3, (), seeds[0])], seeds, d)


@pytest.mark.parametrize(
    "controls", [np.ones((N, 1)), X[:, 1:] - [1e3, 0]], ids=["mean", "no mean"]
)
def test_controls_with_nothing_but_a_constant_or_without_one(controls):
    for learner in (Ridge(), Ridge(0.1), OLS()):
        engine = learner.prepare(Features.numeric(W), controls, None)
        seeds = spawn_seeds(4, 1)
        assert_paths_agree(engine, [random_split(N, 4, (), seeds[0])], seeds)


def test_without_splitting():
    everyone = Split((np.zeros(N, dtype=np.int64),), None)
    for learner in (Ridge(0.1), OLS()):
        engine = learner.prepare(Features.numeric(W), X, None)
        assert_paths_agree(engine, [everyone], spawn_seeds(0, 1))
    engine = Ridge().prepare(Features.numeric(W), X, None)
    assert engine.fit_splits(D, [everyone], [spawn_seeds(0, 1)], False) is None  # no sides to use
    split = random_split(N, 1, (), spawn_seeds(0, 1)[0])
    assert_paths_agree(engine, [split], spawn_seeds(0, 1))


# ---- where Gram matrices lose digits -------------------------------------------------------------


def near_collinear(gap):
    """Columns whose condition number is about 1 / gap."""
    base = RNG.normal(size=(N, 3))
    return np.hstack([base, base[:, :1] + gap * RNG.normal(size=(N, 1))])


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("penalty", [0.0, 1e-9, 0.1])
def test_ill_conditioned_dictionaries_change_no_result(gap, penalty):
    engine = Ridge(penalty).prepare(Features.numeric(near_collinear(gap)), X, None)
    seeds = spawn_seeds(5, 1)
    splits = [random_split(N, 4, (), seeds[0])]
    found = cross_fit(engine, D, splits, seeds).predictions
    expected, _ = cell_by_cell(engine, D, splits, seeds)
    np.testing.assert_allclose(found, expected, rtol=0, atol=GRAM_PATHS * D.std())


def test_the_guard_is_what_keeps_digits(monkeypatch):
    engine = OLS().prepare(Features.numeric(near_collinear(1e-6)), X, None)
    seeds = spawn_seeds(5, 1)
    splits = [random_split(N, 4, (), seeds[0])]
    expected, _ = cell_by_cell(engine, D, splits, seeds)
    monkeypatch.setattr("mlinstruments.learning.gram.CONDITION_LIMIT", np.inf)
    monkeypatch.setattr("mlinstruments.learning.ridge_path.CONDITION_LIMIT", 1e300)
    spoilt = cross_fit(engine, D, splits, seeds).predictions
    assert np.abs(spoilt - expected).max() > 1e3 * GRAM_PATHS * D.std()


def test_a_column_constant_in_one_training_part_goes_back_to_its_rows(monkeypatch):
    seeds = spawn_seeds(6, 1)
    split = random_split(N, 4, (), seeds[0])
    rare = np.zeros(N)
    rare[split.held_out(2)[:9]] = 1
    engine = OLS().prepare(Features.numeric(np.column_stack([W, rare])), X, None)
    visited = []
    fit = GramEngine.fit
    monkeypatch.setattr(
        GramEngine, "fit", lambda self, task: visited.append(task) or fit(self, task)
    )
    found = cross_fit(engine, D, [split], seeds).predictions
    assert len(visited) == 1
    np.testing.assert_array_equal(visited[0].out, split.held_out(2))
    monkeypatch.undo()
    expected, _ = cell_by_cell(engine, D, [split], seeds)
    np.testing.assert_allclose(found, expected, rtol=0, atol=GRAM_PATHS * D.std())


def test_controls_nearly_collinear_in_a_training_part_go_back_to_the_rows():
    seeds = spawn_seeds(7, 1)
    split = random_split(N, 4, (), seeds[0])
    inside = split.cell == 1
    twin = X[:, 2] + np.where(inside, RNG.normal(size=N), 1e-5 * RNG.normal(size=N))
    controls = np.column_stack([X, twin])
    engine = Ridge(0.1).prepare(Features.numeric(W), controls, None)
    found = cross_fit(engine, D, [split], seeds).predictions
    expected, _ = cell_by_cell(engine, D, [split], seeds)
    np.testing.assert_allclose(found, expected, rtol=0, atol=GRAM_PATHS * D.std())


def test_constant_columns_and_large_means():
    w = np.column_stack([W, np.full(N, 0.1), 1e5 + RNG.normal(size=N)])
    for learner in (Ridge(0.1), Ridge()):
        engine = learner.prepare(Features.numeric(w), X, None)
        seeds = spawn_seeds(8, 1)
        assert_paths_agree(engine, [random_split(N, 4, (), seeds[0])], seeds)


def test_few_rows_are_fitted_cell_by_cell():
    w = RNG.normal(size=(N, 400))
    engine = Ridge(0.1).prepare(Features.numeric(w), X, None)
    seeds = spawn_seeds(9, 1)
    splits = [random_split(N, 4, (), seeds[0])]
    assert engine.fit_splits(D, splits, [cell_seeds_of(splits[0], seeds[0])], False) is None
    expected, _ = cell_by_cell(engine, D, splits, seeds)
    np.testing.assert_array_equal(cross_fit(engine, D, splits, seeds).predictions, expected)


def test_too_much_memory_is_not_taken(monkeypatch):
    engine = Ridge(0.1).prepare(Features.numeric(W), X, None)
    seeds = spawn_seeds(9, 1)
    splits = [random_split(N, 4, (), seeds[0])]
    monkeypatch.setattr("mlinstruments.learning.gram_splits.MEMORY", 1000)
    assert engine.fit_splits(D, splits, [cell_seeds_of(splits[0], seeds[0])], False) is None


# ---- many penalties at once ----------------------------------------------------------------------


def systems(S=5, m=60, t=2, n=4000):
    dictionaries = RNG.normal(size=(S, n, m)) * np.linspace(0.5, 3, m)
    outcomes = dictionaries[:, :, :t] + RNG.normal(size=(S, n, t))
    gram = np.swapaxes(dictionaries, 1, 2) @ dictionaries
    return gram, np.swapaxes(dictionaries, 1, 2) @ outcomes, dictionaries, outcomes


@pytest.mark.parametrize("near", [True, False], ids=["nearly diagonal", "not"])
@pytest.mark.parametrize("m", [8, 60])
def test_paths_are_solutions(m, near, monkeypatch):
    gram, cross, *_ = systems(m=m)
    if not near:
        turn = np.linalg.qr(RNG.normal(size=(m, m)))[0] * np.logspace(0, 3, m)[:, None]
        gram, cross = turn.T @ gram @ turn, turn.T @ cross
    penalties = np.logspace(-4, 2, 7)
    rows = np.full(5, 4000)
    decomposed = []
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: decomposed.append(len(a)) or eigh(a))
    found = path(gram, cross, rows, penalties).reshape(5, m, 7, 2)
    assert bool(decomposed) == (m < FEW_COLUMNS or not near)
    for i, penalty in enumerate(penalties):
        expected = np.linalg.solve(gram + 4000 * penalty * np.eye(m), cross)
        np.testing.assert_allclose(found[:, :, i], expected, atol=SOLVE * np.abs(expected).max())


def test_path_errors_are_squared_errors_less_the_target():
    gram, cross, dictionaries, outcomes = systems(S=2, m=60)
    penalties = np.logspace(-2, 1, 3)
    rows = np.full(1, 4000)
    found = path_errors(gram[:1], cross[:1], rows, gram[1:], cross[1:], penalties)
    for i, penalty in enumerate(penalties):
        b = np.linalg.solve(gram[0] + 4000 * penalty * np.eye(60), cross[0])
        left = ((outcomes[1] - dictionaries[1] @ b) ** 2).sum(axis=0)
        squares = (outcomes[1] ** 2).sum(axis=0)
        np.testing.assert_allclose(found[0, i], left - squares, rtol=SOLVE)


def test_each_target_may_have_its_penalty():
    gram, cross, *_ = systems(S=1)
    found = solve(gram[0], cross[0], 4000, np.array([0.1, 2.0]))
    for j, penalty in enumerate((0.1, 2.0)):
        expected = np.linalg.solve(gram[0] + 4000 * penalty * np.eye(60), cross[0, :, j])
        np.testing.assert_allclose(found[:, j], expected, rtol=SOLVE)
    flat = np.ones((2, 2))
    assert solve(flat, np.ones((2, 1)), 10, np.zeros(1)) is None
    assert solve(flat, np.ones((2, 1)), 10, np.array([1e-9])) is None
    assert solve(flat, np.ones((2, 1)), 10, np.ones(1)) is not None
