"""The closed table: everything that a pickle of PyTorch tensors may name, and what stands in for it here.

A pickled tensor is a call: `_rebuild_tensor_v2(storage, offset, size, stride, ...)`, where the storage is a persistent
id with type, key and count. The stand-ins below turn the call into a description, a `Tensor`, and touch nothing else.

Source: PyTorch's `torch/_utils.py` and the list of safe globals in `torch/_weights_only_unpickler.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.checkpoint.numbers import bfloat16

MOST_AXES = 8


@dataclass(frozen=True)
class Storage:
    """A flat array somewhere in the file: `count` numbers under `key`, of which a view may begin at `start`."""

    dtype: np.dtype[Any]
    key: str
    count: int
    start: int = 0


@dataclass(frozen=True)
class Tensor:
    """What a pickled tensor says of itself: a storage and, in elements, offset, size and stride."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Function:
    """An entry of the closed table: what stands in for a global that a checkpoint names."""

    call: Callable[..., Any]


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    if type(storage) is not Storage or not _is_count(offset) or not _is_counts(size) or not _is_counts(stride):
        raise CheckpointError("a tensor in the pickle is not made of a storage and counts: the file is broken")
    if len(size) != len(stride):
        raise CheckpointError(
            f"a tensor in the pickle has {len(size)} sizes and {len(stride)} strides: the file is broken"
        )
    return Tensor(storage, offset, size, stride)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _is_counts(value: Any) -> bool:
    return type(value) is tuple and len(value) <= MOST_AXES and all(_is_count(item) for item in value)


def dict_key(key: Any) -> Any:
    """A text or a number of at most 64 bits: whatever else would take long to hash again and again."""
    if type(key) not in (str, int) or (type(key) is int and key.bit_length() > 64):
        kind = "huge number" if type(key) is int else type(key).__name__
        raise CheckpointError(f"a dict in the pickle has a {kind} as key, not a string or an integer: refused")
    return key


STORAGES = {
    "HalfStorage": np.dtype("<f2"),
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "BFloat16Storage": bfloat16,
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
GLOBALS: dict[str, Any] = {
    "collections OrderedDict": Function(lambda: {}),
    "torch._utils _rebuild_tensor": Function(_rebuild_tensor),
    "torch._utils _rebuild_tensor_v2": Function(_rebuild_tensor),
    "torch._utils _rebuild_parameter": Function(lambda tensor, *_: tensor),
    "torch.nn.parameter Parameter": Function(lambda tensor, *_: tensor),
    "torch Size": Function(lambda size=(): size),
    "torch device": Function(lambda *_: None),
    **{f"torch {name}": dtype for name, dtype in STORAGES.items()},
    **{
        f"torch {name}": None
        for name in ("float16", "float32", "float64", "bfloat16", "int64", "int32", "int16", "int8")
    },
    **{f"torch {name}": None for name in ("uint8", "bool", "strided")},
}


def torch_storage(persistent_id: Any) -> Storage:
    """What PyTorch's persistent id ("storage", type, key, device, count[, view]) stands for.

    The legacy form may add a view: (its key, first element, count), a part of the storage.
    """
    if type(persistent_id) is not tuple or len(persistent_id) not in (5, 6) or persistent_id[0] != "storage":
        raise CheckpointError("a storage in the pickle is not described as PyTorch does: the file is broken")
    _, dtype, key, _, count, *view = persistent_id
    if not isinstance(dtype, np.dtype) or type(key) is not str or not _is_count(count):
        raise CheckpointError("a storage in the pickle has no type, key and count: the file is broken")
    if not view or view[0] is None:
        return Storage(dtype, key, count)
    if type(view[0]) is not tuple or len(view[0]) != 3 or not _is_counts(view[0][1:]):
        raise CheckpointError("a view of a storage in the pickle has no start and count: the file is broken")
    _, start, length = view[0]
    return Storage(dtype, key, length, start)
