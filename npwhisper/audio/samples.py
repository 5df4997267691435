"""Samples in memory: arrays of any type as float32 mono, checked, and cut into blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npwhisper.audio import units
from npwhisper.audio.mixing import Channel, weights_of
from npwhisper.audio.units import N_SAMPLES, AudioError, Blocks, name_of
from npwhisper.tracing.seam import Array

LOUDEST = 100.0  # full scale is 1; beyond this the samples are integers that nobody scaled


def as_samples(array: Any) -> Array:
    """Any array of sound as float32 of the same shape, integers divided by their full scale.

    Raises
    ------
    AudioError
        If it has other than one or two axes, no samples, numbers that are not sound, or numbers far beyond full scale.

    >>> as_samples(np.array([0, 128, 192], np.uint8))
    array([-1. ,  0. ,  0.5], dtype=float32)
    """
    array = np.asarray(array)
    if array.ndim not in (1, 2):
        raise AudioError(f"got samples of shape {array.shape}; expected (samples,) or (samples, channels)")
    if array.dtype == np.uint8:
        array = (array.astype(np.float32) - 128.0) / 128.0
    elif array.dtype.kind == "i" and array.itemsize <= 4:
        array = array.astype(np.float32) / 2.0 ** (8 * array.itemsize - 1)
    elif array.dtype.kind != "f":
        raise AudioError(f"got samples of type {array.dtype}; expected float32 between -1 and 1, int16, int32 or uint8")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes Inf, and is refused with the rest
        return check_samples(array.astype(np.float32, copy=False), "the array")


def check_samples(samples: Array, name: str) -> Array:
    """Return the samples if there are any, and all are finite and scaled to about 1.

    >>> check_samples(np.array([0.5, np.nan]), "the array")
    Traceback (most recent call last):
    npwhisper.audio.units.AudioError: the array holds NaN or Inf; replace them first, for example with numpy.nan_to_num
    """
    if not samples.size:
        raise AudioError(f"{name} holds no samples; at least one is needed")
    peak = max(float(samples.max()), -float(samples.min()))
    if not math.isfinite(peak):
        raise AudioError(f"{name} holds NaN or Inf; replace them first, for example with numpy.nan_to_num")
    if peak > LOUDEST:
        raise AudioError(
            f"{name} reaches {peak:g}, but samples must lie between -1 and 1; divide 16-bit samples by 32768"
        )
    return samples


def to_mono(samples: Array, channel: Channel = None) -> Array:
    """Average the channels, or choose one: (samples, channels) or (channels, samples) -> (samples,).

    >>> to_mono(np.array([[0, 1], [0.5, 0.5], [1, 0]], np.float32))
    array([0.5, 0.5, 0.5], dtype=float32)
    >>> to_mono(np.array([[0, 1], [0.5, 0.5], [1, 0]], np.float32), channel="left")
    array([0. , 0.5, 1. ], dtype=float32)
    """
    if channel is not None:
        columns = samples.reshape(len(samples), -1)
        columns = columns.T if samples.ndim == 2 and samples.shape[0] < samples.shape[1] else columns
        return np.ascontiguousarray(columns[:, weights_of("", columns.shape[1], channel=channel).argmax()])
    if samples.ndim == 1:
        return samples
    mixed: Array = samples.mean(axis=0 if samples.shape[0] < samples.shape[1] else 1, dtype=np.float32)
    return mixed


def blocks_of(samples: Array) -> Blocks:
    """Samples that are in memory, as a stream.

    >>> [len(block) for block in blocks_of(np.zeros(300_000, np.float32))]
    [262144, 37856]
    """
    return (samples[i : i + units.READ_BLOCK] for i in range(0, len(samples), units.READ_BLOCK))


def joined(pieces: Blocks) -> Blocks:
    """Join pieces into blocks of a convenient size.

    >>> [len(block) for block in joined(iter([np.zeros(200_000), np.zeros(100_000), np.zeros(5)]))]
    [300000, 5]
    """
    held, n_held = list[Array](), 0
    for piece in pieces:
        held.append(piece)
        n_held += len(piece)
        if n_held >= units.READ_BLOCK:
            yield np.concatenate(held)
            held, n_held = [], 0
    if held:
        yield np.concatenate(held)


def pad_or_trim(array: Array, length: int = N_SAMPLES, *, axis: int = -1) -> Array:
    """Trim the end of an axis to `length`, or pad it with zeros.

    Parameters
    ----------
    array : Array
        Samples (480000 of them are a window) or a log-mel spectrogram (3000 frames are).
    length : int
        The length of the axis in the result.
    axis : int
        The axis to trim or pad.

    Returns
    -------
    Array
        The array itself or a view into it when nothing had to be added.

    Examples
    --------
    >>> pad_or_trim(np.ones((2, 3)), 4)
    array([[1., 1., 1., 0.],
           [1., 1., 1., 0.]])
    >>> pad_or_trim(np.ones((2, 3)), 1, axis=0)
    array([[1., 1., 1.]])
    """
    missing = length - array.shape[axis]
    if missing > 0:
        widths = [(0, 0)] * array.ndim
        widths[axis] = (0, missing)
        return np.pad(array, widths).view(type(array))
    keep = [slice(None)] * array.ndim
    keep[axis] = slice(length)
    return array[tuple(keep)]


def checked_blocks(blocks: Blocks, source: str | bytes) -> Blocks:
    """Pass on blocks of finite samples; there must be at least one.

    >>> list(checked_blocks(iter([]), "talk.wav"))
    Traceback (most recent call last):
    npwhisper.audio.units.AudioError: 'talk.wav' holds no samples; at least one is needed
    """
    block = None
    for block in blocks:
        yield check_samples(block, name_of(source))
    if block is None:
        check_samples(np.empty(0, np.float32), name_of(source))
