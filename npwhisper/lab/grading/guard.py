"""What a task may not do while it runs: a second check after that of `rules` on the source.

Two hooks of the interpreter, in the worker only. Both can be circumvented deliberately (for one, by a C function called
through ctypes); `.github/SECURITY.md` says what that means.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from npwhisper.lab.grading.rules import Finding, may_call, refusal
from npwhisper.tracing.seam import Function

PACKAGE = str(Path(__file__).parents[2]) + os.sep
CHECKING = str(Path(__file__).parents[1] / "checking.py")
SHIPPED = "reference_cases.npz"
PASSAGES = PACKAGE + "__init__.py"  # whose `__getattr__` resolves the public names
PROCESSES = ("os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "subprocess.", "pty.spawn")
OTHER = ("socket.connect", "socket.bind", "sys.setprofile", "sys.settrace", "gc.get_")


class RefusedError(Exception):
    """A student's function did something that is not allowed."""


class Guard:
    """Refuses what a task may not use, and records it, since the function may catch the error."""

    def __init__(self, task: str, file: str) -> None:
        self.task, self.file, self.findings = task, file, list[Finding]()
        self.is_hooking = False

    def refuse_events(self) -> None:
        """Refuse, until the process ends, to start other processes, use the network, or read the shipped cases."""

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and SHIPPED in str(arguments[0]) and not _is_checking(sys._getframe(1)):
                self.refuse("it reads the shipped cases", sys._getframe(1))
            if event.startswith((*PROCESSES, *OTHER)) and not self.is_hooking:
                raise RefusedError(f"{event} is not allowed while a task is graded")

        sys.addaudithook(hook)

    def watched(self, function: Function) -> Function:
        """The function, wrapped so that a call of an npwhisper function that the task may not use raises."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.is_hooking = True
            sys.setprofile(hook)
            self.is_hooking = False
            try:
                return function(*args, **kwargs)
            finally:
                self.is_hooking = True
                sys.setprofile(None)
                self.is_hooking = False

        def hook(frame: FrameType, event: str, argument: Any) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(PACKAGE) and _is_entry(frame, call.__code__):
                self._judge(frame)

        call.__wrapped__ = function  # type: ignore[attr-defined]
        return call

    def _judge(self, frame: FrameType) -> None:
        """Refuse a call of npwhisper that the task may not make."""
        name = _called(frame)
        if not may_call(self.task, name) and not name.startswith("__"):
            self.refuse(refusal(self.task, name), frame)

    def refuse(self, sentence: str, frame: FrameType | None) -> None:
        """Record the line of the student's file that caused this, and raise."""
        while frame is not None and frame.f_code.co_filename != self.file:
            frame = frame.f_back
        self.findings.append(Finding(frame.f_lineno if frame else 0, sentence))
        raise RefusedError(sentence)


def _called(frame: FrameType) -> str:
    """The name of the called function; behind the seam, the name of the layer."""
    if frame.f_code.co_name == "call" and frame.f_code.co_filename.endswith("seam.py"):
        return str(frame.f_locals["function"].__name__)
    return frame.f_code.co_name


def _is_entry(frame: FrameType, guard: CodeType) -> bool:
    """Whether the student's function calls npwhisper here directly, not through other npwhisper functions."""
    if not frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code.co_filename == PASSAGES:
        return False
    caller = frame.f_back
    while caller is not None and caller.f_code is not guard:
        if caller.f_code.co_filename.startswith(PACKAGE):
            return False
        caller = caller.f_back
    return caller is not None


def _is_checking(frame: FrameType | None) -> bool:
    """Whether this happens inside `check`, which a file may call while it is imported."""
    while frame is not None and not (frame.f_code.co_name == "check" and frame.f_code.co_filename == CHECKING):
        frame = frame.f_back
    return frame is not None
