"""Base against tuned, with agents whose preferences are known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents import (
    AgentError,
    Failure,
    LogitAgent,
    ScriptedAgent,
    economicus,
    make_prompts,
    moralis,
    uniform,
)
from mlinstruments.agents.base import Prompt
from mlinstruments.alignment import (
    best_choice,
    compare_tuned,
    evaluate,
    make_dataset,
    plot_accuracy,
    target,
)
from mlinstruments.alignment.evaluation import Evaluation, clustered_mean, exchange_test
from mlinstruments.games import Protocol, sample_protocols
from tests.tolerances import ROUNDING

CELLS = {"training": (("plain",), ("sentences", "table")), "held out": (("terse",), ("prose",))}


def tied(protocol: Protocol) -> bool:
    return any(best_choice(protocol, y, k).tied for y in (0.0, 1.0) for k in (0.0, 0.5))


GAMES = tuple(
    p for p in sample_protocols("matrix", 24, 5) if len({p.T, p.R, p.P, p.S}) == 4 and not tied(p)
)


def compared(
    folder: Path, base: object, tuned: object, utility: str = "moralis", **more: object
) -> Evaluation:
    given = {"protocols": GAMES, "cells": CELLS} | more
    return evaluate(base, tuned, folder=folder, utility=utility, progress=False, **given)  # type: ignore[arg-type]


def test_maximisers_are_right_always_and_coins_half_the_time(tmp_path: Path) -> None:
    found = compared(tmp_path, uniform(), moralis())
    table = found.accuracy()
    assert (table.loc["moralis", "accuracy"] == 1).all()
    line = found.accuracy(()).loc["uniform"]
    # 3 templates x 2 orders x 2 actions seen x 24 games; four standard errors of a coin.
    assert line["answers"] == 3 * 2 * 2 * len(GAMES)
    assert abs(line["accuracy"] - 0.5) < 4 * 0.5 / np.sqrt(line["answers"])
    assert line["answered"] == 1


def test_kappa_and_lambda_are_told_apart(tmp_path: Path) -> None:
    own, moral = (LogitAgent(0.1, kappa=k, name=n) for k, n in ((0.0, "own"), (0.5, "moral")))
    moral_found = compared(tmp_path / "m", LogitAgent(0.02, name="base"), moral)
    own_found = compared(tmp_path / "e", LogitAgent(0.02, name="base"), own, "economicus")
    limits = moral_found.fits["moral"].conf_int(0.999)
    assert limits.loc["kappa", "lower"] < 0.5 < limits.loc["kappa", "upper"]
    assert limits.loc["lambda", "lower"] < 0.1 < limits.loc["lambda", "upper"]
    assert moral_found.tests.loc["lambda", "pvalue"] < 0.001
    apart = compare_tuned(moral_found, own_found)
    assert apart.loc["kappa", "pvalue"] < 0.001
    assert compare_tuned(moral_found, moral_found).loc["kappa", "statistic"] == pytest.approx(
        0, abs=1e-12
    )


def test_a_perfect_maximiser_gets_the_kappas_that_explain_it(tmp_path: Path) -> None:
    found = compared(tmp_path, economicus(), moralis())
    fit = found.fits["moralis"]
    assert not fit.identification.identified
    low, high = fit.identification.intervals["kappa"]  # type: ignore[index]
    assert low < 0.5 < high
    assert "no test" in found.tests.loc["kappa", "note"]
    # The two intervals have no kappa in common.
    assert found.fits["economicus"].identification.intervals["kappa"][1] < low  # type: ignore[index]
    assert "every choice is a best one for kappa in" in str(found.summary)
    assert "do not overlap" in found.tests.loc["kappa", "note"]
    same = compare_tuned(found, found).loc["kappa", "note"]
    assert f"from {low:.3g} to {high:.3g} explain both" in same


def label_a(prompt: Prompt) -> str:
    return f"Decision: {prompt.options[0]}"


def test_label_bias_shows_as_a_label_share_and_no_reaction(tmp_path: Path) -> None:
    found = compared(
        tmp_path, ScriptedAgent(label_a, name="first"), LogitAgent(0.1, 0.5, name="tuned")
    )
    line = found.accuracy(()).loc["first"]
    assert line["first_label"] == 1
    assert line["accuracy"] == 0.5  # every situation is asked in both orders
    assert line["action_rate"] == 0.5
    # Its shares are one half everywhere, so that lambda is zero but for rounding.
    assert not found.fits["first"].identification.identified
    assert "scale is not positive" in found.tests.loc["kappa", "note"]


def test_what_is_no_choice_is_not_right(tmp_path: Path) -> None:
    def silent(prompt: Prompt) -> str | None:
        return None if prompt.wording == "terse" else label_a(prompt)

    found = compared(tmp_path, ScriptedAgent(silent, name="silent"), moralis())
    table = found.accuracy(["cell"])
    assert table.loc[("silent", "held out"), "accuracy"] == 0
    assert table.loc[("silent", "held out"), "answered"] == 0
    assert table.loc[("silent", "training"), "accuracy"] == 0.5


def test_an_answer_withheld_here_and_there_is_a_refusal(tmp_path: Path) -> None:
    def some(prompt: Prompt) -> str | None:
        return None if prompt.protocol.id == GAMES[0].id else label_a(prompt)

    found = compared(tmp_path, Measuring(ScriptedAgent(some, name="a")), moralis())
    rows = found.rows[found.rows["protocol_id"] == GAMES[0].id]
    withheld = rows.loc[rows["agent"] == "a", "raw"]
    assert len(withheld) == 12
    assert all(text is None for text in withheld)
    assert (rows.loc[rows["agent"] == "a", "right"] == 0).all()
    pytest.importorskip("matplotlib")
    text = found.write(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<pre>(no text)</pre>" in text
    assert "<pre>None</pre>" not in text
    compared(tmp_path, Measuring(ScriptedAgent(some, name="a")), moralis())  # and from its log


class Measuring:
    """An agent that writes the first label with certainty in one order of labels, else with none."""

    def __init__(self, agent: ScriptedAgent) -> None:
        self.agent, self.name, self.settings = agent, agent.name, agent.settings
        self.orders: list[list[int]] = []

    def answer(self, prompts: list[Prompt], seeds: list[int]) -> object:
        return self.agent.answer(prompts, seeds)

    def decision_probabilities(self, prompts: list[Prompt], texts: list[str | None]) -> object:
        assert all(text is None or isinstance(text, str) for text in texts)
        self.orders.append(sorted(prompt.order for prompt in prompts))
        return np.array([[0.6, 0.2] if prompt.order == 0 else [0.1, 0.1] for prompt in prompts])


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_the_mass_on_labels_is_measured_in_both_orders(tmp_path: Path, n: int) -> None:
    agent = Measuring(ScriptedAgent(label_a, name="a"))
    found = compared(tmp_path, agent, moralis(), protocols=GAMES[:n])
    # Two parts, after either action; one or two templates each.
    assert [len(orders) for orders in agent.orders] == [min(4 * n, 6)] * 2 + [min(2 * n, 6)] * 2
    assert all(sum(orders) == len(orders) / 2 for orders in agent.orders)
    assert found.accuracy(())["mass"]["a"] == pytest.approx((0.8 + 0.2) / 2, rel=ROUNDING)


def test_one_protocol_has_no_clusters(tmp_path: Path) -> None:
    found = compared(tmp_path, LogitAgent(0.02, name="base"), moralis(), protocols=GAMES[:1])
    assert found.fits["base"].cluster_names == ()
    assert np.isnan(found.accuracy(()).loc["base", "std_error"])

    def one(prompt: Prompt) -> str | None:
        return label_a(prompt) if prompt.protocol.id == GAMES[0].id else None

    found = compared(tmp_path, ScriptedAgent(one, name="one"), moralis())
    assert found.fits["one"].cluster_names == ()
    assert found.fits["moralis"].cluster_names == ("protocol",)


def test_incentives_are_clustered_by_protocol_whatever_was_seen(tmp_path: Path) -> None:
    found = compared(tmp_path, LogitAgent(0.02, name="base"), moralis())
    fit = found.fits["base"]
    assert fit is not None
    assert fit.incentive_sensitivity().n_protocols == len(GAMES) == fit.clusters[0].max() + 1
    assert f"clustered by {len(GAMES)} protocols." in str(fit.incentive_sensitivity())


def test_a_log_without_any_answer_is_an_error(tmp_path: Path) -> None:
    class Down:
        name, settings = "down", {}

        def answer(self, prompts: list[Prompt], seeds: list[int]) -> list[Failure]:
            return [Failure("no server")] * len(prompts)

    cells = {"plain": (("plain",), ("table",))}
    with (
        pytest.warns(UserWarning, match="had no answer"),
        pytest.raises(AgentError, match=r"none of the 2 questions of .* was answered"),
    ):
        compared(tmp_path, Down(), moralis(), protocols=GAMES[:1], cells=cells)


def test_reasons_are_right_only_where_every_number_is(tmp_path: Path) -> None:
    def misread(prompt: Prompt) -> str:
        """A payoff copied wrong and never used: the decision is right by luck."""
        return target(prompt, 0.5).replace("My payoffs: A A ", "My payoffs: A A 1")

    right = ScriptedAgent(lambda prompt: target(prompt, 0.5), name="right")
    found = compared(tmp_path / "1", ScriptedAgent(misread, name="misread"), right)
    table = found.accuracy(())
    assert (table["accuracy"] == 1).all()
    assert table["reasons"].to_dict() == {"right": 1, "misread": 0}
    rows = [line.split() for line in str(found.summary).splitlines() if line.startswith("right ")]
    assert {tuple(row[-5:-2]) for row in rows} == {("1.000", "0.000", "1.000")}
    bare = compared(tmp_path / "2", ScriptedAgent(label_a, name="first"), right, base_reply="label")
    assert np.isnan(bare.accuracy(()).loc["first", "reasons"])
    unasked = compared(tmp_path / "3", ScriptedAgent(label_a, name="first"), right)
    assert unasked.accuracy(()).loc["first", "reasons"] == 0


def test_an_agent_that_never_chooses_has_no_preferences(tmp_path: Path) -> None:
    found = compared(tmp_path, ScriptedAgent(lambda _: "I cannot say.", name="silent"), moralis())
    assert found.fits["silent"] is None
    assert found.accuracy(()).loc["silent", "answered"] == 0
    assert "silent: no answer is a choice." in str(found.summary)
    assert "no answer is a choice" in found.tests.loc["lambda", "note"]
    assert "No answer is a choice." in found.write(tmp_path / "r.html").read_text()


def test_right_is_what_brute_force_says(tmp_path: Path) -> None:
    protocols = [p for game in ("spd", "tg", "ug") for p in sample_protocols(game, 4, 1)]
    found = compared(
        tmp_path, uniform(), economicus(), "economicus", protocols=protocols, belief=0.5
    )
    by_id = {p.id: p for p in protocols}
    for line in found.rows.to_dict("records"):
        best = best_choice(by_id[line["protocol_id"]], 0.5, 0.0).choice(line["node"])
        if best is None:
            assert np.isnan(line["right"])
        else:
            assert line["right"] == (int(best) == line["action"])
    assert found.accuracy(()).loc["economicus", "accuracy"] == 1
    assert set(found.rows["kind"]) == {"spd", "tg", "ug"}


def test_ties_are_left_out_of_accuracy(tmp_path: Path) -> None:
    # Against C both actions pay 50; against D the second one pays more.
    tie = Protocol("matrix", 50, 50, 40, 10, id="tie")
    found = compared(tmp_path, ScriptedAgent({"matrix": "1"}, name="first"), economicus(), "economicus",
                     protocols=[tie, *GAMES[:2]], cells={"plain": (("plain",), ("table",))})  # fmt: skip
    rows = found.rows[(found.rows["protocol_id"] == "tie") & (found.rows["agent"] == "economicus")]
    assert rows["right"].isna().sum() == 2
    assert rows["right"].sum() == 2


def test_the_clustered_error_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 9, 200)
    values = (rng.random(200) < 0.3 + 0.05 * cluster).astype(float)
    fit = sm.OLS(values, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    mean, error = clustered_mean(values, cluster)
    assert mean == pytest.approx(fit.params[0], rel=ROUNDING)
    assert error == pytest.approx(fit.bse[0], rel=ROUNDING)
    assert np.isnan(clustered_mean(values, np.zeros(200))[1])


def test_a_second_call_asks_nothing_again(tmp_path: Path) -> None:
    asked = []

    def script(prompt: Prompt) -> str:
        asked.append(prompt.id)
        return label_a(prompt)

    first = compared(tmp_path, ScriptedAgent(script, name="first"), moralis())
    n = len(asked)
    again = compared(tmp_path, ScriptedAgent(script, name="first"), moralis())
    assert len(asked) == n > 0
    pd.testing.assert_frame_equal(first.rows, again.rows)


def test_prompts_that_were_trained_on_are_refused(tmp_path: Path) -> None:
    data = make_dataset("economicus", 8, tmp_path / "data", n_valid=2)
    seen = data.train[0].prompt
    cells = {"same": ((seen.wording,), (seen.rendering,))}
    same = {"protocols": [seen.protocol], "labels": [seen.labels], "cells": cells}
    with pytest.raises(InputError, match=r"stands in .*train\.jsonl"):
        compared(tmp_path / "e", uniform(), moralis(), trained_on=tmp_path / "data", **same)
    other = Protocol("matrix", 61, 62, 63, 65, id="new")
    compared(
        tmp_path / "e",
        uniform(),
        moralis(),
        trained_on=tmp_path / "data",
        **same | {"protocols": [other, *GAMES]},
    )
    assert len(make_prompts([other], wordings=[seen.wording], renderings=["table"])) == 2


def test_validation_prompts_and_protocols_in_other_words_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "data"
    data = make_dataset("economicus", 8, place, n_valid=2)
    for example, file in ((data.valid[0], "valid"), (data.train[0], "train")):
        prompt = example.prompt
        same = {"protocols": [prompt.protocol, *GAMES], "labels": [prompt.labels]}
        cells = {"same": ((prompt.wording,), (prompt.rendering,))}
        with pytest.raises(InputError, match=rf"stands in .*{file}\.jsonl"):
            compared(tmp_path / "e", uniform(), moralis(), trained_on=place, cells=cells, **same)
        p = prompt.protocol
        copy = Protocol("matrix", 2 * p.T + 1, 2 * p.R + 1, 2 * p.P + 1, 2 * p.S + 1, id="copy")
        with pytest.raises(InputError, match="'copy', or an affine copy, is in the data set"):
            compared(
                tmp_path / "e", uniform(), moralis(), trained_on=place, protocols=[copy, *GAMES]
            )
    assert not (tmp_path / "e").exists()
    # Manifests of older versions do not say which protocols there are.
    (place / "manifest.json").write_text("{}")
    compared(tmp_path / "e", uniform(), moralis(), trained_on=place, protocols=[copy, *GAMES])
    (place / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="is no manifest"):
        compared(tmp_path / "e", uniform(), moralis(), trained_on=place)


class Silent:
    """An agent that cannot answer."""

    name, settings = "silent", {}


FLAT = Protocol("matrix", 40, 40, 40, 40, id="flat")
PLAIN = (("plain",), ("table",))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"base": moralis()}, "both agents are called 'moralis'"),
        ({"protocols": sample_protocols("tg", 2)}, "give belief="),
        ({"protocols": []}, "no protocols"),
        ({"protocols": [*GAMES, FLAT]}, "'flat': all payoffs are equal"),
        ({"protocols": [GAMES[0], GAMES[0]]}, "an id of its own"),
        ({"cells": CELLS | {"later": (("poem",), ("table",))}}, "poem"),
        ({"cells": {}}, "cells must be a mapping"),
        ({"cells": {"plain": ("plain", "table")}}, "cells must be a mapping"),
        ({"cells": {"plain": (("plain",), ("table",), ("letters",))}}, "cells must be a mapping"),
        ({"cells": {"plain": (("plain",), ())}}, "cells must be a mapping"),
        ({"cells": {"plain": (("plain",), 3)}}, "cells must be a mapping"),
        ({"cells": {"a b": PLAIN, "a_b": PLAIN}}, "cells 'a b' and 'a_b' would share the log"),
        ({"base": LogitAgent(0.1, name="moralis!")}, "agents 'moralis!' and 'moralis' would share"),
        ({"labels": ()}, "labels must be a list"),
        ({"reply": "verse"}, "reply must be one of"),
        ({"base_reply": ""}, "reply must be one of"),
        ({"belief": "elicited"}, "belief must be a probability"),
        ({"belief": 1.5}, "belief must be one probability"),
        ({"tuned": Silent()}, "tuned must be an agent with name, settings and answer"),
        ({"base": None}, "base must be an agent"),
    ],
)
def test_bad_input_is_refused_before_anything_is_asked(
    tmp_path: Path, given: dict[str, object], words: str
) -> None:
    asked = {"base": uniform(), "tuned": moralis()} | given
    with pytest.raises(InputError, match=words):
        compared(tmp_path, asked.pop("base"), asked.pop("tuned"), **asked)
    assert not list(tmp_path.glob("*.jsonl"))


def test_the_report_is_one_file(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = compared(tmp_path / "logs", uniform(), LogitAgent(0.1, kappa=0.5, name="<tuned>"))
    text = found.write(tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("<img") == text.count("src='data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=['\"](?!data:)", text)
    assert "&lt;tuned&gt;" in text
    assert "<tuned>" not in text
    table = found.accuracy(())
    assert f"accuracy {table.loc['uniform', 'accuracy']:.3f}" in text


def test_accuracy_is_split_by_any_column_and_loses_no_answers(tmp_path: Path) -> None:
    protocols = sample_protocols("ug", 6, 1)
    found = compared(
        tmp_path, uniform(), economicus(), "economicus", protocols=protocols, belief=0.5
    )
    assert found.rows["seen"].isna().all()
    table = found.accuracy(["seen"])
    assert table["answers"].tolist() == [len(found.rows) / 2] * 2
    assert set(table["accuracy"]) == set(found.accuracy(())["accuracy"])
    pd.testing.assert_frame_equal(found.accuracy("cell"), found.accuracy(["cell"]))
    for by in ("cel", ["cell", "x"], ["agent"], ["cell", "cell"]):
        with pytest.raises(
            InputError, match=r"by must be columns of rows.* There are .*cell, seen"
        ):
            found.accuracy(by)


def test_intervals_of_few_protocols_are_those_of_students_t(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = compared(tmp_path, uniform(), moralis())
    table = found.accuracy().loc["uniform"]
    ax = plot_accuracy(found)
    ends = ax.containers[0].lines[2][0].get_segments()
    assert len(ends) == len(table)
    for (left, right), (_, line) in zip(ends, table.iterrows(), strict=True):
        mean, reach = (
            line["accuracy"],
            line["std_error"] * stats.t.ppf(0.975, line["protocols"] - 1),
        )
        if line["protocols"] > 1:
            assert left[0] == pytest.approx(max(mean - reach, 0), abs=ROUNDING)
            assert right[0] == pytest.approx(min(mean + reach, 1), abs=ROUNDING)


def test_protocols_without_a_best_choice_are_no_clusters(tmp_path: Path) -> None:
    # Both actions pay the same against either.
    tie = Protocol("matrix", 50, 50, 20, 20, id="tie")
    found = compared(tmp_path, uniform(), economicus(), "economicus", protocols=[tie, *GAMES[:5]])
    assert found.accuracy(())["protocols"].tolist() == [5, 5]


def test_a_report_needs_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = compared(tmp_path / "logs", uniform(), moralis(), protocols=GAMES[:2])
    monkeypatch.setattr("mlinstruments.alignment.report.html_report", None)  # nothing is drawn
    with pytest.raises(InputError, match=r"there is no folder .*absent to write r\.html to"):
        found.write(tmp_path / "absent" / "r.html")


def answered(actions: np.ndarray) -> pd.DataFrame:
    """Rows of an agent: a line of choices for each protocol."""
    protocols = np.repeat(np.arange(len(actions)), actions.shape[1])
    return pd.DataFrame({"protocol_id": protocols, "universal": actions.ravel().astype(float)})


def test_exchange_test_by_hand() -> None:
    one = answered(np.array([[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 0, 0]]))
    other = answered(np.array([[0, 0, 0, 0], [1, 0, 0, 1], [1, 1, 0, 0]]))
    # Gaps 1, 1/4, -1/4: |sum| of the eight signs is 1, 1.5, .5, 1 and the same again.
    assert exchange_test(one, other) == (pytest.approx(1 / 3), 0.75)
    assert exchange_test(other, one) == (pytest.approx(-1 / 3), 0.75)
    assert exchange_test(one, one)[1] == 1
    # Answers that are no choice say nothing, and protocols that one did not answer are left out.
    silent = answered(np.full((3, 4), np.nan))
    assert exchange_test(one, pd.concat([other, silent])) == exchange_test(one, other)
    assert exchange_test(one, other[other["protocol_id"] == 0]) == (1.0, 1.0)
    assert np.isnan(exchange_test(one, silent)).all()


def test_exchange_test_has_its_size_where_answers_hang_together(tmp_path: Path) -> None:
    """Eight answers about each of 12 protocols are one draw: not independent at all."""
    rng, rejected = np.random.default_rng(3), 0
    draws = 400
    for _ in range(draws):
        one, other = (np.repeat(rng.integers(0, 2, (12, 1)), 8, 1) for _ in "12")
        rejected += exchange_test(answered(one), answered(other))[1] <= 0.05
    # At most the nominal share, but for four standard errors of 400 draws; and not never.
    assert 0 < rejected <= draws * 0.05 + 4 * np.sqrt(draws * 0.05 * 0.95)


def test_exchange_test_of_many_protocols_draws_ways() -> None:
    rng = np.random.default_rng(4)
    one, other = (answered((rng.random((20, 4)) < p).astype(int)) for p in (0.5, 0.6))
    statistic, pvalue = exchange_test(one, other)
    shares = [rows.groupby("protocol_id")["universal"].mean().to_numpy() for rows in (one, other)]
    gap = shares[0] - shares[1]
    signs = 2 * ((np.arange(2**20)[:, None] >> np.arange(20)) & 1) - 1
    exact = (np.abs(signs @ gap) >= abs(gap.sum()) * (1 - 1e-9)).mean()
    assert statistic == pytest.approx(gap.mean())
    # Four standard errors of a share among 9,999 ways.
    assert abs(pvalue - exact) < 4 * np.sqrt(exact * (1 - exact) / 9999)
    assert exchange_test(one, other) == (statistic, pvalue)


def test_models_that_never_err_are_told_apart(tmp_path: Path) -> None:
    own = compared(tmp_path / "e", uniform(), economicus(), "economicus")
    moral = compared(tmp_path / "m", uniform(), moralis())
    apart = compare_tuned(own, moral)
    assert "do not overlap" in apart.loc["kappa", "note"]
    # They differ in one direction only, so that of the ways to change over the games in which they
    # differ two are as extreme.
    differ = [
        any(
            best_choice(game, y, 0.0).choice(0) != best_choice(game, y, 0.5).choice(0)
            for y in (0.0, 1.0)
        )
        for game in GAMES
    ]
    assert apart.loc["choices", "pvalue"] == pytest.approx(2 / 2 ** sum(differ))
    assert apart.loc["choices", "statistic"] < 0
    assert "with agents changed over in whole protocols" in str(moral.summary)
