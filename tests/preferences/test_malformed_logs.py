"""Malformed logs: each error names file and line in few words, and costs nothing but that line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments.games.protocols import Protocol
from mlinstruments.preferences import AllocationChoices, ChoiceData
from mlinstruments.preferences.readers import read_table

HUGE = "x" * 1_000_000
# A message with a path, 80 characters of the offending value and a remedy.
SHORT = 600
BAD = 8  # the line that is damaged: a header or the first row is line 1

TG = {"protocol_id": "a", "game": "tg", "T": 80, "R": 50, "P": 30, "S": 20}
UG = {"protocol_id": "b", "game": "ug", "T": 70, "R": 50, "P": 10, "S": 30}


def rows() -> list[dict[str, Any]]:
    return [
        {**game, "subject": subject, "draw": draw, "prompt_hash": game["game"], "count": 1,
         "belief_1": 0.5, "belief_2": 0.25, "strategy": strategy, "raw": f"Ich wähle {strategy}."}
        for subject in ("s1", "s2")
        for game in (TG, UG)
        for draw, strategy in enumerate(("00", "01", "11"))
    ]  # fmt: skip


def lines_of(table: list[dict[str, Any]], ending: str) -> list[bytes]:
    if ending == "jsonl":
        return [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in table]
    return pd.DataFrame(table).to_csv(index=False).encode().splitlines(keepends=True)


def changed(**values: Any) -> Callable[[list[dict], str], list[bytes]]:
    """The log with some values of the bad line changed."""

    def make(table: list[dict], ending: str) -> list[bytes]:
        position = BAD - (1 if ending == "jsonl" else 2)
        table[position] = table[position] | values
        return lines_of(table, ending)

    return make


def twice(table: list[dict], ending: str) -> list[bytes]:
    """An earlier row once more."""
    position = BAD - (1 if ending == "jsonl" else 2)
    return lines_of([*table[:position], table[1], *table[position:]], ending)


def cut_off(table: list[dict], ending: str) -> list[bytes]:
    lines = lines_of(table, ending)[:BAD]
    return [*lines[:-1], lines[-1][:25]]


def latin(table: list[dict], ending: str) -> list[bytes]:
    lines = lines_of(table, ending)
    lines[BAD - 1] = lines[BAD - 1].decode().encode("latin-1")
    return lines


DAMAGE = {
    "cut off": (cut_off, r"the line is cut off: '\{|\d+ fields where the header has \d+"),
    "not UTF-8": (latin, r"byte \d+ \(0xe4\) is not UTF-8 text|the line is not UTF-8 text"),
    "unknown game": (
        changed(game="chicken", protocol_id="c"),
        "game must be one of .* got 'chicken'",
    ),
    "payoff order": (changed(T=40, protocol_id="c"), "payoffs of .* must satisfy T > R"),
    "payoff missing": (changed(T=None, protocol_id="c"), "payoffs must be finite"),
    "payoff text": (changed(T="many", protocol_id="c"), "T must be a number; got 'many'"),
    "payoff without end": (changed(T=float("inf")), "payoffs must be finite"),
    "payoffs of another": (
        changed(S=25, T=75, R=55),
        "appears with two different games or payoffs",
    ),
    "draw twice": (twice, r"draw 1, .* is also in line [23]\."),
    "mixed prompts": (changed(prompt_hash="other"), "prompt_hash 'other', but '.g' in .*line"),
    "belief text": (changed(belief_2="high"), "belief_2 must be a number; got 'high'"),
    "count text": (changed(count="many"), "count must be a number; got 'many'"),
    "huge game": (
        changed(game=HUGE, protocol_id="c"),
        r"game must .* got 'x+\.\.\. \(1000002 characters\)",
    ),
    "huge payoff": (
        changed(T=HUGE, protocol_id="c"),
        r"T must be a number; got 'x+\.\.\. \(1000002",
    ),
    "huge id": (
        changed(T=40, protocol_id=HUGE),
        r"protocol 'x+\.\.\. \(1000002 characters\): payoffs",
    ),
    "huge strategy": (
        changed(strategy=HUGE),
        r"strategy 'x+\.\.\. \(1000002 characters\) is not one",
    ),
    "huge belief": (changed(belief_1=HUGE), r"belief_1 must be a number; got 'x+\.\.\. \(1000002"),
    "huge count": (changed(count=HUGE), r"count must be a number; got 'x+\.\.\. \(1000002"),
}


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_the_error_names_file_and_line_and_the_rest_is_intact(tmp_path, kind, ending):
    make, words = DAMAGE[kind]
    lines = make(rows(), ending)
    path = tmp_path / f"log.{ending}"
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=words) as caught:
        ChoiceData.read(path)
    assert str(caught.value).startswith(f"{path}, line {BAD}: ")
    assert len(str(caught.value)) < SHORT + len(str(path))
    assert path.read_bytes() == b"".join(lines)  # nothing is written to the log
    # Without that line everything else is read, as it stands in the undamaged log.
    path.write_bytes(b"".join(lines[: BAD - 1] + lines[BAD:]))
    found = ChoiceData.read(path)
    assert found.n_choices == len(lines) - (1 if ending == "jsonl" else 2)
    whole = ChoiceData.from_frame(rows())
    position = BAD - (1 if ending == "jsonl" else 2)
    expected = whole.strategy.tolist()
    if kind != "draw twice":
        del expected[position]
    assert found.strategy.tolist() == expected[: len(found.strategy)]


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_huge_answers_are_read_whole(tmp_path, ending):
    path = tmp_path / f"log.{ending}"
    path.write_bytes(b"".join(changed(raw=HUGE)(rows(), ending)))
    assert read_table(path)["raw"].str.len().max() == 1_000_000
    assert ChoiceData.read(path).n_choices == 12


# ---- what is damaged otherwise ------------------------------------------------------------------


def test_half_a_character_in_an_answer_is_kept_as_written(tmp_path):
    """An emoji whose second half fell to a limit of tokens is valid JSON and no text."""
    lines = lines_of(rows(), "jsonl")
    lines[3] = lines[3].replace(b"Ich", b"\\ud83d")
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(lines))
    assert read_table(path)["raw"].iloc[3].startswith("\\ud83d wähle")
    assert ChoiceData.read(path).n_choices == 12
    path.write_bytes(b"".join(lines).replace(b"\\ud83d", b"\\ud83d\\ude00"))
    assert read_table(path)["raw"].iloc[3].startswith("😀 wähle")


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
@pytest.mark.parametrize("damage", ["cut off", "not gzip", "overwritten"])
def test_damaged_gzip_files(tmp_path, ending, damage):
    packed = bytearray(gzip.compress(b"".join(lines_of(rows(), ending)), mtime=0))
    if damage == "overwritten":
        packed[60:80] = bytes(20)
    path = tmp_path / f"log.{ending}.gz"
    path.write_bytes({"cut off": packed[:-30], "not gzip": b"{}\n"}.get(damage, bytes(packed)))
    for partial in (False, True):
        with pytest.raises(InputError, match=rf"log.{ending}.gz is not a whole gzip file"):
            ChoiceData.read(path, partial=partial)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_header_that_cannot_be_read(tmp_path, encoding):
    text = b"".join(lines_of(rows(), "csv")).decode().replace("subject", "versuchsperson_ä")
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode(encoding))
    for partial in (False, True):
        with pytest.raises(InputError, match=r"log.csv, line 1: .*not UTF-8.*the header") as caught:
            ChoiceData.read(path, partial=partial)
        assert "rows before it" not in str(caught.value)


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_cut_off_gzip_file_says_how_far_it_can_be_read(tmp_path, ending):
    lines = lines_of(rows() * 4000, ending)  # several pieces, of which reading joins some
    packed = gzip.compress(b"".join(lines), mtime=0)
    path = tmp_path / f"log.{ending}.gz"
    path.write_bytes(packed[: len(packed) // 2])
    unpacked = zlib.decompressobj(wbits=31).decompress(packed[: len(packed) // 2])
    whole = unpacked.count(b"\n")
    assert 0 < whole < len(lines)
    for partial in (False, True):
        with pytest.raises(InputError, match=rf"it can be read up to line {whole}\."):
            ChoiceData.read(path, partial=partial)


def test_allocations_that_are_no_numbers_are_named():
    table = pd.DataFrame(
        {"a": [1, "two"], "b": [3, 4], "oa": [1, 1], "ob": [2, 2], "chosen": [0, 1], "s": [1, 1]}
    )
    options = {"own": ("a", "b"), "other": ("oa", "ob"), "characteristics": {"w": "s"}}
    with pytest.raises(InputError, match="data, row 1: a must be a number; got 'two'"):
        AllocationChoices.from_frame(table, chosen="chosen", **options)
    with pytest.raises(InputError, match="data has no column 'took'"):
        AllocationChoices.from_frame(table.assign(a=1), chosen="took", **options)


def test_damage_of_several_kinds_read_partially(tmp_path):
    lines = lines_of(rows(), "jsonl")
    lines[2] = b"{not json}\n"
    lines[5] = lines[5].decode().encode("latin-1")
    lines.append(lines[0][:30])
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(lines))
    with pytest.warns(
        MissingRowsWarning, match=r"3 unreadable lines left out; the first: .*line 3"
    ):
        assert ChoiceData.read(path, partial=True).n_choices == 10


def test_a_number_too_large_for_any_payoff():
    big = [row | {"T": 10**400} for row in rows()]
    with pytest.raises(InputError, match="row 0: T must be a number; got 1000"):
        ChoiceData.from_frame(big)
    assert Protocol("tg", 80, 50, 30, 20).T == 80
