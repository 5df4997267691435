"""From a name or a path to whole, read-only, float32 weights; and what is refused, with everything named at once."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest

import npwhisper
from npwhisper.checkpoint import Checkpoint, CheckpointError, read_checkpoint, write_checkpoint
from npwhisper.checkpoint.weights import check_weights, embedded_path, expected_shapes, load_weights
from npwhisper.decoding import encode
from npwhisper.tracing.seam import Array

SHAPES = cases.reference("shapes.json")
SMALL = replace(cases.SMALL, n_vocab=51864)
SMALL_VOCABULARY = cases.random_weights()
TABLE = np.resize(SMALL_VOCABULARY["decoder.token_embedding.weight"], (51864, 24))
WEIGHTS = {**SMALL_VOCABULARY, "decoder.token_embedding.weight": TABLE}
HEADS = [(0, 3), (2, 1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of a small random model, in float16."""
    write_checkpoint(tmp_path / "small.safetensors", Checkpoint(vars(SMALL), WEIGHTS, HEADS))
    return tmp_path / "small.safetensors"


def test_names_and_shapes_are_torchs() -> None:
    theirs = {name: tuple(shape) for name, shape in SHAPES["state_dict"].items()}
    assert expected_shapes(cases.SMALL) == theirs


@pytest.mark.parametrize("name", cases.OFFICIAL)
def test_official_models_have_as_many_tensors_and_numbers_as_torchs(name: str) -> None:
    shapes = expected_shapes(cases.OFFICIAL[name])
    assert [len(shapes), sum(map(math.prod, shapes.values()))] == SHAPES["counts"][name]


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_what_is_loaded_is_float32_and_read_only(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"small.{suffix}"
    write_checkpoint(file, Checkpoint(vars(SMALL), WEIGHTS))
    dims, weights, heads = load_weights(file)
    assert (dims, heads) == (SMALL, None)
    assert weights.keys() == WEIGHTS.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(array, WEIGHTS[name].astype(np.float16))
        assert (array.dtype, array.flags.writeable) == (np.float32, False)


def test_float32_files_keep_every_bit(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors", Checkpoint(vars(SMALL), WEIGHTS), dtype="float32")
    weights = load_weights(str(tmp_path / "a.safetensors")).weights
    for name, array in weights.items():
        np.testing.assert_array_equal(array, WEIGHTS[name])
        assert (array.dtype, array.flags.writeable) == (np.float32, False)


def test_a_path_gives_a_model_that_computes(path: Path) -> None:
    model = npwhisper.load_model(path)
    assert isinstance(model, npwhisper.Whisper)
    assert (model.dims, model.alignment_heads) == (SMALL, HEADS)
    mel, tokens = cases.random_mel(), cases.random_tokens("tokens", cases.B, cases.T)
    half = {name: array.astype(np.float16).astype(np.float32) for name, array in WEIGHTS.items()}
    np.testing.assert_array_equal(model(mel, tokens), npwhisper.Whisper(SMALL, half)(mel, tokens))


def test_the_embedded_model_has_a_name_and_needs_none(model: npwhisper.Whisper) -> None:
    named = npwhisper.load_model("tiny.en")
    assert named.dims == model.dims
    assert named.alignment_heads == model.alignment_heads
    assert all(np.array_equal(named.weights[name], array) for name, array in model.weights.items())
    assert embedded_path().is_file()


def test_the_embedded_model_is_a_whole_standard_checkpoint(model: npwhisper.Whisper) -> None:
    assert not model.is_multilingual
    assert (model.dims.n_vocab, model.dims.n_audio_ctx, model.dims.n_text_ctx) == (51864, 1500, 448)
    assert {name: array.shape for name, array in model.weights.items()} == expected_shapes(model.dims)
    assert all(np.isfinite(array).all() for array in model.weights.values())


def test_a_missing_embedded_model_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("npwhisper.checkpoint.weights.resources.files", lambda _: tmp_path / "npwhisper")
    with pytest.raises(FileNotFoundError, match=r"tiny\.en\.safetensors is in neither .*: install npwhisper again"):
        npwhisper.load_model()


def test_available_models_are_the_official_with_the_embedded_first() -> None:
    names = npwhisper.available_models()
    assert names[0] == "tiny.en"
    assert len(names) == len(set(names)) == 14
    assert {*cases.OFFICIAL, "large", "large-v3-turbo"} <= set(names)


@pytest.mark.parametrize("name", ["tinny", "no/such/file.pt", "Base.en"])
def test_an_unknown_name_is_answered_with_the_known(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(name))) as caught:
        npwhisper.load_model(name)
    sentence = str(caught.value)
    assert all(known in sentence for known in npwhisper.available_models())
    assert "or the path of a checkpoint" in sentence
    assert ("did you mean tiny" in sentence) == (name == "tinny")


# Checkpoints that are not whole


def spoiled() -> dict[str, Array]:
    """Two tensors missing, two unexpected, two misshapen."""
    weights = {name: array for name, array in WEIGHTS.items() if not name.startswith("decoder.ln.")}
    weights["decoder.blocks.0.attn.key.bias"] = np.zeros(24, np.float32)
    weights["proj_out.weight"] = np.zeros((41, 24), np.float32)
    weights["encoder.conv1.weight"] = WEIGHTS["encoder.conv1.weight"].swapaxes(0, 1)
    weights["decoder.positional_embedding"] = WEIGHTS["decoder.positional_embedding"][:12]
    return weights


EVERY_PROBLEM = (
    r"missing: decoder\.ln\.weight, decoder\.ln\.bias; "
    r"unexpected: decoder\.blocks\.0\.attn\.key\.bias, proj_out\.weight; "
    r"misshapen: encoder\.conv1\.weight \(7, 24, 3\) instead of \(24, 7, 3\), "
    r"decoder\.positional_embedding \(12, 24\) instead of \(13, 24\)\): use a whole file"
)


def test_every_problem_is_named_in_one_sentence() -> None:
    with pytest.raises(CheckpointError, match=EVERY_PROBLEM):
        check_weights(spoiled(), SMALL)


@pytest.mark.parametrize("name", ["encoder.conv2.bias", "decoder.blocks.2.cross_attn_ln.weight"])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_file_without_a_tensor_is_refused(tmp_path: Path, suffix: str, name: str) -> None:
    weights = {key: array for key, array in WEIGHTS.items() if key != name}
    write_checkpoint(tmp_path / f"a.{suffix}", Checkpoint(vars(SMALL), weights))
    with pytest.raises(CheckpointError, match=rf"\(missing: {re.escape(name)}\)"):
        npwhisper.load_model(tmp_path / f"a.{suffix}")


def test_a_whole_checkpoint_passes() -> None:
    check_weights(WEIGHTS, SMALL)


@pytest.mark.parametrize("rows", [1, 17, 41, 51863])
def test_a_vocabulary_without_whispers_tokens_is_refused(tmp_path: Path, rows: int) -> None:
    dims, weights = {**vars(SMALL), "n_vocab": rows}, {**WEIGHTS, "decoder.token_embedding.weight": TABLE[:rows]}
    write_checkpoint(tmp_path / "a.safetensors", Checkpoint(dims, weights))
    with pytest.raises(CheckpointError, match=f"vocabulary of {rows} tokens, and Whisper's have 51864 or more"):
        npwhisper.load_model(tmp_path / "a.safetensors")
    assert read_checkpoint(tmp_path / "a.safetensors").dims["n_vocab"] == rows


# Files that change, and numbers that are not finite


def with_nan(path: Path, name: str) -> Path:
    """Overwrite one number of a tensor in a float32 file."""
    array = read_checkpoint(path).weights[name]
    data = bytearray(path.read_bytes())
    at = data.index(array.tobytes())
    data[at + 4 : at + 8] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    return path


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """The same as `path`, in float32."""
    write_checkpoint(tmp_path / "single.safetensors", Checkpoint(vars(SMALL), WEIGHTS), "float32")
    return tmp_path / "single.safetensors"


def test_a_mapped_file_may_change_but_a_copy_stays(single: Path) -> None:
    name = "encoder.blocks.1.mlp.0.weight"
    mapped = npwhisper.load_model(single)
    copied = npwhisper.load_model(single, in_memory=True)
    array = read_checkpoint(single).weights[name].copy()
    data = single.read_bytes()
    with open(single, "r+b") as file:
        file.seek(data.index(array.tobytes()))
        file.write(bytes(array.nbytes))
    assert not np.asarray(mapped.weights[name]).any(), "a mapped file's change is seen"
    np.testing.assert_array_equal(copied.weights[name], array)
    assert not copied.weights[name].flags.writeable


def overwrite(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(bytes(1000))


def copy_another_over_it(path: Path) -> None:
    with open(path, "wb") as file:
        file.write(b"a shorter file")


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody write to a mapped file")
@pytest.mark.parametrize("change", [overwrite, copy_another_over_it, lambda path: os.truncate(path, 1000)])
def test_a_mapped_file_that_was_written_to_is_told(single: Path, change: Callable[[Path], object]) -> None:
    os.utime(single, (1, 1))
    mapped, copied = npwhisper.load_model(single), npwhisper.load_model(single, in_memory=True)
    expected = encode(mapped, cases.random_mel())
    change(single)
    with pytest.raises(CheckpointError, match=r"single\.safetensors was changed while its weights were in use: load"):
        encode(mapped, cases.random_mel())
    with pytest.raises(CheckpointError, match="was changed"):
        mapped.transcribe(np.zeros(16000, np.float32))
    np.testing.assert_array_equal(encode(copied, cases.random_mel()), expected)


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody remove a mapped file")
def test_a_mapped_file_that_was_replaced_or_removed_stays_in_use(single: Path) -> None:
    mapped = npwhisper.load_model(single)
    expected = encode(mapped, cases.random_mel())
    single.with_suffix(".new").write_bytes(b"another")
    os.replace(single.with_suffix(".new"), single)
    np.testing.assert_array_equal(encode(mapped, cases.random_mel()), expected)
    single.unlink()
    np.testing.assert_array_equal(encode(mapped, cases.random_mel()), expected)


@pytest.mark.parametrize("options", [{"in_memory": True}, {"weights": "int8"}])
def test_matrices_that_are_read_are_looked_through(single: Path, options: dict[str, Any]) -> None:
    name = "decoder.blocks.1.attn.query.weight"
    with pytest.raises(CheckpointError, match=re.escape(name) + " holds numbers that are not finite"):
        npwhisper.load_model(with_nan(single, name), **options)


@pytest.mark.parametrize("name", ["encoder.conv1.weight", "encoder.blocks.1.mlp.2.weight"])
def test_mapped_matrices_that_are_not_finite_are_named(single: Path, name: str) -> None:
    model = npwhisper.load_model(with_nan(single, name))
    with pytest.raises(ValueError, match=f"the weights '{re.escape(name)}' hold NaN or infinity: load another copy"):
        encode(model, cases.random_mel())
