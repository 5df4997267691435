"""Checkpoints: what is written is read again, every form gives the same arrays, and nothing is copied without need."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import DIMS, bfloat16, official_legacy, official_zip, random_weights, safetensors, shapes

from npwhisper.checkpoint import (
    Checkpoint,
    CheckpointError,
    alignment_heads_from_base85,
    alignment_heads_to_base85,
    read_checkpoint,
    to_float32,
    write_checkpoint,
)
from npwhisper.checkpoint.download import ALIGNMENT_HEADS
from npwhisper.checkpoint.weights import convert, embedded_path, expected_shapes
from npwhisper.model import ModelDimensions

HEADS = [(1, 0), (0, 0)]


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint(DIMS, random_weights(), HEADS, {"steps": "12"})


def same_bits(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].shape == second[name].shape
        and first[name].tobytes() == second[name].tobytes()
        for name in first
    )


def test_the_files_of_these_tests_have_the_tensors_of_a_whisper_model() -> None:
    assert shapes() == expected_shapes(ModelDimensions(**DIMS))


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_what_is_written_is_read_again(tmp_path: Path, checkpoint: Checkpoint, ending: str) -> None:
    write_checkpoint(tmp_path / f"model{ending}", checkpoint)
    read = read_checkpoint(tmp_path / f"model{ending}")
    assert same_bits(read.weights, checkpoint.weights)
    assert (read.dims, read.alignment_heads, read.metadata) == (DIMS, HEADS, {"steps": "12"})


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize(("dtype", "stored"), [("float16", "float16"), ("float32", "float32"), (None, "float32")])
def test_dtype_says_how_numbers_are_stored(tmp_path: Path, ending: str, dtype: str | None, stored: str) -> None:
    weights = random_weights("float32")
    write_checkpoint(tmp_path / f"model{ending}", Checkpoint(DIMS, weights), dtype)
    read = read_checkpoint(tmp_path / f"model{ending}")
    assert same_bits(read.weights, {name: array.astype(stored) for name, array in weights.items()})
    assert read.alignment_heads is None


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_round_trip_through_both_forms_keeps_every_bit(tmp_path: Path, dtype: str) -> None:
    weights = random_weights(dtype)
    (tmp_path / "a.pt").write_bytes(official_zip(weights))
    convert(tmp_path / "a.pt", tmp_path / "b.safetensors")
    convert(tmp_path / "b.safetensors", tmp_path / "c.pt")
    assert same_bits(read_checkpoint(tmp_path / "c.pt").weights, weights)
    assert read_checkpoint(tmp_path / "c.pt").dims == DIMS


def test_an_official_name_brings_its_alignment_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.pt").write_bytes(official_zip(random_weights()))
    monkeypatch.setattr("npwhisper.checkpoint.download.fetch", lambda name, _: tmp_path / f"{name}.pt")
    monkeypatch.setitem(ALIGNMENT_HEADS, "tiny", HEADS)
    assert convert("tiny", tmp_path / "tiny.safetensors").alignment_heads == HEADS
    assert read_checkpoint(tmp_path / "tiny.safetensors").alignment_heads == HEADS


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_the_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    weights = random_weights()
    for i, data in enumerate([official_zip(weights), official_legacy(weights), safetensors(weights)]):
        path = tmp_path / f"{i}.{name}"
        path.write_bytes(data)
        assert same_bits(read_checkpoint(path).weights, weights)


def test_the_embedded_model_opens() -> None:
    read = read_checkpoint(embedded_path())
    assert {name: array.shape for name, array in read.weights.items()} == expected_shapes(ModelDimensions(**read.dims))
    assert {array.dtype.name for array in read.weights.values()} == {"float16"}


# --- numbers and memory ----------------------------------------------------------------------------------------------


def owner(array: np.ndarray) -> object:
    base: object = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("form", [official_zip, official_legacy, safetensors])
def test_arrays_are_mapped_and_read_only(tmp_path: Path, form: object, dtype: str) -> None:
    (tmp_path / "model").write_bytes(form(random_weights(dtype)))  # type: ignore[operator]
    for array in read_checkpoint(tmp_path / "model").weights.values():
        assert isinstance(owner(array), mmap.mmap)
        assert not array.flags.writeable


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_float32_in_a_file_of_ours_is_used_where_it_lies(tmp_path: Path, ending: str) -> None:
    write_checkpoint(tmp_path / f"model{ending}", Checkpoint(DIMS, random_weights("float32")), "float32")
    for name, array in read_checkpoint(tmp_path / f"model{ending}").weights.items():
        assert np.shares_memory(to_float32(array, name), array), name


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    exact = {name: bfloat16(array) for name, array in random_weights("float32").items()}
    (tmp_path / "model").write_bytes(safetensors(exact, dtype="BF16"))
    for name, array in read_checkpoint(tmp_path / "model").weights.items():
        assert array.dtype == np.float32
        assert np.array_equal(array.view(np.uint32), exact[name].astype(np.uint32) << 16)


ODD_ARRAYS = {
    "half": np.linspace(-3, 3, 35, dtype=np.float16).reshape(5, 7),
    "double": np.linspace(-3, 3, 35).reshape(5, 7),
    "big-endian": np.linspace(-3, 3, 35, dtype=">f4").reshape(5, 7),
    "transposed": np.linspace(-3, 3, 35, dtype=np.float32).reshape(5, 7).T,
    "every second": np.linspace(-3, 3, 35, dtype=np.float16).reshape(5, 7)[:, ::2],
    "integers": np.arange(-17, 18, dtype=np.int8).reshape(5, 7),
    "scalar": np.array(2.5, dtype=np.float16),
    "empty": np.zeros((0, 7), dtype=np.float16),
    "unaligned": np.frombuffer(b"." + np.linspace(-3, 3, 35, dtype=np.float32).tobytes(), np.uint8)[1:].view(
        np.float32
    ),
}


@pytest.mark.parametrize("block", [2**20, 4])
@pytest.mark.parametrize("array", ODD_ARRAYS.values(), ids=ODD_ARRAYS)
def test_to_float32(array: np.ndarray, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("npwhisper.checkpoint.mapped.BLOCK", block)
    result = to_float32(array)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert result.flags.aligned
    assert not result.flags.writeable
    assert np.array_equal(result, array.astype(np.float32))


def test_to_float32_leaves_the_callers_array_writeable() -> None:
    array = np.ones(3, dtype=np.float32)
    to_float32(array)
    array[0] = 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("dtype", "shape"), [("float16", (3, 5)), ("float32", (15,)), ("float64", (5, 3))])
def test_numbers_that_are_not_finite_are_refused(bad: float, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(15, dtype=dtype)
    array[11] = bad
    with pytest.raises(CheckpointError, match=r"decoder\.ln\.bias .* not finite"):
        to_float32(array.reshape(shape), "decoder.ln.bias")


def test_a_number_too_large_for_its_new_dtype_is_refused(tmp_path: Path) -> None:
    weights = random_weights("float32")
    weights["decoder.ln.bias"][5] = 65520
    with pytest.raises(CheckpointError, match=r"decoder\.ln\.bias .* float16"):
        write_checkpoint(tmp_path / "model.safetensors", Checkpoint(DIMS, weights), "float16")
    with pytest.raises(CheckpointError, match="float32"):
        to_float32(np.array([1e39]))


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_a_failed_write_leaves_everything_as_it_was(tmp_path: Path, checkpoint: Checkpoint, ending: str) -> None:
    path = tmp_path / f"model{ending}"
    path.write_bytes(b"before")
    broken = replace(checkpoint, weights={**checkpoint.weights, "decoder.ln.bias": np.full(64, np.nan)})
    with pytest.raises(CheckpointError, match="not finite"):
        write_checkpoint(path, broken)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"before"


def test_a_file_can_be_converted_onto_itself(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, checkpoint)
    convert(path, path, "float32")
    read = read_checkpoint(path)
    assert same_bits(read.weights, {name: array.astype(np.float32) for name, array in checkpoint.weights.items()})
    assert read.metadata == checkpoint.metadata


@pytest.mark.parametrize(
    ("name", "dtype", "message"),
    [
        ("model.bin", "float16", r"use the ending \.safetensors or \.pt"),
        ("model.pt", "int8", "as int8"),
        ("missing/model.pt", "float16", "cannot write"),
    ],
)
def test_what_cannot_be_written_is_said(
    tmp_path: Path, checkpoint: Checkpoint, name: str, dtype: str, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        write_checkpoint(tmp_path / name, checkpoint, dtype)
    assert list(tmp_path.iterdir()) == []


def test_written_tensors_are_aligned(tmp_path: Path, checkpoint: Checkpoint) -> None:
    mixed = {name: a.astype("float32") if a.ndim > 1 else a for name, a in checkpoint.weights.items()}
    mixed["decoder.ln.bias"] = np.ones(3, dtype=np.float16)
    for path in (tmp_path / "model.safetensors", tmp_path / "model.pt"):
        write_checkpoint(path, Checkpoint(DIMS, mixed), None)
        assert all(array.flags.aligned for array in read_checkpoint(path).weights.values())
        assert same_bits(read_checkpoint(path).weights, mixed)


def test_vectors_lie_together(tmp_path: Path) -> None:
    """They are looked through when a mapped file is opened; the matrices among them are not read."""
    write_checkpoint(tmp_path / "model.safetensors", Checkpoint(DIMS, random_weights("float32")), "float32")
    arrays = read_checkpoint(tmp_path / "model.safetensors").weights.values()
    places = sorted((array.__array_interface__["data"][0], array.ndim > 1) for array in arrays)
    assert [is_matrix for _, is_matrix in places] == sorted(is_matrix for _, is_matrix in places)


# --- alignment heads -------------------------------------------------------------------------------------------------


def test_alignment_heads_in_upstreams_text() -> None:
    text = "ABzY8000000s~`Y00967a-Mny0000"  # made by openai-whisper's recipe for 2 layers of 3 heads
    assert alignment_heads_from_base85(text, 2, 3) == [(0, 0)]
    heads = [(0, 2), (1, 1)]
    assert alignment_heads_from_base85(alignment_heads_to_base85(heads, 2, 3), 2, 3) == heads


@pytest.mark.parametrize(
    ("text", "size", "message"),
    [
        ("ABzY8000000s~`Y00967a-Mny0000", (2, 4), "2 layers of 4 heads"),
        ("ABzY8000000s~`Y00967a-Mny0000", (1, 3), "1 layers of 3 heads"),
        ("ABzY8", (2, 3), "layers"),
        ("not base85 \N{SNOWMAN}", (2, 3), "base85"),
        ("0000000000", (2, 3), "base85"),
    ],
)
def test_broken_alignment_heads(text: str, size: tuple[int, int], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        alignment_heads_from_base85(text, *size)
