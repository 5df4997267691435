"""From a name or a path to weights that are known to be complete.

The contract with PyTorch is the flat state dict: torch's names and shapes, nothing renamed, nothing transposed.
`expected_shapes` derives every name and shape from the ten dimensions, so a checkpoint is either whole or refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from npwhisper.checkpoint import (
    Checkpoint,
    CheckpointError,
    download,
    in_browser,
    read_checkpoint,
    to_float32,
    write_checkpoint,
)
from npwhisper.checkpoint.mapped import forget_pages
from npwhisper.checkpoint.numbers import converted, require_finite
from npwhisper.checkpoint.vocabulary import ENGLISH
from npwhisper.compute.int8 import Int8Matrix
from npwhisper.model import ModelDimensions
from npwhisper.tracing.seam import Array
from npwhisper.tracing.spelling import did_you_mean

EMBEDDED = "tiny.en"
KINDS = ("float32", "int8")


class LoadedWeights(NamedTuple):
    """What a checkpoint becomes in memory: float32 or matrices of 8 bits, read-only, complete."""

    dims: ModelDimensions
    weights: dict[str, Array | Int8Matrix]
    alignment_heads: list[tuple[int, int]] | None


def available_models() -> list[str]:
    """Names of the official models, which `load_model` knows.

    Returns
    -------
    list of str
        OpenAI's names. The first, `tiny.en`, is embedded in the package and is the default.

    Examples
    --------
    >>> available_models()[:3]
    ['tiny.en', 'tiny', 'base.en']
    """
    return download.available_models()


def load_weights(
    name_or_path: str | os.PathLike[str] | None,
    download_root: str | None = None,
    kind: str = "float32",
    copied: bool = False,
) -> LoadedWeights:
    """Find, read and check a checkpoint; None means the embedded model.

    float32 arrays stay mapped in their file, unless they are `copied`.

    Raises
    ------
    ValueError
        If there is no such model or `kind`.
    CheckpointError
        If the file is not a whole Whisper checkpoint.
    """
    if kind not in KINDS:
        raise ValueError(f"weights must be {' or '.join(KINDS)}, got {kind!r}: use one of these")
    checkpoint = _read_whole(EMBEDDED if name_or_path is None else name_or_path, download_root)
    _require_vocabulary(checkpoint.dims["n_vocab"])
    weights = {name: in_memory(name, array, kind, copied) for name, array in checkpoint.weights.items()}
    return LoadedWeights(ModelDimensions(**checkpoint.dims), weights, checkpoint.alignment_heads)


def _require_vocabulary(size: int) -> None:
    """Refuse a vocabulary without Whisper's control tokens, which no text can be decoded with."""
    if size < ENGLISH:
        raise CheckpointError(
            f"the checkpoint has a vocabulary of {size} tokens, and Whisper's have {ENGLISH} or more: "
            "use a Whisper checkpoint, or read_checkpoint and Network for a network of another vocabulary"
        )


def in_memory(name: str, array: Array, kind: str, copied: bool = False) -> Array | Int8Matrix:
    """Positions, convolutions and vectors are always float32: they are small, and added or used in other ways."""
    values = to_float32(array, name)
    if kind == "int8" and array.ndim == 2 and not name.endswith("positional_embedding"):
        require_finite(values, name)
        packed = Int8Matrix.pack(values)
        forget_pages(array)
        return packed
    return _copy(array, name) if copied and np.may_share_memory(values, array) else values


def _copy(array: Array, name: str) -> Array:
    """A read-only float32 copy of a mapped array, checked for NaN since it is read anyway."""
    copy = converted(array, np.float32, name)
    copy.flags.writeable = False
    return copy


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str], dtype: str | None = None) -> Checkpoint:
    """Write a checkpoint of any form as `.safetensors` or as the `.pt` that openai-whisper loads.

    Parameters
    ----------
    source : str or path
        What `load_model` takes.
    target : path
        Ends in `.safetensors` or `.pt`; an existing file is replaced only when the new one is complete.
    dtype : str, optional
        "float16" or "float32" to change the numbers' width; None keeps every bit.

    Returns
    -------
    Checkpoint
        What was written.

    Raises
    ------
    CheckpointError
        If the source is not a whole Whisper checkpoint, or the target cannot be written.
    ValueError
        If there is no such model.
    """
    checkpoint = _read_whole(source)
    write_checkpoint(target, checkpoint, dtype)
    return checkpoint


def _read_whole(source: str | os.PathLike[str], download_root: str | None = None) -> Checkpoint:
    """Find and read a checkpoint, and make sure that it is complete; official ones bring their alignment heads."""
    name = os.fspath(source)
    checkpoint = read_checkpoint(_find(name, download_root))
    check_weights(checkpoint.weights, ModelDimensions(**checkpoint.dims))
    return replace(checkpoint, alignment_heads=checkpoint.alignment_heads or download.ALIGNMENT_HEADS.get(name))


def _find(name: str, download_root: str | None) -> Path:
    if name == EMBEDDED:
        return embedded_path()
    if name in download.available_models():
        return download.fetch(name, download_root)
    if Path(name).exists():
        return Path(name)
    if download.is_hub_name(name):
        return download.fetch(name, download_root)
    raise ValueError(
        f"no model is called {name!r} and no file has that path: {did_you_mean(name, available_models())}".rstrip()
        + f" use one of {', '.join(available_models())}, or the path of a checkpoint"
    )


def embedded_path() -> Path:
    """Where the embedded checkpoint lies: inside the installed package, or in `weights/` of a checkout."""
    package = Path(str(resources.files("npwhisper")))
    places = [package / "assets", package.parent / "weights"]
    for place in places:
        if (place / f"{EMBEDDED}.safetensors").is_file():
            return place / f"{EMBEDDED}.safetensors"
    if in_browser.fetch_to(places[0] / f"{EMBEDDED}.safetensors"):
        return places[0] / f"{EMBEDDED}.safetensors"
    raise FileNotFoundError(
        f"the embedded model {EMBEDDED}.safetensors is in neither {places[0]} nor {places[1]}: install npwhisper again"
    )


def expected_shapes(dims: ModelDimensions) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor of a model with these dimensions."""
    audio, text = dims.n_audio_state, dims.n_text_state
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (audio, dims.n_mels, 3),
        "encoder.conv1.bias": (audio,),
        "encoder.conv2.weight": (audio, audio, 3),
        "encoder.conv2.bias": (audio,),
        "encoder.positional_embedding": (dims.n_audio_ctx, audio),
        "decoder.token_embedding.weight": (dims.n_vocab, text),
        "decoder.positional_embedding": (dims.n_text_ctx, text),
        **_norm("encoder.ln_post", audio),
        **_norm("decoder.ln", text),
    }
    for i in range(dims.n_audio_layer):
        shapes |= _block(f"encoder.blocks.{i}", audio, ("attn",))
    for i in range(dims.n_text_layer):
        shapes |= _block(f"decoder.blocks.{i}", text, ("attn", "cross_attn"))
    return shapes


def _block(name: str, width: int, attentions: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    shapes = {
        **_linear(f"{name}.mlp.0", 4 * width, width),
        **_linear(f"{name}.mlp.2", width, 4 * width),
        **_norm(f"{name}.mlp_ln", width),
    }
    for attention in attentions:
        shapes |= _norm(f"{name}.{attention}_ln", width)
        for part in ("query", "key", "value", "out"):
            shapes |= _linear(f"{name}.{attention}.{part}", width, width)
        del shapes[f"{name}.{attention}.key.bias"]
    return shapes


def _linear(name: str, d_out: int, d_in: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (d_out, d_in), f"{name}.bias": (d_out,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def check_weights(weights: Mapping[str, Array], dims: ModelDimensions) -> None:
    """Raise one `CheckpointError` that names every missing, unexpected and misshapen tensor."""
    expected = expected_shapes(dims)
    problems = {
        "missing": [name for name in expected if name not in weights],
        "unexpected": [name for name in weights if name not in expected],
        "misshapen": [
            f"{name} {weights[name].shape} instead of {shape}"
            for name, shape in expected.items()
            if name in weights and weights[name].shape != shape
        ],
    }
    found = [f"{kind}: {_listed(names)}" for kind, names in problems.items() if names]
    if found:
        raise CheckpointError(f"the checkpoint does not fit its dimensions ({'; '.join(found)}): use a whole file")


def _listed(names: list[str], most: int = 40) -> str:
    return ", ".join(name[:120] for name in names[:most]) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )
