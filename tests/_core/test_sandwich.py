"""Covariances of summed scores against explicit loops and linearmodels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS

from mlinstruments._core.arrays import encode_labels
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.sandwich import (
    CovarianceSpec,
    covariance_spec,
    meat,
    moment_meat,
    nearest_psd,
)
from tests.tolerances import ROUNDING, SOLVE

N = 60
RNG = np.random.default_rng(1)
SCORES = RNG.normal(size=(N, 3))
FIRM = RNG.choice(["b", "a", "dd", "c"], N)
YEAR = np.array([pd.Timestamp(2000 + g, 1, 1) for g in RNG.integers(0, 5, N)], dtype=object)
A, B = encode_labels(FIRM), encode_labels(YEAR)


def pairwise(scores, weight):
    """Sum of s_i s_j' weight(i, j), pair by pair."""
    total = np.zeros((scores.shape[1],) * 2)
    for i in range(len(scores)):
        for j in range(len(scores)):
            total += weight(i, j) * np.outer(scores[i], scores[j])
    return total


BRUTE = {
    "robust": (CovarianceSpec("robust"), lambda i, j: i == j),
    "one way": (CovarianceSpec("clustered", clusters=(A,)), lambda i, j: FIRM[i] == FIRM[j]),
    "two ways": (
        CovarianceSpec("clustered", clusters=(A, B)),
        lambda i, j: FIRM[i] == FIRM[j] or YEAR[i] == YEAR[j],
    ),
    "no lags": (CovarianceSpec("kernel", bandwidth=0), lambda i, j: i == j),
    "four lags": (
        CovarianceSpec("kernel", bandwidth=4),
        lambda i, j: max(0.0, 1 - abs(i - j) / 5),
    ),
    "more lags than rows": (
        CovarianceSpec("kernel", bandwidth=2 * N),
        lambda i, j: 1 - abs(i - j) / (2 * N + 1),
    ),
}


@pytest.mark.parametrize("case", BRUTE)
def test_meat_is_the_sum_over_pairs(case):
    spec, weight = BRUTE[case]
    np.testing.assert_allclose(
        meat(SCORES, spec, n_params=2), pairwise(SCORES, weight), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("case", BRUTE)
def test_moment_meat_is_ordered_by_variable_then_instrument(case):
    spec, weight = BRUTE[case]
    z, v = SCORES[:, :2], RNG.normal(size=(N, 2))
    products = np.column_stack([v[:, m] * z[:, j] for m in range(2) for j in range(2)])
    expected = pairwise(products, weight)
    np.testing.assert_allclose(
        moment_meat(z, v, spec, n_params=2), expected, rtol=1e-10, atol=1e-10
    )


def test_unadjusted_moment_meat_multiplies_second_moments():
    z, v = SCORES[:, :2], RNG.normal(size=(N, 2))
    found = moment_meat(z, v, CovarianceSpec("unadjusted", debiased=True), n_params=7)
    for m in range(2):
        for k in range(2):
            block = (v[:, m] @ v[:, k]) / (N - 7) * (z.T @ z)
            np.testing.assert_allclose(
                found[2 * m : 2 * m + 2, 2 * k : 2 * k + 2], block, rtol=ROUNDING
            )


def test_names_of_clusters_do_not_matter():
    other = {"b": 17, "a": -3, "dd": 0, "c": 99}
    renamed = encode_labels(np.array([other[g] for g in FIRM]))
    np.testing.assert_array_equal(renamed, A)
    for n_ways in (1, 2):
        first = meat(SCORES, CovarianceSpec("clustered", clusters=(A, B)[:n_ways]), 1)
        second = meat(SCORES, CovarianceSpec("clustered", clusters=(renamed, B)[:n_ways]), 1)
        np.testing.assert_array_equal(first, second)


def test_singleton_clusters_are_robust():
    singletons = RNG.permutation(N)
    for clusters in ((singletons,), (singletons, RNG.permutation(N))):
        found = meat(SCORES, CovarianceSpec("clustered", clusters=clusters), 1)
        np.testing.assert_allclose(found, SCORES.T @ SCORES, rtol=ROUNDING, atol=ROUNDING)


def test_nested_ways_are_the_coarser_one():
    fine = encode_labels(np.array([f"{g}{i % 3}" for i, g in enumerate(FIRM)]))
    nested = meat(SCORES, CovarianceSpec("clustered", clusters=(fine, A)), 1)
    coarse = meat(SCORES, CovarianceSpec("clustered", clusters=(A,)), 1)
    np.testing.assert_allclose(nested, coarse, rtol=1e-10, atol=1e-10)


LINEARMODELS = {
    "robust": (CovarianceSpec("robust", debiased=True), {"cov_type": "robust"}),
    "one way": (
        CovarianceSpec("clustered", True, (A,)),
        {"cov_type": "clustered", "clusters": A},
    ),
    "two ways": (
        CovarianceSpec("clustered", True, (A, B)),
        {"cov_type": "clustered", "clusters": np.column_stack([A, B])},
    ),
    "kernel": (
        CovarianceSpec("kernel", True, (), 3),
        {"cov_type": "kernel", "kernel": "bartlett", "bandwidth": 3},
    ),
}


@pytest.mark.parametrize("case", LINEARMODELS)
def test_small_sample_factors_are_those_of_linearmodels(case):
    spec, options = LINEARMODELS[case]
    x = np.column_stack([np.ones(N), RNG.normal(size=(N, 2))])
    y = x.sum(axis=1) + RNG.normal(size=N)
    fitted = IV2SLS(y, x, None, None).fit(debiased=True, **options)
    scores = x * np.asarray(fitted.resids)[:, None]
    bread = np.linalg.inv(x.T @ x)
    np.testing.assert_allclose(bread @ meat(scores, spec, 3) @ bread, fitted.cov, rtol=SOLVE)


def test_two_way_clustering_may_be_indefinite_and_nearest_psd_mends_it():
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    scores = np.array([[1.0, 0.0], [-1.0, 0.3], [-1.0, -0.2], [1.0, 0.4]])
    raw = meat(scores, CovarianceSpec("clustered", clusters=(a, b)), 1)
    values, vectors = np.linalg.eigh(raw)
    assert values[0] < -1  # all pairs but (0, 3) and (1, 2): -s_0 s_3' cannot be made up for
    mended = nearest_psd(raw)
    expected = sum(max(v, 0) * np.outer(w, w) for v, w in zip(values, vectors.T, strict=True))
    np.testing.assert_allclose(mended, expected, rtol=1e-10, atol=1e-12)
    # In Frobenius norm no positive semi-definite matrix is nearer: the negative part is the gap.
    distance = np.linalg.norm(raw - mended)
    assert distance == pytest.approx(np.linalg.norm(np.minimum(values, 0)), rel=1e-10)


def test_nearest_psd_leaves_good_matrices_alone():
    good = SCORES.T @ SCORES
    np.testing.assert_array_equal(nearest_psd(good), good)


def test_automatic_bandwidth_is_that_of_linearmodels():
    scores = np.cumsum(RNG.normal(size=(200, 2)), axis=0)
    from linearmodels.iv.covariance import kernel_optimal_bandwidth

    resolved = CovarianceSpec("kernel").resolve(scores)
    assert resolved.bandwidth == int(kernel_optimal_bandwidth(scores.sum(1), "bartlett")) > 3
    assert CovarianceSpec("kernel", bandwidth=2).resolve(scores).bandwidth == 2
    assert CovarianceSpec("robust").resolve(scores).bandwidth is None


REFUSED = {
    "misspelt": (("robst", False, None, ()), ["cov_type", "'robust'"]),
    "clusters with robust": (("robust", False, None, (A,)), ["clusters", "'clustered'"]),
    "clustered without clusters": (("clustered", False, None, ()), ["clusters="]),
    "bandwidth without kernel": (("robust", False, 3, ()), ["bandwidth", "'kernel'"]),
    "negative bandwidth": (("kernel", False, -1, ()), ["bandwidth", "-1"]),
    "three ways": (("clustered", False, None, (A, A, B)), ["one or two"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    arguments, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        covariance_spec(*arguments)
    for word in words:
        assert word in str(caught.value)


def test_default_kind_follows_the_clusters():
    assert covariance_spec(None, False, None, ()).kind == "robust"
    assert covariance_spec(None, False, None, (A,)).kind == "clustered"
    assert covariance_spec(None, True, None, (A, B)).n_clusters == (4, 5)
