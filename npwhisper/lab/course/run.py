"""Grading many submissions, several at a time, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from npwhisper.compute import THREAD_VARIABLES
from npwhisper.lab.course.marking import NOT_GRADED, SECRET, Mark, Marks, Options, read_marks
from npwhisper.lab.course.names import printable, unique_names
from npwhisper.lab.course.submissions import Submission
from npwhisper.lab.exercises import EXERCISES

PACKAGES = Path(__file__).parents[3]  # where npwhisper is imported from
SPARE_SECONDS = 120.0
START = (  # not `-m`, which would import from the current folder
    "import sys; sys.path[0] = sys.argv.pop(1); from npwhisper.lab.course.marking import main; main(sys.argv[1:])"
)


def grade_all(submissions: Sequence[Submission], options: Options, jobs: int) -> Iterator[tuple[int, Marks]]:
    """Yield the index and the marks of each submission as it is finished."""
    names = unique_names(submission.identity for submission in submissions)
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        started = {
            pool.submit(grade_one, s, safe, options): n
            for n, (s, safe) in enumerate(zip(submissions, names, strict=True))
        }
        try:
            for future in as_completed(started):
                yield started[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def grade_one(submission: Submission, safe: str, options: Options) -> Marks:
    """Grade a submission in a new process; if that fails, the marks say so."""
    with tempfile.TemporaryDirectory() as folder:
        request, answer = (Path(folder) / name for name in ("request.json", "answer.json"))
        request.write_text(json.dumps(_request(submission, safe, options)), encoding="utf-8")
        limit = SPARE_SECONDS + len(options.chosen) * (options.seconds + options.start)
        try:
            run = _run_grader(request, answer, limit)
        except subprocess.TimeoutExpired:
            return _failed(submission, options, f"grading did not end within {limit:.0f} s")
        if run.returncode or not answer.exists():
            last = run.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
            return _failed(submission, options, f"grading ended with status {run.returncode}: {printable(last)[:300]}")
        return read_marks(json.loads(answer.read_text(encoding="utf-8")))


def _run_grader(request: Path, answer: Path, limit: float) -> subprocess.CompletedProcess[bytes]:
    """Run the grading process in an empty folder, and wait for it."""
    command = [sys.executable, "-c", START, str(PACKAGES), str(request), str(answer)]
    empty = request.parent / "empty"
    empty.mkdir()
    return subprocess.run(command, cwd=empty, capture_output=True, timeout=limit, check=False, env=_environment())


def _environment() -> dict[str, str]:
    """No secret, and one thread per process: arrays are small, and several processes run at a time."""
    paths = os.pathsep.join([str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
    threads = dict.fromkeys(THREAD_VARIABLES, "1")
    inherited = {name: value for name, value in os.environ.items() if name != SECRET}
    return {**inherited, **threads, "PYTHONPATH": paths}


def _request(submission: Submission, safe: str, options: Options) -> dict[str, Any]:
    files = [[file.name, str(file.path.absolute())] for file in submission.files]
    given = {**submission._asdict(), "identity": submission.identity, "files": files, "safe": safe}
    return {**given, "options": options._asdict()}


def _failed(submission: Submission, options: Options, reason: str) -> Marks:
    marks = tuple(Mark(task, 0, EXERCISES[task].points, NOT_GRADED, reason) for task in options.chosen)
    return Marks(
        submission.student, submission.number, submission.is_late, marks=marks, notes=(*submission.notes, reason)
    )
