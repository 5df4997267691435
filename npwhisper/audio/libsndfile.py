"""Decoding with libsndfile, link by link and piece by piece, continuing after damage."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from npwhisper.audio.damage import warn_of_missing
from npwhisper.audio.endings import ending
from npwhisper.audio.flac_frames import flac_links
from npwhisper.audio.links import Link, Reader
from npwhisper.audio.mixing import Channel, mix, mix_weights
from npwhisper.audio.mp3 import mp3_links
from npwhisper.audio.ogg import ogg_links
from npwhisper.audio.open_ended import PLACEHOLDER_AIFF, open_ended_links
from npwhisper.audio.resampling import resample_blocks
from npwhisper.audio.samples import checked_blocks, joined
from npwhisper.audio.sphere import sphere_links
from npwhisper.audio.units import READ_BLOCK, Blocks, check_rate, name_of
from npwhisper.audio.wav import wav_links
from npwhisper.tracing.seam import Array

PIECE = 1 << 12  # samples decoded at a time, which are lost where a file is damaged
SIZES = "data|SSND|BODY|Data Size|Data length|riff|Riff size"  # what libsndfile calls the size in a header
LONG = ("RF64", "W64", "CAF")  # whose sizes have 64 bits
UNKNOWN = 1 << 62  # libsndfile reports about 2^63 samples if the header states no number


@dataclass
class Tally:
    """Seconds read, seconds expected, and what is damaged."""

    read: float = 0.0
    announced: float = 0.0
    damage: list[str] = field(default_factory=list)

    def add(self, read: float, announced: float, *damage: str | None) -> None:
        """Count one link."""
        self.read, self.announced = self.read + read, self.announced + announced
        self.damage += filter(None, damage)


def soundfile_blocks(source: str | bytes, sr: int, channel: Channel = None) -> Blocks:
    """Decode, mix the channels or choose one, and resample block by block; at the end, warn of what is missing."""
    # opened here, because soundfile itself refuses names that are not UTF-8
    with open(source, "rb") if isinstance(source, str) else io.BytesIO(source) as stream:
        tally, data = Tally(), Reader(stream)
        links = _links(data)
        pieces = itertools.chain.from_iterable(_mono(stream, link, tally, channel) for link in links or _whole(data))
        yield from checked_blocks(_resampled(pieces, name_of(source), sr), source)
        damage = filter(None, [None if links else ending(data), *tally.damage])
        warn_of_missing(name_of(source), tally.read, tally.announced, "; ".join(damage) or None)


def soundfile_channels(source: str | bytes) -> int:
    """The number of channels; if links differ, the largest."""
    import soundfile

    n_channels = 0
    with open(source, "rb") if isinstance(source, str) else io.BytesIO(source) as stream:
        data = Reader(stream)
        for link in _links(data) or _whole(data):
            with soundfile.SoundFile(link.open(stream)) as sound:
                n_channels = max(n_channels, sound.channels)
    return n_channels


def _links(data: Reader) -> list[Link]:
    """The parts to be decoded one after another; none if libsndfile is right about the file."""
    for links_of in (mp3_links, ogg_links, wav_links, flac_links, open_ended_links, sphere_links):
        if links := links_of(data):
            return links
    return []


def _whole(data: Reader) -> list[Link]:
    return [Link([range(data.size)])]


def _resampled(pieces: Iterator[tuple[int, Array]], name: str, sr: int) -> Blocks:
    """Resample pieces, each given with its rate: the links of a chain may differ."""
    for rate, group in itertools.groupby(pieces, key=lambda piece: piece[0]):
        check_rate(rate, name)
        yield from resample_blocks(joined(samples for _, samples in group), rate, sr)


def _mono(stream: BinaryIO, link: Link, tally: Tally, channel: Channel) -> Iterator[tuple[int, Array]]:
    """Decode in pieces of mono samples, with their rate; damaged ones become silence.

    libsndfile cannot continue after damage, so the file is reopened and decoded from a later position. There is
    at most as much silence as sound, plus a minute: a header may announce hours that a small file cannot hold.
    """
    import soundfile

    at, gap, n_read, failure, n_frames, rate, announced = 0, 0, 0, None, 1, 1, 0.0
    while at + gap < n_frames:
        try:
            with soundfile.SoundFile(link.open(stream)) as sound:
                rate, n_frames = sound.samplerate, sound.frames
                announced = link.announced or _announced(sound) / rate
                for piece in _pieces(sound, at + gap, channel):
                    yield from _silence(rate, min(gap, n_read + 60 * rate))
                    yield rate, piece
                    at, gap, n_read = at + gap + len(piece), 0, n_read + len(piece)
            break
        except soundfile.SoundFileError as error:
            if not n_read and not tally.read:
                raise
            gap, failure = max(PIECE, 2 * gap), failure or error
    tally.add(n_read / rate - link.silence, announced, link.damage, failure and f"libsndfile says {said(failure)!r}")


def said(error: Exception) -> str:
    """The reason that an error of soundfile gives."""
    return str(getattr(error, "error_string", str(error))).rstrip(".")


def _pieces(sound: Any, start: int, channel: Channel) -> Blocks:
    """Decode from a given position and mix the channels."""
    weights = mix_weights(sound, channel)
    sound.seekable = lambda: False  # soundfile would seek after every read, at which mp3 stumbles
    if start:
        sound.seek(start)
    while len(piece := sound.read(PIECE, dtype="float32", always_2d=True)):
        yield mix(piece, weights)


def _silence(rate: int, n_samples: int) -> Iterator[tuple[int, Array]]:
    """Zeros in pieces."""
    for start in range(0, n_samples, READ_BLOCK):
        yield rate, np.zeros(min(READ_BLOCK, n_samples - start), np.float32)


def _announced(sound: Any) -> int:
    """The number of samples that the header announces.

    For uncompressed files, libsndfile reports what is there and logs what the header says. 0 if the header holds one of
    the placeholders that programs write while the length is unknown.
    """
    import re

    sizes = re.search(rf"(?:{SIZES}) *:? (\d+) \(?should be (\d+)", sound.extra_info)
    announced, found = (int(size) for size in sizes.groups()) if sizes else (1, 1)
    placeholder = UNKNOWN if sound.format in LONG else PLACEHOLDER_AIFF if sound.format == "AIFF" else 0x7FFF0000
    if sound.frames > UNKNOWN or announced >= placeholder:
        return 0
    return int(sound.frames) * announced // max(found, 1)
