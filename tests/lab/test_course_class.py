"""A class of sixty of all qualities: the table of points equals what is known of every submission."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from class_of_sixty import CHEATS, POINTS, students, write

from npwhisper.__main__ import main
from npwhisper.lab.exercises import EXERCISES


def test_the_class_has_sixty_students_and_eleven_cheats() -> None:
    made = students()
    assert len(made) == len({student.name for student in made}) == 60
    assert {task: EXERCISES[task].points for task in EXERCISES if EXERCISES[task].assignment == "a1"} == POINTS
    assert sum("refused" in truth.values() for _, _, truth in CHEATS.values()) == 9
    assert len(CHEATS) == 11


@pytest.mark.slow
def test_the_points_of_sixty_submissions_are_those_they_deserve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, table = write(tmp_path / "class"), tmp_path / "points.csv"
    status = main(["grade", str(tmp_path / "class"), "-a", "a1", "--csv", str(table), "--seconds", "8", "--jobs", "2"])
    assert status == 0, capsys.readouterr()
    rows = {row["student"]: row for row in csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines())}
    in_order = [task for task in EXERCISES if task in POINTS]
    found = {name: {task: row[task] for task in (*POINTS, "points", "of", "not right")} for name, row in rows.items()}
    assert found == {
        student.name: {
            **{task: str(points) for task, points in student.points.items()},
            "points": str(sum(student.points.values())),
            "of": str(sum(POINTS.values())),
            "not right": "; ".join(
                f"{task}: {student.truth[task]}" for task in in_order if student.truth[task] != "right"
            ),
        }
        for student in made
    }
