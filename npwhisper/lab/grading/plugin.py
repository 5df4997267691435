"""The pytest plugin: options, one test per task, and a table of points at the end."""

from __future__ import annotations

import functools
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from npwhisper.lab.grading.encodings import read_text
from npwhisper.lab.grading.grader import Grader, Verdict
from npwhisper.lab.grading.notebook import Collected, NotebookError, collect, is_notebook
from npwhisper.lab.grading.sandbox import SandboxError, check_sandbox
from npwhisper.lab.grading.worker import load_file

ASSIGNMENTS = {
    "a1": "layers",
    "a2": "attention",
    "a3": "cache",
    "a4": "search",
    "a5": "audio and alignment",
}


class TaskError(Exception):
    """A task was not solved."""


class Task(pytest.Item):
    """One function to be graded."""

    def __init__(self, *, grader: Grader, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        from npwhisper.lab.exercises import EXERCISES

        self.grader, self.exercise = grader, EXERCISES[self.name]
        self.add_marker(self.exercise.assignment)
        self.verdict = Verdict("not graded")

    def runtest(self) -> None:
        """Grade the task."""
        self.verdict = self.grader.grade(self.name)
        points = self.exercise.points if self.verdict.status == "right" else 0
        self.user_properties += [("status", self.verdict.status), ("points", points), ("of", self.exercise.points)]
        if self.verdict.status != "right":
            raise TaskError(self.verdict.report)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The report of `check`, without a traceback through this file."""
        return str(excinfo.value) if isinstance(excinfo.value, TaskError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The location and the name of the task for pytest."""
        return self.grader.path, 0, f"{self.exercise.assignment}: {self.name}"


class Tasks(pytest.Collector):
    """The tasks of every assignment from which the student's file has at least one, or of those selected with -m."""

    grader: Grader
    is_notebook: bool

    def narrowed(self, name: str) -> Grader:
        """The grader of a task; from a notebook it gets only what the task needs, so that other cells may fail."""
        return self.grader.narrowed(name) if self.is_notebook else self.grader

    def collect(self) -> Iterator[Task]:
        """One item per task."""
        from npwhisper.lab.exercises import EXERCISES

        begun = {EXERCISES[name].assignment for name in self.grader.tasks}
        is_chosen = bool(self.config.option.markexpr)
        for name, exercise in EXERCISES.items():
            if is_chosen or exercise.assignment in begun:
                yield Task.from_parent(self, name=name, grader=self.narrowed(name))


class Plugin:
    """The hooks that are active with ``--layers``."""

    def __init__(self, grader: Grader, is_notebook: bool) -> None:
        self.grader, self.is_notebook, self.tasks = grader, is_notebook, list[Task]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Add the tasks to the collected tests."""
        tasks = Tasks.from_parent(session, name=self.grader.path.name, nodeid=self.grader.path.name)
        tasks.grader, tasks.is_notebook = self.grader, self.is_notebook
        self.tasks = list(tasks.collect())
        items += self.tasks

    @functools.cached_property
    def functions(self) -> dict[str, Any]:
        """The student's functions that can replace a layer."""
        module = load_file(self.grader.path)
        functions = {name: getattr(module, name, None) for name in self.grader.tasks}
        return {name: function for name, function in functions.items() if _fits(name, function)}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Run the library's own tests with the student's functions."""
        from npwhisper.tracing.swapping import swap

        with ExitStack() as stack:
            if not isinstance(item, Task):
                stack.enter_context(_alarm(self.grader.seconds))
                stack.enter_context(swap(self.functions))
            return (yield)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """One line per task, and the points."""
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


def _fits(name: str, function: Any) -> bool:
    """Whether a function can be called like the layer of that name; if not, only its own task fails."""
    from npwhisper.tracing.swapping import SwapError, check_signature, find_layer

    original = find_layer(name)
    try:
        check_signature(original or function, function)
    except SwapError:
        return False
    return original is not None


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise TimeoutError after `seconds`, on systems with signals."""

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
    """The line of a task: name, points, status, and the most informative line of the report."""
    points, verdict = task.exercise.points, task.verdict
    got = points if verdict.status == "right" else 0
    first, last = verdict.report.partition("\n")[0], verdict.report.strip().rpartition("\n")[2].strip()
    reason = {"wrong": last, "missing": first, "refused": first.removeprefix(f"{task.name}: ")}.get(verdict.status, "")
    return f"    {task.name:24} {got}/{points}  {verdict.status:9} {reason}".rstrip()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--layers``, ``--seed``, ``--task-seconds``, ``--task-memory`` and ``--task-sandbox``."""
    group = parser.getgroup("npwhisper")
    group.addoption(
        "--layers", metavar="FILE", help="grade the functions in FILE that have the names of npwhisper's functions"
    )
    group.addoption("--task-seconds", type=float, default=10.0, help="time limit of each task in seconds (10)")
    group.addoption(
        "--task-memory", type=float, default=2.0, metavar="GB", help="memory limit of each task, if supported (2)"
    )
    group.addoption("--task-sandbox", action="store_true", help="run the tasks in bubblewrap (Linux)")
    group.addoption("--seed", type=int, help="seed of the fresh cases (default: from the file name)")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of the assignments, and the plugin if ``--layers`` is given."""
    for assignment, subject in ASSIGNMENTS.items():
        config.addinivalue_line("markers", f"{assignment}: assignment {assignment[1:]}, {subject}")
    file = config.getoption("--layers")
    if file is not None:
        path = Path(config.invocation_params.dir, os.fspath(file))
        if not path.is_file():
            raise pytest.UsageError(f"there is no file {path}: give --layers the path of the student's functions")
        seconds, memory = config.getoption("--task-seconds"), int(config.getoption("--task-memory") * 2**30)
        seed, is_sandboxed = config.getoption("--seed"), _wants_sandbox(config)
        collected = _collected(path)
        code = path if collected is None else _written(collected, path, config)
        grader = Grader(code, seconds, seed, memory, is_sandboxed=is_sandboxed)
        grader.name, grader.broken = path.name, collected.broken if collected else {}
        config.pluginmanager.register(Plugin(grader, collected is not None), "npwhisper_tasks")


def _wants_sandbox(config: pytest.Config) -> bool:
    """Whether to use a sandbox; raises if there is none."""
    if config.getoption("--task-sandbox"):
        try:
            check_sandbox()
        except SandboxError as error:
            raise pytest.UsageError(f"--task-sandbox: {error}") from None
    return bool(config.getoption("--task-sandbox"))


def _collected(path: Path) -> Collected | None:
    """The code of a notebook; None for a Python file, which is graded as it is."""
    try:
        return collect(path) if is_notebook(path.name, read_text(path)[0]) else None
    except (NotebookError, OSError, ValueError) as error:
        raise pytest.UsageError(str(error)) from None


def _written(collected: Collected, path: Path, config: pytest.Config) -> Path:
    """The collected code as a Python file, in a temporary folder."""
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    target = Path(folder.name) / f"{path.stem}.py"
    target.write_text(collected.code, encoding="utf-8")
    return target
