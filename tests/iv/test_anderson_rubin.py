"""Anderson-Rubin sets against brute force: no value in or out of a set that its test contradicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.sandwich import CovarianceSpec
from mlinstruments.iv import anderson_rubin as ar
from mlinstruments.iv import orthogonal
from mlinstruments.iv.anderson_rubin import Moments
from mlinstruments.iv.ar_kinds import ARKind, by_fold_moments
from mlinstruments.iv.confidence_set import INF, ConfidenceSet
from mlinstruments.iv.orthogonal import OrthogonalMoments, target_directions
from tests.strategies import FIXED, random_moments, seeds
from tests.tolerances import ROOT, SOLVE

# Values at which sets are checked: dense where estimates lie, sparse far out.
GRID = np.concatenate([np.linspace(-20, 20, 401), np.geomspace(25, 1e6, 30)])
GRID = np.concatenate([GRID, -np.geomspace(25, 1e6, 30)])
strengths = st.sampled_from([0.0, 0.3, 1.0, 3.0, 10.0])


def explicit_statistic(moments, value):
    """m' S^-1 m with S summed block by block."""
    contrast = np.concatenate([[1.0], -np.atleast_1d(value)])
    q = moments.df
    variance = np.zeros((q, q))
    for a, one in enumerate(contrast):
        for b, other in enumerate(contrast):
            variance += one * other * moments.meat[a * q : (a + 1) * q, b * q : (b + 1) * q]
    m = moments.m_y - moments.m_d @ np.atleast_1d(value)
    return float(m @ np.linalg.solve(variance, m))


def assert_set_is_where_accepted(found, statistic, critical, grid=GRID):
    """Membership equals acceptance, but for values so near an end that rounding decides."""
    checked = 0
    for t in grid:
        value = statistic(float(t))
        if abs(value - critical) > ROOT * critical:
            assert (float(t) in found) == (value <= critical), t
            checked += 1
    assert checked > 0.9 * len(grid)
    for low, high in found.intervals:
        assert low <= high
        for end in (low, high):
            if np.isfinite(end) and abs(end) < 1e6:
                assert statistic(end) == pytest.approx(critical, rel=1e-5)


@given(seed=seeds, q=st.integers(1, 4), strength=strengths, level=st.sampled_from([0.5, 0.95]))
@FIXED
def test_set_is_where_the_test_accepts(seed, q, strength, level):
    moments = Moments(*random_moments(seed, q, 1, strength))
    found = ar.confidence_set(moments, level, "AR")
    critical = stats.chi2.ppf(level, q)
    assert_set_is_where_accepted(found, lambda t: explicit_statistic(moments, t), critical)
    for t in (-3.0, 0.0, 2.5):
        expected = explicit_statistic(moments, t)
        test = ar.test(moments, np.array([t]), ("d",))
        assert test.statistic == pytest.approx(expected, rel=SOLVE)
        assert test.pvalue == pytest.approx(stats.chi2.sf(expected, q), rel=SOLVE)
        assert (test.df, test.null) == (q, f"d = {t:g}")


@given(seed=seeds, strength=strengths, level=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@FIXED
def test_one_instrument_bounded_iff_the_first_stage_is_significant(seed, strength, level):
    m_y, m_d, meat = random_moments(seed, 1, 1, strength)
    found = ar.confidence_set(Moments(m_y, m_d, meat), level, "AR")
    first_stage = float(m_d[0, 0] ** 2 / meat[1, 1])
    assert found.is_bounded == (first_stage > stats.chi2.ppf(level, 1))
    assert not found.is_empty  # for the just-identified estimate is in
    if strength:
        assert float(m_y[0] / m_d[0, 0]) in found


@given(seed=seeds, q=st.integers(1, 3), factor=st.sampled_from([1e-6, 1e4]))
@FIXED
def test_units_map_sets(seed, q, factor):
    m_y, m_d, meat = random_moments(seed, q, 1, 3.0)
    first = ar.confidence_set(Moments(m_y, m_d, meat), 0.95, "AR").intervals
    scale = np.diag(np.concatenate([np.full(q, factor), np.ones(q)]))
    changed = Moments(factor * m_y, m_d, scale @ meat @ scale)
    second = ar.confidence_set(changed, 0.95, "AR").intervals
    np.testing.assert_allclose(np.divide(second, factor), first, rtol=ROOT, atol=ROOT)


SHAPES = {
    # (m_y, m_d, variance of each of [m_y, m_d], uncorrelated) -> shape
    "interval": ([2.0], [5.0], 1.0, 1),
    "two rays": ([5.0], [1.0], 1.0, 2),
    "whole line": ([0.5], [0.5], 1.0, 1),
    "empty": ([30.0, -30.0], [30.0, 30.0], 1.0, 0),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape):
    m_y, m_d, variance, pieces = SHAPES[shape]
    q = len(m_y)
    moments = Moments(np.array(m_y), np.array(m_d)[:, None], variance * np.eye(2 * q))
    found = ar.confidence_set(moments, 0.95, "AR")
    assert len(found.intervals) == pieces
    critical = stats.chi2.ppf(0.95, q)
    assert_set_is_where_accepted(found, lambda t: explicit_statistic(moments, t), critical)
    if shape == "interval":
        assert found.is_bounded
        # (2 - 5 t)^2 = c (1 + t^2)
        roots = np.roots([25 - critical, -20, 4 - critical])
        np.testing.assert_allclose(found.intervals, [sorted(roots)], rtol=SOLVE)
    if shape == "two rays":
        assert found.intervals[0][0] == -INF
        assert found.intervals[1][1] == INF
    assert found.is_whole_line == (shape == "whole line")
    assert found.is_empty == (shape == "empty")
    assert str(found).startswith({"whole line": "(-inf, inf)", "empty": "empty"}.get(shape, ""))


def test_over_identified_sets_may_be_several_intervals():
    shapes = set()
    for seed in range(150):
        moments = Moments(*random_moments(seed, 3, 1, 1.0))
        found = ar.confidence_set(moments, 0.6, "AR")
        shapes.add((len(found.intervals), found.is_bounded))
        critical = stats.chi2.ppf(0.6, 3)
        if len(found.intervals) > 1:
            assert_set_is_where_accepted(found, lambda t: explicit_statistic(moments, t), critical)  # noqa: B023
    assert {(0, True), (1, True), (1, False), (2, False)} <= shapes


@pytest.mark.parametrize("df_resid", [3.0, 40.0])
@pytest.mark.parametrize("q", [1, 3])
def test_small_sample_sets_use_f(q, df_resid):
    moments = Moments(*random_moments(5, q, 1, 4.0), df_resid)
    critical = q * stats.f.ppf(0.95, q, df_resid)
    found = ar.confidence_set(moments, 0.95, "AR")
    assert_set_is_where_accepted(found, lambda t: explicit_statistic(moments, t), critical)
    test = ar.test(moments, np.array([0.3]), ("d",))
    assert test.pvalue == pytest.approx(stats.f.sf(test.statistic / q, q, df_resid), rel=SOLVE)
    if q == 1:  # the square of Student's t
        expected = 2 * stats.t.sf(np.sqrt(test.statistic), df_resid)
        assert test.pvalue == pytest.approx(expected, rel=SOLVE)
    wider = ar.confidence_set(replace(moments, df_resid=INF), 0.95, "AR")
    assert wider.length < found.length or not found.is_bounded


# ---- projections -----------------------------------------------------------------------------


def least_statistic(moments, coordinate, value):
    """The least statistic over the other coefficient: stationary points of a rational function."""
    other = 1 - coordinate
    point = np.zeros(2)
    point[coordinate] = value

    def at(s):
        point[other] = s
        return explicit_statistic(moments, point)

    angles = np.linspace(-np.pi / 2, np.pi / 2, 401)[1:-1]
    centre = np.linalg.lstsq(moments.m_d, moments.m_y, rcond=None)[0][other]
    values = np.array([at(centre + np.tan(a)) for a in angles])
    best = np.inf
    from scipy.optimize import minimize_scalar

    for i in np.argsort(values)[:3]:
        low, high = angles[max(i - 1, 0)], angles[min(i + 1, len(angles) - 1)]
        search = minimize_scalar(
            lambda a: at(centre + np.tan(a)), bounds=(low, high), options={"xatol": 1e-10}
        )
        best = min(best, search.fun)
    return best


@pytest.mark.parametrize("coordinate", [0, 1])
@pytest.mark.parametrize(
    ("seed", "q", "strength"), [(1, 2, 6.0), (2, 3, 6.0), (3, 2, 1.0), (4, 4, 3.0)]
)
def test_projection_by_minimising_over_the_other_coefficient(seed, q, strength, coordinate):
    moments = Moments(*random_moments(seed, q, 2, strength))
    found = ar.projection(moments, coordinate, 0.95, "AR")
    critical = stats.chi2.ppf(0.95, q)
    centre = np.linalg.lstsq(moments.m_d, moments.m_y, rcond=None)[0][coordinate]
    for t in np.concatenate([centre + np.linspace(-6, 6, 13), [-50.0, 50.0]]):
        least = least_statistic(moments, coordinate, t)
        if abs(least - critical) > 1e-3 * critical:  # the search finds minima to 1e-3 at worst
            assert (float(t) in found) == (least <= critical), t
    for end in np.ravel(found.intervals):
        if np.isfinite(end):
            least = least_statistic(moments, coordinate, end)
            assert least == pytest.approx(critical, rel=1e-3)


def test_projections_hold_the_joint_set():
    rng = np.random.default_rng(0)
    moments = Moments(*random_moments(7, 3, 2, 5.0))
    sets = [ar.projection(moments, j, 0.95, "AR") for j in range(2)]
    centre = np.linalg.lstsq(moments.m_d, moments.m_y, rcond=None)[0]
    critical, inside = stats.chi2.ppf(0.95, 3), 0
    for point in centre + rng.normal(size=(500, 2)):
        if explicit_statistic(moments, point) <= critical:
            inside += 1
            assert point[0] in sets[0]
            assert point[1] in sets[1]
    assert inside > 10


def test_projections_map_with_units():
    m_y, m_d, meat = random_moments(8, 2, 2, 6.0)
    first = ar.projection(Moments(m_y, m_d, meat), 1, 0.95, "AR").intervals
    scale = np.kron(np.diag([1e5, 1.0, 1e-3]), np.eye(2))
    changed = Moments(1e5 * m_y, m_d * [1.0, 1e-3], scale @ meat @ scale)
    second = ar.projection(changed, 1, 0.95, "AR").intervals
    np.testing.assert_allclose(np.divide(second, 1e8), first, rtol=1e-5)


def test_three_endogenous_regressors_have_no_projection_but_a_joint_test():
    moments = Moments(*random_moments(9, 4, 3, 3.0))
    with pytest.raises(InputError, match=r"two endogenous.*there are 3.*joint tests"):
        ar.projection(moments, 0, 0.95, "AR")
    value = np.array([0.1, -0.2, 0.3])
    expected = explicit_statistic(moments, value)
    assert ar.test(moments, value, tuple("abc")).statistic == pytest.approx(expected, rel=SOLVE)


# ---- moments ---------------------------------------------------------------------------------


def sample(seed=0, n=120, q=2):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, q))
    d = z @ np.full(q, 0.4) + rng.normal(size=n)
    return z - z.mean(axis=0), 0.7 * d + rng.normal(size=n), d[:, None]


@pytest.mark.parametrize("debiased", [False, True])
def test_moments_are_those_of_scores(debiased):
    z, y, D = sample()
    found = ar.moments(z, y, D, CovarianceSpec("robust", debiased), n_exog=3)
    for t in (-1.0, 0.7):
        e = y - t * D[:, 0]
        scores = z * e[:, None]
        variance = scores.T @ scores * (120 / (120 - 5) if debiased else 1)
        m = z.T @ e
        expected = m @ np.linalg.solve(variance, m)
        assert ar.statistic(found, np.array([t])) == pytest.approx(expected, rel=SOLVE)
    assert found.df_resid == (115 if debiased else INF)


def test_noise_adds_its_own_meat_and_factor_multiplies():
    z, y, D = sample()
    noise = np.random.default_rng(1).normal(size=z.shape)
    both = ar.moments(z, y, D, CovarianceSpec(), 1, noise=noise).meat
    parts = [ar.moments(one, y, D, CovarianceSpec(), 1).meat for one in (z, noise)]
    np.testing.assert_allclose(both, sum(parts), rtol=SOLVE, atol=SOLVE)
    plain = ar.moments(z, y, D, CovarianceSpec(), 1)
    twice = ar.moments(z, y, D, CovarianceSpec(), 1, factor=2.0)
    one, other = (ar.statistic(m, np.array([0.2])) for m in (plain, twice))
    assert one == pytest.approx(2 * other, rel=SOLVE)
    mean = ar.average_noise([plain, twice], plain)
    np.testing.assert_allclose(mean.meat, 1.5 * plain.meat, rtol=SOLVE)
    np.testing.assert_array_equal(mean.m_d, plain.m_d)


def test_instruments_that_do_not_vary_reject_nothing():
    z, y, D = sample(q=1)
    found = ar.moments(0 * z, y, D, CovarianceSpec(), 1)
    assert ar.confidence_set(found, 0.95, "AR").is_whole_line
    assert ar.test(found, np.array([3.0]), ("d",)).pvalue == 1


# ---- folds, split ----------------------------------------------------------------------------


def test_folds_are_the_intersection_at_a_bonferroni_level():
    z, y, D = sample(q=1)
    cell = np.arange(120) % 4
    parts = by_fold_moments(z, y, D, np.ones((120, 1)), cell, CovarianceSpec(), None)
    kind = ARKind("folds", parts)
    found = kind.confidence_set(0.9)
    critical = stats.chi2.ppf(1 - 0.1 / 4, 1)

    def worst(t):
        return max(explicit_statistic(part, t) for part in parts)

    assert_set_is_where_accepted(found, worst, critical)
    assert found.level == 0.9
    test = kind.test(np.array([0.7]), ("d",))
    assert test.pvalue == pytest.approx(min(1, 4 * stats.chi2.sf(worst(0.7), 1)), rel=SOLVE)
    alone = ARKind("split", parts[:1]).confidence_set(0.9)
    first = ar.confidence_set(parts[0], 0.9, "AR")
    np.testing.assert_allclose(alone.intervals, first.intervals)


@pytest.mark.parametrize("weighted", [False, True])
def test_each_fold_is_an_analysis_of_its_own(weighted):
    z, y, D = sample(q=1)
    rng = np.random.default_rng(2)
    X = np.column_stack([np.ones(120), rng.normal(size=120)])
    weights = rng.uniform(0.5, 2, 120) if weighted else None
    cell, clusters = np.arange(120) % 3, rng.integers(0, 30, 120)
    spec = CovarianceSpec("clustered", clusters=(clusters,))
    parts = by_fold_moments(z, y, D, X, cell, spec, weights)
    for k, part in enumerate(parts):
        rows = cell == k
        root = np.sqrt(weights[rows]) if weighted else np.ones(rows.sum())
        own, e = z[rows, 0], (y - 0.5 * D[:, 0])[rows]
        X_k = X[rows] * root[:, None]
        outside = np.eye(len(root)) - X_k @ np.linalg.pinv(X_k)
        scores = (outside @ (root * own)) * (outside @ (root * e))
        sums = np.bincount(clusters[rows], scores)
        expected = scores.sum() ** 2 / (sums @ sums)
        assert ar.statistic(part, np.array([0.5])) == pytest.approx(expected, rel=SOLVE)


REFUSALS = {
    "kernel": (CovarianceSpec("kernel", bandwidth=2), np.arange(120) % 4, 1, "kernel"),
    "few rows": (CovarianceSpec(), np.arange(120) // 5, 4, "has 5 rows"),
    "one cluster": (
        CovarianceSpec("clustered", clusters=(np.arange(120) // 30,)),
        np.arange(120) // 30,
        1,
        "single cluster",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_folds_say_why_they_are_not_available(case):
    spec, cell, p, words = REFUSALS[case]
    z, y, D = sample(q=1)
    X = np.random.default_rng(0).normal(size=(120, p))
    found = by_fold_moments(z, y, D, X, cell, spec, None)
    assert words in found
    with pytest.raises(InputError, match=r"ar='folds' is not available.*'corrected'"):
        ARKind("folds", refusal=found).confidence_set(0.95)


# ---- orthogonal ------------------------------------------------------------------------------


def orthogonal_case(seed, n_directions, strength=0.5):
    """Random instruments along directions, and the statistic by explicit combination."""
    rng = np.random.default_rng(seed)
    n = 80
    shared = rng.normal(size=n)
    v = rng.normal(size=n)
    d, y = strength * shared + v, strength * 0.5 * shared + 0.5 * v + rng.normal(size=n)
    directions = np.eye(2) if n_directions == 2 else target_directions(n_directions, d, y)
    noise = rng.normal(size=(n, n_directions))
    z = np.column_stack([d, y]) @ directions.T * 0.2 + shared[:, None] + noise
    base = ar.moments(z, y, d[:, None], CovarianceSpec(), 0)
    both = np.column_stack([d, y])
    moments = OrthogonalMoments(base, directions, both.T @ both)

    def statistic(t):
        e = y - t * d
        rho = (d @ e) / (e @ e)
        target = np.array([1 + rho * t, -rho])  # D - rho (Y - t D) in terms of (D, Y)
        if n_directions == 2:
            used = z @ target
        else:
            # The two directions round the target, in the doubled circle; weights solve for it.
            around = np.vstack([directions, -directions])
            signed = np.hstack([z, -z])
            unit = np.array([d.std(), y.std()])
            angle = np.arctan2(*(target * unit)[::-1])
            angles = np.arctan2(*(around * unit).T[::-1])
            gaps = np.mod(angles - angle, 2 * np.pi)
            after, before = int(np.argmin(gaps)), int(np.argmax(gaps))
            weights = np.linalg.solve(around[[before, after]].T, target)
            assert (weights >= -1e-9).all()
            used = signed[:, [before, after]] @ weights
        return (used @ e) ** 2 / ((used * e) @ (used * e))

    return moments, statistic


@pytest.mark.parametrize("n_directions", [2, 3, 8])
@pytest.mark.parametrize("seed", range(4))
def test_orthogonal_statistic_combines_the_neighbouring_directions(seed, n_directions):
    moments, explicit = orthogonal_case(seed, n_directions)
    for t in (-30.0, -2.0, -0.3, 0.0, 0.4, 0.9, 5.0, 1e3):
        expected = explicit(t)
        assert orthogonal.statistic(moments, t) == pytest.approx(expected, rel=1e-6, abs=1e-9)
        test = orthogonal.test(moments, np.array([t]), ("d",))
        assert test.pvalue == pytest.approx(stats.chi2.sf(expected, 1), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("n_directions", [2, 8])
@pytest.mark.parametrize("seed", range(3))
def test_orthogonal_set_is_where_its_test_accepts(seed, n_directions, strength):
    moments, explicit = orthogonal_case(seed, n_directions, strength)
    for level in (0.5, 0.95):
        found = orthogonal.confidence_set(moments, level, "AR")
        critical = stats.chi2.ppf(level, 1)
        for t in GRID:
            value = explicit(float(t))
            if abs(value - critical) > 1e-5 * critical:
                assert (float(t) in found) == (value <= critical), t
        for end in np.ravel(found.intervals):
            if np.isfinite(end) and abs(end) < 1e4:
                assert explicit(float(end)) == pytest.approx(critical, rel=1e-4)


def test_target_directions_are_evenly_spread_in_standard_units():
    rng = np.random.default_rng(0)
    d, y = 5 * rng.normal(size=50), 0.1 * rng.normal(size=50)
    found = target_directions(4, d, y) * [d.std(), y.std()]
    expected = [[1, 0], [np.sqrt(0.5), np.sqrt(0.5)], [0, 1], [-np.sqrt(0.5), np.sqrt(0.5)]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


# ---- the set itself --------------------------------------------------------------------------


def test_confidence_set_reads_like_a_set():
    rays = ConfidenceSet(((-INF, -1.0), (2.0, INF)), 0.95, "AR")
    assert [t in rays for t in (-1.0, -0.99, 1.99, 2.0)] == [True, False, False, True]
    assert (rays.length, rays.hull) == (INF, (-INF, INF))
    bounded = ConfidenceSet(((-1.0, 0.5), (2.0, 3.0)), 0.95, "AR")
    assert bounded.is_bounded
    assert (bounded.length, bounded.hull) == (2.5, (-1.0, 3.0))
    assert str(bounded) == "[-1.0000, 0.5000] U [2.0000, 3.0000]"
    empty = ConfidenceSet((), 0.95, "AR")
    assert (str(empty), empty.length, empty.is_bounded) == ("empty", 0, True)
    assert np.isnan(empty.hull).all()


@given(seed=seeds)
@FIXED
def test_intersection_is_membership_in_both(seed):
    rng = np.random.default_rng(seed)

    def random_set():
        ends = np.sort(rng.integers(-9, 10, 2 * rng.integers(0, 4))).astype(float)
        if len(ends) and rng.random() < 0.5:
            ends[0], ends[-1] = -INF, INF
        pairs = tuple((float(a), float(b)) for a, b in ends.reshape(-1, 2))
        return ConfidenceSet(pairs, 0.95, "AR")

    one, other = random_set(), random_set()
    both = one.intersect(other)
    for t in np.arange(-10, 10.25, 0.25):
        assert (t in both) == (t in one and t in other)
