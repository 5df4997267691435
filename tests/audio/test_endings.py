"""A cut within a chunk, block, tag, packet or frame is known; between two of them, there is no warning."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import pytest

from npwhisper.audio.endings import ending
from npwhisper.audio.links import Reader

FILL = b"\x55"


def told(data: bytes) -> str | None:
    return ending(Reader(io.BytesIO(data)))


def chunk(name: bytes, size: int) -> bytes:
    return name + struct.pack("<I", size) + FILL * (size + size % 2)


def avi(flags: int, size: int, *parts: bytes) -> bytes:
    about = b"avih" + struct.pack("<IIIII", 56, 0, 0, 0, flags) + bytes(40)
    header = b"LIST" + struct.pack("<I", 4 + len(about)) + b"hdrl" + about
    start = b"RIFF" + struct.pack("<I", size) + b"AVI " + header
    return start + b"LIST" + struct.pack("<I", size) + b"movi" + b"".join(parts)


def flv(tag: int) -> bytes:
    return struct.pack(">I", 0) + bytes([tag]) + (300).to_bytes(3, "big") + bytes(7) + FILL * 300


def transport(stream: int, starts: bool, payload: bytes) -> bytes:
    """A packet of 188 bytes, with its adaptation field as filling."""
    n_fill = 184 - len(payload)
    fill = bytes([n_fill - 1]) + b"\xff" * (n_fill - 1) if n_fill else b""
    return b"G" + struct.pack(">HB", stream | starts << 14, 0x30 if n_fill else 0x10) + fill + payload


MPEG = b"\xff\xfd\x80\xc0".ljust(417, FILL)  # layer II, 44.1 kHz, 128 kb/s
AC3 = (b"\x0b\x77\0\0" + bytes([14, 8 << 3])).ljust(448, FILL)  # 48 kHz, 112 kb/s
E_AC3 = (b"\x0b\x77" + struct.pack(">H", 149) + bytes([0, 16 << 3])).ljust(300, FILL)
DTS = (b"\x7f\xfe\x80\1\xfc" + (299 << 4).to_bytes(3, "big")).ljust(300, FILL)
SOUND = b"\0\0\1\xc0" + struct.pack(">H", 300) + FILL * 300
PACK = b"\0\0\1\xba" + b"\x44" + bytes(8) + b"\xf8"
TRANSPORT = transport(17, True, FILL * 184), transport(256, True, SOUND[:184]), transport(256, False, SOUND[184:])

# The parts of a file, of which the last three may each be the last one; and what a cut within one is called.
KINDS: dict[str, tuple[list[bytes], str]] = {
    "AVI, size 0": ([avi(0, 0), *3 * [chunk(b"01wb", 209)]], "chunk"),
    "AVI, largest size": ([avi(0, 0xFFFFFFFF), *3 * [chunk(b"01wb", 210)]], "chunk"),
    "FLV": ([b"FLV\1\4\0\0\0\x09", flv(18), flv(9), flv(8)], "tag"),
    "VOC": (
        [b"Creative Voice File\x1a\x1a\0\x14\1\x1f\x11", *(bytes([i]) + b"\x2c\1\0" + FILL * 300 for i in (9, 2, 2))],
        "block",
    ),
    "program stream": ([PACK, SOUND, b"\0\0\1\xba\x21" + bytes(7), SOUND], "packet"),
    "layer II": ([MPEG] * 4, "frame"),
    "AC-3": ([AC3] * 4, "frame"),
    "E-AC-3": ([E_AC3] * 4, "frame"),
    "DTS": ([DTS] * 4, "frame"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_within_a_part_is_known_wherever_it_is(kind: str) -> None:
    parts, unit = KINDS[kind]
    data, stops = b"".join(parts), {sum(map(len, parts[:i])) for i in range(1, 5)}
    first = len(parts[0]) + (4 if kind == "FLV" else 0)  # there, the last four bytes are often left out
    for size in range(first + 1, len(data) + 1):
        tail = size - max(stop for stop in stops if stop <= size)
        is_border = tail == 0 or (kind == "FLV" and tail <= 4) or not data[size - tail : size].strip(b"\0")
        assert told(data[:size]) == (None if is_border else f"it ends within a {unit}"), size


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_a_whole_file_is_no_damage(kind: str) -> None:
    data = b"".join(KINDS[kind][0])
    for tail in (bytes(1), bytes(5), bytes(600), b"<tag>" + FILL * 123, b"\0\0\0\1\0\0\0\0" * 4):
        assert told(data + tail) is None, tail


def test_the_ends_that_are_part_of_the_format() -> None:
    assert told(PACK + SOUND + b"\0\0\1\xb9") is None
    assert told(b"".join(KINDS["VOC"][0]) + b"\0") is None
    assert told(b"".join(KINDS["FLV"][0]) + b"\0\0\1\x37") is None


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_an_avi_file_whose_index_is_missing(size: int) -> None:
    sound, index = chunk(b"00wb", 208), chunk(b"idx1", 64)
    assert told(avi(0x10, size, sound, sound)) == "its index is missing"
    assert told(avi(0x10, size, sound, sound, index)) is None
    assert told(avi(0x10, size, sound, sound, index[:-1])) == "it ends within a chunk"
    assert told(avi(0x900, size, sound, sound)) is None


@pytest.mark.parametrize("before", [b"", bytes(4)])
def test_a_transport_stream_ends_with_a_whole_packet(before: bytes) -> None:
    packets = [before + packet for packet in (*TRANSPORT, TRANSPORT[0])]
    data, size = b"".join(packets), len(packets[0])
    assert told(data) is None
    assert told(data[:-size]) is None
    assert told(data[: -2 * size] + packets[0]) == "it ends within a packet of sound"
    for n_bytes in range(1, size):
        assert told(data[:-n_bytes]) == "it ends within a packet"


@pytest.mark.parametrize(("start", "is_sound"), [(b"\xbd", True), (b"\xdf", True), (b"\xe0", False), (b"\xbf", False)])
def test_of_a_transport_stream_only_the_sound_must_be_complete(start: bytes, is_sound: bool) -> None:
    cut = b"\0\0\1" + start + SOUND[4:184]
    data = TRANSPORT[0] * 2 + transport(256, True, cut)
    assert told(data) == ("it ends within a packet of sound" if is_sound else None)


RATES: list[tuple[Callable[[int], bytes], int, int]] = [
    (lambda code: bytes([0xFF, 0xFD, code << 4, 0xC0]), 14, 144 * 384_000 // 44100),
    (lambda code: bytes([0xFF, 0xFD, code << 4 | 4, 0xC0]), 1, 144 * 32_000 // 48000),
    (lambda code: bytes([0xFF, 0xF5, code << 4 | 2, 0xC0]), 1, 144 * 8_000 // 22050 + 1),
    (lambda code: bytes([0xFF, 0xF5, code << 4 | 8, 0xC0]), 14, 144 * 160_000 // 16000),
    (lambda code: bytes([0x0B, 0x77, 0, 0, code, 64]), 37, 4 * 640),
    (lambda code: bytes([0x0B, 0x77, 0, 0, 0x40 | code, 64]), 18, 2 * 348),
    (lambda code: bytes([0x0B, 0x77, 0, 0, 0x40 | code, 64]), 19, 2 * 349),
    (lambda code: bytes([0x0B, 0x77, 0, 0, 0x80 | code, 64]), 0, 6 * 32),
]


@pytest.mark.parametrize(("header", "code", "size"), RATES)
def test_the_sizes_of_frames(header: Callable[[int], bytes], code: int, size: int) -> None:
    frame = header(code).ljust(size, FILL)
    assert told(frame * 3) is None
    assert told((frame * 3)[:-1]) == "it ends within a frame"
    assert told(frame[:-1]) == "it ends within a frame"


@pytest.mark.parametrize(
    "head", [b"", b"\0", b"G", b"\xff\xfb\x90\xc0", b"\xff\xfd\xf0\xc0", b"\xff\xfd\x8c\xc0", b"\xff\xed\x84\xc0"]
)
def test_other_formats_are_not_examined(head: bytes) -> None:
    assert told(head + FILL * 500) is None
    assert told(head) is None


@pytest.mark.parametrize(
    "head", [b"\x0b\x77\0\0\xc0\x40", b"\x0b\x77\0\0\x26\x40", b"RIFF\0\0\0\0AVI <>", b"FLV\1\4\0\0\0\x09"]
)
def test_a_broken_header_tells_nothing(head: bytes) -> None:
    assert told(head + FILL * 500) is None
