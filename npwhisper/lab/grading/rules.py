"""What the functions of each assignment may use: NumPy, plain Python, and the functions of earlier assignments.

These are only the tables; `source` checks a student's file against them, and `guard` a running function.
"""

from __future__ import annotations

from typing import NamedTuple

from npwhisper.lab.exercises import EXERCISES


class Finding(NamedTuple):
    """Something that is not allowed, and its line in the student's file (0 if unknown)."""

    line: int
    sentence: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.sentence}" if self.line else self.sentence


MODULES = {
    "__future__", "abc", "array", "bisect", "cmath", "collections", "contextlib", "copy", "dataclasses", "decimal",
    "enum", "fractions", "functools", "heapq", "itertools", "logging", "math", "matplotlib", "npwhisper", "numbers",
    "numpy", "operator", "pprint", "random", "re", "scipy", "statistics", "string", "textwrap", "time", "typing",
    "typing_extensions", "warnings", "zlib",
}  # fmt: skip
"""Modules that a task may use, except for the following."""

READY_MADE = {
    "scipy.special.softmax",
    "scipy.special.log_softmax",
    "scipy.signal.stft",
    "scipy.signal.spectrogram",
    "scipy.signal.ShortTimeFFT",
    "scipy.signal.medfilt",
    "scipy.ndimage.median_filter",
    "numpy.f2py",
    "numpy.testing",
    "operator.attrgetter",
    "operator.methodcaller",
    "scipy.io",
    "string.Formatter",
    "typing.ForwardRef",
    "typing.get_type_hints",
}
"""Functions that solve a task, or that access attributes, open files or evaluate strings by name."""
FILES = {
    "load", "fromfile", "loadtxt", "genfromtxt", "memmap", "fromregex", "ctypeslib", "DataSource", "npyio",
}  # fmt: skip
REACHING = {
    "builtins", "ctypes", "f_back", "f_builtins", "f_globals", "f_locals", "gc", "gi_frame", "importlib", "inspect",
    "modules", "os", "sys", "tb_frame", "threading",
}  # fmt: skip
"""Attributes that lead from a harmless module to a harmful one, or to the caller."""

DUNDERS = {
    "__array__", "__array_priority__", "__call__", "__class__", "__doc__", "__enter__", "__eq__", "__exit__",
    "__init__", "__len__", "__main__", "__name__", "__ne__", "__new__", "__post_init__", "__setitem__", "__getitem__",
    "__version__",
}  # fmt: skip
"""The only dunder names that a task may use."""

BUILTINS = {
    "__import__", "__builtins__", "__loader__", "__spec__", "breakpoint", "compile", "delattr", "eval", "exec",
    "getattr", "globals", "input", "locals", "open", "setattr", "vars",
}  # fmt: skip
"""Built-in functions that a task may not use; `getattr` with a constant name counts as an attribute."""

CACHES = {
    "KeyValues", "BlockCache", "Cache", "append", "empty", "length", "rows", "positions", "emptied", "fit",
}  # fmt: skip
HELPERS: dict[str, set[str]] = {
    "a1": set(),
    "a2": CACHES,
    "a3": CACHES,
    "a4": {"Hypothesis", "RuleContext", "nest"},
    "a5": set(),
}
"""What else of npwhisper an assignment may use, because it is given; but no task may use itself."""


def may_call(task: str, name: str) -> bool:
    """Whether a task may use npwhisper's function of this name.

    >>> may_call("softmax", "linear"), may_call("attend", "softmax"), may_call("attend", "scores")
    (False, True, False)
    """
    own = EXERCISES[task].assignment
    if name == task:
        return False
    if name in HELPERS[own] or name.isupper() or name in DUNDERS or name.startswith("<"):
        return True
    return name in EXERCISES and EXERCISES[name].assignment < own


def refusal(task: str, name: str) -> str:
    """Why a task may not use a function of npwhisper."""
    own = EXERCISES[task].assignment
    which = "which is the task itself" if name == task else f"which {own} may not use"
    return f"it uses npwhisper's {name}, {which}; {_allowed(own)}"


def _allowed(assignment: str) -> str:
    if assignment == "a1":
        return "write it with NumPy and your own functions"
    return f"write it with NumPy, your own functions and npwhisper's functions of assignments before {assignment}"
