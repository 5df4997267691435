"""The log-mel spectrogram of a recording of any length, window by window, in memory that does not grow with it.

Whisper raises everything more than 80 dB below the loudest moment of the whole file to there, so the file is read
twice: once for its length and its loudest value, and again, from the start, as windows are asked for. The windows equal
those of `log_mel_spectrogram` of the whole file bit for bit.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from npwhisper.audio.sound import (
    HOP_LENGTH,
    N_FRAMES,
    N_SAMPLES,
    SAMPLE_RATE,
    Blocks,
    compress,
    mel_blocks,
    mel_filters,
    open_blocks,
    pad_or_trim,
)
from npwhisper.tracing.seam import Array, layer


class LogMelStream:
    """Windows of the log-mel spectrogram of a recording.

    Parameters
    ----------
    audio : str, path, file object, bytes or array
        What `load_audio` takes.
    n_mels : int
        Number of mel bins.

    Attributes
    ----------
    n_frames : int
        Frames of 10 ms in the recording.
    checksum : int
        Of all samples: the same recording has the same.
    """

    def __init__(self, audio: Any, n_mels: int) -> None:
        self._filters = mel_filters(n_mels)
        (n_samples, self._loudest, self.checksum), self._restart = open_blocks(audio, SAMPLE_RATE, self._survey)
        self.n_frames = n_samples // HOP_LENGTH
        self._rewind()

    def _survey(self, blocks: Blocks) -> tuple[int, float, int]:
        """The number of samples, the largest logarithm, and the checksum."""
        n_samples = checksum = 0

        def counted() -> Blocks:
            nonlocal n_samples, checksum
            for block in blocks:
                n_samples, checksum = n_samples + len(block), zlib.crc32(block.tobytes(), checksum)
                yield block

        loudest = max(float(mel.max()) for mel in self._mel(counted()))
        return n_samples, loudest, checksum

    def _mel(self, blocks: Blocks) -> Blocks:
        return mel_blocks(blocks, self._filters, padding=N_SAMPLES)

    def _rewind(self) -> None:
        self._blocks = self.blocks()
        self._held, self._begin = np.empty((len(self._filters), 0), np.float32), 0

    def blocks(self) -> Blocks:
        """The whole recording from its start, as logarithms of power, before `compress`: (M, 3000), ..., the rest."""
        return self._mel(self._restart())

    def opening(self) -> Array:
        """The first 30 seconds, in which the language is looked for; after the end comes silence: -> (M, 3000)."""
        return compress(next(self.blocks())[:, :N_FRAMES], self._loudest)

    def window(self, start: int, size: int = N_FRAMES) -> Array:
        """At most 3000 frames from `start` on, padded with zeros to 3000: -> (M, 3000).

        Asking for what was left behind reads the recording from its start again.
        """
        if start < self._begin:
            self._rewind()
        while self._begin + self._held.shape[1] < min(start + size, self.n_frames):
            passed = max(0, min(start - self._begin, self._held.shape[1]))
            self._held = np.concatenate([self._held[:, passed:], next(self._blocks)], axis=1)
            self._begin += passed
        return window(self._held[:, start - self._begin :][:, : min(size, self.n_frames - start)], self._loudest)


@layer(name="mel")
def window(log_mel: Array, loudest: float) -> Array:
    """What the encoder gets: loudness limited relative to the whole file, zeros (which are not silence) at the end.

    (M, F) -> (M, 3000)
    """
    return pad_or_trim(compress(log_mel, loudest), N_FRAMES)
