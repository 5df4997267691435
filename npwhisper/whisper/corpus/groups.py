"""Short recordings: with `batch_size`, a group of them fills the batches that each alone would leave half empty.

A recording that fails does so alone. Its place in the manifest, its transcripts and its text do not depend on its
neighbours; its scores do after the fifth digit, because a product of other rows is rounded differently.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence

from npwhisper.decoding.options import TranscribeOptions
from npwhisper.transcription.batch import BatchedTranscription
from npwhisper.transcription.several import Stream, transcribe_together
from npwhisper.transcription.windows import Segment
from npwhisper.whisper.corpus.job import Job, begin_work, begun, failed, finished, model_of, sentence, warnings_told
from npwhisper.whisper.corpus.manifest import Entry
from npwhisper.whisper.corpus.parts import Plan
from npwhisper.whisper.corpus.recordings import Recording
from npwhisper.whisper.corpus.single import transcribe_recording

SHORT = 1 << 20  # bytes; nothing is opened to find out how long a recording is


def in_groups(recordings: Sequence[Recording], job: Job) -> list[tuple[Recording, ...]]:
    """Each recording alone, or, with `batch_size`, as many short ones together; in their order, the short ones last."""
    n = job.batch_size or 1
    short = [recording for recording in recordings if recording.size < SHORT]
    long = [(recording,) for recording in recordings if recording.size >= SHORT]
    return [*long, *(tuple(short[i : i + n]) for i in range(0, len(short), n))]


def transcribe_group(recordings: Sequence[Recording], job: Job) -> list[Entry | Plan]:
    """Transcribe short recordings side by side; what comes to no result among others is tried alone."""
    start, group = begin_work(job), _Group(recordings, job)
    options = TranscribeOptions.from_keywords(**job.options)
    with contextlib.suppress(Exception):  # from decoding: whose it is shows when each is alone
        transcribe_together(group.streams(options), options, group.done)
    _share_out(time.perf_counter() - start, group.entries.values())
    return [group.entries.get(recording.path) or transcribe_recording(recording, job) for recording in recordings]


def _share_out(seconds: float, entries: Iterable[Entry]) -> None:
    """Give each recording that is done its part of a group's time, by duration."""
    done = [entry for entry in entries if entry["status"] == "done"]
    total = sum(entry["duration"] for entry in done)
    for entry in done:
        entry["seconds"] = round(seconds * entry["duration"] / total, 3) if total else 0.0


class _Group:
    """Recordings under way, and the entries of those that are finished, by path."""

    def __init__(self, recordings: Sequence[Recording], job: Job) -> None:
        self.recordings, self.job, self.entries = recordings, job, dict[str, Entry]()
        self._begun = dict[Stream, tuple[Entry, list[str]]]()  # with warnings

    def streams(self, options: TranscribeOptions) -> Iterator[BatchedTranscription]:
        """Open one recording after the other; those that cannot be opened have failed."""
        for recording in self.recordings:
            start = time.perf_counter()
            try:
                entry = begun(recording, self.job)
                with warnings_told() as told:
                    stream = BatchedTranscription(model_of(self.job), recording.path, options)
                    stream.prepare()
            except Exception as error:
                self.entries[recording.path] = failed(recording, self.job, sentence(error), start)
                continue
            self._begun[stream] = entry, told
            yield stream

    def done(self, stream: Stream, segments: list[Segment]) -> None:
        """Write the transcripts of a recording."""
        entry, told = self._begun.pop(stream)
        result = {"text": stream.text, "segments": segments, "language": stream.language}
        self.entries[entry["path"]] = finished(entry, result, stream.duration, told, self.job)
