"""Mixing the channels of a recording to one, as ffmpeg does: the centre, where speech is, louder than the surround."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from npwhisper.tracing.seam import Array

# Of a speaker in front, in the centre, at the side or behind, and of the one for low effects (libswresample's defaults)
WEIGHTS = {"F": 1.0, "C": 2.0**0.5, "S": 0.5**0.5, "X": 0.0}
MASK = "FFCXSSFFSSS"  # the speakers of a WAV file's channel mask, from its lowest bit on
LAYOUTS = {3: "FFX", 4: "FFCS", 5: "FFCSS", 6: "FFCXSS", 7: "FFCXSSS", 8: "FFCXSSSS"}
FLAC = {**LAYOUTS, 3: "FFC", 4: "FFSS"}
OGG = {3: "FCF", 4: "FFSS", 5: "FCFSS", 6: "FCFSSX", 7: "FCFSSSX", 8: "FCFSSSSX"}


def mix(samples: Array, weights: Array) -> Array:
    """Add the channels: (samples, channels), (channels,) -> (samples,); equal weights are an average."""
    if len(set(weights.tolist())) == 1:
        return samples.mean(axis=1, dtype=np.float32)
    return samples @ weights


def mix_weights(sound: Any) -> Array:
    """What each channel of an open `soundfile.SoundFile` counts: -> (channels,), together 1."""
    return weights_of(sound.format, sound.channels, _mask(sound))


def weights_of(form: str, n_channels: int, mask: int = 0) -> Array:
    """What each channel counts in a format, if its channel mask is unknown (0) or not.

    >>> weights_of("OGG", 6).round(2)  # left, centre, right, two behind, low effects
    array([0.21, 0.29, 0.21, 0.15, 0.15, 0.  ], dtype=float32)
    """
    layout = {"FLAC": FLAC, "OGG": OGG}.get(form, LAYOUTS).get(n_channels, "F" * n_channels)
    told = "".join(speaker for bit, speaker in enumerate(MASK) if mask >> bit & 1)
    weights = np.array([WEIGHTS[speaker] for speaker in (told if len(told) == n_channels else layout)])
    if not weights.any():
        weights = np.ones(n_channels)
    return (weights / weights.sum()).astype(np.float32)


def _mask(sound: Any) -> int:
    """The channel mask of an extensible WAV file, which soundfile tells in its log only; 0 if there is none."""
    found = re.search(r"Channel Mask *: *0x([0-9A-Fa-f]+)", sound.extra_info) if sound.format == "WAVEX" else None
    return int(found[1], 16) if found else 0
