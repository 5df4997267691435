"""Mixing the channels of a recording to one, as ffmpeg does: the centre, where speech is, louder than the surround."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from npwhisper.audio.units import AudioError
from npwhisper.tracing.seam import Array

Channel: TypeAlias = str | int | None


class Chosen(NamedTuple):
    """Which part of a recording is read: one channel, or None for a mix of all; a sound track, or None for the best."""

    channel: Channel = None
    track: int | None = None


EVERYTHING = Chosen()
NAMES = ("left", "right", "centre", "center")
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


def check_channel(channel: Channel) -> None:
    """Raise AudioError for a value that names no channel."""
    number = isinstance(channel, int) and not isinstance(channel, bool) and channel >= 0
    if channel is None or number or (isinstance(channel, str) and channel in NAMES):
        return
    raise AudioError(f"channel must be 'left', 'right', 'centre', a number from 0, or None for all; got {channel!r}")


def check_track(track: int | None) -> None:
    """Raise AudioError for a value that is not the number of a sound track."""
    if track is not None and (isinstance(track, bool) or not isinstance(track, int) or track < 0):
        raise AudioError(f"audio_track must be a whole number from 0, or None for the best; got {track!r}")


def mix_weights(sound: Any, channel: Channel = None) -> Array:
    """The weight of each channel of an open `soundfile.SoundFile`: -> (channels,), with sum 1."""
    return weights_of(sound.format, sound.channels, _mask(sound), channel)


def weights_of(form: str, n_channels: int, mask: int = 0, channel: Channel = None) -> Array:
    """The weight of each channel of a format, whose channel mask is 0 if unknown; with `channel`, that one alone.

    >>> weights_of("OGG", 6).round(2)  # left, centre, right, two behind, low effects
    array([0.21, 0.29, 0.21, 0.15, 0.15, 0.  ], dtype=float32)
    """
    layout = {"FLAC": FLAC, "OGG": OGG}.get(form, LAYOUTS).get(n_channels, "F" * n_channels)
    told = "".join(speaker for bit, speaker in enumerate(MASK) if mask >> bit & 1)
    layout = told if len(told) == n_channels else layout
    if channel is not None:
        return np.eye(n_channels, dtype=np.float32)[_place(layout, channel)]
    weights = np.array([WEIGHTS[speaker] for speaker in layout])
    if not weights.any():
        weights = np.ones(n_channels)
    return (weights / weights.sum()).astype(np.float32)


def _place(layout: str, channel: str | int) -> int:
    """The index of a channel in a layout; AudioError if the layout lacks it."""
    fronts = [place for place, speaker in enumerate(layout) if speaker == "F"] if len(layout) > 1 else []
    centres = [place for place, speaker in enumerate(layout) if speaker == "C"]
    named = {"left": fronts[:1], "right": fronts[1:2], "centre": centres[:1], "center": centres[:1]}
    places = named[channel] if isinstance(channel, str) else [channel] if 0 <= channel < len(layout) else []
    if not places:
        raise AudioError(missing_channel(channel, len(layout)))
    return places[0]


def missing_channel(channel: Channel, n_channels: int) -> str:
    """The error message for a missing channel."""
    found = "one channel, number 0" if n_channels == 1 else f"{n_channels} channels, numbers 0 to {n_channels - 1}"
    return f"the recording has no channel {channel!r}: it has {found}"


def _mask(sound: Any) -> int:
    """The channel mask of an extensible WAV file, which soundfile reports only in its log; 0 if there is none."""
    found = re.search(r"Channel Mask *: *0x([0-9A-Fa-f]+)", sound.extra_info) if sound.format == "WAVEX" else None
    return int(found[1], 16) if found else 0
