"""WAV files: those whose length was never written, and, without libsndfile, all others.

An interrupted recording has a data size of 0, followed by sound; one from a pipe has the largest size there is.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from npwhisper.audio.damage import within_sample
from npwhisper.audio.links import Link, Part, Reader
from npwhisper.audio.units import READ_BLOCK, SAMPLE_RATE, AudioError
from npwhisper.tracing.seam import Array

UNKNOWN = b"\xff\xff\xff\xff"  # libsndfile then reads to the end of the file
PLACEHOLDER = 0x7FFF0000  # programs that write to a pipe put sizes from here on
INTEGERS, FLOATS, EXTENSIBLE = 1, 3, 0xFFFE  # what the samples are


class Sound(NamedTuple):
    """A recording that is decoded while its pieces, (samples, channels) float32, are taken.

    `announced` is the number of samples that its header states, 0 if it does not; `mask` the WAV file's speakers.
    """

    form: str
    rate: int
    pieces: Iterator[Array]
    mask: int = 0
    announced: int = 0
    damage: list[str] = []  # noqa: RUF012 (a default that nobody changes)


def wav_links(data: Reader) -> list[Link]:
    """The file with a data size that means "to the end", if its own says nothing; else none."""
    if data.at(0, 4) not in (b"RIFF", b"RF64") or data.at(8, 4) != b"WAVE":
        return []
    at, about, long = 12, bytes(16), 0
    while len(head := data.at(at, 8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"fmt ":
            about = data.at(at + 8, 16).ljust(16, b"\0")
        elif head[:4] == b"ds64":
            long = int.from_bytes(data.at(at + 16, 8), "little")
        elif head[:4] == b"data":
            return _open_ended(data, at, long if data.at(0, 4) == b"RF64" else size, about)
        at += 8 + size + size % 2
    return []


def _open_ended(data: Reader, at: int, size: int, about: bytes) -> list[Link]:
    """A link up to the end of the file, if the `size` of the data at a place is 0 and wrong, or a placeholder."""
    n_bytes = data.size - at - 8
    is_wrong = size == 0 and n_bytes > 0 and not _are_chunks(data, at + 8)
    if not is_wrong and not (PLACEHOLDER <= size <= 0xFFFFFFFF and n_bytes < size):
        return []
    kind, width = struct.unpack("<H10xH2x", about)
    damage = within_sample(n_bytes, width, is_padded=True) if kind in (INTEGERS, FLOATS, EXTENSIBLE) else None
    parts: list[Part] = [b"RIFF", range(4, at + 4), UNKNOWN, range(at + 8, data.size)]
    return [Link(parts, damage=damage)]


def _are_chunks(data: Reader, at: int) -> bool:
    """Whether the rest of the file is chunks, such as tags, up to its end."""
    while len(head := data.at(at, 8)) == 8 and head[:4].isascii() and head[:4].decode().isprintable():
        size = int.from_bytes(head[4:], "little")
        at += 8 + size + size % 2
    return data.size <= at <= data.size + 1


def wav_sound(data: bytes) -> Sound | None:
    """The sound of a WAV file of integers or floats; None if this is not one."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    links = wav_links(Reader(io.BytesIO(data)))
    chunks = dict(_chunks(data))
    if not {b"fmt ", b"data"} <= chunks.keys() or chunks[b"fmt "][1] < 16:
        raise AudioError("the wav file has no complete header: is the whole file there?")
    form, n_channels, rate, width, mask = _format(data, *chunks[b"fmt "])
    start, size = chunks[b"data"]
    size = len(data) - start if links else size
    found = data[start : start + min(size, len(data) - start) // width * width]
    announced, damage = size // width if size < PLACEHOLDER else 0, [link.damage for link in links if link.damage]
    return Sound("WAV", rate, _decoded(found, form, n_channels), mask, announced, damage)


def _format(data: bytes, at: int, size: int) -> tuple[tuple[int, int], int, int, int, int]:
    """The chunk "fmt ": kind and bits of a sample, number of channels, rate, bytes for all channels, channel mask."""
    kind, n_channels, rate, _, width, n_bits = struct.unpack("<HHIIHH", data[at : at + 16])
    mask = 0
    if kind == EXTENSIBLE and size >= 26:
        mask, kind = struct.unpack("<IH", data[at + 20 : at + 26])
    if not n_channels or width != n_channels * n_bits // 8 or (kind, n_bits) not in SAMPLES:
        raise AudioError(
            f"the wav file holds {n_bits}-bit samples of format {kind}, but without libsndfile only integers of 8 to "
            "32 bits and floats are read: convert it"
        )
    return (kind, n_bits), n_channels, rate, width, mask


SAMPLES = {(INTEGERS, 8), (INTEGERS, 16), (INTEGERS, 24), (INTEGERS, 32), (FLOATS, 32), (FLOATS, 64)}


def _chunks(data: bytes) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """The name, place and size of every chunk up to the sound."""
    at = 12
    while len(head := data[at : at + 8]) == 8:
        size = int.from_bytes(head[4:], "little")
        yield head[:4], (at + 8, size)
        if head[:4] == b"data":
            return
        at += 8 + size + size % 2


def _decoded(data: bytes, form: tuple[int, int], n_channels: int) -> Iterator[Array]:
    """Numbers between -1 and 1, piece by piece: -> (samples, channels)."""
    kind, n_bits = form
    step = READ_BLOCK * n_channels * n_bits // 8
    for piece in (data[i : i + step] for i in range(0, len(data), step)):
        if kind == FLOATS:
            samples = np.frombuffer(piece, f"<f{n_bits // 8}").astype(np.float32)
        elif n_bits == 8:
            samples = (np.frombuffer(piece, np.uint8).astype(np.float32) - 128.0) / 128.0
        else:  # in the upper bytes of 32 bits
            upper = np.zeros((len(piece) // (n_bits // 8), 4), np.uint8)
            upper[:, 4 - n_bits // 8 :] = np.frombuffer(piece, np.uint8).reshape(-1, n_bits // 8)
            samples = (upper.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
        yield samples.reshape(-1, n_channels)


def wav_bytes(samples: Array) -> bytes:
    """A WAV file of 16 bits at 16 kHz: (samples,) between -1 and 1 -> bytes.

    >>> wav_bytes(np.zeros(3, np.float32))[:4], len(wav_bytes(np.zeros(3, np.float32)))
    (b'RIFF', 50)
    """
    import wave

    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        wav.writeframes(np.rint(samples * 32767.0).astype("<i2").tobytes())
    return file.getvalue()
