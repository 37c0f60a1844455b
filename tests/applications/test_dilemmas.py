"""Dilemmas: the threshold derived anew, designs, texts, answers, logs, and kappas recovered."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from mlinstruments import PreferenceLogit
from mlinstruments._core.exceptions import InputError, NotIdentifiedError
from mlinstruments.agents import AgentError, Answer, Failure, ScriptedAgent
from mlinstruments.applications.dilemmas import (
    Dilemma,
    DilemmaDesign,
    MoralRespondent,
    dilemma_query,
    elicit,
    parse_rating,
    threshold,
)
from mlinstruments.applications.dilemmas.theory import kappa_between, moral_gain

from ..tolerances import IDENTITY, MAXIMUM, ROUNDING

BUYING = DilemmaDesign.full(perspectives=("passenger",), companions=("alone",), questions=("buy",))


# ---- theory -------------------------------------------------------------------------------------


def test_printed_thresholds() -> None:
    assert threshold([2, 10]) == pytest.approx([0.75, 0.55], abs=ROUNDING)
    assert float(threshold(10**9)) == pytest.approx(0.5 + 0.5 / 10**9, abs=ROUNDING)
    assert threshold([1, 2, 5], 1) == pytest.approx([1, 0.75, 0.6], abs=ROUNDING)


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 100])
def test_threshold_by_counting_who_survives(n: int, m: int) -> None:
    """Utilities of both rules for every kappa on a grid, from a list of who lives."""
    lives = {"sacrifice": [0] * m + [1] * n, "protect": [1] * m + [0] * n}
    own = {rule: alive[0] for rule, alive in lives.items()}  # the passenger who is asked
    alike = {rule: sum(alive) / (n + m) for rule, alive in lives.items()}  # anybody, by lot
    for kappa in np.linspace(0, 1, 401):
        utility = {rule: (1 - kappa) * own[rule] + kappa * alike[rule] for rule in lives}
        gain = utility["sacrifice"] - utility["protect"]
        assert moral_gain(kappa, n, m, "buy", "observer") == pytest.approx(gain, abs=ROUNDING)
        if abs(kappa - float(threshold(n, m))) > ROUNDING:
            assert (gain > 0) == (kappa > threshold(n, m))


def test_who_one_is() -> None:
    for perspective, own in (("passenger", -1), ("pedestrian", 1), ("observer", 0)):
        for question in ("morality", "regulate"):
            assert moral_gain(0.0, 5, 1, question, perspective) == own
        assert moral_gain(0.0, 5, 1, "buy", perspective) == -1
        assert moral_gain(0.0, 5, 1, "others_buy", perspective) == 1
    assert moral_gain(1.0, 3, 1, "buy", "passenger") == pytest.approx(0.5, abs=ROUNDING)


def test_bad_numbers() -> None:
    for numbers in ((0, 1), (1, 0)):
        with pytest.raises(InputError, match="at least one"):
            threshold(*numbers)


# ---- designs ------------------------------------------------------------------------------------


def test_full_design_has_every_combination_once() -> None:
    frame = DilemmaDesign.full().frame
    assert len(frame) == len(frame.drop_duplicates()) == 5 * 3 * 3 * 4
    assert frame["scenario"].nunique() == 45


@pytest.mark.parametrize("runs", [12, 24, 36, 60, 101])
def test_fractions_are_balanced_and_seeded(runs: int) -> None:
    frame = DilemmaDesign.fraction(runs, random_state=3).frame
    assert len(frame) == len(frame.drop_duplicates()) == runs
    for name in ("pedestrians", "perspective", "companion", "question"):
        counts = frame[name].value_counts()
        assert counts.max() - counts.min() <= 1
    dummies = np.column_stack(
        [np.ones(runs)]
        + [frame[c] == v for c in frame.columns[1:] for v in sorted(frame[c].unique())[1:]]
    )
    assert np.linalg.matrix_rank(dummies) == 1 + 4 + 2 + 2 + 3
    assert frame.equals(DilemmaDesign.fraction(runs, random_state=3).frame)
    assert not frame.equals(DilemmaDesign.fraction(runs, random_state=4).frame)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DilemmaDesign.fraction(5), "runs must be a whole number of at least 12; got 5"),
        (lambda: DilemmaDesign.fraction(180), "use full"),
        (lambda: DilemmaDesign(()), "needs dilemmas"),
        (lambda: Dilemma(0, "observer", "alone", "buy"), "pedestrians must be"),
        (lambda: Dilemma(1, "driver", "alone", "buy"), "perspective must be"),
        (lambda: Dilemma(1, "observer", "dog", "buy"), "companion must be"),
        (lambda: Dilemma(1, "observer", "alone", "sell"), "question must be"),
        (lambda: dilemma_query(Dilemma(1, "observer", "alone", "buy"), 2), "order must be"),
        (lambda: MoralRespondent(1.2), "kappa must lie"),
        (lambda: MoralRespondent(0.5, 0.0), "scale must be positive"),
    ],
)
def test_bad_designs(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


# ---- texts --------------------------------------------------------------------------------------


def test_every_text_is_different_and_says_what_it_is_about() -> None:
    queries = {
        (d, order): dilemma_query(d, order)
        for d, order in product(DilemmaDesign.full().dilemmas, (0, 1))
    }
    assert len({query.hash for query in queries.values()}) == 360
    for (d, order), query in queries.items():
        text = query.user
        assert ("one pedestrian" if d.pedestrians == 1 else f"{d.pedestrians} pedestrians") in text
        assert ("1 pedestrians" in text.replace(f"{d.pedestrians} pedestrians", "")) is False
        assert ("both people in the car" in text) == (d.companion != "alone")
        assert (text.index("swerve") < text.index("keep going")) == (order == 0)
        assert "number from 0 to 100" in text
        assert dict(query.facts)["question"] == d.question


def test_text_of_one_pedestrian() -> None:
    text = dilemma_query(Dilemma(1, "pedestrian", "child", "regulate")).user
    assert "You are the pedestrian. A stranger is riding in the car with their child." in text
    assert "The pedestrian lives, and both people in the car will die." in text
    assert "The pedestrian loses their life, and both people in the car will live." in text
    assert "programmed to save the pedestrian at the cost of both people in the car?" in text


@pytest.mark.parametrize(
    ("text", "status", "rating"),
    [
        ("75", "ok", 75.0),
        ("75/100", "ok", 75.0),
        ("75 out of 100", "ok", 75.0),
        ("On a scale from 0 to 100: 75", "ok", 75.0),
        ("0-100: 75", "ok", 75.0),
        ("100", "ok", 100.0),
        ("0", "ok", 0.0),
        ("My answer is **62.5**.", "ok", 62.5),
        ("75%", "ok", 75.0),
        ("between 60 and 70", "ambiguous", None),
        ("60-70", "ambiguous", None),
        ("<think>60/100 or 70?</think>65", "ok", 65.0),
        ("0.5", "ambiguous", None),
        ("150", "parse_error", None),
        ("-5", "parse_error", None),
        ("very much", "parse_error", None),
        ("", "parse_error", None),
        ("I'm sorry, I can't rate that.", "refusal", None),
        ("As an AI, I cannot buy cars.", "refusal", None),
        (None, "refusal", None),
    ],
)
def test_ratings(text: str | None, status: str, rating: float | None) -> None:
    assert parse_rating(text) == (status, rating)


# ---- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [0.0, 0.3, 0.52, 0.58, 0.6, 0.7, 0.75, 0.9, 1.0])
def test_switching_recovers_kappa(kappa: float) -> None:
    row = elicit(MoralRespondent(kappa), BUYING, draws=2).switching.iloc[0]
    yes = [n for n in (1, 2, 5, 10, 100) if kappa >= threshold(n) - ROUNDING]
    assert row["monotone"]
    assert (row["first_yes"] if yes else None) == (min(yes) if yes else None)
    # 1 is the end of the range and in it.
    assert row["kappa_low"] - ROUNDING <= kappa
    assert kappa < row["kappa_high"] or kappa == row["kappa_high"] == 1
    fit = PreferenceLogit().fit(elicit(MoralRespondent(kappa), BUYING, draws=2).choices())
    if kappa in (0.52, 0.58, 0.7, 0.9):  # no tie: every answer is 0 or 100
        low, high = fit.identification.intervals["kappa"]
        assert (low, high) == pytest.approx((row["kappa_low"], row["kappa_high"]), abs=MAXIMUM)


@pytest.mark.parametrize(("kappa", "scale"), [(0.3, 4.0), (0.7, 2.0), (1.0, 8.0)])
def test_stated_probabilities_give_kappa_and_scale_back(kappa: float, scale: float) -> None:
    choices = elicit(MoralRespondent(kappa, scale), BUYING, draws=1).choices()
    fit = PreferenceLogit().fit(choices)
    assert fit.params["kappa"] == pytest.approx(kappa, rel=MAXIMUM)
    assert fit.params["lambda"] == pytest.approx(scale, rel=MAXIMUM)


def test_switching_of_companions_and_of_answers_that_go_back_and_forth() -> None:
    design = DilemmaDesign.full(perspectives=("passenger",), questions=("buy",))
    table = elicit(MoralRespondent(0.7), design, draws=1).switching.set_index("companion")
    assert table.loc["alone", "first_yes"] == 5
    assert table.loc["child", "first_yes"] == 5  # thresholds 1, 2/3...: (5 + 2) / 10 = .7
    assert table.loc["child", "kappa_low"] == pytest.approx(0.7, abs=ROUNDING)
    never = kappa_between(100, None)
    assert never == pytest.approx((0.0, 0.505), abs=ROUNDING)
    wild = ScriptedAgent(lambda p: "90" if dict(p.facts)["pedestrians"] in (2, 10) else "10")
    row = elicit(wild, BUYING, draws=1).switching.iloc[0]
    assert not row["monotone"]
    assert np.isnan(row["kappa_low"])


def test_gap_slope_and_cells_by_hand() -> None:
    agent = MoralRespondent(0.6, 3.0)
    answers = elicit(agent, DilemmaDesign.full(), draws=1)
    rows = answers.frame
    means = rows.groupby("question")["answer"].mean()
    assert answers.gap().params["buys"] == pytest.approx(
        means["buy"] - means["morality"], rel=IDENTITY
    )
    for question, group in rows.groupby("question"):
        slope = np.polyfit(np.log(group["pedestrians"]), group["answer"], 1)[0]
        found = answers.slopes().params[f"C(question)[{question}]:log_n"]
        assert found == pytest.approx(slope, rel=IDENTITY)
    cells = answers.cell_means(("perspective", "question"))
    assert len(cells) == 12
    by_hand = rows[(rows["perspective"] == "observer") & (rows["question"] == "buy")]["answer"]
    cell = cells.loc[("observer", "buy")]
    assert cell["mean"] == pytest.approx(by_hand.mean(), rel=ROUNDING)
    assert cell["sd"] == pytest.approx(by_hand.std(ddof=1), rel=ROUNDING)
    assert (cell["count"], cell["not_ok"]) == (len(by_hand), 0)
    by = answers.gap(by="companion")
    own = rows[rows["companion"] == "child"].groupby("question")["answer"].mean()
    assert by.params["C(companion)[child]:buys"] == pytest.approx(
        own["buy"] - own["morality"], rel=IDENTITY
    )


def test_clustered_errors_by_the_sandwich() -> None:
    answers = elicit(MoralRespondent(0.6, 3.0), DilemmaDesign.full(), draws=1)
    fit, rows = answers.regress("answer ~ log_n"), answers.ok
    x = np.column_stack([np.ones(len(rows)), rows["log_n"]])
    bread = np.linalg.inv(x.T @ x)
    residual = rows["answer"] - x @ (bread @ x.T @ rows["answer"])
    meat = np.zeros((2, 2))
    groups = rows["scenario"].unique()
    for scenario in groups:
        own = (rows["scenario"] == scenario).to_numpy()
        score = x[own].T @ residual[own]
        meat += np.outer(score, score)
    g, n = len(groups), len(rows)
    cov = g / (g - 1) * (n - 1) / (n - 2) * bread @ meat @ bread
    assert fit.std_errors.to_numpy() == pytest.approx(np.sqrt(np.diag(cov)), rel=IDENTITY)
    assert fit.n_clusters == 45


def test_order_effects_are_found_where_there_are_some() -> None:
    def shifted(prompt: Any) -> str:
        first = prompt.user.index("swerve") > prompt.user.index("keep going")
        noise = int(prompt.hash[:4], 16) % 21
        return str(40 + noise + (15 if first and dict(prompt.facts)["question"] == "buy" else 0))

    def steady(prompt: Any) -> str:
        return str(40 + int(prompt.hash[:4], 16) % 21)

    fit, test = elicit(ScriptedAgent(shifted), draws=1).order_effects()
    assert test.pvalue < 1e-6
    assert fit.params["C(question)[buy]:order"] == pytest.approx(
        15, abs=5 * fit.std_errors["C(question)[buy]:order"]
    )
    _, none = elicit(ScriptedAgent(steady), draws=1).order_effects()
    assert none.pvalue > 0.01
    assert none.df == 4
    with pytest.raises(InputError, match="both orders"):
        elicit(ScriptedAgent(steady), draws=1, orders=(0,)).order_effects()


def test_answers_that_are_no_numbers_are_counted_and_never_numbers() -> None:
    script = {1: "90", 2: "I'm sorry, I can't.", 5: "20 or 30", 10: "hm", 100: "10"}
    agent = ScriptedAgent(lambda p: script[dict(p.facts)["pedestrians"]])
    answers = elicit(agent, DilemmaDesign.full(questions=("buy", "morality")), draws=1)
    assert answers.statuses == {"ok": 72, "refusal": 36, "ambiguous": 36, "parse_error": 36}
    cells = answers.cell_means("pedestrians")
    assert cells["count"].tolist() == [36, 0, 0, 0, 36]
    assert cells["not_ok"].tolist() == [0, 36, 36, 36, 0]
    assert answers.frame.loc[
        answers.frame["status"] == "parse_error", "tries"
    ].unique().tolist() == [3]
    assert "refusal 36" in str(answers)
    silent = elicit(ScriptedAgent(lambda p: "hm"), BUYING, draws=1)
    with pytest.raises(InputError, match="gave no number: parse_error 10"):
        silent.slopes()
    assert "No answer is a number" in str(silent)


def test_no_kappa_where_there_is_none() -> None:
    praise = elicit(
        MoralRespondent(0.6), DilemmaDesign.full(questions=("morality", "regulate")), draws=1
    )
    with pytest.raises(NotIdentifiedError, match="cost the one who answers nothing"):
        praise.choices()
    one = DilemmaDesign.full((5,), ("passenger",), ("alone",), ("buy",))
    with pytest.raises(NotIdentifiedError, match="same ratio"):
        elicit(MoralRespondent(0.6), one, draws=3).choices()
    watching = elicit(MoralRespondent(0.6), DilemmaDesign.full(perspectives=("observer",)), draws=1)
    with pytest.raises(NotIdentifiedError, match="no passenger was asked"):
        watching.choices()


def test_bad_calls() -> None:
    answers = elicit(MoralRespondent(0.6), BUYING, draws=1)
    for call, words in (
        (lambda: answers.cell_means(("colour",)), "by must be among"),
        (lambda: answers.gap(), "needs answers to both"),
        (lambda: elicit(MoralRespondent(0.6), draws=0), "draws must be"),
        (lambda: elicit(MoralRespondent(0.6), orders=()), "orders must be"),
        (lambda: elicit(MoralRespondent(0.6), orders=(2,)), "orders must be"),
        (lambda: elicit(object()), "needs agents with name"),
        (lambda: answers.regress("answer ~ nothing"), "cannot be used"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    full = elicit(MoralRespondent(0.6), draws=1)
    with pytest.raises(InputError, match="by must be one of"):
        full.gap(by="colour")


# ---- logs ---------------------------------------------------------------------------------------


class Failing:
    """Fails for good after some answers."""

    name = "failing"
    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, after: int) -> None:
        self.left, self.asked = after, 0

    def answer(self, prompts: Any, seeds: Any) -> Any:
        for seed in seeds:
            self.left -= 1
            self.asked += 1
            yield Answer(str(seed % 101)) if self.left >= 0 else Failure("no server")


def test_a_log_is_gone_on_with_and_grows(tmp_path: Path) -> None:
    log = tmp_path / "answers.jsonl"
    with pytest.raises(AgentError, match="33 of 40 questions had no answer"):
        elicit(Failing(7), BUYING, draws=4, log=log)
    assert len(log.read_text().splitlines()) == 1 + 7
    with log.open("a") as file:
        file.write('{"half a li')
    agent = Failing(1000)
    resumed = elicit(agent, BUYING, draws=4, log=log)
    assert agent.asked == 33
    whole = elicit(Failing(1000), BUYING, draws=4)
    keys = ["draw", "order", "scenario"]
    tables = [a.frame.sort_values(keys, ignore_index=True) for a in (resumed, whole)]
    assert tables[0].equals(tables[1])
    more = Failing(1000)
    assert len(elicit(more, BUYING, draws=6, log=log).frame) == 60
    assert more.asked == 20
    assert len(elicit(more, BUYING, draws=1, log=log).frame) == 10


@pytest.mark.parametrize(
    ("agent", "options", "words"),
    [
        (MoralRespondent(0.5), {}, "agent"),
        (MoralRespondent(0.6, 5.0), {}, "settings"),
        (MoralRespondent(0.6), {"design": DilemmaDesign.full()}, "dilemmas"),
        (MoralRespondent(0.6), {"orders": (0,)}, "dilemmas"),
        (MoralRespondent(0.6), {"random_state": 1}, "random_state"),
        (MoralRespondent(0.6), {"retries": 1}, "retries"),
    ],
)
def test_a_log_of_another_run_is_refused(
    tmp_path: Path, agent: Any, options: dict[str, Any], words: str
) -> None:
    log = tmp_path / "answers.jsonl"
    elicit(MoralRespondent(0.6), BUYING, draws=1, log=log)
    before = log.read_bytes()
    with pytest.raises(InputError, match=f"was made with {words}"):
        elicit(agent, **{"design": BUYING, "draws": 1, **options}, log=log)
    assert log.read_bytes() == before
    assert json.loads(before.splitlines()[0])["record"] == "dilemmas"
