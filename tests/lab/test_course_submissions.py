"""What students hand in, as learning platforms give it: zips that attack, links, names, and what is said about them."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest

from npwhisper.lab.course import submissions
from npwhisper.lab.course.submissions import SubmissionError, find
from npwhisper.lab.grading.encodings import LARGEST


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def who(found: list[submissions.Submission]) -> dict[str, list[str]]:
    return {one.identity: [file.name for file in one.files] for one in found}


def test_the_zips_of_moodle_and_canvas_and_of_a_folder(tmp_path: Path, work: Path) -> None:
    moodle = {"Ann Lee_17_assignsubmission_file_/a1.py": b"", "Bob_18_assignsubmission_file/x/a1.ipynb": b"{}"}
    canvas = {"leeann_17_4711_a1.py": b"", "bob_LATE_18_4712_a1.py": b""}
    wrapped = {"class/ann.py": b"", "class/bob/a1.py": b"", "__MACOSX/class/._ann.py": b""}
    assert who(find([str(zipped(tmp_path / "m.zip", moodle))], work)) == {
        "Ann Lee_17": ["a1.py"],
        "Bob_18": ["x/a1.ipynb"],
    }
    found = find([str(zipped(tmp_path / "c.zip", canvas))], work)
    assert who(found) == {"bob_18": ["a1.py"], "leeann_17": ["a1.py"]}
    assert [one.is_late for one in found] == [True, False]
    assert who(find([str(zipped(tmp_path / "w.zip", wrapped))], work)) == {"ann": ["ann.py"], "bob": ["a1.py"]}


def test_endings_that_browsers_append_are_taken_off(tmp_path: Path, work: Path) -> None:
    (tmp_path / "class").mkdir()
    for name in ("ann.py.txt", "Zoë Müller.ipynb.json", "bob.ipynb.txt", "cid.PY", "dora.txt"):
        (tmp_path / "class" / name).write_text("")
    found = find([str(tmp_path / "class")], work)
    graded = {one.student for one in found if one.files}
    assert graded == {"ann", "Zoë Müller", "bob", "cid"}
    assert next(one.notes for one in found if not one.files) == (
        "dora.txt is left out: it is neither Python nor a notebook",
    )


def test_names_in_a_zip_reach_no_place_outside(tmp_path: Path, work: Path) -> None:
    names = {"../../evil.py": b"1", "/etc/evil.py": b"2", "..\\..\\win.py": b"3", "C:\\x\\drive.py": b"4"}
    find([str(zipped(tmp_path / "z.zip", names))], work)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["work", "z.zip"]
    assert {path.name for path in work.iterdir()} == {"000000", "000001", "000002", "000003"}
    assert {path.read_bytes() for path in work.iterdir()} == {b"1", b"2", b"3", b"4"}


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped(tmp_path / "ann.zip", {"ann/a1.py": b"\0" * (LARGEST + 1), "bob/a1.py": b"x = 1"})
    assert bomb.stat().st_size < 100_000
    ann, bob = find([str(bomb)], work)
    assert ann.notes == ("a1.py is left out: it has 64 MB, which is too much",)
    assert [file.path.read_bytes() for file in bob.files] == [b"x = 1"]
    assert sum(path.stat().st_size for path in work.iterdir()) == 5
    monkeypatch.setattr(submissions, "MOST_BYTES", 12)
    many = zipped(tmp_path / "many.zip", {f"s{n}/a1.py": b"0123456789" for n in range(3)})
    assert [len(one.files) for one in find([str(many)], work)] == [1, 0, 0]


def test_a_zip_that_lies_about_a_size_gives_no_more_than_it_says(tmp_path: Path, work: Path) -> None:
    path = zipped(tmp_path / "z.zip", {"ann/a1.py": b"x" * 100_000})
    data = path.read_bytes()
    assert data.count((100_000).to_bytes(4, "little")) == 2
    path.write_bytes(data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    (ann,) = find([str(path)], work)
    assert [file.path.stat().st_size for file in ann.files] in ([], [10])


def test_too_many_files_are_one_sentence(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "MOST_FILES", 3)
    archive = zipped(tmp_path / "z.zip", {f"s{n}/a1.py": b"" for n in range(4)})
    with pytest.raises(SubmissionError, match="holds more than 3 files"):
        find([str(archive)], work)
    for n in range(4):
        (tmp_path / f"s{n}.py").write_text("")
    with pytest.raises(SubmissionError, match="holds more than 3 files"):
        find([str(tmp_path)], work)


def test_links_are_not_followed(tmp_path: Path, work: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text("KEY = 1")
    (tmp_path / "class" / "ann").mkdir(parents=True)
    os.symlink(secret, tmp_path / "class" / "ann" / "a1.py")
    os.symlink(tmp_path, tmp_path / "class" / "bob")
    link = zipfile.ZipInfo("cid/a1.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
        archive.writestr(link, str(secret))
        archive.writestr("dan/a1.py", "")
    found = find([str(tmp_path / "class"), str(tmp_path / "l.zip")], work)
    assert {name: files for name, files in who(found).items() if files} == {"dan": ["a1.py"]}
    notes = {one.student: one.notes for one in found}
    assert notes["ann"] == notes["cid"] == ("a1.py is left out: it is not a regular file",)


def test_a_students_own_zip_is_opened_once(tmp_path: Path, work: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"a1.py": b"x = 1", "deep.zip": b"PK"}).read_bytes()
    outer = zipped(tmp_path / "all.zip", {"ann/work.zip": inner, "bob/work.zip": b"no zip", "cid/a1.docx": b""})
    ann, bob, cid = find([str(outer)], work)
    assert [file.name for file in ann.files] == ["work.zip/a1.py"]
    assert bob.notes == ("work.zip is left out: it cannot be opened as a zip",)
    assert cid.notes == ("a1.docx is left out: it is neither Python nor a notebook",)


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all"])
def test_what_is_no_zip_is_one_sentence(tmp_path: Path, work: Path, data: bytes) -> None:
    (tmp_path / "class.zip").write_bytes(data)
    with pytest.raises(SubmissionError, match=r"class\.zip' cannot be opened as a zip"):
        find([str(tmp_path / "class.zip")], work)


def test_nothing_to_grade_is_one_sentence(tmp_path: Path, work: Path) -> None:
    with pytest.raises(SubmissionError, match="there is nothing to grade in"):
        find([str(work)], work)
    with pytest.raises(SubmissionError, match=r"there is no '.*nowhere'"):
        find([str(tmp_path / "nowhere")], work)


def test_all_is_one_students_if_it_is_said(tmp_path: Path, work: Path) -> None:
    (tmp_path / "a.py").write_text("")
    (one,) = find([str(tmp_path / "a.py"), str(work)], work, "org/a1-ann")
    assert (one.identity, [file.name for file in one.files]) == ("org/a1-ann", ["a.py"])
