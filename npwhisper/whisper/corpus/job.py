"""What all pieces of work have in common: the job, how a process begins, and what the manifest says of a recording.

A recording that cannot be transcribed fails alone: its error becomes a sentence of the manifest.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from npwhisper.compute.threads import set_num_threads
from npwhisper.tokenizer import UNSPACED
from npwhisper.transcription.output.writers import FORMATS, write_text
from npwhisper.whisper import Whisper
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
    settings: str  # a checksum of all that determines a transcript
    part: int  # mel frames of a part of a long recording

    def __hash__(self) -> int:
        return hash(self.settings)

    @property
    def batch_size(self) -> int | None:
        """How many windows are decoded together, if recordings are cut at pauses, one transcript for each."""
        return None if self.options.get("channels") == "separate" else self.options.get("batch_size")


def begin_work(job: Job) -> float:
    """What a process does before each piece of work; -> the time at which it begins."""
    _leave_interrupts_to_the_parent()
    set_num_threads(job.num_threads)
    return time.perf_counter()


def model_of(job: Job) -> Whisper:
    """The model, opened once; a machine of a cluster that lacks the weights makes them from its name or path."""
    path = Path(job.weights)
    if not path.exists() and job.model is not None:
        shared_weights(job.model, path.parent)
    return open_shared(str(path))


@contextlib.contextmanager
def warnings_told() -> Iterator[list[str]]:
    """Collect the warnings of a block, each once."""
    told = list[str]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield told
        finally:
            told += dict.fromkeys(str(warning.message) for warning in caught)


def begun(recording: Recording, job: Job) -> Entry:
    """The beginning of every entry: which recording, and with which settings."""
    return {**recording._asdict(), **identity(recording.path), "settings": job.settings}


def finished(begun: Entry, result: Mapping[str, Any], duration: float, told: Sequence[str], job: Job) -> Entry:
    """Write the transcripts of a recording; -> its entry, which lacks only its ``seconds``."""
    for ending in job.formats:
        write_text(Path(job.folder) / f"{begun['name']}.{ending}", FORMATS[ending](result, **job.subtitles))
    warned = {"warnings": list(dict.fromkeys(told))} if told else {}
    return {**begun, "status": "done", **summary(result, duration), **warned}


def failed(recording: Recording, job: Job, reason: str, start: float | None = None) -> Entry:
    """The entry of a recording that could not be transcribed."""
    found: Entry = {"size": 0, "modified": 0, "sha256": ""}
    with contextlib.suppress(OSError):
        found = identity(recording.path)
    seconds = 0.0 if start is None else round(time.perf_counter() - start, 3)
    place = {**recording._asdict(), **found, "settings": job.settings}
    return {**place, "status": "failed", "error": reason, "seconds": seconds}


def summary(result: Mapping[str, Any], duration: float) -> Entry:
    """What the manifest says of a transcript.

    Returns
    -------
    dict
        ``duration`` in seconds, ``language``, ``words`` (their number; characters where a language writes no spaces)
        and ``avg_logprob``, the mean over all tokens, or None without any; its four decimals hardly ever depend on the
    recordings that share a batch.

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
        "avg_logprob": None if mean is None else round(mean, 4),
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
