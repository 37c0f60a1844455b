"""What every test returns, and hypotheses in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class TestResult:
    """A test of one hypothesis.

    Parameters
    ----------
    statistic : float
    pvalue : float
    df : int
        Degrees of freedom of the numerator.
    null : str
        The hypothesis in words.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    statistic: float
    pvalue: float
    df: int
    null: str

    def __str__(self) -> str:
        return f"H0: {self.null}; chi2({self.df}) = {self.statistic:.4f}, p-value {self.pvalue:.4f}"


def null_words(names: Iterable[str], values: Iterable[float]) -> str:
    """Coefficients and their values in words.

    Examples
    --------
    >>> null_words(("d", "x"), (0.0, 1.5))
    'd = 0, x = 1.5'
    """
    return ", ".join(f"{name} = {v:g}" for name, v in zip(names, values, strict=True))
