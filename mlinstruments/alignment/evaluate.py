"""How far tuning moved a model's choices, and whether they are those of the utility."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import AssumptionWarning, InputError, NotIdentifiedError
from mlinstruments.agents import Agent, Prompt, make_prompts, play
from mlinstruments.agents.scenes import SCENES
from mlinstruments.games.protocols import Protocol
from mlinstruments.preferences import ChoiceData, PreferenceLogit, PreferenceResults

from .encoding import read_chats
from .evaluation import TESTED, Evaluation
from .labels import best_choice, matrix_kind, utility_weight
from .verify import reasons_hold

# Wordings and renderings that are asked in every combination, by name.
Cells = Mapping[str, tuple[Sequence[str], Sequence[str]]]
# Answers of a log of which the mass on labels is measured, evenly spaced: a mean of as many has an
# error of at most .2, and every one of them costs as much as an answer.
MEASURED = 6
KEY = ("protocol_id", "node", "template", "order")


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
        known = {_key(p): p for p in make_prompts(protocols, **shown, **how)}
        asked = [known[key] for key in zip(*(frame[name] for name in KEY), strict=True)]
        frames.append(_measured(_reasoned(frame, asked, kappa), agent, asked))
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


def _key(prompt: Prompt) -> tuple[Any, ...]:
    return (prompt.protocol.id, prompt.node, prompt.template, prompt.order)


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
    every = max(1, len(frame) // MEASURED)
    some = frame.iloc[::every]
    p = measure(asked[::every], some["raw"].tolist())
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


def _fit(rows: pd.DataFrame) -> PreferenceResults | None:
    """kappa and lambda from all answers of an agent, clustered by protocol."""
    import warnings

    if not (rows["status"] == "ok").any():
        return None
    # One protocol with other beliefs is another situation of the same cluster.
    told = rows["seen"].map(lambda s: "" if pd.isna(s) else f" after {int(s)}")
    # As text, which is how a reader of the log has them.
    table = rows.assign(
        protocol=rows["protocol_id"],
        protocol_id=rows["protocol_id"] + told,
        settings="",
        template=rows["cell"] + "/" + rows["template"],
    ).drop(columns=["right", "best", "raw", "label", "place", "reasons"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AssumptionWarning)  # few clusters: the table says how many
        data = ChoiceData.from_frame(table, f"answers of {rows['agent'].iloc[0]}")
        found: PreferenceResults = PreferenceLogit(("kappa",)).fit(data, clusters="protocol")
    return found


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
