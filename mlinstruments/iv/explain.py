"""What a learned instrument is made of: which instruments matter, in which shape, how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_choice, check_count
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.linalg import has_constant
from mlinstruments._core.parallel import spawn_seeds
from mlinstruments._core.tables import Printed, Table, number
from mlinstruments._core.typing import IntArray
from mlinstruments.learning.adapters import as_learner
from mlinstruments.learning.elsewhere import predict_elsewhere
from mlinstruments.learning.folds import Split

from .data import IVData
from .explain_probe import (
    Probe,
    bins,
    curves,
    importance,
    partialled_by_fold,
    some,
    squared_correlation,
)
from .mliv import MLIV
from .partition import LOO, make_splits
from .same_call import read_inputs

# Rows on which folds are compared with each other.
COMMON_ROWS = 1_000


@dataclass(frozen=True, eq=False, repr=False)
class FirstStageExplanation(Printed):
    """A learned first stage taken apart, out of fold.

    Parameters
    ----------
    regressor : str
        The endogenous regressor that is predicted.
    learner : str
        In words.
    partial_r2 : float
        Share of the regressor's variance, given the covariates, that the predictions explain: the
        squared correlation.
    importance : DataFrame
        Indexed by instrument or group, the most important first. ``importance``: how much of
        ``partial_r2`` is lost when its values are shuffled among the rows of a fold, the mean over
        shuffles; ``sd`` over shuffles; ``fold 0``, ... the same within each fold.
    curves : DataFrame
        Partial dependence. Columns ``instrument``, ``value``, ``mean`` over folds and ``fold 0``,
        ...: predictions with the instrument set to the value in rows otherwise as they are,
        averaged; less their mean over values.
    agreement : DataFrame
        Correlations, over rows of the sample, of the functions that the folds have learned.
    bins : DataFrame
        Twentieths of the rows by prediction: means ``predicted`` and ``actual``, both given the
        covariates, and the standard error ``std_error`` of the second.
    """

    regressor: str
    learner: str
    partial_r2: float
    importance: pd.DataFrame
    curves: pd.DataFrame
    agreement: pd.DataFrame
    bins: pd.DataFrame

    @property
    def summary(self) -> Table:
        """Importance of every instrument, fold by fold."""
        folds = [name for name in self.importance.columns if name.startswith("fold")]
        matrix = self.agreement.to_numpy()
        others = matrix[~np.eye(len(matrix), dtype=bool)]
        agree = f"correlations {others.min():.2f} to {others.max():.2f}"
        facts = (
            ("Learner", self.learner),
            ("Partial R2", number(self.partial_r2)),
            ("Folds agree", agree if np.isfinite(others).all() else "some have learned nothing"),
        )
        rows = tuple(
            (
                str(name),
                number(float(row["importance"])),
                number(float(row["sd"])),
                f"{row[folds].min():.3f} to {row[folds].max():.3f}",
            )
            for name, row in self.importance.iterrows()
        )
        heads = ("", "Importance", "Sd", "By fold")
        note = "Importance: partial R2 lost when the instrument is shuffled within folds."
        return Table(f"What predicts {self.regressor}", facts, heads, rows, (note,))

    def plot(self, most: int = 4) -> Any:
        """First stage, importance and the curves of the most important instruments.

        Needs the ``plot`` extra.

        Parameters
        ----------
        most : int
            Curves to draw.

        Returns
        -------
        matplotlib Figure
        """
        from .explain_plot import plot_explanation

        return plot_explanation(self, most)


def explain_first_stage(
    model: MLIV,
    *data: Any,
    weights: Any = None,
    clusters: Any = None,
    folds: Any = None,
    regressor: str | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    n_permutations: int = 5,
) -> FirstStageExplanation:
    """Which instruments a learned instrument draws on, in which shape, and whether folds agree.

    Everything is out of fold: the models that never saw a fold predict its rows with an instrument
    shuffled (permutation importance) or set to a value (partial dependence). Nothing depends on the
    outcome, so this may be looked at before any estimate.

    A fit keeps its instrument and no models. They are therefore learned again, at the cost of one
    fit of the first repeat, with the same folds, halves and seeds.

    Parameters
    ----------
    model : MLIV
        As it was fitted, with ``covariates="linear"``. With ``control_variate=True`` the first
        stage of its pilot is explained.
    *data
        What ``model.fit`` was given, in its order, or a formula and a data frame as for
        ``model.fit_formula``.
    weights, clusters, folds
        As in :meth:`MLIV.fit`.
    regressor : str, optional
        Which endogenous regressor; may be left out where there is one.
    groups : mapping of name to instruments, optional
        Instruments to shuffle together, such as the indicators of one category. Each of the others
        is shuffled on its own.
    n_permutations : int
        Shuffles.

    Returns
    -------
    FirstStageExplanation

    Raises
    ------
    InputError
        Where the data cannot be used or the model has no folds to explain.

    Notes
    -----
    Two instruments that say the same share their importance between them; shuffled together, as a
    group, they show it. scikit-learn's ``permutation_importance`` and ``partial_dependence`` are
    the same quantities for one fitted model with a ``predict``; here there are as many as folds
    and halves, each with rows of its own.

    References
    ----------
    Breiman (2001), doi:10.1023/A:1010933404324; Friedman (2001), doi:10.1214/aos/1013203451.

    Examples
    --------
    >>> import numpy as np
    >>> from mlinstruments import MLIV, explain_first_stage
    >>> rng = np.random.default_rng(0)
    >>> w = rng.uniform(-1, 1, (600, 2))
    >>> u = rng.normal(size=600)
    >>> d = np.cos(3 * w[:, 0]) + 0.5 * u
    >>> found = explain_first_stage(MLIV(learner="series"), d + u, np.ones(600), d, w)
    >>> found.importance.index[0], bool(found.importance["importance"].iloc[1] < 0.02)
    ('instruments.0', True)
    """
    _check_model(model)
    check_count(n_permutations, "n_permutations", 1)
    learner = as_learner(model.learner)
    found = read_inputs(data, weights, clusters, learner.takes_missing)
    j = _position(regressor, found.endog)
    columns = _columns(groups, found.instruments)
    seeds = spawn_seeds(model.random_state, model.n_repeats)
    seed, split = seeds[0], _first_split(found, model, seeds, folds)
    rng = np.random.default_rng(
        np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 2))
    )
    target = found.D[:, j]
    controls = found.X if has_constant(found.X) else np.column_stack([np.ones(found.nobs), found.X])
    common = some(np.arange(found.nobs), COMMON_ROWS, rng)
    probes, fitted = [], np.empty((split.n_cells, found.nobs))
    for cell in range(split.n_cells):
        probe = Probe.of(found.W.values, split.held_out(cell), columns, n_permutations, rng)
        predicted = predict_elsewhere(
            learner, found.W, controls, found.weights, target, split, seed, cell, probe.inputs
        )
        fitted[cell] = predicted[: found.nobs]
        probes.append(probe.answered(predicted[found.nobs :]))
    folds_named = [f"fold {k}" for k in range(split.n_cells)]
    own = fitted[split.cell, np.arange(found.nobs)]
    z, d = partialled_by_fold(found, own, split.cell), partialled_by_fold(found, target, None)
    with np.errstate(invalid="ignore"):  # missing where a fold has learned nothing
        agreement = np.corrcoef(fitted[:, common])
    return FirstStageExplanation(
        regressor=found.endog[j],
        learner=learner.label,
        partial_r2=squared_correlation(z, d),
        importance=importance(found, target, own, split, probes, list(columns), folds_named),
        curves=curves(probes, found.instruments, folds_named),
        agreement=pd.DataFrame(agreement, folds_named, folds_named),
        bins=bins(z, d),
    )


# ---- what was asked for -------------------------------------------------------------------------


def _check_model(model: Any) -> None:
    if not isinstance(model, MLIV):
        raise InputError(
            f"model must be the MLIV that was fitted, not its results; got {type(model).__name__}."
        )
    if model.covariates != "linear":
        raise InputError(
            "first stages are explained for covariates='linear', where they are functions of the"
            f" instruments alone; covariates is {model.covariates!r}."
        )
    if model.n_folds == LOO:
        raise InputError("n_folds='loo' leaves no folds to explain: give n_folds a number.")


def _first_split(
    data: IVData, model: MLIV, seeds: list[np.random.SeedSequence], folds: Any
) -> Split:
    how = (model.n_folds, model.repeat_blocks, model.split_half)
    return make_splits(data, seeds, *how, folds)[0]


def _position(regressor: str | None, endog: tuple[str, ...]) -> int:
    if regressor is None:
        if len(endog) > 1:
            raise InputError(f"regressor must say which one of {', '.join(endog)} to explain.")
        return 0
    return endog.index(check_choice(regressor, "regressor", endog))


def _columns(
    groups: Mapping[str, Sequence[str]] | None, instruments: tuple[str, ...]
) -> dict[str, IntArray]:
    """Columns to shuffle together, by name."""
    found: dict[str, IntArray] = {}
    taken: set[str] = set()
    for group, members in (groups or {}).items():
        names = [members] if isinstance(members, str) else list(members)
        for name in names:
            check_choice(name, f"groups[{group!r}] names an instrument that", instruments)
            if name in taken:
                raise InputError(f"groups has {name!r} twice: each instrument is in one group.")
            taken.add(name)
        found[group] = np.array([instruments.index(name) for name in names])
    alone = {n: np.array([j]) for j, n in enumerate(instruments) if n not in taken}
    if clash := set(found) & set(alone):
        raise InputError(
            f"groups has a group called {min(clash)!r}, as an instrument is: rename it."
        )
    return found | alone
