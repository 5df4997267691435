"""A zip archive as a table of entries, each a view into the mapped file where it is stored uncompressed.

Python's `zipfile` reads the directory and decompresses; this adds what it leaves out: limits, checked against the size
of the file before anything is made, and views. PyTorch stores its arrays uncompressed, so an entry is simply a part of
the file. No entry is ever unpacked to disk, so its name is only a key.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.checkpoint.mapped import cut, forget_pages
from npwhisper.tracing.seam import Array

MOST_ENTRIES = 20_000
LONGEST_DIRECTORY = 2**21  # of large-v3: about 150,000 bytes
LARGEST_INFLATION = 4  # what compressed entries may grow to together, in sizes of the file
END_RECORD = 22  # bytes
LOCAL_HEADER = 30  # bytes before an entry's name
BLOCK = 2**24

Entry = zipfile.ZipInfo


class _Window(io.RawIOBase):
    """The mapped bytes as a file; no single read may be longer than a directory can be."""

    def __init__(self, data: Array) -> None:
        self.data, self.at = data, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.data.size}[whence]
        if self.at < 0:
            raise OSError("a place before the beginning of the file")
        return self.at

    def read(self, size: int = -1) -> bytes:
        size = max(0, self.data.size - self.at) if size is None or size < 0 else size
        if size > LONGEST_DIRECTORY:
            raise CheckpointError(f"the zip directory has {size} bytes: no checkpoint has that many entries")
        content = self.data[self.at : self.at + size].tobytes()
        self.at += len(content)
        return content


def zip_entries(data: Array) -> dict[str, Entry]:
    """The directory of a mapped zip file: name -> entry."""
    found = _directory(data)
    entries = {entry.filename: entry for entry in found}
    if len(entries) != len(found):
        twice = min(name for name in entries if sum(entry.filename == name for entry in found) > 1)
        raise CheckpointError(f"the zip archive has two entries {twice[:80]!r}: the file is broken")
    _require_modest(found, data.size)
    return entries


def _directory(data: Array) -> list[Entry]:
    """The entries that the directory lists, as many as it claims to have."""
    try:
        with zipfile.ZipFile(_Window(data)) as archive:
            found, end = archive.infolist(), data.size - END_RECORD - len(archive.comment)
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError, EOFError) as error:
        raise CheckpointError("the zip archive has no readable directory: it is truncated or broken") from error
    count = int(cut(data, "<u2", end + 10, 1)[0])
    if count not in (len(found), 0xFFFF):  # the second: the number is in the 64-bit record
        raise CheckpointError(f"the zip directory has {len(found)} entries and claims {count}: the file is broken")
    return found


def _require_modest(entries: list[Entry], size: int) -> None:
    """Hold what the entries claim, all together, against the size of the file."""
    if len(entries) > MOST_ENTRIES:
        raise CheckpointError(f"the zip archive has {len(entries)} entries: no checkpoint has that many")
    packed = sum(entry.compress_size + LOCAL_HEADER for entry in entries)
    if packed > size:
        raise CheckpointError(f"the zip entries claim {packed} bytes of a file of {size}: it is truncated or broken")
    inflated = sum(entry.file_size for entry in entries if entry.compress_type == zipfile.ZIP_DEFLATED)
    if inflated > LARGEST_INFLATION * size:
        raise CheckpointError(f"the zip archive wants to grow from {size} to {inflated} bytes: refused as a zip bomb")


def entry_bytes(data: Array, entry: Entry) -> Array:
    """The content of an entry: a view of the file when stored, inflated into memory when compressed.

    -> (entry.file_size,) uint8
    """
    name, stored = entry.filename[:80], entry.compress_type == zipfile.ZIP_STORED
    if entry.flag_bits & 1 or not (stored or entry.compress_type == zipfile.ZIP_DEFLATED):
        raise CheckpointError(f"zip entry {name!r} is encrypted or oddly compressed: save the file again")
    header = cut(data, np.uint8, entry.header_offset, LOCAL_HEADER).tobytes()
    if not header.startswith(b"PK\x03\x04"):
        raise CheckpointError(f"zip entry {name!r} does not begin where the directory says: the file is broken")
    name_length, extra_length = struct.unpack_from("<HH", header, 26)
    start = entry.header_offset + LOCAL_HEADER + name_length + extra_length
    packed = cut(data, np.uint8, start, entry.compress_size)
    content = packed if stored else _inflated(packed, entry)
    if content.size != entry.file_size:
        raise CheckpointError(f"zip entry {name!r} does not have its {entry.file_size} bytes: the file is broken")
    _require_checksum(content, entry)
    return content


def _inflated(packed: Array, entry: Entry) -> Array:
    try:
        content = zlib.decompressobj(-15).decompress(packed.tobytes(), entry.file_size + 1)
    except zlib.error as error:
        raise CheckpointError(f"zip entry {entry.filename[:80]!r} cannot be decompressed: it is broken") from error
    return np.frombuffer(content, dtype=np.uint8)


def _require_checksum(content: Array, entry: Entry) -> None:
    """Compare the CRC-32; zero means that PyTorch was told to leave it out (`set_crc32_options(False)`)."""
    crc = 0
    for start in range(0, content.size if entry.CRC else 0, BLOCK):
        block = content[start : start + BLOCK]
        crc = zlib.crc32(block.data, crc)
        forget_pages(block)
    if crc != entry.CRC:
        raise CheckpointError(f"zip entry {entry.filename[:80]!r} has the wrong checksum: the file is damaged")
