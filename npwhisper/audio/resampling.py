"""Changing the sampling rate of a stream, with ffmpeg's default low-pass filter."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from npwhisper.audio.units import READ_BLOCK, Blocks
from npwhisper.tracing.seam import Array


def resample(samples: Array, rate: int, sr: int) -> Array:
    """Change the sampling rate, keeping what lies below half of both rates and timing to the sample.

    (samples,) -> (ceil(samples * sr / rate),)

    >>> resample(np.ones(441, np.float32), 44100, 16000).shape
    (160,)
    """
    return np.concatenate(list(resample_blocks(iter([samples]), rate, sr)))


def resample_blocks(blocks: Blocks, rate: int, sr: int) -> Blocks:
    """Change the sampling rate of a stream; every block is computed with its neighbours in view.

    ffmpeg's rule, so that both give the same samples within 16-bit rounding: see `low_pass`. Frequencies above the new
    limit would otherwise alias to lower ones.

    >>> blocks = iter([np.ones(300, np.float32), np.ones(141, np.float32)])
    >>> [block.shape for block in resample_blocks(blocks, 44100, 16000)]
    [(160,)]
    """
    if rate == sr:
        yield from blocks
        return
    from fractions import Fraction

    from scipy.signal import resample_poly

    ratio = Fraction(sr, rate).limit_denominator(100_000)  # exact below 100 kHz; above, odd rates would cost gigabytes
    up, down = ratio.numerator, ratio.denominator
    kernel = low_pass(rate, sr, up)
    margin = -(-len(kernel) // (2 * up * down)) * down  # half the filter, in samples: whole steps of the ratio
    size = -(-READ_BLOCK // down) * down
    for piece, wanted in _overlapping(blocks, size, margin):
        first = margin * up // down
        yield resample_poly(piece, up, down, window=kernel)[first : first - (-wanted * up // down)]


def low_pass(rate: int, sr: int, up: int) -> Array:
    """The filter, with `up` values for each sample at `rate`: a sinc that ends at 0.97 of the new limit.

    -> (taps * up + 1,)

    32 periods of the lower limit under a Kaiser window (beta 9), the number of taps rounded up to even. When the rate
    rises, nothing is filtered, and there are 32 taps. Source: libswresample, its defaults ``filter_size=32``,
    ``cutoff=0.97``, ``kaiser_beta=9``.

    >>> [len(low_pass(rate, 16000, 1)) - 1 for rate in (8000, 22050, 44100, 48000, 96000)]
    [32, 46, 92, 100, 198]
    """
    limit = min(0.97 * sr / rate, 1.0)
    n_taps = math.ceil(32 / limit)
    n_taps += n_taps % 2
    places = np.arange(-n_taps * up // 2, n_taps * up // 2 + 1) / up  # in samples
    kernel = np.sinc(limit * places) * np.i0(9.0 * np.sqrt(1.0 - np.square(2.0 * places / n_taps)))
    kernel[-1] = 0.0  # of the two ends, ffmpeg has one
    return (kernel / kernel[::up].sum() / up).astype(np.float32)


def _overlapping(blocks: Blocks, size: int, margin: int) -> Iterator[tuple[Array, int]]:
    """Cut a stream into pieces of `size` samples with `margin` more on both sides, mirrored at both ends.

    At the start the mirror is the first sample; at the end it follows the last sample, which is therefore repeated.
    Yields each piece and how many of its samples, after the first margin, are its own.
    """
    held, mirrored = np.empty(0, np.float32), False
    for block in blocks:
        held = np.concatenate([held, block])
        if not mirrored and len(held) > margin:
            held, mirrored = np.pad(held, (margin, 0), "reflect"), True
        while mirrored and len(held) >= size + 2 * margin:
            yield held[: size + 2 * margin], size
            held = held[size:]
    if not mirrored and len(held):
        held = np.pad(held, (margin, 0), "reflect")
    held = np.pad(held, (0, margin), "symmetric") if len(held) else held
    while (rest := len(held) - 2 * margin) > 0:
        own = min(rest, size)
        yield held[: own + 2 * margin], own
        held = held[own:]
