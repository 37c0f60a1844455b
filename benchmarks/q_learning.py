"""What do Q-learning firms charge, and what does learning many sessions at once save?

The same work, to the bit, by array operations over sessions, by compiled loops, and by plain Python
loops with tables in NumPy arrays and in lists; then prices and profit gains over learning
parameters, with standard errors over sessions.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from lib.plain_q_learning import plain_q_learning
from lib.side_by_side import OUTPUT, Ratio, save, side_by_side

from mlinstruments.applications.pricing import Market, price_grid, q_learning
from mlinstruments.applications.pricing.qengine import CHUNK, Learners, Learning, joint_actions

PRICES = 15
ALPHAS, BETAS = (0.05, 0.15, 0.25), (2e-5, 5e-5, 2e-4)


def speed(sessions: int, repeats: int) -> list[Ratio]:
    """Time both from the first period until hardly anybody explores any more."""
    market = Market()
    profits = market.profit(price_grid(market, PRICES)[joint_actions(PRICES, 2)])
    alpha, beta, delta, periods = 0.15, 2e-3, 0.95, 8 * CHUNK

    def generators() -> list[np.random.Generator]:
        return [np.random.default_rng(s) for s in np.random.SeedSequence(0).spawn(sessions)]

    def ours(compiled: bool) -> None:
        learning = Learning(alpha, beta, delta)
        learners = Learners(profits, PRICES, learning, generators(), compiled)
        while learners.period < periods:
            learners.run()

    def plain(arrays: bool) -> None:
        for generator in generators():
            plain_q_learning(
                profits, PRICES, alpha, beta, delta, generator, 10**9, periods, arrays=arrays
            )

    note = f"{sessions} sessions, {periods} periods"
    tables = (("arrays", True), ("lists", False))
    engines = (("numpy", False), ("numba", True))
    Learners(profits, PRICES, Learning(alpha, beta, delta), generators()[:1], True).run()  # compile
    return [
        side_by_side(
            f"{engine} beside a plain loop, tables in {kind}", partial(ours, compiled),
            partial(plain, arrays), repeats, at_least=50, note=note,
        )
        for (engine, compiled), (kind, arrays) in product(engines, tables)
    ]  # fmt: skip


def table(sessions: int, alphas: Any, betas: Any, stable: int) -> str:
    """Prices and gains by learning rate and decay of exploration."""
    market = Market()
    nash, joint = market.nash().prices[0], market.monopoly().prices[0]
    lines = [
        f"Nash price {nash:.4f}, monopoly price {joint:.4f}; {sessions} sessions each,"
        f" discount .95, {PRICES} prices, converged after {stable:,} periods without a change.",
        "",
        "| alpha | beta | price (se) | profit gain (se) | converged | periods | se above Nash |"
        " se below monopoly |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for alpha, beta in product(alphas, betas):
        found = q_learning(market, sessions, alpha=alpha, beta=beta, stable=stable)
        price, gain = found.prices[found.converged].mean(axis=1), found.gain[found.converged]
        errors = [values.std(ddof=1) / np.sqrt(len(values)) for values in (price, gain)]
        lines.append(
            f"| {alpha:g} | {beta:g} | {price.mean():.4f} ({errors[0]:.4f}) |"
            f" {gain.mean():.3f} ({errors[1]:.3f}) | {found.converged.mean():.2f} |"
            f" {found.periods.mean():,.0f} | {(price.mean() - nash) / errors[0]:.0f} |"
            f" {(joint - price.mean()) / errors[0]:.0f} |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main(quick: bool = False) -> None:
    """Time, then learn."""
    rows = speed(5 if quick else 1000, 1 if quick else 3)
    print(f"written: {save('q_learning', rows, quick)}")
    how = (10, (0.15,), (1e-3,), 1000) if quick else (100, ALPHAS, BETAS, 50_000)
    text = table(*how)
    path = OUTPUT / f"q_learning_prices{'_quick' if quick else ''}.md"
    path.write_text(text, encoding="utf-8")
    print(f"{text}\nwritten: {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few sessions, seconds")
    main(parser.parse_args().quick)
