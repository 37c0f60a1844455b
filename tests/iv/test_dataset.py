"""Fits of parquet files against the same rows, folds and dictionary in memory."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from mlinstruments import MLIV, MLIVResults
from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments._core.parallel import spawn_seeds
from mlinstruments._core.sandwich import covariance_spec
from mlinstruments.iv import dataset, source
from mlinstruments.iv.assemble import assemble
from mlinstruments.iv.data import IVData
from mlinstruments.iv.learn import FirstStagePlan, learn_instruments
from mlinstruments.iv.source import Roles, Tally, read_blocks
from mlinstruments.learning import OLS, Ridge, Series
from mlinstruments.learning.folds import Split
from mlinstruments.learning.gram import GramEngine
from tests.tolerances import IDENTITY

N, FILES = 6000, 3
EXOG, INSTRUMENTS = ["x1", "x2"], ["w1", "w2", "few"]


def made(n=N, seed=0):
    """Rows with two treatments, levels and units far apart, weights, labels and types of all sorts."""
    rng = np.random.default_rng(seed)
    w1, w2 = rng.uniform(-1, 1, (2, n))
    few = rng.integers(0, 4, n)
    firm = rng.integers(0, 300, n)
    x1, x2 = 1e4 + rng.normal(size=n), 1e-3 * rng.normal(size=n)
    u = rng.normal(size=n) * np.exp(0.3 * w1) + 0.5 * rng.normal(size=300)[firm]
    v = 0.5 * u[:, None] + rng.normal(size=(n, 2))
    d1 = np.cos(3 * w1) + w1 * w2 + 0.5 * (few == 2) + x1 - 1e4 + v[:, 0]
    d2 = np.sin(3 * w2) + 0.3 * few + 1e3 * x2 + v[:, 1]
    y = d1 - 0.5 * d2 + 0.3 * x1 + 200 * x2 + u
    return pd.DataFrame(
        {
            "y": y, "x1": x1, "x2": x2, "d1": d1, "d2": d2, "w1": w1.astype(np.float32), "w2": w2,
            "few": few.astype(np.int16), "weight": rng.uniform(0.5, 2, n), "firm": firm,
            "name": [f"firm {g}" for g in firm],
        }
    )  # fmt: skip


def written(frame, folder, files=FILES, row_group_size=700):
    for i, rows in enumerate(np.array_split(np.arange(len(frame)), files)):
        frame.iloc[rows].to_parquet(folder / f"part{i}.parquet", row_group_size=row_group_size)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(made(), tmp_path_factory.mktemp("rows"))


@dataclass(frozen=True)
class Given:
    """A learner whose dictionary is fixed."""

    learner: object
    fixed: object

    def prepare(self, features, controls, weights):
        columns = np.array(self.fixed.columns(features.values))
        return GramEngine(columns, controls, weights, self.learner.penalty)


def in_memory(path, roles, model, cov_type=None, debiased=False):
    """The rows of a data set as its reader gives them, fitted by MLIV's own parts."""
    seed = spawn_seeds(model.random_state, 1)[0]
    cells, split = dataset.deal_cells(model.n_folds, model.split_half, seed)
    job = dataset.prepare(path, roles, model.learner, cells, split, None, None)
    blocks = [b for piece in job.pieces for b in read_blocks(piece, roles, cells, Tally())]
    rows = dict(zip(roles.numeric, np.hstack([b.values for b in blocks]), strict=True))
    cell = np.concatenate([b.cell for b in blocks]).astype(int)
    labels = None if roles.clusters is None else np.concatenate([b.label for b in blocks])

    rows["const"] = np.ones(len(cell))

    def columns(names):
        return pd.DataFrame({name: rows[name] for name in names})

    exog = columns(("const", *roles.exog))
    weights = None if roles.weights is None else rows[roles.weights]
    data = IVData.from_arrays(
        rows[roles.dependent],
        exog,
        columns(roles.endog),
        columns(roles.instruments),
        weights,
        labels,
    )
    spec = covariance_spec(cov_type, debiased, None, data.clusters)
    engine = Given(model.learner, job.reading.dictionary).prepare(data.W, data.X, data.weights)
    half = None if split.half is None else split.half[cell]
    splits = [Split((split.folds[0][cell],), half, split.tune[cell])]
    plan = FirstStagePlan(engine, None, splits, [seed], False, None, None)
    learned = learn_instruments(data, data.D, plan)
    settings = {
        "learner": model.learner.label, "covariates": "linear", "n_folds": model.n_folds,
        "n_repeats": 1, "control_variate": False, "efficient": False,
    }  # fmt: skip
    return assemble(data, learned, plan, spec, settings, None)


def assert_same(found, expected):
    """Every number of a result but those with an entry for each row."""
    assert (found.nobs, found.n_clusters, found.cov_label) == (
        expected.nobs, expected.n_clusters, expected.cov_label
    )  # fmt: skip
    errors = expected.std_errors.to_numpy()
    np.testing.assert_allclose(
        found.params / errors, expected.params / errors, rtol=IDENTITY, atol=IDENTITY
    )
    unit = np.outer(errors, errors)
    np.testing.assert_allclose(found.cov / unit, expected.cov / unit, rtol=0, atol=IDENTITY)
    for name in ("f", "effective_f", "partial_r2", "calibration", "reliability"):
        one, other = (getattr(res.first_stage, name) for res in (found, expected))
        np.testing.assert_allclose(one, other, rtol=IDENTITY)
    for one, other in (
        (found.splits, expected.splits),
        (found.first_stage.by_fold, expected.first_stage.by_fold),
    ):
        pd.testing.assert_frame_equal(one, other, rtol=IDENTITY, atol=IDENTITY)
    for kind in ("corrected", "pooled"):
        for value in (0.0, 1.0):
            one, other = (res.anderson_rubin(value, ar=kind) for res in (found, expected))
            assert one.statistic == pytest.approx(other.statistic, rel=IDENTITY)


LEARNERS = {
    "series": Series(),
    "series, few columns": Series(knots=3, interactions=False),
    "ridge": Ridge(),
    "ridge, given": Ridge(0.01),
    "ols": OLS(),
}


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("weights", [None, "weight"], ids=["plain", "weighted"])
@pytest.mark.parametrize("clusters", [None, "firm", "name"])
def test_like_memory(folder, learner, weights, clusters):
    model = MLIV(LEARNERS[learner])
    roles = Roles("y", tuple(EXOG), ("d1",), tuple(INSTRUMENTS), weights, clusters)
    found = model.fit_dataset(
        folder, "y", EXOG, "d1", INSTRUMENTS, weights=weights, clusters=clusters, debiased=True
    )
    assert isinstance(found, MLIVResults)
    assert_same(found, in_memory(folder, roles, model, debiased=True))
    if clusters:
        assert found.n_clusters == (300,)


@pytest.mark.parametrize("cov_type", ["unadjusted", "robust"])
@pytest.mark.parametrize("split_half", [True, False])
@pytest.mark.parametrize("exog", [EXOG, []], ids=["covariates", "none"])
@pytest.mark.parametrize("endog", [["d1"], ["d1", "d2"]], ids=["one", "two"])
def test_shapes_like_memory(folder, cov_type, split_half, exog, endog):
    model = MLIV(Series(), split_half=split_half, n_folds=3, random_state=4)
    roles = Roles("y", tuple(exog), tuple(endog), tuple(INSTRUMENTS))
    found = model.fit_dataset(folder, "y", exog, endog, INSTRUMENTS, cov_type=cov_type)
    assert_same(found, in_memory(folder, roles, model, cov_type))


# ---- how rows are read ---------------------------------------------------------------------------


ARGUMENTS = ("y", EXOG, "d1", INSTRUMENTS)


@pytest.fixture(scope="module")
def whole(folder):
    return MLIV("series").fit_dataset(folder, *ARGUMENTS)


def test_sizes_of_batches_and_tasks_change_nothing(folder, whole, monkeypatch):
    for name, value in (("BATCH", 301), ("BLOCK", 97)):
        monkeypatch.setattr(source, name, value)
    monkeypatch.setattr(dataset, "TASK_ROWS", 1500)
    assert_same(MLIV("series").fit_dataset(folder, *ARGUMENTS), whole)


def test_sources_of_every_form_are_the_same(folder, whole):
    paths = sorted(folder.glob("*.parquet"))
    for given in (str(folder), paths, [str(p) for p in paths], ds.dataset(folder)):
        assert_same(MLIV("series").fit_dataset(given, *ARGUMENTS), whole)
    # Without row groups a table is one piece, whose rows are dealt otherwise.
    table = ds.dataset(pa.concat_tables([pq.read_table(p) for p in paths]))
    found = MLIV("series").fit_dataset(table, *ARGUMENTS)
    assert found.nobs == N
    assert found.params["d1"] == pytest.approx(whole.params["d1"], abs=whole.std_errors["d1"])


def test_threads_and_processes_change_nothing(folder, whole, monkeypatch):
    monkeypatch.setattr(dataset, "TASK_ROWS", 1500)
    assert_same(MLIV("series", n_jobs=2).fit_dataset(folder, *ARGUMENTS), whole)
    clustered = MLIV("series").fit_dataset(folder, *ARGUMENTS, clusters="name")
    with joblib.parallel_config(backend="loky", n_jobs=2):
        found = MLIV("series").fit_dataset(folder, *ARGUMENTS, clusters="name")
    assert_same(found, clustered)


def test_two_workers_of_a_dask_cluster_find_the_same(folder, whole, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(dataset, "TASK_ROWS", 1500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a cluster says of ports and of its closing
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster),
            joblib.parallel_config(backend="dask"),
        ):
            plain = MLIV("series").fit_dataset(folder, *ARGUMENTS)
            clustered = MLIV("series").fit_dataset(folder, *ARGUMENTS, clusters="firm")
    assert_same(plain, whole)
    assert_same(clustered, MLIV("series").fit_dataset(folder, *ARGUMENTS, clusters="firm"))


def test_clusters_are_kept_whole_and_seeds_deal_them_anew(folder):
    roles = Roles("y", ("x1",), ("d1",), ("w1",), None, "name")
    dealt = []
    for seed in (0, 1):
        cells, _ = dataset.deal_cells(5, True, np.random.SeedSequence(seed))
        cell_of = {}
        for piece in source.open_pieces(folder, roles):
            for block in read_blocks(piece, roles, cells, Tally()):
                for label, cell in zip(block.label, block.cell, strict=True):
                    assert cell_of.setdefault(label, cell) == cell
        assert len(cell_of) == 300
        dealt.append(cell_of)
    assert set(dealt[0].values()) == set(range(20))
    assert np.mean([dealt[0][label] == dealt[1][label] for label in dealt[0]]) < 0.15


def test_labels_are_the_same_whatever_holds_them(tmp_path):
    frame = made(4000)
    frame["category"] = frame["name"].astype("category")
    frame["holed"] = frame["firm"].astype("Int64").mask(frame.index == 5)
    written(frame, tmp_path, files=2)
    fits = [
        MLIV("ridge").fit_dataset(tmp_path, *ARGUMENTS, clusters=name)
        for name in ("name", "category")
    ]
    assert_same(*fits)
    with pytest.warns(MissingRowsWarning, match=r"Dropped 1 of 4000 rows .* holed \(1\)"):
        found = MLIV("ridge").fit_dataset(tmp_path, *ARGUMENTS, clusters="holed")
    assert found.n_clusters == (300,)


def test_missing_rows_are_dropped_and_counted(tmp_path):
    frame = made()
    frame["few"] = frame["few"].astype("Int16")
    frame.loc[[3, 700, 5000], "few"] = pd.NA
    frame.loc[[3, 4], "x1"] = np.nan
    written(frame, tmp_path)
    with pytest.warns(MissingRowsWarning, match=r"Dropped 4 of 6000 rows .*: few \(3\), x1 \(2\)"):
        found = MLIV("series").fit_dataset(tmp_path, *ARGUMENTS, weights="weight")
    assert found.nobs == N - 4
    roles = Roles("y", tuple(EXOG), ("d1",), tuple(INSTRUMENTS), "weight")
    assert_same(found, in_memory(tmp_path, roles, MLIV(Series())))


def test_an_instrument_that_says_nothing_leads_to_no_estimate(tmp_path):
    frame = made()
    frame["noise"] = np.random.default_rng(9).normal(size=N)
    written(frame.assign(d1=frame["x1"] + np.random.default_rng(8).normal(size=N)), tmp_path)
    found = MLIV(Series(penalty=1e12), random_state=1).fit_dataset(
        tmp_path, "y", EXOG, "d1", "noise"
    )
    if found.weak:
        assert found.params.isna().all()
    assert not found.conf_int(method="ar").is_bounded


# ---- what is refused, and what a result does not hold --------------------------------------------


def test_what_has_an_entry_for_each_row_is_not_held(whole, tmp_path):
    for name in ("resids", "instrument", "folds"):
        with pytest.raises(InputError, match=f"^{name} has an entry for each row"):
            getattr(whole, name)
    with pytest.raises(InputError, match="not by fold"):
        whole.conf_int(method="ar", ar="folds")
    with pytest.raises(InputError, match="orthogonal"):
        whole.conf_int(method="ar", ar="orthogonal")
    assert "Observations" in str(whole)
    whole.save(tmp_path / "fit.zip")
    loaded = MLIVResults.load(tmp_path / "fit.zip")
    assert_same(loaded, whole)
    with pytest.raises(InputError, match="resids has an entry"):
        loaded.resids  # noqa: B018


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learner": "boosting"}, "use 'series', 'ridge' or 'ols', not boosting"),
        ({"covariates": "recentred"}, "needs covariates='linear'"),
        ({"control_variate": True}, "needs control_variate=False"),
        ({"n_repeats": 2}, "needs n_repeats=1"),
        ({"interact_controls": True}, "needs interact_controls=False"),
        ({"orthogonal": True}, "needs orthogonal=False"),
        ({"n_folds": "loo"}, "give n_folds a number"),
    ],
)
def test_options_that_need_all_rows_are_refused(folder, options, words):
    with pytest.raises(InputError, match=words):
        MLIV(**{"learner": "series", **options}).fit_dataset(folder, *ARGUMENTS)


BAD = {
    "no file": (lambda f: ("nowhere.parquet", *ARGUMENTS), {}, "no file or folder"),
    "in memory": (lambda f: (made(10), *ARGUMENTS), {}, "Data in memory go to fit"),
    "no column": (lambda f: (f, "y", ["x3"], "d1", "w1"), {}, "x3"),
    "twice": (lambda f: (f, "y", ["x1"], "d1", ["w1", "x1"]), {}, "'x1' appears twice"),
    "strings": (lambda f: (f, "y", [], "d1", ["name"]), {}, "'name' .in instruments. holds .*string"),
    "no cluster": (lambda f: (f, *ARGUMENTS), {"clusters": "town"}, "town"),
    "kernel": (lambda f: (f, *ARGUMENTS), {"cov_type": "kernel"}, "have no order"),
    "both": (lambda f: (f, *ARGUMENTS), {"cov_type": "robust", "clusters": "firm"}, "clusters were"),
    "instrument is exog": (
        lambda f: (f, "y", ["x1", "few"], "d1", ["w1", "twice few"]), {}, "linear combination of exog",
    ),
    "collinear": (lambda f: (f, "y", ["few", "twice few"], "d1", "w1"), {}, "nearly collinear"),
    "constant": (lambda f: (f, "y", ["one"], "d1", "w1"), {}, "combination of 'const'"),
    "negative": (lambda f: (f, *ARGUMENTS), {"weights": "x2"}, "must be positive"),
    "infinite": (lambda f: (f, "y", EXOG, "d1", ["w1", "inf"]), {}, "'inf' has 1 infinite"),
    "nothing": (lambda f: (f, "y", EXOG, "d1", ["w1", "nothing"]), {}, "complete; missing values are"),
    "one cluster": (lambda f: (f, *ARGUMENTS), {"clusters": "one"}, "there are too few"),
    "nothing to explain": (lambda f: (f, "one", [], "d1", "w1"), {}, "'one' is constant"),
}  # fmt: skip


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    frame = made()
    frame["twice few"], frame["one"], frame["nothing"] = 2.0 * frame["few"], 1.0, np.nan
    frame["inf"] = np.where(frame.index == N - 1, np.inf, frame["w2"])
    return written(frame, tmp_path_factory.mktemp("odd"))


@pytest.mark.parametrize("case", BAD)
def test_bad_input(odd, case):
    arguments, options, words = BAD[case]
    with pytest.raises(InputError, match=words):
        MLIV("ridge").fit_dataset(*arguments(odd), **options)


def test_too_few_rows_and_no_rows(tmp_path):
    written(made(60), tmp_path, files=1)
    with pytest.raises(InputError, match="data this small go to fit"):
        MLIV("series").fit_dataset(tmp_path, *ARGUMENTS)
    made(60).iloc[:0].to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="is empty"):
        MLIV("series").fit_dataset(tmp_path / "empty.parquet", *ARGUMENTS)
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        MLIV("series").fit_dataset(tmp_path / "text.parquet", *ARGUMENTS)
