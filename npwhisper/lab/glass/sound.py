"""The sound of a window: spectrogram, waveform, and an audio file that browsers can play."""

from __future__ import annotations

import io

import numpy as np

from npwhisper.audio import HOP_LENGTH, SAMPLE_RATE
from npwhisper.audio.wav import wav_bytes
from npwhisper.lab.glass.packing import Part, levels
from npwhisper.tracing.seam import Array

OUTLINE = 1200  # columns of the waveform


def spectrogram(mel: Array, seconds: float) -> Part:
    """The log-mel spectrogram (M, F) without its padding."""
    low, high = float(mel.min()), float(mel.max())
    frames = round(seconds * SAMPLE_RATE / HOP_LENGTH)
    picture = levels(mel[:, :frames] - low, max(high - low, 1e-12))
    return {"mel": {"low": low, "high": high, "frames": frames}}, {"mel": picture}


def waveform(samples: Array) -> dict[str, Array]:
    """The samples (N,) as an audio file, and the peaks of up to 1200 equal pieces."""
    bins = np.array_split(np.abs(samples), min(OUTLINE, max(1, len(samples))))
    loud = np.array([part.max() if len(part) else 0.0 for part in bins], np.float32)
    outline = levels(loud, float(loud.max()) or 1.0)
    return {"sound": np.frombuffer(encoded(samples), np.uint8), "outline": outline}


def encoded(samples: Array) -> bytes:
    """The samples as 16-bit FLAC, or as WAV where libsndfile is missing."""
    samples, file = np.clip(samples, -1, 1), io.BytesIO()
    try:
        import soundfile
    except ModuleNotFoundError:  # in a browser
        return wav_bytes(samples)
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()
