"""A FLAC file that lacks frames gives a warning, even where libsndfile puts silence in their place."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
import soundfile

from npwhisper.audio import AudioWarning, load_audio
from npwhisper.audio.flac import _frame
from npwhisper.audio.flac_frames import _header, flac_links, lost_samples
from npwhisper.audio.links import Reader
from npwhisper.audio.plain import plain_blocks
from npwhisper.audio.units import SAMPLE_RATE

SIZE, SECONDS = 4096, 3


@functools.cache
def flac(rate: int = SAMPLE_RATE, is_piped: bool = False) -> bytes:
    """Noise; from a pipe, neither the length nor the checksum of all samples is known."""
    file, noise = io.BytesIO(), np.random.default_rng(0).uniform(-0.5, 0.5, SECONDS * rate)
    soundfile.write(file, noise, rate, format="FLAC")
    data = bytearray(file.getvalue())
    if is_piped:
        data[21] &= 0xF0
        data[22:42] = bytes(20)
    return bytes(data)


def frames(data: bytes) -> list[range]:
    """Where the frames are, whatever is known of the length and the checksum of all samples."""
    return _frames(data[:21] + bytes(21) + data[42:])


@functools.cache
def _frames(data: bytes) -> list[range]:
    """Our own decoder goes from one to the next."""
    at, last, found = 4, False, []
    while not last:
        last, at = data[at] >= 128, at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    while at < len(data):
        n_bytes = _frame(data[at : at + 100_000], 16)[1]
        found.append(range(at, at + n_bytes))
        at += n_bytes
    return found


def without(data: bytes, first: int, n: int) -> bytes:
    places = frames(data)
    return data[: places[first].start] + data[places[first + n - 1].stop :]


@pytest.mark.parametrize("is_piped", [False, True])
@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44100])
def test_a_whole_file_lacks_nothing(rate: int, is_piped: bool) -> None:
    data = flac(rate, is_piped)
    assert flac_links(Reader(io.BytesIO(data))) == []
    assert len(load_audio(data)) == SECONDS * SAMPLE_RATE


@pytest.mark.slow
@pytest.mark.parametrize("is_piped", [False, True])
@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44100])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("place", [1, 6, -1])
def test_frames_that_are_missing_give_a_warning(rate: int, is_piped: bool, n: int, place: int) -> None:
    data = flac(rate, is_piped)
    first = place if place > 0 else len(frames(data)) - 1 - n  # all but the last frame
    damaged = without(data, first, n)
    assert lost_samples(Reader(io.BytesIO(damaged))) == n * SIZE
    with pytest.warns(AudioWarning, match=rf"damaged \({n * SIZE / rate:.2g} seconds are missing between its frames"):
        sound = load_audio(damaged)
    assert (SECONDS - n * SIZE / rate - 0.01) * SAMPLE_RATE < len(sound) <= SECONDS * SAMPLE_RATE


@pytest.mark.slow
def test_frames_that_are_missing_give_a_warning_without_libsndfile() -> None:
    with pytest.warns(AudioWarning, match=r"damaged \(0\.26 seconds are missing between its frames"):
        sound = np.concatenate(list(plain_blocks(without(flac(is_piped=True), 4, 1), SAMPLE_RATE)))
    assert len(sound) == SECONDS * SAMPLE_RATE - SIZE


def test_two_gaps_are_added() -> None:
    data = without(without(flac(), 8, 2), 3, 1)
    assert lost_samples(Reader(io.BytesIO(data))) == 3 * SIZE


def test_a_file_that_begins_later_lacks_nothing() -> None:
    """As one that was cut from a longer one without encoding again."""
    assert lost_samples(Reader(io.BytesIO(without(flac(), 0, 4)))) == 0


@pytest.mark.parametrize("damage", ["a byte", "a frame", "the header of a frame"])
def test_damage_in_the_middle_gives_a_warning_and_keeps_the_length(damage: str) -> None:
    data = bytearray(flac())
    place = frames(bytes(data))[5]
    if damage == "a byte":
        data[place[len(place) // 2]] ^= 0xFF
    else:
        stop = place.stop if damage == "a frame" else place.start + 4
        data[place.start : stop] = bytes(stop - place.start)
    with pytest.warns(AudioWarning, match="is truncated or damaged"):
        sound = load_audio(bytes(data))
    whole = load_audio(flac())
    assert len(sound) == len(whole)
    np.testing.assert_array_equal(sound[-SAMPLE_RATE:], whole[-SAMPLE_RATE:])


def test_what_looks_like_a_frame_within_another_is_none() -> None:
    """Its header says that the recording goes on much later, and the checksum of the header is right."""
    data = bytearray(flac())
    place, impostor = frames(bytes(data))[5], with_checksum(bytes([0xFF, 0xF8, 0xC5, 0x08, 0x7F]))
    data[place.start + 40 : place.start + 40 + len(impostor)] = impostor
    assert _header(bytes(impostor), SIZE) == (0x7F * SIZE, 0x80 * SIZE)
    assert lost_samples(Reader(io.BytesIO(bytes(data)))) == 0


def with_checksum(head: bytes) -> bytes:
    crc = 0
    for byte in head:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 7 if crc & 128 else crc << 1) & 255
    return head + bytes([crc])


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ([0xFF, 0xF8, 0xC5, 0x08, 0x02], (2 * SIZE, 3 * SIZE)),
        ([0xFF, 0xF9, 0xC5, 0x08, 0xC4, 0x80], (0x100, 0x100 + SIZE)),  # blocks of any size: the number of a sample
        ([0xFF, 0xF9, 0x65, 0x08, 0xE1, 0x80, 0x80, 0x63], (0x1000, 0x1064)),  # 100 samples, in 8 bits
        ([0xFF, 0xF8, 0x7D, 0x08, 0x01, 0x01, 0x00, 0x3E, 0x80], (SIZE, SIZE + 257)),  # both size and rate in 16 bits
        ([0xFF, 0xF8, 0x05, 0x08, 0x02], None),
        ([0xFF, 0xF8, 0xCF, 0x08, 0x02], None),
        ([0xFF, 0xF8, 0xC5, 0xB8, 0x02], None),
        ([0xFF, 0xF8, 0xC5, 0x09, 0x02], None),
    ],
)
def test_the_header_of_a_frame(head: list[int], expected: tuple[int, int] | None) -> None:
    data = with_checksum(bytes(head))
    assert _header(data, SIZE) == expected
    assert _header(data[:-1], SIZE) is None
    assert _header(data[:-1] + bytes([data[-1] ^ 1]), SIZE) is None
