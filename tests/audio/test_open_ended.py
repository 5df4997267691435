"""CAF, Wave 64, AU, AIFF and SPHERE without a length are read to the end; a cut within a sample is known."""

from __future__ import annotations

import io
import struct
import warnings

import cases
import numpy as np
import pytest
import soundfile

from npwhisper.audio import AudioWarning, load_audio
from npwhisper.audio.links import Reader
from npwhisper.audio.open_ended import WAVE_64, WAVE_64_CHUNK, open_ended_links
from npwhisper.audio.sphere import sphere_links

N = 3001
SOUND = np.clip(0.2 * cases.random_array("open-ended", N, 2), -0.9, 0.9)


def encoded(form: str, subtype: str, channels: int = 1, endian: str = "FILE") -> bytes:
    """What soundfile writes, up to the end of the sound."""
    buffer = io.BytesIO()
    soundfile.write(buffer, SOUND[:, :channels], 16000, format=form, subtype=subtype, endian=endian)
    return buffer.getvalue()


def opened(form: str, data: bytes, size: int = 0) -> bytes:
    """The same file as it is when it was written to a pipe."""
    if form == "CAF":
        return with_bytes(data, data.index(b"data") + 4, b"\xff" * 8)
    if form == "W64":
        at = data.index(bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")) + 16
        return with_bytes(with_bytes(data, 16, b"\xff" * 8), at, struct.pack("<Q", size or 1 << 63))
    if form == "AU":
        return with_bytes(data, 8, b"\xff" * 4)
    at, comm = data.index(b"SSND") + 4, data.index(b"COMM") + 10
    data = with_bytes(with_bytes(data, 4, struct.pack(">I", size)), at, struct.pack(">I", size))
    return with_bytes(data, comm, struct.pack(">I", size // 2))


def with_bytes(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def read(data: bytes) -> tuple[int, str]:
    """The number of samples, and the warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AudioWarning)
        n_samples = len(load_audio(data))
    return n_samples, str(caught[0].message) if caught else ""


KINDS = [
    ("CAF", "PCM_16", 2, 4), ("CAF", "PCM_24", 2, 6), ("CAF", "FLOAT", 2, 8), ("CAF", "ULAW", 2, 2),
    ("W64", "PCM_16", 1, 2), ("W64", "FLOAT", 2, 8), ("AU", "PCM_16", 2, 4), ("AU", "DOUBLE", 1, 8),
    ("AU", "ULAW", 2, 2), ("AIFF", "PCM_16", 1, 2), ("AIFF", "PCM_24", 2, 6), ("AIFF", "FLOAT", 2, 8),
]  # fmt: skip


@pytest.mark.parametrize(("form", "subtype", "channels", "width"), KINDS)
def test_all_is_read_and_a_cut_within_a_sample_is_known(form: str, subtype: str, channels: int, width: int) -> None:
    whole = encoded(form, subtype, channels)
    expected, data = load_audio(whole), opened(form, whole)
    np.testing.assert_array_equal(load_audio(data), expected)
    for n_bytes in range(1, 2 * width + 1):
        n_samples, warning = read(data[:-n_bytes])
        assert n_samples == N - -(-n_bytes // width), "nothing else is lost"
        assert ("it ends within a sample" in warning) == bool(n_bytes % width), n_bytes


@pytest.mark.parametrize("order", ["LITTLE", "BIG"])
def test_both_orders_of_au(order: str) -> None:
    data = opened("AU", encoded("AU", "PCM_16", endian=order))
    assert read(data) == (N, "")
    assert "it ends within a sample" in read(data[:-1])[1]


@pytest.mark.parametrize("size", [0, 0x7F000000, 0x7F000050])
def test_sizes_of_an_aiff_from_a_pipe(size: int) -> None:
    data = opened("AIFF", encoded("AIFF", "PCM_16"), size)
    assert read(data) == (N, "")
    assert "it ends within a sample" in read(data[:-1])[1]


@pytest.mark.parametrize("form", ["CAF", "W64", "AU", "AIFF"])
def test_a_size_that_is_stated_is_believed(form: str) -> None:
    data = encoded(form, "PCM_16")
    assert open_ended_links(Reader(io.BytesIO(data))) == []
    assert "0.1 of 0.2 seconds can be read" in read(data[:-4000])[1]


@pytest.mark.parametrize("data", [b"", b"caff", b"riff", b".snd", b"FORM", b"FORM\0\0\0\0AIFF", b"NIST_1A"])
def test_a_broken_header_tells_nothing(data: bytes) -> None:
    for fill in (b"", bytes(300), b"\xff" * 300):
        assert all(link.damage is None for link in open_ended_links(Reader(io.BytesIO(data + fill))))
        assert sphere_links(Reader(io.BytesIO(b"x" + data + fill))) == []


@pytest.mark.parametrize("head", [b"caff\0\1\0\0data", b"riff" + WAVE_64 + bytes(24) + b"fmt " + WAVE_64_CHUNK])
def test_a_header_cannot_point_beyond_what_a_file_can_hold(head: bytes) -> None:
    for size in (b"\x7f" + b"\xff" * 7, b"\xff" * 7 + b"\x7f"):
        assert open_ended_links(Reader(io.BytesIO(head + size + bytes(300)))) == []


def sphere(count: int | None) -> bytes:
    lines = [f"sample_count -i {count}"] * (count is not None)
    lines += ["sample_n_bytes -i 2", "channel_count -i 1", "sample_byte_format -s2 01", "sample_rate -i 16000"]
    header = "\n".join(["NIST_1A", "   1024", *lines, "sample_coding -s3 pcm", "end_head", ""])
    return header.encode().ljust(1024) + np.int16(SOUND[:, 0] * 32767).astype("<i2").tobytes()


def test_a_sphere_file_states_its_number_of_samples() -> None:
    assert read(sphere(N)) == (N, "")
    for n_bytes in (4000, 5999):
        n_samples, warning = read(sphere(N)[:-n_bytes])
        assert n_samples == N - -(-n_bytes // 2)
        assert "0.1 of 0.2 seconds can be read" in warning or "0.0 of 0.2 seconds can be read" in warning


def test_a_sphere_file_from_a_pipe_does_not() -> None:
    assert read(sphere(None)) == (N, "")
    assert read(sphere(None)[:-2]) == (N - 1, "")
    assert "it ends within a sample" in read(sphere(None)[:-1])[1]
