"""The boxes of the encoder, at one audio position."""

from __future__ import annotations

from npwhisper.lab.glass.boxes.layers import COLUMN, Boxes, Place
from npwhisper.tracing.seam import Array


def encoder_boxes(boxes: Boxes) -> None:
    """From the log-mel spectrogram to the vectors that the decoder attends to."""
    rows, at, dims = boxes.window.rows, boxes.at, boxes.model.dims
    _convolutions(boxes)
    x = rows["encoder.gelu.2"] + boxes.weight("encoder.positional_embedding")[at]
    place = Place(rows, f"position {at} ({at * 0.02:.2f} s)", dims.n_audio_ctx)
    for i in range(dims.n_audio_layer):
        _block(boxes, f"encoder.blocks.{i}", x, place)
        x = rows[f"encoder.blocks.{i}"]
    boxes.norm("encoder.ln_post", x, place)


def _convolutions(boxes: Boxes) -> None:
    """The first convolution reads three frames of the spectrogram, the second three of the first's activations."""
    rows, at, n = boxes.window.rows, boxes.at, boxes.model.dims.n_audio_ctx
    mel, y, active = boxes.window.mel[:, 2 * at - 1 : 2 * at + 2], rows["encoder.conv1"][:, 1], rows["encoder.gelu"]
    frame, position = f"channel {COLUMN}, frame {2 * at}", f"channel {COLUMN}, position {at}"
    _convolution(boxes, "encoder.conv1", "mel", mel, y, 2 * n, frame)
    _convolution(boxes, "encoder.conv2", "x", active, rows["encoder.conv2.2"], n, position)
    cell = boxes.cells.gelu(y[COLUMN], active[COLUMN, 1])
    boxes.add("encoder.gelu", "gelu", [len(y), 2 * n], cell, frame)


def _convolution(boxes: Boxes, name: str, label: str, x: Array, y: Array, n: int, where: str) -> None:
    """One channel: a kernel times three adjacent columns x (D, 3)."""
    kernel, bias = boxes.weight(f"{name}.weight")[COLUMN].ravel(), float(boxes.weight(f"{name}.bias")[COLUMN])
    labels = (f"{label}, three frames", f"weight[{COLUMN}]")
    cell = boxes.cells.dot(x.ravel(), kernel, y[COLUMN], labels, bias=bias)
    boxes.add(name, "conv1d", [len(y), n], cell, where)


def _block(boxes: Boxes, name: str, x: Array, place: Place) -> None:
    attn, mlp, keys = f"{name}.attn", f"{name}.mlp", boxes.window.keys
    boxes.attention(attn, "self_attention", x, (keys[f"{attn}.key"], keys[f"{attn}.value"]), place)
    boxes.mlp(mlp, x + place.values[attn], place)
    terms = {"x": x, "self-attention": place.values[attn], "mlp": place.values[mlp]}
    boxes.total(name, "encoder_block", terms, place)
