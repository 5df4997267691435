"""Chained Ogg files, and headers that tell a wrong length or none: what is there is read, what is missing is told."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cases
import numpy as np
import pytest
import soundfile

from npwhisper.audio import HOP_LENGTH, AudioError, AudioWarning, LogMelStream, load_audio
from npwhisper.audio.libsndfile import soundfile_blocks
from npwhisper.audio.links import Parts, Reader
from npwhisper.audio.ogg import _crc, ogg_links
from npwhisper.audio.wav import wav_links
from npwhisper.decoding.options import TranscribeOptions

SAMPLE_RATE = 16000


def encoded(form: str, subtype: str, seconds: float = 3.0, rate: int = SAMPLE_RATE, channels: int = 1) -> bytes:
    buffer, sound = io.BytesIO(), 0.2 * cases.random_array(f"chain {seconds}", int(seconds * rate), channels)
    soundfile.write(buffer, np.clip(sound, -0.9, 0.9), rate, format=form, subtype=subtype)
    return buffer.getvalue()


CODECS = ["VORBIS", "OPUS"]


@pytest.mark.parametrize("codec", CODECS)
def test_the_links_of_a_chain_are_read_one_after_another(tmp_path: Path, codec: str) -> None:
    parts = [encoded("OGG", codec), encoded("OGG", codec, 2.0, channels=2), encoded("OGG", codec, 1.5)]
    alone = [load_audio(part) for part in parts]
    expected = np.concatenate(alone)
    assert len(expected) == pytest.approx(6.5 * SAMPLE_RATE, abs=2)
    data = b"".join(parts)
    path = tmp_path / "chain.ogg"
    path.write_bytes(data)
    for source in (data, path, io.BytesIO(data)):
        np.testing.assert_array_equal(load_audio(source), expected)
    assert LogMelStream(path, 80).n_frames == len(expected) // HOP_LENGTH


def test_links_of_other_rates_are_read() -> None:
    parts = [encoded("OGG", "VORBIS", rate=rate) for rate in (44100, 8000, 16000)]
    joined = load_audio(b"".join(parts))
    np.testing.assert_array_equal(joined, np.concatenate([load_audio(part) for part in parts]))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("n_links", [1, 2])
@pytest.mark.parametrize("place", [3, *(pytest.param(i, marks=pytest.mark.slow) for i in range(10) if i != 3)])
def test_a_truncated_ogg_gives_a_warning(codec: str, n_links: int, place: int) -> None:
    whole = b"".join([encoded("OGG", codec), encoded("OGG", codec, 2.5)][:n_links])
    expected = load_audio(whole)
    data = whole[: int(len(whole) * (0.55 + 0.045 * place)) + 1]
    with pytest.warns(AudioWarning, match="is truncated or damaged .*it ends within a page"):
        sound = load_audio(data)
    assert 0 < len(sound) < len(expected)
    settled = len(sound) - 3000
    np.testing.assert_allclose(sound[:settled], expected[:settled], atol=1e-3)


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_page_gives_a_warning(codec: str) -> None:
    data = bytearray(encoded("OGG", codec, 6.0))
    data[len(data) // 2] ^= 0xFF
    with pytest.warns(AudioWarning, match=r"is truncated or damaged .\d+ bytes of it are damaged"):
        load_audio(bytes(data))


def test_the_checksum_is_the_one_in_every_page() -> None:
    data, at, n_pages = encoded("OGG", "VORBIS"), 0, 0
    while at < len(data):
        n_bytes = 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
        assert _crc(data[at : at + n_bytes]) == int.from_bytes(data[at + 22 : at + 26], "little")
        at, n_pages = at + n_bytes, n_pages + 1
    assert n_pages > 3


def test_streams_that_begin_together_are_one_link() -> None:
    page = encoded("OGG", "VORBIS")[:58]  # the first page, which begins the stream
    assert len(ogg_links(Reader(io.BytesIO(page + page)))) == 1
    assert ogg_links(Reader(io.BytesIO(b"RIFF"))) == []


# WAV and FLAC


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "ULAW"])
def test_a_wave_whose_recorder_crashed_is_read_to_the_end(subtype: str) -> None:
    data = bytearray(encoded("WAV", subtype))
    at = data.index(b"data")
    data[4:8] = data[at + 4 : at + 8] = bytes(4)
    tail = data.index(b"PEAK") if b"PEAK" in data[at:] else len(data)
    expected = load_audio(encoded("WAV", subtype))
    np.testing.assert_array_equal(load_audio(bytes(data[:tail])), expected)


@pytest.mark.parametrize(
    ("form", "subtype", "width"), [("WAV", "PCM_16", 4), ("WAV", "PCM_24", 6), ("RF64", "PCM_16", 4)]
)
def test_a_wave_from_a_pipe_tells_of_a_cut_within_a_sample(form: str, subtype: str, width: int) -> None:
    """Nothing else of a cut can be known: no size is in the file, and every whole sample may be the last."""
    data = bytearray(encoded(form, subtype, channels=2))
    expected, at = load_audio(bytes(data)), data.index(b"data")
    if form == "RF64":
        data[20:44] = bytes(24)
    else:
        data[4:8] = data[at + 4 : at + 8] = b"\xff" * 4
    np.testing.assert_array_equal(load_audio(bytes(data)), expected)
    for n_bytes in range(1, 2 * width):
        if n_bytes % width:
            with pytest.warns(AudioWarning, match="is truncated or damaged .it ends within a sample"):
                sound = load_audio(bytes(data[:-n_bytes]))
        else:
            sound = load_audio(bytes(data[:-n_bytes]))
        assert len(sound) == len(expected) - -(-n_bytes // width)


def test_the_padding_of_a_wave_from_a_pipe_is_no_cut() -> None:
    data = bytearray(encoded("WAV", "PCM_24", seconds=3001 / SAMPLE_RATE))
    at = data.index(b"data")
    del data[at + 8 + 3 * 3001 :]
    data[4:8] = data[at + 4 : at + 8] = b"\xff" * 4
    assert len(load_audio(bytes(data) + b"\0")) == len(load_audio(bytes(data))) == 3001


def test_the_sizes_of_a_long_recording_are_believed() -> None:
    """A WAV file has placeholders from 2 GB on, RF64 has not."""
    data = bytearray(encoded("RF64", "PCM_16"))
    data[20:36] = struct.pack("<QQ", 10**10 + 100, 10**10)
    with pytest.warns(AudioWarning, match=r"is truncated or damaged: 3\.0 of 3\d{5}\.\d seconds"):
        load_audio(bytes(data))


def test_a_wave_without_sound_but_with_tags_stays_empty() -> None:
    data = encoded("WAV", "PCM_16", 0.0) + b"LIST" + struct.pack("<I", 10) + b"INFOIART  "
    assert wav_links(Reader(io.BytesIO(data))) == []
    with pytest.raises(ValueError, match="holds no samples"):
        load_audio(data)


def test_a_flac_of_unknown_length_gives_no_warning() -> None:
    data = bytearray(encoded("FLAC", "PCM_16"))
    expected = load_audio(bytes(data))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    np.testing.assert_array_equal(load_audio(bytes(data)), expected)


@pytest.mark.parametrize("form", ["W64", "RF64", "SVX"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_file_of_long_sizes_gives_a_warning(form: str, share: float) -> None:
    data = encoded(form, "PCM_16")
    assert len(load_audio(data)) == 3 * SAMPLE_RATE
    with pytest.warns(AudioWarning, match=r"is truncated or damaged: \d\.\d of (2\.9|3\.\d) seconds can be read"):
        load_audio(data[: int(share * len(data)) // 2 * 2])


def test_a_header_cannot_ask_for_hours_of_silence() -> None:
    """The header tells of 2^36 - 1 samples, 49 days; behind the first frames the file is damaged."""
    data = bytearray(encoded("FLAC", "PCM_16", channels=8))
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    data[-30_000:-20_000] = bytes(10_000)
    with pytest.warns(AudioWarning, match=r"libsndfile says .* of 4294967\.3 seconds can be read"):
        sound = load_audio(bytes(data))
    assert 1.0 * SAMPLE_RATE < len(sound) < 70 * SAMPLE_RATE


def test_parts_are_read_like_a_file() -> None:
    parts = Parts(io.BytesIO(b"0123456789"), [b"", b"ab", range(2, 5), range(0), b"c", range(8, 10)])
    whole = b"ab234c89"
    assert parts.seek(0, io.SEEK_END) == len(whole)
    for start in range(len(whole) + 2):
        for n in range(len(whole) + 2):
            parts.seek(start)
            assert parts.read(n) == whole[start : start + n]
            assert parts.tell() == start + len(whole[start : start + n])


# A recording that changes while it is read


@pytest.mark.parametrize("form", [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_a_file_that_becomes_shorter_while_it_is_read_gives_a_warning(tmp_path: Path, form: tuple[str, str]) -> None:
    path = tmp_path / "talk"
    path.write_bytes(encoded(*form, 40.0))
    blocks = soundfile_blocks(str(path), SAMPLE_RATE)
    n_read = len(next(blocks))
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size * 5 // 8)
    with pytest.warns(AudioWarning, match=r"talk' is truncated or damaged.* of 40\.\d seconds can be read"):
        n_read += sum(map(len, blocks))
    assert 16 * SAMPLE_RATE < n_read < 30 * SAMPLE_RATE


def test_a_file_that_becomes_shorter_after_it_was_read_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(encoded("WAV", "PCM_16", 70.0))
    stream = LogMelStream(path, 80)
    expected = [stream.window(start).copy() for start in (0, 3000, 6000)]
    path.write_bytes(b"")
    for start, window in zip((0, 3000, 6000), expected, strict=True):
        np.testing.assert_array_equal(stream.window(start), window)


def test_parts_end_where_the_file_has_become_shorter() -> None:
    parts = Parts(io.BytesIO(b"01234"), [range(2, 9), b"never"])
    assert parts.read(4) == b"234"
    assert parts.read(4) == b""


def test_a_recording_beyond_the_longest_duration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.zeros(48000, np.float32), 16000)
    assert len(load_audio(path, max_duration=3.0)) == 48000
    expected = r"the recording is longer than max_duration, 2\.9 seconds: raise it, or cut the file"
    with pytest.raises(AudioError, match=expected):
        load_audio(path, max_duration=2.9)
    with pytest.raises(AudioError, match=expected):
        LogMelStream(path, 80, max_duration=2.9)
    assert LogMelStream(path, 80, max_duration=3.0).n_frames == 300
    with pytest.raises(ValueError, match="max_duration must be positive, got nan"):
        TranscribeOptions.from_keywords(max_duration=float("nan"))
