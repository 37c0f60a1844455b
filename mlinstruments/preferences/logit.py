"""PreferenceLogit: preference parameters from choices, or the reason why not. The front door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.arrays import check_count
from mlinstruments._core.exceptions import AssumptionWarning, InputError
from mlinstruments._core.typing import IntArray
from mlinstruments._core.warn import warn_user
from mlinstruments.games.utility import HomoMoralis, Utility

from .choices import AllocationChoices, ChoiceData
from .design import Design
from .excluded import Excluded
from .identification import examine
from .inference import coefficient_covariance
from .likelihood import null_log_likelihood
from .results import PreferenceResults

FEW_CLUSTERS = 10


class PreferenceLogit:
    """Random utility over the strategies of games: scale, Kantian weight, inequity aversion.

    Utility is (1 - kappa) pi(x, y) + kappa pi(x, x) - alpha Behind - beta Ahead and the choice
    among whole strategies a logit of scale lambda (1 / points). The likelihood is concave in
    lambda (1, kappa, alpha, beta), so the maximum found is the maximum.

    Parameters
    ----------
    parameters : sequence of {"kappa", "alpha", "beta"}
        Those not named are 0.
    n_types : int
        More than one fits a finite mixture: each subject is of one type.
    beliefs : str or mapping
        What choosers expect of the other: ``"elicited"``, ``"uniform"``, ``"empirical"``,
        ``"self"``, ``"subgame_perfect"``, or probabilities by protocol id or game.
    unit : {"strategy", "node"}
        ``"node"``: a binary logit at every node, given the chooser's own other nodes.
    utility : Utility, optional
        Another utility linear in its parameters; then ``parameters`` is taken from it.
    n_starts : int
        Random starts of a mixture's EM.
    random_state : int
        For those starts.

    References
    ----------
    Lu, Dhanda, Chen, Hansen (2025), "Aligning Large Language Model Agents with Rational and Moral
    Preferences", arXiv:2507.20796; Alger and Weibull (2013), doi:10.3982/ECTA10637.

    Examples
    --------
    >>> from mlinstruments import PreferenceLogit
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.preferences import simulate_choices
    >>> data = simulate_choices(default_grid(), scale=0.1, kappa=0.3, draws=200)
    >>> fit = PreferenceLogit(parameters=("kappa",)).fit(data)
    >>> low, high = fit.conf_int().loc["kappa"]
    >>> bool(low < 0.3 < high)
    True
    """

    def __init__(
        self,
        parameters: Sequence[str] = ("kappa", "alpha", "beta"),
        n_types: int = 1,
        beliefs: Any = "elicited",
        unit: str = "strategy",
        utility: Utility | None = None,
        n_starts: int = 30,
        random_state: Any = 0,
    ) -> None:
        self.parameters = parameters
        self.n_types = n_types
        self.beliefs = beliefs
        self.unit = unit
        self.utility = utility
        self.n_starts = n_starts
        self.random_state = random_state

    def fit(
        self, data: ChoiceData | AllocationChoices, clusters: str | Sequence[str] | None = None
    ) -> Any:
        """Estimate, or say why the data do not allow it.

        Parameters
        ----------
        data : ChoiceData or AllocationChoices
        clusters : column name(s), optional
            Cluster standard errors: by subject for people, by protocol for repeated draws of a
            model, which are not independent evidence. With several types it names the column that
            tells subjects apart, ``"subject"`` by default; standard errors are clustered by it.

        Returns
        -------
        PreferenceResults, or MixtureResults with several types

        Raises
        ------
        InputError
            Where the data cannot be used, beliefs are missing, or a column of clusters is. Data
            that do not identify the parameters raise nothing: the result says why.

        Warns
        -----
        AssumptionWarning
            Below 10 clusters; with several types, where few starts found the best likelihood.
        """
        check_count(self.n_types, "n_types", 1)
        design = self._design(data)
        if self.n_types > 1:
            from .mixture import fit_mixture

            subject = _subject_column(clusters)
            return fit_mixture(design, self.n_types, self.n_starts, self.random_state, subject)
        names = (clusters,) if isinstance(clusters, str) else tuple(clusters or ())
        codes = design.cluster_codes(names)
        _check_clusters(codes, names)
        if isinstance(data, AllocationChoices):
            return fit_design(design, codes, names, "allocation", "", data.excluded)
        words = _belief_words(self.beliefs)
        return fit_design(design, codes, names, str(self.unit), words, data.excluded)

    def individuals(
        self, data: ChoiceData | AllocationChoices, subject: str = "subject"
    ) -> pd.DataFrame:
        """Estimate every subject on its own; see :func:`mlinstruments.preferences.individual_fits`.

        Parameters
        ----------
        data : ChoiceData or AllocationChoices
        subject : str
            Column that tells subjects apart.

        Returns
        -------
        DataFrame, one row a subject
            Parameters, standard errors, and a status in words. Of a subject whose lambda is within
            two standard errors of zero the other estimates say next to nothing: leave such
            subjects out of averages, or fit types instead.

        Examples
        --------
        >>> from mlinstruments import PreferenceLogit
        >>> from mlinstruments.games import default_grid
        >>> from mlinstruments.preferences import simulate_choices
        >>> data = simulate_choices(default_grid(), scale=0.1, kappa=0.3, subjects=2, draws=20)
        >>> PreferenceLogit(("kappa",)).individuals(data).columns.tolist()[:4]
        ['lambda', 'kappa', 'lambda_se', 'kappa_se']
        """
        from .individuals import individual_fits

        return individual_fits(self._design(data), subject)

    def _design(self, data: ChoiceData | AllocationChoices) -> Design:
        if self.utility is None:
            HomoMoralis(tuple(self.parameters))  # names the mistake before data are touched
        if not isinstance(data, ChoiceData | AllocationChoices):
            raise InputError(
                f"fit takes ChoiceData; got {type(data).__name__}. Read a log with"
                " ChoiceData.read(path) or ChoiceData.from_frame(frame)."
            )
        utility = self.utility or HomoMoralis(tuple(self.parameters))
        return data.design(utility, self.beliefs, self.unit)


def _subject_column(clusters: str | Sequence[str] | None) -> str:
    names = [clusters] if isinstance(clusters, str) else list(clusters or ["subject"])
    if len(names) > 1:
        raise InputError(
            "with several types clusters names the one column that tells subjects apart; got"
            f" {', '.join(names)}."
        )
    return names[0]


# A scale at which the own payoffs of no choice set move an index by more than this is zero: Newton
# leaves about 1e-15 where shares do not depend on payoffs at all, as those of an agent that always
# takes the first label, asked in both orders.
NO_SCALE = 1e-10


def fit_design(
    design: Design,
    clusters: tuple[IntArray, ...] = (),
    cluster_names: tuple[str, ...] = (),
    unit: str = "strategy",
    beliefs: str = "elicited",
    excluded: Excluded | None = None,
) -> PreferenceResults:
    """Estimate one type on choice sets; parameters are NaN where they are not identified."""
    report, best = examine(design)
    m = design.z.shape[2]
    theta = np.full(m, np.nan)
    covariance = np.full((m, m), np.nan)
    value = float("nan")
    if report.identified and best is not None:
        theta, found = best
        covariance = coefficient_covariance(design, theta, found, clusters)
        value = found.value
        reach = theta[0] * np.abs(design.z[..., 0]).max()
        report = replace(report, scale_positive=bool(reach > NO_SCALE))
    return PreferenceResults(
        theta=theta,
        theta_cov=covariance,
        loglik=value,
        loglik_null=null_log_likelihood(design.available, design.counts()),
        identification=report,
        design=design,
        clusters=clusters,
        cluster_names=cluster_names,
        unit=unit,
        beliefs=beliefs,
        excluded=Excluded.of({}) if excluded is None else excluded,
    )


def _check_clusters(codes: tuple[IntArray, ...], names: tuple[str, ...]) -> None:
    for code, name in zip(codes, names, strict=True):
        n = int(code.max()) + 1
        if n == 1:
            raise InputError(
                f"clusters={name!r}: there is one cluster; cluster by something with several values"
                " or leave clusters out."
            )
        if n < FEW_CLUSTERS:
            warn_user(
                f"only {n} clusters in {name!r}: clustered standard errors are unreliable below"
                f" {FEW_CLUSTERS}.",
                AssumptionWarning,
            )


def _belief_words(beliefs: Any) -> str:
    return beliefs if isinstance(beliefs, str) else "given"
