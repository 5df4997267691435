"""ggml's quantised blocks: 32 weights at a time, a few bits each, with a scale they share.

    q8_0   w = d·q            q from -128 to 127
    q4_0   w = d·(q - 8)      q of 4 bits; two weights a byte: the first 16 in the low halves, the last 16 in the high
    q4_1   w = d·q + m
    q5_0   w = d·(q - 16)     q of 5 bits: the fifth bits of all 32 stand together in `high`
    q5_1   w = d·q + m

Source: the block structures of ggml-common.h and the `dequantize_row_*` functions of ggml-quants.c (version 2).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npwhisper.checkpoint.mapped import forget_pages
from npwhisper.tracing.seam import Array

BLOCK = 32  # weights
BLOCKS_AT_A_TIME = 2**15

Q4_0 = np.dtype([("d", "<f2"), ("q", "u1", 16)])
Q4_1 = np.dtype([("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)])
Q5_0 = np.dtype([("d", "<f2"), ("high", "u1", 4), ("q", "u1", 16)])
Q5_1 = np.dtype([("d", "<f2"), ("m", "<f2"), ("high", "u1", 4), ("q", "u1", 16)])
Q8_0 = np.dtype([("d", "<f2"), ("q", "i1", 32)])

CENTRE = {Q4_0: 8, Q5_0: 16}  # what stands for zero where a block has a scale but no minimum


def dequantised(blocks: Array) -> Array:
    """The weights of a row of blocks, a part at a time, so that no second copy of the file stays in memory.

    blocks: (n,) of one of the block dtypes -> (32 n,) float32
    """
    weights = np.empty((blocks.size, BLOCK), dtype=np.float32)
    for start in range(0, blocks.size, BLOCKS_AT_A_TIME):
        part = slice(start, start + BLOCKS_AT_A_TIME)
        weights[part] = _weights(blocks[part])
        forget_pages(blocks[part])
    return weights.reshape(-1)


def _weights(blocks: Array) -> Array:
    """The formula of the table above.

    blocks: (n,) -> (n, 32) float32
    """
    scale = blocks["d"].astype(np.float32)[:, None]
    with np.errstate(invalid="ignore", over="ignore"):  # whoever reads the file checks that all is finite
        weights: Array = scale * (_integers(blocks).astype(np.float32) - CENTRE.get(blocks.dtype, 0))
        if "m" in _fields(blocks):
            weights += blocks["m"].astype(np.float32)[:, None]
    return weights


def _integers(blocks: Array) -> Array:
    """(n,) -> (n, 32)"""
    packed: Array = blocks["q"]
    if packed.shape[1] == BLOCK:
        return packed
    integers = np.concatenate([packed & 15, packed >> 4], axis=1)
    if "high" in _fields(blocks):
        integers |= np.unpackbits(blocks["high"], axis=1, bitorder="little") << 4
    return integers


def _fields(blocks: Array) -> tuple[Any, ...]:
    return blocks.dtype.names or ()
