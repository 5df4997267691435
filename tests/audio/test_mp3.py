"""MP3 files are read to their real end: the frames are counted, whatever a header or its absence suggests.

The numbers of samples are ffmpeg 5.1.9's for the same bytes (libsndfile 1.2.2 wrote them with LAME 3.100). Where ffmpeg
is installed it is asked again.
"""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from npwhisper.audio import HOP_LENGTH, AudioWarning, LogMelStream, load_audio
from npwhisper.audio.links import Reader
from npwhisper.audio.mp3 import Frame, _frame, mp3_links

pytest.importorskip("soundfile", minversion="0.13", reason="older ones do not write variable bit rates")
RATE = 44100
ID3V1 = b"TAG" + b"title".ljust(125, b"\0")
ID3V2 = b"ID3\4\0\0\0\0\3\7" + (b"\xff\xfb\x90\x64" * 98)[:391]  # what looks like frames


@functools.cache
def sound(rate: int, seconds: float) -> np.ndarray:
    """Four tenths of faint noise, then a loud chord: a variable bit rate starts low."""
    rng = np.random.default_rng(0)
    n = int(seconds * rate)
    noise = rng.normal(0, 0.2, n).astype(np.float32)
    return np.where(np.arange(n) < 0.4 * n, 1e-4 * noise, noise)


@functools.cache
def mp3(mode: str = "VARIABLE", rate: int = RATE, seconds: float = 5.0, channels: int = 1, info: bool = True) -> bytes:
    """An MP3 file as libsndfile writes it, with or without its header frame."""
    buffer = io.BytesIO()
    samples = np.repeat(sound(rate, seconds)[:, None], channels, axis=1)
    soundfile.write(buffer, samples, rate, format="MP3", bitrate_mode=mode, compression_level=0.6)
    data = buffer.getvalue()
    head = _frame(data[:4])
    assert head
    assert data[head.side : head.side + 4] in (b"Xing", b"Info")
    return data if info else data[head.n_bytes :]


FILES = {
    "constant": (lambda: mp3("CONSTANT"), 220500),
    "constant without Xing": (lambda: mp3("CONSTANT", info=False), 222336),
    "variable": (lambda: mp3(), 220500),
    "variable without Xing": (lambda: mp3(info=False), 222336),
    "average without Xing": (lambda: mp3("AVERAGE", info=False), 222336),
    "stereo without Xing": (lambda: mp3(channels=2, info=False), 222336),
    "24 kHz without Xing": (lambda: mp3(rate=24000, info=False), 121536),
    "16 kHz without Xing": (lambda: mp3(rate=16000, info=False), 81216),
    "8 kHz without Xing": (lambda: mp3(rate=8000, info=False), 41472),
    "ID3 before": (lambda: ID3V2 + mp3(), 220500),
    "ID3 after": (lambda: mp3() + ID3V1, 220500),
    "ID3 around, without Xing": (lambda: ID3V2 + mp3(info=False) + ID3V1, 222336),
}


def ffmpeg_count(data: bytes) -> int | None:
    """The number of samples that ffmpeg decodes; None if it is not there."""
    if not shutil.which("ffmpeg"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "talk.mp3"
        path.write_bytes(data)
        command = ["ffmpeg", "-v", "quiet", "-i", str(path), "-f", "s16le", "-ac", "1", "-"]
        return len(subprocess.run(command, capture_output=True, check=True).stdout) // 2


def count(data: bytes, rate: int) -> int:
    return len(load_audio(data, sr=rate))


def frame_of(data: bytes) -> Frame:
    return next(frame for i in range(len(data)) if (frame := _frame(data[i : i + 4])))


@pytest.mark.parametrize("name", FILES)
def test_the_number_of_samples_is_ffmpegs_within_a_frame_and_whole_files_give_no_warning(name: str) -> None:
    make, recorded = FILES[name]
    data = make()
    frame = frame_of(data[len(ID3V2) :] if data[:3] == b"ID3" else data)
    assert ffmpeg_count(data) in (recorded, None)
    assert abs(count(data, frame.rate) - recorded) <= frame.n_samples


@pytest.mark.parametrize("name", ["variable without Xing", "constant"])
def test_every_handle_reads_to_the_end(tmp_path: Path, name: str) -> None:
    data = FILES[name][0]()
    path = tmp_path / "talk.mp3"
    path.write_bytes(data)
    expected = load_audio(data)
    np.testing.assert_array_equal(load_audio(path), expected)
    np.testing.assert_array_equal(load_audio(io.BytesIO(data)), expected)
    assert LogMelStream(path, 80).n_frames == len(expected) // HOP_LENGTH
    assert np.abs(expected[-8000:]).mean() > 0.05, "the loud part is there to the end"


JOINED = {
    "twins": lambda: [mp3(), mp3()],
    "without Xing": lambda: [mp3(info=False), mp3(seconds=2.0, info=False)],
    "other rates": lambda: [mp3(rate=24000), mp3(rate=44100), mp3(rate=8000)],
    "with tags": lambda: [ID3V2 + mp3() + ID3V1, ID3V2 + mp3(seconds=3.0) + ID3V1],
    "mono and stereo": lambda: [mp3(), mp3(channels=2, info=False)],
    "constant and variable": lambda: [mp3("CONSTANT"), mp3()],
}


@pytest.mark.parametrize("name", JOINED)
def test_joined_files_are_read_one_after_another(name: str) -> None:
    parts = JOINED[name]()
    together, alone = load_audio(b"".join(parts)), [load_audio(part) for part in parts]
    assert abs(len(together) - sum(map(len, alone))) < 0.03 * 16000 * len(parts)
    if name != "without Xing":  # nothing tells where one of those ends
        seams = np.cumsum([0, *map(len, alone)])
        for sound, start in zip(alone, seams, strict=False):
            np.testing.assert_allclose(together[start + 99 : start + len(sound) - 99], sound[99:-99], atol=2e-3)


@pytest.mark.parametrize("info", [False, True])
@pytest.mark.parametrize("place", range(10))
def test_a_truncated_file_gives_a_warning_and_what_is_there(place: int, info: bool) -> None:
    whole = mp3(info=info)
    data = whole[: int(len(whole) * (0.05 + 0.095 * place)) + 1]
    reference = ffmpeg_count(data)
    with pytest.warns(AudioWarning, match="is truncated or damaged .it ends within a frame"):
        n = count(data, RATE)
    expected = load_audio(whole, sr=RATE)
    assert n < len(expected) - 0.1 * RATE
    if reference is not None:
        assert abs(n - reference) <= 2 * 1152, "ffmpeg makes up for the frame that is cut"
    np.testing.assert_allclose(load_quietly(data)[: n - 2304], expected[: n - 2304], atol=1e-3)


def load_quietly(data: bytes) -> np.ndarray:
    with pytest.warns(AudioWarning):
        return load_audio(data, sr=RATE)


def test_a_file_cut_between_two_frames_is_told_from_its_header() -> None:
    data, at, n = mp3(), 0, 0
    while n < 60:
        frame = _frame(data[at : at + 4])
        assert frame
        at, n = at + frame.n_bytes, n + 1
    with pytest.warns(AudioWarning, match=r"is truncated or damaged: 1\.5 of 5\.0 seconds"):
        load_audio(data[:at])


def test_damage_becomes_silence_of_its_length() -> None:
    data = bytearray(mp3("CONSTANT", info=False))
    at = len(data) // 2
    data[at : at + 20_000] = bytes(20_000)
    whole = load_audio(mp3("CONSTANT", info=False))
    with pytest.warns(AudioWarning, match="bytes in it are not MP3 frames"):
        damaged = load_audio(bytes(data))
    assert abs(len(damaged) - len(whole)) < 1000
    np.testing.assert_allclose(damaged[-16000:], whole[-16000:], atol=0.1)


def test_a_free_bit_rate_is_left_to_libsndfile() -> None:
    data = bytearray(mp3("CONSTANT"))
    data[2] &= 0x0F
    assert mp3_links(Reader(io.BytesIO(bytes(data)))) == []


def test_what_is_no_mp3_has_no_links() -> None:
    for data in (b"", b"\xff", b"RIFF" + bytes(100), b"\xff\xfb\x90\x64" * 9, ID3V2, ID3V2 + b"fLaC" + bytes(500)):
        assert mp3_links(Reader(io.BytesIO(data))) == []
