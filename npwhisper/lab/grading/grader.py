"""Grades one file, task by task: reads what it uses, runs it in a worker, and judges the worker's results.

The expected values are computed and compared here. None of the student's code is executed here.
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import multiprocessing
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

from npwhisper.lab.attempting import Attempt
from npwhisper.lab.checking import all_cases, judge
from npwhisper.lab.exercises import EXERCISES, Case
from npwhisper.lab.grading.notebook import collect_script
from npwhisper.lab.grading.sandbox import sandboxed
from npwhisper.lab.grading.source import Source, read
from npwhisper.lab.grading.wire import LIMIT, WireError, pack, unpack
from npwhisper.lab.grading.worker import Limits, work
from npwhisper.tracing.spelling import did_you_mean

START_SECONDS = 60.0  # for a new process to import NumPy and the student's file
SHOWN = 500  # characters of printed output and of an error message
MEMORY = 2**31  # bytes that a task may use, in addition to Python and NumPy


class Verdict(NamedTuple):
    """The outcome of a task: "right", "wrong", "missing", "unwritten", "refused", "too slow" or "crashed", and why.

    `right` of `cases` cases are right, if all of them were run.
    """

    status: str
    report: str = ""
    right: int = 0
    cases: int = 0


def seed_of(path: Path) -> int:
    """The seed of a student's fresh cases, derived from the file name.

    >>> seed_of(Path("alice.py")), seed_of(Path("elsewhere/alice.ipynb"))
    (735577801, 735577801)
    """
    return int.from_bytes(hashlib.sha256(path.stem.encode()).digest()[:4], "big")


def plain(text: Any) -> str:
    """Text from untrusted code, on one line of limited length without control characters."""
    words = " ".join(str(text)[: 4 * SHOWN].split())
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in words)[:SHOWN]


class Grader:
    """Grades the tasks of one file."""

    def __init__(
        self,
        path: Path,
        seconds: float,
        seed: int | None = None,
        memory: int = MEMORY,
        start: float | None = None,
        user: str = "",
        is_sandboxed: bool = False,
    ) -> None:
        self.path, self.seconds = path, seconds
        self.name = path.name  # as submitted
        self.broken: Mapping[str, str] = {}  # task -> why its code is not Python
        self.start = START_SECONDS if start is None else start
        self.seed = seed_of(path) if seed is None else seed
        self.limits = Limits(self.start + 2 * seconds, memory, user, is_sandboxed)
        self.import_error = ""  # kept, so that a slow import is not waited for again

    @functools.cached_property
    def source(self) -> Source:
        """The student's file as a syntax tree."""
        return read(self.path)

    @property
    def tasks(self) -> list[str]:
        """The tasks that the file defines; all of them if it is not Python."""
        return self.source.tasks if self._is_python() else list(EXERCISES)

    def _is_python(self) -> bool:
        try:
            ast.parse(self.path.read_bytes())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        return True

    def narrowed(self, task: str) -> Grader:
        """A grader for one task, with only the lines that the task needs, in a folder beside the file."""
        narrowed = copy.copy(self)
        narrowed.__dict__.pop("source", None)
        narrowed.path = self.path.parent / task / self.path.name
        narrowed.path.parent.mkdir()
        code = collect_script(self.path.read_text(encoding="utf-8"), (task,)).code
        narrowed.path.write_text(code, encoding="utf-8", errors="backslashreplace")
        return narrowed

    def grade(self, task: str) -> Verdict:
        """Grade one task: first by what it uses, then by its results."""
        verdict = self._graded(task)
        is_broken = verdict.status == "missing" and task in self.broken
        return Verdict("wrong", plain(self.broken[task])) if is_broken else verdict

    def _graded(self, task: str) -> Verdict:
        try:
            found = self.source.findings(task)
        except RecursionError:
            return Verdict("refused", f"{task}: {self.name} is nested too deeply to be read")
        if found:
            return Verdict("refused", "\n".join(f"{task}: {plain(finding)}" for finding in found))
        if self._is_python() and not self.source.may_have(task):
            return Verdict("missing", self._missing(task))
        return self.run(task)

    def run(self, task: str) -> Verdict:
        """Grade one task by its results."""
        if self.import_error:
            return Verdict("wrong", self.import_error)
        cases = all_cases(task, self.seed)
        with Worker(self.path, task, cases, self.limits) as worker:
            verdict = self._imported(worker, task) or self._answered(worker, task, cases)
            printed = worker.printed() if verdict.status not in ("right", "missing") else ""
        shown = "".join(f"  | {plain(line)}\n" for line in printed.splitlines())
        return verdict._replace(report=f"It printed:\n{shown}{verdict.report}") if shown else verdict

    def _imported(self, worker: Worker, task: str) -> Verdict | None:
        """The verdict if there is no function to run, otherwise None."""
        name, reply = self.name, worker.receive(self.start)
        if not isinstance(reply, dict):
            if worker.has_ended():
                return Verdict("wrong", f"importing {name} ended the process{worker.reason()}")
            self.import_error = f"importing {name} took more than {self.start:.0f} s"
            return Verdict("wrong", self.import_error)
        if error := reply.get("import"):
            return Verdict("wrong", f"{name} cannot be imported: {plain(error)}")
        return Verdict("missing", self._missing(task)) if reply.get("is_missing") else None

    def _answered(self, worker: Worker, task: str, cases: list[Case]) -> Verdict:
        reply = worker.receive(self.seconds)
        if isinstance(reply, WireError):
            return Verdict("crashed", f"{task} sent something other than its results: {reply}")
        if isinstance(reply, dict):
            try:
                return _judged(task, cases, reply)
            except Exception as error:  # a forged answer can make the comparison raise anything
                return Verdict("crashed", f"{task} sent something other than its results: {type(error).__name__}")
        if worker.has_ended():
            return Verdict("crashed", f"{task} ended the whole process{worker.reason()}")
        return Verdict("too slow", f"{task} did not end within {self.seconds:g} s: is there an endless loop?")

    def _missing(self, name: str) -> str:
        meant = did_you_mean(name, self.source.functions, most=1)
        return f"{self.name} has no function {name!r}{f': {meant}' if meant else ''}"


def _judged(task: str, cases: list[Case], reply: dict[str, Any]) -> Verdict:
    """The verdict on the worker's results, of which only numbers are trusted."""
    if reply["findings"]:
        lines = [f"line {int(line)}: {plain(sentence)}" for line, sentence in reply["findings"][:5]]
        return Verdict("refused", "\n".join(f"{task}: {line}" for line in dict.fromkeys(lines)))
    if reply["crash"]:
        return Verdict("crashed", f"{task}: {plain(reply['crash'])}")
    attempts = [_attempt(fields) for fields in reply["attempts"]]
    result = judge(cases, attempts)
    right, report = sum(not outcome.problem for outcome in result.outcomes), "" if result else str(result)
    status = "right" if result else "unwritten" if result.is_unwritten else "wrong"
    return Verdict(status, report, right, len(cases))


def _attempt(fields: dict[str, Any]) -> Attempt:
    """An attempt from untrusted fields, with their types checked."""
    tried = Attempt(**fields)
    arrays = {key: value if hasattr(value, "dtype") else None for key, value in fields.items()}
    texts = {key: plain(fields[key]) for key in ("kind", "error", "mistake")}
    return Attempt(result=arrays["result"], again=arrays["again"], arguments=dict(tried.arguments), **texts)


class Worker:
    """A process for one task; leaving the `with` block kills it and every process it started."""

    def __init__(self, path: Path, task: str, cases: list[Case], limits: Limits) -> None:
        self.request = pack(
            {"task": task, "cases": [{"label": case.label, "arguments": case.arguments} for case in cases]}
        )
        self.path, self.limits = path, limits
        self.messages = queue.SimpleQueue[bytes | None]()

    def __enter__(self) -> Worker:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        paper = Path(self.folder.name) / "printed.txt"
        self.paper = open(paper, "w+b")
        if user := self.limits.user:
            shutil.chown(self.folder.name, user)
        self._start(paper)
        threading.Thread(target=_read, args=(self.connection, self.messages), daemon=True).start()
        return self

    def _start(self, paper: Path) -> None:
        """Start the process, in a sandbox if there is to be one."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe(duplex=False)
        arguments = (self.path.absolute(), self.request, theirs, paper, self.limits)
        self.process: SpawnProcess = context.Process(target=work, args=arguments, daemon=True)
        sandbox = sandboxed(self.path.absolute(), Path(self.folder.name)) if self.limits.is_sandboxed else nullcontext()
        with _main_hidden(), sandbox:
            self.process.start()
        theirs.close()

    def receive(self, seconds: float) -> Any:
        """The next message; None if the worker is dead or too slow; a WireError if the message is invalid."""
        try:
            message = self.messages.get(timeout=seconds)
            return None if message is None else unpack(message)
        except queue.Empty:
            return None
        except WireError as error:
            return error

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        self.process.join(0.5)
        return not self.process.is_alive()

    def reason(self) -> str:
        """The signal that ended the process."""
        code = self.process.exitcode or 0
        number = code - 128 if self.limits.is_sandboxed else -code  # bubblewrap reports signals as shells do
        return f" ({signal.Signals(number).name})" if number in signal.valid_signals() else ""

    def printed(self) -> str:
        """The beginning of the printed output."""
        self.paper.seek(0)
        return self.paper.read(SHOWN).decode("utf-8", "replace").strip()

    def __exit__(self, *_: object) -> None:
        if hasattr(os, "killpg") and self.process.pid:
            with suppress(ProcessLookupError, PermissionError):  # not yet a group leader, or all have ended
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.paper.close()
        self.folder.cleanup()


def _read(connection: Connection, messages: queue.SimpleQueue[bytes | None]) -> None:
    """Queue the two messages of a worker, or None if it dies or sends too much; a partial one blocks this thread."""
    try:
        for _ in range(2):
            messages.put(connection.recv_bytes(LIMIT))
    except (EOFError, OSError):
        messages.put(None)
    finally:
        connection.close()


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Hide the main program, pytest, so that a new process does not import it."""
    main = sys.modules.pop("__main__")
    sys.modules["__main__"] = type(main)("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
