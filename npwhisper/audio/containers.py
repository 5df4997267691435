"""How long a recording should be by the headers of its container, where ffmpeg does not compare.

The formats: Microsoft's Advanced Systems Format, revision 1.2, 3.2 and 5; RIFF; RealMedia.
"""

from __future__ import annotations

import io

from npwhisper.audio.endings import ending
from npwhisper.audio.links import Reader
from npwhisper.audio.ogg import ogg_links

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")  # a file begins with its header
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
PACKET = b"\x82\0\0"  # how a packet begins; an index may follow the last one
REAL = (b".RMF", b"PROP", b"MDPR", b"CONT", b"DATA")  # the chunks up to the end of the sound


def announcement(source: str | bytes, seconds: float, told: float) -> tuple[float, str | None]:
    """The seconds that a container announces, and its damage; `seconds` were read, `told` is ffmpeg's length."""
    with open(source, "rb") if isinstance(source, str) else io.BytesIO(source) as stream:
        data = Reader(stream)
        expected, damage = _end(data)
        damage = "; ".join(link.damage for link in ogg_links(data) if link.damage) or damage or ending(data)
    if expected is None:
        return 0.0, damage
    return max(told, seconds * expected / data.size), damage


def _end(data: Reader) -> tuple[int | None, str | None]:
    """Where the sound should end (0 if that is unknown, None if the lengths are placeholders), and the damage."""
    head = data.at(0, 16)
    if head == ASF:
        return _asf(data)
    if head[:4] == b"RIFF":
        return _riff(data), None
    return _real(data) if head[:4] == b".RMF" else 0, None


def _asf(data: Reader) -> tuple[int, str | None]:
    """Packets of one size follow the header, which counts them unless it was written to a pipe."""
    start, at = int.from_bytes(data.at(16, 8), "little"), 30
    while at < start and len(head := data.at(at, 100)) == 100:
        if head[:16] == ASF_PROPERTIES:
            count, is_live = int.from_bytes(head[56:64], "little"), head[88] & 1
            size, rest = int.from_bytes(head[92:96], "little"), data.size - start - 50
            if is_live:
                is_packet = size and rest % size and data.at(data.size - rest % size, 3) == PACKET
                return 0, "it ends within a packet" if is_packet else None
            return start + 50 + count * size, None
        at += max(24, int.from_bytes(head[16:24], "little"))
    return 0, None


def _riff(data: Reader) -> int | None:
    """Parts follow each other, each with its size; a program that writes to a pipe leaves sizes and lengths open."""
    at = 0
    while data.at(at, 4) == b"RIFF":
        size = int.from_bytes(data.at(at + 4, 4), "little")
        if size in (0, 0xFFFFFFFF):
            return None
        at += 8 + size + size % 2
    return at


def _real(data: Reader) -> int | None:
    """Chunks follow each other, each with its size, which is left open in a file from a pipe."""
    at = 0
    while data.at(at, 4) in REAL:
        size = int.from_bytes(data.at(at + 4, 4), "big")
        if size <= (18 if data.at(at, 4) == b"DATA" else 8):  # its header alone
            return None
        at += size
    return at
