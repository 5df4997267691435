"""Writing PyTorch's zip form without PyTorch, so that openai-whisper can load what we converted.

The pickle is put together by hand from a dozen instructions of the stack machine that `unpickle` explains.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from npwhisper.checkpoint.contents import Checkpoint
from npwhisper.checkpoint.numbers import stored, stored_dtype
from npwhisper.tracing.seam import Array

if TYPE_CHECKING:
    import zipfile

ALIGNMENT = 64
TOP = "archive"
STORAGES = {"float16": "HalfStorage", "float32": "FloatStorage"}


def write_pt(file: BinaryIO, checkpoint: Checkpoint, dtype: str | None) -> None:
    """Write `{"dims": ..., "model_state_dict": ..., ...}` as torch.save would, one tensor at a time."""
    import zipfile

    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, file, "data.pkl", pickled(checkpoint, dtype))
        _add(archive, file, "byteorder", b"little")
        for key, (name, array) in enumerate(checkpoint.weights.items()):
            _add(archive, file, f"data/{key}", stored(array, dtype, name).tobytes())
        _add(archive, file, "version", b"3\n")


def _add(archive: zipfile.ZipFile, file: BinaryIO, name: str, content: bytes) -> None:
    """Add an entry whose content begins at a multiple of 64 bytes (an extra field fills the gap before it)."""
    import zipfile

    entry = zipfile.ZipInfo(f"{TOP}/{name}")
    gap = -(file.tell() + 30 + len(entry.filename) + 4) % ALIGNMENT
    entry.extra = struct.pack("<2sH", b"FB", gap) + b"Z" * gap
    archive.writestr(entry, content)


def pickled(checkpoint: Checkpoint, dtype: str | None) -> bytes:
    """The pickle, protocol 2: plain values, and each tensor as a call of `torch._utils._rebuild_tensor_v2`."""
    tensors = {
        name: _tensor(str(key), array, stored_dtype(array, dtype).name)
        for key, (name, array) in enumerate(checkpoint.weights.items())
    }
    parts = {"dims": _plain(checkpoint.dims), "model_state_dict": _mapping(tensors)}
    if checkpoint.alignment_heads is not None:
        parts["alignment_heads"] = _plain([list(pair) for pair in checkpoint.alignment_heads])
    if checkpoint.metadata:
        parts["metadata"] = _plain(checkpoint.metadata)
    return b"\x80\x02" + _mapping(parts) + b"."


def _plain(value: Any) -> bytes:
    """Texts, counts, lists, tuples and dicts of them, as instructions that push them."""
    if isinstance(value, str):
        text = value.encode()
        return b"X" + struct.pack("<I", len(text)) + text
    if isinstance(value, dict):
        return _mapping({key: _plain(item) for key, item in value.items()})
    if isinstance(value, list):
        return b"](" + b"".join(_plain(item) for item in value) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(_plain(item) for item in value) + b"t"
    return b"J" + struct.pack("<i", value)


def _mapping(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(_plain(key) + item for key, item in items.items()) + b"u"


def _tensor(key: str, array: Array, dtype: str) -> bytes:
    """_rebuild_tensor_v2(storage, offset 0, size, stride, requires_grad False, backward hooks OrderedDict())"""
    storage = b"(" + _plain("storage") + _global("torch", STORAGES[dtype]) + _plain((key, "cpu", array.size))[1:] + b"Q"
    stride = tuple(int(n) for n in np.cumprod((1, *array.shape[:0:-1]))[::-1]) if array.ndim else ()
    sizes = _plain(0) + _plain(array.shape) + _plain(stride)
    hooks = _global("collections", "OrderedDict") + b")R"
    return _global("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + sizes + b"\x89" + hooks + b"tR"


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()
