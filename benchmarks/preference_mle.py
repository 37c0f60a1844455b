"""What do preference estimates cost beside other libraries, and how long do very many take?

T10. One thread, CPU seconds, pairs in turn; wall seconds where the row says so. The other library
is timed from arrays ready to be maximised over, one row a choice, to its fitted result. Ours is
timed three times, on the same choices:

- ``maximise``: from counts by choice set to coefficients and log-likelihood;
- ``estimates``: from choice sets to the same with identification report and standard errors;
- ``fit``: the whole of ``PreferenceLogit.fit`` from a checked log of one row a strategy: beliefs,
  choice sets, regressors, counts, report, estimates, standard errors.

Log-likelihoods of both sides are checked to be equal. Where a target is a number of seconds it
stands in the column of the other. Targets are for the full sizes, not for those of --quick.

Run ``python benchmarks/preference_mle.py [--quick | --full] [--bfs PATH] [--biogeme PYTHON]``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from lib.side_by_side import Ratio, cpu, line, save, side_by_side
from scipy import optimize
from statsmodels.discrete.conditional_models import ConditionalLogit

from mlinstruments.games import default_grid
from mlinstruments.games.utility import choice_probabilities
from mlinstruments.preferences import (
    AllocationChoices,
    ChoiceData,
    PreferenceLogit,
    simulate_choices,
)
from mlinstruments.preferences.design import Design
from mlinstruments.preferences.individuals import individual_fits
from mlinstruments.preferences.inference import bootstrap
from mlinstruments.preferences.likelihood import maximise
from mlinstruments.preferences.logit import fit_design

GRID = default_grid()
TRUTH = {"scale": 0.1, "kappa": 0.25, "alpha": 0.1, "beta": 0.2}

BIOGEME = """
import json, sys, time
import numpy as np, pandas as pd
import biogeme.biogeme as bio, biogeme.database as db
from biogeme.expressions import Beta, Variable
from biogeme.models import loglogit
from biogeme.parameters import Parameters
data = np.load(sys.argv[1])
frame = pd.DataFrame(data["x"], columns=["x0", "x1", "x2", "x3"]).assign(y=data["y"])
seconds = []
for _ in range(int(sys.argv[2])):
    begin = time.perf_counter()
    index = sum(Beta(f"b{k}", 0, None, None, 0) * Variable(f"x{k}") for k in range(4))
    model = bio.BIOGEME(db.Database("d", frame), loglogit({0: 0, 1: index}, None, Variable("y")),
                        parameters=Parameters(), generate_html=False, generate_yaml=False,
                        save_iterations=False)
    model.model_name = "m"
    found = model.estimate()
    seconds.append(time.perf_counter() - begin)
print(json.dumps({"seconds": seconds, "loglik": found.final_loglikelihood}))
"""


def limited(task: str, seconds: list[float], most: float, full_size: bool, note: str = "") -> Ratio:
    """A task with a target in seconds."""
    ratios = np.array(seconds) / most
    ratio = float(np.median(ratios))
    target, met = (f"<= {most:g} s", ratio <= 1) if full_size else ("", None)
    found = Ratio(
        task, float(np.median(seconds)), most, ratio, float(ratios.min()), float(ratios.max()),
        len(seconds), target, met, note,
    )  # fmt: skip
    print(line(found), flush=True)
    return found


def timed(function: Callable[[], Any], repeats: int) -> list[float]:
    """CPU seconds of each of several calls, after one that is not counted."""
    return [cpu(function) for _ in range(repeats + 1)][1:]


# ---- one fit ------------------------------------------------------------------------------------


def ways(data: ChoiceData, unit: str) -> tuple[dict[str, tuple[Callable[[], Any], int]], float]:
    """What is timed of ours, with the calls in one timing; and the log-likelihood."""
    design = data.design(unit=unit)
    counts = design.counts()
    model = PreferenceLogit(unit=unit)
    value = maximise(design.z, design.available, counts)[1].value
    assert np.isclose(model.fit(data).loglik, value)
    found: dict[str, tuple[Callable[[], Any], int]] = {
        "maximise": (lambda: maximise(design.z, design.available, counts), 20),
        "estimates": (lambda: fit_design(replace(design)), 5),
        "fit": (lambda: model.fit(data), 3),
    }
    return found, value


def three_ways(
    name: str, data: ChoiceData, unit: str, other: Callable[[], Any], pairs: int,
    least: float | None = None, inner: int = 1,
) -> tuple[list[Ratio], float]:  # fmt: skip
    """Three times of ours against the other's; and our log-likelihood."""
    ours, value = ways(data, unit)
    n = f"{data.n_choices * (42 / 18 if unit == 'node' else 1):,.0f} choices"
    rows = [
        side_by_side(
            f"{task} / {name}, {n}", function, other, pairs,
            at_least=least if task == "maximise" else None, inner=(calls, inner),
        )
        for task, (function, calls) in ours.items()
    ]  # fmt: skip
    return rows, value


def binary_rows(design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Response and regressors of single binary choices."""
    row = np.repeat(np.arange(len(design.count)), design.count.astype(int))
    x = (design.z[:, 1] - design.z[:, 0])[design.choice_set[row]]
    return design.action[row].astype(float), x


def against_statsmodels(subjects: int, pairs: int, least: float | None, inner: int) -> list[Ratio]:
    """Nodes as binary choices, 42 of each subject: the likelihood of statsmodels' Logit.

    Also its GLM, given the same counts as we are: what is left is not the sufficient statistic's.
    """
    data = simulate_choices(GRID, subjects=subjects, **TRUTH)
    design = data.design(unit="node")
    y, x = binary_rows(design)
    rows, value = three_ways(
        "statsmodels Logit", data, "node", lambda: sm.Logit(y, x).fit(disp=0), pairs, least, inner
    )
    found = sm.Logit(y, x).fit(disp=0)
    assert np.isclose(value, found.llf)
    kept = design.counts().sum(axis=1) > 0
    shares, gaps = design.counts()[kept][:, ::-1], (design.z[:, 1] - design.z[:, 0])[kept]
    binomial = sm.families.Binomial()
    assert np.allclose(sm.GLM(shares, gaps, family=binomial).fit().params, found.params, rtol=1e-5)
    glm = side_by_side(
        f"maximise / statsmodels GLM from counts, {len(y):,} choices",
        ways(data, "node")[0]["maximise"][0],
        lambda: sm.GLM(shares, gaps, family=binomial).fit(),
        pairs, inner=(20, 3),
    )  # fmt: skip
    return [*rows, glm]


def against_conditional(subjects: int) -> list[Ratio]:
    """Whole strategies: statsmodels' ConditionalLogit, one group a choice."""
    data = simulate_choices(GRID, subjects=subjects, **TRUTH)
    design = data.design()
    group, alternative = np.nonzero(design.available[design.choice_set])
    y = (alternative == design.action[group]).astype(float)
    x = design.z[design.choice_set[group], alternative]
    model = ConditionalLogit(y, x, groups=group)
    ours, value = ways(data, "strategy")
    task = f"maximise / statsmodels ConditionalLogit, {data.n_choices:,.0f} choices"
    begin = time.process_time()
    found = model.fit(disp=0)  # takes a minute: once
    seconds = time.process_time() - begin
    assert np.isclose(value, found.llf, rtol=1e-6)
    return [paired(task, [(cpu(ours["maximise"][0], 20), seconds)])]


def against_scipy(subjects: int, pairs: int) -> list[Ratio]:
    """Whole strategies row by row, gradient by differences, as one would write it first."""
    data = simulate_choices(GRID, subjects=subjects, **TRUTH)
    design = data.design()
    z, chosen = design.z[design.choice_set], design.action
    closed = ~design.available[design.choice_set]

    def loss(theta: np.ndarray) -> float:
        u = z @ theta
        u[closed] = -np.inf
        top = u.max(axis=1)
        total = np.log(np.exp(u - top[:, None]).sum(axis=1)) + top
        return float((total - u[np.arange(len(u)), chosen]).sum())

    def fit() -> Any:
        return optimize.minimize(loss, np.zeros(4), method="BFGS")

    rows, value = three_ways("scipy, numeric gradient", data, "strategy", fit, pairs)
    assert np.isclose(value, -fit().fun, rtol=1e-6)
    return rows


def against_biogeme(python: str, repeats: int, subjects: int) -> list[Ratio]:
    """In its own environment; wall seconds, compilation included, as its user sees them."""
    data = simulate_choices(GRID, subjects=subjects, **TRUTH)
    y, x = binary_rows(data.design(unit="node"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, x=x, y=y)
        command = [python, "-c", BIOGEME, str(path), str(repeats)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, cwd=folder, check=False, timeout=600
            )
        except subprocess.TimeoutExpired:
            print(f"biogeme did not end within ten minutes on {len(y):,} choices")
            return []
    if done.returncode:
        print(f"biogeme ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return []
    found = json.loads(done.stdout.splitlines()[-1])
    ours, value = ways(data, "node")
    assert np.isclose(value, found["loglik"], rtol=1e-6), (value, found)
    note = "biogeme: wall seconds, a process of its own"
    return [
        paired(
            f"{task} / biogeme, {len(y):,} choices",
            [(cpu(function, calls), theirs) for theirs in found["seconds"]],
            note,
        )
        for task, (function, calls) in ours.items()
    ]


def paired(task: str, seconds: list[tuple[float, float]], note: str = "") -> Ratio:
    """A comparison from pairs of seconds, ours and the other's."""
    mine, theirs = np.array(seconds).T
    ratios = theirs / mine
    found = Ratio(
        task, float(np.median(mine)), float(np.median(theirs)), float(np.median(ratios)),
        float(ratios.min()), float(ratios.max()), len(seconds), note=note,
    )  # fmt: skip
    print(line(found), flush=True)
    return found


# ---- many fits ----------------------------------------------------------------------------------


def many_individuals(subjects: int, repeats: int) -> list[Ratio]:
    """Every subject alone: five choices in each protocol."""
    design = simulate_choices(GRID, draws=5, subjects=subjects, **TRUTH).design()
    status = individual_fits(design)["status"].str.split(":").str[0].value_counts()
    note = ", ".join(f"{name} {n:,}" for name, n in status.items())
    task = f"{subjects:,} individual fits, {design.n_choices:,.0f} choices"
    seconds = timed(lambda: individual_fits(design), repeats)
    return [limited(task, seconds, 0.1, subjects >= 10_000, note)]


def many_bootstraps(draws: int, repeats: int) -> list[Ratio]:
    """Subjects drawn with replacement, N = 1e4."""
    design = simulate_choices(GRID, draws=1, subjects=556, **TRUTH).design()
    codes = design.cluster_codes(("subject",))[0]
    theta, _ = maximise(design.z, design.available, design.counts())
    seconds = timed(lambda: bootstrap(design, theta, codes, draws, 0), repeats)
    task = f"{draws:,} bootstraps of subjects, {design.n_choices:,.0f} choices"
    return [limited(task, seconds, 1.0, draws >= 1000)]


def generated_allocations(subjects: int, games: int = 117) -> AllocationChoices:
    """Binary games of three types who weigh the other's payoff differently."""
    rng = np.random.default_rng(0)
    own, other = rng.integers(10, 100, size=(2, games, 2)) * 10.0
    # scale, weight behind, weight ahead
    kinds = np.array([[0.02, 0.05, 0.15], [0.015, 0.2, 0.45], [0.01, -0.4, -0.1]])
    kind = rng.choice(3, size=subjects, p=[0.5, 0.35, 0.15])
    behind, ahead = other > own, other < own
    weight = kinds[kind, 1, None, None] * behind + kinds[kind, 2, None, None] * ahead
    u = kinds[kind, 0, None, None] * ((1 - weight) * own + weight * other)
    second = rng.uniform(size=(subjects, games)) < 1 / (1 + np.exp(u[..., 0] - u[..., 1]))
    game = np.tile(np.arange(games), subjects)
    table = pd.DataFrame({"sid": np.repeat(np.arange(subjects), games), "chosen": second.ravel()})
    for k in (0, 1):
        table[f"own_{k}"], table[f"other_{k}"] = own[game, k], other[game, k]
        table[f"s_{k}"] = behind[game, k].astype(float)
        table[f"r_{k}"] = ahead[game, k].astype(float)
    table["chosen"] = table["chosen"].astype(int)
    return AllocationChoices.from_frame(
        table, ("own_0", "own_1"), ("other_0", "other_1"), "chosen",
        {"alpha": ("s_0", "s_1"), "beta": ("r_0", "r_1")}, labels=("sid",),
    )  # fmt: skip


def real_allocations(path: Path) -> AllocationChoices:
    """Bruhin, Fehr and Schunk (2019), session 1, after the study's drops."""
    frame = pd.read_csv(path)
    dropped = pd.read_csv(path.with_name("bfs_dropped_subjects.csv"), header=None)[0]
    frame = frame[~frame["sid"].isin(dropped)].assign(chosen=lambda f: 1 - f["choice_x"])
    characteristics = {
        "alpha": ("s_x", "s_y"), "beta": ("r_x", "r_y"), "gamma": "q", "delta": "v",
    }  # fmt: skip
    return AllocationChoices.from_frame(
        frame, ("self_x", "self_y"), ("other_x", "other_y"), "chosen", characteristics, ("sid",)
    )


def mixture(name: str, data: AllocationChoices, starts: int, full_size: bool) -> Ratio:
    """Three types from many starts."""
    model = PreferenceLogit(n_types=3, n_starts=starts)
    begin = time.process_time()
    fit = model.fit(data, clusters="sid")
    seconds = time.process_time() - begin
    note = f"LL {fit.loglik:.2f} in {fit.n_starts_best} of {fit.n_starts} starts"
    task = f"three types, {starts} starts, {name}, {data.n_choices:,.0f} choices"
    return limited(task, [seconds], 20.0, full_size, note)


# ---- a long log ---------------------------------------------------------------------------------


def write_long_logs(folder: Path, rows: int) -> dict[str, Path]:
    """The same single choices as JSON lines, CSV and parquet, written block by block."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    paths = {ending: folder / f"long.{ending}" for ending in ("jsonl", "csv", "parquet")}
    facts = [
        {"protocol_id": p.id, "game": p.game, **{n: getattr(p, n) for n in "TRPS"}, "strategy": s}
        for p in GRID
        for s in p.strategies
    ]
    shares = [choice_probabilities(p, np.full(p.n_nodes, 0.5), 0.1, 0.25) for p in GRID]
    chances = np.concatenate(shares) / len(GRID)
    lines = [json.dumps({"subject": 0} | fact)[len('{"subject": 0') :] for fact in facts]
    fields = ["," + ",".join(str(v) for v in fact.values()) for fact in facts]
    names = ["subject", *facts[0]]
    with paths["jsonl"].open("w") as jsonl, paths["csv"].open("w") as table:
        table.write(",".join(names) + "\n")
        writer, block = None, 500_000
        for start in range(0, rows, block):
            chosen = rng.choice(len(facts), size=min(block, rows - start), p=chances)
            subject = (start + np.arange(len(chosen))) // 100
            pairs = list(zip(subject.tolist(), chosen.tolist(), strict=True))
            jsonl.write("".join([f'{{"subject": {i}{lines[k]}\n' for i, k in pairs]))
            table.write("".join([f"{i}{fields[k]}\n" for i, k in pairs]))
            columns: dict[str, Any] = {"subject": subject}
            for name in facts[0]:
                values = np.array([fact[name] for fact in facts])[chosen]
                coded = pa.array(values).dictionary_encode() if values.dtype.kind == "U" else values
                columns[name] = coded
            piece = pa.table(columns)
            writer = writer or pq.ParquetWriter(paths["parquet"], piece.schema)
            writer.write_table(piece)
        if writer is not None:
            writer.close()
    return paths


def read_and_fit(path: Path) -> dict[str, float]:
    """Wall and CPU seconds, and peak memory in GB before and after, in this process."""
    unit = 1e6 if sys.platform != "darwin" else 1e9  # of ru_maxrss: kB, or bytes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    begin, used = time.perf_counter(), time.process_time()
    data = ChoiceData.read(path)
    read = time.perf_counter() - begin
    fit = PreferenceLogit(beliefs="uniform").fit(data, clusters="subject")
    return {
        "read": read,
        "wall": time.perf_counter() - begin,
        "cpu": time.process_time() - used,
        "before": before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "kappa": float(fit.params["kappa"]),
    }


def long_logs(rows: int) -> list[Ratio]:
    """Read and fit each, clustered by subject, in a process of its own: wall seconds."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for ending, path in write_long_logs(Path(folder), rows).items():
            command = [sys.executable, __file__, "--read", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            took = json.loads(done.stdout)
            note = (
                f"wall seconds, {took['read']:.1f} of them reading; CPU {took['cpu']:.1f} s; file"
                f" {path.stat().st_size / 1e9:.2f} GB, peak memory {took['peak']:.2f} GB,"
                f" {took['before']:.2f} of them before reading; kappa {took['kappa']:.4f}"
            )
            task = f"read and fit {rows:,} rows of {ending}, clustered"
            found.append(limited(task, [took["wall"]], 60.0, rows >= 10_000_000, note))
            path.unlink()
    return found


def main(
    quick: bool = False, full: bool = False, bfs: Path | None = None, biogeme: str | None = None
) -> list[Ratio]:
    """Run every comparison."""
    pairs, least = (1, None) if quick else (9, 300.0)
    # N = 1e4 choices, and N = 1e4 subjects: 42 nodes each.
    rows = against_statsmodels(238, pairs, least, 20)
    rows += against_statsmodels(500 if quick else 10_000, min(pairs, 5), least, 1)
    rows += against_conditional(20 if quick else 556)
    rows += against_scipy(556, min(pairs, 5))
    if biogeme:
        # Few choices as well: with 1e4 its fit may take longer than it is given.
        for subjects in (3, 238):
            rows += against_biogeme(biogeme, min(pairs, 5), subjects)
    rows += many_individuals(500 if quick else 10_000, pairs)
    rows += many_bootstraps(50 if quick else 1000, min(pairs, 5))
    data = generated_allocations(40 if quick else 160)
    rows.append(mixture("generated", data, 3 if quick else 30, not quick))
    if bfs is not None:
        rows.append(mixture("real people", real_allocations(bfs), 30, not quick))
    rows += long_logs(10_000_000 if full else (20_000 if quick else 500_000))
    print(f"written: {save('preference_mle' + ('_full' if full else ''), rows, quick)}")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds")
    parser.add_argument("--full", action="store_true", help="with a log of 1e7 rows")
    parser.add_argument("--bfs", type=Path, help="bfs_session1.csv, for the mixture of real people")
    parser.add_argument("--biogeme", help="python of an environment that has biogeme")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        print(json.dumps(read_and_fit(given.read)))
    else:
        main(given.quick, given.full, given.bfs, given.biogeme)
