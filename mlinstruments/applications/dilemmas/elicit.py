"""Ask an agent about dilemmas, and keep every answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments.agents.base import AgentError, Failure
from mlinstruments.agents.journal import opened
from mlinstruments.agents.plan import seed_of

from ..asking import Query, ask_queries, check_answers
from ..logs import same_run
from .answers import DilemmaAnswers
from .design import DilemmaDesign
from .render import ORDERS, dilemma_query, parse_rating


def elicit(
    agent: Any,
    design: DilemmaDesign | None = None,
    draws: int = 10,
    log: str | Path | None = None,
    *,
    orders: Sequence[int] = ORDERS,
    retries: int = 2,
    random_state: int = 0,
    progress: bool | None = None,
) -> DilemmaAnswers:
    """Ask every dilemma of a design, in both orders, a number of times.

    Parameters
    ----------
    agent : Agent
        With ``answer``: :class:`MoralRespondent`, or one of :mod:`mlinstruments.agents`.
    design : DilemmaDesign, optional
        The full one by default.
    draws : int
        Answers to each dilemma in each order. More can be asked of an old log.
    log : str or Path, optional
        A .jsonl file, made or gone on with; a row an answer, written as it comes.
    orders : sequence of {0, 1}
        Which car is described first; see :func:`dilemma_query`.
    retries : int
        How often an answer that cannot be read is asked for again. Refusals and ambiguous answers
        are final, and none is ever taken for a number.
    random_state : int
        The agent's own randomness follows from it.
    progress : bool, optional
        Show a progress bar; None shows it in a terminal.

    Returns
    -------
    DilemmaAnswers

    Raises
    ------
    InputError
        For bad arguments, or a log of another run; before anything is asked.
    AgentError
        Where questions had no answer. The log keeps those that had.

    Examples
    --------
    >>> from mlinstruments.applications.dilemmas import DilemmaDesign, MoralRespondent, elicit
    >>> answers = elicit(MoralRespondent(0.6), DilemmaDesign.full(companions=("alone",)), draws=1)
    >>> len(answers.frame), answers.switching["first_yes"].tolist()
    (120, [5])
    """
    from tqdm.auto import tqdm

    check_answers(agent, "elicit")
    check_count(draws, "draws", 1)
    check_count(retries, "retries", 0)
    if not len(orders) or len(set(orders)) < len(orders) or not set(orders) <= set(ORDERS):
        raise InputError(f"orders must be 0, 1 or both; got {orders!r}.")
    design = design or DilemmaDesign.full()
    every = list(product(range(draws), orders, design.dilemmas))
    queries = [dilemma_query(dilemma, order) for _, order, dilemma in every]
    settings = {
        "record": "dilemmas",
        "agent": agent.name,
        "settings": dict(agent.settings),
        "dilemmas": seed_of(*(query.hash for query in queries[: len(every) // draws])),
        "retries": retries,
        "random_state": random_state,
    }
    keys = [
        (d.scenario, d.question, order, draw) for draw, order, d in every
    ]  # what tells one answer from another
    disable = None if progress is None else not progress
    with opened(log) as journal:
        same_run(journal, settings, str(log))
        done = {_key(row) for row in journal.rows[1:]}
        missing = [k for k, key in enumerate(keys) if key not in done]
        seeds = [seed_of(random_state, *keys[k]) for k in missing]
        asked = ask_queries(agent, [queries[k] for k in missing], seeds, _rating, retries)
        failures = []
        for j, reply in tqdm(asked, agent.name, len(missing), disable=disable, leave=False):
            draw, order, d = every[missing[j]]
            if isinstance(reply, Failure):
                failures.append(reply.reason)
                continue
            row = {
                "model": agent.name,
                "scenario": d.scenario,
                "pedestrians": d.pedestrians,
                "passengers": d.passengers,
                "perspective": d.perspective,
                "companion": d.companion,
                "question": d.question,
                "order": order,
                "draw": draw,
                "seed": seeds[j],
                "prompt_hash": queries[missing[j]].hash,
                "answer": reply.value,
                **reply.row,
            }
            journal.write([row])
        if failures:
            raise AgentError(
                f"{agent.name}: {len(failures)} of {len(missing)} questions had no answer; the"
                f" first: {failures[0]}. Run again to ask them."
            )
        wanted = set(keys)
        rows = tuple(row for row in journal.rows[1:] if _key(row) in wanted)
    return DilemmaAnswers(agent.name, rows)


def _rating(text: str | None, query: Query) -> tuple[str, float | None]:
    return parse_rating(text)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row.get("scenario"), row.get("question"), row.get("order"), row.get("draw")
