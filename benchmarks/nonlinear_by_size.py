"""Which estimator recovers the effect where the first stage is not linear, at which sample size?

The design `nonlinear` (OLS biased by .53, linear first stage empty), n = 250 to 4,000: OLS, 2SLS,
LIML, JIVE and post-lasso on the instruments as given; LIML, JIVE and post-lasso on a dictionary of
splines and products that can express the first stage; cross-fitted PLIV and, where it is installed,
EconML's OrthoIV; MLIV with four learners, with and without the control variate; and the oracle,
who knows the first stage. The same command continues a run that was stopped.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments import JIVE, LIML, MLIV, OLS, PLIV, TSLS, PostLassoIV
from mlinstruments.learning.features import Features
from mlinstruments.learning.series import series_dictionary
from mlinstruments.simulation import Sample, designs, monte_carlo

OUTPUT = Path(__file__).parent / "output"
SIZES = (250, 500, 1_000, 2_000, 4_000)
# Knots of the splines, and the columns that products may take.
KNOTS, PAIRS = 7, 60
LEARNERS = ("boosting", "series", "kernel", "ridge")


@dataclass(frozen=True)
class OnDictionary:
    """An estimator whose instruments are splines and products of the sample's."""

    estimator: Any

    def __call__(self, sample: Sample) -> Any:
        columns = series_dictionary(Features.numeric(sample.W), KNOTS, PAIRS)
        return self.estimator.fit(sample.y, sample.X, sample.D, columns)


def oracle(sample: Sample) -> Any:
    """2SLS with the true first stage as instrument."""
    return TSLS().fit(sample.y, sample.X, sample.D, sample.oracle)


def pliv(sample: Sample, rng: np.random.Generator) -> Any:
    """Cross-fitted PLIV, which needs a covariate: one of noise."""
    X = np.column_stack([sample.X, rng.standard_normal(len(sample.y))])
    model = PLIV(random_state=int(rng.integers(2**31)))
    return model.fit(sample.y, X, sample.D, sample.W)


def ortho_iv(sample: Sample) -> dict[str, float]:
    """EconML's OrthoIV with LightGBM at its defaults and a learned projection on W."""
    from econml.iv.dml import OrthoIV
    from lightgbm import LGBMRegressor

    learners = [LGBMRegressor(n_jobs=1, verbosity=-1) for _ in range(3)]
    model = OrthoIV(
        model_y_xw=learners[0],
        model_t_xw=learners[1],
        model_t_xwz=learners[2],
        projection=True,
        cv=5,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(sample.y, sample.D, Z=sample.W, W=sample.X, inference="auto")
        found = model.intercept__inference()
    return {"estimate": float(found.point_estimate), "std_error": float(found.stderr)}


def estimators() -> dict[str, Any]:
    """Names as printed."""
    found: dict[str, Any] = {
        "OLS": OLS(),
        "2SLS": TSLS(),
        "LIML": LIML(),
        "JIVE": JIVE(),
        "post-lasso": PostLassoIV(),
        "LIML, dictionary": OnDictionary(LIML()),
        "JIVE, dictionary": OnDictionary(JIVE()),
        "post-lasso, dictionary": OnDictionary(PostLassoIV()),
        "PLIV": pliv,
    }
    if find_spec("econml") is None:
        print("econml is not installed: OrthoIV is left out.")
    else:
        found["EconML OrthoIV"] = ortho_iv
    for learner in LEARNERS:
        found[f"MLIV {learner}"] = MLIV(learner, random_state=None)
        found[f"MLIV {learner}, control variate"] = MLIV(
            learner, control_variate=True, random_state=None
        )
    return {**found, "oracle": oracle}


def main(quick: bool = False, n_jobs: int = 2, replications: int = 100) -> pd.DataFrame:
    """Run every size, print and save the statistics."""
    tables = {}
    stem = f"nonlinear_by_size{'_quick' if quick else ''}"
    OUTPUT.mkdir(exist_ok=True)
    for n in (250,) if quick else SIZES:
        report = monte_carlo(
            designs.nonlinear(n=n),
            estimators(),
            3 if quick else replications,
            random_state=20261123,
            n_jobs=n_jobs,
            checkpoint=None if quick else OUTPUT / f"{stem}_{n}",
        )
        tables[n] = report.statistics
        print(report, flush=True)
    table = pd.concat(tables, names=["n"])
    table.to_csv(OUTPUT / f"{stem}.csv")
    print(by_size(table).to_string())
    return table


def by_size(table: pd.DataFrame) -> pd.DataFrame:
    """Median bias, rmse and coverages, one column a sample size."""
    wanted = ["median_bias", "rmse", "wald_coverage", "ar_coverage"]
    kept = table["value"].unstack("n").round(3)
    return kept[kept.index.get_level_values("statistic").isin(wanted)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="n = 250, 3 replications")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--replications", type=int, default=100)
    given = parser.parse_args()
    main(given.quick, given.jobs, given.replications)
