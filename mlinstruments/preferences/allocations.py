"""Choices between allocations given as columns: own and the other's payoff of each alternative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.tables import Printed, Table
from mlinstruments._core.typing import AnyArray, FloatArray
from mlinstruments.games.utility import HomoMoralis, WeightedOther

from .columns import labels_told, number_column, number_columns
from .design import Design
from .excluded import Excluded
from .readers import as_pandas

MORAL = HomoMoralis(("kappa",)).words


@dataclass(frozen=True, eq=False, repr=False)
class AllocationChoices(Printed):
    """Choices between allocations given as columns, rather than in protocols.

    Build it with :meth:`from_frame`.

    Parameters
    ----------
    sets : Design
        Choice sets, and who chose what from them.
    """

    sets: Design

    @property
    def summary(self) -> Table:
        """What there is: choices, choice sets, alternatives, the utility, labels."""
        facts = (
            ("Choices", f"{self.sets.n_choices:g}"),
            ("Choice sets", str(len(self.sets.z))),
            ("Alternatives", str(self.sets.z.shape[1])),
            ("Utility", self.sets.utility or ", ".join(self.sets.coefficients)),
        )
        return Table("Choices between allocations", facts, notes=labels_told(self.sets.labels))

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        own: Sequence[str],
        other: Sequence[str],
        chosen: str,
        characteristics: Mapping[str, Sequence[str] | str],
        labels: Sequence[str] = (),
        count: str | None = None,
    ) -> AllocationChoices:
        """Take one row a choice.

        Parameters
        ----------
        frame : data frame
        own, other : sequence of column names
            Payoffs of self and other in points, one column an alternative.
        chosen : str
            Column with the position (0, 1, ...) of the alternative chosen.
        characteristics : mapping of parameter to column name(s)
            One column for all alternatives or one for each; multiplied by other - own.
        labels : sequence of str
            Columns to cluster by.
        count : str, optional
            Column of counts.

        Returns
        -------
        AllocationChoices

        Raises
        ------
        InputError
            Naming a column that is missing or not numeric, or the row.

        Examples
        --------
        Who gives up 5 points of 60 so that the other has 40 more?

        >>> import pandas as pd
        >>> from mlinstruments import AllocationChoices
        >>> rows = pd.DataFrame({"own_0": [60.0], "own_1": [55.0], "other_0": [10.0],
        ...                      "other_1": [50.0], "chosen": [1], "one": [1.0]})
        >>> data = AllocationChoices.from_frame(
        ...     rows, ["own_0", "own_1"], ["other_0", "other_1"], "chosen", {"beta": "one"})
        >>> data.sets.z
        array([[[ 60., -50.],
                [ 55.,  -5.]]])
        """
        table = as_pandas(frame, "data")
        model = WeightedOther(tuple(characteristics))
        alternatives = len(own)
        if len(other) != alternatives or alternatives < 2:
            raise InputError("own and other must name the same two or more alternatives.")
        z = model.columns(
            number_columns(table, own, "data"),
            number_columns(table, other, "data"),
            {
                name: number_columns(table, [c] * alternatives if isinstance(c, str) else c, "data")
                for name, c in characteristics.items()
            },
        )
        action = number_column(table, chosen, "data")
        bad = ~np.isin(action, np.arange(alternatives))
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(
                f"row {row}: {chosen} is {action[row]:g}; it must be 0 to {alternatives - 1}."
            )
        names = tuple(str(a) for a in range(alternatives))
        weights = np.ones(len(table)) if count is None else number_column(table, count, "data")
        columns = {name: table[name].to_numpy() for name in labels}
        found = _shared_sets(z, model.parameters, action, weights, columns, names, model.words)
        return cls(found)

    @classmethod
    def from_payoffs(
        cls,
        own: Any,
        universal: Any,
        chosen: Any,
        labels: Mapping[str, Any] | None = None,
        count: Any = None,
        names: Sequence[str] | None = None,
    ) -> AllocationChoices:
        """Take own and universalised payoffs of the alternatives of each choice.

        Utility is (1 - kappa) own + kappa universalised: what is left to estimate is lambda and
        kappa.

        Parameters
        ----------
        own, universal : array, shape (N, alternatives)
            Payoff of each alternative, and if everybody took it.
        chosen : int array, shape (N,)
            Position of the alternative chosen.
        labels : mapping of str to array (N,), optional
            Columns to cluster by.
        count : array, shape (N,), optional
            How often, or with what probability.
        names : sequence of str, optional
            Of the alternatives.

        Returns
        -------
        AllocationChoices

        Raises
        ------
        InputError
            Where shapes differ, payoffs are not finite, or a position is none.

        Examples
        --------
        >>> from mlinstruments import AllocationChoices, PreferenceLogit
        >>> data = AllocationChoices.from_payoffs(
        ...     [[5.0, 3.0]] * 3 + [[5.0, 4.0]] * 4, [[2.0, 4.0]] * 3 + [[4.0, 4.5]] * 4,
        ...     [0, 1, 1, 0, 1, 0, 0])
        >>> PreferenceLogit().fit(data).params.index.tolist()
        ['lambda', 'kappa']
        """
        payoffs = np.stack(_payoffs(own, universal))
        z = np.stack([payoffs[0], payoffs[1] - payoffs[0]], axis=-1)
        n, alternatives = payoffs.shape[1:]
        action = np.asarray(chosen)
        if action.shape != (n,) or action.dtype.kind not in "iu":
            raise InputError(f"chosen must be {n} whole numbers, one a choice.")
        if not np.isin(action, np.arange(alternatives)).all():
            raise InputError(f"chosen must be 0 to {alternatives - 1}, positions of alternatives.")
        weights = np.ones(n) if count is None else np.asarray(count, dtype=np.float64)
        columns = {name: np.asarray(values) for name, values in (labels or {}).items()}
        for name, values in {"count": weights, **columns}.items():
            if values.shape != (n,):
                raise InputError(f"{name!r} must have one entry for each of the {n} choices.")
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise InputError("count must be finite and not negative.")
        given = tuple(names) if names is not None else tuple(map(str, range(alternatives)))
        return cls(_shared_sets(z, ("kappa",), action, weights, columns, given, MORAL))

    @property
    def n_choices(self) -> float:
        """Total count."""
        return self.sets.n_choices

    @property
    def excluded(self) -> Excluded:
        """Nothing is excluded."""
        return Excluded.of({})

    def design(self, utility: Any = None, beliefs: Any = None, unit: str = "strategy") -> Design:
        """The choice sets; utility, beliefs and unit are settled by the columns."""
        return self.sets


def _shared_sets(
    z: FloatArray,
    parameters: tuple[str, ...],
    action: AnyArray,
    weights: FloatArray,
    labels: Mapping[str, AnyArray],
    names: tuple[str, ...],
    words: str,
) -> Design:
    """Rows with the same regressors share a set, so that repeated situations cost nothing."""
    unique, position = np.unique(z.reshape(len(z), -1), axis=0, return_inverse=True)
    sets = unique.reshape(len(unique), *z.shape[1:])
    return Design(
        sets,
        np.ones(sets.shape[:2], dtype=bool),
        parameters,
        position.astype(np.int64).ravel(),
        action.astype(np.int64),
        weights,
        labels,
        (names,) * len(sets),
        words,
    )


def _payoffs(own: Any, universal: Any) -> list[FloatArray]:
    found = []
    for name, values in (("own", own), ("universal", universal)):
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] < 2 or array.shape != np.shape(own):
            raise InputError(
                "own and universal must have the same shape, choices by two or more alternatives;"
                f" got {np.shape(own)} and {np.shape(universal)}."
            )
        if not np.isfinite(array).all():
            raise InputError(f"{name} must be finite.")
        found.append(array)
    return found
