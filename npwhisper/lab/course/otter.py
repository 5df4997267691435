"""A master notebook for ``otter assign``: the assignment notebook with solutions and tests added.

otter-grader was chosen over nbgrader because its notebooks need no server and its autograders also run on Gradescope
and Canvas. Its tests run in the student's process, without the limits and the rules of ``npwhisper grade``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from npwhisper.checkpoint.replacing import replacing
from npwhisper.lab.exercises import EXERCISES
from npwhisper.lab.grading.encodings import read_text

STUB = re.compile(r"(def (\w+)\(.*?raise NotImplementedError)\s*check\(\2\)\s*", re.DOTALL)
ASSIGN = """# ASSIGNMENT CONFIG
requirements:
    - npwhisper
files: []
export_cell: false
generate:
    show_stdout: true
"""
QUESTION = "# BEGIN QUESTION\nname: {task}\npoints: {points}\n"
SOLUTION = '''# BEGIN SOLUTION NO PROMPT
from npwhisper.lab.exercises import solution
{task} = solution("{task}")
# END SOLUTION
""" # BEGIN PROMPT
{stub}
"""; # END PROMPT'''
TEST = '''""" # BEGIN TEST CONFIG
hidden: {hidden}
""" # END TEST CONFIG
npwhisper.check({task}, "{task}"{seed}).assert_passed()'''


class HandOutError(ValueError):
    """The notebook has no tasks."""


def write_otter(notebook: Path, folder: Path, seed: int) -> list[Path]:
    """Write the master notebook; ``otter assign MASTER dist`` makes the rest from it."""
    master = _master(notebook, seed)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / notebook.name) as file:
        file.write(json.dumps(master, indent=1).encode("utf-8"))
    return [folder / notebook.name]


def _master(notebook: Path, seed: int) -> dict[str, Any]:
    """The notebook with a question per task."""
    try:
        handed_out: Any = json.loads(read_text(notebook)[0])
        cells = [cell for given in handed_out["cells"] for cell in _cells(given, seed)]
    except (ValueError, KeyError, TypeError) as error:
        raise HandOutError(f"{str(notebook)!r} cannot be read as a notebook: {type(error).__name__}: {error}") from None
    if len(cells) == len(handed_out["cells"]):
        raise HandOutError(f"{str(notebook)!r} has no tasks: give an assignment notebook, such as a1_layers.ipynb")
    cells = [_cell("raw", ASSIGN, "config"), *cells]
    return {**handed_out, "cells": [cell | {"id": f"cell-{i}"} for i, cell in enumerate(cells)]}


def _cells(given: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """The cell unchanged, or if it has a task, as a question with solution and tests."""
    found = STUB.fullmatch("".join(given["source"])) if given["cell_type"] == "code" else None
    if not found or found[2] not in EXERCISES:
        yield {**given, "outputs": [], "execution_count": None} if given["cell_type"] == "code" else given
        return
    task, stub = found[2], found[1].replace('"""', "'''")
    yield _cell("raw", QUESTION.format(task=task, points=EXERCISES[task].points))
    yield _cell("raw", "# BEGIN SOLUTION")
    yield _cell("code", SOLUTION.format(task=task, stub=stub))
    yield _cell("raw", "# END SOLUTION")
    yield _cell("raw", "# BEGIN TESTS")
    yield _cell("code", TEST.format(task=task, hidden="false", seed=""))
    yield _cell("code", TEST.format(task=task, hidden="true", seed=f", seed={seed}"))
    yield _cell("raw", "# END TESTS")
    yield _cell("raw", "# END QUESTION")


def _cell(kind: str, source: str, name: str = "") -> dict[str, Any]:
    code: dict[str, Any] = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True), **code, "id": name}
