"""PyTorch's `.pt` files, both forms, read without PyTorch.

    zip form     <top>/data.pkl      a pickle: names, sizes, strides; every storage only as a persistent id
                 <top>/data/<key>    the storage with that key: raw numbers, uncompressed
                 <top>/byteorder     "little" or "big" (newer files)
    legacy form  five pickles (magic number, protocol, system, the object, storage keys), then for each key an 8-byte
                 count and the raw numbers, little-endian

The pickle is read by our closed machine (`unpickle`); a tensor becomes a strided view of its storage's bytes in the
mapped file. Source: PyTorch's `torch/serialization.py`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.checkpoint.mapped import cut, forget_pages, shaped
from npwhisper.checkpoint.numbers import widened
from npwhisper.checkpoint.torch_globals import Storage, Tensor, torch_storage
from npwhisper.checkpoint.unpickle import unpickle
from npwhisper.checkpoint.zip_entries import Entry, entry_bytes, zip_entries
from npwhisper.tracing.seam import Array

LONGEST_PICKLE = 16_000_000
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

Load = Callable[[Storage], Array]  # a storage's own numbers, flat


class PickledFile(NamedTuple):
    """A `.pt` file's object, in which `Tensor` describes each tensor, and the way to a storage's numbers."""

    content: Any
    load: Load


def looks_like_zip(data: Array) -> bool:
    """Whether a file is a zip archive (torch.save's form since 1.6)."""
    return data[:4].tobytes() == b"PK\x03\x04"


def looks_like_legacy(data: Array) -> bool:
    """Whether a file begins with torch.save's older magic number, pickled in any protocol."""
    return data[:1].tobytes() == b"\x80" and MAGIC_NUMBER.to_bytes(10, "little") in data[:32].tobytes()


def read_zip(data: Array) -> PickledFile:
    """The pickled object of a zip-form file."""
    entries = zip_entries(data)
    top = _top_folder(list(entries))
    if entries[f"{top}/data.pkl"].file_size > LONGEST_PICKLE:
        raise CheckpointError(f"the pickle of the file is over {LONGEST_PICKLE} bytes: save only the state dict")
    order = _byte_order(data, entries.get(f"{top}/byteorder"))

    @cache
    def content(key: str) -> Array:
        if f"{top}/data/{key}" not in entries:
            raise CheckpointError(f"the file has no storage {key[:40]!r}: it is broken or truncated")
        return entry_bytes(data, entries[f"{top}/data/{key}"])

    def load(storage: Storage) -> Array:
        dtype = storage.dtype.newbyteorder(order)
        return cut(content(storage.key), dtype, storage.start * dtype.itemsize, storage.count)

    pickled = entry_bytes(data, entries[f"{top}/data.pkl"]).tobytes()
    return PickledFile(unpickle(io.BytesIO(pickled), torch_storage), load)


def _byte_order(data: Array, entry: Entry | None) -> Literal["<", ">"]:
    if entry is None:
        return "<"
    order = entry_bytes(data, entry).tobytes() if entry.file_size < 10 else b""
    if order not in (b"little", b"big"):
        raise CheckpointError("the byte order in the file is neither little nor big: the file is broken")
    return ">" if order == b"big" else "<"


def _top_folder(names: list[str]) -> str:
    tops = [name[: -len("/data.pkl")] for name in names if name.endswith("/data.pkl")]
    if len(tops) != 1 or "/" in tops[0]:
        raise CheckpointError(
            "the zip archive holds no data.pkl: it is not a file of torch.save (unpack archives first)"
        )
    return tops[0]


def read_legacy(data: Array) -> PickledFile:
    """The pickled object of a legacy-form file."""
    stream = io.BytesIO(data[:LONGEST_PICKLE].tobytes())
    forget_pages(data[:LONGEST_PICKLE])
    if unpickle(stream) != MAGIC_NUMBER or unpickle(stream) != PROTOCOL_VERSION:
        raise CheckpointError("the file has a different protocol from torch.save's: save it again with a newer PyTorch")
    unpickle(stream)  # what the writing machine was; the numbers are little-endian whatever it says
    types = _Types()
    content, keys = unpickle(stream, types.storage), unpickle(stream)
    storages = _legacy_storages(data, stream.tell(), keys, types)

    def load(storage: Storage) -> Array:
        numbers = storages[storage.key]
        return cut(numbers.view(np.uint8), storage.dtype, storage.start * storage.dtype.itemsize, storage.count)

    return PickledFile(content, load)


class _Types(dict[str, "np.dtype[Any]"]):
    """The type of numbers in each storage, by its key: the pickle tells them, the storages follow without."""

    def storage(self, persistent_id: Any) -> Storage:
        """What a persistent id stands for; every storage has one type."""
        storage = torch_storage(persistent_id)
        if self.setdefault(storage.key, storage.dtype) != storage.dtype:
            raise CheckpointError(f"storage {storage.key[:40]!r} is used with two types: the file is broken")
        return storage


def _legacy_storages(data: Array, at: int, keys: Any, dtypes: dict[str, np.dtype[Any]]) -> dict[str, Array]:
    """The flat arrays that follow the pickles, one for each key."""
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(dtypes):
        raise CheckpointError("the list of storages does not name those that the tensors use: the file is broken")
    storages = {}
    for key in keys:
        count = int(cut(data, "<i8", at, 1)[0])
        storages[key] = cut(data, dtypes[key], at + 8, count)
        at += 8 + storages[key].nbytes
    return storages


def state_dict(file: PickledFile) -> tuple[dict[str, Array], dict[str, Any]]:
    """The flat weights of a pickled file (strided views of it) and everything else that stood beside them.

    Training code wraps a state dict in a dict of its own; known here are openai-whisper's name for it, Lightning's and
    the plain "model".
    """
    content = file.content
    if type(content) is not dict:
        raise CheckpointError(f"the file holds a {type(content).__name__}, not a state dict: save model.state_dict()")
    wrapped = [key for key in ("model_state_dict", "state_dict", "model") if type(content.get(key)) is dict]
    found = content[wrapped[0]] if wrapped else content
    tensors = {name: value for name, value in found.items() if type(name) is str and type(value) is Tensor}
    if not tensors:
        raise CheckpointError(
            "the file holds no tensors under a name we know: save {'dims': ..., 'model_state_dict': ...}"
        )
    _require_modest(tensors)
    return {name: widened(_strided(tensor, file.load)) for name, tensor in tensors.items()}, content if wrapped else {}


def _require_modest(tensors: dict[str, Tensor]) -> None:
    """Refuse tensors that repeat a few numbers without end (stride 0, or one storage under a thousand names)."""
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    stored = sum(storage.count * storage.dtype.itemsize for storage in storages.values())
    wanted = sum(math.prod(tensor.size) for tensor in tensors.values())
    if wanted > stored:
        raise CheckpointError(
            f"the tensors have {wanted} elements, their storages only {stored} bytes: the file is broken"
        )


def _strided(tensor: Tensor, load: Load) -> Array:
    """A tensor as a view of its storage; every element of it is inside.

    load(storage): (count,) -> size
    """
    numbers, width = load(tensor.storage), tensor.storage.dtype.itemsize
    if 0 in tensor.size:
        return shaped(numbers[:0], tensor.size)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if last >= tensor.storage.count:
        raise CheckpointError(
            f"a tensor reaches to element {last} of a storage of {tensor.storage.count}: the file is broken"
        )
    strides = tuple(step * width for step in tensor.stride)
    return np.ndarray(tensor.size, numbers.dtype, numbers.view(np.uint8), tensor.offset * width, strides)
