"""Decoding with libsndfile, piece by piece, on past damage."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np

from npwhisper.audio.damage import warn_of_missing
from npwhisper.audio.resampling import resample_blocks
from npwhisper.audio.samples import checked_blocks, joined
from npwhisper.audio.units import Blocks, check_rate, name_of

PIECE = 1 << 12  # samples decoded at a time: as much is lost where a file is damaged


def soundfile_blocks(source: str | bytes, sr: int) -> Blocks:
    """Decode, average the channels and resample block by block."""
    import soundfile

    # opened here, because soundfile itself refuses names that are not UTF-8
    with open(source, "rb") if isinstance(source, str) else io.BytesIO(source) as stream:
        with soundfile.SoundFile(stream) as sound:
            rate, n_announced = sound.samplerate, _announced(sound)
        check_rate(rate, name_of(source))
        mono = (piece.mean(axis=1, dtype=np.float32) for piece in _pieces(stream, name_of(source), n_announced))
        yield from resample_blocks(checked_blocks(joined(mono), source), rate, sr)


def _pieces(stream: BinaryIO, name: str, n_announced: int) -> Blocks:
    """Decode in pieces of (samples, channels); silence stands for those that are damaged, and a warning tells of them.

    libsndfile cannot go on after damage, so the file is opened again and decoded from a place behind it.
    """
    import soundfile

    at, gap, n_read, failure, sound = 0, 0, 0, None, None
    while sound is None or at + gap < sound.frames:
        stream.seek(0)
        with soundfile.SoundFile(stream) as sound:
            sound.seekable = lambda: False  # soundfile would seek after every read, at which mp3 stumbles
            try:
                if gap:
                    sound.seek(at + gap)
                while len(piece := sound.read(PIECE, dtype="float32", always_2d=True)):
                    if gap:
                        yield np.zeros((gap, sound.channels), np.float32)
                    yield piece
                    at, gap, n_read = at + gap + len(piece), 0, n_read + len(piece)
                break
            except soundfile.SoundFileError as error:
                if not n_read:
                    raise
                gap, failure = max(PIECE, 2 * gap), failure or error
    reason = getattr(failure, "error_string", str(failure)).rstrip(".")
    damage = f"libsndfile says {reason!r}" if failure else None
    warn_of_missing(name, sound.samplerate, n_read, n_announced, damage)


def _announced(sound: Any) -> int:
    """How many samples the header tells of.

    Of uncompressed files, libsndfile gives what there is, and tells in its log what the header said. 0 if that is a
    number of those that programs put there which do not know yet.
    """
    import re

    sizes = re.search(r"(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", sound.extra_info)
    announced, found = (int(size) for size in sizes.groups()) if sizes else (1, 1)
    return int(sound.frames) * announced // max(found, 1) if announced < 0x7FFF0000 else 0
