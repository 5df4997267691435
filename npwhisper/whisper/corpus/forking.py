"""Processes that are forked from this one when it has loaded everything, and so share its memory (Linux)."""

from __future__ import annotations

import gc
import multiprocessing
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import numpy as np

from npwhisper.audio import SAMPLE_RATE, log_mel_spectrogram
from npwhisper.audio.resampling import resample
from npwhisper.compute.memory import return_freed_memory
from npwhisper.compute.threads import blas_libraries, using_threads
from npwhisper.whisper.corpus.recordings import Recording
from npwhisper.whisper.corpus.sharing import open_shared

OTHER_RATE = 44  # exit status of the process that looks
_is_on: ContextVar[bool] = ContextVar("npwhisper_forks", default=False)


@contextmanager
def sharing_memory() -> Iterator[None]:
    """Let joblib fork its processes on this machine, unless another backend is configured inside the block.

    Elsewhere than on Linux, where forked processes are not safe with the system's libraries, every process imports for
    itself. In a program with threads of its own they are not safe either, so only the command line forks.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    from joblib import parallel_config

    from npwhisper.whisper.corpus.forked import ForkedProcesses

    token = _is_on.set(True)
    try:
        with parallel_config(backend=ForkedProcesses()):
            yield
    finally:
        _is_on.reset(token)


def load_before_forking(weights: str, recordings: Iterable[Recording]) -> None:
    """Load what every process needs, if processes are to be forked: then it is in memory once."""
    if not _is_on.get():
        return
    import numpy.random  # noqa: F401

    model = open_shared(weights)
    _ = model.tokenizer.non_speech_tokens, model.scope
    with using_threads(1):
        log_mel_spectrogram(np.zeros(SAMPLE_RATE, np.float32), model.dims.n_mels)  # loads the Fourier transform
    if _are_resampled([recording.path for recording in recordings]):
        resample(np.zeros(1, np.float32), 44100, SAMPLE_RATE)  # loads SciPy, 56 MB
    blas_libraries()
    gc.collect()
    gc.freeze()  # the collector writes into what it looks at, which would copy the pages
    return_freed_memory()


def _are_resampled(paths: Sequence[str]) -> bool:
    """Whether one of the recordings has another rate; a process of its own looks, since a codec may crash."""
    from npwhisper.whisper.corpus.forked import without_warning

    process = multiprocessing.get_context("fork").Process(target=_look_at, args=(paths,))
    with without_warning():
        process.start()
    process.join()
    return process.exitcode == OTHER_RATE


def _look_at(paths: Sequence[str]) -> None:
    sys.exit(OTHER_RATE if any(map(_has_another_rate, paths)) else 0)


def _has_another_rate(path: str) -> bool:
    """Whether libsndfile reads a recording and its samples must be resampled."""
    with suppress(ImportError, RuntimeError):
        import soundfile

        return int(soundfile.info(path).samplerate) != SAMPLE_RATE
    return False
