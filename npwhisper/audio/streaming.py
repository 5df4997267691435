"""The log-mel spectrogram of a recording of any length, window by window, in memory that does not grow with it.

Whisper raises everything that is more than 80 dB below the loudest moment of the whole file to that level, so no
window is available before the whole file has been read. The recording is read once, and its spectrogram is kept: in
memory up to half an hour, beyond that in a temporary file (115 MB an hour). The windows equal those of
`log_mel_spectrogram` of the whole file bit for bit.
"""

from __future__ import annotations

import tempfile
import weakref
import zlib
from typing import Any

import numpy as np

from npwhisper.audio.files import checked_choice, limited, open_blocks
from npwhisper.audio.mel import compress, mel_blocks, mel_filters
from npwhisper.audio.samples import pad_or_trim
from npwhisper.audio.units import HOP_LENGTH, N_FRAMES, N_SAMPLES, SAMPLE_RATE, Blocks
from npwhisper.tracing.seam import Array, layer

IN_MEMORY = 1 << 26  # bytes of a spectrogram; a larger one goes to a temporary file


class LogMelStream:
    """Windows of the log-mel spectrogram of a recording.

    Parameters
    ----------
    audio : str, path, file object, bytes or array
        What `load_audio` takes; it is read once.
    n_mels : int
        Number of mel bins.
    channel, audio_track, max_duration : optional
        As for `load_audio`.

    Attributes
    ----------
    n_frames : int
        Frames of 10 ms in the recording.
    checksum : int
        Of all samples: the same recording has the same.
    """

    def __init__(
        self,
        audio: Any,
        n_mels: int,
        *,
        channel: str | int | None = None,
        audio_track: int | None = None,
        max_duration: float | None = None,
    ) -> None:
        chosen = checked_choice(channel, audio_track)
        self._filters, self._n_blocks, self._longest = mel_filters(n_mels), 0, max_duration
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        (n_samples, self._loudest, self.checksum), _ = open_blocks(audio, SAMPLE_RATE, self._read, chosen)
        self.n_frames = n_samples // HOP_LENGTH

    def _read(self, blocks: Blocks) -> tuple[int, float, int]:
        """Keep the spectrogram; -> the number of samples, the largest logarithm, and the checksum."""
        n_samples = checksum = 0
        self._file.truncate(0)  # a second reader may try where the first one failed
        self._file.seek(0)
        self._n_blocks, loudest = 0, -np.inf

        def counted() -> Blocks:
            nonlocal n_samples, checksum
            for block in limited(blocks, self._longest):
                n_samples, checksum = n_samples + len(block), zlib.crc32(block.tobytes(), checksum)
                yield block

        for mel in mel_blocks(counted(), self._filters, padding=N_SAMPLES):
            self._file.write(np.ascontiguousarray(mel, np.float32).tobytes())
            self._n_blocks, loudest = self._n_blocks + 1, max(loudest, float(mel.max()))
        return n_samples, loudest, checksum

    def blocks(self) -> Blocks:
        """The whole recording from its start, as logarithms of power, before `compress`: (M, 3000), ..., the rest."""
        return map(self._block, range(self._n_blocks))

    def _block(self, i: int) -> Array:
        """The frames from 3000 i on: (M, 3000), or fewer at the end."""
        n_mels = len(self._filters)
        self._file.seek(i * n_mels * N_FRAMES * 4)
        data = self._file.read(n_mels * N_FRAMES * 4)
        return np.frombuffer(data, np.float32).reshape(n_mels, -1)

    def opening(self) -> Array:
        """The first 30 seconds; after the end of the recording comes silence: -> (M, 3000)."""
        return compress(self._block(0), self._loudest)

    def window(self, start: int, size: int = N_FRAMES) -> Array:
        """At most 3000 frames from `start` on, padded with zeros to 3000: -> (M, 3000)."""
        end = max(start, min(start + size, self.n_frames))
        first, last = start // N_FRAMES, max(start, end - 1) // N_FRAMES
        frames = np.concatenate([self._block(i) for i in range(first, last + 1)], axis=1)
        return window(frames[:, start - first * N_FRAMES : end - first * N_FRAMES], self._loudest)


@layer(name="mel")
def window(log_mel: Array, loudest: float) -> Array:
    """What the encoder gets: loudness limited relative to the whole file, zeros (which are not silence) at the end.

    (M, F) -> (M, 3000)

    >>> window(np.zeros((80, 100), np.float32), loudest=0.0).shape
    (80, 3000)
    """
    return pad_or_trim(compress(log_mel, loudest), N_FRAMES)
