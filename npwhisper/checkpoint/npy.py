"""NumPy's `.npz`: a zip archive with one `.npy` file for each array, mapped where it is stored uncompressed.

`numpy.load` would read each array into memory; this shows them where they lie, and refuses what is not a plain array.
Source: ``numpy.lib.format`` (NEP 1).
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.checkpoint.mapped import cut, shaped
from npwhisper.checkpoint.numbers import bfloat16, widened
from npwhisper.checkpoint.zip_entries import entry_bytes, zip_entries
from npwhisper.tracing.seam import Array

LONGEST_HEADER = 10_000
MOST_AXES = 8
ENDING = ".npy"


def looks_like_npz(data: Array) -> bool:
    """Whether a zip archive's first file is a `.npy`."""
    length = int.from_bytes(data[26:28].tobytes(), "little")
    return data[:4].tobytes() == b"PK\x03\x04" and data[30 : 30 + length].tobytes().endswith(ENDING.encode())


def read_npz(data: Array) -> dict[str, Array]:
    """The arrays of a mapped `.npz` (bfloat16 widened)."""
    entries = zip_entries(data)
    others = [name for name in entries if not name.endswith(ENDING)]
    if others:
        raise CheckpointError(f"{others[0][:80]!r} in the archive is not a .npy file: the file is broken")
    return {
        name[: -len(ENDING)]: widened(_array(entry_bytes(data, entry), name[: -len(ENDING)]))
        for name, entry in entries.items()
    }


def _array(content: Array, name: str) -> Array:
    stream = io.BytesIO(content[: LONGEST_HEADER + 16].tobytes())
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read(stream, max_header_size=LONGEST_HEADER)
    except Exception as error:  # NumPy's parser of headers lets errors of many kinds through
        raise CheckpointError(f"array {name[:80]!r} has no readable header: the file is broken") from error
    dtype = bfloat16 if dtype.str in ("|V2", "<V2") else dtype  # MLX's bfloat16, which NumPy has no name for
    _check(name, shape, dtype)
    numbers = shaped(cut(content, dtype, stream.tell(), math.prod(shape)), shape[::-1] if is_fortran else shape)
    if stream.tell() + numbers.nbytes != content.size:
        raise CheckpointError(
            f"array {name[:80]!r} has {content.size} bytes, but its header says otherwise: it is broken"
        )
    return numbers.T if is_fortran else numbers


def _check(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype != bfloat16 and dtype.kind not in "fiu":
        raise CheckpointError(f"array {name[:80]!r} holds {str(dtype)[:40]}, not numbers: refused")
    if len(shape) > MOST_AXES or any(type(n) is not int or not 0 <= n < 2**48 for n in shape):
        raise CheckpointError(f"array {name[:80]!r} has an impossible shape: the file is broken")
