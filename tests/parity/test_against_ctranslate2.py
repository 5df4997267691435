"""Folders that the ctranslate2 library wrote, in every type of numbers; and that library on files of older versions.

The library's specification of a Whisper model is filled with OpenAI's `tiny.en`, quantised and saved by the library
itself. What faster-whisper and ours write about a recording from the same folder must be the same text. Files of
versions 3 to 5 are written by the tests: the library opens them, so their layout is the one it knows.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import cases
import checkpoint_files as files
import numpy as np
import pytest
import upstream

import npwhisper
from npwhisper.checkpoint import read_checkpoint
from npwhisper.checkpoint.ctranslate2 import read_variables
from npwhisper.checkpoint.mapped import map_file
from npwhisper.tracing.seam import Array

specs = pytest.importorskip("ctranslate2.specs")
faster_whisper = pytest.importorskip("faster_whisper")

TYPES = ("float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16")
STORED = {"int16": np.int16, "int8": np.int8}
BESIDES = ("config.json", "tokenizer.json", "vocabulary.txt")


def original() -> Path:
    return upstream.weights_folder() / "tiny.en-ct2"


@cache
def tensors() -> dict[str, Array]:
    """OpenAI's tensors and the options, by CTranslate2's names, without aliases."""
    variables = read_variables(map_file(original() / "model.bin"))
    return {name: array for name, array in variables.items() if not name.startswith("decoder/projection/")}


def saved_by_the_library(folder: Path, quantization: str) -> Path:
    """A folder whose `model.bin` the ctranslate2 library filled, quantised and wrote."""
    spec = specs.WhisperSpec(4, 6, 4, 6)
    for name, array in tensors().items():
        scope, _, attribute = name.rpartition("/")
        part = specs.model_spec.index_spec(spec, scope) if scope else spec
        setattr(part, attribute, array[()] if array.ndim == 0 else np.array(array, np.float32))
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    spec.register_vocabulary((original() / "vocabulary.txt").read_text(encoding="utf-8").split("\n")[:51864])
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir()
    spec.save(str(folder))
    return with_the_rest(folder, ("config.json", "tokenizer.json"))


def with_the_rest(folder: Path, names: tuple[str, ...] = BESIDES) -> Path:
    for name in names:
        shutil.copy(original() / name, folder / name)
    return folder


def texts(folder: Path) -> tuple[str, str]:
    """What ours and faster-whisper write about one recording from one folder, both in float32."""
    samples = npwhisper.load_audio(cases.recordings()["jfk"])
    options: dict[str, Any] = {"language": "en", "temperature": 0.0, "without_timestamps": True}
    theirs = faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=2)
    segments, _ = theirs.transcribe(samples, beam_size=1, **options)
    ours = npwhisper.load_model(folder).transcribe(samples, **options)["text"]
    return ours.strip(), "".join(segment.text for segment in segments).strip()


@pytest.mark.parametrize("quantization", TYPES)
def test_what_the_library_wrote_gives_the_same_text(quantization: str, tmp_path: Path) -> None:
    folder = saved_by_the_library(tmp_path / "ct2", quantization)
    stored = read_variables(map_file(folder / "model.bin"))["encoder/layer_0/ffn/linear_0/weight"]
    assert stored.dtype == STORED.get(
        quantization.split("_")[0], np.float16 if quantization == "float16" else np.float32
    )
    found, expected = texts(folder)
    assert found == expected
    assert found.startswith("And so my fellow Americans")


@pytest.mark.parametrize(("quantization", "tolerance"), [("float32", 0), ("float16", 0), ("bfloat16", 2**-8)])
def test_floats_are_openais(quantization: str, tolerance: float, tmp_path: Path) -> None:
    found = read_checkpoint(saved_by_the_library(tmp_path / "ct2", quantization)).weights
    for name, array in read_checkpoint(original()).weights.items():
        np.testing.assert_allclose(np.float32(found[name]), np.float32(array), rtol=tolerance, err_msg=name)


@pytest.mark.parametrize("quantization", ["int16", "int8"])
def test_integers_are_within_half_a_step(quantization: str, tmp_path: Path) -> None:
    """A row's step is its largest number by 127; a matrix's, of 16 bits, its largest number by 1024."""
    found = read_checkpoint(saved_by_the_library(tmp_path / "ct2", quantization)).weights
    for name, array in read_checkpoint(original()).weights.items():
        exact = np.float32(array)
        if array.ndim == 1 or "positional" in name:
            np.testing.assert_array_equal(found[name], exact)
            continue
        rows = np.abs(exact.reshape(len(exact), -1)).max(axis=1)
        step = rows / 127 if quantization == "int8" else np.full_like(rows, np.inf)
        error = np.abs(found[name] - exact).reshape(len(exact), -1).max(axis=1)
        assert (error <= 0.501 * step).all(), name
        assert error.max() <= np.abs(exact).max() / 127, name


@pytest.mark.parametrize("version", [3, 4, 5, 6])
def test_the_library_opens_older_versions_as_ours_does(version: int, tmp_path: Path) -> None:
    folder = tmp_path / "ct2"
    folder.mkdir()
    variables = {n: np.array(a, np.float32) if a.dtype.kind == "f" else np.array(a) for n, a in tensors().items()}
    (folder / "model.bin").write_bytes(files.ct2(variables, version))
    found, expected = texts(with_the_rest(folder))
    assert found == expected
    assert found.startswith("And so my fellow Americans")
