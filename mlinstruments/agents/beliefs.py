"""From what was written to a probability; never a guess."""

from __future__ import annotations

import re

from .cleaning import plain, refuses, without_thoughts

# A minus is a sign where no number stands before it, and a dash between two numbers.
_PERCENT = re.compile(
    r"(?<![\w.])(?<!\d,)((?:(?<!\d)-)?\d{1,3}(?:[.,]\d+)?)\s*(%|percent\b|per\s+cent\b)?(?![\w])(?!,\d)"
)
# "35 out of 100", "35/100", "35 times in 100": so it is asked in some wordings.
_OF_HUNDRED = re.compile(
    r"(?<![\w.,/])(\d{1,3}(?:[.,]\d+)?)\s*(?:(?:times|cases)\s+)?(?:(?:out\s+of|of|in)\s+|/\s*)"
    r"(?:every\s+|a\s+)?(?:100|hundred)\b(?![.,/]\d|\s*(?:%|points?\b|tokens?\b|units?\b))",
    re.IGNORECASE,
)
# Where a number not called percent is the answer, and is not only mentioned: first in the text,
# alone on the last line, or behind words that announce it; with nothing behind it that it counts.
_NUMBER = (
    r"(?:(?:about|around|roughly|approximately|maybe|perhaps|probably)\s+)?-?\d{1,3}(?:[.,]\d+)?(?!\w)"
    r"(?=[^\w\n]*(?:$|because\b|since\b|as\b)|[*\"')\]]*[.,;:!]\s)"
)
_ANNOUNCED = (
    r"\b(?:is|be|say|rate|rate\s+(?:it|this|that)|give|give\s+(?:it|this)|choose|pick|guess|estimate"
    r"|(?:answer|rating|score|number|scale|likelihood|chance|probability|percentage|response|reply)"
    rf"\W*[:=])\W*{_NUMBER}"
)
_ANSWERS = re.compile(
    rf"\A\W*{_NUMBER}|^\W*{_NUMBER}\W*\Z|{_ANNOUNCED}", re.IGNORECASE | re.MULTILINE
)
# A number behind one called percent that is an answer of its own: "I am 90% sure it is 50".
_ANOTHER = re.compile(
    rf"^\W*{_NUMBER}\W*\Z|{_ANNOUNCED}|\b(?:so|hence|thus|therefore)\W+{_NUMBER}",
    re.IGNORECASE | re.MULTILINE,
)
# What makes of a number the end of a range, a bound, or what it is not.
_BOUNDED = re.compile(
    r"(?:\d\s*(?:%|percent|per\s+cent)?\s*(?:[-–—~±]|\bto\b|\bor\b)|\bbetween\b[^.\n]{0,20}\d\D{0,9}\band\b"
    r"|\b(?:at\s+(?:least|most)|(?:more|less|fewer|greater|higher|lower)\s+than|over|under|above"
    r"|below|up\s+to)|(?<![-=])[<>≤≥]|(?:\bnot|n't|\bnever)(?:\s+(?!only\b|just\b)\w+){0,2})\s*\Z",
    re.IGNORECASE,
)
_ONWARD = re.compile(r"\s*(?:[-–—]|to|or)\s*\d", re.IGNORECASE)
_QUOTED = re.compile(r"^\s*>\s+", re.MULTILINE)
# "100% up to them": how sure, how much, but not how likely.
_DEGREE = re.compile(
    r"\s*(?:sure|certain(?:ty)?|confiden\w+|convinced|positive|up\s+to|behind|rational|honest|clear"
    r"|wrong|right|(?:or\s+)?(?:higher|lower|more|less|fewer|better|worse)|of\s+(?!100\b)\d+)\b|\s*\+",
    re.IGNORECASE,
)


def parse_percent(text: str | None) -> tuple[str, float | None]:
    """Status and probability of an answer that is a number from 0 to 100.

    A number counts where it is called percent or "of 100", or stands where an answer does: first,
    alone on the last line, or after words such as "my answer is". One that is only mentioned, a
    range, a bound ("at least 30%") and how sure the answer is are ambiguous.

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
    >>> parse_percent("About 35%."), parse_percent("I would say 35"), parse_percent("35 of 100")
    (('ok', 0.35), ('ok', 0.35), ('ok', 0.35))
    >>> parse_percent("between 20 and 40%"), parse_percent("if 10 people"), parse_percent("350")
    (('ambiguous', None), ('ambiguous', None), ('parse_error', None))
    """
    if text is None:
        return "refusal", None
    said = _OF_HUNDRED.sub(r"\1 percent", _QUOTED.sub("", plain(without_thoughts(text))))
    marked = list(_PERCENT.finditer(said))
    signed = [match for match in marked if match[2]]
    # Where some numbers are called percent, the others are something else.
    kept = signed or marked
    values = {float(match[1].replace(",", ".")) for match in kept}
    # A bare 0.5 may be half a percent or one half.
    unclear = len(values) > 1 or (not signed and any(0 < value < 1 for value in values))
    if unclear or any(_vague(said, match) for match in kept):
        return "ambiguous", None
    if values and 0 <= (value := values.pop()) <= 100:
        if signed or _ANSWERS.search(said):
            return "ok", value / 100
        return ("refusal" if refuses(text) else "ambiguous"), None
    return ("refusal" if refuses(text) else "parse_error"), None


def _vague(said: str, match: re.Match[str]) -> bool:
    """Whether a number is no point, or is not what was asked for."""
    behind = said[match.end() :]
    # "1,000" is a thousand, but "33,333%" may be a third.
    before = said[max(0, match.start() - 60) : match.start()]
    if re.search(r",\d{3}\Z", match[1]) or _BOUNDED.search(before):
        return True
    if _ONWARD.match(behind):
        return True
    return bool(match[2]) and bool(_DEGREE.match(behind) or _ANOTHER.search(behind))
