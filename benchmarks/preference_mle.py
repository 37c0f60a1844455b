"""What do preference estimates cost beside other libraries? Every ratio is from this one run.

Times are CPU seconds of this process (wall seconds of its own for biogeme), the least of several
runs. The other library is timed from arrays ready to be maximised over, one row a choice, to its
fitted result. Ours is timed three times, on the same choices:

- ``maximise``: from counts by choice set to coefficients and log-likelihood;
- ``estimates``: from choice sets to the same with identification report and standard errors;
- ``fit``: the whole of ``PreferenceLogit.fit`` from a checked log of one row a strategy: beliefs,
  choice sets, regressors, counts, report, estimates, standard errors.

Log-likelihoods of both sides are checked to be equal.

Run ``python benchmarks/preference_mle.py [--quick | --full] [--bfs PATH] [--biogeme PYTHON]``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
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

OUTPUT = Path(__file__).resolve().parent / "output"
GRID = default_grid()
TRUTH = {"scale": 0.1, "kappa": 0.25, "alpha": 0.1, "beta": 0.2}

BIOGEME = """
import json, sys, time
import numpy as np, pandas as pd
import biogeme.biogeme as bio, biogeme.database as db
from biogeme.expressions import Beta, Variable
from biogeme.models import loglogit
data = np.load(sys.argv[1])
frame = pd.DataFrame(data["x"], columns=["x0", "x1", "x2", "x3"]).assign(y=data["y"])
seconds = []
for _ in range(int(sys.argv[2])):
    begin = time.perf_counter()
    index = sum(Beta(f"b{k}", 0, None, None, 0) * Variable(f"x{k}") for k in range(4))
    model = bio.BIOGEME(db.Database("d", frame), loglogit({0: 0, 1: index}, None, Variable("y")),
                        generate_html=False, generate_yaml=False, save_iterations=False)
    model.model_name = "m"
    found = model.estimate()
    seconds.append(time.perf_counter() - begin)
print(json.dumps({"seconds": min(seconds), "loglik": found.final_loglikelihood}))
"""


@dataclass(frozen=True)
class Row:
    """One comparison or one task.

    Parameters
    ----------
    task : str
    ours : float
        Seconds.
    other : float or None
        Seconds of the other way.
    ratio : float or None
        other / ours.
    target : str
    met : bool or None
        None where there is no target, or at the small sizes of --quick.
    """

    task: str
    ours: float
    other: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


def cpu(function: Callable[[], Any], repeats: int, inner: int = 1) -> tuple[float, Any]:
    """Least CPU seconds of a call, the first or one of ``repeats`` x ``inner``, and the result."""
    begin = time.process_time()
    found = function()
    best = time.process_time() - begin
    for _ in range(repeats):
        begin = time.process_time()
        for _ in range(inner):
            found = function()
        best = min(best, (time.process_time() - begin) / inner)
    return best, found


def against(task: str, ours: float, other: float, least: float | None = None) -> Row:
    """A comparison, with a target for its ratio."""
    ratio = other / ours
    target = "" if least is None else f">= {least:g}x"
    return Row(task, ours, other, ratio, target, None if least is None else ratio >= least)


def limited(task: str, ours: float, most: float, full_size: bool) -> Row:
    """A task with a target in seconds."""
    return Row(task, ours, target=f"<= {most:g} s", met=ours <= most if full_size else None)


# ---- one fit ------------------------------------------------------------------------------------


def three_ways(
    name: str, data: ChoiceData, unit: str, other: float, repeats: int, least: float | None
) -> tuple[list[Row], float]:
    """Three times of ours against the other's seconds; and our log-likelihood."""
    design = data.design(unit=unit)
    counts = design.counts()
    newton, (_, found) = cpu(
        lambda: maximise(design.z, design.available, counts), repeats, inner=20
    )
    estimates, _ = cpu(lambda: fit_design(replace(design)), repeats, inner=3)
    model = PreferenceLogit(unit=unit)
    everything, fit = cpu(lambda: model.fit(data), repeats, inner=3)
    assert np.isclose(fit.loglik, found.value)
    n = f"{design.n_choices:,.0f} choices"
    rows = [
        against(f"maximise / {name}, {n}", newton, other, least),
        against(f"estimates / {name}, {n}", estimates, other),
        against(f"fit / {name}, {n}", everything, other),
    ]
    return rows, found.value


def binary_rows(design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Response and regressors of single binary choices."""
    row = np.repeat(np.arange(len(design.count)), design.count.astype(int))
    x = (design.z[:, 1] - design.z[:, 0])[design.choice_set[row]]
    return design.action[row].astype(float), x


def against_statsmodels(subjects: int, repeats: int, least: float | None) -> list[Row]:
    """Nodes as binary choices, 42 of each subject: the likelihood of statsmodels' Logit.

    Also its GLM, given the same counts as we are: what is left is not the sufficient statistic's.
    """
    data = simulate_choices(GRID, subjects=subjects, **TRUTH)
    design = data.design(unit="node")
    y, x = binary_rows(design)
    seconds, found = cpu(lambda: sm.Logit(y, x).fit(disp=0), repeats)
    rows, value = three_ways("statsmodels Logit", data, "node", seconds, repeats, least)
    assert np.isclose(value, found.llf)
    kept = design.counts().sum(axis=1) > 0
    shares, gaps = design.counts()[kept][:, ::-1], (design.z[:, 1] - design.z[:, 0])[kept]
    binomial = sm.families.Binomial()
    seconds, glm = cpu(lambda: sm.GLM(shares, gaps, family=binomial).fit(), repeats, inner=3)
    assert np.allclose(glm.params, found.params, rtol=1e-5)
    counted = f"maximise / statsmodels GLM from counts, {len(y):,} choices"
    return [*rows, against(counted, rows[0].ours, seconds)]


def against_conditional(subjects: int) -> list[Row]:
    """Whole strategies: statsmodels' ConditionalLogit, one group a choice."""
    data = simulate_choices(GRID, subjects=subjects, **TRUTH)
    design = data.design()
    group, alternative = np.nonzero(design.available[design.choice_set])
    y = (alternative == design.action[group]).astype(float)
    x = design.z[design.choice_set[group], alternative]
    seconds, found = cpu(lambda: ConditionalLogit(y, x, groups=group).fit(disp=0), 0)
    rows, value = three_ways("statsmodels ConditionalLogit", data, "strategy", seconds, 3, None)
    assert np.isclose(value, found.llf, rtol=1e-6)
    return rows


def against_scipy(subjects: int, repeats: int) -> list[Row]:
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

    seconds, found = cpu(lambda: optimize.minimize(loss, np.zeros(4), method="BFGS"), repeats)
    rows, value = three_ways("scipy, numeric gradient", data, "strategy", seconds, repeats, None)
    assert np.isclose(value, -found.fun, rtol=1e-6)
    return rows


def against_biogeme(python: str, repeats: int) -> list[Row]:
    """In its own environment; wall seconds, compilation included, as its user sees them."""
    data = simulate_choices(GRID, subjects=3, **TRUTH)
    y, x = binary_rows(data.design(unit="node"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, x=x, y=y)
        command = [python, "-c", BIOGEME, str(path), str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        print(f"biogeme ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return []
    found = json.loads(done.stdout.splitlines()[-1])
    rows, value = three_ways("biogeme (wall)", data, "node", found["seconds"], repeats, None)
    assert np.isclose(value, found["loglik"], rtol=1e-6), (value, found)
    return rows


# ---- many fits ----------------------------------------------------------------------------------


def many_individuals(subjects: int, repeats: int) -> list[Row]:
    """Every subject alone: five choices in each protocol."""
    design = simulate_choices(GRID, draws=5, subjects=subjects, **TRUTH).design()
    seconds, table = cpu(lambda: individual_fits(design), repeats)
    print(table["status"].str.split(":").str[0].value_counts().to_string())
    task = f"{subjects:,} individual fits, {design.n_choices:,.0f} choices"
    return [limited(task, seconds, 0.1, subjects >= 10_000)]


def many_bootstraps(draws: int, repeats: int) -> list[Row]:
    """Subjects drawn with replacement, N = 1e4."""
    design = simulate_choices(GRID, draws=1, subjects=556, **TRUTH).design()
    codes = design.cluster_codes(("subject",))[0]
    theta, _ = maximise(design.z, design.available, design.counts())
    seconds, _ = cpu(lambda: bootstrap(design, theta, codes, draws, 0), repeats)
    return [limited(f"{draws:,} bootstraps of subjects, N=10,008", seconds, 1.0, draws >= 1000)]


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


def mixture(name: str, data: AllocationChoices, starts: int, full_size: bool) -> Row:
    """Three types from many starts."""
    model = PreferenceLogit(n_types=3, n_starts=starts)
    begin = time.process_time()
    fit = model.fit(data, clusters="sid")
    seconds = time.process_time() - begin
    print(
        f"mixture, {name}: LL {fit.loglik:.4f}, {fit.n_starts_best} of {fit.n_starts} starts,"
        f" shares {np.round(fit.shares.to_numpy(), 3)}"
    )
    task = f"three types, {starts} starts, {name}, {data.n_choices:,.0f} choices"
    return limited(task, seconds, 20.0, full_size)


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


def long_logs(rows: int) -> list[Row]:
    """Read and fit each, clustered by subject: CPU seconds."""
    found, full_size = [], rows >= 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        for ending, path in write_long_logs(Path(folder), rows).items():
            begin = time.process_time()
            data = ChoiceData.read(path)
            read = time.process_time() - begin
            begin = time.process_time()
            fit = PreferenceLogit(beliefs="uniform").fit(data, clusters="subject")
            fitted = time.process_time() - begin
            size, peak = path.stat().st_size / 1e9, resource.getrusage(resource.RUSAGE_SELF)
            print(
                f"{ending}, {rows:,} rows, {size:.2f} GB: read {read:.1f} s, fitted {fitted:.1f} s,"
                f" peak so far {peak.ru_maxrss / 1e6:.1f} GB; kappa {fit.params['kappa']:.4f}"
            )
            task = f"read and fit {rows:,} rows of {ending}, clustered"
            found.append(limited(task, read + fitted, 60.0, full_size))
    return found


# ---- report -------------------------------------------------------------------------------------


def report(rows: list[Row], name: str) -> None:
    """Print the table; write it and the numbers."""
    table = pd.DataFrame([asdict(row) for row in rows])
    table = table.assign(
        ours=table["ours"].map(lambda v: f"{v:.3g} s"),
        other=table["other"].map(lambda v: "" if pd.isna(v) else f"{v:.3g} s"),
        ratio=table["ratio"].map(lambda v: "" if pd.isna(v) else f"{v:.3g}x"),
        met=table["met"].map(lambda v: "" if v is None or pd.isna(v) else ("yes" if v else "NO")),
    )
    text = table.to_string(index=False, justify="right")
    print(f"\n{text}")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / f"{name}.txt").write_text(text + "\n")
    (OUTPUT / f"{name}.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))


def main(
    quick: bool = False, full: bool = False, bfs: Path | None = None, biogeme: str | None = None
) -> list[Row]:
    """Run every comparison."""
    repeats = 1 if quick else 5
    # N = 1e4 choices, and N = 1e4 subjects, of which the target speaks: 42 nodes each.
    rows = against_statsmodels(238, repeats, None)
    many = 500 if quick else 10_000
    rows += against_statsmodels(many, min(repeats, 3), None if quick else 300)
    rows += against_conditional(20 if quick else 556) + against_scipy(556, repeats)
    if biogeme:
        rows += against_biogeme(biogeme, min(repeats, 3))
    rows += many_individuals(500 if quick else 10_000, repeats)
    rows += many_bootstraps(50 if quick else 1000, min(repeats, 2))
    data = generated_allocations(40 if quick else 160)
    rows.append(mixture("generated", data, 3 if quick else 30, not quick))
    if bfs is not None:
        rows.append(mixture("real people", real_allocations(bfs), 30, not quick))
    rows += long_logs(10_000_000 if full else (20_000 if quick else 500_000))
    report(rows, "preference_mle" + ("_quick" if quick else "_full" if full else ""))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds")
    parser.add_argument("--full", action="store_true", help="with a log of 1e7 rows")
    parser.add_argument("--bfs", type=Path, help="bfs_session1.csv, for the mixture of real people")
    parser.add_argument("--biogeme", help="python of an environment that has biogeme")
    given = parser.parse_args()
    main(given.quick, given.full, given.bfs, given.biogeme)
