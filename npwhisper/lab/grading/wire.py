"""Values as bytes: one JSON header, then the raw arrays. Reading them executes nothing.

What a worker sends is untrusted: every size is checked against the bytes received, only numbers become arrays, and
invalid data raises `WireError`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from npwhisper.checkpoint.json_text import loads
from npwhisper.tracing.seam import Array

LIMIT = 64 * 2**20  # bytes of one message; the largest right answer has 200 kB
HEADER = 8  # bytes that hold the length of the JSON


class WireError(ValueError):
    """The bytes are not a message."""


def pack(value: Any) -> bytes:
    """Encode nested dictionaries, lists, numbers, strings and arrays as one message.

    >>> unpack(pack({"x": np.arange(3), "n": [1, None]}))
    {'x': array([0, 1, 2]), 'n': [1, None]}
    """
    arrays: list[Array] = []
    header = json.dumps(_plain(value, arrays)).encode()
    parts = [len(header).to_bytes(HEADER, "big"), header, *(array.tobytes() for array in arrays)]
    return b"".join(parts)


def _plain(value: Any, arrays: list[Array]) -> Any:
    """The value as JSON, with a description in place of each array, which is appended to `arrays`."""
    if isinstance(value, Mapping):
        return {"dict": {str(key): _plain(item, arrays) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_plain(item, arrays) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind not in "biufc":
            raise WireError(f"an array of {array.dtype} cannot be sent: only numbers can")
        arrays.append(array)
        return {"array": [array.dtype.str, *array.shape]}
    return value if isinstance(value, (bool, int, float, str, type(None))) else f"<{type(value).__name__}>"


def unpack(message: bytes) -> Any:
    """Decode a message.

    Raises
    ------
    WireError
        If the bytes are not a message of `pack`.
    """
    try:
        length = int.from_bytes(message[:HEADER], "big")
        header = loads(message[HEADER : HEADER + length])
        return _Reader(message, HEADER + length).value(header)
    except WireError:
        raise
    except Exception as error:  # such as JSON nested too deeply, numbers too long, an unknown dtype
        raise WireError(f"this is not a message: {type(error).__name__}") from None


class _Reader:
    """Puts the arrays back in place, in order."""

    def __init__(self, message: bytes, start: int) -> None:
        self.message, self.position = message, start

    def value(self, header: Any) -> Any:
        if isinstance(header, list):
            return [self.value(item) for item in header]
        if not isinstance(header, dict):
            return header
        if "array" in header:
            return self.array(*header["array"])
        return {key: self.value(item) for key, item in header["dict"].items()}

    def array(self, kind: str, *shape: int) -> Array:
        dtype = np.dtype(str(kind))
        if dtype.kind not in "biufc" or not all(type(n) is int and n >= 0 for n in shape):
            raise WireError(f"an array of {dtype} and shape {shape} does not hold numbers")
        start, self.position = self.position, self.position + math.prod(shape) * dtype.itemsize
        if self.position > len(self.message):
            raise WireError(f"the message ends within an array of shape {shape}")
        return np.frombuffer(self.message[start : self.position], dtype).reshape(shape).copy()
