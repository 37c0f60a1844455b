"""Words around a label: those of the templates, and those that make it a decision or unmake it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from . import templates

_NOUNS = {
    *("option", "action", "choice", "plan", "button", "answer", "sheet", "entry", "list", "line"),
    *("label", "word", "mark", "letter", "move", "decision"),
}
_HEADS = {"answer", "choice", "selection", "pick", "move", "mark"}
_VERBS = {"choose", "pick", "select", "take", "go for", "go with", "opt for", "press", "say"}
_VERBS |= {"mark", "play", "prefer", "settle on", "decide on", "vote for"}
# "I make 2" may be about points.
_NO_VERBS = {"make", "do", "get", "have"}

# What may stand around a label: quotes, brackets, emphasis, a full stop. Bounded, or texts of
# nothing but such signs would take minutes.
OPEN = r"(?:[\s\"'`“”(\[{<*_#$]|\\boxed\b|\\text\b){0,30}"
CLOSE = r"[\s\"'`“”)\]}>*_.!,;:$]*"
CLOSED = r"[\"'`”)\]}>*_$]*"
_COLON = r"[\"'*_]*\s*[:=]"
_ADVERB = (
    r"(?:\s+(?:definitely|probably|certainly|clearly|confidently|therefore|thus|hence|rather|still"
    r"|now|just|simply|finally|ultimately))?"
)
# May part a decision from what comes before it in its sentence; anything else there may unmake it.
_STANDS = re.compile(
    r"(?:\A|[,;]|\b(?:conclusion|decision|choice|answer|summary|verdict)\s*[:—–-]"
    r"|\b(?:so|thus|therefore|hence|(?:but|so|and)\s+then|but|yet|still|now|finally|ultimately"
    r"|overall|conclusion|(?:that|this|which)(?:'s|\s+is)\s+why"
    r"|I\s+(?:think|believe|guess)(?:\s+that)?))[^\w\"“']*\Z|\A\W*\Z",
    re.IGNORECASE,
)
_OPENERS = re.compile(
    r"\W*(?:(?:so|thus|therefore|hence|then|ok|okay|well|finally|ultimately|overall|in\s+conclusion"
    r"|in\s+summary|here\s+is|here's|and)\W+)*",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:if|when|whenever|unless|until|whether|where|suppos\w+|assume|assumed|assuming"
    r"|imagine|imagining|pretend\w*"
    r"|hypothetical\w*|provided|given(?!\s+(?:the|these|this|my|all)\b)|cases?|scenarios?|in\s+which"
    r"|(?:every|each)\s+time|as\s+(?:soon|long)|depending|for\s+(?:example|instance)|tempt\w+"
    r"|(?<!'s\s)(?<!is\s)why|no\s+way)\b"
    r"|\A\W*(?:should|were|had|once|not|never|under\s+no|with)\b",
    re.IGNORECASE,
)
# "If I choose B I get 40, so I choose A": the condition has come to its end.
_OWN = re.compile(
    r"\s+(?:I|we)\b.*(?:;|\b(?:so|thus|therefore|hence|but|yet|still)\b)", re.I | re.S
)
# "Most people would say, I choose A": somebody else speaks.
_OTHERS = re.compile(
    r"(?<!\bI\s)\b(?:thinks?|says?|said|believes?|expects?|guess(?:es)?|predicts?|reasons(?=:)"
    r"|perspective|point\s+of\s+view|shoes|for\s+(?:them|the\s+other))\b",
    re.IGNORECASE,
)
# "The format:", "The other would write", and then "Decision: A".
_SHOWN = re.compile(
    r"\b(?:format|example|template|e\.g\.|i\.e\.)[^.!?\n]*\s*\Z"
    r"|\b(?:others?|opponent|partner|they|player\s+\w+)\b[^.!?\n]*(?:\b(?:writes?|says?|answers?|reply"
    r"|replies|be|is)|:)\s*\Z",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.!?][\"'”)\]]*\s|[\n\r]")
_THEY = r"(?:the\s+|my\s+)?(?:others?|they|them|he|she|opponents?|partners?|you|players?)\b"
# After a comma or a dash, what makes the label part of a story, a condition or a list.
_STORY = (
    rf"(?:and\b|while\b|then\b|with\b|but\b|\W)*(?:{_THEY}|(?:someone|somebody|both|each|if|unless|when"
    r"|provided|assuming|were|had|let|which\s+(?:I|is\s+not)|or|only|\d|gets?|is|are|was|would|being"
    r"|pays|gives|(?:I|we)\s+(?:\w+\s+)?(?:get|receive|earn|lose|gain|end))\b)"
)
# What may follow a label that is chosen; "A if", "A and" or "A is" go on elsewhere.
_FOLLOWS = re.compile(
    CLOSED + r"(?:\s*\Z|[ \t]*[\n\r]|[ \t]*[.!]+(?:[^\w%]|\Z)"
    rf"|[ \t]*(?:[,;]|—|–|\s-+\s)\s*(?!{_STORY})"
    rf"|\s+(?:so|but)\b(?!\s+{_THEY})"
    r"|\s+(?:because|since|over|instead|rather|despite|given|due|even\s+though|although|though"
    r"|here|now|again|this\s+time|too|hoping|expecting|based|regardless|than|in\s+order|simply"
    r"|as\s+(?:it|this|that|I|they|both|my|we)|to\s+(?!be\b)[a-z]+|in\s+this|out\s+of\s+[a-z]+"
    r"|for\s+(?!granted|now|the|both|them)[a-z]+|with\s+(?!probability)[a-z]+)\b)",
    re.IGNORECASE,
)
_TO = re.compile(CLOSED + r"\s+(?:for|in|with|over|out|here|now|too|than)\b", re.IGNORECASE)
_ELSE = re.compile(r"\b(?:otherwise|else)\b", re.IGNORECASE)
_HEDGED = re.compile(r"\b(?:would|prefer|like|want)\b|'d\b", re.IGNORECASE)
_BUT = re.compile(r"\b(?:but|however|yet|except|although|though|only)\b", re.IGNORECASE)
_AGAIN = re.compile(r"\b(?:but|however|yet)\b", re.IGNORECASE)
_CORRECTS = re.compile(
    r"\b(?:wait|actually|scratch|correction|on\s+(?:second|further|reflection)|sorry|I\s+mean"
    r"|make\s+that|chang(?:e|ed|ing)\s+my|take\s+(?:that|it)\s+back|or\s+rather|mistake|hmm+|just\s+kidding"
    r"|reconsider\w*)\b|(?:^|[.,;!?—–-]\s*)no\b(?!\s+(?:matter|other|doubt|risk))",
    re.IGNORECASE | re.MULTILINE,
)


@cache
def template_words() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the wordings call a choice, and to make one: nouns and verbs, longest first.

    Returns
    -------
    nouns, verbs : tuple of str

    Examples
    --------
    >>> from mlinstruments.agents.phrases import template_words
    >>> nouns, verbs = template_words()
    >>> "ticket" in nouns, "vote for" in verbs
    (True, True)
    """
    nouns, verbs = set(_NOUNS | _HEADS), set(_VERBS)
    for name in templates.wordings():
        words = templates.wording(name)
        verbs.add(str(words["verb"]))
        nouns |= set(re.findall(r"([^\W\d_]+) \{plan\}", words["plan_line"]))
        for key in ("question_label", "question_reasoned", "plan_label", "plan_reasoned"):
            nouns |= set(re.findall(r"\b[Yy]our (\w+)\W*\{options\}", words[key]))
            asked = r"\b[Ww]hich (?!do\b|will\b|would\b|one\b)(\w+) (?:(?:do|will|would) )?you "
            for noun, verb in re.findall(asked + r"(\w+(?: (?:in|for|on|with)\b)?)", words[key]):
                nouns.add(noun)
                verbs |= {verb} - _NO_VERBS
    return _longest(nouns), _longest(verbs)


@cache
def echoes() -> tuple[str, ...]:
    """Patterns of whole lines of plans as the wordings write them, a group where the plan is.

    Returns
    -------
    tuple of str
    """
    made = set()
    for name in templates.wordings():
        words = templates.wording(name)
        head, tail = str(words["plan_line"]).split("{plan}")
        begins = str(words["plan_first"]).split("{x}")[0]
        tail = tail.split("{parts}")[0] + begins
        made.add(re.escape(head) + "({label})" + re.escape(tail) + r"\w+[^\n]*")
    return tuple(sorted(made))


def _longest(words: set[str]) -> tuple[str, ...]:
    return tuple(sorted({word.casefold() for word in words}, key=lambda w: (-len(w), w)))


def _any(words: Sequence[str]) -> str:
    return "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in words)


@dataclass(frozen=True)
class Patterns:
    """Patterns for a set of labels; the group is the label."""

    whole: re.Pattern[str]
    echo: re.Pattern[str]
    decision: re.Pattern[str]
    value: re.Pattern[str]
    answer: re.Pattern[str]
    says: re.Pattern[str]
    chosen: re.Pattern[str]
    further: re.Pattern[str]
    leading: re.Pattern[str]
    bare: re.Pattern[str]
    begins: re.Pattern[str]
    listed: re.Pattern[str]
    ended: re.Pattern[str]
    against: re.Pattern[str]


@cache
def patterns(options: tuple[str, ...]) -> Patterns:
    """Patterns that find labels where they decide.

    Parameters
    ----------
    options : tuple of str

    Returns
    -------
    Patterns
    """
    # Longest first, so that "10" is not read as "1". Single letters have their case, because
    # "a" is a word.
    ordered = sorted(options, key=len, reverse=True)
    cased = "|".join(re.escape(o) if len(o) == 1 else f"(?i:{re.escape(o)})" for o in ordered)
    any_case = f"(?i:{'|'.join(map(re.escape, ordered))})"
    ends = r"(?![\w'%]|[.,]\d|-\w)"
    nouns, verbs = map(_any, template_words())
    noun = rf"(?i:(?:(?:the|my|your)\s+)?(?:{nouns})\s+)"
    named = rf"{OPEN}(?:{noun}{OPEN})?"
    verb = rf"(?i:(?:to\s+)?(?:I(?:'ll|\s+will)?\s+)?(?:{verbs})\s+)"
    value = rf"{OPEN}(?:{verb}{OPEN})?(?:{noun}{OPEN})?"
    label = rf"(?<!\w)({cased}){ends}"
    said = rf"(?<!\w)({cased}{_small(options)}){ends}"
    at_end = rf"(?<!\w)((?:{cased})|{any_case}(?=[\"'`”)\]}}*_.!]*[ \t]*$)){ends}"
    bullet = r"\s*(?:[>*•-]\s+|\d+[.)]\s+)*"
    own = rf"(?i:\b{_announced(nouns)}){value}{said}|(?i:(?<!\w)(?:{nouns}){_COLON}){value}{at_end}"
    mine = rf"(?i:(?:is|will\s+be|would\s+be)\s+my\s+(?:final\s+)?(?:{nouns}))\b"
    made = {
        "whole": rf"\A\s*(?:[>•-]\s+)*(?:{value}({cased})|{named}({any_case})){CLOSE}",
        "echo": "|".join(echo.replace("{label}", any_case) for echo in echoes()),
        "decision": rf"(?i:\b(?:(?:my|the|our)\s+)?(?:final\s+)?decision{_COLON})",
        "value": rf"{value}{at_end}",
        "answer": f"(?:{own})",
        "says": rf"(?i:{_spoken(verbs)})(?:\s|:){named}{said}",
        "chosen": rf"{named}{label}{CLOSED}\s+{mine}",
        "further": rf"{CLOSED}\s*(?i:,?\s*\b(?:or|and|versus|vs)\b|[/|&,+;]){named}{label}",
        "leading": _leading(ordered, cased, named),
        "bare": label,
        "begins": rf"{bullet}{named}({cased}){ends}",
        "listed": rf"{bullet}{named}({cased}){CLOSED}\s*(?:[:=.)|>-]|→|$)",
        "ended": rf"[.!)|\]\"'”…]\s*\Z|(?i:\b(?:{nouns})\W*\Z)",
        "against": rf"(?i:\b(?:after|against|to|upon|under|on|with|for)\s){named}{label}\W*\Z",
    }
    return Patterns(**{name: re.compile(made[name], re.MULTILINE) for name in made})


def _small(options: Sequence[str]) -> str:
    """Small letters for labels that are capitals, at the end of a line; "a" may be an article."""
    small = [o.lower() for o in options if len(o) == 1 and o.lower() != o and o not in "AI"]
    return rf"|(?:{'|'.join(map(re.escape, small))})(?=[.!]?\s*$)" if small else ""


def _announced(nouns: str) -> str:
    own = rf"(?:my|our)\s+(?:final\s+|own\s+)?(?:{nouns})|(?:the\s+)?final\s+(?:{nouns})"
    verb = r"[\"'*_]*\s+(?:is|will\s+be|would\s+be)\b:?"
    return rf"(?:{own}|the\s+(?:answer|decision))(?:{_COLON}|{verb})"


def _spoken(verbs: str) -> str:
    return (
        r"\bI(?:(?:'ll|'d|\s+will|\s+would|\s+shall)(?:\s+like\s+to)?|(?:'m|\s+am)\s+going\s+to"
        r"|\s+want\s+to|(?:'ve|\s+have)?\s+decided?\s+to)?"
        rf"{_ADVERB}\s+(?:{verbs})\b"
        rf"|\bI(?:'m|\s+am){_ADVERB}\s+(?:going\s+(?:with|for)|choosing|picking|selecting|taking"
        r"|opting\s+for|settling\s+on|voting\s+for)\b"
        r"|\bI(?:'ve|\s+have)\s+(?:chosen|picked|selected|decided\s+on|settled\s+on|opted\s+for)\b"
    )


def _leading(ordered: Sequence[str], cased: str, named: str) -> str:
    """Groups: a label with reasons or a line of its own; a word, a letter that stand for more."""
    digits = [re.escape(o) for o in ordered if o.isdigit()]
    words = [f"(?i:{re.escape(o)})" for o in ordered if len(o) > 1 and not o.isdigit()]
    letters = [re.escape(o) for o in ordered if len(o) == 1 and not o.isdigit()]
    one, word, letter = ("|".join(found) or "(?!)" for found in (letters + digits, words, letters))
    line = r"\s*\n(?!\s*(?:is|are|was|would|pays?|gives?|has|seems)\b)"
    because = r"\s*,?\s+(?i:because|since|as\s+(?:it|this|that|I|they|both))\b(?!-)(?![^.\n]*\?)"
    # "A. It pays more", but not "A. It pays less" or "A. It pays 40".
    ill = r"(?:not|less|worse|worst|wrong|bad|fewer|lower|unfair|loses?|never|other|they)\b|n't\b"
    good = (
        r"(?:more|best|better|high(?:er|est)|most|fair(?:er|est)?|greater|greatest|large(?:r|st))\b"
    )
    short = rf"(?i:(?:it|this|that)\b(?![^.\n]*(?:\b{ill}|[\d?]))[^.\n]*\b{good})"
    calm = r"(?i:I\s+(?:think|guess|believe)|I'd\s+say|of\s+course|definitely|clearly|obviously)"
    calm += r"\s*[.!]?\s*(?:\n|\Z)"
    more = rf"(?:\s*[.!]{line}|\s*[.!]\s+{short}|\s*[,;—–]\s+{calm})"
    return (
        rf"{named}(?:({one}){CLOSED}{line}|({cased}){CLOSED}{because}"
        rf"|({word}){CLOSED}{line}|({letter}){CLOSED}{more})"
    )


def sentence_before(text: str, start: int) -> str:
    """What stands before a place in its sentence."""
    ends = [match.end() for match in _SENTENCE.finditer(text, 0, start)]
    return text[ends[-1] if ends else 0 : start]


def opens(text: str, start: int) -> bool:
    """Whether a place begins its sentence, but for a word such as "so", and is no example."""
    before = sentence_before(text, start)
    earlier = text[max(0, start - len(before) - 200) : start - len(before)]
    return _OPENERS.fullmatch(before) is not None and not _SHOWN.search(earlier)


def asked(text: str, start: int) -> bool:
    """Whether a question stands before a place, on its line: "Which pays less? Answer: A"."""
    return (
        re.search(r"\?[\"'”)\]]*[ \t]+[^.!?\n]*\Z", text[max(0, start - 200) : start]) is not None
    )


def stands(text: str, start: int, found: Patterns) -> bool:
    """Whether what begins at a place is said by the writer, and not on a condition."""
    before = sentence_before(text, start)
    if not _STANDS.search(before) or _OTHERS.search(before) or found.against.search(before):
        return False
    conditions = list(_CONDITION.finditer(before))
    return not conditions or _OWN.match(before, conditions[-1].end()) is not None


def ends_well(text: str, end: int, label: str) -> bool:
    """Whether a label is not asked about, and what follows leaves it chosen."""
    sentence = _SENTENCE.search(text, end)
    last = text[end : sentence.start() + 1 if sentence else len(text)].rstrip(" \t\n\r\"'”)]")
    if last.endswith("?") or _ELSE.search(last) or not _FOLLOWS.match(text, end):
        return False
    # "I take 1 for you", "I go right here": digits and words stand in other phrases.
    return (len(label) == 1 and not label.isdigit()) or not _TO.match(text, end)


def goes_back(said: str, text: str, end: int) -> str:
    """What stands behind the "but" with which a sentence, or the next one, takes itself back."""
    stop = _SENTENCE.search(text, end)
    rest, after = (text[end : stop.start()], text[stop.end() :]) if stop else (text[end:], "")
    turn = _BUT.search(rest) if _HEDGED.search(said) else _AGAIN.search(rest)
    if turn:
        return rest[turn.start() :]
    after = after.lstrip()
    stop = _SENTENCE.search(after)
    return (after[: stop.start()] if stop else after) if _AGAIN.match(after) else ""


def hedged(said: str) -> bool:
    """Whether words are those of a wish: "I would choose A" may go on with "but it is unfair"."""
    return _HEDGED.search(said) is not None


def corrects(text: str) -> re.Match[str] | None:
    """Words with which a writer turns round."""
    return _CORRECTS.search(text)
