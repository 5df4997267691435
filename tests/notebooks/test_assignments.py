"""The assignments as they are handed out, solved by the package itself, handed in and graded."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from test_notebooks import ASSIGNMENTS, NOTEBOOKS, cells, name, prose

from npwhisper.lab.exercises import EXERCISES, solution

NOT_YET = "Some functions are not right yet."


def code(path: Path) -> list[str]:
    return [source for kind, source in cells(path) if kind == "code"]


def tasks(path: Path) -> list[str]:
    return [function for function, task in EXERCISES.items() if task.assignment == path.stem[:2]]


def stub(source: str) -> str | None:
    """The name of the function that a cell asks for."""
    found = re.match(r"def (\w+)\(.*?raise NotImplementedError\n\n\ncheck\(\1\)$", source, re.DOTALL)
    return found.group(1) if found else None


@pytest.mark.parametrize("path", ASSIGNMENTS, ids=name)
def test_every_task_of_an_assignment_is_asked_for_with_its_points(path: Path) -> None:
    headings = re.findall(r"^## \d+\. `(\w+)` \((\d+) points?\)$", prose(path), re.MULTILINE)
    assert headings == [(task, str(EXERCISES[task].points)) for task in tasks(path)]  # tables have the same order
    assert [stub(source) for source in code(path) if stub(source)] == [task for task, _ in headings]
    total = sum(EXERCISES[task].points for task in tasks(path))
    assert f"{len(headings)} tasks, {total} points" in prose(path).replace("\n", " ")


@pytest.mark.parametrize("path", ASSIGNMENTS, ids=name)
def test_as_handed_out_it_runs_and_says_that_nothing_is_written(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for source in code(path):
        exec(source, names)
    assert capsys.readouterr().out.strip().endswith(NOT_YET)
    results = [names["check"](names[task]) for task in tasks(path)]
    assert {outcome.problem for result in results for outcome in result.outcomes} == {"it is not written yet"}


def words(text: str) -> str:
    """The words alone: punctuation differs between decoding with timestamps and without."""
    return " ".join(re.findall(r"\w+", re.sub(r"<\|.*?\|>", " ", text).lower()))


@pytest.mark.slow
@pytest.mark.parametrize("path", ASSIGNMENTS, ids=name)
def test_solved_by_the_package_it_recognises_speech(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for source in code(path):
        exec(source, names)
        if task := stub(source):
            names[task] = solution(task)
    printed = capsys.readouterr().out
    assert NOT_YET not in printed
    assert words(names["npwhisper"].transcribe(names["npwhisper"].example())["text"]) in words(printed)


@pytest.mark.slow
def test_a_notebook_that_was_handed_in_is_graded(tmp_path: Path) -> None:
    """From a folder with nothing but the hand-out, through collect.py, to points."""
    notebook = json.loads((NOTEBOOKS / "assignments" / "a1_layers.ipynb").read_text(encoding="utf-8"))
    answers = {
        "linear": "def linear(x, w):\n    return x @ w['weight'].T + w.get('bias', ZERO)",
        "embedding": "def embedding(tokens, w):\n    return w['weight'][tokens] + 1",
    }
    for cell in notebook["cells"]:
        if task := stub("".join(cell["source"])):
            cell["source"] = answers.get(task, "".join(cell["source"])).replace("check", "print('not this') or check")
    notebook["cells"].insert(
        0, {"cell_type": "code", "source": ["%matplotlib inline\n", "ZERO = 0.0\n", "print(1 / 0)"]}
    )
    (tmp_path / "alice.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    shutil.copy(NOTEBOOKS / "assignments" / "collect.py", tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(NOTEBOOKS.parent)}
    subprocess.run([sys.executable, "collect.py", "alice.ipynb"], cwd=tmp_path, env=environment, check=True)

    is_installed = bool(entry_points(group="pytest11", name="npwhisper_grading"))  # then pytest loads it by itself
    plugin = [] if is_installed else ["-p", "npwhisper.lab.grading"]
    arguments = [*plugin, "--layers", "alice.py", "-q", "--rootdir", ".", "-m", "a1"]
    graded = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = {line.split()[0]: line.split()[1:3] for line in graded.stdout.splitlines() if line.startswith("    ")}
    assert lines["linear"] == ["1/1", "right"], graded.stdout + graded.stderr
    assert lines["embedding"] == ["0/1", "wrong"]
    assert lines["gelu"][1] == "unwritten"
    assert "total: 1 of 14 points" in graded.stdout
