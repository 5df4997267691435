"""Folders of save_pretrained: one file or many, any float, with and without what older versions left out."""

from __future__ import annotations

import json
import os
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
    hf_weights,
    mlx_weights,
    random_weights,
    safetensors,
    zip_form,
)

from npwhisper.checkpoint import CheckpointError, read_checkpoint
from npwhisper.checkpoint.vocabulary import CheckpointWarning, no_timestamps_id, only_whisper_tokens
from npwhisper.checkpoint.weights import convert
from npwhisper.model.layers import sinusoids


def assert_equal(read: dict[str, np.ndarray], dtype: str = "float32") -> None:
    weights = random_weights(dtype)
    assert read.keys() == weights.keys()
    for name, array in weights.items():
        assert np.array_equal(read[name], array), name


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_one_file(tmp_path: Path, dtype: str) -> None:
    tied = {"proj_out.weight": hf_weights(dtype)["model.decoder.embed_tokens.weight"]}
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


# --- what people really have ------------------------------------------------------------------------------------------

CONTENTS = {
    "adapter": (
        {"adapter_config.json": {"base_model_name_or_path": "openai/whisper-tiny.en", "peft_type": "LORA"}},
        r"LoRA adapter of 'openai/whisper-tiny.en', not a model: merge",
    ),
    "trainer": ({"checkpoint-500/config.json": {}, "training_args.bin": b"x"}, "such as 'checkpoint-500'"),
    "Flax": ({"config.json": HF_CONFIG, "flax_model.msgpack": b"\x81abc"}, "only Flax weights: convert them with"),
    "TensorFlow": ({"config.json": HF_CONFIG, "tf_model.h5": b"\x89HDF"}, "only TensorFlow weights: convert them with"),
    "ONNX": ({"config.json": HF_CONFIG, "onnx/encoder_model.onnx": b"\x08\x07"}, "ONNX graphs: open the checkpoint"),
    "a .pt": ({"tiny.pt": b"x"}, "contains a .pt file: give the path of that file"),
    "nothing": ({"readme": b"x"}, "no readable config.json"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_other_folders_get_advice(tmp_path: Path, name: str) -> None:
    files, message = CONTENTS[name]
    for file, content in files.items():
        path = tmp_path / "m" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "m")


def grown(rows: int, mels: int = 80) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    embedding = np.zeros((rows, 4), np.float16)
    return {"decoder.token_embedding.weight": embedding}, {"n_vocab": rows, "n_mels": mels}


@pytest.mark.parametrize(
    ("rows", "mels", "told", "whisper"),
    [
        (51866, 80, None, 51865),
        (51868, 80, None, 51865),
        (51904, 80, 50363, 51865),
        (51872, 80, 50362, 51864),
        (51904, 128, None, 51866),
        (51868, 128, 50364, 51866),
    ],
)
def test_added_tokens_are_left_out_with_a_warning(rows: int, mels: int, told: int | None, whisper: int) -> None:
    with pytest.warns(CheckpointWarning, match=f"last {rows - whisper} of {rows} tokens are not Whisper"):
        weights, dims = only_whisper_tokens(*grown(rows, mels), told)
    assert (len(weights["decoder.token_embedding.weight"]), dims["n_vocab"]) == (whisper, whisper)


@pytest.mark.parametrize(("rows", "mels", "told"), [(51864, 80, 50362), (51865, 80, None), (51866, 128, None)])
def test_official_vocabularies_stay_as_they_are(rows: int, mels: int, told: int | None) -> None:
    assert only_whisper_tokens(*grown(rows, mels), told)[1]["n_vocab"] == rows


@pytest.mark.parametrize(
    "files",
    [
        {"generation_config.json": {"no_timestamps_token_id": 50363}},
        {"added_tokens.json": {"<|notimestamps|>": 50363}},
        {"tokenizer.json": {"added_tokens": [{"content": "x"}, {"content": "<|notimestamps|>", "id": 50363}]}},
    ],
)
def test_the_control_tokens_are_read_from_the_settings(tmp_path: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert no_timestamps_id(tmp_path) == 50363
    assert no_timestamps_id(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("rows", "start", "expected"),
    [(51870, 50257, 50362), (51870, 50258, None), (51865, 50257, None), (51864, 50257, None), (51870, None, None)],
)
def test_the_first_token_tells_a_grown_english_vocabulary(tmp_path: Path, rows: int, start: Any, expected: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": rows, "decoder_start_token_id": start}))
    assert no_timestamps_id(tmp_path) == expected


@pytest.mark.parametrize("place", ["", "model.safetensors"])
def test_an_output_projection_of_its_own_is_refused(tmp_path: Path, place: str) -> None:
    own = {"proj_out.weight": np.ones((17, 64), np.float16)}
    folder = hf_folder(tmp_path / "m", {"model.safetensors": safetensors(hf_weights() | own)})
    with pytest.raises(CheckpointError, match=r"proj_out\.weight is not the token embedding"):
        read_checkpoint(folder / place)


PARTS = {
    "adapter": (
        {"base_model.model.model.encoder.layers.0.self_attn.q_proj.lora_A.weight": np.ones((4, 64))},
        "merge it",
    ),
    "adapter in its model": (
        hf_weights() | {"model.encoder.layers.0.self_attn.q_proj.lora_B.default.weight": np.ones((64, 4))},
        "merge it with peft",
    ),
    "MLX": (mlx_weights(), "MLX's, with sizes in a config.json beside it: give the folder"),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_file_that_is_a_part_is_refused_with_advice(tmp_path: Path, name: str) -> None:
    tensors, message = PARTS[name]
    (tmp_path / "model.safetensors").write_bytes(safetensors(tensors))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "model.safetensors")


def test_claimed_positions_are_not_computed(tmp_path: Path) -> None:
    weights = {name: array for name, array in hf_weights().items() if "encoder.embed_positions" not in name}
    config = {**HF_CONFIG, "max_source_positions": 2**20}
    folder = hf_folder(tmp_path / "m", {"model.safetensors": safetensors(weights), "config.json": config})
    with pytest.raises(CheckpointError, match="1048576 positions of 64 numbers do not fit"):
        read_checkpoint(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_settings_are_regular_files(tmp_path: Path, kind: str) -> None:
    folder = hf_folder(tmp_path / "m", {"model.safetensors": GOOD})
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json") if kind == "fifo" else (folder / "config.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"no readable config\.json|not a regular file"):
        read_checkpoint(folder)
