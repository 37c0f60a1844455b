"""GMM against linearmodels, whose estimate it is, in every covariance it takes."""

from __future__ import annotations

import numpy as np
import pytest
from linearmodels.iv import IVGMM

from mlinstruments import GMM, TSLS
from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.exceptions import InputError
from tests.designs import strong
from tests.tolerances import SOLVE

DESIGNS = {d: strong(n=180, d=d, seed=70 + d) for d in (1, 2)}


def words(name, design):
    if name == "clustered":
        return {"clusters": encode_labels(design.firm)}
    return {"kernel": "bartlett", "bandwidth": 4} if name == "kernel" else {}


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("debiased", [False, True], ids=["large", "debiased"])
@pytest.mark.parametrize("cov_type", ["unadjusted", "robust", "clustered", "kernel"])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("d", [1, 2])
def test_like_linearmodels(d, steps, cov_type, debiased, weighted):
    design = DESIGNS[d]
    y, X, D, W = design.data
    weights = design.weights if weighted else None
    theirs = words(cov_type, design)
    model = IVGMM(y, X, D, W, weights=weights, weight_type=cov_type, debiased=debiased, **theirs)
    expected = model.fit(cov_type=cov_type, iter_limit=steps, tol=0, debiased=debiased, **theirs)
    found = GMM(steps).fit(
        y, X, D, W,
        weights=weights,
        clusters=design.clusters["one"] if cov_type == "clustered" else None,
        cov_type=cov_type,
        debiased=debiased,
        bandwidth=theirs.get("bandwidth"),
    )  # fmt: skip
    np.testing.assert_allclose(found.params, expected.params, rtol=SOLVE)
    np.testing.assert_allclose(found.cov, expected.cov, rtol=SOLVE, atol=1e-12)
    np.testing.assert_allclose(found.resids, expected.resids, rtol=SOLVE, atol=SOLVE)
    assert found.params.index.tolist() == [*X, *D]


def test_one_bandwidth_is_chosen_for_all():
    y, X, D, W = DESIGNS[1].data
    found = GMM().fit(y, X, D, W, cov_type="kernel")
    tsls = TSLS().fit(y, X, D, W, cov_type="kernel")
    assert found.cov_label == tsls.cov_label


def test_just_identified_is_2sls():
    y, X, D, W = DESIGNS[2].data
    found, tsls = (model.fit(y, X, D, W[["w1", "w2"]]) for model in (GMM(), TSLS()))
    np.testing.assert_allclose(found.params, tsls.params, rtol=SOLVE)
    np.testing.assert_allclose(found.cov, tsls.cov, rtol=SOLVE, atol=1e-12)


def test_units_change_units_only():
    y, X, D, W = DESIGNS[2].data
    expected = GMM().fit(y, X, D, W)
    found = GMM().fit(1e5 * y, X * [1, 1e-7], D * [1e6, 1e-6], W * [1e8, 1, 1e-8])
    back = np.array([1, 1e-7, 1e6, 1e-6]) / 1e5
    np.testing.assert_allclose(found.params * back, expected.params, rtol=SOLVE)
    np.testing.assert_allclose(found.std_errors * back, expected.std_errors, rtol=SOLVE)


def test_without_covariates():
    y, _, D, W = DESIGNS[1].data
    with pytest.warns(UserWarning, match="no constant"):
        found = GMM().fit(y, None, D, W)
    np.testing.assert_allclose(found.params, IVGMM(y, None, D, W).fit().params, rtol=SOLVE)


def test_what_it_refuses():
    design = DESIGNS[1]
    with pytest.raises(InputError, match="one way of clustering"):
        GMM().fit(*design.data, clusters=design.clusters["two"])
    with pytest.raises(InputError, match="steps"):
        GMM(0).fit(*design.data)
    few = np.array(["a", "b"])[np.arange(len(design.y)) % 2]
    with pytest.raises(InputError, match="than clusters"):
        GMM().fit(*design.data, clusters=few)
