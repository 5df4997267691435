"""A stream of windows equals the whole file bit for bit, whatever is asked for, and keeps little in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from npwhisper.audio import (
    N_FRAMES,
    N_SAMPLES,
    AudioError,
    LogMelStream,
    load_audio,
    log_mel_spectrogram,
    mel,
    pad_or_trim,
    streaming,
)
from npwhisper.audio.mel import stft
from npwhisper.tracing.seam import Array, trace


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n_samples)).astype(np.float32)


def expected(whole: np.ndarray, start: int, size: int) -> np.ndarray:
    return pad_or_trim(whole[:, start : start + size][:, : whole.shape[1] - N_FRAMES - start], N_FRAMES)


@pytest.mark.parametrize("n_samples", [1, 159, 160, 201, 479_999, 480_000, 480_161, 1_000_003])
@pytest.mark.parametrize("n_mels", [80, 128])
def test_windows_equal_the_whole(n_samples: int, n_mels: int) -> None:
    samples = noise(n_samples)
    whole, stream = log_mel_spectrogram(samples, n_mels, padding=N_SAMPLES), LogMelStream(samples, n_mels)
    assert stream.n_frames == whole.shape[1] - N_FRAMES
    for start in range(0, max(1, stream.n_frames), 1234):
        np.testing.assert_array_equal(stream.window(start), expected(whole, start, N_FRAMES))


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4999), st.integers(1, 3000)), min_size=1, max_size=6))
def test_windows_may_be_asked_for_in_any_order(places: list[tuple[int, int]]) -> None:
    samples = noise(800_000)
    whole, stream = log_mel_spectrogram(samples, padding=N_SAMPLES), LogMelStream(samples, 80)
    for start, size in places:
        np.testing.assert_array_equal(stream.window(start, size), expected(whole, start, size))


@pytest.mark.parametrize("rate", [8000, 44100])
def test_a_file_is_read_and_resampled_in_blocks_like_the_whole(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.stack([noise(rate * 35), noise(rate * 35, seed=1)], axis=1), rate, subtype="FLOAT")
    whole, stream = log_mel_spectrogram(load_audio(path), padding=N_SAMPLES), LogMelStream(path, 80)
    for start in (0, 2990, 3400):
        np.testing.assert_array_equal(stream.window(start), expected(whole, start, N_FRAMES))


def test_bytes_and_file_objects_can_be_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "noise.flac"
    soundfile.write(path, noise(20_000), 16_000)
    first = LogMelStream(path, 80).window(0)
    with path.open("rb") as file:
        np.testing.assert_array_equal(LogMelStream(file, 80).window(0), first)
    np.testing.assert_array_equal(LogMelStream(path.read_bytes(), 80).window(0), first)


def test_a_long_spectrogram_goes_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "IN_MEMORY", 1 << 20)
    short, long = LogMelStream(noise(16_000), 80), LogMelStream(noise(16_000 * 70), 80)
    assert (short._file._rolled, long._file._rolled) == (False, True)
    whole = log_mel_spectrogram(noise(16_000 * 70), padding=N_SAMPLES)
    for start in (6200, 0, 2990):
        np.testing.assert_array_equal(long.window(start), expected(whole, start, N_FRAMES))


def test_a_recording_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = list[int]()

    def counted(samples: Array) -> Array:
        computed.append(len(samples))
        return stft(samples)

    monkeypatch.setattr(mel, "stft", counted)
    stream = LogMelStream(noise(16_000 * 50), 80)
    n_read = len(computed)
    assert n_read == 3
    _ = stream.opening(), list(stream.blocks()), stream.window(3000), stream.window(0)
    assert len(computed) == n_read


def test_what_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "words.wav"
    path.write_text("this is no sound at all")
    with pytest.raises(AudioError, match=r"words\.wav"):
        LogMelStream(path, 80)


def test_each_window_is_traced_as_the_encoder_gets_it() -> None:
    stream = LogMelStream(noise(500_000), 80)
    with trace("mel") as acts:
        stream.window(0)
        stream.window(3000, 125)
    assert [mel.shape for mel in acts.all("mel")] == [(80, 3000)] * 2
