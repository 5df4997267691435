"""The embedded weights are OpenAI's, and faster-whisper says the same from the folder that they came from.

`NPWHISPER_WEIGHTS` names the folder that `weights/make.py --to FOLDER tiny.en base` made. CTranslate2's `model.bin` is
read here by a reader of its own, so that ours is not compared with itself.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cases
import numpy as np
import pytest
import upstream

import npwhisper
from npwhisper.checkpoint import read_checkpoint
from npwhisper.checkpoint.download import ALIGNMENT_HEADS
from npwhisper.checkpoint.weights import embedded_path
from npwhisper.tracing.seam import Array

DTYPES = ("<f4", "i1", "<i2", "<i4", "<f2")
MODELS = ("tiny.en", "base")


def variables(path: Path) -> dict[str, Array]:
    """The tensors of a `model.bin` of version 6, by CTranslate2's names."""
    data, at = path.read_bytes(), 0

    def take(form: str) -> tuple[int, ...]:
        nonlocal at
        values = struct.unpack_from(f"<{form}", data, at)
        at += struct.calcsize(f"<{form}")
        return values

    def text() -> str:
        (length,) = take("H")
        return bytes(take(f"{length}B")).rstrip(b"\0").decode()

    assert take("I") == (6,)
    assert text() == "WhisperSpec"
    _, count = take("II")
    found = {}
    for _ in range(count):
        name, (rank,) = text(), take("B")
        shape, (kind, size) = take(f"{rank}I"), take("BI")
        found[name] = np.frombuffer(data, DTYPES[kind], size // np.dtype(DTYPES[kind]).itemsize, at).reshape(shape)
        at += size
    return found


def names_of(name: str) -> list[str]:
    """What CTranslate2 calls the tensors that are stacked in one of its own: ours, in order; none for key biases."""
    side, layer, *rest = name.split("/")
    half = f"{side}.blocks.{layer.removeprefix('layer_')}"
    *parts, kind = rest
    kind = {"gamma": "weight", "beta": "bias"}.get(kind, kind)
    attention = {"self_attention": "attn", "attention": "cross_attn"}.get(parts[0], "")
    if parts[-1] == "layer_norm":
        return [f"{half}.{attention or 'mlp'}_ln.{kind}"]
    if parts[0] == "ffn":
        return [f"{half}.mlp.{0 if parts[1] == 'linear_0' else 2}.{kind}"]
    stacked = {
        ("self_attention", "linear_0"): ("query", "key", "value"),
        ("self_attention", "linear_1"): ("out",),
        ("attention", "linear_0"): ("query",),
        ("attention", "linear_1"): ("key", "value"),
        ("attention", "linear_2"): ("out",),
    }[parts[0], parts[1]]
    return [f"{half}.{attention}.{part}.{kind}" for part in stacked]


OUTSIDE = {
    "encoder/position_encodings/encodings": "encoder.positional_embedding",
    "decoder/position_encodings/encodings": "decoder.positional_embedding",
    "decoder/embeddings/weight": "decoder.token_embedding.weight",
    **{f"encoder/layer_norm/{a}": f"encoder.ln_post.{b}" for a, b in (("gamma", "weight"), ("beta", "bias"))},
    **{f"decoder/layer_norm/{a}": f"decoder.ln.{b}" for a, b in (("gamma", "weight"), ("beta", "bias"))},
    **{f"encoder/conv{i}/{kind}": f"encoder.conv{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_bit_is_that_of_the_package(name: str) -> None:
    folder = upstream.weights_folder()
    ours = read_checkpoint(embedded_path() if name == "tiny.en" else folder / "base.safetensors")
    left = dict(ours.weights)
    for theirs, array in variables(folder / f"{name}-ct2" / "model.bin").items():
        if array.dtype != np.float16:
            continue  # options
        names = [OUTSIDE[theirs]] if theirs in OUTSIDE else names_of(theirs)
        for ours_name, part in zip(names, np.split(array, len(names)), strict=True):
            if ours_name.endswith("key.bias"):
                assert not part.any()
                continue
            mine = left.pop(ours_name)
            assert mine.dtype == np.float16
            np.testing.assert_array_equal(mine.view(np.uint16), part.view(np.uint16), err_msg=ours_name)
    assert not left, "every tensor was compared"


@pytest.mark.parametrize("name", MODELS)
def test_alignment_heads_are_openais(name: str) -> None:
    folder = upstream.weights_folder()
    config = json.loads((folder / f"{name}-ct2" / "config.json").read_text(encoding="utf-8"))
    ours = read_checkpoint(embedded_path() if name == "tiny.en" else folder / "base.safetensors")
    assert ours.alignment_heads == [tuple(pair) for pair in config["alignment_heads"]] == ALIGNMENT_HEADS[name]


def test_the_command_makes_the_embedded_file() -> None:
    made, embedded = (read_checkpoint(p) for p in (upstream.weights_folder() / "tiny.en.safetensors", embedded_path()))
    assert (made.dims, made.alignment_heads, made.metadata) == (
        embedded.dims,
        embedded.alignment_heads,
        embedded.metadata,
    )
    assert made.weights.keys() == embedded.weights.keys()
    for name, array in made.weights.items():
        np.testing.assert_array_equal(array, embedded.weights[name])


@pytest.mark.parametrize("name", MODELS)
def test_faster_whisper_writes_the_same_text_from_the_same_folder(name: str) -> None:
    faster_whisper = pytest.importorskip("faster_whisper")
    folder = str(upstream.weights_folder() / f"{name}-ct2")
    theirs = faster_whisper.WhisperModel(folder, device="cpu", compute_type="float32", cpu_threads=2)
    ours = npwhisper.load_model(folder)
    options = {"language": "en", "temperature": 0.0, "beam_size": 1, "without_timestamps": True}
    for recording in ("jfk", "austen_0870", "austen_0920", "austen_0930", "speechocean_05401_16"):
        samples = npwhisper.load_audio(cases.recordings()[recording])
        segments, _ = theirs.transcribe(samples, **options)
        found = ours.transcribe(samples, **{**options, "beam_size": None})["text"]
        assert found.split() == "".join(segment.text for segment in segments).split(), recording
