"""Folders of save_pretrained: one file or many, any float, with and without what older versions left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_files import (
    DIMS,
    HF_CONFIG,
    bfloat16,
    contents,
    described,
    hf_folder,
    hf_name,
    random_weights,
    safetensors,
    zip_form,
)

from npwhisper.checkpoint import CheckpointError, read_checkpoint
from npwhisper.checkpoint.weights import convert
from npwhisper.model.layers import sinusoids


def hf_weights(dtype: str = "float32") -> dict[str, np.ndarray]:
    return {hf_name(name): array for name, array in random_weights(dtype).items()}


def assert_equal(read: dict[str, np.ndarray], dtype: str = "float32") -> None:
    weights = random_weights(dtype)
    assert read.keys() == weights.keys()
    for name, array in weights.items():
        assert np.array_equal(read[name], array), name


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_one_file(tmp_path: Path, dtype: str) -> None:
    tied = {"proj_out.weight": np.zeros((17, 64), dtype)}
    folder = hf_folder(tmp_path / "m", {"model.safetensors": safetensors(hf_weights(dtype) | tied, {"format": "pt"})})
    read = read_checkpoint(folder)
    assert_equal(read.weights, dtype)
    assert (read.dims, read.alignment_heads) == (DIMS, None)


def test_bfloat16(tmp_path: Path) -> None:
    halves = {name: bfloat16(array) for name, array in hf_weights().items()}
    read = read_checkpoint(hf_folder(tmp_path / "m", {"model.safetensors": safetensors(halves, dtype="BF16")}))
    for name, array in read.weights.items():
        assert np.array_equal(array.view(np.uint32) >> 16, halves[hf_name(name)]), name


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_many_files(tmp_path: Path, ending: str) -> None:
    weights = hf_weights()
    stem = "model" if ending == "safetensors" else "pytorch_model"
    files: dict[str, Any] = {}
    for i in range(3):
        part = dict(list(weights.items())[i::3])
        data = safetensors(part) if ending == "safetensors" else zip_form(described(part), contents(part))
        files[f"{stem}-0000{i + 1}-of-00003.{ending}"] = data
    names = list(files)
    weight_map = {name: names[i % 3] for i, name in enumerate(weights)}
    files[f"{stem}.{ending}.index.json"] = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    assert_equal(read_checkpoint(hf_folder(tmp_path / "m", files)).weights)


def test_pytorch_model_bin(tmp_path: Path) -> None:
    weights = hf_weights()
    folder = hf_folder(tmp_path / "m", {"pytorch_model.bin": zip_form(described(weights), contents(weights))})
    assert_equal(read_checkpoint(folder).weights)


def test_safetensors_come_before_pickles(tmp_path: Path) -> None:
    files = {"model.safetensors": safetensors(hf_weights()), "pytorch_model.bin": b"never opened"}
    assert_equal(read_checkpoint(hf_folder(tmp_path / "m", files)).weights)


def test_a_single_file_of_a_folder_opens_too(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "m", {"model.safetensors": safetensors(hf_weights())})
    read = read_checkpoint(folder / "model.safetensors")
    assert_equal(read.weights)
    assert read.dims == DIMS


def test_an_absent_table_of_the_encoder_is_computed(tmp_path: Path) -> None:
    weights = hf_weights()
    del weights["model.encoder.embed_positions.weight"]
    read = read_checkpoint(hf_folder(tmp_path / "m", {"model.safetensors": safetensors(weights)}))
    assert np.array_equal(read.weights["encoder.positional_embedding"], sinusoids(11, 64))


@pytest.mark.parametrize(
    ("generation", "heads"),
    [
        ({"alignment_heads": [[1, 0], [0, 0]]}, [(1, 0), (0, 0)]),
        ({"alignment_heads": [[5, 3]]}, None),  # the teacher's, left in a distilled model
        ({"alignment_heads": None}, None),
        ({"alignment_heads": []}, None),
        ({}, None),
    ],
)
def test_alignment_heads(tmp_path: Path, generation: Any, heads: Any) -> None:
    files = {"model.safetensors": safetensors(hf_weights()), "generation_config.json": generation}
    folder = hf_folder(tmp_path / "m", files)
    assert read_checkpoint(folder).alignment_heads == heads
    convert(folder, tmp_path / "m.safetensors")
    assert read_checkpoint(tmp_path / "m.safetensors").alignment_heads == heads


GOOD = safetensors(hf_weights())
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no weights": ({}, "neither model.safetensors nor pytorch_model.bin"),
    "adapter": ({"adapter_config.json": {}}, "merge the adapter"),
    "no config": ({"config.json": b""}, "config.json is not JSON"),
    "config is a list": ({"config.json": []}, "config.json is not a JSON object"),
    "deep config": ({"config.json": b"[" * 100_000}, "config.json is not JSON"),
    "endless config": ({"config.json": b" " * 10_000_001}, "no settings file"),
    "other model": ({"config.json": {"model_type": "bert"}}, "not of a Whisper model"),
    "size missing": ({"config.json": {"model_type": "whisper"}, "model.safetensors": GOOD}, "n_mels is a NoneType"),
    "size negative": ({"config.json": {**HF_CONFIG, "vocab_size": -1}, "model.safetensors": GOOD}, "n_vocab is -1"),
    "size huge": ({"config.json": {**HF_CONFIG, "decoder_layers": 10**9}, "model.safetensors": GOOD}, "n_text_layer"),
    "other activation": ({"config.json": {**HF_CONFIG, "activation_function": "relu"}}, "another activation"),
    "path in index": (
        {"model.safetensors.index.json": {"weight_map": {"x": "../other.safetensors"}}},
        "not a plain name",
    ),
    "absolute path": ({"model.safetensors.index.json": {"weight_map": {"x": "/etc/passwd"}}}, "not a plain name"),
    "hidden file": ({"model.safetensors.index.json": {"weight_map": {"x": ".."}}}, "not a plain name"),
    "index of numbers": ({"model.safetensors.index.json": {"weight_map": {"x": 3}}}, "no weight_map"),
    "index of nothing": ({"model.safetensors.index.json": {}}, "no weight_map"),
    "part missing": ({"model.safetensors.index.json": {"weight_map": {"x": "a.safetensors"}}}, "no file"),
    "same tensor twice": (
        {
            "model.safetensors.index.json": {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}},
            "a.safetensors": GOOD,
            "b.safetensors": GOOD,
        },
        "is in two of the files",
    ),
    "pickle in safetensors' clothes": ({"model.safetensors": b"\x80\x02cos\nsystem\n."}, "no checkpoint"),
}


@pytest.mark.parametrize(("files", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_folders(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(hf_folder(tmp_path / "m", files))
