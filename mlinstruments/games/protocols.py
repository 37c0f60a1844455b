"""Protocols: a game with its payoffs, as a subject sees it, and grids of them.

Payoffs are named after the prisoner's dilemma: T temptation, R reward, P punishment, S sucker.
Nature gives each role with probability one half and a subject states a choice at every node of
both roles (strategy method).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from mlinstruments._core.arrays import check_choice
from mlinstruments._core.exceptions import InputError
from mlinstruments._core.typing import FloatArray


@dataclass(frozen=True)
class Game:
    """Rules of a game.

    Parameters
    ----------
    name : str
    nodes : tuple of str
        What each entry of a strategy is the probability of.
    order : str
        Payoffs in the order they must descend, such as ``"TRPS"``; empty for any.
    """

    name: str
    nodes: tuple[str, ...]
    order: str

    @cached_property
    def strategies(self) -> tuple[str, ...]:
        """Pure strategies as digits, one a node: ``"00"``, ``"01"``, ..."""
        return tuple("".join(bits) for bits in product("01", repeat=len(self.nodes)))


GAMES = {
    game.name: game
    for game in (
        Game("spd", ("cooperate first", "cooperate after C", "cooperate after D"), "TRPS"),
        Game("tg", ("trust", "reciprocate"), "TRPS"),
        Game("ug", ("propose equal split", "accept unequal split"), "TRSP"),
        Game("dictator", ("give equal split",), "TRS"),
        Game("public_goods", ("contribute",), "TRPS"),
        Game("matrix", ("first action",), ""),
    )
}


@dataclass(frozen=True)
class Protocol:
    """A game with payoffs.

    Parameters
    ----------
    game : {"spd", "tg", "ug", "dictator", "public_goods", "matrix"}
        Sequential prisoner's dilemma, trust game, mini-ultimatum game, dictator game, two-player
        public good, or a symmetric 2x2 game with any payoffs.
    T, R, P, S : float
        Payoffs, in points. ``P`` is not used by ``dictator``. A dictator keeps T and leaves S, or
        splits R each; in ``matrix`` both playing the first action earn R, both the second P, and a
        second action against a first one T against S.
    id : str
        Name of the protocol in logs.

    Raises
    ------
    InputError
        Where the game is unknown or payoffs break its order.

    Examples
    --------
    >>> from mlinstruments.games import Protocol
    >>> Protocol("tg", 80, 50, 30, 20, id="tg_1").strategies
    ('00', '01', '10', '11')
    """

    game: str
    T: float
    R: float
    P: float
    S: float
    id: str = ""

    def __post_init__(self) -> None:
        check_choice(self.game, "game", tuple(GAMES))
        if not np.isfinite([self.T, self.R, self.P, self.S]).all():
            raise InputError(f"protocol {self.id!r}: payoffs must be finite numbers.")
        order = self.rules.order
        values = [getattr(self, name) for name in order]
        if any(a <= b for a, b in pairwise(values)):
            shown = ", ".join(f"{n}={v:g}" for n, v in zip(order, values, strict=True))
            raise InputError(
                f"protocol {self.id!r}: payoffs of {self.game} must satisfy {' > '.join(order)};"
                f" got {shown}."
            )
        if self.game == "public_goods" and not np.isclose(self.T - self.R, self.P - self.S):
            raise InputError(
                f"protocol {self.id!r}: in a linear public good contributing costs the same"
                f" whatever the other does, T - R = P - S; got {self.T - self.R:g} and"
                f" {self.P - self.S:g}. Use game='matrix' for other payoffs."
            )

    @property
    def rules(self) -> Game:
        """The game's rules."""
        return GAMES[self.game]

    @property
    def strategies(self) -> tuple[str, ...]:
        """Pure strategies, in the order of every array about this protocol."""
        return self.rules.strategies

    @property
    def n_nodes(self) -> int:
        """Choices a subject makes."""
        return len(self.rules.nodes)

    def pure(self) -> FloatArray:
        """Pure strategies as numbers, shape (strategies, nodes).

        Examples
        --------
        >>> from mlinstruments.games import Protocol
        >>> Protocol("dictator", 90, 50, 0, 10).pure()
        array([[0.],
               [1.]])
        """
        return np.array([[float(bit) for bit in s] for s in self.strategies])


def protocols_from_rows(rows: Iterable[dict[str, Any]], source: str) -> tuple[Protocol, ...]:
    """Build protocols from mappings with keys protocol_id, game, T, R, P, S.

    Parameters
    ----------
    rows : iterable of mappings
    source : str
        Where the rows come from, for errors.
    """
    made = []
    for number, row in enumerate(rows, start=2):  # row 1 of a file is its header
        try:
            T, R, P, S = (float(row[name]) for name in ("T", "R", "P", "S"))
            made.append(Protocol(row["game"], T, R, P, S, id=str(row["protocol_id"])))
        except KeyError as missing:
            raise InputError(
                f"{source}, line {number}: no column {missing}; a grid has protocol_id, game, T, R,"
                " P, S."
            ) from None
        except (TypeError, ValueError) as error:
            raise InputError(f"{source}, line {number}: {error}") from None
    ids = [protocol.id for protocol in made]
    doubled = next((name for name in ids if ids.count(name) > 1), None)
    if doubled is not None:
        raise InputError(f"{source}: protocol_id {doubled!r} stands on two lines.")
    return tuple(made)


def read_grid(path: str | Path) -> tuple[Protocol, ...]:
    """Read protocols from a CSV file with columns protocol_id, game, T, R, P, S.

    Parameters
    ----------
    path : str or Path
        Payoffs in points.

    Returns
    -------
    tuple of Protocol
        In the order of the lines.

    Raises
    ------
    InputError
        Naming file and line: a missing column, payoffs that break the game's order, an id that
        stands on two lines.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from mlinstruments.games import read_grid
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "grid.csv"
    >>> _ = path.write_text("protocol_id,game,T,R,P,S\\na,tg,80,50,30,20\\n")
    >>> read_grid(path)
    (Protocol(game='tg', T=80.0, R=50.0, P=30.0, S=20.0, id='a'),)
    """
    with open(path, newline="", encoding="utf-8") as file:
        return protocols_from_rows(csv.DictReader(file), str(path))


def default_grid() -> tuple[Protocol, ...]:
    """Eighteen illustrative protocols, six of each sequential game; no published table.

    Returns
    -------
    tuple of Protocol
        Payoffs between 10 and 90 points.

    Examples
    --------
    >>> from mlinstruments.games import default_grid
    >>> len(default_grid()), default_grid()[0].id
    (18, 'spd_1')
    """
    source = resources.files(__package__) / "grids" / "illustrative.csv"
    rows = csv.DictReader(source.read_text(encoding="utf-8").splitlines())
    return protocols_from_rows(rows, "illustrative.csv")


def sample_protocols(
    game: str, n: int, random_state: Any = 0, low: int = 10, high: int = 90, step: int = 5
) -> tuple[Protocol, ...]:
    """Draw protocols of a game from an integer payoff grid, respecting the game's order.

    Parameters
    ----------
    game : str
        One of :data:`GAMES`.
    n : int
        How many, all different.
    random_state : int or Generator
    low, high, step : int
        The grid, in points: ``low``, ``low + step``, ... up to ``high``.

    Returns
    -------
    tuple of Protocol
        Named after game and payoffs.

    Raises
    ------
    InputError
        Where the grid does not hold ``n`` different protocols.

    Examples
    --------
    >>> from mlinstruments.games import sample_protocols
    >>> [p.T > p.R > p.P > p.S for p in sample_protocols("tg", 2)]
    [True, True]
    """
    check_choice(game, "game", tuple(GAMES))
    rng = np.random.default_rng(random_state)
    values = np.arange(low, high + 1, step)
    seen: dict[tuple[int, ...], Protocol] = {}
    for _ in range(1000 * n):
        drawn = _ordered_draw(game, rng.choice(values, size=4))
        if drawn is not None and drawn not in seen:
            T, R, P, S = drawn
            seen[drawn] = Protocol(game, T, R, P, S, id=f"{game}_{T}_{R}_{P}_{S}")
        if len(seen) == n:
            return tuple(seen.values())
    raise InputError(
        f"only {len(seen)} different {game} protocols were found between {low} and {high} in steps"
        f" of {step}; widen the grid or ask for fewer."
    )


def _ordered_draw(game: str, values: Any) -> tuple[int, ...] | None:
    """Payoffs T, R, P, S from four draws, or None where the game cannot be made of them."""
    if game == "matrix":
        return tuple(int(v) for v in values)
    high, second, third, least = sorted((int(v) for v in values), reverse=True)
    if len({high, second, third, least}) < 4:
        return None
    if game == "public_goods":
        least = third - (high - second)
        return (high, second, third, least) if least >= 0 else None
    if game in ("ug", "dictator"):
        return high, second, least, third
    return high, second, third, least
