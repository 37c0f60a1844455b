"""From what was written to a choice: ok, refusal, ambiguous or parse_error; never a guess.

An answer counts where it is a label, where it says what the decision is, or where its last line is
a label. Labels that are only mentioned do not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from mlinstruments._core.exceptions import InputError

from .base import Prompt
from .beliefs import parse_percent
from .cleaning import plain, refuses, unmarked, without_thoughts
from .phrases import (
    Patterns,
    asked,
    corrects,
    ends_well,
    goes_back,
    hedged,
    opens,
    patterns,
    stands,
)

__all__ = ["LabelParser", "parse_answer", "parse_percent", "refuses", "without_thoughts"]

_OWN = re.compile(r"(?:my|our|the|final)\b", re.IGNORECASE)


@dataclass(frozen=True)
class LabelParser:
    """Read choices between labels; an instance is a ``parse`` for readers of logs.

    Parameters
    ----------
    options : tuple of str
        Labels, as shown.
    choices : tuple of str, optional
        What each stands for; the label itself by default.

    Raises
    ------
    InputError
        Where labels are fewer than two, or the same but for their case.

    Examples
    --------
    >>> from mlinstruments.agents import LabelParser
    >>> parse = LabelParser(("A", "B"), ("1", "0"))
    >>> parse("**B**")
    ('ok', '0')
    >>> parse("A pays 40 and B pays 60, so B is more.\\nDecision: B")
    ('ok', '0')
    >>> parse("Both A and B are fine."), parse("I'm sorry, I can't choose A or B.")
    (('ambiguous', None), ('refusal', None))
    """

    options: tuple[str, ...]
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        folded = {plain(option).casefold() for option in self.options}
        if len(self.options) < 2 or len(folded) < len(self.options) or "" in folded:
            raise InputError(
                f"options must be two or more labels, different in any case; got {self.options!r}."
            )
        if self.choices and len(self.choices) != len(self.options):
            raise InputError(
                f"choices {self.choices!r} must have one entry for each of {self.options!r}."
            )

    def __call__(self, text: str | None) -> tuple[str, str | None]:
        """Status and choice of an answer; None, an answer withheld, is a refusal.

        Parameters
        ----------
        text : str or None

        Returns
        -------
        status : {"ok", "refusal", "ambiguous", "parse_error"}
        choice : str or None
            None unless the status is ok.
        """
        if text is None:
            return "refusal", None
        status, label = self._read(unmarked(text))
        if label is None:
            return status, None
        return "ok", (self.choices or self.options)[self._folded.index(label)]

    def _read(self, text: str) -> tuple[str, str | None]:
        if not text.strip():
            return "parse_error", None
        # "Decision: B" decides; then "I choose B", "My answer is B", a label first or last of all.
        for found in (self._whole(text), self._decided(text), self._informal(text)):
            if found:
                return ("ok", found.pop()) if len(found) == 1 else ("ambiguous", None)
        if refuses(text):
            return "refusal", None
        return ("ambiguous" if self._mentioned(text) else "parse_error"), None

    def _whole(self, text: str) -> set[str]:
        """The label, in any case, where there is nothing else."""
        found = self._patterns
        return self._labels(found.whole.fullmatch(text) or found.echo.fullmatch(text.strip()))

    def _decided(self, text: str) -> set[str]:
        """Labels after "Decision:", first of all on lines of its own; with what contests them."""
        heads = [m for m in self._patterns.decision.finditer(text) if opens(text, m.start())]
        own = [m for m in heads if not re.search(r"\w", _line_before(text, m.start()))]
        last = [m for m in heads if own and m.start() > own[-1].start()]
        read = [self._value(text, m.end()) for m in own + last or heads]
        found = set().union(*(labels for labels, _ in read))
        if not found:
            return set()
        labels, end = read[-1]
        if not labels:
            return set(self._folded)
        return found | self._informal(text[end:], follows=True) | self._turned(text[end:], found)

    def _value(self, text: str, start: int) -> tuple[set[str], int]:
        """Labels right after the words that announce them, and where they end."""
        line = re.compile(r"\s*([^\n]*)").match(text, start)
        echo = self._patterns.echo.fullmatch(line[1].strip()) if line else None
        if line and echo:
            return self._labels(echo), line.end()
        matched = self._patterns.value.match(text, start)
        return (self._taken(text, matched), matched.end()) if matched else (set(), start)

    def _informal(self, text: str, *, follows: bool = False) -> set[str]:
        """Labels of all other ways to answer; of a text that follows a decision, not its start."""
        found, end = self._said(text)
        bare = [labels for line in text.splitlines() if (labels := self._whole(line))]
        edges = set() if follows else self._leading(text)
        edges |= self._last(text, contests=bool(found or edges))
        if edges:
            # A label alone on another line is another answer, or both are a list of options.
            found = found.union(edges, *bare)
        return found | self._turned(text[end:], found) if found else found

    def _said(self, text: str) -> tuple[set[str], int]:
        """Labels after "I choose" and the like, and where the last of them ends."""
        p = self._patterns
        matches = [m for pattern in (p.says, p.answer, p.chosen) for m in pattern.finditer(text)]
        found: set[str] = set()
        end = 0
        for match in matches:
            if self._counts(text, match):
                labels = self._taken(text, match)
                found |= labels
                end = max(end, match.end()) if labels else end
        return found, end

    def _counts(self, text: str, match: re.Match[str]) -> bool:
        """Whether the writer says it, for itself and without a condition."""
        if match.re is self._patterns.answer:
            if not re.match(r"my\b|our\b", match[0], re.IGNORECASE) and asked(text, match.start()):
                return False
            # "My list: 1. A is fair": numbers of a list.
            if match[0][-1].isdigit() and re.compile(r"[.)][ \t]+\w").match(text, match.end()):
                return False
            # "Answer: B" without "my" may be of anybody, and must begin its sentence.
            if not _OWN.match(match[0]):
                return opens(text, match.start())
        spoken = match.re is self._patterns.says and hedged(match[0])
        if spoken and goes_back(match[0], text, match.end()):
            return False
        return stands(text, match.start(), self._patterns)

    def _taken(self, text: str, match: re.Match[str]) -> set[str]:
        """The label that a match found, with those listed behind it; none where it is left open."""
        found, end = self._labels(match), match.end()
        while further := self._patterns.further.match(text, end):
            found |= self._labels(further)
            end = further.end()
        if len(found) > 1:
            return found
        closed = ends_well(text, end, next(iter(found), ""))
        # "I choose A, but B is fairer, so B."
        return found if closed and not self._mentioned(goes_back("", text, end)) - found else set()

    def _last(self, text: str, *, contests: bool) -> set[str]:
        """The label on the last line, unless it is the last of a list or ends a sentence.

        Any on the last line contests what was found before.
        """
        lines = [line for line in text.splitlines() if line.strip()]
        found = self._whole(lines[-1]) if lines else set()
        if not found or len(lines) == 1 or contests:
            return found
        before = lines[-2]
        # "My payoff: 60" is complete, but not if the label is a digit: "Step 1", "2".
        number = before[-1:].isdigit() and not any(label.isdigit() for label in found)
        number = number and not self._patterns.begins.match(before)
        complete = number or self._patterns.ended.search(before)
        return set() if self._lists(before) or not complete else found

    def _lists(self, line: str) -> bool:
        return line.rstrip().endswith(":") or self._patterns.listed.match(line) is not None

    def _leading(self, text: str) -> set[str]:
        """The label a text begins with, where reasons follow: "B, because it pays more"."""
        matched = self._patterns.leading.match(text)
        # "A, I think", but not "A, I get 40. B, I get 60"; "Right" is a label, or a word.
        if not matched or ((matched[3] or matched[4]) and len(self._mentioned(text)) > 1):
            return set()
        return self._labels(matched)

    def _turned(self, text: str, found: set[str]) -> set[str]:
        """Other labels that are named after words such as "no, wait"."""
        match = corrects(text)
        return self._mentioned(text[match.end() :]) - found if match else set()

    def _mentioned(self, text: str) -> set[str]:
        return set().union(*(self._labels(match) for match in self._patterns.bare.finditer(text)))

    def _labels(self, match: re.Match[str] | None) -> set[str]:
        """The label of a match as folded; none for letters that fold apart, as a dotless i."""
        written = match[match.lastindex].casefold() if match and match.lastindex else ""
        return {written} & set(self._folded)

    @cached_property
    def _folded(self) -> tuple[str, ...]:
        return tuple(plain(option).casefold() for option in self.options)

    @cached_property
    def _patterns(self) -> Patterns:
        return patterns(tuple(map(plain, self.options)))


def _line_before(text: str, start: int) -> str:
    return re.split(r"[\n\r]", text[:start])[-1]


def parse_answer(text: str | None, prompt: Prompt) -> tuple[str, str | None]:
    """Status and choice of an answer to a prompt.

    Parameters
    ----------
    text : str or None
        None where the answer was withheld: a refusal.
    prompt : Prompt

    Returns
    -------
    status : {"ok", "refusal", "ambiguous", "parse_error"}
    choice : str or None
        One of ``prompt.choices``; of a prompt that asks for a belief, the probability as text.

    Examples
    --------
    >>> from mlinstruments.agents import make_prompt, parse_answer
    >>> from mlinstruments.games import Protocol
    >>> prompt = make_prompt(Protocol("tg", 80, 50, 30, 20, id="a"), node=0, order=1)
    >>> parse_answer("Decision: A", prompt)
    ('ok', '0')
    """
    if prompt.asks == "belief":
        status, chance = parse_percent(text)
        return status, None if chance is None else repr(chance)
    return LabelParser(prompt.options, prompt.choices)(text)
