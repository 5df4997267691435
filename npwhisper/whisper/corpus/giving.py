"""Giving work to processes: joblib distributes it, and a piece whose process dies is tried once more, alone.

joblib's backends decide where it is done: processes of this machine by default, a Dask or Ray cluster inside
``joblib.parallel_config(backend=...)``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, TypeAlias

from npwhisper.whisper.corpus.groups import transcribe_group
from npwhisper.whisper.corpus.job import Job, failed, sentence
from npwhisper.whisper.corpus.manifest import Entry
from npwhisper.whisper.corpus.parts import Part, Piece, Plan, transcribe_part
from npwhisper.whisper.corpus.recordings import Recording
from npwhisper.whisper.corpus.single import transcribe_recording

Unit: TypeAlias = Recording | Part
Outcome: TypeAlias = Entry | Plan | Piece


def carry_out(units: Sequence[Any], job: Job) -> Sequence[Outcome]:
    """Do one piece of work: a recording, a part of one, or several short recordings; -> what became of each."""
    if len(units) > 1:
        return transcribe_group(units, job)
    (unit,) = units
    return [transcribe_part(unit, job) if isinstance(unit, Part) else transcribe_recording(unit, job)]


def outcomes(work: Iterable[Sequence[Unit]], job: Job, n_jobs: int, stop: threading.Event) -> Iterator[tuple[Any, Any]]:
    """Carry out pieces of work; yields what became of each recording or part, in the order in which they finish."""
    left = dict(enumerate(work))
    while left and not stop.is_set():
        given: list[int] = []
        try:
            for number, found in _parallel(_until(stop, dict(left), given), job, n_jobs):
                yield from zip(left.pop(number), found, strict=True)
        except Exception:  # a process died; what it was doing is not known
            lost = [left.pop(number) for number in given if number in left]
            if not lost:
                raise
            yield from ((unit, _alone(unit, job)) for unit in chain.from_iterable(lost))


def _parallel(
    work: Iterator[tuple[int, Sequence[Unit]]], job: Job, n_jobs: int
) -> Iterator[tuple[int, Sequence[Outcome]]]:
    """Outcomes as they come, or a few at a time where the backend returns only lists (Ray's)."""
    from joblib import Parallel

    calls = (_call(number, units, job) for number, units in work)
    options = {"n_jobs": n_jobs, "batch_size": 1, "pre_dispatch": "n_jobs"}
    try:
        run = Parallel(**options, return_as="generator_unordered")
    except ValueError:
        while chunk := list(islice(calls, 4 * n_jobs)):
            yield from Parallel(**options)(chunk)
    else:
        yield from run(calls)


def _call(number: int, units: Sequence[Unit], job: Job) -> Any:
    from joblib import delayed

    return delayed(_numbered)(number, carry_out, units, job)


def _numbered(number: int, do: Any, units: Sequence[Unit], job: Job) -> tuple[int, Sequence[Outcome]]:
    return number, do(units, job)


def _alone(unit: Unit, job: Job) -> Outcome:
    """Do the work on one recording or part in a process of its own, which it may end."""
    from joblib.externals.loky import ProcessPoolExecutor

    try:
        with ProcessPoolExecutor(1) as pool:
            (found,) = pool.submit(carry_out, [unit], job).result()
            return found
    except Exception as error:
        reason = f"the process transcribing it died twice ({sentence(error)}): is there enough memory?"
        return Piece([], [], [], 0.0, reason) if isinstance(unit, Part) else failed(unit, job, reason)


def _until(
    stop: threading.Event, work: Mapping[int, Sequence[Unit]], given: list[int]
) -> Iterator[tuple[int, Sequence[Unit]]]:
    """Give out work until the run is stopped, and note what was given."""
    for number, units in work.items():
        if stop.is_set():
            return
        given.append(number)
        yield number, units


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Let Ctrl-C end the run after the work under way; a second Ctrl-C ends it at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def interrupt(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
