"""Are estimates of preferences unbiased, and do their intervals keep their promise of 95%?

Ten thousand logs of an agent, or of a population, of known theta: every subject plays each of the
18 illustrative protocols once, and covariances are clustered by subject. Counted for lambda and
each parameter: bias, standard error against scatter, and how often delta, Fieller and bootstrap
intervals hold the truth. Then designs that do not identify: how often is a kappa printed?

All logs of a block are fitted at once by the package's own batched Newton; a random sample of every
setting is fitted again through ``PreferenceLogit``, and everything is asserted to be the same.

Run ``python benchmarks/preference_coverage.py [--quick]``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from mlinstruments._core.exceptions import AssumptionWarning, NotIdentifiedError
from mlinstruments.games import HomoMoralis, Protocol, default_grid, sample_protocols
from mlinstruments.preferences import (
    AllocationChoices,
    ChoiceData,
    PreferenceLogit,
    PreferenceResults,
    simulate_choices,
)
from mlinstruments.preferences.batched import Batch, evaluate, newton
from mlinstruments.preferences.design import Design
from mlinstruments.preferences.identification import identify, is_separated
from mlinstruments.preferences.inference import (
    bootstrap,
    critical_value,
    delta_covariance,
    fieller,
    percentile,
)
from mlinstruments.preferences.likelihood import maximise
from mlinstruments.preferences.subjects import unit_regressors

OUTPUT = Path(__file__).parent / "output"
SEED = 20261123
GRID = default_grid()
NAMES = ("lambda", "kappa", "alpha", "beta")
KINDS = ("delta", "fieller", "bootstrap")
RANGE = (0.93, 0.97)
BLOCK = 250
CHECKED = 20
SAME = 1e-5


@dataclass(frozen=True)
class Setting:
    """A population and a size of log.

    Parameters
    ----------
    name : str
    subjects : int
    scale, kappa, alpha, beta : float
    spread : float
        Standard deviation of kappa between subjects (normal, in 21 equally likely steps).
    identified : bool
        Whether coverage ought to be in ``RANGE``: the scale is many standard errors from zero.
    """

    name: str
    subjects: int
    scale: float = 0.1
    kappa: float = 0.25
    alpha: float = 0.1
    beta: float = 0.2
    spread: float = 0.0
    identified: bool = True


SETTINGS = (
    Setting("one agent", 60),
    Setting("one agent", 200),
    Setting("kappas differ", 60, spread=0.3),
    Setting("kappas differ", 200, spread=0.3),
    Setting("few subjects", 10),
    Setting("weak scale", 10, scale=0.02, identified=False),
    Setting("very weak scale", 10, scale=0.005, identified=False),
)


# ---- drawing ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class World:
    """What every subject faces, and the chances of what it does.

    Parameters
    ----------
    sets : Design
        The 18 choice sets; no choices.
    z : array, shape (C, A, m)
        Regressors centred and of unit size.
    size : array, shape (m,)
    chances : array, shape (K, C, A)
        Of each equally likely type of subject.
    truth : array, shape (m,)
        lambda and the parameters that maximise the expected likelihood: those of the agent, or what
        estimates of one type tend to where subjects differ.
    """

    sets: Design
    z: np.ndarray
    size: np.ndarray
    chances: np.ndarray
    truth: np.ndarray

    @classmethod
    def of(cls, setting: Setting) -> World:
        """Choice sets of the grid with beliefs of one half."""
        cells = [(p, (0.5,) * p.n_nodes, dict.fromkeys(p.strategies, 1.0)) for p in GRID]
        sets = ChoiceData.from_counts(cells).design()
        z, size = unit_regressors(sets)
        quantiles = stats.norm.ppf((np.arange(21) + 0.5) / 21) if setting.spread else np.zeros(1)
        kappas = setting.kappa + setting.spread * quantiles
        rest = (setting.alpha, setting.beta)
        thetas = setting.scale * np.array([[1.0, kappa, *rest] for kappa in kappas])
        u = np.where(sets.available, np.einsum("cam,km->kca", sets.z, thetas), -np.inf)
        chances = np.exp(u - u.max(axis=2, keepdims=True))
        chances /= chances.sum(axis=2, keepdims=True)
        theta = maximise(sets.z, sets.available, chances.mean(axis=0))[0]
        return cls(sets, z, size, chances, reported(theta))

    def draw(self, logs: int, subjects: int, rng: np.random.Generator) -> np.ndarray:
        """Strategies chosen, (logs, subjects, C)."""
        K, C, A = self.chances.shape
        below = self.chances.cumsum(axis=2)[:, :, : A - 1]
        kind = rng.integers(K, size=(logs, subjects))
        chosen = np.empty((logs, subjects, C), dtype=np.int64)
        for c in range(C):
            u = rng.random((logs, subjects))
            if K == 1:
                chosen[:, :, c] = np.searchsorted(below[0, c], u, side="right")
            else:
                chosen[:, :, c] = (u[:, :, None] > below[kind, c]).sum(axis=2)
        last = self.sets.available.sum(axis=1) - 1  # sums of chances may end just below one
        return np.minimum(chosen, last)

    def log(self, chosen: np.ndarray) -> Design:
        """The choices (subjects, C) of one log as the package takes them."""
        subjects, C = chosen.shape
        return replace(
            self.sets,
            choice_set=np.tile(np.arange(C), subjects),
            action=chosen.ravel(),
            count=np.ones(chosen.size),
            labels={"subject": np.repeat(np.arange(subjects), C)},
        )


# ---- fitting ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Fits:
    """Estimates of many logs.

    Parameters
    ----------
    theta : array, shape (logs, m)
    covariance : array, shape (logs, m, m)
        Clustered by subject.
    given : bool array, shape (logs,)
        Whether there is an estimate.
    """

    theta: np.ndarray
    covariance: np.ndarray
    given: np.ndarray


def fit_all(world: World, chosen: np.ndarray) -> Fits:
    """Newton on all logs at once; whoever faces all sets once has one sum of regressors.

    Scores of a subject are that sum less its mean under the estimate, so the clustered covariance
    needs the sums and their squares alone.
    """
    logs, n, C = chosen.shape
    m = world.z.shape[2]
    sums = np.zeros((logs, n, m))
    for c in range(C):
        sums += world.z[c][chosen[:, :, c]]
    total = sums.sum(axis=1)
    batch = Batch(
        np.ascontiguousarray(world.z.transpose(2, 0, 1))[..., None],
        world.sets.available.astype(float)[..., None],
        np.full((C, logs), float(n)),
        np.ascontiguousarray(total.T),
    )
    fit = newton(batch)
    at = evaluate(batch, fit.theta)
    mean = at.mean.sum(axis=0).T / n
    cross = total[:, :, None] * mean[:, None, :]
    meat = np.einsum("bsj,bsk->bjk", sums, sums) - cross - cross.transpose(0, 2, 1)
    meat += n * mean[:, :, None] * mean[:, None, :]
    N = n * C
    meat *= (N - 1) / (N - m) * n / (n - 1)
    sound = fit.converged & np.isfinite(fit.theta).all(axis=0)
    information = np.where(sound, at.information, np.eye(m)[:, :, None]).transpose(2, 0, 1)
    bread = np.linalg.inv(information)
    theta = fit.theta.T / world.size
    covariance = bread @ meat @ bread / np.outer(world.size, world.size)
    for b in np.flatnonzero(~sound):  # whether the maximum is at infinity, the report decides
        assert is_separated(world.log(chosen[b])), "Newton did not settle"
    return Fits(theta, covariance, sound & (theta[:, 0] > 0))


def reported(theta: np.ndarray) -> np.ndarray:
    """lambda and the parameters from coefficients (..., m)."""
    return np.concatenate([theta[..., :1], theta[..., 1:] / theta[..., :1]], axis=-1)


def limits(theta: np.ndarray, covariance: np.ndarray, kind: str, n: int) -> np.ndarray:
    """Delta and Fieller intervals of one log of n subjects, (m, 2): what ``conf_int`` gives."""
    critical = critical_value(0.95, n - 1)
    errors = np.sqrt(np.diag(delta_covariance(theta, covariance)))
    found = reported(theta)[:, None] + critical * errors[:, None] * [-1, 1]
    if kind == "fieller":
        for k in range(1, len(theta)):
            pieces = fieller(theta, covariance, k, 0.95, n - 1)
            found[k] = pieces[0][0], pieces[-1][1]
    return found


def bootstrap_limits(
    world: World, chosen: np.ndarray, theta: np.ndarray, draws: int, seed: int
) -> np.ndarray:
    """Percentiles over draws of subjects, NaN where ``conf_int`` refuses, (m, 2)."""
    design = world.log(chosen)
    found = bootstrap(design, theta, design.labels["subject"], draws, seed)
    kept = found[np.isfinite(found).all(axis=1)]
    if len(kept) < 0.9 * draws:
        return np.full((len(theta), 2), np.nan)
    tail = percentile(0.95, len(chosen))
    return np.quantile(reported(kept), [tail, 1 - tail], axis=0).T


def check(world: World, chosen: np.ndarray, fits: Fits, draws: int, which: Iterable[int]) -> None:
    """Some logs through the front door: the same estimates, errors and intervals."""
    for b in which:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AssumptionWarning)
            design = world.log(chosen[b])
            fit: PreferenceResults = PreferenceLogit().fit(AllocationChoices(design), "subject")
        assert fit.identification.identified == fits.given[b]
        if not fits.given[b]:
            continue
        # In standard errors: a coefficient near zero has no relative size.
        size = np.sqrt(np.diag(fit.theta_cov))
        np.testing.assert_allclose(fits.theta[b] / size, fit.theta / size, atol=SAME)
        square = np.outer(size, size)
        np.testing.assert_allclose(fits.covariance[b] / square, fit.theta_cov / square, atol=SAME)
        for kind in KINDS:
            try:
                expected = fit.conf_int(method=kind, draws=draws, random_state=b).to_numpy()
            except NotIdentifiedError:
                expected = np.full((len(NAMES), 2), np.nan)
            found = (
                bootstrap_limits(world, chosen[b], fits.theta[b], draws, b)
                if kind == "bootstrap"
                else limits(fits.theta[b], fits.covariance[b], kind, chosen.shape[1])
            )
            # Ends of long Fieller intervals magnify what differs in their denominator.
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=SAME)


def one_setting(setting: Setting, logs: int, resampled: int, draws: int) -> pd.DataFrame:
    """Bias and coverage, one row a parameter; the first ``resampled`` logs are bootstrapped.

    Coverage is among the intervals given.
    """
    world = World.of(setting)
    place = SETTINGS.index(setting)
    estimates, errors, inside, ends = [], [], [], []
    sample = np.random.default_rng((SEED, place)).choice(logs, CHECKED, replace=False)
    for first in range(0, logs, BLOCK):
        seed = np.random.SeedSequence(SEED, spawn_key=(place, first // BLOCK))
        chosen = world.draw(min(BLOCK, logs - first), setting.subjects, np.random.default_rng(seed))
        fits = fit_all(world, chosen)
        check(world, chosen, fits, draws, sample[sample // BLOCK == first // BLOCK] - first)
        for b in np.flatnonzero(fits.given):
            theta, covariance = fits.theta[b], fits.covariance[b]
            both = [limits(theta, covariance, kind, setting.subjects) for kind in KINDS[:2]]
            if first + b < resampled:
                both.append(bootstrap_limits(world, chosen[b], theta, draws, first + int(b)))
            else:
                both.append(np.full((len(NAMES), 2), np.nan))
            interval = np.array(both)
            hit = (interval[..., 0] <= world.truth) & (world.truth <= interval[..., 1])
            inside.append(np.where(np.isnan(interval[..., 0]), np.nan, hit))
            ends.append(interval[..., 1] - interval[..., 0])
            estimates.append(reported(theta))
            errors.append(np.sqrt(np.diag(delta_covariance(theta, covariance))))
    table = summary(
        world.truth, np.array(estimates), np.array(errors), np.array(inside), np.array(ends)
    )
    given = len(estimates) / logs
    facts = {"setting": setting.name, "subjects": setting.subjects, "logs": logs, "given": given}
    for position, (name, value) in enumerate(facts.items()):
        table.insert(position, name, value)
    return table


def summary(
    truth: np.ndarray,
    estimates: np.ndarray,
    errors: np.ndarray,
    inside: np.ndarray,
    lengths: np.ndarray,
) -> pd.DataFrame:
    """One row a parameter; inside and lengths are (logs, kinds, m)."""
    rows = []
    for k, name in enumerate(NAMES):
        row = {
            "parameter": name,
            "truth": truth[k],
            "bias": estimates[:, k].mean() - truth[k],
            "median bias": np.median(estimates[:, k]) - truth[k],
            "sd": estimates[:, k].std(),
            "mean error / sd": errors[:, k].mean() / estimates[:, k].std(),
        }
        for j, kind in enumerate(KINDS):
            row[kind] = np.nanmean(inside[:, j, k])
            row[f"{kind} length"] = np.nanmedian(lengths[:, j, k])
        row["unbounded"] = np.isinf(lengths[:, 1, k]).mean()
        rows.append(row)
    return pd.DataFrame(rows)


# ---- designs that do not identify ---------------------------------------------------------------


def not_identified(logs: int) -> pd.DataFrame:
    """Share of logs with a kappa, in designs where there ought to be none, or not always."""
    dictators = sample_protocols("dictator", 12)
    rows = [
        printed("one prisoner's dilemma alone", (GRID[0],), 0.1, 30, logs),
        printed("dictator games alone", dictators, 0.1, 30, logs),
        printed("one trust game alone", (GRID[6],), 0.1, 30, logs),
        printed("temperature near 0, once each", GRID, 2.0, 1, logs),
        printed("nearly sure, once each", GRID, 0.5, 1, logs),
        printed("at random, once each", GRID, 0.0, 1, logs),
        printed("against its utility", GRID, -0.1, 20, logs),
    ]
    table = pd.DataFrame(rows)
    assert not table["printed wrongly"].any(), "a kappa where the likelihood has no maximum"
    assert not table.iloc[[0, 1, 2, 6]]["kappa printed"].any(), "a kappa of no positive scale"
    return table


def printed(
    name: str, protocols: tuple[Protocol, ...], scale: float, draws: int, logs: int
) -> dict[str, object]:
    """One design, every log through the front door."""
    place = sum(map(ord, name))
    kappas = separated = wrong = 0
    for b in range(logs):
        rng = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(1000 + place, b)))
        data = simulate_choices(protocols, scale, 0.25, 0.1, 0.2, draws=draws, random_state=rng)
        design = data.design(HomoMoralis())
        fit: PreferenceResults = PreferenceLogit().fit(data)
        given = bool(np.isfinite(fit.params["kappa"]))
        report = identify(design)
        apart = report.rank == report.needed and is_separated(design)
        kappas += given
        separated += apart
        wrong += given and (report.rank < report.needed or apart)
    return {
        "design": name,
        "logs": logs,
        "separated": separated / logs,
        "kappa printed": kappas / logs,
        "printed wrongly": wrong / logs,
    }


# ---- report -------------------------------------------------------------------------------------


def main(quick: bool = False) -> None:
    """Print and save the tables."""
    logs, resampled, draws = (100, 10, 99) if quick else (10_000, 10_000, 399)
    parts = []
    for setting in SETTINGS:
        begun = time.process_time()
        table = one_setting(setting, logs, resampled, draws)
        seconds = time.process_time() - begun
        parts.append(table)
        print(f"\n{setting.name}, {setting.subjects} subjects ({seconds:.0f} CPU s)")
        print(table.drop(columns=["setting", "subjects"]).round(4).to_string(index=False))
        if setting.identified and not quick:
            judged = table[list(KINDS)].to_numpy()
            outside = (judged < RANGE[0]) | (judged > RANGE[1])
            print("coverage within .93 and .97:", "NO" if outside.any() else "yes")
    nothing = not_identified(10 if quick else 2_000)
    print(
        f"\nDesigns that do not, or not always, identify\n{nothing.round(3).to_string(index=False)}"
    )
    suffix = "_quick" if quick else ""
    OUTPUT.mkdir(exist_ok=True)
    pd.concat(parts).to_csv(OUTPUT / f"preference_coverage{suffix}.csv", index=False)
    nothing.to_csv(OUTPUT / f"preference_coverage_not_identified{suffix}.csv", index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few logs, seconds")
    main(parser.parse_args().quick)
