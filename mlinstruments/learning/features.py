"""The learner's inputs as one float matrix that remembers which columns are categories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlinstruments._core.typing import BoolArray, FloatArray


@dataclass(frozen=True)
class Features:
    """Inputs of a first stage.

    Parameters
    ----------
    values : array, shape (n, q)
        Numbers as they are; categories as codes 0, 1, ...; missing entries NaN.
    categorical : bool array, shape (q,)
        Which columns hold category codes.
    names : tuple of str
        One for each column.
    """

    values: FloatArray
    categorical: BoolArray
    names: tuple[str, ...]

    @classmethod
    def numeric(cls, values: FloatArray, prefix: str = "w") -> Features:
        """All columns numeric, named ``w0``, ``w1``, ... from ``values`` (n, q)."""
        q = values.shape[1]
        return cls(values, np.zeros(q, dtype=bool), tuple(f"{prefix}{j}" for j in range(q)))

    @property
    def has_missing(self) -> bool:
        """Whether any entry is NaN."""
        return bool(np.isnan(self.values).any())

    def joined(self, other: Features) -> Features:
        """The columns of ``other`` (same rows) appended."""
        return Features(
            np.hstack([self.values, other.values]),
            np.concatenate([self.categorical, other.categorical]),
            self.names + other.names,
        )

    def dummies(self, drop_first: bool = False) -> FloatArray:
        """Numeric columns as they are and an indicator for each category, shape (n, m)."""
        if not self.categorical.any():
            return self.values
        columns = []
        for j in range(self.values.shape[1]):
            column = self.values[:, j]
            if self.categorical[j]:
                codes = np.unique(column[~np.isnan(column)])[1 if drop_first else 0 :]
                columns.append((column[:, None] == codes[None, :]).astype(float))
            else:
                columns.append(column[:, None])
        return np.hstack(columns)

    def dummy_names(self, drop_first: bool = False) -> tuple[str, ...]:
        """Names of the columns of :meth:`dummies`: ``court[1]`` is the indicator of code 1.

        Examples
        --------
        >>> Features(np.array([[0.0], [1.0], [2.0]]), np.array([True]), ("court",)).dummy_names()
        ('court[0]', 'court[1]', 'court[2]')
        """
        names: list[str] = []
        for j, name in enumerate(self.names):
            column = self.values[:, j]
            if self.categorical[j]:
                codes = np.unique(column[~np.isnan(column)])[1 if drop_first else 0 :]
                names += [f"{name}[{int(code)}]" for code in codes]
            else:
                names.append(name)
        return tuple(names)
