"""Agents of known preferences and scripted ones: what everything else is tested with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray
from mlinstruments.games.solutions import best_replies
from mlinstruments.games.utility import choice_probabilities

from .base import Answer, Probabilities, Prompt


@dataclass(frozen=True)
class LogitAgent:
    """Chooses whole strategies by a logit of known preferences, and answers with labels.

    Asked about a node, it answers with that digit of the strategy it has drawn for the protocol, so
    that the nodes of one draw fit together; its probabilities at a node are the marginal ones.

    Parameters
    ----------
    scale : float
        lambda, in 1 / points; 0 chooses at random, ``inf`` maximises, with ties at even odds.
    kappa, alpha, beta : float
        Preferences, as in :class:`mlinstruments.games.HomoMoralis`.
    belief : float
        Expected probability of a one at every node, where the prompt states none.
    name : str
        What logs call it.

    Raises
    ------
    InputError
        Where the scale is negative, a preference not finite, or the belief no probability.

    Examples
    --------
    >>> from mlinstruments.agents import LogitAgent, make_prompt
    >>> from mlinstruments.games import Protocol
    >>> prompt = make_prompt(Protocol("spd", 90, 65, 25, 10, id="a"))
    >>> found = next(LogitAgent(0.1).choice_probabilities([prompt]))
    >>> round(float(found.values[prompt.choices.index("000")]), 10)
    0.282215129
    """

    scale: float
    kappa: float = 0.0
    alpha: float = 0.0
    beta: float = 0.0
    belief: float = 0.5
    name: str = "logit"

    def __post_init__(self) -> None:
        if not (self.scale >= 0 and 0 <= self.belief <= 1):
            raise InputError(
                f"scale must be at least 0 and belief between 0 and 1; got {self.scale!r} and"
                f" {self.belief!r}."
            )
        if not all(math.isfinite(value) for value in (self.kappa, self.alpha, self.beta)):
            raise InputError(
                f"kappa, alpha and beta must be finite numbers; got {self.kappa!r}, {self.alpha!r}"
                f" and {self.beta!r}."
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Its parameters; the scale as text where it is infinite, which JSON lacks."""
        scale: float | str = "inf" if math.isinf(self.scale) else self.scale
        known = {"kappa": self.kappa, "alpha": self.alpha, "beta": self.beta}
        return {"agent": "logit", "scale": scale, **known, "belief": self.belief}

    def answer(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Iterator[Answer]:
        """Labels of choices drawn with the seeds, or percentages where beliefs are asked for.

        Parameters
        ----------
        prompts : sequence of Prompt
        seeds : sequence of int

        Returns
        -------
        iterator of Answer
        """
        for prompt, seed in zip(prompts, seeds, strict=True):
            if prompt.asks == "belief":
                yield Answer(f"{100 * self.belief:g}")
                continue
            p = self._strategies(prompt)
            drawn = prompt.protocol.strategies[np.random.default_rng(seed).choice(len(p), p=p)]
            yield Answer(_written(prompt, drawn if prompt.node is None else drawn[prompt.node]))

    def choice_probabilities(self, prompts: Sequence[Prompt]) -> Iterator[Probabilities]:
        """Probabilities of the options; all mass is on labels.

        Parameters
        ----------
        prompts : sequence of Prompt

        Returns
        -------
        iterator of Probabilities
        """
        for prompt in prompts:
            p, pure = self._strategies(prompt), prompt.protocol.strategies
            digits = pure if prompt.node is None else [s[prompt.node] for s in pure]
            values = [sum(p[k] for k, d in enumerate(digits) if d == c) for c in prompt.choices]
            yield Probabilities(np.array(values), np.zeros(len(values), dtype=bool))

    def _strategies(self, prompt: Prompt) -> FloatArray:
        """Probabilities of the protocol's pure strategies."""
        protocol = prompt.protocol
        y = np.full(protocol.n_nodes, self.belief)
        if prompt.belief is not None:
            y = np.array(prompt.belief)
        preferences = (self.kappa, self.alpha, self.beta)
        if math.isfinite(self.scale):
            return choice_probabilities(protocol, y, self.scale, *preferences)
        best = best_replies(protocol, y, *preferences)
        return np.array([(s in best) / len(best) for s in protocol.strategies])


def economicus(belief: float = 0.5) -> LogitAgent:
    """Maximise the own expected payoff.

    Parameters
    ----------
    belief : float
        See :class:`LogitAgent`.

    Returns
    -------
    LogitAgent

    Examples
    --------
    >>> from mlinstruments.agents import economicus, make_prompt
    >>> from mlinstruments.games import Protocol
    >>> prompt = make_prompt(Protocol("tg", 80, 50, 30, 20, id="a"), node=1)
    >>> [answer.text for answer in economicus().answer([prompt], [0])]  # keeps, the second label
    ['B']
    """
    return LogitAgent(math.inf, belief=belief, name="economicus")


def moralis(kappa: float = 0.5, belief: float = 0.5) -> LogitAgent:
    """Maximise (1 - kappa) own + kappa universalised payoff.

    Parameters
    ----------
    kappa : float
    belief : float
        See :class:`LogitAgent`.

    Returns
    -------
    LogitAgent

    Examples
    --------
    >>> from mlinstruments.agents import make_prompt, moralis
    >>> from mlinstruments.games import Protocol
    >>> prompt = make_prompt(Protocol("tg", 90, 60, 30, 10, id="a"), node=1)
    >>> [answer.text for answer in moralis().answer([prompt], [0])]
    ['A']
    """
    return LogitAgent(math.inf, kappa, belief=belief, name="moralis")


def uniform(belief: float = 0.5) -> LogitAgent:
    """Choose at random, all strategies alike.

    Parameters
    ----------
    belief : float
        See :class:`LogitAgent`.

    Returns
    -------
    LogitAgent

    Examples
    --------
    >>> from mlinstruments.agents import make_prompt, uniform
    >>> from mlinstruments.games import Protocol
    >>> prompt = make_prompt(Protocol("tg", 80, 50, 30, 20, id="a"))
    >>> next(uniform().choice_probabilities([prompt])).values
    array([0.25, 0.25, 0.25, 0.25])
    """
    return LogitAgent(0.0, belief=belief, name="uniform")


@dataclass(frozen=True)
class ScriptedAgent:
    """Writes what a script says.

    Parameters
    ----------
    script : callable, or mapping of str to str
        From a prompt to the text of the answer, None to withhold it; or the strategy to play by
        protocol id or game, which is answered with labels.
    name : str
        What logs call it.

    Examples
    --------
    >>> from mlinstruments.agents import ScriptedAgent, make_prompt
    >>> from mlinstruments.games import Protocol
    >>> prompt = make_prompt(Protocol("tg", 80, 50, 30, 20, id="a"), node=0)
    >>> [a.text for a in ScriptedAgent({"tg": "01"}).answer([prompt], [0])]
    ['B']
    >>> [a.text for a in ScriptedAgent(lambda prompt: "No.").answer([prompt], [0])]
    ['No.']
    """

    script: Callable[[Prompt], str | None] | Mapping[str, str] = field(repr=False)
    name: str = "scripted"

    @property
    def settings(self) -> dict[str, Any]:
        """The strategies, where the script is a mapping."""
        fixed = dict(self.script) if isinstance(self.script, Mapping) else {}
        return {"agent": "scripted", **({"script": fixed} if fixed else {})}

    def answer(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Iterator[Answer]:
        """What the script says.

        Parameters
        ----------
        prompts : sequence of Prompt
        seeds : sequence of int
            Not needed: a script says the same every time.

        Returns
        -------
        iterator of Answer
        """
        for prompt in prompts:
            if callable(self.script):
                yield Answer(self.script(prompt))
            else:
                yield Answer(_fixed(prompt, self.script))


def _fixed(prompt: Prompt, script: Mapping[str, str]) -> str:
    protocol = prompt.protocol
    strategy = script.get(protocol.id, script.get(protocol.game))
    if strategy not in protocol.strategies:
        raise InputError(
            f"the script needs one of {', '.join(protocol.strategies)} for protocol"
            f" {protocol.id!r} or game {protocol.game!r}; it has {strategy!r}."
        )
    if prompt.asks == "belief":
        return "100" if strategy[prompt.node or 0] == "1" else "0"
    return _written(prompt, strategy if prompt.node is None else strategy[prompt.node])


def _written(prompt: Prompt, choice: str) -> str:
    label = prompt.label_of(choice)
    return f"Decision: {label}" if prompt.reply == "reasoned" else label
