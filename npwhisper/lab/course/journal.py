"""The finished marks, one line per submission, so that an interrupted run can resume.

The journal is kept next to the tables while a class is graded, and removed once they are written. Marks are reused if
files, options and version are the same; a submission whose line is incomplete is graded again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import npwhisper
from npwhisper.lab.course.marking import Marks, Options, read_marks
from npwhisper.lab.course.submissions import Submission
from npwhisper.lab.course.tables import needs_a_look


def key_of(submission: Submission, options: Options) -> str:
    """A hash of everything that the marks of a submission depend on."""
    files = [[file.name, hashlib.sha256(file.path.read_bytes()).hexdigest()] for file in submission.files]
    fields = {**submission._asdict(), "files": files, "options": options._asdict(), "version": npwhisper.__version__}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode("utf-8", "replace")).hexdigest()


class Journal:
    """The marks of a run, written to disk as soon as they are known; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known = _read(path) if path else {}

    def add(self, key: str, marks: Marks) -> None:
        """Append the marks of a submission, unless the grader failed."""
        if self.path is None or needs_a_look([marks]):
            return
        line = json.dumps({"key": key, "marks": {**marks._asdict(), "marks": [one._asdict() for one in marks.marks]}})
        with open(self.path, "ab") as file:
            file.write(f"\n{line}".encode())  # a leading line break ends an incomplete line
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Delete the journal once the tables are written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Marks]:
    """The complete lines of a journal."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    return dict(entry for line in lines if (entry := _entry(line)))


def _entry(line: bytes) -> tuple[str, Marks] | None:
    try:
        fields: Mapping[str, Any] = json.loads(line)
        return str(fields["key"]), read_marks(fields["marks"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
