"""Recordings as other libraries hand them over: samples with their sampling rate, or the contents of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from npwhisper.audio.resampling import resample
from npwhisper.audio.samples import as_samples
from npwhisper.audio.units import SAMPLE_RATE, AudioError, check_rate


def unpacked(audio: Any, sr: int = SAMPLE_RATE) -> Any:
    """What a recording of another library holds: samples at rate `sr`, or a file; anything else as it is.

    These are the dicts of Hugging Face's ``datasets``, ``{"array", "sampling_rate"}`` or ``{"bytes", "path"}``, and
    torchcodec's ``AudioDecoder``. A dict with other keys raises `AudioError`.

    >>> unpacked({"array": np.zeros(800, np.float32), "sampling_rate": 8000}).shape
    (1600,)
    >>> unpacked({"path": "talk.wav", "bytes": None}), unpacked("talk.wav")
    ('talk.wav', 'talk.wav')
    """
    if hasattr(audio, "get_all_samples"):
        decoded = audio.get_all_samples()
        return _at_rate(decoded.data, decoded.sample_rate, sr)
    if not isinstance(audio, Mapping):
        return audio
    if audio.get("array") is not None and audio.get("sampling_rate") is not None:
        return _at_rate(audio["array"], audio["sampling_rate"], sr)
    for name in ("bytes", "path"):
        if audio.get(name) is not None:
            return audio[name]
    raise AudioError(
        f"got a dict with the keys {sorted(map(str, audio))}; expected 'array' and "
        "'sampling_rate', or 'bytes' or 'path'"
    )


def _at_rate(array: Any, rate: float, sr: int) -> Any:
    """Samples at another rate, every channel: (samples,), (samples, channels) or (channels, samples) as they came."""
    samples, rate = as_samples(array), round(float(rate))
    check_rate(rate, "the array")
    if rate == sr or samples.ndim == 1:
        return samples if rate == sr else resample(samples, rate, sr)
    channels = samples if samples.shape[0] < samples.shape[1] else samples.T
    return np.stack([resample(np.ascontiguousarray(channel), rate, sr) for channel in channels])
