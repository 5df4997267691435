"""Finding whose each file is, in folders and zips exported by learning platforms, one folder or file per student.

No name from an archive is used as a path, links are not followed, and sizes are limited.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from npwhisper.lab.course.names import printable
from npwhisper.lab.grading.encodings import LARGEST

CODE = (".py.txt", ".ipynb.txt", ".ipynb.json", ".py", ".ipynb")  # browsers append .txt and .json
MOST_FILES = 20_000  # in one archive, and below one folder
MOST_BYTES = 4 * 2**30  # unpacked from one archive
IGNORED = {"__MACOSX", ".ipynb_checkpoints", "__pycache__", ".git", ".DS_Store", "Thumbs.db"}
MOODLE = re.compile(r"(?P<student>.+)_(?P<number>\d+)_assignsubmission_[a-z]+_?(?P<name>.*)", re.DOTALL)
CANVAS = re.compile(r"(?P<student>[^_]+)_(?P<late>LATE_)?(?P<number>\d+)_\d+_(?P<name>.+)", re.DOTALL)


class SubmissionError(ValueError):
    """There are no submissions in what was given."""


class File(NamedTuple):
    """A submitted file: its name in the submission, and its path here."""

    name: str
    path: Path


class Submission(NamedTuple):
    """Everything that one student submitted; `number` is the learning platform's, if it gives one."""

    student: str
    number: str
    is_late: bool
    files: tuple[File, ...]
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """A name that is unique for this student."""
        return f"{self.student}_{self.number}" if self.number else self.student


class Entry(NamedTuple):
    """A file with the folders above it; without a path, an empty folder or a file left out, with a note why."""

    parts: tuple[str, ...]
    path: Path | None
    note: str = ""


def find(given: Sequence[str], work: Path, student: str = "") -> list[Submission]:
    """The submissions in files, folders and zips, sorted by name.

    Parameters
    ----------
    given : list of str
    work : Path
        An empty folder into which archives are unpacked.
    student : str, optional
        The student of all files. Default: taken from the names.

    Raises
    ------
    SubmissionError
        If there is nothing to grade.
    """
    entries = [entry for name in given for entry in _entries(Path(name), work)]
    found: dict[tuple[str, str], list[tuple[Entry, bool]]] = {}
    for entry in entries:
        owner, number, is_late, rest = (student, "", False, entry.parts) if student else whose(entry.parts)
        found.setdefault((owner, number), []).append((entry._replace(parts=rest), is_late))
    if student:
        found.setdefault((student, ""), [])
    if not found:
        raise SubmissionError(f"there is nothing to grade in {', '.join(map(repr, given))}: give .py and .ipynb files")
    return [_submission(*key, found[key], work) for key in sorted(found)]


def whose(parts: tuple[str, ...]) -> tuple[str, str, bool, tuple[str, ...]]:
    """The student, the number, whether it is late, and the rest of the name.

    >>> whose(("Ann Lee_17_assignsubmission_file", "a1.ipynb"))
    ('Ann Lee', '17', False, ('a1.ipynb',))
    >>> whose(("leeann_LATE_17_4711_a1.ipynb",))
    ('leeann', '17', True, ('a1.ipynb',))
    >>> whose(("ann", "a1.py")), whose(("ann.py",))
    (('ann', '', False, ('a1.py',)), ('ann', '', False, ('ann.py',)))
    """
    for place, part in enumerate(parts):
        if match := MOODLE.fullmatch(part):
            return match["student"], match["number"], False, (*filter(None, [match["name"]]), *parts[place + 1 :])
    if len(parts) == 1 and (match := CANVAS.fullmatch(parts[0])):
        return match["student"], match["number"], bool(match["late"]), (match["name"],)
    if len(parts) > 1:
        return parts[0], "", False, parts[1:]
    ending = next((end for end in (*CODE, ".zip") if parts[0].lower().endswith(end)), "")
    return parts[0][: len(parts[0]) - len(ending)] or parts[0], "", False, parts


def _entries(path: Path, work: Path) -> Iterator[Entry]:
    """The entries of a file, a folder or a zip."""
    if path.is_dir():
        yield from _walked(path)
    elif not path.is_file():
        raise SubmissionError(f"there is no {str(path)!r}: give files, folders or zips of submissions")
    elif path.suffix.lower() == ".zip":
        yield from _without_wrapping(_unpacked(path, work))
    else:
        yield Entry((path.name,), path)


def _walked(top: Path) -> Iterator[Entry]:
    """The regular files below a folder, and an entry for each folder directly in it."""
    count = 0
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in IGNORED)
        above = Path(folder).relative_to(top).parts
        if len(above) == 1:
            yield Entry((*above, ""), None)
        for name in sorted(set(files) - IGNORED):
            count += 1
            if count > MOST_FILES:
                raise SubmissionError(f"{str(top)!r} holds more than {MOST_FILES} files: name the folder of one class")
            path = Path(folder, name)
            is_regular = stat.S_ISREG(path.lstat().st_mode)
            yield Entry((*above, name), path) if is_regular else Entry((*above, name), None, "it is not a regular file")


def _unpacked(archive: Path, work: Path) -> list[Entry]:
    """The members of a zip, written under numbered names; a member that cannot be read has a note."""
    entries, left = list[Entry](), MOST_BYTES
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            if len(members) > MOST_FILES:
                raise SubmissionError(f"{str(archive)!r} holds more than {MOST_FILES} files")
            for member in members:
                entry, size = _member(opened, member, work / f"{len(os.listdir(work)):06}", left)
                entries += [entry] if entry.parts and not IGNORED & set(entry.parts) else []
                left -= size
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise SubmissionError(f"{str(archive)!r} cannot be opened as a zip: {error}") from None
    return entries


def _member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> tuple[Entry, int]:
    """One member of a zip, and its size."""
    parts = tuple(part for part in member.filename.replace("\\", "/").split("/") if part not in ("", ".", ".."))
    if member.is_dir():
        return Entry((*parts, "") if parts else (), None), 0
    if reason := _refusal(parts, member, left):
        return Entry(parts, None, reason), 0
    try:
        with opened.open(member) as source:
            data = source.read(member.file_size)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError, zlib.error) as error:
        return Entry(parts, None, f"it cannot be unpacked: {error}"), 0
    target.write_bytes(data)
    return Entry(parts, target), len(data)


def _refusal(parts: tuple[str, ...], member: zipfile.ZipInfo, left: int) -> str:
    """Why a member is not unpacked; an empty string if it is."""
    if not parts or not parts[-1].lower().endswith((*CODE, ".zip")):
        return "it is neither Python nor a notebook"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "it is not a regular file"
    if member.file_size > min(LARGEST, left):
        return f"it has {member.file_size >> 20} MB, which is too much"
    return ""


def _without_wrapping(entries: list[Entry]) -> list[Entry]:
    """Remove the single folder around everything in a zip, unless it is a student's."""
    tops = {entry.parts[0] for entry in entries}
    inside = [entry for entry in entries if len(entry.parts) > 1 and entry.parts != (entry.parts[0], "")]
    if len(tops) != 1 or len(inside) < 2 or whose(entries[0].parts)[1]:
        return entries
    return [entry._replace(parts=entry.parts[1:]) for entry in inside]


def _submission(student: str, number: str, entries: list[tuple[Entry, bool]], work: Path) -> Submission:
    """The submission of one student: code, and a note on everything else."""
    files, notes = list[File](), list[str]()
    for entry, _ in entries:
        name = "/".join(entry.parts)
        if entry.path is not None and name.lower().endswith(CODE):
            files.append(File(name, entry.path))
        elif entry.path is not None and name.lower().endswith(".zip"):
            inner, reasons = _from_zip(entry.path, name, work)
            files, notes = files + inner, notes + reasons
        elif name.strip("/"):
            notes.append(f"{printable(name)} is left out: {entry.note or 'it is neither Python nor a notebook'}")
    return Submission(student, number, any(late for _, late in entries), tuple(files), tuple(notes))


def _from_zip(archive: Path, name: str, work: Path) -> tuple[list[File], list[str]]:
    """The code in a zip that a student submitted; nested zips are not opened."""
    try:
        entries = _unpacked(archive, work)
    except SubmissionError:
        return [], [f"{printable(name)} is left out: it cannot be opened as a zip"]
    code = [e for e in entries if e.path and e.parts[-1].lower().endswith(CODE)]
    return [File("/".join((name, *e.parts)), e.path) for e in code if e.path], []
