"""faster-whisper on a list of recordings, several at a time: what `corpus.py speed` measures beside ours.

    python tests/benchmarks/corpus_peer.py some.list OUT FOLDER --jobs 4 --threads 1 [--processes]

Its jobs are workers of one process (``num_workers``), or processes. The options are those that ours are given: greedy,
no fallback, no search for voice. PyAV is not needed, since libsndfile reads the recordings.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import sys
import types
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def without_av() -> None:
    """faster-whisper imports PyAV for files, which it is not given here."""
    if importlib.util.find_spec("av") is None:
        sys.modules["av"] = types.ModuleType("av")


@functools.cache
def model(folder: str, threads: int, workers: int) -> Any:
    without_av()
    from faster_whisper import WhisperModel

    return WhisperModel(folder, device="cpu", compute_type="float32", cpu_threads=threads, num_workers=workers)


def transcribe(path: str, out: str, folder: str, threads: int, workers: int) -> None:
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == 16000
    segments, _ = model(folder, threads, workers).transcribe(samples, beam_size=1, temperature=0.0)
    text = "\n".join(segment.text.strip() for segment in segments)
    Path(out, Path(path).with_suffix(".txt").name).write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Let faster-whisper transcribe a list of recordings.")
    for name in ("listed", "out", "folder"):
        parser.add_argument(name)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", action="store_true")
    given = parser.parse_args()
    paths = Path(given.listed).read_text(encoding="utf-8").splitlines()
    workers = 1 if given.processes else given.jobs
    if not given.processes:
        model(given.folder, given.threads, workers)
    work = functools.partial(transcribe, out=given.out, folder=given.folder, threads=given.threads, workers=workers)
    pool: Executor = (
        ProcessPoolExecutor(given.jobs, get_context("spawn")) if given.processes else ThreadPoolExecutor(given.jobs)
    )
    with pool:
        list(pool.map(work, paths))


if __name__ == "__main__":
    main()
