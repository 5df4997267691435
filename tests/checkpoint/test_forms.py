"""The same weights in every form: OpenAI's tiny.en gives the same text, and logits equal to the last bit.

The files are written by the tests' own writers, so a reader's fault cannot hide behind a writer's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoint_files as files
import numpy as np
import pytest
from checkpoint_files import mlx_folder, mlx_weights, npz

import npwhisper
from npwhisper.checkpoint import read_checkpoint
from npwhisper.checkpoint.weights import embedded_path

pytestmark = pytest.mark.slow
Weights = dict[str, np.ndarray]
DIMS: dict[str, int] = read_checkpoint(embedded_path()).dims
HF_DIMS = {
    **files.HF_CONFIG,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "d_model": 384,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 6,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "vocab_size": 51864,
    "max_target_positions": 448,
}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def pt(folder: Path, weights: Weights) -> Path:
    pickled = files.zip_form(files.official(weights, DIMS), files.contents(weights))
    return write(folder / "tiny.en.pt", pickled)


def huggingface(folder: Path, weights: Weights) -> Path:
    theirs = {files.hf_name(name): array for name, array in weights.items()}
    return files.hf_folder(folder / "hf", {"model.safetensors": files.safetensors(theirs)}, HF_DIMS)


def ggml(folder: Path, weights: Weights) -> Path:
    return write(folder / "ggml-tiny.en.bin", files.ggml(weights, dims=DIMS))


def ctranslate2(folder: Path, weights: Weights) -> Path:
    return files.ct2_folder(folder / "ct2", files.ct2(files.ct2_variables(weights)))


def mlx(folder: Path, weights: Weights) -> Path:
    theirs = mlx_weights(weights=weights)
    return mlx_folder(folder / "mlx", npz(theirs), config={**DIMS, "model_type": "whisper"})


@pytest.fixture(scope="module")
def heard(model: npwhisper.Whisper) -> dict[str, Any]:
    mel = npwhisper.pad_or_trim(npwhisper.log_mel_spectrogram(npwhisper.example()), 3000)
    tokens = np.array([[50257, 50362, 843, 523]])
    return {"mel": mel, "tokens": tokens, "logits": model(mel, tokens), "text": model.decode(mel).text}


@pytest.mark.parametrize("form", [pt, huggingface, ggml, ctranslate2, mlx])
def test_every_form_gives_the_same_text(
    form: Callable[[Path, Weights], Path], heard: dict[str, Any], tmp_path: Path
) -> None:
    weights = {name: np.asarray(array) for name, array in read_checkpoint(embedded_path()).weights.items()}
    model = npwhisper.load_model(form(tmp_path, weights))
    logits = model(heard["mel"], heard["tokens"])
    if form is mlx:  # the form leaves out the encoder's positions; float16 rounded those in the file
        np.testing.assert_allclose(logits, heard["logits"], atol=0.05)
    else:
        np.testing.assert_array_equal(logits, heard["logits"])
    assert model.decode(heard["mel"]).text == heard["text"]
    assert "ask what you can do for your country" in heard["text"]
