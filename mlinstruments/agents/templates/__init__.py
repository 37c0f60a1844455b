"""The texts prompts are made of, one file a wording and a rendering, and their hashes."""

from __future__ import annotations

import hashlib
import tomllib
from functools import cache
from importlib import resources
from typing import Any

from mlinstruments._core.arrays import check_choice


def wordings() -> tuple[str, ...]:
    """Names of the wordings: what is said around the payoffs.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from mlinstruments.agents import wordings
    >>> len(wordings()) >= 6
    True
    """
    return _names("wordings")


def renderings() -> tuple[str, ...]:
    """Names of the renderings: how payoffs are written down.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from mlinstruments.agents import renderings
    >>> "table" in renderings(), renderings()[:4]
    (True, ('accounts', 'arrows', 'beside', 'brief'))
    """
    return _names("renderings")


def label_sets() -> tuple[str, ...]:
    """Names of the sets of labels that stand for actions.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from mlinstruments.agents import label_sets
    >>> label_sets()
    ('letters', 'late', 'middle', 'quarters', 'digits', 'words')
    """
    return tuple(_read("labels.toml"))


def wording(name: str) -> dict[str, Any]:
    """Sentences of a wording by name."""
    return _read(f"wordings/{check_choice(name, 'wording', wordings())}.toml")


def rendering(name: str) -> dict[str, Any]:
    """Lines of a rendering by perspective."""
    return _read(f"renderings/{check_choice(name, 'rendering', renderings())}.toml")


def labels(name: str) -> dict[str, list[str]]:
    """Labels of a set: own, other and plans."""
    found: dict[str, list[str]] = _read("labels.toml")[check_choice(name, "labels", label_sets())]
    return found


@cache
def template_hash(wording: str, rendering: str, labels: str) -> str:
    """SHA-256 of the files that a wording, a rendering and a set of labels are read from.

    Parameters
    ----------
    wording, rendering, labels : str

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> from mlinstruments.agents import template_hash
    >>> one = template_hash("plain", "bullets", "letters")
    >>> len(one), one == template_hash("plain", "table", "letters")
    (64, False)
    """
    check_choice(wording, "wording", wordings())
    check_choice(rendering, "rendering", renderings())
    check_choice(labels, "labels", label_sets())
    digest = hashlib.sha256()
    for name in (f"wordings/{wording}.toml", f"renderings/{rendering}.toml", "labels.toml"):
        digest.update(_text(name).encode())
    digest.update(labels.encode())
    return digest.hexdigest()


@cache
def _names(folder: str) -> tuple[str, ...]:
    files = (resources.files(__package__) / folder).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


@cache
def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(_text(name))


def _text(name: str) -> str:
    file = resources.files(__package__).joinpath(*name.split("/"))
    return file.read_text(encoding="utf-8")  # line ends become \n on every system
