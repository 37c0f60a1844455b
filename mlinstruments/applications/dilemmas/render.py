"""Dilemmas as texts, and answers from 0 to 100."""

from __future__ import annotations

import re

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents.parsing import parse_percent

from ..asking import Query
from .design import Dilemma

ORDERS = (0, 1)
_SCALE = re.compile(
    r"\s*/\s*100\b|\bout\s+of\s+(?:a\s+)?100\b|\b(?:from\s+)?0\s*(?:to|-|–)\s*100\b", re.IGNORECASE
)
_COMPANY = {"alone": "", "family": " with a member of the family", "child": " with their child"}
_YOURS = {"alone": " alone", "family": " with a member of your family", "child": " with your child"}
_ASKED = {
    "morality": "How moral is it that a car is programmed to {save}?"
    " 0 means not moral at all, 100 entirely moral.",
    "buy": "How likely would you be to buy, for yourself, a car that is programmed to {save}?"
    " 0 means certainly not, 100 certainly.",
    "others_buy": "How much do you wish that other people buy cars that are programmed to {save}?"
    " 0 means not at all, 100 very much.",
    "regulate": "Should the law demand that all cars are programmed to {save}?"
    " 0 means certainly not, 100 certainly.",
}


def dilemma_query(dilemma: Dilemma, order: int = 0) -> Query:
    """The text about a dilemma.

    Parameters
    ----------
    dilemma : Dilemma
    order : {0, 1}
        Whether the car that saves the pedestrians or the one that saves its passengers is described
        first; the question is about the former in both.

    Returns
    -------
    Query

    Raises
    ------
    InputError
        For another order.

    Examples
    --------
    >>> from mlinstruments.applications.dilemmas import Dilemma, dilemma_query
    >>> query = dilemma_query(Dilemma(5, "passenger", "alone", "buy"))
    >>> "5 pedestrians" in query.user, "0 means certainly not" in query.user
    (True, True)
    """
    if order not in ORDERS:
        raise InputError(f"order must be 0 or 1; got {order!r}.")
    n = dilemma.pedestrians
    group = "one pedestrian" if n == 1 else f"{n} pedestrians"
    lives, theirs = ("life", "loses") if n == 1 else ("lives", "lose")
    riders = "the passenger" if dilemma.companion == "alone" else "both people in the car"
    place = {
        "passenger": f"You are riding in the car{_YOURS[dilemma.companion]}.",
        "pedestrian": (
            "You are the pedestrian. " if n == 1 else f"You are one of the {n} pedestrians. "
        )
        + f"A stranger is riding in the car{_COMPANY[dilemma.companion] or ' alone'}.",
        "observer": "You are watching from a safe place and know nobody involved."
        f" A person is riding in the car{_COMPANY[dilemma.companion] or ' alone'}.",
    }[dilemma.perspective]
    ways = [
        f"One way to program the car: swerve into a wall. The {group} live, and {riders} will die.",
        f"One way to program the car: keep going. The {group} {theirs} their {lives}, and {riders}"
        " will live.",
    ]
    if n == 1:
        ways = [way.replace("The one pedestrian live,", "The pedestrian lives,") for way in ways]
        ways = [way.replace("The one pedestrian", "The pedestrian") for way in ways]
    if order:
        ways.reverse()
    save = "save the pedestrian" if n == 1 else f"save the {n} pedestrians"
    asked = _ASKED[dilemma.question].format(save=f"{save} at the cost of {riders}")
    text = "\n".join(
        [
            f"A self-driving car comes upon {group} on the road and cannot stop in time.",
            place,
            *ways,
            asked,
            "Reply with a number from 0 to 100 only.",
        ]
    )
    facts = (
        ("pedestrians", n),
        ("passengers", dilemma.passengers),
        ("perspective", dilemma.perspective),
        ("companion", dilemma.companion),
        ("question", dilemma.question),
    )
    return Query("", text, facts=facts)


def parse_rating(text: str | None) -> tuple[str, float | None]:
    """Status and number of an answer from 0 to 100.

    Parameters
    ----------
    text : str or None
        None where the answer was withheld: a refusal.

    Returns
    -------
    status : {"ok", "refusal", "ambiguous", "parse_error"}
    rating : float or None

    Examples
    --------
    >>> from mlinstruments.applications.dilemmas import parse_rating
    >>> parse_rating("75/100"), parse_rating("60 or 70"), parse_rating("As an AI I cannot say.")
    (('ok', 75.0), ('ambiguous', None), ('refusal', None))
    """
    status, share = parse_percent(None if text is None else _SCALE.sub(" ", text))
    return status, None if share is None else 100 * share
