"""``npwhisper grade`` after an interruption: what is graded and unchanged is not graded again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from npwhisper.__main__ import main
from npwhisper.lab.course import run
from npwhisper.lab.course.journal import Journal, key_of
from npwhisper.lab.course.marking import NOT_GRADED, Mark, Marks, Options
from npwhisper.lab.course.submissions import Submission, find

RIGHT = 'def embedding(tokens, w):\n    return w["weight"][tokens]\n'
NAMES = ("ann", "bob", "cid", "dora", "emil", "Zoë")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("NPWHISPER_SECRET", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "class").mkdir()
    for number, name in enumerate(NAMES):
        wrong = RIGHT.replace("[tokens]", f"[tokens] + {number % 2}")
        (tmp_path / "class" / f"{name}.py").write_text(wrong, encoding="utf-8")
    return tmp_path / "class"


@pytest.fixture
def graded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The students whose submission was graded here, and not read from the journal."""
    names: list[str] = []
    original = run.grade_one

    def recorded(submission: Submission, safe: str, options: Options) -> Marks:
        names.append(submission.student)
        return original(submission, safe, options)

    monkeypatch.setattr(run, "grade_one", recorded)
    return names


def command(table: str, *more: str) -> list[str]:
    return ["grade", "class", "-a", "a1", "--tasks", "embedding", "--csv", table, "--jobs", "1", *more]


def killed_after(lines: int, journal: Path) -> None:
    """Run the command in a process of its own, and kill it when the journal has so many lines."""
    environment = {**os.environ, "PYTHONPATH": str(run.PACKAGES)}
    with subprocess.Popen([sys.executable, "-m", "npwhisper", *command("points.csv")], env=environment) as process:
        until = time.monotonic() + 120
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= lines):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_run_goes_on_and_gives_the_same_table(
    folder: Path, graded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Path("points.csv.journal")
    killed_after(2, journal)
    assert not Path("points.csv").exists()
    kept = set(Journal(journal).known)
    assert 2 <= len(kept) < len(NAMES)
    torn = journal.read_bytes() + b'\n{"key": "0'
    journal.write_bytes(torn)
    (folder / "ann.py").write_text(RIGHT + "x = 1\n")  # ann hands in again
    assert main(command("points.csv")) == 0
    assert f"{len(kept) - 1} of 6 submissions are unchanged" in capsys.readouterr().err
    assert len(graded) == len(NAMES) - len(kept) + 1
    assert "ann" in graded
    assert not journal.exists()
    assert main(command("again.csv")) == 0
    assert Path("points.csv").read_bytes() == Path("again.csv").read_bytes()


def test_the_hash_is_that_of_files_options_and_student(folder: Path, tmp_path: Path) -> None:
    ann, bob = find([str(folder)], tmp_path / "unused")[1:3]
    keys = {key_of(ann, Options("a1")), key_of(bob, Options("a1")), key_of(ann, Options("a1", seconds=5))}
    keys |= {key_of(ann._replace(is_late=True), Options("a1")), key_of(ann, Options("a1", secret="word"))}
    assert len(keys) == 5
    assert key_of(ann, Options("a1")) in keys
    before = key_of(ann, Options("a1"))
    ann.files[0].path.write_text(RIGHT + "\n")
    assert key_of(ann, Options("a1")) != before


def test_a_journal_gives_back_what_was_written_and_forgets_failures(tmp_path: Path) -> None:
    path = tmp_path / "j"
    right, failed = (Marks("ann", marks=(Mark("gelu", 2, 2, status),), code="é\n") for status in ("right", NOT_GRADED))
    for key, marks in (("1", right), ("2", failed), ("3", right._replace(notes=("late",)))):
        Journal(path).add(key, marks)
    assert Journal(path).known == {"1": right, "3": right._replace(notes=("late",))}
    Journal(path).remove()
    assert Journal(path).known == {}


@pytest.mark.parametrize("damage", [b"\n\xff\xfe", b"\n[]", b'\n{"key": 3}', b'\n{"key": "1", "marks": {"marks": 3}}'])
def test_damaged_lines_do_not_count(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "j").write_bytes(damage)
    journal = Journal(tmp_path / "j")
    assert journal.known == {}
    journal.add("1", Marks("ann"))
    assert list(Journal(tmp_path / "j").known) == ["1"]
