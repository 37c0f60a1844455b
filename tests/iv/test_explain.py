"""First stages taken apart: against scikit-learn's inspection, brute force and known functions."""

from __future__ import annotations

from inspect import signature

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.tree import DecisionTreeRegressor

from mlinstruments import MLIV, TSLS, explain_first_stage
from mlinstruments._core.exceptions import InputError
from mlinstruments.iv import explain_probe
from mlinstruments.learning import Boosting, Ridge, Series
from tests.designs import FAST, strong
from tests.tolerances import IDENTITY, ROUNDING

mpl.use("Agg")
N = 600


def data(n=N, seed=0):
    """A wave, a product, a line and noise."""
    rng = np.random.default_rng(seed)
    W = pd.DataFrame(rng.uniform(-1, 1, (n, 5)), columns=["wave", "a", "b", "line", "noise"])
    x, u, v = rng.normal(size=(3, n))
    d = np.cos(3 * W["wave"]) + 0.7 * np.sign(W["a"] * W["b"]) + 0.6 * W["line"] + 0.5 * x
    d = (d + 0.4 * u + 0.3 * v).rename("d")
    return (d + u).rename("y"), pd.DataFrame({"const": 1.0, "x": x}), d, W


@pytest.fixture(scope="module", params=["boosting", "series"])
def explained(request):
    model = MLIV(learner=request.param)
    return model.fit(*data()), explain_first_stage(model, *data())


def test_relearned_first_stage_is_that_of_the_fit(explained):
    res, found = explained
    # Bins and knots are placed on more rows than at the fit, so that predictions move a little:
    # a twentieth of the strength is far less than folds differ by.
    assert found.partial_r2 == pytest.approx(res.first_stage.partial_r2["d"], rel=0.05)
    assert found.regressor == "d"


def test_importance_orders_what_matters_and_clears_noise(explained):
    _, found = explained
    importance = found.importance["importance"]
    assert set(importance.index[:3]) == {"wave", "a", "b"}
    assert importance.index[-1] == "noise"
    assert abs(importance["noise"]) < 0.02
    assert importance["line"] > 0.02
    folds = found.importance.filter(like="fold")
    assert folds.shape == (5, 5)
    assert (folds.loc["wave"] > folds.loc["noise"]).all()


def test_curves_have_the_shape_of_the_function(explained):
    _, found = explained
    for name, shape in (("wave", lambda v: np.cos(3 * v)), ("line", lambda v: v)):
        curve = found.curves[found.curves["instrument"] == name]
        assert np.corrcoef(curve["mean"], shape(curve["value"]))[0, 1] > 0.95
        folds = curve.filter(like="fold")
        np.testing.assert_allclose(folds.mean(), 0, atol=IDENTITY)
        np.testing.assert_allclose(folds.mean(axis=1), curve["mean"], atol=IDENTITY)
    products = found.curves[found.curves["instrument"] == "a"]["mean"]
    assert np.ptp(products) < 0.5  # a product has no main effect, though it is important


def test_folds_agree_about_a_signal_and_not_about_noise(explained):
    _, found = explained
    others = found.agreement.to_numpy()[~np.eye(5, dtype=bool)]
    assert others.min() > 0.8
    rng = np.random.default_rng(1)
    y, d = rng.normal(size=(2, 400))
    noise = rng.normal(size=(400, 3))
    nothing = explain_first_stage(MLIV(learner=Ridge(0.0)), y, np.ones(400), d, noise)
    assert nothing.partial_r2 < 0.05


def test_bins_are_means_given_the_covariates(explained):
    _, found = explained
    assert len(found.bins) == explain_probe.BINS
    assert found.bins["predicted"].is_monotonic_increasing
    slope = np.polyfit(found.bins["predicted"], found.bins["actual"], 1)[0]
    assert 0.8 < slope < 1.3
    gap = (found.bins["actual"] - found.bins["predicted"]).abs()
    assert (gap < 5 * found.bins["std_error"]).mean() > 0.8


# ---- scikit-learn -------------------------------------------------------------------------------


class Fixed(DecisionTreeRegressor):
    """A tree: bound to other rows besides, it stays the same, unlike bins and knots."""


def folds_of(model, y, X, d, W):
    """Cell of every row, and the tree that each cell's rows are predicted by."""
    cell = model.fit(y, X, d, W).folds.iloc[:, 0].to_numpy().astype(int)
    trees = []
    for k in range(cell.max() + 1):
        rows = np.flatnonzero(cell != k)
        trees.append(Fixed(max_depth=4, random_state=0).fit(W.to_numpy()[rows], d.to_numpy()[rows]))
    return cell, trees


@pytest.fixture(scope="module")
def by_tree():
    y, _, d, W = data(n=300)
    X = np.ones(len(y))
    model = MLIV(Fixed(max_depth=4, random_state=0), n_folds=3, split_half=False)
    cell, trees = folds_of(model, y, X, d, W)
    found = explain_first_stage(model, y, X, d, W, n_permutations=200)
    return found, cell, trees, d.to_numpy(), W.to_numpy()


@pytest.mark.skipif(
    "custom_values" not in signature(partial_dependence).parameters,
    reason="this scikit-learn takes no values of ours",
)
def test_curves_are_scikit_learns_partial_dependence(by_tree):
    found, cell, trees, _, W = by_tree
    for j, name in enumerate(["wave", "a", "b", "line", "noise"]):
        curve = found.curves[found.curves["instrument"] == name]
        for k, tree in enumerate(trees):
            theirs = partial_dependence(
                tree,
                W[cell == k],
                [j],
                custom_values={j: curve["value"].to_numpy()},
                method="brute",
            )["average"][0]
            np.testing.assert_allclose(curve[f"fold {k}"], theirs - theirs.mean(), atol=ROUNDING)


def test_importance_in_a_fold_is_scikit_learns(by_tree):
    found, cell, trees, d, W = by_tree

    def score(tree, inputs, target):
        return np.corrcoef(tree.predict(inputs), target)[0, 1] ** 2

    for k, tree in enumerate(trees):
        theirs = permutation_importance(
            tree, W[cell == k], d[cell == k], scoring=score, n_repeats=200, random_state=1
        )
        for j, name in enumerate(["wave", "a", "b", "line", "noise"]):
            ours = found.importance.loc[name, f"fold {k}"]
            # Means over 200 shuffles each, of other shuffles: four of their standard errors.
            error = theirs.importances_std[j] * np.sqrt(2 / 200)
            assert abs(ours - theirs.importances_mean[j]) <= 4 * error + ROUNDING


# ---- every path ---------------------------------------------------------------------------------


def test_groups_are_shuffled_together():
    found = explain_first_stage(MLIV(), *data(), groups={"product": ["a", "b"]})
    assert set(found.importance.index) == {"wave", "product", "line", "noise"}
    alone = explain_first_stage(MLIV(), *data()).importance["importance"]
    # Shuffling one of two factors loses the product already: together no more is lost.
    together = found.importance.loc["product", "importance"]
    assert together == pytest.approx(alone["a"], abs=0.05)
    assert set(found.curves["instrument"]) == {"wave", "a", "b", "line", "noise"}


def test_a_formula_gives_the_same_as_columns():
    y, X, d, W = data()
    frame = pd.concat([y, X, d, W], axis=1)
    by_formula = explain_first_stage(
        MLIV(FAST), "y ~ 1 + x + [d ~ wave + a + b + line + noise]", frame
    )
    by_columns = explain_first_stage(MLIV(FAST), y, X, d, W)
    pd.testing.assert_frame_equal(by_formula.importance, by_columns.importance)
    pd.testing.assert_frame_equal(by_formula.curves, by_columns.curves)


@pytest.mark.parametrize("how", ["weights", "one", "two", "folds", "whole"])
def test_weights_clusters_and_folds_are_those_of_the_fit(how):
    design = strong(n=300, seed=5)
    model = MLIV(Ridge(0.01), n_folds=3, split_half=how != "whole")
    options = {
        "weights": {"weights": design.weights},
        "one": {"clusters": design.firm},
        "two": {"clusters": design.clusters["two"]},
        "folds": {"folds": np.arange(300) % 3},
        "whole": {},
    }[how]
    res, found = (
        model.fit(*design.data, **options),
        explain_first_stage(model, *design.data, **options),
    )
    # Ridge standardises with means over all rows it is bound to, which moves its penalty a little.
    assert found.partial_r2 == pytest.approx(res.first_stage.partial_r2["d1"], rel=0.01)
    assert len(found.agreement) == res.folds.iloc[:, 0].nunique()


def test_categories_and_missing_values():
    y, X, d, W = data()
    W = W.assign(kind=pd.Categorical(np.where(W["line"] > 0.3, "high", "low")), gap=W["noise"])
    W.loc[:50, "gap"] = np.nan
    found = explain_first_stage(MLIV(Boosting(rounds=20)), y, X, d, W)
    kinds = found.curves[found.curves["instrument"] == "kind"]
    assert len(kinds) == 2
    assert found.curves["value"].notna().all()
    assert found.importance["importance"].notna().all()


def test_folds_of_blocks_and_repeats_are_those_of_the_fit():
    design = strong(n=300, seed=5)
    model = MLIV(Ridge(0.01), n_folds=3, n_repeats=2, repeat_blocks=12)
    res, found = model.fit(*design.data), explain_first_stage(model, *design.data)
    first = res.splits.query("repeat == 0")["partial_r2"].iloc[0]
    assert found.partial_r2 == pytest.approx(first, rel=0.01)


def test_a_learner_that_finds_nothing_is_said_to():
    class Nothing(DecisionTreeRegressor):
        def predict(self, X):
            return np.zeros(len(X))

    found = explain_first_stage(MLIV(Nothing()), *data(n=200))
    assert found.partial_r2 == 0
    assert (found.importance["importance"] == 0).all()
    assert "some have learned nothing" in str(found)


def test_several_endogenous_are_explained_one_at_a_time():
    design = strong(n=240, d=2, seed=3)
    for name in ("d1", "d2"):
        found = explain_first_stage(MLIV(FAST), *design.data, regressor=name)
        assert found.regressor == name
    assert found.importance.index[0] in {"w2", "w3"}
    with pytest.raises(InputError, match="which one of d1, d2"):
        explain_first_stage(MLIV(FAST), *design.data)


def test_large_inputs_are_sampled(monkeypatch):
    monkeypatch.setattr(explain_probe, "MOST_NUMBERS", 20_000)
    found = explain_first_stage(MLIV(FAST, n_folds=2), *data())
    assert found.importance["importance"].idxmax() in {"wave", "a", "b"}


def test_the_answer_does_not_depend_on_the_outcome():
    y, X, d, W = data()
    first = explain_first_stage(MLIV(FAST), y, X, d, W)
    second = explain_first_stage(MLIV(FAST), -3 * y + 1, X, d, W)
    pd.testing.assert_frame_equal(first.importance, second.importance)


@pytest.mark.parametrize(
    ("model", "kwargs", "words"),
    [
        (TSLS(), {}, "must be the MLIV"),
        (MLIV(FAST, covariates="recentred"), {}, "'recentred'"),
        (MLIV("ols", n_folds="loo"), {}, "no folds"),
        (MLIV(FAST), {"regressor": "e"}, "regressor must be one of 'd'"),
        (MLIV(FAST), {"groups": {"g": ["nobody"]}}, "names an instrument"),
        (MLIV(FAST), {"groups": {"g": ["a"], "h": "a"}}, "twice"),
        (MLIV(FAST), {"groups": {"line": ["a", "b"]}}, "rename"),
        (MLIV(FAST), {"n_permutations": 0}, "n_permutations"),
    ],
)
def test_what_cannot_be_explained_says_why(model, kwargs, words):
    with pytest.raises(InputError, match=words):
        explain_first_stage(model, *data(n=200), **kwargs)


def test_wrong_number_of_inputs_says_what_is_needed():
    with pytest.raises(InputError, match="got 3 inputs"):
        explain_first_stage(MLIV(FAST), *data()[:3])


def test_print_and_picture_show_the_instruments(explained):
    plt = pytest.importorskip("matplotlib.pyplot")
    _, found = explained
    text = str(found)
    for name in found.importance.index:
        assert f"{found.importance.loc[name, 'importance']:.4f}" in text
    figure = found.plot(most=3)
    titles = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert titles[2:] == list(found.importance.index[:3])
    line = next(x for x in figure.axes[2].get_lines() if x.get_gid())
    curve = found.curves[found.curves["instrument"] == titles[2]]
    np.testing.assert_array_equal(line.get_ydata(), curve["mean"])
    grouped = explain_first_stage(MLIV(Series()), *data(), groups={"both": ["a", "b"]})
    assert len(grouped.plot(most=9).axes) == 9
    plt.close("all")
