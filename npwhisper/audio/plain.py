"""Reading WAV and FLAC without libsndfile, as in a browser, whose own decoder reads the other formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from npwhisper.audio.damage import warn_of_missing
from npwhisper.audio.flac import flac_sound
from npwhisper.audio.mixing import Channel, mix, weights_of
from npwhisper.audio.resampling import resample_blocks
from npwhisper.audio.samples import checked_blocks, joined
from npwhisper.audio.units import AudioError, Blocks, check_rate, name_of
from npwhisper.audio.wav import Sound, wav_sound
from npwhisper.tracing.seam import Array


def plain_blocks(source: str | bytes, sr: int, channel: Channel = None) -> Blocks:
    """Decode, mix the channels or choose one, and resample block by block; at the end, warn of what is missing."""
    sound, name = _sound(source), name_of(source)
    check_rate(sound.rate, name)
    n_read = [0]
    pieces = _mono(sound, channel, n_read)
    yield from checked_blocks(resample_blocks(joined(pieces), sound.rate, sr), source)
    damage = "; ".join(sound.damage) or None
    warn_of_missing(name, n_read[0] / sound.rate, sound.announced / sound.rate, damage)


def plain_channels(source: str | bytes) -> int:
    """The number of channels of a file."""
    return next((piece.shape[1] for piece in _sound(source).pieces), 0)


def _sound(source: str | bytes) -> Sound:
    """The contents of the file, not yet decoded."""
    data, name = Path(source).read_bytes() if isinstance(source, str) else source, name_of(source)
    sound = wav_sound(data) or flac_sound(data)
    if sound is None:
        raise AudioError(
            f"{name} cannot be read: without libsndfile only wav and flac are; install soundfile, convert the file to "
            "wav, or, in a browser, let the page decode it and give the samples"
        )
    return sound


def _mono(sound: Sound, channel: Channel, n_read: list[int]) -> Iterator[Array]:
    """Mix every piece, and count its samples."""
    for piece in sound.pieces:
        n_read[0] += len(piece)
        yield mix(np.ascontiguousarray(piece), weights_of(sound.form, piece.shape[1], sound.mask, channel))
