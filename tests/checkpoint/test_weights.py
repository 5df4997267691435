"""From a name or a path to whole, read-only, float32 weights; and what is refused, with everything named at once."""

from __future__ import annotations

import math
import re
from pathlib import Path

import cases
import numpy as np
import pytest

import npwhisper
from npwhisper.checkpoint import Checkpoint, CheckpointError, write_checkpoint
from npwhisper.checkpoint.weights import check_weights, embedded_path, expected_shapes, load_weights
from npwhisper.tracing.seam import Array

SHAPES = cases.reference("shapes.json")
WEIGHTS = cases.random_weights()
HEADS = [(0, 3), (2, 1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of a small random model, in float16."""
    write_checkpoint(tmp_path / "small.safetensors", Checkpoint(vars(cases.SMALL), WEIGHTS, HEADS))
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
    write_checkpoint(file, Checkpoint(vars(cases.SMALL), WEIGHTS))
    dims, weights, heads = load_weights(file)
    assert (dims, heads) == (cases.SMALL, None)
    assert weights.keys() == WEIGHTS.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(array, WEIGHTS[name].astype(np.float16))
        assert (array.dtype, array.flags.writeable) == (np.float32, False)


def test_float32_files_keep_every_bit(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors", Checkpoint(vars(cases.SMALL), WEIGHTS), dtype="float32")
    weights = load_weights(str(tmp_path / "a.safetensors")).weights
    for name, array in weights.items():
        np.testing.assert_array_equal(array, WEIGHTS[name])
        assert (array.dtype, array.flags.writeable) == (np.float32, False)


def test_a_path_gives_a_model_that_computes(path: Path) -> None:
    model = npwhisper.load_model(path)
    assert isinstance(model, npwhisper.Whisper)
    assert (model.dims, model.alignment_heads) == (cases.SMALL, HEADS)
    mel, tokens = cases.random_mel(), cases.random_tokens("tokens", cases.B, cases.T)
    half = {name: array.astype(np.float16).astype(np.float32) for name, array in WEIGHTS.items()}
    np.testing.assert_array_equal(model(mel, tokens), npwhisper.Whisper(cases.SMALL, half)(mel, tokens))


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
        check_weights(spoiled(), cases.SMALL)


@pytest.mark.parametrize("name", ["encoder.conv2.bias", "decoder.blocks.2.cross_attn_ln.weight"])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_file_without_a_tensor_is_refused(tmp_path: Path, suffix: str, name: str) -> None:
    weights = {key: array for key, array in WEIGHTS.items() if key != name}
    write_checkpoint(tmp_path / f"a.{suffix}", Checkpoint(vars(cases.SMALL), weights))
    with pytest.raises(CheckpointError, match=rf"\(missing: {re.escape(name)}\)"):
        npwhisper.load_model(tmp_path / f"a.{suffix}")


def test_a_whole_checkpoint_passes() -> None:
    check_weights(WEIGHTS, cases.SMALL)
