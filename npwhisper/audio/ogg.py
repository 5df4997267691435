"""The pages of an Ogg file: where one stream of a chain ends and the next begins, and which pages are damaged.

libsndfile reads the first stream of a chain, and silently skips damaged pages. The format: RFC 3533.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from npwhisper.audio.links import Link, Reader

BEGINS = 2  # flag of a page that begins a stream
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # every byte with its bits in reverse order


@dataclass
class Walk:
    """Where the links of a chain start, and what is damaged in each."""

    starts: list[int] = field(default_factory=list)
    n_lost: list[int] = field(default_factory=list)  # damaged bytes of each link
    beginning: bool = False  # the page before was one that begins a stream

    def page(self, at: int, flags: int) -> None:
        """A page starts; several streams that begin together are one link."""
        begins = bool(flags & BEGINS)
        if not self.starts or (begins and not self.beginning):
            self.starts.append(at)
            self.n_lost.append(0)
        self.beginning = begins


def ogg_links(data: Reader) -> list[Link]:
    """The links of a chained Ogg file, one if it is not chained; none if this is not Ogg."""
    if data.at(0, 4) != b"OggS":
        return []
    walk, cut = _walk(data)
    stops = [*walk.starts[1:], data.size]
    links = [Link([range(start, stop)]) for start, stop in zip(walk.starts, stops, strict=True)]
    for link, n_lost in zip(links, walk.n_lost, strict=True):
        link.damage = f"{n_lost} bytes of it are damaged" if n_lost else None
    if cut:
        links[-1].damage = links[-1].damage or "it ends within a page"
    return links


def _walk(data: Reader) -> tuple[Walk, bool]:
    """Go from page to page, skipping anything else; -> what was found, and whether the file ends within a page."""
    walk, at = Walk([0], [0], True), 0
    while at < data.size:
        head = data.at(at, 282)
        n_bytes = _page_size(head)
        if at + n_bytes > data.size:
            return walk, True
        page = data.at(at, n_bytes)
        if page and _crc(page) == int.from_bytes(page[22:26], "little"):
            walk.page(at, page[5])
            at += n_bytes
            continue
        found = _next(data, at)
        if found < data.size or head.strip(b"\0"):  # zeros up to the end of the file are padding
            walk.n_lost[-1] += found - at
        at = found
    return walk, False


def _page_size(head: bytes) -> int:
    """How many bytes the page has that begins with `head`; 0 if none does."""
    if head[:4] != b"OggS":
        return 0
    return 27 + head[26] + sum(head[27 : 27 + head[26]]) if len(head) > 26 else 27


def _next(data: Reader, at: int) -> int:
    """Where the next page starts, or the end of the file."""
    at += 1
    while at < data.size:
        block = data.at(at, 1 << 16)
        if (found := block.find(b"OggS")) >= 0:
            return at + found
        at += max(1, len(block) - 3)
    return data.size


def _crc(page: bytes) -> int:
    """The checksum of a page, computed as if its checksum field were 0.

    zlib processes the bits of a byte in the opposite order, and inverts at the start and at the end.
    """
    reverse = (page[:22] + bytes(4) + page[26:]).translate(REVERSED)
    crc = zlib.crc32(reverse, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(REVERSED), "big")
