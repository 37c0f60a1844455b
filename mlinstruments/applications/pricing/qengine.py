"""Many pairs (or triples, ...) of Q-learners that price against each other, advanced together.

Arrays run over firms and sessions, firm by firm: position j = firm * sessions + session. A row is
a learner's table in one state, a cell one action in it. Greedy actions and their values are kept up
to date row by row, so that a period costs a few operations on whole arrays. Every session has
random numbers of its own, and so does not depend on which others run beside it.

Glossary: alpha learning rate, beta decay of exploration, delta discount factor, m prices on the
grid, K = m ** n states (the last prices of all n firms).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mlinstruments._core.typing import BoolArray, FloatArray, IntArray

# Periods for which random numbers are drawn at once, and after which convergence is looked at.
CHUNK = 512


@dataclass(frozen=True)
class Learning:
    """How a learner learns.

    Parameters
    ----------
    alpha, beta, delta : float
    """

    alpha: float
    beta: float
    delta: float


def joint_actions(m: int, n: int) -> IntArray:
    """Action of every firm in each of the K states, (K, n)."""
    return np.stack(np.unravel_index(np.arange(m**n), (m,) * n), axis=-1)


def first_values(profits: FloatArray, m: int, delta: float) -> FloatArray:
    """Value of every action for ever if the others choose at random, (n, m); profits are (K, n)."""
    n = profits.shape[1]
    actions = joint_actions(m, n)
    mean = [[profits[actions[:, i] == a, i].mean() for a in range(m)] for i in range(n)]
    return np.array(mean) / (1 - delta)


def explored(draws: FloatArray, chance: FloatArray, m: int) -> IntArray:
    """The action a draw below its chance stands for: the draw over the chance is uniform again."""
    return np.minimum((draws / chance * m).astype(np.int64), m - 1)


@dataclass(eq=False)
class Learners:
    """Tables of all learners, advanced in place by :meth:`run`.

    Parameters
    ----------
    profits : array, shape (K, n)
        Of every state.
    m : int
    learning : Learning
    generators : list of Generator
        One a session.
    compiled : bool
        Advance by :mod:`.qcompiled`, to the same tables.
    """

    profits: FloatArray
    m: int
    learning: Learning
    generators: list[np.random.Generator]
    compiled: bool = False
    period: int = 0
    state: IntArray = field(init=False)
    last_change: IntArray = field(init=False)

    def __post_init__(self) -> None:
        k, n = self.profits.shape
        s = len(self.generators)
        first = first_values(self.profits, self.m, self.learning.delta)
        self._q = np.empty((n, s, k, self.m))
        self._q[:] = first[:, None, None, :]
        self._greedy = np.repeat(first.argmax(axis=1), s * k)
        self._value = np.repeat(first.max(axis=1), s * k)
        self.state = np.array([int(g.integers(k)) for g in self.generators])
        self.last_change = np.zeros(s, dtype=np.int64)

    @property
    def tables(self) -> FloatArray:
        """Q of every session, firm, state and action, (S, n, K, m)."""
        return self._q.swapaxes(0, 1)

    @property
    def strategies(self) -> IntArray:
        """Greedy action of every session, firm and state, (S, n, K)."""
        n, s, k, _ = self._q.shape
        return np.asarray(self._greedy.reshape(n, s, k).swapaxes(0, 1))

    def keep(self, sessions: BoolArray) -> None:
        """Drop the other sessions."""
        n, s, k, _ = self._q.shape
        # Reshaped tables must be views of this array, so that it has to stay contiguous.
        self._q = np.ascontiguousarray(np.compress(sessions, self._q, axis=1))
        self._greedy, self._value = (
            kept.reshape(n, s, k)[:, sessions].reshape(-1) for kept in (self._greedy, self._value)
        )
        self.state, self.last_change = self.state[sessions], self.last_change[sessions]
        self.generators = [g for g, kept in zip(self.generators, sessions, strict=True) if kept]

    def run(self) -> None:
        """Advance all by CHUNK periods."""
        s, n = len(self.generators), self._q.shape[0]
        draws = np.empty((s, CHUNK, n))
        for generator, own in zip(self.generators, draws, strict=True):
            generator.random(out=own)
        chance = np.exp(-self.learning.beta * np.arange(self.period, self.period + CHUNK))
        advance = self._advance_compiled if self.compiled else self._advance
        advance(draws, chance)
        self.period += CHUNK

    def _advance_compiled(self, draws: FloatArray, chance: FloatArray) -> None:
        """Session by session: one table at a time fits into the fastest cache."""
        from .qcompiled import kernel

        n, s, k, _ = self._q.shape
        kernel()(
            self._q, self._greedy.reshape(n, s, k), self._value.reshape(n, s, k), self.state,
            self.last_change, draws, chance, self.learning.alpha * self.profits,
            self.learning.alpha, self.learning.delta, self.period,
        )  # fmt: skip

    def _explorations(
        self, draws: FloatArray, chance: FloatArray
    ) -> tuple[IntArray, IntArray, list[int]]:
        """Positions and actions of those who explore, period by period, and where periods begin."""
        s, m = len(self.generators), self._q.shape[3]
        session, when, firm = np.nonzero(draws < chance[:, None])
        what = explored(draws[session, when, firm], chance[when], m)
        # Into the order of periods; few explore for most of the time, and small types sort fast.
        order = np.argsort(when.astype(np.uint16), kind="stable")
        who, what = (firm * s + session)[order], what[order]
        starts: list[int] = np.searchsorted(when[order], np.arange(CHUNK + 1)).tolist()
        return who, what, starts

    def _advance(self, draws: FloatArray, chance: FloatArray) -> None:
        """All learners at once, period by period."""
        who, what, starts = self._explorations(draws, chance)
        n, s, k, m = self._q.shape
        alpha, delta = self.learning.alpha, self.learning.delta
        q, table = self._q.reshape(-1), self._q.reshape(-1, m)
        greedy, value = self._greedy, self._value
        gains = np.ascontiguousarray(alpha * self.profits.T)
        base = (np.arange(n * s) * k).reshape(n, s)
        row = (base + self.state).reshape(-1)
        following = np.empty_like(row)
        action, cell = np.empty_like(row), np.empty_like(row)
        ahead, gain, old, new = (np.empty(n * s) for _ in range(4))
        differs = np.empty(n * s, dtype=bool)
        by_firm = action.reshape(n, s)
        joint = np.empty(s, dtype=np.int64)
        block = np.arange(n * s) * m
        # mode="wrap" lets take write to its output directly; positions are never out of range.
        for t in range(CHUNK):
            np.take(greedy, row, out=action, mode="wrap")
            explorers = who[starts[t] : starts[t + 1]]
            if len(explorers):
                tried, meant = what[starts[t] : starts[t + 1]], action[explorers]
                action[explorers] = tried
                astray = explorers[tried != meant]
            else:
                astray = explorers
            joint[:] = by_firm[0]
            for own in by_firm[1:]:
                joint *= m
                joint += own
            np.add(base, joint, out=following.reshape(n, s))
            # Q <- (1 - alpha) Q + (alpha profit + alpha delta max Q(next state))
            np.take(value, following, out=ahead, mode="wrap")
            np.take(value, row, out=old, mode="wrap")
            np.take(gains, joint, axis=1, out=gain.reshape(n, s), mode="wrap")
            np.multiply(row, m, out=cell)
            cell += action
            np.take(q, cell, out=new, mode="wrap")
            ahead *= alpha * delta
            gain += ahead
            new *= 1 - alpha
            new += gain
            q[cell] = new
            # Above the greatest value of its row: it is the new one, and so is the action.
            np.greater(new, old, out=differs)
            risen = np.flatnonzero(differs)
            value[row[risen]] = new[risen]
            turned = astray[differs[astray]]
            if len(turned):
                greedy[row[turned]] = action[turned]
                self.last_change[turned % s] = self.period + t
            # The greedy action lost value: look for the best one anew.
            np.less(new, old, out=differs)
            differs[astray] = False
            fallen = np.flatnonzero(differs)
            if len(fallen):
                rows = row[fallen]
                values = table.take(rows, axis=0, mode="wrap")
                best = values.argmax(axis=1)
                value[rows] = values.reshape(-1)[block[: len(fallen)] + best]
                moved = best != action[fallen]
                if moved.any():
                    greedy[rows[moved]] = best[moved]
                    self.last_change[fallen[moved] % s] = self.period + t
            row, following = following, row
        self.state = row[:s] - base[0]
