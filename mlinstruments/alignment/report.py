"""An evaluation as one HTML file: tables, and pictures inside it."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from mlinstruments._core.drawing import GREY, VERMILION, pyplot

if TYPE_CHECKING:
    from .evaluation import Evaluation

COLOURS = (GREY, VERMILION)
STYLE = """
body { font-family: system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; line-height: 1.45; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .92rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; }
h2 { margin-top: 2.2rem; }
pre { white-space: pre-wrap; background: #f5f5f5; padding: .7rem; font-size: .85rem; }
"""


def html_report(found: Evaluation) -> str:
    """The file's text.

    Parameters
    ----------
    found : Evaluation

    Returns
    -------
    str
    """
    base, tuned = found.agents
    title = f"{tuned} against {base}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>Answers are held against the choice of a utility with kappa {found.kappa:g}. Standard"
        " errors are clustered by protocol, where there are several; repeated prompts about one"
        " protocol are not independent evidence.</p>",
        "<h2>Accuracy</h2>",
        _picture(plot_accuracy(found).figure, "share of answers that are the utility's choice"),
        found.summary.as_html(),
        "<p>Reasons: share of answers with reasons that are right in every number. A choice may be"
        " right although what leads to it is not.</p>",
        "<h2>What decides: labels or payoffs</h2>",
        _frame(found.accuracy(())[["first_label", "mass", "answered"]]),
        "<p>first_label: share of choices that take the label shown first; .5 if labels do not"
        " matter, since both orders are asked. mass: mean probability that a label is written where"
        " the decision stands. answered: share of answers that are a choice.</p>",
        _picture(curve_figure(found), "share of an action against the own payoff it gains"),
        "<h2>Preferences</h2>",
    ]
    for name in found.agents:
        fit = found.fits[name]
        parts.append(f"<h3>{html.escape(name)}</h3>")
        if fit is None:
            parts.append("<p>No answer is a choice.</p>")
            continue
        parts.append(fit.summary.as_html())
        parts.append(fit.incentive_sensitivity().summary.as_html())
    parts += ["<h2>Some answers</h2>", _answers(found)]
    body = "\n".join(parts)
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}"
        f"</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def plot_accuracy(found: Evaluation, ax: Any = None) -> Any:
    """Accuracy by cell and kind of game, base and tuned, with 95% intervals.

    Intervals are those of Student's t with protocols - 1 degrees of freedom, as those of the fits.

    Parameters
    ----------
    found : Evaluation
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.
    """
    table = found.accuracy()
    places = list(dict.fromkeys((cell, kind) for _, cell, kind in table.index))
    ax = _axes(1, (8.0, 1.2 + 0.45 * len(places)))[0] if ax is None else ax
    for k, (name, colour) in enumerate(zip(found.agents, COLOURS, strict=True)):
        rows = table.loc[name].reindex(places)
        y = np.arange(len(places)) + (0.14 if k else -0.14)
        mean = rows["accuracy"].to_numpy(float)
        # One protocol has no error, and no interval.
        quantile = stats.t.ppf(0.975, np.maximum(rows["protocols"].to_numpy(float) - 1, 1))
        reach = quantile * rows["std_error"].to_numpy(float)
        errors = np.vstack([np.minimum(reach, mean), np.minimum(reach, 1 - mean)])
        ax.errorbar(mean, y, xerr=errors, fmt="o", color=colour, label=name, markersize=5)
    ax.axvline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
    ax.set_yticks(range(len(places)), [f"{cell}: {kind}" for cell, kind in places])
    ax.invert_yaxis()
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("share of answers that are the utility's choice")
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    return ax


def curve_figure(found: Evaluation) -> Any:
    """Choice curves of base and tuned, side by side."""
    from mlinstruments.preferences.plots import plot_choice_curve

    axes = _axes(2, (10.0, 4.0))
    for ax, name in zip(axes, found.agents, strict=True):
        fit = found.fits[name]
        if fit is not None:
            plot_choice_curve(fit, ax=ax)
        ax.set_title(name, fontsize="medium")
    return axes[0].figure


def _axes(columns: int, size: tuple[float, float]) -> list[Any]:
    _, axes = pyplot().subplots(1, columns, figsize=size, layout="constrained", squeeze=False)
    for ax in axes[0]:
        ax.spines[["top", "right"]].set_visible(False)
    return list(axes[0])


def _picture(figure: Any, words: str) -> str:
    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=140)
    pyplot().close(figure)
    data = base64.b64encode(made.getvalue()).decode()
    return f"<p><img alt='{html.escape(words)}' src='data:image/png;base64,{data}'></p>"


def _frame(frame: pd.DataFrame) -> str:
    return str(frame.to_html(float_format="%.3f", border=0))


def _answers(found: Evaluation, each: int = 2) -> str:
    """A few answers of both, right and wrong."""
    parts = []
    for name in found.agents:
        rows = found.rows[found.rows["agent"] == name]
        for right in (1.0, 0.0):
            some = rows[rows["right"] == right].head(each)
            for line in some.to_dict("records"):
                head = f"{name}, {line['cell']}, {line['kind']}: {'right' if right else 'wrong'}"
                said = line["raw"] or "(no text)"
                parts.append(f"<p>{html.escape(head)}</p><pre>{html.escape(said)}</pre>")
    return "\n".join(parts)
