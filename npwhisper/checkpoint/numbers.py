"""Kinds of numbers: what checkpoints store, and the float32 the network computes in.

float16 has 5 bits of exponent and 10 of fraction; bfloat16 is a float32 whose lower 16 bits were thrown away. NumPy has
no bfloat16, so here it is a record of one 16-bit field, widened by putting zeros where the lower half was.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.checkpoint.mapped import by_blocks
from npwhisper.tracing.seam import Array

bfloat16 = np.dtype([("bfloat16", "<u2")])


def to_float32(array: Array, name: str = "a tensor") -> Array:
    """A checkpoint's array as the network wants it: float32, read-only, finite.

    A float32 array stays where it is (memory-mapped); only vectors are then checked for NaN, since
    checking every weight would mean reading the whole file. Any other dtype is converted block by block.

    >>> to_float32(np.array([1, 2.5], dtype=np.float16))
    array([1. , 2.5], dtype=float32)
    """
    if array.dtype == np.float32 and array.flags.c_contiguous and array.flags.aligned:
        result = array.view()
        if result.ndim < 2:
            require_finite(result, name)
    else:
        result = converted(array, np.float32, name)
    result.flags.writeable = False
    return result


def converted(array: Array, dtype: DTypeLike, name: str = "a tensor") -> Array:
    """A copy in another float dtype; raises when a number is not finite in it.

    array: any shape -> the same shape, contiguous
    """
    result = np.empty(array.shape, dtype=dtype)

    def copy(source: Array, target: Array) -> None:
        np.copyto(target, source, casting="unsafe")
        require_finite(target, name)

    with np.errstate(over="ignore"):
        by_blocks(array, result, copy)
    return result


def widened(array: Array) -> Array:
    """bfloat16 as float32 (each pattern of 16 bits becomes the upper half of 32); any other array as it is.

    >>> widened(np.array([0x3F80, 0xC000], dtype="<u2").view(bfloat16))
    array([ 1., -2.], dtype=float32)
    """
    if array.dtype.names is None:
        return array
    result = np.empty(array.shape, dtype=np.uint32)
    by_blocks(array["bfloat16"], result, lambda source, target: np.left_shift(source, 16, out=target, dtype=np.uint32))
    return result.view(np.float32)


def stored_dtype(array: Array, dtype: str | None) -> np.dtype[np.generic]:
    """The little-endian dtype an array is written in: the one asked for, else its own if a half or single float."""
    own = "float16" if array.dtype == np.float16 else "float32"
    return np.dtype(dtype or own).newbyteorder("<")


def stored(array: Array, dtype: str | None, name: str) -> Array:
    """The array as it goes into a file: contiguous, of its `stored_dtype`, finite."""
    return converted(array, stored_dtype(array, dtype), name)


def require_finite(array: Array, name: str) -> None:
    """Raise when an array holds NaN or infinity (min and max see both, without a mask of the array's size)."""
    if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise CheckpointError(f"{name[:80]} holds numbers that are not finite in {array.dtype}: the file is broken")
