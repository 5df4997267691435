"""From samples to the log-mel spectrogram: frames, their spectrum, mel bins, the logarithm.

Cut into frames of 25 ms, one every 10 ms; take the power of each frequency; sum frequencies into mel bins, which are
spaced as the ear hears; take the logarithm. Upstream: ``whisper/audio.py``; paper: section 2.2.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from npwhisper.audio import units
from npwhisper.audio.files import is_container, is_encoded, load_audio
from npwhisper.audio.mel_array import MelArray
from npwhisper.audio.samples import as_samples, blocks_of, pad_or_trim
from npwhisper.audio.units import HOP_LENGTH, N_FFT, SAMPLE_RATE, AudioError, AudioInput, Blocks
from npwhisper.compute.blocks import in_blocks
from npwhisper.compute.threads import limit_blas
from npwhisper.tracing.seam import Array, layer


def hann() -> Array:
    """The periodic Hann window, which fades each frame in and out.

    () -> (400,)

    Computed in float32 like torch's, since quiet frequencies beside loud ones show the window's rounding.

    >>> hann()[[0, 100, 200]].round(3)
    array([0. , 0.5, 1. ], dtype=float32)
    """
    phase = np.arange(N_FFT, dtype=np.float32) * (2.0 * math.pi / N_FFT)
    bell: Array = 0.5 - 0.5 * np.cos(phase)
    return bell


@layer
def stft(samples: Array) -> Array:
    """Power of each frequency (0, 40, ... 8000 Hz) in each frame: the short-time Fourier transform, squared.

    (400 + 160 (F - 1),) -> (201, F)

    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(720, dtype=np.float32) / SAMPLE_RATE)
    >>> stft(tone).shape, stft(tone).argmax(axis=0) * SAMPLE_RATE / N_FFT
    ((201, 3), array([1000., 1000., 1000.]))
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP_LENGTH]  # a view: nothing is copied
    return _power(frames, hann()).T


@np.errstate(under="ignore")  # of sounds that are as good as silent
@in_blocks(rows=96, elementwise=True)
def _power(frames: Array, bell: Array) -> Array:
    """Transform each frame by itself: (F, 400), (400,) -> (F, 201)."""
    spectrum = np.fft.rfft(frames * bell)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return power.astype(np.float32, copy=False)  # NumPy before 2.0 transforms in float64


def hz_to_mel(hz: Array) -> Array:
    """Pitch as heard, after Slaney: 15 mels up to 1000 Hz in equal steps, then 27 mels for each factor of 6.4.

    >>> hz_to_mel(np.array([0.0, 500.0, 1000.0, 6400.0]))
    array([ 0. ,  7.5, 15. , 42. ])
    """
    above = 15.0 + 27.0 * np.log(np.maximum(hz, 1000.0) / 1000.0) / math.log(6.4)
    return np.where(hz < 1000.0, hz * 3.0 / 200.0, above)


def mel_to_hz(mel: Array) -> Array:
    """The inverse: from mels to Hz.

    >>> mel_to_hz(np.array([0.0, 7.5, 15.0, 42.0]))
    array([   0.,  500., 1000., 6400.])
    """
    above = 1000.0 * np.exp((mel - 15.0) * math.log(6.4) / 27.0)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, above)


def mel_edges(n_mels: int) -> Array:
    """Frequencies in equal steps of pitch up to 8000 Hz: a mel bin rises from one to the next and falls to the third.

    () -> (n_mels + 2,)

    >>> mel_edges(1)[[0, -1]].round(6)
    array([   0., 8000.])
    """
    return mel_to_hz(np.linspace(0.0, hz_to_mel(np.array(SAMPLE_RATE / 2.0)), n_mels + 2))


@layer
@functools.cache
def mel_filters(n_mels: int) -> Array:
    """Weights that sum frequencies into mel bins: overlapping triangles, equally wide in mels, each of area one in Hz.

    Parameters
    ----------
    n_mels : int
        Number of bins. Whisper has 80, and 128 from large-v3 on.

    Returns
    -------
    Array, shape (n_mels, 201), float32, read-only
        Within 4e-9 of the table that upstream ships.

    Raises
    ------
    AudioError
        If `n_mels` is not positive.

    Examples
    --------
    >>> mel_filters(80).shape, mel_filters(80).dtype
    ((80, 201), dtype('float32'))
    """
    if n_mels < 1:
        raise AudioError(f"n_mels must be positive (Whisper's models have 80 or 128), not {n_mels}")
    edges = mel_edges(n_mels)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    hz = np.fft.rfftfreq(N_FFT, 1.0 / SAMPLE_RATE)
    triangles = np.maximum(0.0, np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre)))
    filters: Array = (triangles * 2.0 / (right - left)).astype(np.float32)
    filters.flags.writeable = False
    return filters


@layer(name="mel")
def log_mel_spectrogram(audio: AudioInput, n_mels: int = 80, padding: int = 0, device: Any = None) -> Array:
    """Turn sound into what the encoder reads: the logarithm of the power in each mel bin, every 10 ms.

    Parameters
    ----------
    audio : array, path, bytes or file object
        Samples at 16 kHz of shape (samples,), or a batch (B, samples); anything else goes through `load_audio`.
    n_mels : int
        Number of mel bins the model wants (``dims.n_mels``): 80 or 128.
    padding : int
        Number of zero samples appended first.
    device : optional
        None or "cpu", for compatibility with upstream.

    Returns
    -------
    MelArray, shape (n_mels, frames) or (B, n_mels, frames), float32
        An array that also knows ``.to(device)``, ``.numpy()``, ``.permute()`` and ``.unsqueeze()``.
        ``frames = (samples + padding) // 160``. The loudest value is at most 2 above the quietest: everything more
        than 80 dB below the file's maximum is raised to there.

    Raises
    ------
    AudioError
        If the audio cannot be read or `n_mels` is not positive.
    ValueError
        If another device than the CPU is asked for.

    Notes
    -----
    Upstream takes the maximum of a whole batch, so that a loud recording changes its neighbours. Here each item has its
    own, and a batch equals its items one by one. Upstream fails on fewer than 201 samples; here zeros follow them.

    Examples
    --------
    >>> log_mel_spectrogram(np.zeros(SAMPLE_RATE, np.float32)).shape
    (80, 100)
    """
    if device is not None and str(device) != "cpu":
        raise ValueError(
            f"device {device!s} was asked for, but npwhisper computes on the CPU; use 'cpu' or leave it out"
        )
    filters = mel_filters(n_mels)
    samples = load_audio(audio) if is_encoded(audio) or is_container(audio) else as_samples(audio)
    if samples.ndim == 2:
        return np.stack([_log_mel(item, filters, padding) for item in samples]).view(MelArray)
    return _log_mel(samples, filters, padding).view(MelArray)


def _log_mel(samples: Array, filters: Array, padding: int) -> Array:
    """The log-mel spectrogram of one recording: (samples,) -> (M, F)."""
    n_frames = (len(samples) + padding) // HOP_LENGTH
    blocks = list(mel_blocks(blocks_of(samples), filters, padding))
    log_mel = np.concatenate([np.empty((len(filters), 0), np.float32), *blocks], axis=1)[:, :n_frames]
    return compress(log_mel, float(log_mel.max(initial=-10.0)))


def mel_blocks(blocks: Blocks, filters: Array, padding: int) -> Iterator[Array]:
    """The logarithm of the power in each mel bin, 3000 frames at a time, for a stream of samples and `padding` zeros.

    Only one window's spectrum is in memory at a time: (M, 3000), ..., the rest

    >>> [block.shape for block in mel_blocks(iter([np.zeros(16000, np.float32)]), mel_filters(80), padding=480000)]
    [(80, 3000), (80, 100)]
    """
    for samples in _windows(_centred(blocks, padding)):
        with limit_blas(1):  # the same bits, whatever other threads do
            power = filters @ stft(samples)
        yield np.log10(np.maximum(power, 1e-10))


def _centred(blocks: Blocks, padding: int) -> Blocks:
    """Append zeros, then mirror 200 samples at both ends: frame i is centred on sample 160 i."""
    reach = N_FFT // 2 + 1  # a mirror of 200 samples needs 201
    held, is_first = np.empty(0, np.float32), True
    for block in itertools.chain(blocks, [np.zeros(max(padding, 0), np.float32), None]):
        held = pad_or_trim(held, max(len(held), reach)) if block is None else np.concatenate([held, block])
        if len(held) >= reach:
            yield from [held[reach - 1 : 0 : -1]] if is_first else []
            yield held[:-reach]
            held, is_first = held[-reach:], False
    yield np.concatenate([held, held[-2::-1]])


def _windows(blocks: Blocks) -> Blocks:
    """Cut a centred stream into the samples of 3000 frames each; the last frame of all is dropped, as upstream does."""
    held, step = np.empty(0, np.float32), units.N_FRAMES * HOP_LENGTH
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= step + N_FFT:
            yield held[: step - HOP_LENGTH + N_FFT]
            held = held[step:]
    if n_frames := max(0, len(held) - N_FFT) // HOP_LENGTH:
        yield held[: (n_frames - 1) * HOP_LENGTH + N_FFT]


def compress(log_mel: Array, loudest: float) -> Array:
    """Keep the 8 decades below the loudest value of all, and bring speech near 0: (M, F) -> (M, F).

    >>> compress(np.array([[-10.0, -2.0, 0.0]]), loudest=0.0)
    array([[-1. ,  0.5,  1. ]])
    """
    return (np.maximum(log_mel, loudest - 8.0) + 4.0) / 4.0
