"""How far tuning moved a model's choices, and whether they are those of the utility."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import AssumptionWarning, NotIdentifiedError
from mlinstruments.agents import Agent, AgentError, Prompt, play
from mlinstruments.agents.scenes import SCENES
from mlinstruments.games.protocols import Protocol
from mlinstruments.preferences import ChoiceData, PreferenceLogit, PreferenceResults

from .evaluation import CHOICES, TESTED, Evaluation, exchange_test
from .labels import best_choice, matrix_kind, universal_action, utility_weight
from .questions import Cells, Log, check_agents, check_cells, check_unseen, logs_of, told_of
from .verify import reasons_hold

# Answers of a log of which the mass on labels is measured, evenly spaced pairs of both orders: a
# mean of as many pairs has an error of at most .3, and each of them costs as much as two answers.
MEASURED = 6
# One prompt in both orders of labels.
PAIR = ("protocol_id", "node", "template")
KEY = ("protocol_id", "node", "template", "order")
# Rows of an agent, and its fit.
Answered = tuple[pd.DataFrame, PreferenceResults | None]


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
        Parts of the evaluation, such as held-out wordings; names that give one log are refused.
    labels : sequence of str
    belief : float or sequence of float, optional
        Stated of the other's play; needed for games in which one moves first.
    reply : {"label", "reasoned"}
    base_reply : {"label", "reasoned"}, optional
        Of the base, where it is to be asked otherwise: a model that was not tuned to give reasons
        may never come to a decision.
    trained_on : str or Path, optional
        Folder of a data set: refused where a prompt of its training or validation part is asked
        here, or a protocol of either, or an affine copy of one.
    progress : bool, optional

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        Before anything is asked: for agents of one name or without ``answer``, cells that are none,
        unknown templates, games without a belief or with nothing to choose, and prompts or
        protocols that were trained on.
    AgentError
        Where an agent answered nothing of a log.

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
    check_agents(base, tuned)
    check_cells(cells)
    told = told_of(protocols, belief)
    for protocol, how in product(protocols, told):
        # Raises where there is nothing to choose.
        best_choice(protocol, how.get("belief", how.get("seen")), kappa)
    replies = {"base": base_reply if base_reply is not None else reply, "tuned": reply}
    logs = [
        log
        for agent, part in ((base, "base"), (tuned, "tuned"))
        for log in logs_of(agent, protocols, cells, told, labels, replies[part])
    ]
    if trained_on is not None:
        check_unseen([log for log in logs if log.agent is tuned], protocols, Path(trained_on))
    frames = [_answers(log, protocols, Path(folder), kappa, progress) for log in logs]
    rows = pd.concat(frames, ignore_index=True)
    rows = rows.assign(**_judged(rows, {p.id: p for p in protocols}, kappa))
    fits = {name: _fit(rows[rows["agent"] == name]) for name in (base.name, tuned.name)}
    return Evaluation(
        kappa, (base.name, tuned.name), rows, fits,
        _tests(*((rows[rows["agent"] == name], fits[name]) for name in (base.name, tuned.name))),
    )  # fmt: skip


def compare_tuned(one: Evaluation, other: Evaluation) -> pd.DataFrame:
    """Tests that two tuned agents have equal kappa and lambda, and that they choose alike.

    Parameters
    ----------
    one, other : Evaluation

    Returns
    -------
    DataFrame
        As ``Evaluation.tests``.
    """
    tuned = [(found, found.agents[1]) for found in (one, other)]
    return _tests(*((f.rows[f.rows["agent"] == name], f.fits[name]) for f, name in tuned))


# ---- what was answered --------------------------------------------------------------------------


def _key(prompt: Prompt) -> tuple[Any, ...]:
    return (prompt.protocol.id, prompt.node, prompt.template, prompt.order)


def _answers(
    log: Log, protocols: Sequence[Protocol], folder: Path, kappa: float, progress: bool | None
) -> pd.DataFrame:
    """Rows of a log, asked as far as it has none, with what is measured of single answers."""
    path = folder / log.file
    played = play(
        log.agent, protocols, draws=2, log=path, subject=log.agent.name, retries=0,
        progress=progress, **log.shown, **log.told,
    )  # fmt: skip
    if not played.rows:
        raise AgentError(
            f"{log.agent.name}: none of the {len(log.prompts)} questions of {path} was answered."
            " Run again to ask them."
        )
    frame = pd.DataFrame(played.rows).assign(agent=log.agent.name, cell=log.cell)
    # pandas makes NaN of a text withheld, which is no text and not None either.
    frame["raw"] = pd.Series([row["raw"] for row in played.rows], frame.index, dtype=object)
    frame["seen"] = log.told.get("seen")
    known = {_key(p): p for p in log.prompts}
    asked = [known[key] for key in zip(*(frame[name] for name in KEY), strict=True)]
    return _measured(_reasoned(frame, asked, kappa), log.agent, asked)


def _reasoned(frame: pd.DataFrame, asked: Sequence[Prompt], kappa: float) -> pd.DataFrame:
    """Whether reasons hold, where any were asked for and there is one best choice."""
    held = [
        float(reasons_hold(prompt, raw, kappa)) if prompt.reply == "reasoned" else np.nan
        for prompt, raw in zip(asked, frame["raw"], strict=True)
    ]
    return frame.assign(reasons=held)


def _measured(frame: pd.DataFrame, agent: Any, asked: Sequence[Prompt]) -> pd.DataFrame:
    """Probabilities of the labels where the decision is written, if the agent tells them."""
    measure = getattr(agent, "decision_probabilities", None)
    if measure is None:
        return frame.assign(mass=np.nan, first_probability=np.nan)
    # Whole pairs, since both may depend on the order of labels.
    pair = frame.groupby(list(PAIR), sort=False).ngroup().to_numpy()
    spaced = np.linspace(0, pair.max(), min(MEASURED // 2, int(pair.max()) + 1)).astype(int)
    rows: list[int] = np.flatnonzero(np.isin(pair, spaced)).tolist()
    some = frame.iloc[rows]
    p = measure([asked[row] for row in rows], some["raw"].tolist())
    mass = pd.Series(p.sum(axis=1), some.index)
    return frame.assign(mass=mass, first_probability=pd.Series(p[:, 0], some.index) / mass)


def _judged(rows: pd.DataFrame, protocols: dict[str, Protocol], kappa: float) -> dict[str, Any]:
    """Columns right and universal (NaN where no action is), best (None in a tie) and kind."""
    best, kinds, universal = [], [], []
    beliefs = rows[[c for c in ("belief_1", "belief_2", "belief_3") if c in rows]].to_numpy(float)
    for name, node, y in zip(rows["protocol_id"], rows["node"], beliefs, strict=True):
        protocol = protocols[name]
        best.append(best_choice(protocol, y[: protocol.n_nodes], kappa).choice(int(node)))
        universal.append(universal_action(protocol, y[: protocol.n_nodes], int(node)))
        both = SCENES[protocol.game].at_once
        kinds.append(matrix_kind(protocol) if both else protocol.game)
    ok = (rows["status"] == "ok").to_numpy()
    action = rows["action"].to_numpy()
    right = [
        np.nan if b is None else float(bool(o) and int(a) == int(b))
        for o, a, b in zip(ok, action, best, strict=True)
    ]
    chosen = [
        float(int(a) == u) if o and u is not None else np.nan
        for o, a, u in zip(ok, action, universal, strict=True)
    ]
    return {"right": right, "best": best, "kind": kinds, "universal": chosen}


def _fit(rows: pd.DataFrame) -> PreferenceResults | None:
    """kappa and lambda from all answers of an agent, clustered by protocol if there are several."""
    import warnings

    chosen = rows.loc[rows["status"] == "ok", "protocol_id"]
    if chosen.empty:
        return None
    clusters = "protocol" if chosen.nunique() > 1 else None
    # One protocol with other beliefs is another situation of the same cluster.
    told = rows["seen"].map(lambda s: "" if pd.isna(s) else f" after {int(s)}")
    # As text, which is how a reader of the log has them.
    table = rows.assign(
        protocol=rows["protocol_id"],
        protocol_id=rows["protocol_id"] + told,
        settings="",
        template=rows["cell"] + "/" + rows["template"],
    ).drop(columns=["right", "best", "universal", "raw", "label", "place", "reasons"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AssumptionWarning)  # few clusters: the table says how many
        data = ChoiceData.from_frame(table, f"answers of {rows['agent'].iloc[0]}")
        found: PreferenceResults = PreferenceLogit(("kappa",)).fit(data, clusters=clusters)
    return found


def _tests(one: Answered, other: Answered) -> pd.DataFrame:
    found = [_test(one[1], other[1], name) for name in TESTED]
    statistic, pvalue = exchange_test(one[0], other[0])
    note = "no test: no protocol was answered by both." if np.isnan(pvalue) else ""
    found.append({"statistic": statistic, "pvalue": pvalue, "note": note})
    return pd.DataFrame(found, [*TESTED, CHOICES])


def _test(
    one: PreferenceResults | None, other: PreferenceResults | None, name: str
) -> dict[str, Any]:
    if one is None or other is None:
        return {"statistic": np.nan, "pvalue": np.nan, "note": "no test: no answer is a choice."}
    try:
        found = one.test_equal(other, (name,))
    except NotIdentifiedError as error:
        note = f"{error} {_apart(one, other, name)}".rstrip()
        return {"statistic": np.nan, "pvalue": np.nan, "note": note}
    return {"statistic": found.statistic, "pvalue": found.pvalue, "note": ""}


def _apart(one: PreferenceResults, other: PreferenceResults, name: str) -> str:
    """Whether the values that explain every choice of one explain every choice of the other."""
    known = [fit.identification.intervals or {} for fit in (one, other)]
    if not all(name in intervals for intervals in known):
        return ""
    (low, high), (least, most) = (intervals[name] for intervals in known)
    if high < least or most < low:
        ranges = f"[{low:.3g}, {high:.3g}] and [{least:.3g}, {most:.3g}]"
        return f"No value of {name} explains the choices of both: {ranges} do not overlap."
    return f"Values of {name} from {max(low, least):.3g} to {min(high, most):.3g} explain both."
