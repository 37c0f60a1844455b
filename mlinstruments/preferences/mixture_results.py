"""What a mixture returns: types by share, who is of which, criteria, and how sure the search is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mlinstruments._core.tables import Printed, Table, number
from mlinstruments._core.typing import AnyArray, FloatArray

from .identification import Identification
from .inference import reported
from .mixture_search import same_optimum
from .summary import WEAK, count_words


@dataclass(frozen=True, eq=False, repr=False)
class MixtureResults(Printed):
    """Types of subjects, largest share first.

    Parameters
    ----------
    theta : array, shape (K, m)
        Coefficients of the regressors of each type: lambda (1, parameters).
    share_values : array, shape (K,)
    covariance : array, shape (K m + K, K m + K)
        Of every type's scale and parameters, then of the shares; clustered by subject.
    loglik, loglik_one : float
        Of the mixture, and of one type.
    tau : array, shape (S, K)
        Posterior probabilities of types.
    identifications : tuple of Identification
        One a type, on the choices of those who may be of it.
    optima : tuple of (float, array (K,))
        Log-likelihood and shares that every start reached, best first.
    names : tuple of str
        lambda, then the parameters.
    subject : str
        The label that tells subjects apart.
    subjects : array, shape (S,)
    nobs : float
        Choices counted.
    utility : str
        The utility in words; may be empty.

    Examples
    --------
    Two halves of a population, of which the second weighs the universalised payoff:

    >>> import numpy as np
    >>> import pandas as pd
    >>> from mlinstruments import ChoiceData, PreferenceLogit
    >>> from mlinstruments.games import default_grid
    >>> from mlinstruments.games.utility import choice_probabilities
    >>> rng, rows = np.random.default_rng(0), []
    >>> for p in default_grid():
    ...     for subject in range(40):
    ...         chances = choice_probabilities(p, np.full(p.n_nodes, 0.5), 0.15, subject % 2)
    ...         rows.append({"subject": subject, "protocol_id": p.id, "game": p.game,
    ...                      "T": p.T, "R": p.R, "P": p.P, "S": p.S,
    ...                      "strategy": p.strategies[rng.choice(len(chances), p=chances)]})
    >>> data = ChoiceData.from_frame(pd.DataFrame(rows))
    >>> fit = PreferenceLogit(("kappa",), n_types=2, beliefs="uniform", n_starts=10).fit(data)
    >>> fit.shares.round(1).tolist(), fit.n_starts_best
    ([0.5, 0.5], 10)
    """

    theta: FloatArray
    share_values: FloatArray
    covariance: FloatArray
    loglik: float
    loglik_one: float
    tau: FloatArray
    identifications: tuple[Identification, ...]
    optima: tuple[tuple[float, FloatArray], ...]
    names: tuple[str, ...]
    subject: str
    subjects: AnyArray
    nobs: float
    utility: str = ""

    # ---- estimates ----------------------------------------------------------------------------

    @property
    def n_types(self) -> int:
        """Number of types."""
        return len(self.theta)

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return len(self.subjects)

    @property
    def _index(self) -> pd.RangeIndex:
        return pd.RangeIndex(1, self.n_types + 1, name="type")

    @property
    def _printable(self) -> list[bool]:
        return [report.identified for report in self.identifications]

    @cached_property
    def params(self) -> pd.DataFrame:
        """Scale (1 / points) and parameters, one row a type; NaN where not identified."""
        nothing = np.full(len(self.names), np.nan)
        rows = [
            reported(theta) if kept else nothing
            for theta, kept in zip(self.theta, self._printable, strict=True)
        ]
        return pd.DataFrame(rows, self._index, list(self.names))

    @cached_property
    def std_errors(self) -> pd.DataFrame:
        """Standard errors by the delta method, clustered by subject; NaN where not identified."""
        variances = np.diag(self.covariance)[: self.theta.size].reshape(self.theta.shape)
        values = np.where(np.array(self._printable)[:, None], np.sqrt(variances), np.nan)
        return pd.DataFrame(values, self._index, list(self.names))

    @cached_property
    def shares(self) -> pd.Series:
        """Share of each type among subjects."""
        return pd.Series(self.share_values, self._index, name="share")

    @cached_property
    def share_std_errors(self) -> pd.Series:
        """Standard errors of the shares, clustered by subject."""
        values = np.sqrt(np.diag(self.covariance)[self.theta.size :])
        return pd.Series(values, self._index, name="std_error")

    @cached_property
    def posteriors(self) -> pd.DataFrame:
        """Probability that a subject is of each type, one row a subject."""
        return pd.DataFrame(self.tau, pd.Index(self.subjects, name=self.subject), self._index)

    # ---- how many types -----------------------------------------------------------------------

    @property
    def n_params(self) -> int:
        """Free parameters: coefficients of all types, and all shares but one."""
        return int(self.theta.size) + self.n_types - 1

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return 2 * self.n_params - 2 * self.loglik

    @property
    def bic(self) -> float:
        """Schwarz's criterion; its n is the number of subjects, the independent units."""
        return float(np.log(self.n_subjects)) * self.n_params - 2 * self.loglik

    @property
    def entropy(self) -> float:
        """Entropy of the posteriors: 0 where every subject is of one type for sure."""
        logs = np.log(np.where(self.tau > 0, self.tau, 1.0))
        return float(-(self.tau * logs).sum()) + 0.0

    @property
    def icl(self) -> float:
        """BIC + 2 entropy.

        References
        ----------
        Biernacki, Celeux and Govaert (2000), doi:10.1109/34.865189.
        """
        return self.bic + 2 * self.entropy

    @property
    def nec(self) -> float:
        """Entropy over the gain in log-likelihood on one type; 1 for one type by convention.

        References
        ----------
        Celeux and Soromenho (1996), doi:10.1007/BF01246098; Biernacki, Celeux and Govaert (1999),
        doi:10.1016/S0167-8655(98)00144-5.
        """
        if self.n_types == 1:
            return 1.0
        gain = self.loglik - self.loglik_one
        return self.entropy / gain if gain > 0 else float("inf")

    # ---- how sure the search is ---------------------------------------------------------------

    @property
    def n_starts(self) -> int:
        """Starts followed."""
        return len(self.optima)

    @property
    def n_starts_best(self) -> int:
        """Starts that reached the best log-likelihood."""
        return int(self.local_optima["starts"].iloc[0])

    @cached_property
    def local_optima(self) -> pd.DataFrame:
        """Distinct local maxima: log-likelihood, how many starts ended there, shares."""
        rows: list[dict[str, Any]] = []
        for value, shares in self.optima:
            if rows and same_optimum(rows[-1]["loglik"], value):
                rows[-1]["starts"] += 1
            else:
                named = {f"share_{k}": float(v) for k, v in enumerate(shares, start=1)}
                rows.append({"loglik": value, "starts": 1, **named})
        return pd.DataFrame(rows)

    # ---- reading ------------------------------------------------------------------------------

    @property
    def summary(self) -> Table:
        """Types in columns, standard errors below the estimates."""
        starts = f"{self.n_starts_best} of {self.n_starts} starts reached it"
        facts = (
            ("Subjects", f"{self.n_subjects} ({self.subject})"),
            ("Choices", count_words(self.nobs)),
            *([("Utility", self.utility)] if self.utility else []),
            ("Covariance", f"clustered: {self.subject} {self.n_subjects}"),
            ("Log-likelihood", f"{self.loglik:.3f}  ({starts}; one type {self.loglik_one:.3f})"),
            ("AIC, BIC", f"{self.aic:.2f}, {self.bic:.2f}"),
            ("ICL, NEC", f"{self.icl:.2f}, {number(self.nec)}  (entropy {self.entropy:.3f})"),
        )
        columns = ("", *(f"Type {k}" for k in self._index))
        K = self.n_types
        title = "Preferences from choices, one type" if K == 1 else f"Mixture of {K} types"
        return Table(title, facts, columns, tuple(self._rows()), self._notes())

    def _rows(self) -> list[tuple[str, ...]]:
        rows = _pair("share", self.shares, self.share_std_errors)
        for name in self.names:
            rows += _pair(name, self.params[name], self.std_errors[name])
        return rows

    def _notes(self) -> tuple[str, ...]:
        how = "Smaller criteria are better; NEC is 1 for one type." if self.n_types > 1 else ""
        about = (self._about(k) for k in self._index)
        return (f"Standard errors in parentheses. {how}".strip(), *filter(None, about))

    def _about(self, k: int) -> str:
        """What to know of a type before its numbers are used."""
        report = self.identifications[k - 1]
        if not report.identified:
            return f"Type {k} not identified: {report.reason}"
        error = stats.norm.ppf(0.975) * self.std_errors.loc[k, "lambda"]
        if len(self.names) > 1 and self.params.loc[k, "lambda"] <= error:
            return f"Type {k}: {WEAK}. Do not rely on its other estimates and errors."
        return ""


def _pair(name: str, values: pd.Series, errors: pd.Series) -> list[tuple[str, ...]]:
    """A row of estimates and one of standard errors in brackets."""
    below = (f"({number(e)})" if np.isfinite(e) else "" for e in errors)
    return [(name, *(number(v) for v in values)), ("", *below)]
