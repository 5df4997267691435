"""Grading a file of functions with pytest: ``pytest --pyargs npwhisper.lab.grading --layers student.py``.

Every function of the file that has the name of one of ours is one task: it is checked against torch (`check.py`) in
another process, so that an endless loop or a crash costs that task and no other. In a checkout, ``pytest --layers
student.py`` runs the library's own tests as well, with the student's functions in place of the library's.

A task has a time limit because it runs in a worker process, which is killed when it does not answer: that works on
every system, and also stops code that never returns to Python. The next task gets a new worker. The library's own tests
run in this process and are interrupted by a signal, where there are signals.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

ASSIGNMENTS = {
    "a1": "layers",
    "a2": "attention",
    "a3": "cache",
    "a4": "search",
    "a5": "audio and alignment",
}
START_SECONDS = 60.0  # for a new process to import NumPy and the student's file


class Verdict(NamedTuple):
    """What became of a task: "right", or "wrong", "missing", "unwritten", "too slow" or "crashed", and why."""

    status: str
    report: str = ""


SHOWN = 500  # characters of what a function printed

# In the worker


def load_file(path: Path) -> ModuleType:
    """Import a Python file, whatever its name is."""
    spec = importlib.util.spec_from_file_location("npwhisper_student", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file: give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def work(path: Path, connection: Connection) -> None:
    """Import the student's file, send the names of its functions, then answer the names of tasks with verdicts."""
    from npwhisper.lab.exercises import EXERCISES

    try:
        with redirect_stdout(io.StringIO()):
            module = load_file(path)
    except BaseException as error:  # also SystemExit: whatever the file does, it is reported
        connection.send(("error", f"{path.name} cannot be imported: {type(error).__name__}: {error}"))
        return
    connection.send(("names", [name for name in EXERCISES if callable(getattr(module, name, None))]))
    while (name := connection.recv()) is not None:
        with redirect_stdout(io.StringIO()) as printed:
            verdict = _verdict(name, getattr(module, name))
        if verdict.status != "right" and printed.getvalue():
            verdict = verdict._replace(report=f"It printed: {printed.getvalue().strip()[:SHOWN]}\n{verdict.report}")
        connection.send(verdict)


def _verdict(name: str, function: Any) -> Verdict:
    from npwhisper.lab.checking import check

    try:
        result = check(function, name)
    except BaseException as error:
        return Verdict("crashed", f"{name}: {type(error).__name__}: {error}")
    if result:
        return Verdict("right")
    unwritten = all(outcome.problem == "it is not written yet" for outcome in result.outcomes)
    return Verdict("unwritten" if unwritten else "wrong", str(result))


# In pytest


class Grader:
    """Gives tasks to a worker process, and starts another when one does not answer."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self.process: SpawnProcess | None = None
        self.connection: Connection | None = None

    @functools.cached_property
    def found(self) -> tuple[list[str], str]:
        """The names of the student's functions that are tasks, or why the file could not be imported."""
        return self._start()

    def defined(self) -> list[str]:
        """The names of all functions that are written in the file, without importing it."""
        try:
            tree = ast.parse(self.path.read_bytes())
        except SyntaxError:
            return []
        return [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]

    def _start(self) -> tuple[list[str], str]:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(self.path, theirs), daemon=True)
        self.process.start()
        theirs.close()
        kind, value = self._answer(START_SECONDS) or ("error", "")
        if kind == "names":
            return list(value), ""
        self.stop()
        return [], value or f"importing {self.path.name} took more than {START_SECONDS:.0f} s, or ended the process"

    def _answer(self, seconds: float) -> Any:
        """What the worker sends, or None if it is silent for too long or dead."""
        assert self.connection is not None
        try:
            return self.connection.recv() if self.connection.poll(seconds) else None
        except EOFError:
            return None

    def grade(self, name: str) -> Verdict:
        """Let the worker try one task."""
        names, error = self.found
        if name not in names:
            return Verdict("wrong", error) if error else Verdict("missing", self._missing(name))
        if self.process is None:
            self._start()
        assert self.connection is not None
        self.connection.send(name)
        verdict = self._answer(self.seconds)
        if verdict is not None:
            return Verdict(*verdict)
        if not self._has_ended():
            self.stop()
            return Verdict("too slow", f"{name} did not end within {self.seconds:g} s: is there an endless loop?")
        self.stop()
        return Verdict("crashed", f"{name} ended the whole process")

    def _has_ended(self) -> bool:
        assert self.process is not None
        self.process.join(0.5)
        return not self.process.is_alive()

    def _missing(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.defined(), n=1)
        hint = f", but there is {close[0]!r}: is it misspelt?" if close else ""
        return f"{self.path.name} has no function {name!r}{hint}"

    def stop(self) -> None:
        """End the worker, whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
        if self.connection is not None:
            self.connection.close()
        self.process = self.connection = None


class TaskError(Exception):
    """A task that was not solved."""


class Task(pytest.Item):
    """One function to be graded."""

    def __init__(self, *, grader: Grader, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        from npwhisper.lab.exercises import EXERCISES

        self.grader, self.exercise = grader, EXERCISES[self.name]
        self.add_marker(self.exercise.assignment)
        self.verdict = Verdict("not graded")

    def runtest(self) -> None:
        """Grade it."""
        self.verdict = self.grader.grade(self.name)
        points = self.exercise.points if self.verdict.status == "right" else 0
        self.user_properties += [("status", self.verdict.status), ("points", points), ("of", self.exercise.points)]
        if self.verdict.status != "right":
            raise TaskError(self.verdict.report)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The report of `check`, without a traceback through this file."""
        return str(excinfo.value) if isinstance(excinfo.value, TaskError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """What pytest calls this task."""
        return self.grader.path, 0, f"{self.exercise.assignment}: {self.name}"


class Tasks(pytest.Collector):
    """The tasks of all assignments of which the student's file has at least one, or of those chosen with -m."""

    grader: Grader

    def collect(self) -> Iterator[Task]:
        """One item for each task."""
        from npwhisper.lab.exercises import EXERCISES

        names, error = self.grader.found
        if error:
            names = [name for name in self.grader.defined() if name in EXERCISES] or list(EXERCISES)
        begun = {EXERCISES[name].assignment for name in names}
        is_chosen = bool(self.config.option.markexpr)
        for name, exercise in EXERCISES.items():
            if is_chosen or exercise.assignment in begun:
                yield Task.from_parent(self, name=name, grader=self.grader)


class Plugin:
    """What pytest does differently with ``--layers``."""

    def __init__(self, grader: Grader) -> None:
        self.grader, self.tasks = grader, list[Task]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Add the tasks to whatever else is tested."""
        tasks = Tasks.from_parent(session, name=self.grader.path.name, nodeid=self.grader.path.name)
        tasks.grader = self.grader
        self.tasks = list(tasks.collect())
        items += self.tasks

    @functools.cached_property
    def functions(self) -> dict[str, Any]:
        """The student's functions that can stand for a layer."""
        module = load_file(self.grader.path)
        functions = {name: getattr(module, name) for name in self.grader.found[0]}
        return {name: function for name, function in functions.items() if _fits(name, function)}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Let the library's own tests call the student's functions."""
        from npwhisper.tracing.swapping import swap

        with ExitStack() as stack:
            if not isinstance(item, Task):
                stack.enter_context(_alarm(self.grader.seconds))
                stack.enter_context(swap(self.functions))
            return (yield)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """One line for each task, and the points."""
        graded = [task for task in self.tasks if task.verdict.status != "not graded"]
        if not graded:
            return
        terminalreporter.section(f"{self.grader.path.name}")
        for assignment, subject in ASSIGNMENTS.items():
            tasks = [task for task in graded if task.exercise.assignment == assignment]
            if tasks:
                terminalreporter.write_line(f"{assignment}  {subject}: {_points(tasks)}")
            for task in tasks:
                terminalreporter.write_line(_line(task))
        terminalreporter.write_line(f"total: {_points(graded)}")

    def pytest_unconfigure(self) -> None:
        """End the worker."""
        self.grader.stop()


def _fits(name: str, function: Any) -> bool:
    """Whether a function can be called as the layer of that name is; if not, only its own task fails."""
    from npwhisper.tracing.swapping import SwapError, check_signature, find_layer

    original = find_layer(name)
    try:
        check_signature(original or function, function)
    except SwapError:
        return False
    return original is not None


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what runs for too long, on systems that have signals."""

    def stop(signum: int, frame: Any) -> None:
        raise TimeoutError(f"the test did not end within {seconds:g} s: is there an endless loop?")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _points(tasks: list[Task]) -> str:
    got = sum(task.exercise.points for task in tasks if task.verdict.status == "right")
    return f"{got} of {sum(task.exercise.points for task in tasks)} points"


def _line(task: Task) -> str:
    """A task, its points, what became of it, and the last line of the report, which names the likely mistake."""
    points = task.exercise.points
    got = points if task.verdict.status == "right" else 0
    reason = task.verdict.report.strip().rpartition("\n")[2].strip() if task.verdict.status == "wrong" else ""
    reason = task.verdict.report if task.verdict.status == "missing" else reason
    return f"    {task.name:24} {got}/{points}  {task.verdict.status:9} {reason}".rstrip()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--layers`` and ``--task-seconds``."""
    group = parser.getgroup("npwhisper")
    group.addoption(
        "--layers", metavar="FILE", help="grade the functions in FILE that have the name of one of npwhisper's"
    )
    group.addoption("--task-seconds", type=float, default=10.0, help="time limit of each task (default: 10)")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of the assignments, and begin to grade if there is something to grade."""
    for assignment, subject in ASSIGNMENTS.items():
        config.addinivalue_line("markers", f"{assignment}: assignment {assignment[1:]}, {subject}")
    file = config.getoption("--layers")
    if file is not None:
        path = Path(config.invocation_params.dir, os.fspath(file))
        if not path.is_file():
            raise pytest.UsageError(f"there is no file {path}: give --layers the path of the student's functions")
        grader = Grader(path, config.getoption("--task-seconds"))
        config.pluginmanager.register(Plugin(grader), "npwhisper_tasks")
