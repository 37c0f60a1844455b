"""What tests share: small data, strongly identified, unequal clusters; and a quick learner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments.learning import Series

# Fits in a moment and finds what is curved in these data.
FAST = Series(penalty=0.05, interactions=False)


@dataclass(frozen=True)
class Design:
    """Columns of an IV model with true coefficients 1, -0.5, 0.25 on the endogenous regressors."""

    y: pd.Series
    X: pd.DataFrame
    D: pd.DataFrame
    W: pd.DataFrame
    weights: np.ndarray
    firm: np.ndarray
    year: np.ndarray

    @property
    def data(self) -> tuple[Any, ...]:
        """In linearmodels' order."""
        return self.y, self.X, self.D, self.W

    @property
    def clusters(self) -> dict[str, Any]:
        """No, one and two ways of clustering."""
        # Copies: before pandas 3 a change made to a Series would reach the arrays behind it.
        both = pd.DataFrame({"firm": self.firm.copy(), "year": self.year.copy()})
        return {"none": None, "one": pd.Series(self.firm.copy(), name="firm"), "two": both}

    def taken(self, rows: Any) -> Design:
        """Some rows, renumbered."""
        frames = {k: getattr(self, k).iloc[rows].reset_index(drop=True) for k in "yXDW"}
        arrays = {k: getattr(self, k)[rows] for k in ("weights", "firm", "year")}
        return replace(self, **frames, **arrays)


def strong(n: int = 300, d: int = 1, seed: int = 0) -> Design:
    """Partly linear, partly curved first stages in three instruments; heteroskedastic errors."""
    rng = np.random.default_rng(seed)
    firm = rng.integers(0, 25, n)
    W = rng.uniform(-1, 1, (n, 3))
    x = 0.4 * W[:, 0] + rng.normal(size=n)
    shared = rng.normal(size=25)[firm]
    u = (0.4 * shared + rng.normal(size=n)) * np.exp(0.3 * W[:, 1])
    v = 0.5 * u[:, None] + 0.6 * rng.normal(size=(n, max(d, 2)))
    mu = np.column_stack(
        [
            1.5 * W[:, 0] + np.cos(3 * W[:, 1]),
            np.sin(3 * W[:, 2]) + 1.2 * W[:, 1],
            1.5 * np.cos(3 * W[:, 2]) - W[:, 0],
        ]
    )
    D = mu[:, :d] + 0.5 * x[:, None] + v[:, :d]
    y = D @ np.array([1.0, -0.5, 0.25])[:d] + 1 + 0.3 * x + u
    return Design(
        y=pd.Series(y, name="y"),
        X=pd.DataFrame({"const": 1.0, "x": x}),
        D=pd.DataFrame(D, columns=["d1", "d2", "d3"][:d]),
        W=pd.DataFrame(W, columns=["w1", "w2", "w3"]),
        weights=rng.uniform(0.5, 2, n),
        firm=np.array([f"firm {g}" for g in firm], dtype=object),
        year=np.array([f"y{g}" for g in rng.integers(0, 12, n)], dtype=object),
    )


# With one, two and three endogenous regressors.
DESIGNS = {d: strong(n=240, d=d, seed=10 + d) for d in (1, 2, 3)}
