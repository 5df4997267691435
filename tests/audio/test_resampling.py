"""The resampler follows ffmpeg's rule. Recorded with ffmpeg 5.1.9 (libswresample 4.7), 16-bit files, ``-ar 16000``."""

from __future__ import annotations

import math

import numpy as np
import pytest

from npwhisper.audio import resample, units
from npwhisper.audio.resampling import low_pass
from npwhisper.tracing.seam import Array

FFMPEG = {  # the first five of 1600 samples, those from 800 on, and the last
    8000: ([-20003, -6117, 12626, 4593, -18923], [17160, 1348, -16448, -10669, 5788], [77, 11435, 13241, -64, -9088]),
    22050: ([1062, -8558, 932, -2191, -3442], [-13115, 2059, 7562, 1401, -213], [-5617, 5282, 3847, -5804, -1211]),
    44100: ([-6497, 103, -5834, 2549, 13147], [2910, -5237, 5860, -567, -11959], [6803, -1537, -20366, 2813, 4109]),
    48000: ([-6160, 28, -6468, 7818, 9584], [6540, 8651, -10015, 10926, -8985], [-2244, 326, -2501, -3346, -589]),
    96000: ([-4670, -433, 8120, -2028, 2593], [1569, -224, 654, -21, 2007], [7148, 5922, -1580, 4754, 1936]),
}


def signal(n: int) -> Array:
    """Noise in whole numbers, the same everywhere, as float32."""
    k = np.arange(n, dtype=np.int64)
    return (((k * k * 7919 + k * 104729) % 40009 - 20004) / 32768).astype(np.float32)


@pytest.mark.parametrize("rate", FFMPEG)
def test_the_samples_are_ffmpegs_at_both_ends_too(rate: int) -> None:
    ours = resample(signal(rate // 10), rate, 16000)
    assert len(ours) == 1600
    for start, recorded in zip((0, 800, -5), FFMPEG[rate], strict=True):
        found = ours[start : start + 5 or None]
        atol = 1e-4 if rate <= 48000 else 2e-4  # ffmpeg rounds its filter to 16 bits, and a longer one more often
        np.testing.assert_allclose(found, np.array(recorded) / 32768, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "n"), [(44100, 300), (8000, 50), (15800, 100), (48000, 7), (22050, 1)])
@pytest.mark.parametrize("block", [64, 1 << 18])
def test_the_sum_written_out_gives_the_same(monkeypatch: pytest.MonkeyPatch, rate: int, n: int, block: int) -> None:
    monkeypatch.setattr("npwhisper.audio.resampling.READ_BLOCK", block)
    samples = signal(n)
    np.testing.assert_allclose(resample(samples, rate, 16000), naive(samples.astype(float), rate), atol=3e-6)


def naive(samples: Array, rate: int) -> Array:
    """Every output sample as a weighted sum of the mirrored input around its place."""
    limit = min(0.97 * 16000 / rate, 1.0)
    n_taps = math.ceil(32 / limit / 2) * 2
    margin = 2 * n_taps
    padded = np.pad(np.pad(samples, (margin, 0), "reflect"), (0, margin), "symmetric")

    def weight(away: float) -> float:
        inside = max(0.0, 1 - (2 * away / n_taps) ** 2) if -n_taps / 2 < away <= n_taps / 2 else -1.0
        return float(np.sinc(limit * away) * np.i0(9 * math.sqrt(inside))) if inside >= 0 else 0.0

    norm, half = sum(weight(i) for i in range(-n_taps, n_taps)), n_taps // 2
    result = []
    for j in range(math.ceil(len(samples) * 16000 / rate)):
        place = j * rate / 16000
        near = range(math.floor(place) - half - 1, math.floor(place) + half + 2)
        result.append(sum(padded[k + margin] * weight(k - place) for k in near if 0 <= k + margin < len(padded)) / norm)
    return np.array(result)


@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_a_constant_stays_constant(rate: int) -> None:
    np.testing.assert_allclose(resample(np.ones(rate // 10, np.float32), rate, 16000), 1.0, atol=2e-4)


def test_the_filter_has_ffmpegs_number_of_taps() -> None:
    taps = {rate: len(low_pass(rate, 16000, 1)) - 1 for rate in (8000, 15800, 22050, 44100, 48000, 96000)}
    assert taps == {8000: 32, 15800: 34, 22050: 46, 44100: 92, 48000: 100, 96000: 198}
    assert units.SAMPLE_RATE == 16000
