"""What one process does: transcribe a recording, write its transcripts, and report the outcome.

A recording that cannot be transcribed fails alone: its error becomes a sentence of the manifest.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from npwhisper.compute.threads import set_num_threads
from npwhisper.tokenizer import UNSPACED
from npwhisper.transcription.output.writers import FORMATS, write_text
from npwhisper.whisper.corpus.manifest import Entry, identity
from npwhisper.whisper.corpus.recordings import Recording
from npwhisper.whisper.corpus.sharing import open_shared, shared_weights


class Job(NamedTuple):
    """What is the same for all recordings: everything that a process on another machine has to know."""

    weights: str  # the shared file
    model: str | None  # where to make that file from if this machine lacks it
    folder: str
    formats: tuple[str, ...]
    num_threads: int
    options: dict[str, Any]
    subtitles: dict[str, Any]
    settings: str


def transcribe_recording(recording: Recording, job: Job) -> Entry:
    """Transcribe one recording and write its transcripts.

    Parameters
    ----------
    recording : Recording
    job : Job

    Returns
    -------
    Entry
        The recording's line of the manifest, whether it was transcribed or failed.
    """
    _leave_interrupts_to_the_parent()
    set_num_threads(job.num_threads)
    start = time.perf_counter()
    entry: Entry = {"path": recording.path, "name": recording.name}
    try:
        entry |= identity(recording.path)
        entry |= {"settings": job.settings, **_transcribe(recording, job)}
    except Exception as error:
        entry |= {"settings": job.settings, "status": "failed", "error": sentence(error)}
    return entry | {"seconds": round(time.perf_counter() - start, 3)}


def _transcribe(recording: Recording, job: Job) -> Entry:
    model = open_shared(_weights_of(job))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stream = model.iter_segments(recording.path, **job.options)
        segments = list(stream)
    result = {"text": stream.text, "segments": segments, "language": stream.language}
    for ending in job.formats:
        write_text(Path(job.folder) / f"{recording.name}.{ending}", FORMATS[ending](result, **job.subtitles))
    told = {"warnings": list(dict.fromkeys(str(warning.message) for warning in caught))} if caught else {}
    return {"status": "done", **summary(result, stream.duration), **told}


def _weights_of(job: Job) -> str:
    """The shared weights; a machine of a cluster that lacks them makes them from the model's name or path."""
    path = Path(job.weights)
    if not path.exists() and job.model is not None:
        shared_weights(job.model, path.parent)
    return str(path)


def summary(result: dict[str, Any], duration: float) -> Entry:
    """What the manifest says of a transcript.

    Returns
    -------
    dict
        ``duration`` in seconds, ``language``, ``words`` (their number; characters where a language writes no spaces)
        and ``avg_logprob``, the mean over all tokens, or None without any.

    Examples
    --------
    >>> segment = {"text": " Good day.", "tokens": [1, 2], "avg_logprob": -0.25}
    >>> summary({"text": " Good day.", "segments": [segment], "language": "en"}, 2.0)
    {'duration': 2.0, 'language': 'en', 'words': 2, 'avg_logprob': -0.25}
    """
    weights = [len(segment["tokens"]) for segment in result["segments"]]
    scores = [segment["avg_logprob"] * n for segment, n in zip(result["segments"], weights, strict=True)]
    mean = math.fsum(scores) / sum(weights) if sum(weights) else None
    units = result["text"] if result["language"] in UNSPACED else result["text"].split()
    return {
        "duration": round(duration, 3),
        "language": result["language"],
        "words": len(units),
        "avg_logprob": None if mean is None else round(mean, 6),
    }


def sentence(error: BaseException) -> str:
    """An error as one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join((text or repr(error)).split())[:500]


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches every process of a terminal; those that work finish their recording."""
    in_child = threading.current_thread() is threading.main_thread() and _is_child()
    if in_child:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _is_child() -> bool:
    import multiprocessing

    return multiprocessing.parent_process() is not None
