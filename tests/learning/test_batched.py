"""Cross-fitted ridge on stacks of samples gives what an engine gives on each of them."""

from __future__ import annotations

import numpy as np
import pytest

from mlinstruments.learning import OLS, Boosting, Ridge, Series
from mlinstruments.learning.batched import dictionary_of, layout_of, predict_stack, stack
from mlinstruments.learning.crossfit import cross_fit
from mlinstruments.learning.features import Features
from mlinstruments.learning.folds import random_split
from tests.tolerances import BATCHED

N, SAMPLES = 330, 4
LEARNERS = {
    "ridge": Ridge(0.3),
    "tuned ridge": Ridge(),
    "ols": OLS(),
    "series": Series(penalty=0.01, knots=4),
    "tuned series": Series(knots=8),  # 60 columns: penalties by conjugate gradients
}


def data(seed, shift=0.0):
    rng = np.random.default_rng(seed)
    W = rng.uniform(-1, 1, (N, 3)) * [1.0, 30.0, 1e-3] + shift
    x = 0.5 * (W[:, 0] - shift) + rng.normal(size=N)
    X = np.column_stack([np.ones(N), x, x**2])
    return W, X, np.cos(3 * W[:, 0]) + 0.02 * W[:, 1] + x + rng.normal(size=N)


def by_engine(learner, W, X, targets, split, seed):
    engine = learner.prepare(Features.numeric(W), X, None)
    found = cross_fit(engine, targets, [split], [seed]).predictions[0]  # (T, parts, n)
    halves = [found.mean(axis=1)]
    if found.shape[1] == 2:
        halves.append((found[:, 0] - found[:, 1]) / 2)
    for values in halves:
        for cell in range(split.n_cells):
            rows = split.held_out(cell)
            values[:, rows] -= values[:, rows].mean(axis=1, keepdims=True)
    return halves


def back(values, order):
    found = np.empty_like(values)
    found[..., order] = values
    return found


@pytest.mark.parametrize("halves", [True, False], ids=["halves", "whole"])
@pytest.mark.parametrize("controls", [1, 3])
@pytest.mark.parametrize("name", LEARNERS)
def test_samples_with_splits_of_their_own(name, controls, halves):
    learner = LEARNERS[name]
    seeds = np.random.SeedSequence(3).spawn(SAMPLES)
    splits = [random_split(N, 3, (), seed, halves) for seed in seeds]
    drawn = [data(seed, shift=50.0 * seed) for seed in range(SAMPLES)]
    made = [dictionary_of(learner, W) for W, _, _ in drawn]
    penalty = made[0][1]
    layout = layout_of(splits, penalty is None)
    exog = [X[:, :controls] for _, X, _ in drawn]
    found = stack([columns for columns, _ in made], exog, layout, penalty)
    targets = np.stack([D[order] for (_, _, D), order in zip(drawn, layout.order, strict=True)])
    mean, difference, accurate = predict_stack(found, targets[:, None], layout, penalty)
    assert accurate.all()
    assert (difference is None) != halves
    for s, (W, _, D) in enumerate(drawn):
        expected = by_engine(learner, W, exog[s], D[:, None], splits[s], seeds[s])
        ours = [mean] if difference is None else [mean, difference]
        for one, two in zip(ours, expected, strict=True):
            values = back(one[s, 0], layout.order[s])
            np.testing.assert_allclose(values, two[0], atol=BATCHED * D.std())


@pytest.mark.parametrize("name", LEARNERS)
def test_many_targets_of_one_sample(name):
    learner = LEARNERS[name]
    seed = np.random.SeedSequence(5)
    split = random_split(N, 4, (), seed, True)
    W, X, D = data(0)
    targets = D[:, None] + np.random.default_rng(1).normal(size=(N, 6))
    columns, penalty = dictionary_of(learner, W)
    layout = layout_of([split], penalty is None)
    found = stack([columns], [X], layout, penalty)
    mean, difference, accurate = predict_stack(
        found, targets[layout.order].T[None], layout, penalty
    )
    assert accurate.all()
    expected = by_engine(learner, W, X, targets, split, seed)
    for one, two in zip((mean, difference), expected, strict=True):
        np.testing.assert_allclose(back(one[0], layout.order), two, atol=BATCHED * D.std())


def test_odd_samples_are_handed_back():
    split = random_split(N, 3, (), np.random.SeedSequence(0), True)
    layout = layout_of([split], False)
    W, X, D = data(0)
    odd = {"plain": (W, X)}
    odd["constant instrument"] = (np.column_stack([W[:, :2], np.ones(N)]), X)
    odd["instrument among controls"] = (np.column_stack([W[:, :2], X[:, 1] + 3]), X)
    odd["collinear controls"] = (W, np.column_stack([X[:, :2], 2 * X[:, 1] + 1]))
    odd["missing"] = (np.where(np.arange(N)[:, None] == 7, np.nan, W), X)
    odd["infinite control"] = (W, np.where(np.arange(N)[:, None] == 7, np.inf, X))
    with np.errstate(invalid="ignore"):
        found = stack([w for w, _ in odd.values()], [x for _, x in odd.values()], layout, 0.1)
        targets = np.broadcast_to(D[layout.order], (len(odd), 1, N)).copy()
        _, _, accurate = predict_stack(found, targets, layout, 0.1)
    assert dict(zip(odd, accurate[:, 0].tolist(), strict=True)) == {
        name: name == "plain" for name in odd
    }


def test_collinear_instruments_are_handed_back_where_nothing_is_penalised():
    W, X, D = data(0)
    W = np.column_stack([W, W[:, 0] + W[:, 1]])
    layout = layout_of([random_split(N, 3, (), np.random.SeedSequence(0), True)], False)
    for penalty, expected in ((0.0, False), (0.1, True)):
        found = stack([W], [X], layout, penalty)
        assert (
            predict_stack(found, D[None, None, layout.order], layout, penalty)[2].all() == expected
        )


def test_splits_of_other_sizes_do_not_stack():
    one = random_split(N, 3, (), np.random.SeedSequence(0), True)
    two = random_split(N, 4, (), np.random.SeedSequence(0), True)
    assert layout_of([one, two], False) is None


def test_only_ridge_on_a_dictionary_stacks():
    assert dictionary_of(Boosting(), data(0)[0]) is None
    columns, penalty = dictionary_of(Ridge(0.5), data(0)[0])
    assert columns.shape == (N, 3)
    assert penalty == 0.5
