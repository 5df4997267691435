"""Which frames of a FLAC file are missing: libsndfile puts silence in place of some, and says nothing.

Every frame states its place in the recording, so where the next one does not continue, there is a gap. The format:
RFC 9639, 9.1.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from npwhisper.audio.links import Link, Reader

LONGEST = 16  # bytes of a frame's header
BLOCK = 1 << 20
SIZES = {1: 192, **{n: 576 << (n - 2) for n in range(2, 6)}, **{n: 256 << (n - 8) for n in range(8, 16)}}


class Header(NamedTuple):
    """Where a frame is in the file, and its samples: from `start` up to `stop`."""

    at: int
    start: int
    stop: int


def flac_links(data: Reader) -> list[Link]:
    """The file, with what is missing in it; none if this is not FLAC or nothing is missing."""
    lost, rate = lost_samples(data), int.from_bytes(data.at(18, 3), "big") >> 4
    return [Link([range(data.size)], damage=_told(lost, rate))] if lost and rate else []


def lost_samples(data: Reader) -> int:
    """The number of samples between frames that do not follow on one another; 0 if this is not FLAC."""
    if data.at(0, 4) != b"fLaC":
        return 0
    lost, expected = 0, None
    headers = itertools.chain(_headers(data, _beginning(data)), [Header(data.size, 0, 0)])
    for header, following in itertools.pairwise(headers):
        if expected is not None and header.start > expected and _is_whole(data.at(header.at, following.at - header.at)):
            lost, expected = lost + header.start - expected, header.start
        if expected in (None, header.start):
            expected = header.stop
    return lost


def _told(lost: int, rate: int) -> str:
    return f"{lost / rate:.2g} seconds are missing between its frames"


def _beginning(data: Reader) -> int:
    """Where the first frame is, behind the blocks of metadata."""
    at, last = 4, False
    while not last and len(head := data.at(at, 4)) == 4:
        last, at = head[0] >= 128, at + 4 + int.from_bytes(head[1:], "big")
    return at


def _headers(data: Reader, at: int) -> Iterator[Header]:
    """What has the form and the checksum of a frame's header; by chance, one place in some ten million has."""
    sync, size = data.at(at, 2), int.from_bytes(data.at(8, 2), "big")
    while sync in (b"\xff\xf8", b"\xff\xf9") and at < data.size:
        block = data.at(at, BLOCK)
        is_last = at + len(block) >= data.size
        for found in re.finditer(re.escape(sync), block):
            if found.start() < len(block) - LONGEST or is_last:
                header = _header(block[found.start() : found.start() + LONGEST], size)
                if header:
                    yield Header(at + found.start(), *header)
        at += len(block) if is_last else len(block) - LONGEST


def _header(head: bytes, size: int) -> tuple[int, int] | None:
    """The first sample of a frame and the one after its last, if this is the header of one; `size` of all frames."""
    if len(head) < 5 or not head[2] >> 4 or head[2] & 15 == 15 or head[3] >> 4 > 10 or head[3] & 1:
        return None
    number, at = _coded(head, 4)
    n_size = {6: 1, 7: 2}.get(head[2] >> 4, 0)
    end = at + n_size + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if len(head) <= end or _remainder(head[: end + 1], 8, 0x07):
        return None
    start = number if head[1] & 1 else number * size
    return start, start + (SIZES.get(head[2] >> 4) or int.from_bytes(head[at : at + n_size], "big") + 1)


def _coded(head: bytes, at: int) -> tuple[int, int]:
    """A number of up to 36 bits, encoded as UTF-8 does it; -> the number, and where it ends."""
    n_ones = 8 - (~head[at] & 255).bit_length()
    number, end = head[at] & (0x7F >> n_ones), at + max(n_ones, 1)
    for byte in head[at + 1 : end]:
        number = number << 6 | byte & 63
    return number, end


def _is_whole(frame: bytes) -> bool:
    """Whether the checksum at the end of a frame is right."""
    return not _remainder(frame, 16, 0x8005)


def _remainder(data: bytes, n_bits: int, polynomial: int) -> int:
    """The cyclic redundancy check of data that end with their own: 0 if nothing was changed.

    >>> _remainder(bytes([0xFF, 0xF8, 0xC9, 0x18, 0x00, 0xC2]), 8, 0x07)
    0
    """
    table, mask, crc = _table(n_bits, polynomial), (1 << n_bits) - 1, 0
    for byte in data:
        crc = (crc << 8 & mask) ^ table[crc >> (n_bits - 8) ^ byte]
    return crc


@functools.cache
def _table(n_bits: int, polynomial: int) -> list[int]:
    """What each value of the leading byte adds to the remainder."""
    top, table = 1 << (n_bits - 1), list(range(256))
    for i in range(256):
        value = i << (n_bits - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & (2 * top - 1)
        table[i] = value
    return table
