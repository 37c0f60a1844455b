"""How far tuning moved a model's choices, and whether they are those of the utility."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import AssumptionWarning, InputError, NotIdentifiedError
from mlinstruments._core.tables import Printed, Table
from mlinstruments._core.typing import AnyArray, FloatArray
from mlinstruments.agents import Agent, Prompt, make_prompts, play
from mlinstruments.agents.scenes import SCENES
from mlinstruments.games.protocols import Protocol
from mlinstruments.preferences import ChoiceData, PreferenceLogit, PreferenceResults

from .encoding import read_chats
from .labels import best_choice, matrix_kind, utility_weight

# Wordings and renderings that are asked in every combination, by name.
Cells = Mapping[str, tuple[Sequence[str], Sequence[str]]]
TESTED = ("kappa", "lambda")
# Answers of a log of which the mass on labels is measured, evenly spaced: a mean of as many has an
# error of at most .1, and every one of them costs as much as an answer.
MEASURED = 25


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Printed):
    """What :func:`evaluate` returns.

    Parameters
    ----------
    kappa : float
        Of the utility answers are held against.
    agents : tuple of str
        Base and tuned.
    rows : DataFrame
        One row an answer: agent, cell, kind of game, protocol, template, order, place of the label
        chosen, action, status, ``right`` (1 where it is the utility's choice; an answer that is no
        choice is not; NaN where both actions are equally good), and where the agent tells them the
        mass on labels and the share of the first in it, of some of the answers.
    fits : dict of str to PreferenceResults
        kappa and lambda of each agent, clustered by protocol.
    tests : DataFrame
        Index: kappa, lambda; columns: statistic, pvalue, note (why there is no test).
    """

    kappa: float
    agents: tuple[str, str]
    rows: pd.DataFrame
    fits: dict[str, PreferenceResults]
    tests: pd.DataFrame

    def accuracy(self, by: Sequence[str] = ("cell", "kind")) -> pd.DataFrame:
        """Share of answers that are the utility's choice, and what else is worth knowing of them.

        Parameters
        ----------
        by : sequence of str
            Columns of ``rows`` to split by, beside the agent; empty for all answers together.

        Returns
        -------
        DataFrame
            accuracy, std_error (clustered by protocol), action_rate (of the first action, C),
            first_label (share of the label shown first), mass (mean probability on labels, NaN
            where not known), answered (share that is a choice), answers, protocols.
        """
        columns = ["agent", *by]
        groups = list(self.rows.groupby(columns, sort=False))
        index = pd.MultiIndex.from_tuples([name for name, _ in groups], names=columns)
        found = pd.DataFrame([_scores(frame) for _, frame in groups], index)
        return (
            found.sort_index()
            if by
            else found.set_axis(pd.Index([n for (n,) in index], name="agent"))
        )

    @property
    def summary(self) -> Table:
        """Accuracy by cell, preferences before and after, and tests."""
        found = self.accuracy(())
        facts = [("Utility", f"kappa {self.kappa:g}"), ("Answers", str(len(self.rows)))]
        for name in self.agents:
            line = found.loc[name]
            facts.append(
                (name, f"accuracy {line['accuracy']:.3f} ({line['std_error']:.3f}),"
                       f" first label {line['first_label']:.3f}, answered {line['answered']:.3f}")
            )  # fmt: skip
        cells = self.accuracy()
        rows = [
            (*map(str, index), f"{line['accuracy']:.3f}", f"{line['std_error']:.3f}",
             f"{line['action_rate']:.3f}", f"{line['answers']:.0f}")
            for index, line in cells.iterrows()
        ]  # fmt: skip
        columns = ("Agent", "Cell", "Game", "Accuracy", "Std. Err.", "Action rate", "Answers")
        notes = [preference_words(name, self.fits[name]) for name in self.agents]
        notes += [equality_words(name, line) for name, line in self.tests.iterrows()]
        return Table("Base against tuned", tuple(facts), columns, tuple(rows), tuple(notes))

    def write(self, path: str | Path) -> Path:
        """Write one HTML file with tables and pictures, which needs no other file.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        Path

        Raises
        ------
        MissingExtraError
            Where matplotlib is not installed.
        """
        from .report import html_report

        place = Path(path)
        place.write_text(html_report(self), encoding="utf-8")
        return place


def evaluate(
    base: Agent,
    tuned: Agent,
    protocols: Sequence[Protocol],
    folder: str | Path,
    *,
    utility: str | float,
    cells: Cells,
    labels: Sequence[str] = ("letters",),
    belief: float | Sequence[float] | None = None,
    reply: str = "reasoned",
    base_reply: str | None = None,
    trained_on: str | Path | None = None,
    progress: bool | None = None,
) -> Evaluation:
    """Let two agents play, hold their choices against a utility, and estimate both.

    Every protocol is asked in every cell and both orders of labels. In games where both move at
    once, the other's action is told, first one then the other, unless a belief is given.

    Parameters
    ----------
    base, tuned : Agent
        With different names. Where an agent has ``decision_probabilities``, as
        :class:`GreedyAgent`, the mass on labels is measured too.
    protocols : sequence of Protocol
    folder : str or Path
        Logs go there, one a cell; a second call goes on with them.
    utility : {"economicus", "moralis"} or float
        What the answers are held against.
    cells : mapping of str to (wordings, renderings)
        Parts of the evaluation, such as held-out wordings.
    labels : sequence of str
    belief : float or sequence of float, optional
        Stated of the other's play; needed for games in which one moves first.
    reply : {"label", "reasoned"}
    base_reply : {"label", "reasoned"}, optional
        Of the base, where it is to be asked otherwise: a model that was not tuned to give reasons
        may never come to a decision.
    trained_on : str or Path, optional
        Folder of a data set: refused where one of its prompts is asked here.
    progress : bool, optional

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        For agents of one name, games without a belief, or prompts that were trained on.

    Examples
    --------
    >>> import tempfile
    >>> from mlinstruments.agents import LogitAgent
    >>> from mlinstruments.alignment import evaluate
    >>> from mlinstruments.games import sample_protocols
    >>> found = evaluate(
    ...     LogitAgent(0.0, name="base"), LogitAgent(0.2, kappa=0.5, name="tuned"),
    ...     sample_protocols("matrix", 12), tempfile.mkdtemp(), utility="moralis",
    ...     cells={"plain": (("plain", "terse"), ("sentences", "table"))})
    >>> rates = found.accuracy(())["accuracy"]
    >>> bool(rates["base"] < 0.7 < rates["tuned"])
    True
    """
    kappa = utility_weight(utility)
    if base.name == tuned.name:
        raise InputError(f"both agents are called {base.name!r}: give them different names.")
    told = _told(protocols, belief)
    if trained_on is not None:
        _check_unseen(protocols, told, cells, labels, reply, Path(trained_on))
    place = Path(folder)
    frames = []
    for agent, (cell, (wordings, renderings)), how in product((base, tuned), cells.items(), told):
        shown = {"wordings": wordings, "renderings": renderings, "labels": labels}
        shown |= {"reply": base_reply or reply if agent is base else reply}
        ending = "" if how.get("seen") is None else f".{how['seen']}"
        log = place / f"{_slug(agent.name)}.{_slug(cell)}{ending}.jsonl"
        played = play(
            agent, protocols, draws=2, log=log, subject=agent.name, retries=0,
            progress=progress, **shown, **how,
        )  # fmt: skip
        frame = pd.DataFrame(played.rows).assign(agent=agent.name, cell=cell)
        frame["seen"] = how.get("seen")
        frames.append(_measured(frame, agent, protocols, how, shown))
    rows = pd.concat(frames, ignore_index=True)
    rows = rows.assign(**_judged(rows, {p.id: p for p in protocols}, kappa))
    fits = {name: _fit(rows[rows["agent"] == name]) for name in (base.name, tuned.name)}
    tests = pd.DataFrame([_test(fits[base.name], fits[tuned.name], n) for n in TESTED], TESTED)
    return Evaluation(kappa, (base.name, tuned.name), rows, fits, tests)


def compare_tuned(one: Evaluation, other: Evaluation) -> pd.DataFrame:
    """Tests that two tuned agents have equal kappa and lambda.

    Parameters
    ----------
    one, other : Evaluation

    Returns
    -------
    DataFrame
        As ``Evaluation.tests``.
    """
    fits = [found.fits[found.agents[1]] for found in (one, other)]
    return pd.DataFrame([_test(fits[0], fits[1], name) for name in TESTED], TESTED)


# ---- what is asked ------------------------------------------------------------------------------


def _told(protocols: Sequence[Protocol], belief: Any) -> list[dict[str, Any]]:
    """What prompts say of the other: each of its actions, or a belief."""
    if not protocols:
        raise InputError("there are no protocols to evaluate on.")
    if belief is not None:
        return [{"belief": belief}]
    slow = next((p for p in protocols if not SCENES[p.game].at_once), None)
    if slow is not None:
        raise InputError(
            f"in protocol {slow.id!r} ({slow.game}) one moves first, so that the best choice"
            " depends on what is expected of the other: give belief=, such as 0.5."
        )
    return [{"seen": 0}, {"seen": 1}]


def _check_unseen(
    protocols: Sequence[Protocol], told: Sequence[dict[str, Any]], cells: Cells,
    labels: Sequence[str], reply: str, folder: Path,
) -> None:  # fmt: skip
    trained = {
        tuple(m["content"] for m in chat[:-1]) for chat in read_chats(folder / "train.jsonl")
    }
    for (wordings, renderings), how in product(cells.values(), told):
        for prompt in make_prompts(
            protocols, wordings=wordings, renderings=renderings, labels=labels, reply=reply, **how
        ):
            if tuple(m["content"] for m in prompt.messages) in trained:
                raise InputError(
                    f"prompt {prompt.id!r} stands in {folder / 'train.jsonl'}: accuracy on it would"
                    " say nothing. Evaluate on other protocols."
                )


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or "_"


def _measured(
    frame: pd.DataFrame, agent: Any, protocols: Sequence[Protocol], how: Any, shown: Any
) -> pd.DataFrame:
    """Probabilities of the labels where the decision is written, if the agent tells them."""
    measure = getattr(agent, "decision_probabilities", None)
    if measure is None:
        return frame.assign(mass=np.nan, first_probability=np.nan)
    known: dict[tuple[Any, ...], Prompt] = {
        (p.protocol.id, p.node, p.template, p.order): p
        for p in make_prompts(protocols, **shown, **how)
    }
    some = frame.iloc[:: max(1, len(frame) // MEASURED)]
    keys = zip(some["protocol_id"], some["node"], some["template"], some["order"], strict=True)
    p = measure([known[key] for key in keys], some["raw"].tolist())
    mass = pd.Series(p.sum(axis=1), some.index)
    return frame.assign(mass=mass, first_probability=pd.Series(p[:, 0], some.index) / mass)


# ---- what was answered --------------------------------------------------------------------------


def _judged(rows: pd.DataFrame, protocols: dict[str, Protocol], kappa: float) -> dict[str, Any]:
    """Columns right (NaN in a tie, where nothing is), best (None in a tie) and kind."""
    best, kinds = [], []
    beliefs = rows[[c for c in ("belief_1", "belief_2", "belief_3") if c in rows]].to_numpy(float)
    for name, node, y in zip(rows["protocol_id"], rows["node"], beliefs, strict=True):
        protocol = protocols[name]
        best.append(best_choice(protocol, y[: protocol.n_nodes], kappa).choice(int(node)))
        both = SCENES[protocol.game].at_once
        kinds.append(matrix_kind(protocol) if both else protocol.game)
    ok = (rows["status"] == "ok").to_numpy()
    action = rows["action"].to_numpy()
    right = [
        np.nan if b is None else float(bool(o) and int(a) == int(b))
        for o, a, b in zip(ok, action, best, strict=True)
    ]
    return {"right": right, "best": best, "kind": kinds}


def _scores(frame: pd.DataFrame) -> dict[str, float]:
    judged = frame[frame["right"].notna()]
    mean, error = clustered_mean(judged["right"].to_numpy(), judged["protocol_id"].to_numpy())
    ok = frame[frame["status"] == "ok"]
    return {
        "accuracy": mean,
        "std_error": error,
        "action_rate": float((ok["action"] == 1).mean()),
        "first_label": float((ok["place"] == 0).mean()),
        "mass": float(frame["mass"].mean()),
        "answered": len(ok) / len(frame),
        "answers": len(frame),
        "protocols": frame["protocol_id"].nunique(),
    }


def clustered_mean(values: FloatArray, clusters: AnyArray) -> tuple[float, float]:
    """Mean and its standard error robust to dependence within clusters.

    Parameters
    ----------
    values : array, shape (N,)
    clusters : array, shape (N,)

    Returns
    -------
    mean, std_error : float
        The error is NaN with one cluster; factor C / (C - 1).

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.alignment.evaluate import clustered_mean
    >>> clustered_mean(np.array([1.0, 1.0, 0.0, 0.0]), np.array([1, 1, 2, 2]))
    (0.5, 0.5)
    """
    if not len(values):
        return float("nan"), float("nan")
    mean, n = float(values.mean()), len(values)
    code = pd.factorize(clusters)[0]
    C = int(code.max()) + 1
    if C < 2:
        return mean, float("nan")
    sums = np.bincount(code, values - mean)
    return mean, float(np.sqrt(C / (C - 1) * (sums**2).sum()) / n)


def _fit(rows: pd.DataFrame) -> PreferenceResults:
    """kappa and lambda from all answers of an agent, clustered by protocol."""
    import warnings

    # One protocol with other beliefs is another situation of the same cluster.
    told = rows["seen"].map(lambda s: "" if pd.isna(s) else f" after {int(s)}")
    # As text, which is how a reader of the log has them.
    table = rows.assign(
        protocol=rows["protocol_id"],
        protocol_id=rows["protocol_id"] + told,
        settings="",
        template=rows["cell"] + "/" + rows["template"],
    ).drop(columns=["right", "best", "raw", "label", "place"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AssumptionWarning)  # few clusters: the table says how many
        data = ChoiceData.from_frame(table, f"answers of {rows['agent'].iloc[0]}")
        found: PreferenceResults = PreferenceLogit(("kappa",)).fit(data, clusters="protocol")
    return found


def _test(one: PreferenceResults, other: PreferenceResults, name: str) -> dict[str, Any]:
    try:
        found = one.test_equal(other, (name,))
    except NotIdentifiedError as error:
        return {"statistic": np.nan, "pvalue": np.nan, "note": str(error)}
    return {"statistic": found.statistic, "pvalue": found.pvalue, "note": ""}


def preference_words(name: str, fit: PreferenceResults, level: float = 0.95) -> str:
    """kappa and lambda of an agent in one sentence, or the values that explain every choice."""
    if fit.identification.identified:
        limits = fit.conf_int(level, "fieller")
        parts = [
            f"{p} {fit.params[p]:.3g} [{limits.loc[p, 'lower']:.3g}, {limits.loc[p, 'upper']:.3g}]"
            for p in TESTED
        ]
        return f"{name}: {', '.join(parts)}."
    intervals = fit.identification.intervals
    if intervals and "kappa" in intervals:
        low, high = intervals["kappa"]
        return f"{name}: every choice is a best one for kappa in [{low:.3g}, {high:.3g}]."
    return f"{name}: no kappa, {fit.identification.reason}"


def equality_words(name: Any, line: pd.Series) -> str:
    """A test of equal parameters in one sentence."""
    if line["note"]:
        return f"Equal {name}: {line['note']}"
    return f"Equal {name}: chi2(1) {line['statistic']:.2f}, p {line['pvalue']:.2g}."
