"""Grading as an instructor does it, in an empty directory: functions right, wrong, endless, crashing and missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from npwhisper.lab.exercises import EXERCISES
from npwhisper.lab.grading import grader
from npwhisper.lab.grading.grader import Grader, Verdict
from npwhisper.lab.grading.plugin import ASSIGNMENTS

ROOT = Path(__file__).parents[3]
STUDENT = """
import numpy as np

def linear(x, w):
    y = np.einsum("...i,oi->...o", x, w["weight"])
    return y + w["bias"] if "bias" in w else y

def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)

def layer_norm(x, w):
    print("I was here")
    std = x.std(axis=-1, ddof=1, keepdims=True)
    return (x - x.mean(axis=-1, keepdims=True)) / std * w["weight"] + w["bias"]

def gelu(x):
    while True:
        pass

def log_softmax(x):
    return np.lib.stride_tricks.as_strided(x, strides=(1 << 40,) * x.ndim).copy() + np.ones(1 << 20)

def sinusoids(length, channels):
    raise SystemExit

def conv1d(x, w, stride=1):
    raise NotImplementedError

def embeding(tokens, w):
    return w["weight"][tokens]
"""


def run_pytest(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    installed = any(point.value == "npwhisper.lab.grading" for point in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "npwhisper.lab.grading"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "COLUMNS": "200"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugin, *args]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "student.py").write_text(STUDENT)
    return tmp_path


EXPECTED = [
    ("linear", "1/1", "right"),
    ("conv1d", "0/3", "unwritten"),
    ("layer_norm", "0/2", "wrong     Perhaps the variance is divided by D - 1"),
    ("embedding", "0/1", "missing   student.py has no function 'embedding': did you mean embeding?"),
    ("gelu", "0/2", "too slow"),
    ("softmax", "2/2", "right"),
    ("log_softmax", "0/1", "crashed"),
    ("sinusoids", "0/2", "crashed"),
]


@pytest.mark.slow
def test_a_file_is_graded_task_by_task(folder: Path) -> None:
    run = run_pytest(folder, "--pyargs", "npwhisper.lab.grading", "--layers", "student.py", "--task-seconds", "2")
    assert run.returncode == 1, run.stdout + run.stderr
    for name, points, rest in EXPECTED:
        assert re.search(rf"^ +{name} +{points}  {re.escape(rest)}", run.stdout, re.MULTILINE), run.stdout
    assert "a1  layers: 3 of 14 points" in run.stdout
    assert "total: 3 of 14 points" in run.stdout
    assert "a2" not in run.stdout
    assert "gelu did not end within 2 s: is there an endless loop?" in run.stdout
    assert "log_softmax ended the whole process" in run.stdout
    assert "It printed:\n  | I was here" in run.stdout
    assert "6 failed, 2 passed" in run.stdout
    assert "Traceback" not in run.stdout


@pytest.mark.slow
def test_markers_choose_an_assignment_and_tasks_are_selected_by_name(folder: Path) -> None:
    run = run_pytest(folder, "--layers", "student.py", "-m", "a5", "-k", "dtw or softmax", "-q")
    assert "total: 0 of 4 points" in run.stdout
    assert run.stdout.count("missing ") == 2
    assert "softmax" not in run.stdout
    run = run_pytest(
        folder, "--layers", "student.py", "-k", "linear or softmax and not log", "--junitxml", "grades.xml"
    )
    assert run.returncode == 0, run.stdout
    assert "total: 3 of 3 points" in run.stdout
    assert '<property name="points" value="2" />' in (folder / "grades.xml").read_text()


@pytest.mark.slow
def test_the_librarys_own_tests_call_the_students_functions(folder: Path) -> None:
    (folder / "test_library.py").write_text(
        "import numpy as np\n"
        "from npwhisper.model import layers\n"
        "def test_softmax(): assert layers.softmax(np.zeros((1, 4), np.float32)).tolist() == [[0.25] * 4]\n"
        "def test_norm():\n"
        "    y = layers.layer_norm(np.array([[1, 3]], np.float32), {'weight': np.ones(2), 'bias': np.zeros(2)})\n"
        "    np.testing.assert_allclose(y, [[-1, 1]], rtol=1e-4)\n"
        "def test_gelu(): layers.gelu(np.zeros(3, np.float32))\n"
    )
    arguments = ("--layers", "student.py", "--task-seconds", "1", "-k", "test_", "-rf")
    output = run_pytest(folder, *arguments).stdout
    assert "2 failed, 1 passed" in output
    assert re.search("FAILED test_library.py::test_norm - AssertionError", output)
    assert re.search("FAILED test_library.py::test_gelu - TimeoutError: the test did not end within 1 s", output)


CELLS = [
    "import torch\ndef gelu(x):\n    return torch.nn.functional.gelu(torch.tensor(x)).numpy()",
    "def linear(x, w):\n    return (x @ w['weight'].T",
    "%%time\ndef embedding(tokens, w):\n    return w['weight'][tokens]",
]


def written_notebook(path: Path, *sources: str) -> Path:
    cells = [{"cell_type": "code", "source": source, "metadata": {}, "outputs": []} for source in sources]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Zoë's notebook (1).ipynb", "renamed.py"])
def test_of_a_notebook_a_cell_that_fails_costs_its_own_task(tmp_path: Path, name: str) -> None:
    written_notebook(tmp_path / name, *CELLS)
    output = run_pytest(tmp_path, "--layers", name, "-m", "a1").stdout
    assert re.search(r"^ +embedding +1/1  right", output, re.MULTILINE), output
    assert re.search(r"^ +gelu +0/2  refused +line \d+: it uses torch: a1 is written with NumPy", output, re.MULTILINE)
    assert re.search(
        r"^ +linear +0/1  wrong +linear \(cell 2\) is not Python: '\(' was never closed", output, re.MULTILINE
    )
    assert f"{name} has no function 'softmax'" in output
    assert "total: 1 of 14 points" in output


def test_an_empty_notebook_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.ipynb").write_text("")
    run = run_pytest(tmp_path, "--layers", "empty.ipynb")
    assert run.returncode == 4
    assert "empty.ipynb is empty: save the notebook, and hand it in again" in run.stderr


def test_a_missing_file_is_reported() -> None:
    run = run_pytest(ROOT, "--layers", "nobody.py", "npwhisper/tracing/tables.py")
    assert run.returncode == 4
    assert "nobody.py: give --layers the path of the student's functions" in run.stderr


# One worker


def graded(path: Path, source: str, *names: str, seconds: float = 10.0) -> list[Verdict]:
    path.write_text(source)
    grader = Grader(path, seconds)
    return [grader.run(name) for name in names]


def test_a_file_that_cannot_be_imported_fails_every_task(tmp_path: Path) -> None:
    verdicts = graded(tmp_path / "mine.py", "import numpyy", "gelu", "softmax")
    assert [verdict.status for verdict in verdicts] == ["wrong", "wrong"]
    assert verdicts[0].report == "mine.py cannot be imported: ModuleNotFoundError: No module named 'numpyy'"
    (verdict,) = graded(tmp_path / "mine.py", "def gelu(x:", "gelu")
    assert "cannot be imported: SyntaxError" in verdict.report


@pytest.mark.slow
def test_a_file_that_never_ends_fails_every_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grader, "START_SECONDS", 4.0)
    began = time.monotonic()
    verdicts = graded(tmp_path / "mine.py", "while True: pass", "gelu", "softmax", "linear")
    assert verdicts == [Verdict("wrong", "importing mine.py took more than 4 s")] * 3
    assert time.monotonic() - began < 3 * 4  # it is waited for once, not for every task


@pytest.mark.slow
def test_every_task_gets_a_process_of_its_own(tmp_path: Path) -> None:
    source = (
        "import numpy as np, time\n"
        "def softmax(x):\n  e = np.exp(x - x.max(-1, keepdims=True)); return e / e.sum(-1, keepdims=True)\n"
        "def gelu(x):\n  time.sleep(99)\n"
        "def merge_heads(x):\n  raise KeyboardInterrupt\n"
    )
    verdicts = graded(tmp_path / "mine.py", source, "softmax", "gelu", "softmax", "merge_heads", "softmax", seconds=10)
    assert [verdict.status for verdict in verdicts] == ["right", "too slow", "right", "crashed", "right"]


def test_every_assignment_has_tasks_and_points() -> None:
    assert {exercise.assignment for exercise in EXERCISES.values()} == set(ASSIGNMENTS)
    assert all(exercise.points > 0 for exercise in EXERCISES.values())
