"""Exact numbers as targets write them: decimals, aligned digits, sums in columns."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from mlinstruments._core.exceptions import InputError

# Whole sums are written with at least so many digits, so that to compare them is to copy digits.
SUM_DIGITS = 3


def number(value: Fraction) -> str:
    """A number in plain decimals, none of them dropped.

    Raises
    ------
    InputError
        Where it would take more than eight decimals.

    Examples
    --------
    >>> from fractions import Fraction
    >>> number(Fraction(165, 4)), number(Fraction(-3))
    ('41.25', '-3')
    """
    for decimals in range(9):
        scaled = value * 10**decimals
        if scaled.denominator == 1:
            break
    else:
        raise InputError(
            f"{float(value)!r} cannot be written with eight decimals: give payoffs, beliefs and"
            " kappa as round numbers, such as 45, 0.25 and 0.5."
        )
    digits = f"{abs(int(scaled)):0{decimals + 1}d}"
    whole, part = (digits[:-decimals], digits[-decimals:]) if decimals else (digits, "")
    return ("-" if value < 0 else "") + whole + (f".{part}" if part else "")


def aligned(values: Sequence[Fraction], least: int = 1) -> list[str]:
    """Numbers with as many digits each before the point, and after it.

    Parameters
    ----------
    values : sequence of Fraction
        None below 0.
    least : int
        Digits before the point, at least.

    Examples
    --------
    >>> from fractions import Fraction
    >>> aligned([Fraction(15, 2), Fraction(110)]), aligned([Fraction(5), Fraction(40)], least=3)
    (['007.5', '110.0'], ['005', '040'])
    """
    parts = [number(value).partition(".") for value in values]
    before = max(least, *(len(whole) for whole, _, _ in parts))
    after = max(len(part) for _, _, part in parts)
    point = "." if after else ""
    return [whole.zfill(before) + point + part.ljust(after, "0") for whole, _, part in parts]


def added_up(one: Fraction, other: Fraction) -> str:
    """Two numbers added up in columns from the right, or at once where they are not whole."""
    total, said = one + other, f"{number(one)} + {number(other)}"
    written = aligned([total], SUM_DIGITS)[0] if total >= 0 else number(total)
    if one.denominator != 1 or other.denominator != 1 or min(one, other) < 0:
        return f"{said} = {written}."
    steps: list[str] = []
    carry = 0
    for a, b in zip(*(text[::-1] for text in aligned([one, other])), strict=True):
        digits = int(a) + int(b)
        column = digits + carry
        carried = f", {digits:02d} + {carry} = {column:02d}" if steps else ""
        steps.append(f"{a} + {b} = {digits:02d}{carried}")
        carry = column // 10
    return f"{said}: {', '.join(steps)}: {written}."


def expectation(terms: Sequence[tuple[Fraction, Fraction]]) -> tuple[str, Fraction]:
    """A sum of chances times payoffs, written out, and its value.

    Examples
    --------
    >>> from fractions import Fraction
    >>> expectation([(Fraction(1, 2), Fraction(60)), (Fraction(1, 2), Fraction(15))])
    ('0.5 × 60 + 0.5 × 15 = 37.5', Fraction(75, 2))
    >>> expectation([(Fraction(1), Fraction(60))])
    ('60', Fraction(60, 1))
    """
    value = sum((chance * pay for chance, pay in terms), Fraction(0))
    if len(terms) == 1 and terms[0][0] == 1:
        return number(value), value
    written = " + ".join(f"{number(chance)} × {number(pay)}" for chance, pay in terms)
    return f"{written} = {number(value)}", value


def exact(value: float) -> Fraction:
    """The shortest decimal that is this double, as a fraction."""
    return Fraction(repr(float(value)))
