"""One recording, transcribed by one process; or, if it is so long that several should share it, only looked at."""

from __future__ import annotations

import time

from npwhisper.transcription.batch import BatchedTranscription
from npwhisper.whisper.corpus.job import Job, begin_work, begun, failed, finished, model_of, sentence, warnings_told
from npwhisper.whisper.corpus.manifest import Entry
from npwhisper.whisper.corpus.parts import Plan, edges_of
from npwhisper.whisper.corpus.recordings import Recording


def transcribe_recording(recording: Recording, job: Job) -> Entry | Plan:
    """Transcribe one recording and write its transcripts.

    Parameters
    ----------
    recording : Recording
    job : Job

    Returns
    -------
    Entry or Plan
        The recording's line of the manifest, whether it was transcribed or failed. With `batch_size`, a long recording
        is not transcribed: its plan says what its parts are.
    """
    start = begin_work(job)
    try:
        found = _transcribe(recording, job)
    except Exception as error:
        return failed(recording, job, sentence(error), start)
    seconds = time.perf_counter() - start
    return found._replace(seconds=seconds) if isinstance(found, Plan) else {**found, "seconds": round(seconds, 3)}


def _transcribe(recording: Recording, job: Job) -> Entry | Plan:
    entry = begun(recording, job)
    with warnings_told() as told:
        stream = model_of(job).iter_segments(recording.path, **job.options)
        edges = edges_of(stream.cuts, job.part) if isinstance(stream, BatchedTranscription) else []
        segments = list(stream) if len(edges) <= 2 else []
    if isinstance(stream, BatchedTranscription) and len(edges) > 2:
        return Plan(entry, stream.duration, stream.language, stream.mel.checksum, stream.cuts, edges, told, 0.0)
    result = {"text": stream.text, "segments": segments, "language": stream.language}
    return finished(entry, result, stream.duration, told, job)
