"""Arrays that lie in a file: nothing is read before it is used, and nothing past the end of the file can be reached.

`map_file` shows a whole file as one read-only array of bytes. Every reader of this package cuts its arrays out of that
one with `cut`, where every offset and count is checked. Pages that were used once can be given back to the system, so
that a file and its converted copy are never both in memory.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import DTypeLike

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.tracing.seam import Array

BLOCK = 2**18  # elements converted at a time: they stay in the cache
NEIGHBOURS = 2**21  # touching a page also brings back pages before it, which had been given back


class MappedFile(mmap.mmap):
    """The bytes of a file, with what tells whether it was changed since."""

    path: str
    stamp: tuple[int, ...]


def map_file(path: str | PathLike[str]) -> Array:
    """The bytes of a file as a read-only array (the file must not be cut shorter while it is in use).

    -> (bytes,) uint8
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"there is no file {path}: give the path of a checkpoint")
    try:
        with open(path, "rb") as file:
            mapping = MappedFile(file.fileno(), 0, access=mmap.ACCESS_READ)
            mapping.path, mapping.stamp = os.path.abspath(path), _stamp(os.fstat(file.fileno()))
            return np.frombuffer(mapping, dtype=np.uint8)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is empty, not a checkpoint: download or copy it again") from error


def cut(data: Array, dtype: DTypeLike, start: int, count: int) -> Array:
    """`count` numbers of a dtype that begin at byte `start`.

    data: (bytes,) uint8 -> (count,)
    """
    end = start + count * np.dtype(dtype).itemsize
    if start < 0 or count < 0 or end > data.size:
        raise CheckpointError(
            f"bytes {start} to {end} were expected in a file of {data.size} bytes: it is truncated or broken"
        )
    return data[start:end].view(dtype)


@dataclass
class Cursor:
    """A place in a mapped file that advances as numbers are taken."""

    data: Array
    at: int = 0

    def take(self, dtype: DTypeLike, count: int) -> Array:
        """The next `count` numbers of a dtype: -> (count,)."""
        array = cut(self.data, dtype, self.at, count)
        self.at += array.nbytes
        return array


def by_blocks(source: Array, target: Array, convert: Callable[[Array, Array], object]) -> None:
    """Run `convert(source part, target part)` over both arrays, giving back the source's pages as it goes."""
    if not source.flags.c_contiguous:
        convert(source, target)
        return
    source, target = source.reshape(-1), target.reshape(-1)
    for start in range(0, source.size, BLOCK):
        part = source[start : start + BLOCK]
        convert(part, target[start : start + BLOCK])
        forget_pages(part)


def shaped(array: Array, shape: tuple[int, ...]) -> Array:
    """A flat array in a shape of as many elements (which NumPy refuses when axes beside an empty one are too long)."""
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise CheckpointError(f"no array can have the shape {shape} of a tensor: the file is broken") from error


def forget_pages(array: Array) -> None:
    """Tell the system that a contiguous mapped array need not stay in memory; other arrays are left alone."""
    mapping = _mapping_of(array)
    if mapping is None or not array.nbytes or not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = _address(array) - _address(np.frombuffer(mapping, dtype=np.uint8))
    page = max(0, start - NEIGHBOURS) // mmap.PAGESIZE * mmap.PAGESIZE
    mapping.madvise(mmap.MADV_DONTNEED, page, start + array.nbytes - page)


def require_unchanged(arrays: Iterable[object]) -> None:
    """Make sure that the files of mapped arrays are as they were when they were opened.

    A file that another one has replaced by its name does no harm: the mapping keeps the old one.

    Raises
    ------
    CheckpointError
        If a file was written to or cut shorter: its numbers are others now, and reading past its end kills Python.
    """
    mappings = {id(m): m for array in arrays if isinstance(array, np.ndarray) and (m := _mapping_of(array)) is not None}
    for mapping in mappings.values():
        if _has_changed(mapping):
            raise CheckpointError(
                f"{mapping.path} was changed while its weights were in use: load the model again; replace a file by "
                "renaming a new one over it, or load it with in_memory=True"
            )


def _has_changed(mapping: MappedFile) -> bool:
    try:
        now = _stamp(os.stat(mapping.path))
    except OSError:
        return mapping.size() < len(mapping)  # it was moved or removed
    is_same_file = now[:2] == mapping.stamp[:2]
    return mapping.size() < len(mapping) or (is_same_file and now != mapping.stamp)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _mapping_of(array: Array) -> MappedFile | None:
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    return owner if isinstance(owner, MappedFile) and not array.flags.writeable else None


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
