"""Checksums of models: what answers depend on, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents.weights import checksum


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "a"}))
    (folder / "config.json").write_text(json.dumps({"transformers_version": "5.23"}))
    return folder


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", "other weights"),
        ("pytorch_model.bin", "more weights"),
        ("tokenizer.json", '{"model": 1}'),
        ("chat_template.jinja", "{{ messages[0] }}"),
        ("tokenizer_config.json", '{"chat_template": "b"}'),
    ],
)
def test_a_change_of_what_answers_depend_on_is_another_model(
    file: str, content: str, model: Path
) -> None:
    before = checksum(model)
    (model / file).write_text(content)
    assert checksum(model) != before


def test_versions_of_libraries_are_not_part_of_a_model(model: Path) -> None:
    before = checksum(model)
    (model / "config.json").write_text(json.dumps({"transformers_version": "6.0"}))
    (model / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": "a", "transformers_version": "6.0"})
    )
    assert checksum(model) == before


def test_the_same_bytes_under_other_names_are_another_model(model: Path) -> None:
    before = checksum(model)
    (model / "model.safetensors").rename(model / "adapter.safetensors")
    assert checksum(model) != before


def test_a_folder_without_weights_is_refused(model: Path) -> None:
    (model / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no weights: none of \*.safetensors, \*.bin"):
        checksum(model)
