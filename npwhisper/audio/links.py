"""The parts of a recording that are decoded one after another: libsndfile reads one, up to the end that it assumes.

Most files are one link. Joined MP3 files and chained Ogg streams are several; a WAV file whose recorder crashed is one
with a repaired header.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

Part = bytes | range  # bytes themselves, or places in the file


@dataclass
class Link:
    """A piece of a file that libsndfile reads as if it were a file.

    Attributes
    ----------
    parts : sequence of bytes and ranges
        Its contents; ranges are positions in the original file.
    announced : float
        Seconds that its header announces; 0 leaves that to libsndfile.
    damage : str or None
        What was found to be damaged, in words.
    silence : float
        Seconds of silence that replace damaged parts.
    """

    parts: Sequence[Part]
    announced: float = 0.0
    damage: str | None = None
    silence: float = 0.0

    def open(self, stream: BinaryIO) -> Parts:
        """Open it again from its start."""
        return Parts(stream, self.parts)


@dataclass
class Reader:
    """Random access to the bytes of a file, one megabyte at a time in memory."""

    stream: BinaryIO
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.stream.seek(0, os.SEEK_END)
        self._start, self._held = 0, b""

    def at(self, place: int, n: int) -> bytes:
        """At most n bytes from `place` on; fewer at the end of the file, none beyond, however far a header points."""
        if place >= self.size:
            return b""
        offset = place - self._start
        if offset < 0 or offset + n > len(self._held):
            self.stream.seek(place)
            self._start, self._held, offset = place, self.stream.read(max(n, 1 << 20)), 0
        return self._held[offset : offset + n]


class Parts(io.RawIOBase):
    """A read-only file made of parts of another.

    >>> Parts(io.BytesIO(b"0123456789"), [b"ab", range(2, 5), range(8, 9)]).read()
    b'ab2348'
    """

    def __init__(self, stream: BinaryIO, parts: Sequence[Part]) -> None:
        self._stream, self._parts, self._at = stream, parts, 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """Every place can be reached."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: sum(map(len, self._parts))}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """The present place."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as there is something."""
        wanted, n, start = len(buffer), 0, 0
        for part in self._parts:
            offset = self._at - start
            if n < wanted and offset < len(part):
                data = self._read(part[offset : offset + wanted - n])
                buffer[n : n + len(data)] = data
                n, self._at = n + len(data), self._at + len(data)
                if len(data) < min(len(part) - offset, wanted - n + len(data)):
                    break  # the file has become shorter since
            start += len(part)
        return n

    def _read(self, part: Part) -> bytes:
        if isinstance(part, bytes):
            return part
        self._stream.seek(part.start)
        return self._stream.read(len(part))
