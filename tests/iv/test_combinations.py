"""Every combination of data a fit may meet, each against linearmodels on the exported instrument."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS

from mlinstruments import MLIV
from mlinstruments._core.exceptions import MissingRowsWarning
from mlinstruments.learning import Boosting, Ridge
from tests.designs import strong
from tests.tolerances import SOLVE

N = 240
DESIGNS = {d: strong(n=N, d=d, seed=40 + d) for d in (1, 2)}
TRUTH = {1: [1.0], 2: [1.0, -0.5]}
COURT = np.array(list("abcd"))[np.arange(N) % 4]
CLUSTERS = {
    "none": [],
    "one way, integers": ["number"],
    "one way, strings": ["firm"],
    "two ways": ["firm", "year"],
}
# A learner that needs complete rows, and one that takes categories and gaps as they are.
LEARNERS = {"missing rows": Ridge(0.01), "categories": Boosting(rounds=8, min_data_in_leaf=5)}
MATRIX = list(product([1, 2], [False, True], CLUSTERS, [1, 3], LEARNERS))


def case(d, weighted, ways, kind):
    """Columns by role, and the rows a fit has to use."""
    design = DESIGNS[d]
    y, X, D, W = (part.copy() for part in design.data)
    labels = pd.DataFrame({"firm": design.firm.copy(), "year": design.year.copy()})
    labels["number"] = 1000 + 7 * pd.factorize(design.firm)[0]
    weights = design.weights.copy() if weighted else None
    clusters = labels[CLUSTERS[ways]] if CLUSTERS[ways] else None
    if kind == "categories":
        W = W.assign(court=COURT)
        shift = pd.DataFrame(dict.fromkeys(D, 0.5 * (COURT == "b")))
        y, D = y + shift @ TRUTH[d], D + shift
        W.loc[30:60, "w1"] = np.nan
        W.loc[55:58, "court"] = None
        return (y, X, D, W), weights, clusters, np.arange(N)
    y[3] = X.loc[50, "x"] = D.iloc[77, -1] = W.loc[120, "w2"] = np.nan
    gone = [3, 50, 77, 120]
    if weighted:
        weights[200] = np.nan
        gone.append(200)
    if clusters is not None:
        clusters = clusters.astype(object)
        clusters.iloc[201, -1] = None
        gone.append(201)
    return (y, X, D, W), weights, clusters, np.setdiff1d(np.arange(N), gone)


def medians(fits, endog):
    """Combine repeats: the median, and the covariance of the one in the middle by its norm."""
    estimates = np.stack([fit.params for fit in fits])
    centre = np.median(estimates, axis=0)
    far = [
        fit.cov + np.outer(e - centre, e - centre) for fit, e in zip(fits, estimates, strict=True)
    ]
    sizes = [np.linalg.norm(cov.loc[endog, endog], 2) for cov in far]
    return pd.Series(centre, fits[0].params.index), far[np.argsort(sizes)[len(fits) // 2]]


@pytest.mark.parametrize(("d", "weighted", "ways", "n_repeats", "kind"), MATRIX)
def test_the_instrument_reproduces_the_fit(d, weighted, ways, n_repeats, kind):
    data, weights, clusters, rows = case(d, weighted, ways, kind)
    # The instrument is the mean over repeats, and repeats are the same whatever their number: each
    # one's instrument is the difference of two sums.
    results = []
    for r in range(1, n_repeats + 1):
        model = MLIV(LEARNERS[kind], n_folds=3, n_repeats=r, random_state=1)
        if kind == "missing rows":
            with pytest.warns(MissingRowsWarning, match=f"Dropped {N - len(rows)} of {N}"):
                results.append(model.fit(*data, weights=weights, clusters=clusters))
        else:
            results.append(model.fit(*data, weights=weights, clusters=clusters))
    sums = [r * pd.DataFrame(res.instrument) for r, res in enumerate(results, 1)]
    instruments = [sums[0], *(b - a for a, b in pairwise(sums))]

    y, X, D, _ = (part.iloc[rows] for part in data)
    options = {"cov_type": "robust"}
    if clusters is not None:
        used = clusters.iloc[rows]
        codes = np.column_stack([pd.factorize(used[name])[0] for name in used])
        options = {"cov_type": "clustered", "clusters": codes}
    mass = None if weights is None else weights[rows]
    fits = [IV2SLS(y, X, D, z.iloc[rows], weights=mass).fit(**options) for z in instruments]
    params, cov = medians(fits, list(D))

    found = results[-1]
    order = list(found.params.index)
    assert found.nobs == len(rows)
    assert not found.weak
    assert found.instrument.notna().to_numpy().sum() == d * len(rows)
    np.testing.assert_allclose(found.params, params[order], rtol=SOLVE)
    if all((np.diag(fit.cov) > 0).all() for fit in fits):
        np.testing.assert_allclose(found.cov, cov.loc[order, order], rtol=SOLVE, atol=1e-11)
    else:  # two ways may sum to less than nothing, which is mended here and not there
        assert ways == "two ways"
        assert (found.std_errors > 0).all()
    # Five standard errors; those of independent rows, so that mended ones do not count.
    error = IV2SLS(y, X, D, instruments[-1].iloc[rows]).fit(cov_type="robust").std_errors[list(D)]
    assert (np.abs(found.params[list(D)] - TRUTH[d]) < 5 * error).all()
