"""What a fit of one type prints: the estimates and how they came about, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scipy import stats

from mlinstruments._core.tables import Table, number

if TYPE_CHECKING:
    from .results import PreferenceResults

# What is wrong where lambda's interval reaches zero: Fieller's sets of ratios are unbounded there.
WEAK = "the 95% interval of lambda covers 0, so that choices may be random"


def summary(fit: PreferenceResults) -> Table:
    """The table of a fit; without a body where nothing is identified."""
    title, facts = "Preferences from choices", tuple(_facts(fit))
    if not fit.identification.identified:
        return Table(title, facts, notes=(f"Not identified: {fit.identification.reason}",))
    ratio = "t" if fit.clusters else "z"
    columns = ("", "Estimate", "Std. Err.", ratio, f"P>|{ratio}|", "[0.025", "0.975]")
    return Table(title, facts, columns, _rows(fit), tuple(_notes(fit)))


def count_words(n: float) -> str:
    """A number of choices in full, without decimals where it is whole.

    Examples
    --------
    >>> count_words(360000.0), count_words(17.5)
    ('360000', '17.5')
    """
    return f"{n:.10g}"


def _facts(fit: PreferenceResults) -> Iterator[tuple[str, str]]:
    yield "Choices", count_words(fit.nobs)
    if str(fit.excluded):
        yield "Not choices", str(fit.excluded)
    if fit.design.utility:
        yield "Utility", fit.design.utility
    yield "Unit", ", ".join(filter(None, (fit.unit, fit.beliefs and f"beliefs {fit.beliefs}")))
    if fit.identification.identified:
        yield "Covariance", _covariance(fit)
    random = f"at random {fit.loglik_null:.3f}"
    known = fit.loglik == fit.loglik
    yield "Log-likelihood", f"{fit.loglik:.3f}  ({random})" if known else random
    yield "Identification", _identification(fit)


def _covariance(fit: PreferenceResults) -> str:
    if not fit.clusters:
        return "robust, choices independent"
    named = zip(fit.cluster_names, fit.clusters, strict=True)
    return f"clustered: {', '.join(f'{name} {int(code.max()) + 1}' for name, code in named)}"


def _identification(fit: PreferenceResults) -> str:
    report = fit.identification
    rank = f"rank {report.rank} of {report.needed}"
    condition = f", condition {report.condition:.3g}" if report.rank == report.needed else ""
    return f"{'yes' if report.identified else 'no'}: {rank}{condition}"


def _rows(fit: PreferenceResults) -> tuple[tuple[str, ...], ...]:
    rows = []
    for name, estimate, error, low, high in fit.to_frame().itertuples():
        ratio = estimate / error
        tests = (fixed(ratio, 2), fixed(2 * float(stats.t.sf(abs(ratio), fit.df)), 4))
        rows.append((name, number(estimate), number(error), *tests, number(low), number(high)))
    return tuple(rows)


def fixed(value: float, digits: int) -> str:
    """A number with so many decimals, such as a p-value; a dash where there is none.

    Examples
    --------
    >>> fixed(1e-9, 4), fixed(float("nan"), 4)
    ('0.0000', '-')
    """
    return f"{value:.{digits}f}" if value == value else "-"


def _notes(fit: PreferenceResults) -> Iterator[str]:
    ratios = ", ".join(fit.names[1:])
    if ratios and fit.conf_int().loc["lambda", "lower"] <= 0:
        yield (
            f"Weak scale: {WEAK}. Do not rely on the errors, tests and intervals of {ratios} above:"
            " conf_int(method='fieller') allows for it, and is unbounded here."
        )
