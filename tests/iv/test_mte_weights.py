"""Weights on marginal treatment effects: their sum, their sign, and the effect they predict."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from mlinstruments import MLIV, TSLS, mte_weights
from mlinstruments._core.exceptions import InputError
from tests.designs import FAST
from tests.tolerances import IDENTITY, SOLVE

mpl.use("Agg")


def roy(n, seed, covariate=False):
    """Treatment where the propensity exceeds the resistance u; effect 2 - 3u, level related to u."""
    rng = np.random.default_rng(seed)
    w, u = rng.uniform(-1, 1, n), rng.random(n)
    x = rng.normal(size=n) if covariate else np.zeros(n)
    p = 0.5 + 0.35 * np.cos(np.pi * w) + (0.04 * np.clip(x, -3, 3) if covariate else 0)
    d = (u < p).astype(float)
    y = 1 + x + 1.5 * u + d * (2 - 3 * u) + rng.normal(size=n)
    X = np.column_stack([np.ones(n), x]) if covariate else np.ones((n, 1))
    return y, X, d, w, p


def effect(found):
    """The mean of 2 - 3u under the weights."""
    return float((found.table["weight"] * (2 - 3 * found.table["u"])).mean())


@pytest.mark.parametrize("covariate", [False, True])
@pytest.mark.parametrize("shape", [lambda w, p: p, lambda w, p: p**3, lambda w, p: w + w**2])
def test_weights_predict_what_iv_estimates(shape, covariate):
    y, X, d, w, p = roy(200_000, 0, covariate)
    z = shape(w, p)
    res = TSLS().fit(y, X, d, z)
    found = mte_weights(X, d, z, propensity=p)
    # Four standard errors of the estimate; that of the weights' own total is of the same order.
    assert abs(effect(found) - res.params["endog"]) < 4 * res.std_errors["endog"]
    assert found.total == pytest.approx(1, abs=0.03)


def test_a_learned_propensity_gives_its_own_estimate():
    y, X, d, w, p = roy(20_000, 1)
    res = MLIV(FAST).fit(y, X, d, w)
    found = mte_weights(X, d, res.instrument)
    assert np.corrcoef(found.propensity, p)[0, 1] > 0.99
    assert abs(effect(found) - res.params["endog"]) < 4 * res.std_errors["endog"]
    assert found.total == pytest.approx(1, abs=SOLVE)


def test_the_propensity_as_instrument_has_no_negative_weights_and_another_shape_may():
    _, X, d, w, p = roy(20_000, 2)
    assert mte_weights(X, d, p, propensity=p).negative == 0
    # The propensity falls with |w|, w^2 rises: its own sign is turned, its weights stay positive;
    # one that turns twice has both.
    assert mte_weights(X, d, w**2, propensity=p).negative == pytest.approx(0, abs=0.01)
    assert mte_weights(X, d, np.cos(2 * np.pi * w) + 0.3 * p, propensity=p).negative > 0.1


def test_steps_are_means_of_the_weights_by_brute_force():
    _, X, d, w, p = roy(500, 3, covariate=True)
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 2, 500)
    z = p + 0.1 * w
    found = mte_weights(X, d, z, weights=weights, propensity=p)
    root = np.sqrt(weights)
    left = z - X @ np.linalg.lstsq(X * root[:, None], z * root, rcond=None)[0]
    at = (np.arange(100_000) + 0.5) / 100_000
    order = np.argsort(p)
    above = np.append((weights * left)[order][::-1].cumsum()[::-1], 0.0)
    fine = above[np.searchsorted(p[order], at, side="right")] / (weights * left @ d)
    # A step of the fine grid is 1e-5 wide; each of 500 rows jumps in one of them.
    np.testing.assert_allclose(
        found.table["weight"], fine.reshape(100, -1).mean(axis=1), atol=1e-3 * np.abs(fine).max()
    )
    assert found.table["weight"].mean() == pytest.approx(found.total, rel=IDENTITY)
    share = [np.average(p > u, weights=weights) for u in found.table["u"]]
    np.testing.assert_allclose(found.table["treated"], share, atol=IDENTITY)


def test_default_propensity_is_least_squares_within_bounds():
    _, X, d, w, p = roy(2_000, 4)
    found = mte_weights(X, d, 5 * w + 3 * p)
    both = np.column_stack([X, 5 * w + 3 * p])
    expected = np.clip(both @ np.linalg.lstsq(both, d, rcond=None)[0], 0, 1)
    np.testing.assert_allclose(found.propensity, expected, atol=SOLVE)
    assert found.outside == np.mean((expected == 0) | (expected == 1))


def test_missing_rows_are_dropped_with_a_warning():
    _, X, d, w, p = roy(300, 5)
    z = pd.Series(p + 0.1 * w, index=np.arange(300) + 7)
    z.iloc[:10] = np.nan
    with pytest.warns(UserWarning, match="Dropped 10"):
        found = mte_weights(X, d, z)
    assert found.propensity.index.tolist() == z.index.tolist()
    assert found.propensity.isna().sum() == 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: {**a, "endog": a["endog"] * 2}, "must be 0 or 1"),
        (lambda a: {**a, "instrument": a["instrument"][:-1]}, "same rows"),
        (lambda a: {**a, "instrument": np.ones(300)}, "constant"),
    ],
)
def test_bad_input_says_what_is_needed(change, words):
    _, X, d, w, _ = roy(300, 6)
    given = change({"exog": X, "endog": d, "instrument": np.cos(3 * w)})
    with pytest.raises(InputError, match=words):
        mte_weights(**given)


def test_picture_shows_negative_weights():
    plt = pytest.importorskip("matplotlib.pyplot")
    _, X, d, w, p = roy(2_000, 2)
    ax = mte_weights(X, d, np.cos(2 * np.pi * w) + 0.3 * p, propensity=p).plot()
    assert len(ax.patches) == 2
    assert "negative" in ax.texts[0].get_text()
    assert len(mte_weights(X, d, p).plot().patches) == 1
    plt.close("all")
