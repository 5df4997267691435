"""A zip archive as a table: for each name, where its bytes lie.

A zip file ends with a directory: one record an entry, with name, sizes and the offset of the entry's own header.
PyTorch stores its arrays uncompressed, so an entry is simply a stretch of the file and can be memory-mapped. No entry
is ever unpacked to disk, so its name is only a key.
Source: PKWARE's APPNOTE, sections 4.3.7, 4.3.12 to 4.3.16 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.checkpoint.mapped import cut
from npwhisper.tracing.seam import Array

MOST_ENTRIES = 100_000
LONGEST_DIRECTORY = 2**25
LARGEST_INFLATION = 16  # what compressed entries may grow to together, in sizes of the file
STORED, DEFLATED = 0, 8


@dataclass(frozen=True)
class Entry:
    """One file of the archive; `size` bytes, kept in `packed` bytes, its own header at byte `at`."""

    name: str
    method: int
    packed: int
    size: int
    at: int


def zip_entries(data: Array) -> dict[str, Entry]:
    """The directory of a mapped zip file: name -> entry."""
    count, size, at = _end_record(data)
    if count > MOST_ENTRIES or size > LONGEST_DIRECTORY:
        raise CheckpointError(f"the zip directory claims {count} entries in {size} bytes: no checkpoint has so many")
    directory, entries = cut(data, np.uint8, at, size).tobytes(), dict[str, Entry]()
    at = 0
    for _ in range(count):
        entry, at = _directory_record(directory, at)
        if entry.name in entries:
            raise CheckpointError(f"the zip archive has two entries {entry.name[:80]!r}: the file is broken")
        entries[entry.name] = entry
    inflated = sum(entry.size for entry in entries.values() if entry.method == DEFLATED)
    if inflated > LARGEST_INFLATION * data.size:
        raise CheckpointError(
            f"the zip archive wants to grow from {data.size} to {inflated} bytes: refused as a zip bomb"
        )
    return entries


def _end_record(data: Array) -> tuple[int, int, int]:
    """Number of entries, size and offset of the directory, from the record at the end of the file."""
    tail = data[-(22 + 0xFFFF) :].tobytes()
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or found + 22 > len(tail):
        raise CheckpointError("the zip archive has no directory at its end: the file is cut short, download it again")
    count, size, at = struct.unpack_from("<HII", tail, found + 10)
    if count != 0xFFFF and size != 0xFFFFFFFF and at != 0xFFFFFFFF:
        return count, size, at
    return _end_record_64(data, data.size - len(tail) + found)


def _end_record_64(data: Array, end: int) -> tuple[int, int, int]:
    """The same from the 64-bit record, which archives beyond 4 GB (or 65,535 entries) have before the plain one."""
    locator = cut(data, np.uint8, end - 20, 20).tobytes()
    at = int.from_bytes(locator[8:16], "little") if locator.startswith(b"PK\x06\x07") else 0
    record = cut(data, np.uint8, at, 56).tobytes()
    if not record.startswith(b"PK\x06\x06"):
        raise CheckpointError("the zip archive's 64-bit directory is not where it should be: the file is broken")
    count, size, at = struct.unpack_from("<QQQ", record, 32)
    return count, size, at


def _directory_record(directory: bytes, at: int) -> tuple[Entry, int]:
    if directory[at : at + 4] != b"PK\x01\x02" or at + 46 > len(directory):
        raise CheckpointError("the zip directory is cut short or broken: download the file again")
    flags, method = struct.unpack_from("<HH", directory, at + 8)
    packed, size, name_length, extra_length, comment_length = struct.unpack_from("<IIHHH", directory, at + 20)
    (header_at,) = struct.unpack_from("<I", directory, at + 42)
    name = directory[at + 46 : at + 46 + name_length].decode("utf-8", errors="replace")
    extra = directory[at + 46 + name_length : at + 46 + name_length + extra_length]
    size, packed, header_at = _widen(extra, [size, packed, header_at])
    if flags & 1 or method not in (STORED, DEFLATED) or (method == STORED and packed != size):
        raise CheckpointError(
            f"zip entry {name[:80]!r} is encrypted, oddly compressed or broken: save the file again with torch.save"
        )
    return Entry(name, method, packed, size, header_at), at + 46 + name_length + extra_length + comment_length


def _widen(extra: bytes, fields: list[int]) -> list[int]:
    """Replace 32-bit fields that are all ones by the 64-bit values in the extra field's record 1."""
    wide = _extra_record(extra, 1)
    for i, value in enumerate(fields):
        if value == 0xFFFFFFFF:
            if len(wide) < 8:
                raise CheckpointError("a zip entry lacks its 64-bit size: the file is broken")
            fields[i], wide = int.from_bytes(wide[:8], "little"), wide[8:]
    return fields


def _extra_record(extra: bytes, wanted: int) -> bytes:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == wanted:
            return extra[4 : 4 + length]
        extra = extra[4 + length :]
    return b""


def entry_bytes(data: Array, entry: Entry) -> Array:
    """The content of an entry: a view of the file when stored, inflated into memory when compressed.

    -> (entry.size,) uint8
    """
    header = cut(data, np.uint8, entry.at, 30).tobytes()
    if not header.startswith(b"PK\x03\x04"):
        raise CheckpointError(
            f"zip entry {entry.name[:80]!r} does not begin where the directory says: the file is broken"
        )
    name_length, extra_length = struct.unpack_from("<HH", header, 26)
    packed = cut(data, np.uint8, entry.at + 30 + name_length + extra_length, entry.packed)
    return packed if entry.method == STORED else _inflated(packed, entry)


def _inflated(packed: Array, entry: Entry) -> Array:
    try:
        content = zlib.decompressobj(-15).decompress(packed.tobytes(), entry.size + 1)
    except zlib.error as error:
        raise CheckpointError(f"zip entry {entry.name[:80]!r} cannot be decompressed: the file is broken") from error
    if len(content) != entry.size:
        raise CheckpointError(
            f"zip entry {entry.name[:80]!r} does not decompress to its {entry.size} bytes: the file is broken"
        )
    return np.frombuffer(content, dtype=np.uint8)
