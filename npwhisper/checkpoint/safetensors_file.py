"""safetensors: a length, a JSON header, then the raw numbers; our own one-file form of a model.

    8 bytes     N, little-endian
    N bytes     {"__metadata__": {str: str}, name: {"dtype", "shape", "data_offsets": [begin, end]}, ...}
    the rest    the tensors, one after the other, without gaps

Nothing in the file can run, and since the tensors must tile the rest of the file exactly, no size in the header can
promise more than the file has. Our metadata: `format` "npwhisper", `dims` and `alignment_heads` as JSON.
Why not the safetensors library: for NumPy it copies every tensor and raises TypeError for bfloat16 (seen with 0.8.0).
Source: the safetensors format document (huggingface/safetensors).
"""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO

import numpy as np

from npwhisper.checkpoint.contents import Checkpoint, CheckpointError
from npwhisper.checkpoint.json_text import loads
from npwhisper.checkpoint.mapped import cut, shaped
from npwhisper.checkpoint.numbers import bfloat16, stored, stored_dtype, widened
from npwhisper.tracing.seam import Array

LONGEST_HEADER = 5_000_000  # of large-v3: about 150,000
MOST_AXES = 8
DTYPES: dict[str, Any] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": bfloat16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "u1",
}
NAMES = {"float32": "F32", "float16": "F16"}


def looks_like_safetensors(data: Array) -> bool:
    """Whether a file begins with a header length and an opening brace."""
    return data.size > 9 and data[8:9].tobytes() == b"{"


def read_safetensors(data: Array) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors (views into the file; bfloat16 widened) and the metadata of a mapped safetensors file."""
    header, body = _header(data)
    metadata = _checked_metadata(header.pop("__metadata__", {}))
    entries = {name: _entry(name, entry) for name, entry in header.items()}
    _require_tiling([span for _, _, span in entries.values()], body.size)
    return {name: _tensor(body, dtype, shape, span[0]) for name, (dtype, shape, span) in entries.items()}, metadata


def _header(data: Array) -> tuple[dict[str, Any], Array]:
    length = int(cut(data, "<u8", 0, 1)[0])
    if length > min(LONGEST_HEADER, data.size - 8):
        raise CheckpointError(
            f"the safetensors header claims {length} bytes of a file of {data.size}: it is truncated or broken"
        )
    try:
        header: dict[str, Any] = loads(data[8 : 8 + length].tobytes().decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError("the safetensors header is not JSON: the file is broken") from error
    return header, data[8 + length :]


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise CheckpointError("the safetensors header names something twice: the file is broken")
    return result


def _checked_metadata(metadata: object) -> dict[str, str]:
    if isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values()):
        return metadata
    raise CheckpointError("the safetensors metadata is not a mapping of strings: the file is broken")


def _entry(name: str, entry: Any) -> tuple[Any, tuple[int, ...], tuple[int, int]]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(
            f"the header's entry for {name[:80]!r} is not dtype, shape and data_offsets: the file is broken"
        )
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        raise CheckpointError(f"{name[:80]!r} has a dtype other than {', '.join(DTYPES)}: convert the file first")
    shape, span = _sizes(name, entry["shape"]), _sizes(name, entry["data_offsets"])
    if len(span) != 2 or span[1] - span[0] != math.prod(shape) * np.dtype(DTYPES[entry["dtype"]]).itemsize:
        raise CheckpointError(f"shape and data_offsets of {name[:80]!r} contradict each other: the file is broken")
    return DTYPES[entry["dtype"]], shape, (span[0], span[1])


def _sizes(name: str, sizes: Any) -> tuple[int, ...]:
    if isinstance(sizes, list) and len(sizes) <= MOST_AXES and all(type(n) is int and 0 <= n < 2**48 for n in sizes):
        return tuple(sizes)
    raise CheckpointError(f"a size or offset of {name[:80]!r} is not a list of counts: the file is broken")


def _require_tiling(spans: list[tuple[int, int]], size: int) -> None:
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise CheckpointError(f"the tensors overlap or leave a gap at byte {at}: the file is broken")
        at = end
    if at != size:
        raise CheckpointError(
            f"the header promises {at} bytes of tensors, the file has {size}: it is truncated or broken"
        )


def _tensor(body: Array, dtype: Any, shape: tuple[int, ...], begin: int) -> Array:
    return widened(shaped(cut(body, dtype, begin, math.prod(shape)), shape))


def write_safetensors(file: BinaryIO, checkpoint: Checkpoint, dtype: str | None) -> None:
    """Write our one-file form, one tensor at a time.

    Wider numbers come first, so that all of them are aligned; then vectors before matrices, so that everything
    `to_float32` checks in a mapped file lies together (600 vectors among 6 GB took seconds from a cold disk).
    """
    dtypes = {name: stored_dtype(array, dtype) for name, array in checkpoint.weights.items()}
    names = sorted(dtypes, key=lambda name: (-dtypes[name].itemsize, checkpoint.weights[name].ndim > 1))
    header: dict[str, Any] = {"__metadata__": _our_metadata(checkpoint)}
    at = 0
    for name in names:
        shape = checkpoint.weights[name].shape
        end = at + math.prod(shape) * dtypes[name].itemsize
        header[name] = {"dtype": NAMES[dtypes[name].name], "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        file.write(stored(checkpoint.weights[name], dtype, name).tobytes())


def _our_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    heads = {} if checkpoint.alignment_heads is None else {"alignment_heads": json.dumps(checkpoint.alignment_heads)}
    return {**checkpoint.metadata, "format": "npwhisper", "dims": json.dumps(checkpoint.dims), **heads}
