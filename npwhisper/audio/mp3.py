"""The frames of an MP3 file: how many there truly are, and where one stream ends and the next begins.

libsndfile (mpg123) trusts the header frame named Xing, Info or VBRI; without one it guesses the length from the first
frames, and reads no further. So the frames are counted here, and each stream is given to libsndfile with a
header frame that states the true number. The format: ISO/IEC 11172-3, 2.4.2.3, and 13818-3 for the lower rates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from npwhisper.audio.damage import TOLERATED
from npwhisper.audio.links import Link, Part, Reader

RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version: 1, 2, 2.5
KILOBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
KILOBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MARKS = re.compile(rb"\xff(?=[\xe2-\xfb])|ID3(?=[\2-\4])|TAG|APETAGEX")  # where a frame or a tag may start


class Frame(NamedTuple):
    """The fields of the four-byte header of a frame."""

    n_bytes: int
    n_samples: int
    rate: int
    mono: bool
    side: int  # bytes from the start of the frame to where a Xing header would be

    def follows(self, other: Frame) -> bool:
        """Whether both may belong to one stream."""
        return self[1:] == other[1:]


@dataclass
class Stream:
    """Frames that belong together, and the header frame before them, if there is one."""

    first: bytes
    frame: Frame
    info: bytes
    n_frames: int = 0
    cut: bool = False  # the file ends within a frame
    ranges: list[range] = field(default_factory=list)  # where its frames are
    lost: dict[int, int] = field(default_factory=dict)  # bytes that are not frames, by the number of ranges before them

    def lose(self, n_bytes: int) -> None:
        """Count bytes after the last frame that are not frames."""
        self.lost[len(self.ranges)] = n_bytes + self.lost.get(len(self.ranges), 0)

    def add(self, start: int, n_bytes: int) -> None:
        """One more frame."""
        self.n_frames += 1
        stop = start + n_bytes
        if self.ranges and self.ranges[-1].stop == start:
            start = self.ranges.pop().start
        self.ranges.append(range(start, stop))


def mp3_links(data: Reader) -> list[Link]:
    """The streams of an MP3 file, each behind a true header frame; none if this is no MP3, or one of free bit rate."""
    if not _tag(data, 0) and not _frame(data.at(0, 4)):
        return []
    return [_link(stream) for stream in _streams(data) if stream.n_frames]


def _streams(data: Reader) -> list[Stream]:
    """Walk from frame to frame, skipping tags and anything that is not a frame."""
    walk = Walk(data)
    while walk.at + 4 <= data.size and (n_bytes := walk.step()):
        walk.at += n_bytes
    at, current = walk.at, walk.current
    if current and at < data.size < at + 4 and current.first.startswith(data.at(at, 2)):
        current.cut = True
    return walk.streams


@dataclass
class Walk:
    """A place in the file, the streams found up to it, and the one that may continue there."""

    data: Reader
    at: int = 0
    streams: list[Stream] = field(default_factory=list)
    current: Stream | None = None

    def step(self) -> int:
        """Look at what is here; -> how many bytes it has, 0 if nothing can follow it."""
        header = self.data.at(self.at, 4)
        frame = _frame(header)
        if frame and (self._follows(frame) or _confirmed(self.data, self.at, frame)):
            return self._take(header, frame)
        if n_bytes := _tag(self.data, self.at):
            self.current = None if header[:3] == b"ID3" else self.current
            return n_bytes
        n_bytes = _junk(self.data, self.at, self.data.size if self.streams else 1 << 16)
        if n_bytes and self.current:
            self.current.lose(n_bytes)
        return n_bytes

    def _follows(self, frame: Frame) -> bool:
        return self.current is not None and frame.follows(self.current.frame)

    def _take(self, header: bytes, frame: Frame) -> int:
        """Add a frame to its stream, or begin another; -> its bytes, 0 if the file ends within it."""
        if self.current and self.at + frame.n_bytes > self.data.size:
            self.current.cut = True
            return 0
        info = _info(self.data, self.at, frame)
        if not self.current or not self._follows(frame) or info:
            self.current = Stream(header, frame, info)
            self.streams.append(self.current)
        if not info:
            self.current.add(self.at, frame.n_bytes)
        return frame.n_bytes


def _frame(header: bytes) -> Frame | None:
    """Read the header of a frame: (4 bytes) -> Frame, or None if it is not a layer III header with a bit rate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bits = header[1] >> 3 & 3, header[2]
    if version == 1 or bits >> 4 in (0, 15) or bits >> 2 & 3 == 3:
        return None
    rate, mono = RATES[version][bits >> 2 & 3], header[3] >> 6 == 3
    if version == 3:
        n_bytes, n_samples, side = 144_000 * KILOBITS_1[bits >> 4] // rate, 1152, 21 if mono else 36
    else:
        n_bytes, n_samples, side = 72_000 * KILOBITS_2[bits >> 4] // rate, 576, 13 if mono else 21
    return Frame(n_bytes + (bits >> 1 & 1), n_samples, rate, mono, side)


def _confirmed(data: Reader, at: int, frame: Frame) -> bool:
    """Whether two more frames, or a tag or the end of the file, stand where they should."""
    for _ in range(2):
        at += frame.n_bytes
        if at == data.size or _tag(data, at):
            return True
        following = _frame(data.at(at, 4))
        if not following or not following.follows(frame):
            return False
        frame = following
    return True


def _tag(data: Reader, at: int) -> int:
    """The length of the ID3 or APE tag that starts here; 0 if there is none."""
    start = data.at(at, 32)
    if start[:3] == b"ID3" and len(start) >= 10 and max(start[6:10]) < 128:
        return 10 + (start[6] << 21 | start[7] << 14 | start[8] << 7 | start[9]) + 10 * (start[5] >> 4 & 1)
    if start[:3] == b"TAG" and data.size - at >= 128:
        return 128
    if start[:8] == b"APETAGEX" and len(start) == 32:  # bit 29 of the flags: this is its header, not its footer
        return 32 + (int.from_bytes(start[12:16], "little") if start[23] & 0x20 else 0)
    return 0


def _junk(data: Reader, at: int, limit: int) -> int:
    """The number of bytes to the next frame or tag; 0 if there is none within the limit."""
    start, stop = at, min(data.size, at + limit)
    at += 1
    while at < stop:
        block = data.at(at, min(1 << 16, stop - at))
        for place in (at + found.start() for found in MARKS.finditer(block)):
            frame = _frame(data.at(place, 4))
            if _confirmed(data, place, frame) if frame else _tag(data, place):
                return place - start
        at += max(1, len(block) - 8)
    return 0


def _info(data: Reader, at: int, frame: Frame) -> bytes:
    """The whole frame, if it is a header of the stream rather than sound."""
    if data.at(at + frame.side, 4) in (b"Xing", b"Info") or data.at(at + 36, 4) == b"VBRI":
        return data.at(at, frame.n_bytes)
    return b""


def _link(stream: Stream) -> Link:
    """A stream for libsndfile: a header frame with the number of frames, the frames, and silence for what is lost."""
    frame, mean = stream.frame, sum(map(len, stream.ranges)) / stream.n_frames
    silence, n_silent, parts = _empty(stream.first, 0), 0, list[Part]()
    for i, place in enumerate(stream.ranges):
        n = round(stream.lost.get(i, 0) / mean)
        parts += [silence * n, place]
        n_silent += n
    n_announced, n_trimmed, head = _repaired(stream, n_silent)
    n_read = stream.n_frames + n_silent
    n_whole = n_announced if n_announced > n_read + 1 else n_read  # some count the header too
    damage = None
    if n_silent * frame.n_samples > TOLERATED * frame.rate:
        damage = f"{sum(stream.lost.values())} bytes in it are not MP3 frames"
    elif stream.cut and not 0 < n_announced <= n_read:
        damage = "it ends within a frame"
    seconds = (n_whole * frame.n_samples - n_trimmed) / frame.rate
    return Link([head, *parts], seconds, damage, n_silent * frame.n_samples / frame.rate)


def _repaired(stream: Stream, n_silent: int) -> tuple[int, int, bytes]:
    """The number of frames and of trimmed samples that the header frame states, and a header with the true numbers.

    In a header named Xing or Info the fields follow its flags: 1 number of frames, 2 of bytes, 4 a table of places, 8
    quality; then what LAME writes, among it how many samples at both ends are the encoder's own.
    """
    info, at, n_frames = bytearray(stream.info), stream.frame.side + 8, stream.n_frames + n_silent
    if len(info) < at + 4 or stream.info[at - 8 : at - 4] not in (b"Xing", b"Info") or not info[at - 1] & 1:
        return 0, 0, _header(stream, n_frames)
    flags, n_announced = info[at - 1], int.from_bytes(info[at : at + 4], "big")
    info[at : at + 4] = n_frames.to_bytes(4, "big")
    if flags & 2:
        n_bytes = len(info) + sum(map(len, stream.ranges)) + n_silent * len(_empty(stream.first, 0))
        info[at + 4 : at + 8] = n_bytes.to_bytes(4, "big")
    lame = at + 4 + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    gaps = int.from_bytes(info[lame + 21 : lame + 24], "big") if info[lame : lame + 1].strip(b"\0") else 0
    if n_announced > n_frames + 1 and gaps:  # the padding was at the end, which is not there
        info[lame + 21 : lame + 24] = (gaps >> 12 << 12).to_bytes(3, "big")
    return n_announced, (gaps >> 12) + (gaps & 0xFFF), bytes(info)


def _header(stream: Stream, n_frames: int) -> bytes:
    """A header frame that states the number of frames."""
    told = b"Xing" + bytes([0, 0, 0, 1]) + n_frames.to_bytes(4, "big")
    frame = _empty(stream.first, stream.frame.side + len(told))
    return frame[: stream.frame.side] + told + frame[stream.frame.side + len(told) :]


def _empty(first: bytes, n_bytes: int) -> bytes:
    """A frame without sound, at the smallest bit rate that has room for its header and this many bytes."""
    for bits in range(1, 15):
        header = bytes([0xFF, first[1] | 1, bits << 4 | first[2] & 0x0C, first[3]])
        frame = _frame(header)
        if frame and frame.n_bytes >= max(n_bytes, frame.side):
            return header.ljust(frame.n_bytes, b"\0")
    raise AssertionError("the largest frame has room for every header")
