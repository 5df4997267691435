"""Changing the sampling rate of a stream, with ffmpeg's default low-pass filter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from npwhisper.audio.samples import pad_or_trim
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

    The low-pass filter is the one ffmpeg uses by default: 32 periods of the lower rate under a Kaiser window, falling
    to one half at 0.97 of the new limit. What lies above the limit would otherwise come back as a false low tone.
    """
    if rate == sr:
        yield from blocks
        return
    from fractions import Fraction

    from scipy.signal import firwin, resample_poly

    ratio = Fraction(sr, rate).limit_denominator(100_000)  # exact below 100 kHz; above, odd rates would cost gigabytes
    up, down = ratio.numerator, ratio.denominator
    low_pass = firwin(32 * max(up, down) + 1, min(0.97 / down, 1.0 / up), window=("kaiser", 9.0)).astype(np.float32)
    margin = -(-16 * max(up, down) // (up * down)) * down  # half the filter, in samples: whole steps of the ratio
    size = -(-READ_BLOCK // down) * down
    for piece, wanted in _overlapping(blocks, size, margin):
        first = margin * up // down
        yield resample_poly(piece, up, down, window=low_pass)[first : first - (-wanted * up // down)]


def _overlapping(blocks: Blocks, size: int, margin: int) -> Iterator[tuple[Array, int]]:
    """Cut a stream into pieces of `size` samples with `margin` more on both sides, zeros beyond the ends.

    Yields each piece and how many of its samples, after the first margin, are its own.
    """
    held = np.zeros(margin, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= size + 2 * margin:
            yield held[: size + 2 * margin], size
            held = held[size:]
    while (rest := len(held) - margin) > 0:
        own = min(rest, size)
        yield pad_or_trim(held, own + 2 * margin), own
        held = held[own:]
