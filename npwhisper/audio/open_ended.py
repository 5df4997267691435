"""CAF, Wave 64, AU and AIFF files whose length was never written, as by a program that writes to a pipe.

libsndfile refuses the first two, so it is given their headers with the true sizes. Every whole sample may be the last
one of such a file; a cut within a sample is known.
"""

from __future__ import annotations

from typing import Literal

from npwhisper.audio.damage import within_sample
from npwhisper.audio.links import Link, Part, Reader

WAVE_64 = bytes.fromhex("2e91cf11a5d628db04c10000")  # a file begins with "riff" and this
WAVE_64_CHUNK = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # follows the four letters of a chunk
PLACEHOLDER = 1 << 62  # Wave 64: no file is as long as that
PLACEHOLDER_AIFF = 0x7F000000  # SoX's, which adds what it knows
AIFF_PLAIN = (b"NONE", b"sowt", b"twos", b"fl32", b"fl64", b"FL32", b"FL64")
AU_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # bytes of a sample, by encoding


def open_ended_links(data: Reader) -> list[Link]:
    """The file as libsndfile reads it up to its end; none if this is another format, or its header states a size."""
    return _caf(data) or _wave_64(data) or _au(data) or _aiff(data)


def _caf(data: Reader) -> list[Link]:
    """Chunks with sizes of 64 bits, of which -1 means "up to the end"; four bytes come before the first sample."""
    at, width = 8, 0
    while data.at(0, 4) == b"caff" and len(head := data.at(at, 12)) == 12:
        if head[:4] == b"data" and head[4:] == b"\xff" * 8:
            n_bytes = data.size - at - 12
            parts: list[Part] = [range(at + 4), n_bytes.to_bytes(8, "big"), range(at + 12, data.size)]
            return [Link(parts, damage=within_sample(n_bytes - 4, width))]
        if head[:4] == b"desc":
            width = int.from_bytes(data.at(at + 28, 4), "big")
        at += 12 + max(0, int.from_bytes(head[4:], "big", signed=True))
    return []


def _wave_64(data: Reader) -> list[Link]:
    """Chunks whose names have 16 bytes and whose sizes, of 64 bits, include the header."""
    at, width = 40, 0
    while data.at(4, 12) == WAVE_64 and len(head := data.at(at, 24)) == 24 and head[4:16] == WAVE_64_CHUNK:
        size = int.from_bytes(head[16:], "little")
        if head[:4] == b"data" and not 0 < size < PLACEHOLDER:
            n_bytes = data.size - at - 24
            sizes = [size.to_bytes(8, "little") for size in (data.size, n_bytes + 24)]
            parts: list[Part] = [range(16), sizes[0], range(24, at + 16), sizes[1], range(at + 24, data.size)]
            return [Link(parts, damage=within_sample(n_bytes, width))]
        if head[:4] == b"fmt ":
            width = int.from_bytes(data.at(at + 36, 2), "little")
        at += max(24, (size + 7) // 8 * 8)
    return []


def _au(data: Reader) -> list[Link]:
    """A header of numbers, little-endian if its first four letters are in reverse."""
    head = data.at(0, 24)
    if head[:4] not in (b".snd", b"dns.") or head[8:12] != b"\xff" * 4:
        return []
    order: Literal["big", "little"] = "big" if head[:1] == b"." else "little"
    start, _, encoding, _, channels = (int.from_bytes(head[i : i + 4], order) for i in range(4, 24, 4))
    width = AU_WIDTHS.get(encoding, 0) * channels
    return [Link([range(data.size)], damage=within_sample(data.size - start, width))]


def _aiff(data: Reader) -> list[Link]:
    """Chunks with sizes of 32 bits; eight bytes come before the first sample; AIFF-C may be compressed."""
    at, width = 12, 0
    while data.at(0, 4) == b"FORM" and data.at(8, 4) in (b"AIFF", b"AIFC") and len(head := data.at(at, 8)) == 8:
        size = int.from_bytes(head[4:], "big")
        if head[:4] == b"COMM":
            about, n_bits = data.at(at + 8, 22), int.from_bytes(data.at(at + 14, 2), "big")
            is_plain = size < 22 or about[18:] in AIFF_PLAIN
            width = int.from_bytes(about[:2], "big") * -(-n_bits // 8) if is_plain else 0
        if head[:4] == b"SSND":
            is_open = size == 0 or size >= PLACEHOLDER_AIFF
            damage = within_sample(data.size - at - 16, width, is_padded=True) if is_open else None
            return [Link([range(data.size)], damage=damage)] if is_open else []
        at += 8 + size + size % 2
    return []
