"""The drawing of the network: its shapes are those of a traced run, and the docs of `model/` show it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import npwhisper
from npwhisper.checkpoint import read_checkpoint
from npwhisper.lab import notebooks
from npwhisper.lab.drawing import Step, draw_text, plot_network, steps
from npwhisper.model import ModelDimensions, Network
from npwhisper.tracing import trace

DRAWN = Path(npwhisper.__file__).parent / "model" / "README.md"
TINY_EN = ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4)
N_TOKENS = 5


def all_steps(dims: ModelDimensions) -> list[Step]:
    return [step for column in steps(dims).values() for step in column]


def test_every_arrow_has_the_shape_that_a_traced_run_has() -> None:
    checkpoint = read_checkpoint(notebooks.path("small.safetensors"))
    weights = {name: np.float32(array) for name, array in checkpoint.weights.items()}
    network = Network(ModelDimensions(**checkpoint.dims), weights)
    d = network.dims
    tokens = np.arange(N_TOKENS)[None]
    mel = np.zeros((1, d.n_mels, 2 * d.n_audio_ctx), np.float32)
    with trace() as acts:
        network.decoder(tokens, network.encoder(mel))
    for step in all_steps(d):
        shape = tuple(N_TOKENS if size == "T" else size for size in step.shape)
        given = {"log-mel spectrogram": mel, "tokens": tokens}
        assert shape == (acts[step.trace] if step.trace else given[step.text]).shape, step
    layers = {name for name in acts.names("*blocks.0.*") if name.endswith(("attn", "mlp.0", "mlp.gelu", "mlp.2"))}
    assert layers <= {step.trace for step in all_steps(d)}, "a part of a block is not drawn"


def test_the_docs_of_the_model_show_the_drawing() -> None:
    text = DRAWN.read_text(encoding="utf-8")
    assert text.split("```\n")[1] == draw_text(TINY_EN) + "\n", "put what draw_text says into npwhisper/model/README.md"


def test_the_text_has_every_box_and_a_shape_below_it() -> None:
    text = draw_text(TINY_EN)
    assert text.count("↓ (") == len(all_steps(TINY_EN))
    assert all(step.text in text for step in all_steps(TINY_EN))
    assert "↓ (1, T, 51864)" in text.splitlines()[-1]


def test_the_picture_has_every_box_and_every_shape() -> None:
    plt = pytest.importorskip("matplotlib.pyplot", reason="pip install npwhisper[plot]")
    ax = plot_network(TINY_EN)
    written = [text.get_text() for text in ax.texts]
    ax.figure.canvas.draw()
    plt.close(ax.figure)
    for step in all_steps(TINY_EN):
        assert step.text in written
        assert str(step.shape).replace("'", "") in written
    assert "keys, values\n(1, 6, 1500, 64)" in written
    assert sum(text == "in every block" for text in written) == 2
