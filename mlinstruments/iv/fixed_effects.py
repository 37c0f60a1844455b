"""Fixed effects among the inputs: rows alone in a group go, as do columns that groups determine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mlinstruments._core.absorb import GroupEffects, Groups, renumbered
from mlinstruments._core.exceptions import InputError, SingletonWarning
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments._core.typing import BoolArray, FloatArray, IntArray
from mlinstruments._core.warn import warn_user

from .columns import Columns

# Groups are dealt to folds whole where there are at least so many for each fold.
GROUPS_PER_FOLD = 10


@dataclass(frozen=True)
class FixedEffects:
    """Groups whose effects are absorbed.

    Parameters
    ----------
    groups : tuple of int arrays, each (n,)
        Group of each row, from 0 without gaps; one array a way.
    names : tuple of str
        One for each way.
    singletons : int
        Rows that were dropped because they were alone in a group.
    """

    groups: Groups
    names: tuple[str, ...]
    singletons: int

    def effects(self, weights: FloatArray | None) -> GroupEffects:
        """What takes them out of columns."""
        return GroupEffects(self.groups, weights)

    @property
    def rank(self) -> int:
        """Degrees of freedom they take."""
        return GroupEffects(self.groups, None).rank

    @property
    def counts(self) -> dict[str, int]:
        """Number of groups by way."""
        sizes = [int(codes.max()) + 1 for codes in self.groups]
        return dict(zip(self.names, sizes, strict=True))

    def units(self, n_folds: int) -> Groups:
        """Groups that folds keep whole: the finer way, where it has enough of them.

        Rows alone in their group in a training part teach it nothing, so small groups stay
        together. Of large groups a part without some of their rows loses nothing.
        """
        finest = max(self.groups, key=lambda codes: int(codes.max()))
        return (finest,) if int(finest.max()) + 1 >= GROUPS_PER_FOLD * n_folds else ()


@dataclass(frozen=True)
class Absorbed:
    """Effects that were absorbed.

    Parameters
    ----------
    groups : dict of str to int
        How many groups each way has.
    df : int
        Degrees of freedom they take: groups, less one for each redundancy between two ways. All of
        them count in small-sample factors, also where groups lie within clusters.
    singletons : int
        Rows dropped because they were alone in a group.
    """

    groups: dict[str, int]
    df: int
    singletons: int

    @classmethod
    def of(cls, effects: FixedEffects | None) -> Absorbed:
        """What a result says of effects; nothing absorbed where there are none."""
        if effects is None:
            return cls({}, 0, 0)
        return cls(effects.counts, effects.rank, effects.singletons)


def absorb(pieces: Mapping[str, Columns]) -> tuple[dict[str, Columns], BoolArray, FixedEffects]:
    """Take apart what is absorbed: the pieces without it, the rows kept, and the effects.

    Raises
    ------
    InputError
        Where no row shares its groups with another.

    Warns
    -----
    SingletonWarning
        With the number of rows dropped.
    """
    labels = pieces["absorb"]
    codes = tuple(column.astype(np.int64) for column in labels.values.T)
    kept = _without_singletons(codes)
    alone = int((~kept).sum())
    if not kept.any():
        raise InputError(
            f"absorb={', '.join(labels.names)}: every row is alone in one of its groups, so nothing"
            " is left within groups. Absorb coarser groups."
        )
    if alone:
        warn_user(
            f"Dropped {alone} of {len(kept)} rows alone in a group of {', '.join(labels.names)}:"
            " the effect of such a group fits its row exactly.",
            SingletonWarning,
        )
    used = {role: piece.taken(kept) for role, piece in pieces.items() if role != "absorb"}
    exog = used["exog"]
    varying = np.ptp(exog.values, axis=0) > 0 if len(exog.names) else np.zeros(0, dtype=bool)
    names = tuple(name for name, keep in zip(exog.names, varying, strict=True) if keep)
    # A constant is the sum of all groups: it goes without a word, as in every package.
    used["exog"] = replace(
        exog, values=exog.values[:, varying], categorical=exog.categorical[varying], names=names
    )
    return used, kept, FixedEffects(renumbered(codes, np.flatnonzero(kept)), labels.names, alone)


def _without_singletons(codes: tuple[IntArray, ...]) -> BoolArray:
    """Rows left when rows alone in a group go, and those whose groups this leaves alone, ..."""
    kept = np.ones(len(codes[0]), dtype=bool)
    while True:
        alone = np.zeros_like(kept)
        for way in codes:
            alone |= kept & (np.bincount(way, kept)[way] == 1)
        if not alone.any():
            return kept
        kept &= ~alone


def within(pieces: Mapping[str, Columns], effects: FixedEffects) -> dict[str, Columns]:
    """The pieces with group effects taken out of the outcome and the regressors.

    Raises
    ------
    InputError
        Where nothing is left of a column.
    """
    weights = pieces["weights"].values[:, 0] if "weights" in pieces else None
    taken, made = effects.effects(weights), dict(pieces)
    for role in ("dependent", "exog", "endog"):
        values = taken.columns(pieces[role].values)
        for name, column in zip(pieces[role].names, values.T, strict=True):
            if not column.any():
                raise InputError(
                    f"{name!r} ({role}) does not vary within groups of"
                    f" {', '.join(effects.names)}: their effects determine it. Leave it out, or"
                    " absorb coarser groups."
                )
        made[role] = replace(pieces[role], values=values)
    return made


def check_options(options: Mapping[str, bool], spec: CovarianceSpec | None = None) -> None:
    """Refuse what absorbed effects cannot be joined with; options by words, and whether given."""
    for words, given in options.items():
        if given:
            raise InputError(
                f"absorb= cannot be joined with {words}: leave one of the two out, or put dummies"
                " of the groups into exog."
            )
    if spec is not None and spec.kind == "kernel" and spec.bandwidth is None:
        raise InputError(
            "absorb= with cov_type='kernel' needs bandwidth=: the rule that chooses it would look"
            " at the scores of every group."
        )
