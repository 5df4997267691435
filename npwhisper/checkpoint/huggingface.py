"""A folder as transformers' `save_pretrained` writes it.

    config.json                    the sizes
    generation_config.json         among other things `alignment_heads`
    model.safetensors              the weights; large ones in parts, model-0000i-of-0000n.safetensors, with an index
    pytorch_model.bin              the same from older versions, as pickles

Source: transformers' `configuration_whisper.py` and `modeling_utils.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from npwhisper.checkpoint.contents import CheckpointError, Heads, checked_dims, checked_heads
from npwhisper.checkpoint.folders import advice
from npwhisper.checkpoint.mapped import map_file
from npwhisper.checkpoint.names import computed_positions, openai_names
from npwhisper.checkpoint.settings import read_json
from npwhisper.tracing.seam import Array

CONFIG = {
    "n_mels": "num_mel_bins",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_vocab": "vocab_size",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}
POSITIONS = "encoder.positional_embedding"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")

ReadWeights = Callable[[Array], dict[str, Array]]


def read_huggingface(folder: Path, read: ReadWeights) -> tuple[dict[str, Array], dict[str, int], Heads | None]:
    """Weights under openai-whisper's names, sizes and alignment heads; `read` reads one file of weights."""
    config = _config(folder / "config.json")
    dims = checked_dims({ours: config.get(theirs) for ours, theirs in CONFIG.items()})
    weights: dict[str, Array] = {}
    for path in _weight_files(folder):
        part = read(map_file(path))
        if twice := weights.keys() & part.keys():
            raise CheckpointError(f"{min(twice)[:80]!r} is in two of the files: the folder is broken")
        weights |= part
    weights = openai_names(weights)
    if POSITIONS not in weights:
        weights[POSITIONS] = computed_positions(weights, dims)
    return weights, dims, _alignment_heads(folder / "generation_config.json", dims)


def _config(path: Path) -> dict[str, Any]:
    """The settings, if they are a Whisper model's."""
    config = read_json(path)
    if config.get("model_type") != "whisper":
        raise CheckpointError("the config.json is not that of a Whisper model (model_type): use a Whisper checkpoint")
    if config.get("activation_function", "gelu") != "gelu" or config.get("scale_embedding"):
        raise CheckpointError("the config.json asks for another activation or scaled embeddings: that is not Whisper")
    return config


def _weight_files(folder: Path) -> list[Path]:
    for name in WEIGHTS:
        if (folder / f"{name}.index.json").exists():
            return [folder / part for part in _parts(read_json(folder / f"{name}.index.json"))]
        if (folder / name).exists():
            return [folder / name]
    default = f"the folder has neither {' nor '.join(WEIGHTS)}: download the whole folder"
    raise CheckpointError(advice(folder) or default)


def _parts(index: dict[str, Any]) -> list[str]:
    """The files an index names: plain names beside it, never a path."""
    parts = index.get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise CheckpointError("the index of the weights has no weight_map of names: the file is broken")
    names = sorted(set(parts.values()))
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
            raise CheckpointError(f"the index names a file {name[:80]!r}, which is not a plain name: refused")
    return names


def _alignment_heads(path: Path, dims: dict[str, int]) -> Heads | None:
    """The heads of generation_config.json; None if it has none that fit (distilled models kept their teacher's)."""
    heads = read_json(path).get("alignment_heads") if path.exists() else None
    try:
        return checked_heads(heads, dims) if heads else None
    except CheckpointError:
        return None
