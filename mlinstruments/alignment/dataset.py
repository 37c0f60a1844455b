"""Fine-tuning data: situations, targets, and files that say what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import label_sets, renderings, wordings
from mlinstruments.games.protocols import GAMES, Protocol, default_grid

from .examples import Dataset, Example, balance_of, check_empty
from .labels import MATRIX_KINDS, utility_weight
from .render import STYLES, decision, label_of, target
from .sampling import (
    CLOSE,
    Drawn,
    Space,
    affine_key,
    draw_pairs,
    is_close,
    utilities_disagree,
)
from .verify import check_target

# Kept for evaluation: never in training unless named.
HELD_OUT = {
    "wordings": ("card", "keys", "question_first", "terse"),
    "renderings": ("narrative", "prose", "totals"),
}
HELD_OUT_KINDS = ("prisoner's dilemma", "stag hunt")


def make_dataset(
    utility: str | float = "economicus",
    n: int = 800,
    folder: str | Path | None = None,
    *,
    n_valid: int = 40,
    games: Sequence[str] = ("matrix",),
    unit: str = "node",
    style: str = "short",
    wordings: Sequence[str] | None = None,
    renderings: Sequence[str] | None = None,
    labels: Sequence[str] = ("letters", "late", "middle"),
    valid_wordings: Sequence[str] = ("letter",),
    beliefs: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 0.9),
    seen: bool = True,
    evaluation: Sequence[Protocol] | None = None,
    kinds_left_out: Sequence[str] = HELD_OUT_KINDS,
    low: int = 10,
    high: int = 95,
    step: int = 5,
    margin: float = 0.03,
    disagree: float | None = 0.5,
    close: float | None = 0.3,
    random_state: int = 0,
) -> Dataset:
    """Examples of what a utility chooses and why, ready for fine-tuning.

    Every situation comes twice, with the labels of the two actions changed over. Prompts are split
    between training and validation by their text, and protocols by their payoffs; neither part
    holds an evaluation protocol or an affine copy of one. Every number in a target is recomputed by
    a second evaluator that shares no code with the first (:func:`.check_target`).

    Parameters
    ----------
    utility : {"economicus", "moralis"} or float
        kappa 0, kappa 1/2, or a kappa.
    n, n_valid : int
        Examples, even numbers.
    folder : str or Path, optional
        Where to write; see :meth:`Dataset.write`. Nothing is written without.
    games : sequence of str
    unit : {"node", "strategy"}
    style : {"full", "short", "action"}
        Of the targets; see :func:`.target`.
    wordings, renderings : sequence of str, optional
        By default all but those of ``valid_wordings`` and of ``HELD_OUT``.
    labels : sequence of str
    valid_wordings : sequence of str
        Of the validation part: those on which training may be stopped early.
    beliefs : sequence of float
        Chances that prompts state of the other's play.
    seen : bool
        In games where both move at once: tell the other's action, not a chance.
    evaluation : sequence of Protocol, optional
        Left out with their affine copies; :func:`.default_grid` by default.
    kinds_left_out : sequence of str
        Kinds of 2x2 games, see :func:`matrix_kind`, kept as games not trained on.
    low, high, step : int
        The payoff grid, in points.
    margin : float
        Situations in which the best choice is better by less than this share of the payoff range
        are dropped.
    disagree : float or None
        Share of situations in which homo economicus and homo moralis choose differently, as near as
        the games allow; None takes them as they come, which teaches a model to choose by the own
        payoff, the simpler rule, wherever the two agree often. The manifest has the share there is.
    close : float or None
        Share of close calls, in which the best choice is better by at most a tenth of the payoff
        range, as near as the games allow; None takes them as they come, which is too seldom for a
        model to learn to compare numbers that begin with the same digit. A ``margin`` above a tenth
        leaves none.
    random_state : int
        Not None: the manifest says it, so that the data can be made again.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        For unknown names, numbers that cannot be used, wordings in both parts, a folder that holds
        such files, or a grid with too few protocols.

    References
    ----------
    Lu, Dhanda, Chen and Hansen (2025), arXiv:2507.20796, for the idea; the data are ours.

    Examples
    --------
    >>> from mlinstruments.alignment import make_dataset
    >>> data = make_dataset("moralis", n=8, n_valid=2)
    >>> len(data.train), data.train[0].messages[-1]["content"].splitlines()[-1][:9]
    (8, 'Decision:')
    """
    kappa = utility_weight(utility)
    if folder is not None:
        check_empty(folder)
    seed = check_count(random_state, "random_state", 0)
    space = _space(
        games, unit, style, wordings, renderings, labels, valid_wordings, beliefs, seen,
        kinds_left_out, _grid(low, high, step), margin, disagree, close,
    )  # fmt: skip
    for count, name in ((n, "n"), (n_valid, "n_valid")):
        if check_count(count, name, 2) % 2:
            raise InputError(f"{name} must be even: every situation comes twice; got {count}.")
    held = _held(evaluation)
    refused = {affine_key(protocol) for protocol in held}
    rng = np.random.default_rng(seed)
    use = Drawn()
    aside = replace(space, wordings=tuple(valid_wordings))
    valid = _examples(draw_pairs(aside, n_valid // 2, kappa, rng, refused, use), kappa, style)
    taken = refused | use.keys
    train = _examples(draw_pairs(space, n // 2, kappa, rng, taken, use), kappa, style)
    assert_split(train, valid, refused)
    manifest = _manifest(utility, kappa, style, space, valid_wordings, seed)
    manifest |= {
        "counts": {"train": len(train), "valid": len(valid)},
        "dropped": dict(use.dropped),
        "disagree_share": float(np.mean([e.disagree for e in train])),
        "close_share": float(np.mean([e.close for e in train])),
        "balance": {
            " ".join(map(str, k)): int(v) for k, v in balance_of(train)["examples"].items()
        },
        "left_out": sorted(refused),
        "protocols": sorted({affine_key(e.prompt.protocol) for e in (*train, *valid)}),
    }
    made = Dataset(train, valid, manifest)
    if folder is not None:
        made.write(folder)
    return made


def _space(
    games: Sequence[str], unit: str, style: str, words: Sequence[str] | None,
    payoffs: Sequence[str] | None, labels: Sequence[str], valid: Sequence[str],
    beliefs: Sequence[float], seen: bool, kinds: Sequence[str], grid: tuple[int, int, int],
    margin: float, disagree: float | None, close: float | None,
) -> Space:  # fmt: skip
    check_choice(unit, "unit", ("node", "strategy"))
    check_choice(style, "style", STYLES)
    apart = {*valid, *HELD_OUT["wordings"]}
    words = [w for w in wordings() if w not in apart] if words is None else words
    payoffs = (
        [r for r in renderings() if r not in HELD_OUT["renderings"]] if payoffs is None else payoffs
    )
    for given, name, known in (
        (games, "games", tuple(GAMES)),
        (words, "wordings", wordings()),
        (valid, "valid_wordings", wordings()),
        (payoffs, "renderings", renderings()),
        (labels, "labels", label_sets()),
    ):
        if isinstance(given, str) or not given:
            raise InputError(f"{name} must be a list of names, such as [{known[0]!r}].")
        for value in given:
            check_choice(value, name, known)
    for kind in kinds:
        check_choice(kind, "kinds_left_out", MATRIX_KINDS)
    both = sorted(set(words) & set(valid))
    if both:
        raise InputError(
            f"wording {both[0]!r} is in wordings and in valid_wordings: validation must hold"
            " wordings that are not trained on."
        )
    chances = _beliefs(beliefs)
    if not _is_share(margin) or margin == 1:
        raise InputError(f"margin must be a share of the payoff range; got {margin!r}.")
    for share, name in ((disagree, "disagree"), (close, "close")):
        if share is not None and not _is_share(share):
            raise InputError(f"{name} must be a share of the situations; got {share!r}.")
    if margin > CLOSE:
        close = None
    return Space(
        tuple(games), unit, tuple(words), tuple(payoffs), tuple(labels), chances, bool(seen),
        *grid, float(margin), tuple(kinds), "label" if style == "action" else "reasoned",
        None if disagree is None else float(disagree), None if close is None else float(close),
    )  # fmt: skip


def _is_share(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool) and bool(0 <= value <= 1)


def _beliefs(given: Any) -> tuple[float, ...]:
    """Probabilities as plain numbers, which a manifest can hold."""
    several = isinstance(given, Sequence | np.ndarray) and not isinstance(given, str)
    if not several or not len(given) or not all(_is_share(b) for b in given):
        raise InputError(f"beliefs must be probabilities, such as [0.25, 0.75]; got {given!r}.")
    return tuple(float(b) for b in given)


def _grid(low: Any, high: Any, step: Any) -> tuple[int, int, int]:
    for value, name in ((low, "low"), (high, "high")):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InputError(f"{name} must be a whole number of points; got {value!r}.")
    check_count(step, "step", 1)
    if low >= high:
        raise InputError(f"low must lie below high: there is no grid from {low} to {high}.")
    return int(low), int(high), int(step)


def _held(evaluation: Sequence[Protocol] | None) -> tuple[Protocol, ...]:
    """Protocols to be left out."""
    held = default_grid() if evaluation is None else evaluation
    if not isinstance(held, Sequence) or not all(isinstance(p, Protocol) for p in held):
        raise InputError(
            "evaluation must be a list of Protocol, such as default_grid(), or [] to leave none"
            f" out; got {held!r}."
        )
    return tuple(held)


def _examples(pairs: Any, kappa: float, style: str) -> tuple[Example, ...]:
    made = []
    for prompt in (prompt for pair in pairs for prompt in pair):
        text = target(prompt, kappa, style)
        check_target(prompt, text, kappa)
        label = label_of(prompt, kappa)
        apart = utilities_disagree(prompt.protocol, prompt.belief or (), prompt.node)
        close = is_close(label, prompt.node)
        made.append(Example(prompt, text, decision(prompt, label), apart, close))
    return tuple(made)


def assert_split(
    train: Sequence[Example], valid: Sequence[Example], refused: set[str] | None = None
) -> None:
    """Raise where a rendered prompt stands in both parts or twice, or a protocol is refused.

    Parameters
    ----------
    train, valid : sequence of Example
    refused : set of str, optional
        Affine keys of evaluation protocols.
    """
    texts = [(e.prompt.system, e.prompt.user) for e in (*train, *valid)]
    if len(set(texts)) < len(texts):
        raise AssertionError("a rendered prompt stands twice in the data.")
    keys = [{affine_key(e.prompt.protocol) for e in part} for part in (train, valid)]
    if keys[0] & keys[1] or (refused or set()) & (keys[0] | keys[1]):
        raise AssertionError("a protocol of one part, or of the evaluation, is in the other part.")


def _manifest(
    utility: str | float, kappa: float, style: str, space: Space, valid: Sequence[str], seed: int
) -> dict[str, Any]:
    from mlinstruments.agents import template_hash

    names = [
        (w, r, label_set)
        for w in (*space.wordings, *valid)
        for r in space.renderings
        for label_set in space.labels
    ]
    return {
        "made_by": f"mlinstruments {version('mlinstruments')}",
        "utility": utility,
        "kappa": kappa,
        "style": style,
        "seed": seed,
        "space": asdict(space),
        "valid_wordings": list(valid),
        "templates": {"/".join(name): template_hash(*name) for name in names},
        # Lines 2k and 2k + 1 of a file are one situation with the labels changed over.
        "group": 2,
    }
