"""Long recordings: with `batch_size` their cuts do not depend on each other, so several processes can share them.

A part is some cuts in a row, about ten minutes, by a rule that knows only the recording, so the transcript does not
depend on the number of processes. Each process opens the whole recording, because the loudest moment of the whole file
limits every window, which takes a hundredth of the time that its transcription does.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np

from npwhisper.decoding.options import TranscribeOptions
from npwhisper.transcription.batch import BatchedTranscription
from npwhisper.transcription.separate import numbered
from npwhisper.transcription.windows import Segment
from npwhisper.whisper.corpus.job import Job, begin_work, finished, model_of, sentence, warnings_told
from npwhisper.whisper.corpus.manifest import Entry

PART = 60_000  # mel frames: ten minutes, a minute of computing; opening an hour takes tiny.en three seconds
Cuts = Sequence[tuple[int, int]]


class Plan(NamedTuple):
    """A recording that is transcribed in parts, and what all of them must know."""

    begun: Entry
    duration: float
    language: str
    checksum: int  # of the samples
    cuts: Cuts
    edges: Sequence[int]  # the cuts with which parts begin, and the number of cuts
    told: Sequence[str]  # warnings
    seconds: float

    def __hash__(self) -> int:
        return self.checksum

    @property
    def parts(self) -> list[Part]:
        """All parts, in order."""
        return [Part(self, first, end) for first, end in pairwise(self.edges)]


class Part(NamedTuple):
    """The cuts of a recording from `first` to before `end`."""

    plan: Plan
    first: int
    end: int


class Piece(NamedTuple):
    """What became of a part: its segments, or an error."""

    segments: Sequence[Segment]
    spoken: Sequence[tuple[str, float]]  # windows that have a language each: the language, and seconds
    told: Sequence[str]
    seconds: float
    error: str | None


def edges_of(cuts: Cuts, part: int) -> list[int]:
    """Where parts of about so many mel frames begin, in numbers of cuts, and the number of cuts.

    >>> edges_of([(0, 20), (20, 40), (60, 80), (80, 100), (100, 120)], part=30)
    [0, 2, 4, 5]
    >>> edges_of([(0, 20), (20, 40)], part=30)
    [0, 2]
    """
    before = np.cumsum([0, *(end - start for start, end in cuts)])
    n_parts = max(1, round(int(before[-1]) / part))
    edges = np.searchsorted(before, before[-1] * np.arange(n_parts) / n_parts)
    return sorted({0, len(cuts), *edges.tolist()})


def transcribe_part(part: Part, job: Job) -> Piece:
    """Transcribe a part of a recording; an error becomes a sentence."""
    start, plan = begin_work(job), part.plan
    try:
        with warnings_told() as told:
            stream = _opened(plan, job).part(part.first, part.end)
            segments = list(stream)
    except Exception as error:
        return Piece([], [], [], time.perf_counter() - start, sentence(error))
    spoken = [(decision.language, decision.end - decision.start) for decision in stream.decisions]
    spoken = spoken if stream.detects_every_window else []
    return Piece(segments, spoken, told, time.perf_counter() - start, None)


@functools.lru_cache(maxsize=1)
def _opened(plan: Plan, job: Job) -> BatchedTranscription:
    """The whole recording, opened once by each process for all parts that it transcribes."""
    options = TranscribeOptions.from_keywords(**job.options)
    whole = BatchedTranscription(model_of(job), plan.begun["path"], options)
    whole.cuts, whole.first_language = list(plan.cuts), plan.language
    whole.prepare()
    if whole.mel.checksum != plan.checksum:
        raise ValueError("the recording was changed while it was transcribed: run again")
    return whole


def close_recording() -> None:
    """Let the recording go that this process has opened for its parts."""
    _opened.cache_clear()


def joined(pieces: Iterable[tuple[Part, Piece]], job: Job) -> Iterator[Entry]:
    """Entries of recordings whose parts are complete; takes each part with what became of it, in any order."""
    found = dict[str, dict[int, Piece]]()
    for (plan, first, _), piece in pieces:
        mine = found.setdefault(plan.begun["path"], {})
        mine[first] = piece
        if len(mine) == len(plan.edges) - 1:
            del found[plan.begun["path"]]
            yield _entry(plan, [mine[first] for first in sorted(mine)], job)


def _entry(plan: Plan, pieces: Sequence[Piece], job: Job) -> Entry:
    """Write the transcript of a recording; if one of its parts failed, so did the recording."""
    seconds = round(plan.seconds + sum(piece.seconds for piece in pieces), 3)
    error = next((piece.error for piece in pieces if piece.error is not None), None)
    if error is None:
        told = [*plan.told, *chain.from_iterable(piece.told for piece in pieces)]
        try:
            return {**finished(plan.begun, _result(plan, pieces, job), plan.duration, told, job), "seconds": seconds}
        except Exception as failure:
            error = sentence(failure)
    return {**plan.begun, "status": "failed", "error": error, "seconds": seconds}


def _result(plan: Plan, pieces: Sequence[Piece], job: Job) -> dict[str, Any]:
    segments = list(numbered(chain.from_iterable(piece.segments for piece in pieces)))
    tokens = [token for segment in segments for token in segment["tokens"]]
    spoken = dict[str, float]()
    for language, seconds in chain.from_iterable(piece.spoken for piece in pieces):
        spoken[language] = spoken.get(language, 0.0) + seconds
    language = max(spoken, key=spoken.__getitem__, default=plan.language)
    return {"text": model_of(job).tokenizer.decode(tokens), "segments": segments, "language": language}
