"""What a checkpoint holds, whatever file it came from.

A Whisper model on disk is three things: ten integers that give every size, a flat mapping from torch's parameter names
to arrays, and (sometimes) the list of cross-attention heads that follow the audio in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from npwhisper.model.network import ModelDimensions
from npwhisper.tracing.seam import Array

DIMENSIONS = tuple(dimension.name for dimension in fields(ModelDimensions))
LARGEST_DIMENSION = 2**20
MOST_LAYERS = 1024

Heads = list[tuple[int, int]]


class CheckpointError(ValueError):
    """A file that is not a whole, harmless Whisper checkpoint.

    Names from a file may be part of the message; control characters in them are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))


@dataclass(frozen=True)
class Checkpoint:
    """One model as it lies on disk.

    Attributes
    ----------
    dims
        The ten integers of `ModelDimensions`.
    weights
        Flat state dict, torch's names and shapes. Arrays keep the dtype of the file (bfloat16, which NumPy lacks, is
        widened to float32), are read-only and, where the file allows it, memory-mapped.
    alignment_heads
        (layer, head) pairs for word timestamps, or None if the file does not state them.
    metadata
        Whatever else a file of ours carried.
    """

    dims: dict[str, int]
    weights: dict[str, Array]
    alignment_heads: Heads | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def checked_dims(dims: object) -> dict[str, int]:
    """The ten sizes in their usual order, or a `CheckpointError` naming the one that cannot be."""
    if not isinstance(dims, Mapping):
        raise CheckpointError(
            f"the dimensions are a {type(dims).__name__}, not a mapping of ten integers: the file is broken"
        )
    if set(dims) != set(DIMENSIONS):
        wrong = sorted(name[:40] if type(name) is str else "a number" for name in set(dims) ^ set(DIMENSIONS))
        raise CheckpointError(f"the dimensions must be exactly {', '.join(DIMENSIONS)}; wrong: {', '.join(wrong[:10])}")
    checked = {name: _checked_size(name, dims[name]) for name in DIMENSIONS}
    _require_one_network(checked)
    return checked


def _require_one_network(dims: dict[str, int]) -> None:
    """Refuse sizes that no Whisper network can have together."""
    for half in ("audio", "text"):
        width, heads = dims[f"n_{half}_state"], dims[f"n_{half}_head"]
        if width % heads:
            raise CheckpointError(f"{heads} heads do not divide the width {width} (n_{half}_state): the file is broken")
    if dims["n_audio_state"] != dims["n_text_state"]:
        raise CheckpointError(
            f"the encoder is {dims['n_audio_state']} wide and the decoder {dims['n_text_state']}: "
            "in Whisper both have one width, so the file is broken"
        )


def _checked_size(name: str, size: Any) -> int:
    limit = MOST_LAYERS if name.endswith("_layer") else LARGEST_DIMENSION
    if type(size) is not int or not 1 <= size <= limit:
        shown = size if type(size) is int and abs(size) < 10**18 else f"a {type(size).__name__}"
        raise CheckpointError(f"dimension {name} is {shown}, not an integer from 1 to {limit}: the file is broken")
    return size


def checked_heads(heads: object, dims: Mapping[str, int]) -> Heads:
    """Alignment heads as (layer, head) tuples, or a `CheckpointError` when one lies outside the decoder."""
    if not isinstance(heads, list) or len(heads) > dims["n_text_layer"] * dims["n_text_head"]:
        raise CheckpointError("the alignment heads are not a list of at most layers x heads pairs: the file is broken")
    return [_checked_head(pair, dims) for pair in heads]


def _checked_head(pair: Any, dims: Mapping[str, int]) -> tuple[int, int]:
    limits = dims["n_text_layer"], dims["n_text_head"]
    if isinstance(pair, (list, tuple)) and len(pair) == 2 and all(type(i) is int for i in pair):
        layer, head = pair
        if 0 <= layer < limits[0] and 0 <= head < limits[1]:
            return layer, head
    raise CheckpointError(
        f"an alignment head is not a pair [layer < {limits[0]}, head < {limits[1]}]: the file is broken"
    )
