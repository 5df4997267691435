"""Sound to log-mel: against the definitions written as loops, against known sounds, and over hostile input."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from npwhisper import audio
from npwhisper.audio import AudioError, load_audio, log_mel_spectrogram, mel_filters, pad_or_trim, resample, stft, units
from npwhisper.tracing.seam import Array, trace

SR = audio.SAMPLE_RATE


def noise(n_samples: int, seed: int = 0) -> Array:
    return (np.random.default_rng(seed).standard_normal(n_samples) * 0.1).astype(np.float32)


def integers(n_samples: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-32768, 32768, n_samples, dtype=np.int16)


def sine(hz: float, rate: int, seconds: float = 1.0, amplitude: float = 0.5) -> Array:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


# The definitions, as loops


def naive_power(samples: Array) -> Array:
    """Sum over every sample of every frame, in float64: (400 + 160 (F - 1),) -> (201, F)."""
    n = np.arange(400)
    window = np.sin(np.pi * n / 400) ** 2
    power = np.empty((201, (len(samples) - 400) // 160 + 1))
    for f in range(power.shape[1]):
        frame = samples[160 * f : 160 * f + 400].astype(np.float64) * window
        for k in range(201):
            angle = 2 * np.pi * k * n / 400
            power[k, f] = (frame * np.cos(angle)).sum() ** 2 + (frame * np.sin(angle)).sum() ** 2
    return power


def naive_mel(hz: float) -> float:
    return hz / (200 / 3) if hz < 1000 else 15 + 27 * math.log(hz / 1000, 6.4)


def naive_filters(n_mels: int) -> Array:
    """Each triangle at each frequency, its corners found by bisection of the scale: () -> (n_mels, 201)."""

    def invert(mel: float) -> float:
        low, high = 0.0, 10000.0
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if naive_mel(middle) < mel else (low, middle)
        return low

    corners = [invert(naive_mel(8000) * i / (n_mels + 1)) for i in range(n_mels + 2)]
    filters = np.zeros((n_mels, 201))
    for m, (left, centre, right) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        for k in range(201):
            hz = 40.0 * k
            height = (hz - left) / (centre - left) if hz < centre else (right - hz) / (right - centre)
            filters[m, k] = max(0.0, height) / ((right - left) / 2)
    return filters


def naive_log_mel(samples: Array, n_mels: int) -> Array:
    mirrored = np.concatenate([samples[200:0:-1], samples, samples[-2:-202:-1]])
    power = naive_power(mirrored)[:, : len(samples) // 160]
    log_mel = np.log10(np.maximum(naive_filters(n_mels) @ power, 1e-10))
    scaled: Array = (np.maximum(log_mel, log_mel.max() - 8) + 4) / 4
    return scaled


def test_constants_follow_from_each_other() -> None:
    assert (audio.N_SAMPLES, audio.N_FRAMES) == (480000, 3000)
    assert (audio.N_SAMPLES_PER_TOKEN, audio.FRAMES_PER_SECOND, audio.TOKENS_PER_SECOND) == (320, 100, 50)


# Reading


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_16_bit_mono_gives_the_integers_over_32768(tmp_path: Path, suffix: str) -> None:
    pcm = integers(12345)
    soundfile.write(tmp_path / f"a.{suffix}", pcm, SR, subtype="PCM_16")
    samples = load_audio(tmp_path / f"a.{suffix}")
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, pcm.astype(np.float32) / 32768)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 2**-7),
        ("wav", "PCM_24", 2**-23),
        ("wav", "PCM_32", 2**-24),
        ("wav", "FLOAT", 0),
        ("wav", "DOUBLE", 0),
        ("flac", "PCM_24", 2**-23),
        ("ogg", "VORBIS", 0.05),
        ("ogg", "OPUS", 0.05),
        ("mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_formats_need_nothing_but_libsndfile(tmp_path: Path, suffix: str, subtype: str, tolerance: float) -> None:
    tone = sine(440, SR)
    soundfile.write(tmp_path / f"a.{suffix}", tone, SR, subtype=subtype)
    samples = load_audio(str(tmp_path / f"a.{suffix}"))
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples[800:-800], tone[800 : len(samples) - 800], atol=tolerance, rtol=0)


@pytest.mark.parametrize("n_frames", [1, 999, 1000, 3001])
def test_a_file_longer_than_a_block_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_frames: int) -> None:
    monkeypatch.setattr(units, "READ_BLOCK", 1000)
    stereo = integers(2 * n_frames).reshape(n_frames, 2)
    soundfile.write(tmp_path / "a.wav", stereo, SR)
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav"), stereo.sum(1, dtype=np.float32) / 65536)


@pytest.mark.parametrize("n_channels", [2, 9])
def test_channels_that_are_no_surround_sound_are_averaged(tmp_path: Path, n_channels: int) -> None:
    channels = noise(321 * n_channels).reshape(321, n_channels)
    soundfile.write(tmp_path / "a.wav", channels, SR, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), channels.mean(1), atol=1e-7)


class Pipe(io.RawIOBase):
    """A file object that can only be read forwards."""

    def __init__(self, contents: bytes) -> None:
        self.contents = contents

    def readable(self) -> bool:
        return True

    def readall(self) -> bytes:
        return self.contents


@pytest.mark.parametrize("handle", [bytes, bytearray, memoryview, io.BytesIO, Pipe])
def test_contents_and_file_objects_equal_the_file(tmp_path: Path, handle: type) -> None:
    soundfile.write(tmp_path / "a.flac", integers(4321), SR)
    contents = (tmp_path / "a.flac").read_bytes()
    np.testing.assert_array_equal(load_audio(handle(contents)), load_audio(tmp_path / "a.flac"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", integers(432), SR)
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cp", "a.wav", "pipe"], cwd=tmp_path):
        samples = load_audio(tmp_path / "pipe")
    np.testing.assert_array_equal(samples, load_audio(tmp_path / "a.wav"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes as a name")
@pytest.mark.parametrize("name", [b"two words.wav", b"new\nline.wav", b"not utf-8 \xff\xfe.wav", b"-i.wav"])
def test_strange_names_are_read_and_named(tmp_path: Path, name: bytes) -> None:
    path = os.path.join(tmp_path, os.fsdecode(name))
    Path(path).write_bytes(b"")
    with pytest.raises(AudioError) as refusal:
        load_audio(path)
    assert repr(path) in str(refusal.value)
    str(refusal.value).encode()  # so it can be printed
    buffer = io.BytesIO()
    soundfile.write(buffer, integers(99), SR, format="WAV")
    Path(path).write_bytes(buffer.getvalue())
    assert load_audio(path).shape == (99,)


# Arrays


@pytest.mark.parametrize(
    ("dtype", "low", "middle"),
    [
        ("int8", -128, 64),
        ("int16", -32768, 16384),
        (">i2", -32768, 16384),
        ("int32", -(2**31), 2**30),
        ("uint8", 0, 192),
    ],
)
def test_integers_are_divided_by_their_full_scale(dtype: str, low: int, middle: int) -> None:
    samples = load_audio(np.array([low, middle], dtype))
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, [-1.0, 0.5])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_taken_as_they_are(dtype: str) -> None:
    samples = load_audio(np.array([-1.5, 0.25], dtype))
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, [-1.5, 0.25])


def test_the_smaller_axis_of_an_array_is_the_channels() -> None:
    channels = noise(2 * 77).reshape(77, 2)
    np.testing.assert_allclose(load_audio(channels), channels.mean(1), atol=1e-7)
    np.testing.assert_array_equal(load_audio(channels.T), load_audio(channels))
    np.testing.assert_array_equal(load_audio(channels[:, :1]), channels[:, 0])


def test_strided_and_read_only_arrays_are_read_and_left_alone() -> None:
    samples = noise(3210)
    samples.flags.writeable = False
    expected = log_mel_spectrogram(samples[::-2].copy())
    np.testing.assert_array_equal(log_mel_spectrogram(samples[::-2]), expected)
    np.testing.assert_array_equal(samples, noise(3210))


# Resampling


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("hz", [100, 1234, 3000])
def test_resampling_keeps_a_tone_in_time_frequency_and_amplitude(rate: int, hz: int) -> None:
    resampled = resample(sine(hz, rate), rate, SR)
    assert resampled.dtype == np.float32
    assert len(resampled) == SR
    np.testing.assert_allclose(resampled[200:-200], sine(hz, SR)[200:-200], atol=1e-3)


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("hz", [9500, 11000, 15000])
def test_what_is_above_the_limit_does_not_come_back_as_a_low_tone(rate: int, hz: int) -> None:
    resampled = resample(sine(hz, rate), rate, SR)[200:-200]
    assert np.abs(resampled).max() < 0.5e-3  # 60 dB down


def test_upsampling_leaves_no_image_of_the_sound_above_the_old_limit() -> None:
    spectrum = np.abs(np.fft.rfft(resample(sine(1000, 8000), 8000, SR) * np.hanning(SR)))
    assert spectrum.argmax() == 1000
    assert spectrum[5000:].max() < 1e-3 * spectrum.max()


@pytest.mark.parametrize(("n_samples", "expected"), [(1, 1), (441, 160), (442, 161), (44099, 16000), (44101, 16001)])
def test_resampled_length_is_rounded_up(n_samples: int, expected: int) -> None:
    assert resample(noise(n_samples), 44100, SR).shape == (expected,)


@pytest.mark.slow
def test_an_odd_rate_above_100_khz_is_met_without_a_giant_filter() -> None:
    resampled = resample(sine(700, 383987), 383987, SR)
    np.testing.assert_allclose(resampled[200:15800], sine(700, SR)[200:15800], atol=2e-3)


def test_load_audio_resamples_to_the_rate_wanted(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(440, 22050), 22050, subtype="FLOAT")
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav"), resample(sine(440, 22050), 22050, SR))
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav", sr=22050), sine(440, 22050))


# Refusals: one sentence each, naming what was got


def wav(samples: Array, rate: int = SR, header_rate: int | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    contents = buffer.getvalue()
    return contents if header_rate is None else contents[:24] + header_rate.to_bytes(4, "little") + contents[28:]


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("empty.wav", b"", r"empty\.wav' is empty \(0 bytes\)"),
        (
            "text.wav",
            b"Ask not what your country\n" * 40,
            r"text\.wav' cannot be read: libsndfile says .*recogni[sz]ed",
        ),
        ("film.mp4", b"\0\0\0 ftypisom\0\0\2\0isomiso2" * 9, "ffmpeg, which reads .*mp4.* is not on the PATH; install"),
        ("header.wav", wav(noise(9))[:30], "cannot be read"),
        ("none.wav", wav(noise(0)), r"none\.wav' holds no samples"),
        ("nan.wav", wav(np.array([0, np.nan], np.float32)), "holds NaN or Inf"),
        ("inf.wav", wav(np.array([0, -np.inf], np.float32)), "holds NaN or Inf"),
        ("loud.wav", wav(np.array([0, -20000], np.float32)), "reaches 20000, but .* divide 16-bit samples by 32768"),
        ("zero.wav", wav(noise(9), header_rate=0), "cannot be read"),
        ("slow.wav", wav(noise(9), header_rate=999), "rate of 999 Hz, but 1000 to 768000 Hz"),
        ("fast.wav", wav(noise(9), header_rate=768001), "rate of 768001 Hz, but 1000 to 768000 Hz"),
        ("bare.raw", b"\0\1" * 99, r"bare\.raw' holds raw samples.* numpy\.fromfile"),
    ],
    ids=lambda value: "contents" if isinstance(value, bytes) else None,  # a wav of floats tells when it was written
)
def test_files_that_are_not_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, contents: bytes, message: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(AudioError, match=message):
        load_audio(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(0, np.float32), "holds no samples"),
        (np.zeros((2, 0), np.int16), "holds no samples"),
        (np.zeros((), np.float32), r"got samples of shape \(\)"),
        (np.zeros((2, 3, 4), np.float32), r"got samples of shape \(2, 3, 4\)"),
        (np.zeros(5, np.int64), "got samples of type int64"),
        (np.zeros(5, bool), "got samples of type bool"),
        (np.zeros(5, complex), "got samples of type complex128"),
        (np.array(["sound"]), "got samples of type <U5"),
        (np.array([0.0, np.nan]), "holds NaN or Inf"),
        (np.array([0.0, 1e300]), "holds NaN or Inf"),
        (np.array([0.0, 32767.0]), "reaches 32767, but samples must lie between -1 and 1"),
        (None, r"got samples of shape \(\)"),
        (b"", "is empty"),
        (io.StringIO("text"), "yields text, not bytes; open it with mode 'rb'"),
    ],
)
def test_what_is_not_sound_in_memory(array: object, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        load_audio(array)  # type: ignore[arg-type]
    with pytest.raises(AudioError, match=message):
        log_mel_spectrogram(array)  # type: ignore[arg-type]


@pytest.mark.parametrize("sr", [0, -16000, 999, 768001])
def test_absurd_rates_cannot_be_asked_for(sr: int) -> None:
    with pytest.raises(AudioError, match=f"rate of {sr} Hz"):
        load_audio(noise(9), sr)


def test_missing_files_and_directories_have_their_own_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such audio file .*nowhere\.wav") as missing:
        load_audio(tmp_path / "nowhere.wav")
    assert missing.value.filename == str(tmp_path / "nowhere.wav")
    with pytest.raises(IsADirectoryError, match="got a directory"):
        load_audio(tmp_path)


# ffmpeg, for what libsndfile cannot read


def install_ffmpeg(folder: Path, body: str) -> None:
    program = folder / "ffmpeg"
    program.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    program.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for ffmpeg is a script")
@pytest.mark.parametrize("as_bytes", [False, True])
def test_ffmpeg_reads_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_bytes: bool) -> None:
    """The stand-in returns the contents it was given, so that quoting and temporary files are exercised for real."""
    options = "['-nostdin', '-ac', '1', '-ar', '8000', '-f', 's16le']"
    install_ffmpeg(
        tmp_path,
        f"assert set({options}) <= set(sys.argv)\n"
        "path = sys.argv[sys.argv.index('-i') + 1]\n"
        "assert path.startswith('file:')\n"
        "sys.stdout.buffer.write(open(path[5:], 'rb').read())",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    pcm = integers(250)
    path = tmp_path / "-$(touch x); a.m4a"
    path.write_bytes(pcm.astype("<i2").tobytes())
    samples = load_audio(path.read_bytes() if as_bytes else path, sr=8000)
    np.testing.assert_array_equal(samples, pcm.astype(np.float32) / 32768)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for ffmpeg is a script")
@pytest.mark.parametrize(
    ("program", "refusal"),
    [
        (
            "sys.exit('first line\\nmoov atom not found')",
            r"cannot be read: libsndfile .* ffmpeg says 'moov atom not found'",
        ),
        ("pass", "holds no samples"),
    ],
    ids=["both are quoted", "no sound"],
)
def test_when_ffmpeg_fails_too_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, refusal: str
) -> None:
    install_ffmpeg(tmp_path, program)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "half.m4a").write_bytes(b"\0\0\0 ftypM4A ")
    with pytest.raises(AudioError, match=rf"half\.m4a' .*{refusal}"):
        load_audio(tmp_path / "half.m4a")


# pad_or_trim


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
@pytest.mark.parametrize("length", [0, 1, 5, 9])
def test_pad_or_trim_gives_the_length_on_that_axis_only(axis: int, length: int) -> None:
    array = noise(3 * 4 * 5).reshape(3, 4, 5)
    made = np.moveaxis(pad_or_trim(array, length, axis=axis), axis, 0)
    original = np.moveaxis(array, axis, 0)
    assert made.dtype == np.float32
    assert made.shape == (length, *original.shape[1:])
    kept = min(length, len(original))
    np.testing.assert_array_equal(made[:kept], original[:kept])
    assert not made[kept:].any()


def test_pad_or_trim_copies_only_when_it_must() -> None:
    samples = noise(500)
    assert np.shares_memory(pad_or_trim(samples, 500), samples)
    assert np.shares_memory(pad_or_trim(samples, 400), samples)
    assert pad_or_trim(samples).shape == (480000,)


# Spectrum and mel


def test_hann_is_the_periodic_bell() -> None:
    np.testing.assert_allclose(audio.hann(), np.hanning(401)[:-1], atol=3e-7)
    assert audio.hann().dtype == np.float32


@pytest.mark.parametrize("n_samples", [400, 559, 560, 1999])
def test_stft_is_the_fourier_sum_of_each_frame(n_samples: int) -> None:
    power = stft(noise(n_samples))
    assert power.dtype == np.float32
    np.testing.assert_allclose(power, naive_power(noise(n_samples)), rtol=1e-4, atol=1e-6)


def test_energy_of_a_frame_is_the_energy_of_its_spectrum() -> None:
    """Parseval: the power of all 400 frequencies is 400 times the sum of the squared windowed samples."""
    samples = noise(400)
    power = stft(samples)[:, 0].astype(np.float64)
    both_signs = power[0] + 2 * power[1:-1].sum() + power[-1]
    np.testing.assert_allclose(both_signs, 400 * np.square(samples * audio.hann(), dtype=np.float64).sum(), rtol=1e-5)


@pytest.mark.parametrize("n_mels", [13, 80, 128])
def test_mel_filters_are_triangles_of_area_one(n_mels: int) -> None:
    filters = mel_filters(n_mels)
    assert filters.dtype == np.float32
    assert filters.shape == (n_mels, 201)
    np.testing.assert_allclose(filters, naive_filters(n_mels), atol=1e-8)
    assert (filters.max(axis=1) > 0).all()


def test_mel_filters_are_made_once_and_cannot_be_written() -> None:
    assert mel_filters(80) is mel_filters(80)
    with pytest.raises(ValueError, match="read-only"):
        mel_filters(80)[0, 0] = 1
    with pytest.raises(AudioError, match=r"n_mels must be positive .*not 0"):
        mel_filters(0)


def test_the_mel_scale_can_be_inverted() -> None:
    hz = np.linspace(0, 8000, 321)
    np.testing.assert_allclose(audio.mel_to_hz(audio.hz_to_mel(hz)), hz, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(audio.hz_to_mel(hz), [naive_mel(f) for f in hz], rtol=1e-12)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("n_samples", [201, 399, 1600, 2345])
def test_log_mel_is_its_definition(n_mels: int, n_samples: int) -> None:
    log_mel = log_mel_spectrogram(noise(n_samples), n_mels)
    assert log_mel.dtype == np.float32
    np.testing.assert_allclose(log_mel, naive_log_mel(noise(n_samples), n_mels), atol=1e-5, rtol=0)


def test_the_floor_is_80_db_below_the_loudest() -> None:
    fading = np.concatenate([sine(1000, SR), sine(1000, SR, amplitude=1e-6)])
    log_mel = log_mel_spectrogram(fading)
    np.testing.assert_allclose(log_mel.max() - log_mel.min(), 2.0, atol=1e-6)
    assert (log_mel[:, -50:] == log_mel.min()).all()


def test_cutting_into_windows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = log_mel_spectrogram(noise(16123))
    monkeypatch.setattr(units, "N_FRAMES", 7)
    np.testing.assert_allclose(log_mel_spectrogram(noise(16123)), whole, atol=1e-6)


@pytest.mark.parametrize("n_samples", [1, 159, 160, 200, 201, 479999, 480000, 480001, 480160])
@pytest.mark.parametrize("padding", [0, 3, 400])
def test_every_length_gives_a_frame_for_each_160_samples(n_samples: int, padding: int) -> None:
    log_mel = log_mel_spectrogram(sine(300, SR, 31)[:n_samples], padding=padding)
    assert log_mel.shape == (80, (n_samples + padding) // 160)
    assert np.isfinite(log_mel).all()


def test_padding_is_zeros_after_the_sound() -> None:
    padded = np.concatenate([noise(1000), np.zeros(777, np.float32)])
    np.testing.assert_array_equal(log_mel_spectrogram(noise(1000), padding=777), log_mel_spectrogram(padded))


def test_silence_is_minus_one_and_a_half() -> None:
    np.testing.assert_allclose(log_mel_spectrogram(np.zeros(1600, np.float32)), np.full((80, 10), -1.5), atol=1e-6)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("hz", [440, 1000, 3160, 7000])
def test_a_tone_is_brightest_in_its_own_bin(n_mels: int, hz: int) -> None:
    brightest = log_mel_spectrogram(sine(hz, SR), n_mels)[:, 5:-5].argmax(axis=0)
    centre = naive_mel(hz) / naive_mel(8000) * (n_mels + 1) - 1
    assert (np.abs(brightest - centre) <= 1).all()


def test_ten_times_louder_is_half_a_unit_more() -> None:
    quiet, loud = log_mel_spectrogram(noise(4000) / 10), log_mel_spectrogram(noise(4000))
    np.testing.assert_allclose(loud - quiet, np.full(quiet.shape, 0.5), atol=1e-5)


def test_a_batch_is_its_items_each_with_its_own_maximum() -> None:
    batch = np.stack([noise(1234), noise(1234, seed=1) * 1e-4])
    log_mels = log_mel_spectrogram(batch, 128, padding=321)
    assert log_mels.shape == (2, 128, 9)
    for item, log_mel in zip(batch, log_mels, strict=True):
        np.testing.assert_array_equal(log_mel, log_mel_spectrogram(item, 128, padding=321))


@pytest.mark.parametrize("dtype", ["int16", "int32", "float64"])
def test_other_types_of_sample_give_the_same_picture(dtype: str) -> None:
    pcm = integers(2000)
    scale = {"int16": 1, "int32": 65536, "float64": 1 / 32768}[dtype]
    expected = log_mel_spectrogram(pcm.astype(np.float32) / 32768)
    np.testing.assert_array_equal(log_mel_spectrogram((pcm * np.array(scale, dtype)).astype(dtype)), expected)


def test_a_path_may_stand_for_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", integers(3456), SR)
    expected = log_mel_spectrogram(load_audio(tmp_path / "a.wav"))
    np.testing.assert_array_equal(log_mel_spectrogram(tmp_path / "a.wav"), expected)
    np.testing.assert_array_equal(log_mel_spectrogram((tmp_path / "a.wav").read_bytes(), device="cpu"), expected)


def test_only_the_cpu_computes() -> None:
    with pytest.raises(ValueError, match="device cuda was asked for, but npwhisper computes on the CPU"):
        log_mel_spectrogram(noise(400), device="cuda")


def test_the_picture_and_each_windows_spectrum_can_be_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "N_FRAMES", 7)
    with trace() as acts:
        log_mel = log_mel_spectrogram(noise(1600), 128)
    assert set(acts) == {"mel", "mel_filters", "stft"}
    np.testing.assert_array_equal(acts["mel"], log_mel)
    assert [power.shape for power in acts.all("stft")] == [(201, 7), (201, 3)]
    assert {value.dtype.name for name in acts for value in acts.all(name)} == {"float32"}


def test_heavy_packages_wait_until_they_are_needed() -> None:
    code = "import sys, npwhisper.audio; print(sorted({'scipy', 'soundfile', 'subprocess'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
