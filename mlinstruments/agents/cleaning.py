"""What every parser of answers does first: leave out thoughts, and write like signs alike."""

from __future__ import annotations

import re
import unicodedata

# What a model thinks to itself, which may not have come to its end, decides nothing.
_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.IGNORECASE | re.DOTALL)
# Chat templates may put the opening tag into the prompt.
_UNOPENED = re.compile(r"\A.*</think(?:ing)?>", re.IGNORECASE | re.DOTALL)
_REFUSAL = re.compile(
    r"\bI(?:['’]m|\s+am)\s+(?:sorry|unable|not\s+able|not\s+comfortable|not\s+going\s+to)"
    r"|\bI\s+(?:can(?:not|['’]t|\s+not)|won['’]t|will\s+not|must\s+decline|decline|refuse"
    r"|do(?:n['’]t|\s+not)\s+(?:feel|think\s+it\s+is|have\s+(?:a\s+)?(?:personal\s+)?preference))"
    r"|\bas\s+an?\s+(?:AI|artificial|language\s+model)"
    r"|\b(?:against|violates?)\s+(?:my|the)\s+(?:guidelines|polic)",
    re.IGNORECASE,
)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
# Full-width and mathematical letters only: elsewhere NFKC makes "1/2" of a half, and 2 of a square.
_WIDE = re.compile("[\uff01-\uff5e\U0001d400-\U0001d7ff]+")
_TAGS = re.compile(
    r"</\w+>|<(?:answer|choice|decision|action|final|output|response|result|strong|em)>"
    r"|<\|[^|<>]*\|>",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(r"(?<!\w)[*`_]+|[*`_]+(?!\w)")


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
    >>> without_thoughts("1.9 or 1.7?</think>Price: 1.7")
    'Price: 1.7'
    """
    return _UNOPENED.sub("", _THOUGHTS.sub("", text))


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


def plain(text: str) -> str:
    """A text with wide letters made narrow, quotes straight, and nothing that cannot be seen.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> from mlinstruments.agents.cleaning import plain
    >>> plain("I’ll pick\\u200b Ｂ")
    "I'll pick B"
    """
    narrow = _WIDE.sub(lambda m: unicodedata.normalize("NFKC", m[0]), text)
    return re.sub("[‘’]", "'", _INVISIBLE.sub("", narrow))


def unmarked(text: str) -> str:
    """A plain text without thoughts, tags and emphasis.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> from mlinstruments.agents.cleaning import unmarked
    >>> unmarked("<think>A?</think>**Decision：** <answer>B</answer>").split()
    ['Decision:', 'B']
    """
    return _shortened(_EMPHASIS.sub("", _TAGS.sub(" ", plain(without_thoughts(text)))))


def _shortened(text: str) -> str:
    """Without long runs of spaces, empty lines and signs, over which patterns take long."""
    text = re.sub(r"[^\S\n\r]+", " ", re.sub(r"\r\n?", "\n", text))
    return re.sub(r"([^\w\s])\1{9,}", r"\1" * 9, re.sub(r"\n(?: ?\n){2,}", "\n\n", text))
