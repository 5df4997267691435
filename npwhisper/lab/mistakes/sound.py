"""Mistakes in sound and alignment."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from npwhisper import audio, timing
from npwhisper.tracing.seam import Array, Function


def _spectrum(samples: Array, window: Array, n_fft: int = 400, power: int = 2) -> Array:
    frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160]
    return (np.abs(np.fft.rfft(frames * window, n_fft)) ** power).T.astype(np.float32)


def _stft(samples: Array) -> Array:
    return audio.stft(samples)


def _triangles(n_mels: int, area: bool = True, htk: bool = False) -> Array:
    hz = np.fft.rfftfreq(400, 1 / 16000)
    if htk:
        edges = 700 * (10 ** (np.linspace(0, 2595 * math.log10(1 + 8000 / 700), n_mels + 2) / 2595) - 1)
    else:
        edges = audio.mel_to_hz(np.linspace(0, audio.hz_to_mel(np.array(8000.0)), n_mels + 2))
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    y = np.maximum(0.0, np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre)))
    return (y * 2 / (right - left) if area else y).astype(np.float32)


def _log_mel(samples: Array, n_mels: int, log: Any = np.log10, range_: float = 8.0, scaled: bool = True) -> Array:
    padded = np.pad(samples, 200, mode="reflect")
    y = log(np.maximum(audio.mel_filters(n_mels) @ audio.stft(padded)[:, :-1], 1e-10))
    y = np.maximum(y, float(y.max()) - range_)
    return (y + 4.0) / 4.0 if scaled else y


def _neighbours(x: Array, width: int, how: str, of: Any) -> Array:
    pad = [(0, 0)] * (x.ndim - 1) + [(width // 2, width // 2)]
    padded = np.pad(x, pad, mode=how)  # type: ignore[call-overload]
    y: Array = of(np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1), axis=-1)
    return y


def _path_costs(x: Array, steps: tuple[tuple[int, int], ...]) -> Array:
    cost = np.full(np.add(x.shape, 1), np.inf)
    for i, j in np.ndindex(*x.shape):
        before = min(cost[i + 1 - down, j + 1 - right] for down, right in steps) if i or j else 0.0
        cost[i + 1, j + 1] = x[i, j] + before
    return cost[1:, 1:]


MISTAKES: dict[str, dict[str, Function]] = {
    "hann": {
        "this window is symmetric: Whisper's is periodic, np.hanning(401)[:-1]": lambda: np.float32(np.hanning(400))
    },
    "stft": {
        "this is the magnitude: the power is its square": lambda samples: _spectrum(samples, audio.hann(), power=1),
        "the frames are not multiplied by the Hann window": lambda samples: _spectrum(samples, np.ones(400)),
        "the window is symmetric: Whisper's is periodic": lambda samples: _spectrum(samples, np.hanning(400)),
        "times are rows: make the frequencies rows": lambda samples: _stft(samples).T,
        "the power is divided by the frame's length": lambda samples: _stft(samples) / 400,
    },
    "mel_filters": {
        "the triangles have height 1: each must have area 1 in Hz": functools.partial(_triangles, area=False),
        "this is the HTK scale: Whisper's is Slaney's": functools.partial(_triangles, htk=True),
        "this is the HTK scale without areas of 1": functools.partial(_triangles, area=False, htk=True),
    },
    "log_mel_spectrogram": {
        "use the logarithm to base 10": functools.partial(_log_mel, log=np.log),
        "values more than 8 below the maximum must be raised to maximum - 8": functools.partial(
            _log_mel, range_=np.inf
        ),
        "the last step, (x + 4) / 4, is missing": functools.partial(_log_mel, scaled=False),
        "this is in decibels: leave out the factor 10": functools.partial(
            _log_mel, log=lambda y: 10 * np.log10(y), range_=80.0
        ),
    },
    "median_filter": {
        "this is the mean": lambda x, width: _neighbours(x, width, "reflect", np.mean),
        "the ends are padded with zeros: reflect the values": lambda x, n: _neighbours(x, n, "constant", np.median),
        "the end values are repeated: reflect the values": lambda x, n: _neighbours(x, n, "edge", np.median),
        "the end values appear twice: reflect without repeating them": lambda x, n: _neighbours(
            x, n, "symmetric", np.median
        ),
    },
    "standardise": {
        "the variance is divided by T - 1: divide by the number of tokens, T": lambda x: (
            (x - x.mean(axis=-2, keepdims=True)) / x.std(axis=-2, ddof=1, keepdims=True)
        ),
        "each token is standardised over time: standardise each audio position over the tokens": lambda x: (
            (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, keepdims=True)
        ),
    },
    "dtw_cost": {
        "diagonal steps are missing": lambda x: _path_costs(x, ((0, 1), (1, 0))),
        "steps down are missing": lambda x: _path_costs(x, ((0, 1), (1, 1))),
        "steps to the right are missing": lambda x: _path_costs(x, ((1, 0), (1, 1))),
    },
    "backtrace": {
        "the path runs backwards: reverse it": lambda cost: timing.backtrace(cost)[:, ::-1],
        "rows come first, then columns": lambda cost: timing.backtrace(cost)[::-1],
        "the result is (2, L), not (L, 2)": lambda cost: timing.backtrace(cost).T,
    },
    "dtw": {
        "find the cheapest path, not the most expensive": lambda x: timing.dtw(-x),
        "rows come first, then columns": lambda x: timing.dtw(x)[::-1],
    },
}
