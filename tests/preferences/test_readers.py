"""Logs: every format gives the same arrays, and every damage an error that names file and line."""

from __future__ import annotations

import gzip
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mlinstruments._core.exceptions import InputError, MissingExtraError, MissingRowsWarning
from mlinstruments.games.protocols import Protocol
from mlinstruments.preferences import ChoiceData
from mlinstruments.preferences.readers import as_pandas, read_table

GAMES = {"spd_1": ("spd", 90, 65, 25, 10), "tg_1": ("tg", 80, 50, 30, 20)}
STRATEGIES = {"spd_1": ("000", "011", "110"), "tg_1": ("01", "00", "11")}


def make_rows() -> list[dict]:
    return [
        {
            "subject": f"00{subject}",
            "model": "base",
            "protocol_id": name,
            **dict(zip(("game", "T", "R", "P", "S"), GAMES[name], strict=True)),
            "strategy": strategy,
            "draw": draw,
            "belief_1": 0.1 * subject + 1 / 3,
            "belief_2": 0.25,
            "belief_3": 0.5 if name == "spd_1" else None,
            "status": "ok",
            "raw": f'I play "{strategy}",\nfor good. ✓',
        }
        for subject in (1, 2)
        for name in GAMES
        for draw, strategy in enumerate(STRATEGIES[name])
    ]


def make_nodes(rows: list[dict]) -> list[dict]:
    return [
        {k: v for k, v in row.items() if k != "strategy"} | {"node": node, "action": int(bit)}
        for row in rows
        for node, bit in enumerate(row["strategy"])
    ]


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def assert_same(a: ChoiceData, b: ChoiceData, labels: bool = True) -> None:
    assert a.protocols == b.protocols
    for name in ("protocol", "strategy", "count", "beliefs"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.excluded == b.excluded
    for name in a.labels if labels else ("subject", "model", "draw"):
        assert a.labels[name].tolist() == b.labels[name].tolist(), name


@pytest.fixture
def rows() -> list[dict]:
    return make_rows()


@pytest.fixture
def expected(rows) -> ChoiceData:
    return ChoiceData.from_frame(pd.DataFrame(rows))


# ---- formats agree ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["jsonl", "ndjson", "csv", "parquet", "jsonl.gz", "csv.gz"])
def test_formats_give_identical_arrays(rows, expected, tmp_path, ending):
    path = tmp_path / f"log.{ending}"
    plain = tmp_path / f"log.{ending.removesuffix('.gz')}"
    if "json" in ending:
        write_lines(plain, rows)
    elif "csv" in ending:
        pd.DataFrame(rows).to_csv(plain, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    if ending.endswith(".gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    assert_same(ChoiceData.read(path), expected)


def frames(rows):
    yield "records", rows
    yield "polars", pl.DataFrame(rows)
    words = [name for name in ("model", "game", "strategy", "status") if name in rows[0]]
    yield "polars categories", pl.DataFrame(rows).with_columns(pl.col(words).cast(pl.Categorical))
    yield "pyarrow", pa.Table.from_pylist(rows)
    yield "pandas categories", pd.DataFrame(rows).astype(dict.fromkeys(words, "category"))
    yield "pandas nullable", pd.DataFrame(rows).convert_dtypes()


@pytest.mark.parametrize("kind", [name for name, _ in frames(make_rows())])
def test_frame_libraries_agree(rows, expected, kind):
    assert_same(ChoiceData.from_frame(dict(frames(rows))[kind]), expected)


@pytest.mark.parametrize("kind", ["records", "polars", "pyarrow"])
def test_node_frames_agree(rows, expected, kind):
    found = ChoiceData.from_frame(dict(frames(make_nodes(rows)))[kind])
    assert_same(found, expected)


@pytest.mark.parametrize("frame", [{"a": [1]}, np.ones(3), pl.LazyFrame({"a": [1]}), "log", None])
def test_not_a_frame(frame):
    with pytest.raises(InputError, match="must be a pandas, polars or pyarrow data frame"):
        as_pandas(frame, "log")


def test_records_that_are_not_mappings():
    with pytest.raises(InputError, match=r"log, row 1: expected a dictionary .* got \[1\]"):
        as_pandas([{"a": 1}, [1]], "log")


def test_doubled_column_names():
    with pytest.raises(InputError, match="two columns of one name"):
        as_pandas(pd.DataFrame([[1, 2]], columns=["a", "a"]), "log")


def test_the_users_frame_is_left_alone(rows):
    frame = pd.DataFrame(rows, index=range(5, 5 + len(rows)))
    before = frame.copy()
    ChoiceData.from_frame(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_csv_keeps_leading_zeros_and_floats(rows, tmp_path):
    path = tmp_path / "log.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    table = read_table(path)
    assert table["strategy"].tolist() == [row["strategy"] for row in rows]
    assert set(table["subject"]) == {"001", "002"}
    assert table["belief_1"].tolist() == [row["belief_1"] for row in rows]


def test_lines_in_a_csv_with_line_breaks_and_blank_lines(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\n1,"x\ny"\n\n2,\n3,z\n\n')
    assert read_table(path)["_line"].tolist() == [2, 5, 6]
    assert list(read_table(path)) == ["a", "b", "_line"]
    path.write_bytes(b"a,b\r\n1,x\r\n2,y")
    assert read_table(path)["_line"].tolist() == [2, 3]


def test_json_lines_that_differ_in_their_keys(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('\ufeff{"a": 1}\n\n{"b": [1, 0], "a": 2}\n{"a": null, "b": "x"}')
    table = read_table(path)
    assert table["_line"].tolist() == [1, 3, 4]
    assert table["b"].tolist()[1:] == ["[1, 0]", "x"]
    assert table["b"].isna().tolist() == [True, False, False]


def test_many_json_lines_cross_blocks(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [f'{{"a": {i}}}' for i in range(100_001)]
    lines[100_000] = '{"a": 7, "late": 1}'
    path.write_text("\n".join(lines))
    table = read_table(path)
    assert len(table) == 100_001
    assert table["late"].iloc[-1] == 1
    assert table["late"].isna().sum() == 100_000


def one_by_one(path: Path) -> pd.DataFrame:
    """Lists of what every line holds, as pandas takes them."""
    records = [json.loads(line) for line in path.read_bytes().decode().split("\n") if line.strip()]
    names = dict.fromkeys(name for record in records for name in record)
    flat = [
        {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in record.items()}
        for record in records
    ]
    return pd.DataFrame({name: [record.get(name) for record in flat] for name in names})


KINDS = {
    "words": ["x", "y", "ü\n\u2028", "", "1"],
    "words and none": ["x", None, "z"],
    "whole": [1, 2, -3],
    "whole and none": [1, None, 2**60],
    "decimal": [0.1, 1e300, -0.0],
    "decimal and none": [0.1, None],
    "numbers": [1, 2.5, None],
    "too large": [1, 2**63, 2**70],
    "truth": [True, False],
    "truth and none": [True, None],
    "nothing": [None],
    "strange": [float("nan"), float("inf"), 1.0],
    "nested": [[1, "a"], {"b": None}, "x"],
    "anything": [1, "1", None, 1.5, True, [1]],
}


@pytest.mark.parametrize("chunk", [1, 100, 300, 1 << 16])
@pytest.mark.parametrize("seed", range(5))
def test_json_lines_in_chunks_are_as_one_by_one(tmp_path, monkeypatch, chunk, seed):
    """Kinds change on the way, keys come, go and change places, lines are blank or spaced."""
    monkeypatch.setattr("mlinstruments.preferences.readers.CHUNK", chunk)
    rng = np.random.default_rng(seed)
    names = [*KINDS, "turning"]
    lines = []
    for i in range(60):
        turning = KINDS["whole and none"] if i < 30 else KINDS["words and none"]
        record = {n: (KINDS | {"turning": turning})[n] for n in names}
        record = {n: values[rng.integers(len(values))] for n, values in record.items()}
        if i > 20 and rng.random() < 0.2:
            names = list(rng.permutation(names))
        if seed > 1 and rng.random() < 0.1:
            record.pop(names[0])
        if seed > 2 and rng.random() < 0.1:
            record["late"] = [1, "a"][i % 2]
        lines.append(json.dumps(record, ensure_ascii=bool(i % 2)))
        if seed > 3 and rng.random() < 0.1:
            lines[-1] = [" " + lines[-1], lines[-1] + "  ", lines[-1] + "\n\n"][rng.integers(3)]
    path = tmp_path / "log.jsonl"
    text = ("\r\n" if seed == 1 else "\n").join(lines) + ("\n" if seed % 2 else "")
    path.write_bytes(text.encode())
    table = read_table(path)
    pd.testing.assert_frame_equal(table.drop(columns="_line"), one_by_one(path))
    stands = [n for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    assert table["_line"].tolist() == stands


@pytest.mark.parametrize("chunk", [1, 40, 1 << 16])
@pytest.mark.parametrize(
    "bad", ['{"a": 1', '{"a":\n1}', '{"a": 1}{"a": 2}', '{"a": 1}, {"a": 2}', "3", '"a"', "[]", '{"a": 1} 2']
)  # fmt: skip
def test_what_is_no_line_of_its_own_is_found_in_any_chunk(tmp_path, monkeypatch, chunk, bad):
    monkeypatch.setattr("mlinstruments.preferences.readers.CHUNK", chunk)
    path = tmp_path / "log.jsonl"
    good = "".join(f'{{"a": {i}}}\n' for i in range(30))
    path.write_text(good + bad + "\n" + good)
    with pytest.raises(InputError, match=r"line 31: .* The 30 rows before it are intact"):
        read_table(path)
    with pytest.warns(MissingRowsWarning, match="left out"):
        assert read_table(path, partial=True)["a"].tolist() == 2 * list(range(30))


def test_strategies_saved_as_numbers(rows, expected):
    frame = pd.DataFrame(rows)
    frame["strategy"] = frame["strategy"].astype(int)
    assert_same(ChoiceData.from_frame(frame), expected)


def test_unknown_ending(tmp_path):
    with pytest.raises(InputError, match=r"log.xlsx: the file must end in .jsonl"):
        read_table(tmp_path / "log.xlsx")


# ---- damaged files ------------------------------------------------------------------------------


def damaged_jsonl(path: Path, bad: bytes) -> Path:
    good = b'{"a": 1}\n{"a": 2}\n'
    path.write_bytes(good + bad)
    return path


JSON_DAMAGE = {
    "cut off": (b'{"a": 3, "b": "x', r"the line is cut off: '{\"a\": 3"),
    "invalid": (b"{a: 3}\n", "not valid JSON"),
    "two objects": (b'{"a": 3}{"a": 4}\n', "not valid JSON"),
    "array": (b"[3]\n", r"not a JSON object: \[3\]"),
    "number": (b"3\n", "not a JSON object: 3"),
    "latin-1": ('{"a": "é"}\n'.encode("latin-1"), r"byte 8 \(0xe9\) is not UTF-8"),
    "utf-16": ('{"a": 3}\n'.encode("utf-16"), r"byte 1 \(0xff\) is not UTF-8"),
    "nul bytes": (b"\0" * 20 + b"\n", "not valid JSON"),
    "deep": (b"[" * 100_000 + b"\n", "not valid JSON"),
    "huge": (b'{"a": "' + b"x" * 1_000_000, "the line is cut off"),
}


@pytest.mark.parametrize("kind", JSON_DAMAGE)
def test_damaged_json_lines(tmp_path, kind):
    bad, words = JSON_DAMAGE[kind]
    path = damaged_jsonl(tmp_path / "log.jsonl", bad)
    with pytest.raises(InputError, match=rf"log.jsonl, line 3: {words}") as caught:
        read_table(path)
    assert "The 2 rows before it are intact" in str(caught.value)
    assert "partial=True" in str(caught.value)
    assert len(str(caught.value)) < 500
    with pytest.warns(MissingRowsWarning, match=r"^\d unreadable lines? left out; .*line 3"):
        assert read_table(path, partial=True)["a"].tolist()[:2] == [1, 2]


def test_nothing_after_a_damaged_line_is_lost(tmp_path):
    path = damaged_jsonl(tmp_path / "log.jsonl", b'{"a": \n{"a": 4}\nnull\n{"a": 6}')
    with pytest.warns(MissingRowsWarning, match="2 unreadable lines left out"):
        table = read_table(path, partial=True)
    assert table["_line"].tolist() == [1, 2, 4, 6]


CSV_DAMAGE = {
    "cut off": (b"3", "1 fields where the header has 2"),
    "short": (b"3\n4,y\n", "1 fields where the header has 2"),
    "long": (b"3,x,y\n4,y\n", "3 fields where the header has 2"),
    "two lines in one": (b"3,x4,y\n", "3 fields where the header has 2"),
    "latin-1": ("3,é\n".encode("latin-1"), "the line is not UTF-8"),
    "open quote": (b'3,"x\n', "a quote is opened and never closed"),
    "huge": (b"3,x," + b"y" * 1_000_000 + b"\n", "3 fields where the header has 2"),
}


@pytest.mark.parametrize("kind", CSV_DAMAGE)
def test_damaged_csv(tmp_path, kind):
    bad, words = CSV_DAMAGE[kind]
    path = tmp_path / "log.csv"
    path.write_bytes(b'a,b\n1,x\n2,"y\nz"\n' + bad)
    with pytest.raises(InputError, match=rf"log.csv, line 5: {words}") as caught:
        read_table(path)
    assert "The 2 rows before it are intact" in str(caught.value)
    assert len(str(caught.value)) < 500
    with pytest.warns(MissingRowsWarning, match="1 unreadable line left out; .*line 5"):
        table = read_table(path, partial=True)
    after = ["y"] if kind in ("short", "long") else []
    assert table["b"].tolist() == ["x", "y\nz", *after]
    assert table["_line"].tolist()[:2] == [2, 3]


def test_all_rows_longer_than_the_header(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2,3\n4,5,6\n")
    with pytest.raises(InputError, match="line 2: 3 fields where the header has 2"):
        read_table(path)


def test_empty_files(tmp_path):
    for ending in ("csv", "jsonl"):
        (tmp_path / f"log.{ending}").write_text("")
    with pytest.raises(InputError, match=r"log.csv is empty"):
        read_table(tmp_path / "log.csv")
    with pytest.raises(InputError, match=r"log.jsonl"):
        ChoiceData.read(tmp_path / "log.jsonl")


def test_cut_off_parquet(rows, tmp_path):
    path = tmp_path / "log.parquet"
    pd.DataFrame(rows).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"log.parquet is not a whole parquet file"):
        read_table(path)


def test_cut_off_log_read_partially(rows, expected, tmp_path):
    path = write_lines(tmp_path / "log.jsonl", rows)
    with path.open("a") as file:
        file.write(json.dumps(rows[0])[:50])
    with pytest.raises(InputError, match=r"log.jsonl, line 13: the line is cut off"):
        ChoiceData.read(path)
    with pytest.warns(MissingRowsWarning, match="1 unreadable line left out"):
        found = ChoiceData.read(path, partial=True)
    assert_same(found, expected)


# ---- rows that make no sense --------------------------------------------------------------------

BAD_ROWS = {
    "unknown game": ({"game": "chicken", "protocol_id": "c"}, "game must be one of"),
    "payoff order": ({"T": 1, "protocol_id": "c"}, r"must satisfy T > R > P > S"),
    "payoff text": ({"T": "many", "protocol_id": "c"}, "T must be a number; got 'many'"),
    "payoffs of another": ({"S": 5}, "appears with two different games or payoffs"),
    "unknown status": ({"status": "maybe"}, "status 'maybe' is unknown"),
    "no status": ({"status": None}, "status .* is unknown"),
    "strategy too long": ({"strategy": "0111"}, "strategy '0111' is not one of 000"),
    "strategy too short": ({"strategy": "1"}, "strategy '1' is not one of 000"),
    "no strategy": ({"strategy": None}, "is not one of 000"),
    "empty strategy": ({"strategy": ""}, "is not one of 000"),
    "huge strategy": ({"strategy": "1" * 1_000_000}, r"\(1000002 characters\) is not one of"),
    "belief above": ({"belief_2": 1.5}, "belief_2 is 1.5"),
    "belief below": ({"belief_1": -0.1}, "belief_1 is -0.1"),
    "negative count": ({"count": -1}, "count must be a number of at least 0; got -1"),
    "no count": ({"count": None}, "count must be a number of at least 0; got nan"),
    "infinite count": ({"count": float("inf")}, "count must be a number of at least 0; got inf"),
    "no protocol": ({"protocol_id": None}, "protocol_id is missing"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_rows_that_make_no_sense(rows, tmp_path, kind, ending):
    change, words = BAD_ROWS[kind]
    rows = [dict(row, count=1) for row in rows]
    # Excluded rows above must not shift the line that is named.
    rows.insert(0, dict(rows[0], status="refusal", strategy=None, raw="No.", draw=99))
    rows[7] = {**rows[7], "raw": "short", **change, "draw": 50}
    path = tmp_path / f"log.{ending}"
    if ending == "jsonl":
        write_lines(path, rows)
        place = "line 8"
    elif ending == "csv":
        frame = pd.DataFrame(rows)
        frame.to_csv(path, index=False)
        place = f"line {2 + 1 + 2 * 6}"  # header, the refusal, six rows of two lines
    else:
        if isinstance(change.get("T"), str):
            pytest.skip("a parquet column has one type")
        pd.DataFrame(rows).to_parquet(path)
        place = "row 7"
    with pytest.raises(InputError, match=rf"log.{ending}, {place}: .*{words}") as caught:
        ChoiceData.read(path)
    assert len(str(caught.value)) < 600


def test_duplicate_draws(rows, tmp_path):
    path = write_lines(tmp_path / "log.jsonl", [*rows, rows[2]])
    with pytest.raises(InputError, match=r"line 13: .*draw 2 is also in line 3\."):
        ChoiceData.read(path)


@pytest.mark.parametrize("column", ["template", "temperature", "model", "subject"])
def test_draws_of_different_conditions_are_no_duplicates(rows, column):
    for row in rows:
        row.setdefault(column, "a")
    again = [dict(row, **{column: f"{row[column]} b"}) for row in rows]
    assert ChoiceData.from_frame(pd.DataFrame([*rows, *again])).n_choices == 2 * len(rows)


def test_probabilities_share_a_draw(rows):
    shared = [
        dict(rows[0], strategy=strategy, probability=p)
        for strategy, p in (("000", 0.25), ("110", 0.75))
    ]
    assert ChoiceData.from_frame(pd.DataFrame(shared)).n_choices == 1
    with pytest.raises(InputError, match=r"row 2: .*is also in row 0"):
        ChoiceData.from_frame(pd.DataFrame([*shared, shared[0]]))


def test_parse_errors_may_be_tried_again(rows):
    failed = dict(rows[0], status="parse_error", strategy=None)
    found = ChoiceData.from_frame(pd.DataFrame([failed, *rows]))
    assert found.n_choices == len(rows)
    assert found.excluded == {"parse_error": 1}


def test_mixed_prompts(rows, tmp_path):
    rows = [dict(row, prompt_hash="aaa" if row["subject"] == "001" else "bbb") for row in rows]
    path = write_lines(tmp_path / "log.jsonl", rows)
    with pytest.raises(
        InputError, match=r"line 7: prompt_hash 'bbb', but 'aaa' in line 1 .* column template"
    ):
        ChoiceData.read(path)
    told = [dict(row, template=row["prompt_hash"]) for row in rows]
    assert ChoiceData.from_frame(pd.DataFrame(told)).n_choices == len(rows)


def test_every_node_may_have_its_own_prompt(rows):
    nodes = [dict(row, prompt_hash=f"{row['node']}") for row in make_nodes(rows)]
    assert ChoiceData.from_frame(pd.DataFrame(nodes)).n_choices == len(rows)


def test_answers_that_are_no_choices_are_counted(rows, expected):
    others = [
        dict(rows[0], status=status, strategy=None, draw=10 + i)
        for i, status in enumerate(["refusal", "parse_error", "ambiguous", "refusal"])
    ]
    found = ChoiceData.from_frame(pd.DataFrame([others[0], *rows, *others[1:]]))
    assert found.excluded == {"refusal": 2, "ambiguous": 1, "parse_error": 1}
    np.testing.assert_array_equal(found.strategy, expected.strategy)
    with pytest.raises(InputError, match="holds no choice"):
        ChoiceData.from_frame(pd.DataFrame(others))


def test_huge_answers(rows, expected, tmp_path):
    rows = [dict(row, raw="x, \n" * 250_000) for row in rows]
    for ending in ("jsonl", "csv"):
        path = tmp_path / f"log.{ending}"
        write_lines(path, rows) if ending == "jsonl" else pd.DataFrame(rows).to_csv(path)
        assert_same(ChoiceData.read(path), expected, labels=False)


# ---- nodes --------------------------------------------------------------------------------------


def test_nodes_in_any_order(rows, expected):
    nodes = make_nodes(rows)
    order = np.random.default_rng(0).permutation(len(nodes))
    found = ChoiceData.from_frame(pd.DataFrame([nodes[i] for i in order]))
    key = ["subject", "protocol_id", "draw"]
    for data in (found, expected):
        assert len(pd.DataFrame({k: data.labels[k] for k in key}).drop_duplicates()) == len(rows)
    words = [
        sorted(
            zip(
                *(data.labels[k] for k in key),
                [
                    data.protocols[p].strategies[s]
                    for p, s in zip(data.protocol, data.strategy, strict=True)
                ],
                strict=True,
            )
        )
        for data in (found, expected)
    ]
    assert words[0] == words[1]


def test_incomplete_strategies_are_counted(rows):
    nodes = make_nodes(rows)
    nodes[0]["status"] = "refusal"
    nodes[4]["action"] = None
    with pytest.warns(MissingRowsWarning, match="2 of 12 strategies lack an action"):
        found = ChoiceData.from_frame(pd.DataFrame(nodes))
    assert found.n_choices == 10
    assert found.excluded == {"refusal": 1, "incomplete": 2}


def test_no_complete_strategy(rows):
    nodes = [row for row in make_nodes(rows) if row["node"] == 0]
    with pytest.raises(InputError, match="none of 12 strategies has an action at every node"):
        ChoiceData.from_frame(pd.DataFrame(nodes))


BAD_NODES = {
    "action": ({"action": 2}, "action must be one of 0, 1; got 2"),
    "action text": ({"action": "C"}, "action must be one of 0, 1; got 'C'"),
    "node": ({"node": 7}, "node must be one of 0, 1, 2; got 7"),
    "no node": ({"node": None}, "node must be one of 0, 1, 2; got "),
    "node of another game": (
        {"game": "tg", "protocol_id": "tg_1", "T": 80, "R": 50, "P": 30, "S": 20},
        "node 2 is not in 'tg', whose nodes are 0 to 1",
    ),
    "unknown game": ({"game": "chicken"}, "game 'chicken' is unknown; it is one of spd, tg"),
    "payoffs": ({"T": 95}, "T is 95, but 90 in line 1, another node"),
    "belief": ({"belief_1": 0.9}, "belief_1 is 0.9, but 0.4333"),
    "belief text": ({"belief_1": "high"}, "belief_1 must be a number; got 'high'"),
}


@pytest.mark.parametrize("kind", BAD_NODES)
def test_nodes_that_make_no_sense(rows, tmp_path, kind):
    change, words = BAD_NODES[kind]
    nodes = make_nodes(rows)
    nodes[2].update(change)
    path = write_lines(tmp_path / "log.jsonl", nodes)
    with pytest.raises(InputError, match=rf"log.jsonl, line 3: {words}"):
        ChoiceData.read(path)


def test_duplicate_nodes(rows, tmp_path):
    nodes = make_nodes(rows)
    path = write_lines(tmp_path / "log.jsonl", [*nodes, nodes[1]])
    with pytest.raises(InputError, match=rf"line {len(nodes) + 1}: .*node 1 is also in line 2\."):
        ChoiceData.read(path)


def test_a_belief_stated_at_its_own_node(rows, expected):
    nodes = make_nodes(rows)
    for row in nodes:
        for j in range(3):
            if row["node"] != j:
                row[f"belief_{j + 1}"] = None
    assert_same(ChoiceData.from_frame(pd.DataFrame(nodes)), expected)


def test_columns_that_differ_between_nodes_are_left_out(rows):
    nodes = [dict(row, option_order=row["node"], wave=3) for row in make_nodes(rows)]
    labels = ChoiceData.from_frame(pd.DataFrame(nodes)).labels
    assert "wave" in labels
    assert "option_order" not in labels


def test_parquet_without_pyarrow(monkeypatch, tmp_path):
    def refuse(path):
        raise ImportError("no engine")

    monkeypatch.setattr(pd, "read_parquet", refuse)
    with pytest.raises(MissingExtraError, match=r"pyarrow is needed .*mlinstruments\[parquet\]"):
        read_table(tmp_path / "log.parquet")


def test_reading_needs_no_optional_package(rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ChoiceData.from_frame(rows).n_choices == 12


def test_protocols_are_read_once(expected):
    assert expected.protocols == tuple(Protocol(*GAMES[name], id=name) for name in GAMES)
