"""Whether a recording ends within one of its chunks, blocks, tags, packets or frames, each of which tells its size.

For formats that state no length, or not if they were written to a pipe. A cut between two of them cannot be seen.
The formats: AVI (RIFF), Flash video 1 (FLV), Creative Voice (VOC), ISO/IEC 13818-1 (MPEG's program and transport
streams), ISO/IEC 11172-3 and 13818-3 (MPEG audio, layer II), ETSI TS 102 366 (AC-3), ETSI TS 102 114 (DTS).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from npwhisper.audio.links import Reader
from npwhisper.audio.mp3 import KILOBITS_2, RATES

OPEN = (0, 0xFFFFFFFF)  # sizes that were left open
INDEX = 0x10  # flag of an AVI file: an index follows the sound
KILOBITS_LAYER_2 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
KILOBITS_AC3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)

HEADER = 16  # bytes that are enough to tell a part's size
LAST = 4096  # packets of a transport stream that are looked at

Step = Callable[[bytes], int]  # the beginning of a part -> its size, 0 if this is none


def ending(data: Reader) -> str | None:
    """Within what a recording ends, in words; None if its last part is whole, or the format is another."""
    head = data.at(0, 26)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI " and _little(head[4:8]) in OPEN:
        return _avi(data)
    if head[:3] == b"FLV":
        return _within(data, "tag", int.from_bytes(head[5:9], "big"), _flv)
    if head[:20] == b"Creative Voice File\x1a":
        return _within(data, "block", _little(head[20:22]), _voc)
    if head[:4] == b"\0\0\1\xba":
        return _within(data, "packet", 0, _program)
    for step in (_layer_2, _ac3, _dts):
        if step(_header(data, 0)):
            return _within(data, "frame", 0, step)
    return _transport(data)


def _little(number: bytes) -> int:
    return int.from_bytes(number, "little")


def _within(data: Reader, unit: str, at: int, step: Step) -> str | None:
    """Go from part to part; the last one may end behind the file, or be too short for a header."""
    while at < data.size and (n_bytes := step(_header(data, at))):
        at += n_bytes
    tail = data.at(at, HEADER)
    is_cut = at > data.size or (len(tail) < HEADER and tail.strip(b"\0"))
    return f"it ends within a {unit}" if is_cut else None


def _header(data: Reader, at: int) -> bytes:
    """The beginning of a part, filled up with zeros."""
    return data.at(at, HEADER).ljust(HEADER, b"\0")


def _avi(data: Reader) -> str | None:
    """A file whose sizes are open, which has an index if it says so."""
    seen = set[bytes]()

    def step(head: bytes) -> int:
        seen.add(head[:4])
        return _chunk(head)

    if cut := _within(data, "chunk", 12, step):
        return cut
    has_index = data.at(24, 4) == b"avih" and _little(data.at(44, 4)) & INDEX
    return "its index is missing" if has_index and b"idx1" not in seen else None


def _chunk(head: bytes) -> int:
    """A chunk, or the beginning of a list of chunks whose size is open."""
    size = _little(head[4:8])
    if head[:4] in (b"RIFF", b"LIST") and size in OPEN:
        return 12
    return 8 + size + size % 2 if head[:4].isalnum() else 0


def _flv(head: bytes) -> int:
    """The size of the tag before, and a tag of sound, picture or data if there is one more."""
    if head[:4].strip(b"\0") and not head[4:].strip(b"\0"):
        return 4
    return 15 + int.from_bytes(head[5:8], "big") if head[4] & 31 in (8, 9, 18) else 0


def _voc(head: bytes) -> int:
    """A block of sound, silence, text and so on; 0 is the end."""
    return 4 + _little(head[1:4]) if 1 <= head[0] <= 9 else 0


def _program(head: bytes) -> int:
    """A packet, the header of a pack of packets, or the code of the end."""
    if head[:4] == b"\0\0\1\xb9":
        return 4
    if head[:3] != b"\0\0\1" or head[3] < 0xBA:
        return 0
    if head[3] == 0xBA:
        return 14 + (head[13] & 7) if head[4] >> 6 == 1 else 12
    return 6 + int.from_bytes(head[4:6], "big")


def _layer_2(head: bytes) -> int:
    """A frame of MPEG audio, layer II."""
    version, bits = head[1] >> 3 & 3, head[2]
    if head[0] != 0xFF or head[1] & 0xE6 != 0xE4 or version == 1 or bits >> 4 in (0, 15) or bits >> 2 & 3 == 3:
        return 0
    kilobits = (KILOBITS_LAYER_2 if version == 3 else KILOBITS_2)[bits >> 4]
    return 144_000 * kilobits // RATES[version][bits >> 2 & 3] + (bits >> 1 & 1)


def _ac3(head: bytes) -> int:
    """A frame of AC-3, whose header has a code of its size, or of E-AC-3, whose header has the size."""
    if head[:2] != b"\x0b\x77":
        return 0
    if head[5] >> 3 > 10:
        return 2 + 2 * (int.from_bytes(head[2:4], "big") & 0x7FF)
    rate, code = head[4] >> 6, head[4] & 63
    if rate == 3 or code >> 1 >= len(KILOBITS_AC3):
        return 0
    kilobits = KILOBITS_AC3[code >> 1]
    return (4 * kilobits, 2 * (320 * kilobits // 147 + code % 2), 6 * kilobits)[rate]


def _dts(head: bytes) -> int:
    """A frame of DTS, of big-endian words of 16 bits."""
    return 1 + (int.from_bytes(head[5:8], "big") >> 4 & 0x3FFF) if head[:4] == b"\x7f\xfe\x80\1" else 0


def _transport(data: Reader) -> str | None:
    """Packets of one size, on Blu-ray discs behind a time code each; those of the sound are spread over them."""
    for size, before in ((188, 0), (192, 4)):
        if all(data.at(before + i * size, 1) == b"G" for i in range(3)):
            if data.size % size:
                return "it ends within a packet"
            start = max(0, data.size // size - LAST) * size + before
            packets = (data.at(at, 188) for at in range(start, data.size, size))
            return "it ends within a packet of sound" if _is_open(packets) else None
    return None


def _is_open(packets: Iterator[bytes]) -> bool:
    """Whether bytes of a stream's last packet of sound are missing."""
    missing = dict[int, int]()
    for packet in packets:
        stream, kind = int.from_bytes(packet[1:3], "big") & 0x1FFF, packet[3] >> 4 & 3
        payload = packet[4 + (1 + packet[4] if kind & 2 else 0) :] if kind & 1 else b""
        if packet[1] & 0x40:
            is_sound = payload[:3] == b"\0\0\1" and (0xC0 <= payload[3] < 0xE0 or payload[3] == 0xBD)
            missing[stream] = 6 + int.from_bytes(payload[4:6], "big") if is_sound else 0
        missing[stream] = missing.get(stream, 0) - len(payload)
    return any(n_bytes > 0 for n_bytes in missing.values())
