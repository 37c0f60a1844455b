"""MLIV on data larger than memory: everything from the sums of two passes over the rows.

A first pass makes Gram matrices of [1, Phi(W), X, D, y] by cell (fold, half, side). They give every
out-of-fold first stage and, since a learned instrument is linear in Phi(W) in each fold, the
estimate too. A second pass sums squared scores for covariance, strength and Anderson-Rubin sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.parallel import parallel_sum, spawn_seeds
from mlinstruments._core.sandwich import CovarianceSpec, covariance_spec
from mlinstruments._core.typing import FloatArray
from mlinstruments.learning.base import Learner
from mlinstruments.learning.features import Features
from mlinstruments.learning.folds import Split

from . import checks
from .ar_kinds import ARKind
from .assemble import whole_sample_kinds, why_weak
from .columns import Columns
from .data import warn_of_dropped
from .dataset_algebra import (
    CONSTANT,
    Predictions,
    Shape,
    fold_lines,
    location,
    predictions,
    train,
    with_mean_weight_one,
)
from .dataset_sums import FoldLines, GramSums, Reading, gram_sums, score_sums
from .estimate import SecondStage, covariance
from .first_stage import gathered, repeat_rows
from .fixed_effects import Absorbed
from .instrument import CONSTANT_TOLERANCE
from .mliv_results import MLIVResults
from .reduced import Partialled, solve
from .results import NotHeld
from .score_sums import Combinations
from .source import Cells, Piece, Roles, open_pieces, sample_blocks

# Rows that a task is made of, at least.
TASK_ROWS = 500_000
NOT_HELD = NotHeld(
    "has an entry for each row, which fit_dataset does not keep: its results take the same memory"
    " whatever the number of rows. Use fit on data in memory."
)
BY_FOLD = "fit_dataset partials covariates out of all rows at once, not by fold; use 'corrected'."
NO_ORTHOGONAL = "fit_dataset does not train its directions; use 'corrected'."


@dataclass(frozen=True)
class Job:
    """What is fitted, and how.

    Parameters
    ----------
    pieces : list of Piece
    reading : Reading
    learner : Learner
        With a ``penalty``, None to choose one.
    split : Split
        Of the cells, as if each were a row.
    location : pair of arrays, shape (k,)
        Rough means and standard deviations of [Phi(W), X without the constant, D, y].
    n_jobs : int or None
    progress : bool or None
    """

    pieces: list[Piece]
    reading: Reading
    learner: Any
    split: Split
    location: tuple[FloatArray, FloatArray]
    n_jobs: int | None
    progress: bool | None

    @property
    def shape(self) -> Shape:
        """Columns of each sort."""
        roles = self.reading.roles
        return Shape(self.reading.dictionary.width, 1 + len(roles.exog), len(roles.endog))

    @property
    def weighted(self) -> bool:
        """Whether rows have weights."""
        return self.reading.roles.weights is not None

    def sum(self, function: Callable[[list[Piece]], Any], description: str) -> Any:
        """``function`` of all pieces, added up over tasks of some of them each."""
        tasks: list[list[Piece]] = [[]]
        for piece in self.pieces:
            if sum(other.rows for other in tasks[-1]) >= TASK_ROWS:
                tasks.append([])
            tasks[-1].append(piece)
        return parallel_sum(function, tasks, self.n_jobs, self.progress, description)


def prepare(
    source: Any,
    roles: Roles,
    learner: Learner,
    cells: Cells,
    split: Split,
    n_jobs: int | None,
    progress: bool | None,
) -> Job:
    """Open a data set, check its columns, and fix the dictionary by a sample of the rows."""
    if not hasattr(learner, "dictionary"):
        raise InputError(
            f"fit_dataset learns from sums over rows: use 'series', 'ridge' or 'ols', not"
            f" {learner.label}; or read a sample of the data and call fit."
        )
    pieces = open_pieces(source, roles)
    sample = sample_blocks(pieces, roles, cells)
    p, d, q = len(roles.exog), len(roles.endog), len(roles.instruments)
    _check_sample(sample, roles)
    W = np.ascontiguousarray(sample[p + d + 1 : p + d + 1 + q].T)
    numeric = np.zeros(q, dtype=bool)
    dictionary = learner.dictionary(Features(W, numeric, roles.instruments))
    columns = np.hstack([dictionary.columns(W), sample[: p + d + 1].T])
    deviation = columns.std(axis=0)
    rough = columns.mean(axis=0), np.where(deviation > 0, deviation, 1.0)
    reading = Reading(roles, cells, dictionary)
    return Job(pieces, reading, learner, split, rough, n_jobs, progress)


def _check_sample(sample: FloatArray, roles: Roles) -> None:
    p, d, q = len(roles.exog), len(roles.endog), len(roles.instruments)
    X, D, y, W = np.split(sample[: p + d + 1 + q].T, [p, p + d, p + d + 1], axis=1)
    ones = np.ones((len(X), 1))
    named = {
        "dependent": (y, (roles.dependent,)),
        "exog": (np.hstack([ones, X]), (CONSTANT, *roles.exog)),
        "endog": (D, roles.endog),
        "instruments": (W, roles.instruments),
    }
    pieces = {
        role: Columns(values, np.zeros(len(names), dtype=bool), names)
        for role, (values, names) in named.items()
    }
    checks.check_columns(pieces)
    checks.check_relations(pieces)


def check_options(options: dict[str, Any], cov_type: str | None) -> None:
    """Refuse what needs all rows at once."""
    needed = {
        "covariates": ("linear", "one first stage is not learned on another's predictions"),
        "control_variate": (False, "it needs a first stage learned before"),
        "n_repeats": (1, "one partition is drawn"),
        "repeat_blocks": (None, "one partition is drawn"),
        "interact_controls": (False, "covariates are partialled out of all rows at once"),
        "orthogonal": (False, "its directions are not trained"),
        "efficient": (False, "variances are learned from residuals of every row"),
    }
    for name, (value, why) in needed.items():
        if options[name] != value:
            raise InputError(
                f"fit_dataset needs {name}={value!r}, as {why}; it is {options[name]!r}. Change it,"
                " or read a sample of the data and call fit."
            )
    if isinstance(options["n_folds"], str):
        raise InputError("fit_dataset leaves out folds, not rows: give n_folds a number.")
    if cov_type == "kernel":
        raise InputError(
            "a kernel covariance links neighbouring rows, and those of a data set have no order:"
            " use cov_type='robust', or clusters."
        )


def deal_cells(n_folds: int, halves: bool, seed: np.random.SeedSequence) -> tuple[Cells, Split]:
    """Cells that make up the folds: two sides to choose penalties on, of two halves if wanted."""
    each = 4 if halves else 2
    cell = np.arange(n_folds * each)
    entropy = tuple(int(word) for word in seed.generate_state(4))
    half = cell // 2 % 2 if halves else None
    return Cells(len(cell), entropy), Split((cell // each,), half, cell % 2)


def fit_dataset(
    source: Any,
    roles: Roles,
    learner: Learner,
    options: dict[str, Any],
    cov_type: str | None,
    debiased: bool,
) -> MLIVResults:
    """Fit a data set with the ``options`` of MLIV; the rest is as for its method of this name."""
    check_options(options, cov_type)
    # The clusters themselves come with the rows.
    ways = () if roles.clusters is None else (np.zeros(1, dtype=np.int64),)
    spec = covariance_spec(cov_type, debiased, None, ways)
    seed = spawn_seeds(options["random_state"], 1)[0]
    cells, split = deal_cells(options["n_folds"], options["split_half"], seed)
    workers = options["n_jobs"], options["progress"]
    job = prepare(source, roles, learner, cells, split, *workers)
    settings = {
        "learner": learner.label,
        "covariates": options["covariates"],
        "n_folds": options["n_folds"],
        "n_repeats": 1,
        "control_variate": False,
        "efficient": False,
    }
    return fit_job(job, spec, settings)


def fit_job(job: Job, spec: CovarianceSpec, settings: dict[str, Any]) -> MLIVResults:
    """Both passes, and everything a result holds that does not grow with the rows."""
    first: GramSums = job.sum(
        partial(gram_sums, reading=job.reading, shift=job.location[0], scale=job.location[1]),
        "first pass",
    )
    roles, shape = job.reading.roles, job.shape
    names = (CONSTANT, *roles.exog)
    warn_of_dropped(first.tally.dropped, first.tally.rows, first.tally.missing)
    _require_rows(first, roles)
    grams, weight = with_mean_weight_one(first, job.weighted)
    dictionary = location(first, shape.m, job.weighted)
    found = train(grams, job.split, job.learner, dictionary, shape)
    made = predictions(grams, job.split, found, shape)
    varies = _varies(made)
    if not varies.all():
        found = np.where(varies, found, 0.0)
        made = predictions(grams, job.split, found, shape)
    reduced = made.reduced()
    checks.check_reduced(
        reduced.exog, reduced.endog, reduced.outcome, names, roles.endog, roles.dependent
    )
    few = Partialled.of(reduced)
    weak = why_weak(few, varies, roles.endog)
    solved = None if weak else solve(reduced, 1.0)
    noise_on_exog, noise = made.noise()
    lines = fold_lines(made, few)
    second = job.sum(
        partial(
            score_sums,
            reading=job.reading,
            predictor=made.predictor(job.split, noise_on_exog, weight),
            lines=lines,
            combinations=Combinations.of(reduced, few, solved),
            spec=spec,
        ),
        "second pass",
    )
    if spec.kind == "clustered":
        spec = replace(spec, clusters=(np.arange(len(second.clusters)),))
    stage = SecondStage(reduced, few, second.sums, solved)
    squares = [noise.T @ noise] if made.n_noise else []
    k = shape.p + shape.d
    params = np.full(k, np.nan) if solved is None else solved.params
    cov = np.full((k, k), np.nan) if solved is None else covariance(reduced, solved, second.sums)
    own = slice(shape.p, None)
    estimates = None if solved is None else (params[own], np.sqrt(np.diag(cov))[own])
    own_noise = noise if squares else None
    strengths, splits = gathered(
        repeat_rows(0, roles.endog, few, stage.first_stage_f(), estimates, own_noise),
        [stage.joint_strength(roles.endog)[0]],
        _by_fold(made, lines, second.by_fold, roles.endog),
        [float("nan")] * shape.d,
        len(roles.instruments),
    )
    return MLIVResults(
        method="MLIV",
        dependent=roles.dependent,
        exog=names,
        endog=roles.endog,
        instruments=roles.instruments,
        estimates=params,
        covariance=cov,
        resids=NOT_HELD,
        nobs=reduced.n,
        cov_label=spec.label,
        debiased=spec.debiased,
        n_clusters=spec.n_clusters,
        cluster_names=() if roles.clusters is None else (roles.clusters,),
        weighted=job.weighted,
        absorbed=Absorbed.of(None),
        ar=(
            *whole_sample_kinds(stage, squares),
            ARKind("folds", refusal=BY_FOLD),
            ARKind("split", refusal=BY_FOLD),
            ARKind("orthogonal", refusal=NO_ORTHOGONAL),
        ),
        first_stage=strengths,
        kappa=1.0,
        instrument=NOT_HELD,
        splits=splits,
        folds=NOT_HELD,
        weak=weak,
        overid=None,
        **settings,
    )


def _varies(made: Predictions) -> Any:
    """Whether instruments vary beyond rounding, as in memory."""
    few = Partialled.of(made.reduced())
    at = made.shape.p - 1
    n = int(made.rows.sum())
    total = made.products.sum(axis=0)
    D = np.arange(1 + at, 1 + at + made.shape.d)
    variances = total[D, D] / n - (total[0, D] / n) ** 2
    scale = np.sqrt(np.maximum(variances, 0)) * made.scale[at : at + made.shape.d]
    return np.linalg.norm(few.z, axis=0) / np.sqrt(n) > CONSTANT_TOLERANCE * scale


def _require_rows(first: GramSums, roles: Roles) -> None:
    empty = int((first.grams.rows == 0).sum())
    if roles.clusters is not None and empty:
        raise InputError(
            f"{roles.clusters!r} (clusters) leaves {empty} of {len(first.grams.rows)} cells, which"
            " folds are made of, without rows: clusters are dealt to them whole, by chance, and"
            " there are too few. Choose a finer level, use fewer folds, or call fit."
        )


def _by_fold(
    made: Predictions, lines: FoldLines, squares: FloatArray, endog: tuple[str, ...]
) -> list[dict[str, object]]:
    table: list[dict[str, object]] = []
    for j, name in enumerate(endog):
        for k, rows in enumerate(made.rows):
            f = lines.together[k, j] ** 2 / squares[k, j] if squares[k, j] > 0 else 0.0
            slope = lines.slope[k, j]
            table.append(
                {"repeat": 0, "fold": k, "endog": name, "rows": int(rows), "slope": slope, "f": f}
            )
    return table
