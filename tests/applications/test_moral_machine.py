"""Files of the Moral Machine: made up here by the codebook, with effects that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments.applications.dilemmas import marginal_effects, read_moral_machine

from ..tolerances import IDENTITY, ROUNDING

LEVELS = {
    "Gender": ("Male", "Female"), "Age": ("Old", "Young"), "Fitness": ("Fat", "Fit"),
    "Social Value": ("Low", "High"), "Utilitarian": ("Less", "More"), "Species": ("Pets", "Hoomans"),
    "Random": ("Rand", "Rand"),
}  # fmt: skip


def made_up(scenarios: int, seed: int = 0, chance: Any = None) -> pd.DataFrame:
    """Outcomes of scenarios; ``chance(first, second)`` is the probability that the first is saved."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(scenarios):
        kind = rng.choice(list(LEVELS))
        pedped = int(rng.random() < 0.45)
        light = int(rng.choice(3, p=(0.4, 0.3, 0.3)))
        barrier = 0 if pedped else int(rng.integers(2)) + 1  # which outcome hits the wall
        # A wall stands more often where the car would swerve.
        first_swerves = int(rng.random() < (0.5 if pedped else (0.3 if barrier == 1 else 0.7)))
        order = rng.permutation(2)
        pair = []
        for side in (0, 1):
            wall = int(barrier == side + 1)
            other = {0: 0, 1: 2, 2: 1}[light] if pedped else light
            pair.append(
                {
                    "ResponseID": f"r{k}",
                    "UserID": float(k // 6),
                    "Intervention": first_swerves if side == 0 else 1 - first_swerves,
                    "PedPed": pedped,
                    "Barrier": wall,
                    "CrossingSignal": 0 if wall else (light if side == 0 else other),
                    "AttributeLevel": LEVELS[kind][order[side]],
                    "ScenarioTypeStrict": kind,
                    "ScenarioType": kind,
                    "Criminal": int(kind == "Social Value" and rng.random() < 0.1),
                    "UserCountry3": "XXX",
                }
            )
        p = 0.5 if chance is None else chance(*pair)
        saved = int(rng.random() < p)
        rows += [{**pair[0], "Saved": saved}, {**pair[1], "Saved": 1 - saved}]
    return pd.DataFrame(rows)


def spare(first: dict[str, Any], second: dict[str, Any]) -> float:
    """Young over old by .3 either way, humans over pets by .4, inaction by .1."""
    p = 0.5
    for good, weight in (("Young", 0.3), ("Hoomans", 0.4)):
        p += weight * (first["AttributeLevel"] == good) - weight * (
            second["AttributeLevel"] == good
        )
    return float(np.clip(p + 0.1 * (first["Intervention"] - second["Intervention"]), 0, 1))


def test_known_effects_are_recovered() -> None:
    table = marginal_effects(made_up(12_000, chance=spare)).table
    truth = {"age": 0.6, "species": 0.8, "intervention": 0.2, "gender": 0.0, "fitness": 0.0,
             "number": 0.0, "law": 0.0, "relation": 0.0}  # fmt: skip
    for name, effect in truth.items():
        row = table.loc[name]
        # Clipped probabilities take a little from what is near 1: humans and inaction, .5 + .4 + .1.
        assert row["effect"] == pytest.approx(effect, abs=4 * row["std_error"]), name
    assert table.loc["age", ["from", "to"]].tolist() == ["old", "young"]
    assert table.loc["species", ["from", "to"]].tolist() == ["pets", "humans"]
    assert len(table) == 9


def test_confounded_structure_is_balanced() -> None:
    """Without the weights, a preference for passengers would look like one for action."""

    def for_passengers(first: dict[str, Any], second: dict[str, Any]) -> float:
        return 0.5 + 0.4 * (first["Barrier"] - second["Barrier"])

    data = made_up(8_000, chance=for_passengers)
    table = marginal_effects(data).table
    naive = data.groupby("Intervention")["Saved"].mean().diff().iloc[1]
    assert abs(naive) > 0.1
    row = table.loc["intervention"]
    assert abs(row["effect"]) < 4 * row["std_error"]
    assert table.loc["relation", "effect"] == pytest.approx(
        -0.8, abs=4 * table.loc["relation", "std_error"]
    )


def test_structure_by_loops_over_strata() -> None:
    data = made_up(900, seed=1, chance=spare)
    strata = ["PedPed", "Barrier", "CrossingSignal"]
    total, size = 0.0, 0
    for _, group in data.groupby(strata):
        if group["Intervention"].nunique() == 2:
            means = group.groupby("Intervention")["Saved"].mean()
            total += (means[1] - means[0]) * len(group)
            size += len(group)
    found = marginal_effects(data).table.loc["intervention"]
    assert found["effect"] == pytest.approx(total / size, abs=IDENTITY)
    assert found["outcomes"] == size


def test_characters_are_differences_of_means_clustered_by_respondent() -> None:
    data = made_up(900, seed=2, chance=spare)
    own = data[(data["ScenarioType"] == "Age") & data["AttributeLevel"].isin(["Old", "Young"])]
    means = own.groupby("AttributeLevel")["Saved"].mean()
    found = marginal_effects(data).table.loc["age"]
    assert found["effect"] == pytest.approx(means["Young"] - means["Old"], abs=IDENTITY)
    x = np.column_stack([np.ones(len(own)), own["AttributeLevel"] == "Young"]).astype(float)
    y = own["Saved"].to_numpy(dtype=float)
    bread = np.linalg.inv(x.T @ x)
    residual = y - x @ bread @ x.T @ y
    scores = pd.DataFrame(x * residual[:, None]).groupby(own["UserID"].to_numpy()).sum().to_numpy()
    g, n = len(scores), len(own)
    cov = g / (g - 1) * (n - 1) / (n - 2) * bread @ scores.T @ scores @ bread
    assert found["std_error"] == pytest.approx(np.sqrt(cov[1, 1]), rel=IDENTITY)
    assert found["respondents"] == g


def test_scenarios_with_other_characters_are_left_out_of_status() -> None:
    data = made_up(900, seed=3)
    marked = data.groupby("ResponseID")["Criminal"].transform("max") > 0
    own = (data["ScenarioType"] == "Social Value") & ~marked
    assert marked.any()
    assert marginal_effects(data).table.loc["social status", "outcomes"] == own.sum()
    without = marginal_effects(data.drop(columns="Criminal")).table
    assert (
        without.loc["social status", "outcomes"] == (data["ScenarioType"] == "Social Value").sum()
    )


def test_scenarios_without_a_strict_type_count_for_structure_alone() -> None:
    data = made_up(900, seed=4)
    early = data["ResponseID"].isin([f"r{k}" for k in range(0, 900, 3)])
    blank = data.assign(ScenarioTypeStrict=data["ScenarioTypeStrict"].where(~early))
    some, whole = marginal_effects(blank).table, marginal_effects(data).table
    assert some.loc["law"].equals(whole.loc["law"])
    assert some.loc["age", "outcomes"] == (data["ScenarioType"].eq("Age") & ~early).sum()


def test_files_compressed_or_not_and_other_frames(tmp_path: Path) -> None:
    data = made_up(60)
    for name in ("outcomes.csv", "outcomes.csv.gz"):
        data.to_csv(tmp_path / name, index=False)
        found = read_moral_machine(tmp_path / name)
        assert len(found) == 120
        assert "UserCountry3" not in found
    assert len(read_moral_machine(tmp_path / "outcomes.csv", max_rows=20)) == 20
    polars = pytest.importorskip("polars")
    assert len(read_moral_machine(polars.from_pandas(data))) == 120


def test_incomplete_rows_are_dropped_and_counted() -> None:
    data = made_up(60)
    data.loc[0, "UserID"] = np.nan  # and so its other outcome
    data = data.drop(index=5)  # and so row 4
    with pytest.warns(MissingRowsWarning, match="3 of 119 rows dropped: 1 lack a value"):
        assert len(read_moral_machine(data)) == 116
    both = made_up(60)
    both.loc[[6, 7], "Saved"] = 1
    with pytest.warns(MissingRowsWarning, match="2 of 120 rows dropped: 0 lack"):
        read_moral_machine(both)


def test_bad_files() -> None:
    data = made_up(20)
    with pytest.raises(InputError, match="column 'Saved' is missing"):
        read_moral_machine(data.drop(columns="Saved"))
    with pytest.raises(InputError, match="row 3: CrossingSignal is 7"):
        read_moral_machine(
            data.assign(CrossingSignal=data["CrossingSignal"].where(data.index != 3, 7))
        )
    with pytest.raises(InputError, match="no scenario is whole"):
        read_moral_machine(data.iloc[::2])
    alone = data.assign(UserID=1)
    with pytest.raises(InputError, match="no attribute has outcomes"):
        marginal_effects(alone)


def test_printed() -> None:
    text = str(marginal_effects(made_up(900, chance=spare)))
    assert "age: old -> young" in text
    assert text.count("\n") > 9
    assert float(marginal_effects(made_up(900)).table["effect"].abs().max()) < 1 + ROUNDING
