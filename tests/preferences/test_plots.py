"""What the pictures show; how they look was judged by eye."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mlinstruments._core.exceptions import InputError, MissingExtraError
from mlinstruments.games import default_grid
from mlinstruments.preferences import PreferenceLogit, PreferenceResults, simulate_choices
from mlinstruments.preferences.plots import (
    choice_bins,
    plot_choice_curve,
    plot_posteriors,
    plot_preferences,
    posterior_order,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

GRID = default_grid()


@pytest.fixture(autouse=True)
def _close() -> object:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def agent(scale: float, **theta: float) -> PreferenceResults:
    """A fit of kappa alone."""
    fit: PreferenceResults = PreferenceLogit(parameters=("kappa",)).fit(
        simulate_choices(GRID, scale=scale, draws=40, **theta)
    )
    return fit


@pytest.fixture(scope="module")
def fit() -> PreferenceResults:
    """An agent of kappa .3."""
    return agent(0.1, kappa=0.3)


def words(ax: object) -> list[str]:
    """Text inside the axes."""
    return [text.get_text() for text in ax.texts]  # type: ignore[attr-defined]


def test_estimates_stand_where_they_are(fit: PreferenceResults) -> None:
    other = agent(0.1, kappa=0.1)
    axes = plot_preferences({"base": fit, "tuned": other}, level=0.9)
    assert len(axes) == 2
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["base", "tuned"]
    for ax, name in zip(axes, fit.names, strict=True):
        dots = [line for line in ax.lines if line.get_marker() == "o"]
        assert [float(d.get_xdata()[0]) for d in dots] == [fit.params[name], other.params[name]]
        bars = [line for line in ax.lines if line.get_linewidth() == 1.8]
        limits = fit.conf_int(0.9).loc[name]
        np.testing.assert_allclose(bars[0].get_xdata(), limits)
    assert "kappa" in axes[1].get_title()


def test_what_is_not_identified_is_said(fit: PreferenceResults) -> None:
    random = agent(-0.1)
    scale = PreferenceLogit(parameters=()).fit(simulate_choices(GRID, scale=0.1, draws=20))
    axes = plot_preferences({"logit": fit, "random": random, "payoffs only": scale})
    assert words(axes[0]) == ["not identified"]
    assert words(axes[1]) == ["not identified", "not estimated"]
    alone = plot_preferences({"random": random})
    assert words(alone[0]) == ["not identified"]


def test_unbounded_and_distant_ends_are_arrows(fit: PreferenceResults) -> None:
    weak = PreferenceLogit(parameters=("kappa",)).fit(
        simulate_choices(GRID[:8], scale=0.01, draws=8, random_state=11)
    )
    assert weak.identification.identified
    assert np.isinf(weak.conf_int(method="fieller").loc["kappa"]).any()
    axes = plot_preferences({"a": fit, "weak": weak}, method="fieller", parameters=("kappa",))
    arrows = [line for line in axes[0].lines if str(line.get_gid()).startswith("arrow")]
    assert len(arrows) == 2
    filled = [line.get_markerfacecolor() for line in arrows]
    assert filled == ["#0072B2", "#0072B2"]
    rows = {"a": fit, "b": fit, "c": fit, "weak": weak}
    axes = plot_preferences(rows, parameters=("kappa",))
    hollow = [line for line in axes[0].lines if str(line.get_gid()).startswith("arrow")]
    assert [line.get_markerfacecolor() for line in hollow] == ["white"] * len(hollow)
    assert len(words(axes[0])) == len(hollow)


@pytest.mark.parametrize(
    ("fits", "options", "message"),
    [
        ({}, {}, "at least one fit"),
        ({"a": 3}, {}, "'a' is a int"),
        ("fit", {"parameters": ("beta",)}, "no fit has 'beta'"),
        ("fit", {"method": "wald"}, "method must be one of"),
    ],
)
def test_pictures_that_cannot_be(
    fit: PreferenceResults, fits: object, options: dict[str, object], message: str
) -> None:
    shown = {"a": fit} if fits == "fit" else fits
    with pytest.raises(InputError, match=message):
        plot_preferences(shown, **options)  # type: ignore[arg-type]


def test_bins_hold_every_choice_once(fit: PreferenceResults) -> None:
    found = choice_bins(fit, 8)
    assert len(found.gap) <= 8
    nodes = sum(p.n_nodes for p in GRID) * 40
    assert found.count.sum() == nodes
    assert (np.diff(found.gap) > 0).all()
    assert ((found.lower <= found.share) & (found.share <= found.upper)).all()
    # Whole strategies were fitted, not nodes, so that means agree but for sampling error.
    spread = found.fitted @ found.count / nodes - found.share @ found.count / nodes
    assert abs(spread) < 0.03
    node = PreferenceLogit(parameters=("kappa",), unit="node").fit(
        simulate_choices(GRID, scale=0.1, kappa=0.3, draws=40)
    )
    assert (choice_bins(node, 8).count == found.count).all()


def test_curve(fit: PreferenceResults) -> None:
    ax = plot_choice_curve(fit, bins=6)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["own payoffs alone", "fitted", "observed, 95% interval"]
    low, high = ax.get_xlim()
    assert low == -high
    again = plot_choice_curve(agent(-0.1), ax=ax)
    assert again is ax
    assert words(ax) == ["no fitted curve: not identified"]
    with pytest.raises(InputError, match="bins must be"):
        plot_choice_curve(fit, bins=1)


def test_posteriors() -> None:
    tau = np.array([[0.2, 0.8], [0.9, 0.1], [0.6, 0.4], [0.05, 0.95]])
    assert posterior_order(tau).tolist() == [1, 2, 3, 0]
    made = SimpleNamespace(
        posteriors=pd.DataFrame(tau, columns=[1, 2]), shares=pd.Series([0.44, 0.56], [1, 2])
    )
    ax = plot_posteriors(made)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["type 1, share 0.44", "type 2, share 0.56"]
    assert "4 subjects" in ax.get_xlabel()
    first = ax.patches[0].get_data()
    np.testing.assert_allclose(first.values, [0.9, 0.6, 0.05, 0.2])
    np.testing.assert_allclose(ax.patches[1].get_data().values, 1.0)


def test_a_mixture_is_drawn() -> None:
    pytest.importorskip("mlinstruments.preferences.mixture")
    made = simulate_choices(GRID, scale=0.1, kappa=0.3, draws=2, subjects=12)
    mixture = PreferenceLogit(parameters=("kappa",), n_types=2, n_starts=3).fit(made)
    assert plot_posteriors(mixture).get_xlim() == (0.0, 12.0)


def test_without_matplotlib(fit: PreferenceResults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r"mlinstruments\[plot\]"):
        plot_choice_curve(fit)
    with pytest.raises(MissingExtraError):
        plot_preferences({"a": fit})
    with pytest.raises(MissingExtraError):
        plot_posteriors(SimpleNamespace())
