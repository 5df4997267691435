"""Points as a printed table, as CSV for a gradebook, as JSON with everything, and as Gradescope's results.json."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from npwhisper.lab.course.marking import NOT_GRADED, Mark, Marks
from npwhisper.lab.course.names import cell, printable
from npwhisper.lab.course.similarity import Pair


def number(points: float) -> str:
    """Points without trailing zeros.

    >>> number(2.0), number(0.67)
    ('2', '0.67')
    """
    return f"{points:.2f}".rstrip("0").rstrip(".")


def as_csv(class_marks: Sequence[Marks]) -> str:
    """A row per student: name, points of each task, total, tasks that are not right, and notes."""
    tasks = [mark.task for mark in class_marks[0].marks] if class_marks else []
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["student", "number", "late", "file", *tasks, "points", "of", "not right", "notes"])
    for marks in class_marks:
        given = [cell(marks.student), cell(marks.number), "late" if marks.is_late else "", cell(marks.file)]
        points = [number(mark.points) for mark in marks.marks]
        states = "; ".join(f"{mark.task}: {mark.status}" for mark in marks.marks if mark.status != "right")
        writer.writerow([*given, *points, number(marks.points), marks.of, cell(states), cell("; ".join(marks.notes))])
    return out.getvalue()


def as_json(class_marks: Sequence[Marks], pairs: Sequence[Pair]) -> str:
    """Everything except the code."""
    students = [
        {**marks._asdict(), "points": marks.points, "of": marks.of, "marks": [mark._asdict() for mark in marks.marks]}
        for marks in class_marks
    ]
    for student in students:
        del student["shapes"], student["code"]
    return json.dumps({"students": students, "similar": [pair._asdict() for pair in pairs]}, indent=1) + "\n"


def as_table(class_marks: Sequence[Marks]) -> str:
    """A line per student and a line per task."""
    width = min(32, max((len(printable(marks.student)) for marks in class_marks), default=0))
    lines = [_line(marks, width) for marks in class_marks]
    lines += ["", f"{'task':24} right of {len(class_marks)}"]
    for n, task in enumerate(mark.task for mark in class_marks[0].marks):
        states = Counter(marks.marks[n].status for marks in class_marks)
        others = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if state != "right")
        lines.append(f"{task:24} {states['right']:5}   {others}".rstrip())
    return "\n".join(lines)


def _line(marks: Marks, width: int) -> str:
    name = printable(marks.student)[:width]
    states = Counter(mark.status for mark in marks.marks if mark.status != "right")
    others = [f"{count} {state}" for state, count in sorted(states.items())] + (["late"] if marks.is_late else [])
    return f"{name:{width}}  {number(marks.points):>5}/{marks.of}  {', '.join(others)}".rstrip()


def as_pairs(pairs: Sequence[Pair]) -> str:
    """A line per pair of similar submissions."""
    lines = []
    for pair in pairs:
        same = f"  the same: {', '.join(map(printable, pair.same))}" if pair.same else ""
        lines.append(f"{pair.score:4.0%}  {printable(pair.first)}  ~  {printable(pair.second)}{same}")
    return "\n".join(lines)


def as_gradescope(marks: Marks) -> str:
    """The results.json of one submission, by Gradescope's autograder specification."""
    output = [f"Graded: {printable(marks.file)}"] if marks.file else []
    results: dict[str, Any] = {
        "execution_time": marks.seconds,
        "output": "\n".join([*output, *map(printable, marks.notes)]),
        "output_format": "text",
        "test_output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": [_test(mark, str(n)) for n, mark in enumerate(marks.marks, 1)],
    }
    return json.dumps(results, indent=1) + "\n"


def _test(mark: Mark, place: str) -> dict[str, Any]:
    return {
        "name": mark.task,
        "number": place,
        "score": mark.points,
        "max_score": mark.of,
        "status": "passed" if mark.status == "right" else "failed",
        "output": "" if mark.status == "right" else f"{mark.status}\n{mark.report}".rstrip(),
        "tags": [mark.status.replace(" ", "-")],
        "visibility": "visible",
    }


def needs_a_look(class_marks: Sequence[Marks]) -> list[str]:
    """The students whom the grader could not grade."""
    return [marks.student for marks in class_marks if any(mark.status == NOT_GRADED for mark in marks.marks)]
