"""Surround sound is mixed as ffmpeg does. Weights measured with ffmpeg 5.1.9, independent noise in each channel."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from npwhisper.audio import load_audio
from npwhisper.audio.mixing import weights_of
from npwhisper.tracing.seam import Array

FFMPEG = [  # container, codec, weights in the order in which libsndfile gives the channels
    ("WAV", "PCM_16", [0.5, 0.5]),
    ("WAV", "PCM_16", [0.5, 0.5, 0]),
    ("WAV", "PCM_16", [0.2426, 0.2426, 0.3431, 0.1716]),
    ("WAV", "PCM_16", [0.2071, 0.2071, 0.2929, 0.1465, 0.1465]),
    ("WAV", "PCM_16", [0.2071, 0.2071, 0.2929, 0, 0.1465, 0.1465]),
    ("WAV", "PCM_16", [0.1807, 0.1807, 0.2555, 0, 0.1277, 0.1277, 0.1277]),
    ("WAV", "PCM_16", [0.1602, 0.1602, 0.2265, 0, 0.1133, 0.1133, 0.1133, 0.1133]),
    ("WAVEX", "PCM_16", [0.2929, 0.2929, 0.2071, 0.2071]),
    ("WAVEX", "PCM_16", [0.2071, 0.2071, 0.2929, 0, 0.1465, 0.1465]),
    ("WAVEX", "PCM_16", [0.1465, 0.1465, 0.2071, 0, 0.1035, 0.1035, 0.1465, 0.1465]),
    ("FLAC", "PCM_16", [0.2929, 0.2929, 0.4142]),
    ("FLAC", "PCM_16", [0.2929, 0.2929, 0.2071, 0.2071]),
    ("FLAC", "PCM_16", [0.2071, 0.2071, 0.2929, 0.1465, 0.1465]),
    ("FLAC", "PCM_16", [0.2071, 0.2071, 0.2929, 0, 0.1465, 0.1465]),
    ("FLAC", "PCM_16", [0.1602, 0.1602, 0.2265, 0, 0.1133, 0.1133, 0.1133, 0.1133]),
    ("OGG", "VORBIS", [0.2929, 0.4142, 0.2929]),
    ("OGG", "VORBIS", [0.2929, 0.2929, 0.2071, 0.2071]),
    ("OGG", "VORBIS", [0.2071, 0.2929, 0.2071, 0.1464, 0.1464]),
    ("OGG", "VORBIS", [0.2071, 0.2929, 0.2071, 0.1464, 0.1464, 0]),
    ("OGG", "VORBIS", [0.1807, 0.2555, 0.1807, 0.1277, 0.1277, 0.1277, 0]),
    ("OGG", "VORBIS", [0.1602, 0.2265, 0.1602, 0.1133, 0.1133, 0.1133, 0.1133, 0]),
    ("AIFF", "PCM_16", [0.2426, 0.2426, 0.3431, 0.1716]),
    ("CAF", "PCM_16", [0.2071, 0.2071, 0.2929, 0, 0.1465, 0.1465]),
]


def encoded(form: str, subtype: str, n_channels: int) -> bytes:
    buffer, rng = io.BytesIO(), np.random.default_rng(0)
    soundfile.write(buffer, rng.normal(0, 0.05, (4000, n_channels)), 16000, format=form, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(("form", "subtype", "weights"), FFMPEG)
def test_the_channels_count_what_they_count_in_ffmpeg(form: str, subtype: str, weights: list[float]) -> None:
    data = encoded(form, subtype, len(weights))
    channels, _ = soundfile.read(io.BytesIO(data), always_2d=True)
    np.testing.assert_allclose(load_audio(data), channels @ np.array(weights), atol=1e-4)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize(("form", "subtype", "n"), [("WAV", "PCM_16", 6), ("FLAC", "PCM_16", 4), ("OGG", "VORBIS", 6)])
def test_the_mix_equals_ffmpegs(tmp_path: Path, form: str, subtype: str, n: int) -> None:
    path = tmp_path / f"film.{form.lower()}"
    path.write_bytes(encoded(form, subtype, n))
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "s16le", "-ac", "1", "-"]
    theirs = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<i2") / 32768
    np.testing.assert_allclose(load_audio(path), theirs, atol=1e-4)


def test_low_effects_are_left_out_and_speech_in_the_centre_is_not_drowned() -> None:
    buffer, channels = io.BytesIO(), np.zeros((1000, 6), np.float32)
    channels[:, 2], channels[:, 3] = 0.2, 0.9
    soundfile.write(buffer, channels, 16000, format="WAV", subtype="FLOAT")
    np.testing.assert_allclose(load_audio(buffer.getvalue()), 0.2 * 2**0.5 / (2 + 2 * 2**0.5), atol=1e-6)


def mask(*bits: int) -> int:
    return sum(1 << bit for bit in bits)


@pytest.mark.parametrize(
    ("form", "n_channels", "speakers", "expected"),
    [
        ("WAVEX", 2, mask(2, 3), [1, 0]),  # centre and low effects
        ("WAVEX", 6, mask(0, 1, 2, 3, 9, 10), [0.2071, 0.2071, 0.2929, 0, 0.1465, 0.1465]),  # 5.1, at the sides
        ("WAVEX", 6, mask(0, 1), [0.2071, 0.2071, 0.2929, 0, 0.1465, 0.1465]),  # the mask is of another file
        ("WAVEX", 1, mask(3), [1]),
        ("WAV", 12, 0, [1 / 12] * 12),
        ("WAV", 1, 0, [1]),
    ],
)
def test_masks_and_numbers_out_of_the_ordinary(form: str, n_channels: int, speakers: int, expected: Array) -> None:
    np.testing.assert_allclose(weights_of(form, n_channels, speakers), expected, atol=1e-4)
