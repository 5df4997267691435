"""Transcribing a corpus: what is left to do is given to processes, and each result is recorded as it comes back."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from npwhisper.checkpoint.weights import EMBEDDED
from npwhisper.compute.threads import get_num_threads, using_threads
from npwhisper.decoding.options import EVERY_WINDOW, TranscribeOptions
from npwhisper.tokenizer import check_language
from npwhisper.transcription.output.writers import FORMATS
from npwhisper.whisper import Whisper
from npwhisper.whisper.corpus.forking import load_before_forking
from npwhisper.whisper.corpus.giving import interruptible, outcomes
from npwhisper.whisper.corpus.groups import in_groups
from npwhisper.whisper.corpus.job import Job
from npwhisper.whisper.corpus.lock import locked
from npwhisper.whisper.corpus.manifest import Entry, Manifest
from npwhisper.whisper.corpus.parts import PART, Plan, close_recording, joined
from npwhisper.whisper.corpus.recordings import CorpusError, Recording, find_recordings
from npwhisper.whisper.corpus.sharing import open_shared, shared_weights
from npwhisper.whisper.outputs import require_names

Progress = Callable[[Entry], None]
LOOKED_AT = 100  # recordings whose headers tell whether processes will need the resampler


def transcribe_corpus(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str],
    model: Whisper | str | os.PathLike[str] | None = None,
    *,
    n_jobs: int | None = None,
    output_format: str | Sequence[str] = ("txt", "json"),
    retry_failed: bool = False,
    weights_cache: str | os.PathLike[str] | None = None,
    num_threads: int = 1,
    subtitles: Mapping[str, Any] | None = None,
    planned: Callable[[int, int], None] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> list[Entry]:
    """Transcribe many recordings, several at a time, and resume where an earlier run ended.

    Parameters
    ----------
    inputs : path or iterable of paths
        Files, folders, patterns and lists, as `find_recordings` takes them.
    output_dir : path
        The folder for the transcripts and for ``manifest.jsonl``. Transcripts keep the folder structure of the inputs.
    model : Whisper, name or path, optional
        What `load_model` takes, or what it returned. By default the embedded model.
    n_jobs : int, optional
        How many processes transcribe, each a recording at a time; by default what ``joblib.parallel_config`` says, or
        one for each processor. They share the weights.
    output_format : str or sequence of str
        ``"txt"``, ``"vtt"``, ``"srt"``, ``"tsv"``, ``"json"``, several of them, or ``"all"``.
    retry_failed : bool
        Try recordings again that failed in an earlier run. Without it they are only tried again when the file, the
        model or an option has changed.
    weights_cache : path, optional
        Where the shared float32 weights are kept; ``~/.cache/npwhisper`` by default.
    num_threads : int
        Threads of each process. With one, scores do not depend on `n_jobs`, to the last bit; with more, the last jobs
        are faster.
    subtitles : mapping, optional
        Options of the writers: ``max_line_width``, ``highlight_words``, ...
    planned : function, optional
        Called once with the number of recordings that are to be transcribed, and the number of all.
    progress : function, optional
        Called with each entry of the manifest as it is written.
    **options
        Those of `transcribe`: ``language="de"``, ``beam_size=5``, ``word_timestamps=True``, ... The seed is 0 unless
        given, so that a recording gives the same transcript in every run.

    Returns
    -------
    list of dict
        The manifest's entry of every recording of `inputs`, including those that an earlier run finished. After an
        interruption, those that are finished.

    Raises
    ------
    CorpusError
        If an input does not exist, another process is writing to the same folder, or the manifest cannot be written.
    ValueError, TypeError
        If an option is out of range, or does not exist, or an output cannot have the name that it would get.
    ImportError
        If joblib is not installed.

    Warns
    -----
    UserWarning
        If a language is given to a model that knows only English, which ignores it.

    Notes
    -----
    Text, times and scores are those of `transcribe`, to the last bit. With a `batch_size`, which cuts recordings at
    pauses, one of 15 minutes and more is shared by the processes in parts of about ten minutes; a part that cannot be
    transcribed fails the recording. With a `batch_size` of two and more, files below one megabyte fill batches
    together: then text and times are still those of `transcribe`, and scores in the first five digits.

    Examples
    --------
    >>> import tempfile
    >>> import npwhisper
    >>> folder = tempfile.mkdtemp()
    >>> [entry] = transcribe_corpus(npwhisper.example(), folder, n_jobs=1, weights_cache=folder)
    >>> entry["status"], entry["language"]
    ('done', 'en')
    """
    recordings = find_recordings([inputs] if isinstance(inputs, (str, os.PathLike)) else inputs)
    formats, options, folder = _formats(output_format), {"seed": 0, **options}, Path(output_dir)
    _check(options, num_threads)
    with locked(folder):
        require_names({r.path: [folder / f"{r.name}.{ending}" for ending in formats] for r in recordings})
        manifest = Manifest(folder)
        job = _job(model, weights_cache, folder, formats, num_threads, options, dict(subtitles or {}))
        todo, n_jobs = _left_to_do(recordings, manifest, job, retry_failed), _number_of_jobs(n_jobs)
        if planned is not None:
            planned(len(todo), len(recordings))
        if todo and n_jobs > 1:
            load_before_forking(job.weights, todo[:LOOKED_AT])
        try:
            for entry in _entries(todo, job, n_jobs):
                manifest.add(entry)
                if progress is not None:
                    progress(entry)
        finally:
            manifest.finish(recordings)
            close_recording()
    return [manifest.entries[r.path] for r in recordings if r.path in manifest.entries]


def _job(
    model: Whisper | str | os.PathLike[str] | None,
    weights_cache: str | os.PathLike[str] | None,
    folder: Path,
    formats: tuple[str, ...],
    num_threads: int,
    options: dict[str, Any],
    subtitles: dict[str, Any],
) -> Job:
    """What all recordings have in common; the weights are written where every process can map them."""
    weights = shared_weights(model, weights_cache)
    options = _that_the_model_knows(options, weights)
    settings = _settings(weights, formats, TranscribeOptions.from_keywords(**options), subtitles)
    name = None if isinstance(model, Whisper) else os.fspath(model or EMBEDDED)
    return Job(str(weights), name, str(folder.absolute()), formats, num_threads, options, subtitles, settings, PART)


def _that_the_model_knows(options: dict[str, Any], weights: Path) -> dict[str, Any]:
    """The options; a language that the model does not know is refused, or ignored if the model knows only English."""
    language = options.get("language")
    if language in (None, EVERY_WINDOW):
        return options
    model = open_shared(str(weights))
    if model.is_multilingual:
        check_language(str(language), model.num_languages)
        return options
    if check_language(str(language)) != "en":
        warnings.warn(f"the model is English-only: language {str(language)!r} is ignored", stacklevel=4)
    return {**options, "language": "en"}


def _formats(output_format: str | Sequence[str]) -> tuple[str, ...]:
    names = [output_format] if isinstance(output_format, str) else list(output_format)
    names = list(FORMATS) if "all" in names else names
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise CorpusError(f"unknown output format {unknown or names}: use some of {', '.join(FORMATS)}, or all")
    return tuple(name for name in FORMATS if name in names)


def _check(options: dict[str, Any], num_threads: int) -> None:
    """Refuse wrong options, an unknown language and a wrong number of threads once, not in every recording."""
    if options.get("journal") is not None:
        raise CorpusError("a journal belongs to one recording: leave it out, a corpus resumes from its manifest")
    language = TranscribeOptions.from_keywords(**options).decoding.language
    with using_threads(num_threads):
        if language not in (None, EVERY_WINDOW):
            check_language(str(language))


def _settings(weights: Path, formats: tuple[str, ...], options: TranscribeOptions, subtitles: Mapping[str, Any]) -> str:
    """A checksum of everything that determines a transcript, apart from the recording."""
    text = json.dumps([weights.stem, formats, options.identity(), subtitles], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _number_of_jobs(n_jobs: int | None) -> int:
    """How many processes joblib will use: of this machine, or of the cluster that is configured."""
    from joblib import effective_n_jobs

    if n_jobs is not None and n_jobs < 1:
        raise CorpusError(f"the number of jobs must be at least 1, got {n_jobs}: leave it out for one per processor")
    if n_jobs is None and effective_n_jobs() == 1:
        return get_num_threads()
    return int(effective_n_jobs(n_jobs))


def _left_to_do(recordings: Sequence[Recording], manifest: Manifest, job: Job, retry_failed: bool) -> list[Recording]:
    """The recordings without a result of this job, the largest files first, so that the last ones end together.

    Those that failed before are included only on request.
    """
    left = [
        recording
        for recording in recordings
        if not manifest.is_done(recording, job.settings, Path(job.folder), job.formats)
        and (retry_failed or not manifest.has_failed(recording, job.settings))
    ]
    return sorted(left, key=lambda recording: recording.size, reverse=True)


def _entries(todo: Sequence[Recording], job: Job, n_jobs: int) -> Iterator[Entry]:
    """Transcribe recordings, in the order in which they finish; first whole ones, then the parts of long ones."""
    plans = list[Plan]()
    with interruptible() as stop:
        for _, outcome in outcomes(in_groups(todo, job), job, n_jobs, stop):
            if isinstance(outcome, Plan):
                plans.append(outcome)
            else:
                yield outcome
        parts = [(part,) for plan in plans for part in plan.parts]
        yield from joined(outcomes(parts, job, n_jobs, stop), job)
