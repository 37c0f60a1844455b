"""Pictures of both applications: what is drawn is what was computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.applications.dilemmas import (
    DilemmaDesign,
    MoralRespondent,
    elicit,
    marginal_effects,
    plot_answers,
    plot_marginal_effects,
    plot_threshold,
    threshold,
)
from mlinstruments.applications.pricing import (
    BestResponseFirm,
    LogitFirm,
    Market,
    TitForTatFirm,
    compete,
    impulse_response,
    plot_gains,
    plot_prices,
    plot_response,
    q_learning,
)

from ..tolerances import BRUTE_FORCE, ROUNDING
from .test_moral_machine import made_up


def floats(drawn: Any) -> Any:
    """What matplotlib keeps as an array of objects or as scalars, by version."""
    return np.array([float(value) for value in drawn])


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def test_price_paths() -> None:
    run = compete(Market(), [LogitFirm(0.5), BestResponseFirm()], periods=15, sessions=4)
    ax = plot_prices(run)
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert lines["economicus"] == pytest.approx(run.prices[:, :, 1].mean(axis=0), rel=ROUNDING)
    one = plot_prices(run, session=2)
    lines = {line.get_label(): line.get_ydata() for line in one.lines}
    assert lines["logit"] == pytest.approx(run.prices[2, :, 0], rel=ROUNDING)
    assert {text.get_text() for text in one.texts} == {"Nash", "monopoly"}
    path = run.prices[2, :, 0]
    smooth = plot_prices(run, session=2, window=4)
    lines = {line.get_label(): line.get_ydata() for line in smooth.lines}
    means = [path[max(0, t - 3) : t + 1].mean() for t in range(len(path))]
    assert lines["logit"] == pytest.approx(means, rel=ROUNDING)
    dots = [line.get_ydata() for line in smooth.lines if line.get_marker() == "."]
    assert dots[0] == pytest.approx(path, rel=ROUNDING)
    with pytest.raises(InputError, match="session must be 0 to 3"):
        plot_prices(run, session=4)
    with pytest.raises(InputError, match="window"):
        plot_prices(run, window=0)


def test_gains_of_pairs() -> None:
    market, firms = Market(), (BestResponseFirm(), BestResponseFirm(0.5), BestResponseFirm(1.0))
    runs = {
        (a.name, b.name): compete(market, [a, b], periods=150)
        for k, a in enumerate(firms)
        for b in firms[k:]
    }
    ax = plot_gains(runs)
    shown = np.asarray(ax.images[0].get_array())
    for i, a in enumerate(firms):
        for j, b in enumerate(firms):
            both = market.equilibrium((a.kappa, b.kappa))
            expected = market.profit_gain(both.profits)[0]
            assert shown[i, j] == pytest.approx(expected, abs=BRUTE_FORCE)
    # Selfish firms gain on moral ones, and both gain where both are moral.
    assert shown[0, 1] > shown[1, 1] > shown[1, 0]
    with pytest.raises(InputError, match="a pair has two firms"):
        plot_gains({("a", "b"): compete(Market(3), [BestResponseFirm()] * 3, 3)})


def test_responses() -> None:
    found = impulse_response(
        Market(), [TitForTatFirm(), TitForTatFirm()], price=1.5, at=5, after=3, sessions=3
    )
    ax = plot_response(found)
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert lines["others"] == pytest.approx(found["others"].to_numpy(), rel=ROUNDING)
    learnt = q_learning(sessions=5, beta=2e-3, n_prices=6, stable=2000)
    assert plot_response(learnt.deviation(after=4)).get_xlabel() == "period after the cut"
    with pytest.raises(InputError, match="takes the table"):
        plot_response(pd.DataFrame({"x": [1.0]}))


def test_answers_and_thresholds() -> None:
    answers = elicit(MoralRespondent(0.6, 4.0), draws=1)
    ax = plot_answers(answers, "observer")
    assert len(ax.containers) == 4
    means = answers.frame[answers.frame["perspective"] == "observer"]
    means = means[means["question"] == "buy"].groupby("pedestrians")["answer"].mean()
    drawn = next(c for c in ax.containers if c.get_label() == "buy for oneself")
    np.testing.assert_allclose(floats(drawn.lines[0].get_ydata()), means, rtol=ROUNDING)
    with pytest.raises(InputError, match="no answers with perspective"):
        plot_answers(answers, "driver")
    buying = DilemmaDesign.full(
        perspectives=("passenger",), companions=("alone",), questions=("buy",)
    )
    found = {str(k): elicit(MoralRespondent(k), buying, draws=1) for k in (0.3, 0.7)}
    curve = plot_threshold(found)
    x, y = curve.lines[0].get_data()
    np.testing.assert_allclose(floats(y), threshold(x), rtol=ROUNDING)
    bars = {line.get_label(): line.get_ydata() for line in curve.lines}
    assert bars["0.7"][0] <= 0.7 < bars["0.7"][1]


def test_marginal_effects() -> None:
    effects = marginal_effects(made_up(300))
    ax = plot_marginal_effects(effects)
    drawn = floats(ax.containers[0].lines[0].get_xdata())
    np.testing.assert_allclose(drawn, effects.table["effect"], rtol=ROUNDING)
    assert len(ax.get_yticklabels()) == len(effects.table)
