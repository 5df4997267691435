"""whisper.cpp's `ggml-*.bin` files.

    int32        the magic number; ten sizes and the kind of file
    mel filters  rows, columns, float32 numbers (not needed here: `audio` computes them)
    vocabulary   count, then length and bytes of each token (not needed: `tokenizer` has it)
    tensors      until the end: number of axes, length of the name, type, axes (the last first), name, numbers

Everything is little-endian; nothing is aligned. A type is float32, float16 or a quantised block (see `quantised`).
Source: whisper.cpp's models/convert-pt-to-ggml.py (the layout), ggml.h (the numbers of the types).
"""

from __future__ import annotations

import math
import struct
from typing import Any

from npwhisper.checkpoint.contents import DIMENSIONS, CheckpointError, checked_dims
from npwhisper.checkpoint.mapped import Cursor, shaped
from npwhisper.checkpoint.numbers import require_finite
from npwhisper.checkpoint.quantised import BLOCK, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, dequantised
from npwhisper.tracing.seam import Array

MAGIC = b"lmgg"  # 0x67676d6c
HEADER = (DIMENSIONS[5], *DIMENSIONS[1:5], *DIMENSIONS[6:], DIMENSIONS[0])  # n_vocab first, n_mels last
TYPES: dict[int, Any] = {0: "<f4", 1: "<f2", 2: Q4_0, 3: Q4_1, 6: Q5_0, 7: Q5_1, 8: Q8_0}
QUANTISATION_VERSION = 2
MOST_TOKENS = 2**17
MOST_TENSORS = 100_000
MOST_AXES = 4
LONGEST_NAME = 256


class _Reader(Cursor):
    """Integers and counts, which are checked."""

    def integers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self.take("u1", 4 * count).tobytes())

    def count(self, limit: int) -> int:
        (value,) = self.integers(1)
        if not 0 <= value <= limit:
            raise CheckpointError(
                f"a count before byte {self.at} is {value}, not from 0 to {limit}: the file is broken"
            )
        return value


def looks_like_ggml(data: Array) -> bool:
    """Whether a file begins with ggml's magic number."""
    return data[:4].tobytes() == MAGIC


def read_ggml(data: Array) -> tuple[dict[str, Array], dict[str, int]]:
    """The weights (quantised ones as float32, others as views of the file) and the sizes of a ggml file."""
    reader = _Reader(data, len(MAGIC))
    dims = checked_dims(dict(zip(HEADER, reader.integers(len(HEADER)), strict=True)))
    (kind,) = reader.integers(1)
    reader.take("<f4", reader.count(data.size) * reader.count(data.size))
    for _ in range(reader.count(MOST_TOKENS)):
        reader.take("u1", reader.count(data.size))
    weights: dict[str, Array] = {}
    while reader.at < data.size:
        name, array = _tensor(reader, kind // 1000)
        if name in weights or len(weights) >= MOST_TENSORS:
            raise CheckpointError(f"tensor {name!r} appears twice, or there are too many: the file is broken")
        weights[name] = array
    return weights, dims


def _tensor(reader: _Reader, version: int) -> tuple[str, Array]:
    axes, length, kind = reader.integers(3)
    if not 0 <= axes <= MOST_AXES or not 0 < length <= LONGEST_NAME:
        raise CheckpointError(
            f"the tensor before byte {reader.at} has {axes} axes and a name of {length}: the file is broken"
        )
    shape = tuple(reader.count(2**31) for _ in range(axes))[::-1]
    name = reader.take("u1", length).tobytes().decode("utf-8", errors="replace")
    if kind not in TYPES or (kind > 1 and version != QUANTISATION_VERSION):
        raise CheckpointError(
            f"{name!r} is of ggml type {kind}, version {version}, but only f32, f16, q4_0, q4_1, q5_0, q5_1 and q8_0 "
            f"of version {QUANTISATION_VERSION} can be read: quantise the model again"
        )
    if name.endswith(".bias"):
        shape = (math.prod(shape),)  # the convolutions' biases are stored as (n, 1)
    return name, _numbers(reader, TYPES[kind], shape, name)


def _numbers(reader: _Reader, dtype: Any, shape: tuple[int, ...], name: str) -> Array:
    size = math.prod(shape)
    if isinstance(dtype, str):
        return shaped(reader.take(dtype, size), shape)
    if not shape or shape[-1] % BLOCK:
        raise CheckpointError(f"{name!r} has rows that do not divide into blocks of {BLOCK}: the file is broken")
    weights = dequantised(reader.take(dtype, size // BLOCK))
    require_finite(weights, repr(name))
    return shaped(weights, shape)
