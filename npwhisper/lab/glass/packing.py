"""The layout of the data in a page: arrays and a JSON header in one block of bytes, deflated and written as base64.

A block is, before `zlib.compress`::

    4 bytes    n, the length of the header (little-endian)
    n bytes    the header, JSON in UTF-8: {"meta": {...}, "arrays": {name: {"dtype", "shape", "at"}}}
    0-7 bytes  zeros, up to a multiple of 8
    the arrays, little-endian in C order; "at" counts from here and is a multiple of 8

``dtype`` is float32, uint8, uint16 or int32: what JavaScript has typed arrays for. An array of 8-bit levels (`levels`)
is only drawn; printed numbers are float32, bit for bit those of the run.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from npwhisper.tracing.seam import Array

Part = tuple[dict[str, Any], dict[str, Array]]  # metadata and arrays of a block, or of a part of one
DTYPES = ("float32", "uint8", "uint16", "int32")
LEVEL = 2  # of zlib: level 3 takes a quarter longer for 3 % fewer bytes, level 6 takes 2.7 times as long for 8 %


def levels(x: Array, largest: Array | float) -> Array:
    """Quantise numbers between 0 and `largest` (which broadcasts): level n stands for ``n / 255 * largest``.

    >>> levels(np.array([0.0, 0.1, 0.4]), 0.4)
    array([  0,  64, 255], dtype=uint8)
    """
    steps = x * (255 / np.maximum(largest, 1e-30))
    return np.clip(np.rint(steps), 0, 255).astype(np.uint8)


def pack(meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """Pack one block of the page as base64 text; numbers in `meta` that are not finite become null.

    >>> block = pack({"name": "talk"}, {"x": np.arange(3, dtype=np.float32)})
    >>> unpack(block)[1]["x"]
    array([0., 1., 2.], dtype=float32)
    """
    directory, parts, at = {}, [], 0
    for name, array in arrays.items():
        if str(array.dtype) not in DTYPES:
            raise TypeError(f"a page holds {', '.join(DTYPES)}, got {array.dtype} for {name!r}: convert the array")
        data = _padded(np.ascontiguousarray(array).tobytes())
        directory[name] = {"dtype": str(array.dtype), "shape": list(array.shape), "at": at}
        parts.append(data)
        at += len(data)
    header = {"meta": plain(meta), "arrays": directory}
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    start = _padded(len(text).to_bytes(4, "little") + text)
    return base64.b64encode(zlib.compress(b"".join([start, *parts]), LEVEL)).decode("ascii")


def plain(value: Any) -> Any:
    """Convert a value to JSON types; a number that is not finite becomes None.

    >>> plain({"shape": (2, np.float32(0.5)), "logit": float("-inf")})
    {'shape': [2, 0.5], 'logit': None}
    """
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return _number(value) if isinstance(value, (float, np.floating, np.integer)) else _text(value)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def unpack(block: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """The inverse of `pack`: metadata and arrays. In the browser, ``unpack.js`` does the same."""
    data = zlib.decompress(base64.b64decode(block))
    n = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + n])
    start = 4 + n + -(4 + n) % 8
    arrays = {}
    for name, entry in header["arrays"].items():
        count = int(np.prod(entry["shape"]))
        flat = np.frombuffer(data, entry["dtype"], count, start + entry["at"])
        arrays[name] = flat.reshape(entry["shape"])
    return header["meta"], arrays
