"""The process in which a student's function runs: it gets the inputs of one task, never the expected results.

It ends with its task, so that no side effect (`np.seterr`, a thread, a patched module) reaches another task.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from npwhisper.lab.attempting import Attempt, attempt
from npwhisper.lab.exercises import Case
from npwhisper.lab.grading.guard import Guard
from npwhisper.lab.grading.wire import LIMIT, pack, unpack

RESULT_BYTES = 2**21
PROCESSES = 64  # including threads, in a sandbox
PRINTED_BYTES = 2**20  # limit of a task's output, and of a file it writes


class Limits(NamedTuple):
    """What a worker may use, and the user it runs as: by default the grader's."""

    cpu_seconds: float
    memory_bytes: int
    user: str = ""
    is_sandboxed: bool = False


def load_file(path: Path) -> ModuleType:
    """Import a Python file of any name."""
    spec = importlib.util.spec_from_file_location("npwhisper_student", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file: give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def work(path: Path, request: bytes, connection: Connection, printed: Path, limits: Limits) -> None:
    """Import the student's file and report it, then run every case and send the results."""
    _confine(printed, limits)
    task, cases = _cases(unpack(request))
    guard = Guard(task, str(path))
    guard.refuse_events()
    try:
        function = getattr(load_file(path), task, None)
    except BaseException as error:  # including SystemExit: every failure is reported
        connection.send_bytes(pack({"import": f"{type(error).__name__}: {error}"}))
        return
    connection.send_bytes(pack({"import": "", "is_missing": not callable(function)}))
    if callable(function):
        connection.send_bytes(_answer(cases, function, guard))


def _cases(request: Mapping[str, Any]) -> tuple[str, list[Case]]:
    task = request["task"]
    return task, [Case(task, case["label"], case["arguments"], np.empty(0)) for case in request["cases"]]


def _answer(cases: list[Case], function: Any, guard: Guard) -> bytes:
    crash = ""
    attempts: list[Attempt] = []
    try:
        for case in cases:
            attempts.append(_small(attempt(case, guard.watched(function))))
    except BaseException as error:  # SystemExit, KeyboardInterrupt
        crash = f"{type(error).__name__}: {error}"
    findings = [[finding.line, finding.sentence] for finding in guard.findings]
    reply = {"crash": crash, "findings": findings}
    message = pack({**reply, "attempts": [tried._asdict() for tried in attempts]})
    if len(message) <= LIMIT:
        return message
    return pack({**reply, "crash": f"its results have {len(message) >> 20} MB", "attempts": []})


def _small(tried: Attempt) -> Attempt:
    """The attempt, unless its result is far larger than any right one."""
    if tried.result is None or tried.result.nbytes <= RESULT_BYTES:
        return tried
    return Attempt(error=f"its shape is {tried.result.shape}: far more than there should be")


def _confine(printed: Path, limits: Limits) -> None:
    """Separate this process from the grader's: its output, its limits, its user."""
    _stand_alone(printed)
    _limit(limits)
    if limits.user:
        _become(limits.user)


def _stand_alone(printed: Path) -> None:
    """Start a process group that can be killed as one; print to a file, and run in its folder."""
    if hasattr(os, "setsid"):
        os.setsid()
    os.chdir(printed.parent)
    out = os.open(printed, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(out, standard)
    os.close(out)
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115


def _limit(limits: Limits) -> None:
    """Limit CPU time, memory and file sizes, where the system supports it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    seconds = round(limits.cpu_seconds) + 1
    wanted = {"RLIMIT_CPU": seconds, "RLIMIT_AS": _used() + limits.memory_bytes}
    if limits.is_sandboxed:  # outside a sandbox, all processes of the user count
        wanted["RLIMIT_NPROC"] = PROCESSES
    for name, value in {**wanted, "RLIMIT_FSIZE": PRINTED_BYTES, "RLIMIT_CORE": 0}.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (ValueError, OSError):  # a lower limit is set, or the system (macOS) has none
            continue


def _become(user: str) -> None:
    """Drop root privileges and become another user."""
    import pwd

    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _used() -> int:
    """The address space in use, most of it by BLAS threads."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
