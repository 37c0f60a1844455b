"""Pictures of dilemmas: answers by number of pedestrians, thresholds, marginal effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    pyplot,
    zero_line,
)
from mlinstruments._core.exceptions import InputError

from .answers import DilemmaAnswers
from .moral_machine import MarginalEffects
from .theory import kappa_between, threshold

LOOKS = {
    "morality": (BLUE, "o", "how moral"),
    "buy": (VERMILION, "s", "buy for oneself"),
    "others_buy": (GREEN, "^", "wish that others buy"),
    "regulate": (ORANGE, "D", "demand by law"),
}


def plot_answers(answers: DilemmaAnswers, perspective: str | None = None, ax: Any = None) -> Any:
    """Mean answers by number of pedestrians, a line a question, with 95% intervals of the mean.

    Parameters
    ----------
    answers : DilemmaAnswers
    perspective : str, optional
        Only answers from this one.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.
    InputError
        Where there are no such answers.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from mlinstruments.applications.dilemmas import MoralRespondent, elicit, plot_answers
    >>> ax = plot_answers(elicit(MoralRespondent(0.6, scale=5), draws=1), "passenger")
    >>> ax.get_ylabel()
    'mean answer (0 to 100)'
    """
    rows = answers.ok
    if perspective is not None:
        rows = rows[rows["perspective"] == perspective]
    if rows.empty:
        raise InputError(f"no answers with perspective {perspective!r}.")
    if ax is None:
        ax = pyplot().subplots(figsize=(6.0, 4.0), layout="constrained")[1]
    asked = [question for question in LOOKS if (rows["question"] == question).any()]
    shifts = np.linspace(-1, 1, len(asked)) if len(asked) > 1 else np.zeros(1)
    for shift, question in zip(shifts, asked, strict=True):
        colour, mark, words = LOOKS[question]
        own = rows[rows["question"] == question].groupby("pedestrians")["answer"]
        mean, error = own.mean(), 1.96 * own.sem().fillna(0.0)
        # A little aside, so that equal answers do not hide each other.
        x = mean.index.to_numpy() * 1.025**shift
        ax.errorbar(
            x, mean, error, color=colour, marker=mark, markersize=5, linewidth=1.3, label=words
        )
    numbers = sorted(rows["pedestrians"].unique().tolist())
    ax.set_xscale("log")
    ax.set_xticks(numbers, [f"{n:g}" for n in numbers])
    ax.minorticks_off()
    ax.set_ylim(-4, 104)
    ax.set_xlabel("pedestrians")
    ax.set_ylabel("mean answer (0 to 100)")
    ax.set_title(answers.name + (f", {perspective}" if perspective else ""), fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small", loc="best")
    return ax


def plot_threshold(
    answers: Mapping[str, DilemmaAnswers] | None = None, most: int = 100, ax: Any = None
) -> Any:
    """The least kappa at which a passenger gives up their life, and what answers say of kappa.

    Parameters
    ----------
    answers : mapping of name to DilemmaAnswers, optional
        Each one's range of kappa is a bar between the two numbers of pedestrians where a passenger
        riding alone changes their mind.
    most : int
        Largest number of pedestrians drawn.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from mlinstruments.applications.dilemmas import plot_threshold
    >>> plot_threshold().get_ylabel()
    'kappa'
    """
    if ax is None:
        ax = pyplot().subplots(figsize=(6.0, 4.0), layout="constrained")[1]
    n = np.geomspace(1, most, 400)
    ax.plot(n, threshold(n), color=BLUE, linewidth=2)
    ax.fill_between(n, threshold(n), 1.0, color=BLUE, alpha=0.08, linewidth=0)
    ax.axhline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.text(np.sqrt(most), 0.93, "self-sacrifice", ha="center", color=BLUE)
    ax.text(1.15, 0.53, "no self-sacrifice", ha="left", color=GREY)
    colours = (VERMILION, GREEN, ORANGE, PURPLE, SKY)
    for k, (name, found) in enumerate((answers or {}).items()):
        table = found.switching
        row = table[table["companion"] == "alone"]
        if row.empty or not bool(row["monotone"].iloc[0]):
            continue
        last, first = (
            None if pd.isna(v) else float(v) for v in row[["last_no", "first_yes"]].iloc[0]
        )
        low, high = kappa_between(last, first)
        x = np.sqrt((last or 1.0) * (first or most))
        colour = colours[k % len(colours)]
        ax.plot([x, x], [low, high], color=colour, linewidth=4, solid_capstyle="butt", label=name)
    ax.set_xscale("log")
    ticks = [v for v in (1, 2, 5, 10, 100, 1000) if v <= most]
    ax.set_xticks(ticks, [f"{v:g}" for v in ticks])
    ax.minorticks_off()
    ax.set_ylim(0.45, 1.02)
    ax.set_xlabel("pedestrians")
    ax.set_ylabel("kappa")
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="small", loc="upper right", title="answers say")
    return ax


def plot_marginal_effects(effects: MarginalEffects, ax: Any = None) -> Any:
    """Effects on the probability of being saved, with 95% intervals clustered by respondent.

    Parameters
    ----------
    effects : MarginalEffects
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.
    """
    table = effects.table
    if ax is None:
        height = 1.0 + 0.4 * len(table)
        ax = pyplot().subplots(figsize=(6.5, height), layout="constrained")[1]
    y = -np.arange(len(table), dtype=float)
    reach = np.vstack([table["effect"] - table["lower"], table["upper"] - table["effect"]])
    zero_line(ax)
    ax.errorbar(
        table["effect"], y, xerr=reach, fmt="o", color=BLUE, markersize=5, linewidth=1.3, zorder=3
    )
    words = [f"{row['to']}\nrather than {row['from']}" for _, row in table.iterrows()]
    ax.set_yticks(y, words, fontsize="small")
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("change in the probability of being saved")
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax
