"""Bounds without the exclusion restriction, against refits, closed forms and brute force."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS
from scipy import optimize

from mlinstruments import LIML, MLIV, OLS, TSLS, IVResults, MLIVResults, exclusion_bounds
from mlinstruments._core.exceptions import InputError
from mlinstruments.iv.anderson_rubin import statistic
from mlinstruments.iv.confidence_set import INF
from tests.designs import FAST, strong
from tests.tolerances import IDENTITY, ROOT, SOLVE

mpl.use("Agg")
DESIGN = strong(n=240, seed=31)
ONE, TWO = ["w1"], ["w1", "w2"]
COVARIANCES = {
    "robust": {},
    "debiased": {"debiased": True},
    "unadjusted": {"cov_type": "unadjusted"},
    "unadjusted, debiased": {"cov_type": "unadjusted", "debiased": True},
    "one way": {"clusters": DESIGN.firm},
    "two ways": {"clusters": DESIGN.clusters["two"], "debiased": True},
    "kernel": {"cov_type": "kernel"},
    "weights": {"weights": DESIGN.weights},
    "weights, unadjusted": {"weights": DESIGN.weights, "cov_type": "unadjusted"},
}


def given(columns, how, **kwargs):
    model = TSLS(direct_effects=True)
    return model.fit(DESIGN.y, DESIGN.X, DESIGN.D, DESIGN.W[columns], **how, **kwargs)


def refit(columns, how, effect):
    """2SLS of the outcome less the direct effects."""
    y = (DESIGN.y - DESIGN.W[columns] @ np.asarray(effect)).rename("y")
    if how.get("cov_type") == "kernel":  # the bandwidth is the fit's, not one for every outcome
        how = {**how, "bandwidth": int(given(columns, how).cov_label.split(", ")[1].split()[0])}
    return TSLS().fit(y, DESIGN.X, DESIGN.D, DESIGN.W[columns], **how)


# ---- Wald ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", COVARIANCES.values(), ids=COVARIANCES)
@pytest.mark.parametrize("columns", [ONE, TWO], ids=["one", "two"])
def test_estimate_and_error_at_every_direct_effect_are_those_of_a_refit(columns, how):
    line = given(columns, how).direct_effects.line
    for effect in ([0.0, 0.0], [0.3, -0.1], [-2.0, 1.0]):
        effect = np.array(effect[: len(columns)])
        again = refit(columns, how, effect)
        assert line.estimate(effect) == pytest.approx(again.params["d1"], rel=SOLVE)
        assert line.std_error(effect) == pytest.approx(again.std_errors["d1"], rel=SOLVE)


@pytest.mark.parametrize("how", COVARIANCES.values(), ids=COVARIANCES)
def test_union_of_wald_intervals_is_that_over_a_grid(how):
    ranges = {"w1": (-0.2, 0.5), "w2": (-0.3, 0.1)}
    union = exclusion_bounds(given(TWO, how), ranges, level=0.9).wald
    grid = itertools.product(np.linspace(-0.2, 0.5, 6), np.linspace(-0.3, 0.1, 5))
    intervals = np.array([refit(TWO, how, g).conf_int(0.9).loc["d1"] for g in grid])
    assert union.intervals[0][0] == pytest.approx(intervals[:, 0].min(), rel=SOLVE)
    assert union.intervals[0][1] == pytest.approx(intervals[:, 1].max(), rel=SOLVE)


def test_without_direct_effects_the_intervals_are_those_of_the_fit():
    res = given(TWO, {"clusters": DESIGN.firm, "debiased": True})
    bounds = exclusion_bounds(res, {})
    expected = res.conf_int().loc["d1"].to_numpy()
    assert bounds.wald.intervals[0] == pytest.approx(expected, rel=SOLVE)
    assert bounds.local.intervals[0] == pytest.approx(expected, rel=SOLVE)
    assert bounds.ar.intervals[0] == pytest.approx(res.conf_int(method="ar").intervals[0], rel=ROOT)


def test_local_to_zero_is_the_closed_form():
    """t ~ N(b - A mu, V + A Omega A'), A = (R'P R)^-1 R'Z, with R all regressors (linearmodels)."""
    X, D, W = DESIGN.X.to_numpy(), DESIGN.D.to_numpy(), DESIGN.W[TWO].to_numpy()
    other = IV2SLS(DESIGN.y, DESIGN.X, DESIGN.D, DESIGN.W[TWO]).fit(cov_type="robust")
    R, Z = np.hstack([X, D]), np.hstack([X, W])
    projected = Z @ np.linalg.solve(Z.T @ Z, Z.T @ R)
    A = np.linalg.solve(projected.T @ R, projected.T @ W)
    mean, sd = np.array([0.1, -0.05]), np.array([0.1, 0.025])
    centre = (other.params.to_numpy() - A @ mean)[-1]
    error = np.sqrt((other.cov.to_numpy() + A @ np.diag(sd**2) @ A.T)[-1, -1])
    found = exclusion_bounds(given(TWO, {}), {"w1": (-0.1, 0.3), "w2": (-0.1, 0.0)}).local
    critical = 1.959963984540054
    expected = (centre - critical * error, centre + critical * error)
    assert found.intervals[0] == pytest.approx(expected, rel=SOLVE)


# ---- Anderson-Rubin -----------------------------------------------------------------------------


def best_pvalue(columns, how, t, low, high):
    """The greatest p-value of t over direct effects of the first instrument in a range."""

    def pvalue(g):
        effect = [g, *[0.0] * (len(columns) - 1)]
        return refit(columns, how, effect).anderson_rubin(t).pvalue

    grid = np.linspace(low, high, 9)
    at = [pvalue(g) for g in grid]
    best = int(np.argmax(at))
    around = grid[max(best - 1, 0)], grid[min(best + 1, 8)]
    found = optimize.minimize_scalar(lambda g: -pvalue(g), bounds=around, method="bounded")
    return max(max(at), -found.fun)


@pytest.mark.parametrize(
    "how", [{}, {"cov_type": "unadjusted"}, {"clusters": DESIGN.firm, "debiased": True}]
)
@pytest.mark.parametrize("columns", [ONE, TWO], ids=["one", "two"])
def test_at_the_ends_of_the_union_the_best_pvalue_is_alpha(columns, how):
    found = exclusion_bounds(given(columns, how), {"w1": (-0.1, 0.4)}, level=0.9).ar
    assert found.is_bounded
    for end in found.hull:
        # The least p-value over a grid refined by golden section: quadratic near its top.
        assert best_pvalue(columns, how, end, -0.1, 0.4) == pytest.approx(0.1, abs=ROOT)


def weak(strength, n=200, seed=0, shared=0.9, direct=0.0):
    rng = np.random.default_rng(seed)
    z, v, e = rng.normal(size=(3, n))
    d = strength * z + v
    return d + direct * z + shared * v + e * np.exp(0.4 * z), np.ones(n), d, z


def least_statistic(moments, t, low, high):
    """The smallest Anderson-Rubin statistic of t over direct effects in a range."""

    def at(g):
        return statistic(moments, np.array([t, g]))

    inside = optimize.minimize_scalar(at, bounds=(low, high), method="bounded").fun
    return min(inside, at(low), at(high))


CASES = [(0.0, 0.0), (0.1, 0.0), (0.2, 0.0), (0.6, 0.0), (0.1, 1.0)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("strength", "direct"), CASES)
def test_union_of_ar_sets_of_any_shape_is_that_over_a_grid(strength, direct, seed):
    y, one, d, z = weak(strength, seed=seed, direct=direct)
    res = TSLS(direct_effects=True).fit(y, one, d, z)
    low, high = -0.1, 0.3
    union = exclusion_bounds(res, (low, high)).ar
    sets = [
        TSLS().fit(y - g * z, one, d, z).conf_int(method="ar") for g in np.linspace(low, high, 41)
    ]
    kept = res.direct_effects.pooled
    for t in np.concatenate([np.linspace(-8, 8, 201), np.array([-1e6, 1e6])]):
        if any(t in one for one in sets):
            assert t in union
        elif t in union:  # then a direct effect between those of the grid is accepted
            least = least_statistic(kept, t, low, high)
            assert least <= kept.critical(0.95) * (1 + ROOT)


def test_shapes_of_unions_seen_above_include_rays_lines_and_intervals():
    shapes = set()
    for (strength, direct), seed in itertools.product(CASES, range(12)):
        res = TSLS(direct_effects=True).fit(*weak(strength, seed=seed, direct=direct))
        found = exclusion_bounds(res, (-0.1, 0.3)).ar
        shapes.add((len(found.intervals), found.is_bounded))
    assert shapes == {(1, True), (1, False), (2, False)}


def test_a_set_at_a_given_effect_is_that_of_the_corrected_outcome():
    res = given(TWO, {})
    bounds = exclusion_bounds(res, {"w1": (0.2, 0.2), "w2": (-0.1, -0.1)})
    again = refit(TWO, {}, [0.2, -0.1])
    assert bounds.ar.intervals[0] == pytest.approx(
        again.conf_int(method="ar").intervals[0], rel=ROOT
    )
    assert bounds.wald.intervals[0] == pytest.approx(again.conf_int().loc["d1"], rel=SOLVE)


# ---- learned instruments ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned():
    return MLIV(FAST, n_folds=3).fit(*DESIGN.data, clusters=DESIGN.firm, weights=DESIGN.weights)


def test_learned_instrument_without_direct_effect_gives_the_fit(learned):
    bounds = exclusion_bounds(learned, 0.0)
    assert bounds.wald.intervals[0] == pytest.approx(learned.conf_int().loc["d1"], rel=IDENTITY)
    for kind in ("corrected", "pooled"):
        expected = learned.conf_int(method="ar", ar=kind).intervals[0]
        assert exclusion_bounds(learned, 0.0, ar=kind).ar.intervals[0] == pytest.approx(
            expected, rel=ROOT
        )


def test_learned_instrument_is_one_handed_to_2sls(learned):
    how = {"clusters": DESIGN.firm, "weights": DESIGN.weights}
    model = TSLS(direct_effects=True)
    other = model.fit(DESIGN.y, DESIGN.X, DESIGN.D, learned.instrument, **how)
    ours, theirs = exclusion_bounds(learned, 0.2, ar="pooled"), exclusion_bounds(other, 0.2)
    assert ours.wald.intervals[0] == pytest.approx(theirs.wald.intervals[0], rel=IDENTITY)
    assert ours.local.intervals[0] == pytest.approx(theirs.local.intervals[0], rel=IDENTITY)
    assert ours.ar.intervals[0] == pytest.approx(theirs.ar.intervals[0], rel=ROOT)


def test_corrected_union_holds_the_pooled_one_and_ends_at_alpha(learned):
    wide, narrow = exclusion_bounds(learned, 0.2), exclusion_bounds(learned, 0.2, ar="pooled")
    assert wide.ar.hull[0] < narrow.ar.hull[0]
    assert wide.ar.hull[1] > narrow.ar.hull[1]
    kept = learned.direct_effects.corrected
    for end in wide.ar.hull:
        least = least_statistic(kept, end, -0.2, 0.2)
        assert least == pytest.approx(kept.critical(0.95), rel=ROOT)


def test_repeats_use_the_average_instrument():
    res = MLIV(FAST, n_folds=3, n_repeats=3).fit(*DESIGN.data)
    again = TSLS().fit(DESIGN.y, DESIGN.X, DESIGN.D, res.instrument)
    bounds = exclusion_bounds(res, 0.0)
    assert bounds.wald.intervals[0] == pytest.approx(again.conf_int().loc["d1"], rel=IDENTITY)
    expected = res.conf_int(method="ar").intervals[0]
    assert bounds.ar.intervals[0] == pytest.approx(expected, rel=ROOT)


def test_without_halves_all_of_the_instrument_is_noise():
    res = MLIV(FAST, n_folds=3, split_half=False).fit(*DESIGN.data)
    expected = res.conf_int(method="ar").intervals[0]
    assert exclusion_bounds(res, 0.0).ar.intervals[0] == pytest.approx(expected, rel=ROOT)


def test_no_function_of_the_instruments_of_that_spread_shifts_further(learned):
    """The bound by Cauchy and Schwarz, on outcomes to which functions of W were added."""
    res = MLIV(FAST, n_folds=3).fit(*DESIGN.data)
    bounds = exclusion_bounds(res, 0.1)
    line, z = bounds.line, res.instrument.to_numpy()
    reach = abs(line.slope[0]) * 0.1
    rng = np.random.default_rng(0)
    W, X, d = DESIGN.W.to_numpy(), DESIGN.X.to_numpy(), DESIGN.D.to_numpy()[:, 0]
    shifts = []
    for _ in range(50):
        h = np.sin(W @ rng.normal(size=3) * 3 + rng.normal()) + z * rng.normal()
        h = h - X @ np.linalg.lstsq(X, h, rcond=None)[0]
        h *= 0.1 * bounds.spread.iloc[0] / h.std()
        shifts.append(abs(z @ h / (z @ d)))
    assert max(shifts) <= reach * (1 + SOLVE)
    assert max(shifts) > 0.9 * reach  # some come close: the bound is not idle


def test_a_first_stage_that_finds_nothing_bounds_nothing():
    rng = np.random.default_rng(1)
    y, d = rng.normal(size=(2, 200))
    res = MLIV("ridge", n_folds=2).fit(y, np.ones(200), d, rng.normal(size=(200, 2)))
    assert res.weak
    bounds = exclusion_bounds(res, 0.1)
    assert bounds.wald.is_whole_line
    assert bounds.local.is_whole_line
    assert bounds.breakdown()["wald"] == 0
    assert "No estimate" in str(bounds)
    if res.conf_int(method="ar").is_whole_line:
        assert bounds.ar.is_whole_line


# ---- what is done with them ---------------------------------------------------------------------


@pytest.mark.parametrize("columns", [ONE, TWO], ids=["one", "two"])
@pytest.mark.parametrize("how", [{}, {"cov_type": "unadjusted"}], ids=["robust", "unadjusted"])
def test_breakdown_is_where_the_union_reaches_the_value(columns, how):
    bounds = exclusion_bounds(given(columns, how), {"w1": (-0.2, 0.1)})
    shares = bounds.breakdown(0.0)
    assert 0 < shares["wald"] < INF
    assert min(map(abs, bounds.wald_at(shares["wald"]).hull)) == pytest.approx(0, abs=ROOT)
    assert min(map(abs, bounds.ar_at(shares["ar"]).hull)) == pytest.approx(0, abs=ROOT)


def test_breakdown_is_none_in_a_direction_that_leads_away():
    y, one, d, z = weak(1.0)
    res = TSLS(direct_effects=True).fit(y, one, d, z)
    away = exclusion_bounds(res, (-0.1, 0.0)).breakdown()
    towards = exclusion_bounds(res, (0.0, 0.1)).breakdown()
    assert away["wald"] == INF
    assert np.isfinite(towards).all()


def test_breakdown_of_several_free_effects_has_no_ar():
    shares = exclusion_bounds(given(TWO, {}), {"w1": 0.1, "w2": 0.1}).breakdown()
    assert np.isfinite(shares["wald"])
    assert np.isnan(shares["ar"])


def test_table_and_print_hold_the_sets():
    bounds = exclusion_bounds(given(ONE, {}), (-0.2, 0.4))
    assert bounds.table.index.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert bounds.table.loc[1.0, ["wald_lower", "wald_upper"]].tolist() == list(bounds.wald.hull)
    assert bounds.table.loc[1.0, ["ar_lower", "ar_upper"]].tolist() == list(bounds.ar.hull)
    assert bounds.table.loc[0.5, "local_lower"] == bounds.local_at(0.5).hull[0]
    text = str(bounds)
    assert "-0.2 to 0.4 (w1)" in text
    assert str(bounds.wald) in text
    assert str(bounds.ar) in text
    residual = DESIGN.W["w1"] - DESIGN.X @ np.linalg.lstsq(DESIGN.X, DESIGN.W["w1"], rcond=None)[0]
    assert bounds.spread["w1"] == pytest.approx(np.sqrt((residual**2).mean()), rel=SOLVE)


def test_saved_results_give_the_same_bounds(learned, tmp_path):
    for res, kind in ((learned, MLIVResults), (given(TWO, {}), IVResults)):
        res.save(tmp_path / "res.zip")
        again = kind.load(tmp_path / "res.zip")
        effect = {res.direct_effects.names[0]: 0.1}
        pd.testing.assert_frame_equal(
            exclusion_bounds(again, effect).table, exclusion_bounds(res, effect).table
        )


@pytest.mark.parametrize(
    ("make", "effect", "kwargs", "words"),
    [
        (lambda: OLS().fit(*DESIGN.data), 0.1, {}, "not for OLS"),
        (lambda: LIML().fit(*DESIGN.data), 0.1, {}, "not for LIML"),
        (lambda: TSLS().fit(*DESIGN.data), 0.1, {}, r"TSLS\(direct_effects=True\)"),
        (lambda: given(TWO, {}), 0.1, {}, "must name the instrument"),
        (lambda: given(TWO, {}), {"w3": 0.1}, {}, "one of 'w1', 'w2'"),
        (lambda: given(ONE, {}), (0.2, 0.1), {}, "in order"),
        (lambda: given(ONE, {}), (0.2, np.inf), {}, "finite"),
        (lambda: given(ONE, {}), (0.1, 0.2, 0.3), {}, "must be a number b"),
        (lambda: given(ONE, {}), "much", {}, "must be a number b"),
        (lambda: given(ONE, {}), 0.1, {"level": 95}, "level must lie"),
        (lambda: given(ONE, {}), 0.1, {"ar": "corrected"}, "leave ar out"),
        (lambda: MLIV(FAST).fit(*DESIGN.data), 0.1, {"ar": "folds"}, "'corrected', 'pooled'"),
        (lambda: MLIV(FAST).fit(*strong(n=240, d=2).data), 0.1, {}, "one endogenous regressor"),
    ],
)
def test_what_cannot_be_bounded_says_why(make, effect, kwargs, words):
    res = make()
    with pytest.raises(InputError, match=words):
        exclusion_bounds(res, effect, **kwargs)


def test_fits_that_cannot_keep_direct_effects_say_why():
    rng = np.random.default_rng(0)
    y, d = rng.normal(size=(2, 60))
    model = TSLS(direct_effects=True)
    with pytest.raises(InputError, match="at most 12 instruments"):
        model.fit(y, np.ones(60), d, rng.normal(size=(60, 13)))
    with pytest.raises(InputError, match="numeric instruments"):
        model.fit(y, np.ones(60), d, pd.Series(list("abc") * 20, name="w"))
    with pytest.raises(InputError, match="one endogenous regressor"):
        model.fit(*strong(n=100, d=2).data)


def test_breakdown_needs_a_range_around_zero():
    with pytest.raises(InputError, match="must hold 0"):
        exclusion_bounds(given(ONE, {}), (0.1, 0.2)).breakdown()


# ---- picture ------------------------------------------------------------------------------------


def test_picture_shows_the_ends():
    plt = pytest.importorskip("matplotlib.pyplot")
    bounds = exclusion_bounds(given(ONE, {}), 0.2)
    ax = bounds.plot()
    lines = {line.get_gid(): line for line in ax.get_lines() if line.get_gid()}
    for name, found in (("union of Wald intervals", bounds.wald), ("local to zero", bounds.local)):
        for side, end in zip(("lower", "upper"), found.hull, strict=True):
            x, y = lines[f"{name} {side}"].get_data()
            assert (x[0], x[-1]) == (0.0, 0.2)
            assert y[-1] == end
    low, high = ax.get_ylim()
    assert low < min(bounds.ar.hull[0], 0)
    assert high > bounds.ar.hull[1]
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(bounds.ar.hull[0], rel=IDENTITY)
    plt.close("all")


@pytest.mark.parametrize("strength", [0.0, 0.2])
def test_picture_of_unbounded_sets_stays_finite(strength):
    plt = pytest.importorskip("matplotlib.pyplot")
    for seed in range(4):
        res = TSLS(direct_effects=True).fit(*weak(strength, seed=seed))
        bounds = exclusion_bounds(res, (-0.1, 0.3))
        ax = bounds.plot()
        ax.figure.canvas.draw()
        assert np.isfinite(ax.get_ylim()).all()
        assert ax.get_xlabel() == "Share of a direct effect of -0.1 to 0.3"
    plt.close("all")
