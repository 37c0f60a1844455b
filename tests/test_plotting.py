"""What plot_estimates draws: every end, arrow and word, against the numbers it is given."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from mlinstruments import LIML, MLIV, OLS, TSLS, IVResults
from mlinstruments._core.exceptions import InputError, MissingExtraError
from mlinstruments.iv.anderson_rubin import Moments
from mlinstruments.iv.ar_kinds import ARKind
from mlinstruments.plotting import plot_estimates

mpl.use("Agg")
plt: Any = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _close_figures() -> Any:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, ...]:
    """Effect 1, one covariate, two relevant instruments."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(300, 2))
    x, u = rng.normal(size=(2, 300))
    d = Z.sum(axis=1) + x + u + rng.normal(size=300)
    return d + x + u, np.column_stack([np.ones(300), x]), d, Z


@pytest.fixture(scope="module")
def single(data: tuple[np.ndarray, ...]) -> IVResults:
    y, exog, d, Z = data
    return TSLS().fit(y, exog, d, Z[:, 0])


def with_set(res: IVResults, m_y: list[float], m_d: list[float]) -> IVResults:
    """The results with Anderson-Rubin moments of identity variance, to choose the set's shape."""
    q = len(m_y)
    moments = Moments(np.array(m_y), np.array(m_d)[:, None], np.eye(2 * q))
    return replace(res, ar=(ARKind("instruments", (moments,)),))


def with_estimate(res: IVResults, estimate: float, error: float) -> IVResults:
    """The results with another endogenous coefficient and standard error."""
    estimates, covariance = res.estimates.copy(), res.covariance.copy()
    estimates[-1], covariance[-1, -1] = estimate, error**2
    return replace(res, estimates=estimates, covariance=covariance)


def drawn(ax: Any, label: str) -> list[list[float]]:
    """Horizontal coordinates of the lines with a label."""
    return [list(line.get_xdata()) for line in ax.lines if line.get_gid() == label]


def words(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def arrows(ax: Any) -> list[str]:
    return sorted(line.get_gid() for line in ax.lines if str(line.get_gid()).startswith("arrow"))


# ---- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_lines_are_the_intervals(data: tuple[np.ndarray, ...], level: float) -> None:
    results = {
        "OLS": OLS().fit(*data),
        "2SLS": TSLS().fit(*data),
        "LIML": LIML().fit(*data),
        "MLIV": MLIV(learner="ols").fit(*data),
    }
    ax = plot_estimates(results, level=level)
    for name, res in results.items():
        assert drawn(ax, f"wald {name}") == [res.conf_int(level).loc["endog"].tolist()]
        assert drawn(ax, f"estimate {name}") == [[res.params["endog"]]]
        sets = res.conf_int(level, method="ar").intervals if res.ar else ()
        assert drawn(ax, f"ar {name}") == [list(pair) for pair in sets]
    assert arrows(ax) == []
    legend = " ".join(text.get_text() for text in ax.get_legend().get_texts())
    assert legend.count(f"{100 * level:g}%") == 2


def test_rows_are_in_order_with_the_set_below_the_interval(single: IVResults) -> None:
    ax = plot_estimates({"first": single, "second": single})
    heights = {line.get_gid(): line.get_ydata()[0] for line in ax.lines}
    order = ["wald first", "ar first", "wald second", "ar second"]
    assert sorted(order, key=lambda label: -heights[label]) == order
    ticks = dict(zip(ax.get_yticks(), [t.get_text() for t in ax.get_yticklabels()], strict=True))
    assert ticks == {0.0: "first", -1.0: "second"}


def test_two_rays_end_in_arrows_at_both_edges(single: IVResults) -> None:
    res = with_set(with_estimate(single, 4.0, 1.0), [4.0], [1.0])
    (_, left), (right, _) = res.conf_int(method="ar").intervals
    ax = plot_estimates({"rays": res})
    low, high = ax.get_xlim()
    assert drawn(ax, "ar rays") == [[low, left], [right, high]]
    assert arrows(ax) == ["arrow left ar rays", "arrow right ar rays"]
    assert drawn(ax, "arrow left ar rays") == [[low]]
    assert drawn(ax, "arrow right ar rays") == [[high]]
    assert "no end on that side" in [t.get_text() for t in ax.get_legend().get_texts()]


def test_the_whole_line_spans_the_axis_and_says_so(single: IVResults) -> None:
    ax = plot_estimates({"weak": with_set(single, [0.0], [1.0])})
    assert drawn(ax, "ar weak") == [list(ax.get_xlim())]
    assert arrows(ax) == ["arrow left ar weak", "arrow right ar weak"]
    assert "the whole line" in words(ax)


def test_an_empty_set_says_so(single: IVResults) -> None:
    ax = plot_estimates({"2SLS": with_set(single, [9.0, -9.0], [9.0, 9.0])})
    assert drawn(ax, "ar 2SLS") == []
    assert "Anderson-Rubin set: empty" in words(ax)


def test_a_refused_estimate_is_a_word_not_a_point(data: tuple[np.ndarray, ...]) -> None:
    y, exog, d, _ = data
    res = MLIV(learner="ols").fit(y, exog, d, np.random.default_rng(1).normal(size=len(y)))
    assert np.isnan(res.params["endog"])
    ax = plot_estimates({"OLS": OLS().fit(*data), "MLIV": res})
    assert drawn(ax, "wald MLIV") == drawn(ax, "estimate MLIV") == []
    assert "no estimate" in words(ax)


def test_all_refused_is_still_a_picture(single: IVResults) -> None:
    res = with_set(with_estimate(single, np.nan, np.nan), [0.0], [1.0])
    low, high = plot_estimates({"weak": res}).get_xlim()
    assert low < 0 < high


# ---- the axis -----------------------------------------------------------------------------------


def test_a_huge_interval_is_cut_and_numbered(single: IVResults) -> None:
    huge = with_estimate(single, 1.0, 500.0)
    low, high = huge.conf_int().loc["endog"]
    ax = plot_estimates({"a": single, "b": single, "huge": huge})
    assert ax.get_xlim()[1] < 5
    assert drawn(ax, "wald huge") == [list(ax.get_xlim())]
    assert arrows(ax) == ["arrow left wald huge", "arrow right wald huge"]
    assert f"{low:.3g}" in words(ax)
    assert f"{high:.3g}" in words(ax)
    hollow = [line for line in ax.lines if line.get_gid() in arrows(ax)]
    assert {line.get_markerfacecolor() for line in hollow} == {"white"}


def test_every_estimate_is_in_view(single: IVResults) -> None:
    far = with_estimate(single, 80.0, 1e-3)
    ax = plot_estimates({"a": single, "b": single, "far": far})
    low, high = ax.get_xlim()
    assert low < single.params["endog"] < 80 < high


def test_a_piece_off_the_axis_leaves_an_arrow(single: IVResults) -> None:
    res = with_set(with_estimate(single, 1.1, 0.01), [4.0], [1.0])
    (_, left), _ = res.conf_int(method="ar").intervals
    ax = plot_estimates({"rays": res})
    assert left < ax.get_xlim()[0]
    assert arrows(ax) == ["arrow left ar rays", "arrow right ar rays"]
    assert f"{left:.3g}" in words(ax)


@pytest.mark.parametrize(("estimate", "shown"), [(1.0, True), (-1.0, True), (500.0, False)])
def test_zero_is_in_view_unless_far(single: IVResults, estimate: float, shown: bool) -> None:
    res = replace(with_estimate(single, estimate, 0.1), ar=())
    ax = plot_estimates({"model": res})
    low, high = ax.get_xlim()
    assert bool(low <= 0 <= high) is shown
    assert [0, 0] in [list(line.get_xdata()) for line in ax.lines]


def test_strength_at_the_right(data: tuple[np.ndarray, ...]) -> None:
    tsls, mliv = TSLS().fit(*data), MLIV(learner="ols").fit(*data)
    ax = plot_estimates({"OLS": OLS().fit(*data), "2SLS": tsls, "MLIV": mliv})
    f, learned = (float(res.first_stage.f["endog"]) for res in (tsls, mliv))
    assert f"F = {f:.1f}\nq × F = {2 * f:.1f}" in words(ax)
    assert f"F = {learned:.1f}" in words(ax)
    assert sum(text.startswith("F = ") for text in words(ax)) == 2


def test_nothing_overlaps_and_nothing_is_cut(single: IVResults) -> None:
    results = {
        "a rather long name": single,
        "weak": with_set(with_estimate(single, np.nan, np.nan), [0.0], [1.0]),
        "rays": with_set(with_estimate(single, 1.1, 0.01), [4.0], [1.0]),
        "huge": with_estimate(single, 1.0, 500.0),
    }
    figure = plot_estimates(results).figure
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    ax = figure.axes[0]
    parts = [text for text in ax.texts if text.get_text()]
    parts += [*ax.get_yticklabels(), ax.xaxis.label, ax.get_legend()]
    boxes = [part.get_window_extent(renderer) for part in parts]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, parts[i]
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, parts[i]
        assert not any(box.overlaps(other) for other in boxes[:i]), parts[i]


# ---- arguments ----------------------------------------------------------------------------------


def test_draws_where_told(single: IVResults) -> None:
    _, (left, right) = plt.subplots(1, 2)
    assert plot_estimates({"2SLS": single}, ax=right) is right
    assert not left.lines


def test_results_draw_themselves(single: IVResults) -> None:
    assert drawn(single.plot(), "wald 2SLS") == [single.conf_int().loc["endog"].tolist()]


def test_an_exogenous_coefficient_has_no_set(single: IVResults) -> None:
    name = single.exog[-1]
    ax = plot_estimates({"2SLS": single}, coefficient=name)
    assert drawn(ax, "wald 2SLS") == [single.conf_int().loc[name].tolist()]
    assert drawn(ax, "ar 2SLS") == []
    assert ax.get_xlabel() == f"Coefficient of {name}"


def test_several_endogenous_must_be_named(data: tuple[np.ndarray, ...]) -> None:
    y, exog, d, Z = data
    both = np.column_stack([d, Z[:, 0] + y])
    res = TSLS().fit(y, exog, both, Z)
    with pytest.raises(InputError, match="coefficient="):
        plot_estimates({"2SLS": res})
    name = res.endog[1]
    ax = plot_estimates({"2SLS": res}, coefficient=name)
    assert drawn(ax, "estimate 2SLS") == [[res.params[name]]]


def test_unknown_coefficient(single: IVResults) -> None:
    with pytest.raises(InputError, match="no coefficient 'wage'"):
        plot_estimates({"2SLS": single}, coefficient="wage")


@pytest.mark.parametrize("given", [{}, {"2SLS": 3.0}])
def test_needs_results(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="plot_estimates"):
        plot_estimates(given)


def test_without_matplotlib_the_extra_is_named(
    single: IVResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r"mlinstruments\[plot\]"):
        plot_estimates({"2SLS": single})
