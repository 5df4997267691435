"""FLAC in NumPy, for systems without libsndfile.

Every block of samples is predicted from the samples before, with a few integer coefficients, and the file holds the
coefficients and the errors: small numbers, so short codes. The format: RFC 9639.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from operator import mul

import numpy as np

from npwhisper.audio.flac_frames import SIZES, flac_links
from npwhisper.audio.links import Reader
from npwhisper.audio.wav import Sound
from npwhisper.tracing.seam import Array

FIXED: list[list[int]] = [[], [1], [2, -1], [3, -3, 1], [4, -6, 4, -1]]  # predictors without coefficients in the file
DEPTHS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
LEFT_SIDE, SIDE_RIGHT, MID_SIDE = 8, 9, 10


class Bits:
    """The bits of a frame, read from the left."""

    def __init__(self, data: bytes) -> None:
        self.bits = np.unpackbits(np.frombuffer(data, np.uint8))
        places = np.where(self.bits, np.arange(len(self.bits)), len(self.bits))
        self.next_one = np.minimum.accumulate(places[::-1])[::-1].tolist()  # from each place on, where the first 1 is
        self.at = 0

    def number(self, n: int) -> int:
        """The next n bits as an unsigned number."""
        if self.at + n > len(self.bits):
            raise EOFError
        self.at += n
        return int("".join(map(str, self.bits[self.at - n : self.at])) or "0", 2)

    def signed(self, n: int) -> int:
        """The next n bits as a signed number."""
        value = self.number(n)
        return value - (1 << n) if n and value >> (n - 1) else value

    def unary(self) -> int:
        """The number of zeros before the next 1, which is consumed as well."""
        start, self.at = self.at, self.next_one[self.at] + 1
        return int(self.at - 1 - start)

    def rice(self, count: int, k: int) -> Array:
        """`count` signed numbers: the upper bits as zeros before a 1, then k lower bits; the sign is the lowest bit."""
        at, next_one, ones = self.at, self.next_one, []
        for _ in range(count):
            place = next_one[at]
            ones.append(place)
            at = place + k + 1
        if at > len(self.bits):
            raise EOFError
        places = np.array(ones, dtype=np.int64)
        starts = np.concatenate([[self.at], places[:-1] + k + 1])
        lower = self.bits[places[:, None] + 1 + np.arange(k)] @ (1 << np.arange(k)[::-1])
        self.at = at
        code = (places - starts << k) + lower
        return (code >> 1) ^ -(code & 1)


def flac_sound(data: bytes) -> Sound | None:
    """Decode a FLAC file as it is read; None if this is not FLAC."""
    if data[:4] != b"fLaC" or len(data) < 42:
        return None
    about = int.from_bytes(data[18:26], "big")  # 20 bits of rate, 3 of channels, 5 of depth, 36 of length
    rate, n_samples, at, last = about >> 44, about & ((1 << 36) - 1), 4, False
    depth = (about >> 36 & 31) + 1
    while not last and at + 4 <= len(data):
        last, at = data[at] >= 128, at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    damage = [str(link.damage) for link in flac_links(Reader(io.BytesIO(data)))]
    pieces = _scaled(_frames(data, at, depth), depth, data[26:42], damage)
    return Sound("FLAC", rate, pieces, announced=n_samples, damage=damage)


def _scaled(frames: Iterator[Array], depth: int, md5: bytes, damage: list[str]) -> Iterator[Array]:
    """Numbers between -1 and 1; the file holds the MD5 of its samples, which is compared at the end."""
    digest, n_bytes = hashlib.md5(usedforsecurity=False), (depth + 7) // 8
    try:
        for frame in frames:
            digest.update(frame.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :n_bytes].tobytes())
            yield (frame / 2.0 ** (depth - 1)).astype(np.float32)
    except (EOFError, IndexError):
        damage.append("it ends within a frame")
    except (KeyError, ValueError) as error:
        damage.append(f"one of its frames is broken: {error}")
    if any(md5) and not damage and digest.digest() != md5:
        damage.append("its samples do not match the MD5 checksum in it")


def _frames(data: bytes, at: int, depth: int) -> Iterator[Array]:
    """The samples of every frame: -> (samples, channels) int64."""
    longest = max(1 << 16, int.from_bytes(data[15:18], "big") + 64)
    while at < len(data):
        frame, n_bytes = _frame(data[at : at + longest], depth)
        yield frame
        at += n_bytes


def _frame(data: bytes, depth: int) -> tuple[Array, int]:
    """Decode one frame: -> (samples, channels), and how many bytes it has."""
    bits = Bits(data)
    if bits.number(15) != 0x7FFC:
        raise ValueError("no frame begins where one should")
    bits.at += 1
    size, rate, layout, told = (bits.number(n) for n in (4, 4, 4, 3))
    bits.at += 1
    first = bits.number(8)  # the frame number, encoded like UTF-8
    bits.at += 8 * max(0, 8 - (~first & 255).bit_length() - 1)
    n = bits.number(8 if size == 6 else 16) + 1 if size in (6, 7) else SIZES[size]
    bits.at += {12: 8, 13: 16, 14: 16}.get(rate, 0) + 8  # and the header's check sum
    depth = DEPTHS.get(told, depth)
    n_channels = 2 if layout >= LEFT_SIDE else layout + 1
    wide = {LEFT_SIDE: 1, SIDE_RIGHT: 0, MID_SIDE: 1}.get(layout)  # the difference needs one bit more
    channels = [_subframe(bits, n, depth + (i == wide)) for i in range(n_channels)]
    return np.stack(_apart(channels, layout), axis=1), -(-bits.at // 8) + 2


def _apart(channels: list[Array], layout: int) -> list[Array]:
    """Left and right, where one or both were replaced by their difference or their mean."""
    if layout == LEFT_SIDE:
        return [channels[0], channels[0] - channels[1]]
    if layout == SIDE_RIGHT:
        return [channels[0] + channels[1], channels[1]]
    if layout == MID_SIDE:
        mean, side = channels
        total = (mean << 1) | (side & 1)
        return [(total + side) >> 1, (total - side) >> 1]
    return channels


def _subframe(bits: Bits, n: int, depth: int) -> Array:
    """One channel of a frame: -> (n,) int64."""
    kind = bits.number(7)
    wasted = bits.unary() + 1 if bits.number(1) else 0
    depth -= wasted
    if kind == 0:
        samples = np.full(n, bits.signed(depth), dtype=np.int64)
    elif kind == 1:
        samples = np.array([bits.signed(depth) for _ in range(n)], dtype=np.int64)
    else:
        samples = _predicted(bits, n, depth, kind)
    return samples << wasted


def _predicted(bits: Bits, n: int, depth: int, kind: int) -> Array:
    """The first samples as they are, every other one as predicted from those before it, plus an error."""
    if not (8 <= kind <= 12 or 32 <= kind <= 63):
        raise ValueError(f"there is no predictor {kind}")
    order = kind - 31 if kind >= 32 else kind - 8
    samples = [bits.signed(depth) for _ in range(order)]
    weights, shift = _coefficients(bits, order) if kind >= 32 else (FIXED[order][::-1], 0)
    limit = 1 << depth  # wrong coefficients let samples grow without end
    for error in _errors(bits, n, order).tolist():
        samples.append(error + (sum(map(mul, weights, samples[-order:])) >> shift))
        if abs(samples[-1]) > limit:
            raise ValueError(f"a sample has over {depth} bits")
    return np.array(samples, dtype=np.int64)


def _coefficients(bits: Bits, order: int) -> tuple[list[int], int]:
    """A predictor from the file: coefficients, that of the latest sample last, and how far to shift their sum."""
    precision, shift = bits.number(4) + 1, bits.number(5)
    return [bits.signed(precision) for _ in range(order)][::-1], shift


def _errors(bits: Bits, n: int, order: int) -> Array:
    """The residuals of the predictions, partition by partition, each with its own Rice parameter: -> (n - order,)."""
    width = 5 if bits.number(2) else 4
    n_parts, found = 1 << bits.number(4), list[Array]()
    for part in range(n_parts):
        count, k = n // n_parts - (0 if part else order), bits.number(width)
        if k == (1 << width) - 1:
            size = bits.number(5)
            found.append(np.array([bits.signed(size) for _ in range(count)], dtype=np.int64))
        else:
            found.append(bits.rice(count, k))
    return np.concatenate(found)
