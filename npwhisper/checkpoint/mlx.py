"""MLX's folder, as `mlx-community/whisper-*` on the Hugging Face hub.

    config.json           OpenAI's ten dimensions, perhaps `quantization`: {"group_size", "bits"}
    weights.npz           OpenAI's names; or weights.safetensors, model.safetensors

Convolutions are (out, kernel, in) instead of (out, in, kernel), the layers of the mlp are `mlp1` and `mlp2`, and the
encoder's positions are left out, since they can be computed. A quantised matrix is packed into 32-bit words, the first
number in the lowest bits, with `scales` and `biases` for each group of a row: ``weight = scale * number + bias``.

Source: mlx-examples' ``whisper/convert.py``; MLX's documentation of ``mlx.core.quantize``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from npwhisper.checkpoint.contents import DIMENSIONS, CheckpointError, Heads, checked_dims, checked_heads
from npwhisper.checkpoint.mapped import map_file
from npwhisper.checkpoint.names import computed_positions
from npwhisper.checkpoint.settings import read_json
from npwhisper.tracing.seam import Array

FILES = ("weights.npz", "weights.safetensors", "model.safetensors")
POSITIONS = "encoder.positional_embedding"
BITS = (2, 4, 8)

ReadWeights = Callable[[Array], dict[str, Array]]


def looks_like_mlx(config: dict[str, Any]) -> bool:
    """Whether a config.json has OpenAI's dimension names, which Hugging Face's has not."""
    return set(DIMENSIONS) <= config.keys()


def read_mlx(folder: Path, read: ReadWeights) -> tuple[dict[str, Array], dict[str, int], Heads | None]:
    """Weights under openai-whisper's names and in its layout, dimensions and alignment heads."""
    config = read_json(folder / "config.json")
    dims = checked_dims({name: config[name] for name in DIMENSIONS})
    found = [folder / name for name in FILES if (folder / name).exists()]
    if not found:
        raise CheckpointError(f"the folder has none of {', '.join(FILES)}: download the whole folder")
    tensors = _dequantised(read(map_file(found[0])), config.get("quantization"))
    heads = tensors.pop("alignment_heads", None)
    weights = {_openai_name(name): _openai_layout(name, array) for name, array in tensors.items()}
    if POSITIONS not in weights:
        weights[POSITIONS] = computed_positions(weights, dims)
    return weights, dims, None if heads is None else checked_heads(np.asarray(heads).tolist(), dims)


def _openai_name(name: str) -> str:
    return name.replace(".mlp1.", ".mlp.0.").replace(".mlp2.", ".mlp.2.")


def _openai_layout(name: str, array: Array) -> Array:
    """(out, kernel, in) -> (out, in, kernel) for convolutions; all else as it is."""
    return array.transpose(0, 2, 1) if array.ndim == 3 and ".conv" in f".{name}" else array


def _dequantised(tensors: dict[str, Array], quantization: Any) -> dict[str, Array]:
    """Packed matrices as float32; all else as it is."""
    packed = {name[: -len(".scales")] for name in tensors if name.endswith(".scales")}
    if not packed:
        return dict(tensors)
    if not isinstance(quantization, dict) or quantization.get("bits") not in BITS:
        raise CheckpointError(
            f"the weights are quantised in a way that cannot be read ({str(quantization)[:60]}), only with "
            f"{', '.join(map(str, BITS))} bits: use the float16 variant of the model"
        )
    rest = {name: array for name, array in tensors.items() if name.rpartition(".")[0] not in packed}
    for name in packed:
        rest[f"{name}.weight"] = _unpacked(name, tensors, quantization["bits"])
        if f"{name}.bias" in tensors:
            rest[f"{name}.bias"] = tensors[f"{name}.bias"]
    return rest


def _unpacked(name: str, tensors: dict[str, Array], bits: int) -> Array:
    """One matrix: (rows, words) uint32 and (rows, groups) twice -> (rows, words * 32 / bits) float32."""
    words, scales, biases = (tensors.get(f"{name}.{part}") for part in ("weight", "scales", "biases"))
    if words is None or scales is None or biases is None or words.dtype != np.uint32 or words.ndim != 2:
        raise CheckpointError(f"the quantised matrix {name[:80]!r} lacks a part: the folder is broken")
    rows, width = len(words), words.shape[1] * 32 // bits
    if scales.shape != biases.shape or scales.ndim != 2 or len(scales) != rows or width % max(1, scales.shape[1]):
        raise CheckpointError(f"the quantised matrix {name[:80]!r} has scales that do not fit: the folder is broken")
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    numbers = (words[:, :, None] >> shifts & np.uint32(2**bits - 1)).reshape(rows, scales.shape[1], -1)
    return np.asarray(numbers * scales[:, :, None] + biases[:, :, None], np.float32).reshape(rows, width)
