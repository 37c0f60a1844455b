"""What a printed result says, each part from what it shows: facts above, coefficients below."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mlinstruments._core.hypotheses import TestResult
from mlinstruments._core.tables import number

from .confidence_set import ConfidenceSet
from .fixed_effects import Absorbed
from .strength import FirstStage

Fact = tuple[str, str]  # its name and what it is
# Shown instead of Anderson-Rubin sets, which exist for one or two endogenous regressors.
JOINT_ONLY = "joint test only"
CONSTRAINTS = {
    "linear": "linear in covariates",
    "recentred": "g(W, X) - E[g(W, X) | X]",
    "unconstrained": "unconstrained in covariates",
}


def coefficient_columns(debiased: bool) -> tuple[str, ...]:
    """Heads of the coefficient table."""
    ratio = "t" if debiased else "z"
    return ("", "Estimate", "Std. Err.", ratio, f"P>|{ratio}|", "[0.025", "0.975]")


def coefficient_rows(frame: pd.DataFrame, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Rows of the coefficient table: ``names`` among those of ``to_frame()``."""
    return tuple((name, *(number(v) for v in frame.loc[name])) for name in names)


def sample_facts(
    nobs: int, cov_label: str, clusters: Mapping[str, int], weighted: bool
) -> list[Fact]:
    """Observations, covariance, and how many clusters by name."""
    facts = [("Observations", str(nobs)), ("Covariance", cov_label)]
    if clusters:
        facts.append(("Clusters", ", ".join(f"{name} {n}" for name, n in clusters.items())))
    if weighted:
        facts.append(("Weights", "analytic"))
    return facts


def absorbed_facts(absorbed: Absorbed) -> list[Fact]:
    """Groups absorbed, degrees of freedom, and rows that were alone; nothing without any."""
    if not absorbed.groups:
        return []
    groups = ", ".join(f"{name} {n}" for name, n in absorbed.groups.items())
    alone = f"; {absorbed.singletons} singletons dropped" if absorbed.singletons else ""
    return [("Absorbed", f"{groups} ({absorbed.df} degrees of freedom{alone})")]


def learning_facts(
    learner: str,
    covariates: str,
    options: Mapping[str, bool],
    n_folds: int,
    n_repeats: int,
    nobs: int,
) -> list[Fact]:
    """How the instrument was learned."""
    used = [name for name, on in options.items() if on]
    learned = ", ".join([learner, CONSTRAINTS[covariates], *used])
    repeats = "1 repeat" if n_repeats == 1 else f"{n_repeats} repeats, medians"
    crossed = "leave-one-out" if n_folds == nobs else f"{n_folds} folds x {repeats}"
    crossed = f"out of bag x {repeats}" if n_folds == 1 else crossed
    return [("First stage", learned), ("Cross-fitting", crossed)]


def strength_facts(first: FirstStage, learned: bool) -> list[Fact]:
    """First-stage F; for learned instruments beside q x F of the linear first stage.

    Beside several instruments the effective F, beside several treatments the conditional ones.
    """
    facts = []
    for name, f in first.f.items():
        which = f" ({name})" if len(first.f) > 1 else ""
        linear = float(first.linear_f[name])
        beside = _beside(linear, first.n_instruments) if learned and np.isfinite(linear) else ""
        facts.append((f"First-stage F{which}", number(f, 2) + beside))
        if which:
            given = number(float(first.joint.conditional_f[name]), 2)
            facts.append((f"Conditional F{which}", f"{given}   (given the others)"))
    if len(first.f) == 1 and first.n_instruments > 1 and not learned:
        facts.append(("Effective F", _effective(first)))
    return facts


def _effective(first: FirstStage) -> str:
    critical = number(float(first.joint.effective_critical[0.10]), 2)
    found = number(float(first.effective_f.iloc[0]), 2)
    return f"{found}   (above {critical}: 2SLS bias under 10% of the worst case)"


def _beside(linear: float, q: int) -> str:
    return f"   (linear first stage: q x F = {q} x {number(linear, 2)} = {number(q * linear, 2)})"


def overid_fact(test: TestResult) -> Fact:
    """Hansen's J with its p-value."""
    return "J test", f"{number(test.statistic, 2)}   (chi2({test.df}), p = {number(test.pvalue)})"


def ar_facts(found: ConfidenceSet | Mapping[str, ConfidenceSet]) -> list[Fact]:
    """Anderson-Rubin sets, as ``conf_int(method="ar")`` gives them."""
    if isinstance(found, ConfidenceSet):
        return [("AR 95% set", f"{found}   [{found.kind}]")]
    return [(f"AR 95% {name}", f"{one}   [{one.kind}, projection]") for name, one in found.items()]


def tf_facts(low: float, high: float) -> list[Fact]:
    """The tF interval, whole where the first stage is too weak."""
    words = "(-inf, inf)" if np.isinf(low) else f"[{number(low)}, {number(high)}]"
    return [("tF 95% interval", words)]
