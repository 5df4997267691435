"""Grading the tasks of one submission: which file counts, its points, and the fingerprints of its code.

``python -m npwhisper.lab.course.marking`` reads a request as JSON and writes the marks as JSON. `run` starts one such
process per submission, so that a file that crashes its reader affects only that submission.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from npwhisper.lab.course.names import printable
from npwhisper.lab.course.similarity import fingerprints
from npwhisper.lab.exercises import EXERCISES
from npwhisper.lab.grading.encodings import read_text
from npwhisper.lab.grading.grader import Grader, Verdict, seed_of
from npwhisper.lab.grading.notebook import NotebookError, collect, collect_script, is_notebook

NOT_GRADED = "not graded"
SECRET = "NPWHISPER_SECRET"  # the environment variable that holds the secret


class Options(NamedTuple):
    """How a class is graded."""

    assignment: str
    tasks: tuple[str, ...] = ()
    seconds: float = 10.0
    start: float = 60.0
    memory: float = 2.0
    partial: bool = False
    seed: int | None = None
    secret: str = ""
    user: str = ""
    is_sandboxed: bool = False

    @property
    def chosen(self) -> list[str]:
        """The tasks to grade."""
        return [t for t, e in EXERCISES.items() if e.assignment == self.assignment and t in (self.tasks or EXERCISES)]


class Mark(NamedTuple):
    """The mark of one task."""

    task: str
    points: float
    of: int
    status: str
    report: str = ""
    right: int = 0
    cases: int = 0


class Marks(NamedTuple):
    """The marks of one submission, and notes on it."""

    student: str
    number: str = ""
    is_late: bool = False
    file: str = ""
    marks: tuple[Mark, ...] = ()
    notes: tuple[str, ...] = ()
    code: str = ""
    left_out: tuple[str, ...] = ()
    shapes: Mapping[str, Mapping[str, int]] = {}
    seconds: float = 0.0

    @property
    def points(self) -> float:
        """The sum of the points."""
        return round(sum(mark.points for mark in self.marks), 2)

    @property
    def of(self) -> int:
        """The maximum number of points."""
        return sum(mark.of for mark in self.marks)


class Code(NamedTuple):
    """A file as it is graded."""

    name: str
    path: Path
    text: str
    broken: Mapping[str, str]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def seed_for(identity: str, options: Options) -> int:
    """The seed of a student's fresh cases: the given seed, or one derived from the secret, if any, and the student.

    >>> seed_for("alice", Options("a1")) == seed_of(Path("alice.py")) != seed_for("alice", Options("a1", secret="x"))
    True
    """
    if options.seed is not None:
        return options.seed
    if not options.secret:
        return seed_of(Path(f"{identity.replace('/', '_')}.py"))
    return int.from_bytes(
        hashlib.sha256(f"{options.secret}\0{identity}".encode("utf-8", "replace")).digest()[:4], "big"
    )


def mark(request: Mapping[str, Any], options: Options) -> Marks:
    """Grade one submission; problems with it become notes."""
    began, known = time.monotonic(), {key: request[key] for key in ("student", "number", "is_late")}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the worker's user must be able to read it
        codes, notes = _codes(request, Path(folder))
        if not codes:
            reason = "nothing that can be graded was handed in"
            return Marks(**known, marks=_all_missing(options, reason), notes=(*notes, reason))
        best = max(codes, key=lambda code: len(_tried(code, options)))
        notes += [f"{printable(code.name)} is not graded: {printable(best.name)} is" for code in codes if code != best]
        graders = {task: _grader(best, task, request["identity"], options) for task in options.chosen}
        marks = tuple(_mark(grader, task, options) for task, grader in graders.items())
    seconds = round(time.monotonic() - began, 1)
    return Marks(**known, **_seen(best), marks=marks, notes=(*notes, *best.notes), seconds=seconds)


def _seen(code: Code) -> dict[str, Any]:
    """The fields of the marks about the graded file."""
    return {"file": code.name, "code": code.text, "left_out": code.left_out, "shapes": fingerprints(code.text)}


def _all_missing(options: Options, reason: str) -> tuple[Mark, ...]:
    return tuple(Mark(task, 0, EXERCISES[task].points, "missing", reason) for task in options.chosen)


def _codes(request: Mapping[str, Any], folder: Path) -> tuple[list[Code], list[str]]:
    """The readable files, as they are graded, and a note on each of the others."""
    codes, notes = list[Code](), list[str](request["notes"])
    for number, (name, path) in enumerate(request["files"]):
        target = folder / str(number) / f"{request['safe']}.py"
        target.parent.mkdir()
        try:
            codes.append(_code(name, Path(path), target))
        except (NotebookError, OSError, ValueError, RecursionError, MemoryError) as error:
            reason = printable(error).replace(printable(path), printable(name))[:300]
            is_said = reason.startswith(printable(name))
            notes.append(reason if is_said else f"{printable(name)} cannot be read: {reason}")
    return codes, notes


def _code(name: str, path: Path, target: Path) -> Code:
    """A file as it is graded, written to `target` for the worker."""
    text, note = read_text(path)
    collected = collect(path) if is_notebook(name, text) else collect_script(text)
    target.write_text(collected.code, encoding="utf-8", errors="backslashreplace")
    notes = (f"{printable(name)}: {note}",) if note else ()
    return Code(name, target, collected.code, collected.broken, tuple(collected.left_out), notes)


def _tried(code: Code, options: Options) -> list[str]:
    """The tasks that a file defines."""
    names = {node.name for node in _tree(code.text).body if isinstance(node, ast.FunctionDef)} | set(code.broken)
    return [task for task in options.chosen if task in names or f"{task} =" in code.text]


def _tree(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def _grader(code: Code, task: str, identity: str, options: Options) -> Grader:
    """The grader of one task; it gets only what the task needs, so that errors in other lines do not matter."""
    memory, seed = int(options.memory * 2**30), seed_for(identity, options)
    rights = (options.user, options.is_sandboxed)
    grader = Grader(code.path, options.seconds, seed, memory, options.start, *rights)
    grader.name, grader.broken = printable(code.name), code.broken
    return grader.narrowed(task)


def _mark(grader: Grader, task: str, options: Options) -> Mark:
    """Grade one task; if the grader itself fails, mark the task for the instructor."""
    of = EXERCISES[task].points
    try:
        verdict = grader.grade(task)
    except Exception as error:
        verdict = Verdict(NOT_GRADED, f"the grader failed: {type(error).__name__}: {printable(error)[:300]}")
    report = verdict.report.replace(f", seed {grader.seed}", ", hidden") if options.secret else verdict.report
    points = of if verdict.status == "right" else _part(of, verdict) if options.partial else 0
    return Mark(task, points, of, verdict.status, report, verdict.right, verdict.cases)


def _part(of: int, verdict: Verdict) -> float:
    """Partial points of a wrong function, for the cases that are right."""
    return round(of * verdict.right / verdict.cases, 2) if verdict.status == "wrong" and verdict.cases else 0


def read_marks(fields: Mapping[str, Any]) -> Marks:
    """Marks from JSON."""
    marks = tuple(Mark(**one) for one in fields["marks"])
    texts = {key: tuple(fields[key]) for key in ("notes", "left_out")}
    return Marks(**{**fields, "marks": marks, **texts})


def main(arguments: Sequence[str]) -> None:
    """Read a request from the first file, grade it, and write the marks to the second."""
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    options = Options(**{**request["options"], "tasks": tuple(request["options"]["tasks"])})
    found = mark(request, options)
    fields = {**found._asdict(), "marks": [one._asdict() for one in found.marks]}
    Path(arguments[1]).write_text(json.dumps(fields), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
