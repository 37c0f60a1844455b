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

# What may stand around a label: quotes, brackets, emphasis, a full stop.
_OPEN = r"(?:[\s\"'`“”‘’(\[{<*_#$]|\\boxed\b|\\text\b)*"
_CLOSE = r"[\s\"'`“”‘’)\]}>*_.!,;:$]*"
_NOUN = (
    r"(?:(?:(?:the|my)\s+)?(?:option|action|choice|plan|button|answer|sheet|entry|list|line|label"
    r"|word|mark|letter|move)\s+)?"
)
# "Decision: B" decides wherever it stands, the last one if there are several that agree.
_DECIDES = (
    r"(?:final\s+)?(?:decision|answer|choice|selection|pick|move|mark)"
    + r"[\s\"'*_]*(?:\bis\b|[:=])"
)
# "I choose B" decides where nothing else does.
_SAYS = (
    r"\bI(?:'ll|'d|\s+will|\s+would|\s+shall|\s+am\s+going\s+to|\s+want\s+to)?\s+"
    r"(?:choose|pick|select|take|go\s+(?:for|with)|opt\s+for|press|say|mark|play|prefer)\b"
)
_NEGATED = re.compile(
    r"(?:\bnot|n't|n’t|\bcannot|\bnever|\bneither|\bif|\bwhether)\W*(?:\w+\W+)?$", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"\bI(?:['’]m|\s+am)\s+(?:sorry|unable|not\s+able|not\s+comfortable|not\s+going\s+to)"
    r"|\bI\s+(?:can(?:not|['’]t|\s+not)|won['’]t|will\s+not|must\s+decline|decline|refuse"
    r"|do(?:n['’]t|\s+not)\s+(?:feel|think\s+it\s+is|have\s+(?:a\s+)?(?:personal\s+)?preference))"
    r"|\bas\s+an?\s+(?:AI|artificial|language\s+model)"
    r"|\b(?:against|violates?)\s+(?:my|the)\s+(?:guidelines|polic)",
    re.IGNORECASE,
)
# What a model thinks to itself, which may not have come to its end, decides nothing.
_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.IGNORECASE | re.DOTALL)
# A minus is a sign where no number stands before it, and a dash between two numbers.
_PERCENT = re.compile(
    r"(?<![\w.])((?:(?<!\d)-)?\d{1,3}(?:[.,]\d+)?)\s*(%|percent\b|per\s+cent\b)?(?![\w])"
)
# Where a number not called percent is the answer, and is not only mentioned: first in the text,
# alone on the last line, or behind words that announce it; with nothing behind it that it counts.
_NUMBER = (
    r"(?:(?:about|around|roughly|approximately|maybe|perhaps|probably)\s+)?-?\d{1,3}(?:[.,]\d+)?(?!\w)"
    r"(?=[^\w\n]*(?:$|because\b|since\b|as\b)|[*\"')\]]*[.,;:!]\s)"
)
_ANSWERS = re.compile(
    rf"\A\W*{_NUMBER}|^\W*{_NUMBER}\W*\Z"
    r"|\b(?:is|be|say|rate|rate\s+(?:it|this|that)|give|give\s+(?:it|this)|choose|pick|guess|estimate"
    r"|(?:answer|rating|score|number|scale|likelihood|chance|probability|percentage|response|reply)"
    rf"\W*[:=])\W*{_NUMBER}",
    re.IGNORECASE | re.MULTILINE,
)


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
        folded = {option.casefold() for option in self.options}
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
        status, label = self._read(_THOUGHTS.sub("", text))
        if label is None:
            return status, None
        return "ok", (self.choices or self.options)[self.options.index(label)]

    def _read(self, text: str) -> tuple[str, str | None]:
        if not text.strip():
            return "parse_error", None
        # "I choose B", a label alone on the last line, or first of all: "B, because it pays more."
        last = text.strip().splitlines()[-1]
        informal = self._said(text) | self._whole(last) | self._leading(text)
        for found in (self._whole(text), self._decided(text), informal):
            if found:
                return ("ok", found.pop()) if len(found) == 1 else ("ambiguous", None)
        if _REFUSAL.search(text):
            return "refusal", None
        return ("ambiguous" if self._mentioned(text) else "parse_error"), None

    def _whole(self, text: str) -> set[str]:
        """The label, in any case, where there is nothing else."""
        matched = self._patterns["whole"].fullmatch(text)
        return {self._label(matched[1])} if matched else set()

    def _decided(self, text: str) -> set[str]:
        return self._marked("decides", text)

    def _said(self, text: str) -> set[str]:
        return self._marked("says", text)

    def _marked(self, kind: str, text: str) -> set[str]:
        """Labels after words that mark a decision: those of all that are not negated or open."""
        found = set()
        for match in self._patterns[kind].finditer(text):
            if not _NEGATED.search(text[max(0, match.start() - 30) : match.start()]):
                found.add(self._label(match[1]))
                alternative = self._patterns["or"].match(text, match.end(1))
                if alternative:
                    found.add(self._label(alternative[1]))
        return found

    def _leading(self, text: str) -> set[str]:
        matched = self._patterns["leading"].match(text)
        # "A. It pays more", but not "A. 40 points, B. 60 points".
        if not matched and len(self._mentioned(text)) == 1:
            matched = self._patterns["headed"].match(text)
        return {self._label(matched[1])} if matched else set()

    def _mentioned(self, text: str) -> set[str]:
        return {self._label(match[1]) for match in self._patterns["bare"].finditer(text)}

    def _label(self, written: str) -> str:
        folded = written.casefold()
        return next(option for option in self.options if option.casefold() == folded)

    @cached_property
    def _patterns(self) -> dict[str, re.Pattern[str]]:
        # Longest first, so that "10" is not read as "1". Single letters have their case, because
        # "a" is a word.
        ordered = sorted(self.options, key=len, reverse=True)
        any_case = "|".join(map(re.escape, ordered))
        written = "|".join(re.escape(o) if len(o) == 1 else f"(?i:{re.escape(o)})" for o in ordered)
        label = rf"(?<!\w)({written})(?![\w'’%]|[.,]\d|-\w)"
        named = rf"{_OPEN}(?i:{_NOUN}){_OPEN}"
        closed = r"[\"'`”’)\]*_]*"
        reasons = r"\s*,?\s+(?:because|since|as)\b"
        clause = rf"\s*[,;—–]\s+(?!(?:{written})\b|or\b|and\b)"
        patterns = {
            "whole": rf"{named}((?i:{any_case})){_CLOSE}",
            "decides": rf"(?<!\w)(?i:{_DECIDES}){named}{label}",
            "says": rf"(?i:{_SAYS})[\s:]{named}{label}",
            "or": rf"{_CLOSE}(?i:\bor\b|/){named}{label}",
            "leading": rf"{named}({written}){closed}(?:\s*[.!]?\s*\n|{reasons}|{clause})",
            "headed": rf"{named}({written}){closed}\s*[.:!—–-]\s",
            "bare": label,
        }
        return {name: re.compile(pattern) for name, pattern in patterns.items()}


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


def parse_percent(text: str | None) -> tuple[str, float | None]:
    """Status and probability of an answer that is a number from 0 to 100.

    A number counts where it is called percent or stands where an answer does: first, alone on the
    last line, or after words such as "my answer is". One that is only mentioned is ambiguous.

    Parameters
    ----------
    text : str or None

    Returns
    -------
    status : {"ok", "refusal", "ambiguous", "parse_error"}
    probability : float or None
        Between 0 and 1.

    Examples
    --------
    >>> from mlinstruments.agents import parse_percent
    >>> parse_percent("About 35%."), parse_percent("I would say 35")
    (('ok', 0.35), ('ok', 0.35))
    >>> parse_percent("between 20 and 40"), parse_percent("if 10 people"), parse_percent("350")
    (('ambiguous', None), ('ambiguous', None), ('parse_error', None))
    """
    if text is None:
        return "refusal", None
    said = _THOUGHTS.sub("", text)
    marked = [(match[1], match[2]) for match in _PERCENT.finditer(said)]
    # Where some numbers are called percent, the others are something else.
    kept = [number for number, sign in marked if sign] or [number for number, _ in marked]
    values = {float(number.replace(",", ".")) for number in kept}
    # A bare 0.5 may be half a percent or one half.
    if len(values) > 1 or (not any(sign for _, sign in marked) and any(0 < v < 1 for v in values)):
        return "ambiguous", None
    if values and 0 <= (value := values.pop()) <= 100:
        if any(sign for _, sign in marked) or _ANSWERS.search(said):
            return "ok", value / 100
        return ("refusal" if _REFUSAL.search(text) else "ambiguous"), None
    return ("refusal" if _REFUSAL.search(text) else "parse_error"), None


def refuses(text: str) -> bool:
    """Whether words of refusal are in a text; ask only where nothing else could be read.

    Parameters
    ----------
    text : str

    Returns
    -------
    bool

    Examples
    --------
    >>> from mlinstruments.agents.parsing import refuses
    >>> refuses("I'm sorry, I can't help with that."), refuses("Price: 2")
    (True, False)
    """
    return _REFUSAL.search(text) is not None


def without_thoughts(text: str) -> str:
    """A text without what a model marked as thinking.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> from mlinstruments.agents.parsing import without_thoughts
    >>> without_thoughts("<think>1.9 or 1.7?</think>Price: 1.7")
    'Price: 1.7'
    """
    return _THOUGHTS.sub("", text)
