"""Voice activity: the spectrum of speech changes many times a second.

Silence and noise have one colour (spectral shape) all the time, and so have a hum and a held note, however loud they
are; speech takes another every tenth of a second. So each moment is compared with the one 60 ms later: how differently
do the bands of the spectrum rise and fall? What all bands do together (a gust, a fading note, a gain that somebody
turns) does not count, which is also why no level of noise has to be known. Where the colour changes most of the time,
somebody speaks.

This is ours, not Whisper's: `vad=True` transcribes only these parts, since Whisper tends to hallucinate text in the
others. It errs towards speech: fast music passes, and so does whatever else keeps changing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from npwhisper.audio import FRAMES_PER_SECOND, N_FRAMES, Blocks, LogMelStream
from npwhisper.tracing.seam import Array, layer

N_BANDS = 20  # wide enough that noise is steady in each, narrow enough to tell vowels apart
SMOOTH = 5  # frames averaged: 50 ms
LAG = 6  # frames between the two moments compared: 60 ms
REACH = SMOOTH + LAG  # frames that one comparison sees
QUIET = -8.5  # logarithm of power; white noise of one step of a 16-bit file lies there, and below it all is silence
CHANGE = 1.6  # decibels; white noise stays under 1.65 in 97 of 100 frames, speech over it in 92 of 100
NEARBY = 51  # frames over which changes are counted: half a second
MOST = 0.6  # of the frames nearby; held notes, four a second, reach 0.5
MARGIN = 75  # frames kept before and after speech: soft beginnings and ends
SHORTEST_CUT = 1500  # frames; a pause is looked for in the second half of 30 seconds
STILL = 0.3  # share of changes up to which a moment is a pause
PAUSE = 200  # frames; a shorter silence is a pause between words


def find_speech(audio: Any) -> list[tuple[float, float]]:
    """Find the parts of a recording with speech.

    Parameters
    ----------
    audio : str, path, file object, bytes or array
        What `load_audio` takes; it is read in blocks.

    Returns
    -------
    list of (start, end)
        In seconds, a margin of 0.75 s included; parts less than two seconds apart are one.

    Raises
    ------
    AudioError
        If the audio cannot be read.

    Examples
    --------
    >>> import npwhisper
    >>> speech, silence = npwhisper.load_audio(npwhisper.example()), np.zeros(10 * 16000, np.float32)
    >>> [(start, end)] = npwhisper.find_speech(np.concatenate([silence, speech, silence]))
    >>> 9 < start < 11 and 20 < end < 23
    True
    """
    spans = speech_spans(LogMelStream(audio, 80))
    return [(start / FRAMES_PER_SECOND, end / FRAMES_PER_SECOND) for start, end in spans]


def speech_share(stream: LogMelStream) -> Array:
    """How much of the half second around each mel frame sounds like speech, from 0 to 1: -> (F,).

    >>> bool((speech_share(LogMelStream(np.zeros(16000, np.float32), 80)) == 0).all())
    True
    """
    changes = list(changes_of(stream.blocks()))
    changing = np.pad(np.concatenate([np.zeros(0, np.float32), *changes]) > CHANGE, REACH // 2 + NEARBY // 2)
    return np.convolve(changing, np.full(NEARBY, 1 / NEARBY), mode="valid")[: stream.n_frames]


def speech_spans(stream: LogMelStream) -> list[tuple[int, int]]:
    """The parts with speech of a recording, in mel frames: [(start, end), ...].

    >>> import npwhisper
    >>> [(start, end)] = speech_spans(LogMelStream(npwhisper.example(), 80))
    >>> start < 100, end > 1000
    (True, True)
    """
    share = speech_share(stream)
    edges = np.flatnonzero(np.diff(share > MOST, prepend=False, append=False)).tolist()
    spans = list[tuple[int, int]]()
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        start, end = max(0, start - MARGIN), min(end + MARGIN, stream.n_frames)
        if spans and start - spans[-1][1] < PAUSE:
            start = spans.pop()[0]
        spans.append((start, end))
    return spans


def is_speech(share: Array) -> bool:
    """Whether there is speech anywhere in a part of what `speech_share` returned.

    >>> is_speech(np.array([0.1, 0.9])), is_speech(np.array([0.1, 0.2]))
    (True, False)
    """
    return bool((share > MOST).any())


def cut_at_pauses(clips: Sequence[tuple[int, int]], share: Array) -> list[tuple[int, int]]:
    """Cut parts of a recording into pieces of at most 30 seconds, where least is spoken; all in mel frames.

    Parameters
    ----------
    clips : sequence of (start, end)
    share : array, shape (F,)
        From `speech_share`.

    Examples
    --------
    >>> share = np.ones(5000)
    >>> share[2400:2500] = 0
    >>> cut_at_pauses([(0, 5000)], share)
    [(0, 2450), (2450, 5000)]
    """
    pieces = list[tuple[int, int]]()
    for start, end in clips:
        while end - start > N_FRAMES:
            middle = _pause(share[start + SHORTEST_CUT : start + N_FRAMES]) + start + SHORTEST_CUT
            pieces.append((start, middle))
            start = middle
        pieces.append((start, end))
    return pieces


def _pause(share: Array) -> int:
    """The middle of the last pause; where there is none, of the frames around which least is spoken."""
    quiet = share <= max(STILL, float(share.min()) + 0.5 / NEARBY)
    edges = np.flatnonzero(np.diff(quiet, prepend=False, append=False))
    return int(edges[-2] + edges[-1]) // 2


def changes_of(blocks: Blocks) -> Iterator[Array]:
    """How much the colour changes at each frame of a stream of log-mel blocks: (M, F), ... -> (F - 10,) in all.

    >>> [change.shape for change in changes_of(iter([np.zeros((80, 3000), np.float32)]))]
    [(2990,)]
    """
    held = np.empty((N_BANDS, 0), np.float32)
    for block in blocks:
        held = np.concatenate([held, band_power(block)], axis=1)
        if held.shape[1] >= REACH:
            yield colour_change(held)
            held = held[:, 1 - REACH :]


def band_power(log_mel: Array) -> Array:
    """Mean power in each of 20 bands: (M, F) -> (20, F).

    >>> band_power(np.zeros((80, 3), np.float32)).shape
    (20, 3)
    """
    edges = np.linspace(0, len(log_mel), N_BANDS + 1).astype(np.intp)
    power = np.float32(10.0) ** np.maximum(log_mel, QUIET)
    widths = np.diff(edges)[:, None].astype(np.float32)
    return np.add.reduceat(power, edges[:-1], axis=0) / widths


@layer
def colour_change(power: Array) -> Array:
    """How differently the bands change within 60 ms, on average, in decibels: (20, F) -> (F - 10,).

    >>> bool(colour_change(np.ones((20, 12), np.float32) * np.arange(1, 13, dtype=np.float32)).max() < 1e-5)
    True
    """
    n = power.shape[1] - SMOOTH + 1
    level = 10.0 * np.log10(np.sum([power[:, i : n + i] for i in range(SMOOTH)], axis=0))
    change = level[:, LAG:] - level[:, :-LAG]
    return np.abs(change - change.mean(axis=0)).mean(axis=0)
