"""A page for each student: points, what is right, and the reports on the rest. It runs no scripts."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from npwhisper.checkpoint.replacing import replacing
from npwhisper.lab.course.marking import Mark, Marks
from npwhisper.lab.course.names import printable, unique_names
from npwhisper.lab.course.tables import number

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .2rem 1rem .2rem 0; text-align: left; border-bottom: 1px solid #8888; }}
td.points {{ text-align: right; font-variant-numeric: tabular-nums; }}
pre {{ background: #8881; padding: .8rem; overflow-x: auto; font-size: 14px; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
EXPLAINED = {
    "wrong": "The function ran, but some results are wrong.",
    "missing": "The submission has no function of this name.",
    "unwritten": "The function is unchanged from the handout.",
    "refused": "The function uses something that this assignment does not allow.",
    "too slow": "The function was stopped at its time limit.",
    "crashed": "The function ended its process, or returned something that is not a result.",
    "not graded": "Grading failed. This is not your fault; your instructor will look at it.",
}


def write_feedback(class_marks: Sequence[Marks], folder: Path) -> list[Path]:
    """Write a page for each student to a folder, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    names = unique_names(f"{marks.student}_{marks.number}" if marks.number else marks.student for marks in class_marks)
    paths = [folder / f"{name}.html" for name in names]
    for marks, path in zip(class_marks, paths, strict=True):
        with replacing(path) as file:
            file.write(page(marks).encode("utf-8"))
    return paths


def page(marks: Marks) -> str:
    """The page of a student."""
    student = _text(marks.student)
    parts = [
        f"<h1>{student}</h1>",
        f"<p><strong>{number(marks.points)} of {marks.of} points</strong>{_graded(marks)}</p>",
    ]
    parts += [f"<p>{_text(note)}</p>" for note in marks.notes]
    parts += ["<table>", "<tr><th>task<th>points<th>&nbsp;</tr>", *map(_row, marks.marks), "</table>"]
    parts += [_section(mark) for mark in marks.marks if mark.status != "right"]
    if marks.code.strip() and any(mark.status != "right" for mark in marks.marks):
        parts += ["<h2>What was graded</h2>", _explanation(marks.file), f"<pre>{_numbered(marks.code)}</pre>"]
    if marks.left_out:
        parts += ["<h2>What was left out</h2>", "<p>No task needs it.</p>", f"<pre>{_listed(marks.left_out)}</pre>"]
    return PAGE.format(title=student, body="\n".join(parts))


def _text(text: object) -> str:
    return html.escape(printable(text))


def _graded(marks: Marks) -> str:
    return (f" · {_text(marks.file)}" if marks.file else "") + (" · late" if marks.is_late else "")


def _row(mark: Mark) -> str:
    return f'<tr><td>{mark.task}<td class="points">{number(mark.points)}/{mark.of}<td>{mark.status}</tr>'


def _section(mark: Mark) -> str:
    report = "\n".join(_shown(line) for line in mark.report.splitlines())
    return f"<h2>{mark.task}: {mark.status}</h2>\n<p>{EXPLAINED[mark.status]}</p>\n" + (
        f"<pre>{report}</pre>" if report else ""
    )


def _shown(line: str) -> str:
    """A line of a report, with its indentation."""
    return " " * (len(line) - len(line.lstrip(" "))) + _text(line)


def _explanation(file: str) -> str:
    kept = "on their own lines" if file.lower().endswith(".py") else "from all cells"
    return f"<p>The tasks and what they need, {kept}. Line numbers in the reports refer to these lines.</p>"


def _listed(left_out: Sequence[str]) -> str:
    return "\n".join(map(_text, left_out[:200]))


def _numbered(code: str) -> str:
    lines = code.rstrip().split("\n")[:2000]
    return "\n".join(
        f"{n:4}  {_shown(line.expandtabs(4)[:300])}".rstrip() for n, line in enumerate(lines, 1) if line.strip()
    )
