"""Several recordings: with `batch_size`, the cuts of all of them fill one batch, so that short ones waste no room.

Every recording has the result that it would have alone with the same `batch_size`. Recordings are opened when there is
room for their first cut, so only those under way are in memory.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from npwhisper.audio.files import is_container, is_encoded
from npwhisper.compute.threads import using_threads
from npwhisper.decoding.options import TranscribeOptions
from npwhisper.model import Network
from npwhisper.transcription.batch import BatchedTranscription, named, run_side_by_side, start_transcription
from npwhisper.transcription.passage import Passage
from npwhisper.transcription.run import Transcription
from npwhisper.transcription.separate import SeparateChannels
from npwhisper.transcription.windows import Segment

Stream: TypeAlias = Transcription | SeparateChannels
Done: TypeAlias = Callable[[Stream, list[Segment]], None]


def is_several(audio: Any) -> bool:
    """Whether these are recordings, and not the samples of one.

    >>> is_several(["a.flac", np.zeros(9)]), is_several([0.1, 0.2]), is_several("a.flac")
    (True, False, False)
    """
    is_list = isinstance(audio, (list, tuple)) and len(audio) > 0
    return is_list and all(_is_file(x) or (isinstance(x, np.ndarray) and x.ndim > 0) for x in audio)


def is_recording(audio: Any) -> bool:
    """Whether this is sound, in a file or as samples, and not a window of a spectrogram.

    >>> is_recording("a.flac"), is_recording(np.zeros(9)), is_recording(np.zeros((80, 3000)))
    (True, True, False)
    """
    return _is_file(audio) or np.ndim(audio) < 2


def _is_file(audio: Any) -> bool:
    return is_encoded(audio) or is_container(audio)


def name_of(audio: Any, number: int) -> str:
    """What an error calls a recording: its path, or the place that it has in the list."""
    return repr(os.fspath(audio)) if isinstance(audio, (str, os.PathLike)) else f"recording {number + 1}"


def transcribe_several(model: Network, recordings: Sequence[Any], options: TranscribeOptions, done: Done) -> None:
    """Transcribe recordings; `done` is called for each with its segments, in their order.

    Raises
    ------
    ValueError
        If a journal is asked for, which is of one recording.
    AudioError, OSError, ...
        As `Transcription`; the message says which recording it is about.
    """
    if options.journal is not None:
        raise ValueError(
            f"a journal belongs to one recording, got {len(recordings)}: give each its own, or use transcribe_corpus"
        )
    if options.batch_size is None or options.channels == "separate":
        _one_by_one(model, recordings, options, done)
        return
    transcribe_together(_prepared(model, recordings, options), options, done)


def _one_by_one(model: Network, recordings: Sequence[Any], options: TranscribeOptions, done: Done) -> None:
    for number, audio in enumerate(recordings):
        try:
            stream = start_transcription(model, audio, options)
            segments = list(stream)
        except Exception as error:
            raise named(error, name_of(audio, number)) from error.__cause__
        done(stream, segments)


def transcribe_together(streams: Iterable[BatchedTranscription], options: TranscribeOptions, done: Done) -> None:
    """Fill batches with the cuts of several recordings, each of which is prepared when its first cut is needed."""
    opened: deque[tuple[BatchedTranscription, list[Segment]]] = deque()  # whose segments are not all there
    with using_threads(options.num_threads), np.errstate(under="ignore"):
        for passage, segments in run_side_by_side(_passages(streams, opened), options.batch_size or 1):
            while opened[0][0] is not passage.owner:  # passages end in order: what came before is complete
                done(*opened.popleft())
            stream, found = opened[0]
            found += stream.take(passage, segments)
        while opened:
            done(*opened.popleft())


def _passages(streams: Iterable[BatchedTranscription], opened: deque[Any]) -> Iterator[Passage]:
    """The cuts of one recording after the other."""
    for stream in streams:
        opened.append((stream, []))
        yield from stream.passages()


def _prepared(model: Network, recordings: Sequence[Any], options: TranscribeOptions) -> Iterator[BatchedTranscription]:
    """Recordings, each opened when it is asked for; an error says which one it is about."""
    for number, audio in enumerate(recordings):
        stream = BatchedTranscription(model, audio, options)
        stream.name = name_of(audio, number)
        try:
            stream.prepare()
        except Exception as error:
            raise named(error, stream.name) from error.__cause__
        yield stream
