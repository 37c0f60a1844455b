"""Designs whose errors depend on each other within groups."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import ndtr

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray, IntArray

from .base import Design, Inputs, Sample, TwoSteps, constant, correlated, wave_and_sign

# The court design: judges of a circuit, the share of reversals where nothing matters, how far
# circuits and years shift it, and how much each part of f(W) does.
JUDGES, BASE, CIRCUIT, YEAR, PART = 15, 0.45, 0.10, 0.08, 0.12


def clustered(groups: int = 60, size: int = 20, share: float = 0.3, signal: float = 1.0) -> Design:
    """Instruments of whole groups, and errors that share a part within them.

    W ~ U(-1, 1)^3 for each group, f as in :func:`nonlinear`; U and V are sqrt(share) times a part
    of the group plus sqrt(1 - share) times a part of the row, both parts correlated .7 between U
    and V; D = f + V, Y = D + U. Groups have half of ``size`` rows and one and a half of it in turn.
    Robust errors that ignore the groups are far too small.

    Parameters
    ----------
    groups : int
        Groups, 2 or more.
    size : int
        Rows of a group on average, 2 or more.
    share : float
        Of the errors' variance that is the group's, from 0 to 1.
    signal : float
        Multiplies the first stage.

    Returns
    -------
    Design

    Raises
    ------
    InputError
        Where a setting is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.simulation.designs import clustered
    >>> sample = clustered(groups=10, size=6).draw(np.random.default_rng(0))
    >>> np.bincount(sample.clusters)[:4]
    array([3, 9, 3, 9])
    """
    check_count(groups, "groups", 2)
    check_count(size, "size", 2)
    if not 0 <= share <= 1:
        raise InputError(f"share must lie between 0 and 1; got {share!r}.")
    sizes = np.where(np.arange(groups) % 2, size + size // 2, size - size // 2)
    return Design(
        name=f"clustered(groups={groups}, size={size}, share={share:g}, signal={signal:g})",
        description="Instruments vary between groups, whose errors are correlated.",
        n=int(sizes.sum()),
        truth=1.0,
        sampler=TwoSteps(
            partial(_clustered, sizes, signal), partial(_clustered_outcomes, groups, share)
        ),
    )


def appellate(
    circuits: int = 12, years: int = 10, panels: int = 300, cases: int = 2, strength: float = 1.0
) -> Design:
    """Appellate courts: random panels of judges decide who is reversed.

    Each circuit has 15 judges with traits of their own; a panel is three of them at random and
    hears some cases of one year. W holds the panel's numbers of Democratic appointees, women,
    minority judges and former prosecutors and its mean experience from 0 to 1. The chance of a
    reversal D is .45 plus an effect of the circuit, one of the year, and f(W) = .12 strength (m w +
    cos(2 pi experience)), where m is 1 with a Democratic majority and w is 1 with a woman on the
    panel, both -1 otherwise: little of it is linear in W. The sentence Y is -D plus effects of
    circuit and year, which are the covariates, plus U: a shock of the circuit's year, and what of
    the case also moves the reversal. Clusters are circuit-years.

    Parameters
    ----------
    circuits, years : int
        2 or more of each.
    panels : int
        Panels of a circuit, spread evenly over the years.
    cases : int
        Cases of a panel.
    strength : float
        Multiplies f, from 0 to 1.

    Returns
    -------
    Design

    Raises
    ------
    InputError
        Where a setting is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments.simulation.designs import appellate
    >>> design = appellate(circuits=3, years=4, panels=20, cases=2)
    >>> sample = design.draw(np.random.default_rng(0))
    >>> sample.W.shape, sample.X.shape, len(np.unique(sample.clusters)), np.unique(sample.D)
    ((120, 5), (120, 6), 12, array([0., 1.]))
    """
    check_count(circuits, "circuits", 2)
    check_count(years, "years", 2)
    check_count(panels, "panels", years)
    check_count(cases, "cases", 1)
    if not 0 <= strength <= 1:
        raise InputError(
            f"strength must lie between 0 and 1, or chances would leave that range; got"
            f" {strength!r}."
        )
    settings = f"circuits={circuits}, years={years}, panels={panels}, cases={cases}"
    return Design(
        name=f"appellate({settings}, strength={strength:g})",
        description="Random panels of judges; what matters are combinations of their traits.",
        n=circuits * panels * cases,
        truth=-1.0,
        sampler=TwoSteps(
            partial(_appellate, circuits, years, panels, cases, strength),
            partial(_appellate_outcomes, circuits, years),
        ),
    )


# ---- samplers -----------------------------------------------------------------------------------


def _clustered(sizes: IntArray, signal: float, rng: np.random.Generator) -> Inputs:
    group = np.repeat(np.arange(len(sizes)), sizes)
    W = rng.uniform(-1, 1, (len(sizes), 3))[group]
    return Inputs(constant(len(group)), W, 0.4 * signal * wave_and_sign(W), group)


def _clustered_outcomes(
    groups: int, share: float, given: Inputs, rng: np.random.Generator
) -> Sample:
    assert given.clusters is not None
    common, own = correlated(0.7, groups, rng), correlated(0.7, len(given.f), rng)
    U, V = (
        np.sqrt(share) * a[given.clusters] + np.sqrt(1 - share) * b
        for a, b in zip(common, own, strict=True)
    )
    D = given.f + V
    return given.sample(D + U, D, 1.0)


def _appellate(
    circuits: int, years: int, panels: int, cases: int, strength: float, rng: np.random.Generator
) -> Inputs:
    W = np.repeat(_panels(circuits, panels, rng).reshape(-1, 5), cases, axis=0)
    circuit = np.repeat(np.arange(circuits), panels * cases)
    year = np.tile(np.repeat(np.arange(panels) % years, cases), circuits)
    X = np.column_stack([np.ones(len(circuit)), _dummies(circuit, circuits), _dummies(year, years)])
    return Inputs(X, W, strength * _reversals(W), circuit * years + year)


def _appellate_outcomes(
    circuits: int, years: int, given: Inputs, rng: np.random.Generator
) -> Sample:
    assert given.clusters is not None
    circuit, year = np.divmod(given.clusters, years)
    chance = BASE + given.f
    chance += rng.uniform(-CIRCUIT, CIRCUIT, circuits)[circuit]
    chance += rng.uniform(-YEAR, YEAR, years)[year]
    merit, noise = rng.standard_normal((2, len(chance)))
    D = (ndtr(merit) < chance).astype(float)
    shock = rng.standard_normal((circuits, years))[circuit, year]
    U = 0.5 * shock - 0.6 * merit + 0.8 * noise
    effects = np.concatenate([[3.0], rng.standard_normal(circuits + years - 2)])
    return given.sample(given.X @ effects - D + U, D, -1.0)


def _panels(circuits: int, panels: int, rng: np.random.Generator) -> FloatArray:
    """Traits (circuits, panels, 5) of random panels of three."""
    shares = np.stack([rng.uniform(0.35, 0.65, circuits), *np.full((3, circuits), 0.3)], axis=1)
    traits = rng.random((circuits, JUDGES, 4)) < shares[:, None, :]
    experience = rng.random((circuits, JUDGES))
    seats = rng.random((circuits, panels, JUDGES)).argpartition(3, axis=2)[:, :, :3]
    place = np.arange(circuits)[:, None, None]
    counts = traits[place, seats].sum(axis=2)
    return np.concatenate([counts, experience[place, seats].mean(axis=2)[:, :, None]], axis=2)


def _reversals(W: FloatArray) -> FloatArray:
    majority = np.where(W[:, 0] >= 2, 1.0, -1.0)
    woman = np.where(W[:, 1] >= 1, 1.0, -1.0)
    return np.asarray(PART * (majority * woman + np.cos(2 * np.pi * W[:, 4])))


def _dummies(codes: IntArray, n_codes: int) -> FloatArray:
    return np.asarray(codes[:, None] == np.arange(1, n_codes), dtype=float)
