"""The command ``npwhisper grade`` on small classes: options, limits, and what it writes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from npwhisper.__main__ import main
from npwhisper.lab.course import run
from npwhisper.lab.course.marking import NOT_GRADED, Options
from npwhisper.lab.course.submissions import find

EMBEDDING = 'def embedding(tokens, w):\n    return w["weight"][tokens]\n'
BROKEN = 'def embedding(tokens, w):\n    return (w["weight"][tokens]\n'
HALF = 'def linear(x, w):\n    if x.ndim == 3:\n        raise ValueError\n    y = x @ w["weight"].T\n'
HALF += '    return y + w["bias"] if "bias" in w else y\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("NPWHISPER_SECRET", raising=False)
    (tmp_path / "class").mkdir()
    return tmp_path / "class"


def grade(folder: Path, *arguments: str, tasks: tuple[str, ...] = ("embedding",)) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and the students of the JSON."""
    report = folder.parent / "report.json"
    status = main(["grade", str(folder), "-a", "a1", "--tasks", *tasks, "--json", str(report), *arguments])
    return status, json.loads(report.read_text())["students"]


def only(folder: Path, code: str, *arguments: str, task: str = "embedding") -> dict[str, Any]:
    """What a task of one student got."""
    (folder / "ann.py").write_text(code)
    _, (student,) = grade(folder, *arguments, tasks=(task,))
    mark: dict[str, Any] = student["marks"][0]
    return mark


@pytest.mark.slow
def test_a_class_is_graded_in_several_processes_in_the_order_of_names(folder: Path) -> None:
    for name in ("cid", "ann", "bob"):
        (folder / f"{name}.py").write_text(EMBEDDING if name != "bob" else "def embedding(tokens, w): return 1")
    table, pages = folder.parent / "p.csv", folder.parent / "pages"
    status, found = grade(folder, "--csv", str(table), "--feedback", str(pages), "--jobs", "3")
    assert status == 0
    assert [(student["student"], student["points"]) for student in found] == [("ann", 1), ("bob", 0), ("cid", 1)]
    assert [row["embedding"] for row in csv.DictReader(table.read_text("utf-8-sig").splitlines())] == ["1", "0", "1"]
    assert sorted(path.name for path in pages.iterdir()) == ["ann.html", "bob.html", "cid.html"]
    assert grade(folder, "--strict")[0] == 1


@pytest.mark.slow
def test_partial_credit_is_the_share_of_cases(folder: Path) -> None:
    none, part = only(folder, HALF, task="linear"), only(folder, HALF, "--partial", task="linear")
    assert 0 < part["right"] < part["cases"]
    assert (none["points"], part["points"]) == (0, round(part["right"] / part["cases"], 2))


@pytest.mark.slow
def test_seeds_are_said_and_hidden_ones_are_not(folder: Path) -> None:
    wrong = "def embedding(tokens, w): return tokens"
    assert "seed 77" in only(folder, wrong, "--seed", "77")["report"]
    private = folder.parent / "word"
    private.write_text("word\n")
    report = only(folder, wrong, "--secret-file", str(private))["report"]
    assert "tokens, hidden" in report
    assert "seed" not in report


@pytest.mark.slow
def test_time_limits_cost_what_hangs(folder: Path) -> None:
    loop = only(folder, "def embedding(tokens, w):\n    while True: pass", "--seconds", "1")
    assert (loop["status"], loop["points"]) == ("too slow", 0)
    slow = "def wait():\n    while True: pass\nTABLE = wait()\ndef embedding(tokens, w): return TABLE"
    assert "took more than 3 s" in only(folder, slow, "--start-seconds", "3")["report"]


@pytest.mark.slow
def test_what_fails_at_import_costs_the_tasks_that_need_it(folder: Path) -> None:
    (folder / "ann.py").write_text(f"import os\nBAD = [][0]\ndef gelu(x): return BAD\n{EMBEDDING}os.abort()\n")
    _, (student,) = grade(folder, tasks=("embedding", "gelu"))
    assert {mark["task"]: mark["status"] for mark in student["marks"]} == {"embedding": "right", "gelu": "wrong"}
    assert "IndexError" in next(mark["report"] for mark in student["marks"] if mark["task"] == "gelu")
    assert student["left_out"] == ["line 5: os.abort()"] or "line 6: os.abort()" in student["left_out"]


@pytest.mark.slow
def test_a_first_hour_of_wrong_turns_is_told_in_the_students_words(folder: Path) -> None:
    """Names with spaces and umlauts, a notebook called .py, a syntax error, an empty file: each says what it is."""
    notebook = {"cells": [{"cell_type": "code", "source": EMBEDDING, "metadata": {}}], "metadata": {}, "nbformat": 4}
    (folder / "Zoë Groß.py").write_text(json.dumps(notebook), encoding="utf-8")
    (folder / "Ann Lee.py").write_text("def embeding(tokens, w):\n    return 1\n")
    (folder / "bob.ipynb.txt").write_text(
        json.dumps({**notebook, "cells": [{**notebook["cells"][0], "source": BROKEN}]})
    )
    (folder / "cid.ipynb").write_text(" ")
    (folder / "dora.py").write_text("def embedding(tokens, w):\n    print(tokens.shape)\n    w['weight'][tokens]\n")
    _, found = grade(folder)
    told = {student["student"]: student["marks"][0] for student in found}
    assert {name: mark["status"] for name, mark in told.items()} == {
        "Ann Lee": "missing", "Zoë Groß": "right", "bob": "wrong", "cid": "missing", "dora": "wrong"
    }  # fmt: skip
    assert told["Ann Lee"]["report"] == "Ann Lee.py has no function 'embedding': did you mean embeding?"
    assert told["bob"]["report"].startswith("embedding (cell 1) is not Python: '(' was never closed")
    assert "Perhaps a return is missing" in told["dora"]["report"]
    assert "It printed:\n  | (" in told["dora"]["report"]
    notes = next(student["notes"] for student in found if student["student"] == "cid")
    assert notes[0] == "cid.ipynb is empty: save the notebook, and hand it in again"


@pytest.mark.slow
def test_gradescope_gets_one_submission(folder: Path) -> None:
    (folder / "a1.py").write_text(EMBEDDING)
    metadata = folder.parent / "submission_metadata.json"
    metadata.write_text(json.dumps({"users": [{"email": "ann@x.org"}, {"name": "Bob"}]}))
    results = folder.parent / "results.json"
    _, (student,) = grade(folder, "--metadata", str(metadata), "--gradescope", str(results))
    assert student["student"] == "ann@x.org, Bob"
    (test,) = json.loads(results.read_text())["tests"]
    assert (test["name"], test["score"], test["max_score"], test["status"]) == ("embedding", 1, 1, "passed")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tasks", "scores"], "--tasks scores: a1 has linear"),
        (["--seconds", "0"], "must be greater than 0"),
        (["--user", "no-such-user"], "--user no-such-user: this system has no such user"),
        (["--csv", "no/such/p.csv"], "--csv no/such/p.csv: there is no folder 'no/such': create it first"),
        (["--gradescope", "r.json"], "--gradescope is for one submission, but there are 2"),
    ],
)
def test_wrong_usage_is_one_sentence(
    folder: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ann", "bob"):
        (folder / f"{name}.py").write_text("")
    with pytest.raises(SystemExit) as caught:
        main(["grade", str(folder), "-a", "a1", *arguments])
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


def test_no_submissions_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grade", str(folder), "-a", "a1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_where_the_grader_fails_the_marks_say_so(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "ann.py").write_text(EMBEDDING)
    submissions = find([str(folder)], tmp_path / "unused")
    monkeypatch.setattr(run, "START", "raise SystemExit('no memory')")
    ((place, marks),) = run.grade_all(submissions, Options("a1"), 1)
    assert (place, {mark.status for mark in marks.marks}) == (0, {NOT_GRADED})
    assert marks.notes == ("grading ended with status 1: no memory",)


FAKE = """#!/bin/sh
exec env PYTHONPATH={packages} {python} -m npwhisper "$@"
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="Gradescope runs bash")
def test_the_gradescope_autograder_runs_in_its_layout(tmp_path: Path) -> None:
    """As root the student's code runs as nobody; else the script's `--user` is taken out."""
    root, packages = tmp_path / "autograder", Path(__file__).parents[2]
    assert main(["autograder", "gradescope", str(tmp_path / "kit"), "-a", "a1", "--seconds", "5"]) == 0
    for name in ("source", "submission", "results"):
        (root / name).mkdir(parents=True)
    shutil.unpack_archive(tmp_path / "kit.zip", root / "source")
    shutil.copy(root / "source" / "run_autograder", root / "run_autograder")
    (root / "submission" / "a1.py").write_text(EMBEDDING)
    (root / "submission_metadata.json").write_text('{"users": [{"email": "ann@x.org"}]}')
    command = tmp_path / "npwhisper"
    command.write_text(FAKE.format(packages=packages, python=sys.executable))
    command.chmod(0o755)
    if os.geteuid():
        script = root / "run_autograder"
        script.write_text(script.read_text().replace("--user nobody ", ""))
    environment = {**os.environ, "AUTOGRADER": str(root), "NPWHISPER": str(command)}
    done = subprocess.run(["bash", str(root / "run_autograder")], env=environment, capture_output=True, text=True)
    results = json.loads((root / "results" / "results.json").read_text())
    assert {test["name"]: test["score"] for test in results["tests"]}["embedding"] == 1, done.stdout + done.stderr
    assert sum(test["max_score"] for test in results["tests"]) == 14
    assert (root / "source").stat().st_mode & 0o077 == 0
