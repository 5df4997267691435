"""The units of sound in Whisper: rates, frames and windows; and the errors and types that its readers share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

from npwhisper.tracing.seam import Array

SAMPLE_RATE = 16000  # samples in a second
N_FFT = 400  # samples in a frame: 25 ms
HOP_LENGTH = 160  # samples from one frame to the next: 10 ms
CHUNK_LENGTH = 30  # seconds in a window, the piece of sound the encoder takes
N_SAMPLES = CHUNK_LENGTH * SAMPLE_RATE  # 480000 samples in a window
N_FRAMES = N_SAMPLES // HOP_LENGTH  # 3000 frames in a window
N_SAMPLES_PER_TOKEN = HOP_LENGTH * 2  # the encoder's second convolution has stride 2
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 100
TOKENS_PER_SECOND = SAMPLE_RATE // N_SAMPLES_PER_TOKEN  # 50: one audio position, or one timestamp step, is 20 ms

READ_BLOCK = 1 << 18  # samples handled at a time: so that a long file is never in memory with all its channels
SLOWEST, FASTEST = 1_000, 768_000  # sampling rates accepted, in Hz

Blocks: TypeAlias = Iterator[Array]
AudioInput: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Array


class AudioError(ValueError):
    """This cannot be read as sound; the message says why and what to do."""


class AudioWarning(UserWarning):
    """A recording is not what was expected: truncated, damaged, of several sound tracks; what can be read is used."""


def name_of(source: str | bytes) -> str:
    """Name a source in a message; `repr` also shows names that are not UTF-8.

    >>> name_of("talk.mp3"), name_of(b"RIFF")
    ("'talk.mp3'", 'the audio given as 4 bytes')
    """
    return repr(source) if isinstance(source, str) else f"the audio given as {len(source)} bytes"


def check_rate(rate: int, name: str) -> None:
    """Raise AudioError for a sampling rate at which nobody records sound.

    >>> check_rate(5, "'talk.wav'")
    Traceback (most recent call last):
    npwhisper.audio.units.AudioError: 'talk.wav' has a sampling rate of 5 Hz, but 1000 to 768000 Hz are accepted
    """
    if not SLOWEST <= rate <= FASTEST:
        raise AudioError(f"{name} has a sampling rate of {rate} Hz, but {SLOWEST} to {FASTEST} Hz are accepted")
