"""Markets with logit demand: shares, profits, equilibria of selfish and moral firms, conduct."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray
from mlinstruments.preferences.allocations import AllocationChoices

from .checks import PerFirm, per_firm, weight_of
from .choices import price_choices
from .demand import (
    joint_prices,
    moral_reply,
    moral_utility,
    settle,
)
from .outcome import Outcome
from .sales import Sales


@dataclass(frozen=True)
class Market(Sales):
    """Firms that each set a price, and consumers who buy from one of them or not at all.

    Consumers number ``scale``; the share that buys from firm i is
    exp((a_i - p_i) / mu) / (sum_j exp((a_j - p_j) / mu) + exp(a0 / mu)).

    Parameters
    ----------
    n_firms : int
    a : float or sequence of float
        Quality, one number or one a firm, in units of money.
    a0 : float
        Value of buying nothing.
    mu : float
        How far apart products are; the smaller, the more they compete.
    cost : float or sequence of float
        Of a unit, one number or one a firm.
    scale : float
        Number of consumers: quantities, profits and consumer surplus are in proportion to it.

    Raises
    ------
    InputError
        Where a parameter is no number, there are not as many as firms, or mu or scale are not
        positive.

    References
    ----------
    Calvano, Calzolari, Denicolo, Pastorello (2020), doi:10.1257/aer.20190623; Anderson, de Palma,
    Thisse (1992), "Discrete Choice Theory of Product Differentiation".

    Examples
    --------
    >>> from mlinstruments.applications.pricing import Market
    >>> market = Market(n_firms=2, cost=(1.0, 1.2))
    >>> market.demand([1.5, 1.5]).round(4)
    array([46.8311, 46.8311])
    >>> market.nash().prices.round(4)
    array([1.5317, 1.609 ])
    """

    def nash(self) -> Outcome:
        """The equilibrium of firms that maximise their own profit, which is unique.

        Returns
        -------
        Outcome

        Examples
        --------
        >>> from mlinstruments.applications.pricing import Market
        >>> Market(scale=1).nash().profits.round(7)
        array([0.2229267, 0.2229267])
        """
        return self.equilibrium(0.0)

    def monopoly(self) -> Outcome:
        """Prices that maximise the sum of profits.

        All firms have the margin mu (1 + W(sum_j exp((a_j - c_j - a0) / mu - 1))), W Lambert's
        function.

        Returns
        -------
        Outcome

        Examples
        --------
        >>> from mlinstruments.applications.pricing import Market
        >>> Market().monopoly().prices.round(6)
        array([1.924981, 1.924981])
        """
        return self.outcome(joint_prices(self._arrays), "Joint monopoly")

    def moral_utility(self, price: Any, prices: Any, firm: int, kappa: float) -> FloatArray:
        """(1 - kappa) profit + kappa profit if everybody charged the same.

        Parameters
        ----------
        price : array, shape (...)
            Prices the firm might charge.
        prices : array, shape (n,)
            The others' prices; the entry of ``firm`` plays no part.
        firm : int
        kappa : float

        Returns
        -------
        array, shape (...)
        """
        p = np.asarray(price, dtype=np.float64)
        others = self._profile(prices, one=True)
        return np.asarray(
            self.scale * moral_utility(self._arrays, p, others, self._firm(firm), weight_of(kappa))
        )

    def best_response(self, prices: Any, firm: int, kappa: float = 0.0) -> float:
        """Price that is best against the others' prices: the highest peak of the moral utility.

        Parameters
        ----------
        prices : array, shape (n,)
            The entry of ``firm`` plays no part.
        firm : int
        kappa : float
            Weight of the universalised profit, from 0 to 1; 0 maximises the own profit.

        Returns
        -------
        float

        Examples
        --------
        A moral firm does not follow a rival who undercuts it to the end:

        >>> from mlinstruments.applications.pricing import Market
        >>> [round(Market().best_response([0.0, p], 0, kappa=0.5), 3) for p in (1.9, 1.5, 1.0)]
        [1.75, 1.694, 1.877]
        """
        others, weight = self._profile(prices, one=True), weight_of(kappa)
        return moral_reply(self._arrays, others, self._firm(firm), weight)

    def equilibrium(self, kappa: PerFirm = 0.0) -> Outcome:
        """Prices where every firm's is its best reply, given its moral weight.

        Where firms are not alike, several kappas have no equilibrium in pure prices: a moral firm
        follows its rivals up to a point and then leaps back to the price it would want all to
        charge.

        Parameters
        ----------
        kappa : float or sequence of float
            From 0 to 1, one number or one a firm.

        Returns
        -------
        Outcome

        Raises
        ------
        InputError
            Where a kappa is not between 0 and 1, and where best replies go round in circles.

        References
        ----------
        Alger and Weibull (2013), doi:10.3982/ECTA10637.

        Examples
        --------
        >>> from mlinstruments.applications.pricing import Market
        >>> Market().equilibrium(0.5).prices.round(6)
        array([1.710572, 1.710572])
        >>> Market().equilibrium((0.5, 0.0)).prices.round(4)
        array([1.6928, 1.5683])
        """
        weights = np.array([weight_of(k) for k in per_firm(kappa, "kappa", self.n_firms)])
        # From the least margin a best reply can have: from above, selfish firms whose products
        # hardly differ would undercut each other by little steps for very long.
        start = self._arrays.cost + self.mu
        prices = settle(self._arrays, weights, start)
        if prices is None:
            raise InputError(
                f"kappa {weights.tolist()} has no equilibrium in pure prices here: best replies go"
                " round in circles, since a moral firm leaps between following its rivals and"
                " charging what it would want all to charge. Firms that are more alike, or"
                " products that are further apart (a larger mu), have one."
            )
        words = "Nash equilibrium" if not weights.any() else f"Equilibrium, kappa {kappa}"
        return self.outcome(prices, words)

    def conduct(self, prices: Any) -> FloatArray:
        """Weight on the others' profits that makes prices best replies to each other.

        Solves the first-order condition m_i (1 - s_i) - mu = theta sum_{j != i} m_j s_j for theta,
        m_i the margin and s_i the share. In a symmetric market this is ([1 - mu / m] / s - 1) /
        (n - 1). At equal prices of firms that are alike a moral weight, an altruistic one and
        collusion lead to the same number, so that it is called conduct.

        Parameters
        ----------
        prices : array, shape (..., n)

        Returns
        -------
        array, shape (..., n)
            0 in the Nash equilibrium, 1 at the joint monopoly; NaN where the others earn nothing.

        Raises
        ------
        InputError
            Where there is one firm.

        Examples
        --------
        >>> from mlinstruments.applications.pricing import Market
        >>> Market().conduct(Market().equilibrium(0.5).prices).round(10)
        array([0.5, 0.5])
        """
        if self.n_firms == 1:
            raise InputError("conduct needs at least two firms; there is one.")
        p = self._profile(prices)
        s, m = self.shares(p), p - self._arrays.cost
        others = (m * s).sum(axis=-1, keepdims=True) - m * s
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(others > 0, (m * (1 - s) - self.mu) / others, np.nan)

    def profit_gain(self, profits: Any) -> FloatArray:
        """Delta = (profit - Nash profit) / (monopoly profit - Nash profit).

        Parameters
        ----------
        profits : array, shape (..., n)

        Returns
        -------
        array, shape (..., n)
            NaN for a firm so costly that the joint monopoly leaves it less than competition does.

        Examples
        --------
        >>> from mlinstruments.applications.pricing import Market
        >>> market = Market()
        >>> market.profit_gain(market.equilibrium(0.5).profits).round(4)
        array([0.7343, 0.7343])
        """
        low, high = self._benchmarks
        gain = np.where(high > low, high - low, np.nan)
        return np.asarray((np.asarray(profits, dtype=np.float64) - low) / gain)

    def choices(
        self,
        prices: Any,
        known: Any,
        firm: Any = 0,
        labels: Mapping[str, Any] | None = None,
        grid: Any = None,
    ) -> AllocationChoices:
        """Prices as choices that a moral weight can be estimated from.

        Each choice is among the prices of a grid, with the profit against the others' known prices
        as own payoff and the profit if all charged the same as universalised payoff. The others'
        prices must vary for reasons that have nothing to do with the chooser, as where they are
        announced at random: only then does a moral firm differ from one that colludes or cares for
        the others' profit.

        Parameters
        ----------
        prices : array, shape (N,)
            Set once each; nothing must follow from them in later periods.
        known : array, shape (N, n)
            Prices the chooser knew; its own entry plays no part.
        firm : int or int array, shape (N,)
            Who chose.
        labels : mapping of str to array (N,), optional
            Columns to cluster by.
        grid : array, optional
            Prices that could be chosen, in ascending order; prices are taken to the nearest. By
            default 41 from the lowest to the highest of ``prices`` and the benchmarks.

        Returns
        -------
        AllocationChoices
            For ``PreferenceLogit().fit``.

        Raises
        ------
        NotIdentifiedError
            Where the others' prices do not vary, or all charge the same.
        InputError
            Where shapes differ, or a price is off the grid.

        Examples
        --------
        >>> from mlinstruments.applications.pricing import Market
        >>> market = Market()
        >>> market.choices([1.6, 1.7], [[0.0, 1.4], [0.0, 1.8]]).n_choices
        2.0
        """
        return price_choices(self, prices, known, firm, labels, grid)

    @cached_property
    def _benchmarks(self) -> tuple[FloatArray, FloatArray]:
        return self.nash().profits, self.monopoly().profits
