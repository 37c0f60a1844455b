"""How long does a fit of parquet that does not fit into memory take, beside decoding it?

20 million rows of 14 columns in files of a million: 10 covariates, two instruments, treatment and
outcome, 2.1 GB as numbers. The fit runs in a process of its own whose address space is limited
(RLIMIT_AS, as ``ulimit -v``) below that. Decoding alone reads the same columns twice, for two
passes, and does nothing with them. On 20,000 rows the numbers are held against a fit in memory
with the same folds. The files are written to a temporary folder and deleted.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from lib.memory import peak
from lib.side_by_side import Ratio, line, save

ROWS, FILE_ROWS, QUICK_ROWS = 20_000_000, 1_000_000, 40_000
PART = 20_000  # rows that are all in the sample which knots come from
LIMIT_GB, MOST = 1.75, 1.5
EXOG = [f"x{j}" for j in range(10)]
INSTRUMENTS = ["w0", "w1"]
LEARNERS = ("series", "series without products", "ridge")


def write(folder: Path, rows: int) -> float:
    """Files of random rows; returns their size as numbers in GB."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["y", "d", *INSTRUMENTS, *EXOG]
    for i, start in enumerate(range(0, rows, FILE_ROWS)):
        n = min(FILE_ROWS, rows - start)
        rng = np.random.default_rng(i)
        w, x, u = rng.standard_normal((2, n)), rng.standard_normal((10, n)), rng.standard_normal(n)
        d = np.cos(w[0]) + 0.3 * w[0] * w[1] + 0.5 * x[0] + 0.7 * u + rng.standard_normal(n)
        values = [d + x.sum(axis=0) + u, d, *w, *x]
        table = pa.table(dict(zip(columns, values, strict=True)))
        pq.write_table(table, folder / f"{i:03}.parquet", row_group_size=250_000)
    return rows * len(columns) * 8 / 2**30


def learner(name: str) -> object:
    from mlinstruments.learning import Ridge, Series

    return {"series": Series(), "series without products": Series(interactions=False),
            "ridge": Ridge()}[name]  # fmt: skip


def run_fit(folder: Path, name: str) -> dict[str, float]:
    from mlinstruments import MLIV

    model = MLIV(learner(name), progress=False)
    begun, cpu = time.perf_counter(), time.process_time()
    res = model.fit_dataset(folder, "y", EXOG, "d", INSTRUMENTS)
    return {
        "wall": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu,
        "peak_gb": peak() / 2**30,
        "estimate": float(res.params["d"]),
        "std_error": float(res.std_errors["d"]),
    }


def run_decode(folder: Path, name: str) -> dict[str, float]:
    import pyarrow.dataset as ds

    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(2):
        options = {"batch_readahead": 2, "fragment_readahead": 1}
        for batch in ds.dataset(folder).to_batches(batch_size=65_536, **options):
            assert batch.num_rows
    return {"wall": time.perf_counter() - begun, "cpu": time.process_time() - cpu}


def in_fresh_process(what: str, folder: Path, name: str) -> dict[str, float]:
    def limited() -> None:
        limit = int(LIMIT_GB * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = [sys.executable, __file__, "--only", what, "--folder", str(folder), "--name", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=limited)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def difference_from_memory(folder: Path) -> float:
    """Largest relative difference of a fit of few rows from that in memory with the same folds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mlinstruments import MLIV
    from mlinstruments._core.parallel import spawn_seeds
    from mlinstruments.iv.dataset import deal_cells
    from mlinstruments.iv.source import Piece
    from mlinstruments.learning import Series

    table = pq.read_table(folder / "000.parquet").slice(0, PART)
    part = folder / "part"
    part.mkdir()
    pq.write_table(table, part / "part.parquet")
    # Without halves and with a given penalty folds are all that chance decides.
    model = MLIV(Series(penalty=0.01), split_half=False, random_state=0)
    streamed = model.fit_dataset(part, "y", EXOG, "d", INSTRUMENTS)
    cells, split = deal_cells(5, False, spawn_seeds(0, 1)[0])
    piece = Piece(None, None, 0, PART)
    folds = split.cell[cells.of_rows(cells.source(piece), PART)]
    frame = table.to_pandas()
    exog = frame[EXOG].assign(const=1.0)[["const", *EXOG]]
    held = model.fit(frame["y"], exog, frame["d"], frame[INSTRUMENTS], folds=folds)
    assert isinstance(table, pa.Table)
    shutil.rmtree(part)
    pairs = [
        (streamed.params, held.params),
        (streamed.std_errors, held.std_errors),
        (streamed.first_stage.f, held.first_stage.f),
        (streamed.anderson_rubin().statistic, held.anderson_rubin().statistic),
        (streamed.anderson_rubin(1.0).statistic, held.anderson_rubin(1.0).statistic),
    ]
    scale = held.std_errors  # of coefficients that are nearly 0
    differences = [np.abs((pairs[0][0] - pairs[0][1]) / scale).max()]
    differences += [np.max(np.abs(np.divide(a, b) - 1)) for a, b in pairs[1:]]
    return float(max(differences))


def main(quick: bool = False) -> list[Ratio]:
    """Twenty million rows, or forty thousand."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        print("pyarrow is not installed: left out")
        return []
    rows = QUICK_ROWS if quick else ROWS
    folder, needed = Path(tempfile.mkdtemp()), 1.2 * rows * 14 * 8
    try:
        free = shutil.disk_usage(folder).free
        if free < 2 * needed:
            raise SystemExit(
                f"{needed / 2**30:.1f} GB are needed in {folder}; {free / 2**30:.1f} free"
            )
        size = write(folder, rows)
        print(f"{rows:,} rows, {size:.2f} GB as numbers; limit of the address space {LIMIT_GB} GB")
        print(
            f"largest difference from memory on {PART:,} rows {difference_from_memory(folder):.1e}"
        )
        found = [measured(folder, name, rows, 1 if quick else 3, quick) for name in LEARNERS]
    finally:
        shutil.rmtree(folder)
    save("larger_than_memory", found, quick)
    return found


def measured(folder: Path, name: str, rows: int, repeats: int, quick: bool) -> Ratio:
    """CPU time of fits over that of decoding twice, in turn, each in a process of its own."""
    pairs = [
        (in_fresh_process("fit", folder, name), in_fresh_process("decode", folder, name))
        for _ in range(repeats)
    ]
    cpu = np.array([[fit["cpu"], decode["cpu"]] for fit, decode in pairs])
    wall = float(np.median([fit["wall"] / decode["wall"] for fit, decode in pairs]))
    ratios, fit = cpu[:, 0] / cpu[:, 1], pairs[-1][0]
    ratio, (ours, other) = float(np.median(ratios)), np.median(cpu, axis=0)
    note = f"wall {wall:.2f}; peak {fit['peak_gb']:.2f} GB; {1e9 * ours / rows:.0f} ns a row"
    target, met = ("", None) if quick else (f"<= {MOST:g}", ratio <= MOST)
    found = Ratio(f"{name}, over decoding twice", float(ours), float(other), ratio,
                  float(ratios.min()), float(ratios.max()), repeats, target, met, note)  # fmt: skip
    print(line(found), flush=True)
    print(f"  estimate {fit['estimate']:.5f} ({fit['std_error']:.5f})")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} rows")
    parser.add_argument("--only", choices=("fit", "decode"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", choices=LEARNERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(
            json.dumps({"fit": run_fit, "decode": run_decode}[given.only](given.folder, given.name))
        )
    else:
        main(given.quick)
